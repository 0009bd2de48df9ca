//! A request in the words of Chat Completions. Written as JSON rather than with async-openai's types: servers that merely resemble
//! OpenAI's know fields that these types do not, and the definition's parameters go along verbatim.

use std::collections::BTreeMap;

use protocol::event::{Call, Json};
use protocol::history::PromptMessage;
use serde_json::{Map, json};

use crate::model::{Request, ToolDefinition};

/// The fields that a definition's parameters may not set.
pub(super) const RESERVED: [&str; 5] = ["messages", "model", "n", "stream", "tools"];

/// The body of a request.
pub(super) fn body(request: &Request, model: &str, stream: bool, parameters: &BTreeMap<String, Json>) -> Json {
    let mut body = Map::new();
    body.insert("model".to_owned(), json!(model));
    body.insert("messages".to_owned(), request.messages.iter().map(message).collect());
    if !request.tools.is_empty() {
        body.insert("tools".to_owned(), request.tools.iter().map(tool).collect());
    }
    body.insert("stream".to_owned(), json!(stream));
    if stream {
        body.insert("stream_options".to_owned(), json!({ "include_usage": true }));
    }
    body.extend(parameters.clone());
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
    if let Some(name) = name.and_then(fit_name) {
        message.insert("name".to_owned(), json!(name));
    }
    if !calls.is_empty() {
        message.insert("tool_calls".to_owned(), calls.iter().map(call).collect());
    }
    Json::Object(message)
}

/// A call that the model made. Servers refuse names and arguments that are not well-formed, even where their own model wrote them,
/// and a refused history could never be asked again.
fn call(call: &Call) -> Json {
    let name = fit_name(&call.name).unwrap_or_else(|| "unknown".to_owned());
    let arguments = match serde_json::from_str::<Map<String, Json>>(&call.arguments) {
        Ok(_) => call.arguments.clone(),
        Err(_) if call.arguments.trim().is_empty() => "{}".to_owned(),
        Err(_) => json!({ "not_a_json_object": call.arguments }).to_string(),
    };
    json!({ "id": call.id, "type": "function", "function": { "name": name, "arguments": arguments } })
}

fn tool(tool: &ToolDefinition) -> Json {
    let mut parameters = tool.parameters.clone();
    // A tool without arguments: OpenAI wants to see that there are none.
    if let Json::Object(schema) = &mut parameters
        && schema.get("type").is_some_and(|kind| kind == "object")
    {
        schema.entry("properties").or_insert_with(|| json!({}));
    }
    json!({
        "type": "function",
        "function": { "name": tool.name, "description": tool.description, "parameters": parameters },
    })
}

/// A name as the API permits it: `^[a-zA-Z0-9_-]{1,64}$`.
fn fit_name(name: &str) -> Option<String> {
    let fit = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
    let name: String = name.trim().chars().map(fit).take(64).collect();
    name.contains(|c| c != '_').then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::test_support::request;

    fn call_of(name: &str, arguments: &str) -> Call {
        Call { id: "call_1".to_owned(), name: name.to_owned(), arguments: arguments.to_owned() }
    }

    #[test]
    fn every_kind_of_message_is_written() {
        let messages = vec![
            PromptMessage::System { text: "Be kind.".into() },
            PromptMessage::User { text: "Hi".into() },
            PromptMessage::Assistant { name: Some("Refund Agent".into()), text: "Hello".into(), calls: vec![] },
            PromptMessage::Assistant { name: None, text: String::new(), calls: vec![call_of("look_up", r#"{"order": 1}"#)] },
            PromptMessage::Tool { call: "call_1".into(), name: "look_up".into(), content: "late".into() },
        ];
        let parameters = BTreeMap::from([("temperature".to_owned(), json!(0.5)), ("stream_options".to_owned(), Json::Null)]);
        let mut request = request("triage", messages);
        request.tools =
            [ToolDefinition { name: "look_up".into(), description: "Looks up.".into(), parameters: json!({ "type": "object" }) }].into();
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
        assert_eq!(body(&request, "m", true, &parameters), expected);
    }

    #[test]
    fn without_tools_and_streaming_neither_is_mentioned() {
        let body = body(&request("triage", vec![]), "m", false, &BTreeMap::new());
        assert_eq!(body, json!({ "model": "m", "messages": [], "stream": false }));
    }

    #[test]
    fn what_a_model_wrote_badly_does_not_spoil_every_later_request() {
        for (name, arguments, fit, written) in [
            ("look up!", "", "look_up_", "{}"),
            ("", "{}", "unknown", "{}"),
            ("x", r#"{"a": "#, "x", r#"{"not_a_json_object":"{\"a\": "}"#),
            ("x", "[1]", "x", r#"{"not_a_json_object":"[1]"}"#),
        ] {
            let function = &call(&call_of(name, arguments))["function"];
            assert_eq!((&function["name"], &function["arguments"]), (&json!(fit), &json!(written)));
        }
    }

    #[test]
    fn speakers_get_names_that_the_api_permits() {
        for (name, expected) in [
            ("OrderStatusAgent", Some("OrderStatusAgent".to_owned())),
            (" Jürgen M. ", Some("J_rgen_M_".to_owned())),
            ("退款", None),
            ("", None),
            (&"x".repeat(70), Some("x".repeat(64))),
        ] {
            assert_eq!(fit_name(name), expected, "{name:?}");
        }
    }
}
