//! A broker that is slow, as long as its client waits for each answer: whoever asks the gateway is answered in time all the same, and
//! told to come back. Time is paused: it passes when everybody waits.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Method, Request, header};
use journal::memory::{Fault, Faults, Memory};
use journal::{Plan, Provision, registry};
use protocol::builder::AgentDef;
use protocol::manifest::ModelSpec;
use protocol::orchestration::Orchestration;
use serde_json::{Value as Json, json};
use tokio::time::Instant;
use tower::ServiceExt;

use crate::guard::ANSWER_TIMEOUT;
use crate::{Config, Gateway, STREAMS_MAX};

const NAME: &str = "support";

/// What a broker of nats-server takes for one request at most, as its client waits for it.
const SLOW: Duration = Duration::from_secs(6);

struct Stage {
    memory: Memory,
    router: Router,
}

/// An answer, and how long it took.
struct Answer {
    status: u16,
    code: String,
    comes_back: bool,
    body: Json,
    took: Duration,
}

impl Stage {
    async fn new(seed: u64) -> Self {
        let agent = AgentDef::new("triage").instructions("Help.");
        let builder = Orchestration::builder(NAME).model("default", ModelSpec::openai("gpt-5-mini")).agent(&agent);
        let definition = builder.start_with("triage").build().unwrap().orchestration;
        let memory = Memory::with_faults(seed, Faults::default());
        memory.provision(&Plan::new(NAME.parse().unwrap(), vec!["triage".parse().unwrap()])).await.unwrap();
        registry::register(&memory, &definition).await.unwrap();
        let config = Config {
            listen: "127.0.0.1:0".parse().unwrap(),
            group: "gateway".parse().unwrap(),
            origins: Vec::new(),
            trace_url: None,
            streams_max: STREAMS_MAX,
            connections_max: 1000,
        };
        let gateway = Gateway::bind(Arc::new(memory.client()), "gateway-1".parse().unwrap(), [NAME.parse().unwrap()], config);
        Self { memory, router: gateway.await.unwrap().router() }
    }

    async fn asks(&self, method: Method, path: &str, key: &str, body: &Json) -> Answer {
        let request = Request::builder().method(method).uri(path).header(header::HOST, "localhost").header("idempotency-key", key);
        let request = request.header(header::CONTENT_TYPE, "application/json").body(Body::from(body.to_string())).unwrap();
        let asked = Instant::now();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (status, comes_back) = (response.status().as_u16(), response.headers().contains_key(header::RETRY_AFTER));
        let body: Json = serde_json::from_slice(&to_bytes(response.into_body(), 1 << 20).await.unwrap()).unwrap();
        Answer { status, code: body["code"].as_str().unwrap_or_default().to_owned(), comes_back, body, took: asked.elapsed() }
    }

    /// Asks again under the same key until there is an answer; each time it is told in time that there is none yet.
    async fn insists(&self, method: Method, path: &str, key: &str, body: &Json) -> Answer {
        for _ in 0..1000 {
            let answer = self.asks(method.clone(), path, key, body).await;
            assert!(answer.took < ANSWER_TIMEOUT, "{path}: {} after {:?}", answer.body, answer.took);
            match answer.status {
                200 | 201 => return answer,
                503 => assert!(answer.comes_back && ["unavailable", "unknown_outcome"].contains(&answer.code.as_str()), "{}", answer.body),
                _ => panic!("{path}: {}", answer.body),
            }
        }
        panic!("{path} is never answered");
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_journal_is_answered_for_in_time_and_what_is_repeated_happens_once() {
    for seed in 0..40 {
        let stage = Stage::new(seed).await;
        let slow = Faults::default().latency(SLOW).delay(SLOW).with(Fault::AcknowledgementLate, 500).with(Fault::AppendLate, 200);
        stage.memory.set_faults(slow.with(Fault::ResendLost, 200));
        let begun = stage.insists(Method::POST, "/v1/conversations", "opening", &json!({ "message": "Hello" })).await;
        let path = format!("/v1/conversations/{}", begun.body["conversation"].as_str().unwrap());
        stage.insists(Method::POST, &format!("{path}/messages"), "message", &json!({ "text": "And?" })).await;
        stage.insists(Method::GET, &path, "", &Json::Null).await;
        // Late appends of attempts that were given up have arrived by then.
        tokio::time::sleep(SLOW * 2).await;
        assert_eq!(stage.memory.stored(&NAME.parse().unwrap()).len(), 2, "seed {seed}: opened, said");
    }
}

/// Whatever it is that takes so long.
#[tokio::test(start_paused = true)]
async fn who_is_not_answered_in_time_is_told_to_come_back() {
    let stage = Stage::new(1).await;
    stage.memory.set_faults(Faults::default().latency(Duration::from_hours(1000)));
    let answer = stage.asks(Method::GET, "/v1/conversations", "", &Json::Null).await;
    assert_eq!((answer.status, answer.code.as_str(), answer.comes_back), (504, "timeout", true));
    assert!(answer.body["detail"].as_str().unwrap().contains("Idempotency-Key"), "{}", answer.body);
}
