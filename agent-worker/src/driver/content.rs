//! What people and models said, as OpenTelemetry's GenAI conventions want it in spans: messages of parts, in JSON. Only ever
//! called where the process was told to record it.

use protocol::event::{Call, Json, Responded};
use protocol::history::PromptMessage;
use serde_json::json;

/// What a model is sent.
pub(super) fn input(messages: &[PromptMessage<'_>]) -> String {
    Json::from_iter(messages.iter().map(message)).to_string()
}

/// What a model answered, and why it stopped.
pub(super) fn output(response: &Responded, finish_reason: &str) -> String {
    let parts = parts(&response.text, &response.calls);
    json!([{ "role": "assistant", "parts": parts, "finish_reason": finish_reason }]).to_string()
}

fn message(message: &PromptMessage<'_>) -> Json {
    match message {
        PromptMessage::System { text } => json!({ "role": "system", "parts": parts(text, &[]) }),
        PromptMessage::User { text } => json!({ "role": "user", "parts": parts(text, &[]) }),
        PromptMessage::Assistant { name: None, text, calls } => json!({ "role": "assistant", "parts": parts(text, calls) }),
        PromptMessage::Assistant { name, text, calls } => json!({ "role": "assistant", "name": name, "parts": parts(text, calls) }),
        PromptMessage::Tool { call, content, .. } => {
            json!({ "role": "tool", "parts": [{ "type": "tool_call_response", "id": call, "response": content }] })
        }
    }
}

fn parts(text: &str, calls: &[Call]) -> Vec<Json> {
    let text = Some(text).filter(|text| !text.is_empty()).map(|text| json!({ "type": "text", "content": text }));
    let calls =
        calls.iter().map(|call| json!({ "type": "tool_call", "id": call.id, "name": call.name, "arguments": arguments(&call.arguments) }));
    text.into_iter().chain(calls).collect()
}

/// Arguments as they are meant, or as they were written where that is no JSON.
fn arguments(written: &str) -> Json {
    serde_json::from_str(written).unwrap_or_else(|_| written.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(arguments: &str) -> Call {
        Call { id: "call-1".to_owned(), name: "check".to_owned(), arguments: arguments.to_owned() }
    }

    #[test]
    fn messages_are_made_of_parts() {
        let messages = [
            PromptMessage::System { text: "Be brief.".into() },
            PromptMessage::User { text: "Where is it?".into() },
            PromptMessage::Assistant { name: Some("Triage".into()), text: "A moment.".into(), calls: vec![].into() },
            PromptMessage::Assistant { name: None, text: "".into(), calls: vec![call(r#"{"order":7}"#)].into() },
            PromptMessage::Tool { call: "call-1".into(), name: "check".into(), content: "Shipped.".into() },
        ];
        let text = |text: &str| json!([{ "type": "text", "content": text }]);
        let expected = json!([
            { "role": "system", "parts": text("Be brief.") },
            { "role": "user", "parts": text("Where is it?") },
            { "role": "assistant", "name": "Triage", "parts": text("A moment.") },
            { "role": "assistant", "parts": [{ "type": "tool_call", "id": "call-1", "name": "check", "arguments": { "order": 7 } }] },
            { "role": "tool", "parts": [{ "type": "tool_call_response", "id": "call-1", "response": "Shipped." }] },
        ]);
        assert_eq!(serde_json::from_str::<Json>(&input(&messages)).unwrap(), expected);
    }

    #[test]
    fn an_answer_has_its_text_and_its_calls_as_they_were_written() {
        let response = Responded { text: "One moment.".to_owned(), calls: vec![call("{order")], ..Responded::default() };
        let expected = json!([{
            "role": "assistant",
            "parts": [
                { "type": "text", "content": "One moment." },
                { "type": "tool_call", "id": "call-1", "name": "check", "arguments": "{order" },
            ],
            "finish_reason": "tool_calls",
        }]);
        assert_eq!(serde_json::from_str::<Json>(&output(&response, "tool_calls")).unwrap(), expected);
    }
}
