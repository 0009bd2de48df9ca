//! A cluster that is not whole: a minority that goes on without the others, or too few of them to store anything.

use std::time::Duration;

use tokio::time::sleep;

use super::Field;
use crate::lab::broker::{leader, stream};
use crate::lab::faults::Fault;
use crate::lab::struck::strike;

impl Field {
    /// One node, every other time the one that leads the journal, is cut off from the others; whoever is connected to it stays so.
    pub(super) async fn minority(&mut self, fault: &Fault, long: Duration) {
        let leads = leader(&self.deployment.operator, &stream()).await;
        let node = if self.random.bool() { leads } else { (leads + self.random.usize(1..3)) % 3 };
        let role = if node == leads { "leads" } else { "follows" };
        let with_it = self.deployment.broker.connections(node).await;
        let target = format!("n{node}, which {role}, with {with_it} connections");
        let struck = strike(&self.deployment.recorder, fault, &target, None);
        self.deployment.broker.cut_off(node, true);
        sleep(long).await;
        self.deployment.broker.cut_off(node, false);
        struck.healed();
        self.settle(&struck).await;
        self.moved_on().await;
    }

    /// All nodes but one are killed, and started again after so long.
    pub(super) async fn lost_quorum(&mut self, fault: &Fault, gone: Duration) {
        let struck = strike(&self.deployment.recorder, fault, "n1 n2", None);
        let broker = &mut self.deployment.broker;
        for node in 1..broker.nodes() {
            broker.kill(node).await;
        }
        sleep(gone).await;
        for node in 1..broker.nodes() {
            broker.restart(node).await;
        }
        struck.healed();
        self.settle(&struck).await;
        self.moved_on().await;
    }
}
