//! Against a server that behaves as providers do, well and badly.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use futures::stream;
use protocol::event::Usage;
use protocol::history::PromptMessage;
use serde_json::{Value as Json, json};
use tokio::sync::mpsc;

use super::*;
use crate::model::test_server::{Server, reply};
use crate::model::test_support::{Heard, endpoint, http, request};

const KEY: &str = "sk-secret-1234";
const EVENTS: &[(&str, &str)] = &[("content-type", "text/event-stream")];
const JSON: &[(&str, &str)] = &[("content-type", "application/json")];

fn try_model(base: &str, edit: impl FnOnce(&mut Endpoint)) -> Result<OpenAi, ConfigError> {
    let mut endpoint = endpoint(Some(base.to_owned()));
    edit(&mut endpoint);
    let environment = |name: &str| (name == "OPENAI_API_KEY").then(|| KEY.to_owned());
    let mut model = OpenAi::new(&endpoint, &environment, http())?;
    model.bounds.backoff = Duration::from_millis(1);
    Ok(model)
}

fn model(base: &str) -> OpenAi {
    try_model(base, |_| {}).unwrap()
}

fn hi() -> Request<'static> {
    request("triage", vec![PromptMessage::User { text: "hi".into() }])
}

async fn ask(model: &OpenAi) -> Result<Responded, ModelError> {
    model.respond(&hi(), &mut ()).await
}

/// What a server that always answers like this is understood to say.
async fn understood(answer: impl Fn() -> Response + Clone + Send + Sync + 'static) -> Result<Responded, ModelError> {
    let server = Server::start(move |_| std::future::ready(answer())).await;
    ask(&model(&server.url)).await
}

fn events(chunks: &[Json]) -> String {
    chunks.iter().map(|chunk| format!("data: {chunk}\n\n")).collect::<String>() + "data: [DONE]\n\n"
}

fn text(text: &str) -> Json {
    json!({ "choices": [{ "index": 0, "delta": { "content": text }, "finish_reason": null }] })
}

fn calls(calls: &Json) -> Json {
    json!({ "choices": [{ "index": 0, "delta": { "tool_calls": calls } }] })
}

fn stop() -> Json {
    json!({ "choices": [{ "index": 0, "delta": {}, "finish_reason": "stop" }] })
}

fn shown_calls(response: &Responded) -> Vec<(&str, &str, &str)> {
    response.calls.iter().map(|call| (call.id.as_str(), call.name.as_str(), call.arguments.as_str())).collect()
}

#[tokio::test]
async fn a_streamed_answer_is_heard_piece_by_piece_and_comes_back_whole() {
    let answer = events(&[
        json!({ "model": "gpt-5-mini-2025", "choices": [{ "delta": { "role": "assistant", "content": null, "refusal": null } }], "usage": null }),
        text("Good "),
        text("day."),
        stop(),
        json!({ "choices": [], "usage": { "prompt_tokens": 10, "completion_tokens": 3, "prompt_tokens_details": { "cached_tokens": 8 } } }),
    ]);
    let server = Server::start(move |_| std::future::ready(reply(200, EVENTS, answer.clone()))).await;
    let mut heard = Heard::default();
    let response = model(&server.url).respond(&hi(), &mut heard).await.unwrap();
    assert_eq!(heard.0, ["Good ", "day."]);
    let usage = Some(Usage { input_tokens: 10, output_tokens: 3, cached_tokens: 8 });
    assert_eq!(response, Responded { text: "Good day.".into(), calls: vec![], model: "gpt-5-mini-2025".into(), usage });
}

#[tokio::test]
async fn calls_are_put_together_from_their_pieces() {
    let answer = events(&[
        text("One moment."),
        calls(&json!([{ "index": 0, "id": "call_a", "type": "function", "function": { "name": "look_up", "arguments": "" } }])),
        calls(&json!([{ "index": 0, "function": { "arguments": "{\"order\":" } }])),
        calls(&json!([{ "index": 1, "id": "call_b", "function": { "name": "transfer_to_refund", "arguments": "{}" } }])),
        calls(&json!([{ "index": 0, "id": "", "function": { "name": "", "arguments": "1}" } }])),
        stop(),
    ]);
    let response = understood(move || reply(200, EVENTS, answer.clone())).await.unwrap();
    assert_eq!(response.text, "One moment.");
    assert_eq!(shown_calls(&response), [("call_a", "look_up", "{\"order\":1}"), ("call_b", "transfer_to_refund", "{}")]);
}

#[tokio::test]
async fn the_habits_of_servers_that_only_resemble_openai_cost_nothing() {
    let looks_up = |arguments: Json| json!({ "name": "look_up", "arguments": arguments });
    let cases = [
        // Neither id nor index, and arguments as an object: whole calls, one a chunk.
        (
            vec![
                calls(&json!([{ "function": looks_up(json!({ "n": 1 })) }])),
                calls(&json!([{ "function": looks_up(json!({ "n": 2 })) }])),
            ],
            vec![("call_baton_1", "look_up", r#"{"n":1}"#), ("call_baton_2", "look_up", r#"{"n":2}"#)],
        ),
        // Every call has the index 0.
        (
            vec![calls(
                &json!([{ "index": 0, "id": "a", "function": looks_up(json!("{}")) }, { "index": 0, "id": "b", "function": looks_up(json!("[]")) }]),
            )],
            vec![("a", "look_up", "{}"), ("b", "look_up", "[]")],
        ),
        // Id and name come again with every piece.
        (
            vec![
                calls(&json!([{ "index": 0, "id": "a", "function": looks_up(json!("{")) }])),
                calls(&json!([{ "index": 0, "id": "a", "function": looks_up(json!("}")) }])),
            ],
            vec![("a", "look_up", "{}")],
        ),
        // Two calls with one id, and no arguments at all.
        (
            vec![calls(
                &json!([{ "index": 0, "id": "a", "function": { "name": "x" } }, { "index": 1, "id": "a", "function": { "name": "y", "arguments": null } }]),
            )],
            vec![("a", "x", "{}"), ("call_baton_2", "y", "{}")],
        ),
    ];
    for (mut chunks, expected) in cases {
        chunks.push(stop());
        let answer = events(&chunks);
        let response = understood(move || reply(200, EVENTS, answer.clone())).await.unwrap();
        assert_eq!(shown_calls(&response), expected);
    }
}

#[tokio::test]
async fn answers_that_are_not_streamed_are_understood_whether_or_not_streaming_was_asked_for() {
    let document = json!({
        "id": "x", "object": "chat.completion", "model": "m", "unheard_of": { "a": [1] },
        "choices": [{ "index": 0, "finish_reason": "tool_calls", "message": {
            "role": "assistant", "content": [{ "type": "text", "text": "line\nbreak" }],
            "tool_calls": [{ "id": "c", "type": "function", "function": { "name": "x", "arguments": { "a": 1 } } }],
        } }],
        "usage": { "prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3 },
    });
    let pretty = serde_json::to_string_pretty(&document).unwrap();
    for stream in [true, false] {
        for kind in [JSON, &[]] {
            let pretty = pretty.clone();
            let server = Server::start(move |_| std::future::ready(reply(200, kind, pretty.clone()))).await;
            let mut heard = Heard::default();
            let response = try_model(&server.url, |e| e.stream = stream).unwrap().respond(&hi(), &mut heard).await.unwrap();
            assert_eq!((response.text.as_str(), heard.0.concat().as_str()), ("line\nbreak", "line\nbreak"));
            assert_eq!(shown_calls(&response), [("c", "x", r#"{"a":1}"#)]);
            assert_eq!(response.usage.unwrap().output_tokens, 2);
            assert_eq!(server.arrived()[0].json()["stream"], stream);
        }
    }
}

#[tokio::test]
async fn a_stream_that_does_not_say_so_and_comments_in_it_are_understood() {
    let answer = format!(": keep-alive\n\n{}", events(&[text("hello"), stop()]));
    let response = understood(move || reply(200, &[("content-type", "text/plain")], answer.clone())).await.unwrap();
    assert_eq!(response.text, "hello");
}

#[tokio::test]
async fn requests_go_where_the_endpoint_says_with_its_key_headers_and_parameters() {
    let server = Server::start(|_| std::future::ready(reply(200, EVENTS, events(&[text("ok"), stop()])))).await;
    let model = try_model(&format!("{}/v1/?tenant=a%20b", server.url), |e| {
        e.headers.insert("X-Team".into(), "${TEAM:-support}".into());
        e.parameters.insert("temperature".into(), json!(0.5));
    });
    ask(&model.unwrap()).await.unwrap();
    let arrived = &server.arrived()[0];
    assert_eq!(arrived.uri.to_string(), "/v1/chat/completions?tenant=a+b");
    assert_eq!(arrived.header("authorization"), Some("Bearer sk-secret-1234"));
    assert_eq!(arrived.header("x-team"), Some("support"));
    let expected = json!({
        "model": "gpt-5-mini", "messages": [{ "role": "user", "content": "hi" }],
        "stream": true, "stream_options": { "include_usage": true }, "temperature": 0.5,
    });
    assert_eq!(arrived.json(), expected);
}

#[tokio::test]
async fn azure_has_addresses_and_a_key_header_of_its_own() {
    let server = Server::start(|_| std::future::ready(reply(200, EVENTS, events(&[text("ok"), stop()])))).await;
    let azure =
        |base: &str, version: Option<&str>| try_model(base, |e| (e.provider, e.api_version) = ("azure".into(), version.map(str::to_owned)));
    ask(&azure(&server.url, Some("2024-10-21")).unwrap()).await.unwrap();
    ask(&azure(&format!("{}/openai/v1/", server.url), None).unwrap()).await.unwrap();
    let arrived = server.arrived();
    assert_eq!(arrived[0].uri.to_string(), "/openai/deployments/gpt-5-mini/chat/completions?api-version=2024-10-21");
    assert_eq!(arrived[1].uri.to_string(), "/openai/v1/chat/completions");
    for request in &arrived {
        assert_eq!((request.header("api-key"), request.header("authorization")), (Some(KEY), None));
    }
    let error = azure(&server.url, None).unwrap_err().to_string();
    assert_eq!(error, "the model `gpt-5-mini`, apiVersion: Azure's deployments need one, such as 2024-10-21");
}

#[tokio::test]
async fn without_a_key_none_is_sent() {
    let server = Server::start(|_| std::future::ready(reply(200, EVENTS, events(&[text("ok"), stop()])))).await;
    ask(&try_model(&server.url, |e| e.api_key_env = Some("NOT_SET".into())).unwrap()).await.unwrap();
    assert_eq!(server.arrived()[0].header("authorization"), None);
}

#[test]
fn a_definition_that_cannot_be_used_is_refused_with_the_way_out() {
    let error = |edit: fn(&mut Endpoint)| try_model("http://x/v1", edit).unwrap_err().to_string();
    assert_eq!(
        error(|e| e.base_url = Some("ftp://x".into())),
        "the model `gpt-5-mini`, baseUrl: this is no http(s) base URL, such as https://api.openai.com/v1"
    );
    // The key is there, so OpenAI would take the request: but half a URL is no wish to go there.
    assert!(
        error(|e| e.base_url = Some("http://${HOST}/v1".into()))
            .ends_with("baseUrl: the environment variable HOST is not set: set it, or write ${HOST:-default}")
    );
    assert!(error(|e| e.name = "${MODEL}".into()).contains("name: the environment variable MODEL is not set"));
    assert!(error(|e| _ = e.headers.insert("bad name".into(), "x".into())).contains("header `bad name`"));
    assert!(
        error(|e| _ = e.parameters.insert("messages".into(), json!([]))).contains("parameter `messages`: Baton sets this field itself")
    );
    assert!(error(|e| (e.provider, e.base_url) = ("compatible".into(), Some("${URL}".into()))).contains("give one (URL is not set)"));
}

#[test]
fn no_secret_is_printed() {
    let model = try_model("http://user:pass@host/v1?key=hidden", |_| {}).unwrap();
    let printed = format!("{model:?}");
    assert!(printed.contains("http://host/v1"), "{printed}");
    for secret in [KEY, "pass", "hidden"] {
        assert!(!printed.contains(secret), "{printed}");
    }
}

#[tokio::test]
async fn what_passes_is_tried_again_and_what_was_written_is_withdrawn() {
    let broken = || stream::iter([Ok(events(&[text("Hel")]).replace("data: [DONE]\n\n", "")), Err(std::io::Error::other("cut"))]);
    let server = Server::start(move |number| {
        std::future::ready(match number {
            0 => reply(500, JSON, r#"{"error":{"message":"oops"}}"#),
            1 => reply(429, &[("retry-after-ms", "1")], ""),
            2 => reply(200, EVENTS, Body::from_stream(broken())),
            3 => reply(200, EVENTS, events(&[text("Hello, "), json!({ "error": { "message": "overloaded", "code": 503 } })])),
            4 => reply(200, EVENTS, events(&[text("Hel")])),
            _ => reply(200, EVENTS, events(&[text("Hello."), stop()])),
        })
    })
    .await;
    let mut heard = Heard::default();
    let response = try_model(&server.url, |e| e.retries = 5).unwrap().respond(&hi(), &mut heard).await.unwrap();
    assert_eq!((response.text.as_str(), server.arrived().len()), ("Hello.", 6));
    assert_eq!(heard.0, ["[reset]", "Hello."]);
}

#[tokio::test]
async fn retries_are_counted_and_the_last_reason_is_told() {
    for retries in [0, 2] {
        let server = Server::start(|_| std::future::ready(reply(503, &[], "down for maintenance"))).await;
        let error = ask(&try_model(&server.url, |e| e.retries = retries).unwrap()).await.unwrap_err();
        assert_eq!(server.arrived().len() as u32, retries + 1);
        let times = if retries == 0 { "" } else { " (asked 3 times)" };
        let url = &server.url;
        assert_eq!(error, ModelError::Unavailable(format!("{url} answers 503 Service Unavailable: down for maintenance{times}")));
    }
}

#[tokio::test]
async fn a_long_retry_after_is_for_the_turn_to_wait() {
    let day = 24 * 60 * 60;
    for (status, asked, waited) in [(429, "30", 30), (503, "30", 30), (429, "1e15", day)] {
        let server = Server::start(move |_| std::future::ready(reply(status, &[("retry-after", asked)], "slow down"))).await;
        let ModelError::Later { wait, detail } = ask(&model(&server.url)).await.unwrap_err() else { panic!() };
        assert_eq!((wait, server.arrived().len()), (Duration::from_secs(waited), 1));
        assert!(detail.ends_with("slow down"), "{detail}");
    }
}

#[tokio::test]
async fn a_rate_limit_that_outlasts_the_retries_puts_the_turn_off() {
    let server = Server::start(|_| std::future::ready(reply(429, &[], "too many requests"))).await;
    let error = ask(&model(&server.url)).await.unwrap_err();
    let detail = "429 Too Many Requests: too many requests".to_owned();
    assert_eq!((error, server.arrived().len()), (ModelError::Later { wait: Duration::from_secs(15), detail }, 3));
}

#[tokio::test]
async fn a_refusal_comes_back_at_once_with_the_way_out_and_without_the_key() {
    let quota = r#"{"error":{"message":"You exceeded your current quota","type":"insufficient_quota","code":"insufficient_quota"}}"#;
    for (status, body, expected) in [
        (400, r#"{"error":{"message":"bad tool"}}"#, "400 Bad Request: bad tool"),
        (
            401,
            r#"{"error":{"message":"bad key sk-secret-1234!"}}"#,
            "401 Unauthorized: bad key [key]! (the key is the value of OPENAI_API_KEY)",
        ),
        (
            404,
            r#"{"detail":"Not Found"}"#,
            "404 Not Found: Not Found (is there a model `gpt-5-mini` at URL? Check its `name` and `baseUrl`)",
        ),
        (422, r#"{"message":"no"}"#, "422 Unprocessable Entity: no"),
        (400, r#"{"error":"a mere text"}"#, "400 Bad Request: a mere text"),
        (413, "", "413 Payload Too Large"),
        (429, quota, "429 Too Many Requests: You exceeded your current quota"),
        (307, "", "307 Temporary Redirect (URL redirects, which is not followed: give the address it redirects to as `baseUrl`)"),
    ] {
        let server = Server::start(move |_| std::future::ready(reply(status, JSON, body))).await;
        let error = ask(&model(&server.url)).await.unwrap_err();
        assert_eq!(error, ModelError::Refused(expected.replace("URL", &server.url)));
        assert_eq!(server.arrived().len(), 1);
    }
}

#[tokio::test]
async fn a_refusal_without_a_key_says_so() {
    let server = Server::start(|_| std::future::ready(reply(401, &[], "who are you?"))).await;
    let error = ask(&try_model(&server.url, |e| e.api_key_env = Some("MY_KEY".into())).unwrap()).await.unwrap_err();
    assert_eq!(error, ModelError::Refused("401 Unauthorized: who are you? (no key was sent: MY_KEY is not set)".into()));
}

#[tokio::test]
async fn a_dead_endpoint_is_named() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let ModelError::Unavailable(problem) = ask(&model(&url)).await.unwrap_err() else { panic!() };
    assert!(problem.starts_with(&format!("nothing answers at {url}: ")) && problem.ends_with("(asked 3 times)"), "{problem}");
    assert!(problem.to_lowercase().contains("connection refused"), "{problem}");
}

#[tokio::test]
async fn a_server_that_hangs_is_given_up_at_any_stage() {
    type Start = fn() -> Response;
    let starts: [(Start, &str); 3] = [
        (|| reply(200, EVENTS, Body::from_stream(stream::pending::<std::io::Result<String>>())), "no complete answer from"),
        (
            || reply(200, JSON, Body::from_stream(stream::iter([std::io::Result::Ok("{")]).chain(stream::pending()))),
            "no complete answer from",
        ),
        (
            || {
                reply(
                    200,
                    EVENTS,
                    Body::from_stream(
                        stream::iter([std::io::Result::Ok(events(&[text("a")]).replace("data: [DONE]\n\n", ""))]).chain(stream::pending()),
                    ),
                )
            },
            "fell silent for",
        ),
    ];
    for (start, expected) in starts {
        let server = Server::start(move |_| std::future::ready(start())).await;
        let mut model = try_model(&server.url, |e| e.retries = 1).unwrap();
        model.bounds.request = Duration::from_millis(if expected.starts_with("fell") { 60_000 } else { 60 });
        model.bounds.idle = Duration::from_millis(60);
        let ModelError::Unavailable(problem) = ask(&model).await.unwrap_err() else { panic!() };
        assert!(problem.contains(expected) && problem.ends_with("(asked 2 times)"), "{problem}");
    }
    // Not even a status line.
    let server = Server::start(|_| std::future::pending()).await;
    let mut model = try_model(&server.url, |e| e.retries = 0).unwrap();
    model.bounds.request = Duration::from_millis(60);
    assert!(matches!(ask(&model).await, Err(ModelError::Unavailable(problem)) if problem.contains("within 60ms")));
}

/// Tells when the server loses interest in what it was doing.
struct Guard(mpsc::UnboundedSender<()>);

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.0.send(());
    }
}

#[tokio::test]
async fn dropping_the_future_ends_the_request_at_once() {
    for has_begun in [false, true] {
        let (ended, mut is_ended) = mpsc::unbounded_channel();
        let (arrived, mut is_arrived) = mpsc::unbounded_channel();
        let server = Server::start(move |_| {
            let guard = Guard(ended.clone());
            let arrived = arrived.clone();
            async move {
                let _ = arrived.send(());
                if !has_begun {
                    std::future::pending::<()>().await;
                }
                let first = stream::iter([std::io::Result::Ok(events(&[text("a")]).replace("data: [DONE]\n\n", ""))]);
                let rest = stream::unfold(guard, |guard| async move {
                    std::future::pending::<()>().await;
                    Some((Ok(String::new()), guard))
                });
                reply(200, EVENTS, Body::from_stream(first.chain(rest)))
            }
        })
        .await;
        /// Tells when the first token is there.
        struct First(mpsc::UnboundedSender<()>);
        impl Tokens for First {
            fn text(&mut self, _piece: &str) {
                let _ = self.0.send(());
            }
            fn reset(&mut self) {}
        }
        let (first, mut is_heard) = mpsc::unbounded_channel();
        {
            let (model, request) = (model(&server.url), hi());
            let mut tokens = First(first);
            let mut asking = pin!(model.respond(&request, &mut tokens));
            let ready = async { if has_begun { is_heard.recv().await } else { is_arrived.recv().await } };
            tokio::select! {
                _ = ready => {}
                answer = &mut asking => panic!("{answer:?}"),
            }
        }
        timeout(Duration::from_secs(10), is_ended.recv()).await.expect("the server is still being asked").unwrap();
        assert_eq!(server.arrived().len(), 1);
    }
}

#[tokio::test]
async fn garbage_is_told_apart_and_not_asked_for_again() {
    let huge = "x".repeat(3 * 512 * 1024);
    let many: Vec<Json> = (0..100_000).map(|n| json!({ "index": n, "id": n.to_string(), "function": { "name": "x" } })).collect();
    let document = |message: Json| json!({ "choices": [{ "message": message, "finish_reason": "stop" }] }).to_string();
    type Case = (&'static [(&'static str, &'static str)], String, &'static str);
    let cases: Vec<Case> = vec![
        (JSON, "{\"choices\": [".into(), "sent no JSON"),
        (&[("content-type", "text/html")], "<html>Welcome to the hotel's network".into(), "<html>Welcome"),
        (EVENTS, "data: {\"choices\": oops}\n\n".into(), "expected value"),
        (EVENTS, events(&[json!({ "choices": 7 })]), "invalid type"),
        (JSON, document(json!({ "content": huge })), "bytes of text"),
        (JSON, "x".repeat(10 * 1024 * 1024), "larger than any answer may be"),
        (EVENTS, format!("data: \"{}", "x".repeat(10 * 1024 * 1024)), "larger than any answer may be"),
        (EVENTS, events(&vec![text(&"x".repeat(64 * 1024)); 20]), "bytes of text"),
        (EVENTS, events(&[calls(&json!([{ "index": 0, "function": { "name": "x", "arguments": huge } }]))]), "bytes of arguments"),
        (EVENTS, events(&[calls(&json!(many[..300]))]), "more than 256 calls"),
        (JSON, document(json!({ "tool_calls": many[..20_000] })), "more than 256 calls"),
        (JSON, document(json!({ "tool_calls": many })), "larger than any answer may be"),
    ];
    for (headers, body, expected) in cases {
        let body: Arc<str> = body.into();
        let server = Server::start(move |_| std::future::ready(reply(200, headers, body.to_string()))).await;
        let error = ask(&model(&server.url)).await.unwrap_err();
        assert!(matches!(&error, ModelError::Garbled(problem) if problem.contains(expected)), "{expected}: {error}");
        assert!(error.to_string().len() < 1000 && server.arrived().len() == 1, "{expected}");
    }
}

#[tokio::test]
async fn an_error_in_the_answer_is_refused_where_asking_again_would_not_help() {
    for error in [
        json!({ "message": "too long", "code": "context_length_exceeded" }),
        json!({ "message": "too long", "type": "invalid_request_error" }),
        json!({ "message": "too long", "code": 400 }),
        json!({ "message": "too long", "status": "404" }),
    ] {
        let answer = events(&[json!({ "error": error })]);
        assert_eq!(understood(move || reply(200, EVENTS, answer.clone())).await, Err(ModelError::Refused("too long".into())));
    }
    let filtered = events(&[json!({ "choices": [{ "delta": {}, "finish_reason": "content_filter" }] })]);
    let expected = "the provider's content filter withheld the answer".to_owned();
    assert_eq!(understood(move || reply(200, EVENTS, filtered.clone())).await, Err(ModelError::Refused(expected)));
}

#[tokio::test]
async fn an_empty_answer_is_an_answer() {
    let response = understood(|| reply(200, EVENTS, events(&[stop()]))).await.unwrap();
    assert_eq!(response, Responded { model: "gpt-5-mini".into(), ..Responded::default() });
}
