//! Tools written in Rust: a typed function is all there is to write.

use std::any::Any;
use std::fmt::{self, Display};
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use async_trait::async_trait;
use futures::FutureExt;
use futures::future::BoxFuture;
use protocol::event::Json;
use protocol::history::PromptMessage;
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::template::shown;
use super::{Filter, Functions, Tool, ToolCall, ToolError};
use crate::model::Model;

/// What a tool's function may give: a text, any JSON, or a [`Result`] of anything that can be written as JSON.
pub trait Output {
    /// The result, or why there is none, in words for the model.
    ///
    /// # Errors
    /// What the model is shown instead of a result.
    fn into_json(self) -> Result<Json, String>;
}

impl Output for String {
    fn into_json(self) -> Result<Json, String> {
        Ok(Json::String(self))
    }
}

impl Output for &str {
    fn into_json(self) -> Result<Json, String> {
        Ok(Json::String(self.to_owned()))
    }
}

impl Output for Json {
    fn into_json(self) -> Result<Json, String> {
        Ok(self)
    }
}

impl<O: Serialize, E: Display> Output for Result<O, E> {
    fn into_json(self) -> Result<Json, String> {
        let output = self.map_err(|error| error.to_string())?;
        serde_json::to_value(output).map_err(|error| format!("The result is no JSON: {error}."))
    }
}

impl Functions {
    /// No functions.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a function under the name of a tool; the last one of a name counts.
    ///
    /// The schema of its arguments is that of their type; an empty `description` stands for the type's documentation. A text is shown to
    /// the model as it is, any other result as JSON. An error is shown to the model, too: say what it could do instead. What cannot fail
    /// may give a text without a `Result` around it.
    ///
    /// ```
    /// use agent_worker::tools::Functions;
    /// use schemars::JsonSchema;
    /// use serde::Deserialize;
    ///
    /// /// Looks up where an order is.
    /// #[derive(Deserialize, JsonSchema)]
    /// struct OrderStatus {
    ///     /// The order's number, as on the invoice.
    ///     order: u32,
    /// }
    ///
    /// let functions = Functions::new().add("order_status", "", |args: OrderStatus| async move {
    ///     match args.order {
    ///         123 => Ok("It arrives tomorrow."),
    ///         other => Err(format!("there is no order {other}: ask for the number again")),
    ///     }
    /// });
    /// let functions = functions.add("now_open", "Says whether the shop is open.", |_: serde_json::Value| async { "It is." });
    /// assert_eq!(functions.names().collect::<Vec<_>>(), ["now_open", "order_status"]);
    /// ```
    #[must_use]
    pub fn add<A, F, R>(self, name: impl Into<String>, description: &str, function: F) -> Self
    where
        A: DeserializeOwned + JsonSchema + Send + 'static,
        F: Fn(A) -> R + Send + Sync + 'static,
        R: Future<Output: Output> + Send + 'static,
    {
        self.add_with_call(name, description, move |arguments: A, _call| function(arguments))
    }

    /// Like [`add`](Self::add), for a function that also looks at the call: at its idempotency key and epoch, so that whatever it
    /// changes is changed once and by the right owner.
    #[must_use]
    pub fn add_with_call<A, F, R>(mut self, name: impl Into<String>, description: &str, function: F) -> Self
    where
        A: DeserializeOwned + JsonSchema + Send + 'static,
        F: Fn(A, ToolCall) -> R + Send + Sync + 'static,
        R: Future<Output: Output> + Send + 'static,
    {
        let (parameters, documentation) = schema_of::<A>();
        let description = if description.is_empty() { documentation } else { description.to_owned() };
        let run: Run = Box::new(move |call: ToolCall| {
            let arguments = A::deserialize(&call.arguments);
            let result = arguments.map(|arguments| function(arguments, call));
            async move {
                let running = result.map_err(|error| ToolError(format!("The arguments do not fit: {error}.")))?;
                let output = running.await.into_json().map_err(ToolError)?;
                Ok(shown(&output).into_owned())
            }
            .boxed()
        });
        self.tools.insert(name.into(), Arc::new(Function { description, parameters, run }));
        self
    }

    /// Adds an agent of a type of its own, under the name that definitions have as its `code`: whatever answers a request with a
    /// text, tool calls, a transfer, the end. What comes of the answer is the turn's business, as with any model.
    ///
    /// ```
    /// use agent_worker::Functions;
    /// use agent_worker::model::{Model, ModelError, Request, Tokens};
    /// use protocol::event::{Call, Responded};
    ///
    /// /// Hands every conversation on, without thinking.
    /// #[derive(Debug)]
    /// struct Switchboard;
    ///
    /// #[async_trait::async_trait]
    /// impl Model for Switchboard {
    ///     fn provider(&self) -> &str {
    ///         "switchboard"
    ///     }
    ///
    ///     fn name(&self) -> &str {
    ///         "1"
    ///     }
    ///
    ///     async fn respond(&self, request: &Request<'_>, _tokens: &mut dyn Tokens) -> Result<Responded, ModelError> {
    ///         let transfer = request.tools.iter().find(|tool| tool.name.starts_with("transfer_to_"));
    ///         let transfer = transfer.ok_or_else(|| ModelError::Refused("there is nobody to hand over to".to_owned()))?;
    ///         let call = Call { id: "1".to_owned(), name: transfer.name.clone(), arguments: String::new() };
    ///         Ok(Responded { text: String::new(), calls: vec![call], model: String::new(), usage: None })
    ///     }
    /// }
    ///
    /// let functions = Functions::new().add_agent("switchboard", Switchboard);
    /// # drop(functions);
    /// ```
    #[must_use]
    pub fn add_agent(mut self, name: impl Into<String>, agent: impl Model + 'static) -> Self {
        self.agents.insert(name.into(), Arc::new(agent));
        self
    }

    /// Adds a filter of histories, under the name that handoffs have as their `filter`: what the target of such a handoff sees of
    /// all that came before goes through it, in every prompt anew. So the same messages must always give the same; calls that are
    /// left without their result, and results without their call, are left out.
    ///
    /// ```
    /// use agent_worker::Functions;
    /// use protocol::history::PromptMessage;
    ///
    /// fn people_only(messages: Vec<PromptMessage<'_>>) -> Vec<PromptMessage<'_>> {
    ///     messages.into_iter().filter(|message| matches!(message, PromptMessage::User { .. })).collect()
    /// }
    /// let functions = Functions::new().add_filter("people_only", people_only);
    /// # drop(functions);
    /// ```
    #[must_use]
    pub fn add_filter(
        mut self,
        name: impl Into<String>,
        filter: impl for<'a> Fn(Vec<PromptMessage<'a>>) -> Vec<PromptMessage<'a>> + Send + Sync + 'static,
    ) -> Self {
        self.filters.insert(name.into(), Filter(Arc::new(filter)));
        self
    }

    /// The names of the tools.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tools.keys().map(String::as_str)
    }
}

type Run = Box<dyn Fn(ToolCall) -> BoxFuture<'static, Result<String, ToolError>> + Send + Sync>;

struct Function {
    description: String,
    parameters: Json,
    run: Run,
}

#[async_trait]
impl Tool for Function {
    fn parameters(&self) -> Option<Json> {
        Some(self.parameters.clone())
    }

    fn description(&self) -> Option<&str> {
        Some(&self.description)
    }

    async fn run(&self, call: ToolCall) -> Result<String, ToolError> {
        // A mistake in one function must not cost the turn, nor the other turns of the worker.
        let run = async { (self.run)(call).await };
        AssertUnwindSafe(run).catch_unwind().await.unwrap_or_else(|panic| Err(ToolError(format!("The tool panicked: {}", words(&*panic)))))
    }
}

impl fmt::Debug for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Function").field("description", &self.description).finish_non_exhaustive()
    }
}

fn words(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("it did not say why.")
}

/// The schema of a type, without references where it is not recursive (not every model follows them), and the type's documentation.
fn schema_of<A: JsonSchema>() -> (Json, String) {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.meta_schema = None;
        settings.inline_subschemas = true;
    });
    let mut schema = settings.into_generator().into_root_schema_for::<A>();
    let documentation = schema.remove("description").and_then(|text| text.as_str().map(str::to_owned));
    schema.remove("title");
    // Arguments are an object, whatever the type leaves open.
    schema.ensure_object().entry("type").or_insert_with(|| json!("object"));
    (schema.to_value(), documentation.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;
    use crate::tools::test_support::call;

    /// Pays money back.
    #[derive(Deserialize, JsonSchema)]
    #[serde(rename_all = "camelCase")]
    struct Refund {
        /// Which order.
        order_id: String,
        item: Option<Item>,
    }

    #[derive(Deserialize, JsonSchema)]
    struct Item {
        number: u8,
    }

    #[derive(Serialize)]
    struct Receipt {
        paid: u32,
    }

    async fn run(functions: &Functions, tool: &str, arguments: Json) -> Result<String, String> {
        functions.tools[tool].run(call(tool, arguments)).await.map_err(|error| error.0)
    }

    #[test]
    fn schema_and_description_come_from_the_type() {
        let functions = Functions::new()
            .add("refund", "", |_: Refund| async { Ok::<_, String>("") })
            .add("described", "Own words.", |_: Refund| async { Ok::<_, String>("") })
            .add("anything", "", |_: Json| async { Ok::<_, String>("") });
        let (refund, anything) = (&functions.tools["refund"], &functions.tools["anything"]);
        assert_eq!(refund.description(), Some("Pays money back."));
        assert_eq!(functions.tools["described"].description(), Some("Own words."));
        assert_eq!(
            refund.parameters().unwrap(),
            json!({
                "type": "object",
                "properties": {
                    "orderId": { "description": "Which order.", "type": "string" },
                    "item": {
                        "type": ["object", "null"],
                        "properties": { "number": { "type": "integer", "format": "uint8", "minimum": 0, "maximum": 255 } },
                        "required": ["number"],
                    },
                },
                "required": ["orderId"],
            })
        );
        assert_eq!(anything.parameters().unwrap()["type"], "object");
    }

    #[tokio::test]
    async fn a_text_is_shown_as_it_is_and_anything_else_as_json() {
        let functions =
            Functions::new().add("text", "", |args: Refund| async move { Ok::<_, String>(format!("\"{}\"", args.order_id)) }).add(
                "json",
                "",
                |args: Refund| async move { Ok::<_, String>(Receipt { paid: args.item.map_or(1, |item| item.number.into()) }) },
            );
        let functions = functions
            .add("bare", "", |args: Refund| async move { args.order_id })
            .add("value", "", |_: Refund| async { json!({ "ok": true }) })
            .add("word", "", |_: Refund| async { "done" });
        for (tool, shown) in [("bare", "a"), ("value", r#"{"ok":true}"#), ("word", "done")] {
            assert_eq!(run(&functions, tool, json!({ "orderId": "a" })).await.unwrap(), shown);
        }
        assert_eq!(run(&functions, "text", json!({ "orderId": "a" })).await.unwrap(), "\"a\"");
        assert_eq!(run(&functions, "json", json!({ "orderId": "a", "item": { "number": 9 } })).await.unwrap(), r#"{"paid":9}"#);
    }

    #[tokio::test]
    async fn what_goes_wrong_is_an_error_for_the_model() {
        let functions = Functions::new().add("refund", "", |args: Refund| async move {
            match args.order_id.as_str() {
                "panic" => panic!("no such ledger"),
                id => Err::<String, _>(format!("no order {id}")),
            }
        });
        assert_eq!(run(&functions, "refund", json!({ "orderId": "7" })).await.unwrap_err(), "no order 7");
        assert_eq!(run(&functions, "refund", json!({ "orderId": "panic" })).await.unwrap_err(), "The tool panicked: no such ledger");
        let unfit = run(&functions, "refund", json!({ "item": null })).await.unwrap_err();
        assert_eq!(unfit, "The arguments do not fit: missing field `orderId`.");
    }

    #[tokio::test]
    async fn a_function_may_look_at_its_call() {
        let functions = Functions::new().add_with_call("pay", "", |_: Json, call| async move {
            Ok::<_, String>(format!("{} {} {} {}", call.idempotency_key, call.epoch.0, call.agent, call.tool))
        });
        assert_eq!(run(&functions, "pay", json!({})).await.unwrap(), "key-1 7 triage pay");
    }

    #[test]
    fn the_last_function_of_a_name_counts() {
        let functions = Functions::new()
            .add("a", "first", |_: Json| async { Ok::<_, String>("") })
            .add("a", "second", |_: Json| async { Ok::<_, String>("") });
        assert_eq!((functions.names().count(), functions.tools["a"].description()), (1, Some("second")));
    }
}
