//! Makes an orchestration's streams, consumers, bucket and object store, or sees whether they are as [they must be](super::things).

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use protocol::ids::{AgentName, OrchestrationName};
use protocol::subject;
use serde::Deserialize;
use serde_json::{Value as Json, json};
use tokio::time::{Instant, sleep};

use super::request::{ANSWER_AT_MOST, Failure, Link, REPEAT_AFTER, code};
use super::things::{Thing, has_bytes_max, things};
use super::{Nats, version};
use crate::{Bus, Plan, Provision, ProvisionError, Provisioned};

/// How long servers that can be asked for their configuration are waited for.
const SERVERS_AT_MOST: Duration = Duration::from_millis(300);

#[async_trait]
impl Provision for Nats {
    async fn provision(&self, plan: &Plan) -> Result<Provisioned, ProvisionError> {
        self.ensure(plan, true).await
    }

    async fn verify(&self, plan: &Plan) -> Result<Provisioned, ProvisionError> {
        self.ensure(plan, false).await
    }

    async fn retire(&self, orchestration: &OrchestrationName, agent: &AgentName) -> Result<bool, ProvisionError> {
        let (stream, consumer) = (subject::stream(orchestration), subject::consumer(agent));
        match self.link.api::<Json>(&format!("CONSUMER.DELETE.{stream}.{consumer}"), &json!({})).await {
            Ok(_) => Ok(true),
            Err(failure) if failure.is(code::CONSUMER_NOT_FOUND) || failure.is(code::STREAM_NOT_FOUND) => Ok(false),
            Err(failure) => Err(self.link.explain(&failure)),
        }
    }
}

impl Nats {
    async fn ensure(&self, plan: &Plan, may_create: bool) -> Result<Provisioned, ProvisionError> {
        version::check(&self.link.server().version)?;
        let things = things(plan)?;
        let mut provisioned = Provisioned::default();
        let mut journal = None;
        for thing in &things {
            let found = match self.link.config_of(thing).await? {
                Some(found) => found,
                None if !may_create => return Err(ProvisionError::Missing(thing.what.clone())),
                None => {
                    provisioned.created.extend(self.link.create(thing).await?.then(|| thing.what.clone()));
                    self.link.config_of_made(thing).await?
                }
            };
            if let Some(difference) = thing.difference(&found) {
                return Err(difference);
            }
            // The journal is the first.
            journal.get_or_insert(found);
        }
        let setting = |name: &str| journal.as_ref().and_then(|journal| journal.get(name));
        let replicas = setting("num_replicas").and_then(Json::as_u64).unwrap_or(1);
        (provisioned.is_durable, provisioned.warnings) = self.durability(replicas).await;
        provisioned.warnings.extend((!journal.as_ref().is_some_and(has_bytes_max)).then(|| unbounded(&plan.orchestration)));
        Ok(provisioned)
    }

    /// Whether what is acknowledged survives a power failure, and what to say if not.
    pub(super) async fn durability(&self, replicas: u64) -> (bool, Vec<String>) {
        if replicas >= 3 || self.link.is_synced {
            return (true, Vec::new());
        }
        let advice = "Acknowledged entries can be lost when the machine loses power. Set `sync_interval: always` in nats-server's \
            `jetstream` block, or keep three replicas on machines that do not fail together.";
        match self.is_synced().await {
            Some(true) => (true, Vec::new()),
            Some(false) => (false, vec![format!("nats-server syncs its files to the disk only now and then. {advice}")]),
            None => {
                let unseen = "nats-server does not show to this login when it syncs its files; its default is every two minutes.";
                (false, vec![format!("{unseen} {advice} Where it is set, say so with BATON_NATS_SYNCED=true.")])
            }
        }
    }

    /// What the servers say of themselves, to logins that may ask: only their operators' may.
    async fn is_synced(&self) -> Option<bool> {
        let answers = self.ask_all("$SYS.REQ.SERVER.PING.JSZ", Bytes::new(), SERVERS_AT_MOST).await.ok()?;
        let synced = answers.iter().filter_map(|answer| {
            let answer: Json = serde_json::from_slice(answer).ok()?;
            let config = answer.pointer("/data/config")?;
            Some(config.get("sync_always").and_then(Json::as_bool).unwrap_or(false))
        });
        synced.reduce(|all, one| all && one)
    }
}

/// What to say of a journal that may grow for ever.
fn unbounded(orchestration: &OrchestrationName) -> String {
    format!(
        "nothing but the account or the disk limits the journal, and a full disk takes JetStream out of service until its server is started \
         again. `nats stream edit {} --max-bytes …`, or let the coordinator make it with BATON_JOURNAL_BYTES: a full journal refuses honestly.",
        subject::stream(orchestration)
    )
}

impl Link {
    /// Its configuration; none if it does not exist.
    async fn config_of(&self, thing: &Thing) -> Result<Option<Json>, ProvisionError> {
        #[derive(Deserialize)]
        struct Info {
            config: Json,
        }
        match self.api::<Info>(&thing.info, &json!({})).await {
            Ok(info) => Ok(Some(info.config)),
            Err(failure) if failure.is(code::STREAM_NOT_FOUND) || failure.is(code::CONSUMER_NOT_FOUND) => Ok(None),
            Err(failure) => Err(self.explain(&failure)),
        }
    }

    /// The configuration of what has just been made. In a cluster whoever is asked may not have heard of it yet.
    async fn config_of_made(&self, thing: &Thing) -> Result<Json, ProvisionError> {
        let deadline = Instant::now() + ANSWER_AT_MOST;
        loop {
            match self.config_of(thing).await? {
                Some(found) => return Ok(found),
                None if Instant::now() < deadline => sleep(REPEAT_AFTER).await,
                None => return Err(ProvisionError::Unavailable(format!("{} was made, and no server shows it", thing.what))),
            }
        }
    }

    /// Whether this process has made it; if not, another one was faster, and it is verified like any other.
    async fn create(&self, thing: &Thing) -> Result<bool, ProvisionError> {
        match self.api::<Json>(&thing.create, &thing.body).await {
            Ok(_) => Ok(true),
            Err(failure) if failure.is(code::STREAM_NAME_IN_USE) || failure.is(code::CONSUMER_EXISTS) => Ok(false),
            // A consumer's stream was seen before.
            Err(failure) if failure.is(code::STREAM_NOT_FOUND) || failure.is_short_of_a_peer() => {
                Err(ProvisionError::Unavailable(failure.to_string()))
            }
            Err(failure) => Err(self.explain(&failure)),
        }
    }

    fn explain(&self, failure: &Failure) -> ProvisionError {
        let is_off = matches!(failure, Failure::NoResponders(_)) && !self.server().jetstream;
        if is_off || failure.is(code::NOT_ENABLED) || failure.is(code::NOT_ENABLED_FOR_ACCOUNT) {
            return ProvisionError::NoJetStream;
        }
        if failure.is(code::MEMORY_RESOURCES) {
            return ProvisionError::NoMemory;
        }
        if failure.is_passing() { ProvisionError::Unavailable(failure.to_string()) } else { ProvisionError::Refused(failure.to_string()) }
    }
}
