//! What a person wants of a gateway, asked again under the same key until it is known what became of it.

use std::net::SocketAddr;
use std::time::Duration;

use reqwest::Method;
use reqwest::header::RETRY_AFTER;
use serde_json::{Value as Json, json};
use tokio::time::{Instant, sleep};

use super::record::{Act, Ended, Seen};
use super::recorder::Recorder;

/// How long a person waits for one answer: gateways give up after 15 s, and say so.
const ANSWER_AT_MOST: Duration = Duration::from_secs(20);
/// How long a person keeps trying.
const PATIENCE: Duration = Duration::from_secs(120);
/// Before the next try.
const PAUSE: Duration = Duration::from_millis(250);

/// What is wanted.
#[derive(Clone, Debug)]
pub struct Wish {
    /// What kind of wish.
    pub act: Act,
    /// The conversation; none where it opens one.
    pub conversation: Option<String>,
    /// The request that it answers.
    pub request: Option<String>,
    /// The key, and what is said under it.
    pub key: String,
    /// See `key`.
    pub text: String,
    /// The verdict of a decision, with the hash of the arguments that were seen.
    pub verdict: Option<(&'static str, Option<String>)>,
}

/// One person's means to ask: a name, and the gateways.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Who.
    pub name: String,
    /// The gateways.
    pub gateways: Vec<SocketAddr>,
    /// By which they are asked.
    pub http: reqwest::Client,
    /// Where all of it is recorded.
    pub recorder: Recorder,
}

impl Wish {
    fn request(&self, caller: &Caller, gateway: SocketAddr) -> reqwest::RequestBuilder {
        let conversation = self.conversation.clone().unwrap_or_default();
        let base = format!("http://{gateway}/v1/conversations");
        let (method, url, body) = match self.act {
            Act::Open => (Method::POST, base, json!({ "message": self.text, "caller": caller.name })),
            Act::Say => (Method::POST, format!("{base}/{conversation}/messages"), json!({ "text": self.text })),
            Act::Reply | Act::Decide => {
                let url = format!("{base}/{conversation}/requests/{}", self.request.clone().unwrap_or_default());
                (Method::POST, url, self.answer(&caller.name))
            }
            Act::Cancel => (Method::DELETE, format!("{base}/{conversation}?reason=enough"), Json::Null),
        };
        let request = caller.http.request(method, url).timeout(ANSWER_AT_MOST);
        if self.act == Act::Cancel { request } else { request.header("idempotency-key", &self.key).json(&body) }
    }

    fn answer(&self, by: &str) -> Json {
        let Some((verdict, hash)) = &self.verdict else { return json!({ "text": self.text }) };
        let mut decision = json!({ "verdict": verdict, "note": self.text, "by": by });
        if let Some(hash) = hash {
            decision["arguments_hash"] = json!(hash);
        }
        decision
    }
}

impl Caller {
    /// Somebody without a name yet.
    pub fn of(gateways: &[SocketAddr], recorder: &Recorder) -> Self {
        // Built without a TLS provider, reqwest wants one, even where nothing is encrypted.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder().no_proxy().build().expect("a client");
        Self { name: String::new(), gateways: gateways.to_vec(), http, recorder: recorder.clone() }
    }

    /// Asks, first the gateway of this number; what was answered, if it was accepted.
    pub async fn wish(&self, wish: Wish, mut gateway: usize) -> Option<Json> {
        let began = Instant::now();
        loop {
            let (ended, body) = self.ask(&wish, gateway % self.gateways.len()).await;
            match ended {
                Ended::Ok { .. } => return Some(body),
                Ended::Fail { status, .. } if status != 429 => return None,
                _ if began.elapsed() > PATIENCE => return None,
                _ => {}
            }
            gateway += 1;
            sleep(PAUSE).await;
        }
    }

    async fn ask(&self, wish: &Wish, gateway: usize) -> (Ended, Json) {
        let op = self.recorder.number();
        self.recorder.note(Seen::Invoked {
            op,
            client: self.name.clone(),
            act: wish.act,
            conversation: wish.conversation.clone(),
            key: wish.key.clone(),
            text: wish.text.clone(),
            request: wish.request.clone(),
        });
        let answered = async {
            let response = wish.request(self, self.gateways[gateway]).send().await?;
            let status = response.status().as_u16();
            let retry_after = response.headers().get(RETRY_AFTER).and_then(|secs| secs.to_str().ok()?.parse().ok());
            Ok::<_, reqwest::Error>((status, retry_after, response.text().await?))
        };
        let (how, retry_after_secs, body) = match answered.await {
            Ok((status, retry_after, text)) => {
                let body: Json = serde_json::from_str(&text).unwrap_or_default();
                (ended(status, &body), retry_after, body)
            }
            Err(error) => (Ended::Unknown { why: error.to_string(), status: None }, None, Json::Null),
        };
        let conversation = body.get("conversation").and_then(Json::as_str).map(ToOwned::to_owned);
        self.recorder.note(Seen::Ended { op, how: how.clone(), conversation, retry_after_secs });
        (how, body)
    }
}

/// What an answer means. A 5xx does not promise that nothing was stored.
fn ended(status: u16, body: &Json) -> Ended {
    let code = body.get("code").and_then(Json::as_str).unwrap_or_default().to_owned();
    match status {
        200..300 => Ended::Ok { status, is_repeat: body.get("repeat").and_then(Json::as_bool).unwrap_or_default() },
        500.. => Ended::Unknown { why: format!("{status} {code}"), status: Some(status) },
        _ => Ended::Fail { status, code },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_refused_for_certain_has_failed() {
        assert_eq!(ended(201, &json!({ "repeat": true })), Ended::Ok { status: 201, is_repeat: true });
        assert_eq!(ended(409, &json!({ "code": "already_answered" })), Ended::Fail { status: 409, code: "already_answered".to_owned() });
        assert_eq!(ended(503, &json!({ "code": "unavailable" })), Ended::Unknown { why: "503 unavailable".to_owned(), status: Some(503) });
    }
}
