//! `baton revisions`: what was registered, what runs on it, what is retired.

use std::fmt::Write as _;
use std::process::ExitCode;

use anyhow::Context;
use client::{Client, Side};
use protocol::ids::AgentName;
use protocol::query::{Registered, RevisionShown};

use crate::args::RevisionsArgs;
use crate::connect;
use crate::output::Output;

pub(crate) async fn command(args: RevisionsArgs, out: Output) -> anyhow::Result<ExitCode> {
    let process = connect::process_id("revisions")?;
    let (broker, orchestration) = connect::target(&args.target, &process).await?;
    let client = Client::new(broker, orchestration.clone(), Side::Client, process);
    let registered =
        client.revisions().await.with_context(|| format!("the revisions of orchestration {orchestration} cannot be listed"))?;
    out.result(&registered, text)?;
    Ok(ExitCode::SUCCESS)
}

fn text(registered: &Registered) -> String {
    let mut text = format!("{:<20} {:<8} {:>7}  AGENTS", "REVISION", "STATE", "OPEN");
    for shown in &registered.revisions {
        let RevisionShown { revision, open, agents, .. } = shown;
        let agents: Vec<_> = agents.iter().map(AgentName::as_str).collect();
        let _ = write!(text, "\n{:<20} {:<8} {open:>7}  {}", revision.as_str(), shown.state(), agents.join(", "));
    }
    let hidden = registered.total.saturating_sub(registered.revisions.len());
    if hidden > 0 {
        let _ = write!(text, "\n… and {hidden} more");
    }
    text
}
