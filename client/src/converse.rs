//! A whole conversation in one call: started, watched, and its questions answered by functions of the caller.

use std::any::Any;
use std::collections::{HashSet, VecDeque};
use std::error::Error;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, Shared};
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};
use journal::registry::RegistryError;
use protocol::brief::{Brief, Phase};
use protocol::event::{Audience, Event, Verdict};
use protocol::ids::{ConversationId, EntryId, RequestId};
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::write::entry_id;
use crate::{
    Accepted, CancelError, Classified, Client, Decision, FollowError, Followed, Line, Opening, Outcome, Question, Recorded, Reply,
    StartError, Status, Token, Transcript, Unread, ValueError,
};

/// Any error of a caller's own code.
pub type BoxError = Box<dyn Error + Send + Sync>;

type OnMessage = Box<dyn FnMut(&Line) -> Result<(), BoxError> + Send>;
type OnToken = Box<dyn FnMut(&Token) -> Result<(), BoxError> + Send>;
type OnQuestion = Box<dyn FnMut(Question) -> BoxFuture<'static, Result<Answer, BoxError>> + Send>;
type OnUnanswered = Box<dyn FnMut(&Question, Option<&Answer>, &str) + Send>;

/// How long an answer waits for a broker that is away before it is given again.
const RETRY: Duration = Duration::from_secs(1);
/// How often one request is put to the human function whose answers do not fit.
const ASKED_MAX: u32 = 3;

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
        let driver = Driver {
            client: self.clone(),
            conversation: conversation.clone(),
            callbacks,
            transcript: None,
            waiting: VecDeque::new(),
            asking: None,
            given: None,
            has_opened,
            own: HashSet::new(),
            phase: Phase::Working,
            is_idle,
        };
        let ended = tokio::spawn(drive(self.clone(), conversation.clone(), driver));
        let ended = ended.map(|ended| ended.unwrap_or(Err(ConverseError::Stopped))).boxed().shared();
        Handle { client: self.clone(), conversation: conversation.clone(), ended, idle }
    }
}

async fn drive(client: Client, conversation: ConversationId, driver: Driver) -> Result<Outcome, ConverseError> {
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
    /// Requests to the caller that are open and have not been put to anybody.
    waiting: VecDeque<Question>,
    asking: Option<Asking>,
    /// A request that was answered from here and, as far as has been seen, is still open.
    given: Option<RequestId>,
    /// Whether the opening was written from here.
    has_opened: bool,
    /// Answers that were.
    own: HashSet<EntryId>,
    phase: Phase,
    is_idle: watch::Sender<bool>,
}

/// A request that is being answered.
struct Asking {
    question: Question,
    /// How often the function has been asked for it.
    times: u32,
    step: Step,
}

enum Step {
    /// The human function thinks.
    Thinking(BoxFuture<'static, Result<Answer, BoxError>>),
    /// Its answer is being given.
    Giving(Answer, BoxFuture<'static, Result<(), Refused>>),
}

/// Why an answer was not taken.
struct Refused {
    status: Status,
    error: BoxError,
}

/// What came of one step.
enum Stepped {
    Answered(Answer),
    Given(Result<(), Refused>),
}

impl Asking {
    async fn step(&mut self) -> Result<Stepped, ConverseError> {
        match &mut self.step {
            Step::Thinking(answer) => answer.await.map(Stepped::Answered).map_err(ConverseError::caller("the human function")),
            Step::Giving(_, giving) => Ok(Stepped::Given(giving.await)),
        }
    }
}

async fn step(asking: &mut Option<Asking>) -> Result<Stepped, ConverseError> {
    match asking {
        Some(asking) => asking.step().await,
        None => std::future::pending().await,
    }
}

impl Driver {
    async fn run(mut self) -> Result<Outcome, ConverseError> {
        let mut followed = match self.callbacks.token {
            Some(_) => self.client.follow_live(&self.conversation, None).await?,
            None => self.client.follow(&self.conversation, None).await?.map(|event| Ok(Followed::Event(Box::new(event?)))).boxed(),
        };
        loop {
            // Everything that is there comes first: what has been answered meanwhile is not put to anybody.
            let next = match followed.next().now_or_never() {
                Some(next) => next,
                None => {
                    self.ask(None);
                    self.is_idle.send_replace(self.phase != Phase::Working && self.asking.is_none() && self.given.is_none());
                    tokio::select! {
                        next = followed.next() => next,
                        stepped = step(&mut self.asking) => {
                            self.stepped(stepped?)?;
                            continue;
                        }
                    }
                }
            };
            match next {
                Some(Ok(Followed::Event(recorded))) => {
                    let outcome = self.event(&recorded).await?;
                    self.close(&recorded, outcome.is_some()).await;
                    if let Some(outcome) = outcome {
                        return Ok(outcome);
                    }
                }
                Some(Ok(Followed::Token(token))) => self.token(&token)?,
                Some(Err(error)) => return Err(error.into()),
                None => return Err(FollowError::from(Unread::Erased(self.conversation)).into()),
            }
        }
    }

    async fn event(&mut self, recorded: &Recorded) -> Result<Option<Outcome>, ConverseError> {
        if self.callbacks.message.is_some() || self.callbacks.person.is_some() {
            let transcript = match &mut self.transcript {
                Some(transcript) => transcript,
                none => none.insert(Transcript::new(self.client.definition(&recorded.entry.head.revision).await?)),
            };
            for line in transcript.lines(recorded) {
                let (callback, what) = match line.agent {
                    Some(_) => (&mut self.callbacks.message, "the message callback"),
                    None if (self.has_opened && recorded.id.ordinal == 0) || self.own.contains(&recorded.entry.head.id) => continue,
                    None => (&mut self.callbacks.person, "the person callback"),
                };
                if let Some(callback) = callback {
                    callback(&line).map_err(ConverseError::caller(what))?;
                }
            }
        }
        if matches!(&recorded.event, Event::Asked(asked) if asked.audience == Audience::Caller) {
            self.waiting.extend(Question::of(&recorded.entry, recorded.id));
        }
        Ok(Outcome::of(&recorded.event))
    }

    /// Forgets the requests that are not open any more.
    async fn close(&mut self, recorded: &Recorded, has_ended: bool) {
        let brief = &recorded.entry.head.brief;
        self.phase = brief.phase;
        let is_open = |id: RequestId| !has_ended && is_open(brief, id);
        self.waiting.retain(|question| is_open(question.request));
        self.given = self.given.filter(|request| is_open(*request));
        let Some(mut asking) = self.asking.take_if(|asking| !is_open(asking.question.request)) else { return };
        match asking.step {
            Step::Thinking(_) => self.unanswered(&asking.question, None, why_closed(recorded, has_ended)),
            // Its own answer may be what has closed it: that is known in a moment.
            Step::Giving(..) if !has_ended => self.asking = Some(asking),
            Step::Giving(..) => {
                if let Ok(Ok(Stepped::Given(Err(refused)))) = timeout(RETRY, asking.step()).await {
                    let Step::Giving(answer, _) = &asking.step else { return };
                    self.unanswered(&asking.question, Some(answer), &refused.error.to_string());
                }
            }
        }
    }

    fn token(&mut self, token: &Token) -> Result<(), ConverseError> {
        match &mut self.callbacks.token {
            Some(callback) => callback(token).map_err(ConverseError::caller("the token callback")),
            None => Ok(()),
        }
    }

    /// Puts a request to the person, where nothing is being asked: the oldest one that is open, or one of which the
    /// answer did not fit.
    fn ask(&mut self, again: Option<(Question, u32)>) {
        let (None, Some(function)) = (&self.asking, &mut self.callbacks.question) else { return };
        let Some((question, times)) = again.or_else(|| Some((self.waiting.pop_front()?, 0))) else { return };
        let answer = function(question.clone());
        self.asking = Some(Asking { question, times: times + 1, step: Step::Thinking(answer) });
    }

    /// One step further with the request that is being answered.
    fn stepped(&mut self, stepped: Stepped) -> Result<(), ConverseError> {
        let Some(Asking { question, times, step }) = self.asking.take() else { return Ok(()) };
        match (stepped, step) {
            (Stepped::Answered(Answer::Elsewhere), _) | (Stepped::Given(_), Step::Thinking(_)) => {}
            (Stepped::Answered(answer), _) => {
                let key = uuid::Uuid::new_v4().to_string();
                self.own.insert(entry_id(&self.conversation, Some(&key)));
                let giving = give(self.client.clone(), self.conversation.clone(), question.clone(), answer.clone(), key).boxed();
                self.asking = Some(Asking { question, times, step: Step::Giving(answer, giving) });
            }
            (Stepped::Given(Ok(())), _) => self.given = Some(question.request),
            (Stepped::Given(Err(Refused { status, error })), Step::Giving(answer, _)) => {
                let fits = matches!(status, Status::Conflict | Status::Gone);
                if !fits && (times == ASKED_MAX || !matches!(status, Status::Invalid | Status::TooLarge)) {
                    return Err(ConverseError::caller("the human function's answer")(error));
                }
                self.unanswered(&question, Some(&answer), &error.to_string());
                if !fits {
                    self.ask(Some((question, times)));
                }
            }
        }
        Ok(())
    }

    fn unanswered(&mut self, question: &Question, answer: Option<&Answer>, why: &str) {
        if let Some(callback) = &mut self.callbacks.unanswered {
            callback(question, answer, why);
        }
    }
}

fn is_open(brief: &Brief, request: RequestId) -> bool {
    brief.requests.iter().any(|open| open.id == request)
}

/// What closed a request that was still being thought about.
const fn why_closed(recorded: &Recorded, has_ended: bool) -> &'static str {
    match &recorded.event {
        _ if has_ended => "the conversation has ended",
        Event::Replied(_) | Event::Decided(_) => "somebody else has answered it",
        _ => "it is not open any more",
    }
}

/// Gives an answer, for as long as the broker is away.
async fn give(client: Client, conversation: ConversationId, question: Question, answer: Answer, key: String) -> Result<(), Refused> {
    loop {
        match give_once(&client, &conversation, &question, answer.clone(), &key).await {
            Err(Refused { status: Status::Unavailable, .. }) => sleep(RETRY).await,
            given => return given,
        }
    }
}

async fn give_once(client: &Client, conversation: &ConversationId, question: &Question, answer: Answer, key: &str) -> Result<(), Refused> {
    match answer {
        Answer::Text(text) => {
            let reply = Reply::to(question.request, text).with_key(key);
            client.reply(conversation, &reply).await.map_err(Refused::from)?;
        }
        Answer::Decision { verdict, note, by } => {
            let (request, arguments_hash, key) = (question.request, question.arguments_hash, Some(key.to_owned()));
            let decision = Decision { request, verdict, arguments_hash, note, by, key };
            client.decide(conversation, &decision).await.map_err(Refused::from)?;
        }
        Answer::Elsewhere => {}
    }
    Ok(())
}

impl<E: Classified + Into<BoxError>> From<E> for Refused {
    fn from(error: E) -> Self {
        Self { status: error.status(), error: error.into() }
    }
}
