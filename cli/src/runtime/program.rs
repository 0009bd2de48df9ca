//! A program of one's own whose command line says what it is: all of an orchestration, a part of it, or its caller.

use agent_worker::Functions;
use clap::{Parser, Subcommand};
use coordinator::Served;
use journal::nats::Settings;
use protocol::ids::AgentName;
use protocol::orchestration::Orchestration;
use tokio::signal::unix::{SignalKind, signal};

use super::{Place, Runtime};
use crate::args::{BrokerArgs, LogArgs, ProgramArgs, ServedAgent, StorageArgs, WorkerArgs};
use crate::broker::signal::terminate;
use crate::connect::process_id;
use crate::{coordinator as coordinator_program, output, program, worker};

/// Holds a conversation with the agents of this program. Without a command, all of them live in this process, on a private
/// nats-server; with one, this process is a part of what is spread over several.
#[derive(Debug, Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    form: Option<Form>,
    /// Everything in this process, with a broker in memory: nothing survives it.
    #[arg(long, conflicts_with = "nats")]
    memory: bool,
    /// Everything in this process, on the nats-server at this address.
    #[arg(long, value_name = "URL")]
    nats: Option<String>,
    #[command(flatten)]
    log: LogArgs,
}

#[derive(Debug, Subcommand)]
enum Form {
    /// Serves agents, until it is told to stop.
    Worker {
        /// Which.
        #[arg(required = true, value_name = "AGENT")]
        agents: Vec<AgentName>,
        /// How long running turns may take to finish once it is told to stop; the rest is handed back.
        #[arg(long, env = "BATON_DRAIN_SECS", default_value_t = 20)]
        drain_secs: u64,
        #[command(flatten)]
        program: ProgramArgs,
    },
    /// Registers the definition and watches over its conversations, until it is told to stop.
    Coordinator {
        #[command(flatten)]
        storage: StorageArgs,
        #[command(flatten)]
        program: ProgramArgs,
    },
    /// Calls: the agents are other processes.
    Invoke {
        #[command(flatten)]
        broker: BrokerArgs,
    },
}

impl Runtime {
    /// What the command line asks for. Without arguments, [`start`](Self::start); `--memory`, [`in_memory`](Self::in_memory);
    /// `--nats URL`, [`on`](Self::on). `worker <AGENT>…` and `coordinator` serve until they are told to stop, and give no
    /// runtime; `invoke` gives one that serves nobody. These three find the broker as `baton` does. An error is for `main` to
    /// return; `--help` is answered.
    ///
    /// # Errors
    /// As those.
    pub async fn from_args(orchestration: impl Into<Orchestration>, functions: Functions) -> anyhow::Result<Option<Self>> {
        // Every TLS connection of the process uses this one provider; whoever has chosen another one before keeps it.
        let _ = rustls::crypto::ring::default_provider().install_default();
        // On the heap: `main` need not hold the state of all the forms.
        Box::pin(Self::formed(Arguments::parse(), orchestration.into(), functions)).await
    }

    async fn formed(arguments: Arguments, orchestration: Orchestration, functions: Functions) -> anyhow::Result<Option<Self>> {
        let Arguments { form, memory, nats, log } = arguments;
        match form {
            Some(Form::Worker { agents, drain_secs, program }) => {
                let orchestration = Some(orchestration.name().clone());
                let agents = agents.into_iter().map(|agent| ServedAgent { orchestration: None, agent }).collect();
                let args = WorkerArgs { orchestration, agents, concurrency: None, drain_secs, program };
                worker::command(args, functions, &log).await?;
                Ok(None)
            }
            Some(Form::Coordinator { storage, program }) => {
                let served = vec![Served::Definition(Box::new(orchestration))];
                coordinator_program::serve(served, storage, program, &log).await?;
                Ok(None)
            }
            Some(Form::Invoke { broker }) => {
                let telemetry = telemetry(&log, &orchestration)?;
                let place = Place::Nats(Box::new(settings(broker.nats.as_deref())?));
                Ok(Some(Self { telemetry: Some(telemetry), ..Self::caller(&place, &orchestration).await? }))
            }
            None => {
                let telemetry = telemetry(&log, &orchestration)?;
                let runtime = match nats {
                    Some(url) => Self::on(settings(Some(&url))?, orchestration, functions).await?,
                    None if memory => Self::in_memory(orchestration, functions).await?,
                    None => Self::start(orchestration, functions).await?,
                };
                for announcement in runtime.announcements() {
                    output::note(announcement);
                }
                runtime.ends_with_its_process()?;
                Ok(Some(Self { telemetry: Some(telemetry), ..runtime }))
            }
        }
    }

    /// A signal that ends this process ends its nats-server too.
    fn ends_with_its_process(&self) -> anyhow::Result<()> {
        let Some(server) = self.server.as_ref().and_then(crate::broker::Server::pid) else { return Ok(()) };
        let (mut terminated, mut interrupted) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        tokio::spawn(async move {
            let code = tokio::select! {
                _ = terminated.recv() => 143,
                _ = interrupted.recv() => 130,
            };
            // It may have ended already.
            let _ = terminate(server);
            std::process::exit(code);
        });
        Ok(())
    }
}

/// What the scripted models announce is said once, not by every worker.
fn telemetry(log: &LogArgs, orchestration: &Orchestration) -> anyhow::Result<telemetry::Guard> {
    let process = process_id("runtime")?;
    program::telemetry(log, "runtime", Some(orchestration.name().to_string()), process.as_str(), "warn,agent_worker::role=error")
}

fn settings(url: Option<&str>) -> anyhow::Result<Settings> {
    Ok(Settings::from_env(url, process_id("runtime")?, |name| std::env::var(name).ok())?)
}
