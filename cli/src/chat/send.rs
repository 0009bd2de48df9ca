//! What the person wants of the conversation, on its way to the journal.

use std::time::Duration;

use client::{Classified, Client, Decision, Reply, Status};
use futures::FutureExt;
use futures::future::BoxFuture;
use protocol::event::Verdict;
use protocol::ids::{ConversationId, Hash, RequestId};
use tokio::time::sleep;
use uuid::Uuid;

use crate::talk;

/// How long a broker that is away is waited for before it is asked again.
const AGAIN: Duration = Duration::from_secs(1);

/// What is sent.
#[derive(Clone, Debug)]
pub(crate) enum Letter {
    /// An answer, or, without a request, something said.
    Text {
        request: Option<RequestId>,
        text: String,
    },
    Decision {
        request: RequestId,
        verdict: Verdict,
        hash: Option<Hash>,
        note: String,
    },
    End,
    Cancel {
        reason: String,
    },
}

/// What became of it.
#[derive(Debug)]
pub(crate) enum Sent {
    /// It is recorded: the conversation shows it.
    Recorded,
    /// It is not, and why.
    Refused { why: String, is_conflict: bool },
}

/// A letter that is on its way. It arrives once, however often the broker has to be asked.
pub(crate) struct Sending {
    /// The request that it answers.
    pub(crate) request: Option<RequestId>,
    /// The line as it was typed.
    pub(crate) line: String,
    pub(crate) sent: BoxFuture<'static, Sent>,
}

impl Sending {
    pub(crate) fn new(client: Client, conversation: ConversationId, letter: Letter, line: String) -> Self {
        let request = match &letter {
            Letter::Text { request, .. } => *request,
            Letter::Decision { request, .. } => Some(*request),
            Letter::End | Letter::Cancel { .. } => None,
        };
        Self { request, line, sent: send(client, conversation, letter).boxed() }
    }
}

async fn send(client: Client, conversation: ConversationId, letter: Letter) -> Sent {
    let key = Uuid::new_v4().to_string();
    loop {
        let Err((status, why)) = send_once(&client, &conversation, &letter, &key).await else { return Sent::Recorded };
        match status {
            Status::Unavailable => sleep(AGAIN).await,
            _ => return Sent::Refused { why, is_conflict: status == Status::Conflict },
        }
    }
}

async fn send_once(client: &Client, conversation: &ConversationId, letter: &Letter, key: &str) -> Result<(), (Status, String)> {
    match letter.clone() {
        Letter::Text { request, text } => {
            let reply = Reply { request, key: Some(key.to_owned()), ..Reply::bare(text) };
            client.reply(conversation, &reply).await.map(drop).map_err(|error| failure(&error))
        }
        Letter::Decision { request, verdict, hash, note } => {
            let by = talk::DECIDER.to_owned();
            let decision = Decision { request, verdict, arguments_hash: hash, note, by, key: Some(key.to_owned()) };
            client.decide(conversation, &decision).await.map(drop).map_err(|error| failure(&error))
        }
        Letter::End => client.end(conversation).await.map(drop).map_err(|error| failure(&error)),
        Letter::Cancel { reason } => client.cancel(conversation, &reason).await.map(drop).map_err(|error| failure(&error)),
    }
}

fn failure(error: &impl Classified) -> (Status, String) {
    let why = error.to_string();
    // What a person can do about it is to say less.
    let why = if error.status() == Status::TooLarge { format!("{why}; say it in fewer words") } else { why };
    (error.status(), why)
}
