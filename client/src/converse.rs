//! A whole conversation in one call: started, watched, and its questions answered by functions of the caller.

use std::any::Any;
use std::collections::VecDeque;
use std::error::Error;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, OptionFuture, Shared};
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};
use journal::registry::RegistryError;
use protocol::event::{Audience, Event, Verdict};
use protocol::ids::{ConversationId, RequestId};
use tokio::time::sleep;

use crate::{
    Accepted, CancelError, Classified, Client, DecideError, Decision, FollowError, Followed, Line, Opening, Outcome, Question, Recorded,
    Reply, ReplyError, StartError, Status, Token, Transcript, Unread,
};

/// Any error of a caller's own code.
pub type BoxError = Box<dyn Error + Send + Sync>;

type OnMessage = Box<dyn FnMut(&Line) -> Result<(), BoxError> + Send>;
type OnToken = Box<dyn FnMut(&Token) -> Result<(), BoxError> + Send>;
type OnQuestion = Box<dyn FnMut(Question) -> BoxFuture<'static, Result<Answer, BoxError>> + Send>;

/// How long an answer waits for a broker that is away before it is given again.
const RETRY: Duration = Duration::from_secs(1);

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
#[derive(Default)]
pub struct Callbacks {
    message: Option<OnMessage>,
    token: Option<OnToken>,
    question: Option<OnQuestion>,
}

impl fmt::Debug for Callbacks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { message, token, question } = self;
        let has = [("message", message.is_some()), ("token", token.is_some()), ("question", question.is_some())];
        f.debug_map().entries(has).finish()
    }
}

impl Callbacks {
    /// Called with every message of every agent, in the journal's order.
    #[must_use]
    pub fn on_message(mut self, callback: impl FnMut(&Line) -> Result<(), BoxError> + Send + 'static) -> Self {
        self.message = Some(Box::new(callback));
        self
    }

    /// Called with every piece of every answer while it is being written.
    #[must_use]
    pub fn on_token(mut self, callback: impl FnMut(&Token) -> Result<(), BoxError> + Send + 'static) -> Self {
        self.token = Some(Box::new(callback));
        self
    }

    /// Called once for each request to the caller, one at a time. It may take days; if somebody else answers meanwhile,
    /// its future is dropped.
    #[must_use]
    pub fn on_question<F>(mut self, mut function: impl FnMut(Question) -> F + Send + 'static) -> Self
    where
        F: Future<Output = Result<Answer, BoxError>> + Send + 'static,
    {
        self.question = Some(Box::new(move |question| function(question).boxed()));
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

/// A conversation that is being driven. Dropping the handle changes nothing for the conversation.
#[derive(Clone, Debug)]
pub struct Handle {
    client: Client,
    conversation: ConversationId,
    ended: Shared<BoxFuture<'static, Result<Outcome, ConverseError>>>,
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
        Ok(self.attach(&started.conversation, callbacks))
    }

    /// Drives the caller's side of a conversation that has begun: everything so far is shown, and what is open is asked.
    pub fn attach(&self, conversation: &ConversationId, callbacks: Callbacks) -> Handle {
        let driver = tokio::spawn(drive(self.clone(), conversation.clone(), callbacks));
        let ended = driver.map(|ended| ended.unwrap_or(Err(ConverseError::Stopped))).boxed().shared();
        Handle { client: self.clone(), conversation: conversation.clone(), ended }
    }
}

async fn drive(client: Client, conversation: ConversationId, callbacks: Callbacks) -> Result<Outcome, ConverseError> {
    let driver =
        Driver { client: client.clone(), conversation: conversation.clone(), callbacks, transcript: None, waiting: VecDeque::new() };
    let ended = AssertUnwindSafe(driver.run()).catch_unwind().await.unwrap_or_else(|panic| Err(panicked(&*panic)));
    if let Err(error @ ConverseError::Caller { .. }) = &ended {
        // Ended already is as good.
        if let Err(unfailed) = client.fail(&conversation, &error.to_string()).await {
            tracing::warn!(%conversation, "{error}; the conversation could not be failed: {unfailed}");
        }
    }
    ended
}

fn panicked(panic: &(dyn Any + Send)) -> ConverseError {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "panicked".to_owned());
    ConverseError::caller("the caller's code")(text.into())
}

struct Driver {
    client: Client,
    conversation: ConversationId,
    callbacks: Callbacks,
    transcript: Option<Transcript>,
    waiting: VecDeque<Question>,
}

/// A request that is being answered.
type Asking = (RequestId, BoxFuture<'static, Result<(), ConverseError>>);

impl Driver {
    async fn run(mut self) -> Result<Outcome, ConverseError> {
        let mut followed = match self.callbacks.token {
            Some(_) => self.client.follow_live(&self.conversation, None).await?,
            None => self.client.follow(&self.conversation, None).await?.map(|event| Ok(Followed::Event(Box::new(event?)))).boxed(),
        };
        let mut asking: Option<Asking> = None;
        loop {
            // Everything that is there comes first: what has been answered meanwhile is not put to anybody.
            let next = match followed.next().now_or_never() {
                Some(next) => next,
                None => {
                    asking = asking.or_else(|| self.ask());
                    tokio::select! {
                        next = followed.next() => next,
                        Some(answered) = OptionFuture::from(asking.as_mut().map(|(_, answer)| answer)) => {
                            asking = None;
                            answered?;
                            continue;
                        }
                    }
                }
            };
            match next {
                Some(Ok(Followed::Event(recorded))) => {
                    if let Some(outcome) = self.event(&recorded).await? {
                        return Ok(outcome);
                    }
                    let open = &recorded.entry.head.brief.requests;
                    let is_open = |id: RequestId| open.iter().any(|request| request.id == id);
                    self.waiting.retain(|question| is_open(question.request));
                    asking = asking.filter(|(request, _)| is_open(*request));
                }
                Some(Ok(Followed::Token(token))) => self.token(&token)?,
                Some(Err(error)) => return Err(error.into()),
                None => return Err(FollowError::from(Unread::Erased(self.conversation)).into()),
            }
        }
    }

    async fn event(&mut self, recorded: &Recorded) -> Result<Option<Outcome>, ConverseError> {
        if let Some(callback) = &mut self.callbacks.message {
            let transcript = match &mut self.transcript {
                Some(transcript) => transcript,
                none => none.insert(Transcript::new(self.client.definition(&recorded.entry.head.revision).await?)),
            };
            for line in transcript.lines(recorded).iter().filter(|line| line.agent.is_some()) {
                callback(line).map_err(ConverseError::caller("the message callback"))?;
            }
        }
        if matches!(&recorded.event, Event::Asked(asked) if asked.audience == Audience::Caller) {
            self.waiting.extend(Question::of(&recorded.entry, recorded.id));
        }
        Ok(Outcome::of(&recorded.event))
    }

    fn token(&mut self, token: &Token) -> Result<(), ConverseError> {
        match &mut self.callbacks.token {
            Some(callback) => callback(token).map_err(ConverseError::caller("the token callback")),
            None => Ok(()),
        }
    }

    /// Puts the oldest open request to the person.
    fn ask(&mut self) -> Option<Asking> {
        let function = self.callbacks.question.as_mut()?;
        let question = self.waiting.pop_front()?;
        let answer = function(question.clone());
        Some((question.request, give(self.client.clone(), self.conversation.clone(), question, answer).boxed()))
    }
}

/// Waits for an answer, and gives it for as long as it takes: somebody else's being faster is as good.
async fn give(
    client: Client,
    conversation: ConversationId,
    question: Question,
    answer: BoxFuture<'static, Result<Answer, BoxError>>,
) -> Result<(), ConverseError> {
    let answer = answer.await.map_err(ConverseError::caller("the human function"))?;
    let key = uuid::Uuid::new_v4().to_string();
    loop {
        let (status, error): (Status, BoxError) = match answer_once(&client, &conversation, &question, &answer, &key).await {
            Ok(()) => return Ok(()),
            Err(Unanswered::Reply(error)) => (error.status(), error.into()),
            Err(Unanswered::Decide(error)) => (error.status(), error.into()),
        };
        match status {
            Status::Conflict | Status::Gone => return Ok(()),
            Status::Unavailable => sleep(RETRY).await,
            Status::Invalid | Status::NotFound | Status::TooLarge | Status::Timeout | Status::Internal => {
                return Err(ConverseError::caller("the human function's answer")(error));
            }
        }
    }
}

enum Unanswered {
    Reply(ReplyError),
    Decide(DecideError),
}

async fn answer_once(
    client: &Client,
    conversation: &ConversationId,
    question: &Question,
    answer: &Answer,
    key: &str,
) -> Result<(), Unanswered> {
    match answer.clone() {
        Answer::Text(text) => {
            let reply = Reply::to(question.request, text).with_key(key);
            client.reply(conversation, &reply).await.map_err(Unanswered::Reply)?;
        }
        Answer::Decision { verdict, note, by } => {
            let (request, arguments_hash, key) = (question.request, question.arguments_hash, Some(key.to_owned()));
            let decision = Decision { request, verdict, arguments_hash, note, by, key };
            client.decide(conversation, &decision).await.map_err(Unanswered::Decide)?;
        }
        Answer::Elsewhere => {}
    }
    Ok(())
}
