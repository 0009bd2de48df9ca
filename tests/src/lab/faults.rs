//! Every fault that the laboratory knows: what it is, what it may cost at most, and how that is measured.

use std::time::Duration;

use super::model::Misbehaviour as ModelTrouble;
use super::recorder::What;
use super::tools::Misbehaviour as ToolTrouble;

/// A fault.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fault {
    /// Its name, on the command line and in recordings.
    pub name: &'static str,
    /// What happens.
    pub about: &'static str,
    /// The promised figure, in words.
    pub figure: &'static str,
    /// What its recovery is.
    pub measure: Measure,
    /// Servers of the broker that it needs.
    pub nodes: usize,
    /// Trials in one deployment.
    pub per_round: usize,
    /// What is done.
    pub deed: Deed,
}

/// From when to when a recovery is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// From the strike to the next step of the conversation that it is aimed at.
    Aimed,
    /// From the strike to the next step of each conversation that was being worked on.
    Working,
    /// The same, from the healing.
    AfterHealing,
    /// From the strike until each client that followed at the gateway follows at another one.
    Clients,
}

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Deed {
    /// Nothing: what a trial looks like without a fault.
    Nothing,
    /// A worker is hit.
    Worker(Aim, Blow),
    /// So many coordinators are killed, for so long.
    Coordinators(usize, Duration),
    /// A gateway is killed.
    Gateway,
    /// A gateway is killed that has just published an opening, and has not said so.
    Opening,
    /// Somebody calls a conversation off while its model is writing.
    CallOff,
    /// All servers of the broker are killed, and started again.
    Broker,
    /// The same, after so long: longer than gateways wait for a broker.
    BrokerAway(Duration),
    /// An agent's consumer is deleted.
    Consumer,
    /// A model misbehaves, so many times in a row.
    Model(ModelTrouble, u32),
    /// A tool misbehaves.
    Tool(ToolTrouble),
    /// A process is cut off from the broker, for so long.
    Partition(Role, Duration),
    /// The node that leads the journal is killed, and started again after so long.
    KillLeader(Duration),
    /// It is frozen for so long.
    FreezeLeader(Duration),
    /// It steps down.
    StepDown,
    /// All nodes are restarted, one after another.
    Rolling,
    /// Bytes that no version writes are published where an entry belongs.
    Poison,
    /// There is no space left on the broker's disk, for so long.
    DiskFull(Duration),
    /// The collector of spans is away, or slow, for so long.
    Collector(bool, Duration),
    /// Every process loses its connection at once.
    Storm,
    /// Of each pair of processes one is a next version's, and processes die, for so long.
    Mixed(Duration),
    /// A node is cut off from the others, with the clients it has, for so long.
    Minority(Duration),
    /// Too few nodes are left to store anything, for so long.
    LostQuorum(Duration),
    /// Everything is killed and started again while people are waited for.
    RestartEverything,
}

/// When a worker is hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aim {
    /// At such a moment, or up to this many milliseconds after it.
    At(What, u64),
    /// At any of them.
    Any,
}

/// What hits a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blow {
    /// kill -9.
    Kill,
    /// SIGSTOP for so long, then SIGCONT.
    Freeze(Duration),
    /// SIGTERM.
    Terminate,
}

/// Whose link is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A worker's, in mid model call.
    Worker,
    /// A coordinator's.
    Coordinator,
}

const SPEAKS: Aim = Aim::At(What::ModelSpeaks, 0);
const KILLED: &str = "p99 ≤ 1 s, max 5 s";

const fn worker(name: &'static str, about: &'static str, figure: &'static str, aim: Aim, blow: Blow) -> Fault {
    Fault { name, about, figure, measure: Measure::Aimed, nodes: 1, per_round: 50, deed: Deed::Worker(aim, blow) }
}

const fn model(name: &'static str, about: &'static str, trouble: ModelTrouble, times: u32) -> Fault {
    let figure = "goes on, or fails visibly in time";
    Fault { name, about, figure, measure: Measure::Aimed, nodes: 1, per_round: 20, deed: Deed::Model(trouble, times) }
}

const fn broker(name: &'static str, about: &'static str, figure: &'static str, nodes: usize, measure: Measure, deed: Deed) -> Fault {
    Fault { name, about, figure, measure, nodes, per_round: 10, deed }
}

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// All of them, the most telling first.
pub const FAULTS: &[Fault] = &[
    broker("nothing", "no fault: what the others are compared with", "", 1, Measure::Working, Deed::Nothing),
    model("slow-model", "no fault: an answer that takes 10 s", ModelTrouble::Lingers, 1),
    Fault { deed: Deed::CallOff, ..model("call-off", "no fault: called off in the middle of such an answer", ModelTrouble::Lingers, 1) },
    worker("kill-worker", "kill -9 of a worker in mid model call", KILLED, SPEAKS, Blow::Kill),
    worker("kill-worker-tool", "kill -9 in mid tool", KILLED, Aim::At(What::ToolRuns, 0), Blow::Kill),
    worker("kill-worker-commit", "kill -9 between publish and acknowledgement", KILLED, Aim::At(What::ModelSpoke, 8), Blow::Kill),
    worker("kill-worker-any", "kill -9 at any time", KILLED, Aim::Any, Blow::Kill),
    worker("freeze-worker-3s", "SIGSTOP of a worker for 3 s", "the turn goes on", SPEAKS, Blow::Freeze(secs(3))),
    worker("freeze-worker-10s", "SIGSTOP of a worker for 10 s", "p99 ≤ 5 s", SPEAKS, Blow::Freeze(secs(10))),
    worker("freeze-worker-60s", "SIGSTOP of a worker for 60 s", "p99 ≤ 5 s", SPEAKS, Blow::Freeze(secs(60))),
    worker("stop-worker", "SIGTERM of a worker", "p99 ≤ 1 s from the end of its 3 s to drain", Aim::Any, Blow::Terminate),
    broker("kill-coordinator", "kill -9 of one coordinator of two", "p99 as without", 1, Measure::Working, Deed::Coordinators(1, secs(5))),
    broker("kill-coordinators-10s", "both gone for 10 s", "p99 as without", 1, Measure::Working, Deed::Coordinators(2, secs(10))),
    broker("kill-coordinators-60s", "both gone for 60 s", "p99 as without", 1, Measure::Working, Deed::Coordinators(2, secs(60))),
    broker("kill-gateway", "kill -9 of one gateway of two", "client resumes ≤ 2 s", 1, Measure::Clients, Deed::Gateway),
    broker(
        "kill-gateway-opening",
        "kill -9 of a gateway whose opening is stored and not answered",
        "opened once; client resumes ≤ 2 s",
        1,
        Measure::Clients,
        Deed::Opening,
    ),
    broker(
        "kill-broker",
        "kill -9 of the one nats-server, started again",
        "≤ 15 s after the start",
        1,
        Measure::AfterHealing,
        Deed::Broker,
    ),
    broker(
        "kill-broker-20s",
        "no broker for 20 s",
        "honest refusal, ≤ 15 s after the start",
        1,
        Measure::AfterHealing,
        Deed::BrokerAway(secs(20)),
    ),
    broker("delete-consumer", "an agent's consumer is deleted", "made anew, nothing lost", 1, Measure::Working, Deed::Consumer),
    model("model-429", "429 without Retry-After, once", ModelTrouble::Busy, 1),
    model("model-429-always", "429 without Retry-After, again and again", ModelTrouble::Busy, 12),
    model("model-429-later", "429 with Retry-After", ModelTrouble::Later, 1),
    model("model-500", "500, once", ModelTrouble::Broken, 1),
    model("model-500-always", "500, again and again", ModelTrouble::Broken, 12),
    model("model-hangs", "no answer within the 12 s it may take", ModelTrouble::Hangs, 1),
    model("model-drips", "a byte a second", ModelTrouble::Drips, 1),
    model("model-cuts", "the stream breaks in mid-sentence", ModelTrouble::Cuts, 1),
    model("model-garbles", "what is no JSON", ModelTrouble::Garbles, 1),
    model("model-floods", "10 MB of text", ModelTrouble::Floods, 1),
    model("model-calls", "100,000 tool calls in one answer", ModelTrouble::Calls, 1),
    Fault { deed: Deed::Tool(ToolTrouble::Hangs), ..model("tool-hangs", "a tool never answers", ModelTrouble::Hangs, 1) },
    Fault { deed: Deed::Tool(ToolTrouble::Breaks), ..model("tool-500", "a tool has its effect and answers 500", ModelTrouble::Broken, 1) },
    broker("cut-worker", "partition worker–broker for 10 s", "p99 ≤ 12 s", 1, Measure::Aimed, Deed::Partition(Role::Worker, secs(10))),
    broker(
        "cut-coordinator",
        "partition coordinator–broker for 10 s",
        "p99 as without",
        1,
        Measure::Working,
        Deed::Partition(Role::Coordinator, secs(10)),
    ),
    broker("kill-leader", "kill -9 of the stream's leader, R3", "≤ 12 s", 3, Measure::Working, Deed::KillLeader(secs(15))),
    broker("step-down", "the stream's leader steps down, R3", "≤ 2 s", 3, Measure::Working, Deed::StepDown),
    broker("freeze-leader", "SIGSTOP of the stream's leader for 15 s, R3", "≤ 20 s", 3, Measure::Working, Deed::FreezeLeader(secs(15))),
    broker("rolling-restart", "every node restarted in turn, R3", "≤ 5 s", 3, Measure::Working, Deed::Rolling),
    broker("kill-cluster", "kill -9 of all nodes at once, R3", "≤ 15 s after the start", 3, Measure::AfterHealing, Deed::Broker),
    broker("poison", "an undecodable entry where one belongs", "fails visibly, others unaffected", 1, Measure::Working, Deed::Poison),
    broker(
        "disk-full",
        "no space left on the broker's disk for 20 s",
        "honest refusal, 0 lost",
        1,
        Measure::AfterHealing,
        Deed::DiskFull(secs(20)),
    ),
    broker("collector-away", "the OTLP collector is away for 10 s", "p99 as without", 1, Measure::Working, Deed::Collector(true, secs(10))),
    broker(
        "collector-slow",
        "the OTLP collector takes 2 s, for 10 s",
        "p99 as without",
        1,
        Measure::Working,
        Deed::Collector(false, secs(10)),
    ),
    broker("storm", "every process loses its connection at once", "≤ 10 s", 1, Measure::Working, Deed::Storm),
    broker(
        "mixed-versions",
        "two versions side by side for 60 s, while processes are killed; then the rollout is finished",
        "all invariants hold",
        1,
        Measure::Working,
        Deed::Mixed(secs(60)),
    ),
    broker("minority", "partition minority–majority for 20 s, R3", "≤ 12 s", 3, Measure::Working, Deed::Minority(secs(20))),
    broker(
        "minority-heals",
        "the same; from its healing on, for whoever waited for that",
        "≤ 5 s",
        3,
        Measure::AfterHealing,
        Deed::Minority(secs(20)),
    ),
    broker(
        "lost-quorum",
        "two nodes of three killed for 15 s",
        "honest refusal, ≤ 15 s after the start",
        3,
        Measure::AfterHealing,
        Deed::LostQuorum(secs(15)),
    ),
    broker(
        "restart-everything",
        "all processes and the broker killed while people are waited for",
        "one reply wins, ≤ 15 s after the start",
        1,
        Measure::AfterHealing,
        Deed::RestartEverything,
    ),
];

/// Faults of promises that are not injected as they are promised, and why.
pub const ABSENT: &[(&str, &str)] = &[
    ("reconnect storm of 500 workers", "it has a command of its own, --reconnect 500"),
    ("24 h human wait", "people here take seconds, and their time is a minute; the simulation's hours pass in no time"),
];

/// The fault of this name.
pub fn named(name: &str) -> Option<&'static Fault> {
    FAULTS.iter().find(|fault| fault.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique() {
        let names: std::collections::BTreeSet<_> = FAULTS.iter().map(|fault| fault.name).collect();
        assert_eq!(names.len(), FAULTS.len());
        assert!(names.iter().all(|name| named(name).is_some_and(|fault| fault.name == *name)));
    }
}
