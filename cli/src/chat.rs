//! `baton chat`: a person talks to an orchestration at a terminal.
//!
//! What is shown is decided in [`screen`], how it lies on the terminal in [`paper`], what a typed line means in [`ask`]:
//! all pure. [`driver`] only moves things between them, the client library and the terminal.

mod ask;
mod driver;
pub(crate) mod editor;
pub(crate) mod face;
pub(crate) mod paper;
pub(crate) mod screen;
mod send;
mod silence;

use std::process::ExitCode;

use client::{Client, Opening, Side};
use protocol::ids::{ConversationId, ProcessId};
use tokio_util::sync::CancellationToken;

use crate::args::{ChatArgs, LogArgs};
use crate::connect::Address;
use crate::output::Output;
use crate::{connect, output, program};
use ask::{Command, Meaning, Reader};
use driver::Driver;
use editor::Typed;
use face::Face;
use paper::{Ink, span};
use screen::note;

/// How the person left.
#[derive(Clone, Copy, Debug)]
enum Left {
    /// With the conversation.
    Ended(ExitCode),
    /// Before it ended, in order.
    Quit,
    /// Before it ended, by a signal.
    Interrupted,
}

pub(crate) async fn command(args: ChatArgs, log: &LogArgs, out: Output) -> anyhow::Result<ExitCode> {
    anyhow::ensure!(!out.is_json(), "`baton chat` is for people: programs use `baton run -o json`");
    let process = connect::process_id("chat")?;
    let target = &args.target;
    let (address, orchestration) = connect::resolve(target.data.as_deref(), target.orchestration.clone(), &target.broker)?;
    // A line of a log in the middle of a conversation helps nobody.
    let telemetry = program::telemetry(log, "client", Some(orchestration.to_string()), process.as_str(), "error")?;
    let broker = connect::connect(&address, &process).await?;
    let client = Client::new(broker.clone(), orchestration, Side::Client, process.clone());
    let stop = program::stop_on_signal(false)?;
    let mut face = Face::open(args.plain, !args.no_history)?;
    let mut conversation = args.conversation.clone();
    let left = hold(&client, &process, &args, nats(&address).as_deref(), &mut face, &mut conversation, &stop).await;
    if let Some(unsent) = face.close().filter(|text| !text.trim().is_empty()) {
        output::note(&format!("Your line was not sent: {}", output::printable(&unsent)));
    }
    let exit = left.map(|left| farewell(left, conversation.as_ref(), &args));
    broker.drain().await;
    program::finish(telemetry).await;
    exit
}

/// Holds a conversation until it ends, or the person leaves it.
async fn hold(
    client: &Client,
    process: &ProcessId,
    args: &ChatArgs,
    nats: Option<&str>,
    face: &mut Face,
    conversation: &mut Option<ConversationId>,
    stop: &CancellationToken,
) -> anyhow::Result<Left> {
    let id = match conversation {
        Some(id) => id.clone(),
        None => {
            let message = match &args.message {
                Some(message) => message.clone(),
                None => match first_message(face, stop).await {
                    Ok(message) => message,
                    Err(left) => return Ok(left),
                },
            };
            let mut opening = Opening::new("baton chat", message).with_human();
            opening.key.clone_from(&args.key);
            let started = tokio::select! {
                started = client.start(&opening) => started?,
                () = stop.cancelled() => return Ok(Left::Interrupted),
            };
            conversation.insert(started.conversation).clone()
        }
    };
    let flags = nats.map(|nats| format!(" --nats {}", quoted(nats))).unwrap_or_default();
    tokio::select! {
        left = async { Driver::open(client, process, &id, face, flags).await?.run().await } => left,
        () = stop.cancelled() => Ok(Left::Interrupted),
    }
}

/// What the conversation is to begin with, asked for at the prompt.
async fn first_message(face: &mut Face, stop: &CancellationToken) -> Result<String, Left> {
    face.status(&vec![span(Ink::Dim, "How can we help? The first message begins the conversation; /help lists commands.")]);
    loop {
        face.go_on(String::new());
        let typed = tokio::select! {
            typed = face.typed(true) => typed,
            () = stop.cancelled() => return Err(Left::Interrupted),
        };
        let text = match typed {
            Typed::Line { text, .. } => text,
            Typed::Closed => return Err(Left::Quit),
            Typed::Interrupted => return Err(Left::Interrupted),
            Typed::Broken(why) => {
                face.show(&[note(&why)]);
                return Err(Left::Quit);
            }
        };
        match Reader::default().read(&text, None, None) {
            Meaning::Say(text) => return Ok(text),
            Meaning::Command(Command::Quit | Command::End | Command::Cancel(_)) => return Err(Left::Quit),
            Meaning::Command(Command::Help) => face.show(&driver::help()),
            Meaning::Command(Command::Show) => face.show(&[note("nothing has begun yet")]),
            Meaning::Told(why) => face.show(&[note(&why)]),
            Meaning::Back(_) | Meaning::Nothing | Meaning::Answer { .. } | Meaning::Decision { .. } => {}
        }
    }
}

/// Says how to come back, if there is something to come back to.
fn farewell(left: Left, conversation: Option<&ConversationId>, args: &ChatArgs) -> ExitCode {
    let exit = match left {
        Left::Ended(exit) => return exit,
        Left::Quit => ExitCode::SUCCESS,
        Left::Interrupted => ExitCode::from(130),
    };
    if let Some(conversation) = conversation {
        output::note(&format!("\nconversation {conversation} goes on without you; come back to it:\n  {}", again(args, conversation)));
    }
    exit
}

/// The command that comes back to a conversation.
fn again(args: &ChatArgs, conversation: &ConversationId) -> String {
    let target = &args.target;
    let data = target.data.as_ref().map(|data| format!(" --data {}", quoted(&data.display().to_string()))).unwrap_or_default();
    let orchestration = target.orchestration.as_ref().map(|name| format!(" --orchestration {name}")).unwrap_or_default();
    let nats = target.broker.nats.as_ref().map(|url| format!(" --nats {}", quoted(url))).unwrap_or_default();
    let plain = if args.plain { " --plain" } else { "" };
    format!("baton chat{data}{orchestration}{nats}{plain} --conversation {conversation}")
}

/// A broker's address as it can be given to another command.
fn nats(address: &Address) -> Option<String> {
    match address {
        Address::Given(given) => given.nats.clone(),
        Address::Private(url) | Address::Dev { url, .. } => Some(url.clone()),
    }
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-:@%+=,".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) { word.to_owned() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_can_be_pasted_into_a_shell() {
        assert_eq!(quoted("/srv/baton-1/data"), "/srv/baton-1/data");
        assert_eq!(quoted("nats://127.0.0.1:4222"), "nats://127.0.0.1:4222");
        assert_eq!(quoted("my data"), "'my data'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
        assert_eq!(quoted(""), "''");
    }
}
