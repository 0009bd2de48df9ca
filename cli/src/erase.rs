//! `baton erase`: leaves nothing of a conversation but that there was one.

use std::process::ExitCode;

use anyhow::Context;
use client::{Client, EraseError, Side};

use crate::args::EraseArgs;
use crate::connect;
use crate::output::Output;

pub(crate) async fn command(args: EraseArgs, out: Output) -> anyhow::Result<ExitCode> {
    let process = connect::process_id_or(args.process, "erase")?;
    let (broker, orchestration) = connect::target(&args.target, &process).await?;
    let client = Client::new(broker, orchestration.clone(), Side::Client, process);
    let erased = client.erase(&args.conversation, args.cancel).await;
    let what = || format!("conversation {} of orchestration {orchestration} is not erased", args.conversation);
    let way_out = matches!(erased, Err(EraseError::Open(_))).then_some("`baton erase --cancel` calls it off and erases it");
    let ordinal = match way_out {
        Some(way_out) => erased.context(way_out).with_context(what)?,
        None => erased.with_context(what)?,
    };
    let result = serde_json::json!({ "conversation": args.conversation, "ordinal": ordinal, "phase": "erased" });
    out.result(&result, |_| format!("{} is erased", args.conversation))?;
    Ok(ExitCode::SUCCESS)
}
