//! Carries a turn's effects out, one after the other. Nothing is decided here but whether to go on at all: a turn whose
//! conversation moved on without it is dropped at once.

mod append;
mod bury;
mod content;
mod steps;

use std::sync::Arc;
use std::time::Duration;

use journal::{Append, LoadError, Shared, WorkItem, complete, planted, salvage};
use protocol::conversation::{Conversation, Draft, FoldError, Partial};
use protocol::entry::{Head, Trace};
use protocol::event::{Event, Failed, failure};
use protocol::history::PromptMessage;
use protocol::ids::{AgentName, ConversationId, EntryId, OrchestrationName, ProcessId, Revision, Seq, Writer};
use protocol::subject::{Class, EntrySubject};
use telemetry::context::TraceContext;
use telemetry::{context, spans};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, Span};

use self::append::{current_trace, template};
use crate::cache::Cache;
use crate::held::{Held, Hold};
use crate::live::Speaker;
use crate::model::Request;
use crate::role::{Role, RoleError, Roles};
use crate::turn::loss::{Looks, is_over};
use crate::turn::{Delivered, Effect, Finish, Input, Turn};

/// How often a running turn tells the broker that its work item is alive; the ack wait is four times as long.
const EXTEND: Duration = Duration::from_secs(1);
/// Before a work item that could not be begun is offered again.
const RETRY: Duration = Duration::from_secs(2);

/// What the turns of one agent in this process share.
#[derive(Debug)]
pub(crate) struct Driver {
    pub(crate) broker: Shared,
    pub(crate) orchestration: OrchestrationName,
    pub(crate) agent: AgentName,
    /// The durable consumer of its work, for traces.
    pub(crate) consumer: String,
    pub(crate) process: ProcessId,
    pub(crate) roles: Roles,
    pub(crate) cache: Cache,
    pub(crate) held: Held,
    pub(crate) speaker: Speaker,
    /// How long an entry of a newer version waits for a worker that knows it, by the broker's clock.
    pub(crate) newer_wait: Duration,
    /// Cancelled when running turns should be given back.
    pub(crate) hand_back: CancellationToken,
    /// Cancelled when none runs any more.
    pub(crate) drained: CancellationToken,
}

/// A turn that stopped before it finished.
enum Stop {
    /// Its conversation moved on.
    Lost,
    /// The worker drains.
    HandBack,
}

impl Driver {
    /// One work item, from delivery to its settlement.
    pub(crate) async fn drive(&self, item: WorkItem) {
        let Ok(head) = Head::decode(&item.stored.subject, &item.stored.headers) else {
            // What is rare lies in a box of its own, here and below: every turn that waits for its model would have room for it.
            return Box::pin(self.set_aside_or_bury(&item)).await;
        };
        let conversation = head.subject.conversation.clone();
        let span = spans::process(&spans::Delivery {
            agent: self.agent.as_str(),
            consumer: &self.consumer,
            template: template(&head.subject.class),
            conversation: conversation.as_str(),
            ordinal: head.subject.ordinal,
            count: item.delivered,
        });
        if let Some(trace) = &head.trace {
            context::set_parent(&span, &trace_context(trace));
        }
        spans::entry(&span, &head.id.to_string(), head.epoch_after(item.stored.seq).0);
        let hold = self.held.hold(conversation, item.stored.seq);
        let mut extend = interval_at(Instant::now() + EXTEND, EXTEND);
        extend.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let turn = self.turn(&item, &head, &hold).instrument(span.clone());
        tokio::pin!(turn);
        let finish = loop {
            tokio::select! {
                finish = &mut turn => break finish,
                _ = extend.tick() => item.settle.extend().await,
            }
        };
        self.settle(&item, &head.subject.conversation, finish).instrument(span).await;
    }

    /// Tells the broker what became of a work item; nothing of one that is a successor's now.
    async fn settle(&self, item: &WorkItem, conversation: &ConversationId, finish: Finish) {
        let span = |how| spans::settle(how, self.agent.as_str(), &self.consumer, conversation.as_str());
        match finish {
            Finish::Settled => item.settle.ack().instrument(span("ack")).await,
            Finish::Dropped => tracing::debug!(%conversation, "the conversation moved on without this turn"),
            Finish::GiveBack { delay, reason } => {
                tracing::info!(%conversation, ?delay, "given back: {reason}");
                item.settle.give_back(delay).instrument(span("nak")).await;
            }
        }
    }

    async fn turn(&self, item: &WorkItem, head: &Head, hold: &Hold) -> Finish {
        let conversation = match self.conversation(item, &head.subject).await {
            Ok(Some(conversation)) => conversation,
            Ok(None) => return Finish::Settled,
            Err(error) => return Finish::GiveBack { delay: RETRY, reason: error.to_string() },
        };
        if conversation.must_fail().is_some() {
            return Box::pin(self.contain(item, &head.subject.conversation)).await;
        }
        // What this agent has written behind the item is of an attempt that did not finish.
        let mut later = conversation.entries().iter().rev().take_while(|entry| entry.ordinal() > head.subject.ordinal);
        if let Some(attempt) = later.find_map(|entry| entry.head.subject.from.agent().and(entry.head.trace.as_ref())) {
            context::add_link(&Span::current(), &trace_context(attempt));
        }
        if let Some(kind) = self.given_up(&conversation).await {
            let detail =
                format!("it holds {kind:?}, and no worker of agent {} that knows it came in time: run a newer version", self.agent);
            let failed = Failed { code: failure::UNKNOWN_VERSION.into(), detail: detail.clone() };
            if Box::pin(self.fail(conversation, failed)).await.is_err() {
                return Finish::GiveBack { delay: RETRY, reason: detail };
            }
            self.bury(item, &detail).await;
            return Finish::Dropped;
        }
        let revision = conversation.revision().unwrap_or(&head.revision).clone();
        let role = match self.roles.role(&revision).await {
            Ok(role) => role,
            Err(error) => return Box::pin(self.cannot_play(conversation, error)).await,
        };
        let delivered = Delivered { item: head.subject.ordinal, count: item.delivered, is_recounted: item.is_recounted };
        let turn = Turn::new(
            role.orchestration.clone(),
            role.catalog.clone(),
            self.agent.clone(),
            self.process.clone(),
            conversation,
            delivered,
            *uuid::Uuid::new_v4().as_bytes(),
        );
        let turn = turn.lacking(role.waits_for());
        let epoch = turn.epoch();
        let invoke = spans::invoke_agent(&self.described(&role, &revision), head.subject.conversation.as_str(), epoch.0);
        if let Err(error) = role.clone().whole() {
            tracing::warn!(conversation = %head.subject.conversation, agent = %self.agent, "put off: {error}");
            spans::failed(&invoke, "tool", &error);
        }
        self.run(turn, &role, hold).instrument(invoke).await
    }

    /// This agent as traces show it.
    fn described<'a>(&'a self, role: &'a Role, revision: &'a Revision) -> spans::Agent<'a> {
        spans::Agent {
            name: self.agent.as_str(),
            description: role.orchestration.agent(&self.agent).map_or("", |agent| &agent.description),
            revision: revision.as_str(),
            provider: role.model.provider(),
            model: role.model.name(),
        }
    }

    /// The conversation as of this work item, or as of now where somebody may have gone on with it, or something cannot be read; none
    /// where the item is plainly done.
    async fn conversation(&self, item: &WorkItem, subject: &EntrySubject) -> Result<Option<Conversation>, LoadError> {
        match self.fold(item, subject).await {
            Err(why) => {
                let salvaged = Box::pin(salvage(&*self.broker, &self.orchestration, &subject.conversation, why)).await;
                salvaged.map(|(salvaged, _)| Some(salvaged))
            }
            folded => folded,
        }
    }

    async fn fold(&self, item: &WorkItem, subject: &EntrySubject) -> Result<Option<Conversation>, LoadError> {
        let newer = match item.may_be_stale() {
            true => self.broker.tail(&subject.orchestration, &subject.conversation).await?.filter(|tail| tail.seq > item.stored.seq),
            false => None,
        };
        // A consumer made anew offers all that there ever was. What lies behind an end need not be read to be settled.
        if let Some(Ok(Head { brief, .. })) = newer.as_ref().map(|newer| Head::decode(&newer.subject, &newer.headers))
            && !brief.is_work_of(&self.agent)
        {
            return Ok(None);
        }
        let newest = newer.as_ref().unwrap_or(&item.stored);
        match self.cache.extended(&subject.conversation, newest) {
            Some(known) => Ok(Some(known)),
            None => complete(&*self.broker, Partial::decode(newest).map_err(FoldError::from)?).await.map(Some),
        }
    }

    /// A definition that this worker cannot play: transient, or a visible failure.
    async fn cannot_play(&self, conversation: Conversation, error: RoleError) -> Finish {
        if error.is_transient() {
            return Finish::GiveBack { delay: RETRY, reason: error.to_string() };
        }
        let failed = Failed { code: failure::MISCONFIGURED.into(), detail: error.to_string() };
        self.failing(conversation, failed).await
    }

    /// Fails a conversation without a turn, and has its work item settled.
    async fn failing(&self, conversation: Conversation, failed: Failed) -> Finish {
        let reason = failed.detail.clone();
        match self.fail(conversation, failed).await {
            Ok(()) => Finish::Settled,
            Err(_) => Finish::GiveBack { delay: RETRY, reason },
        }
    }

    /// Fails a conversation; or says why it could not, where it has not been ended by somebody else.
    async fn fail(&self, conversation: Conversation, failed: Failed) -> Result<(), Append> {
        tracing::error!(conversation = %conversation.id(), "{}", failed.detail);
        let Some(revision) = conversation.revision().cloned() else { return Ok(()) };
        let draft = Draft {
            class: Class::End,
            from: Writer::Agent(self.agent.clone()),
            id: EntryId::from_random(*uuid::Uuid::new_v4().as_bytes()),
            process: self.process.clone(),
            revision,
            events: vec![Event::from(failed)],
            trace: current_trace(),
        };
        // What cannot follow is not this agent's to write any more, or over.
        let Ok(prepared) = conversation.prepare(draft) else { return Ok(()) };
        match self.broker.append(&prepared).await {
            Append::Appended(_) | Append::Gone => Ok(()),
            append => Err(append),
        }
    }

    async fn run(&self, mut turn: Turn, role: &Role, hold: &Hold) -> Finish {
        let mut answers = 0;
        let mut effect = turn.next(Input::Start);
        loop {
            let input = match effect {
                Effect::Finish(finish) => {
                    self.cache.put(turn.into_conversation());
                    return finish;
                }
                Effect::AskModel => {
                    let mut messages = turn.prompt();
                    messages.extend(planted::mixed_up(|| messages.last().cloned().map(PromptMessage::into_owned)));
                    answers += 1;
                    let ((tools, allowed), output) = (turn.shown(), turn.output().cloned());
                    let request = Request { tools, allowed, output, ..self.request(&turn, messages) };
                    let asked = self.ask_model(role, request, turn.epoch(), Some(answers));
                    self.unless_stopped(&turn, hold, asked).await.map(Input::Model)
                }
                Effect::Summarize => {
                    let asked = self.ask_model(role, self.request(&turn, turn.prompt()), turn.epoch(), None);
                    self.unless_stopped(&turn, hold, asked).await.map(Input::Model)
                }
                Effect::RunTools(runs) => {
                    let ran = self.run_tools(role, &turn, runs);
                    self.unless_stopped(&turn, hold, ran).await.map(Input::Tools)
                }
                Effect::Append(draft) => match self.append(&mut turn, draft).await {
                    Ok(input) => Ok(input),
                    Err(finish) => return finish,
                },
            };
            effect = match input {
                Ok(input) => turn.next(input),
                Err(Stop::Lost) => return Finish::Dropped,
                Err(Stop::HandBack) => return Box::pin(self.give_back(turn)).await,
            };
        }
    }

    /// A request for a text alone. Where all prompts begin with one list of tools, this one does, too.
    fn request<'a>(&self, turn: &Turn, messages: Vec<PromptMessage<'a>>) -> Request<'a> {
        let (agent, conversation) = (self.agent.clone(), turn.conversation().id().clone());
        let (tools, allowed): (Arc<[_]>, Option<Arc<[_]>>) = match turn.shown() {
            (list, Some(_)) => (list, Some([].into())),
            (_, None) => ([].into(), None),
        };
        Request { agent, conversation, messages, tools, allowed, output: None }
    }

    /// What `work` gives, unless the turn has to stop: then `work` is dropped on the spot, and a model stream with it.
    async fn unless_stopped<T>(&self, turn: &Turn, hold: &Hold, work: impl Future<Output = T>) -> Result<T, Stop> {
        tokio::select! {
            result = work => Ok(result),
            () = self.lost(turn, hold) => Err(Stop::Lost),
            // A call with effects that is cut off would be in doubt, and a person would have to decide: its tool's own
            // timeout bounds the wait for it.
            () = self.hand_back.cancelled(), if !turn.conversation().has_unresolved_intent() => Err(Stop::HandBack),
        }
    }

    /// Resolves once the journal says that this turn's epoch is over: asked when told to, on a reconnect, now and then.
    async fn lost(&self, turn: &Turn, hold: &Hold) {
        let mut connection = self.broker.connection();
        let conversation = turn.conversation().id();
        let mut looks = Looks::among(self.held.len());
        loop {
            looks = tokio::select! {
                () = hold.moved() => looks.told(),
                () = sleep(looks.pause()) => looks.untold(),
                changed = connection.changed() => match changed {
                    Ok(()) => looks.told(),
                    Err(_) => return std::future::pending().await,
                },
            };
            if connection.borrow_and_update().is_up && !planted::is("deaf-to-cancel") && self.has_moved(conversation, turn.epoch()).await {
                return;
            }
        }
    }

    /// Whether the conversation's newest entry belongs to another epoch, or ends it.
    async fn has_moved(&self, conversation: &ConversationId, epoch: Seq) -> bool {
        match self.broker.tail(&self.orchestration, conversation).await {
            Ok(Some(tail)) => is_over(&tail, epoch),
            // Nothing is left of it, or the replica has nothing of it yet: only the leader can tell.
            Ok(None) => matches!(self.broker.at(&self.orchestration, conversation, 0).await, Ok(None)),
            // Nothing can be learned now: the fence decides.
            Err(_) => false,
        }
    }
}

fn trace_context(trace: &Trace) -> TraceContext {
    TraceContext { traceparent: trace.parent.clone(), tracestate: trace.state.clone() }
}

/// A driver that many turns share.
pub(crate) type SharedDriver = Arc<Driver>;

#[cfg(test)]
#[path = "driver_tests.rs"]
mod tests;
