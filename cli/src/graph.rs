//! `baton graph`: a manifest's agents and handoffs as a Mermaid diagram.

use std::fmt::Write as _;
use std::process::ExitCode;

use protocol::orchestration::Orchestration;

use crate::args::ManifestArgs;
use crate::manifest;
use crate::output::Output;

pub(crate) fn command(args: &ManifestArgs, out: Output) -> anyhow::Result<ExitCode> {
    let checked = manifest::load(&args.manifest)?;
    let mermaid = mermaid(&checked.orchestration);
    out.result(&serde_json::json!({ "mermaid": mermaid }), |_| mermaid.trim_end().to_owned())?;
    Ok(ExitCode::SUCCESS)
}

/// The diagram: the start agent is round, every handoff an arrow.
fn mermaid(orchestration: &Orchestration) -> String {
    let mut text = "flowchart LR\n".to_owned();
    for agent in orchestration.agents() {
        let (open, close) = if agent.name == *orchestration.start() { ("([", "])") } else { ("[", "]") };
        // Mermaid reads quotes in a label as its end.
        let label = agent.display_name.replace('"', "#quot;");
        let _ = writeln!(text, "  {}{open}\"{label}\"{close}", agent.name);
    }
    for agent in orchestration.agents() {
        for handoff in &agent.handoffs {
            let _ = writeln!(text, "  {} --> {}", agent.name, handoff.to);
        }
    }
    text
}
