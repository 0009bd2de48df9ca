//! Two versions of the programs side by side, people talking and processes dying all the while; then the rollout is finished.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::Field;
use crate::lab::faults::Fault;
use crate::lab::struck::strike;
use crate::processes::{baton, next_baton};

/// Milliseconds between two deaths, at least and at most.
const BETWEEN: std::ops::Range<u64> = 2_000..6_000;
/// How long the dead are away.
const AWAY: Duration = Duration::from_millis(300);

impl Field {
    /// One process of each pair is of either version for so long; then all are the next one's.
    pub(super) async fn mixed_versions(&mut self, fault: &Fault, long: Duration) -> Result<(), String> {
        let (now, next) = (baton().await, next_baton()?);
        let first: Vec<String> = self.deployment.names("").into_iter().filter(|name| name.ends_with("-0")).collect();
        // The trial before has finished its rollout: half of it is taken back.
        self.replace(&first, &now).await;
        let struck = strike(&self.deployment.recorder, fault, "one process of each pair", None);
        let until = Instant::now() + long;
        while Instant::now() < until {
            sleep(Duration::from_millis(self.random.u64(BETWEEN))).await;
            let name = self.random.choice(self.deployment.names("")).unwrap_or_default();
            self.away(&[name], AWAY).await;
        }
        self.replace(&first, &next).await;
        struck.healed();
        self.moved_on().await;
        Ok(())
    }

    /// Has these processes run this program, one after another.
    async fn replace(&mut self, names: &[String], program: &Path) {
        for name in names {
            let member = self.deployment.member(name);
            if member.program == program {
                continue;
            }
            member.program = PathBuf::from(program);
            member.terminate();
            member.ended().await;
            member.start().await;
            member.ready().await;
        }
    }
}
