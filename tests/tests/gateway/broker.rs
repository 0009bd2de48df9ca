//! Without a broker nothing is promised; with it again, everything goes on.

use std::time::{Duration, Instant};

use serde_json::json;
use tests::http::View;
use tests::processes::eventually;

use crate::stage::{Stage, desk, is_asked};

/// What a request may take.
const ANSWERED: Duration = Duration::from_secs(15);
const GRACE: Duration = Duration::from_secs(10);

#[tokio::test]
async fn while_the_broker_is_away_nothing_is_promised_and_then_everything_goes_on() {
    let mut stage = Stage::of(desk()).await;
    let gateway = stage.gateway().await;
    let path = gateway.start("Hello").await;
    let (mut events, mut view) = (gateway.follow(&path, None).await.unwrap(), View::default());
    view.read_until(&mut events, is_asked).await;
    let ready = async |status: u16| {
        eventually("it says so", async || (gateway.get("/readyz").await.status == status).then_some(())).await;
        gateway.get("/livez").await.expect(200);
    };
    ready(200).await;

    stage.server.stop(GRACE).await.unwrap();
    ready(503).await;
    let began = Instant::now();
    let say = async || gateway.post_once(&format!("{path}/messages"), "say", &json!({ "text": "Hi" })).await;
    let begin = async || gateway.post_once("/v1/conversations", "begin", &json!({ "message": "Hello" })).await;
    let following = format!("{path}/events?after=0.0");
    let (said, begun, ended, shown, listed, followed) =
        tokio::join!(say(), begin(), gateway.delete(&path), gateway.get(&path), gateway.get("/v1/conversations"), gateway.get(&following));
    for answer in [said, begun, ended, shown, listed, followed] {
        let code = answer.body["code"].as_str().unwrap().to_owned();
        answer.problem(503, &code);
        assert!(["unavailable", "unknown_outcome", "no_coordinator"].contains(&code.as_str()), "{answer:?}");
    }
    assert!(began.elapsed() < ANSWERED, "{:?}", began.elapsed());

    stage.server.restart().await.unwrap();
    ready(200).await;
    // The same key, again and again: one entry.
    let repeated = async || {
        let (said, begun) = tokio::join!(say(), begin());
        (said.status < 300 && begun.status < 300).then_some((said, begun))
    };
    let (said, begun) = eventually("the same again to be taken", repeated).await;
    let again = say().await.expect(200);
    assert_eq!((&again.body["ordinal"], &again.body["repeat"]), (&said.body["ordinal"], &json!(true)));
    let opened = begun.header("location").unwrap();
    assert_eq!(begin().await.expect(200).header("location"), Some(opened));
    assert_eq!((stage.count(&path, "replied").await, stage.count(opened, "opened").await), (1, 1));

    // The stream that was open all the time goes on by itself.
    view.read_until(&mut events, |view| view.kinds().contains(&"replied") && is_asked(view)).await;
    // What was stored before the worker was connected again is taken first: the reply may have been.
    let (opening, answer) = (["opened", "responded", "asked", "replied"], ["responded", "asked"]);
    let (fresh, taken) = ([&opening[..], &answer].concat(), [&opening[..], &["taken"], &answer].concat());
    assert!([fresh, taken].contains(&view.kinds()), "{:?}", view.kinds());
    assert_eq!(view.answers(), ["What can I do?", "What can I do?"]);
}
