//! What silence calls for. Pure: the ledger, who is there, what the broker has delivered and `now` go in; acts come out.
//!
//! Only work that was *delivered* can be orphaned: the rest is backlog, and nobody's fault. And an act is only a proposal:
//! it names the tail it was judged on, and [`judge`] asks the journal before anything is appended.

use std::collections::{BTreeMap, BTreeSet};

use journal::{ConsumerState, planted};
use protocol::brief::Phase;
use protocol::conversation::Conversation;
use protocol::event::{Event, Failed, Redispatched, Snapshotted, failure};
use protocol::ids::{AgentName, ConversationId, ProcessId, RequestId, Seq};
use protocol::presence::HoldsAnswer;
use protocol::subject::Class;
use protocol::wire::CARRY_MAX;

use crate::ledger::{Expired, Ledger, Row};
use crate::presence::{Death, Presence};

/// Why a conversation failed that took longer than it may.
pub const CONVERSATION_TIMEOUT: &str = "conversation_timeout";
/// How many snapshots are proposed at a time: they can wait, what else there is to do cannot.
const SNAPSHOTS_MAX: usize = 16;
/// A longer conversation gets none: everybody who follows the stream would be sent it at once, and where no message has room for it,
/// fetch it from the object store.
const SNAPSHOT_BYTES_MAX: usize = 768 * 1024;
/// How many conversations one question names at most: it must fit into a message, whatever the ids look like.
const ASKED_MAX: usize = 1000;

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// Append something, if the conversation is still as it was judged.
    Append(Proposal),
    /// Ask the workers of an agent what they hold.
    Ask(Question),
    /// Create these agents' consumers: they have work, or may get some, and none is there.
    Provision(BTreeSet<AgentName>),
}

/// An entry to be appended, unless the conversation moves first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// Where.
    pub conversation: ConversationId,
    /// The tail it was judged on.
    pub tail: Seq,
    /// What.
    pub intent: Intent,
}

/// What is to be appended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Intent {
    /// The end, because a bound has passed.
    Expire(Expired),
    /// The end, because something in it cannot be read.
    Contain,
    /// All of it in one entry, so that whoever goes on after a long pause need not search for the rest.
    Snapshot,
    /// The turn once more, or the end when it has been tried often enough.
    Redispatch {
        /// Why, for people.
        reason: String,
    },
}

/// Who holds these?
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Whose workers are asked.
    pub agent: AgentName,
    /// What may be orphaned.
    pub suspects: Vec<Suspect>,
    /// Without the word of these processes nothing is concluded.
    pub awaited: BTreeSet<ProcessId>,
    /// The death that raised it, and the last sequence delivered before; none for the usual round.
    pub death: Option<(ProcessId, Seq)>,
}

/// A conversation that may be orphaned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suspect {
    /// Which.
    pub conversation: ConversationId,
    /// The tail it is judged on.
    pub tail: Seq,
    /// Its work item: whoever works on an older one will find that out, and does not hold it.
    pub item: Seq,
}

/// The sweep's memory between two rounds.
#[derive(Clone, Debug)]
pub struct Watch {
    grace_ms: u64,
    snapshot_after_ms: u64,
    /// Found held by nobody in the last round, with their tails: one more round proves it.
    unheld: BTreeMap<AgentName, BTreeMap<ConversationId, Seq>>,
    /// Deaths whose work could not be accounted for yet.
    unsettled: BTreeMap<AgentName, (ProcessId, Seq)>,
}

impl Watch {
    /// A conversation counts as quiet when nothing has happened in it, and nobody should have gone on, for `grace_ms`.
    /// One that waits for people and is long gets a snapshot after `snapshot_after_ms`.
    pub const fn new(grace_ms: u64, snapshot_after_ms: u64) -> Self {
        Self { grace_ms, snapshot_after_ms, unheld: BTreeMap::new(), unsettled: BTreeMap::new() }
    }

    /// What the time calls for, and, for each of `consumers` (none where it does not exist), the sweep.
    pub fn acts(
        &mut self,
        ledger: &Ledger,
        presence: &Presence,
        consumers: &BTreeMap<AgentName, Option<ConsumerState>>,
        now_ms: u64,
    ) -> Vec<Act> {
        let mut acts: Vec<_> = ledger.expired(now_ms).map(|(row, expired)| propose(row, Intent::Expire(expired))).collect();
        acts.extend(ledger.damaged().map(|row| propose(row, Intent::Contain)));
        let unsnapped = now_ms.checked_sub(self.snapshot_after_ms).map(|quiet_since_ms| ledger.unsnapped(quiet_since_ms));
        acts.extend(unsnapped.into_iter().flatten().take(SNAPSHOTS_MAX).map(|row| propose(row, Intent::Snapshot)));
        let missing: BTreeSet<_> = consumers.iter().filter(|(_, state)| state.is_none()).map(|(agent, _)| agent.clone()).collect();
        if !missing.is_empty() {
            acts.push(Act::Provision(missing));
        }
        for (agent, (process, delivered)) in std::mem::take(&mut self.unsettled) {
            let suspects = self.suspects(ledger, &agent, delivered, true, now_ms);
            acts.extend(questions(presence, &agent, &suspects, Some(&(process, delivered))));
        }
        for (agent, state) in consumers.iter().filter(|_| presence.is_informed()) {
            let delivered = state.map_or(Seq(0), |state| state.delivered);
            let suspects = self.suspects(ledger, agent, delivered, false, now_ms);
            if let Some(unheld) = self.unheld.get_mut(agent) {
                unheld.retain(|id, tail| suspects.iter().any(|suspect| suspect.conversation == *id && suspect.tail == *tail));
            }
            acts.extend(questions(presence, agent, &suspects, None));
        }
        acts
    }

    /// A process died: what had been delivered to its agents is looked at, at once.
    pub fn died(&self, ledger: &Ledger, presence: &Presence, death: &Death, now_ms: u64) -> Vec<Act> {
        let mut acts = Vec::new();
        for (agent, delivered) in &death.delivered {
            let suspects = self.suspects(ledger, agent, *delivered, true, now_ms);
            acts.extend(questions(presence, agent, &suspects, Some(&(death.process.clone(), *delivered))));
        }
        acts
    }

    /// Work that may be orphaned. After a death recent work is suspect too: nobody else will go on with it.
    fn suspects(&self, ledger: &Ledger, agent: &AgentName, delivered: Seq, is_death: bool, now_ms: u64) -> Vec<Suspect> {
        let is_over = |at_ms: u64| at_ms.saturating_add(self.grace_ms) <= now_ms || planted::is("redispatch-healthy-work");
        let is_suspect = |row: &Row| row.not_before_ms.is_none_or(is_over) && (is_death || is_over(row.last_ms));
        let delivered = ledger.delivered(agent, delivered).filter(is_suspect);
        delivered.map(|row| Suspect { conversation: row.conversation, tail: row.seq, item: row.item }).collect()
    }

    /// The workers have answered, those who did.
    pub fn answered(&mut self, presence: &Presence, question: Question, answers: &[HoldsAnswer]) -> Vec<Act> {
        let Question { agent, suspects, awaited, death } = question;
        let heard: BTreeSet<_> = answers.iter().map(|answer| &answer.process).collect();
        let protecting = presence.protecting(&agent);
        if awaited.iter().any(|process| protecting.contains(process) && !heard.contains(process)) {
            // Somebody who is there has not said what it holds: nothing is known. A death stays to be settled.
            if let Some((process, delivered)) = death {
                let unsettled = self.unsettled.entry(agent).or_insert((process, delivered));
                unsettled.1 = unsettled.1.max(delivered);
            }
            return Vec::new();
        }
        let is_held = |suspect: &Suspect| {
            let mut held = answers.iter().flat_map(|answer| &answer.held);
            held.any(|holding| holding.conversation == suspect.conversation && holding.item >= suspect.item)
        };
        let before = self.unheld.entry(agent).or_default();
        let mut acts = Vec::new();
        for suspect in suspects {
            let known = before.remove(&suspect.conversation);
            let is_held = is_held(&suspect);
            let Suspect { conversation, tail, .. } = suspect;
            if is_held && !planted::is("redispatch-healthy-work") {
                continue;
            }
            let reason = match &death {
                Some((process, _)) => format!("worker process {process} died"),
                // It may be on its way to a worker that has not seen it yet: one more round tells.
                None if known != Some(tail) => {
                    before.insert(conversation, tail);
                    continue;
                }
                None => "no worker holds it".to_owned(),
            };
            acts.push(Act::Append(Proposal { conversation, tail, intent: Intent::Redispatch { reason } }));
        }
        acts
    }
}

/// Questions about all suspects, each small enough to be asked.
fn questions(presence: &Presence, agent: &AgentName, suspects: &[Suspect], death: Option<&(ProcessId, Seq)>) -> Vec<Act> {
    let awaited = presence.protecting(agent);
    let question = |suspects: &[Suspect]| Question {
        agent: agent.clone(),
        suspects: suspects.to_vec(),
        awaited: awaited.clone(),
        death: death.cloned(),
    };
    suspects.chunks(ASKED_MAX).map(|suspects| Act::Ask(question(suspects))).collect()
}

fn propose(row: Row, intent: Intent) -> Act {
    Act::Append(Proposal { conversation: row.conversation, tail: row.seq, intent })
}

/// What is appended for a proposal, now that the journal says how things are; none when somebody was faster. A turn may be
/// tried `attempts` times.
pub fn judge(conversation: &Conversation, proposal: &Proposal, attempts: u32) -> Option<(Class, Event)> {
    // Whatever it was judged for, and however far the ledger has read: nothing else can be written any more.
    if let Some(failed) = conversation.must_fail() {
        return Some((Class::End, failed.into()));
    }
    let (last, brief) = (conversation.last()?, conversation.brief()?);
    // The ledger judged by times that only it has. They hold for one tail: after any other entry it judges anew.
    if conversation.tail().seq != proposal.tail || brief.phase.is_ended() {
        return None;
    }
    let fail = |code: &'static str, detail: String| Some((Class::End, Failed { code: code.into(), detail }.into()));
    let fixed = &brief.fixed;
    match &proposal.intent {
        Intent::Contain => None,
        Intent::Snapshot => {
            let is_worth_it = brief.phase == Phase::Waiting && conversation.stretches() >= 2;
            let fits = conversation.bytes() <= SNAPSHOT_BYTES_MAX && conversation.entries().len() <= CARRY_MAX;
            (is_worth_it && fits).then(|| (Class::Note, Snapshotted { entries: conversation.tail().next }.into()))
        }
        Intent::Expire(Expired::Request(id)) => fail(failure::HUMAN_TIMEOUT, request_detail(conversation, *id)),
        Intent::Expire(Expired::Turn) => {
            let secs = fixed.turn_secs.unwrap_or_default();
            let waited = conversation.deferral().map(|last| format!("; it was put off: {}", last.reason)).unwrap_or_default();
            fail(
                failure::TURN_TIMEOUT,
                format!("agent {} did not finish its turn within {secs} s (limits.turnTimeout){waited}", brief.owner),
            )
        }
        Intent::Expire(Expired::Conversation) => {
            let secs = fixed.conversation_secs.unwrap_or_default();
            fail(CONVERSATION_TIMEOUT, format!("the conversation did not end within {secs} s (limits.conversationTimeout)"))
        }
        Intent::Redispatch { .. } if brief.wait_secs.is_none() && brief.attempts + 1 >= attempts => {
            let detail = format!("{attempts} attempts at this turn of agent {} died or were abandoned (limits.attempts)", brief.owner);
            fail(failure::POISON, detail)
        }
        Intent::Redispatch { reason } => {
            let class = Class::To { agent: brief.owner.clone(), revision: last.head.revision.clone() };
            Some((class, Redispatched { turn: brief.turn, reason: reason.clone() }.into()))
        }
    }
}

fn request_detail(conversation: &Conversation, id: RequestId) -> String {
    let request = conversation.requests().iter().find(|request| request.id == id);
    let (audience, secs) = request.map(|request| (request.audience.to_string(), request.due_secs.unwrap_or_default())).unwrap_or_default();
    format!("request {id} to {audience} was not answered within {secs} s (limits.humanTimeout)")
}

#[cfg(test)]
#[path = "watch_tests.rs"]
mod tests;
