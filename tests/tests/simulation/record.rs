//! What is recorded of a story from outside of what is tested: by the models and tools that were asked, by the people, by
//! fate, and in the end by the broker. The invariants look at nothing else.

use std::collections::BTreeMap;

use journal::memory::Fault;
use protocol::history::PromptMessage;
use protocol::ids::{AgentName, ConversationId, ProcessId, Seq};
use protocol::wire::Stored;

use super::definition::Definition;

/// One thing that was seen.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    /// When, by the broker's clock.
    pub(crate) at_ms: u64,
    /// The last sequence that the broker had stored by then: what is above came later.
    pub(crate) seq: Seq,
    pub(crate) seen: Seen,
}

/// A turn as those outside of it see it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Whose {
    pub(crate) conversation: ConversationId,
    pub(crate) agent: AgentName,
    pub(crate) process: ProcessId,
    pub(crate) epoch: Seq,
}

#[derive(Clone, Debug)]
pub(crate) enum Seen {
    /// A model was asked; its answer will hold the token `[[t:<n>]]`, which no other holds.
    Asked { whose: Whose, token: u64, is_summary: bool, messages: Vec<PromptMessage<'static>> },
    /// It has answered.
    Answered { token: u64 },
    /// Nobody waits for its answer any more: there is one, or whoever asked has broken off.
    Closed { token: u64 },
    /// A tool was called, and whether that had an effect: the first call under its key, of no stale owner.
    Called { whose: Whose, tool: String, key: String, arguments: String, is_effect: bool },
    /// A worker told the broker that a work item is done.
    Acked { whose: Whose, item: Seq },
    /// A person wishes something. The wish is in the text as `[[m:<n>]]`, however often it is repeated.
    Wished { wish: u64 },
    /// What they were told of it.
    Told { wish: u64, how: How },
    /// Fate struck a process.
    Struck,
}

/// How a person's operation ended, as far as they know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    /// It is stored.
    Accepted,
    /// Nothing of it is stored.
    Refused,
    /// Nobody could say.
    Unknown,
}

/// A story that is over.
#[derive(Debug)]
pub(crate) struct Recording {
    pub(crate) definition: &'static Definition,
    pub(crate) records: Vec<Record>,
    /// Everything in the stream, in order.
    pub(crate) stored: Vec<Stored>,
    /// How often each fault of the network has struck.
    pub(crate) faults: BTreeMap<Fault, u64>,
    /// No fault of any kind was to happen, but what happens in a healthy cluster: replicas lag, and acknowledgements take their time.
    pub(crate) is_calm: bool,
    /// The conversation whose turns kill their workers.
    pub(crate) poisoned: Option<ConversationId>,
    pub(crate) steps: u64,
}

impl Recording {
    /// All that distinguishes one course of events from another. Random ids are left out: they decide nothing.
    pub(crate) fn fingerprint(&self) -> String {
        let mut text = String::new();
        for record in &self.records {
            let seen = match &record.seen {
                // Keys come from the ids of entries.
                Seen::Called { whose, tool, arguments, is_effect, .. } => format!("{whose:?} {tool} {arguments} {is_effect}"),
                seen => format!("{seen:?}"),
            };
            text += &format!("{} {} {seen}\n", record.at_ms, record.seq);
        }
        for stored in &self.stored {
            text += &format!("{} {} {}\n", stored.seq, stored.time_ms, stored.subject);
        }
        text + &format!("{:?} {}", self.faults, self.steps)
    }
}
