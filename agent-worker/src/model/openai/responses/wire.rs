//! A request in the words of the Responses API; as JSON, as for Chat Completions.

use protocol::event::{Call, Json};
use protocol::history::PromptMessage;
use protocol::orchestration::Endpoint;
use serde_json::{Map, json};

use crate::model::openai::fit;
use crate::model::{Request, ToolDefinition};

/// The fields that a definition's parameters may not set.
pub(in crate::model::openai) const RESERVED: &[&str] =
    &["background", "conversation", "input", "instructions", "model", "previous_response_id", "store", "stream", "tools"];

/// The body of a request.
pub(in crate::model::openai) fn body(request: &Request, model: &str, endpoint: &Endpoint) -> Json {
    let (instructions, messages) = match request.messages.split_first() {
        Some((PromptMessage::System { text }, rest)) => (Some(text), rest),
        _ => (None, request.messages.as_slice()),
    };
    let mut body = Map::new();
    body.insert("model".to_owned(), json!(model));
    if let Some(instructions) = instructions {
        body.insert("instructions".to_owned(), json!(instructions));
    }
    body.insert("input".to_owned(), messages.iter().flat_map(items).collect());
    if !request.tools.is_empty() {
        body.insert("tools".to_owned(), request.tools.iter().map(tool).collect());
    }
    if let Some(choice) = fit::tool_choice(request, endpoint, allowed) {
        body.insert("tool_choice".to_owned(), choice);
    }
    body.insert("stream".to_owned(), json!(endpoint.stream));
    body.insert("store".to_owned(), json!(false));
    body.extend(endpoint.parameters.clone());
    if let Some(format) = fit::format(request.output.as_ref(), endpoint, !request.tools.is_empty())
        && let Json::Object(text) = body.entry("text").or_insert_with(|| json!({}))
    {
        let kind = ("type".to_owned(), json!("json_schema"));
        text.entry("format").or_insert_with(|| format.into_iter().chain([kind]).collect());
    }
    Json::Object(body)
}

fn items(message: &PromptMessage) -> Vec<Json> {
    match message {
        PromptMessage::System { text } => vec![said("system", text)],
        PromptMessage::User { text } => vec![said("user", text)],
        PromptMessage::Assistant { name, text, calls } => {
            // Messages have no names here: who else speaks stands before what is said.
            let text = match name {
                Some(name) if !text.is_empty() => format!("{name}: {text}"),
                _ => text.clone(),
            };
            let text = Some(text).filter(|text| !text.is_empty()).map(|text| said("assistant", &text));
            text.into_iter().chain(calls.iter().map(call)).collect()
        }
        PromptMessage::Tool { call, content, .. } => vec![json!({ "type": "function_call_output", "call_id": call, "output": content })],
    }
}

fn said(role: &str, text: &str) -> Json {
    json!({ "role": role, "content": text })
}

fn call(call: &Call) -> Json {
    let (name, arguments) = fit::call(call);
    json!({ "type": "function_call", "call_id": call.id, "name": name, "arguments": arguments })
}

/// Here, unlike there, a tool's schema counts as a strict one unless it says that it is none.
fn tool(tool: &ToolDefinition) -> Json {
    json!({ "type": "function", "name": tool.name, "description": tool.description, "parameters": fit::parameters(tool), "strict": false })
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
        let silent = PromptMessage::Assistant { name: Some("A".into()), text: String::new(), calls: vec![] };
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
