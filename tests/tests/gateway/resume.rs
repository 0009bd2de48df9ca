//! Streams that are cut off and gone on with anywhere: no event is missed or repeated, and live text is a promise that is kept.

use std::time::Duration;

use futures::future::join_all;
use reqwest::Method;
use serde_json::json;
use tests::http::{Draft, Events, Http, View};
use tests::service::Service;
use tokio::time::interval;
use tokio_util::sync::CancellationToken;

use crate::stage::{Stage, is_asked, office};

/// How long a reader stays at one gateway.
const CUT: Duration = Duration::from_millis(300);
/// How fast the model speaks.
const PACE: Duration = Duration::from_millis(4);
const PIECES: usize = 120;

/// What the model does after it has spoken.
enum Then {
    Call(&'static str),
    Transfer(&'static str),
    Ask,
    Complete,
}

/// A read-only tool is run at once: the answers before and after it are recorded together. Of another one the intent is
/// recorded, and with it the answer.
const ACTS: [Then; 8] = [
    Then::Transfer("editor"),
    Then::Call("look"),
    Then::Call("file"),
    Then::Transfer("writer"),
    Then::Ask,
    Then::Call("look"),
    Then::Call("look"),
    Then::Complete,
];

/// The pieces of an act's text.
fn pieces(act: usize) -> impl Iterator<Item = String> {
    (0..PIECES).map(move |piece| format!("{act}:{piece} "))
}

async fn play(mut service: Service) {
    for (act, then) in ACTS.into_iter().enumerate() {
        let (answer, mut pace) = (service.next().await.stream(), interval(PACE));
        for piece in pieces(act) {
            pace.tick().await;
            answer.piece(&piece);
        }
        let id = format!("call_{act}");
        match then {
            Then::Call(tool) => answer.call(&id, tool, &json!({})),
            Then::Transfer(to) => answer.call(&id, &format!("transfer_to_{to}"), &json!({})),
            Then::Complete => answer.call(&id, "complete_task", &json!({ "task_summary": "Written." })),
            Then::Ask => answer.end(),
        }
    }
}

#[tokio::test]
async fn whoever_changes_gateways_all_the_time_sees_what_everybody_sees() {
    let service = Service::start().await;
    let mut stage = Stage::of(office(&service)).await;
    let gateways = [stage.gateway().await, stage.gateway().await];
    let playing = tokio::spawn(play(service));
    let path = gateways[0].start("Write to us.").await;
    let steady = tokio::spawn({
        let (gateway, path) = (gateways[1].clone(), path.clone());
        async move {
            let mut view = View::default();
            view.read(gateway.follow(&path, None).await.unwrap()).await;
            view
        }
    });

    let (mut view, mut cut, mut cuts, mut answered) = (View::default(), interval(CUT), 0, None);
    for gateway in gateways.iter().cycle() {
        let Some(mut events) = gateway.follow(&path, view.last()).await else { break };
        loop {
            tokio::select! {
                message = events.next() => match message {
                    Some(message) => view.take(&message),
                    None => break,
                },
                _ = cut.tick() => {
                    cuts += 1;
                    break;
                }
            }
            if is_asked(&view) && answered.as_deref() != view.last() {
                gateway.post(&format!("{path}/messages"), &json!({ "text": "Go on." })).await.expect(201);
                answered = view.last().map(str::to_owned);
            }
        }
    }
    playing.await.unwrap();

    assert!(cuts >= 8, "{cuts} cuts");
    let said: Vec<String> = (0..ACTS.len()).map(|act| pieces(act).collect()).collect();
    assert_eq!(view.answers(), said);
    let mut whole = View::default();
    whole.read(gateways[0].follow(&path, None).await.unwrap()).await;
    let ids = |view: &View| view.events.iter().map(|event| event["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
    assert_eq!(ids(&view), ids(&whole));
    assert_eq!(view.events.len(), ["opened", "replied"].iter().map(|kind| count(&whole, kind)).sum::<usize>() + of_agents(&whole));
    assert!(!view.read_live.is_empty() && view.drafts.is_empty(), "{view:?}");
    // Who was never cut off has read everything while it was written.
    let steady = steady.await.unwrap();
    assert_eq!((ids(&steady), steady.read_live, steady.resets), (ids(&whole), said, 0));
    stage.programs.stop().await;
}

fn count(view: &View, kind: &str) -> usize {
    view.kinds().iter().filter(|shown| **shown == kind).count()
}

fn of_agents(view: &View) -> usize {
    view.events.iter().filter(|event| ["writer", "editor"].contains(&event["from"].as_str().unwrap())).count()
}

/// A reader from the beginning, or from after an event.
async fn reader(gateway: &Http, path: &str, after: Option<&str>) -> (Events, View) {
    (gateway.follow(path, after).await.unwrap(), View::default())
}

fn draft(text: &str) -> Vec<Draft> {
    vec![Draft { agent: "writer".into(), text: text.into(), is_final: false }]
}

#[tokio::test]
async fn whoever_comes_late_is_shown_the_answer_so_far() {
    let mut service = Service::start().await;
    let mut stage = Stage::of(office(&service)).await;
    let gateways = [stage.gateway().await, stage.gateway().await];
    let path = gateways[0].start("Write to us.").await;
    let answer = service.next().await.stream();
    let mut readers = Vec::new();
    for gateway in &gateways {
        readers.push(reader(gateway, &path, None).await);
    }
    for (events, view) in &mut readers {
        view.read_until(events, |view| view.events.len() == 1).await;
    }
    answer.piece("How ");
    answer.piece("can ");
    for (events, view) in &mut readers {
        view.read_until(events, |view| view.drafts == draft("How can ")).await;
    }
    let mut silent = reader(&gateways[0], &path, None).await;
    silent.0 = gateways[0].follow_from(&format!("{path}/events?tokens=false"), None).await.unwrap();

    for gateway in &gateways {
        let mut late = reader(gateway, &path, None).await;
        late.1.read_until(&mut late.0, |view| view.drafts == draft("How can ")).await;
        assert_eq!((late.1.kinds(), late.1.resets), (vec!["opened"], 0));
        let mut back = reader(gateway, &path, Some("0.0")).await;
        back.1.read_until(&mut back.0, |view| view.drafts == draft("How can ")).await;
        assert_eq!((back.1.kinds(), back.1.resets), (vec![], 1), "what the stream before has shown is withdrawn first");
        readers.extend([late, back]);
    }
    answer.piece("I help?");
    answer.end();
    for (events, view) in &mut readers {
        view.read_until(events, is_asked).await;
        assert_eq!(view.read_live, ["How can I help?"]);
    }
    silent.1.read_until(&mut silent.0, is_asked).await;
    assert_eq!((silent.1.read_live.len(), silent.1.answers(), silent.1.resets), (0, vec!["How can I help?"], 0));
}

#[tokio::test]
async fn whoever_s_gateway_stops_goes_on_at_another() {
    let mut service = Service::start().await;
    let mut stage = Stage::of(office(&service)).await;
    let (stop, settings) = (CancellationToken::new(), stage.next_gateway());
    let first = Http::at(stage.programs.gateway_with(&settings, stop.clone(), |_| {}).await);
    let second = stage.gateway().await;
    let path = first.start("Write to us.").await;
    let answer = service.next().await.stream();
    let mut readers = join_all((0..20).map(|_| reader(&first, &path, None))).await;
    answer.piece("How can ");
    for (events, view) in &mut readers {
        view.read_until(events, |view| !view.drafts.is_empty()).await;
    }

    stop.cancel();
    for (events, view) in &mut readers {
        assert_eq!(events.next().await, None, "the stream ends, in order");
        *events = second.follow(&path, view.last()).await.unwrap();
    }
    answer.piece("I help?");
    answer.end();
    for (events, view) in &mut readers {
        view.read_until(events, is_asked).await;
        assert_eq!((view.kinds(), view.resets), (vec!["opened", "responded", "asked"], 1));
        assert_eq!(view.read_live, ["How can I help?"]);
    }
    let refused = first.request(Method::GET, &path).send().await;
    assert!(refused.is_err_and(|error| error.is_connect()), "nobody listens there any more");
}
