//! Which revisions there are, which agents they need, and when an agent retires. Pure: what the registry has, the ledger and
//! `now` go in.
//!
//! An agent is needed while the current revision has it, or a revision that an open conversation runs on: whoever owns the
//! conversation now, any of its agents may be handed it. An agent that nothing needs for a while retires: its consumer goes, its
//! definition stays, because people look at conversations that have ended.

use std::collections::{BTreeMap, BTreeSet};

use protocol::ids::{AgentName, Revision};
use protocol::orchestration::Retention;
use protocol::query::{LISTED_MAX, Registered, RevisionShown};

use crate::job::Consumers;
use crate::ledger::Ledger;

/// A revision as it was registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// Larger, the later it was registered first.
    pub number: u64,
    /// Its agents; none where this program cannot read it.
    pub agents: Option<BTreeSet<AgentName>>,
    /// How long what is over is kept, while it is current; for ever where this program cannot read it.
    pub retention: Retention,
}

/// What was read of the registry: what is current, and revisions that were not known yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Learnt {
    /// What new conversations begin on.
    pub current: Revision,
    /// What had to be read.
    pub revisions: BTreeMap<Revision, Known>,
}

/// What became of the current revision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// Agents that the one before did not have.
    pub came: BTreeSet<AgentName>,
    /// Agents that only the one before had.
    pub went: BTreeSet<AgentName>,
}

/// The agents that are needed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needed {
    /// As far as is known.
    pub agents: BTreeSet<AgentName>,
    /// Whether these are all: nobody may retire while a revision in use cannot be read.
    pub is_complete: bool,
}

/// Every revision, and the agents on their way out.
#[derive(Clone, Debug)]
pub struct Revisions {
    current: Revision,
    known: BTreeMap<Revision, Known>,
    grace_ms: u64,
    /// Agents with a consumer that nothing needs, and since when, by the broker's clock.
    unneeded: BTreeMap<AgentName, u64>,
    /// Agents whose consumer is gone: nobody looks for it until they are needed.
    retired: BTreeSet<AgentName>,
}

impl Revisions {
    /// The revisions as the registry has them. An agent retires once nothing has needed it for `grace_ms`: longer than
    /// anybody believes an old revision to be the current one.
    pub fn new(Learnt { current, revisions }: Learnt, grace_ms: u64) -> Self {
        Self { current, known: revisions, grace_ms, unneeded: BTreeMap::new(), retired: BTreeSet::new() }
    }

    /// Those that need not be read again.
    pub fn known(&self) -> BTreeSet<Revision> {
        self.known.keys().cloned().collect()
    }

    /// Takes in what was read; the change, if another revision is current now.
    pub fn learn(&mut self, Learnt { current, revisions }: Learnt) -> Option<Change> {
        self.known.extend(revisions);
        if current == self.current {
            return None;
        }
        let before = std::mem::replace(&mut self.current, current);
        let (before, now) = (self.agents_of(&before), self.agents_of(&self.current));
        Some(Change { came: now.difference(&before).cloned().collect(), went: before.difference(&now).cloned().collect() })
    }

    fn agents_of(&self, revision: &Revision) -> BTreeSet<AgentName> {
        self.known.get(revision).and_then(|known| known.agents.clone()).unwrap_or_default()
    }

    /// The revision that new conversations begin on.
    pub const fn current(&self) -> &Revision {
        &self.current
    }

    /// How long what is over is kept now, whatever it ran on.
    pub fn retention(&self) -> Retention {
        self.known.get(&self.current).map(|known| known.retention).unwrap_or_default()
    }

    /// The agents that must be there.
    pub fn needed(&self, ledger: &Ledger) -> Needed {
        // Their owners are among the agents of their revisions, unless those cannot be read.
        let mut needed = Needed { agents: ledger.working_agents().cloned().collect(), is_complete: true };
        for revision in ledger.revisions().map(|(revision, _)| revision).chain([&self.current]) {
            match self.known.get(revision).and_then(|known| known.agents.as_ref()) {
                Some(agents) => needed.agents.extend(agents.iter().cloned()),
                None => needed.is_complete = false,
            }
        }
        needed
    }

    /// Those whose consumers the sweep looks at: who is needed, and who could retire.
    pub fn watched(&self, ledger: &Ledger) -> BTreeSet<AgentName> {
        let known = self.known.values().filter_map(|known| known.agents.as_ref()).flatten();
        let mut watched: BTreeSet<_> = known.filter(|agent| !self.retired.contains(*agent)).cloned().collect();
        watched.extend(self.needed(ledger).agents);
        watched
    }

    /// Forgets who has retired: another coordinator may have changed it meanwhile.
    pub fn doubt(&mut self) {
        self.retired.clear();
    }

    /// The agents that retire now, given their consumers (none where there is none).
    pub fn retiring(&mut self, needed: &Needed, consumers: &Consumers, now_ms: u64) -> Vec<AgentName> {
        let is_needed = |agent: &AgentName| !needed.is_complete || needed.agents.contains(agent);
        self.unneeded.retain(|agent, _| !is_needed(agent));
        self.retired.retain(|agent| !is_needed(agent));
        let mut retiring = Vec::new();
        for (agent, state) in consumers.iter().filter(|(agent, _)| !is_needed(agent)) {
            if state.is_none() {
                self.unneeded.remove(agent);
                self.retired.insert(agent.clone());
            } else if self.unneeded.entry(agent.clone()).or_insert(now_ms).saturating_add(self.grace_ms) <= now_ms {
                retiring.push(agent.clone());
            }
        }
        retiring
    }

    /// The revisions as they are shown to people: the current one, those in use, the others, each the latest first.
    pub fn shown(&self, ledger: &Ledger) -> Registered {
        let open: BTreeMap<_, _> = ledger.revisions().collect();
        let shown = |(revision, known): (&Revision, &Known)| {
            let shown = RevisionShown {
                revision: revision.clone(),
                is_current: *revision == self.current,
                open: open.get(revision).copied().unwrap_or_default(),
                agents: known.agents.iter().flatten().cloned().collect(),
            };
            ((shown.is_current, shown.open > 0, known.number), shown)
        };
        let mut revisions: Vec<_> = self.known.iter().map(shown).collect();
        revisions.sort_by(|(one, _), (other, _)| other.cmp(one));
        let total = revisions.len();
        Registered { revisions: revisions.into_iter().map(|(_, shown)| shown).take(LISTED_MAX).collect(), total }
    }
}

#[cfg(test)]
#[path = "revisions_tests.rs"]
mod tests;
