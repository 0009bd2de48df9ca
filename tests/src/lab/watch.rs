//! A client's view of a conversation: its events, followed from gateway to gateway, each recorded as it arrives.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use tokio::time::{sleep, timeout};

use super::record::Seen;
use super::wish::Caller;
use crate::http::{Message, Parser};

/// Gateways say something every 15 seconds; whoever is silent for longer is gone.
const SILENT_AT_MOST: Duration = Duration::from_secs(20);
/// Before another gateway is asked.
const PAUSE: Duration = Duration::from_millis(200);

/// A conversation that is followed.
pub struct Watch {
    caller: Caller,
    conversation: String,
    gateway: usize,
    after: Option<String>,
    bytes: Option<BoxStream<'static, reqwest::Result<Bytes>>>,
    parser: Parser,
    ready: VecDeque<Message>,
}

impl Watch {
    /// Follows from the beginning, first at the gateway of this number.
    pub fn new(caller: Caller, conversation: &str, gateway: usize) -> Self {
        let conversation = conversation.to_owned();
        Self { caller, conversation, gateway, after: None, bytes: None, parser: Parser::default(), ready: VecDeque::new() }
    }

    /// The next event, whatever happens to gateways meanwhile; none when all of it has been told.
    pub async fn next(&mut self) -> Option<Message> {
        loop {
            if let Some(message) = self.ready.pop_front() {
                self.record(&message);
                return Some(message);
            }
            let Some(bytes) = &mut self.bytes else {
                if !self.connect().await {
                    return None;
                }
                continue;
            };
            match timeout(SILENT_AT_MOST, bytes.next()).await {
                Ok(Some(Ok(bytes))) => self.ready.extend(self.parser.take(&bytes)),
                _ => {
                    self.bytes = None;
                    self.gateway += 1;
                    sleep(PAUSE).await;
                }
            }
        }
    }

    /// Opens a stream somewhere; whether there is more to be told.
    async fn connect(&mut self) -> bool {
        loop {
            let address = self.caller.gateways[self.gateway % self.caller.gateways.len()];
            let mut request = self.caller.http.get(format!("http://{address}/v1/conversations/{}/events", self.conversation));
            if let Some(after) = &self.after {
                request = request.header("last-event-id", after);
            }
            match timeout(SILENT_AT_MOST, request.send()).await {
                Ok(Ok(response)) if response.status() == 204 => return false,
                Ok(Ok(response)) if response.status() == 200 => {
                    self.caller.recorder.note(Seen::Watching {
                        client: self.caller.name.clone(),
                        conversation: self.conversation.clone(),
                        gateway: format!("gateway-{}", self.gateway % self.caller.gateways.len()),
                        after: self.after.clone(),
                    });
                    self.parser = Parser::default();
                    self.bytes = Some(response.bytes_stream().boxed());
                    return true;
                }
                _ => {}
            }
            self.gateway += 1;
            sleep(PAUSE).await;
        }
    }

    fn record(&mut self, message: &Message) {
        if message.id.is_some() {
            self.after.clone_from(&message.id);
        }
        self.caller.recorder.note(Seen::Received {
            client: self.caller.name.clone(),
            conversation: self.conversation.clone(),
            id: message.id.clone(),
            event: message.event.clone(),
            data: message.data.clone(),
        });
    }
}
