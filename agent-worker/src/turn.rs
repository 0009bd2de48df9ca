//! One activation of an owner, as a value: it decides and performs nothing. The driver carries out one [`Effect`] at a
//! time and brings back what came of it as the next [`Input`]; every outcome of semantics 1 is decided here.
//!
//! ```text
//! Begin ─▶ [taken] ─▶ resume an open response, or ask the model ─▶ resolve ─▶ [intent] ─▶ run tools ─▶ … ─▶ one outcome
//! ```

mod answer;
mod ask;
mod begin;
mod desk;
mod fence;
mod give_up;
pub mod loss;
mod outcome;
mod put_off;
mod resolve;
mod transfer;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use journal::Refusal;
use protocol::brief::Brief;
use protocol::conversation::{Conversation, Draft, FoldError, Prepared};
use protocol::event::{Call, Event, Failed, HandedBack, Opened, Responded, Returned};
use protocol::ids::{AgentName, EntryId, Ordinal, ProcessId, Seq, Writer};
use protocol::orchestration::Orchestration;
use protocol::subject::Class;

use crate::catalog::{Catalog, Offer};
use crate::model::{ModelError, ToolDefinition};

pub use begin::{Begin, Delivered};
use resolve::Response;

/// What the driver is asked to do next.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Ask the model with [`Turn::prompt`].
    AskModel,
    /// Ask the model with [`Turn::prompt`] for a text that only its successor will see: it can call nothing meanwhile.
    Summarize,
    /// Run these calls, all at once.
    RunTools(Vec<Run>),
    /// Append this entry behind [`Turn::conversation`]'s tail.
    Append(Draft),
    /// The turn is over for this worker.
    Finish(Finish),
}

/// One run of a tool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// The call.
    pub call: Call,
    /// The key that every run of it carries.
    pub key: String,
    /// The key of the call that this run undoes, where it is not the model's call itself.
    pub undoes: Option<String>,
}

/// How a turn is over for this worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finish {
    /// What it caused is stored, or nothing is left to do: the work item is acked.
    Settled,
    /// Ownership is gone: forget it, and leave the work item to the successor.
    Dropped,
    /// Somebody goes on later: the work item is given back.
    GiveBack {
        /// Not before.
        delay: Duration,
        /// Why, for people.
        reason: String,
    },
}

/// What came of an effect.
#[derive(Debug)]
pub enum Input {
    /// Nothing yet: the turn begins.
    Start,
    /// The model's answer.
    Model(Result<Responded, ModelError>),
    /// What the tools returned, by call id.
    Tools(Vec<(String, Result<String, String>)>),
    /// The entry is stored.
    Appended(Seq),
    /// Somebody wrote first; the conversation as it is now.
    Fenced(Conversation),
    /// It can never be stored as it is.
    Refused(Refusal),
    /// It cannot even be written down, and why.
    Unwritable(String),
}

/// What is being waited for.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "a turn holds one of it")]
enum Waiting {
    Nothing,
    Model,
    Summary(Box<transfer::Summary>),
    Tools,
    Append { draft: Draft, then: Then },
}

/// What follows a stored entry.
#[derive(Clone, Debug, PartialEq)]
enum Then {
    /// Go on where the journal says the turn stands.
    Resume,
    /// Run the calls whose intent it was.
    Run(Vec<Run>),
    /// Ask the model.
    AskModel,
    /// The turn's outcome is stored.
    Finish(Finish),
}

/// One activation of an owner.
#[derive(Debug)]
pub struct Turn {
    orchestration: Arc<Orchestration>,
    offer: Offer,
    agent: AgentName,
    process: ProcessId,
    conversation: Conversation,
    /// Events of this turn that are not in the journal yet.
    fresh: Vec<Event>,
    /// The response that is being resolved.
    response: Option<Response>,
    /// Entries before this ordinal were in the last prompt: a person's message at or after it has not been seen.
    seen: Ordinal,
    empty_answers: u32,
    seed: [u8; 16],
    ids: u64,
    delivered: Delivered,
    /// Whether an entry of this turn is stored: whoever else was given its work item is fenced off by it.
    has_written: bool,
    /// What its worker lacks, in words for people: until it is there, nothing can be done but to say so.
    lacks: Option<String>,
    waiting: Waiting,
}

impl Turn {
    /// A turn of `agent` for a delivered work item. `seed` is 16 random bytes: the ids of its entries come from it.
    pub fn new(
        orchestration: Arc<Orchestration>,
        catalog: Arc<Catalog>,
        agent: AgentName,
        process: ProcessId,
        conversation: Conversation,
        delivered: Delivered,
        seed: [u8; 16],
    ) -> Self {
        let nothing = BTreeMap::new();
        let offer = Offer::new(catalog, opened(&conversation).map_or(&nothing, |opened| &opened.metadata));
        Self {
            orchestration,
            offer,
            agent,
            process,
            seen: conversation.tail().next,
            conversation,
            fresh: Vec::new(),
            response: None,
            empty_answers: 0,
            seed,
            ids: 0,
            delivered,
            has_written: false,
            lacks: None,
            waiting: Waiting::Nothing,
        }
    }

    /// The same turn, of a worker that lacks something for now: it is put off, whatever the catalogue says.
    #[must_use]
    pub fn lacking(self, lacks: Option<String>) -> Self {
        Self { lacks, ..self }
    }

    /// The conversation as the turn knows it.
    pub const fn conversation(&self) -> &Conversation {
        &self.conversation
    }

    /// The conversation, once the turn is over.
    pub fn into_conversation(self) -> Conversation {
        self.conversation
    }

    /// What the model may call in this conversation.
    pub const fn tools(&self) -> &Arc<[ToolDefinition]> {
        self.offer.definitions()
    }

    /// What the model is shown of tools, and the names of those that it may call, if not all.
    pub fn shown(&self) -> (Arc<[ToolDefinition]>, Option<Arc<[String]>>) {
        self.offer.shown()
    }

    /// The epoch that this turn acts in.
    pub const fn epoch(&self) -> Seq {
        self.conversation.tail().epoch
    }

    /// What is to be done next, now that `input` came of the last effect.
    pub fn next(&mut self, input: Input) -> Effect {
        let waiting = std::mem::replace(&mut self.waiting, Waiting::Nothing);
        match (input, waiting) {
            (Input::Start, _) => self.start(),
            (Input::Model(Ok(response)), Waiting::Model) => self.responded(response),
            (Input::Model(Ok(response)), Waiting::Summary(transfer)) => self.summarized(response, *transfer),
            (Input::Model(Err(error)), Waiting::Model | Waiting::Summary(_)) => self.model_failed(&error),
            (Input::Tools(results), Waiting::Tools) => self.returned(results),
            (Input::Appended(_), Waiting::Append { then, .. }) => self.appended(then),
            (Input::Fenced(conversation), Waiting::Append { draft, then }) => self.fenced(conversation, draft, then),
            (Input::Refused(refusal), Waiting::Append { draft, .. }) => self.refused(&refusal, &draft),
            (Input::Unwritable(why), Waiting::Append { draft, .. }) => self.unwritable(&why, &draft),
            // The driver answers the effect it was given; an answer to something else means it is broken, and a turn
            // that cannot be trusted is given up: the journal knows all that matters.
            (Input::Model(_) | Input::Tools(_) | Input::Appended(_) | Input::Fenced(_) | Input::Refused(_) | Input::Unwritable(_), _) => {
                Effect::Finish(Finish::GiveBack {
                    delay: Duration::ZERO,
                    reason: "the driver answered something else than it was asked".to_owned(),
                })
            }
        }
    }

    /// Takes in an entry that the journal has stored, before the turn is told so.
    ///
    /// # Errors
    /// [`FoldError`] when the entry was prepared on another tail than this turn's.
    pub fn commit(&mut self, prepared: Prepared, seq: Seq) -> Result<(), FoldError> {
        self.conversation.commit(prepared, seq)
    }

    /// The entry by which a draining worker gives a running turn back, where it still owns it: with all that it did.
    pub fn hand_back(&mut self, reason: &str) -> Draft {
        let mut events = self.fresh.clone();
        events.push(HandedBack { by: self.process.clone(), reason: reason.to_owned() }.into());
        self.draft(Class::Note, events)
    }

    fn brief(&self) -> Option<&Brief> {
        self.conversation.brief()
    }

    fn next_id(&mut self) -> EntryId {
        self.ids += 1;
        EntryId::of_turn(self.seed, self.ids)
    }

    fn draft(&mut self, class: Class, events: Vec<Event>) -> Draft {
        let id = self.next_id();
        self.draft_as(id, class, events)
    }

    fn draft_as(&self, id: EntryId, class: Class, events: Vec<Event>) -> Draft {
        let (process, revision) = (self.process.clone(), self.orchestration.revision().clone());
        Draft { class, from: Writer::Agent(self.agent.clone()), id, process, revision, events, trace: None }
    }

    fn append(&mut self, draft: Draft, then: Then) -> Effect {
        self.waiting = Waiting::Append { draft: draft.clone(), then };
        Effect::Append(draft)
    }

    fn end_with(&mut self, event: impl Into<Event>) -> Effect {
        self.conclude(Class::End, event.into())
    }

    /// Appends the turn's outcome: everything fresh, and the event that decides. What is fresh stays so until it is stored.
    fn conclude(&mut self, class: Class, event: Event) -> Effect {
        let mut events = self.fresh.clone();
        events.push(event);
        let draft = self.draft(class, events);
        self.append(draft, Then::Finish(Finish::Settled))
    }

    fn fail(&mut self, code: &'static str, detail: impl Into<String>) -> Effect {
        self.end_with(Failed { code: code.into(), detail: detail.into() })
    }

    fn appended(&mut self, then: Then) -> Effect {
        self.fresh.clear();
        self.has_written = true;
        match then {
            Then::Resume => self.resume(),
            Then::Run(runs) => self.run(runs),
            Then::AskModel => self.ask_model(),
            Then::Finish(finish) => Effect::Finish(finish),
        }
    }

    fn run(&mut self, runs: Vec<Run>) -> Effect {
        self.waiting = Waiting::Tools;
        Effect::RunTools(runs)
    }

    fn returned(&mut self, results: Vec<(String, Result<String, String>)>) -> Effect {
        for (call, result) in results {
            self.ran(&call, result);
        }
        self.resolve()
    }

    /// Records the one result of a call.
    fn settle_call(&mut self, call: &str, content: String, is_error: bool) {
        let Some(tool) = self.response.as_mut().and_then(|response| response.settle(call)) else { return };
        self.fresh.push(Returned { call: call.to_owned(), tool, content, is_error }.into());
    }
}

fn opened(conversation: &Conversation) -> Option<&Opened> {
    match conversation.entries().first()?.events.first()? {
        Event::Opened(opened) => Some(opened),
        _ => None,
    }
}

#[cfg(test)]
#[path = "turn_tests.rs"]
mod tests;
