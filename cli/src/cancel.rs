//! `baton cancel`: calls a conversation off.

use std::process::ExitCode;

use anyhow::Context;
use client::{Client, Side};

use crate::args::CancelArgs;
use crate::connect;
use crate::output::Output;

pub(crate) async fn command(args: CancelArgs, out: Output) -> anyhow::Result<ExitCode> {
    let process = connect::process_id("cancel")?;
    let (broker, orchestration) = connect::target(&args.target, &process).await?;
    let client = Client::new(broker.clone(), orchestration.clone(), Side::Client, process);
    let cancelled = client.cancel(&args.conversation, &args.reason).await;
    let what = || format!("conversation {} of orchestration {orchestration} cannot be cancelled", args.conversation);
    let accepted = cancelled.with_context(what)?;
    // The notice that stops the model at once is on its way still.
    broker.drain().await;
    let result = serde_json::json!({ "conversation": args.conversation, "ordinal": accepted.ordinal, "phase": "cancelled" });
    out.result(&result, |_| format!("{} is cancelled", args.conversation))?;
    Ok(ExitCode::SUCCESS)
}
