//! Reading entries: from any replica where that will do, from the leader where only it can tell.

use std::time::Duration;

use async_nats::Message;
use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::stream::RawMessage;
use futures::StreamExt;
use protocol::ids::{ConversationId, OrchestrationName, Ordinal, Seq};
use protocol::subject::{self, EntrySubject};
use protocol::wire::Stored;
use serde::Deserialize;
use serde_json::{Value as Json, json};
use tokio::time::{Instant, timeout_at};

use super::message::read;
use super::quorum::Followers;
use super::request::{ANSWER_AT_MOST, Denied, Failure, Link, code};
use crate::ReadError;

/// Ordinals in one request: the broker answers at most 1,024 subjects at once.
const BATCH_MAX: usize = 512;

/// A batch ends when nothing comes for so long.
const BATCH_PAUSE_AT_MOST: Duration = Duration::from_secs(2);

/// As much of a stream's information as matters to readers and writers.
#[derive(Debug, Deserialize)]
pub(super) struct StreamInfo {
    pub(super) config: StreamLimits,
    pub(super) state: StreamState,
    #[serde(default)]
    cluster: Followers,
}

#[derive(Debug, Deserialize)]
pub(super) struct StreamLimits {
    pub(super) max_msg_size: i64,
}

#[derive(Debug, Deserialize)]
pub(super) struct StreamState {
    pub(super) last_seq: Seq,
}

impl Link {
    /// The last message under a filter, from the leader.
    pub(super) async fn last_from_leader(&self, stream: &str, filter: &str) -> Result<Option<Stored>, Failure> {
        self.one_from_leader(stream, &json!({ "last_by_subj": filter })).await
    }

    /// The first message under a filter from a sequence on, from the leader.
    pub(super) async fn next_from_leader(&self, stream: &str, filter: &str, from: Seq) -> Result<Option<Stored>, Failure> {
        self.one_from_leader(stream, &json!({ "next_by_subj": filter, "seq": from })).await
    }

    async fn one_from_leader(&self, stream: &str, which: &Json) -> Result<Option<Stored>, Failure> {
        #[derive(Deserialize)]
        struct Answer {
            message: RawMessage,
        }
        let verb = format!("STREAM.MSG.GET.{stream}");
        match self.api::<Answer>(&verb, which).await {
            Ok(answer) => {
                let message = StreamMessage::try_from(answer.message);
                message.map(|message| Some(read(message))).map_err(|error| Failure::Invalid(error.to_string()))
            }
            Err(failure) if failure.is(code::MESSAGE_NOT_FOUND) => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// The last message under a filter, from whichever replica answers.
    pub(super) async fn last(&self, stream: &str, filter: &str) -> Result<Option<Stored>, Failure> {
        let question = json!({ "last_by_subj": filter }).to_string();
        match self.request_again(&format!("$JS.API.DIRECT.GET.{stream}"), question.into()).await {
            Ok(message) => direct(message),
            // No replica serves direct reads now; the leader may, and knows whether there is a stream at all.
            Err(Failure::NoResponders(_)) => self.last_from_leader(stream, filter).await,
            Err(failure) => Err(failure),
        }
    }

    /// What a stream's leader tells of it.
    pub(super) async fn stream_info(&self, stream: &str) -> Result<StreamInfo, Failure> {
        self.api(&format!("STREAM.INFO.{stream}"), &json!({})).await
    }

    /// Whether there is no such stream, rather than one without a leader at the moment: only the first is final.
    pub(super) async fn has_no_stream(&self, stream: &str) -> bool {
        self.stream_info(stream).await.is_err_and(|failure| failure.is(code::STREAM_NOT_FOUND))
    }

    /// The entry at one ordinal, from the leader. That there is none is believed of a leader that others follow.
    pub(super) async fn entry_at(
        &self,
        orchestration: &OrchestrationName,
        conversation: &ConversationId,
        ordinal: Ordinal,
    ) -> Result<Option<Stored>, Failure> {
        let stream = subject::stream(orchestration);
        let found = self.last_from_leader(&stream, &subject::at(orchestration, conversation, ordinal)).await?;
        if found.is_none() && !self.stream_info(&stream).await?.cluster.are_led() {
            self.is_missed();
            return Err(Failure::Unanswered("the server that answers has not heard from the others of its cluster".to_owned()));
        }
        Ok(found)
    }

    /// The last message of each of some subjects, in one question; those that the answering replica does not have are
    /// missing. One inbox takes all answers, which a status ends.
    async fn last_of_each(&self, stream: &str, subjects: &[String]) -> Result<Vec<Stored>, Failure> {
        let unanswered = |error: &dyn std::fmt::Display| Failure::Unanswered(error.to_string());
        let inbox = self.client.new_inbox();
        let mut answers = self.client.subscribe(inbox.clone()).await.map_err(|error| unanswered(&error))?;
        let question = json!({ "multi_last": subjects }).to_string();
        let to = format!("$JS.API.DIRECT.GET.{stream}");
        self.client.publish_with_reply(to, inbox, question.into()).await.map_err(|error| unanswered(&error))?;

        let deadline = Instant::now() + ANSWER_AT_MOST;
        let mut found = Vec::with_capacity(subjects.len());
        loop {
            let pause = deadline.min(Instant::now() + BATCH_PAUSE_AT_MOST);
            let answer = timeout_at(pause, answers.next()).await.ok().flatten();
            let answer = answer.ok_or_else(|| Failure::Unanswered(format!("the entries of {stream} do not come")))?;
            // The end of the batch, or why it is cut short: what is missing is missing.
            if answer.status.is_some() {
                return Ok(found);
            }
            found.extend(direct(answer)?);
        }
    }
}

/// The message in the answer to a direct read; none if it says that there is none.
fn direct(message: Message) -> Result<Option<Stored>, Failure> {
    match message.status.map(|status| status.as_u16()) {
        None => {
            let message = StreamMessage::try_from(message).map_err(|error| Failure::Invalid(error.to_string()))?;
            Ok(Some(read(message)))
        }
        Some(404) => Ok(None),
        Some(status) => {
            let description = message.description.unwrap_or_default();
            Err(Failure::Denied(Denied { code: status.into(), err_code: 0, description }))
        }
    }
}

/// The entries at some ordinals of a conversation, in their order.
pub(super) async fn sealed(
    link: &Link,
    orchestration: &OrchestrationName,
    conversation: &ConversationId,
    ordinals: &[Ordinal],
) -> Result<Vec<Stored>, ReadError> {
    let stream = subject::stream(orchestration);
    let mut found = Vec::with_capacity(ordinals.len());
    for some in ordinals.chunks(BATCH_MAX) {
        let subjects: Vec<_> = some.iter().map(|ordinal| subject::at(orchestration, conversation, *ordinal)).collect();
        match link.last_of_each(&stream, &subjects).await {
            Ok(entries) => found.extend(entries.into_iter().filter_map(|entry| Some((ordinal(&entry)?, entry)))),
            Err(failure) => tracing::debug!("the leader is asked for what no replica told: {failure}"),
        }
    }
    let mut complete = Vec::with_capacity(ordinals.len());
    for wanted in ordinals {
        let here = found.iter().position(|(ordinal, _)| ordinal == wanted).map(|place| found.swap_remove(place).1);
        // A replica may lag, or have been cut short: the leader has every entry or nobody has.
        let entry = match here {
            Some(entry) => Some(entry),
            None => link.entry_at(orchestration, conversation, *wanted).await?,
        };
        let missing = || ReadError::Incomplete { conversation: conversation.clone(), missing: *wanted };
        complete.push(link.redeem(orchestration, entry.ok_or_else(missing)?).await?);
    }
    Ok(complete)
}

/// All messages of a conversation, one after the other.
pub(super) async fn messages(
    link: &Link,
    orchestration: &OrchestrationName,
    conversation: &ConversationId,
) -> Result<Vec<Stored>, ReadError> {
    let (stream, filter) = (subject::stream(orchestration), subject::fence(orchestration, conversation));
    let (mut found, mut from) = (Vec::new(), Seq(1));
    while let Some(stored) = link.next_from_leader(&stream, &filter, from).await? {
        from = Seq(stored.seq.0 + 1);
        found.push(match link.redeem(orchestration, stored.clone()).await {
            Err(ReadError::Damaged { .. }) => stored,
            redeemed => redeemed?,
        });
    }
    Ok(found)
}

/// The ordinal of what was read.
pub(super) fn ordinal(entry: &Stored) -> Option<Ordinal> {
    entry.subject.parse::<EntrySubject>().ok().map(|subject| subject.ordinal)
}
