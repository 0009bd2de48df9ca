//! A worker's shell: it makes the moves of `agent-worker/src/driver.rs`, around the same [`Turn`], one step at a time.

use std::rc::Rc;
use std::time::Duration;

use agent_worker::catalog;
use agent_worker::turn::loss::{Looks, is_over};
use agent_worker::turn::{Delivered, Effect, Finish, Input, Run, Turn};
use futures::future::join_all;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};
use journal::{Bus, Delivery, Journal, LoadError, WorkError, WorkItem, complete};
use protocol::conversation::{Conversation, FoldError, Partial};
use protocol::entry::Head;
use protocol::event::Event;
use protocol::history::PromptMessage;
use protocol::ids::{AgentName, ConversationId, Seq};
use protocol::presence::Holding;
use protocol::subject::{self, EntrySubject};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep};

use super::cache::Cache;
use super::plant::Plant;
use super::record::{Seen, Whose};
use super::world::{Process, World};

const EXTEND: Duration = Duration::from_secs(1);
pub(crate) const RETRY: Duration = Duration::from_secs(2);

/// One agent's slot in a worker process.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) world: Rc<World>,
    pub(crate) process: Rc<Process>,
    pub(crate) agent: AgentName,
    pub(crate) cache: Cache,
}

/// What is said of a conversation that moved on.
type Notices = BoxStream<'static, Delivery>;

/// A turn that stopped before it finished.
enum Stop {
    Lost,
    HandBack,
}

impl Slot {
    /// Takes work items until told to drain.
    pub(crate) async fn serve(self) {
        let (broker, orchestration) = (&self.process.broker, self.world.definition.orchestration.name());
        while !self.process.drain.is_cancelled() {
            self.world.step().await;
            let Ok(mut source) = broker.work(orchestration, &self.agent).await else {
                sleep(RETRY).await;
                continue;
            };
            loop {
                let next = tokio::select! {
                    biased;
                    () = self.process.drain.cancelled() => break source.close().await,
                    next = source.next(1) => next,
                };
                match next {
                    Ok(item) => self.drive(item).await,
                    Err(WorkError::NoConsumer { .. }) => break sleep(RETRY).await,
                    Err(WorkError::Unavailable(_) | WorkError::Refused(_)) => sleep(RETRY).await,
                }
            }
        }
    }

    async fn drive(&self, item: WorkItem) {
        let head = Head::decode(&item.stored.subject, &item.stored.headers).unwrap();
        let conversation = head.subject.conversation.clone();
        self.world.tell(|| format!("{} takes {} (delivery {})", self.process.id, item.stored.subject, item.delivered));
        self.world.step().await;
        let held = (self.agent.clone(), Holding { conversation: conversation.clone(), item: item.stored.seq });
        self.process.held.borrow_mut().push(held.clone());
        if self.world.has(Plant::AcksFirst) {
            self.ack(&item, &conversation, head.epoch_after(item.stored.seq)).await;
        }
        let mut extend = interval_at(Instant::now() + EXTEND, EXTEND);
        extend.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let turn = Box::pin(self.turn(&item, &head));
        tokio::pin!(turn);
        let (finish, epoch) = loop {
            tokio::select! {
                biased;
                finish = &mut turn => break finish,
                _ = extend.tick() => item.settle.extend().await,
            }
        };
        self.world.tell(|| format!("{} is done with {conversation}: {finish:?}", self.process.id));
        self.world.step().await;
        match finish {
            Finish::Settled => self.ack(&item, &conversation, epoch).await,
            Finish::Dropped if self.world.has(Plant::AcksWhatItLost) => self.ack(&item, &conversation, epoch).await,
            Finish::Dropped => {}
            Finish::GiveBack { delay, .. } => item.settle.give_back(delay).await,
        }
        self.process.held.borrow_mut().retain(|holding| *holding != held);
    }

    async fn ack(&self, item: &WorkItem, conversation: &ConversationId, epoch: Seq) {
        self.world.record(Seen::Acked { whose: self.whose(conversation, epoch), item: item.stored.seq });
        item.settle.ack().await;
    }

    pub(super) fn whose(&self, conversation: &ConversationId, epoch: Seq) -> Whose {
        Whose { conversation: conversation.clone(), agent: self.agent.clone(), process: self.process.id.clone(), epoch }
    }

    async fn turn(&self, item: &WorkItem, head: &Head) -> (Finish, Seq) {
        // From here on no notice is missed, whatever the turn is busy with when it comes.
        let moved = subject::moved(&head.subject.orchestration, &self.agent, &head.subject.conversation);
        let notices = self.process.broker.listen(&moved, None).await.unwrap();
        let conversation = match self.conversation(item, &head.subject).await {
            Ok(Some(conversation)) => conversation,
            Ok(None) => return (Finish::Settled, Seq(0)),
            Err(error) => return (Finish::GiveBack { delay: RETRY, reason: error.to_string() }, Seq(0)),
        };
        let definition = self.world.definition;
        let turn = Turn::new(
            definition.orchestration.clone(),
            definition.catalogs[&self.agent].clone(),
            self.agent.clone(),
            self.process.id.clone(),
            conversation,
            Delivered { item: head.subject.ordinal, count: item.delivered, is_recounted: item.is_recounted },
            self.world.bytes(),
        );
        self.run(turn, notices).await
    }

    /// The conversation as of this work item, or as of now where somebody may have gone on with it.
    async fn conversation(&self, item: &WorkItem, subject: &EntrySubject) -> Result<Option<Conversation>, LoadError> {
        let newer = match item.may_be_stale() {
            true => {
                let tail = self.process.broker.tail(&subject.orchestration, &subject.conversation).await?;
                tail.filter(|tail| tail.seq > item.stored.seq)
            }
            false => None,
        };
        if let Some(Ok(Head { brief, .. })) = newer.as_ref().map(|newer| Head::decode(&newer.subject, &newer.headers))
            && !brief.is_work_of(&self.agent)
        {
            return Ok(None);
        }
        let newest = newer.as_ref().unwrap_or(&item.stored);
        match self.cache.extended(&subject.conversation, newest) {
            Some(known) => Ok(Some(known)),
            None => complete(&self.process.broker, Partial::decode(newest).map_err(FoldError::from)?).await.map(Some),
        }
    }

    async fn run(&self, mut turn: Turn, mut notices: Notices) -> (Finish, Seq) {
        let mut effect = turn.next(Input::Start);
        loop {
            self.world.step().await;
            let whose = self.whose(turn.conversation().id(), turn.epoch());
            let input = match effect {
                Effect::Finish(finish) => {
                    self.cache.put(turn.into_conversation());
                    return (finish, whose.epoch);
                }
                Effect::AskModel => {
                    let mut messages = turn.prompt().into_iter().map(PromptMessage::into_owned).collect();
                    if self.world.has(Plant::PromptsFromMemory) {
                        messages = self.cache.remembered(&whose.conversation, messages);
                    }
                    let ask = async {
                        if self.world.has(Plant::AsksTwice) && self.world.chance(200) {
                            let _ = self.world.ask(&whose, messages.clone(), false).await;
                        }
                        self.world.ask(&whose, messages, false).await
                    };
                    self.unless_stopped(&turn, &mut notices, ask).await.map(Input::Model)
                }
                Effect::Summarize => {
                    let messages = turn.prompt().into_iter().map(PromptMessage::into_owned).collect();
                    let ask = self.world.ask(&whose, messages, true);
                    self.unless_stopped(&turn, &mut notices, ask).await.map(Input::Model)
                }
                Effect::RunTools(runs) => {
                    let ran = join_all(runs.into_iter().map(|run| self.run_tool(&whose, run)));
                    self.unless_stopped(&turn, &mut notices, ran).await.map(Input::Tools)
                }
                Effect::Append(draft) if self.is_left_out(&draft.events) => Ok(Input::Appended(whose.epoch)),
                Effect::Append(draft) => match self.append(&mut turn, draft).await {
                    Ok(input) => Ok(input),
                    Err(finish) => return (finish, whose.epoch),
                },
            };
            effect = match input {
                Ok(input) => turn.next(input),
                Err(Stop::Lost) => return (Finish::Dropped, whose.epoch),
                Err(Stop::HandBack) => return (self.give_back(turn).await, whose.epoch),
            };
        }
    }

    /// What a planted bug does not care to store.
    fn is_left_out(&self, events: &[Event]) -> bool {
        match events.last() {
            Some(Event::Taken(_)) => self.world.has(Plant::SkipsTaken),
            Some(Event::Returned(_)) => self.world.has(Plant::ShowsUnstoredResults),
            Some(Event::Intended(_)) => self.world.has(Plant::RunsBeforeIntent),
            _ => false,
        }
    }

    async fn run_tool(&self, whose: &Whose, run: Run) -> (String, Result<String, String>) {
        let Run { call, mut key, .. } = run;
        if self.world.has(Plant::NewKeyOnRetry) {
            key = format!("{key}-{}", self.world.number());
        }
        let result = match catalog::arguments(&call) {
            Ok(arguments) => self.world.call(whose.clone(), &call.name, key, arguments.to_string()).await,
            Err(problem) => Err(problem),
        };
        (call.id, result)
    }

    /// What `work` gives, unless the turn has to stop: then `work` is dropped on the spot.
    async fn unless_stopped<T>(&self, turn: &Turn, notices: &mut Notices, work: impl Future<Output = T>) -> Result<T, Stop> {
        tokio::select! {
            biased;
            result = work => Ok(result),
            () = self.lost(turn, notices) => Err(Stop::Lost),
            () = self.process.drain.cancelled(), if !turn.conversation().has_unresolved_intent() => Err(Stop::HandBack),
        }
    }

    /// Resolves once the journal says that this turn's epoch is over.
    async fn lost(&self, turn: &Turn, notices: &mut Notices) {
        let (broker, conversation) = (&self.process.broker, turn.conversation().id());
        let mut connection = broker.connection();
        let mut looks = Looks::among(1);
        loop {
            looks = tokio::select! {
                biased;
                Some(_) = notices.next() => looks.told(),
                _ = connection.changed() => looks.told(),
                () = sleep(looks.pause()) => looks.untold(),
            };
            if self.world.has(Plant::LooksOnce) {
                looks = Looks::among(1);
            }
            if connection.borrow_and_update().is_up && self.has_moved(conversation, turn.epoch()).await {
                return;
            }
        }
    }

    async fn has_moved(&self, conversation: &ConversationId, epoch: Seq) -> bool {
        let (broker, orchestration) = (&self.process.broker, self.world.definition.orchestration.name());
        match broker.tail(orchestration, conversation).await {
            Ok(Some(tail)) => is_over(&tail, epoch),
            Ok(None) => matches!(broker.at(orchestration, conversation, 0).await, Ok(None)),
            Err(_) => false,
        }
    }

    async fn give_back(&self, mut turn: Turn) -> Finish {
        let reason = "the worker is shutting down";
        let draft = turn.hand_back(reason);
        if let Ok(prepared) = turn.conversation().prepare(draft) {
            let _ = self.process.broker.append(&prepared).boxed_local().await;
        }
        Finish::GiveBack { delay: Duration::ZERO, reason: reason.to_owned() }
    }
}
