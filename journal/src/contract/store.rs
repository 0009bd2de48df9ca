//! What the store promises.

use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use protocol::ids::{OrchestrationName, Seq, Writer};

use super::chat::Appended;
use super::{Chat, LONG, agent, orchestration, provisioned, until, within};
use crate::{Expect, Plan, Shared, StoreError, Value};

async fn put(broker: &Shared, key: &str, text: &str, expect: Expect) -> Result<u64, StoreError> {
    within("writing", broker.put_value(&orchestration(), key, Bytes::from(text.to_owned()), expect, None)).await
}

async fn get(broker: &Shared, key: &str) -> Option<Value> {
    within("reading", broker.value(&orchestration(), key)).await.unwrap()
}

async fn delete(broker: &Shared, key: &str, expect: Expect) -> Result<(), StoreError> {
    within("deleting", broker.delete_value(&orchestration(), key, expect)).await
}

fn conflict(key: &str) -> StoreError {
    StoreError::Conflict { key: key.to_owned() }
}

/// Revisions grow, and name what was read.
pub async fn a_value_is_read_back_with_its_revision(broker: Shared) {
    let broker = provisioned(broker, LONG).await;
    assert_eq!(get(&broker, "key").await, None);
    let first = put(&broker, "key", "one", Expect::Any).await.unwrap();
    assert_eq!(get(&broker, "key").await, Some(Value { bytes: Bytes::from("one"), revision: first }));
    let second = put(&broker, "key", "", Expect::Any).await.unwrap();
    assert!(second > first);
    assert_eq!(get(&broker, "key").await, Some(Value { bytes: Bytes::new(), revision: second }));
}

/// Compare and set.
pub async fn a_value_is_written_only_over_the_expected_one(broker: Shared) {
    let broker = provisioned(broker, LONG).await;
    let first = put(&broker, "key", "one", Expect::Any).await.unwrap();
    let second = put(&broker, "key", "two", Expect::Revision(first)).await.unwrap();
    assert_eq!(put(&broker, "key", "three", Expect::Revision(first)).await, Err(conflict("key")));
    assert_eq!(put(&broker, "other", "x", Expect::Revision(second)).await, Err(conflict("other")));
    assert_eq!(get(&broker, "key").await, Some(Value { bytes: Bytes::from("two"), revision: second }));
}

/// Never there, or deleted.
pub async fn a_value_is_created_only_where_there_is_none(broker: Shared) {
    let broker = provisioned(broker, LONG).await;
    let first = put(&broker, "key", "one", Expect::Absent).await.unwrap();
    assert_eq!(put(&broker, "key", "two", Expect::Absent).await, Err(conflict("key")));
    delete(&broker, "key", Expect::Any).await.unwrap();
    let again = put(&broker, "key", "three", Expect::Absent).await.unwrap();
    assert!(again > first);
    assert_eq!(put(&broker, "key", "four", Expect::Revision(first)).await, Err(conflict("key")));
}

/// A lease is given up only by whoever holds it.
pub async fn a_value_is_deleted_only_as_expected(broker: Shared) {
    let broker = provisioned(broker, LONG).await;
    let first = put(&broker, "key", "one", Expect::Any).await.unwrap();
    let second = put(&broker, "key", "two", Expect::Any).await.unwrap();
    assert_eq!(delete(&broker, "key", Expect::Revision(first)).await, Err(conflict("key")));
    assert!(get(&broker, "key").await.is_some());
    delete(&broker, "key", Expect::Revision(second)).await.unwrap();
    assert_eq!(get(&broker, "key").await, None);
    delete(&broker, "never", Expect::Any).await.unwrap();
}

/// An election.
pub async fn of_racing_writers_of_a_value_exactly_one_wins(broker: Shared) {
    let broker = provisioned(broker, LONG).await;
    for round in 0..20 {
        let key = format!("lease.{round}");
        let outcomes = join_all(["a", "b", "c"].map(|writer| put(&broker, &key, writer, Expect::Absent))).await;
        let won = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
        let lost = outcomes.iter().filter(|outcome| **outcome == Err(conflict(&key))).count();
        assert_eq!((won, lost), (1, 2), "{outcomes:?}");
    }
}

/// And by nothing else; deleted ones are not listed.
pub async fn keys_are_listed_by_their_beginning(broker: Shared) {
    let broker = provisioned(broker, LONG).await;
    for key in ["revision.b", "revision.a", "revision.deleted", "revisions", "lease"] {
        put(&broker, key, "x", Expect::Any).await.unwrap();
    }
    delete(&broker, "revision.deleted", Expect::Any).await.unwrap();
    for (prefix, expected) in
        [("revision.", &["revision.a", "revision.b"][..]), ("", &["lease", "revision.a", "revision.b", "revisions"]), ("none", &[])]
    {
        let mut keys = within("listing", broker.keys(&orchestration(), prefix)).await.unwrap();
        keys.sort();
        assert_eq!(keys, expected, "{prefix}");
    }
}

/// By the broker itself: the holder of a lease may be dead.
pub async fn a_value_is_forgotten_after_its_time(broker: Shared) {
    let broker = provisioned(broker, LONG).await;
    let ttl = Some(Duration::from_secs(1));
    let first = broker.put_value(&orchestration(), "lease", Bytes::from("a"), Expect::Absent, ttl).await.unwrap();
    let renewed = broker.put_value(&orchestration(), "lease", Bytes::from("a"), Expect::Revision(first), ttl).await.unwrap();
    assert_eq!(put(&broker, "lease", "b", Expect::Absent).await, Err(conflict("lease")));
    put(&broker, "lasting", "x", Expect::Any).await.unwrap();
    until("the lease is over", async || get(&broker, "lease").await.is_none().then_some(())).await;
    assert_eq!(put(&broker, "lease", "a", Expect::Revision(renewed)).await, Err(conflict("lease")));
    put(&broker, "lease", "b", Expect::Absent).await.unwrap();
    assert!(get(&broker, "lasting").await.is_some());
}

/// Nothing was provisioned.
pub async fn without_a_bucket_values_are_missing(broker: Shared) {
    let missing = |error: Option<StoreError>| assert!(matches!(error, Some(StoreError::Missing(_))), "{error:?}");
    missing(within("reading", broker.value(&orchestration(), "key")).await.err());
    missing(put(&broker, "key", "x", Expect::Any).await.err());
    missing(within("listing", broker.keys(&orchestration(), "")).await.err());
}

async fn put_object(broker: &Shared, name: &str, bytes: impl Into<Bytes>) -> Result<(), StoreError> {
    within("putting", broker.put_object(&orchestration(), name, bytes.into())).await
}

async fn object(broker: &Shared, name: &str) -> Option<Bytes> {
    within("getting", broker.object(&orchestration(), name)).await.unwrap()
}

/// Nothing, next to nothing, and more than fits into a message, with an odd end.
pub async fn an_object_of_any_size_is_got_back_byte_for_byte(broker: Shared) {
    let broker = provisioned(broker, LONG).await;
    for size in [0, 1, 3 * 1024 * 1024, 3 * 1024 * 1024 + 1] {
        let (name, bytes) = (format!("of-{size}"), (0..size).map(|n| (n % 251) as u8).collect::<Bytes>());
        assert_eq!(object(&broker, &name).await, None);
        put_object(&broker, &name, bytes.clone()).await.unwrap();
        // Without assert_eq: nobody wants to read megabytes.
        assert!(object(&broker, &name).await == Some(bytes), "{size}");
    }
}

/// Whichever is the larger.
pub async fn an_object_is_replaced_by_the_next_of_its_name(broker: Shared) {
    let broker = provisioned(broker, LONG).await;
    put_object(&broker, "other", "other").await.unwrap();
    for bytes in [Bytes::from("one"), Bytes::from(vec![2; 300_000]), Bytes::new(), Bytes::from("four")] {
        put_object(&broker, "name", bytes.clone()).await.unwrap();
        assert!(object(&broker, "name").await == Some(bytes));
    }
    assert_eq!(object(&broker, "other").await, Some(Bytes::from("other")));
}

/// However often it is deleted, and until it is put again.
pub async fn a_deleted_object_is_absent(broker: Shared) {
    let broker = provisioned(broker, LONG).await;
    let delete = async |name| within("deleting", broker.delete_object(&orchestration(), name)).await.unwrap();
    delete("never").await;
    put_object(&broker, "name", "one").await.unwrap();
    put_object(&broker, "other", "other").await.unwrap();
    delete("name").await;
    delete("name").await;
    assert_eq!(object(&broker, "name").await, None);
    put_object(&broker, "name", "two").await.unwrap();
    assert_eq!(object(&broker, "name").await, Some(Bytes::from("two")));
    assert_eq!(object(&broker, "other").await, Some(Bytes::from("other")));
}

/// Not even where one's name begins with the other's.
pub async fn orchestrations_do_not_share_objects(broker: Shared) {
    let broker = provisioned(broker, LONG).await;
    let longer: OrchestrationName = "support-2".parse().unwrap();
    within("provisioning", broker.provision(&Plan::new(longer.clone(), Vec::new()))).await.unwrap();
    put_object(&broker, "name", "mine").await.unwrap();
    assert_eq!(within("getting", broker.object(&longer, "name")).await, Ok(None));
    within("putting", broker.put_object(&longer, "name", Bytes::from("theirs"))).await.unwrap();
    within("deleting", broker.delete_object(&orchestration(), "name")).await.unwrap();
    assert_eq!(within("getting", broker.object(&longer, "name")).await, Ok(Some(Bytes::from("theirs"))));
}

/// What would be a wildcard or two tokens in a subject is a name like any other.
pub async fn an_object_needs_a_name_and_may_have_any(broker: Shared) {
    let broker = provisioned(broker, LONG).await;
    let long = "x".repeat(255);
    let names = ["a.b/c", "*", ">", "a b", "größe", ".", &long];
    for name in names {
        put_object(&broker, name, name.to_owned()).await.unwrap();
    }
    for name in names {
        assert_eq!(object(&broker, name).await, Some(Bytes::from(name.to_owned())));
    }
    for name in ["", &"x".repeat(256)] {
        let refused = put_object(&broker, name, "x").await;
        assert!(matches!(refused, Err(StoreError::Refused(_))), "{refused:?}");
    }
}

/// Nothing was provisioned.
pub async fn without_a_bucket_objects_are_missing(broker: Shared) {
    let missing = |error: Option<StoreError>| assert!(matches!(error, Some(StoreError::Missing(_))), "{error:?}");
    missing(put_object(&broker, "name", "").await.err());
    missing(put_object(&broker, "name", "x").await.err());
    missing(within("getting", broker.object(&orchestration(), "name")).await.err());
    missing(within("deleting", broker.delete_object(&orchestration(), "name")).await.err());
}

/// The conversation does not notice.
pub async fn a_dead_letter_is_kept_apart_from_the_conversation(broker: Shared) {
    let broker = provisioned(broker, LONG).await;
    let mut chat = Chat::open(&broker, "c1").await;
    let opened = chat.tail().await.unwrap();
    broker.dead_letter(&orchestration(), &agent("triage"), &opened, "it cannot be decoded: byte 3").await.unwrap();
    assert_eq!(chat.tail().await.unwrap(), opened);
    let state = broker.consumer_state(&orchestration(), &agent("triage")).await.unwrap().unwrap();
    assert_eq!(state.pending, 1);
    chat.say("next").await;
}

/// Delivered, settled, in flight, waiting.
pub async fn a_consumer_says_where_it_stands(broker: Shared) {
    let broker = provisioned(broker, LONG).await;
    let name = agent("triage");
    assert_eq!(broker.consumer_state(&orchestration(), &agent("nobody")).await, Ok(None));
    let mut seqs = Vec::new();
    for n in 0..4 {
        seqs.push(Chat::open(&broker, &format!("c{n}")).await.seq());
    }
    let state = async || broker.consumer_state(&orchestration(), &name).await.unwrap().unwrap();
    let fresh = state().await;
    assert_eq!((fresh.delivered, fresh.ack_floor, fresh.ack_pending, fresh.pending), (Seq(0), Seq(0), 0, 4));

    let mut source = broker.work(&orchestration(), &name).await.unwrap();
    let first = within("a work item", source.next(2)).await.unwrap();
    let second = within("a work item", source.next(1)).await.unwrap();
    let out = state().await;
    assert_eq!((out.delivered, out.ack_floor, out.ack_pending, out.pending), (seqs[1], Seq(0), 2, 2));

    second.settle.ack().await;
    let acked = until("one is acked", async || Some(state().await).filter(|state| state.ack_pending == 1)).await;
    assert!(acked.ack_floor < seqs[0], "{acked:?}");
    first.settle.ack().await;
    let settled = until("both are acked", async || Some(state().await).filter(|state| state.ack_pending == 0)).await;
    assert_eq!((settled.delivered, settled.ack_floor, settled.pending), (seqs[1], seqs[1], 2));
}

/// Of all conversations, and what is purged has been there.
pub async fn the_last_sequence_is_that_of_the_newest_entry(broker: Shared) {
    let broker = provisioned(broker, LONG).await;
    let last = async || broker.last_seq(&orchestration()).await.unwrap();
    assert_eq!(last().await, Seq(0));
    let (one, other) = (Chat::open(&broker, "c1").await, Chat::open(&broker, "c2").await);
    assert!(one.seq() < other.seq());
    assert_eq!(last().await, other.seq());
    broker.purge(&orchestration(), &"c2".parse().unwrap(), Seq(other.seq().0 + 1)).await.unwrap();
    assert_eq!(last().await, other.seq());
}

/// In the order of the stream, whoever wrote them or a certain one; and what is purged ends nothing.
pub async fn ends_are_found_one_after_the_other(broker: Shared) {
    let broker = provisioned(broker, LONG).await;
    let next = async |by: Option<&Writer>, after: Seq| {
        let found = within("looking", broker.next_end(&orchestration(), by, after)).await.unwrap();
        found.map(|found| (found.seq, found.subject))
    };
    let (mut one, mut open, mut other) =
        (Chat::open(&broker, "c1").await, Chat::open(&broker, "c2").await, Chat::open(&broker, "c3").await);
    assert_eq!(next(None, Seq(0)).await, None);
    let erased = one.erase().await;
    open.say("still here").await;
    let cancelled = other.cancel().await;
    let named = |appended: &Appended| Some((appended.seq, appended.prepared.message.subject.clone()));
    assert_eq!(next(None, Seq(0)).await, named(&erased), "its other end is purged");
    assert_eq!(next(None, erased.seq).await, named(&cancelled));
    assert_eq!(next(None, cancelled.seq).await, None);
    assert_eq!(next(Some(&Writer::Gateway), Seq(0)).await, named(&cancelled));
    assert_eq!(next(Some(&Writer::Coordinator), Seq(0)).await, named(&erased));
    assert_eq!(next(Some(&Writer::Coordinator), erased.seq).await, None);
}

/// Never back, and on.
pub async fn ticks_follow_the_brokers_clock(broker: Shared) {
    let broker = provisioned(broker, LONG).await;
    let first = broker.tick(&orchestration()).await.unwrap();
    let said = Chat::open(&broker, "c1").await.tail().await.unwrap();
    let second = broker.tick(&orchestration()).await.unwrap();
    assert!(first <= said.time_ms && said.time_ms <= second);
    until("time passes", async || (broker.tick(&orchestration()).await.unwrap() > second).then_some(())).await;
}
