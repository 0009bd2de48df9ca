//! What a broker is and what it keeps of an orchestration, for people to look at. Nothing is changed here, and what this login may not see
//! is said as such.

use protocol::ids::{AgentName, OrchestrationName, Seq};
use protocol::subject;
use serde::Deserialize;
use serde_json::{Value as Json, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::Nats;
use super::request::{Link, TRY_AT_MOST, code};
use super::store::missing_stream;
use super::things::{Thing, dead_stream, things};
use crate::{Plan, ProvisionError, Store, StoreError};

/// The server that this process is connected to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Server {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The cluster it belongs to.
    pub cluster: Option<String>,
    /// Whether it keeps streams.
    pub has_jetstream: bool,
    /// The largest message it takes, in bytes.
    pub message_bytes_max: usize,
}

/// As whom this process is logged in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    /// Its name; empty where nobody is asked who they are.
    pub name: String,
    /// Its account.
    pub account: String,
    /// What it may do; none where nothing is forbidden to it.
    pub permissions: Option<Permissions>,
}

/// What a login may do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Permissions {
    /// Where it may publish to.
    #[serde(default)]
    pub publish: Rule,
    /// Where it may listen.
    #[serde(default)]
    pub subscribe: Rule,
}

/// Subjects that are permitted, and subjects that are not, with wildcards.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Rule {
    /// Only these, where there are any.
    #[serde(default)]
    pub allow: Vec<String>,
    /// And none of these.
    #[serde(default)]
    pub deny: Vec<String>,
}

impl Rule {
    /// Whether the server permits `subject`, which may hold wildcards where something listens.
    pub fn permits(&self, subject: &str) -> bool {
        let any = |rules: &[String]| rules.iter().any(|rule| covers(rule, subject));
        (self.allow.is_empty() || any(&self.allow)) && !any(&self.deny)
    }
}

/// Whether every subject of `subject` is one of `rule`.
fn covers(rule: &str, subject: &str) -> bool {
    let (mut rule, mut subject) = (rule.split('.'), subject.split('.'));
    loop {
        match (rule.next(), subject.next()) {
            (Some(">"), Some(_)) | (None, None) => return true,
            (Some(expected), Some(token)) if expected == token || (expected == "*" && token != ">") => {}
            _ => return false,
        }
    }
}

/// A stream, bucket, object store or consumer that an orchestration needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspected {
    /// Which.
    pub what: String,
    /// What became of looking at it.
    pub found: Found,
}

/// See [`Inspected`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// It does not exist.
    Missing,
    /// It cannot be seen now, or not by this login.
    Hidden(String),
    /// Here it is.
    There(There),
}

/// See [`Found::There`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct There {
    /// Settings that are not as they must be.
    pub differences: Vec<Difference>,
    /// Copies that are configured.
    pub replicas: u64,
    /// The server that leads, in a cluster.
    pub leader: Option<String>,
    /// Servers whose copies are behind or gone.
    pub behind: Vec<String>,
    /// Bytes at which it is full, where that is said; of streams.
    pub bytes_max: Option<u64>,
    /// Deliveries that may be in flight at once; of consumers.
    pub ack_pending_max: Option<u64>,
    /// When something was last stored in it, in milliseconds since the Unix epoch by the broker's clock; of streams that are not empty.
    pub stored_ms: Option<u64>,
    /// The broker's time of this answer, in milliseconds since the Unix epoch.
    pub time_ms: Option<u64>,
}

/// A setting that is not as it must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Which.
    pub setting: &'static str,
    /// As it is.
    pub found: String,
    /// As it must be.
    pub expected: String,
}

/// Work of an agent that nobody has been given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Items that no worker has been given.
    pub pending: u64,
    /// Items that workers have and have not settled.
    pub in_flight: u64,
    /// When the oldest of the first was stored, in milliseconds since the Unix epoch by the broker's clock.
    pub oldest_ms: Option<u64>,
}

/// Entries of an agent that nobody could use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeadLetters {
    /// The agent, as its subject has it.
    pub agent: String,
    /// How many are kept.
    pub count: u64,
    /// The subject of the entry that came last.
    pub newest: String,
    /// Why it came.
    pub reason: String,
}

/// As much of an answer about a stream or consumer as is looked at.
#[derive(Deserialize)]
struct Info {
    config: Json,
    cluster: Option<Cluster>,
    state: Option<State>,
    ts: Option<String>,
}

#[derive(Deserialize)]
struct State {
    last_ts: Option<String>,
}

#[derive(Deserialize)]
struct Cluster {
    leader: Option<String>,
    #[serde(default)]
    replicas: Vec<Peer>,
}

#[derive(Deserialize)]
struct Peer {
    name: String,
    #[serde(default)]
    current: bool,
    #[serde(default)]
    offline: bool,
}

impl Nats {
    /// The server that this process is connected to.
    pub fn server(&self) -> Server {
        let info = self.link.server();
        Server {
            name: info.server_name,
            version: info.version,
            cluster: info.cluster,
            has_jetstream: info.jetstream,
            message_bytes_max: info.max_payload,
        }
    }

    /// As whom this process is logged in; none where the server does not say.
    pub async fn user(&self) -> Option<User> {
        let answer = self.link.request("$SYS.REQ.USER.INFO", None, bytes::Bytes::new(), TRY_AT_MOST).await.ok()?;
        let answer: Json = serde_json::from_slice(&answer.payload).ok()?;
        let text = |key: &str| answer.pointer(key).and_then(Json::as_str).unwrap_or_default().to_owned();
        let permissions = answer.pointer("/data/permissions").filter(|permissions| !permissions.is_null());
        // Of a login whose permissions cannot be read nothing is said.
        let permissions = permissions.map(Permissions::deserialize).transpose().ok()?;
        Some(User { name: text("/data/user"), account: text("/data/account"), permissions })
    }

    /// Everything that a plan asks for, the journal first, each beside what it must be.
    ///
    /// # Errors
    /// A plan that cannot be written down, which none is known to be.
    pub async fn inspect(&self, plan: &Plan) -> Result<Vec<Inspected>, ProvisionError> {
        let things = things(plan)?;
        Ok(futures::future::join_all(things.iter().map(|thing| self.link.inspect(thing))).await)
    }

    /// What to say of durability in words; nothing where an acknowledged entry survives a power failure.
    pub async fn doubts(&self, replicas: u64) -> Vec<String> {
        self.durability(replicas).await.1
    }

    /// The work of an agent that waits; none where it has no consumer.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn backlog(&self, orchestration: &OrchestrationName, agent: &AgentName) -> Result<Option<Backlog>, StoreError> {
        let Some(state) = self.consumer_state(orchestration, agent).await? else { return Ok(None) };
        let (stream, filter) = (subject::stream(orchestration), subject::work(orchestration, agent));
        let oldest = match state.pending {
            0 => None,
            _ => self.link.next_from_leader(&stream, &filter, Seq(state.delivered.0 + 1)).await?,
        };
        let oldest_ms = oldest.map(|oldest| oldest.time_ms);
        Ok(Some(Backlog { pending: state.pending, in_flight: state.ack_pending, oldest_ms }))
    }

    /// Entries that nobody could use, by agent.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn dead_letters(&self, orchestration: &OrchestrationName) -> Result<Vec<DeadLetters>, StoreError> {
        let stream = dead_stream(orchestration);
        let question = json!({ "subjects_filter": subject::dead_all(orchestration) });
        let info: Json = missing_stream(self.link.api(&format!("STREAM.INFO.{stream}"), &question).await, &stream)?;
        let mut letters = Vec::new();
        for (subject, count) in info.pointer("/state/subjects").and_then(Json::as_object).into_iter().flatten() {
            let newest = self.link.last_from_leader(&stream, subject).await?;
            let header = |name| newest.as_ref().and_then(|letter| letter.headers.get(name)).unwrap_or_default().to_owned();
            letters.push(DeadLetters {
                agent: subject.rsplit('.').next().unwrap_or_default().to_owned(),
                count: count.as_u64().unwrap_or_default(),
                newest: header("Baton-Dead-Subject"),
                reason: header("Baton-Dead-Reason"),
            });
        }
        Ok(letters)
    }
}

impl Link {
    async fn inspect(&self, thing: &Thing) -> Inspected {
        let found = match self.api::<Info>(&thing.info, &json!({})).await {
            Ok(info) => Found::There(there(thing, info)),
            Err(failure) if failure.is(code::STREAM_NOT_FOUND) || failure.is(code::CONSUMER_NOT_FOUND) => Found::Missing,
            Err(failure) => Found::Hidden(failure.to_string()),
        };
        Inspected { what: thing.what.clone(), found }
    }
}

fn there(thing: &Thing, info: Info) -> There {
    let number = |key: &str| info.config.get(key).and_then(Json::as_i64).and_then(|number| u64::try_from(number).ok());
    let cluster = info.cluster.unwrap_or(Cluster { leader: None, replicas: Vec::new() });
    let is_behind = |peer: &&Peer| peer.offline || !peer.current;
    There {
        differences: thing.differences(&info.config),
        replicas: number("num_replicas").unwrap_or_default(),
        leader: cluster.leader,
        behind: cluster.replicas.iter().filter(is_behind).map(|peer| peer.name.clone()).collect(),
        bytes_max: number("max_bytes"),
        ack_pending_max: number("max_ack_pending"),
        stored_ms: info.state.and_then(|state| broker_ms(&state.last_ts?)),
        time_ms: info.ts.and_then(|time| broker_ms(&time)),
    }
}

/// The broker's time as it writes it, in milliseconds since the Unix epoch.
pub(super) fn broker_ms(text: &str) -> Option<u64> {
    let time = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    u64::try_from(time.unix_timestamp_nanos() / 1_000_000).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_permits_what_the_server_permits() {
        let rule = |allow: &[&str], deny: &[&str]| Rule {
            allow: allow.iter().map(ToString::to_string).collect(),
            deny: deny.iter().map(ToString::to_string).collect(),
        };
        for (rule, subject, permitted) in [
            (rule(&[], &[]), "a.b", true),
            (rule(&["a.*"], &[]), "a.b", true),
            (rule(&["a.*"], &[]), "a.b.c", false),
            (rule(&["a.*"], &[]), "a.*", true),
            (rule(&["a.*"], &[]), "a.>", false),
            (rule(&["a.>"], &[]), "a.b.*", true),
            (rule(&["a.>"], &[]), "a.>", true),
            (rule(&["a.>"], &[]), "a", false),
            (rule(&["a.b"], &[]), "a.*", false),
            (rule(&["a.>"], &["a.b.>"]), "a.b.c", false),
            (rule(&[], &["a.b"]), "a.c", true),
            (rule(&[], &["a.b"]), "a.b", false),
        ] {
            assert_eq!(rule.permits(subject), permitted, "{rule:?} {subject}");
        }
    }
}
