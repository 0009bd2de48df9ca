use std::time::Duration;

use client::{
    Accepted, CancelError, Claim, Classified, Client, DecideError, Decision, EndError, NotOpen, Reply, ReplyError, Status, Unread,
    Unwritten,
};
use futures::future::join;
use futures::{FutureExt, StreamExt};
use journal::Bus;
use journal::memory::{Fault, Faults};
use protocol::brief::Phase;
use protocol::event::{Event, Failed, Verdict, failure};
use protocol::ids::{ConversationId, EventId};
use protocol::manifest::HumanSpec;
use protocol::orchestration::OnMessage;
use protocol::subject;

use crate::world::World;

fn policy(on_message: OnMessage) -> HumanSpec {
    HumanSpec { on_message: Some(on_message), ..HumanSpec::default() }
}

#[tokio::test]
async fn a_reply_is_the_owner_s_next_work_item() {
    let world = World::new().await;
    let (id, request) = world.asked().await;
    let accepted = world.client.reply(&id, &Reply::to(request, "123")).await.unwrap();
    assert_eq!(accepted, Accepted { ordinal: 2, is_repeat: false });
    let conversation = world.conversation(&id).await;
    let subject = &conversation.last().unwrap().head.subject;
    assert_eq!(subject.class, world.to("triage-agent"));
    assert_eq!(conversation.verify(), Ok(()));
    assert_eq!((conversation.phase(), conversation.brief().unwrap().user_turns), (Some(Phase::Working), 2));
}

#[tokio::test]
async fn a_repeat_with_the_same_key_is_the_first_answer() {
    let world = World::new().await;
    let (id, request) = world.asked().await;
    let reply = Reply::to(request, "123").with_key("k1");
    let first = world.client.reply(&id, &reply).await.unwrap();
    // It went on, and was even answered once more.
    world.asks(&id, "triage-agent", "And why?").await;
    world.client.say(&id, "broken", None).await.unwrap();
    let again = world.gateway("gateway-1").reply(&id, &reply).await.unwrap();
    assert_eq!(again, Accepted { is_repeat: true, ..first });
    assert_eq!(world.kinds(&id), ["opened", "asked", "replied", "asked", "replied"]);
    world.client.cancel(&id, "enough").await.unwrap();
    assert_eq!(world.client.reply(&id, &reply).await, Ok(again));
}

#[tokio::test]
async fn a_key_serves_one_request_of_a_conversation() {
    let world = World::new().await;
    let (id, request) = world.asked().await;
    world.client.reply(&id, &Reply::to(request, "123").with_key("k1")).await.unwrap();
    let reused = Unwritten::KeyReused { key: "k1".to_owned(), ordinal: 2 };
    assert_eq!(world.client.reply(&id, &Reply::to(request, "124").with_key("k1")).await, Err(reused.clone().into()));
    assert_eq!(
        world.client.reply(&id, &Reply::to(EventId { ordinal: 0, index: 0 }, "123").with_key("k1")).await,
        Err(reused.clone().into())
    );
    let decision = Decision { key: Some("k1".to_owned()), ..Decision::new(request, Verdict::Approved) };
    assert_eq!(world.client.decide(&id, &decision).await, Err(reused.clone().into()));
    let claim = Claim { key: Some("k1".to_owned()), ..Claim::take(request, "bea") };
    assert_eq!(world.client.claim(&id, &claim).await, Err(reused.into()));
    assert_eq!(world.kinds(&id).len(), 3);
}

#[tokio::test]
async fn an_empty_reply_is_repeated_like_any_other() {
    let world = World::new().await;
    let (id, _) = world.asked().await;
    let first = world.client.say(&id, "", Some("k1")).await.unwrap();
    assert_eq!(world.client.say(&id, "", Some("k1")).await, Ok(Accepted { is_repeat: true, ..first }));
    assert_eq!(world.kinds(&id), ["opened", "asked", "completed"]);
}

#[tokio::test]
async fn errors_of_replies_say_which_status_they_are() {
    let world = World::new().await;
    let (id, request) = world.asked().await;
    let unknown = EventId { ordinal: 9, index: 0 };
    let status = |error: ReplyError| (error.status(), error.code());
    let reply = async |id: &ConversationId, reply: Reply| status(world.client.reply(id, &reply).await.unwrap_err());
    assert_eq!(reply(&id, Reply::to(unknown, "x")).await, (Status::NotFound, "unknown_request"));
    world.client.reply(&id, &Reply::to(request, "123")).await.unwrap();
    assert_eq!(reply(&id, Reply::to(request, "124")).await, (Status::Conflict, "already_answered"));
    world.completes(&id, "triage-agent", "done").await;
    assert_eq!(reply(&id, Reply::bare("thanks")).await, (Status::Conflict, "ended"));
    let nobody = "nobody".parse().unwrap();
    assert_eq!(reply(&nobody, Reply::bare("x")).await, (Status::NotFound, "unknown_conversation"));
    let unread = Unwritten::Unread(Unread::NotFound(nobody.clone()));
    assert_eq!(world.client.cancel(&nobody, "").await, Err(unread.into()));
}

#[tokio::test]
async fn a_rejected_message_leaves_nothing_behind() {
    let world = World::with(|builder| builder.human(policy(OnMessage::Reject))).await;
    let id = world.open().await;
    let rejected = world.client.say(&id, "wait", None).await.unwrap_err();
    assert_eq!((rejected.status(), rejected.code()), (Status::Conflict, "working"));
    assert_eq!(world.kinds(&id), ["opened"]);
}

#[tokio::test]
async fn several_approvals_are_decided_one_by_one() {
    let world = World::new().await;
    let id = world.open().await;
    let requests = world.asks_approvals(&id, &["caller", "role:manager"]).await;
    let gateway = world.gateway("gateway-1");
    // A yes is no decision.
    world.client.say(&id, "yes", None).await.unwrap();
    let decision = Decision { key: Some("k1".to_owned()), by: "bea".to_owned(), ..Decision::new(requests[1], Verdict::Denied) };
    let first = gateway.decide(&id, &decision).await.unwrap();
    assert_eq!(gateway.decide(&id, &decision).await, Ok(Accepted { is_repeat: true, ..first }));
    let again = Decision { key: None, ..decision };
    assert_eq!(gateway.decide(&id, &again).await, Err(NotOpen::Answered(requests[1]).into()));
    assert_eq!(world.conversation(&id).await.phase(), Some(Phase::Waiting));
    world.client.decide(&id, &Decision::new(requests[0], Verdict::Approved)).await.unwrap();
    let conversation = world.conversation(&id).await;
    assert_eq!(world.kinds(&id), ["opened", "asked", "said", "decided", "decided"]);
    assert_eq!((conversation.phase(), conversation.verify()), (Some(Phase::Working), Ok(())));
}

#[tokio::test]
async fn a_desk_s_request_is_claimed_once() {
    let world = World::new().await;
    let id = world.open().await;
    let request = world.asks_approvals(&id, &["desk:refunds"]).await[0];
    let claim = |by: &str| Claim { key: Some(format!("claim of {by}")), ..Claim::take(request, by) };
    let first = world.client.claim(&id, &claim("bea")).await.unwrap();
    assert_eq!(world.client.claim(&id, &claim("bea")).await, Ok(Accepted { is_repeat: true, ..first }));
    let taken = world.client.claim(&id, &claim("cem")).await.unwrap_err();
    assert_eq!((taken.status(), taken.code()), (Status::Conflict, "claimed"));
    assert_eq!(world.conversation(&id).await.requests()[0].claimed_by.as_deref(), Some("bea"));
}

// Ends, and who is told.

#[tokio::test]
async fn whoever_works_is_told_at_once_that_its_turn_is_over() {
    let world = World::with(|builder| builder.human(policy(OnMessage::Interrupt))).await;
    let owner = "triage-agent".parse().unwrap();
    let mut notices = world.memory.listen(&subject::moved_all(world.orchestration.name(), &owner), None).await.unwrap();
    let mut moved = async |id: &ConversationId| {
        let notice = notices.next().now_or_never().flatten();
        notice.is_some_and(|notice| notice.subject == subject::moved(world.orchestration.name(), &owner, id))
    };
    let id = world.open().await;
    world.client.say(&id, "no, wait", None).await.unwrap();
    assert!(moved(&id).await, "interrupted");
    world.client.cancel(&id, "enough").await.unwrap();
    assert!(moved(&id).await, "cancelled");
    let id = world.open().await;
    world.client.end(&id).await.unwrap();
    assert!(moved(&id).await, "ended");
    let id = world.open().await;
    world.client.fail(&id, "boom").await.unwrap();
    assert!(moved(&id).await, "failed");
    let (id, request) = world.asked().await;
    world.client.reply(&id, &Reply::to(request, "123")).await.unwrap();
    assert!(!moved(&id).await, "nobody was at work");
}

#[tokio::test]
async fn cancelling_twice_and_after_the_end_are_two_errors() {
    let world = World::new().await;
    let id = world.open().await;
    world.client.cancel(&id, "changed my mind").await.unwrap();
    assert_eq!(world.client.cancel(&id, "again").await, Err(CancelError::AlreadyCancelled));
    assert_eq!(world.client.end(&id).await, Err(EndError::Ended(Phase::Cancelled)));
    let done = world.open().await;
    world.completes(&done, "triage-agent", "done").await;
    assert_eq!(world.client.cancel(&done, "late").await, Err(CancelError::Ended(Phase::Completed)));
    assert_eq!((world.kinds(&id).len(), world.kinds(&done).len()), (2, 2));
}

#[tokio::test]
async fn a_caller_s_failure_is_a_typed_end() {
    let world = World::new().await;
    let (id, _) = world.asked().await;
    world.client.fail(&id, "the callback failed: boom").await.unwrap();
    let conversation = world.conversation(&id).await;
    let failed = Failed { code: failure::CALLER_ERROR.into(), detail: "the callback failed: boom".to_owned() };
    assert_eq!(conversation.last().unwrap().events, [Event::from(failed)]);
}

// Races and faults.

#[tokio::test(start_paused = true)]
async fn of_two_racing_replies_exactly_one_wins() {
    for seed in 0..200 {
        let world = World::seeded(seed).await;
        let (id, request) = world.asked().await;
        world.memory.set_faults(Faults::default().latency(Duration::from_millis(1 + seed % 7)));
        let (one, other) = (world.gateway("gateway-1"), world.gateway("gateway-2"));
        let (first, second) = join(async { one.reply(&id, &Reply::to(request, "123").with_key("tab 1")).await }, async {
            other.reply(&id, &Reply::to(request, "456").with_key("tab 2")).await
        })
        .await;
        let lost = Err(NotOpen::Answered(request).into());
        let won = Ok(Accepted { ordinal: 2, is_repeat: false });
        assert!([(won.clone(), lost.clone()), (lost, won)].contains(&(first.clone(), second.clone())), "{first:?} {second:?}");
        assert_eq!(world.kinds(&id), ["opened", "asked", "replied"]);
    }
}

#[tokio::test(start_paused = true)]
async fn the_same_request_through_two_gateways_happens_once_and_both_are_told_so() {
    for seed in 0..200 {
        let world = World::seeded(seed).await;
        let (id, request) = world.asked().await;
        world.memory.set_faults(Faults::default().latency(Duration::from_millis(1 + seed % 7)));
        let reply = Reply::to(request, "123").with_key("k1");
        let (one, other) = (world.gateway("gateway-1"), world.gateway("gateway-2"));
        let (first, second) = join(one.reply(&id, &reply), other.reply(&id, &reply)).await;
        let (first, second) = (first.unwrap(), second.unwrap());
        assert_eq!((first.ordinal, second.ordinal), (2, 2));
        assert_ne!(first.is_repeat, second.is_repeat);
        assert_eq!(world.kinds(&id), ["opened", "asked", "replied"]);
    }
}

#[tokio::test(start_paused = true)]
async fn of_two_texts_under_one_key_at_once_one_is_stored_and_the_other_refused() {
    for seed in 0..200 {
        let world = World::seeded(seed).await;
        let (id, request) = world.asked().await;
        world.memory.set_faults(Faults::default().latency(Duration::from_millis(1 + seed % 7)));
        let reply = |text: &str| Reply::to(request, text).with_key("k1");
        // Even through one and the same gateway.
        let one = world.gateway("gateway-1");
        let (yes, no) = (reply("123"), reply("456"));
        let (first, second) = join(one.reply(&id, &yes), one.reply(&id, &no)).await;
        let reused = Err(Unwritten::KeyReused { key: "k1".to_owned(), ordinal: 2 }.into());
        let stored = Ok(Accepted { ordinal: 2, is_repeat: false });
        assert!([(stored.clone(), reused.clone()), (reused, stored)].contains(&(first.clone(), second.clone())), "{first:?} {second:?}");
        assert_eq!(world.kinds(&id), ["opened", "asked", "replied"]);
    }
}

#[tokio::test(start_paused = true)]
async fn bare_messages_that_race_all_arrive() {
    let world = World::new().await;
    let (id, _) = world.asked().await;
    world.memory.set_faults(Faults::default().latency(Duration::from_millis(5)));
    let said = (0..8).map(|n| {
        let (gateway, id) = (world.gateway(&format!("gateway-{n}")), id.clone());
        async move { gateway.say(&id, &format!("message {n}"), None).await.unwrap().ordinal }
    });
    let mut ordinals = futures::future::join_all(said).await;
    ordinals.sort_unstable();
    assert_eq!(ordinals, (2..10).collect::<Vec<_>>());
    // One of them was the reply, the others came while the agent was at work.
    let kinds = world.kinds(&id);
    assert_eq!(kinds[2], "replied");
    assert!(kinds[3..].iter().all(|kind| kind == "said"), "{kinds:?}");
}

#[tokio::test(start_paused = true)]
async fn a_cancel_and_a_reply_that_race_leave_one_order() {
    for seed in 0..50 {
        let world = World::seeded(seed).await;
        let (id, request) = world.asked().await;
        world.memory.set_faults(Faults::default().latency(Duration::from_millis(1 + seed % 7)));
        let (one, other) = (world.gateway("gateway-1"), world.gateway("gateway-2"));
        let reply = Reply::to(request, "123");
        let (cancelled, replied) = join(one.cancel(&id, "enough"), other.reply(&id, &reply)).await;
        cancelled.unwrap();
        match replied {
            Ok(_) => assert_eq!(world.kinds(&id), ["opened", "asked", "replied", "cancelled"]),
            Err(error) => {
                assert_eq!(error, NotOpen::Ended(Phase::Cancelled).into());
                assert_eq!(world.kinds(&id), ["opened", "asked", "cancelled"]);
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_lags_refuses_nobody() {
    for seed in 0..100 {
        let world = World::seeded(seed).await;
        world.memory.set_faults(Faults::default());
        let (id, request) = world.asked().await;
        let memory = &world.memory;
        memory.set_faults(Faults::default().with(Fault::ReadStale, 700).latency(Duration::from_millis(seed % 5)));
        // The question was asked in the journal's last entry: most reads do not show it, or nothing at all.
        world.client.reply(&id, &Reply::to(request, "123")).await.unwrap();
        memory.set_faults(Faults::default());
        assert_eq!(world.kinds(&id), ["opened", "asked", "replied"]);
    }
}

async fn answer_under_faults(client: Client, id: ConversationId, reply: Reply) -> Result<Accepted, ReplyError> {
    // What a caller does whose first call ends in "unknown" or "unavailable": the same call again, with the same key.
    loop {
        match client.reply(&id, &reply).await {
            Err(error) if error.status() == Status::Unavailable => {}
            settled => return settled,
        }
    }
}

#[tokio::test(start_paused = true)]
async fn whatever_goes_wrong_a_question_has_one_answer_and_everybody_knows_whose() {
    for seed in 0..300 {
        let world = World::seeded(seed).await;
        let (id, request) = world.asked().await;
        world.memory.set_faults(Faults::all(150 + u16::try_from(seed).unwrap()));
        let answers = (0..3).map(|n| {
            let gateway = world.gateway(&format!("gateway-{n}")).with_patience(Duration::from_millis(200));
            let reply = Reply::to(request, format!("answer {n}")).with_key(format!("tab {n}"));
            answer_under_faults(gateway, id.clone(), reply)
        });
        let settled = futures::future::join_all(answers).await;
        world.memory.set_faults(Faults::default());
        let won: Vec<_> = settled.iter().enumerate().filter(|(_, settled)| settled.is_ok()).map(|(n, _)| n).collect();
        assert_eq!(won.len(), 1, "seed {seed}: {settled:?}");
        for lost in settled.iter().filter_map(|settled| settled.as_ref().err()) {
            assert_eq!(*lost, ReplyError::NotOpen(NotOpen::Answered(request)), "seed {seed}");
        }
        let conversation = world.conversation(&id).await;
        assert_eq!(world.kinds(&id), ["opened", "asked", "replied"], "seed {seed}");
        let Event::Replied(reply) = &conversation.last().unwrap().events[0] else { panic!("seed {seed}") };
        assert_eq!(reply.text, format!("answer {}", won[0]), "seed {seed}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_decision_whose_acknowledgement_is_lost_is_made_once() {
    let world = World::new().await;
    let id = world.open().await;
    let request = world.asks_approvals(&id, &["caller"]).await[0];
    world.memory.set_faults(Faults::default().with(Fault::AcknowledgementLost, 1000).with(Fault::ResendLost, 1000));
    let client = world.client.clone().with_patience(Duration::from_secs(1));
    let decision = Decision { key: Some("k1".to_owned()), ..Decision::new(request, Verdict::Approved) };
    let unknown = client.decide(&id, &decision).await.unwrap_err();
    assert!(matches!(&unknown, DecideError::Unwritten(Unwritten::Unknown(_))), "{unknown}");
    world.memory.set_faults(Faults::default());
    assert_eq!(client.decide(&id, &decision).await, Ok(Accepted { ordinal: 2, is_repeat: true }));
    assert_eq!(world.kinds(&id), ["opened", "asked", "decided"]);
}
