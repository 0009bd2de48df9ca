//! Which worker processes are there. Pure: heartbeats, ticks and the outcomes of probes go in; who must be probed and who
//! has died comes out.
//!
//! Silence proves nothing: only the broker's own word does, "no responders" to two probes of a process that was heard
//! before. And that only where its server is known to live: one that dies makes all its clients look dead until they have connected
//! elsewhere, and no client is told of it. It lives if it is this process's own, or if anybody was heard through it since.
//! Times here are monotonic, since this process began, and merely schedule probes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use protocol::ids::{AgentName, ProcessId, Seq};
use protocol::presence::{HEARTBEAT_MILLIS, Heartbeat};

/// Silence after which a process is probed: a heartbeat is late by half. A probe too many costs a question and its answer; half a
/// heartbeat too late costs everybody who waits for the dead.
const SILENT: Duration = Duration::from_millis(HEARTBEAT_MILLIS * 3 / 2);
/// Between the two probes that prove a death: a process whose connection broke alone is mostly back by then.
const PROBE_GAP: Duration = Duration::from_millis(200);
/// How long a probe waits for its answer.
pub const PROBE_TIMEOUT: Duration = Duration::from_millis(200);
/// Ticks of silence after which a process is forgotten, whatever became of it.
const FORGOTTEN_TICKS: u32 = 600;

/// What came of a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    /// It is alive.
    Answered,
    /// Nobody listens there, says the broker.
    NoResponders,
    /// No answer in time: it may hang, or the network may. Nothing is known.
    Unanswered,
}

/// A process that is gone for certain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Death {
    /// Which.
    pub process: ProcessId,
    /// The last sequence that had been delivered to each of its agents when it was first found missing: nothing above can
    /// have been delivered to it.
    pub delivered: BTreeMap<AgentName, Seq>,
}

#[derive(Clone, Debug)]
struct Process {
    beats: BTreeMap<AgentName, Heartbeat>,
    /// The broker's server that it was last heard through, where it says.
    server: Option<String>,
    /// When it was last heard, or its silence began to be counted anew: what was found out before counts no more.
    since: Duration,
    /// Ticks in a row in which it was not heard.
    silent_ticks: u32,
    probe_at: Duration,
    /// When the probe that is under way was sent.
    probing: Option<Duration>,
    missing: Option<BTreeMap<AgentName, Seq>>,
}

/// The worker processes of one orchestration.
#[derive(Clone, Debug)]
pub struct Presence {
    processes: BTreeMap<ProcessId, Process>,
    settle: Duration,
    hung_ticks: u32,
    quiet_until: Duration,
    ticks: u32,
    /// The broker's server that this process is connected to.
    server: Option<String>,
}

impl Presence {
    /// Nobody has been heard yet. `settle` is how long others may take to reconnect, after this process did or because of their server; a process
    /// that is silent for `hung_ticks` ticks protects nothing any more.
    pub const fn new(settle: Duration, hung_ticks: u32) -> Self {
        Self { processes: BTreeMap::new(), settle, hung_ticks, quiet_until: Duration::ZERO, ticks: 0, server: None }
    }

    /// A heartbeat was heard.
    pub fn heard(&mut self, beat: Heartbeat, at: Duration) {
        let fresh =
            || Process { beats: BTreeMap::new(), server: None, since: at, silent_ticks: 0, probe_at: at, probing: None, missing: None };
        let process = self.processes.entry(beat.process.clone()).or_insert_with(fresh);
        process.server.clone_from(&beat.server);
        process.beats.insert(beat.agent.clone(), beat);
        process.silent_ticks = 0;
        process.reset(at);
    }

    /// This process lost its connection and has it back: until the others have too, nobody's absence means anything.
    pub fn reconnected(&mut self, at: Duration) {
        self.quiet_until = at + self.settle;
        for process in self.processes.values_mut() {
            process.reset(at);
        }
    }

    /// This process is connected to this server of the broker's.
    pub fn connected_to(&mut self, server: Option<String>) {
        self.server = server;
    }

    /// A tick came back.
    pub fn ticked(&mut self) {
        self.ticks = self.ticks.saturating_add(1);
        for process in self.processes.values_mut() {
            process.silent_ticks += 1;
        }
        self.processes.retain(|_, process| process.silent_ticks < FORGOTTEN_TICKS);
    }

    /// A tick did not come back: from here on silence is counted anew, because it may be this process that was away.
    pub fn tick_missed(&mut self) {
        self.ticks = 0;
        for process in self.processes.values_mut() {
            process.silent_ticks = 0;
        }
    }

    /// Whether it has listened for long enough to know who is there.
    pub const fn is_informed(&self) -> bool {
        self.ticks >= self.hung_ticks
    }

    /// When somebody must be probed next.
    pub fn next_probe(&self) -> Option<Duration> {
        let idle = self.processes.values().filter(|process| process.probing.is_none());
        idle.map(|process| process.probe_at.max(self.quiet_until)).min()
    }

    /// Who must be probed now, and for which agents. Each is under way until [`Self::probed`].
    pub fn probe(&mut self, at: Duration) -> Vec<(ProcessId, Vec<AgentName>)> {
        if at < self.quiet_until {
            return Vec::new();
        }
        let due = self.processes.iter_mut().filter(|(_, process)| process.probing.is_none() && process.probe_at <= at);
        due.map(|(id, process)| {
            process.probing = Some(at);
            (id.clone(), process.beats.keys().cloned().collect())
        })
        .collect()
    }

    /// What came of a probe. `delivered` is the last sequence delivered to each agent of a process that did not respond,
    /// asked for after the probe.
    pub fn probed(&mut self, id: &ProcessId, probe: Probe, delivered: BTreeMap<AgentName, Seq>, at: Duration) -> Option<Death> {
        let process = self.processes.get_mut(id)?;
        let sent = process.probing.take()?;
        if process.since >= sent {
            return None;
        }
        if probe != Probe::NoResponders {
            process.missing = None;
            process.probe_at = at + SILENT;
            return None;
        }
        let (silent_since, server) = (process.since, process.server.clone());
        let Some(mut first) = process.missing.take() else {
            process.missing = Some(delivered);
            process.probe_at = at + PROBE_GAP;
            return None;
        };
        for (agent, seq) in delivered {
            first.entry(agent).or_insert(seq);
        }
        if at < silent_since + self.settle && !self.is_alive(server.as_deref(), silent_since) {
            let process = self.processes.get_mut(id)?;
            process.missing = Some(first);
            process.probe_at = at + PROBE_GAP;
            return None;
        }
        self.processes.remove(id);
        Some(Death { process: id.clone(), delivered: first })
    }

    /// Whether a server is known to have lived after one of its clients fell silent. One that nobody named is not doubted.
    fn is_alive(&self, server: Option<&str>, silent_since: Duration) -> bool {
        let heard_through = |process: &Process| process.server.as_deref() == server && process.since >= silent_since + SILENT;
        server.is_none() || server == self.server.as_deref() || self.processes.values().any(heard_through)
    }

    /// The processes whose word counts on what is held of `agent`: all but those that hang.
    pub fn protecting(&self, agent: &AgentName) -> BTreeSet<ProcessId> {
        let serving = self.processes.iter().filter(|(_, process)| process.beats.contains_key(agent));
        serving.filter(|(_, process)| process.silent_ticks < self.hung_ticks).map(|(id, _)| id.clone()).collect()
    }

    /// The last heartbeats of those that are heard.
    pub fn heartbeats(&self) -> Vec<Heartbeat> {
        let audible = self.processes.values().filter(|process| process.silent_ticks <= 1);
        audible.flat_map(|process| process.beats.values().cloned()).collect()
    }
}

impl Process {
    fn reset(&mut self, at: Duration) {
        self.since = at;
        self.probe_at = at + SILENT;
        self.missing = None;
    }
}

#[cfg(test)]
#[path = "presence_tests.rs"]
mod tests;
