//! The support conversation once more, for each way of making prompts, with its script asked over HTTP: what then goes out is what a
//! provider would see.

use std::borrow::Cow;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};

use agent_worker::model::scripted::Scripted;
use agent_worker::model::{Model as _, Request};
use anyhow::{Context, bail};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json as Document, Router};
use protocol::event::{Call as ToolCall, Responded};
use protocol::history::PromptMessage;
use protocol::ids::ConversationId;
use protocol::manifest::{Manifest, ModelSpec, Provider};
use protocol::orchestration::{Model, Prompt};
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};
use tokio::net::TcpListener;

use super::case;
use super::crowd::Crowd;
use super::prefix::{self, Call, Share};
use super::shape::Plan;
use crate::broker::Fsync;
use crate::dev::system::System;

/// What a provider's cache could serve of the support conversation's prompts, by `prompt` in its definition.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CacheableShare {
    /// Under `isolated`.
    pub isolated: Share,
    /// Under `shared-prefix`.
    pub shared_prefix: Share,
}

pub(super) async fn measure(plan: &Plan, fsync: Fsync) -> anyhow::Result<CacheableShare> {
    Ok(CacheableShare {
        isolated: play(plan, fsync, Prompt::Isolated).await?,
        shared_prefix: play(plan, fsync, Prompt::SharedPrefix).await?,
    })
}

/// One conversation.
async fn play(plan: &Plan, fsync: Fsync, prompt: Prompt) -> anyhow::Result<Share> {
    let directory = tempfile::Builder::new().prefix("baton-bench-").tempdir()?;
    let scripted = case::config(&plan.files(None), directory.path(), fsync)?.orchestration;
    let Some(Model::Scripted(lines)) = scripted.model("default") else { bail!("the support conversation has no script") };
    let (provider, url) = Recorder::start(Scripted::new(lines.clone())).await?;
    let manifest = asked_over_http(scripted.manifest().clone(), prompt, &url);
    let files = [("cache.yaml", serde_json::to_string(&manifest)?)];
    let system = System::start(case::config(&files, directory.path(), fsync)?).await?;
    let played = async { Crowd::of(&system).await?.play(plan, 1, 0, |_| ()).await }.await;
    system.stop().await;
    played?;
    prefix::share(&provider.calls()).context("nobody handed over")
}

/// The same definition, whose models are asked at `url`, each agent's at a path of its own: by that they are told apart.
fn asked_over_http(mut manifest: Manifest, prompt: Prompt, url: &str) -> Manifest {
    manifest.spec.prompt = Some(prompt);
    for (name, agent) in &mut manifest.spec.agents {
        agent.model = Some(name.clone());
        let base_url = Some(format!("{url}/{name}"));
        let model = ModelSpec { provider: Provider::Compatible, base_url, stream: Some(false), ..ModelSpec::openai("bench") };
        manifest.spec.models.insert(name.clone(), model);
    }
    manifest
}

/// Answers by a script, and keeps what it was asked.
#[derive(Clone, Debug)]
struct Recorder {
    script: Scripted,
    calls: Arc<Mutex<Vec<Call>>>,
}

impl Recorder {
    /// Serves at a free port of this machine for as long as this process runs; its URL too.
    async fn start(script: Scripted) -> anyhow::Result<(Self, String)> {
        let recorder = Self { script, calls: Arc::default() };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("no port is free")?;
        let url = format!("http://{}", listener.local_addr()?);
        let routes = Router::new().route("/{agent}/chat/completions", post(answer)).with_state(recorder.clone());
        tokio::spawn(async move { axum::serve(listener, routes).await });
        Ok((recorder, url))
    }

    fn calls(&self) -> Vec<Call> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn answer(
    State(recorder): State<Recorder>,
    Path(agent): Path<String>,
    Document(body): Document<Json>,
) -> Result<Document<Json>, (StatusCode, String)> {
    let bad = |problem: String| (StatusCode::BAD_REQUEST, problem);
    let asked: Asked = serde_json::from_value(body.clone()).map_err(|error| bad(error.to_string()))?;
    recorder.calls.lock().unwrap_or_else(PoisonError::into_inner).push(Call { agent: agent.clone(), body });
    let request = Request {
        agent: agent.parse().map_err(|_| bad(format!("{agent:?} is no agent")))?,
        conversation: ConversationId::of_opening("bench", "cache"),
        messages: asked.messages(),
        tools: [].into(),
        allowed: None,
        output: None,
    };
    let response = recorder.script.respond(&request, &mut ()).await.map_err(|error| bad(error.to_string()))?;
    Ok(Document(completion(&response)))
}

/// What a script looks at.
#[derive(Debug, Deserialize)]
struct Asked {
    messages: Vec<Message>,
}

#[derive(Debug, Deserialize)]
struct Message {
    role: String,
    content: Option<String>,
    #[serde(default)]
    tool_calls: Vec<Called>,
    tool_call_id: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Called {
    id: String,
    function: Function,
}

#[derive(Debug, Deserialize)]
struct Function {
    name: String,
    arguments: String,
}

impl Asked {
    fn messages(self) -> Vec<PromptMessage<'static>> {
        let mut calls: Vec<ToolCall> = Vec::new();
        let message = |Message { role, content, tool_calls, tool_call_id }: Message| {
            let text = Cow::from(content.unwrap_or_default());
            match role.as_str() {
                "user" => PromptMessage::User { text },
                "assistant" => {
                    let call = |Called { id, function }| ToolCall { id, name: function.name, arguments: function.arguments };
                    let made: Vec<ToolCall> = tool_calls.into_iter().map(call).collect();
                    calls.extend(made.clone());
                    PromptMessage::Assistant { name: None, text, calls: made.into() }
                }
                "tool" => {
                    let call = tool_call_id.unwrap_or_default();
                    let name = calls.iter().rev().find(|made| made.id == call).map(|made| made.name.clone()).unwrap_or_default();
                    PromptMessage::Tool { call: call.into(), name: name.into(), content: text }
                }
                _ => PromptMessage::System { text },
            }
        };
        self.messages.into_iter().map(message).collect()
    }
}

fn completion(response: &Responded) -> Json {
    let call =
        |call: &ToolCall| json!({ "id": call.id, "type": "function", "function": { "name": call.name, "arguments": call.arguments } });
    let calls: Vec<Json> = response.calls.iter().map(call).collect();
    let finish = if calls.is_empty() { "stop" } else { "tool_calls" };
    let message = json!({ "role": "assistant", "content": response.text, "tool_calls": calls });
    let choice = json!({ "index": 0, "message": message, "finish_reason": finish });
    json!({ "id": "bench", "object": "chat.completion", "created": 0, "model": "bench", "choices": [choice] })
}
