//! Entries that are larger than a message, as the broker has them, and what only a real server and network can do to them.

use async_nats::jetstream::Context;
use async_nats::jetstream::message::StreamMessage;
use journal::claim::object_name;
use journal::nats::{Login, Nats, Settings};
use journal::{Append, Bus, Journal, Provision, Refusal, Store};
use protocol::conversation::Prepared;
use protocol::event::Opened;
use protocol::ids::Revision;
use protocol::subject::Class;
use protocol::wire::{Stored, header};
use tests::nats::{Server, server, server_with};
use tokio::io::AsyncReadExt;
use tokio::time::{Duration, timeout};

use super::{
    Conversation, Fixed, Network, append, connect, draft, next, on_a_network, opened, orchestration, ordinal, plan, saying, stored_at,
    triage, unopened,
};

fn large() -> String {
    "x".repeat(1_200_000)
}

/// A broker, and what an administrator sees.
async fn provisioned(server: &Server) -> (Nats, Context) {
    let broker = connect(server.url()).await;
    broker.provision(&plan()).await.unwrap();
    (broker, async_nats::jetstream::new(async_nats::connect(server.url()).await.unwrap()))
}

/// Messages and bytes in the object store.
async fn objects(admin: &Context) -> (u64, u64) {
    let state = admin.get_stream("OBJ_baton-support").await.unwrap().cached_info().state.clone();
    (state.messages, state.bytes)
}

async fn raw(admin: &Context, entry: &Prepared) -> StreamMessage {
    let stream = admin.get_stream("baton-support").await.unwrap();
    stream.get_last_raw_message_by_subject(&entry.message.subject).await.unwrap()
}

fn assert_whole(stored: &Stored, entry: &Prepared) {
    assert_eq!((&stored.subject, &stored.headers), (&entry.message.subject, &entry.message.headers));
    assert!(stored.payload == entry.message.payload);
}

fn large_opening(id: &str) -> Prepared {
    let to = Class::To { agent: triage(), revision: Revision::of(b"tests") };
    let opened = Opened { value: Some(large().into()), ..Opened::default() };
    unopened(id).prepare_opening(draft(to, opened.into()), Fixed::default()).unwrap()
}

#[tokio::test]
async fn the_message_names_an_object_that_every_nats_client_reads() {
    let server = server().await;
    let (broker, admin) = provisioned(&server).await;
    let said = saying(&opened(&broker, "c1").await, &large());
    append(&broker, &said).await;

    let message = raw(&admin, &said).await;
    assert_eq!(message.headers.get(header::OBJECT).unwrap().as_str(), object_name(&said));
    assert!(message.payload.is_empty());
    for (name, value) in said.message.headers.iter() {
        assert_eq!(message.headers.get(name).unwrap().as_str(), value);
    }
    let mut read = Vec::new();
    let store = admin.get_object_store("baton-support").await.unwrap();
    store.get(object_name(&said)).await.unwrap().read_to_end(&mut read).await.unwrap();
    assert!(said.message.payload == read);
}

/// A message that is small enough costs nothing and names nothing.
#[tokio::test]
async fn what_fits_into_a_message_is_no_object() {
    let server = server().await;
    let (broker, admin) = provisioned(&server).await;
    let said = saying(&opened(&broker, "c1").await, &"x".repeat(1_000_000));
    append(&broker, &said).await;
    assert_eq!(raw(&admin, &said).await.headers.get(header::OBJECT), None);
    assert_eq!(objects(&admin).await, (0, 0));
}

/// An operator gave the stream a limit of its own; the connection's says nothing of it.
#[tokio::test]
async fn what_is_too_large_for_the_stream_alone_is_an_object_too() {
    let server = server().await;
    let (broker, admin) = provisioned(&server).await;
    let mut config = admin.get_stream("baton-support").await.unwrap().cached_info().config.clone();
    config.max_message_size = 100_000;
    admin.update_stream(&config).await.unwrap();
    let conversation = opened(&broker, "c1").await;
    let said = saying(&conversation, &"x".repeat(200_000));
    append(&broker, &said).await;
    assert!(raw(&admin, &said).await.payload.is_empty());
    assert_whole(&stored_at(&broker, &conversation, 1).await, &said);
}

#[tokio::test]
async fn a_small_limit_of_the_servers_is_no_obstacle() {
    let server = server_with(|config| config.max_payload_bytes = 64 * 1024).await;
    let (broker, _admin) = provisioned(&server).await;
    let conversation = opened(&broker, "c1").await;
    let (said, generation) = (saying(&conversation, &large()), broker.connection().borrow().generation);
    append(&broker, &said).await;
    assert_whole(&stored_at(&broker, &conversation, 1).await, &said);
    assert_eq!(broker.connection().borrow().generation, generation, "the connection has not suffered");
}

/// The bytes are free again: what is left says only that there was something.
#[tokio::test]
async fn of_what_was_fenced_no_bytes_are_left_and_of_what_was_purged_nothing() {
    let server = server().await;
    let (broker, admin) = provisioned(&server).await;
    let mut conversation = opened(&broker, "c1").await;
    let late = saying(&conversation, &large());
    let said = saying(&conversation, "first");
    let seq = append(&broker, &said).await;
    conversation.commit(said, seq).unwrap();
    assert_eq!(broker.append(&late).await, Append::Fenced { tail: seq });
    let (messages, bytes) = objects(&admin).await;
    assert!(messages == 2 && bytes < 4096, "{messages} messages of {bytes} bytes");

    let seq = append(&broker, &saying(&conversation, &large())).await;
    assert!(objects(&admin).await.1 > 1_200_000);
    broker.purge(&orchestration(), conversation.id(), protocol::ids::Seq(seq.0 + 1)).await.unwrap();
    assert_eq!(objects(&admin).await, (0, 0));
}

#[tokio::test]
async fn a_full_object_store_refuses_and_keeps_no_part() {
    let server = server().await;
    let (broker, admin) = provisioned(&server).await;
    let mut config = admin.get_stream("OBJ_baton-support").await.unwrap().cached_info().config.clone();
    config.max_bytes = 500_000;
    admin.update_stream(&config).await.unwrap();
    let said = saying(&opened(&broker, "c1").await, &large());
    let refused = broker.append(&said).await;
    assert!(matches!(refused, Append::Refused(Refusal::NoSpace(_))), "{refused:?}");
    assert_eq!(objects(&admin).await, (0, 0));
    config.max_bytes = -1;
    admin.update_stream(&config).await.unwrap();
    append(&broker, &said).await;
}

#[tokio::test]
async fn whoever_may_not_put_objects_is_told_so_at_once() {
    let server = server_with(|config| {
        config.extra = r#"
            authorization { users = [
                { user: admin, password: secret }
                { user: narrow, password: secret, permissions: {
                    publish: ["baton.support.c.>", "$JS.API.STREAM.MSG.GET.*"]
                    subscribe: ["_INBOX_tests.>"]
                } }
            ] }"#
            .to_owned();
    })
    .await;
    let login = |user: &str| {
        let login = Login { user: Some(user.to_owned()), password: Some("secret".to_owned()), ..Login::default() };
        Settings { login, ..Settings::new(server.url(), "tests".parse().unwrap()) }
    };
    let admin = Nats::connect(&login("admin")).await.unwrap();
    admin.provision(&plan()).await.unwrap();
    let narrow = Nats::connect(&login("narrow")).await.unwrap();
    let conversation = opened(&narrow, "c1").await;
    let refused = timeout(Duration::from_secs(2), narrow.append(&saying(&conversation, &large()))).await.expect("a refusal at once");
    let Append::Refused(Refusal::NotPermitted { subject }) = refused else { panic!("{refused:?}") };
    assert!(subject.starts_with("$O.baton-support.C.c1.1."), "{subject}");
    append(&narrow, &saying(&conversation, "small")).await;
}

/// The message was stored, and nobody heard of it: the same append again is the same entry, with the same object.
#[tokio::test]
async fn a_large_append_whose_acknowledgement_is_lost_is_found_again() {
    let server = server().await;
    let (direct, worker, proxy) = on_a_network(&server).await;
    let conversation = opened(&worker, "c1").await;
    let said = saying(&conversation, &large());
    proxy.once("Baton-Object", Network::LosesAnswers);
    let unknown = timeout(Duration::from_secs(20), worker.append(&said)).await.unwrap();
    assert!(matches!(unknown, Append::Unknown(_)), "{unknown:?}");
    proxy.is(Network::Whole);
    let stored = stored_at(&direct, &conversation, 1).await;
    assert_eq!(worker.append(&said).await, Append::Appended(stored.seq));
    assert_whole(&stored_at(&direct, &conversation, 1).await, &said);
    assert_eq!(direct.at(&orchestration(), conversation.id(), 2).await, Ok(None));
}

/// Not a part of it had been put: unknown, never failed, and the same append again succeeds.
#[tokio::test]
async fn a_large_append_without_any_broker_is_unknown() {
    let mut server = server().await;
    let (broker, admin) = provisioned(&server).await;
    let conversation = opened(&broker, "c1").await;
    let said = saying(&conversation, &large());
    server.kill().await.unwrap();
    let unknown = timeout(Duration::from_secs(20), broker.append(&said)).await.unwrap();
    assert!(matches!(unknown, Append::Unknown(_)), "{unknown:?}");
    server.restart().await.unwrap();
    append(&broker, &said).await;
    assert!(raw(&admin, &said).await.payload.is_empty());
}

/// The item is here, and the broker falls silent before its payload is: it is neither lost nor handed out broken.
#[tokio::test]
async fn a_work_item_whose_payload_does_not_come_comes_later() {
    let server = server().await;
    let (direct, worker, proxy) = on_a_network(&server).await;
    let opening = large_opening("c1");
    let mut source = worker.work(&orchestration(), &triage()).await.unwrap();
    proxy.once("Baton-Object", Network::LosesQuestions);
    append(&direct, &opening).await;
    let breaks = async {
        proxy.became(Network::LosesQuestions).await;
        proxy.breaks();
    };
    let (item, ()) = futures::join!(next(&mut source, 1), breaks);
    assert_whole(&item.stored, &opening);
    item.settle.ack().await;
    // Smaller ones do not wait for larger ones, and whoever stops waiting loses nothing.
    let (large, small) = (large_opening("c2"), super::opening("c3"));
    append(&direct, &large).await;
    append(&direct, &small).await;
    let mut items = Vec::new();
    while items.len() < 2 {
        if let Ok(item) = timeout(Duration::from_millis(5), source.next(2)).await {
            items.push(item.unwrap());
        }
    }
    items.sort_by_key(|item| item.stored.seq);
    assert_whole(&items[0].stored, &large);
    assert_whole(&items[1].stored, &small);
    assert_eq!(items.iter().map(|item| (ordinal(&item.stored), item.delivered)).collect::<Vec<_>>(), [(0, 1), (0, 1)]);
}

/// A draining process does not keep what it has begun to fetch.
#[tokio::test]
async fn closing_gives_back_what_is_being_fetched() {
    let server = server().await;
    let (direct, worker, proxy) = on_a_network(&server).await;
    let opening = large_opening("c1");
    let mut leaving = worker.work(&orchestration(), &triage()).await.unwrap();
    let mut staying = direct.work(&orchestration(), &triage()).await.unwrap();
    append(&direct, &opening).await;
    proxy.once("Baton-Object", Network::LosesQuestions);
    tokio::select! {
        item = leaving.next(1) => panic!("{item:?}"),
        () = proxy.became(Network::LosesQuestions) => {}
    }
    // What was asked for meanwhile is lost; the connection is not.
    proxy.is(Network::Whole);
    assert!(timeout(Duration::from_millis(20), leaving.next(1)).await.is_err(), "its first question waits for an answer");
    leaving.close().await;
    let item = next(&mut staying, 1).await;
    assert_whole(&item.stored, &opening);
    assert_eq!(item.delivered, 2);
}

/// Following goes on where it was, with the payload it waited for.
#[tokio::test]
async fn a_follower_waits_for_a_payload_that_does_not_come() {
    use futures::StreamExt;
    use journal::{Follow, Scope, Start};

    let server = server().await;
    let (direct, follower, proxy) = on_a_network(&server).await;
    let conversation: Conversation = opened(&direct, "c1").await;
    let start = Start::After(conversation.tail().seq);
    let mut followed = follower.follow(&orchestration(), Follow { scope: Scope::All, start, bodies: true }).await.unwrap();
    proxy.once("Baton-Object", Network::LosesQuestions);
    let said = saying(&conversation, &large());
    append(&direct, &said).await;
    let breaks = async {
        proxy.became(Network::LosesQuestions).await;
        proxy.breaks();
    };
    let (entry, ()) = futures::join!(timeout(Duration::from_secs(30), followed.next()), breaks);
    assert_whole(&entry.unwrap().unwrap().unwrap(), &said);
}
