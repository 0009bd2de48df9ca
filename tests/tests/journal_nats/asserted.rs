//! What is asserted at start: nothing of a stream or consumer that a promise rests on is taken as it is found.

use std::time::Duration;

use journal::nats::{Nats, Settings};
use journal::{Bus, Plan, Provision, ProvisionError};
use serde_json::{Value as Json, json};
use tests::nats::server;

use super::{connect, plan};

/// What may lie on a broker already, made by hand or by somebody else's tool: each of these breaks a promise, and none is taken over.
#[tokio::test]
async fn what_breaks_a_promise_is_refused_by_name() {
    let server = server().await;
    let broker = connect(server.url()).await;
    let at_most = Duration::from_secs(5);
    let ask = async |what: &str, body: Json| {
        let answer = broker.ask(&format!("$JS.API.{what}"), body.to_string().into(), at_most).await.unwrap();
        let answer: Json = serde_json::from_slice(&answer).unwrap();
        assert!(answer.get("error").is_none(), "{what}: {answer}");
        answer
    };
    broker.provision(&plan()).await.unwrap();
    let stream = ask("STREAM.INFO.baton-support", json!({})).await["config"].take();
    let consumer = ask("CONSUMER.INFO.baton-support.agent-triage", json!({})).await["config"].take();

    for (setting, value, expected) in [
        ("retention", json!("workqueue"), "limits"),
        ("discard", json!("old"), "new"),
        ("max_age", json!(3_600_000_000_000_u64), "not set"),
        ("max_msgs", json!(1_000), "-1"),
        ("max_msg_size", json!(-1), "1048576"),
        ("max_msg_size", json!(65_536), "1048576"),
        ("storage", json!("memory"), "file"),
        ("allow_direct", json!(false), "true"),
        ("no_ack", json!(true), "not set"),
        ("persist_mode", json!("async"), "not set"),
    ] {
        ask("STREAM.DELETE.baton-support", json!({})).await;
        let mut config = stream.clone();
        config[setting] = value;
        ask("STREAM.CREATE.baton-support", config).await;
        check_refused(&broker, "stream baton-support", setting, expected).await;
    }
    ask("STREAM.DELETE.baton-support", json!({})).await;
    broker.provision(&plan()).await.unwrap();

    for (setting, value, expected) in [
        ("ack_policy", json!("all"), "explicit"),
        ("max_deliver", json!(5), "-1"),
        ("max_ack_pending", json!(1_000), "100000"),
        ("ack_wait", json!(30_000_000_000_u64), "4s"),
        ("deliver_policy", json!("new"), "all"),
        ("inactive_threshold", json!(60_000_000_000_u64), "not set"),
        ("mem_storage", json!(true), "not set"),
        ("max_batch", json!(1), "not set"),
    ] {
        ask("CONSUMER.DELETE.baton-support.agent-triage", json!({})).await;
        let mut config = consumer.clone();
        config[setting] = value;
        let create = format!("CONSUMER.CREATE.baton-support.agent-triage.{}", config["filter_subject"].as_str().unwrap());
        ask(&create, json!({ "stream_name": "baton-support", "config": config, "action": "create" })).await;
        check_refused(&broker, "consumer agent-triage of stream baton-support", setting, expected).await;
    }
    ask("CONSUMER.DELETE.baton-support.agent-triage", json!({})).await;
    assert_eq!(broker.provision(&plan()).await.unwrap().created, ["consumer agent-triage of stream baton-support"]);
}

/// Provisioning names what differs, how, and the way out, and neither it nor verifying changes anything.
async fn check_refused(broker: &Nats, thing: &str, name: &str, must_be: &str) {
    for outcome in [broker.provision(&plan()).await, broker.verify(&plan()).await] {
        let error = outcome.expect_err(name);
        let text = error.to_string();
        match error {
            ProvisionError::Differs { what, setting, expected, .. } => {
                assert_eq!((what.as_str(), setting, expected.as_str()), (thing, name, must_be), "{text}");
            }
            other => panic!("{name}: {other}"),
        }
        assert!(text.contains("`nats stream edit`") && text.contains(name), "{text}");
    }
}

#[tokio::test]
async fn a_journal_without_a_limit_is_warned_of_and_one_with_another_is_refused() {
    let server = server().await;
    let vouched = Settings { is_synced: true, ..Settings::new(server.url(), "tests".parse().unwrap()) };
    let broker = Nats::connect(&vouched).await.unwrap();
    let provisioned = broker.provision(&plan()).await.unwrap();
    assert!(
        matches!(&provisioned.warnings[..], [warning] if warning.contains("nats stream edit baton-support --max-bytes")),
        "{provisioned:?}"
    );

    let limited = Plan { bytes_max: Some(64 << 20), orchestration: "limited".parse().unwrap(), ..plan() };
    assert_eq!(broker.provision(&limited).await.unwrap().warnings, Vec::<String>::new());
    let silent = Plan { bytes_max: None, ..limited.clone() };
    assert_eq!(broker.verify(&silent).await.unwrap().warnings, Vec::<String>::new(), "whoever has no opinion takes what there is");
    let refused = broker.provision(&Plan { bytes_max: Some(128 << 20), ..limited }).await.unwrap_err().to_string();
    assert!(refused.contains("stream baton-limited") && refused.contains("its max_bytes is 67108864 and must be 134217728"), "{refused}");
}
