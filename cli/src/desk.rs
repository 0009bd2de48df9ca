//! `baton desk`: a person serves a desk at a terminal, or a script does, line by line.
//!
//! What waits is in [`queue`], what a typed line means in [`ask`] and [`typed`],
//! the conversation that is being served in [`served`]: all
//! pure. Claims and answers are in the journal, so a person who leaves comes back to what they have taken.

mod ask;
mod driver;
mod queue;
mod served;
mod typed;

use std::process::ExitCode;

use client::{Client, Side};
use protocol::event::Audience;

use crate::args::{DeskArgs, LogArgs};
use crate::chat::face::Face;
use crate::output::Output;
use crate::{attendance, connect, output, program};
use anyhow::Context as _;
use driver::{Desk, Me};

pub(crate) async fn command(args: DeskArgs, log: &LogArgs, out: Output) -> anyhow::Result<ExitCode> {
    anyhow::ensure!(!out.is_json(), "`baton desk` is for people: programs use the gateway, or `baton list --audience desk:<name> -o json`");
    let process = connect::process_id("desk")?;
    let target = &args.target;
    let (address, orchestration) = connect::resolve(target.data.as_deref(), target.orchestration.clone(), &target.broker)?;
    // A line of a log in the middle of a conversation helps nobody.
    let telemetry = program::telemetry(log, "client", Some(orchestration.to_string()), process.as_str(), "error")?;
    let broker = connect::connect(&address, &process).await?;
    let client = Client::new(broker.clone(), orchestration, Side::Client, process.clone());
    let stop = program::stop_on_signal(false)?;
    let mut face = Face::open(args.plain, !args.no_history)?;
    let audience = match args.role {
        Some(role) => Audience::Role(role.to_string()),
        None => Audience::Desk(args.name.context("--name or --role is needed")?.to_string()),
    };
    let me = Me { by: args.by.clone(), process: process.clone() };
    let served = tokio::select! {
        served = async { Desk::open(&client, &mut face, audience.clone(), me).await?.run().await } => served,
        () = attendance::attend(&client, &audience, &args.by, &process) => Ok(()),
        () = stop.cancelled() => Ok(()),
    };
    if let Some(unsent) = face.close().filter(|text| !text.trim().is_empty()) {
        output::note(&format!("Your line was not sent: {}", output::printable(&unsent)));
    }
    broker.drain().await;
    program::finish(telemetry).await;
    served.map(|()| ExitCode::SUCCESS)
}
