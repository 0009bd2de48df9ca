//! A request in the words of the Responses API; as JSON, as for Chat Completions.

use std::borrow::Cow;

use protocol::event::{Call, Json};
use protocol::history::PromptMessage;
use protocol::orchestration::Endpoint;
use serde::Serialize;
use serde_json::{Map, json};

use crate::model::openai::fit;
use crate::model::{Request, ToolDefinition};

/// The fields that a definition's parameters may not set.
pub(in crate::model::openai) const RESERVED: &[&str] =
    &["background", "conversation", "input", "instructions", "model", "previous_response_id", "store", "stream", "tools"];

/// The body of a request, written from what it refers to.
#[derive(Serialize)]
pub(in crate::model::openai) struct Body<'a> {
    model: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    instructions: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<Tool<'a>>,
    input: Vec<Item<'a>>,
    stream: bool,
    store: bool,
    /// What the definition's parameters may set, too.
    #[serde(flatten)]
    rest: Map<String, Json>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Item<'a> {
    Said { role: &'static str, content: Cow<'a, str> },
    Typed(Typed<'a>),
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Typed<'a> {
    FunctionCall {
        call_id: &'a str,
        #[serde(flatten)]
        function: fit::CallBack<'a>,
    },
    FunctionCallOutput {
        call_id: &'a str,
        output: &'a str,
    },
}

#[derive(Serialize)]
#[serde(tag = "type", rename = "function")]
struct Tool<'a> {
    name: &'a str,
    description: &'a str,
    parameters: Cow<'a, Json>,
    strict: bool,
}

impl<'a> Body<'a> {
    /// The body of `request` to `model`.
    pub(in crate::model::openai) fn of(request: &'a Request<'a>, model: &'a str, endpoint: &'a Endpoint) -> Self {
        let (instructions, messages) = match request.messages.split_first() {
            Some((PromptMessage::System { text }, rest)) => (Some(text.as_ref()), rest),
            _ => (None, request.messages.as_slice()),
        };
        let mut rest = Map::new();
        if let Some(choice) = fit::tool_choice(request, endpoint, allowed) {
            rest.insert("tool_choice".to_owned(), choice);
        }
        rest.extend(endpoint.parameters.clone());
        if let Some(format) = fit::format(request.output.as_ref(), endpoint, !request.tools.is_empty())
            && let Json::Object(text) = rest.entry("text").or_insert_with(|| json!({}))
        {
            let kind = ("type".to_owned(), json!("json_schema"));
            text.entry("format").or_insert_with(|| format.into_iter().chain([kind]).collect());
        }
        let (tools, input) = (request.tools.iter().map(tool).collect(), messages.iter().flat_map(items).collect());
        Self { model, instructions, tools, input, stream: endpoint.stream, store: false, rest }
    }
}

fn items<'a>(message: &'a PromptMessage<'a>) -> impl Iterator<Item = Item<'a>> {
    let (said, calls): (Option<Item<'_>>, &[Call]) = match message {
        PromptMessage::System { text } => (Some(said("system", &**text)), &[]),
        PromptMessage::User { text } => (Some(said("user", &**text)), &[]),
        PromptMessage::Assistant { text, calls, .. } if text.is_empty() => (None, calls),
        // Messages have no names here: who else speaks stands before what is said.
        PromptMessage::Assistant { name: Some(name), text, calls } => (Some(said("assistant", format!("{name}: {text}"))), calls),
        PromptMessage::Assistant { name: None, text, calls } => (Some(said("assistant", &**text)), calls),
        PromptMessage::Tool { call, content, .. } => (Some(Item::Typed(Typed::FunctionCallOutput { call_id: call, output: content })), &[]),
    };
    said.into_iter().chain(calls.iter().map(|call| Item::Typed(Typed::FunctionCall { call_id: &call.id, function: fit::call(call) })))
}

fn said<'a>(role: &'static str, text: impl Into<Cow<'a, str>>) -> Item<'a> {
    Item::Said { role, content: text.into() }
}

/// Here, unlike there, a tool's schema counts as a strict one unless it says that it is none.
fn tool(tool: &ToolDefinition) -> Tool<'_> {
    Tool { name: &tool.name, description: &tool.description, parameters: fit::parameters(tool), strict: false }
}

fn allowed(names: &[String]) -> Json {
    let tools: Json = names.iter().map(|name| json!({ "type": "function", "name": name })).collect();
    json!({ "type": "allowed_tools", "mode": "auto", "tools": tools })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::model::test_support::{endpoint, every_kind_of_message, request};

    fn body(request: &Request<'_>, model: &str, endpoint: &Endpoint) -> Json {
        serde_json::to_value(Body::of(request, model, endpoint)).unwrap()
    }

    #[test]
    fn every_kind_of_message_is_written() {
        let parameters = BTreeMap::from([("reasoning".to_owned(), json!({ "effort": "low" }))]);
        let mut request = every_kind_of_message();
        request.messages.push(PromptMessage::System { text: "Later.".into() });
        let expected = json!({
            "model": "m",
            "instructions": "Be kind.",
            "input": [
                { "role": "user", "content": "Hi" },
                { "role": "assistant", "content": "Refund Agent: Hello" },
                { "type": "function_call", "call_id": "call_1", "name": "look_up", "arguments": r#"{"order": 1}"# },
                { "type": "function_call_output", "call_id": "call_1", "output": "late" },
                { "role": "system", "content": "Later." },
            ],
            "tools": [{
                "type": "function", "name": "look_up", "description": "Looks up.", "parameters": { "type": "object", "properties": {} },
                "strict": false,
            }],
            "stream": true,
            "store": false,
            "reasoning": { "effort": "low" },
        });
        assert_eq!(body(&request, "m", &Endpoint { parameters, ..endpoint(None) }), expected);
    }

    #[test]
    fn what_is_not_there_is_not_mentioned() {
        let silent = PromptMessage::Assistant { name: Some("A".into()), text: "".into(), calls: vec![].into() };
        let body = body(&request("triage", vec![silent]), "m", &Endpoint { stream: false, ..endpoint(None) });
        assert_eq!(body, json!({ "model": "m", "input": [], "stream": false, "store": false }));
    }

    #[test]
    fn what_may_be_called_of_a_list_is_named() {
        let choice = |allowed: &[&str]| {
            let allowed = Some(allowed.iter().map(ToString::to_string).collect());
            body(&Request { allowed, ..every_kind_of_message() }, "m", &endpoint(None))["tool_choice"].clone()
        };
        let named = json!({ "type": "allowed_tools", "mode": "auto", "tools": [{ "type": "function", "name": "look_up" }] });
        assert_eq!((choice(&["look_up"]), choice(&[])), (named, json!("none")));
    }

    #[test]
    fn an_answer_by_a_schema_is_asked_for_beside_what_the_definition_says_of_texts() {
        let schema = json!({ "type": "object", "properties": { "id": { "type": "integer" } } });
        let request = Request { output: Some(schema.clone()), ..request("triage", vec![]) };
        let format = json!({ "type": "json_schema", "name": "output", "schema": schema, "strict": false });
        assert_eq!(body(&request, "m", &endpoint(None))["text"], json!({ "format": format }));
        let text = |text: Json| {
            let parameters = BTreeMap::from([("text".to_owned(), text)]);
            body(&request, "m", &Endpoint { parameters, ..endpoint(None) })["text"].clone()
        };
        assert_eq!(text(json!({ "verbosity": "low" })), json!({ "verbosity": "low", "format": format }));
        assert_eq!(text(json!({ "format": { "type": "text" } })), json!({ "format": { "type": "text" } }));
    }
}
