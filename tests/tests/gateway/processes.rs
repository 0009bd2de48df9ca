//! `baton gateway` as a process: killed, and told to stop.

use std::time::{Duration, Instant};

use tests::http::{Http, View};
use tests::processes::{Process, command};
use tests::service::Service;

use crate::stage::{Stage, is_asked, office};

/// Told to stop, it does not wait for streams to end by themselves.
const PROMPTLY: Duration = Duration::from_secs(5);

/// A gateway in a process of its own.
pub(crate) async fn gateway(stage: &Stage) -> (Process, Http) {
    let orchestration = stage.orchestration.name().as_str();
    let arguments = ["gateway", "--orchestration", orchestration, "--nats", stage.server.url(), "--listen", "127.0.0.1:0"];
    let mut process = Process::start(command(&arguments).await);
    let line = process.line("listening at http://").await;
    let address = line.split_once("http://").unwrap().1.split('/').next().unwrap().parse().unwrap();
    process.line("ready, as gateway-").await;
    (process, Http::at(address))
}

#[tokio::test]
async fn a_reader_outlives_gateways_that_are_killed_or_told_to_stop() {
    let mut service = Service::start().await;
    let mut stage = Stage::of(office(&service)).await;
    let ((mut killed, first), (mut stopped, second)) = tokio::join!(gateway(&stage), gateway(&stage));
    let third = stage.gateway().await;
    let path = first.start("Write to us.").await;
    let (mut events, mut view) = (first.follow(&path, None).await.unwrap(), View::default());
    let answer = service.next().await.stream();
    answer.piece("How ");
    view.read_until(&mut events, |view| !view.drafts.is_empty()).await;

    killed.kill();
    assert_eq!(events.next().await, None);
    killed.end().await;
    events = second.follow(&path, view.last()).await.unwrap();
    answer.piece("can ");
    view.read_until(&mut events, |view| view.drafts.first().is_some_and(|draft| draft.text == "How can ")).await;

    let told = Instant::now();
    stopped.terminate();
    assert_eq!(events.next().await, None);
    let (status, said) = stopped.end().await;
    assert!(status.success() && said.contains("stopped"), "{status}: {said}");
    assert!(told.elapsed() < PROMPTLY, "{:?}", told.elapsed());
    events = third.follow(&path, view.last()).await.unwrap();
    answer.piece("I help?");
    answer.end();
    view.read_until(&mut events, is_asked).await;
    assert_eq!((view.kinds(), view.read_live.as_slice()), (vec!["opened", "responded", "asked"], &["How can I help?".to_owned()][..]));
    assert_eq!(view.resets, 2, "one for each stream that was resumed");
}
