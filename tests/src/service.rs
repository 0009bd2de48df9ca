//! A service on this machine, for models and tools: every request is put to the test, which answers it in its own time.
#![allow(clippy::expect_used, clippy::panic, reason = "used by tests only: a panic is how a test says that it cannot go on")]

use std::convert::Infallible;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use protocol::event::Call;
use serde_json::{Value as Json, json};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::processes::PATIENCE;

/// The service; it ends with the test's runtime.
#[derive(Debug)]
pub struct Service {
    url: String,
    requests: mpsc::UnboundedReceiver<Request>,
}

/// A request that waits for its answer. Dropped unanswered, it is answered with an error.
#[derive(Debug)]
pub struct Request {
    /// The path, from its '/'.
    pub path: String,
    /// The headers.
    pub headers: HeaderMap,
    /// The body; null when it is no JSON.
    pub body: Json,
    answer: oneshot::Sender<Response>,
}

impl Service {
    /// A service at a free port.
    pub async fn start() -> Self {
        let (sender, requests) = mpsc::unbounded_channel();
        let handler = move |request: axum::extract::Request| put(request, sender.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("its address"));
        tokio::spawn(async move { axum::serve(listener, axum::Router::new().fallback(handler)).await });
        Self { url, requests }
    }

    /// Where it is, without a path.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The next request.
    pub async fn next(&mut self) -> Request {
        let next = timeout(PATIENCE, self.requests.recv()).await;
        next.expect("a request in time").expect("a service that runs")
    }

    /// Whether no request waits that the test has not seen.
    pub fn is_quiet(&self) -> bool {
        self.requests.is_empty()
    }
}

async fn put(request: axum::extract::Request, requests: mpsc::UnboundedSender<Request>) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap_or_default();
    let (answer, answered) = oneshot::channel();
    let body = serde_json::from_slice(&body).unwrap_or_default();
    let request = Request { path: parts.uri.path().to_owned(), headers: parts.headers, body, answer };
    // The test may be over.
    let _ = requests.send(request);
    answered.await.unwrap_or_else(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response())
}

impl Request {
    /// A header's value.
    pub fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name).unwrap_or_else(|| panic!("no header {name}: {:?}", self.headers));
        value.to_str().expect("a header of ASCII")
    }

    /// Answers with JSON.
    pub fn answer(self, body: &Json) {
        self.respond(axum::Json(body).into_response());
    }

    /// Answers as a model that says something.
    pub fn say(self, text: &str) {
        self.complete(&json!({ "role": "assistant", "content": text }), "stop");
    }

    /// Answers as a model that calls a tool.
    pub fn call(self, tool: &str, arguments: &Json) {
        let call = json!({ "id": "call_1", "type": "function", "function": { "name": tool, "arguments": arguments.to_string() } });
        self.complete(&json!({ "role": "assistant", "content": null, "tool_calls": [call] }), "tool_calls");
    }

    /// Answers as a model that says something and calls tools, whichever of it there is.
    pub fn respond_as_model(self, text: &str, calls: &[Call]) {
        let call =
            |call: &Call| json!({ "id": call.id, "type": "function", "function": { "name": call.name, "arguments": call.arguments } });
        let mut message = json!({ "role": "assistant", "content": text });
        if !calls.is_empty() {
            message["tool_calls"] = calls.iter().map(call).collect();
        }
        self.complete(&message, if calls.is_empty() { "stop" } else { "tool_calls" });
    }

    /// Answers that it cannot be done.
    pub fn refuse(self, status: StatusCode, body: &Json) {
        self.respond((status, axum::Json(body)).into_response());
    }

    /// Begins to answer as a model that speaks piece by piece.
    pub fn stream(self) -> Stream {
        let (sender, mut receiver) = mpsc::unbounded_channel();
        let pieces = futures::stream::poll_fn(move |context| receiver.poll_recv(context));
        let body = Body::from_stream(pieces.map(Ok::<Bytes, Infallible>));
        self.respond(([(header::CONTENT_TYPE, "text/event-stream")], body).into_response());
        Stream(sender)
    }

    /// Waits until whoever asked does not want the answer any more.
    pub async fn abandoned(mut self) {
        timeout(PATIENCE, self.answer.closed()).await.expect("the request to be abandoned in time");
    }

    fn complete(self, message: &Json, finish_reason: &str) {
        let choice = json!({ "index": 0, "message": message, "finish_reason": finish_reason });
        self.answer(&json!({ "id": "c", "object": "chat.completion", "created": 0, "model": "test", "choices": [choice] }));
    }

    fn respond(self, response: Response) {
        // Whoever asked may be gone, killed by the test.
        let _ = self.answer.send(response);
    }
}

/// An answer that is being written.
#[derive(Debug)]
pub struct Stream(mpsc::UnboundedSender<Bytes>);

impl Stream {
    /// Writes a piece of text.
    pub fn piece(&self, text: &str) {
        self.chunk(&json!({ "role": "assistant", "content": text }), None);
    }

    /// Ends the answer with a call of a tool.
    pub fn call(self, id: &str, tool: &str, arguments: &Json) {
        let call = json!({ "index": 0, "id": id, "type": "function", "function": { "name": tool, "arguments": arguments.to_string() } });
        self.chunk(&json!({ "tool_calls": [call] }), Some("tool_calls"));
    }

    /// Says what it cost, and nothing else: the last chunk of a provider that was asked for it.
    pub fn usage(&self, input: u64, output: u64) {
        let usage = json!({ "prompt_tokens": input, "completion_tokens": output, "total_tokens": input + output });
        self.send(&json!({ "id": "c", "object": "chat.completion.chunk", "created": 0, "model": "test", "choices": [], "usage": usage }));
    }

    /// Says that the answer is complete; more about it may follow.
    pub fn stop(&self) {
        self.chunk(&json!({}), Some("stop"));
    }

    /// Ends the answer.
    pub fn end(self) {
        self.chunk(&json!({}), Some("stop"));
    }

    fn chunk(&self, delta: &Json, finish_reason: Option<&str>) {
        let choice = json!({ "index": 0, "delta": delta, "finish_reason": finish_reason });
        self.send(&json!({ "id": "c", "object": "chat.completion.chunk", "created": 0, "model": "test", "choices": [choice] }));
    }

    fn send(&self, chunk: &Json) {
        self.0.send(format!("data: {chunk}\n\n").into()).expect("somebody to read the answer");
    }

    /// Waits until whoever asked reads no further.
    pub async fn abandoned(self) {
        timeout(PATIENCE, self.0.closed()).await.expect("the answer to be abandoned in time");
    }
}
