//! Objects as another NATS client sees them, and what only a real server can do to them.

use async_nats::jetstream::Context;
use async_nats::jetstream::object_store::ObjectStore;
use bytes::Bytes;
use journal::nats::Nats;
use journal::{Provision, Refusal, Store, StoreError};
use tests::nats::{Server, server, server_with};
use tokio::io::AsyncReadExt;

use super::{connect, orchestration, plan};

/// A broker, another client's view of its objects, and that client.
async fn seen_from_outside(server: &Server) -> (Nats, ObjectStore, Context) {
    let broker = connect(server.url()).await;
    broker.provision(&plan()).await.unwrap();
    let client = async_nats::jetstream::new(async_nats::connect(server.url()).await.unwrap());
    (broker, client.get_object_store("baton-support").await.unwrap(), client)
}

async fn messages(client: &Context) -> u64 {
    client.get_stream("OBJ_baton-support").await.unwrap().cached_info().state.messages
}

fn large() -> Bytes {
    (0..300_000).map(|n| (n % 251) as u8).collect()
}

#[tokio::test]
async fn every_nats_client_reads_and_writes_the_same_objects() {
    let server = server().await;
    let (broker, theirs, _client) = seen_from_outside(&server).await;
    for bytes in [large(), Bytes::new()] {
        broker.put_object(&orchestration(), "ours/1", bytes.clone()).await.unwrap();
        let mut read = Vec::new();
        theirs.get("ours/1").await.unwrap().read_to_end(&mut read).await.unwrap();
        assert!(bytes == read);
        theirs.put("theirs", &mut &bytes[..]).await.unwrap();
        assert!(broker.object(&orchestration(), "theirs").await.unwrap() == Some(bytes));
    }
    theirs.delete("ours/1").await.unwrap();
    assert_eq!(broker.object(&orchestration(), "ours/1").await, Ok(None));
}

#[tokio::test]
async fn nothing_is_left_of_what_was_replaced_or_deleted() {
    let server = server().await;
    let (broker, _theirs, client) = seen_from_outside(&server).await;
    broker.put_object(&orchestration(), "name", large()).await.unwrap();
    assert_eq!(messages(&client).await, 4, "three chunks and the description");
    broker.put_object(&orchestration(), "name", Bytes::from("small")).await.unwrap();
    assert_eq!(messages(&client).await, 2);
    broker.delete_object(&orchestration(), "name").await.unwrap();
    assert_eq!(messages(&client).await, 0);
}

#[tokio::test]
async fn a_damaged_object_is_told_from_an_absent_one() {
    let server = server().await;
    let (broker, theirs, client) = seen_from_outside(&server).await;
    let damaged = Err(StoreError::Damaged { name: "name".to_owned() });
    broker.put_object(&orchestration(), "name", large()).await.unwrap();
    let chunks = format!("$O.baton-support.C.{}", theirs.info("name").await.unwrap().nuid);
    client.get_stream("OBJ_baton-support").await.unwrap().purge().filter(&chunks).await.unwrap();
    assert_eq!(broker.object(&orchestration(), "name").await, damaged, "its chunks are gone");
    for _ in 0..3 {
        client.publish(chunks.clone(), Bytes::from("something else")).await.unwrap().await.unwrap();
    }
    assert_eq!(broker.object(&orchestration(), "name").await, damaged, "its chunks are others");
    broker.put_object(&orchestration(), "name", Bytes::from("again")).await.unwrap();
    assert_eq!(broker.object(&orchestration(), "name").await, Ok(Some(Bytes::from("again"))));
}

/// What does not fit is refused, leaves the object of that name as it was, and takes no room.
#[tokio::test]
async fn an_object_that_does_not_fit_leaves_nothing_behind() {
    let server = server().await;
    let (broker, _theirs, client) = seen_from_outside(&server).await;
    broker.put_object(&orchestration(), "name", Bytes::from("small")).await.unwrap();
    let mut config = client.get_stream("OBJ_baton-support").await.unwrap().cached_info().config.clone();
    config.max_bytes = 200_000;
    client.update_stream(&config).await.unwrap();
    let refused = broker.put_object(&orchestration(), "name", large()).await;
    assert!(matches!(refused, Err(StoreError::NotStored(Refusal::NoSpace(_)))), "{refused:?}");
    assert_eq!(broker.object(&orchestration(), "name").await, Ok(Some(Bytes::from("small"))));
    assert_eq!(messages(&client).await, 2);
}

#[tokio::test]
async fn chunks_are_as_small_as_the_broker_demands() {
    let server = server_with(|config| config.max_payload_bytes = 64 * 1024).await;
    let (broker, _theirs, client) = seen_from_outside(&server).await;
    broker.put_object(&orchestration(), "name", large()).await.unwrap();
    assert_eq!(messages(&client).await, 6, "five chunks and the description");
    assert!(broker.object(&orchestration(), "name").await.unwrap() == Some(large()));
}

#[tokio::test]
async fn without_a_broker_an_object_is_unavailable() {
    let mut server = server().await;
    let (broker, _theirs, _client) = seen_from_outside(&server).await;
    server.kill().await.unwrap();
    let put = broker.put_object(&orchestration(), "name", Bytes::from("x")).await;
    assert!(matches!(put, Err(StoreError::Unavailable(_))), "{put:?}");
    let got = broker.object(&orchestration(), "name").await;
    assert!(matches!(got, Err(StoreError::Unavailable(_))), "{got:?}");
    server.restart().await.unwrap();
    assert_eq!(broker.object(&orchestration(), "name").await, Ok(None));
}
