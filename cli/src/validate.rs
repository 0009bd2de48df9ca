//! `baton validate`: everything that is wrong with a manifest, each with its place.

use std::process::ExitCode;

use serde::Serialize;

use crate::args::ManifestArgs;
use crate::output::Output;
use crate::{manifest, output};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    is_valid: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    orchestration: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    revision: Option<String>,
    errors: Vec<String>,
    warnings: Vec<String>,
}

#[allow(clippy::needless_pass_by_value, reason = "a command owns its arguments")]
pub(crate) fn command(args: ManifestArgs, out: Output) -> anyhow::Result<ExitCode> {
    let strings = |problems: &[protocol::manifest::Problem]| problems.iter().map(ToString::to_string).collect();
    let report = match manifest::read(&args.manifest)? {
        Ok(checked) => Report {
            is_valid: true,
            orchestration: Some(checked.orchestration.name().to_string()),
            revision: Some(checked.orchestration.revision().to_string()),
            errors: Vec::new(),
            warnings: strings(&checked.warnings),
        },
        Err(problems) => Report { is_valid: false, orchestration: None, revision: None, errors: strings(&problems), warnings: Vec::new() },
    };
    if out.is_json() {
        output::line(&serde_json::to_string(&report)?);
    } else {
        text(&report);
    }
    Ok(if report.is_valid { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn text(report: &Report) {
    for problem in &report.errors {
        output::note(&format!("error: {problem}"));
    }
    for warning in &report.warnings {
        output::note(&format!("warning: {warning}"));
    }
    match (&report.orchestration, &report.revision) {
        (Some(name), Some(revision)) => output::line(&format!("{name} is valid; its revision is {revision}")),
        _ => output::note(&format!("{} problem(s); nothing was run", report.errors.len())),
    }
}
