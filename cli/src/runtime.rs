//! An orchestration at work in this process: for a first try, for tests, and for programs that are small.
//!
//! ```
//! use baton::prelude::*;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), BoxError> {
//! let greeter = AgentDef::new("GreeterAgent").description("Greets.").instructions("Greet.");
//! let orchestration = Orchestration::builder("hello")
//!     .model("default", ModelSpec::script("- { user: bye, complete: Greeted somebody. }\n- say: Hello! Anything else?")?)
//!     .agent(&greeter)
//!     .start_with(&greeter)
//!     .build()?;
//!
//! let runtime = Runtime::in_memory(orchestration, Functions::new()).await?;
//! let callbacks = Callbacks::default().on_question(|question| async move {
//!     assert_eq!(question.text, "Hello! Anything else?");
//!     Ok("No, bye".into())
//! });
//! let handle = runtime.invoke("A customer is on the line.", callbacks).await?;
//! assert_eq!(handle.get_as::<String>(None).await?, "Greeted somebody.");
//! runtime.stop_when_idle().await;
//! # Ok(())
//! # }
//! ```
//!
//! The agents are the same when they are run as processes of their own: [`Runtime::from_args`] makes a program that is all of it
//! at once, or one agent's worker, or the coordinator, or a caller.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use agent_worker::{Functions, Worker};
use anyhow::Context;
use client::{Callbacks, Client, Handle, Input, Opening, Side, StartError};
use coordinator::{Config, Coordinator, Served};
use futures::FutureExt;
use journal::Shared;
use journal::memory::Memory;
use journal::nats::{Nats, Settings};
use protocol::ids::ProcessId;
use protocol::orchestration::Orchestration;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::broker::{self, Server};
use crate::connect::process_id;
use crate::dev::system::cast;

mod program;

/// How long the private broker, and what [`Runtime::stop`] stops, may take to end.
const GRACE: Duration = Duration::from_secs(5);

/// An orchestration's coordinator and a worker of each of its agents, as tasks of this process. Dropped, it stops at once, as
/// if it had crashed: on a broker of its own that is the end, on a shared one others take over.
#[derive(Debug)]
pub struct Runtime {
    client: Client,
    announcements: BTreeSet<String>,
    invoked: Mutex<Vec<Handle>>,
    workers: Part,
    coordinator: Part,
    server: Option<Server>,
    telemetry: Option<telemetry::Guard>,
}

/// Where the broker is.
#[derive(Debug)]
enum Place {
    Memory(Memory),
    Nats(Box<Settings>),
}

impl Place {
    /// A connection of its own for each process, as in production.
    async fn connect(&self, process: &ProcessId) -> anyhow::Result<Shared> {
        Ok(match self {
            Self::Memory(memory) => Arc::new(memory.client()),
            Self::Nats(settings) => Arc::new(Nats::connect(&Settings { process: process.clone(), ..(**settings).clone() }).await?),
        })
    }

    async fn client(&self, orchestration: &Orchestration) -> anyhow::Result<Client> {
        let process = process_id("caller")?;
        Ok(Client::new(self.connect(&process).await?, orchestration.name().clone(), Side::Client, process))
    }
}

impl Runtime {
    /// Starts everything on a private nats-server, found or obtained as `baton dev` does. Its store goes when the runtime
    /// does: [`kept_in`](Self::kept_in) a directory, conversations outlive the process.
    ///
    /// # Errors
    /// That there is no nats-server to be had, or that an agent cannot be played here: its model or a tool is missing.
    pub async fn start(orchestration: impl Into<Orchestration>, functions: Functions) -> anyhow::Result<Self> {
        Self::private(None, orchestration.into(), functions).await
    }

    /// The same, with the store in a directory: whoever starts there again finds the conversations as they were.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub async fn kept_in(directory: &Path, orchestration: impl Into<Orchestration>, functions: Functions) -> anyhow::Result<Self> {
        Self::private(Some(directory.to_owned()), orchestration.into(), functions).await
    }

    /// Starts everything on a nats-server that is there, where other processes may serve and call the same agents.
    ///
    /// # Errors
    /// That it cannot be reached or used, or that an agent cannot be played here.
    pub async fn on(settings: Settings, orchestration: impl Into<Orchestration>, functions: Functions) -> anyhow::Result<Self> {
        Self::at(&Place::Nats(Box::new(settings)), None, orchestration.into(), functions).await
    }

    /// Starts everything on a broker in memory, for tests and first tries: nothing survives the process, and no other process
    /// can take part.
    ///
    /// # Errors
    /// That an agent cannot be played here.
    pub async fn in_memory(orchestration: impl Into<Orchestration>, functions: Functions) -> anyhow::Result<Self> {
        Self::at(&Place::Memory(Memory::new()), None, orchestration.into(), functions).await
    }

    async fn private(directory: Option<PathBuf>, orchestration: Orchestration, functions: Functions) -> anyhow::Result<Self> {
        let found = broker::find(&broker::Stderr::new()).await?;
        let mut config = broker::Config::new(found.path);
        config.directory = directory;
        // Nobody outlives this process to end it later.
        config.survives_interrupt = false;
        let server = Server::start(config).await?;
        let settings = Settings { is_synced: true, ..Settings::new(server.url(), process_id("runtime")?) };
        Self::at(&Place::Nats(Box::new(settings)), Some(server), orchestration, functions).await
    }

    async fn at(place: &Place, server: Option<Server>, orchestration: Orchestration, functions: Functions) -> anyhow::Result<Self> {
        // Every TLS connection of the process uses this one provider; whoever has chosen another one before keeps it.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let announcements = cast(&orchestration, &functions)?;
        let mut runtime = Self::caller(place, &orchestration).await?;
        (runtime.announcements, runtime.server) = (announcements, server);

        let process = process_id("coordinator")?;
        let config = Config::new(vec![Served::Definition(Box::new(orchestration.clone()))]);
        let coordinator = Coordinator::new(place.connect(&process).await?, process, config);
        let (ready, stop) = (coordinator.ready(), runtime.coordinator.stop.clone());
        runtime.coordinator.tasks.spawn(async move { Ok(coordinator.run(stop).await?) });
        runtime.coordinator.await_ready(ready).await.context("the coordinator cannot begin")?;

        let environment: agent_worker::Environment = Arc::new(|name: &str| std::env::var(name).ok());
        let turn = Duration::from_secs(orchestration.limits().turn_secs);
        for agent in orchestration.agents() {
            let process = process_id(&agent.name.as_str().chars().take(40).collect::<String>())?;
            let worker = Worker::new(place.connect(&process).await?, process, environment.clone()).functions(functions.clone());
            let worker = worker.drain(turn).serve(orchestration.name().clone(), agent.name.clone());
            let (ready, is_ready) = watch::channel(false);
            let stop = runtime.workers.stop.clone();
            runtime.workers.tasks.spawn(async move { Ok(worker.run(stop, ready).await.map(drop)?) });
            runtime.workers.await_ready(is_ready).await?;
        }
        Ok(runtime)
    }

    /// One that serves nobody: its agents are elsewhere.
    async fn caller(place: &Place, orchestration: &Orchestration) -> anyhow::Result<Self> {
        Ok(Self {
            client: place.client(orchestration).await?,
            announcements: BTreeSet::new(),
            invoked: Mutex::default(),
            workers: Part::default(),
            coordinator: Part::default(),
            server: None,
            telemetry: None,
        })
    }

    /// What the models have to say before they play: that a script stands in, above all.
    pub const fn announcements(&self) -> &BTreeSet<String> {
        &self.announcements
    }

    /// A client of the orchestration, for whatever [`invoke`](Self::invoke) does not do.
    pub const fn client(&self) -> &Client {
        &self.client
    }

    /// Starts a conversation and drives the caller's side of it with `callbacks`. Returns once it has begun.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn invoke(&self, task: impl Into<Input>, callbacks: Callbacks) -> Result<Handle, StartError> {
        self.open(&Opening::new("runtime", task), callbacks).await
    }

    /// The same, with everything that can be said about an opening.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn open(&self, opening: &Opening, callbacks: Callbacks) -> Result<Handle, StartError> {
        let handle = self.client.invoke(opening, callbacks).await?;
        let mut invoked = self.invoked.lock().unwrap_or_else(PoisonError::into_inner);
        invoked.retain(|handle| handle.get(None).now_or_never().is_none());
        invoked.push(handle.clone());
        Ok(handle)
    }

    /// Takes no new work, finishes what runs, and stops. A conversation that was invoked here has ended then, or waits for
    /// somebody who is elsewhere; another's turn that runs here is finished.
    pub async fn stop_when_idle(self) {
        let invoked = std::mem::take(&mut *self.invoked.lock().unwrap_or_else(PoisonError::into_inner));
        for handle in invoked {
            handle.idle().await;
        }
        self.end(None).await;
    }

    /// Stops: turns that do not finish within seconds are given up, and are done again by whoever serves the agent next.
    pub async fn stop(self) {
        self.end(Some(GRACE)).await;
    }

    async fn end(mut self, grace: Option<Duration>) {
        self.workers.end(grace).await;
        self.coordinator.end(Some(GRACE)).await;
        self.client.broker().drain().await;
        if let Some(server) = &mut self.server
            && let Err(error) = server.stop(GRACE).await
        {
            tracing::warn!("nats-server did not stop in order: {error}");
        }
        if let Some(telemetry) = self.telemetry {
            crate::program::finish(telemetry).await;
        }
    }
}

/// Tasks that are stopped together, and aborted when they are dropped.
#[derive(Debug, Default)]
struct Part {
    stop: CancellationToken,
    tasks: JoinSet<anyhow::Result<()>>,
}

impl Part {
    async fn await_ready(&mut self, mut ready: watch::Receiver<bool>) -> anyhow::Result<()> {
        if ready.wait_for(|is_ready| *is_ready).await.is_ok() {
            return Ok(());
        }
        // Whoever ends before it is ready says why.
        match self.tasks.join_next().await {
            Some(ended) => ended?.and_then(|()| anyhow::bail!("it ended before it was ready")),
            None => anyhow::bail!("nothing runs"),
        }
    }

    async fn end(&mut self, grace: Option<Duration>) {
        self.stop.cancel();
        let ended = async {
            while let Some(ended) = self.tasks.join_next().await {
                if let Err(error) = ended.map_err(anyhow::Error::from).and_then(|ended| ended) {
                    tracing::warn!("{error:#}");
                }
            }
        };
        match grace {
            Some(grace) => drop(timeout(grace, ended).await),
            None => ended.await,
        }
        self.tasks.shutdown().await;
    }
}
