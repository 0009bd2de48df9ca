use std::time::Duration;

use client::{Classified, FollowError, Followed, Follower, Outcome, Recorded, ResultError, Status, Token, Unread};
use futures::future::join;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt, TryStreamExt};
use journal::memory::{Fault, Faults};
use journal::{Bus, Store};
use protocol::brief::Phase;
use protocol::conversation::{Conversation, FoldError, Partial};
use protocol::event::{Cancelled, Completed, CompletedBecause, Erased, Event, Failed, Returned, failure};
use protocol::ids::{ConversationId, EventId, Seq, Writer};
use protocol::live::{Live, Piece};
use protocol::subject::{self, Class};

use crate::world::{World, agent, responded};

const MINUTE: Option<Duration> = Some(Duration::from_secs(60));

fn ids(events: &[Recorded]) -> Vec<String> {
    events.iter().map(|recorded| recorded.id.to_string()).collect()
}

/// A conversation that is long enough to be sealed several times: a reader of its last entry must read others.
async fn long(world: &World) -> ConversationId {
    let id = world.open().await;
    for n in 0..12 {
        let text = format!("{n} {}", "x".repeat(3000));
        let results =
            (0..n % 3).map(|n| Returned { call: n.to_string(), tool: "t".to_owned(), content: "c".to_owned(), is_error: false }.into());
        let events = std::iter::once(responded(&text)).chain(results).collect();
        world.agent(&id, "triage-agent", Class::Note, events).await;
    }
    assert!(!Partial::decode(world.stored(&id).last().unwrap()).unwrap().sealed().is_empty());
    id
}

fn all_ids(conversation: &Conversation) -> Vec<String> {
    conversation.events().map(|(_, (id, _))| id.to_string()).collect()
}

async fn collect(events: BoxStream<'static, Result<Recorded, FollowError>>) -> Vec<Recorded> {
    tokio::time::timeout(MINUTE.unwrap(), events.try_collect()).await.expect("the stream ends").unwrap()
}

#[tokio::test(start_paused = true)]
async fn from_any_event_on_there_is_no_gap_and_no_repeat() {
    let world = World::new().await;
    let id = long(&world).await;
    world.completes(&id, "triage-agent", "done").await;
    let expected = all_ids(&world.conversation(&id).await);
    assert_eq!(ids(&collect(world.client.follow(&id, None).await.unwrap()).await), expected);
    for (place, after) in expected.iter().enumerate() {
        let rest = collect(world.client.follow(&id, Some(after.parse().unwrap())).await.unwrap()).await;
        assert_eq!(ids(&rest), expected[place + 1..], "after {after}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_happens_while_one_follows_is_followed_through_every_fault() {
    for seed in 0..200 {
        let world = World::seeded(seed).await;
        let id = world.open().await;
        world.asks(&id, "triage-agent", "Which order?").await;
        let faults = Faults::default().with(Fault::FollowInterrupted, 300).with(Fault::ReadStale, 300);
        world.memory.set_faults(faults.latency(Duration::from_millis(seed % 9)).delay(Duration::from_millis(40)));
        // Whatever is stored before, while and after it begins is neither missed nor shown twice.
        let mut texts = vec!["quick", "123"];
        for text in texts.split_off(2 - usize::try_from(seed % 3).unwrap()).into_iter().rev() {
            world.client.say(&id, text, None).await.unwrap();
        }
        let happens = async {
            for text in texts.into_iter().rev() {
                world.client.say(&id, text, None).await.unwrap();
            }
            world.client.cancel(&id, "too slow").await.unwrap();
        };
        let follows = async { collect(world.client.follow(&id, None).await.unwrap()).await };
        let ((), events) = join(happens, follows).await;
        assert_eq!(ids(&events), ["0.0", "1.0", "1.1", "2.0", "3.0", "4.0"], "seed {seed}");
        assert_eq!(events.last().unwrap().event, Cancelled { reason: "too slow".to_owned() }.into());
    }
}

/// What a subscription has brought before somebody began to watch comes no second time: without the last entry they would wait for ever.
#[tokio::test(start_paused = true)]
async fn a_follower_begins_at_the_very_tail_however_many_entries_replicas_lag() {
    for seed in 0..50 {
        let world = World::seeded(seed).await;
        let id = world.open().await;
        world.asks(&id, "triage-agent", "Which order?").await;
        world.client.say(&id, "123", None).await.unwrap();
        world.client.say(&id, "quick", None).await.unwrap();
        world.client.cancel(&id, "too slow").await.unwrap();
        world.memory.set_faults(Faults::default().with(Fault::ReadStale, 700));
        let (follower, _) = world.client.follower(&id, None, false).await.unwrap();
        assert!(follower.is_ended(), "seed {seed}: the last that it has seen is entry {}", follower.tail().next - 1);
    }
}

#[tokio::test(start_paused = true)]
async fn an_event_says_whence_it_comes() {
    let world = World::new().await;
    let (id, _) = world.asked().await;
    let mut events = world.client.follow(&id, None).await.unwrap();
    let opened = events.next().await.unwrap().unwrap();
    assert_eq!((opened.from(), opened.id), (&Writer::Client, EventId { ordinal: 0, index: 0 }));
    assert_eq!((opened.entry.head.revision.clone(), opened.time_ms), (world.orchestration.revision().clone(), None));
    let stored = world.stored(&id);
    events.next().await.unwrap().unwrap();
    let asked = events.next().await.unwrap().unwrap();
    assert_eq!((asked.from(), asked.time_ms), (&Writer::Agent(agent("triage-agent")), Some(stored[1].time_ms)));
    assert_eq!((asked.entry.head.epoch, asked.entry.seq), (stored[0].seq, stored[1].seq));
    assert_eq!(asked.entry.head.brief.phase, Phase::Waiting);
    tokio::time::advance(Duration::from_secs(7)).await;
    world.client.say(&id, "123", None).await.unwrap();
    let replied = events.next().await.unwrap().unwrap();
    assert_eq!(replied.time_ms, Some(stored[1].time_ms + 7000));
    // Nothing more, until something more happens.
    assert!(events.next().now_or_never().is_none());
}

#[tokio::test(start_paused = true)]
async fn what_was_seen_elsewhere_is_not_shown_when_a_replica_lags() {
    let world = World::new().await;
    let (id, request) = world.asked().await;
    world.memory.set_faults(Faults::default().with(Fault::ReadStale, 1000));
    let events = world.client.follow(&id, Some(request)).await;
    // Every read lags here by one to three entries: where the opening is found at all, the rest is followed.
    world.memory.set_faults(Faults::default());
    let mut events = match events {
        Ok(events) => events,
        Err(error) => {
            assert_eq!(error.status(), Status::Unavailable);
            world.client.follow(&id, Some(request)).await.unwrap()
        }
    };
    world.client.cancel(&id, "").await.unwrap();
    assert_eq!(events.next().await.unwrap().unwrap().id, EventId { ordinal: 2, index: 0 });
    assert!(events.next().await.is_none());
}

#[tokio::test]
async fn there_must_be_something_to_follow() {
    let world = World::new().await;
    let nobody: ConversationId = "nobody".parse().unwrap();
    let unread = world.client.follow(&nobody, None).await.err().unwrap();
    assert_eq!((unread.status(), unread), (Status::NotFound, FollowError::Unread(Unread::NotFound(nobody))));
}

#[tokio::test]
async fn entries_that_were_missed_are_read_again() {
    let world = World::new().await;
    let id = long(&world).await;
    world.completes(&id, "triage-agent", "done").await;
    let stored = world.stored(&id);
    let opening = Partial::decode(&stored[0]).unwrap().complete(&[]).unwrap();
    let (mut follower, shown) = Follower::new(&opening, stored[0].time_ms, None, false);
    assert_eq!(shown.len(), 1);
    let gap = follower.stored(stored.last().unwrap());
    assert_eq!(gap, Err(FoldError::Gap { conversation: id.clone(), missing: 1 }));
    let whole = world.conversation(&id).await;
    let expected = all_ids(&whole);
    let shown = follower.replace(&whole, 7);
    let found = shown.iter().map(|followed| match followed {
        Followed::Event(recorded) => recorded.id.to_string(),
        Followed::Token(token) => panic!("{token:?}"),
    });
    assert_eq!(found.collect::<Vec<_>>(), expected[1..]);
    assert!(follower.is_ended());
    // What it has seen tells it nothing.
    assert_eq!(follower.replace(&whole, 7), []);
    assert_eq!(follower.stored(&stored[3]), Ok(Vec::new()));
}

// Tokens.

async fn said(world: &World, id: &ConversationId, name: &str, answer: u32, index: u32, piece: Piece) {
    let epoch = world.conversation(id).await.tail().epoch;
    let live = Live { epoch, process: "worker-1".parse().unwrap(), answer, index, piece };
    world.memory.say(&subject::live(world.orchestration.name(), &agent(name), id), live.encode()).await;
}

/// A line for what was shown: `+` a piece, `=` the last one, `~` withdrawn, else an event's kind.
fn line(followed: Followed) -> String {
    match followed {
        Followed::Event(recorded) => recorded.event.kind().to_owned(),
        Followed::Token(Token::Text { agent, text, is_final }) => format!("{agent}{}{text}", if is_final { '=' } else { '+' }),
        Followed::Token(Token::Withdrawn { agent }) => format!("{agent}~"),
    }
}

#[tokio::test]
async fn tokens_are_followed_beside_the_events_that_make_them_true() {
    let world = World::new().await;
    let id = world.open().await;
    let mut followed = world.client.follow_live(&id, None).await.unwrap().map(|followed| line(followed.unwrap()));
    let triage = "triage-agent";
    assert_eq!(followed.next().await.unwrap(), "opened");
    said(&world, &id, triage, 1, 0, Piece::Text("Which ".to_owned())).await;
    assert_eq!(followed.next().await.unwrap(), "triage-agent+Which ");
    said(&world, &id, triage, 1, 1, Piece::Text("odour".to_owned())).await;
    assert_eq!(followed.next().await.unwrap(), "triage-agent+odour");
    said(&world, &id, triage, 1, 2, Piece::Reset).await;
    assert_eq!(followed.next().await.unwrap(), "triage-agent~");
    said(&world, &id, triage, 1, 3, Piece::Text("Which order".to_owned())).await;
    world.asks(&id, triage, "Which order?").await;
    for expected in ["triage-agent+Which order", "triage-agent=?", "responded", "asked"] {
        assert_eq!(followed.next().await.unwrap(), expected);
    }
    world.client.say(&id, "123", None).await.unwrap();
    assert_eq!(followed.next().await.unwrap(), "replied");
    // An attempt dies, the next one hands over without having streamed.
    said(&world, &id, triage, 1, 0, Piece::Text("One mom".to_owned())).await;
    assert_eq!(followed.next().await.unwrap(), "triage-agent+One mom");
    world.transfers(&id, triage, "refund-agent", "Let me connect you.").await;
    for expected in ["triage-agent~", "triage-agent=Let me connect you.", "responded", "transferred"] {
        assert_eq!(followed.next().await.unwrap(), expected);
    }
    world.completes(&id, "refund-agent", "done").await;
    assert_eq!(followed.collect::<Vec<_>>().await, ["responded", "completed"]);
}

#[tokio::test]
async fn who_attaches_later_gets_every_message_whole() {
    let world = World::new().await;
    let (id, _) = world.asked().await;
    world.client.end(&id).await.unwrap();
    let followed: Vec<_> = world.client.follow_live(&id, None).await.unwrap().map(|followed| line(followed.unwrap())).collect().await;
    assert_eq!(followed, ["opened", "triage-agent=Which order?", "responded", "asked", "completed"]);
}

#[tokio::test]
async fn what_is_no_piece_is_nobody_s() {
    let world = World::new().await;
    let id = world.open().await;
    let mut followed = world.client.follow_live(&id, None).await.unwrap();
    let subject = subject::live(world.orchestration.name(), &agent("triage-agent"), &id);
    world.memory.say(&subject, "garbage".into()).await;
    let piece = Live { epoch: Seq(1), process: "p".parse().unwrap(), answer: 1, index: 0, piece: Piece::Reset };
    world.memory.say(&format!("baton.support.live.coordinator.{id}"), piece.encode()).await;
    followed.next().await.unwrap().unwrap();
    assert!(followed.next().now_or_never().is_none());
}

// The result.

#[tokio::test(start_paused = true)]
async fn the_result_is_how_it_ended() {
    let world = World::new().await;
    let completed = world.open().await;
    world.completes(&completed, "triage-agent", "refunded").await;
    let failed = world.open().await;
    let failure = Failed { code: failure::MODEL_ERROR.into(), detail: "no model".to_owned() };
    world.agent(&failed, "triage-agent", Class::End, vec![failure.clone().into()]).await;
    let cancelled = world.open().await;
    world.client.cancel(&cancelled, "enough").await.unwrap();
    let ended = world.open().await;
    world.client.end(&ended).await.unwrap();
    let well = |because, result: &str| Outcome::Completed(Completed { because, result: result.to_owned(), value: None });
    for (id, expected) in [
        (completed, well(CompletedBecause::TaskComplete, "refunded")),
        (failed, Outcome::Failed(failure)),
        (cancelled, Outcome::Cancelled(Cancelled { reason: "enough".to_owned() })),
        (ended, well(CompletedBecause::UserEnded, "")),
    ] {
        assert_eq!(world.client.result(&id, MINUTE).await, Ok(expected));
    }
}

#[tokio::test(start_paused = true)]
async fn a_wait_ends_and_the_conversation_goes_on() {
    let world = World::new().await;
    let (id, _) = world.asked().await;
    let timed_out = world.client.result(&id, MINUTE).await.unwrap_err();
    assert_eq!((timed_out.status(), timed_out), (Status::Timeout, ResultError::TimedOut(MINUTE.unwrap())));
    let (client, waiting) = (world.client.clone(), id.clone());
    let result = tokio::spawn(async move { client.result(&waiting, None).await });
    world.client.say(&id, "123", None).await.unwrap();
    world.completes(&id, "triage-agent", "refunded").await;
    assert_eq!(result.await.unwrap().unwrap().to_string(), "completed: refunded");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_left_of_an_erased_conversation() {
    let world = World::new().await;
    let id = world.open().await;
    let opening = world.conversation(&id).await;
    world.completes(&id, "triage-agent", "done").await;
    world.write(&id, Writer::Coordinator, Class::End, vec![Event::from(Erased {})]).await;
    let erased = world.stored(&id).remove(2);
    world.memory.purge(world.orchestration.name(), &id, erased.seq).await.unwrap();
    let gone = ResultError::Follow(Unread::Erased(id.clone()).into());
    assert_eq!(world.client.result(&id, MINUTE).await, Err(gone));
    // One whose connection was lost meanwhile sees no end, only that nothing is left.
    let (mut follower, _) = Follower::new(&opening, 0, None, false);
    assert!(!follower.is_ended());
    assert_eq!(follower.stored(&erased), Ok(Vec::new()));
    assert!(follower.is_ended());
}
