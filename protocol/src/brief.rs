//! A conversation's state in brief, after one entry: what the coordinator's ledger needs without reading a body, and
//! the rule by which an entry changes it. It travels as JSON in the header `Baton-Brief`.

use serde::{Deserialize, Serialize};

use crate::event::{Asked, Audience, CompletedBecause, Continuation, Event, Json, Replied, RequestKind, Verdict};
use crate::ids::{AgentName, EventId, Ordinal, ProcessId, RequestId, Writer};
use crate::orchestration::OnMessage;
use crate::subject::Class;

/// Fields of a newer version. They are relayed: whatever writes the next entry says them again, and judges none of them.
pub type More = serde_json::Map<String, Json>;

/// What a conversation is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// The owner must act.
    Working,
    /// Somebody must answer.
    Waiting,
    /// Over, well.
    Completed,
    /// Over, badly.
    Failed,
    /// Over, called off.
    Cancelled,
    /// Over, and nothing is left of it.
    Erased,
}

impl Phase {
    /// Whether nothing but erasure can follow.
    pub const fn is_ended(self) -> bool {
        match self {
            Self::Working | Self::Waiting => false,
            Self::Completed | Self::Failed | Self::Cancelled | Self::Erased => true,
        }
    }

    /// The word in headers, lists and URLs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Working => "working",
            Self::Waiting => "waiting",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Erased => "erased",
        }
    }
}

/// A human request that nobody has answered.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct OpenRequest {
    /// The event that asked.
    pub id: RequestId,
    /// What is asked.
    pub kind: RequestKind,
    /// Who may answer.
    pub audience: Audience,
    /// Seconds after the asking entry's broker timestamp by which it must be answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_secs: Option<u64>,
    /// Who serves it, at a desk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claimed_by: Option<String>,
    /// What a newer version says of it.
    #[serde(flatten)]
    pub more: More,
}

impl OpenRequest {
    fn is_question_to_caller(&self) -> bool {
        self.kind == RequestKind::Question && self.audience == Audience::Caller
    }

    /// Whether people at a desk answer it.
    pub const fn is_at_desk(&self) -> bool {
        matches!(self.audience, Audience::Desk(_))
    }
}

/// Facts that the opening fixes for the whole conversation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Fixed {
    /// The gateway that serves the caller, where requests are forwarded first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<ProcessId>,
    /// Who pays for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// Wall time of one turn, in seconds after its work item's broker timestamp.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub turn_secs: Option<u64>,
    /// Seconds after the opening's broker timestamp by which the conversation must have ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conversation_secs: Option<u64>,
    /// What happens to a person's message while an agent works.
    #[serde(default, skip_serializing_if = "is_enqueue")]
    pub on_message: OnMessage,
    /// The agent that gets a person's reply, where it is not the one that asked ("return to start").
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<AgentName>,
    /// What a newer version fixed.
    #[serde(flatten)]
    pub more: More,
}

/// State in brief; see the module.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Brief {
    /// The agent that must act or be answered.
    pub owner: AgentName,
    /// What the conversation is doing.
    pub phase: Phase,
    /// The work item with which the current turn began.
    pub turn: Ordinal,
    /// How often the turn was taken over or redispatched without a hand-back or deferral before it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub attempts: u32,
    /// Transfers in the current user turn.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub handoffs: u32,
    /// User turns so far, this one included.
    pub user_turns: u32,
    /// Autonomous continuations since the last person's message or handoff.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub continuations: u32,
    /// Model calls recorded in the current turn.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub model_calls: u32,
    /// Calls of the owner's last response that have no result yet.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub open_calls: u32,
    /// Seconds after this entry's broker timestamp before which nobody goes on (deferral, hand-back, set aside).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait_secs: Option<u64>,
    /// What people have been asked and have not answered.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub requests: Vec<OpenRequest>,
    /// Who serves the owner's desk: the owner's next question there is theirs from the start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub served_by: Option<String>,
    /// What the opening fixed.
    #[serde(default, skip_serializing_if = "is_default")]
    pub fixed: Fixed,
    /// What a newer version says.
    #[serde(flatten)]
    pub more: More,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's skip_serializing_if passes a reference")]
const fn is_zero(n: &u32) -> bool {
    *n == 0
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's skip_serializing_if passes a reference")]
fn is_enqueue(on_message: &OnMessage) -> bool {
    *on_message == OnMessage::Enqueue
}

fn is_default(fixed: &Fixed) -> bool {
    *fixed == Fixed::default()
}

/// Why an entry cannot follow the ones before it. Writers never append such an entry; readers skip it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Illegal {
    /// The first entry must be an opening, and only the first.
    #[error("{0} cannot stand at this place: a conversation begins with one opening")]
    Opening(String),
    /// Nothing follows an end.
    #[error("the conversation has ended ({}): {kind} cannot follow", .phase.as_str())]
    Ended {
        /// How it ended.
        phase: Phase,
        /// What was to follow.
        kind: String,
    },
    /// Only the owner may write this.
    #[error("{from} may not write {kind}: the owner is {owner}")]
    NotOwner {
        /// Who wrote.
        from: Writer,
        /// What.
        kind: String,
        /// Who owns.
        owner: AgentName,
    },
    /// The subject says something else than the event.
    #[error("{kind} does not belong under this subject")]
    Class {
        /// What was written.
        kind: String,
    },
    /// The phase has no room for it.
    #[error("{kind} cannot happen while the conversation is {}", .phase.as_str())]
    Phase {
        /// What was written.
        kind: String,
        /// What the conversation is doing.
        phase: Phase,
    },
    /// It names a request that is not open.
    #[error("request {0} is not open")]
    Request(RequestId),
    /// It names an open request and does not answer what that one asks.
    #[error("this does not answer request {0}: a question takes a reply, a call a decision of its own kind about its very arguments")]
    Answer(RequestId),
    /// An entry records at least one event.
    #[error("an entry records at least one event")]
    Empty,
    /// Something before it cannot be read.
    #[error("something in the conversation cannot be read: nothing but the failure that says so can follow")]
    Damaged,
}

/// What `after` needs to know of an entry.
#[derive(Clone, Copy, Debug)]
pub struct Step<'a> {
    /// Its ordinal.
    pub ordinal: Ordinal,
    /// Its class.
    pub class: &'a Class,
    /// Its writer.
    pub from: &'a Writer,
    /// Its events.
    pub events: &'a [Event],
}

impl Step<'_> {
    fn kind(&self) -> String {
        self.events.last().map_or_else(String::new, |event| event.kind().to_owned())
    }
}

impl Brief {
    /// Whether it is this agent who has to act.
    pub fn is_work_of(&self, agent: &AgentName) -> bool {
        self.phase == Phase::Working && self.owner == *agent
    }

    /// The state after the first entry.
    ///
    /// # Errors
    /// [`Illegal::Opening`] or [`Illegal::Class`] when it is not an opening from the caller's side.
    pub fn opening(step: Step<'_>, fixed: Fixed) -> Result<Self, Illegal> {
        let (Class::To { agent, .. }, [Event::Opened(_)], true) = (step.class, step.events, step.from.is_caller()) else {
            return Err(Illegal::Opening(step.kind()));
        };
        Ok(Self {
            owner: agent.clone(),
            phase: Phase::Working,
            turn: step.ordinal,
            attempts: 0,
            handoffs: 0,
            user_turns: 1,
            continuations: 0,
            model_calls: 0,
            open_calls: 0,
            wait_secs: None,
            requests: Vec::new(),
            served_by: None,
            fixed,
            more: More::new(),
        })
    }

    /// The state after one more entry.
    ///
    /// # Errors
    /// [`Illegal`] when the entry cannot follow.
    pub fn after(&self, step: Step<'_>) -> Result<Self, Illegal> {
        let Some((last, before)) = step.events.split_last() else { return Err(Illegal::Empty) };
        for event in before {
            check_leading(event, last)?;
            self.check_writer(&step, event)?;
        }
        self.check_writer(&step, last)?;
        self.check_class(&step, last)?;
        self.check_phase(&step, last)?;
        let mut next = self.clone();
        for (index, event) in (0..).zip(step.events) {
            next.apply(EventId { ordinal: step.ordinal, index }, event, &step)?;
        }
        Ok(next)
    }

    /// The same without what only newer versions know.
    pub(crate) fn known(&self) -> Self {
        let mut known = Self { more: More::new(), ..self.clone() };
        known.fixed.more.clear();
        known.requests.iter_mut().for_each(|request| request.more.clear());
        known
    }

    /// Who may write what: the owner its turn, the caller's side what people say, the coordinator what silence needs.
    fn check_writer(&self, step: &Step<'_>, event: &Event) -> Result<(), Illegal> {
        let kind = || event.kind().to_owned();
        if self.phase.is_ended() && !(matches!(event, Event::Erased(_)) && self.phase != Phase::Erased) {
            return Err(Illegal::Ended { phase: self.phase, kind: kind() });
        }
        let by_owner = step.from.agent() == Some(&self.owner);
        let allowed = match event {
            Event::Opened(_) => return Err(Illegal::Opening(kind())),
            Event::Responded(_)
            | Event::Intended(_)
            | Event::Withdrawn(_)
            | Event::Returned(_)
            | Event::Warned(_)
            | Event::Transferred(_)
            | Event::Continued(_)
            | Event::Asked(_)
            | Event::Taken(_)
            | Event::Deferred(_)
            | Event::HandedBack(_) => by_owner,
            // Whoever meets what nobody can read says so.
            Event::Failed(failed) if failed.is_about_damage() => true,
            Event::SetAside(_) | Event::Failed(_) => by_owner || *step.from == Writer::Coordinator || step.from.is_caller(),
            // All that a caller can say of the end is that there will be nothing more from them.
            Event::Completed(event) => by_owner || (step.from.is_caller() && event.because == CompletedBecause::UserEnded),
            Event::Said(_) | Event::Replied(_) | Event::Decided(_) | Event::Claimed(_) | Event::Interrupted(_) => step.from.is_caller(),
            Event::Redispatched(_) | Event::Reassigned(_) | Event::Snapshotted(_) | Event::Erased(_) => *step.from == Writer::Coordinator,
            Event::Cancelled(_) => step.from.is_caller() || *step.from == Writer::Coordinator,
            // A newer version's rules are its own.
            Event::Unknown { .. } => true,
        };
        if allowed { Ok(()) } else { Err(Illegal::NotOwner { from: step.from.clone(), kind: kind(), owner: self.owner.clone() }) }
    }

    /// What the phase has room for: an owner acts while it works, people answer while it waits.
    fn check_phase(&self, step: &Step<'_>, last: &Event) -> Result<(), Illegal> {
        let is_working = self.phase == Phase::Working;
        let fits = match last {
            Event::Responded(_)
            | Event::Intended(_)
            | Event::Withdrawn(_)
            | Event::Returned(_)
            | Event::Warned(_)
            | Event::Transferred(_)
            | Event::Continued(_)
            | Event::Asked(_)
            | Event::Taken(_)
            | Event::Deferred(_)
            | Event::HandedBack(_)
            | Event::Interrupted(_)
            | Event::Redispatched(_) => is_working,
            Event::Failed(failed) if failed.is_about_damage() => true,
            Event::SetAside(_) | Event::Completed(_) | Event::Failed(_) => is_working || step.from.agent().is_none(),
            // While the caller is asked, what they say is the answer.
            Event::Said(_) => !self.requests.iter().any(OpenRequest::is_question_to_caller),
            Event::Snapshotted(_) => self.phase == Phase::Waiting,
            Event::Erased(_) => self.phase.is_ended(),
            // These name a request, which is open or is not.
            Event::Replied(_) | Event::Decided(_) | Event::Claimed(_) => true,
            Event::Opened(_) | Event::Reassigned(_) | Event::Cancelled(_) | Event::Unknown { .. } => true,
        };
        if fits { Ok(()) } else { Err(Illegal::Phase { kind: last.kind().to_owned(), phase: self.phase }) }
    }

    /// The subject must say what the event says: the broker's permissions and consumers see only the subject.
    fn check_class(&self, step: &Step<'_>, last: &Event) -> Result<(), Illegal> {
        let to = |target: &AgentName| matches!(step.class, Class::To { agent, .. } if agent == target);
        let fits = match last {
            Event::Transferred(event) => to(&event.to),
            Event::Reassigned(event) => to(&event.to),
            Event::Opened(_) | Event::Continued(_) | Event::Interrupted(_) | Event::Redispatched(_) => to(&self.owner),
            // "Return to start" sends a person's reply to another agent than the one that asked.
            Event::Replied(_) => to(&self.owner) || self.fixed.reply_to.as_ref().is_some_and(to),
            Event::Decided(_) => to(&self.owner) || *step.class == Class::In,
            Event::Said(_) | Event::Claimed(_) => *step.class == Class::In,
            Event::Responded(_)
            | Event::Intended(_)
            | Event::Withdrawn(_)
            | Event::Returned(_)
            | Event::Warned(_)
            | Event::Taken(_)
            | Event::Deferred(_)
            | Event::HandedBack(_)
            | Event::SetAside(_)
            | Event::Snapshotted(_) => *step.class == Class::Note,
            Event::Asked(_) => *step.class == Class::Ask,
            Event::Completed(_) | Event::Failed(_) | Event::Cancelled(_) | Event::Erased(_) => *step.class == Class::End,
            Event::Unknown { .. } => true,
        };
        if fits { Ok(()) } else { Err(Illegal::Class { kind: step.kind() }) }
    }

    fn apply(&mut self, id: EventId, event: &Event, step: &Step<'_>) -> Result<(), Illegal> {
        match event {
            Event::Opened(_) => return Err(Illegal::Opening(event.kind().to_owned())),
            Event::Intended(_)
            | Event::Withdrawn(_)
            | Event::Warned(_)
            | Event::Said(_)
            | Event::Snapshotted(_)
            | Event::Unknown { .. } => {}
            Event::Responded(response) => {
                self.model_calls = self.model_calls.saturating_add(1);
                self.open_calls = u32::try_from(response.calls.len()).unwrap_or(u32::MAX);
            }
            Event::Returned(_) => self.open_calls = self.open_calls.saturating_sub(1),
            Event::Transferred(event) => {
                self.begin_turn(id.ordinal, event.to.clone());
                self.handoffs = self.handoffs.saturating_add(1);
                self.continuations = 0;
            }
            Event::Continued(event) => {
                let owner = self.owner.clone();
                self.begin_turn(id.ordinal, owner);
                match event.because {
                    Continuation::Answered => self.begin_user_turn(),
                    Continuation::Autonomous => self.continuations = self.continuations.saturating_add(1),
                }
            }
            Event::Asked(asked) => self.ask(id, asked),
            Event::Replied(reply) => self.reply(id, reply, step)?,
            Event::Decided(decision) => {
                self.answer(decision.request, |open| decides(decision.verdict, open.kind))?;
                match (step.class, self.requests.is_empty()) {
                    (Class::To { .. }, true) => self.resume_turn(id.ordinal),
                    (Class::In, false) => {}
                    _ => return Err(Illegal::Class { kind: event.kind().to_owned() }),
                }
            }
            Event::Claimed(claim) => {
                let request = self.requests.iter_mut().find(|request| request.id == claim.request);
                let request = request.ok_or(Illegal::Request(claim.request))?;
                request.claimed_by = Some(claim.by.clone()).filter(|by| !by.is_empty());
                self.served_by.clone_from(&request.claimed_by);
            }
            Event::Interrupted(_) => {
                let owner = self.owner.clone();
                self.begin_turn(id.ordinal, owner);
                self.begin_user_turn();
            }
            Event::Taken(_) => self.begin_attempt(),
            Event::Redispatched(event) => {
                self.begin_attempt();
                self.turn = event.turn;
            }
            Event::Reassigned(event) => self.begin_turn(id.ordinal, event.to.clone()),
            Event::Deferred(event) => self.wait_secs = Some(event.wait_secs),
            Event::HandedBack(_) => self.wait_secs = Some(0),
            Event::SetAside(event) => self.wait_secs = Some(event.wait_secs),
            Event::Completed(_) => self.end(Phase::Completed),
            Event::Failed(_) => self.end(Phase::Failed),
            Event::Cancelled(_) => self.end(Phase::Cancelled),
            Event::Erased(_) => self.end(Phase::Erased),
        }
        Ok(())
    }

    fn reply(&mut self, id: EventId, reply: &Replied, step: &Step<'_>) -> Result<(), Illegal> {
        let has_action = reply.action.is_some();
        let answered = self.answer(reply.request, |open| open.kind == RequestKind::Question && (open.is_at_desk() || !has_action))?;
        if answered.is_at_desk() && !reply.by.is_empty() {
            self.served_by = Some(reply.by.clone());
        }
        let Class::To { agent, .. } = step.class else { return Err(Illegal::Class { kind: "replied".to_owned() }) };
        self.begin_turn(id.ordinal, agent.clone());
        self.begin_user_turn();
        Ok(())
    }

    /// A fresh turn of `owner`: whatever was open in the old one is closed.
    fn begin_turn(&mut self, turn: Ordinal, owner: AgentName) {
        if self.owner != owner {
            self.served_by = None;
            self.owner = owner;
        }
        self.model_calls = 0;
        self.open_calls = 0;
        self.requests.clear();
        self.resume_turn(turn);
    }

    /// A new work item for the same response: an answered approval goes on where the turn stood.
    fn resume_turn(&mut self, turn: Ordinal) {
        self.phase = Phase::Working;
        self.turn = turn;
        self.attempts = 0;
        self.wait_secs = None;
    }

    const fn begin_user_turn(&mut self) {
        self.user_turns = self.user_turns.saturating_add(1);
        self.handoffs = 0;
        self.continuations = 0;
    }

    /// An attempt after a hand-back or deferral is nobody's failure and does not count.
    fn begin_attempt(&mut self) {
        if self.wait_secs.take().is_none() {
            self.attempts = self.attempts.saturating_add(1);
        }
    }

    fn ask(&mut self, id: RequestId, asked: &Asked) {
        self.phase = Phase::Waiting;
        self.wait_secs = None;
        let is_desk_question = asked.kind == RequestKind::Question && matches!(asked.audience, Audience::Desk(_));
        self.requests.push(OpenRequest {
            id,
            kind: asked.kind,
            audience: asked.audience.clone(),
            due_secs: asked.due_secs,
            claimed_by: self.served_by.clone().filter(|_| is_desk_question),
            more: More::new(),
        });
    }

    fn answer(&mut self, request: RequestId, fits: impl Fn(&OpenRequest) -> bool) -> Result<OpenRequest, Illegal> {
        let place = self.requests.iter().position(|open| open.id == request).ok_or(Illegal::Request(request))?;
        let open = self.requests.remove(place);
        if fits(&open) { Ok(open) } else { Err(Illegal::Answer(request)) }
    }

    fn end(&mut self, phase: Phase) {
        self.phase = phase;
        self.open_calls = 0;
        self.wait_secs = None;
        self.requests.clear();
        self.served_by = None;
    }
}

/// What may stand before an entry's last event: what the turn recorded on its way, and the other requests of an ask. An
/// entry that hid a second decision of who goes on would be judged by one and folded by both.
fn check_leading(event: &Event, last: &Event) -> Result<(), Illegal> {
    let fits = match event {
        Event::Responded(_) | Event::Intended(_) | Event::Withdrawn(_) | Event::Returned(_) | Event::Warned(_) | Event::Unknown { .. } => {
            true
        }
        Event::Asked(_) => matches!(last, Event::Asked(_)),
        Event::Opened(_)
        | Event::Said(_)
        | Event::Transferred(_)
        | Event::Continued(_)
        | Event::Replied(_)
        | Event::Decided(_)
        | Event::Claimed(_)
        | Event::Interrupted(_)
        | Event::Taken(_)
        | Event::Deferred(_)
        | Event::HandedBack(_)
        | Event::SetAside(_)
        | Event::Redispatched(_)
        | Event::Reassigned(_)
        | Event::Snapshotted(_)
        | Event::Completed(_)
        | Event::Failed(_)
        | Event::Cancelled(_)
        | Event::Erased(_) => false,
    };
    if fits { Ok(()) } else { Err(Illegal::Class { kind: event.kind().to_owned() }) }
}

/// Whether a verdict is one that such a request asks for.
const fn decides(verdict: Verdict, kind: RequestKind) -> bool {
    match verdict {
        Verdict::Approved | Verdict::Denied => matches!(kind, RequestKind::Approval),
        Verdict::Retry | Verdict::Happened | Verdict::Abandoned => matches!(kind, RequestKind::InDoubt),
    }
}

#[cfg(test)]
#[path = "brief_tests.rs"]
mod tests;
