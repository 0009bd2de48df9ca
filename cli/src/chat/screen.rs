//! What a conversation looks like to somebody who takes part in it. Pure: events and tokens in, [`Item`]s out.

use std::sync::Arc;

use client::{Content, Followed, Outcome, Question, Recorded, Token, Transcript};
use protocol::brief::{Brief, Phase};
use protocol::event::{
    Asked, Audience, Call, CompletedBecause, Continuation, Decided, Event, Json, RequestKind, Responded, Returned, Transferred, Verdict,
};
use protocol::ids::{AgentName, EventId, ProcessId, RequestId};
use protocol::orchestration::{COMPLETE_TASK, Orchestration, TRANSFER_PREFIX};

use super::paper::{Ink, Item, Line, span};
use crate::talk;

/// Characters of a call's arguments, and of its result, on its one line.
const SHORT: usize = 60;

/// How things are shown.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shows {
    /// Messages while they are being written.
    pub(crate) is_live: bool,
    /// What the person types is on the screen already.
    pub(crate) is_echoed: bool,
}

/// The conversation as far as it has been followed.
#[derive(Debug)]
pub(crate) struct Screen {
    orchestration: Arc<Orchestration>,
    transcript: Transcript,
    /// The process that this person sits at.
    me: ProcessId,
    shows: Shows,
    brief: Option<Brief>,
    last: Option<EventId>,
    /// What is asked of the caller and not answered, the oldest first.
    asked: Vec<Question>,
    /// What has been put to the person.
    put: Option<RequestId>,
    /// Calls that have been shown and have not returned.
    running: Vec<Call>,
    is_writing: bool,
    /// Whether everything so far happened before this person came.
    is_past: bool,
    outcome: Option<Outcome>,
}

impl Screen {
    pub(crate) fn new(orchestration: Arc<Orchestration>, me: ProcessId, shows: Shows) -> Self {
        Self {
            transcript: Transcript::new(Arc::clone(&orchestration)),
            orchestration,
            me,
            shows,
            brief: None,
            last: None,
            asked: Vec::new(),
            put: None,
            running: Vec::new(),
            is_writing: false,
            is_past: true,
            outcome: None,
        }
    }

    /// What is asked of the person: the oldest request that is open to them.
    pub(crate) fn asked(&self) -> Option<&Question> {
        self.asked.first()
    }

    /// How it ended.
    pub(crate) const fn outcome(&self) -> Option<&Outcome> {
        self.outcome.as_ref()
    }

    /// The last event that was followed.
    pub(crate) const fn last(&self) -> Option<EventId> {
        self.last
    }

    /// The conversation's state.
    pub(crate) const fn brief(&self) -> Option<&Brief> {
        self.brief.as_ref()
    }

    /// Whether an agent must act.
    pub(crate) fn is_working(&self) -> bool {
        self.brief.as_ref().is_some_and(|brief| brief.phase == Phase::Working)
    }

    /// The next thing that happened.
    pub(crate) fn followed(&mut self, followed: &Followed) -> Vec<Item> {
        match followed {
            Followed::Token(token) => self.token(token),
            Followed::Event(recorded) => self.recorded(recorded),
        }
    }

    /// Nothing more is there for now: what is still open is put to the person.
    pub(crate) fn reached(&mut self) -> Vec<Item> {
        self.is_past = false;
        let Some(question) = self.asked.first().filter(|question| self.put != Some(question.request)).cloned() else { return Vec::new() };
        self.put = Some(question.request);
        self.put_to_person(&question)
    }

    /// The stream of events broke off: what was being written may be lost, and comes again.
    pub(crate) fn broken(&mut self) -> Vec<Item> {
        self.is_writing = false;
        vec![Item::Withdrawn]
    }

    /// What the conversation is doing now, on one line. `secs` have passed since anything happened.
    pub(crate) fn status(&self, secs: u64) -> Line {
        let Some(brief) = &self.brief else { return vec![span(Ink::Dim, "…")] };
        let owner = self.name(&brief.owner);
        let mut line = vec![owner];
        let dim = |text: String| span(Ink::Dim, &text);
        match (brief.phase, self.asked.first()) {
            (Phase::Working, _) => {
                line.push(dim(" is working".to_owned()));
                if let Some(call) = self.running.last() {
                    line.push(dim(format!(" · {}", call.name)));
                }
                if secs > 0 {
                    line.push(dim(format!(" · {secs} s")));
                }
            }
            (Phase::Waiting, Some(question)) if question.kind == RequestKind::Question => {
                line.push(dim(" waits for your answer".to_owned()))
            }
            (Phase::Waiting, Some(question)) => line.push(span(Ink::Strong, &format!(" waits: {}", talk::choices(question.kind)))),
            (Phase::Waiting, None) => {
                let audiences: Vec<String> = brief.requests.iter().map(|request| request.audience.to_string()).collect();
                line.push(dim(format!(" waits for {}", audiences.join(", "))));
            }
            (phase, _) => line.push(dim(format!(" · {}", phase.as_str()))),
        }
        line
    }

    /// An agent's name for people, in its colour.
    fn name(&self, agent: &AgentName) -> super::paper::Span {
        let place = self.orchestration.agents().position(|known| known.name == *agent).unwrap_or_default();
        span(Ink::Agent(place), self.orchestration.display_name(agent))
    }

    fn speaks(&self, agent: &AgentName) -> Line {
        vec![self.name(agent), span(Ink::Plain, ": ")]
    }

    fn token(&mut self, token: &Token) -> Vec<Item> {
        let mut items = Vec::new();
        match token {
            Token::Text { agent, text, is_final } => {
                if !self.is_writing && !text.is_empty() {
                    self.is_writing = true;
                    items.push(Item::Draft(self.speaks(agent)));
                }
                if !text.is_empty() {
                    items.push(Item::Text(text.clone()));
                }
                if *is_final && std::mem::take(&mut self.is_writing) {
                    items.push(Item::Complete);
                }
            }
            Token::Withdrawn { .. } => {
                self.is_writing = false;
                items.push(Item::Withdrawn);
            }
        }
        items
    }

    fn recorded(&mut self, recorded: &Recorded) -> Vec<Item> {
        let mut items = self.said(recorded);
        items.extend(self.beside(recorded));
        let brief = &recorded.entry.head.brief;
        let is_open = |request: RequestId| brief.requests.iter().any(|open| open.id == request);
        self.asked.retain(|question| is_open(question.request));
        // Not by the owner of the whole entry: what ran before its transfer is shown with its arguments.
        if matches!(recorded.event, Event::Transferred(_) | Event::Reassigned(_)) {
            self.running.clear();
        }
        self.brief = Some(brief.clone());
        self.last = Some(recorded.id);
        items
    }

    /// What was said, by whomever.
    fn said(&mut self, recorded: &Recorded) -> Vec<Item> {
        let mut items = Vec::new();
        for line in self.transcript.lines(recorded) {
            let Content::Text(text) = &line.content else { continue };
            match (&line.agent, &recorded.event) {
                // It was shown while it was being written.
                (Some(_), Event::Responded(_)) if self.shows.is_live => items.push(Item::Settled),
                (Some(agent), _) => items.push(Item::Said([self.speaks(agent), vec![span(Ink::Plain, text)]].concat())),
                (None, _) if self.shows.is_echoed && !self.is_past && self.is_mine(recorded) => {}
                (None, event) => {
                    let is_opening = matches!(event, Event::Opened(_));
                    items.push(Item::Turn);
                    items.push(Item::Said(vec![
                        span(Ink::Strong, &self.person(&line.name, recorded)),
                        span(Ink::Plain, &format!(": {text}")),
                    ]));
                    if !is_opening {
                        items.extend(self.what_comes_of_it(event));
                    }
                }
            }
        }
        items
    }

    fn is_mine(&self, recorded: &Recorded) -> bool {
        recorded.entry.head.process == self.me
    }

    fn person(&self, name: &str, recorded: &Recorded) -> String {
        let name = if name == "User" { "You" } else { name };
        if self.is_past || self.is_mine(recorded) { name.to_owned() } else { format!("{name} (elsewhere)") }
    }

    fn what_comes_of_it(&self, event: &Event) -> Option<Item> {
        let owner = self.brief.as_ref().map(|brief| self.orchestration.display_name(&brief.owner).to_owned())?;
        match event {
            Event::Said(_) if self.is_working() => Some(note(&format!("{owner} goes on, and reads this then"))),
            Event::Interrupted(_) => Some(note(&format!("{owner} stops what it was doing, and begins again with this"))),
            _ => None,
        }
    }

    /// What happened beside the talk.
    fn beside(&mut self, recorded: &Recorded) -> Vec<Item> {
        let from = recorded.from().agent().cloned();
        let one = |item: Item| vec![item];
        match &recorded.event {
            Event::Responded(response) => self.calls(response, recorded),
            Event::Returned(result) => one(self.returned(result)),
            Event::Transferred(transfer) => from.map(|from| self.transferred(&from, transfer)).into_iter().collect(),
            Event::Asked(asked) => self.is_asked(asked, recorded),
            Event::Decided(decided) => one(self.decided(decided, recorded)),
            Event::Claimed(claim) if claim.by.is_empty() => one(note("it waits for somebody else at the desk")),
            Event::Claimed(claim) => one(note(&format!("{} looks after it", claim.by))),
            Event::Warned(warning) => one(note(&format!("! {}", warning.detail))),
            Event::Continued(event) if event.because == Continuation::Autonomous => one(note("it goes on by itself")),
            Event::Withdrawn(event) => {
                event.calls.iter().map(|call| note(&format!("it is not known whether it ran; {} undoes it", call.tool))).collect()
            }
            Event::Taken(taken) => one(note(&format!("another worker ({}) takes over: the one before has gone silent", taken.by))),
            Event::HandedBack(event) => one(note(&format!("its worker hands the turn back: {}", event.reason))),
            Event::Deferred(event) => one(note(&format!("put off for {} s: {}", event.wait_secs, event.reason))),
            Event::SetAside(event) => one(note(&format!("set aside for a newer worker: {} is not understood by this one", event.what))),
            Event::Redispatched(event) => one(note(&format!("handed out again: {}", event.reason))),
            Event::Reassigned(event) => {
                one(Item::Note(vec![span(Ink::Dim, &format!("  {} gives the conversation to ", event.by)), self.name(&event.to)]))
            }
            Event::Completed(_) | Event::Failed(_) | Event::Cancelled(_) => self.ended(&recorded.event),
            Event::Opened(_) | Event::Said(_) | Event::Replied(_) | Event::Interrupted(_) | Event::Intended(_) => Vec::new(),
            Event::Continued(_) | Event::Snapshotted(_) | Event::Erased(_) | Event::Unknown { .. } => Vec::new(),
        }
    }

    /// The calls of a response. Those that have returned already, in the same entry, are shown once, with their result.
    fn calls(&mut self, response: &Responded, recorded: &Recorded) -> Vec<Item> {
        let is_tool = |call: &&Call| !call.name.starts_with(TRANSFER_PREFIX) && call.name != COMPLETE_TASK;
        let calls: Vec<Call> = response.calls.iter().filter(is_tool).cloned().collect();
        let returns =
            |call: &Call| recorded.entry.events.iter().any(|event| matches!(event, Event::Returned(result) if result.call == call.id));
        let begun = calls.iter().filter(|call| !returns(call));
        let items = begun.map(|call| note(&format!("· {}({})", call.name, arguments(&call.arguments)))).collect();
        self.running = calls;
        items
    }

    fn returned(&mut self, result: &Returned) -> Item {
        let place = self.running.iter().position(|call| call.id == result.call);
        let call = place.map(|place| self.running.remove(place));
        let arguments = call.map_or_else(String::new, |call| arguments(&call.arguments));
        let mark = if result.is_error { span(Ink::Bad, "  ✗ ") } else { span(Ink::Good, "  ✓ ") };
        Item::Note(vec![mark, span(Ink::Dim, &format!("{}({arguments}) → {}", result.tool, shortened(&result.content)))])
    }

    fn transferred(&self, from: &AgentName, transfer: &Transferred) -> Item {
        let mut line = vec![span(Ink::Dim, "  "), self.name(from), span(Ink::Dim, " → "), self.name(&transfer.to)];
        if let Some(reason) = transfer.reason.as_deref().filter(|reason| !reason.trim().is_empty()) {
            line.push(span(Ink::Dim, &format!(": {reason}")));
        }
        Item::Note(line)
    }

    fn is_asked(&mut self, asked: &Asked, recorded: &Recorded) -> Vec<Item> {
        if asked.audience == Audience::Caller {
            self.asked.extend(Question::of(&recorded.entry, recorded.id));
            return Vec::new();
        }
        let about = asked.call.as_ref().map(|call| format!(": {}({})", call.name, arguments(&call.arguments))).unwrap_or_default();
        vec![note(&format!("waits for {}{about}", asked.audience))]
    }

    /// A decision is asked for in full: whoever decides must see what they decide.
    fn put_to_person(&self, question: &Question) -> Vec<Item> {
        let who = self.name(&question.agent);
        let tool = question.call.as_ref().map_or("a call", |call| call.name.as_str());
        let asks = match question.kind {
            RequestKind::Question => return Vec::new(),
            RequestKind::Approval => format!(" asks whether {tool} may run:"),
            RequestKind::InDoubt => format!(" lost sight of {tool}, nobody knows whether it ran:"),
        };
        let mut items = vec![Item::Turn, Item::Note(vec![who, span(Ink::Strong, &asks)])];
        if let Some(call) = &question.call {
            let pretty = serde_json::from_str::<Json>(&call.arguments).ok().and_then(|value| serde_json::to_string_pretty(&value).ok());
            let pretty = pretty.unwrap_or_else(|| call.arguments.clone());
            items.extend(pretty.lines().map(|line| Item::Note(vec![span(Ink::Plain, &format!("    {line}"))])));
        }
        // Where nobody wrote a text of its own, it only says once more what is above.
        let is_own = question.call.as_ref().is_none_or(|call| !question.text.contains(&call.arguments));
        if is_own && !question.text.trim().is_empty() {
            items.extend(question.text.lines().map(|line| Item::Note(vec![span(Ink::Plain, &format!("  {line}"))])));
        }
        items.push(note(&format!("{}; further words are passed on", talk::choices(question.kind))));
        items
    }

    fn decided(&self, decided: &Decided, recorded: &Recorded) -> Item {
        let (mark, word) = match decided.verdict {
            Verdict::Approved => (span(Ink::Good, "  ✓ "), "approved"),
            Verdict::Denied => (span(Ink::Bad, "  ✗ "), "denied"),
            Verdict::Retry => (span(Ink::Good, "  ✓ "), "to be tried again"),
            Verdict::Happened => (span(Ink::Good, "  ✓ "), "it happened"),
            Verdict::Abandoned => (span(Ink::Bad, "  ✗ "), "given up"),
        };
        let call = self.asked.iter().find(|question| question.request == decided.request).and_then(|question| question.call.as_ref());
        let what = call.map(|call| format!("{} ", call.name)).unwrap_or_default();
        let is_mine = self.is_past || self.is_mine(recorded);
        let by = if is_mine || decided.by.is_empty() { String::new() } else { format!(", by {}", decided.by) };
        let elsewhere = if is_mine { "" } else { " (elsewhere)" };
        let words = if decided.note.is_empty() { String::new() } else { format!(": {}", decided.note) };
        Item::Note(vec![mark, span(Ink::Dim, &format!("{what}{word}{by}{elsewhere}{words}"))])
    }

    fn ended(&mut self, event: &Event) -> Vec<Item> {
        self.outcome = Outcome::of(event);
        let line = match &self.outcome {
            Some(Outcome::Completed(completed)) if completed.because == CompletedBecause::UserEnded => {
                "The conversation has ended.".to_owned()
            }
            // The result was said.
            Some(Outcome::Completed(completed)) if completed.because != CompletedBecause::TaskComplete => {
                "The conversation is complete.".to_owned()
            }
            Some(outcome) => talk::outcome(outcome).1,
            None => return Vec::new(),
        };
        let ink = if matches!(self.outcome, Some(Outcome::Failed(_))) { Ink::Bad } else { Ink::Strong };
        // What was being written when it ended is not said any more.
        let unfinished = self.shows.is_live.then_some(Item::Withdrawn);
        let value = self.outcome.as_ref().and_then(talk::value).map(|value| note(&format!("result: {value}")));
        unfinished.into_iter().chain([Item::Turn, Item::Said(vec![span(ink, &line)])]).chain(value).collect()
    }
}

/// A remark beside the conversation.
pub(crate) fn note(text: &str) -> Item {
    Item::Note(vec![span(Ink::Dim, &format!("  {text}"))])
}

/// A call's arguments on one line, as they would be written in a call.
fn arguments(json: &str) -> String {
    match serde_json::from_str::<Json>(json) {
        Ok(Json::Object(fields)) => {
            let fields: Vec<String> = fields.iter().map(|(name, value)| format!("{name}: {value}")).collect();
            shortened(&fields.join(", "))
        }
        _ => shortened(json),
    }
}

fn shortened(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= SHORT { line } else { format!("{}…", line.chars().take(SHORT).collect::<String>()) }
}

#[cfg(test)]
#[path = "screen_tests.rs"]
mod tests;
