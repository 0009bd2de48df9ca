//! Moves things: events to the screen, the screen's items to the face, typed lines to the journal.

use std::time::Duration;

use anyhow::Context;
use client::{Classified, Client, FollowError, Followed, Status, Unread};
use futures::future::{BoxFuture, OptionFuture};
use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt, TryStreamExt};
use protocol::brief::Brief;
use protocol::ids::{ConversationId, EventId, ProcessId, RequestId};
use protocol::orchestration::Orchestration;
use protocol::query::Shown;
use std::sync::Arc;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use super::Left;
use super::ask::{COMMANDS, Command, Meaning, Reader};
use super::editor::Typed;
use super::face::Face;
use super::paper::{Ink, Item, span};
use super::screen::{Screen, Shows, note};
use super::send::{Letter, Sending, Sent};
use super::silence;
use crate::talk;

/// How long nothing is heard of an agent before the chat asks what is the matter.
const SILENCE: Duration = Duration::from_secs(5);
/// How long it waits before it follows a conversation again that broke off.
const AGAIN: Duration = Duration::from_secs(1);

type Events = BoxStream<'static, Result<Followed, FollowError>>;

/// One person in one conversation.
pub(crate) struct Driver<'a> {
    client: &'a Client,
    id: &'a ConversationId,
    face: &'a mut Face,
    orchestration: Arc<Orchestration>,
    /// Names the broker, in commands for people.
    flags: String,
    screen: Screen,
    events: Events,
    is_broken: bool,
    reader: Reader,
    sending: Option<Sending>,
    /// What has been answered from here; the journal will show it.
    given: Option<RequestId>,
    /// When something was heard of the conversation.
    heard: Instant,
    /// Something that the coordinator is asked.
    asking: Option<BoxFuture<'static, Vec<Item>>>,
    /// When it was asked why nothing is heard, and what was said about it.
    matter: Option<(Instant, Vec<Item>)>,
}

impl<'a> Driver<'a> {
    /// Follows a conversation from its beginning.
    pub(crate) async fn open(
        client: &'a Client,
        process: &ProcessId,
        id: &'a ConversationId,
        face: &'a mut Face,
        flags: String,
    ) -> anyhow::Result<Self> {
        let mut events = follow(client, id, None, face.is_live(), Duration::ZERO);
        let first = events.next().await.context("the conversation has no beginning")??;
        let Followed::Event(opening) = &first else { anyhow::bail!("the conversation does not begin with its opening") };
        let orchestration = client.definition(&opening.entry.head.revision).await?;
        let shows = Shows { is_live: face.is_live(), is_echoed: face.echoes() };
        let mut screen = Screen::new(Arc::clone(&orchestration), process.clone(), shows);
        face.show(&[note(&format!("conversation {id} · /help lists commands"))]);
        face.show(&screen.followed(&first));
        Ok(Self {
            client,
            id,
            face,
            orchestration,
            flags,
            screen,
            events,
            is_broken: false,
            reader: Reader::default(),
            sending: None,
            given: None,
            heard: Instant::now(),
            asking: None,
            matter: None,
        })
    }

    /// Until the conversation ends, or the person leaves it.
    pub(crate) async fn run(mut self) -> anyhow::Result<Left> {
        let mut ticks = interval(Duration::from_secs(1));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            // Everything that is there comes first: what has been answered meanwhile is not asked.
            while let Some(next) = self.events.next().now_or_never() {
                if let Some(left) = self.followed(next).await? {
                    return Ok(left);
                }
            }
            self.reached();
            let is_wanted = self.asked().is_some() && self.sending.is_none();
            tokio::select! {
                next = self.events.next() => {
                    if let Some(left) = self.followed(next).await? {
                        return Ok(left);
                    }
                }
                typed = self.face.typed(is_wanted) => {
                    if let Some(left) = self.typed(typed) {
                        return Ok(left);
                    }
                }
                Some(sent) = OptionFuture::from(self.sending.as_mut().map(|sending| &mut sending.sent)) => self.sent(sent),
                Some(items) = OptionFuture::from(self.asking.as_mut()) => {
                    self.asking = None;
                    self.told(&items);
                }
                _ = ticks.tick() => self.tick(),
            }
        }
    }

    /// What is asked of the person, and not answered from here yet.
    fn asked(&self) -> Option<&client::Question> {
        self.screen.asked().filter(|question| self.given != Some(question.request))
    }

    async fn followed(&mut self, next: Option<Result<Followed, FollowError>>) -> anyhow::Result<Option<Left>> {
        match next {
            Some(Ok(followed)) => {
                (self.is_broken, self.heard, self.matter) = (false, Instant::now(), None);
                let items = self.screen.followed(&followed);
                self.face.show(&items);
            }
            Some(Err(error)) if error.status() == Status::Unavailable => self.broke_off(&error),
            Some(Err(error)) => return Err(error.into()),
            None => return Err(FollowError::from(Unread::Erased(self.id.clone())).into()),
        }
        let Some(outcome) = self.screen.outcome() else { return Ok(None) };
        let exit = talk::exit_code(outcome);
        // Whatever was on its way is answered at once now: it is too late.
        if let Some(mut sending) = self.sending.take() {
            let sent = timeout(AGAIN, &mut sending.sent).await;
            self.sending = Some(sending);
            sent.into_iter().for_each(|sent| self.sent(sent));
        }
        Ok(Some(Left::Ended(exit)))
    }

    fn broke_off(&mut self, error: &FollowError) {
        let mut items = self.screen.broken();
        if !std::mem::replace(&mut self.is_broken, true) {
            items.push(note(&format!("the conversation cannot be followed now, trying again: {error}")));
        }
        self.face.show(&items);
        self.events = follow(self.client, self.id, self.screen.last(), self.face.is_live(), AGAIN);
    }

    /// Nothing more is there for now.
    fn reached(&mut self) {
        let items = self.screen.reached();
        self.face.show(&items);
        let target = self.asked().map(|question| question.request);
        self.face.aim(target);
        self.face.go_on(String::new());
        self.show_status();
    }

    fn show_status(&mut self) {
        let secs = self.heard.elapsed().as_secs();
        let status = match &self.sending {
            Some(_) => vec![span(Ink::Dim, "sending …")],
            None => self.screen.status(secs),
        };
        self.face.status(&status);
    }

    fn tick(&mut self) {
        self.show_status();
        if !self.screen.is_working() || self.asking.is_some() || self.heard.elapsed() < SILENCE {
            return;
        }
        if self.matter.as_ref().is_some_and(|(asked, _)| asked.elapsed() < SILENCE) {
            return;
        }
        let said = self.matter.take().map(|(_, said)| said).unwrap_or_default();
        self.matter = Some((Instant::now(), said));
        if let Some(brief) = self.screen.brief().cloned() {
            self.asking = Some(what_is_the_matter(self.client.clone(), Arc::clone(&self.orchestration), brief, self.flags.clone()).boxed());
        }
    }

    /// The coordinator's answer. Why nothing is heard is said once for as long as it stays the same.
    fn told(&mut self, items: &[Item]) {
        if let Some((_, said)) = &mut self.matter {
            if said == items {
                return;
            }
            *said = items.to_vec();
        }
        self.face.show(items);
    }

    fn typed(&mut self, typed: Typed) -> Option<Left> {
        let (text, target) = match typed {
            Typed::Line { text, target } => (text, target),
            Typed::Closed => return Some(Left::Quit),
            Typed::Interrupted => return Some(Left::Interrupted),
            Typed::Broken(why) => {
                self.face.show(&[note(&format!("nothing more can be read here: {why}"))]);
                return Some(Left::Quit);
            }
        };
        let asked = self.asked().cloned();
        let mut begin = String::new();
        match self.reader.read(&text, target, asked.as_ref()) {
            Meaning::Nothing => {}
            Meaning::Told(why) => self.face.show(&[note(&why)]),
            Meaning::Back(why) => {
                self.face.show(&[note(why)]);
                begin = text;
            }
            Meaning::Command(Command::Help) => self.face.show(&help()),
            Meaning::Command(Command::Quit) => return Some(Left::Quit),
            Meaning::Command(Command::Show) => self.asking = Some(show(self.client.clone(), self.id.clone()).boxed()),
            Meaning::Command(Command::End) => begin = self.send(Letter::End, text),
            Meaning::Command(Command::Cancel(reason)) => begin = self.send(Letter::Cancel { reason }, text),
            Meaning::Answer { request, text: answer } => begin = self.send(Letter::Text { request: Some(request), text: answer }, text),
            Meaning::Say(message) => begin = self.send(Letter::Text { request: None, text: message }, text),
            Meaning::Decision { request, verdict, hash, note } => {
                begin = self.send(Letter::Decision { request, verdict, hash, note }, text);
            }
        }
        // From here on a line answers what is asked now.
        let target = self.asked().map(|question| question.request);
        self.face.aim(target);
        self.face.go_on(begin);
        None
    }

    /// Sends a letter; gives the line back if another one is still on its way.
    fn send(&mut self, letter: Letter, line: String) -> String {
        if self.sending.is_some() {
            self.face
                .show(&[note("Your line before is still on its way: this one was not sent. Enter sends it once that one has arrived.")]);
            return line;
        }
        let sending = Sending::new(self.client.clone(), self.id.clone(), letter, line);
        self.given = sending.request.or(self.given);
        self.sending = Some(sending);
        String::new()
    }

    fn sent(&mut self, sent: Sent) {
        let Some(sending) = self.sending.take() else { return };
        let Sent::Refused { why, is_conflict } = sent else { return };
        self.given = self.given.filter(|given| Some(*given) != sending.request);
        let why = match is_conflict && sending.request.is_some() {
            true => format!("Somebody else was faster, or it is too late: your line was not sent ({why})"),
            false => format!("Your line was not sent: {why}"),
        };
        let line: String = sending.line.chars().take(500).collect();
        let back = if self.face.is_live() { " (↑ brings it back)" } else { "" };
        self.face.show(&[Item::Note(vec![span(Ink::Bad, &format!("  {why}"))]), note(&format!("it was{back}: {line}"))]);
    }
}

/// A conversation after an event, once `delay` has passed.
fn follow(client: &Client, id: &ConversationId, after: Option<EventId>, is_live: bool, delay: Duration) -> Events {
    let (client, id) = (client.clone(), id.clone());
    let following = async move {
        sleep(delay).await;
        match is_live {
            true => client.follow_live(&id, after).await,
            false => Ok(client.follow(&id, after).await?.map_ok(|recorded| Followed::Event(Box::new(recorded))).boxed()),
        }
    };
    stream::once(following).try_flatten().boxed()
}

async fn what_is_the_matter(client: Client, orchestration: Arc<Orchestration>, brief: Brief, flags: String) -> Vec<Item> {
    let status = client.status().await.ok();
    vec![note(&silence::matter(&orchestration, &brief, status.as_ref(), &flags))]
}

async fn show(client: Client, id: ConversationId) -> Vec<Item> {
    let Shown { brief, ordinal, traceparent, revision, .. } = match client.show(&id).await {
        Ok(shown) => shown,
        Err(error) => return vec![note(&error.to_string())],
    };
    let trace = traceparent.as_deref().and_then(|parent| parent.split('-').nth(1)).unwrap_or("none").to_owned();
    let requests: Vec<String> = brief.requests.iter().map(|request| format!("{} asks {}", request.id, request.audience)).collect();
    let mut lines = vec![
        format!("conversation {id}"),
        format!("owner        {}", brief.owner),
        format!("phase        {}, {} entries", brief.phase.as_str(), ordinal + 1),
        format!("revision     {revision}"),
        format!("trace        {trace}"),
    ];
    lines.extend((!requests.is_empty()).then(|| format!("open         {}", requests.join(", "))));
    lines.iter().map(|line| note(line)).collect()
}

/// What can be typed.
pub(crate) fn help() -> Vec<Item> {
    let mut items: Vec<Item> = COMMANDS.iter().map(|(command, does)| note(&format!("{command:<17} {does}"))).collect();
    items.push(note("Anything else is your answer to what is asked, or a message to whoever works."));
    items
}
