//! Conversations over HTTP alone.

use serde_json::{Value as Json, json};
use tests::http::{Http, View};
use tests::in_process::{replies, support};
use tests::processes::eventually;
use tests::sample::SAMPLE;

use crate::stage::{Stage, desk, id, is_asked, request};

/// A conversation's events as the document prints them.
fn transcript(view: &View) -> Vec<String> {
    let line = |event: &Json| {
        let data = &event["data"];
        match event["kind"].as_str()? {
            "responded" => {
                data["text"].as_str().filter(|text| !text.is_empty()).map(|text| format!("{}: {text}", event["name"].as_str().unwrap()))
            }
            "replied" => Some(format!("User: {}", data["text"].as_str()?)),
            "completed" => Some(format!("Task is completed with summary: {}", data["result"].as_str()?)),
            _ => None,
        }
    };
    view.events.iter().filter_map(line).collect()
}

async fn listed(gateway: &Http, query: &str) -> (Vec<String>, u64) {
    let listed = gateway.get(&format!("/v1/conversations{query}")).await.expect(200).body;
    let ids = listed["conversations"].as_array().unwrap().iter().map(|shown| shown["conversation"].as_str().unwrap().to_owned());
    (ids.collect(), listed["total"].as_u64().unwrap())
}

#[tokio::test]
async fn the_documents_conversation_is_held_and_told_again() {
    let mut stage = Stage::of(support()).await;
    let gateway = stage.gateway().await;
    let begun = gateway.post("/v1/conversations", &json!({ "message": "A customer is on the line." })).await.expect(201);
    let path = begun.header("location").unwrap().to_owned();
    let expected = json!({
        "conversation": id(&path), "orchestration": "support", "ordinal": 0, "repeat": false, "events": format!("{path}/events"),
    });
    assert_eq!(begun.body, expected);

    let mut events = gateway.follow(&path, None).await.unwrap();
    let mut view = View::default();
    for reply in replies() {
        view.read_until(&mut events, is_asked).await;
        let stored = gateway.post(&format!("{path}/messages"), &json!({ "text": reply })).await.expect(201).body;
        assert_eq!((&stored["conversation"], &stored["repeat"]), (&json!(id(&path)), &json!(false)));
        view.read_until(&mut events, |view| view.kinds().last() == Some(&"replied")).await;
        assert_eq!(view.last().unwrap(), format!("{}.0", stored["ordinal"]));
    }
    view.read_until(&mut events, View::is_ended).await;
    assert_eq!(events.next().await, None, "the stream ends after the event that ends the conversation");
    assert_eq!(transcript(&view), SAMPLE);
    assert_eq!(events.parser.retry_ms, Some(500));

    let shown = gateway.get(&path).await.expect(200).body;
    let summary = view.events.last().unwrap()["data"]["result"].clone();
    let outcome = json!({ "phase": "completed", "code": "task_complete", "text": summary, "value": null });
    assert_eq!((&shown["phase"], &shown["owner"], &shown["outcome"]), (&json!("completed"), &json!("order-return"), &outcome));
    assert_eq!((&shown["requests"], &shown["open"]), (&json!([]), &json!([])));

    // Everything again, for who has seen nothing; the rest, for who has seen a part; nothing, for who has seen all.
    let mut again = View::default();
    again.read(gateway.follow(&path, None).await.unwrap()).await;
    assert_eq!((told(&again), again.resets, again.drafts.len()), (told(&view), 0, 0));
    for seen in 0..view.events.len() - 1 {
        let mut rest = View::default();
        rest.read(gateway.follow(&path, view.events[seen]["id"].as_str()).await.unwrap()).await;
        assert_eq!((told(&rest), rest.resets), (told(&view)[seen + 1..].to_vec(), 1));
    }
    assert!(gateway.follow(&path, view.last()).await.is_none());
    assert!(gateway.follow_from(&format!("{path}/events?after={}", view.last().unwrap()), None).await.is_none());
    stage.programs.stop().await;
}

/// What is told of events however they are read: of an entry that was read back nobody knows when it was stored.
fn told(view: &View) -> Vec<Json> {
    let mut events = view.events.clone();
    events.iter_mut().for_each(|event| event["time_ms"] = Json::Null);
    events
}

#[tokio::test]
async fn conversations_are_listed_by_what_they_do() {
    let mut stage = Stage::of(support()).await;
    let gateway = stage.gateway().await;
    let mut paths = Vec::new();
    for count in [0, 1, 6] {
        let path = gateway.start("A customer is on the line.").await;
        let (mut events, mut view) = (gateway.follow(&path, None).await.unwrap(), View::default());
        for reply in replies().into_iter().take(count) {
            view.read_until(&mut events, is_asked).await;
            gateway.post(&format!("{path}/messages"), &json!({ "text": reply })).await.expect(201);
            view.read_until(&mut events, |view| view.kinds().last() == Some(&"replied")).await;
        }
        view.read_until(&mut events, |view| is_asked(view) || view.is_ended()).await;
        paths.push(id(&path).to_owned());
    }
    let [greeted, tracking, done] = paths.try_into().unwrap();

    // The ledger follows the journal.
    let all = (vec![done.clone(), tracking.clone(), greeted.clone()], 3);
    eventually("the ledger to have them all", async || (listed(&gateway, "?phase=completed").await.1 == 1).then_some(())).await;
    assert_eq!(listed(&gateway, "").await, all);
    assert_eq!(listed(&gateway, "?phase=waiting").await, (vec![tracking.clone(), greeted.clone()], 2));
    assert_eq!(listed(&gateway, "?phase=completed").await.0, [done.as_str()]);
    assert_eq!(listed(&gateway, "?agent=order-status&orchestration=support").await.0, [tracking.as_str()]);
    assert_eq!(listed(&gateway, "?agent=triage&phase=completed").await, (Vec::new(), 0));
    assert_eq!(listed(&gateway, "?idle_secs=86400").await, (Vec::new(), 0));
    assert_eq!(listed(&gateway, "?limit=1").await, (vec![done], 3));

    let served = gateway.get("/v1/orchestrations").await.expect(200).body;
    let agents: Vec<&str> =
        served["orchestrations"][0]["agents"].as_array().unwrap().iter().map(|agent| agent["display_name"].as_str().unwrap()).collect();
    assert_eq!(agents, ["OrderReturnAgent", "OrderStatusAgent", "RefundAgent", "TriageAgent"]);
}

#[tokio::test]
async fn what_is_asked_is_answered_once_by_a_text_or_a_decision_as_it_wants() {
    let mut stage = Stage::of(desk()).await;
    let gateway = stage.gateway().await;
    let path = gateway.start("Hello").await;
    let (mut events, mut view) = (gateway.follow(&path, None).await.unwrap(), View::default());
    view.read_until(&mut events, is_asked).await;
    let (messages, question) = (format!("{path}/messages"), format!("{path}/requests/{}", request(&view)));

    gateway.post(&question, &json!({ "verdict": "approved", "arguments_hash": "A".repeat(43) })).await.problem(400, "needs_reply");
    gateway.post(&question, &json!({ "verdict": "denied", "text": "No." })).await.problem(400, "bad_body");
    gateway.post(&question, &json!({})).await.problem(400, "bad_body");
    gateway.post(&format!("{path}/requests/99.0"), &json!({ "text": "Hi" })).await.problem(404, "unknown_request");
    gateway.post(&messages, &json!({ "text": "Hi", "request": "99.0" })).await.problem(404, "unknown_request");
    gateway.post(&question, &json!({ "text": "I want a refund." })).await.expect(201);
    gateway.post(&question, &json!({ "text": "I want two." })).await.problem(409, "already_answered");

    // The approval.
    let is_approval = |view: &View| view.asked().is_some_and(|request| request["kind"] == "approval");
    view.read_until(&mut events, is_approval).await;
    let asked = view.asked().unwrap().clone();
    assert_eq!((&asked["agent"], &asked["audience"], &asked["call"]["name"]), (&json!("clerk"), &json!("caller"), &json!("refund")));
    assert_eq!(asked["call"]["arguments"], r#"{"order":"7"}"#);
    assert_eq!(gateway.get(&path).await.expect(200).body["open"], json!([asked]));
    let approval = format!("{path}/requests/{}", request(&view));
    gateway.post(&approval, &json!({ "text": "Yes, do it." })).await.problem(400, "needs_decision");
    gateway.post(&messages, &json!({ "text": "Yes", "request": request(&view) })).await.problem(400, "needs_decision");
    gateway.post(&approval, &json!({ "verdict": "approved" })).await.problem(400, "arguments_hash_needed");
    gateway.post(&approval, &json!({ "verdict": "approved", "arguments_hash": "short" })).await.problem(400, "bad_id");
    let other = json!({ "verdict": "approved", "arguments_hash": "A".repeat(43) });
    gateway.post(&approval, &other).await.problem(409, "other_arguments");
    let hash = asked["arguments_hash"].as_str().unwrap();
    gateway.post(&approval, &json!({ "verdict": "happened", "arguments_hash": hash })).await.problem(400, "unfit_verdict");
    let approved = json!({ "verdict": "approved", "arguments_hash": hash, "note": "Fine.", "by": "Ann" });
    let first = gateway.post_once(&approval, "decision-1", &approved).await.expect(201).body;
    let second = gateway.post_once(&approval, "decision-1", &approved).await.expect(200).body;
    assert_eq!((&first["ordinal"], &first["repeat"], &second["repeat"]), (&second["ordinal"], &json!(false), &json!(true)));
    gateway.post(&approval, &json!({ "verdict": "denied" })).await.problem(409, "already_answered");
    gateway.post_once(&approval, "decision-1", &json!({ "verdict": "denied" })).await.problem(409, "key_reused");
    view.read_until(&mut events, is_asked).await;
    let decided = view.events.iter().find(|event| event["kind"] == "decided").unwrap();
    assert_eq!((&decided["data"]["note"], &decided["data"]["by"], &decided["from"]), (&json!("Fine."), &json!("Ann"), &json!("gateway")));
    let returned = view.events.iter().find(|event| event["kind"] == "returned").unwrap();
    assert_eq!(returned["data"]["content"], "Order 7 is refunded.");

    // After the end, nothing.
    gateway.post(&messages, &json!({ "text": "bye" })).await.expect(201);
    view.read_until(&mut events, View::is_ended).await;
    gateway.post(&messages, &json!({ "text": "One more thing" })).await.problem(409, "ended");
    gateway.post(&question, &json!({ "text": "Again" })).await.problem(409, "already_answered");
    gateway.delete(&path).await.problem(409, "ended");
}

#[tokio::test]
async fn a_conversation_is_called_off_once() {
    let mut stage = Stage::of(desk()).await;
    let gateway = stage.gateway().await;
    let path = gateway.start("Hello").await;
    let (mut events, mut view) = (gateway.follow(&path, None).await.unwrap(), View::default());
    view.read_until(&mut events, is_asked).await;
    let question = format!("{path}/requests/{}", request(&view));

    let stored = gateway.delete(&format!("{path}?reason=wrong%20number")).await.expect(200).body;
    view.read(events).await;
    assert_eq!((view.kinds().last(), view.last()), (Some(&"cancelled"), Some(format!("{}.0", stored["ordinal"]).as_str())));
    let outcome = &gateway.get(&path).await.expect(200).body["outcome"];
    assert_eq!(outcome, &json!({ "phase": "cancelled", "code": "cancelled", "text": "wrong number", "value": null }));
    gateway.delete(&path).await.problem(409, "already_cancelled");
    gateway.post(&question, &json!({ "text": "Hi" })).await.problem(409, "ended");
    gateway.post(&format!("{path}/messages"), &json!({ "text": "Hi" })).await.problem(409, "ended");
}

#[tokio::test]
async fn an_opening_may_be_messages_or_a_value_and_nobody_need_be_there() {
    let mut stage = Stage::of(desk()).await;
    let gateway = stage.gateway().await;
    let open = async |body: Json| {
        let path = gateway.post("/v1/conversations", &body).await.expect(201).header("location").unwrap().to_owned();
        let mut view = View::default();
        view.read(gateway.follow(&path, None).await.unwrap()).await;
        view
    };
    let messages = json!([{ "role": "system", "text": "Be brief." }, { "text": "Hello", "name": "Ann" }]);
    let alone = open(json!({ "messages": messages, "human": false, "metadata": { "vip": true }, "tenant": "shop" })).await;
    assert_eq!(alone.events[0]["data"]["input"][1]["name"], "Ann");
    assert_eq!(alone.events.last().unwrap()["data"]["result"], "What can I do?");
    let value = open(json!({ "value": { "wants": "bye" } })).await;
    assert_eq!(value.events.last().unwrap()["data"]["because"], "task_complete");

    for body in [json!({}), json!({ "message": "a", "value": 1 }), json!({ "messages": [], "message": "a" })] {
        gateway.post("/v1/conversations", &body).await.problem(400, "bad_body");
    }
    for body in [json!({ "message": " " }), json!({ "messages": [] }), json!({ "messages": [{ "text": "" }] })] {
        gateway.post("/v1/conversations", &body).await.problem(400, "empty");
    }
}
