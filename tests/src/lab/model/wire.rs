//! Chat Completions as a provider streams them, well or badly.

use axum::body::{Body, Bytes};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use serde_json::{Value as Json, json};
use tokio::sync::mpsc;

use super::walk::Answer;

/// A body that is being written; writing fails once nobody reads it any more.
#[derive(Debug)]
pub struct Writer(mpsc::Sender<Bytes>);

/// Nobody reads any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed;

/// A response whose body is written by the writer: it ends, properly, when the writer is dropped, and is broken off by
/// [`Writer::cut`].
pub fn streamed() -> (Writer, Response) {
    let (sender, mut receiver) = mpsc::channel::<Bytes>(1);
    let pieces = futures::stream::poll_fn(move |context| receiver.poll_recv(context));
    // An empty piece is the sign to break the connection: an error is what makes the server do so.
    let body = Body::from_stream(pieces.map(|piece| if piece.is_empty() { Err("cut") } else { Ok(piece) }));
    let response = ([(header::CONTENT_TYPE, "text/event-stream")], body).into_response();
    (Writer(sender), response)
}

/// A refusal as providers word it.
pub fn refused(status: StatusCode, retry_after: Option<&str>) -> Response {
    let body = json!({ "error": { "message": "not now", "type": "server_error", "code": null } });
    let mut response = (status, axum::Json(body)).into_response();
    if let Some(seconds) = retry_after.and_then(|seconds| seconds.parse().ok()) {
        response.headers_mut().insert(header::RETRY_AFTER, seconds);
    }
    response
}

impl Writer {
    /// Writes these bytes.
    pub async fn raw(&self, bytes: impl Into<Bytes>) -> Result<(), Closed> {
        self.0.send(bytes.into()).await.map_err(|_| Closed)
    }

    /// A piece of text.
    pub async fn piece(&self, text: &str) -> Result<(), Closed> {
        self.raw(chunk(&json!({ "role": "assistant", "content": text }), None)).await
    }

    /// A call.
    pub async fn call(&self, index: usize, id: &str, name: &str, arguments: &str) -> Result<(), Closed> {
        let call = json!({ "index": index, "id": id, "type": "function", "function": { "name": name, "arguments": arguments } });
        self.raw(chunk(&json!({ "tool_calls": [call] }), None)).await
    }

    /// The last piece.
    pub async fn finish(&self, answer: &Answer) -> Result<(), Closed> {
        let reason = if answer.calls.is_empty() { "stop" } else { "tool_calls" };
        self.raw(format!("{}data: [DONE]\n\n", chunk(&json!({}), Some(reason)))).await
    }

    /// Breaks the connection.
    pub async fn cut(&self) -> Result<(), Closed> {
        self.raw(Bytes::new()).await
    }

    /// Waits until nobody reads any more.
    pub async fn closed(&self) {
        self.0.closed().await;
    }
}

fn chunk(delta: &Json, finish_reason: Option<&str>) -> String {
    let choice = json!({ "index": 0, "delta": delta, "finish_reason": finish_reason });
    format!("data: {}\n\n", json!({ "id": "c", "object": "chat.completion.chunk", "created": 0, "model": "walker", "choices": [choice] }))
}
