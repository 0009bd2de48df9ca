use std::sync::Arc;

use journal::memory::{Fault, Faults, Memory};
use journal::{Plan, Provision, Store};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::*;

const TTL: Duration = Duration::from_secs(3);

fn name() -> OrchestrationName {
    "support".parse().unwrap()
}

async fn broker() -> Memory {
    let memory = Memory::new();
    memory.provision(&Plan::new(name(), Vec::new())).await.unwrap();
    memory
}

struct Candidate {
    connection: Memory,
    leads: watch::Receiver<bool>,
    stop: CancellationToken,
    standing: JoinHandle<()>,
}

impl Candidate {
    fn stand(broker: &Memory, process: &str) -> Self {
        let (connection, stop) = (broker.client(), CancellationToken::new());
        let (sender, leads) = watch::channel(false);
        let lease = Lease::new(Arc::new(connection.clone()), name(), process.parse().unwrap(), TTL);
        let standing = tokio::spawn(lease.stand(sender, stop.clone()));
        Self { connection, leads, stop, standing }
    }

    /// How long it takes until it leads.
    async fn elected(&mut self) -> Duration {
        let began = Instant::now();
        self.leads.wait_for(|leads| *leads).await.unwrap();
        began.elapsed()
    }

    fn does_lead(&self) -> bool {
        *self.leads.borrow()
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_leads_and_keeps_the_lease_while_it_lives() {
    let broker = broker().await;
    let mut first = Candidate::stand(&broker, "a");
    assert_eq!(first.elected().await, Duration::ZERO);
    let second = Candidate::stand(&broker, "b");
    for _ in 0..100 {
        sleep(Duration::from_millis(700)).await;
        assert_eq!((first.does_lead(), second.does_lead()), (true, false));
    }
}

#[tokio::test(start_paused = true)]
async fn another_takes_over_when_the_leader_is_killed() {
    let broker = broker().await;
    let mut first = Candidate::stand(&broker, "a");
    first.elected().await;
    let mut second = Candidate::stand(&broker, "b");
    sleep(TTL * 4).await;
    first.standing.abort();
    let took = second.elected().await;
    assert!(took > Duration::ZERO && took <= TTL + TTL / 3, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_is_cut_off_stops_before_another_begins() {
    let broker = broker().await;
    let mut first = Candidate::stand(&broker, "a");
    first.elected().await;
    let mut second = Candidate::stand(&broker, "b");
    first.connection.disconnect();
    tokio::select! {
        biased;
        lost = first.leads.wait_for(|leads| !*leads) => drop(lost.unwrap()),
        _ = second.elected() => panic!("two led at once"),
    }
    second.elected().await;
    first.connection.reconnect();
    sleep(TTL * 3).await;
    assert_eq!((first.does_lead(), second.does_lead()), (false, true));
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_stops_hands_over_at_once() {
    let broker = broker().await;
    let mut first = Candidate::stand(&broker, "a");
    first.elected().await;
    first.stop.cancel();
    first.standing.await.unwrap();
    assert!(!*first.leads.borrow());
    assert_eq!(broker.value(&name(), KEY).await.unwrap(), None);
    assert_eq!(Candidate::stand(&broker, "b").elected().await, Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_write_whose_answer_was_lost_is_recognised_as_ones_own() {
    let broker = broker().await;
    broker.set_faults(Faults::default().with(Fault::Unavailable, 100));
    let mut first = Candidate::stand(&broker, "a");
    first.elected().await;
    let mut led = 0;
    for _ in 0..1000 {
        sleep(Duration::from_millis(500)).await;
        led += u32::from(first.does_lead());
    }
    // A fifth of the requests fail, half of them on the way back. Whoever did not recognise its own write would have to
    // wait until the lease runs out, each time.
    assert!(led > 950, "led {led} of 1000 half seconds");
    assert!(broker.faults_injected()[&Fault::Unavailable] > 100);
}
