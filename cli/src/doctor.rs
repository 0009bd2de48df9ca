//! `baton doctor`: looks at a deployment and says what to do.

mod facts;
mod gather;
mod judge;
mod rights;

use std::fmt::Write as _;
use std::process::ExitCode;

use journal::nats::ConnectError;
use serde::Serialize;

use self::judge::{Finding, Level};
use crate::args::DoctorArgs;
use crate::connect;
use crate::output::{Output, printable};

/// What is said in the end.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    orchestration: String,
    is_well: bool,
    findings: Vec<Finding>,
}

pub(crate) async fn command(args: DoctorArgs, out: Output) -> anyhow::Result<ExitCode> {
    let process = connect::process_id_or(args.process, "doctor")?;
    let (address, orchestration) = connect::resolve(args.target.data.as_deref(), args.target.orchestration.clone(), &args.target.broker)?;
    let findings = match connect::nats(&address, &process).await {
        Ok(nats) => judge::judge(&gather::gather(&nats, orchestration.clone(), args.role, process).await?),
        // That nobody is there, and why, is what a doctor is asked for.
        Err(error) => match error.downcast_ref::<ConnectError>() {
            Some(refused) => vec![unreachable(refused)],
            None => return Err(error),
        },
    };
    let is_well = findings.iter().all(|finding| finding.level != Level::Problem);
    let report = Report { orchestration: orchestration.to_string(), is_well, findings };
    out.result(&report, text)?;
    Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn unreachable(error: &ConnectError) -> Finding {
    let said = error.to_string();
    let (found, to_do) = said.split_once(". ").unwrap_or((&said, "see docs/operations.md"));
    Finding::problem("broker", found, to_do)
}

fn text(report: &Report) -> String {
    let mut text = String::new();
    for Finding { level, check, found, to_do } in &report.findings {
        let mark = match level {
            Level::Ok => '✓',
            Level::Warning => '!',
            Level::Problem => '✗',
        };
        let _ = writeln!(text, "{mark} {check}: {}", printable(found));
        let _ = to_do.iter().try_for_each(|to_do| writeln!(text, "    {}", printable(to_do)));
    }
    let count = |level| report.findings.iter().filter(|finding| finding.level == level).count();
    let _ = match (count(Level::Problem), count(Level::Warning)) {
        (0, 0) => write!(text, "\nAll is well with {}.", report.orchestration),
        (0, warnings) => write!(text, "\n{} works; {warnings} warning(s).", report.orchestration),
        (problems, warnings) => write!(text, "\n{}: {problems} problem(s), {warnings} warning(s).", report.orchestration),
    };
    text
}
