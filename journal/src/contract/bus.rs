//! What the bus promises. It needs nothing provisioned.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;

use super::within;
use crate::{Answer, Delivery, Headers, RequestError, Shared};

/// Longer than anything here may take: an answer that comes is not one that timed out.
const FOREVER: Duration = Duration::from_secs(600);

async fn listen(broker: &Shared, subject: &str, queue: Option<&str>) -> BoxStream<'static, Delivery> {
    within("listening", broker.listen(subject, queue)).await.unwrap()
}

async fn next(deliveries: &mut BoxStream<'static, Delivery>) -> Delivery {
    within("a message", deliveries.next()).await.unwrap()
}

/// Answers each question with `prefix` and what was asked.
async fn answer(broker: &Shared, mut questions: BoxStream<'static, Delivery>, prefix: &str) {
    while let Some(Delivery { payload, reply, .. }) = questions.next().await {
        let answer = [prefix.as_bytes(), &payload].concat();
        broker.say(&reply.unwrap(), answer.into()).await;
    }
}

/// And nobody who listens elsewhere.
pub async fn what_is_said_reaches_all_who_listen_there(broker: Shared) {
    let mut here = [listen(&broker, "news.a", None).await, listen(&broker, "news.a", None).await];
    let mut elsewhere = listen(&broker, "news.b", None).await;
    for (subject, text) in [("news.a", "1"), ("news.b", "2"), ("news.a", "3")] {
        broker.say(subject, Bytes::from(text)).await;
    }
    let said =
        |subject: &str, text| Delivery { subject: subject.to_owned(), headers: Headers::new(), payload: Bytes::from(text), reply: None };
    for listener in &mut here {
        assert_eq!(next(listener).await, said("news.a", "1"));
        assert_eq!(next(listener).await, said("news.a", "3"));
    }
    assert_eq!(next(&mut elsewhere).await, said("news.b", "2"));
}

/// `*` is one token, `>` all that follow.
pub async fn wildcards_listen_to_many_subjects(broker: Shared) {
    let mut one = listen(&broker, "live.*.c1", None).await;
    let mut rest = listen(&broker, "live.>", None).await;
    for subject in ["live.triage.c1", "live.triage.c2", "live.refund.c1", "live.a.b.c1", "dead.a.c1", "live.last.c1"] {
        broker.say(subject, Bytes::new()).await;
    }
    for subject in ["live.triage.c1", "live.refund.c1", "live.last.c1"] {
        assert_eq!(next(&mut one).await.subject, subject);
    }
    for subject in ["live.triage.c1", "live.triage.c2", "live.refund.c1", "live.a.b.c1", "live.last.c1"] {
        assert_eq!(next(&mut rest).await.subject, subject);
    }
}

/// Two members and an onlooker.
pub async fn a_queue_group_gets_each_message_once(broker: Shared) {
    let one = listen(&broker, "task", Some("group")).await;
    let other = listen(&broker, "task", Some("group")).await;
    let mut onlooker = listen(&broker, "task", None).await;
    let all: BTreeSet<u8> = (0..50).collect();
    for n in &all {
        broker.say("task", Bytes::from(vec![*n])).await;
    }
    let mut members = futures::stream::select(one, other);
    let (mut seen, mut looked_on) = (BTreeSet::new(), BTreeSet::new());
    for _ in &all {
        let task = within("a task", members.next()).await.unwrap();
        assert!(seen.insert(task.payload[0]), "{} came twice", task.payload[0]);
        looked_on.insert(next(&mut onlooker).await.payload[0]);
    }
    assert_eq!((&seen, &looked_on), (&all, &all));
}

/// Of two who serve under one name, one answers.
pub async fn a_question_gets_an_answer(broker: Shared) {
    let one = listen(&broker, "echo", Some("servers")).await;
    let other = listen(&broker, "echo", Some("servers")).await;
    let asking = async {
        for n in 0..10 {
            let text = n.to_string();
            let heard = within("an answer", broker.ask("echo", Bytes::from(text.clone()), FOREVER)).await.unwrap();
            assert_eq!(heard, format!("re: {text}"));
        }
    };
    tokio::select! {
        () = asking => {}
        ((), ()) = async { futures::join!(answer(&broker, one, "re: "), answer(&broker, other, "re: ")) } => panic!("listening ended"),
    }
}

/// Both ways.
pub async fn headers_go_along(broker: Shared) {
    let headers = |name: &str, value: &str| Headers::from([(name.to_owned(), value.to_owned())]);
    let mut questions = listen(&broker, "orders", Some("servers")).await;
    let asking = broker.ask_with("orders", headers("Idempotency-Key", "k-1"), Bytes::from("?"), FOREVER);
    let answering = async {
        let Delivery { headers: asked, payload, reply, .. } = next(&mut questions).await;
        assert_eq!((asked, payload), (headers("Idempotency-Key", "k-1"), Bytes::from("?")));
        broker.say_with(&reply.unwrap(), headers("Nats-Service-Error", "no such order: 7"), Bytes::from("!")).await;
    };
    let (answer, ()) = within("an answer", async { futures::join!(asking, answering) }).await;
    assert_eq!(answer, Ok(Answer { headers: headers("Nats-Service-Error", "no such order: 7"), payload: Bytes::from("!") }));
}

/// The broker itself says that nobody listens: a dead process is noticed without waiting.
pub async fn a_question_to_nobody_is_refused_at_once(broker: Shared) {
    let nobody = RequestError::NoResponders("alive.w1".to_owned());
    assert_eq!(within("an answer", broker.ask("alive.w1", Bytes::new(), FOREVER)).await, Err(nobody));
    assert_eq!(within("an answer", broker.ask_all("alive.w1", Bytes::new(), FOREVER)).await, Ok(Vec::new()));
}

/// The stream was dropped.
pub async fn whoever_stopped_listening_is_nobody(broker: Shared) {
    let question = || broker.ask("alive.w1", Bytes::new(), FOREVER);
    let deliveries = listen(&broker, "alive.w1", None).await;
    tokio::select! {
        heard = question() => assert_eq!(heard, Ok(Bytes::from("here"))),
        () = answer(&broker, deliveries, "here") => panic!("listening ended"),
    }
    super::until("nobody is there", async || match broker.ask("alive.w1", Bytes::new(), Duration::from_millis(200)).await {
        Err(RequestError::NoResponders(_)) => Some(()),
        // Somebody who is just leaving may still get it.
        Err(RequestError::Timeout(_)) => None,
        other => panic!("{other:?}"),
    })
    .await;
}

/// Somebody listens and says nothing.
pub async fn a_question_without_an_answer_times_out(broker: Shared) {
    let mut mute = listen(&broker, "mute", None).await;
    let heard = within("giving up", broker.ask("mute", Bytes::from("?"), Duration::from_millis(300))).await;
    assert_eq!(heard, Err(RequestError::Timeout("mute".to_owned())));
    assert_eq!(next(&mut mute).await.payload, "?");
}

/// Three workers, of whom one says nothing.
pub async fn all_who_listen_can_be_asked(broker: Shared) {
    let (one, other) = (listen(&broker, "holds.triage", None).await, listen(&broker, "holds.triage", None).await);
    let _mute = listen(&broker, "holds.triage", None).await;
    let asking = within("the answers", broker.ask_all("holds.triage", Bytes::from("c1"), Duration::from_secs(1)));
    let answering = async { futures::join!(answer(&broker, one, "one "), answer(&broker, other, "other ")) };
    tokio::select! {
        answers = asking => {
            let mut answers = answers.unwrap();
            answers.sort();
            assert_eq!(answers, ["one c1", "other c1"]);
        }
        ((), ()) = answering => panic!("listening ended"),
    }
}

/// It was up until then.
pub async fn a_drained_connection_is_down(broker: Shared) {
    let mut connection = broker.connection();
    assert!(connection.borrow().is_up && connection.borrow().generation >= 1);
    let mut deliveries = listen(&broker, "last", None).await;
    broker.say("last", Bytes::from("word")).await;
    assert_eq!(next(&mut deliveries).await.payload, "word");
    within("draining", broker.drain()).await;
    within("the end of the connection", connection.wait_for(|connection| !connection.is_up)).await.unwrap();
    assert_eq!(within("the end of listening", deliveries.next()).await, None);
}
