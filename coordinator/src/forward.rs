//! Human requests on their way to the gateways of their callers: one at a time to each, at least once, a few times over
//! when there is no answer, and again when a gateway announces itself. Pure but for [`deliver`].

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use journal::{Bus, RequestError};
use protocol::brief::OpenRequest;
use protocol::ids::{ConversationId, OrchestrationName, ProcessId, RequestId};
use protocol::query::ForwardedRequest;
use protocol::subject;

use crate::ledger::{Ledger, Row};

/// How long a gateway may take to say that it has a request.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);
/// Before the second attempt; twice as long before each further one.
const PAUSE: Duration = Duration::from_millis(100);
/// Attempts at a gateway that does not answer. Then it is given up until it announces itself: a gateway that is there
/// follows the conversation and sees the request anyway.
const ATTEMPTS_MAX: u32 = 6;

/// The requests that wait to be forwarded, by gateway. Times are monotonic, since this process began.
#[derive(Debug, Default)]
pub struct Outbox {
    lines: BTreeMap<ProcessId, Line>,
}

#[derive(Debug, Default)]
struct Line {
    queue: VecDeque<(ConversationId, RequestId)>,
    under_way: Option<(ConversationId, RequestId)>,
    failures: u32,
    not_before: Duration,
}

impl Outbox {
    /// What a conversation's last entry asks.
    pub fn add(&mut self, row: &Row) {
        if let Some(gateway) = &row.brief.fixed.gateway {
            let asked = row.brief.requests.iter().filter(|request| request.id.ordinal == row.ordinal);
            let requests = asked.map(|request| (row.conversation.clone(), request.id));
            self.lines.entry(gateway.clone()).or_default().queue.extend(requests);
        }
    }

    /// A gateway announced itself, or this process became the one that forwards: everything open there goes (again).
    pub fn renew(&mut self, gateway: &ProcessId, ledger: &Ledger) {
        let line = self.lines.entry(gateway.clone()).or_default();
        let waiting = ledger.waiting_at(gateway);
        line.queue = waiting.flat_map(asked).collect();
        (line.failures, line.not_before) = (0, Duration::ZERO);
    }

    /// Somebody else forwards now.
    pub fn clear(&mut self) {
        self.lines.clear();
    }

    /// What is to be sent now; each is under way until [`Self::sent`].
    pub fn next(&mut self, ledger: &Ledger, at: Duration) -> Vec<(ProcessId, ForwardedRequest)> {
        let idle = self.lines.iter_mut().filter(|(_, line)| line.under_way.is_none() && line.not_before <= at);
        let ready = idle.filter_map(|(gateway, line)| Some((gateway.clone(), line.next(ledger)?)));
        let ready = ready.collect();
        self.lines.retain(|_, line| line.under_way.is_some() || !line.queue.is_empty());
        ready
    }

    /// What became of it.
    pub fn sent(&mut self, gateway: &ProcessId, is_there: bool, at: Duration) {
        let Some(line) = self.lines.get_mut(gateway) else { return };
        let Some(request) = line.under_way.take() else { return };
        if is_there {
            line.failures = 0;
            return;
        }
        line.failures += 1;
        line.not_before = at + PAUSE * 2_u32.saturating_pow(line.failures - 1);
        line.queue.push_front(request);
        if line.failures >= ATTEMPTS_MAX {
            tracing::warn!(%gateway, requests = line.queue.len(), "the gateway does not answer: its requests wait until it announces itself");
            self.lines.remove(gateway);
        }
    }

    /// When something can be sent next.
    pub fn wake(&self) -> Option<Duration> {
        self.lines.values().filter(|line| line.under_way.is_none()).map(|line| line.not_before).min()
    }
}

impl Line {
    /// The next request that is still open.
    fn next(&mut self, ledger: &Ledger) -> Option<ForwardedRequest> {
        while let Some((conversation, request)) = self.queue.pop_front() {
            if let Some(forwarded) = ledger.row(&conversation).and_then(|row| forwarded(row, request)) {
                self.under_way = Some((conversation, request));
                return Some(forwarded);
            }
        }
        None
    }
}

fn asked(row: Row) -> impl Iterator<Item = (ConversationId, RequestId)> {
    let Row { conversation, brief, .. } = row;
    brief.requests.into_iter().map(move |request| (conversation.clone(), request.id))
}

/// The request as it is forwarded, if it is still open.
fn forwarded(row: Row, request: RequestId) -> Option<ForwardedRequest> {
    let Row { conversation, brief, .. } = row;
    let OpenRequest { kind, audience, .. } = brief.requests.into_iter().find(|open| open.id == request)?;
    Some(ForwardedRequest { conversation, request, kind, audience, agent: brief.owner })
}

/// Hands a request to a gateway; whether the gateway said that it has it.
pub async fn deliver(bus: &(impl Bus + ?Sized), name: &OrchestrationName, gateway: &ProcessId, request: &ForwardedRequest) -> bool {
    let payload = serde_json::to_vec(request).unwrap_or_default();
    let asked = bus.ask(&subject::gateway(name, gateway), payload.into(), ANSWER_TIMEOUT).await;
    match asked {
        Ok(_) => true,
        Err(RequestError::NoResponders(_) | RequestError::Timeout(_)) => false,
        Err(RequestError::Refused(problem)) => {
            tracing::warn!(%gateway, "a request could not be forwarded: {problem}");
            false
        }
    }
}

#[cfg(test)]
#[path = "forward_tests.rs"]
mod tests;
