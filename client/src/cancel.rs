//! How a caller ends a conversation: well, badly, or by calling it off. Each is a fenced terminal entry: whatever the
//! owner is still at is refused, and it is told at once.

use protocol::event::Event;
use protocol::ids::ConversationId;

use crate::decide::{self, Known};
use crate::write::Request;
use crate::{Accepted, CancelError, Client, EndError};

impl Client {
    /// Calls a conversation off.
    ///
    /// # Errors
    /// [`CancelError`]; twice, and after the end, are different ones.
    pub async fn cancel(&self, conversation: &ConversationId, reason: &str) -> Result<Accepted, CancelError> {
        self.write(conversation, unkeyed(|known| decide::cancel(known, reason)), self.deadline()).await
    }

    /// Ends a conversation well, because the person has had enough of it.
    ///
    /// # Errors
    /// [`EndError`].
    pub async fn end(&self, conversation: &ConversationId) -> Result<Accepted, EndError> {
        self.write(conversation, unkeyed(decide::end), self.deadline()).await
    }

    /// Ends a conversation badly, because the caller's own code failed and cannot go on with it.
    ///
    /// # Errors
    /// [`EndError`].
    pub async fn fail(&self, conversation: &ConversationId, detail: &str) -> Result<Accepted, EndError> {
        self.write(conversation, unkeyed(|known| decide::fail(known, detail)), self.deadline()).await
    }
}

/// A request that needs no key: once it has happened, a repeat says so by itself.
fn unkeyed<D, E>(decide: D) -> Request<'static, D, fn(&Event) -> bool>
where
    D: Fn(Known<'_>) -> Result<decide::Proposal, E>,
{
    Request { key: None, decide, records: |_| true }
}
