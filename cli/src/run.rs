//! `baton run`: holds a conversation.

use std::process::ExitCode;

use client::{Client, Opening, Side};
use serde_json::json;

use crate::args::{LogArgs, RunArgs};
use crate::output::Output;
use crate::talk::{Replies, Talk};
use crate::{connect, output, program};

pub(crate) async fn command(args: RunArgs, log: &LogArgs, out: Output) -> anyhow::Result<ExitCode> {
    let process = connect::process_id("run")?;
    let (address, orchestration) = connect::resolve(args.data.as_deref(), args.orchestration.clone(), &args.broker)?;
    let telemetry = program::telemetry(log, "client", Some(orchestration.to_string()), process.as_str(), "warn")?;
    let broker = connect::connect(&address, &process).await?;
    let client = Client::new(broker.clone(), orchestration, Side::Client, process.clone());
    let talk = Talk::new(Replies::open(args.replies.as_deref()).await?, out, None, process);
    let handle = match (&args.conversation, &args.task) {
        (Some(conversation), _) => client.attach(conversation, talk.callbacks()),
        (None, task) => {
            let mut opening = Opening::new("baton run", task.clone().unwrap_or_default());
            opening.key.clone_from(&args.key);
            opening.human = !args.no_human;
            // Not `invoke`, to which whoever can answer is a human channel: approvals are asked for even where questions are not.
            let started = client.start(&opening).await?;
            client.attach(&started.conversation, talk.callbacks())
        }
    };
    let conversation = handle.conversation();
    match out.is_json() {
        true => output::line(&json!({ "kind": "conversation", "conversation": conversation }).to_string()),
        false => output::note(&format!("conversation {conversation}")),
    }
    let go_on = format!("{} --conversation {conversation}", again(&args));
    let stop = program::stop_on_signal(false)?;
    let ended = tokio::select! {
        ended = talk.wait(&handle) => ended?,
        () = stop.cancelled() => {
            output::note(&format!("\nconversation {conversation} goes on without you; come back to it:\n  {go_on}"));
            Some(ExitCode::from(130))
        }
    };
    let exit = ended.unwrap_or_else(|| {
        if out.is_json() {
            output::line(&json!({ "kind": "waiting", "conversation": conversation, "goOn": go_on }).to_string());
        }
        output::note(&format!("\nconversation {conversation} waits for a person; go on with it:\n  {go_on}"));
        ExitCode::SUCCESS
    });
    broker.drain().await;
    program::finish(telemetry).await;
    Ok(exit)
}

/// The command that goes on with this conversation.
fn again(args: &RunArgs) -> String {
    let data = args.data.as_ref().map(|data| format!(" --data {}", data.display())).unwrap_or_default();
    let orchestration = args.orchestration.as_ref().map(|name| format!(" --orchestration {name}")).unwrap_or_default();
    let nats = args.broker.nats.as_ref().map(|url| format!(" --nats {url}")).unwrap_or_default();
    format!("baton run{data}{orchestration}{nats}")
}
