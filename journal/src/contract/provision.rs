//! What provisioning promises.

use std::time::Duration;

use super::{Chat, LONG, agent, orchestration, plan, within};
use crate::{Plan, ProvisionError, Shared, WorkError};

/// Twice the same plan.
pub async fn it_creates_what_is_missing_and_nothing_twice(broker: Shared) {
    let first = within("provisioning", broker.provision(&plan(LONG))).await.unwrap();
    assert!(first.created.len() >= 3, "a stream and two consumers at least: {:?}", first.created);
    let mut chat = Chat::open(&broker, "c1").await;
    let second = broker.provision(&plan(LONG)).await.unwrap();
    assert_eq!(second.created, Vec::<String>::new());
    assert_eq!((&second.warnings, second.is_durable), (&first.warnings, first.is_durable));
    assert!(second.is_durable || !second.warnings.is_empty(), "what is not durable is said in words");
    assert_eq!(broker.verify(&plan(LONG)).await.unwrap(), second);
    chat.say("still there").await;
}

/// A deployment that grows.
pub async fn a_further_agent_gets_its_consumer(broker: Shared) {
    let small = Plan { agents: vec![agent("triage")], ..plan(LONG) };
    broker.provision(&small).await.unwrap();
    assert_eq!(broker.consumer_state(&orchestration(), &agent("refund")).await, Ok(None));
    let grown = broker.provision(&plan(LONG)).await.unwrap();
    assert!(matches!(&grown.created[..], [created] if created.contains("agent-refund")), "{:?}", grown.created);
    assert!(broker.consumer_state(&orchestration(), &agent("refund")).await.unwrap().is_some());
    broker.verify(&small).await.unwrap();
}

/// First the stream, then a consumer.
pub async fn what_is_missing_is_reported_by_those_who_only_verify(broker: Shared) {
    let missing = async |name: &str| match within("verifying", broker.verify(&plan(LONG))).await {
        Err(ProvisionError::Missing(what)) => assert!(what.contains(name), "{what}"),
        other => panic!("{other:?}"),
    };
    missing("baton-support").await;
    broker.provision(&Plan { agents: vec![agent("triage")], ..plan(LONG) }).await.unwrap();
    missing("agent-refund").await;
    broker.provision(&plan(LONG)).await.unwrap();
    broker.verify(&plan(LONG)).await.unwrap();
}

/// Neither provisioning nor verifying changes what somebody set.
pub async fn what_differs_is_refused_and_left_alone(broker: Shared) {
    broker.provision(&plan(LONG)).await.unwrap();
    let different = [
        Plan { ack_wait: Duration::from_secs(7), ..plan(LONG) },
        Plan { ack_pending_max: 7_000_000, ..plan(LONG) },
        Plan { bytes_max: Some(7 * 1024 * 1024), ..plan(LONG) },
    ];
    for plan in different {
        for outcome in [broker.provision(&plan).await, broker.verify(&plan).await] {
            match outcome {
                Err(ProvisionError::Differs { expected, .. }) => assert!(expected.contains('7'), "{expected}"),
                other => panic!("{plan:?}: {other:?}"),
            }
        }
    }
    broker.verify(&plan(LONG)).await.unwrap();
    broker.verify(&Plan { ack_pending_max: 7, ..plan(LONG) }).await.unwrap();
}

/// Its entries stay; and when it is needed after all, its work is offered from the beginning.
pub async fn an_agent_that_retires_loses_its_consumer_and_nothing_else(broker: Shared) {
    broker.provision(&plan(LONG)).await.unwrap();
    let mut chat = Chat::open(&broker, "c1").await;
    let transferred = chat.transfer("refund").await;
    let mut source = broker.work(&orchestration(), &agent("refund")).await.unwrap();
    within("a work item", source.next(1)).await.unwrap().settle.ack().await;

    assert_eq!(within("retiring", broker.retire(&orchestration(), &agent("refund"))).await, Ok(true));
    assert_eq!(broker.consumer_state(&orchestration(), &agent("refund")).await, Ok(None));
    assert!(broker.consumer_state(&orchestration(), &agent("triage")).await.unwrap().is_some());
    assert_eq!(broker.retire(&orchestration(), &agent("refund")).await, Ok(false), "it is gone already");
    let error = within("its source to end", source.next(1)).await.unwrap_err();
    assert!(matches!(&error, WorkError::NoConsumer { consumer, .. } if consumer == "agent-refund"), "{error:?}");

    let again = broker.provision(&plan(LONG)).await.unwrap();
    assert!(matches!(&again.created[..], [created] if created.contains("agent-refund")), "{:?}", again.created);
    let mut source = broker.work(&orchestration(), &agent("refund")).await.unwrap();
    let item = within("the work item again", source.next(1)).await.unwrap();
    transferred.assert_is(&item.stored);
    assert_eq!(item.delivered, 1);
}

/// There is nothing to delete.
pub async fn nobody_retires_where_nothing_is_provisioned(broker: Shared) {
    assert_eq!(broker.retire(&orchestration(), &agent("refund")).await, Ok(false));
}
