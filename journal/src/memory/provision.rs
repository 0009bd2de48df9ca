//! Making what an orchestration needs, or finding that it is as it must be.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use protocol::ids::{AgentName, OrchestrationName};
use protocol::subject;

use super::consumer::Consumer;
use super::log::Log;
use super::store::Bucket;
use super::{Memory, State, Stream};
use crate::{Plan, Provision, ProvisionError, Provisioned};

/// What provisioning may do about what is missing.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Missing {
    Create,
    Report,
}

#[async_trait]
impl Provision for Memory {
    async fn provision(&self, plan: &Plan) -> Result<Provisioned, ProvisionError> {
        self.request().await.map_err(ProvisionError::Unavailable)?;
        self.arrange(plan, Missing::Create)
    }

    async fn verify(&self, plan: &Plan) -> Result<Provisioned, ProvisionError> {
        self.request().await.map_err(ProvisionError::Unavailable)?;
        self.arrange(plan, Missing::Report)
    }

    async fn retire(&self, orchestration: &OrchestrationName, agent: &AgentName) -> Result<bool, ProvisionError> {
        self.request().await.map_err(ProvisionError::Unavailable)?;
        Ok(self.delete_consumer(orchestration, agent))
    }
}

impl Memory {
    fn arrange(&self, plan: &Plan, missing: Missing) -> Result<Provisioned, ProvisionError> {
        let mut created = Vec::new();
        let mut create = |what: String| match missing {
            Missing::Report => Err(ProvisionError::Missing(what)),
            Missing::Create => {
                created.push(what);
                Ok(())
            }
        };
        let State { streams, message_bytes_max, .. } = &mut *self.lock();
        let name = subject::stream(&plan.orchestration);
        if !streams.contains_key(&plan.orchestration) {
            create(format!("stream {name}"))?;
        }
        let stream = streams.entry(plan.orchestration.clone()).or_insert_with(|| Stream::new(plan, *message_bytes_max));
        let what = format!("stream {name}");
        // More copies than planned, or more in flight, do no harm, and a plan without a limit has no opinion on it.
        same(&what, "num_replicas", &stream.replicas.min(plan.replicas), &plan.replicas)?;
        if plan.bytes_max.is_some() {
            same(&what, "max_bytes", &stream.log.bytes_max(), &plan.bytes_max)?;
        }
        for agent in &plan.agents {
            let what = format!("consumer {} of stream {name}", subject::consumer(agent));
            if let Some(consumer) = stream.consumers.get(agent) {
                same(&what, "ack_wait", &consumer.ack_wait, &plan.ack_wait)?;
                same(&what, "max_ack_pending", &consumer.ack_pending_max.min(plan.ack_pending_max), &plan.ack_pending_max)?;
            } else {
                create(what)?;
                let from = plan.work_from.get(agent).copied();
                let consumer = Consumer::new(agent.clone(), plan.ack_wait, plan.ack_pending_max, stream.log.last(), from);
                stream.consumers.insert(agent.clone(), consumer);
            }
        }
        let warnings = vec!["this broker is memory: nothing survives its process".to_owned()];
        Ok(Provisioned { created, warnings, is_durable: false })
    }
}

impl Stream {
    fn new(plan: &Plan, message_bytes_max: usize) -> Self {
        Self {
            log: Log::new(plan.bytes_max, message_bytes_max),
            replicas: plan.replicas,
            appended: Arc::default(),
            consumers: BTreeMap::new(),
            bucket: Bucket::default(),
            dead: Vec::new(),
        }
    }
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, setting: &'static str, found: &T, expected: &T) -> Result<(), ProvisionError> {
    if found == expected {
        return Ok(());
    }
    Err(ProvisionError::Differs { what: what.to_owned(), setting, found: format!("{found:?}"), expected: format!("{expected:?}") })
}
