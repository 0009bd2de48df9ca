//! Everybody who talks to the agents: starts conversations, replies, and knows when all of them have come to rest.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use client::{Client, Opening, Outcome, Reply, Side};
use futures::stream::{self, BoxStream, FuturesUnordered};
use futures::{FutureExt, StreamExt};
use journal::nats::Nats;
use protocol::ids::ConversationId;
use protocol::subject::{Class, EntrySubject};
use tokio::time::{Instant, timeout};

use super::shape::Plan;
use crate::connect::{self, Address};
use crate::dev::system::System;

/// Calls of the crowd that are under way at once.
const AT_ONCE: usize = 64;
/// Without anything new for so long, nothing will come.
const PATIENCE: Duration = Duration::from_secs(120);

/// See the module.
#[derive(Debug)]
pub(super) struct Crowd {
    pub(super) client: Client,
    pub(super) nats: Nats,
}

impl Crowd {
    /// Those who talk to a system's agents, once it is there.
    pub(super) async fn of(system: &System) -> anyhow::Result<Self> {
        system.ready().await?;
        let process = connect::process_id("bench")?;
        let nats = connect::nats(&Address::Private(system.url().to_owned()), &process).await?;
        let client = Client::new(Arc::new(nats.clone()), system.orchestration().name().clone(), Side::Client, process);
        Ok(Self { client, nats })
    }

    /// Plays a plan once, with conversations that are numbered from `first` on; which conversation has which number. `begun` hears of each.
    pub(super) async fn play(
        &self,
        plan: &Plan,
        conversations: usize,
        first: usize,
        mut begun: impl FnMut(&ConversationId),
    ) -> anyhow::Result<BTreeMap<ConversationId, usize>> {
        let mut pauses = self.nats.pauses(self.client.orchestration()).await?;
        let start = |number: usize| {
            let opening = Opening { human: plan.has_person(), ..Opening::new("baton bench", plan.task(number)) };
            async move { anyhow::Ok((self.client.start(&opening).await?.conversation, number)) }
        };
        let mut starting = stream::iter((first..first + conversations).map(start)).buffer_unordered(AT_ONCE);
        let mut replying = FuturesUnordered::new();
        let (mut numbers, mut replied, mut at_rest) = (BTreeMap::new(), BTreeMap::<ConversationId, usize>::new(), 0);
        while at_rest < conversations || numbers.len() < conversations {
            let step = async {
                tokio::select! {
                    Some(started) = starting.next() => {
                        let (conversation, number) = started?;
                        begun(&conversation);
                        numbers.insert(conversation, number);
                    }
                    Some(said) = replying.next() => { let _: client::Accepted = said?; }
                    pause = pauses.next() => {
                        let EntrySubject { conversation, class, .. } = pause.context("the broker tells nothing any more")?;
                        let lines = replied.entry(conversation.clone()).or_default();
                        match plan.replies.get(*lines).filter(|_| class == Class::Ask) {
                            Some(line) => {
                                *lines += 1;
                                replying.push(self.say(conversation, line).boxed());
                            }
                            None => at_rest += 1,
                        }
                    }
                }
                anyhow::Ok(())
            };
            timeout(PATIENCE, step).await.with_context(|| stuck(at_rest, conversations))??;
        }
        Ok(numbers)
    }

    /// Says something in conversations that wait, one at a time; how long each took to wait again, in nanoseconds.
    pub(super) async fn wake(&self, conversations: &[ConversationId]) -> anyhow::Result<Vec<u64>> {
        let mut pauses = self.nats.pauses(self.client.orchestration()).await?;
        let mut waits_ns = Vec::with_capacity(conversations.len());
        for conversation in conversations {
            let said = Instant::now();
            self.say(conversation.clone(), "Go on.").await?;
            let stuck = || stuck(waits_ns.len(), conversations.len());
            while next(&mut pauses).await.with_context(stuck)?.conversation != *conversation {}
            waits_ns.push(u64::try_from(said.elapsed().as_nanos()).unwrap_or(u64::MAX));
        }
        Ok(waits_ns)
    }

    async fn say(&self, conversation: ConversationId, line: &str) -> anyhow::Result<client::Accepted> {
        Ok(self.client.reply(&conversation, &Reply::bare(line)).await?)
    }

    /// Why fewer handoffs were made than should have been, in the words of a conversation that failed of something else.
    pub(super) async fn explain(&self, conversations: impl Iterator<Item = &ConversationId>) -> anyhow::Result<()> {
        for conversation in conversations {
            let outcome = self.client.result(conversation, Some(PATIENCE)).await?;
            if let Outcome::Failed(failed) = &outcome
                && failed.code != protocol::event::failure::HANDOFF_LIMIT
            {
                bail!("conversation {conversation}: {outcome}");
            }
        }
        Ok(())
    }
}

async fn next(pauses: &mut BoxStream<'static, EntrySubject>) -> anyhow::Result<EntrySubject> {
    timeout(PATIENCE, pauses.next()).await?.context("the broker tells nothing any more")
}

fn stuck(at_rest: usize, of: usize) -> String {
    format!("nothing has happened for {} s; {at_rest} of {of} conversations have come to rest", PATIENCE.as_secs())
}
