//! The recording tool server: a service that keeps its side of the bargain. It takes effect once per idempotency key, and
//! refuses whoever comes with an epoch below the highest it has seen for the conversation.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Json as Body;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Value as Json, json};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::time::sleep;

use super::orchestration::LOOK;
use super::record::Seen;
use super::recorder::{Recorder, What};

/// How long a tool works: before its effect, and after it.
const WORK: Duration = Duration::from_millis(30);

/// What a tool can do instead of answering; it has had its effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misbehaviour {
    /// No answer at all.
    Hangs,
    /// 500.
    Breaks,
}

/// The tool server.
#[derive(Clone, Debug)]
pub struct Tools(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    recorder: Recorder,
    ledger: Mutex<Ledger>,
    ordered: Mutex<VecDeque<(Misbehaviour, oneshot::Sender<String>)>>,
}

/// What the service remembers.
#[derive(Debug, Default)]
struct Ledger {
    /// By conversation.
    epochs: BTreeMap<String, u64>,
    /// By key.
    results: BTreeMap<String, Json>,
}

/// What a call comes to.
#[derive(Clone, Debug, PartialEq)]
enum Outcome {
    Effect(Json),
    /// The same call again.
    Repeat(Json),
    /// The caller is a stale owner.
    Stale,
}

impl Ledger {
    fn call(&mut self, conversation: &str, epoch: u64, key: &str, number: u64) -> Outcome {
        let highest = self.epochs.entry(conversation.to_owned()).or_default();
        if epoch < *highest {
            return Outcome::Stale;
        }
        *highest = epoch;
        if let Some(result) = self.results.get(key) {
            return Outcome::Repeat(result.clone());
        }
        let result = json!({ "done": number });
        self.results.insert(key.to_owned(), result.clone());
        Outcome::Effect(result)
    }
}

impl Tools {
    /// A server at a free port, and its address.
    pub async fn start(recorder: Recorder) -> (Self, String) {
        let tools = Self(Arc::new(Shared { recorder, ledger: Mutex::default(), ordered: Mutex::default() }));
        let router = axum::Router::new().route("/{process}/{tool}", axum::routing::get(called).post(called)).with_state(tools.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("its address"));
        tokio::spawn(async move { axum::serve(listener, router).await });
        (tools, url)
    }

    /// Has the next call of a tool with effects misbehave; tells the conversation.
    pub fn order(&self, misbehaviour: Misbehaviour) -> oneshot::Receiver<String> {
        let (hit, told) = oneshot::channel();
        self.0.ordered.lock().expect("no panic while it is held").push_back((misbehaviour, hit));
        told
    }

    /// Behaves from now on.
    pub fn relent(&self) {
        self.0.ordered.lock().expect("no panic while it is held").clear();
    }
}

async fn called(
    State(tools): State<Tools>,
    Path((process, tool)): Path<(String, String)>,
    Query(query): Query<BTreeMap<String, String>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let arguments = serde_json::from_slice(&body).unwrap_or_else(|_| json!(query));
    let (key, conversation) = (header("idempotency-key"), header("baton-conversation"));
    let epoch = header("baton-epoch").parse().unwrap_or_default();
    let recorder = &tools.0.recorder;
    let call = recorder.number();
    let outcome = if tool == LOOK {
        Outcome::Repeat(json!({ "found": call }))
    } else {
        tools.0.ledger.lock().expect("no panic while it is held").call(&conversation, epoch, &key, call)
    };
    let is_effect = matches!(outcome, Outcome::Effect(_));
    let canary = arguments.get("canary").and_then(Json::as_str).unwrap_or_default();
    let canary = canary.trim_start_matches("[[canary:").trim_end_matches("]]").to_owned();
    recorder.note(Seen::Called { call, tool: tool.clone(), key, epoch, conversation: conversation.clone(), arguments, is_effect });
    if tool != LOOK {
        recorder.moment(What::ToolRuns, &process, &canary);
        let ordered = tools.0.ordered.lock().expect("no panic while it is held").pop_front();
        if let Some((misbehaviour, hit)) = ordered {
            // Whoever ordered it may have given up.
            let _ = hit.send(conversation);
            return match misbehaviour {
                Misbehaviour::Hangs => std::future::pending().await,
                Misbehaviour::Breaks => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
            };
        }
    }
    sleep(WORK).await;
    match outcome {
        Outcome::Effect(result) | Outcome::Repeat(result) => Body(result).into_response(),
        Outcome::Stale => (StatusCode::CONFLICT, "somebody else owns the conversation").into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_effect_happens_once_and_never_for_a_stale_owner() {
        let mut ledger = Ledger::default();
        let done = |number: u64| json!({ "done": number });
        assert_eq!(ledger.call("c", 5, "k1", 1), Outcome::Effect(done(1)));
        assert_eq!(ledger.call("c", 6, "k1", 2), Outcome::Repeat(done(1)));
        assert_eq!(ledger.call("c", 5, "k2", 3), Outcome::Stale);
        assert_eq!(ledger.call("d", 5, "k3", 4), Outcome::Effect(done(4)));
    }
}
