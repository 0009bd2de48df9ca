//! Payloads that are too large for a message, as objects. An object's chunks lie under its name, which begins with the
//! conversation: what belongs to a conversation is found by one filter when it is purged.

use std::time::Duration;

use bytes::Bytes;
use protocol::ids::{ConversationId, OrchestrationName, Ordinal};
use protocol::subject;
use protocol::wire::Stored;
use tokio::time::timeout;

use super::objects::{Place, bounded};
use super::request::Link;
use super::store::missing_stream;
use super::things::object_stream;
use crate::claim::{ENTRY_BYTES_MAX, claimed, damaged, ordinal, redeem};
use crate::{ReadError, StoreError};

/// How long a writer that lost its place spends on taking its object back.
const DISCARD_AT_MOST: Duration = Duration::from_secs(2);

impl Link {
    /// Keeps a payload, unless an earlier attempt has; whether one had.
    pub(super) async fn check_in(&self, place: &Place, payload: &Bytes) -> Result<bool, StoreError> {
        bounded(async {
            if self.has_object(place, payload).await? {
                return Ok(true);
            }
            self.put_object(place, payload).await.map(|()| false)
        })
        .await
    }

    /// Takes back a payload that no message names, or ever will. What stays in spite of that goes with the conversation.
    pub(super) async fn take_back(&self, place: &Place) {
        match timeout(DISCARD_AT_MOST, self.discard_object(place)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!("an object that nobody needs is left: {error}"),
            Err(_) => tracing::debug!("an object that nobody needs is left: the broker did not answer"),
        }
    }

    /// An entry as its writer prepared it. Where the message holds its payload itself, as it nearly always does, there is
    /// nothing to do.
    pub(super) async fn redeem(&self, orchestration: &OrchestrationName, stored: Stored) -> Result<Stored, ReadError> {
        let Some(name) = claimed(&stored) else { return Ok(stored) };
        let found = match Place::new(orchestration, name) {
            Ok(place) => bounded(self.object(&place, ENTRY_BYTES_MAX)).await,
            // No object can have such a name.
            Err(_) => Ok(None),
        };
        match found {
            Ok(Some(payload)) => Ok(redeem(stored, payload)),
            Ok(None) | Err(StoreError::Damaged { .. }) => {
                let error = damaged(&stored, name);
                tracing::error!("{error}");
                Err(error)
            }
            Err(StoreError::Unavailable(why)) => Err(ReadError::Unavailable(why)),
            Err(error) => Err(ReadError::Refused(error.to_string())),
        }
    }

    /// The same, of an entry that may not be there.
    pub(super) async fn redeem_found(&self, orchestration: &OrchestrationName, found: Option<Stored>) -> Result<Option<Stored>, ReadError> {
        match found {
            Some(stored) => self.redeem(orchestration, stored).await.map(Some),
            None => Ok(None),
        }
    }

    /// Deletes the payloads of a conversation's entries below an ordinal, or of all; also those that no entry names.
    pub(super) async fn purge_claims(
        &self,
        orchestration: &OrchestrationName,
        conversation: &ConversationId,
        below: impl AsyncFnOnce() -> Result<Option<Ordinal>, StoreError>,
    ) -> Result<(), StoreError> {
        let stream = object_stream(orchestration);
        let root = format!("$O.{}.C.", subject::bucket(orchestration));
        let chunks = match missing_stream(self.subjects(&stream, &format!("{root}{conversation}.>")).await, &stream) {
            Ok(chunks) if !chunks.is_empty() => chunks,
            Ok(_) | Err(StoreError::Missing(_)) => return Ok(()),
            Err(error) => return Err(error),
        };
        let below = below().await?;
        for chunk in &chunks {
            let name = chunk.strip_prefix(&root).and_then(|rest| rest.rsplit_once('.')).map(|(name, _)| name);
            let Some((name, number)) = name.and_then(|name| Some((name, ordinal(conversation, name)?))) else { continue };
            if below.is_none_or(|below| number < below) {
                // The description first: an object that is half deleted must not look like one that is damaged.
                self.purge(&stream, &Place::new(orchestration, name)?.description(), 0).await?;
                self.purge(&stream, chunk, 0).await?;
            }
        }
        Ok(())
    }
}
