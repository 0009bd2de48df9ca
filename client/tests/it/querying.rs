use bytes::Bytes;
use client::{Classified, QueryError, Question, Status, Unread};
use futures::StreamExt;
use journal::Bus;
use protocol::brief::Phase;
use protocol::event::{Audience, RequestKind, Snapshotted};
use protocol::ids::{ConversationId, Writer};
use protocol::query::{Answer, ListQuery, Listed, ShowQuery, Shown, verb};
use protocol::subject::{self, Class};
use serde::Serialize;

use crate::world::{World, agent, call};

/// Somebody in the coordinator's place, who answers one question; what it was asked.
async fn coordinator<T: Serialize>(world: &World, verb: &str, answer: &Answer<T>) -> tokio::task::JoinHandle<Bytes> {
    let subject = subject::coordinator(world.orchestration.name(), verb);
    let mut questions = world.memory.listen(&subject, None).await.unwrap();
    let (memory, answer) = (world.memory.clone(), serde_json::to_vec(answer).unwrap());
    tokio::spawn(async move {
        let question = questions.next().await.unwrap();
        memory.say(&question.reply.unwrap(), answer.into()).await;
        question.payload
    })
}

#[tokio::test]
async fn a_conversation_is_shown_from_the_journal_when_no_coordinator_answers() {
    let world = World::new().await;
    let (id, _) = world.asked().await;
    let shown = world.client.show(&id).await.unwrap();
    let stored = world.stored(&id);
    assert_eq!(
        shown,
        Shown {
            conversation: id.clone(),
            brief: world.conversation(&id).await.brief().unwrap().clone(),
            ordinal: 1,
            kind: "asked".to_owned(),
            revision: world.orchestration.revision().clone(),
            last_ms: stored[1].time_ms,
            opened_ms: stored[0].time_ms,
            due: vec![(protocol::ids::EventId { ordinal: 1, index: 1 }, stored[1].time_ms + 60_000)],
            traceparent: None,
        }
    );
    let nobody: ConversationId = "nobody".parse().unwrap();
    assert_eq!(world.client.show(&nobody).await, Err(Unread::NotFound(nobody).into()));
}

/// Ten minutes later: nobody has said anything since, and what is asked is due as it was.
#[tokio::test(start_paused = true)]
async fn nothing_happens_by_a_snapshot() {
    let world = World::new().await;
    let (id, _) = world.asked().await;
    let before = world.client.show(&id).await.unwrap();
    tokio::time::advance(std::time::Duration::from_mins(10)).await;
    let snapshot = Snapshotted { entries: before.ordinal + 1 };
    world.write(&id, Writer::Coordinator, Class::Note, vec![snapshot.into()]).await;
    let shown = world.client.show(&id).await.unwrap();
    assert!(world.stored(&id).last().unwrap().time_ms >= before.last_ms + 600_000);
    assert_eq!((shown.kind.as_str(), shown.ordinal), ("snapshotted", before.ordinal + 1));
    assert_eq!((shown.last_ms, shown.due), (before.last_ms, before.due));
}

#[tokio::test]
async fn the_ledger_answers_first_and_what_it_does_not_know_yet_is_read() {
    let world = World::new().await;
    let (id, _) = world.asked().await;
    let shown = Shown { kind: "from the ledger".to_owned(), ..world.client.show(&id).await.unwrap() };
    let asked = coordinator(&world, verb::SHOW, &Answer::Ok(shown.clone())).await;
    assert_eq!(world.client.show(&id).await, Ok(shown));
    let question: ShowQuery = serde_json::from_slice(&asked.await.unwrap()).unwrap();
    assert_eq!(question.conversation, id);
    let _asked = coordinator(&world, verb::SHOW, &Answer::<Shown>::NotFound).await;
    assert_eq!(world.client.show(&id).await.unwrap().kind, "asked");
}

#[tokio::test]
async fn only_the_coordinator_knows_them_all() {
    let world = World::new().await;
    let query = ListQuery { phase: Some(Phase::Waiting), ..ListQuery::default() };
    let none = world.client.list(&query).await.unwrap_err();
    assert_eq!((none.status(), none), (Status::Unavailable, QueryError::NoCoordinator));
    assert_eq!(world.client.status().await, Err(QueryError::NoCoordinator));

    let listed = Listed { conversations: Vec::new(), total: 7 };
    let asked = coordinator(&world, verb::LIST, &Answer::Ok(listed.clone())).await;
    assert_eq!(world.client.list(&query).await, Ok(listed));
    assert_eq!(serde_json::from_slice::<ListQuery>(&asked.await.unwrap()).unwrap(), query);
    let _asked = coordinator(&world, verb::LIST, &Answer::<Listed>::Invalid("what?".to_owned())).await;
    assert_eq!(world.client.list(&query).await, Err(QueryError::Misunderstood("what?".to_owned())));
}

#[tokio::test(start_paused = true)]
async fn a_coordinator_that_hangs_does_not_hide_a_conversation() {
    let world = World::new().await;
    let (id, _) = world.asked().await;
    let name = world.orchestration.name();
    let _show = world.memory.listen(&subject::coordinator(name, verb::SHOW), None).await.unwrap();
    let _list = world.memory.listen(&subject::coordinator(name, verb::LIST), None).await.unwrap();
    assert_eq!(world.client.show(&id).await.unwrap().kind, "asked");
    assert!(matches!(world.client.list(&ListQuery::default()).await, Err(QueryError::Bus(_))));
}

#[tokio::test]
async fn what_is_asked_is_had_in_one_piece() {
    let world = World::new().await;
    let (id, request) = world.asked().await;
    let [question] = Question::open(&world.conversation(&id).await).try_into().unwrap();
    assert_eq!((question.request, question.kind, question.audience), (request, RequestKind::Question, Audience::Caller));
    // A question without words of its own is the response before it.
    assert_eq!((question.agent, question.text.as_str(), question.due_secs), (agent("triage-agent"), "Which order?", Some(60)));
    world.client.say(&id, "123", None).await.unwrap();
    assert!(Question::open(&world.conversation(&id).await).is_empty());

    let requests = world.asks_approvals(&id, &["role:manager", "caller"]).await;
    let approvals = Question::open(&world.conversation(&id).await);
    assert_eq!(approvals.iter().map(|question| question.request).collect::<Vec<_>>(), requests);
    assert_eq!(approvals[1].call, Some(call(1)));
    assert!(approvals[1].arguments_hash.is_some());
}
