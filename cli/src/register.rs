//! `baton register`: a definition becomes the current one, whether a coordinator runs or not.

use std::process::ExitCode;

use anyhow::Context;
use journal::registry;
use protocol::ids::{OrchestrationName, Revision};
use serde::Serialize;

use crate::args::RegisterArgs;
use crate::output::Output;
use crate::{connect, manifest};

#[derive(Serialize)]
struct Report {
    orchestration: OrchestrationName,
    before: Option<Revision>,
    revision: Revision,
}

pub(crate) async fn command(args: RegisterArgs, out: Output) -> anyhow::Result<ExitCode> {
    let definition = manifest::load(&args.manifest)?.orchestration;
    let name = definition.name().clone();
    let (address, orchestration) = connect::resolve(args.data.as_deref(), Some(name), &args.broker)?;
    let broker = connect::connect(&address, &connect::process_id("register")?).await?;
    let before = registry::register(&*broker, &definition).await;
    let before = before.with_context(|| format!("orchestration {orchestration} cannot be registered"))?;
    out.result(&Report { orchestration, before, revision: definition.revision().clone() }, text)?;
    Ok(ExitCode::SUCCESS)
}

fn text(Report { orchestration, before, revision }: &Report) -> String {
    match before {
        Some(before) if before == revision => format!("{orchestration}: {revision} is the current revision already"),
        Some(before) => format!("{orchestration}: {before} → {revision}"),
        None => format!("{orchestration}: {revision} is the first revision"),
    }
}
