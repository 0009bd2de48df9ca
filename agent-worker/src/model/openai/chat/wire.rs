//! A request in the words of Chat Completions. Written as JSON rather than with async-openai's types: servers that merely resemble
//! OpenAI's know fields that these types do not, and the definition's parameters go along verbatim.

use std::borrow::Cow;

use protocol::event::Json;
use protocol::history::PromptMessage;
use protocol::orchestration::Endpoint;
use serde::Serialize;
use serde_json::{Map, json};

use crate::model::openai::fit;
use crate::model::{Request, ToolDefinition};

/// The fields that a definition's parameters may not set.
pub(in crate::model::openai) const RESERVED: &[&str] = &["messages", "model", "n", "stream", "tools"];

/// The body of a request: written from what it refers to, since a long conversation is most of it.
#[derive(Serialize)]
pub(in crate::model::openai) struct Body<'a> {
    model: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<Tool<'a>>,
    messages: Vec<Message<'a>>,
    stream: bool,
    /// What the definition's parameters may set, too.
    #[serde(flatten)]
    rest: Map<String, Json>,
}

#[derive(Serialize)]
#[serde(tag = "role", rename_all = "lowercase")]
enum Message<'a> {
    System {
        content: &'a str,
    },
    User {
        content: &'a str,
    },
    Assistant {
        content: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        name: Option<Cow<'a, str>>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        tool_calls: Vec<ToolCall<'a>>,
    },
    Tool {
        tool_call_id: &'a str,
        content: &'a str,
    },
}

#[derive(Serialize)]
#[serde(tag = "type", rename = "function")]
struct ToolCall<'a> {
    id: &'a str,
    function: fit::CallBack<'a>,
}

#[derive(Serialize)]
#[serde(tag = "type", rename = "function")]
struct Tool<'a> {
    function: Function<'a>,
}

#[derive(Serialize)]
struct Function<'a> {
    name: &'a str,
    description: &'a str,
    parameters: Cow<'a, Json>,
}

impl<'a> Body<'a> {
    /// The body of `request` to `model`.
    pub(in crate::model::openai) fn of(request: &'a Request<'a>, model: &'a str, endpoint: &'a Endpoint) -> Self {
        let mut rest = Map::new();
        if let Some(choice) = fit::tool_choice(request, endpoint, allowed) {
            rest.insert("tool_choice".to_owned(), choice);
        }
        if endpoint.stream {
            rest.insert("stream_options".to_owned(), json!({ "include_usage": true }));
        }
        if let Some(format) = fit::format(request.output.as_ref(), endpoint, !request.tools.is_empty()) {
            rest.insert("response_format".to_owned(), json!({ "type": "json_schema", "json_schema": format }));
        }
        rest.extend(endpoint.parameters.clone());
        let messages = request.messages.iter().map(message).collect();
        Self { model, messages, tools: request.tools.iter().map(tool).collect(), stream: endpoint.stream, rest }
    }
}

fn message<'a>(message: &'a PromptMessage<'a>) -> Message<'a> {
    match message {
        PromptMessage::System { text } => Message::System { content: text },
        PromptMessage::User { text } => Message::User { content: text },
        PromptMessage::Assistant { name, text, calls } => Message::Assistant {
            content: Some(text.as_ref()).filter(|text| !text.is_empty() || calls.is_empty()),
            name: name.as_deref().and_then(fit::name),
            tool_calls: calls.iter().map(|call| ToolCall { id: &call.id, function: fit::call(call) }).collect(),
        },
        PromptMessage::Tool { call, content, .. } => Message::Tool { tool_call_id: call, content },
    }
}

fn tool(tool: &ToolDefinition) -> Tool<'_> {
    Tool { function: Function { name: &tool.name, description: &tool.description, parameters: fit::parameters(tool) } }
}

fn allowed(names: &[String]) -> Json {
    let tools: Json = names.iter().map(|name| json!({ "type": "function", "function": { "name": name } })).collect();
    json!({ "type": "allowed_tools", "allowed_tools": { "mode": "auto", "tools": tools } })
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
        let parameters = BTreeMap::from([("temperature".to_owned(), json!(0.5)), ("stream_options".to_owned(), Json::Null)]);
        let expected = json!({
            "model": "m",
            "messages": [
                { "role": "system", "content": "Be kind." },
                { "role": "user", "content": "Hi" },
                { "role": "assistant", "content": "Hello", "name": "Refund_Agent" },
                { "role": "assistant", "content": null, "tool_calls": [
                    { "id": "call_1", "type": "function", "function": { "name": "look_up", "arguments": r#"{"order": 1}"# } },
                ] },
                { "role": "tool", "tool_call_id": "call_1", "content": "late" },
            ],
            "tools": [{ "type": "function", "function": {
                "name": "look_up", "description": "Looks up.", "parameters": { "type": "object", "properties": {} },
            } }],
            "stream": true,
            "stream_options": null,
            "temperature": 0.5,
        });
        assert_eq!(body(&every_kind_of_message(), "m", &Endpoint { parameters, ..endpoint(None) }), expected);
    }

    #[test]
    fn without_tools_and_streaming_neither_is_mentioned() {
        let body = body(&request("triage", vec![]), "m", &Endpoint { stream: false, ..endpoint(None) });
        assert_eq!(body, json!({ "model": "m", "messages": [], "stream": false }));
    }

    #[test]
    fn what_may_be_called_of_a_list_is_named_to_who_understands_it() {
        let part =
            |allowed: &[&str]| Request { allowed: Some(allowed.iter().map(ToString::to_string).collect()), ..every_kind_of_message() };
        let choice = |request: &Request<'_>, provider: &str| {
            let body = body(request, "m", &Endpoint { provider: provider.into(), ..endpoint(None) });
            assert_eq!(body["tools"].as_array().unwrap().len(), 1, "the list stays as it is");
            body.get("tool_choice").cloned()
        };
        let named = json!({ "type": "allowed_tools", "allowed_tools": {
            "mode": "auto", "tools": [{ "type": "function", "function": { "name": "look_up" } }],
        } });
        assert_eq!(choice(&part(&["look_up"]), "openai"), Some(named.clone()));
        assert_eq!(choice(&part(&["look_up"]), "azure"), Some(named));
        assert_eq!(choice(&part(&["look_up"]), "vllm"), None);
        assert_eq!(choice(&part(&[]), "vllm"), Some(json!("none")));
        assert_eq!(choice(&every_kind_of_message(), "openai"), None);
        let parameters = BTreeMap::from([("tool_choice".to_owned(), json!("auto"))]);
        assert_eq!(body(&part(&["look_up"]), "m", &Endpoint { parameters, ..endpoint(None) })["tool_choice"], "auto", "its word stands");
    }

    #[test]
    fn an_answer_by_a_schema_is_asked_for_unless_the_definition_asks_for_another() {
        let schema = json!({ "type": "object", "properties": {}, "additionalProperties": false });
        let request = Request { output: Some(schema.clone()), ..request("triage", vec![]) };
        let format = json!({ "type": "json_schema", "json_schema": { "name": "output", "schema": schema, "strict": true } });
        assert_eq!(body(&request, "m", &endpoint(None))["response_format"], format);
        let parameters = BTreeMap::from([("response_format".to_owned(), json!({ "type": "json_object" }))]);
        assert_eq!(body(&request, "m", &Endpoint { parameters, ..endpoint(None) })["response_format"], json!({ "type": "json_object" }));
    }
}
