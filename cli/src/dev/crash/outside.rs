//! What the agents of `baton demo --crash` ask: a model that speaks slowly enough to be interrupted, and a shop that takes its
//! time. Both are outside of the system and count what they are asked.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use futures::{Stream, StreamExt, stream};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::sleep;

/// Between two words.
const WORD: Duration = Duration::from_millis(70);
/// Words before somebody is in the middle of a sentence.
const MIDDLE: usize = 12;
/// How long the shop takes to answer, once it has paid.
const SLOW: Duration = Duration::from_secs(3);

/// What the demo waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moment {
    /// The first agent is in the middle of its sentence, for the first time.
    Speaking,
    /// The shop has paid, for the first time, and has not said so yet.
    Refunding,
}

/// What was asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Requests to a model, by its name.
    pub(super) models: BTreeMap<String, u32>,
    /// Requests to pay, by idempotency key.
    pub(super) payments: BTreeMap<String, u32>,
}

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Outside {
    counts: Arc<Mutex<Counts>>,
    moments: UnboundedSender<Moment>,
}

impl Outside {
    /// Serves at a free port of this machine for as long as this process runs; its URL too.
    pub(super) async fn start(moments: UnboundedSender<Moment>) -> std::io::Result<(Self, String)> {
        let outside = Self { counts: Arc::default(), moments };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let url = format!("http://{}", listener.local_addr()?);
        let router = Router::new().route("/v1/chat/completions", post(answer)).route("/refunds", post(refund));
        let server = axum::serve(listener, router.with_state(outside.clone()));
        tokio::spawn(async move { server.await });
        Ok((outside, url))
    }

    pub(super) fn counts(&self) -> Counts {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn at(&self, moment: Moment) {
        // Nobody waits for it once the demo is over.
        let _ = self.moments.send(moment);
    }
}

/// The shop: one payment for a key. It pays at once and says so late, as shops do.
async fn refund(State(outside): State<Outside>, headers: HeaderMap, Json(order): Json<Value>) -> Response {
    let key = headers.get("idempotency-key").map(|key| String::from_utf8_lossy(key.as_bytes()).into_owned()).unwrap_or_default();
    let times = {
        let mut counts = outside.lock();
        let times = counts.payments.entry(key).or_default();
        *times += 1;
        *times
    };
    if times == 1 {
        outside.at(Moment::Refunding);
        sleep(SLOW).await;
    }
    Json(json!({ "order_id": order.get("order_id"), "refunded": true })).into_response()
}

/// The model: two agents' lines.
async fn answer(State(outside): State<Outside>, Json(request): Json<Value>) -> Response {
    let model = request.get("model").and_then(Value::as_str).unwrap_or_default().to_owned();
    let times = {
        let mut counts = outside.lock();
        let times = counts.models.entry(model.clone()).or_default();
        *times += 1;
        *times
    };
    let last = request.get("messages").and_then(Value::as_array).and_then(|messages| messages.last());
    let of_last = |key: &str| last.and_then(|last| last.get(key)).and_then(Value::as_str).unwrap_or_default();
    let (text, call) = line(&model, of_last("role"), of_last("content"));
    let middle = (model == "triage" && times == 1).then_some(outside);
    let pieces = speak(&model, text, middle).chain(stream::iter(ending(&model, call)));
    let events = pieces.map(|piece| Ok::<_, Infallible>(format!("data: {piece}\n\n")));
    ([(header::CONTENT_TYPE, "text/event-stream")], Body::from_stream(events)).into_response()
}

/// What a model says, and the tool it calls with it.
fn line(model: &str, role: &str, content: &str) -> (&'static str, Option<(&'static str, Value)>) {
    match (model, role) {
        ("triage", _) => (
            "I am sorry to hear that your order 321 arrived broken. Of course you get your money back: my colleague who \
             looks after refunds goes on with you, and knows already what we have talked about.",
            Some(("transfer_to_refund", json!({}))),
        ),
        (_, "tool") => ("It is done: the money for order 321 is on its way to you. Is there anything else?", None),
        _ if content.contains("bye") => ("", Some(("complete_task", json!({ "task_summary": "Order 321 was paid back." })))),
        _ => ("One moment, I am paying order 321 back.", Some(("process_refund", json!({ "order_id": "321" })))),
    }
}

fn chunk(model: &str, delta: &Value, finish: Option<&str>) -> String {
    let choice = json!({ "index": 0, "delta": delta, "finish_reason": finish });
    json!({ "id": "demo", "object": "chat.completion.chunk", "created": 0, "model": model, "choices": [choice] }).to_string()
}

/// The words of a text, one by one; says when it has come to the middle.
fn speak(model: &str, text: &'static str, middle: Option<Outside>) -> impl Stream<Item = String> + use<> {
    let model = model.to_owned();
    stream::iter(text.split_inclusive(' ').enumerate()).then(move |(n, word)| {
        if let Some(outside) = middle.as_ref().filter(|_| n == MIDDLE) {
            outside.at(Moment::Speaking);
        }
        let piece = chunk(&model, &json!({ "content": word }), None);
        async move {
            sleep(WORD).await;
            piece
        }
    })
}

fn ending(model: &str, call: Option<(&str, Value)>) -> Vec<String> {
    let done = "[DONE]".to_owned();
    let Some((name, arguments)) = call else { return vec![chunk(model, &json!({}), Some("stop")), done] };
    let function = json!({ "name": name, "arguments": arguments.to_string() });
    let called = json!({ "tool_calls": [{ "index": 0, "id": format!("call_{name}"), "type": "function", "function": function }] });
    vec![chunk(model, &called, None), chunk(model, &json!({}), Some("tool_calls")), done]
}
