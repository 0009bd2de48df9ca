//! What people see of a conversation in which somebody has published bytes that no version writes.

use async_nats::HeaderMap;
use serde_json::json;
use tests::http::View;

use crate::stage::{Stage, desk, id, is_asked, request};

/// Publishes bytes behind a conversation's last entry, fenced as an entry is.
async fn poison(stage: &Stage, path: &str, rest: &str) {
    let jetstream = async_nats::jetstream::new(async_nats::connect(stage.server.url()).await.unwrap());
    let prefix = format!("baton.desk.c.{}", id(path));
    let tail = jetstream.get_stream("baton-desk").await.unwrap().get_last_raw_message_by_subject(&format!("{prefix}.>")).await.unwrap();
    let mut headers = HeaderMap::new();
    headers.insert("Nats-Expected-Last-Subject-Sequence", tail.sequence.to_string().as_str());
    headers.insert("Nats-Expected-Last-Subject-Sequence-Subject", format!("{prefix}.>").as_str());
    jetstream.publish_with_headers(format!("{prefix}.{rest}"), headers, "\u{7f}poison".into()).await.unwrap().await.unwrap();
}

#[tokio::test]
async fn a_poisoned_conversation_fails_where_people_see_it_and_no_other_does() {
    let mut stage = Stage::of(desk()).await;
    let gateway = stage.gateway().await;
    let (path, other) = (gateway.start("Hello").await, gateway.start("Hello").await);
    let (mut events, mut view) = (gateway.follow(&path, None).await.unwrap(), View::default());
    view.read_until(&mut events, is_asked).await;
    let asked = request(&view);

    poison(&stage, &path, "2.in.gateway").await;
    view.read_until(&mut events, View::is_ended).await;
    assert_eq!(view.kinds(), ["opened", "responded", "asked", "failed"]);
    assert_eq!(view.last(), Some("2.0"));
    assert_eq!(view.events.last().unwrap()["data"]["code"], "damaged");
    assert_eq!(events.next().await, None, "the stream ends with it");

    let shown = gateway.get(&path).await.expect(200).body;
    assert_eq!((&shown["phase"], &shown["outcome"]["code"], &shown["open"]), (&json!("failed"), &json!("damaged"), &json!([])));
    let why = shown["outcome"]["text"].as_str().unwrap();
    assert!(why.starts_with("entry 2, message ") && why.contains("start another conversation"), "{why}");
    gateway.post(&format!("{path}/messages"), &json!({ "text": "Well?" })).await.problem(409, "ended");
    gateway.post(&format!("{path}/messages"), &json!({ "text": "Well?", "request": asked })).await.problem(409, "ended");
    let mut again = View::default();
    again.read(gateway.follow(&path, None).await.unwrap()).await;
    assert_eq!(again.kinds(), view.kinds(), "and so it reads for whoever comes later");

    // After the end it changes nothing.
    poison(&stage, &path, "3.to.clerk.000000000000.client").await;
    assert_eq!(gateway.get(&path).await.expect(200).body["phase"], "failed");

    let (mut events, mut view) = (gateway.follow(&other, None).await.unwrap(), View::default());
    view.read_until(&mut events, is_asked).await;
    gateway.post(&format!("{other}/messages"), &json!({ "text": "bye" })).await.expect(201);
    view.read_until(&mut events, View::is_ended).await;
    assert_eq!(view.kinds().last(), Some(&"completed"));
    stage.programs.stop().await;
}

/// Whatever the damage says that it is, and wherever it says that it belongs; and while nobody but people's programs run.
#[tokio::test]
async fn whoever_says_something_to_a_poisoned_conversation_is_told_that_it_has_failed() {
    let mut stage = Stage::without_workers(desk()).await;
    let gateway = stage.gateway().await;
    for rest in ["1.to.clerk.000000000000.client", "0.note.clerk", "77.end.coordinator", "x", "1.what.ever.this.is"] {
        let path = gateway.start("Hello").await;
        poison(&stage, &path, rest).await;
        gateway.post(&format!("{path}/messages"), &json!({ "text": "Well?" })).await.problem(409, "ended");
        let mut view = View::default();
        view.read(gateway.follow(&path, None).await.unwrap()).await;
        assert_eq!((view.kinds(), view.last()), (vec!["opened", "failed"], Some("1.0")), "{rest}");
    }
    stage.programs.stop().await;
}
