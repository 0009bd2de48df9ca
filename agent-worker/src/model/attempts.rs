//! Asking over HTTP until there is an answer: how long, how often, and when not again.

use std::time::Duration;

use protocol::event::Responded;
use tokio::time::error::Elapsed;
use tokio::time::sleep;

use super::fault::{Fault, Peer};
use super::{ModelError, Request, Tokens};

/// The longest pause that is waited for within a turn.
const WAIT_MAX: Duration = Duration::from_secs(5);
/// How long somebody who has begun to answer may be silent. Before that it may think for as long as the whole request may take.
const IDLE_MAX: Duration = Duration::from_secs(60);
/// The pause before the first retry is up to this long, doubling up to [`WAIT_MAX`].
const BACKOFF_FIRST: Duration = Duration::from_millis(250);

/// How long, and how often.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) request: Duration,
    pub(super) idle: Duration,
    pub(super) backoff: Duration,
    pub(super) retries: u32,
}

impl Bounds {
    pub(super) fn new(timeout_secs: u64, retries: u32) -> Self {
        Self { request: Duration::from_secs(timeout_secs.max(1)), idle: IDLE_MAX, backoff: BACKOFF_FIRST, retries }
    }

    pub(super) fn silence(&self, peer: &Peer) -> Fault {
        Fault::passing(format!("{} fell silent for {:?} while it answered", peer.shown, self.idle))
    }

    /// The pause before retry number `retry`, counted from 0: between nothing and twice as long each time, so that workers which failed
    /// together do not come back together.
    fn pause(&self, retry: u32, wait: Option<Duration>) -> Duration {
        let most = self.backoff.saturating_mul(2_u32.saturating_pow(retry)).min(WAIT_MAX);
        wait.unwrap_or_default() + most.mul_f64(fastrand::f64())
    }
}

/// The attempts at one answer.
pub(super) struct Attempts<'a> {
    bounds: Bounds,
    peer: &'a Peer,
    request: &'a Request<'a>,
    written: Written<'a>,
    retry: u32,
}

impl<'a> Attempts<'a> {
    pub(super) fn new(bounds: Bounds, peer: &'a Peer, request: &'a Request<'a>, tokens: &'a mut dyn Tokens) -> Self {
        Self { bounds, peer, request, written: Written { tokens, any: false }, retry: 0 }
    }

    /// Where the text of this attempt goes.
    pub(super) fn tokens(&mut self) -> &mut dyn Tokens {
        &mut self.written
    }

    /// What an attempt comes to; none, after a pause, where another one is to be made.
    pub(super) async fn settle(&mut self, outcome: Result<Result<Responded, Fault>, Elapsed>) -> Option<Result<Responded, ModelError>> {
        let fault = match outcome {
            Ok(Ok(response)) => return Some(Ok(response)),
            Ok(Err(fault)) => fault,
            Err(_) => Fault::passing(format!("no complete answer from {} within {:?}", self.peer.shown, self.bounds.request)),
        };
        self.written.withdraw();
        let (error, wait) = match fault {
            Fault::Final(error) => return Some(Err(error)),
            Fault::Passing { error, wait } => (error, wait),
        };
        if let Some(wait) = wait.filter(|wait| *wait > WAIT_MAX) {
            return Some(Err(ModelError::Later { wait, detail: detail(error) }));
        }
        if self.retry >= self.bounds.retries {
            return Some(Err(after(self.retry, error)));
        }
        let pause = self.bounds.pause(self.retry, wait);
        let Request { agent, conversation, .. } = self.request;
        tracing::warn!(%agent, %conversation, peer = self.peer.shown, %error, ?pause, "asked again");
        sleep(pause).await;
        self.retry += 1;
        None
    }
}

/// What the error says beyond its kind.
fn detail(error: ModelError) -> String {
    match error {
        ModelError::Later { detail, .. } | ModelError::Unavailable(detail) | ModelError::Refused(detail) | ModelError::Garbled(detail) => {
            detail
        }
    }
}

/// The last attempt's error, with how many there were.
fn after(retries: u32, error: ModelError) -> ModelError {
    match error {
        ModelError::Unavailable(problem) if retries > 0 => ModelError::Unavailable(format!("{problem} (asked {} times)", retries + 1)),
        other => other,
    }
}

/// Passes text on, and knows whether an attempt that failed must take some back.
struct Written<'a> {
    tokens: &'a mut dyn Tokens,
    any: bool,
}

impl Written<'_> {
    fn withdraw(&mut self) {
        if std::mem::take(&mut self.any) {
            self.tokens.reset();
        }
    }
}

impl Tokens for Written<'_> {
    fn text(&mut self, piece: &str) {
        self.any = true;
        self.tokens.text(piece);
    }
    fn reset(&mut self) {
        self.withdraw();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_are_bounded_and_differ() {
        let bounds = Bounds::new(30, 2);
        for retry in 0..40 {
            let most = BACKOFF_FIRST.saturating_mul(2_u32.saturating_pow(retry)).min(WAIT_MAX);
            let pauses: Vec<Duration> = (0..20).map(|_| bounds.pause(retry, None)).collect();
            assert!(pauses.iter().all(|pause| *pause <= most), "{retry}: {pauses:?}");
            assert!(pauses.iter().any(|pause| pause != &pauses[0]), "no jitter: {pauses:?}");
        }
        assert!(bounds.pause(0, Some(Duration::from_secs(3))) >= Duration::from_secs(3));
    }
}
