//! The caller's side of one conversation while it goes on: what happens is shown, what is asked is put to the human
//! function, one request at a time, and its answer is given.

use std::any::Any;
use std::collections::{HashSet, VecDeque};
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use protocol::brief::{Brief, Phase};
use protocol::event::{Audience, Event};
use protocol::ids::{ConversationId, EntryId, RequestId};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::{Answer, BoxError, Callbacks, ConverseError};
use crate::write::entry_id;
use crate::{Classified, Client, Decision, FollowError, Followed, Outcome, Question, Recorded, Reply, Status, Token, Transcript, Unread};

/// How long an answer waits for a broker that is away before it is given again.
const RETRY: Duration = Duration::from_secs(1);
/// How often one request is put to the human function whose answers do not fit.
const ASKED_MAX: u32 = 3;

/// One conversation as its caller's own code sees it.
pub(super) struct Driver {
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
    pub(super) fn new(
        client: Client,
        conversation: ConversationId,
        callbacks: Callbacks,
        has_opened: bool,
        is_idle: watch::Sender<bool>,
    ) -> Self {
        Self {
            client,
            conversation,
            callbacks,
            transcript: None,
            waiting: VecDeque::new(),
            asking: None,
            given: None,
            has_opened,
            own: HashSet::new(),
            phase: Phase::Working,
            is_idle,
        }
    }

    /// Drives the conversation to its end; where the caller's own code fails, it ends there.
    pub(super) async fn drive(self) -> Result<Outcome, ConverseError> {
        let (client, conversation) = (self.client.clone(), self.conversation.clone());
        let ended = AssertUnwindSafe(self.run()).catch_unwind().await.unwrap_or_else(|panic| Err(panicked(&*panic)));
        if let Err(error @ ConverseError::Caller { .. }) = &ended {
            // Ended already is as good.
            if let Err(unfailed) = client.fail(&conversation, &error.to_string()).await {
                tracing::warn!(%conversation, "{error}; the conversation could not be failed: {unfailed}");
            }
        }
        ended
    }

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

fn panicked(panic: &(dyn Any + Send)) -> ConverseError {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "panicked".to_owned());
    ConverseError::caller("the caller's code")(text.into())
}
