//! Registration as a NATS service (ADR-32), for discovery: `nats service ls` shows the fleet. Work never comes this way.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::select_all;
use protocol::ids::ProcessId;
use serde::Serialize;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::{Bus, Delivery, RequestError};

/// A program as it is registered.
#[derive(Clone, Debug)]
pub struct Service {
    /// An agent's name, or the program's.
    pub name: String,
    /// Which process.
    pub process: ProcessId,
    /// The program's version (SemVer).
    pub version: String,
    /// For people.
    pub description: String,
    /// Whatever helps to tell instances apart: orchestration, revision, model, slots.
    pub metadata: BTreeMap<String, String>,
    /// Where it answers questions, if anywhere.
    pub endpoints: Vec<Endpoint>,
}

/// Where a service answers.
#[derive(Clone, Debug, Serialize)]
pub struct Endpoint {
    /// Its name.
    pub name: String,
    /// Its subject.
    pub subject: String,
    /// The queue group in which one instance answers.
    pub queue_group: String,
}

impl Service {
    /// Answers discovery for as long as it is polled.
    ///
    /// # Errors
    /// [`RequestError`] when the subjects may not be listened to: discovery is a help, and nothing depends on it.
    pub async fn answer(self, bus: &(impl Bus + ?Sized)) -> Result<(), RequestError> {
        let started = OffsetDateTime::now_utc().format(&Rfc3339).unwrap_or_default();
        let mut questions = Vec::new();
        for verb in ["PING", "INFO", "STATS"] {
            for subject in
                [format!("$SRV.{verb}"), format!("$SRV.{verb}.{}", self.name), format!("$SRV.{verb}.{}.{}", self.name, self.process)]
            {
                questions.push(bus.listen(&subject, None).await?);
            }
        }
        let mut questions = select_all(questions);
        while let Some(Delivery { subject, reply, .. }) = questions.next().await {
            let answer = match subject.split('.').nth(1) {
                Some("INFO") => self.info(),
                Some("STATS") => self.stats(&started),
                _ => self.ping(),
            };
            if let Some(reply) = reply {
                bus.say(&reply, Bytes::from(answer.to_string())).await;
            }
        }
        Ok(())
    }

    fn ping(&self) -> Value {
        self.response("ping", [])
    }

    fn info(&self) -> Value {
        self.response("info", [("description", self.description.clone().into()), ("endpoints", json!(self.endpoints))])
    }

    fn stats(&self, started: &str) -> Value {
        self.response("stats", [("started", started.into()), ("endpoints", json!(self.endpoints))])
    }

    /// What every response says, and what this one says besides.
    fn response<const N: usize>(&self, verb: &str, more: [(&str, Value); N]) -> Value {
        let common = [
            ("type", format!("io.nats.micro.v1.{verb}_response").into()),
            ("name", self.name.clone().into()),
            ("id", json!(self.process)),
            ("version", self.version.clone().into()),
            ("metadata", json!(self.metadata)),
        ];
        common.into_iter().chain(more).map(|(key, value)| (key.to_owned(), value)).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::memory::Memory;

    #[tokio::test]
    async fn discovery_finds_every_instance_by_all_its_names() {
        let memory = Memory::new();
        let service = |process: &str| Service {
            name: "refund".to_owned(),
            process: process.parse().unwrap(),
            version: "0.1.0".to_owned(),
            description: "An agent.".to_owned(),
            metadata: BTreeMap::from([("orchestration".to_owned(), "support".to_owned())]),
            endpoints: Vec::new(),
        };
        let (first, second, bus) = (service("refund-1"), service("refund-2"), memory.clone());
        let answering = tokio::spawn(async move { tokio::join!(first.answer(&bus), second.answer(&bus)) });
        for (subject, expected) in [("$SRV.PING", 2), ("$SRV.INFO.refund", 2), ("$SRV.STATS.refund.refund-2", 1)] {
            let answers = tokio::time::timeout(Duration::from_secs(10), async {
                loop {
                    let answers = memory.ask_all(subject, Bytes::new(), Duration::from_millis(50)).await.unwrap_or_default();
                    if answers.len() == expected {
                        return answers;
                    }
                    tokio::task::yield_now().await;
                }
            });
            let answers = answers.await.unwrap_or_else(|_| panic!("{subject} was not answered by {expected}"));
            let answer: Value = serde_json::from_slice(&answers[0]).unwrap();
            assert_eq!(answer["name"], "refund");
            assert_eq!(answer["metadata"]["orchestration"], "support");
        }
        answering.abort();
    }
}
