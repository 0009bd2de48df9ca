//! Why an attempt to have an answer over HTTP failed, and whether another one may do better.

use std::time::Duration;

use protocol::event::Json;
use reqwest::header::HeaderMap;
use reqwest::{Response, StatusCode, Url};
use secrecy::{ExposeSecret, SecretString};

use super::ModelError;
use super::connection::{read_head, root_cause};

/// How much of the other side's words is passed on, in characters.
const WORDS_MAX: usize = 500;
/// How much of a text that cannot be understood is shown, in characters.
const EXCERPT_MAX: usize = 200;
/// How much of a refusal is read, in bytes.
const REFUSAL_BYTES_MAX: usize = 64 * 1024;
/// The pause after a rate limit that outlasts all retries, where the provider names none.
const RATE_LIMIT_PAUSE: Duration = Duration::from_secs(15);
/// Whoever names a longer pause is believed to mean this one.
const PAUSE_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// Who is asked, as people may read it.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    /// Its URL without what may be a secret.
    pub(super) shown: String,
    /// What it was sent and may repeat.
    secrets: Vec<SecretString>,
}

impl Peer {
    pub(super) fn new(mut url: Url, secrets: impl IntoIterator<Item = SecretString>) -> Self {
        url.set_query(None);
        // Only URLs without a host refuse this.
        let _ = url.set_username("");
        let _ = url.set_password(None);
        Self { shown: url.as_str().trim_end_matches('/').to_owned(), secrets: secrets.into_iter().collect() }
    }

    /// Its words without the secrets.
    pub(super) fn scrub(&self, text: &str) -> String {
        self.secrets.iter().fold(text.to_owned(), |text, secret| text.replace(secret.expose_secret(), "[key]"))
    }

    /// The beginning of what cannot be understood.
    pub(super) fn excerpt(&self, text: &[u8]) -> String {
        self.scrub(&String::from_utf8_lossy(text)).chars().take(EXCERPT_MAX).collect()
    }
}

/// Why one attempt failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    /// Another attempt would fare no better.
    #[error("{0}")]
    Final(ModelError),
    /// Another attempt may do better.
    #[error("{error}")]
    Passing {
        /// What is reported when there is no other attempt.
        error: ModelError,
        /// When the provider wants to be asked again.
        wait: Option<Duration>,
    },
}

impl Fault {
    pub(super) fn passing(problem: impl Into<String>) -> Self {
        Self::Passing { error: ModelError::Unavailable(problem.into()), wait: None }
    }

    pub(super) fn refused(problem: impl Into<String>) -> Self {
        Self::Final(ModelError::Refused(problem.into()))
    }

    pub(super) fn garbled(problem: impl Into<String>) -> Self {
        Self::Final(ModelError::Garbled(problem.into()))
    }

    /// No answer, or not all of it.
    pub(super) fn broken(error: &reqwest::Error, peer: &Peer) -> Self {
        let what = if error.is_connect() { "nothing answers at" } else { "the connection failed to" };
        Self::passing(format!("{what} {}: {}", peer.shown, root_cause(error)))
    }

    /// An error that came instead of an answer, or in the middle of one, under status 200.
    pub(super) fn in_answer(error: &Json, peer: &Peer) -> Self {
        let words = words(error.to_string().as_bytes(), peer);
        let numeric = ["code", "status"].iter().find_map(|field| {
            let code = error.get(field)?;
            code.as_u64().or_else(|| code.as_str()?.parse().ok())
        });
        let status = numeric.and_then(|code| StatusCode::from_u16(u16::try_from(code).ok()?).ok());
        let is_request_at_fault = ["code", "type"].iter().filter_map(|field| error.get(field)?.as_str()).any(is_final_code);
        if is_request_at_fault || status.is_some_and(|status| status.is_client_error() && !is_passing(status)) {
            return Self::refused(words);
        }
        Self::passing(words)
    }

    /// An answer with a status that is no success. `way_out` is what people can do about it, if anything.
    pub(super) async fn refusal(mut response: Response, peer: &Peer, way_out: impl Fn(StatusCode) -> Option<String>) -> Self {
        let status = response.status();
        let wait = retry_after(response.headers());
        let mut body = Vec::new();
        // What does not arrive is not repeated.
        let _ = read_head(&mut response, &mut body, REFUSAL_BYTES_MAX).await;
        let words = words(&body, peer);
        let is_quota = serde_json::from_slice::<Json>(&body).is_ok_and(|body| {
            let error = body.get("error").unwrap_or(&body);
            ["code", "type"].iter().any(|field| error.get(field).is_some_and(|code| code == "insufficient_quota"))
        });
        let said = if words.is_empty() { status.to_string() } else { format!("{status}: {words}") };
        if status == StatusCode::TOO_MANY_REQUESTS && !is_quota {
            return Self::Passing { error: ModelError::Later { wait: wait.unwrap_or(RATE_LIMIT_PAUSE), detail: said }, wait };
        }
        if is_passing(status) && !is_quota {
            return Self::Passing { error: ModelError::Unavailable(format!("{} answers {said}", peer.shown)), wait };
        }
        let way_out = way_out(status).map(|way_out| format!(" ({way_out})")).unwrap_or_default();
        Self::refused(format!("{said}{way_out}"))
    }
}

/// Whether the same request may be answered another time.
fn is_passing(status: StatusCode) -> bool {
    status.is_server_error() || matches!(status.as_u16(), 408 | 409 | 425 | 429)
}

fn is_final_code(code: &str) -> bool {
    matches!(
        code,
        "insufficient_quota"
            | "invalid_request_error"
            | "invalid_prompt"
            | "context_length_exceeded"
            | "model_not_found"
            | "invalid_api_key"
    )
}

/// The pause that the other side asks for, in any of the ways that models' providers use.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let number = |name: &str| headers.get(name)?.to_str().ok()?.trim().parse::<f64>().ok();
    let millis = number("retry-after-ms").map(|millis| millis / 1000.0);
    millis.or_else(|| number("retry-after")).and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()).map(|pause| pause.min(PAUSE_MAX))
}

/// The other side's own words in a body that says why, in whatever form.
fn words(body: &[u8], peer: &Peer) -> String {
    let parsed: Json = serde_json::from_slice(body).unwrap_or(Json::Null);
    let candidates = ["/error/message", "/message", "/detail", "/error/detail", "/title", "/error", ""];
    let said = candidates.iter().find_map(|pointer| parsed.pointer(pointer)?.as_str().map(str::to_owned));
    let said = said.unwrap_or_else(|| String::from_utf8_lossy(body).into_owned());
    peer.scrub(said.trim()).chars().take(WORDS_MAX).collect()
}
