//! Many readers, and one that does not read.

use client::{Client, Opening};
use futures::future::join_all;
use protocol::event::{Audience, RequestKind};
use protocol::ids::{ConversationId, Seq};
use protocol::live::{Live, Piece};
use protocol::query::ForwardedRequest;
use protocol::subject;
use serde_json::json;
use tests::http::View;
use tests::processes::{PATIENCE, Process, output};

use crate::processes;
use crate::stage::{Stage, desk, id, is_asked, request};

const READERS: usize = 200;

/// How many consumers the orchestration's stream has.
async fn consumers(stage: &Stage) -> usize {
    let broker = async_nats::jetstream::new(async_nats::connect(stage.server.url()).await.unwrap());
    let mut stream = broker.get_stream(subject::stream(stage.orchestration.name())).await.unwrap();
    stream.info().await.unwrap().state.consumer_count
}

#[tokio::test]
async fn a_gateway_has_one_consumer_however_many_read() {
    let mut stage = Stage::of(desk()).await;
    let without = consumers(&stage).await;
    let gateway = stage.gateway().await;
    let with = consumers(&stage).await;
    assert_eq!(with, without + 1);

    let read = async |number: usize| {
        let path = gateway.start(&format!("Hello {number}")).await;
        let (mut events, mut view) = (gateway.follow(&path, None).await.unwrap(), View::default());
        view.read_until(&mut events, is_asked).await;
        (path, events, view)
    };
    let mut readers = join_all((0..READERS).map(read)).await;
    assert_eq!(consumers(&stage).await, with);

    // Each hears of its own conversation, and of no other.
    join_all(readers.iter_mut().enumerate().map(async |(number, (path, events, view))| {
        gateway.post(&format!("{path}/messages"), &json!({ "text": format!("bye {number}") })).await.expect(201);
        view.read_until(events, View::is_ended).await;
        assert_eq!(view.kinds(), ["opened", "responded", "asked", "replied", "responded", "completed"]);
        assert_eq!(view.events[3]["data"]["text"], format!("bye {number}"));
    }))
    .await;
    assert_eq!(consumers(&stage).await, with);
    stage.gateway().await;
    assert_eq!(consumers(&stage).await, with + 1);
}

#[tokio::test]
async fn requests_that_are_forwarded_are_taken() {
    let mut stage = Stage::of(desk()).await;
    let gateway = stage.gateway().await;
    let path = gateway.start("Hello").await;
    let (mut events, mut view) = (gateway.follow(&path, None).await.unwrap(), View::default());
    view.read_until(&mut events, is_asked).await;

    let client = stage.client().await;
    let forward = async |payload: Vec<u8>| {
        let subject = subject::gateway(client.orchestration(), &"gateway".parse().unwrap());
        client.broker().ask(&subject, payload.into(), PATIENCE).await.unwrap()
    };
    let forwarded = ForwardedRequest {
        conversation: id(&path).parse().unwrap(),
        request: request(&view).parse().unwrap(),
        kind: RequestKind::Question,
        audience: Audience::Caller,
        agent: "clerk".parse().unwrap(),
    };
    assert_eq!(forward(serde_json::to_vec(&forwarded).unwrap()).await, "{}");
    // What is newer than this gateway is not lost with it: the journal has it.
    assert_eq!(forward(b"what?".to_vec()).await, "{}");
    // Nobody is shown anything twice for it.
    gateway.post(&format!("{path}/messages"), &json!({ "text": "bye" })).await.expect(201);
    view.read(events).await;
    assert_eq!(view.kinds(), ["opened", "responded", "asked", "replied", "responded", "completed"]);
}

/// Rounds of live text, each withdrawn in the end, as of a model that begins again and again.
const ROUNDS: usize = 200;
const PIECES: u32 = 40;
const PIECE_BYTES: usize = 2048;
/// Entries.
const SAID: usize = 150;
/// What a reader that does not read may cost, in KiB: what is said is four times as much.
const COST_KIB_MAX: u64 = 4 << 10;

/// An agent's worker that says a lot.
struct Speaker<'a> {
    client: &'a Client,
    conversation: &'a ConversationId,
    epoch: Seq,
    index: u32,
}

impl Speaker<'_> {
    async fn say(&mut self, piece: Piece) {
        let subject = subject::live(self.client.orchestration(), &"clerk".parse().unwrap(), self.conversation);
        let live = Live { epoch: self.epoch, process: "clerk-1".parse().unwrap(), answer: 0, index: self.index, piece };
        self.client.broker().say(&subject, live.encode()).await;
        self.index += 1;
    }
}

/// What it takes of the memory, in KiB.
async fn memory(process: &Process) -> u64 {
    let shown = output(tokio::process::Command::new("ps").args(["-o", "rss=", "-p", &process.pid().to_string()])).await;
    String::from_utf8_lossy(&shown.stdout).trim().parse().unwrap()
}

#[tokio::test]
async fn who_does_not_read_holds_nobody_up_and_misses_nothing() {
    let stage = Stage::without_workers(desk()).await;
    // In a process of its own, so that what it costs can be measured.
    let (process, gateway) = processes::gateway(&stage).await;
    let client = stage.client().await;
    let conversation = client.start(&Opening::new("ann", "Hello").with_human()).await.unwrap().conversation;
    let path = format!("/v1/conversations/{conversation}");
    let opened = journal::load(&**client.broker(), client.orchestration(), &conversation).await.unwrap().unwrap();

    let slow = gateway.follow(&path, None).await.unwrap();
    let (mut events, mut view) = (gateway.follow(&path, None).await.unwrap(), View::default());
    view.read_until(&mut events, |view| view.events.len() == 1).await;
    let mut speaker = Speaker { client: &client, conversation: &conversation, epoch: opened.tail().epoch, index: 0 };
    let mut at_first = 0;
    for round in 0..ROUNDS {
        for _ in 0..PIECES {
            speaker.say(Piece::Text("x".repeat(PIECE_BYTES))).await;
        }
        view.read_until(&mut events, |view| view.drafts.first().is_some_and(|draft| draft.text.len() == PIECES as usize * PIECE_BYTES))
            .await;
        speaker.say(Piece::Reset).await;
        view.read_until(&mut events, |view| view.resets == round + 1).await;
        if round == ROUNDS / 10 {
            at_first = memory(&process).await;
        }
    }
    for number in 0..SAID {
        client.say(&conversation, &format!("{number} {}", "y".repeat(PIECE_BYTES)), None).await.unwrap();
        view.read_until(&mut events, |view| view.events.len() == number + 2).await;
    }
    let cost = memory(&process).await.saturating_sub(at_first);
    assert!(cost < COST_KIB_MAX, "{cost} KiB");

    client.cancel(&conversation, "enough").await.unwrap();
    view.read(events).await;
    // Now it reads: what it had been sent, and then what it was not.
    let mut late = View::default();
    late.read(slow).await;
    let ids = |view: &View| view.events.iter().map(|event| event["id"].clone()).collect::<Vec<_>>();
    assert_eq!((ids(&late), late.is_ended()), (ids(&view), true));
    assert!(late.resets < ROUNDS, "what nobody reads is not kept: of {ROUNDS} rounds it saw {}", late.resets);
    stage.programs.stop().await;
}
