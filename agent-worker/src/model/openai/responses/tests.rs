//! Against a server that behaves as OpenAI's Responses API does, well and badly.

use std::future::ready;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use futures::{StreamExt, stream};
use protocol::event::{Json, Responded, Usage};
use protocol::history::PromptMessage;
use protocol::manifest::Api;
use protocol::orchestration::Endpoint;
use serde_json::json;

use crate::model::build::ConfigError;
use crate::model::openai::OpenAi;
use crate::model::test_server::{Server, reply};
use crate::model::test_support::{Heard, endpoint, http, request};
use crate::model::{Model, ModelError, Request};

const EVENTS: &[(&str, &str)] = &[("content-type", "text/event-stream")];
const JSON: &[(&str, &str)] = &[("content-type", "application/json")];

fn try_model(base: &str, edit: impl FnOnce(&mut Endpoint)) -> Result<OpenAi, ConfigError> {
    let mut endpoint = Endpoint { api: Api::Responses, ..endpoint(Some(base.to_owned())) };
    edit(&mut endpoint);
    let environment = |name: &str| (name == "OPENAI_API_KEY").then(|| "sk-secret-1234".to_owned());
    let mut model = OpenAi::new(&endpoint, &environment, http())?;
    model.bounds.backoff = Duration::from_millis(1);
    Ok(model)
}

fn hi() -> Request<'static> {
    request("triage", vec![PromptMessage::System { text: "Be kind.".into() }, PromptMessage::User { text: "hi".into() }])
}

/// What a server that always answers like this is understood to say, what was heard of it, and how often it was asked.
async fn heard(answer: impl Fn() -> Response + Clone + Send + Sync + 'static) -> (Result<Responded, ModelError>, Vec<String>, usize) {
    let server = Server::start(move |_| ready(answer())).await;
    let mut heard = Heard::default();
    let response = try_model(&server.url, |_| {}).unwrap().respond(&hi(), &mut heard).await;
    (response, heard.0, server.arrived().len())
}

async fn understood(events: &[Json]) -> Result<Responded, ModelError> {
    let answer = written(events);
    heard(move || reply(200, EVENTS, answer.clone())).await.0
}

/// As OpenAI writes events: with their type twice, and without a `[DONE]` at the end.
fn written(events: &[Json]) -> String {
    events.iter().map(|event| format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap())).collect()
}

fn text(text: &str) -> Json {
    json!({ "type": "response.output_text.delta", "item_id": "msg_1", "output_index": 0, "content_index": 0, "delta": text })
}

fn over(kind: &str, response: impl Into<Json>) -> Json {
    json!({ "type": format!("response.{kind}"), "response": response.into() })
}

fn completed() -> Json {
    over("completed", json!({ "status": "completed", "model": "gpt-5-mini-2025", "output": [] }))
}

fn call(call_id: &str, name: &str, arguments: &str) -> Json {
    json!({ "type": "function_call", "id": format!("fc_{call_id}"), "call_id": call_id, "name": name, "arguments": arguments })
}

fn item(kind: &str, output_index: i64, item: &Json) -> Json {
    json!({ "type": format!("response.output_item.{kind}"), "output_index": output_index, "item": item })
}

fn arguments(output_index: i64, delta: &str) -> Json {
    json!({ "type": "response.function_call_arguments.delta", "output_index": output_index, "delta": delta })
}

fn shown_calls(response: &Responded) -> Vec<(&str, &str, &str)> {
    response.calls.iter().map(|call| (call.id.as_str(), call.name.as_str(), call.arguments.as_str())).collect()
}

fn document() -> Json {
    json!({
        "id": "resp_1", "object": "response", "status": "completed", "model": "m", "error": null, "incomplete_details": null,
        "output": [
            { "type": "reasoning", "id": "rs_1", "summary": [], "content": [{ "type": "reasoning_text", "text": "hidden" }] },
            { "type": "message", "role": "assistant", "content": [{ "type": "output_text", "text": "Good day.", "annotations": [] }] },
            call("call_a", "look_up", "{\"order\":1}"),
            call("call_b", "transfer_to_refund", ""),
        ],
        "usage": { "input_tokens": 10, "input_tokens_details": { "cached_tokens": 8 }, "output_tokens": 3, "total_tokens": 13 },
    })
}

fn expected(model: &str) -> Responded {
    let call =
        |id: &str, name: &str, arguments: &str| protocol::event::Call { id: id.into(), name: name.into(), arguments: arguments.into() };
    Responded {
        text: "Good day.".into(),
        calls: vec![call("call_a", "look_up", "{\"order\":1}"), call("call_b", "transfer_to_refund", "{}")],
        model: model.into(),
        usage: Some(Usage { input_tokens: 10, output_tokens: 3, cached_tokens: 8 }),
    }
}

#[tokio::test]
async fn a_streamed_answer_is_heard_piece_by_piece_and_comes_back_whole() {
    let answer = written(&[
        json!({ "type": "response.created", "response": { "status": "in_progress", "output": [] } }),
        item("added", 0, &json!({ "type": "reasoning", "summary": [] })),
        json!({ "type": "response.reasoning_summary_text.delta", "output_index": 0, "delta": "hidden" }),
        item("added", 1, &json!({ "type": "message", "content": [] })),
        text("Good "),
        text("day."),
        json!({ "type": "response.output_text.done", "output_index": 1, "text": "Good day." }),
        item("done", 1, &json!({ "type": "message", "content": [{ "type": "output_text", "text": "Good day." }] })),
        item("added", 2, &call("call_a", "look_up", "")),
        arguments(2, "{\"order\":"),
        item("added", 3, &call("call_b", "transfer_to_refund", "")),
        arguments(2, "1}"),
        json!({ "type": "response.function_call_arguments.done", "output_index": 2, "arguments": "{\"order\":1}" }),
        item("done", 2, &call("call_a", "look_up", "{\"order\":1}")),
        item("done", 3, &call("call_b", "transfer_to_refund", "")),
        over("completed", document()),
    ]);
    let (response, heard, _) = heard(move || reply(200, EVENTS, answer.clone())).await;
    assert_eq!(heard, ["Good ", "day."]);
    assert_eq!(response.unwrap(), expected("m"));
}

#[tokio::test]
async fn answers_that_are_not_streamed_are_understood_whether_or_not_streaming_was_asked_for() {
    let pretty = serde_json::to_string_pretty(&document()).unwrap();
    for stream in [true, false] {
        let pretty = pretty.clone();
        let server = Server::start(move |_| ready(reply(200, JSON, pretty.clone()))).await;
        let mut heard = Heard::default();
        let response = try_model(&server.url, |e| e.stream = stream).unwrap().respond(&hi(), &mut heard).await.unwrap();
        assert_eq!((heard.0.concat().as_str(), response), ("Good day.", expected("m")));
        let asked = json!({
            "model": "gpt-5-mini", "instructions": "Be kind.", "input": [{ "role": "user", "content": "hi" }],
            "stream": stream, "store": false,
        });
        assert_eq!(server.arrived()[0].json(), asked);
        assert_eq!(server.arrived()[0].uri.to_string(), "/responses");
        assert_eq!(server.arrived()[0].header("authorization"), Some("Bearer sk-secret-1234"));
    }
}

#[tokio::test]
async fn what_only_some_events_say_is_understood() {
    // Everything in the last event; or calls as whole items, without indices.
    assert_eq!(understood(&[over("completed", document())]).await.unwrap(), expected("m"));
    let added = |call: Json| json!({ "type": "response.output_item.done", "item": call });
    let response = understood(&[added(call("a", "x", "{}")), added(call("b", "x", "{}")), completed()]).await.unwrap();
    assert_eq!(shown_calls(&response), [("a", "x", "{}"), ("b", "x", "{}")]);
    // A refusal is what the model says.
    let refusal = json!({ "type": "response.refusal.delta", "delta": "I will not." });
    assert_eq!(understood(&[refusal, completed()]).await.unwrap().text, "I will not.");
}

#[tokio::test]
async fn an_answer_is_over_although_the_connection_stays() {
    let first = || stream::iter([std::io::Result::Ok(written(&[text("hi"), completed()]))]);
    let (response, ..) = heard(move || reply(200, EVENTS, Body::from_stream(first().chain(stream::pending())))).await;
    assert_eq!(response.unwrap().text, "hi");
}

#[tokio::test]
async fn what_passes_is_tried_again_and_what_was_written_is_withdrawn() {
    let failed = over("failed", json!({ "status": "failed", "error": { "code": "server_error", "message": "oops" } }));
    let limited = json!({ "type": "error", "code": "rate_limit_exceeded", "message": "slow down", "param": null });
    let server = Server::start(move |number| {
        ready(match number {
            0 => reply(429, &[("retry-after-ms", "1")], ""),
            1 => reply(200, EVENTS, written(&[text("Hel")])),
            2 => reply(200, EVENTS, written(&[text("Hello, "), failed.clone()])),
            3 => reply(200, EVENTS, written(std::slice::from_ref(&limited))),
            _ => reply(200, EVENTS, written(&[text("Hello."), completed()])),
        })
    })
    .await;
    let mut heard = Heard::default();
    let response = try_model(&server.url, |e| e.retries = 4).unwrap().respond(&hi(), &mut heard).await.unwrap();
    assert_eq!((response.text.as_str(), server.arrived().len()), ("Hello.", 5));
    assert_eq!(heard.0, ["[reset]", "Hello."]);
}

#[tokio::test]
async fn a_refusal_is_told_apart_from_an_answer_that_is_cut_off() {
    let filtered = |output: Json| over("incomplete", json!({ "output": output, "incomplete_details": { "reason": "content_filter" } }));
    let expected = ModelError::Refused("the provider's content filter withheld the answer".to_owned());
    assert_eq!(understood(&[filtered(json!([]))]).await, Err(expected));
    assert_eq!(understood(&[text("Some"), filtered(json!([]))]).await.unwrap().text, "Some");
    let cut = over("incomplete", json!({ "incomplete_details": { "reason": "max_output_tokens" } }));
    assert_eq!(understood(&[text("Some"), cut]).await.unwrap().text, "Some");
    for error in [
        json!({ "type": "error", "error": { "type": "invalid_request_error", "message": "too long" } }),
        json!({ "type": "error", "code": "context_length_exceeded", "message": "too long" }),
        over("failed", json!({ "error": { "code": "invalid_prompt", "message": "too long" } })),
    ] {
        assert_eq!(understood(&[error]).await, Err(ModelError::Refused("too long".into())));
    }
}

#[tokio::test]
async fn garbage_is_told_apart_and_not_asked_for_again() {
    let huge = "x".repeat(64 * 1024);
    let many: Vec<Json> = (0..300).map(|n| item("added", n, &call(&n.to_string(), "x", ""))).collect();
    for (headers, body, expected) in [
        (JSON, "{\"output\": [".to_owned(), "sent no JSON"),
        (JSON, "[]".to_owned(), "no response"),
        (JSON, "{}".to_owned(), "no response"),
        (JSON, json!({ "status": "in_progress", "output": [] }).to_string(), "not finished"),
        (JSON, json!({ "output": 7 }).to_string(), "invalid type"),
        (EVENTS, "data: {\"type\": oops}\n\n".to_owned(), "expected value"),
        (EVENTS, written(&[json!({ "type": "response.output_text.delta", "delta": 7 })]), "invalid type"),
        (EVENTS, written(&[json!({ "type": "response.completed" })]), "invalid type"),
        (EVENTS, written(&[json!({ "type": "response.output_item.added", "item": [] })]), "invalid"),
        (EVENTS, written(&vec![text(&huge); 20]), "bytes of text"),
        (EVENTS, written(&vec![arguments(0, &huge); 20]), "bytes of arguments"),
        (EVENTS, written(&many), "more than 256 calls"),
        (EVENTS, format!("data: \"{}", "x".repeat(3 * 1024 * 1024)), "larger than any answer may be"),
    ] {
        let (response, _, asked) = heard(move || reply(200, headers, body.clone())).await;
        let error = response.unwrap_err();
        assert!(matches!(&error, ModelError::Garbled(problem) if problem.contains(expected)), "{expected}: {error}");
        assert!(error.to_string().len() < 1000 && asked == 1, "{expected}");
    }
}

#[tokio::test]
async fn azure_has_addresses_of_its_own() {
    let server = Server::start(|_| ready(reply(200, JSON, document().to_string()))).await;
    for (path, version, expected) in [
        ("", None, "/openai/v1/responses"),
        ("/openai/v1/", None, "/openai/v1/responses"),
        ("", Some("2025-03-01-preview"), "/openai/responses?api-version=2025-03-01-preview"),
    ] {
        let base = format!("{}{path}", server.url);
        let model = try_model(&base, |e| (e.provider, e.api_version) = ("azure".into(), version.map(str::to_owned))).unwrap();
        model.respond(&hi(), &mut ()).await.unwrap();
        let arrived = server.arrived().pop().unwrap();
        assert_eq!(arrived.uri.to_string(), expected);
        assert_eq!((arrived.header("api-key"), arrived.json()["model"].as_str()), (Some("sk-secret-1234"), Some("gpt-5-mini")));
    }
}

#[test]
fn nobody_has_answers_stored_with_the_provider_by_a_parameter() {
    for name in ["store", "previous_response_id", "conversation", "background"] {
        let error = try_model("http://x/v1", |e| _ = e.parameters.insert(name.into(), json!(true))).unwrap_err().to_string();
        assert!(error.ends_with(&format!("parameter `{name}`: Baton sets this field itself")), "{error}");
    }
}
