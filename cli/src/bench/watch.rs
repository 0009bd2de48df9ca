//! What the processes of a system take of the machine while it is at work.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::interval;
use tokio_util::sync::CancellationToken;

use super::process;

/// The system's processes together, this command left out.
pub(super) const TOTAL: &str = "total";
/// This command: people, the raw loop, and models that are asked over HTTP.
pub(super) const THIS: &str = "bench";
/// Between two looks at memory: seldom enough that looking costs nothing.
const LOOK: Duration = Duration::from_millis(250);
const MB: f64 = 1024.0 * 1024.0;

/// Which processes there are.
#[derive(Clone, Debug)]
pub(super) struct Pids(Vec<(String, u32)>);

impl Pids {
    pub(super) fn of(system: impl Iterator<Item = (String, u32)>) -> Self {
        Self(system.chain([(THIS.to_owned(), std::process::id())]).collect())
    }

    fn each<T>(&self, of: impl Fn(u32) -> Option<T>) -> BTreeMap<String, T> {
        self.0.iter().filter_map(|(name, pid)| Some((name.clone(), of(*pid)?))).collect()
    }

    /// CPU time of each so far.
    pub(super) fn cpu(&self) -> BTreeMap<String, Duration> {
        let mut cpu = self.each(process::cpu);
        let total = cpu.iter().filter(|(name, _)| *name != THIS).map(|(_, time)| *time).sum();
        if !cpu.is_empty() {
            cpu.insert(TOTAL.to_owned(), total);
        }
        cpu
    }

    /// Memory of each now.
    pub(super) fn memory_mb(&self) -> BTreeMap<String, f64> {
        let mut memory = self.each(|pid| process::memory(pid).map(|bytes| bytes as f64 / MB));
        let total = memory.iter().filter(|(name, _)| *name != THIS).map(|(_, mb)| *mb).sum();
        if !memory.is_empty() {
            memory.insert(TOTAL.to_owned(), total);
        }
        memory
    }
}

/// Looks again and again, and remembers the most of each.
#[derive(Debug)]
pub(super) struct Watch {
    stop: CancellationToken,
    task: JoinHandle<BTreeMap<String, f64>>,
}

impl Watch {
    pub(super) fn start(pids: Pids) -> Self {
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            let (mut peaks, mut looks) = (BTreeMap::new(), interval(LOOK));
            loop {
                let is_over = stopped.run_until_cancelled(looks.tick()).await.is_none();
                raise(&mut peaks, pids.memory_mb());
                if is_over {
                    return peaks;
                }
            }
        });
        Self { stop, task }
    }

    /// The most that was seen; the last look is now.
    pub(super) async fn stop(self) -> BTreeMap<String, f64> {
        self.stop.cancel();
        self.task.await.unwrap_or_default()
    }
}

fn raise(peaks: &mut BTreeMap<String, f64>, seen: BTreeMap<String, f64>) {
    for (name, mb) in seen {
        let peak = peaks.entry(name).or_insert(mb);
        *peak = peak.max(mb);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peaks_only_rise() {
        let seen = |ping: f64| BTreeMap::from([("ping".to_owned(), ping)]);
        let mut peaks = BTreeMap::new();
        for ping in [3.0, 9.0, 5.0] {
            raise(&mut peaks, seen(ping));
        }
        assert_eq!(peaks, seen(9.0));
    }

    #[tokio::test]
    #[cfg(target_os = "linux")]
    async fn this_command_is_no_part_of_the_system() {
        let pids = Pids::of([("self".to_owned(), std::process::id())].into_iter());
        let memory = Watch::start(pids.clone()).stop().await;
        assert_eq!(memory[TOTAL], memory["self"]);
        assert_eq!(pids.cpu().len(), 3);
    }
}
