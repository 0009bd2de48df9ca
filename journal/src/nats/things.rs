//! What an orchestration has at the broker, as it must be, and how what is found there differs. Pure.

use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, Config as Consumer, DeliverPolicy};
use async_nats::jetstream::stream::{Config as Stream, DiscardPolicy, RetentionPolicy, StorageType};
use protocol::ids::{AgentName, OrchestrationName};
use protocol::subject;
use serde::Serialize;
use serde_json::{Value as Json, json};

use super::inspect::Difference;
use crate::{Plan, ProvisionError};

/// The largest message of a conversation, headers included: the broker's own default.
pub(super) const MESSAGE_BYTES_MAX: usize = 1024 * 1024;

/// Dead letters that are kept; the oldest go first.
const DEAD_LETTERS_MAX: i64 = 100_000;

/// Pull requests that may wait at one consumer: two for each of thousands of workers.
const WAITING_MAX: i64 = 8_192;

/// Settings that must be equal; those that Baton leaves alone must be off. Of the latter each breaks a promise by itself: what is
/// not acknowledged, or acknowledged before it is written, what is changed on its way in, what comes from elsewhere.
const STREAM_SETTINGS: [&str; 20] = [
    "subjects",
    "retention",
    "discard",
    "storage",
    "max_age",
    "max_msgs",
    "max_msgs_per_subject",
    "allow_direct",
    "allow_msg_ttl",
    "allow_rollup_hdrs",
    "deny_delete",
    "deny_purge",
    "sealed",
    "no_ack",
    "persist_mode",
    "mirror",
    "sources",
    "subject_transform",
    "discard_new_per_subject",
    "allow_msg_counter",
];
/// Likewise: a consumer that forgets, vanishes when it is idle, pauses, or takes no orders of the size of a worker's.
const CONSUMER_SETTINGS: [&str; 17] = [
    "filter_subject",
    "filter_subjects",
    "ack_policy",
    "ack_wait",
    "backoff",
    "deliver_policy",
    "max_deliver",
    "replay_policy",
    "headers_only",
    "deliver_subject",
    "inactive_threshold",
    "pause_until",
    "mem_storage",
    "num_replicas",
    "max_batch",
    "max_expires",
    "max_bytes",
];

/// Where a consumer begins. It is as it was made for good, and the place of no matter: whoever made it knew what was done by then.
const START: &str = "deliver_policy";

/// Beginnings that leave nothing out that comes after them.
const STARTS: [&str; 2] = ["all", "by_start_sequence"];

/// Settings of a stream that may be larger; a negative number is "without limit".
const STREAM_FLOORS: [&str; 2] = ["num_replicas", "max_msg_size"];

/// Settings of a consumer that may be larger, likewise.
const CONSUMER_FLOORS: [&str; 1] = ["max_ack_pending"];

/// Settings of a stream that must not be without limit, where Baton sets one.
const STREAM_BOUNDS: [&str; 1] = ["max_msg_size"];

/// The one setting that is compared only where the plan says something.
const BYTES_MAX: &str = "max_bytes";

/// The stream behind an orchestration's bucket.
pub(super) fn bucket_stream(orchestration: &OrchestrationName) -> String {
    format!("KV_{}", subject::bucket(orchestration))
}

/// The stream behind its object store.
pub(super) fn object_stream(orchestration: &OrchestrationName) -> String {
    format!("OBJ_{}", subject::bucket(orchestration))
}

/// The stream of its dead letters.
pub(super) fn dead_stream(orchestration: &OrchestrationName) -> String {
    format!("{}-dead", subject::stream(orchestration))
}

/// The stream of its last tick.
pub(super) fn tick_stream(orchestration: &OrchestrationName) -> String {
    format!("{}-tick", subject::stream(orchestration))
}

fn journal(plan: &Plan) -> Stream {
    Stream {
        name: subject::stream(&plan.orchestration),
        description: Some(format!("Conversations of {}", plan.orchestration)),
        subjects: vec![subject::entries(&plan.orchestration)],
        retention: RetentionPolicy::Limits,
        discard: DiscardPolicy::New,
        max_bytes: plan.bytes_max.map_or(-1, |bytes| i64::try_from(bytes).unwrap_or(i64::MAX)),
        max_message_size: i32::try_from(MESSAGE_BYTES_MAX).unwrap_or(i32::MAX),
        deny_delete: true,
        ..stream(plan)
    }
}

fn bucket(plan: &Plan) -> Stream {
    Stream {
        name: bucket_stream(&plan.orchestration),
        description: Some(format!("Revisions, lease and checkpoint of {}", plan.orchestration)),
        subjects: vec![format!("$KV.{}.>", subject::bucket(&plan.orchestration))],
        discard: DiscardPolicy::New,
        max_messages_per_subject: 1,
        allow_rollup: true,
        allow_message_ttl: true,
        deny_delete: true,
        ..stream(plan)
    }
}

/// What NATS clients would create themselves.
fn objects(plan: &Plan) -> Stream {
    let bucket = subject::bucket(&plan.orchestration);
    Stream {
        name: object_stream(&plan.orchestration),
        description: Some(format!("What of {} is too large for a message", plan.orchestration)),
        subjects: vec![format!("$O.{bucket}.C.>"), format!("$O.{bucket}.M.>")],
        discard: DiscardPolicy::New,
        allow_rollup: true,
        ..stream(plan)
    }
}

fn dead(plan: &Plan) -> Stream {
    Stream {
        name: dead_stream(&plan.orchestration),
        description: Some(format!("Entries of {} that nobody could use", plan.orchestration)),
        subjects: vec![subject::dead_all(&plan.orchestration)],
        discard: DiscardPolicy::Old,
        max_messages: DEAD_LETTERS_MAX,
        ..stream(plan)
    }
}

/// Its replicas are the journal's: a clock that stopped while conversations go on would let no deadline pass.
fn tick(plan: &Plan) -> Stream {
    Stream {
        name: tick_stream(&plan.orchestration),
        description: Some(format!("The clock of {}", plan.orchestration)),
        subjects: vec![subject::tick(&plan.orchestration)],
        storage: StorageType::Memory,
        discard: DiscardPolicy::Old,
        max_messages: 1,
        ..stream(plan)
    }
}

fn stream(plan: &Plan) -> Stream {
    Stream {
        storage: StorageType::File,
        max_bytes: -1,
        max_messages: -1,
        max_messages_per_subject: -1,
        max_message_size: -1,
        max_consumers: -1,
        num_replicas: plan.replicas,
        allow_direct: true,
        ..Stream::default()
    }
}

fn consumer(plan: &Plan, agent: &AgentName) -> Consumer {
    Consumer {
        durable_name: Some(subject::consumer(agent)),
        name: Some(subject::consumer(agent)),
        description: Some(format!("Work items of {agent}")),
        deliver_policy: match plan.work_from.get(agent) {
            Some(from) if from.0 > 1 => DeliverPolicy::ByStartSequence { start_sequence: from.0 },
            Some(_) | None => DeliverPolicy::All,
        },
        ack_policy: AckPolicy::Explicit,
        ack_wait: plan.ack_wait,
        max_deliver: -1,
        max_ack_pending: i64::try_from(plan.ack_pending_max).unwrap_or(i64::MAX),
        max_waiting: WAITING_MAX,
        filter_subject: subject::work(&plan.orchestration, agent),
        ..Consumer::default()
    }
}

/// A stream or consumer: how it is asked for, made and told from others.
pub(super) struct Thing {
    pub(super) what: String,
    pub(super) info: String,
    pub(super) create: String,
    pub(super) body: Json,
    config: Json,
    equal: Vec<&'static str>,
    at_least: &'static [&'static str],
    bounded: Vec<&'static str>,
}

/// Everything that a plan asks for, the journal first.
pub(super) fn things(plan: &Plan) -> Result<Vec<Thing>, ProvisionError> {
    let mut things = vec![
        Thing::stream("stream", &journal(plan))?,
        Thing::stream("bucket", &bucket(plan))?,
        Thing::stream("object store", &objects(plan))?,
        Thing::stream("stream", &dead(plan))?,
        Thing::stream("stream", &tick(plan))?,
    ];
    for agent in &plan.agents {
        things.push(Thing::consumer(plan, agent)?);
    }
    Ok(things)
}

impl Thing {
    fn stream(what: &str, config: &Stream) -> Result<Self, ProvisionError> {
        let name = &config.name;
        let json = to_json(config)?;
        let mut equal = STREAM_SETTINGS.to_vec();
        equal.extend((config.max_bytes >= 0).then_some(BYTES_MAX));
        let bounded = STREAM_BOUNDS.into_iter().filter(|setting| is_limited(json.get(setting))).collect();
        Ok(Self {
            what: format!("{what} {name}"),
            info: format!("STREAM.INFO.{name}"),
            create: format!("STREAM.CREATE.{name}"),
            body: json.clone(),
            config: json,
            equal,
            at_least: &STREAM_FLOORS,
            bounded,
        })
    }

    fn consumer(plan: &Plan, agent: &AgentName) -> Result<Self, ProvisionError> {
        let (stream, config) = (subject::stream(&plan.orchestration), consumer(plan, agent));
        let (name, filter) = (subject::consumer(agent), &config.filter_subject);
        let json = to_json(&config)?;
        Ok(Self {
            what: format!("consumer {name} of stream {stream}"),
            info: format!("CONSUMER.INFO.{stream}.{name}"),
            create: format!("CONSUMER.CREATE.{stream}.{name}.{filter}"),
            body: json!({ "stream_name": stream, "config": json, "action": "create" }),
            config: json,
            equal: CONSUMER_SETTINGS.to_vec(),
            at_least: &CONSUMER_FLOORS,
            bounded: Vec::new(),
        })
    }

    /// The settings in which what was found is not what it must be.
    pub(super) fn differences(&self, found: &Json) -> Vec<Difference> {
        let pair = |setting: &str| (found.get(setting), self.config.get(setting));
        let differs = |setting: &&&str| {
            let (found, expected) = pair(setting);
            let is_begun = **setting == START && is_start(found);
            !(is_equal(found, expected) || is_begun)
        };
        let is_below = |setting: &&&str| {
            let (found, expected) = pair(setting);
            limit(found) < limit(expected)
        };
        let is_unbounded = |setting: &&&str| !is_limited(found.get(setting));
        let different = self.equal.iter().filter(differs).chain(self.at_least.iter().filter(is_below));
        let different = different.chain(self.bounded.iter().filter(is_unbounded));
        let difference = |setting: &&'static str| {
            let (found, expected) = pair(setting);
            Difference { setting, found: shown(setting, found), expected: shown(setting, expected) }
        };
        different.map(difference).collect()
    }

    /// The first of them, as an error.
    pub(super) fn difference(&self, found: &Json) -> Option<ProvisionError> {
        let Difference { setting, found, expected } = self.differences(found).into_iter().next()?;
        Some(ProvisionError::Differs { what: self.what.clone(), setting, found, expected })
    }
}

/// Whether a stream that was found may fill only so much of the disk.
pub(super) fn has_bytes_max(found: &Json) -> bool {
    is_limited(found.get(BYTES_MAX))
}

fn to_json(config: &impl Serialize) -> Result<Json, ProvisionError> {
    serde_json::to_value(config).map_err(|error| ProvisionError::Refused(error.to_string()))
}

/// The broker leaves out what is off.
fn is_equal(found: Option<&Json>, expected: Option<&Json>) -> bool {
    found == expected || (is_off(found) && is_off(expected))
}

fn is_start(value: Option<&Json>) -> bool {
    value.and_then(Json::as_str).is_some_and(|policy| STARTS.contains(&policy))
}

fn is_off(value: Option<&Json>) -> bool {
    value.is_none_or(|value| [json!(null), json!(false), json!(""), json!(0), json!([])].contains(value))
}

fn limit(value: Option<&Json>) -> i64 {
    let number = value.and_then(Json::as_i64).unwrap_or(-1);
    if number < 0 { i64::MAX } else { number }
}

fn is_limited(value: Option<&Json>) -> bool {
    limit(value) < i64::MAX
}

fn shown(setting: &str, value: Option<&Json>) -> String {
    match value.filter(|value| !is_off(Some(value))) {
        None => "not set".to_owned(),
        Some(Json::String(text)) => text.clone(),
        Some(value) => match value.as_u64() {
            Some(nanos) if ["ack_wait", "max_age", "inactive_threshold", "max_expires"].contains(&setting) => {
                format!("{:?}", Duration::from_nanos(nanos))
            }
            _ => value.to_string(),
        },
    }
}

#[cfg(test)]
mod tests {
    use protocol::ids::Seq;

    use super::*;

    fn plan() -> Plan {
        Plan::new("support".parse().unwrap(), vec!["refund".parse().unwrap()])
    }

    #[test]
    fn what_is_as_it_must_be_does_not_differ() {
        let plan = plan();
        for thing in [Thing::stream("stream", &journal(&plan)).unwrap(), Thing::consumer(&plan, &plan.agents[0]).unwrap()] {
            assert_eq!(thing.difference(&thing.config), None);
        }
    }

    #[test]
    fn a_difference_is_named_with_both_values() {
        let plan = plan();
        let thing = Thing::consumer(&plan, &plan.agents[0]).unwrap();
        let mut found = thing.config.clone();
        found["max_deliver"] = json!(5);
        let text = thing.difference(&found).unwrap().to_string();
        assert!(text.contains("agent-refund") && text.contains("its max_deliver is 5 and must be -1"), "{text}");
    }

    #[test]
    fn more_replicas_than_planned_will_do_and_fewer_will_not() {
        let thing = Thing::stream("stream", &journal(&Plan { replicas: 3, ..plan() })).unwrap();
        let mut found = thing.config.clone();
        found["num_replicas"] = json!(5);
        found["max_bytes"] = json!(7);
        assert_eq!(thing.difference(&found), None, "the plan says nothing of bytes");
        found["num_replicas"] = json!(1);
        assert!(matches!(thing.difference(&found), Some(ProvisionError::Differs { setting: "num_replicas", .. })));
    }

    #[test]
    fn a_message_of_a_journal_has_a_largest_size_and_one_of_the_clock_has_none() {
        let plan = plan();
        let thing = Thing::stream("stream", &journal(&plan)).unwrap();
        let mut found = thing.config.clone();
        for (size, differs) in [(-1, true), (1_048_575, true), (1_048_576, false), (8_388_608, false)] {
            found["max_msg_size"] = json!(size);
            let text = thing.difference(&found).map(|difference| difference.to_string()).unwrap_or_default();
            assert_eq!(text.contains(&format!("its max_msg_size is {size} and must be 1048576")), differs, "{text}");
        }
        let clock = Thing::stream("stream", &tick(&plan)).unwrap();
        assert_eq!(clock.difference(&clock.config), None);
    }

    #[test]
    fn a_consumer_may_have_begun_anywhere_but_with_what_comes_next() {
        let (mut plan, triage) = (plan(), "refund".parse::<AgentName>().unwrap());
        let begun_first = Thing::consumer(&plan, &triage).unwrap();
        plan.work_from.insert(triage.clone(), Seq(7));
        let begun_later = Thing::consumer(&plan, &triage).unwrap();
        assert_eq!((&begun_later.config[START], &begun_later.config["opt_start_seq"]), (&json!("by_start_sequence"), &json!(7)));
        for (thing, found) in [(&begun_first, &begun_later), (&begun_later, &begun_first), (&begun_later, &begun_later)] {
            assert_eq!(thing.difference(&found.config), None);
        }
        for policy in ["new", "last", "last_per_subject", "by_start_time"] {
            let mut found = begun_first.config.clone();
            found[START] = json!(policy);
            assert!(matches!(begun_later.difference(&found), Some(ProvisionError::Differs { setting: START, .. })), "{policy}");
        }
    }

    #[test]
    fn times_are_shown_as_times() {
        let plan = plan();
        let mut found = Thing::consumer(&plan, &plan.agents[0]).unwrap().config;
        found["ack_wait"] = json!(30_000_000_000_u64);
        let text = Thing::consumer(&plan, &plan.agents[0]).unwrap().difference(&found).unwrap().to_string();
        assert!(text.contains("its ack_wait is 30s and must be 4s"), "{text}");
    }
}
