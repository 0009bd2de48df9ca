//! What a caller's request becomes, were the conversation as it is: one event in one class, or a typed refusal. Pure;
//! the table of semantics 1, row by row. After a fence the same request is decided again on the newer conversation.

use protocol::brief::{Brief, OpenRequest, Phase};
use protocol::conversation::Conversation;
use protocol::event::{
    Audience, Cancelled, Claimed, Completed, CompletedBecause, Decided, DeskAction, Event, Failed, Interrupted, Replied, RequestKind, Said,
    Verdict, failure,
};
use protocol::ids::{AgentName, RequestId, Revision};
use protocol::orchestration::OnMessage;
use protocol::subject::Class;

use crate::{CancelError, Claim, ClaimError, Claiming, DecideError, Decision, EndError, NotOpen, Reply, ReplyError};

/// What would be appended.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Proposal {
    pub(crate) class: Class,
    pub(crate) event: Event,
}

impl Proposal {
    fn new(class: Class, event: impl Into<Event>) -> Self {
        Self { class, event: event.into() }
    }
}

/// A conversation that has begun, as the decisions look at it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known<'a> {
    pub(crate) conversation: &'a Conversation,
    pub(crate) brief: &'a Brief,
    pub(crate) revision: &'a Revision,
}

impl<'a> Known<'a> {
    /// None before the opening.
    pub(crate) fn of(conversation: &'a Conversation) -> Option<Self> {
        let head = &conversation.last()?.head;
        Some(Self { conversation, brief: &head.brief, revision: &head.revision })
    }

    fn to(&self, agent: &AgentName) -> Class {
        Class::To { agent: agent.clone(), revision: self.revision.clone() }
    }

    /// An open request, or why it is not open.
    fn request(&self, id: RequestId) -> Result<&'a OpenRequest, NotOpen> {
        if let Some(open) = self.brief.requests.iter().find(|request| request.id == id) {
            return Ok(open);
        }
        if !matches!(self.conversation.event(id), Some(Event::Asked(_))) {
            return Err(NotOpen::Unknown(id));
        }
        let is_answer = |event: &Event| match event {
            Event::Replied(reply) => reply.request == id,
            Event::Decided(decision) => decision.request == id,
            _ => false,
        };
        if self.conversation.events().any(|(_, (_, event))| is_answer(event)) {
            Err(NotOpen::Answered(id))
        } else if self.brief.phase.is_ended() {
            Err(NotOpen::Ended(self.brief.phase))
        } else {
            Err(NotOpen::Withdrawn(id))
        }
    }

    /// Whether calls may have run whose results nobody has recorded: nothing may fence their turn off.
    fn has_unresolved_intent(&self) -> bool {
        if self.brief.open_calls == 0 {
            return false;
        }
        let mut returned = Vec::new();
        for (_, (_, event)) in self.conversation.events().rev() {
            match event {
                Event::Returned(result) => returned.push(&result.call),
                Event::Intended(intent) if intent.calls.iter().any(|intended| !returned.contains(&&intended.call)) => return true,
                Event::Responded(_) => return false,
                _ => {}
            }
        }
        false
    }
}

/// A person's message: the reply to a question, or something said.
pub(crate) fn reply(known: Known<'_>, reply: &Reply) -> Result<Proposal, ReplyError> {
    let to_caller = |request: &&OpenRequest| request.kind == RequestKind::Question && request.audience == Audience::Caller;
    let question = match reply.request {
        Some(id) => Some(known.request(id)?),
        // Only a question to the caller is answered by a bare message: a customer never approves their own refund by
        // saying "yes".
        None => known.brief.requests.iter().find(to_caller),
    };
    if reply.value.is_some() && reply.action.is_none() {
        return Err(ReplyError::InvalidValue { what: "an answer".to_owned(), problem: "it takes words only".to_owned() });
    }
    match question {
        Some(question) => answer(known, question, reply),
        None => message(known, &reply.text),
    }
}

fn answer(known: Known<'_>, question: &OpenRequest, reply: &Reply) -> Result<Proposal, ReplyError> {
    let Reply { text, action, value, by, .. } = reply;
    let is_to_caller = question.audience == Audience::Caller;
    if question.kind != RequestKind::Question {
        return Err(ReplyError::NeedsDecision(question.id));
    }
    if let Some(holder) = question.claimed_by.as_ref().filter(|holder| *holder != by) {
        return Err(ReplyError::Claimed { request: question.id, by: holder.clone() });
    }
    // A transfer needs no reason.
    if text.trim().is_empty() && !matches!(action, Some(DeskAction::Transfer { .. })) {
        return if is_to_caller { Ok(user_ended()) } else { Err(ReplyError::Empty) };
    }
    // "Return to start" is about the caller's turns: what a colleague answers goes to the agent that asked.
    let owner = &known.brief.owner;
    let agent = known.brief.fixed.reply_to.as_ref().filter(|_| is_to_caller).unwrap_or(owner);
    let (request, text, action, value, by) = (question.id, text.clone(), action.clone(), value.clone(), by.clone());
    Ok(Proposal::new(known.to(agent), Replied { request, text, action, value, by }))
}

fn message(known: Known<'_>, text: &str) -> Result<Proposal, ReplyError> {
    let Brief { phase, owner, fixed, .. } = known.brief;
    if phase.is_ended() {
        return Err(NotOpen::Ended(*phase).into());
    }
    if text.trim().is_empty() {
        return Err(ReplyError::Empty);
    }
    let text = text.to_owned();
    match (phase, fixed.on_message) {
        (Phase::Working, OnMessage::Reject) => Err(ReplyError::Rejected { owner: owner.clone() }),
        (Phase::Working, OnMessage::Interrupt) if !known.has_unresolved_intent() => {
            Ok(Proposal::new(known.to(owner), Interrupted { text }))
        }
        _ => Ok(Proposal::new(Class::In, Said { text })),
    }
}

/// A decision on an approval, or on a call of which nobody knows whether it ran.
pub(crate) fn decide(known: Known<'_>, decision: &Decision) -> Result<Proposal, DecideError> {
    let Decision { request: id, verdict, .. } = *decision;
    let request = known.request(id)?;
    let fits = match request.kind {
        RequestKind::Question => return Err(DecideError::NeedsReply(id)),
        RequestKind::Approval => matches!(verdict, Verdict::Approved | Verdict::Denied),
        RequestKind::InDoubt => matches!(verdict, Verdict::Retry | Verdict::Happened | Verdict::Abandoned),
    };
    if !fits {
        return Err(DecideError::Unfit { request: id, kind: request.kind, verdict });
    }
    let arguments_hash = match known.conversation.event(id) {
        Some(Event::Asked(asked)) => asked.arguments_hash,
        _ => None,
    };
    if decision.arguments_hash.is_some() && decision.arguments_hash != arguments_hash {
        return Err(DecideError::OtherArguments(id));
    }
    let is_last = known.brief.requests.len() == 1;
    let class = if is_last { known.to(&known.brief.owner) } else { Class::In };
    let Decision { note, by, .. } = decision.clone();
    Ok(Proposal::new(class, Decided { request: id, verdict, arguments_hash, note, by }))
}

/// A person takes a desk's request, or puts it back.
pub(crate) fn claim(known: Known<'_>, claim: &Claim) -> Result<Proposal, ClaimError> {
    let request = known.request(claim.request)?;
    if !matches!(request.audience, Audience::Desk(_)) {
        return Err(ClaimError::NoDesk(claim.request));
    }
    if claim.by.trim().is_empty() {
        return Err(ClaimError::Nameless);
    }
    match &request.claimed_by {
        Some(by) if *by != claim.by && claim.how != Claiming::TakeOver => {
            Err(ClaimError::Claimed { request: claim.request, by: by.clone() })
        }
        _ => Ok(Proposal::new(Class::In, Claimed { request: claim.request, by: claim.holder().to_owned() })),
    }
}

/// The person ends the conversation.
pub(crate) fn end(known: Known<'_>) -> Result<Proposal, EndError> {
    open(known)?;
    Ok(user_ended())
}

/// The caller's own code failed: the conversation cannot go on with it.
pub(crate) fn fail(known: Known<'_>, detail: &str) -> Result<Proposal, EndError> {
    open(known)?;
    Ok(Proposal::new(Class::End, Failed { code: failure::CALLER_ERROR.into(), detail: detail.to_owned() }))
}

/// The conversation is called off.
pub(crate) fn cancel(known: Known<'_>, reason: &str) -> Result<Proposal, CancelError> {
    match known.brief.phase {
        Phase::Cancelled => Err(CancelError::AlreadyCancelled),
        phase if phase.is_ended() => Err(CancelError::Ended(phase)),
        _ => Ok(Proposal::new(Class::End, Cancelled { reason: reason.to_owned() })),
    }
}

fn open(known: Known<'_>) -> Result<(), EndError> {
    let phase = known.brief.phase;
    if phase.is_ended() { Err(EndError::Ended(phase)) } else { Ok(()) }
}

fn user_ended() -> Proposal {
    Proposal::new(Class::End, Completed { because: CompletedBecause::UserEnded, result: String::new(), value: None })
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
