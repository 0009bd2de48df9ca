//! The recording model server: it answers every agent of every conversation, slowly enough to be hit in mid-sentence, and can
//! be told to misbehave.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Json as Body;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::Value as Json;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::time::sleep;

use super::record::Seen;
use super::recorder::{Recorder, What};

mod walk;
mod wire;
use walk::{Answer, Walk};
use wire::{Closed, Writer};

/// Between two pieces of an answer.
const PACE: Duration = Duration::from_millis(15);
/// How long a slow answer takes: less than a request may, longer than coordinators need to sweep twice.
const SLOW: Duration = Duration::from_millis(10_500);

/// What a model can do instead of answering as usual.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misbehaviour {
    /// A whole answer, and nothing wrong with it but that it takes its time.
    Lingers,
    /// 429, without a word of when to come back.
    Busy,
    /// 429 with Retry-After.
    Later,
    /// 500.
    Broken,
    /// No answer at all.
    Hangs,
    /// One byte a second.
    Drips,
    /// The connection breaks in mid-sentence.
    Cuts,
    /// What is no JSON.
    Garbles,
    /// Ten megabytes of text.
    Floods,
    /// A hundred thousand calls in one answer.
    Calls,
}

/// The model server.
#[derive(Clone, Debug)]
pub struct Models(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    recorder: Recorder,
    seed: u64,
    walks: Mutex<BTreeMap<String, Walk>>,
    ordered: Mutex<VecDeque<Order>>,
}

/// A misbehaviour that somebody has ordered.
#[derive(Debug)]
struct Order {
    misbehaviour: Misbehaviour,
    /// How many requests in a row, all of the conversation that is hit first.
    times: u32,
    hit: Option<oneshot::Sender<String>>,
    canary: Option<String>,
}

impl Models {
    /// A server at a free port, and its address.
    pub async fn start(recorder: Recorder, seed: u64) -> (Self, String) {
        let models = Self(Arc::new(Shared { recorder, seed, walks: Mutex::default(), ordered: Mutex::default() }));
        let router = axum::Router::new()
            .route("/{process}/{agent}/v1/chat/completions", axum::routing::post(asked))
            .layer(axum::extract::DefaultBodyLimit::disable())
            .with_state(models.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("its address"));
        tokio::spawn(async move { axum::serve(listener, router).await });
        (models, url)
    }

    /// Has the next requests of whichever conversation asks first misbehave; tells its canary.
    pub fn order(&self, misbehaviour: Misbehaviour, times: u32) -> oneshot::Receiver<String> {
        let (hit, told) = oneshot::channel();
        let order = Order { misbehaviour, times, hit: Some(hit), canary: None };
        self.0.ordered.lock().expect("no panic while it is held").push_back(order);
        told
    }

    /// Behaves from now on.
    pub fn relent(&self) {
        self.0.ordered.lock().expect("no panic while it is held").clear();
    }

    fn ordered(&self, canary: &str) -> Option<Misbehaviour> {
        let mut ordered = self.0.ordered.lock().expect("no panic while it is held");
        let order = ordered.iter_mut().find(|order| order.canary.as_deref().is_none_or(|hit| hit == canary))?;
        order.canary = Some(canary.to_owned());
        if let Some(hit) = order.hit.take() {
            // Whoever ordered it may have given up.
            let _ = hit.send(canary.to_owned());
        }
        order.times -= 1;
        let misbehaviour = order.misbehaviour;
        ordered.retain(|order| order.times > 0);
        Some(misbehaviour)
    }

    fn next(&self, canary: &str, offered: &[String]) -> Answer {
        let mut walks = self.0.walks.lock().expect("no panic while it is held");
        walks.entry(canary.to_owned()).or_insert_with(|| Walk::new(self.0.seed, canary)).answer(offered)
    }
}

async fn asked(State(models): State<Models>, Path((process, agent)): Path<(String, String)>, Body(body): Body<Json>) -> Response {
    let recorder = models.0.recorder.clone();
    let (request, messages) = (recorder.number(), body.get("messages").cloned().unwrap_or_default());
    let canary = walk::canary(&messages).unwrap_or_else(|| "nobody".to_owned());
    recorder.note(Seen::Asked { request, agent, messages });
    let ordered = models.ordered(&canary);
    match ordered {
        Some(Misbehaviour::Busy) => return wire::refused(StatusCode::TOO_MANY_REQUESTS, None),
        Some(Misbehaviour::Later) => return wire::refused(StatusCode::TOO_MANY_REQUESTS, Some("2")),
        Some(Misbehaviour::Broken) => return wire::refused(StatusCode::INTERNAL_SERVER_ERROR, None),
        _ => {}
    }
    let tools = body.get("tools").and_then(Json::as_array).into_iter().flatten();
    let offered: Vec<String> = tools.filter_map(|tool| Some(tool.pointer("/function/name")?.as_str()?.to_owned())).collect();
    let answer = models.next(&canary, &offered);
    let pieces = answer.text.split_inclusive(' ').count() + answer.calls.len();
    let (misbehaviour, pace) = match ordered {
        Some(Misbehaviour::Lingers) => (None, SLOW / u32::try_from(pieces).unwrap_or(1)),
        other => (other, PACE),
    };
    let (writer, response) = wire::streamed();
    let answering = Answering { recorder, request, process, canary, answer, writer, pace };
    tokio::spawn(answering.run(misbehaviour));
    response
}

/// One answer on its way.
struct Answering {
    recorder: Recorder,
    request: u64,
    process: String,
    canary: String,
    answer: Answer,
    writer: Writer,
    pace: Duration,
}

impl Answering {
    async fn run(self, misbehaviour: Option<Misbehaviour>) {
        let written = match misbehaviour {
            Some(misbehaviour) => self.misbehave(misbehaviour).await,
            None => self.behave().await,
        };
        if written.is_err() || misbehaviour.is_some() {
            self.recorder.note(Seen::Aborted { request: self.request, is_fault: misbehaviour.is_some() });
            self.recorder.moment(What::ModelSilenced, &self.process, &self.canary);
        }
    }

    async fn behave(&self) -> Result<(), Closed> {
        self.speak().await?;
        for (index, (name, arguments)) in self.answer.calls.iter().enumerate() {
            self.writer.call(index, &format!("{}-{index}", self.request), name, arguments).await?;
            self.pause().await?;
        }
        // What is whole is known to be so before anybody can act on it.
        self.recorder.note(Seen::Answered {
            request: self.request,
            token: self.answer.token.clone(),
            text: self.answer.text.clone(),
            calls: self.answer.calls.iter().map(|(name, _)| name.clone()).collect(),
        });
        // Whoever is gone now has had all of it.
        let _ = self.writer.finish(&self.answer).await;
        self.recorder.moment(What::ModelSpoke, &self.process, &self.canary);
        Ok(())
    }

    async fn speak(&self) -> Result<(), Closed> {
        for (index, word) in self.answer.text.split_inclusive(' ').enumerate() {
            self.writer.piece(word).await?;
            if index == 1 {
                self.recorder.moment(What::ModelSpeaks, &self.process, &self.canary);
            }
            self.pause().await?;
        }
        Ok(())
    }

    async fn misbehave(&self, misbehaviour: Misbehaviour) -> Result<(), Closed> {
        match misbehaviour {
            Misbehaviour::Hangs => {
                self.writer.closed().await;
                Err(Closed)
            }
            Misbehaviour::Drips => loop {
                self.writer.raw(&b":"[..]).await?;
                tokio::select! {
                    () = sleep(Duration::from_secs(1)) => {}
                    () = self.writer.closed() => return Err(Closed),
                }
            },
            Misbehaviour::Cuts => {
                self.speak().await?;
                self.writer.cut().await
            }
            Misbehaviour::Floods => {
                for _ in 0..160 {
                    self.writer.piece(&"flood ".repeat(11_000)).await?;
                }
                self.writer.finish(&self.answer).await
            }
            Misbehaviour::Calls => {
                for index in 0..100_000 {
                    self.writer.call(index, &format!("{}-{index}", self.request), super::orchestration::LOOK, "{}").await?;
                }
                self.writer.finish(&self.answer).await
            }
            _ => self.writer.raw("data: {\"choices\": [{\"delta\": {\"content\": }]\n\ndata: [DONE]\n\n").await,
        }
    }

    async fn pause(&self) -> Result<(), Closed> {
        tokio::select! {
            () = sleep(self.pace) => Ok(()),
            () = self.writer.closed() => Err(Closed),
        }
    }
}
