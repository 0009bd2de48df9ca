//! Two gateways, and callers who are as fast as each other.

use serde_json::json;
use tests::http::{Answer, View};

use crate::stage::{Stage, desk, is_asked, request};

const ROUNDS: usize = 50;

#[tokio::test]
async fn of_two_replies_at_once_one_is_taken_and_the_other_told_so() {
    let mut stage = Stage::of(desk()).await;
    let (one, other) = (stage.gateway().await, stage.gateway().await);
    let path = one.start("Hello").await;
    let (mut events, mut view) = (other.follow(&path, None).await.unwrap(), View::default());
    let mut taken = Vec::new();
    for round in 0..ROUNDS {
        view.read_until(&mut events, is_asked).await;
        // Two ways to say the same.
        let way = async |gateway: &tests::http::Http, who: &str| {
            let (text, key) = (format!("{who} {round}"), format!("{who}-{round}"));
            match round % 2 {
                0 => gateway.post_once(&format!("{path}/requests/{}", request(&view)), &key, &json!({ "text": text })).await,
                _ => gateway.post_once(&format!("{path}/messages"), &key, &json!({ "text": text, "request": request(&view) })).await,
            }
        };
        let (left, right) = tokio::join!(way(&one, "one"), way(&other, "other"));
        let (winner, loser) = if left.status == 201 { ("one", right) } else { ("other", left) };
        loser.problem(409, "already_answered");
        taken.push(format!("{winner} {round}"));
        view.read_until(&mut events, |view| view.kinds().last() == Some(&"replied")).await;
    }
    view.read_until(&mut events, is_asked).await;
    let replied = view.events.iter().filter(|event| event["kind"] == "replied");
    assert_eq!(replied.map(|event| event["data"]["text"].as_str().unwrap().to_owned()).collect::<Vec<_>>(), taken);
}

/// Both have the one answer, one of them for the first time, and its status says the same as its body.
fn same(left: &Answer, right: &Answer, field: &str) {
    assert!(left.status / 100 == 2 && right.status / 100 == 2, "{left:?} {right:?}");
    assert_eq!(left.body[field], right.body[field]);
    assert_ne!(left.body["repeat"], right.body["repeat"]);
    for answer in [left, right] {
        assert_eq!(answer.status == 200, answer.body["repeat"] == true, "{answer:?}");
    }
}

#[tokio::test]
async fn the_same_key_at_both_is_one_request() {
    let mut stage = Stage::of(desk()).await;
    let (one, other) = (stage.gateway().await, stage.gateway().await);
    let start = json!({ "message": "Hello" });
    for round in 0..20 {
        let key = format!("start-{round}");
        let begin = async |gateway: &tests::http::Http| gateway.post_once("/v1/conversations", &key, &start).await;
        let (left, right) = tokio::join!(begin(&one), begin(&other));
        same(&left, &right, "conversation");
        let path = left.header("location").unwrap().to_owned();
        let (mut events, mut view) = (one.follow(&path, None).await.unwrap(), View::default());
        view.read_until(&mut events, is_asked).await;

        let say = async |gateway: &tests::http::Http| gateway.post_once(&format!("{path}/messages"), "say", &json!({ "text": "Hi" })).await;
        let (left, right) = tokio::join!(say(&one), say(&other));
        same(&left, &right, "ordinal");
        assert_eq!((stage.count(&path, "opened").await, stage.count(&path, "replied").await), (1, 1));

        // Whoever asks again is told that it is a repeat, by either; and another body is another request.
        for gateway in [&one, &other] {
            assert_eq!(begin(gateway).await.expect(200).body["repeat"], true);
            assert_eq!(say(gateway).await.expect(200).body["repeat"], true);
            let problem = gateway.post_once("/v1/conversations", &key, &json!({ "message": "Other" })).await;
            problem.problem(409, "key_reused");
            let problem = gateway.post_once(&format!("{path}/messages"), "say", &json!({ "text": "Ho" })).await;
            problem.problem(409, "key_reused");
        }
    }
    // Each caller has keys of their own.
    let mine = one.post_once("/v1/conversations", "start-0", &json!({ "message": "Hello", "caller": "Ann" })).await.expect(201);
    let theirs = other.post_once("/v1/conversations", "start-0", &json!({ "message": "Hello", "caller": "Bob" })).await.expect(201);
    assert_ne!(mine.body["conversation"], theirs.body["conversation"]);
}
