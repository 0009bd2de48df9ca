//! The conversation that a person at a desk serves, as they see it. Pure: events in, items out.

use std::sync::Arc;

use client::{Content, Outcome, Question, Recorded, Transcript, Wanted};
use protocol::brief::{Brief, OpenRequest};
use protocol::event::{Audience, DeskAction, Event, RequestKind};
use protocol::ids::{AgentName, EventId};
use protocol::orchestration::Orchestration;

use crate::chat::paper::{Ink, Item, span};
use crate::chat::screen::note;
use crate::talk;

/// See the module.
#[derive(Debug)]
pub(super) struct Served {
    orchestration: Arc<Orchestration>,
    transcript: Transcript,
    audience: Audience,
    brief: Option<Brief>,
    last: Option<EventId>,
    /// What is asked of the desk, and not answered.
    asked: Vec<Question>,
    /// Who handed the conversation to its owner.
    handed_by: Option<AgentName>,
    outcome: Option<Outcome>,
}

impl Served {
    pub(super) fn new(orchestration: Arc<Orchestration>, audience: Audience) -> Self {
        let transcript = Transcript::new(Arc::clone(&orchestration));
        Self { orchestration, transcript, audience, brief: None, last: None, asked: Vec::new(), handed_by: None, outcome: None }
    }

    pub(super) const fn last(&self) -> Option<EventId> {
        self.last
    }

    pub(super) const fn handed_by(&self) -> Option<&AgentName> {
        self.handed_by.as_ref()
    }

    /// The oldest request that is this person's; what a role is asked is anybody's who has it.
    pub(super) fn open(&self, by: &str) -> Option<&Question> {
        let is_theirs = |request: &OpenRequest| !request.is_at_desk() || request.claimed_by.as_deref() == Some(by);
        self.asked.iter().find(|asked| self.request(asked).is_some_and(is_theirs))
    }

    fn request(&self, asked: &Question) -> Option<&OpenRequest> {
        self.brief.as_ref()?.requests.iter().find(|open| open.id == asked.request)
    }

    /// Why the person has nothing more to do with it, if so.
    pub(super) fn is_over(&self, by: &str) -> Option<String> {
        let brief = self.brief.as_ref()?;
        if let Some(outcome) = &self.outcome {
            return Some(talk::outcome(outcome).1);
        }
        let mut here = brief.requests.iter().filter(|request| request.audience == self.audience).peekable();
        if here.peek().is_some() {
            let holders: Vec<&str> = here.filter_map(|request| request.claimed_by.as_deref()).collect();
            let other = holders.iter().find(|holder| **holder != by).filter(|_| !holders.contains(&by));
            return other.map(|other| format!("{other} has it now"));
        }
        let is_of_desk = self.orchestration.agent(&brief.owner).is_some_and(|owner| owner.is_played_at(&self.audience));
        (!is_of_desk).then(|| format!("{} has it now", self.orchestration.display_name(&brief.owner)))
    }

    /// What an action must carry. Whether there is such an action, the client library says.
    pub(super) fn typed(&self, action: &DeskAction) -> Wanted<'_> {
        let owner = self.brief.as_ref().and_then(|brief| self.orchestration.agent(&brief.owner));
        match action {
            DeskAction::Complete => Wanted::of_result(&self.orchestration),
            DeskAction::Transfer { to } => owner.and_then(|owner| Wanted::of_handoff(owner, to)).unwrap_or(Wanted::Words),
        }
    }

    pub(super) fn followed(&mut self, recorded: &Recorded) -> Vec<Item> {
        let mut items = Vec::new();
        for line in self.transcript.lines(recorded) {
            let ink = if line.agent.is_some() { Ink::Plain } else { Ink::Strong };
            match line.content {
                Content::Text(text) => items.push(Item::Said(vec![span(ink, &format!("{}: ", line.name)), span(Ink::Plain, &text)])),
                Content::TransferCall(_) | Content::TransferResult { .. } => {}
            }
        }
        let from = recorded.from().agent();
        match &recorded.event {
            Event::Transferred(transfer) => {
                self.handed_by = from.cloned();
                let reason = transfer.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
                let payload = transfer.payload.as_ref().map(|payload| format!(" {payload}")).unwrap_or_default();
                items.extend(from.map(|from| note(&format!("{from} → {}{reason}{payload}", transfer.to))));
            }
            Event::Asked(asked) if asked.audience == self.audience => self.asked.extend(Question::of(&recorded.entry, recorded.id)),
            Event::Returned(result) => items.push(note(&format!("{} → {}", result.tool, result.content))),
            Event::Claimed(claim) if !claim.by.is_empty() => items.push(note(&format!("{} looks after it", claim.by))),
            Event::Warned(warning) => items.push(note(&format!("! {}", warning.detail))),
            event => self.outcome = Outcome::of(event),
        }
        let brief = recorded.entry.head.brief.clone();
        // The events of one entry are shown one by one, with its state: what it asks is not answered yet.
        self.asked.retain(|asked| brief.requests.iter().any(|open| open.id == asked.request));
        (self.brief, self.last) = (Some(brief), Some(recorded.id));
        items
    }

    /// A request as it is put to the person.
    pub(super) fn put(question: &Question, due: Option<String>) -> Vec<Item> {
        let due = due.map(|due| format!(", due {due}")).unwrap_or_default();
        let mut items = vec![Item::Turn];
        match question.kind {
            RequestKind::Question => {
                items.push(note(&format!("your turn{due}:")));
                items.extend(question.text.lines().map(|line| note(&format!("  {line}"))));
            }
            kind => items.push(note(&format!("{} asks{due}: {} ({})", question.agent, question.text, talk::choices(kind)))),
        }
        items
    }
}
