//! `baton worker`: one process that serves agents.

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use agent_worker::{Functions, Worker};
use protocol::ids::{AgentName, OrchestrationName};
use tokio::sync::watch;

use crate::args::{LogArgs, ServedAgent, WorkerArgs};
use crate::{connect, health, program};

pub(crate) async fn command(args: WorkerArgs, functions: Functions, log: &LogArgs) -> anyhow::Result<ExitCode> {
    let agents = served(args.orchestration.as_ref(), args.agents)?;
    let service = match agents.as_slice() {
        [(_, agent)] => agent.to_string(),
        _ => "worker".to_owned(),
    };
    let orchestrations: BTreeSet<_> = agents.iter().map(|(orchestration, _)| orchestration.as_str()).collect();
    let orchestrations = orchestrations.into_iter().collect::<Vec<_>>().join(",");
    let prefix: String = service.chars().take(40).collect();
    let process = connect::process_id_or(args.program.process.clone(), &prefix)?;
    let telemetry = program::telemetry(log, &service, Some(orchestrations), process.as_str(), "info")?;
    let stop = program::stop_on_signal(args.program.tied)?;
    let (ready, is_ready) = watch::channel(false);
    if let Some(address) = args.program.health {
        let bound = health::serve(address, is_ready.clone()).await?;
        tracing::info!("health checks at http://{bound}/readyz");
    }
    let Some(broker) = connect::wait(&args.program.broker, &process, &stop).await? else {
        return Ok(program::finish(telemetry).await);
    };

    let drain = Duration::from_secs(args.drain_secs);
    let environment = Arc::new(|name: &str| std::env::var(name).ok());
    let mut worker = Worker::new(broker.clone(), process.clone(), environment).functions(functions).drain(drain);
    for (orchestration, agent) in agents {
        worker = worker.serve(orchestration, agent);
    }
    if let Some(concurrency) = args.concurrency {
        worker = worker.concurrency(usize::try_from(concurrency)?);
    }
    program::say_when_ready(is_ready, &process);
    let drained = worker.run(stop, ready).await?;
    broker.drain().await;
    match drained.handed_back {
        0 => tracing::info!("stopped; every turn was finished"),
        turns => tracing::warn!("stopped; {turns} unfinished turn(s) were handed back after {} s", args.drain_secs),
    }
    Ok(program::finish(telemetry).await)
}

/// Every agent with its orchestration.
fn served(orchestration: Option<&OrchestrationName>, agents: Vec<ServedAgent>) -> anyhow::Result<Vec<(OrchestrationName, AgentName)>> {
    let whole = |ServedAgent { orchestration: own, agent }: ServedAgent| match own.or_else(|| orchestration.cloned()) {
        Some(orchestration) => Ok((orchestration, agent)),
        None => anyhow::bail!("of which orchestration is {agent}? Name it with --orchestration, or the agent as <orchestration>/{agent}"),
    };
    agents.into_iter().map(whole).collect()
}
