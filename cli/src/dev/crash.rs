//! `baton demo --crash`: the worker that owns the conversation is killed in the middle of its sentence, and another in the
//! middle of a refund. What becomes of the sentence and of the money is counted outside of the system.

mod outside;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use client::{Client, Followed, Opening, Outcome, Question, Recorded, Reply, Token};
use futures::StreamExt;
use protocol::event::{Audience, Event};
use protocol::ids::{AgentName, ConversationId, ProcessId};
use protocol::orchestration::Orchestration;
use protocol::presence::{HoldsAnswer, HoldsQuestion};
use protocol::subject;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::Instant;

use self::outside::{Counts, Moment, Outside};
use crate::args::LogArgs;
use crate::broker::{Fsync, signal};
use crate::dev::demo;
use crate::dev::system::{Config, System};
use crate::output::{self, Output, printable};
use crate::{connect, manifest, program};

const MANIFEST: &str = include_str!("crash/refunds.yaml");
const TASK: &str = "My order 321 arrived broken. I want my money back.";
const BYE: &str = "No, that is all. Bye, bye";
/// How long workers may take to say what they hold.
const HOLDS: Duration = Duration::from_millis(200);
/// How long the whole story may take.
const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) async fn command(log: &LogArgs, out: Output) -> anyhow::Result<ExitCode> {
    let telemetry = program::telemetry(log, "client", Some("refunds".to_owned()), "demo", "warn")?;
    let stop = program::stop_on_signal(false)?;
    let directory = tempfile::Builder::new().prefix("baton-demo-").tempdir()?;
    let (moments, due) = mpsc::unbounded_channel();
    let (outside, url) = Outside::start(moments).await.context("no port is free")?;
    let file = directory.path().join("refunds.yaml");
    std::fs::write(&file, MANIFEST.replace("OUTSIDE", &url))?;
    let system = System::start(config(file, directory.path().join("data"))?).await?;
    let told = tokio::select! {
        told = tokio::time::timeout(PATIENCE, tell(&system, due, out)) => told.context("the story did not end in time").flatten(),
        () = stop.cancelled() => Err(anyhow::anyhow!("interrupted")),
    };
    system.stop().await;
    let exit = told.and_then(|told| told.conclude(&outside.counts(), out));
    program::finish(telemetry).await;
    exit
}

fn config(manifest: PathBuf, data: PathBuf) -> anyhow::Result<Config> {
    Ok(Config {
        orchestration: manifest::load(&manifest)?.orchestration,
        manifest,
        data,
        workers: 2,
        port: None,
        http: None,
        fsync: Fsync::Always,
        echoes: false,
        // Those that are left take over, not those that are started again.
        restarts: false,
    })
}

async fn tell(system: &System, mut due: mpsc::UnboundedReceiver<Moment>, out: Output) -> anyhow::Result<Told> {
    system.ready().await?;
    demo::list_processes(system);
    let client = system.client(connect::process_id("demo")?).await?;
    let orchestration = client.current().await?;
    let conversation = client.start(&Opening::new("baton demo --crash", TASK).with_human()).await?.conversation;
    let mut page = Page { is_silent: out.is_json(), ..Page::default() };
    let mut told = Told::default();
    page.line(&format!("User: {TASK}"));
    let mut followed = client.follow_live(&conversation, None).await?;
    loop {
        tokio::select! {
            next = followed.next() => match next.context("the conversation cannot be followed any more")?? {
                Followed::Token(token) => told.token(&token, &orchestration, &mut page),
                Followed::Event(recorded) => {
                    told.event(&recorded, &orchestration, &mut page);
                    if let Some(question) = Question::of(&recorded.entry, recorded.id).filter(|asked| asked.audience == Audience::Caller) {
                        page.line(&format!("User: {BYE}"));
                        client.reply(&conversation, &Reply::to(question.request, BYE)).await?;
                    }
                    if let Some(outcome) = Outcome::of(&recorded.event) {
                        told.outcome = Some(outcome);
                        return Ok(told);
                    }
                }
            },
            Some(moment) = due.recv() => {
                let (agent, doing) = match moment {
                    Moment::Speaking => ("triage", "it was in the middle of its sentence"),
                    Moment::Refunding => ("refund", "the shop had paid, and had not said so yet"),
                };
                let (process, pid) = owner(&client, &agent.parse()?, &conversation).await?;
                signal::kill(pid)?;
                told.killed_at.push(Instant::now());
                page.line(&format!("  ✗ kill -9 {pid}: {process}, which owns the conversation; {doing}"));
                // Pieces that were on their way are no news.
                page.is_muted = moment == Moment::Speaking;
            }
        }
    }
}

/// The worker process that plays the conversation's owner now.
async fn owner(client: &Client, agent: &AgentName, conversation: &ConversationId) -> anyhow::Result<(ProcessId, u32)> {
    let question = serde_json::to_vec(&HoldsQuestion { conversations: vec![conversation.clone()] })?;
    let answers = client.broker().ask_all(&subject::holds(client.orchestration(), agent), question.into(), HOLDS).await?;
    let answers = answers.iter().filter_map(|answer| serde_json::from_slice::<HoldsAnswer>(answer).ok());
    let item = |answer: &HoldsAnswer| answer.held.iter().filter(|held| held.conversation == *conversation).map(|held| held.item).max();
    let holder = answers.filter_map(|answer| Some((item(&answer)?, answer.process))).max().map(|(_, process)| process);
    let holder = holder.with_context(|| format!("no worker of {agent} says that it holds the conversation"))?;
    let workers = client.status().await?.workers;
    let pid = workers.into_iter().find(|worker| worker.process == holder).map(|worker| worker.pid);
    Ok((holder.clone(), pid.with_context(|| format!("nobody hears {holder}"))?))
}

/// What happened, as the journal and a listener had it.
#[derive(Debug, Default)]
struct Told {
    killed_at: Vec<Instant>,
    takeovers: Vec<Duration>,
    withdrawn: u32,
    /// Responses in the journal, by agent.
    responses: BTreeMap<AgentName, u32>,
    /// Results of the refund in the journal.
    results: u32,
    outcome: Option<Outcome>,
}

impl Told {
    fn token(&mut self, token: &Token, orchestration: &Orchestration, page: &mut Page) {
        match token {
            Token::Text { agent, text, is_final } => page.speak(orchestration.display_name(agent), text, *is_final),
            Token::Withdrawn { .. } => {
                self.withdrawn += 1;
                page.is_muted = false;
                page.line("  ↺ what was said of that sentence is withdrawn");
            }
        }
    }

    fn event(&mut self, recorded: &Recorded, orchestration: &Orchestration, page: &mut Page) {
        match &recorded.event {
            Event::Responded(_) => {
                if let Some(agent) = recorded.from().agent() {
                    *self.responses.entry(agent.clone()).or_default() += 1;
                }
            }
            // Whichever comes first: the coordinator's word for a process that is gone, or a worker's that was given its work.
            Event::Redispatched(_) | Event::Taken(_) if self.takeovers.len() < self.killed_at.len() => {
                let after = self.killed_at.last().map(Instant::elapsed).unwrap_or_default();
                self.takeovers.push(after);
                page.line(&format!("  ✓ {} ms later its turn is another worker's", after.as_millis()));
            }
            Event::Transferred(transferred) => {
                page.line(&format!("  → {} owns the conversation now", orchestration.display_name(&transferred.to)));
            }
            Event::Intended(_) => page.line("  … the refund is intended: stored, with its key, before the shop is asked"),
            Event::Returned(returned) => {
                self.results += 1;
                page.line(&format!("  … the shop's answer is stored: {}", printable(&returned.content)));
            }
            _ => {}
        }
    }

    /// Says how it ended; it is a failure of this command where anything was lost or doubled.
    fn conclude(&self, counts: &Counts, out: Output) -> anyhow::Result<ExitCode> {
        let Some(Outcome::Completed(completed)) = &self.outcome else { bail!("the conversation did not complete: {:?}", self.outcome) };
        let asked = counts.models.get("triage").copied().unwrap_or_default();
        let recorded = self.responses.iter().find(|(agent, _)| agent.as_str() == "triage").map_or(0, |(_, responses)| *responses);
        let (paid, asked_to_pay) = (counts.payments.len(), counts.payments.values().sum::<u32>());
        let takeover_ms: Vec<u128> = self.takeovers.iter().map(Duration::as_millis).collect();
        let value = json!({
            "killed": self.killed_at.len(), "takeoverMs": takeover_ms, "result": &completed.result,
            "sentence": { "modelAsked": asked, "withdrawn": self.withdrawn, "recorded": recorded },
            "refund": { "shopAsked": asked_to_pay, "paid": paid, "resultsRecorded": self.results },
        });
        out.result(&value, |_| {
            let later: Vec<String> = takeover_ms.iter().map(|ms| format!("{ms} ms")).collect();
            format!(
                "\nTask is completed with summary: {}\n\n\
                 killed        {} workers; taken over after {}\n\
                 the sentence  the model was asked {asked} times, {} time(s) withdrawn, recorded {recorded} time(s)\n\
                 the refund    the shop was asked {asked_to_pay} times, paid {paid} time(s), its answer recorded {} time(s)",
                printable(&completed.result),
                self.killed_at.len(),
                later.join(" and "),
                self.withdrawn,
                self.results,
            )
        })?;
        let is_as_promised = self.killed_at.len() == 2 && self.takeovers.len() == 2 && recorded == 1 && paid == 1 && self.results == 1;
        Ok(if is_as_promised { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// Standard output, with text that grows in its last line.
#[derive(Debug, Default)]
struct Page {
    /// Programs read the conclusion alone.
    is_silent: bool,
    is_muted: bool,
    is_in_line: bool,
}

impl Page {
    fn speak(&mut self, name: &str, text: &str, is_final: bool) {
        if self.is_silent || self.is_muted {
            return;
        }
        if !self.is_in_line && !text.is_empty() {
            output::piece(&format!("{name}: "));
            self.is_in_line = true;
        }
        output::piece(&printable(text));
        if is_final {
            self.end_line();
        }
    }

    fn line(&mut self, text: &str) {
        if !self.is_silent {
            self.end_line();
            output::line(text);
        }
    }

    fn end_line(&mut self) {
        if std::mem::take(&mut self.is_in_line) {
            output::line("");
        }
    }
}
