//! What the coordinator answers: who owns what. Pure: a verb and its question in, the answer's bytes out.

use bytes::Bytes;
use protocol::brief::Brief;
use protocol::ids::ProcessId;
use protocol::query::{Answer, LISTED_MAX, ListQuery, Listed, ShowQuery, Shown, Status, verb};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::ledger::Ledger;
use crate::presence::Presence;
use crate::revisions::Revisions;

/// The verbs that are answered.
pub const VERBS: [&str; 4] = [verb::SHOW, verb::LIST, verb::STATUS, verb::REVISIONS];

/// What answers are made from.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// The conversations.
    pub ledger: &'a Ledger,
    /// The revisions.
    pub revisions: &'a Revisions,
    /// The workers.
    pub presence: &'a Presence,
    /// Who answers.
    pub process: &'a ProcessId,
    /// Whether it is the one that acts.
    pub is_leader: bool,
    /// The broker's time as of the last tick, in milliseconds since the Unix epoch.
    pub now_ms: u64,
}

impl View<'_> {
    /// The answer to a question, as JSON.
    pub fn answer(&self, verb: &str, question: &[u8]) -> Bytes {
        match verb {
            verb::SHOW => reply(question, |query: ShowQuery| self.show(&query)),
            verb::LIST => reply(question, |query: ListQuery| Answer::Ok(self.list(&query))),
            verb::STATUS => json(&Answer::Ok(self.status())),
            verb::REVISIONS => json(&Answer::Ok(self.revisions.shown(self.ledger))),
            _ => json(&Answer::<()>::Invalid(format!("the coordinator knows {VERBS:?}, not {verb:?}"))),
        }
    }

    fn show(&self, query: &ShowQuery) -> Answer<Shown> {
        self.ledger.row(&query.conversation).map_or(Answer::NotFound, |row| Answer::Ok(row.shown()))
    }

    /// A ledger may hold a million: only those that are listed are unpacked, and those of a queue, which waits since its requests were made.
    fn list(&self, query: &ListQuery) -> Listed {
        let candidates = self.ledger.rows().filter(|packed| matches(query, packed.brief())).map(|packed| (packed.last(), packed));
        let idle_since_ms = query.idle_secs.map(|secs| self.now_ms.saturating_sub(secs.saturating_mul(1000)));
        let matching = candidates.filter(|((last_ms, _), _)| idle_since_ms.is_none_or(|since_ms| *last_ms <= since_ms));
        let mut matching: Vec<_> = match &query.audience {
            None => matching.map(|((last_ms, seq), packed)| ((u64::MAX - last_ms, u64::MAX - seq.0), packed)).collect(),
            Some(audience) => {
                matching.filter_map(|((_, seq), packed)| Some(((packed.row()?.waits_since_ms(audience), seq.0), packed))).collect()
            }
        };
        let (total, limit) = (matching.len(), query.limit.unwrap_or(LISTED_MAX).min(LISTED_MAX));
        if limit < total {
            matching.select_nth_unstable_by_key(limit, |(place, _)| *place);
            matching.truncate(limit);
        }
        matching.sort_unstable_by_key(|(place, _)| *place);
        Listed { conversations: matching.into_iter().filter_map(|(_, packed)| Some(packed.row()?.shown())).collect(), total }
    }

    fn status(&self) -> Status {
        Status {
            process: self.process.clone(),
            is_leader: self.is_leader,
            seq: self.ledger.seq().0,
            open: self.ledger.open_count(),
            now_ms: self.now_ms,
            workers: self.presence.heartbeats(),
        }
    }
}

fn matches(query: &ListQuery, brief: &Brief) -> bool {
    query.agent.as_ref().is_none_or(|agent| brief.owner == *agent)
        && query.phase.is_none_or(|phase| brief.phase == phase)
        && query.audience.as_ref().is_none_or(|audience| brief.requests.iter().any(|request| request.audience == *audience))
}

/// An empty question asks for everything that its defaults mean, where it has any.
fn reply<Q: DeserializeOwned, A: Serialize>(question: &[u8], answer: impl FnOnce(Q) -> Answer<A>) -> Bytes {
    let question = if question.is_empty() { b"{}" } else { question };
    json(&serde_json::from_slice(question).map_or_else(|error| Answer::Invalid(error.to_string()), answer))
}

fn json(answer: &impl Serialize) -> Bytes {
    serde_json::to_vec(answer).unwrap_or_default().into()
}

#[cfg(test)]
#[path = "query_tests.rs"]
mod tests;
