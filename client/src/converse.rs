//! A whole conversation in one call: started, watched, and its questions answered by functions of the caller.

mod driver;

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use futures::stream::BoxStream;
use journal::registry::RegistryError;
use protocol::event::Verdict;
use protocol::ids::ConversationId;
use serde::de::DeserializeOwned;
use tokio::sync::watch;

use crate::{
    Accepted, CancelError, Classified, Client, FollowError, Line, Opening, Outcome, Question, Recorded, StartError, Status, Token,
    ValueError,
};
use driver::Driver;

/// Any error of a caller's own code.
pub type BoxError = Box<dyn Error + Send + Sync>;

type OnMessage = Box<dyn FnMut(&Line) -> Result<(), BoxError> + Send>;
type OnToken = Box<dyn FnMut(&Token) -> Result<(), BoxError> + Send>;
type OnQuestion = Box<dyn FnMut(Question) -> BoxFuture<'static, Result<Answer, BoxError>> + Send>;
type OnUnanswered = Box<dyn FnMut(&Question, Option<&Answer>, &str) + Send>;

/// What a person answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// To a question: these words; none at all end the conversation.
    Text(String),
    /// To an approval, or to a call in doubt.
    Decision {
        /// The decision.
        verdict: Verdict,
        /// In the decider's words.
        note: String,
        /// Who decides.
        by: String,
    },
    /// Nothing, here: somebody else answers it, some day.
    Elsewhere,
}

impl From<&str> for Answer {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Answer {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

/// The caller's side of a conversation. An error, or a panic, of any of them fails the conversation: it never hangs on
/// code that is not there any more.
///
/// ```
/// use client::{Callbacks, Content};
///
/// let mut lines = ["I'd like to track the status of my order", "My order ID is 123"].into_iter();
/// let callbacks = Callbacks::default()
///     .on_message(|line| {
///         if let Content::Text(text) = &line.content {
///             println!("{}: {text}", line.name);
///         }
///         Ok(())
///     })
///     .on_question(move |question| {
///         let line = lines.next();
///         async move { Ok(line.ok_or_else(|| format!("nobody answers {:?}", question.text))?.into()) }
///     });
/// # drop(callbacks);
/// ```
#[derive(Default)]
pub struct Callbacks {
    message: Option<OnMessage>,
    person: Option<OnMessage>,
    token: Option<OnToken>,
    question: Option<OnQuestion>,
    unanswered: Option<OnUnanswered>,
}

impl fmt::Debug for Callbacks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { message, person, token, question, unanswered } = self;
        let has = [
            ("message", message.is_some()),
            ("person", person.is_some()),
            ("token", token.is_some()),
            ("question", question.is_some()),
            ("unanswered", unanswered.is_some()),
        ];
        f.debug_map().entries(has).finish()
    }
}

impl Callbacks {
    /// Called with every message of every agent, in the journal's order.
    #[doc(alias = "agent_response_callback")]
    #[must_use]
    pub fn on_message(mut self, callback: impl FnMut(&Line) -> Result<(), BoxError> + Send + 'static) -> Self {
        self.message = Some(Box::new(callback));
        self
    }

    /// Called with what people say, in the journal's order with the agents' messages: what was said before this program
    /// attached, and what is said elsewhere. Not with what its own human function answers.
    #[must_use]
    pub fn on_person(mut self, callback: impl FnMut(&Line) -> Result<(), BoxError> + Send + 'static) -> Self {
        self.person = Some(Box::new(callback));
        self
    }

    /// Called with every piece of every answer while it is being written.
    #[doc(alias = "streaming_agent_response_callback")]
    #[must_use]
    pub fn on_token(mut self, callback: impl FnMut(&Token) -> Result<(), BoxError> + Send + 'static) -> Self {
        self.token = Some(Box::new(callback));
        self
    }

    /// Called once for each request to the caller, one at a time. It may take days; if somebody else answers meanwhile,
    /// its future is dropped. Called again, a few times, where its answer does not fit: too long, or no decision where one
    /// is wanted.
    #[doc(alias = "human_response_function")]
    #[must_use]
    pub fn on_question<F>(mut self, mut function: impl FnMut(Question) -> F + Send + 'static) -> Self
    where
        F: Future<Output = Result<Answer, BoxError>> + Send + 'static,
    {
        self.question = Some(Box::new(move |question| function(question).boxed()));
        self
    }

    /// Called when a request that was put to the human function does not get its answer from there, with the reason:
    /// somebody else was faster, the request is gone, or the answer does not fit. There is no answer yet where the
    /// function was still being asked.
    #[must_use]
    pub fn on_unanswered(mut self, callback: impl FnMut(&Question, Option<&Answer>, &str) + Send + 'static) -> Self {
        self.unanswered = Some(Box::new(callback));
        self
    }
}

/// Why a conversation's own driver gave no outcome.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ConverseError {
    /// The caller's own code failed, and the conversation with it.
    #[error("{what} failed: {source}")]
    Caller {
        /// Which code.
        what: &'static str,
        /// How.
        source: Arc<dyn Error + Send + Sync>,
    },
    /// The conversation could not be followed.
    #[error(transparent)]
    Follow(#[from] FollowError),
    /// The names of its agents could not be had.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The driver was stopped together with its runtime.
    #[error("the conversation is not being driven any more; it goes on, attach to it again")]
    Stopped,
    /// It has not ended in time.
    #[error("the conversation has not ended within the {0:?} that were waited; it goes on, wait again")]
    TimedOut(Duration),
}

impl Classified for ConverseError {
    fn classify(&self) -> (Status, &'static str) {
        match self {
            Self::Caller { .. } => (Status::Internal, "caller_error"),
            Self::Follow(error) => error.classify(),
            Self::Registry(_) => (Status::Internal, "registry"),
            Self::Stopped => (Status::Unavailable, "stopped"),
            Self::TimedOut(_) => (Status::Timeout, "not_ended"),
        }
    }
}

impl ConverseError {
    fn caller(what: &'static str) -> impl FnOnce(BoxError) -> Self {
        move |error| Self::Caller { what, source: error.into() }
    }
}

/// Why there is no typed result.
#[derive(Clone, Debug, thiserror::Error)]
pub enum GetError {
    /// There is no outcome.
    #[error(transparent)]
    Converse(#[from] ConverseError),
    /// The outcome has no such value.
    #[error(transparent)]
    Value(#[from] ValueError),
}

/// A conversation that is being driven. Dropping the handle changes nothing for the conversation.
///
/// ```no_run
/// # async fn example(client: client::Client) -> Result<(), Box<dyn std::error::Error>> {
/// use client::{Callbacks, Opening};
/// use std::time::Duration;
///
/// #[derive(serde::Deserialize)]
/// struct Ticket {
///     order: u32,
/// }
///
/// let handle = client.invoke(&Opening::new("alice", "Where is my order?"), Callbacks::default()).await?;
/// let ticket: Ticket = handle.get_as(Some(Duration::from_secs(300))).await?;
/// println!("conversation {} was about order {}", handle.conversation(), ticket.order);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Handle {
    client: Client,
    conversation: ConversationId,
    ended: Shared<BoxFuture<'static, Result<Outcome, ConverseError>>>,
    idle: watch::Receiver<bool>,
}

impl Handle {
    /// Its id: with it another process can attach.
    pub const fn conversation(&self) -> &ConversationId {
        &self.conversation
    }

    /// How it ends. With a timeout, the wait ends then; the conversation goes on.
    ///
    /// # Errors
    /// [`ConverseError`]: what the caller's own code failed with, above all.
    pub async fn get(&self, timeout: Option<Duration>) -> Result<Outcome, ConverseError> {
        let Some(timeout) = timeout else { return self.ended.clone().await };
        tokio::time::timeout(timeout, self.ended.clone()).await.unwrap_or(Err(ConverseError::TimedOut(timeout)))
    }

    /// How it ends, as a value of a type of one's own: see [`Outcome::value_as`].
    ///
    /// # Errors
    /// [`GetError`].
    pub async fn get_as<T: DeserializeOwned>(&self, timeout: Option<Duration>) -> Result<T, GetError> {
        Ok(self.get(timeout).await?.value_as()?)
    }

    /// Waits until it has ended, or until nothing happens in it before somebody elsewhere acts: no agent works, and the
    /// human function is not being asked.
    pub async fn idle(&self) {
        // The driver says no more once it has come to its end.
        let _ = self.idle.clone().wait_for(|is_idle| *is_idle).await;
    }

    /// Calls it off.
    ///
    /// # Errors
    /// [`CancelError`].
    pub async fn cancel(&self, reason: &str) -> Result<Accepted, CancelError> {
        self.client.cancel(&self.conversation, reason).await
    }

    /// Its events from the first.
    ///
    /// # Errors
    /// [`FollowError`].
    pub async fn events(&self) -> Result<BoxStream<'static, Result<Recorded, FollowError>>, FollowError> {
        self.client.follow(&self.conversation, None).await
    }
}

impl Client {
    /// Starts a conversation, and drives the caller's side of it until it ends. Returns once it has begun.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn invoke(&self, opening: &Opening, callbacks: Callbacks) -> Result<Handle, StartError> {
        let opening = Opening { human: opening.human || callbacks.question.is_some(), ..opening.clone() };
        let started = self.start(&opening).await?;
        // Whoever has just said it need not be shown it; whoever repeats a call has come back.
        Ok(self.drive(&started.conversation, callbacks, !started.is_repeat))
    }

    /// Drives the caller's side of a conversation that has begun: everything so far is shown, and what is open is asked.
    pub fn attach(&self, conversation: &ConversationId, callbacks: Callbacks) -> Handle {
        self.drive(conversation, callbacks, false)
    }

    fn drive(&self, conversation: &ConversationId, callbacks: Callbacks, has_opened: bool) -> Handle {
        let (is_idle, idle) = watch::channel(false);
        let driver = Driver::new(self.clone(), conversation.clone(), callbacks, has_opened, is_idle);
        let ended = tokio::spawn(driver.drive());
        let ended = ended.map(|ended| ended.unwrap_or(Err(ConverseError::Stopped))).boxed().shared();
        Handle { client: self.clone(), conversation: conversation.clone(), ended, idle }
    }
}
