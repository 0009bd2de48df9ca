//! What the stories found in code that they do not run themselves: the worker's own driver, which the shell here only imitates.

use std::sync::Arc;
use std::time::Duration;

use agent_worker::Worker;
use client::{Client, Opening, Side};
use journal::memory::{Fault, Faults, Memory};
use journal::{Plan, Provision, load, registry};
use protocol::brief::Phase;
use protocol::builder::AgentDef;
use protocol::manifest::ModelSpec;
use protocol::orchestration::Orchestration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Seed 9: an append was fenced right after the opening; a lagging replica knew nothing of the conversation yet. That was taken for
/// an erasure, the work item acked, and the turn lost.
#[tokio::test(start_paused = true)]
async fn a_replica_that_knows_nothing_yet_is_not_taken_for_an_erasure() {
    let script = ModelSpec::script("- say: How can I help?\n").unwrap();
    let builder = Orchestration::builder("support").model("default", script).agent(&AgentDef::new("triage").instructions("Help."));
    let orchestration = builder.start_with("triage").build().unwrap().orchestration;
    let memory = Memory::with_faults(9, Faults::default());
    memory.provision(&Plan::new(orchestration.name().clone(), vec!["triage".parse().unwrap()])).await.unwrap();
    registry::register(&memory, &orchestration).await.unwrap();
    let client = Client::new(Arc::new(memory.clone()), orchestration.name().clone(), Side::Client, "shop-1".parse().unwrap());
    let opened = client.start(&Opening::new("alice", "Help me.").with_human()).await.unwrap().conversation;
    // Behind the work item, which carries nothing of it: the worker's first append is fenced.
    client.say(&opened, "Please.", None).await.unwrap();
    memory.set_faults(Faults::default().with(Fault::ReadStale, 1000));

    let worker = Worker::new(Arc::new(memory.client()), "w-1".parse().unwrap(), Arc::new(|_| None));
    let worker = worker.serve(orchestration.name().clone(), "triage".parse().unwrap());
    let stop = CancellationToken::new();
    let running = tokio::spawn(worker.run(stop.clone(), watch::channel(false).0));
    tokio::time::sleep(Duration::from_secs(30)).await;
    memory.set_faults(Faults::default());
    tokio::time::sleep(Duration::from_secs(30)).await;

    let found = load(&memory, orchestration.name(), &opened).await.unwrap().unwrap();
    assert_eq!(found.phase(), Some(Phase::Waiting), "it is left to nobody");
    stop.cancel();
    running.await.unwrap().unwrap();
}
