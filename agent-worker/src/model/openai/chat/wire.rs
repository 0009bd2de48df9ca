//! A request in the words of Chat Completions. Written as JSON rather than with async-openai's types: servers that merely resemble
//! OpenAI's know fields that these types do not, and the definition's parameters go along verbatim.

use protocol::event::{Call, Json};
use protocol::history::PromptMessage;
use protocol::orchestration::Endpoint;
use serde_json::{Map, json};

use crate::model::openai::fit;
use crate::model::{Request, ToolDefinition};

/// The fields that a definition's parameters may not set.
pub(in crate::model::openai) const RESERVED: &[&str] = &["messages", "model", "n", "stream", "tools"];

/// The body of a request.
pub(in crate::model::openai) fn body(request: &Request, model: &str, endpoint: &Endpoint) -> Json {
    let mut body = Map::new();
    body.insert("model".to_owned(), json!(model));
    body.insert("messages".to_owned(), request.messages.iter().map(message).collect());
    if !request.tools.is_empty() {
        body.insert("tools".to_owned(), request.tools.iter().map(tool).collect());
    }
    if let Some(choice) = fit::tool_choice(request, endpoint, allowed) {
        body.insert("tool_choice".to_owned(), choice);
    }
    body.insert("stream".to_owned(), json!(endpoint.stream));
    if endpoint.stream {
        body.insert("stream_options".to_owned(), json!({ "include_usage": true }));
    }
    if let Some(format) = fit::format(request.output.as_ref(), endpoint, !request.tools.is_empty()) {
        body.insert("response_format".to_owned(), json!({ "type": "json_schema", "json_schema": format }));
    }
    body.extend(endpoint.parameters.clone());
    Json::Object(body)
}

fn message(message: &PromptMessage) -> Json {
    match message {
        PromptMessage::System { text } => json!({ "role": "system", "content": text }),
        PromptMessage::User { text } => json!({ "role": "user", "content": text }),
        PromptMessage::Assistant { name, text, calls } => assistant(name.as_deref(), text, calls),
        PromptMessage::Tool { call, content, .. } => json!({ "role": "tool", "tool_call_id": call, "content": content }),
    }
}

fn assistant(name: Option<&str>, text: &str, calls: &[Call]) -> Json {
    let content = if text.is_empty() && !calls.is_empty() { Json::Null } else { json!(text) };
    let mut message = Map::new();
    message.insert("role".to_owned(), json!("assistant"));
    message.insert("content".to_owned(), content);
    if let Some(name) = name.and_then(fit::name) {
        message.insert("name".to_owned(), json!(name));
    }
    if !calls.is_empty() {
        message.insert("tool_calls".to_owned(), calls.iter().map(call).collect());
    }
    Json::Object(message)
}

fn call(call: &Call) -> Json {
    let (name, arguments) = fit::call(call);
    json!({ "id": call.id, "type": "function", "function": { "name": name, "arguments": arguments } })
}

fn tool(tool: &ToolDefinition) -> Json {
    json!({
        "type": "function",
        "function": { "name": tool.name, "description": tool.description, "parameters": fit::parameters(tool) },
    })
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
        let choice = |request: &Request, provider: &str| {
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
