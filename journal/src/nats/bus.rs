//! What is said and not stored, over core NATS.

use std::time::Duration;

use async_nats::{HeaderMap, HeaderName, HeaderValue, Message, StatusCode};
use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};

use super::Nats;
use super::connect::Violation;
use super::request::violated;
use crate::{Answer, Bus, Connection, Delivery, Headers, RequestError};

/// How long a drained connection may take to close.
const CLOSE_AT_MOST: Duration = Duration::from_secs(2);

#[async_trait]
impl Bus for Nats {
    async fn say_with(&self, subject: &str, headers: Headers, payload: Bytes) {
        match to_map(headers) {
            Ok(headers) => self.link.send_with(subject, headers, payload).await,
            Err(error) => tracing::debug!("not sent to {subject}: {error}"),
        }
    }

    /// The stream ends when the broker does not permit listening there: it says so only after the fact.
    async fn listen(&self, subject: &str, queue: Option<&str>) -> Result<BoxStream<'static, Delivery>, RequestError> {
        let mut violations = self.link.violations();
        let client = &self.link.client;
        let messages = match queue {
            Some(queue) => client.queue_subscribe(subject.to_owned(), queue.to_owned()).await,
            None => client.subscribe(subject.to_owned()).await,
        };
        let messages = messages.map_err(|error| RequestError::Refused(error.to_string()))?;
        let forbidden = Violation::Subscribe(subject.into());
        let refused = async move { violated(&mut violations, &forbidden).await };
        Ok(messages.map(delivery).take_until(refused).boxed())
    }

    async fn ask_with(&self, subject: &str, headers: Headers, payload: Bytes, timeout: Duration) -> Result<Answer, RequestError> {
        let answer = self.link.request(subject, to_map(headers)?, payload, timeout).await;
        let answer = answer.map(|answer| Answer { headers: from_map(answer.headers.as_ref()), payload: answer.payload });
        answer.map_err(|failure| match RequestError::from(failure) {
            RequestError::Timeout(_) => RequestError::Timeout(subject.to_owned()),
            error => error,
        })
    }

    async fn ask_all(&self, subject: &str, payload: Bytes, timeout: Duration) -> Result<Vec<Bytes>, RequestError> {
        let refused = |error: &dyn std::fmt::Display| RequestError::Refused(error.to_string());
        let deadline = Instant::now() + timeout;
        let client = &self.link.client;
        let inbox = client.new_inbox();
        let mut messages = client.subscribe(inbox.clone()).await.map_err(|error| refused(&error))?;
        client.publish_with_reply(subject.to_owned(), inbox, payload).await.map_err(|error| refused(&error))?;
        let mut answers = Vec::new();
        while let Ok(Some(answer)) = timeout_at(deadline, messages.next()).await {
            if answer.status == Some(StatusCode::NO_RESPONDERS) {
                break;
            }
            answers.push(answer.payload);
        }
        Ok(answers)
    }

    fn connection(&self) -> watch::Receiver<Connection> {
        self.link.connection()
    }

    fn server_name(&self) -> Option<String> {
        Some(self.link.server().server_name).filter(|name| !name.is_empty())
    }

    async fn drain(&self) {
        let mut connection = self.link.connection();
        // Draining ends the client even if its buffer is not written yet: that comes first.
        let drained = async {
            self.link.client.flush().await.ok()?;
            self.link.client.drain().await.ok()?;
            connection.wait_for(|connection| !connection.is_up).await.ok().map(drop)
        };
        if timeout(CLOSE_AT_MOST, drained).await.ok().flatten().is_none() {
            tracing::warn!("the connection to the broker was given up before it was drained");
        }
    }
}

fn delivery(message: Message) -> Delivery {
    Delivery {
        subject: message.subject.into_string(),
        headers: from_map(message.headers.as_ref()),
        payload: message.payload,
        reply: message.reply.map(async_nats::Subject::into_string),
    }
}

/// None where there are none: a message without headers is smaller.
fn to_map(headers: Headers) -> Result<Option<HeaderMap>, RequestError> {
    if headers.is_empty() {
        return Ok(None);
    }
    let refused = |name: &str| RequestError::Refused(format!("{name:?} cannot be a header with that value"));
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        let (Ok(key), Ok(value)) = (name.parse::<HeaderName>(), value.parse::<HeaderValue>()) else { return Err(refused(&name)) };
        map.insert(key, value);
    }
    Ok(Some(map))
}

/// Of a header that is given twice, the first counts.
fn from_map(headers: Option<&HeaderMap>) -> Headers {
    let lines = headers.into_iter().flat_map(HeaderMap::iter);
    lines.filter_map(|(name, values)| Some((name.to_string(), values.first()?.to_string()))).collect()
}
