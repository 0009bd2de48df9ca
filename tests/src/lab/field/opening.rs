//! An opening whose caller never hears of it: stored, and the gateway that wrote it is gone.

use async_nats::Message;
use futures::StreamExt;
use protocol::wire::header;
use tokio::time::timeout;

use super::{Field, MOMENT_AT_MOST, WHILE};
use crate::lab::faults::Fault;
use crate::lab::orchestration::NAME;
use crate::lab::struck::strike;

impl Field {
    /// Kills a gateway as soon as the broker has an opening of it: what was published will be stored, and most likely nobody is told.
    pub(super) async fn opening(&mut self, fault: &Fault) -> Result<(), String> {
        let openings = format!("baton.{NAME}.c.*.0.to.>");
        let mut openings = self.deployment.operator.subscribe(openings).await.map_err(|error| error.to_string())?;
        let found = async {
            loop {
                if let Some(found) = openings.next().await.as_ref().and_then(opened) {
                    return found;
                }
            }
        };
        let (gateway, conversation) = timeout(MOMENT_AT_MOST, found).await.map_err(|_| "nobody has opened anything in time")?;
        let struck = strike(&self.deployment.recorder, fault, &gateway, Some(&conversation));
        self.away(&[gateway], WHILE).await;
        struck.healed();
        Ok(())
    }
}

/// The gateway that publishes an opening, and the conversation.
fn opened(message: &Message) -> Option<(String, String)> {
    let process = message.headers.as_ref()?.get(header::PROCESS)?.as_str();
    let (gateway, _) = process.rsplit_once('-')?;
    let conversation = message.subject.split('.').nth(3)?;
    gateway.starts_with("gateway").then(|| (gateway.to_owned(), conversation.to_owned()))
}
