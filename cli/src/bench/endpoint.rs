//! What agents' models are asked at: an endpoint of this command's own, which writes down when each request arrives. It plays a script, or
//! passes requests on to a real endpoint. It is outside of everything that is measured, so its word needs no trust in a worker's.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use futures::{Stream, StreamExt, stream};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::time::sleep;

use super::listener::now_ns;

const TAG: (&str, &str) = ("[[bench ", "]]");
const TRANSFER: &str = "transfer_to_";

/// How requests are answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answers {
    /// With a transfer to whomever the model may transfer to.
    Script(Script),
    /// As a real endpoint does, whose base URL this is.
    Of(String),
}

/// What a scripted answer is like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Script {
    /// Before it begins.
    pub(super) delay: Duration,
    /// Words that are said before the transfer: each is the time at which it is said.
    pub(super) words: usize,
    /// Between two of them.
    pub(super) pause: Duration,
}

/// What is said in an opening, so that the requests of its conversation are known by it.
pub(super) fn tag(number: usize) -> String {
    format!("{}{number}{}", TAG.0, TAG.1)
}

/// The number in the tag somewhere in a request.
fn tagged(body: &str) -> Option<usize> {
    let (_, rest) = body.split_once(TAG.0)?;
    rest.split_once(TAG.1)?.0.parse().ok()
}

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Endpoint {
    answers: Answers,
    client: reqwest::Client,
    arrivals: Arc<Mutex<BTreeMap<usize, Vec<u64>>>>,
}

impl Endpoint {
    /// Serves at a free port of this machine for as long as this process runs; its base URL too.
    pub(super) async fn start(answers: Answers) -> anyhow::Result<(Self, String)> {
        let client = agent_worker::model::build::http_client()?;
        let endpoint = Self { answers, client, arrivals: Arc::default() };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let url = format!("http://{}/v1", listener.local_addr()?);
        let server = axum::serve(listener, Router::new().fallback(answer).with_state(endpoint.clone()));
        tokio::spawn(async move { server.await });
        Ok((endpoint, url))
    }

    /// When requests arrived since the last call, by the number of their conversation: nanoseconds since the Unix epoch.
    pub(super) fn arrivals(&self) -> BTreeMap<usize, Vec<u64>> {
        std::mem::take(&mut self.arrivals.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn arrived(&self, body: &str, at: SystemTime) {
        let at_ns = at.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_nanos());
        if let Some(number) = tagged(body) {
            let mut arrivals = self.arrivals.lock().unwrap_or_else(PoisonError::into_inner);
            arrivals.entry(number).or_default().push(u64::try_from(at_ns).unwrap_or(u64::MAX));
        }
    }
}

async fn answer(State(endpoint): State<Endpoint>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let at = SystemTime::now();
    endpoint.arrived(&String::from_utf8_lossy(&body), at);
    match &endpoint.answers {
        Answers::Script(script) => play(*script, &body).await,
        Answers::Of(base) => pass_on(&endpoint, base, &uri, &headers, body).await,
    }
}

async fn pass_on(endpoint: &Endpoint, base: &str, uri: &Uri, headers: &HeaderMap, body: Bytes) -> Response {
    let path = uri.path_and_query().map_or("", |path| path.as_str());
    let mut request = endpoint.client.post(format!("{}{}", base.trim_end_matches('/'), path.strip_prefix("/v1").unwrap_or(path)));
    for name in [header::AUTHORIZATION, header::CONTENT_TYPE, header::ACCEPT] {
        if let Some(value) = headers.get(&name) {
            request = request.header(name, value);
        }
    }
    match request.body(body).send().await {
        Ok(answer) => {
            let (status, kind) = (answer.status(), answer.headers().get(header::CONTENT_TYPE).cloned());
            let mut passed = (status, Body::from_stream(answer.bytes_stream())).into_response();
            passed.headers_mut().extend(kind.map(|kind| (header::CONTENT_TYPE, kind)));
            passed
        }
        Err(error) => (StatusCode::BAD_GATEWAY, error.to_string()).into_response(),
    }
}

/// What of a request a scripted answer depends on.
#[derive(Debug, Default, Deserialize)]
struct Asked {
    #[serde(default)]
    tools: Vec<Tool>,
}

#[derive(Debug, Deserialize)]
struct Tool {
    function: Function,
}

#[derive(Debug, Deserialize)]
struct Function {
    name: String,
}

async fn play(script: Script, body: &[u8]) -> Response {
    let Ok(asked) = serde_json::from_slice::<Asked>(body) else { return StatusCode::BAD_REQUEST.into_response() };
    let transfer = asked.tools.into_iter().map(|tool| tool.function.name).find(|name| name.starts_with(TRANSFER));
    if !script.delay.is_zero() {
        sleep(script.delay).await;
    }
    let pieces = words(script).chain(stream::iter(ending(transfer.as_deref())));
    let events = pieces.map(|piece| Ok::<_, Infallible>(format!("data: {piece}\n\n")));
    ([(header::CONTENT_TYPE, "text/event-stream")], Body::from_stream(events)).into_response()
}

fn words(script: Script) -> impl Stream<Item = String> {
    stream::iter(0..script.words).then(move |_| async move {
        if !script.pause.is_zero() {
            sleep(script.pause).await;
        }
        chunk(&json!({ "content": format!("{} ", now_ns()) }), None)
    })
}

fn ending(transfer: Option<&str>) -> Vec<String> {
    let done = "[DONE]".to_owned();
    let Some(name) = transfer else {
        return vec![chunk(&json!({ "content": "Done." }), None), chunk(&json!({}), Some("stop")), done];
    };
    let mut id = [0; 8];
    fastrand::fill(&mut id);
    let id = format!("call_{}", u64::from_le_bytes(id));
    let call = json!({ "tool_calls": [{ "index": 0, "id": id, "type": "function", "function": { "name": name, "arguments": "{}" } }] });
    vec![chunk(&call, None), chunk(&json!({}), Some("tool_calls")), done]
}

fn chunk(delta: &Value, finish: Option<&str>) -> String {
    let choice = json!({ "index": 0, "delta": delta, "finish_reason": finish });
    json!({ "id": "bench", "object": "chat.completion.chunk", "created": 0, "model": "bench", "choices": [choice] }).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_known_by_the_tag_in_it() {
        assert_eq!(tagged(&format!(r#"{{"messages":[{{"content":"Play. {}"}}]}}"#, tag(17))), Some(17));
        assert_eq!(tagged("[[bench x]]"), None);
        assert_eq!(tagged("nothing"), None);
    }

    #[tokio::test]
    async fn a_scripted_model_says_its_words_and_transfers_where_it_may() {
        let asked = json!({ "tools": [{ "function": { "name": "complete_task" } }, { "function": { "name": "transfer_to_pong" } }] });
        let answer = play(Script { words: 2, ..Script::default() }, asked.to_string().as_bytes()).await;
        let body = axum::body::to_bytes(answer.into_body(), 1 << 20).await.unwrap();
        let text = String::from_utf8(body.to_vec()).unwrap();
        assert_eq!((text.matches(" \"}").count(), text.matches("transfer_to_pong").count()), (2, 1), "{text}");
        assert!(text.ends_with("data: [DONE]\n\n"), "{text}");
        assert_eq!(play(Script::default(), b"no json").await.status(), StatusCode::BAD_REQUEST);
    }
}
