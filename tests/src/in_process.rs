//! Baton's programs inside the test's own process: workers, a coordinator and gateways, each with a connection of its own as
//! in production, and a person who talks to them.
#![allow(clippy::expect_used, clippy::panic, reason = "used by tests only: a panic is how a test says that it cannot go on")]

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use agent_worker::Worker;
use client::{Answer, Callbacks, Client, Content, Opening, Outcome, Side};
use coordinator::{Config, Coordinator, Served};
use futures::future::BoxFuture;
use gateway::Gateway;
use journal::Shared;
use journal::nats::{Nats, Settings};
use protocol::conversation::Conversation;
use protocol::ids::{ConversationId, OrchestrationName};
use protocol::orchestration::Orchestration;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::processes::PATIENCE;
use crate::sample;

/// The orchestration of the reference document's conversation.
pub fn support() -> Orchestration {
    cli::manifest::load(&sample::manifest()).expect("the example is valid").orchestration
}

/// Its customer's lines.
pub fn replies() -> Vec<String> {
    let text = std::fs::read_to_string(sample::replies()).expect("the example has replies");
    text.lines().map(ToOwned::to_owned).collect()
}

/// Connects; the process's id names the connection.
pub async fn connect(settings: &Settings) -> Shared {
    let connected = timeout(PATIENCE, Nats::connect(settings)).await.expect("a connection in time");
    Arc::new(connected.unwrap_or_else(|error| panic!("{}: {error}", settings.process)))
}

/// A caller with a connection of its own.
pub async fn client(settings: &Settings, orchestration: &OrchestrationName) -> Client {
    Client::new(connect(settings).await, orchestration.clone(), Side::Client, settings.process.clone())
}

/// Workers, coordinators and gateways of one orchestration. Those that still run are aborted when the value is dropped.
#[derive(Debug)]
pub struct Programs {
    orchestration: Orchestration,
    running: JoinSet<()>,
    stop: CancellationToken,
}

impl Programs {
    /// None yet.
    pub fn of(orchestration: Orchestration) -> Self {
        // Whoever embeds a worker chooses its TLS; a second choice is the first one again.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Self { orchestration, running: JoinSet::new(), stop: CancellationToken::new() }
    }

    /// Starts a coordinator, which provisions and registers, and waits until it is ready.
    pub async fn coordinator(&mut self, settings: &Settings, replicas: usize) {
        let served = Served::Definition(Box::new(self.orchestration.clone()));
        let config = Config { replicas, ..Config::new(vec![served]) };
        let coordinator = Coordinator::new(connect(settings).await, settings.process.clone(), config);
        let (ready, stop) = (coordinator.ready(), self.stop.clone());
        self.running.spawn(async move { coordinator.run(stop).await.unwrap_or_else(|error| panic!("{error}")) });
        self.await_ready(ready).await;
    }

    /// Starts a worker of an agent, without anything of this process's environment, and waits until it is ready.
    pub async fn worker(&mut self, settings: &Settings, agent: &str) {
        let agent = agent.parse().expect("an agent's name");
        let worker = Worker::new(connect(settings).await, settings.process.clone(), Arc::new(|_: &str| None));
        let worker = worker.serve(self.orchestration.name().clone(), agent);
        let (ready, is_ready) = watch::channel(false);
        let stop = self.stop.clone();
        self.running.spawn(async move { worker.run(stop, ready).await.map(drop).unwrap_or_else(|error| panic!("{error}")) });
        self.await_ready(is_ready).await;
    }

    /// Starts a gateway at a free port, and waits until it is ready; where it listens.
    pub async fn gateway(&mut self, settings: &Settings) -> SocketAddr {
        let stop = self.stop.clone();
        self.gateway_with(settings, stop, |_| {}).await
    }

    /// The same, told otherwise, and stopped by a token of its own.
    pub async fn gateway_with(
        &mut self,
        settings: &Settings,
        stop: CancellationToken,
        change: impl FnOnce(&mut gateway::Config),
    ) -> SocketAddr {
        let mut config = gateway::Config {
            listen: (Ipv4Addr::LOCALHOST, 0).into(),
            group: "gateway".parse().expect("a group's name"),
            origins: Vec::new(),
            trace_url: None,
            streams_max: gateway::STREAMS_MAX,
            connections_max: usize::MAX,
        };
        change(&mut config);
        let served = [self.orchestration.name().clone()];
        let gateway = Gateway::bind(connect(settings).await, settings.process.clone(), served, config).await.expect("a free port");
        let (address, ready) = (gateway.address(), gateway.ready());
        self.running.spawn(gateway.run(stop));
        self.await_ready(ready).await;
        address
    }

    async fn await_ready(&mut self, mut ready: watch::Receiver<bool>) {
        let ready = timeout(PATIENCE, ready.wait_for(|ready| *ready)).await.expect("a program that is ready in time").is_ok();
        if !ready {
            self.running.join_next().await.expect("a program").expect("a program that does not fail");
            panic!("a program ended before it was ready");
        }
    }

    /// Lets everything drain; a program that failed fails the test.
    pub async fn stop(mut self) {
        self.stop.cancel();
        while let Some(ended) = timeout(PATIENCE, self.running.join_next()).await.expect("programs that stop in time") {
            ended.expect("a program that does not fail");
        }
    }
}

/// A conversation that was held to its end.
#[derive(Debug)]
pub struct Talk {
    /// How it ended.
    pub outcome: Outcome,
    /// What every agent said, in order: `<name>: <text>`.
    pub said: Vec<String>,
    /// All of it, as the journal has it.
    pub conversation: Conversation,
}

/// Holds a conversation, with `replies` as the person's lines. Before the answer to the `n`-th question is given, `asked`
/// is called with `n`.
pub async fn talk(client: &Client, replies: Vec<String>, mut asked: impl FnMut(usize) -> BoxFuture<'static, ()> + Send + 'static) -> Talk {
    let said = Arc::new(Mutex::new(Vec::new()));
    let heard = said.clone();
    let mut replies = replies.into_iter().enumerate();
    let callbacks = Callbacks::default().on_message(move |line| {
        if let Content::Text(text) = &line.content {
            heard.lock().unwrap_or_else(PoisonError::into_inner).push(format!("{}: {text}", line.name));
        }
        Ok(())
    });
    let callbacks = callbacks.on_question(move |question| {
        let reply = replies.next().map(|(number, reply)| (asked(number), reply));
        async move {
            let (before, reply) = reply.ok_or_else(|| format!("nobody answers {:?}", question.text))?;
            before.await;
            Ok(Answer::Text(reply))
        }
    });
    let handle = client.invoke(&Opening::new("tests", "A customer is on the line.").with_human(), callbacks).await;
    let handle = handle.expect("a conversation that begins");
    let outcome = handle.get(Some(PATIENCE)).await.expect("a conversation that ends in time");
    let said = said.lock().unwrap_or_else(PoisonError::into_inner).clone();
    Talk { outcome, said, conversation: load(client, handle.conversation()).await }
}

/// A conversation as the journal has it, from an entry no replica lacks: one that has ended.
pub async fn load(client: &Client, id: &ConversationId) -> Conversation {
    let load = async {
        loop {
            let loaded = journal::load(&**client.broker(), client.orchestration(), id).await.expect("a conversation that can be read");
            if let Some(conversation) = loaded.filter(|conversation| conversation.phase().is_some_and(|phase| phase.is_ended())) {
                return conversation;
            }
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, load).await.expect("a conversation whose end can be read")
}
