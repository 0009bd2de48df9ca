//! `baton list`: conversations as the coordinator's ledger has them.

use std::fmt::Write as _;
use std::process::ExitCode;

use anyhow::Context;
use client::{Client, Side};
use protocol::presence::AtDesk;
use protocol::query::{ListQuery, Listed, Shown};
use serde::Serialize;

use crate::args::ListArgs;
use crate::output::{self, Output};
use crate::{attendance, connect};

/// What waits for an audience, and who of it is there.
#[derive(Serialize)]
struct Queue {
    #[serde(flatten)]
    listed: Listed,
    people: Vec<AtDesk>,
}

pub(crate) async fn command(args: ListArgs, out: Output) -> anyhow::Result<ExitCode> {
    let process = connect::process_id("list")?;
    let (broker, orchestration) = connect::target(&args.target, &process).await?;
    let client = Client::new(broker, orchestration.clone(), Side::Client, process);
    let query = ListQuery { agent: args.agent, phase: args.phase, idle_secs: args.idle, audience: args.audience, limit: Some(args.limit) };
    let audience = query.audience.clone();
    let listed =
        client.list(&query).await.with_context(|| format!("the conversations of orchestration {orchestration} cannot be listed"))?;
    let now_ms = client.status().await.map(|status| status.now_ms).unwrap_or_default();
    let Some(audience) = audience else {
        out.result(&listed, |listed| text(listed, now_ms))?;
        return Ok(ExitCode::SUCCESS);
    };
    let people = attendance::who(&client, &audience).await;
    out.result(&Queue { listed, people }, |Queue { listed, people }| {
        let people = attendance::line(&audience, people, None, now_ms);
        format!("{}\n{}", text(listed, now_ms), output::printable(&people))
    })?;
    Ok(ExitCode::SUCCESS)
}

fn text(listed: &Listed, now_ms: u64) -> String {
    let mut text = format!("{:<28} {:<10} {:<20} {:>6} {:>7}  LAST", "CONVERSATION", "PHASE", "OWNER", "ENTRY", "IDLE");
    for shown in &listed.conversations {
        let _ = write!(text, "\n{}", row(shown, now_ms));
    }
    let hidden = listed.total.saturating_sub(listed.conversations.len());
    if hidden > 0 {
        let _ = write!(text, "\n… and {hidden} more (--limit)");
    }
    text
}

fn row(shown: &Shown, now_ms: u64) -> String {
    let idle_secs = now_ms.saturating_sub(shown.last_ms) / 1000;
    let (phase, owner) = (shown.brief.phase.as_str(), shown.brief.owner.as_str());
    let attempts = if shown.brief.attempts > 0 { format!(" (attempt {})", shown.brief.attempts + 1) } else { String::new() };
    format!("{:<28} {phase:<10} {owner:<20} {:>6} {:>6}s  {}{attempts}", shown.conversation.as_str(), shown.ordinal, idle_secs, shown.kind)
}
