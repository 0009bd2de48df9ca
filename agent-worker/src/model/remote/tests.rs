//! Against services that behave, well and badly.

use std::collections::BTreeMap;
use std::future::ready;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use futures::{StreamExt, stream};
use protocol::event::{Json, Usage};
use serde_json::json;

use super::*;
use crate::model::test_server::{Server, reply};
use crate::model::test_support::{Heard, every_kind_of_message, http};

const JSON: &[(&str, &str)] = &[("content-type", "application/json")];
const LINES: &[(&str, &str)] = &[("content-type", "application/x-ndjson")];
const EVENTS: &[(&str, &str)] = &[("content-type", "text/event-stream; charset=utf-8")];

fn remote(url: &str) -> Remote {
    Remote { url: url.to_owned(), headers: BTreeMap::new(), timeout_secs: 30, retries: 2 }
}

fn try_agent(remote: &Remote) -> Result<RemoteAgent, ConfigError> {
    let environment = |name: &str| (name == "TOKEN").then(|| "secret-1234".to_owned());
    let mut agent = RemoteAgent::new(remote, &environment, http())?;
    agent.bounds.backoff = Duration::from_millis(1);
    Ok(agent)
}

fn agent(url: &str) -> RemoteAgent {
    try_agent(&remote(url)).unwrap()
}

/// What a service that always answers like this is understood to say, what was heard of it, and how often it was asked.
async fn heard(answer: impl Fn() -> Response + Clone + Send + Sync + 'static) -> (Result<Responded, ModelError>, Vec<String>, usize) {
    let server = Server::start(move |_| ready(answer())).await;
    let mut heard = Heard::default();
    let response = agent(&server.url).respond(&every_kind_of_message(), &mut heard).await;
    (response, heard.0, server.arrived().len())
}

async fn understood(headers: &'static [(&str, &str)], body: &str) -> Result<Responded, ModelError> {
    let body = body.to_owned();
    heard(move || reply(200, headers, body.clone())).await.0
}

fn calls(response: &Responded) -> Vec<(&str, &str, &str)> {
    response.calls.iter().map(|call| (call.id.as_str(), call.name.as_str(), call.arguments.as_str())).collect()
}

#[tokio::test]
async fn a_question_says_all_that_the_agent_sees() {
    let server = Server::start(|_| ready(reply(200, JSON, r#"{"text":"ok"}"#))).await;
    let headers = BTreeMap::from([("Authorization".to_owned(), "Bearer ${TOKEN}".to_owned())]);
    let agent = try_agent(&Remote { headers, ..remote(&format!("{}/agents/refund?tenant=a", server.url)) }).unwrap();
    let request = every_kind_of_message();
    agent.respond(&request, &mut ()).await.unwrap();
    let arrived = &server.arrived()[0];
    assert_eq!((arrived.method.as_str(), arrived.uri.to_string().as_str()), ("POST", "/agents/refund?tenant=a"));
    assert_eq!(arrived.header("authorization"), Some("Bearer secret-1234"));
    assert_eq!(arrived.header("content-type"), Some("application/json"));
    let expected = json!({
        "agent": "triage",
        "conversation": request.conversation,
        "messages": [
            { "role": "system", "text": "Be kind." },
            { "role": "user", "text": "Hi" },
            { "role": "assistant", "name": "Refund Agent", "text": "Hello" },
            { "role": "assistant", "text": "", "calls": [{ "id": "call_1", "name": "look_up", "arguments": { "order": 1 } }] },
            { "role": "tool", "call": "call_1", "name": "look_up", "text": "late" },
        ],
        "tools": [{ "name": "look_up", "description": "Looks up.", "parameters": { "type": "object" } }],
    });
    assert_eq!(arrived.json(), expected);
    let output = json!({ "type": "object" });
    agent.respond(&Request { output: Some(output.clone()), ..request }, &mut ()).await.unwrap();
    assert_eq!(server.arrived()[1].json()["output"], output);
}

#[tokio::test]
async fn the_same_question_has_the_same_key_and_no_other_has() {
    let server = Server::start(|number| ready(if number == 0 { reply(503, &[], "") } else { reply(200, JSON, r#"{"text":""}"#) })).await;
    let mut request = every_kind_of_message();
    agent(&server.url).respond(&request, &mut ()).await.unwrap();
    // Another worker, after the first one died.
    agent(&server.url).respond(&request, &mut ()).await.unwrap();
    request.messages.pop();
    agent(&server.url).respond(&request, &mut ()).await.unwrap();
    let arrived = server.arrived();
    let keys: Vec<&str> = arrived.iter().map(|arrived| arrived.header("idempotency-key").unwrap()).collect();
    assert!(keys.len() == 4 && keys[0] == keys[1] && keys[1] == keys[2] && keys[2] != keys[3], "{keys:?}");
}

#[tokio::test]
async fn a_document_is_an_answer() {
    let body = json!({
        "text": "One moment.", "model": "house-1", "usage": { "input_tokens": 10, "output_tokens": 3 }, "unheard_of": [1],
        "calls": [{ "id": "a", "name": "x", "arguments": { "n": 1 } }, { "id": "a", "name": "y", "arguments": "{\"n\":2}" }, { "name": "z" }],
    });
    let body = serde_json::to_string_pretty(&body).unwrap();
    let (response, heard, _) = heard(move || reply(200, JSON, body.clone())).await;
    let response = response.unwrap();
    assert_eq!((response.text.as_str(), heard.concat().as_str(), response.model.as_str()), ("One moment.", "One moment.", "house-1"));
    assert_eq!(calls(&response), [("a", "x", r#"{"n":1}"#), ("call_baton_6", "y", r#"{"n":2}"#), ("call_baton_7", "z", "{}")]);
    assert_eq!(response.usage, Some(Usage { input_tokens: 10, output_tokens: 3, cached_tokens: 0 }));
}

#[tokio::test]
async fn a_transfer_and_an_end_can_be_said_in_short() {
    for (body, expected) in [
        (json!({ "transfer": { "to": "refund" } }), ("transfer_to_refund", "{}")),
        (
            json!({ "transfer": { "to": "refund", "reason": "money", "payload": { "n": 1 } } }),
            ("transfer_to_refund", r#"{"payload":{"n":1},"reason":"money"}"#),
        ),
        (json!({ "complete": "done" }), ("complete_task", r#"{"task_summary":"done"}"#)),
    ] {
        let response = understood(JSON, &body.to_string()).await.unwrap();
        let [call] = &response.calls[..] else { panic!("{response:?}") };
        let arguments: Json = serde_json::from_str(&call.arguments).unwrap();
        assert_eq!((call.name.as_str(), arguments), (expected.0, serde_json::from_str(expected.1).unwrap()));
    }
}

#[tokio::test]
async fn pieces_are_heard_one_by_one_as_events_or_lines() {
    let pieces = [json!({ "text": "Good " }), json!({ "text": "day.", "model": "m" }), json!({ "transfer": { "to": "refund" } })];
    let events: String = pieces.iter().map(|piece| format!(": still here\nevent: piece\ndata: {piece}\n\n")).collect();
    let lines: String = pieces.iter().map(|piece| format!("{piece}\r\n")).collect();
    for (headers, body) in [
        (EVENTS, format!("{events}data: {{\"done\":true}}\n\n")),
        (EVENTS, format!("{events}data: [DONE]\n\n")),
        (LINES, format!("{lines}{{\"done\":true,\"usage\":{{}}}}")),
        (LINES, format!("{lines}{{\"done\":true}}\nwhat follows does not matter")),
    ] {
        let (response, heard, _) = heard(move || reply(200, headers, body.clone())).await;
        let response = response.unwrap();
        assert_eq!(heard, ["Good ", "day."]);
        assert_eq!((response.text.as_str(), response.model.as_str()), ("Good day.", "m"));
        assert_eq!(calls(&response), [("call_baton_5", "transfer_to_refund", "{}")]);
    }
}

#[tokio::test]
async fn what_passes_is_tried_again_and_what_was_written_is_withdrawn() {
    let cut = || stream::iter([Ok("{\"text\":\"Hel\"}\n".to_owned()), Err(std::io::Error::other("cut"))]);
    let server = Server::start(move |number| {
        ready(match number {
            0 => reply(500, &[("content-type", "application/problem+json")], r#"{"title":"Oops","detail":"the disk is full"}"#),
            1 => reply(429, &[("retry-after", "0")], ""),
            2 => reply(200, LINES, Body::from_stream(cut())),
            3 => reply(200, LINES, "{\"text\":\"Hel\"}\n"),
            4 => reply(200, LINES, "{\"text\":\"Hello.\"}\n{\"do"),
            5 => reply(200, JSON, "{\"text\":\"Hello."),
            6 => reply(200, EVENTS, "data: {\"text\":\"Hel\"}\n\ndata: {\"error\":\"overloaded\"}\n\n"),
            7 => reply(200, EVENTS, "data: {\"text\":\"Hel\"}\n\ndata: {\"done\":true}"),
            _ => reply(200, JSON, "{\"text\":\"Hello.\"}"),
        })
    })
    .await;
    let mut heard = Heard::default();
    let agent = try_agent(&Remote { retries: 9, ..remote(&server.url) }).unwrap();
    let response = agent.respond(&every_kind_of_message(), &mut heard).await.unwrap();
    assert_eq!((response.text.as_str(), server.arrived().len()), ("Hello.", 9));
    assert_eq!(heard.0, ["[reset]", "Hello."]);
    assert_eq!(response.model, server.url.trim_start_matches("http://"));
}

#[tokio::test]
async fn problems_are_told_in_the_service_s_words_without_the_secrets() {
    let problem = &[("content-type", "application/problem+json")][..];
    for (status, headers, body, expected) in [
        (400, problem, r#"{"type":"about:blank","title":"Bad","status":400,"detail":"no such tenant"}"#, "400 Bad Request: no such tenant"),
        (422, problem, r#"{"title":"Not for me"}"#, "422 Unprocessable Entity: Not for me"),
        (401, JSON, "\"secret-1234 is wrong\"", "401 Unauthorized: [key] is wrong (who calls URL is said by `remote.headers`)"),
        (404, &[], "", "404 Not Found (does URL take POST requests of remote agents? Check `remote.url`)"),
        (308, &[], "", "308 Permanent Redirect (URL redirects, which is not followed: give the address it redirects to as `remote.url`)"),
        (200, JSON, r#"{"error":{"message":"not for me","status":422}}"#, "not for me"),
    ] {
        let server = Server::start(move |_| ready(reply(status, headers, body))).await;
        let headers = BTreeMap::from([("X-Key".to_owned(), "Bearer ${TOKEN}".to_owned())]);
        let agent = try_agent(&Remote { headers, ..remote(&format!("{}/?key=hidden", server.url)) }).unwrap();
        let error = agent.respond(&every_kind_of_message(), &mut ()).await.unwrap_err();
        assert_eq!(error, ModelError::Refused(expected.replace("URL", &server.url)));
        assert_eq!(server.arrived().len(), 1);
        let printed = format!("{agent:?}");
        assert!(printed.contains(&server.url) && !printed.contains("hidden") && !printed.contains("secret"), "{printed}");
    }
}

#[tokio::test]
async fn a_service_that_asks_for_a_pause_or_is_not_there_is_believed() {
    let server = Server::start(|_| ready(reply(503, &[("retry-after", "30")], "back soon"))).await;
    let ModelError::Later { wait, .. } = agent(&server.url).respond(&every_kind_of_message(), &mut ()).await.unwrap_err() else { panic!() };
    assert_eq!((wait, server.arrived().len()), (Duration::from_secs(30), 1));

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let ModelError::Unavailable(problem) = agent(&url).respond(&every_kind_of_message(), &mut ()).await.unwrap_err() else { panic!() };
    assert!(problem.starts_with(&format!("nothing answers at {url}: ")) && problem.ends_with("(asked 3 times)"), "{problem}");
}

#[tokio::test]
async fn a_service_that_hangs_is_given_up_at_any_stage() {
    let begun = |text: &'static str| Body::from_stream(stream::iter([std::io::Result::Ok(text)]).chain(stream::pending()));
    type Start = (&'static [(&'static str, &'static str)], &'static str, &'static str);
    let starts: [Start; 3] =
        [(JSON, "{", "no complete answer from"), (LINES, "", "no complete answer from"), (LINES, "{\"text\":\"a\"}\n", "fell silent for")];
    for (headers, text, expected) in starts {
        let server = Server::start(move |_| ready(reply(200, headers, begun(text)))).await;
        let mut agent = try_agent(&Remote { retries: 1, ..remote(&server.url) }).unwrap();
        agent.bounds.request = Duration::from_millis(if expected.starts_with("fell") { 60_000 } else { 60 });
        agent.bounds.idle = Duration::from_millis(60);
        let ModelError::Unavailable(problem) = agent.respond(&every_kind_of_message(), &mut ()).await.unwrap_err() else { panic!() };
        assert!(problem.contains(expected) && problem.ends_with("(asked 2 times)"), "{problem}");
    }
}

#[tokio::test]
async fn garbage_is_told_apart_and_not_asked_for_again() {
    let many = |count: usize| json!({ "calls": vec![json!({ "name": "x" }); count] }).to_string();
    let line = format!("{{\"text\":\"{}\"}}\n", "x".repeat(64 * 1024));
    let deep = format!("{{\"calls\":[{{\"name\":\"x\",\"arguments\":{}{}}}]}}", "[".repeat(10_000), "]".repeat(10_000));
    for (headers, body, expected) in [
        (JSON, "<html>Welcome to the hotel's network".to_owned(), "<html>Welcome"),
        (JSON, "{}".to_owned(), "neither text nor calls, transfer or complete"),
        (JSON, "7".to_owned(), "invalid type"),
        (JSON, "{\"text\": 7}".to_owned(), "invalid type"),
        (JSON, "{\"calls\": [{}]}".to_owned(), "missing field `name`"),
        (JSON, "{\"calls\": {}}".to_owned(), "invalid type"),
        (JSON, "{\"transfer\": \"refund\"}".to_owned(), "invalid type"),
        (JSON, "{\"usage\": {\"input_tokens\": -1}, \"text\": \"\"}".to_owned(), "invalid value"),
        (JSON, "{\"text\":\"a\"}\n{\"text\":\"b\"}".to_owned(), "trailing characters"),
        (JSON, deep, "recursion limit"),
        (JSON, format!("{{\"text\":\"{}\"}}", "x".repeat(3 * 512 * 1024)), "bytes of text"),
        (JSON, "x".repeat(10 * 1024 * 1024), "larger than any answer may be"),
        (JSON, many(300), "more than 256 calls"),
        (LINES, "x".repeat(10 * 1024 * 1024), "larger than any answer may be"),
        (LINES, line.repeat(20), "bytes of text"),
        (LINES, "{\"done\":true}\n".to_owned(), "neither text nor calls"),
        (EVENTS, "data: {\"text\": oops}\n\n".to_owned(), "expected value"),
        (EVENTS, format!("data: \"{}", "x".repeat(10 * 1024 * 1024)), "larger than any answer may be"),
        (EVENTS, format!("data: {}\n", "x".repeat(1024)).repeat(10 * 1024), "larger than any answer may be"),
    ] {
        let (response, _, asked) = heard(move || reply(200, headers, body.clone())).await;
        let error = response.unwrap_err();
        assert!(matches!(&error, ModelError::Garbled(problem) if problem.contains(expected)), "{expected}: {error}");
        assert!(error.to_string().len() < 1000 && asked == 1, "{expected}");
    }
}

#[test]
fn a_definition_that_cannot_be_used_is_refused_with_the_way_out() {
    let error = |remote: &Remote| try_agent(remote).unwrap_err().to_string();
    assert_eq!(error(&remote("ftp://x")), "the remote agent's url: this is no http(s) URL");
    assert_eq!(
        error(&remote("http://${HOST}/")),
        "the remote agent's url: the environment variable HOST is not set: set it, or write ${HOST:-default}"
    );
    let with = |name: &str, value: &str| Remote { headers: BTreeMap::from([(name.to_owned(), value.to_owned())]), ..remote("http://x/") };
    assert!(error(&with("bad name", "x")).starts_with("the remote agent's header `bad name`: "));
    let unfit = error(&with("X-Key", "top\nsecret"));
    assert_eq!(unfit, "the remote agent's header `X-Key`: its value holds characters that no HTTP header may have");
}
