//! `baton show`: a conversation, entry by entry, from the journal.

use std::fmt::Write as _;
use std::process::ExitCode;

use anyhow::{Context, bail};
use journal::Broker;
use protocol::brief::Phase;
use protocol::conversation::Conversation;
use protocol::entry::{Entry, Head};
use protocol::event::{Event, Json};
use protocol::ids::{ConversationId, OrchestrationName};
use serde_json::json;

use crate::args::ShowArgs;
use crate::connect;
use crate::output::Output;

/// Characters of an event's text in the overview.
const SHOWN: usize = 100;

pub(crate) async fn command(args: ShowArgs, out: Output) -> anyhow::Result<ExitCode> {
    let process = connect::process_id("show")?;
    let (broker, orchestration) = connect::target(&args.target, &process).await?;
    let loaded = journal::load(&*broker, &orchestration, &args.conversation).await;
    let loaded = loaded.with_context(|| format!("conversation {} of orchestration {orchestration} cannot be read", args.conversation))?;
    let Some(conversation) = loaded else { bail!(absence(&*broker, &orchestration, &args.conversation).await) };
    out.result(&as_json(&conversation), |_| text(&conversation))?;
    Ok(ExitCode::SUCCESS)
}

/// Why there is nothing of a conversation.
async fn absence(broker: &dyn Broker, orchestration: &OrchestrationName, conversation: &ConversationId) -> String {
    let tail = broker.tail(orchestration, conversation).await.ok().flatten();
    let head = tail.and_then(|tail| Head::decode(&tail.subject, &tail.headers).ok());
    if head.is_some_and(|head| head.brief.phase == Phase::Erased) {
        return format!("conversation {conversation} of orchestration {orchestration} was erased: nothing is left of it");
    }
    format!("orchestration {orchestration} has no conversation {conversation}: `baton list` shows those there are")
}

fn as_json(conversation: &Conversation) -> Json {
    let entries: Vec<Json> = conversation.entries().iter().map(|entry| entry_json(entry)).collect();
    json!({
        "conversation": conversation.id(),
        "orchestration": conversation.orchestration(),
        "isConsistent": conversation.verify().is_ok(),
        "damage": conversation.damage().map(ToString::to_string),
        "brief": conversation.brief(),
        "entries": entries,
    })
}

fn entry_json(entry: &Entry) -> Json {
    let events: Vec<Json> =
        entry.numbered().map(|(id, event)| json!({ "id": id, "kind": event.kind(), "data": event.to_json() })).collect();
    json!({
        "ordinal": entry.ordinal(),
        "seq": entry.seq,
        "id": entry.head.id,
        "kind": entry.head.kind,
        "from": entry.head.subject.from,
        "process": entry.head.process,
        "epoch": entry.epoch(),
        "revision": entry.head.revision,
        "subject": entry.head.subject.to_string(),
        "hash": entry.hash,
        "traceparent": entry.head.trace.as_ref().map(|trace| &trace.parent),
        "events": events,
    })
}

fn text(conversation: &Conversation) -> String {
    let mut text = String::new();
    if let (Some(brief), Some(revision)) = (conversation.brief(), conversation.revision()) {
        let (phase, owner) = (brief.phase.as_str(), &brief.owner);
        let _ = writeln!(text, "{} of {}: {phase}, owner {owner}, revision {revision}", conversation.id(), conversation.orchestration());
    }
    for entry in conversation.entries() {
        let head = &entry.head;
        let _ = writeln!(
            text,
            "\n{:>4}  {:<13} by {} ({})  epoch {}",
            entry.ordinal(),
            head.kind,
            head.subject.from,
            head.process,
            entry.epoch()
        );
        for event in &entry.events {
            let _ = writeln!(text, "      {:<13} {}", event.kind(), summary(event));
        }
    }
    for request in conversation.requests() {
        let _ = writeln!(text, "\nwaits for {}: request {}", request.audience, request.id);
    }
    if let Some(damage) = conversation.damage() {
        let _ = writeln!(text, "\nDAMAGED: {damage}");
    }
    if let Err((ordinal, illegal)) = conversation.verify() {
        let why =
            illegal.map_or_else(|| "it states something else than the entries before it make".to_owned(), |illegal| illegal.to_string());
        let _ = writeln!(text, "\nINCONSISTENT at entry {ordinal}: {why}");
    }
    text.trim_end().to_owned()
}

/// An event's fields on one line.
fn summary(event: &Event) -> String {
    let Json::Object(fields) = event.to_json() else { return String::new() };
    let shown = fields.iter().map(|(name, value)| match value {
        Json::String(text) => format!("{name}={text:?}"),
        value => format!("{name}={value}"),
    });
    let line = shown.collect::<Vec<_>>().join(" ");
    if line.chars().count() <= SHOWN { line } else { format!("{}…", line.chars().take(SHOWN).collect::<String>()) }
}
