//! A person's side of a conversation on a terminal, from a pipe or from a file.

use std::collections::HashMap;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use client::{Answer, Callbacks, Content, Handle, Line, Outcome, Question};
use protocol::event::{Completed, CompletedBecause, Json, RequestKind, Verdict};
use protocol::ids::ProcessId;
use serde_json::json;
use std::io::{Cursor, IsTerminal};
use tokio::io::{AsyncBufRead, AsyncBufReadExt, BufReader, Lines};
use tokio::sync::{Mutex, Notify};

use crate::output::{self, Output};

/// Who decides, as the journal names whoever sits at a terminal.
pub(crate) const DECIDER: &str = "terminal";

/// Where a person's lines come from.
pub(crate) struct Replies {
    lines: Lines<Box<dyn AsyncBufRead + Send + Unpin>>,
    /// Whether a person types them in: then they are asked for, and need not be shown again.
    is_terminal: bool,
}

impl Replies {
    /// From a file, or, without one or for `-`, from standard input.
    pub(crate) async fn open(file: Option<&Path>) -> anyhow::Result<Self> {
        let file = file.filter(|file| file.as_os_str() != "-");
        let Some(file) = file else { return Ok(Self::typed()) };
        anyhow::ensure!(!file.is_dir(), "the replies in {} cannot be read: it is a directory", file.display());
        let opened = tokio::fs::File::open(file).await;
        let opened = opened.with_context(|| format!("the replies in {} cannot be read", file.display()))?;
        Ok(Self::of(BufReader::new(opened), false))
    }

    /// From standard input.
    pub(crate) fn typed() -> Self {
        Self::of(BufReader::new(tokio::io::stdin()), std::io::stdin().is_terminal())
    }

    /// From a text that is at hand.
    pub(crate) fn from_text(text: &str) -> Self {
        Self::of(Cursor::new(text.to_owned()), false)
    }

    fn of(source: impl AsyncBufRead + Send + Unpin + 'static, is_terminal: bool) -> Self {
        let source: Box<dyn AsyncBufRead + Send + Unpin> = Box::new(source);
        Self { lines: source.lines(), is_terminal }
    }

    async fn next(&mut self, prompt: &str, out: Output) -> Option<String> {
        if self.is_terminal {
            output::piece(prompt);
        }
        // Whatever is wrong with a person's input is no reason to fail their conversation: it waits for a better one.
        let line = self.lines.next_line().await.unwrap_or_else(|error| {
            output::note(&format!("no more replies can be read: {error}"));
            None
        });
        if let Some(line) = &line
            && !self.is_terminal
            && !out.is_json()
        {
            output::line(&format!("{prompt}{}", output::printable(line)));
        }
        line
    }
}

/// Which processes are known by number, to be shown with what they say.
pub(crate) type Pids = HashMap<ProcessId, u32>;

/// The person's side of one conversation.
pub(crate) struct Talk {
    replies: Arc<Mutex<Replies>>,
    /// Told when the replies have run out while something is asked.
    ran_out: Arc<Notify>,
    out: Output,
    pids: Option<Pids>,
    /// This process: what it says is on the terminal already.
    own: ProcessId,
}

impl Talk {
    /// A talk that shows what is said; with `pids`, each line with the process that said it.
    pub(crate) fn new(replies: Replies, out: Output, pids: Option<Pids>, own: ProcessId) -> Self {
        Self { replies: Arc::new(Mutex::new(replies)), ran_out: Arc::default(), out, pids, own }
    }

    /// What the client library calls.
    pub(crate) fn callbacks(&self) -> Callbacks {
        let (out, pids) = (self.out, self.pids.clone());
        let margin = pids.as_ref().map(margin);
        let show = Callbacks::default().on_message(move |line| {
            say(line, out, pids.as_ref(), margin.unwrap_or_default());
            Ok(())
        });
        let own = self.own.clone();
        let show = show.on_person(move |line| {
            if line.process != own {
                hear(line, out, margin.unwrap_or_default());
            }
            Ok(())
        });
        let show = show.on_unanswered(move |question, answer, why| unanswered(question, answer, why, out));
        let prompt = format!("{:margin$}User: ", "", margin = margin.unwrap_or_default());
        let (replies, ran_out) = (self.replies.clone(), self.ran_out.clone());
        show.on_question(move |question| {
            let (replies, ran_out, prompt) = (replies.clone(), ran_out.clone(), prompt.clone());
            async move {
                let answer = answer(&mut *replies.lock().await, &question, &prompt, out).await?;
                if answer.is_none() {
                    ran_out.notify_one();
                }
                Ok(answer.unwrap_or(Answer::Elsewhere))
            }
        })
    }

    /// Waits for the end, and shows it; none when the replies ran out before.
    pub(crate) async fn wait(&self, handle: &Handle) -> anyhow::Result<Option<ExitCode>> {
        tokio::select! {
            outcome = handle.get(None) => self.show_outcome(&outcome?).map(Some),
            () = self.ran_out.notified() => Ok(None),
        }
    }

    fn show_outcome(&self, outcome: &Outcome) -> anyhow::Result<ExitCode> {
        let ((word, text), value) = (self::outcome(outcome), value(outcome));
        let mut result = json!({ "kind": "outcome", "outcome": word, "text": text });
        if let (Some(value), Json::Object(result)) = (value, &mut result) {
            result.insert("value".to_owned(), value.clone());
        }
        self.out.result(&result, |_| output::printable(&text))?;
        if let Some(value) = value.filter(|_| !self.out.is_json()) {
            output::note(&format!("result: {}", output::printable(&value.to_string())));
        }
        Ok(exit_code(outcome))
    }
}

/// How a conversation ended, in a word and for people.
pub(crate) fn outcome(outcome: &Outcome) -> (&'static str, String) {
    match outcome {
        Outcome::Completed(completed) if completed.because == CompletedBecause::TaskComplete => {
            ("completed", format!("Task is completed with summary: {}", completed.result))
        }
        Outcome::Completed(completed) if completed.because == CompletedBecause::UserEnded => {
            ("completed", "The conversation was ended by an empty message.".to_owned())
        }
        Outcome::Completed(completed) => ("completed", completed.result.clone()),
        Outcome::Failed(failed) => ("failed", format!("The conversation failed ({}): {}", failed.code, failed.detail)),
        Outcome::Cancelled(cancelled) if cancelled.reason.is_empty() => ("cancelled", "The conversation was cancelled.".to_owned()),
        Outcome::Cancelled(cancelled) => ("cancelled", format!("The conversation was cancelled: {}", cancelled.reason)),
    }
}

/// The value that a conversation ended with besides its summary.
pub(crate) const fn value(outcome: &Outcome) -> Option<&Json> {
    match outcome {
        // Any other end's value is what was said.
        Outcome::Completed(Completed { because: CompletedBecause::TaskComplete, value, .. }) => value.as_ref(),
        Outcome::Completed(_) | Outcome::Failed(_) | Outcome::Cancelled(_) => None,
    }
}

/// A conversation that did not end well is a failure of the command that held it.
pub(crate) const fn exit_code(outcome: &Outcome) -> ExitCode {
    match outcome {
        Outcome::Completed(_) => ExitCode::SUCCESS,
        Outcome::Failed(_) | Outcome::Cancelled(_) => ExitCode::FAILURE,
    }
}

/// The width of the column that names processes.
fn margin(pids: &Pids) -> usize {
    pids.iter().map(|(process, pid)| label(process, Some(*pid)).len()).max().unwrap_or_default() + 2
}

fn label(process: &ProcessId, pid: Option<u32>) -> String {
    let pid = pid.map_or_else(|| "?".to_owned(), |pid| pid.to_string());
    format!("[{process} pid {pid}]")
}

fn say(line: &Line, out: Output, pids: Option<&Pids>, margin: usize) {
    if out.is_json() {
        let (kind, text) = match &line.content {
            Content::Text(text) => ("message", text.clone()),
            Content::TransferCall(call) => ("transfer", call.name.clone()),
            Content::TransferResult { text, .. } => ("transferred", text.clone()),
        };
        let pid = pids.and_then(|pids| pids.get(&line.process));
        let value = json!({ "id": line.id, "kind": kind, "agent": line.agent, "name": line.name, "process": line.process, "pid": pid, "text": text });
        return output::line(&value.to_string());
    }
    match &line.content {
        Content::Text(text) => {
            let label = pids.map(|pids| label(&line.process, pids.get(&line.process).copied())).unwrap_or_default();
            output::line(&format!("{label:margin$}{}: {}", line.name, output::printable(text)));
        }
        Content::TransferCall(_) => {}
        Content::TransferResult { to, .. } => output::note(&format!("{:margin$}({} hands over to {to})", "", line.name)),
    }
}

/// Shows what a person has said elsewhere, or before.
fn hear(line: &Line, out: Output, margin: usize) {
    let Content::Text(text) = &line.content else { return };
    if out.is_json() {
        let value = json!({ "id": line.id, "kind": "person", "name": line.name, "process": line.process, "text": text });
        return output::line(&value.to_string());
    }
    output::line(&format!("{:margin$}{}: {}", "", line.name, output::printable(text)));
}

/// Tells whoever was asked that the answer is not theirs.
fn unanswered(question: &Question, answer: Option<&Answer>, why: &str, out: Output) {
    if out.is_json() {
        let value = json!({ "kind": "unanswered", "request": question.request, "isGiven": answer.is_some(), "why": why });
        return output::line(&value.to_string());
    }
    match answer {
        Some(_) => output::note(&format!("\nyour answer was not taken: {why}")),
        None => output::note(&format!("\nthere is nothing to answer here any more: {why}")),
    }
}

/// A person's answer; none when there are no more lines.
pub(crate) async fn answer(replies: &mut Replies, question: &Question, prompt: &str, out: Output) -> anyhow::Result<Option<Answer>> {
    if out.is_json() {
        let Question { request, kind, agent, text, call, .. } = question;
        output::line(
            &json!({ "kind": "request", "request": request, "asks": kind, "agent": agent, "text": text, "call": call }).to_string(),
        );
    }
    if question.kind == RequestKind::Question {
        return Ok(replies.next(prompt, out).await.map(Answer::Text));
    }
    let choices = choices(question.kind);
    let text = output::printable(&question.text);
    output::note(&format!("{} asks: {text} ({choices}; more words are passed on)", question.agent));
    loop {
        let Some(line) = replies.next(prompt, out).await else { return Ok(None) };
        match decision(question.kind, &line) {
            Some((verdict, note)) => return Ok(Some(Answer::Decision { verdict, note, by: DECIDER.to_owned() })),
            None => output::note(&format!("{:?} is none of: {choices}", line.split_whitespace().next().unwrap_or_default())),
        }
    }
}

/// What may be said to a request that wants a decision.
pub(crate) const fn choices(kind: RequestKind) -> &'static str {
    match kind {
        RequestKind::Approval => "yes or no",
        RequestKind::InDoubt | RequestKind::Question => "retry, happened or abandon",
    }
}

/// The decision that a line is: a word, and further words to pass on.
pub(crate) fn decision(kind: RequestKind, line: &str) -> Option<(Verdict, String)> {
    let (word, note) = line.trim().split_once(char::is_whitespace).unwrap_or((line.trim(), ""));
    // "yes, but …" is a yes.
    let verdict = verdict(kind, word.trim_end_matches([',', '.', ':', ';', '!']))?;
    Some((verdict, note.trim().to_owned()))
}

fn verdict(kind: RequestKind, word: &str) -> Option<Verdict> {
    match (kind, word.to_ascii_lowercase().as_str()) {
        (RequestKind::Approval, "y" | "yes" | "approve") => Some(Verdict::Approved),
        (RequestKind::Approval, "n" | "no" | "deny") => Some(Verdict::Denied),
        (RequestKind::InDoubt, "retry") => Some(Verdict::Retry),
        (RequestKind::InDoubt, "happened") => Some(Verdict::Happened),
        (RequestKind::InDoubt, "abandon") => Some(Verdict::Abandoned),
        _ => None,
    }
}
