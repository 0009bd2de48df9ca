//! Human requests that the coordinator forwards, and the gateway's own announcements.
//!
//! A gateway follows its conversations and sees their requests anyway. What comes here is a second way, independent of the
//! first: whoever watches the conversation makes sure to have seen it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use journal::service::Service;
use journal::{Delivery, Shared};
use protocol::ids::ProcessId;
use protocol::query::ForwardedRequest;
use protocol::subject;
use tokio::time::sleep;

use crate::{App, Edge};

/// Before listening is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// Takes forwarded requests for as long as it is polled.
pub(crate) async fn run(edge: Arc<Edge>, group: ProcessId) {
    let (broker, name) = (edge.client.broker(), edge.client.orchestration());
    // Every process of the group listens: the person may be at any of them.
    let mut requests = loop {
        match broker.listen(&subject::gateway(name, &group), None).await {
            Ok(requests) => break requests,
            Err(error) => tracing::warn!("forwarded requests cannot be listened to, trying again: {error}"),
        }
        sleep(AGAIN).await;
    };
    let mut connection = broker.connection();
    loop {
        if connection.borrow_and_update().is_up {
            broker.say(&subject::gateway_hello(name, &group), Bytes::new()).await;
        }
        loop {
            tokio::select! {
                Some(request) = requests.next() => take(&edge, request).await,
                Ok(()) = connection.changed() => break,
                else => return,
            }
        }
    }
}

pub(crate) async fn take(edge: &Edge, Delivery { payload, reply, .. }: Delivery) {
    match serde_json::from_slice::<ForwardedRequest>(&payload) {
        Ok(request) => edge.hub.look(&request.conversation, request.request.ordinal),
        Err(error) => tracing::warn!("a forwarded request cannot be read; is the coordinator newer? {error}"),
    }
    if let Some(reply) = reply {
        edge.client.broker().say(&reply, Bytes::from_static(b"{}")).await;
    }
}

/// The gateway as `nats service ls` shows it.
pub(crate) fn service(app: &App, process: ProcessId) -> Service {
    let orchestrations: Vec<&str> = app.edges.keys().map(|name| name.as_str()).collect();
    let metadata =
        [("orchestrations", orchestrations.join(",")), ("group", app.config.group.to_string()), ("http", app.address.to_string())];
    Service {
        name: "gateway".to_owned(),
        process,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        description: "The human edge: conversations over HTTP.".to_owned(),
        metadata: metadata.map(|(key, value)| (key.to_owned(), value)).into(),
        endpoints: Vec::new(),
    }
}

/// Answers discovery for as long as it is polled.
pub(crate) async fn discovery(broker: Shared, service: Service) {
    if let Err(error) = service.answer(&*broker).await {
        tracing::debug!("not discoverable: {error}");
    }
}
