//! Moves things: entries to the queue and the screen, typed lines to the journal.

use std::fmt::Display;
use std::time::Duration;

use anyhow::Context;
use client::{Claim, Claiming, Classified, Client, Decision, FollowError, Question, Recorded, Reply, Wanted};
use futures::future::OptionFuture;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};
use journal::{Follow, Scope, Start};
use protocol::entry::Head;
use protocol::event::{Audience, DeskAction, RequestKind};
use protocol::ids::{AgentName, ConversationId, ProcessId, RequestId, Seq};
use protocol::query::{ListQuery, Shown};
use protocol::wire::Stored;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::ask::{COMMANDS, Meaning, read};
use super::queue::{Now, Queue, within};
use super::served::Served;
use super::typed::split;
use crate::attendance;
use crate::chat::editor::Typed;
use crate::chat::face::Face;
use crate::chat::paper::{Ink, Item, span};
use crate::chat::screen::note;
use crate::talk;

/// How long a broker that is away is waited for before it is asked again.
const AGAIN: Duration = Duration::from_secs(1);

/// Who sits at the desk, and at which process.
#[derive(Clone, Debug)]
pub(super) struct Me {
    pub(super) by: String,
    pub(super) process: ProcessId,
}

/// One person at one desk.
pub(super) struct Desk<'a> {
    client: &'a Client,
    face: &'a mut Face,
    audience: Audience,
    by: String,
    process: ProcessId,
    queue: Queue,
    /// What happens anywhere in the orchestration.
    entries: BoxStream<'static, Result<Stored, journal::FollowError>>,
    seq: Seq,
    /// The broker's clock, and when it was read.
    clock: (u64, Instant),
    serving: Option<Serving>,
}

/// The conversation that the person has in front of them.
struct Serving {
    id: ConversationId,
    served: Served,
    events: BoxStream<'static, Result<Recorded, FollowError>>,
    /// What has been put to the person, and what they have answered.
    put: Option<RequestId>,
    given: Option<RequestId>,
}

impl<'a> Desk<'a> {
    /// The queue as it is, and the conversation that this person was serving when they left.
    pub(super) async fn open(client: &'a Client, face: &'a mut Face, audience: Audience, me: Me) -> anyhow::Result<Self> {
        let orchestration = client.current().await?;
        let agents: Vec<AgentName> =
            orchestration.agents().filter(|agent| agent.is_played_at(&audience)).map(|agent| agent.name.clone()).collect();
        let status = client.status().await.with_context(|| format!("what waits at {audience} cannot be listed"))?;
        // From a little before the list on: nothing falls in between.
        let seq = Seq(status.seq);
        let entries = follow(client, seq).await?;
        let mut queue = Queue::new(audience.clone());
        let listed = client.list(&ListQuery { audience: Some(audience.clone()), ..ListQuery::default() }).await?;
        for Shown { conversation, ordinal, brief, last_ms, due, .. } in &listed.conversations {
            queue.list(Now { conversation, ordinal: *ordinal, brief, time_ms: *last_ms, due });
        }
        let clock = (status.now_ms, Instant::now());
        let Me { by, process } = me;
        let mut desk = Self { client, face, audience, by, process, queue, entries, seq, clock, serving: None };
        desk.face.show(&[note(&format!("{} · you are {} · /help lists commands", desk.audience, desk.by))]);
        let asked = orchestration.audiences();
        if !asked.contains(&desk.audience) {
            let asked: Vec<String> = asked.iter().map(ToString::to_string).collect();
            let instead = if asked.is_empty() { "nobody but the caller".to_owned() } else { asked.join(", ") };
            desk.tell(format!("no new conversation asks {}: {} asks {instead}", desk.audience, orchestration.name()));
        }
        match desk.mine(&agents).await? {
            Some(id) => desk.serve(id).await?,
            None => desk.show_queue(),
        }
        desk.show_others().await;
        Ok(desk)
    }

    /// What this person has taken: it waits for them, or for the caller's answer to them.
    async fn mine(&self, agents: &[AgentName]) -> anyhow::Result<Option<ConversationId>> {
        if let Some(waiting) = self.queue.taken_by(&self.by) {
            return Ok(Some(waiting.conversation.clone()));
        }
        for agent in agents {
            let listed = self.client.list(&ListQuery { agent: Some(agent.clone()), ..ListQuery::default() }).await?;
            let mut open = listed.conversations.into_iter().filter(|shown| !shown.brief.phase.is_ended());
            if let Some(shown) = open.find(|shown| shown.brief.served_by.as_ref() == Some(&self.by)) {
                return Ok(Some(shown.conversation));
            }
        }
        Ok(None)
    }

    /// Until the person leaves.
    pub(super) async fn run(mut self) -> anyhow::Result<()> {
        loop {
            // Everything that is there comes first: what has been answered meanwhile is not asked.
            while let Some(next) = self.serving.as_mut().and_then(|serving| serving.events.next().now_or_never()) {
                self.happened(next).await?;
            }
            self.reached();
            // A person is heard at once: what they typed before must not be taken for an answer to what comes after.
            let has_something = match &self.serving {
                Some(serving) => serving.asked(&self.by).is_some(),
                None => !self.queue.waiting().is_empty(),
            };
            let is_wanted = has_something || self.face.is_typed();
            tokio::select! {
                Some(next) = OptionFuture::from(self.serving.as_mut().map(|serving| serving.events.next())) => self.happened(next).await?,
                stored = self.entries.next() => self.stored(stored).await?,
                typed = self.face.typed(is_wanted) => {
                    let Typed::Line { text, .. } = typed else { return Ok(()) };
                    if !self.typed(&text).await? {
                        return Ok(());
                    }
                    self.face.go_on(String::new());
                }
            }
        }
    }

    async fn stored(&mut self, stored: Option<Result<Stored, journal::FollowError>>) -> anyhow::Result<()> {
        let Some(Ok(stored)) = stored else {
            sleep(AGAIN).await;
            self.entries = follow(self.client, self.seq).await?;
            return Ok(());
        };
        self.seq = stored.seq;
        // What this version cannot read waits at no desk that it knows.
        let Ok(head) = Head::decode(&stored.subject, &stored.headers) else { return Ok(()) };
        let (conversation, ordinal) = (&head.subject.conversation, head.subject.ordinal);
        let now = Now { conversation, ordinal, brief: &head.brief, time_ms: stored.time_ms, due: &[] };
        if self.queue.follow(now) && self.serving.is_none() {
            self.show_queue();
        }
        Ok(())
    }

    async fn happened(&mut self, next: Option<Result<Recorded, FollowError>>) -> anyhow::Result<()> {
        let Some(serving) = &mut self.serving else { return Ok(()) };
        match next {
            Some(Ok(recorded)) => {
                let items = serving.served.followed(&recorded);
                self.face.show(&items);
            }
            Some(Err(error)) if error.status() == client::Status::Unavailable => {
                sleep(AGAIN).await;
                serving.events = self.client.follow(&serving.id, serving.served.last()).await?;
            }
            Some(Err(error)) => return Err(error.into()),
            // After its end, or its erasure.
            None => {
                let why = serving.served.is_over(&self.by).unwrap_or_else(|| "nothing is left of it".to_owned());
                self.leave(&why);
            }
        }
        Ok(())
    }

    /// Nothing more is there for now: what is asked is put to the person, or they are done with it.
    fn reached(&mut self) {
        let Some(serving) = &mut self.serving else { return self.show_status() };
        if let Some(why) = serving.served.is_over(&self.by) {
            return self.leave(&why);
        }
        let asked = serving.asked(&self.by).filter(|asked| serving.put != Some(asked.request)).cloned();
        if let Some(asked) = asked {
            serving.put = Some(asked.request);
            let due = self.queue.waiting().iter().find(|waiting| waiting.conversation == serving.id && waiting.request.id == asked.request);
            let due = due.and_then(|waiting| waiting.due_ms).map(|due_ms| within(due_ms, self.now_ms()));
            self.face.show(&Served::put(&asked, due));
        }
        self.show_status();
    }

    fn leave(&mut self, why: &str) {
        self.serving = None;
        self.face.show(&[Item::Turn, note(why)]);
        self.show_queue();
    }

    fn now_ms(&self) -> u64 {
        let (at_ms, read) = self.clock;
        at_ms.saturating_add(u64::try_from(read.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    fn show_status(&mut self) {
        let waiting = format!("{} · {} waiting", self.audience, self.queue.waiting().len());
        let doing = match &self.serving {
            Some(serving) if serving.asked(&self.by).is_some() => " · your turn",
            Some(_) => " · the caller's turn",
            None => "",
        };
        self.face.status(&vec![span(Ink::Dim, &format!("{waiting}{doing}"))]);
        self.face.go_on(String::new());
    }

    fn show_queue(&mut self) {
        let lines = self.queue.lines(self.now_ms());
        let items = if lines.is_empty() { vec![note("nothing waits")] } else { lines.iter().map(|line| note(line)).collect() };
        self.face.show(&items);
    }

    async fn show_others(&mut self) {
        let there = attendance::who(self.client, &self.audience).await;
        let line = attendance::line(&self.audience, &there, Some(&self.process), self.now_ms());
        self.face.show(&[note(&line)]);
    }

    fn tell(&mut self, why: impl Display) {
        self.face.show(&[Item::Note(vec![span(Ink::Bad, &format!("  {why}"))])]);
    }

    /// Carries out a line; whether the person stays.
    async fn typed(&mut self, text: &str) -> anyhow::Result<bool> {
        match read(text) {
            Meaning::Nothing => {}
            Meaning::Quit => return Ok(false),
            Meaning::Told(why) => self.tell(why),
            Meaning::Help => {
                let lines = COMMANDS.iter().map(|(command, does)| note(&format!("{command:<28} {does}")));
                self.face.show(&lines.chain([note("Anything else is your answer.")]).collect::<Vec<_>>());
            }
            Meaning::Queue => {
                self.show_queue();
                self.show_others().await;
            }
            Meaning::Take { place, is_over } => self.take(place, is_over).await?,
            Meaning::Release => self.release().await,
            Meaning::Answer(text) => self.answer(text).await,
            Meaning::Transfer { to, rest } => self.act(DeskAction::Transfer { to }, &rest).await,
            Meaning::Done { rest } => self.act(DeskAction::Complete, &rest).await,
            Meaning::Back { rest } => match self.serving.as_ref().and_then(|serving| serving.served.handed_by().cloned()) {
                Some(to) => self.act(DeskAction::Transfer { to }, &rest).await,
                None => self.tell("nobody has handed it over"),
            },
        }
        Ok(true)
    }

    async fn take(&mut self, place: Option<usize>, is_over: bool) -> anyhow::Result<()> {
        if let Some(serving) = self.serving.as_ref().filter(|serving| serving.asked(&self.by).is_some()) {
            let why = format!("you have {}: answer, hand it over or /release it first", serving.id);
            self.tell(why);
            return Ok(());
        }
        let Some(chosen) = self.queue.choose(place, is_over, &self.by).cloned() else {
            self.tell("there is nothing to take: /queue shows what waits");
            return Ok(());
        };
        if !chosen.request.is_at_desk() {
            return self.serve(chosen.conversation).await;
        }
        let how = if is_over { Claiming::TakeOver } else { Claiming::Take };
        let claim = Claim { how, key: key(), ..Claim::take(chosen.request.id, &self.by) };
        match self.client.claim(&chosen.conversation, &claim).await {
            Ok(_) => self.serve(chosen.conversation).await,
            Err(error) => {
                self.tell(error);
                Ok(())
            }
        }
    }

    /// Shows a conversation from its beginning, and goes on with it.
    async fn serve(&mut self, id: ConversationId) -> anyhow::Result<()> {
        let orchestration = self.client.definition(&self.client.show(&id).await?.revision).await?;
        let events = self.client.follow(&id, None).await?;
        self.face.show(&[Item::Turn, note(&format!("conversation {id}"))]);
        let served = Served::new(orchestration, self.audience.clone());
        self.serving = Some(Serving { id, served, events, put: None, given: None });
        Ok(())
    }

    async fn release(&mut self) {
        let Some((id, asked)) = self.asked() else { return };
        if !matches!(asked.audience, Audience::Desk(_)) {
            return self.leave("it waits for somebody else");
        }
        let claim = Claim { how: Claiming::Release, key: key(), ..Claim::take(asked.request, &self.by) };
        match self.client.claim(&id, &claim).await {
            Ok(_) => self.leave("it waits for somebody else"),
            Err(error) => self.tell(error),
        }
    }

    async fn answer(&mut self, text: String) {
        let Some((id, asked)) = self.asked() else { return };
        if asked.kind == RequestKind::Question {
            return self.reply(&id, Reply::to(asked.request, text)).await;
        }
        let Some((verdict, note)) = talk::decision(asked.kind, &text) else {
            return self.tell(format!("That decides nothing: say {}.", talk::choices(asked.kind)));
        };
        let (by, key) = (self.by.clone(), key());
        let decision = Decision { arguments_hash: asked.arguments_hash, note, by, key, ..Decision::new(asked.request, verdict) };
        match self.client.decide(&id, &decision).await {
            Ok(_) => self.given(asked.request),
            Err(error) => self.tell(error),
        }
    }

    async fn act(&mut self, action: DeskAction, rest: &str) {
        let Some((id, asked)) = self.asked() else { return };
        let typed = self.serving.as_ref().map_or(Wanted::Words, |serving| serving.served.typed(&action));
        match split(rest, typed) {
            Ok((_, text)) if text.is_empty() && action == DeskAction::Complete => self.tell("say what was done, after the result"),
            Ok((value, text)) => self.reply(&id, Reply { action: Some(action), value, ..Reply::to(asked.request, text) }).await,
            Err(expected) => self.tell(expected),
        }
    }

    async fn reply(&mut self, id: &ConversationId, reply: Reply) {
        let reply = Reply { by: self.by.clone(), key: key(), ..reply };
        match self.client.reply(id, &reply).await {
            Ok(_) => reply.request.into_iter().for_each(|request| self.given(request)),
            Err(error) => self.tell(error),
        }
    }

    fn given(&mut self, request: RequestId) {
        if let Some(serving) = &mut self.serving {
            serving.given = Some(request);
        }
    }

    /// What the person is asked; they are told where it is nothing.
    fn asked(&mut self) -> Option<(ConversationId, Question)> {
        let asked = self.serving.as_ref().and_then(|serving| Some((serving.id.clone(), serving.asked(&self.by)?.clone())));
        if asked.is_none() {
            self.tell(if self.serving.is_some() { "the caller has not answered yet" } else { "take something first: /take" });
        }
        asked
    }
}

impl Serving {
    /// What is asked of the person, and not answered from here yet.
    fn asked(&self, by: &str) -> Option<&Question> {
        self.served.open(by).filter(|asked| self.given != Some(asked.request))
    }
}

async fn follow(client: &Client, after: Seq) -> anyhow::Result<BoxStream<'static, Result<Stored, journal::FollowError>>> {
    let follow = Follow { scope: Scope::All, start: Start::After(after), bodies: false };
    Ok(client.broker().follow(client.orchestration(), follow).await?)
}

/// A line is sent once, however often the broker has to be asked.
fn key() -> Option<String> {
    Some(Uuid::new_v4().to_string())
}
