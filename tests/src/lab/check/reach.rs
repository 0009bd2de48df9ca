//! What a fault can have caused, by its name: nothing is excused by what cannot have brought it about. A fault that is not named
//! here can have caused anything.

use super::view::Fault;

/// How far a fault reaches, the nearest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Reach {
    /// It is a trial without a fault.
    Nothing,
    /// No turn: the collector, and coordinators, whose coming and going must not cost anybody anything.
    Beside,
    /// The turn that it is aimed at: its model, its tool, its entry.
    Turn,
    /// People, and what they have said to the turns.
    Gateway,
    /// A worker, and all turns on it.
    Worker,
    /// Deliveries: what was on its way may come late, and to two workers.
    Broker,
}

const KNOWN: [(&str, Reach); 15] = [
    ("nothing", Reach::Nothing),
    ("slow-model", Reach::Nothing),
    ("call-off", Reach::Nothing),
    ("collector", Reach::Beside),
    ("kill-coordinator", Reach::Beside),
    ("cut-coordinator", Reach::Beside),
    ("model-", Reach::Turn),
    ("tool-", Reach::Turn),
    ("poison", Reach::Turn),
    ("kill-gateway", Reach::Gateway),
    ("kill-worker", Reach::Worker),
    ("stop-worker", Reach::Worker),
    // Whatever was delivered to it meanwhile, it takes up when it is back.
    ("freeze-worker", Reach::Broker),
    ("cut-worker", Reach::Broker),
    ("delete-consumer", Reach::Broker),
];

fn reach(name: &str) -> Reach {
    KNOWN.into_iter().find(|(known, _)| name.starts_with(known)).map_or(Reach::Broker, |(_, reach)| reach)
}

/// Whether it is a fault at all.
pub(super) fn is_fault(name: &str) -> bool {
    reach(name) > Reach::Nothing
}

impl Fault<'_> {
    /// Whether a turn of this conversation may have had to be begun again, or its model to be asked again.
    pub(super) fn may_repeat(&self, conversation: &str) -> bool {
        match reach(self.name) {
            Reach::Nothing | Reach::Beside | Reach::Gateway => false,
            Reach::Turn => self.conversation.is_none_or(|aimed| aimed == conversation),
            Reach::Worker | Reach::Broker => true,
        }
    }

    /// Whether a turn of `agent` may have been taken from its worker, by the process that did it, where one did: from the process that
    /// wrote in it last, or, where none has, from any of that agent's.
    pub(super) fn may_orphan(&self, agent: &str, writer: Option<&str>, taker: Option<&str>) -> bool {
        // A process is named like the place in which it runs, and those before and after it.
        let is_struck = |process: &str| process.strip_prefix(self.target).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'));
        let is_of_agent = || self.target.strip_prefix(agent).is_some_and(|rest| rest.starts_with('-'));
        // What was delivered to it while it was away, it takes from whoever has it by then.
        let takes = || self.may_deliver_late() && taker.is_some_and(is_struck);
        match reach(self.name) {
            Reach::Nothing | Reach::Beside | Reach::Turn | Reach::Gateway => false,
            Reach::Worker | Reach::Broker if self.name.contains("-worker") => writer.map_or_else(is_of_agent, is_struck) || takes(),
            Reach::Worker | Reach::Broker => true,
        }
    }

    /// Whether one delivery may come late, when it is over.
    pub(super) fn may_deliver_late(&self) -> bool {
        reach(self.name) >= Reach::Broker
    }

    /// Whether a worker may not have heard that its turn is over: the gateway that says so was killed, or nothing got through. A
    /// worker that was killed writes no more, and whoever succeeds it reads first.
    pub(super) fn may_deafen(&self) -> bool {
        matches!(reach(self.name), Reach::Gateway | Reach::Broker)
    }

    /// How long it takes until there is nowhere to store anything, in microseconds; none if there always is.
    pub(super) fn leaves_no_place_within_us(&self) -> Option<u64> {
        let known = [("disk", 2_000_000), ("kill-broker", 100_000), ("kill-cluster", 500_000), ("quorum", 2_000_000)];
        known.into_iter().find(|(word, _)| self.name.contains(word)).map(|(_, us)| us)
    }
}
