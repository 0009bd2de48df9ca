//! Bugs that are planted one at a time, to see the checker find them: by name, what is wrong, under which fault it shows, and which
//! promises it breaks. A binary that has them is built with `cargo build -p baton --features planted`; `BATON_BINARY` names it
//! and `BATON_PLANT` the bug.

/// A bug that can be planted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plant {
    /// Its name, as `BATON_PLANT` has it.
    pub name: &'static str,
    /// What is wrong.
    pub about: &'static str,
    /// The fault under which it shows.
    pub fault: &'static str,
    /// The promises of which it must be seen to break one.
    pub invariants: &'static [&'static str],
}

const fn plant(name: &'static str, about: &'static str, fault: &'static str, invariants: &'static [&'static str]) -> Plant {
    Plant { name, about, fault, invariants }
}

/// All of them.
pub const PLANTS: [Plant; 17] = [
    plant("no-fence", "entries are published without a fence", "freeze-worker-10s", &["I3", "I4"]),
    plant("end-not-fenced", "the entry that ends a conversation is published without a fence", "nothing", &["I3", "I13", "I14"]),
    plant("skip-taken", "a redelivered turn goes on without an entry that says so", "freeze-worker-10s", &["I4"]),
    plant("no-intent", "calls with effects run before anything says that they may", "nothing", &["I9"]),
    plant("new-key-on-retry", "a call that was permitted, or is in doubt, runs under another key", "nothing", &["I9"]),
    plant("results-before-commit", "a model is shown results of effects that are not stored", "nothing", &["I16"]),
    plant("prompt-from-memory", "a prompt lacks what the running turn has done", "nothing", &["I16"]),
    plant("keyed-wrongly", "a memory of prompts is kept by nobody's key", "nothing", &["I15"]),
    plant("deaf-to-cancel", "a worker does not hear that its conversation is over", "call-off", &["I13", "I14"]),
    plant("poison-exits", "a worker exits at an entry that it cannot read", "poison", &["I17"]),
    plant("poison-hangs", "a conversation in which something cannot be read is left as it is", "poison", &["I17"]),
    plant("second-reply-accepted", "whoever answers too late is told that it was taken", "nothing", &["I1", "I11"]),
    plant("ack-before-commit", "people are told 2xx before anything is stored", "nothing", &["I1"]),
    plant("unknown-is-failed", "an opening that is repeated is another conversation", "kill-gateway-opening", &["I1"]),
    plant("resume-skips-an-event", "whoever comes back is shown one event too few", "kill-gateway", &["I21"]),
    plant("comes-back-whenever", "whoever is told to come back is not told when", "kill-broker-20s", &["I19"]),
    plant("redispatch-healthy-work", "work that somebody holds is handed out again", "slow-model", &["I17", "I18"]),
];

/// The bug of this name.
pub fn named(name: &str) -> Option<&'static Plant> {
    PLANTS.iter().find(|plant| plant.name == name)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::lab::{check::INVARIANTS, faults};

    #[test]
    fn each_is_proven_by_promises_and_faults_that_exist() {
        let names: BTreeSet<_> = PLANTS.iter().map(|plant| plant.name).collect();
        assert_eq!(names.len(), PLANTS.len());
        for plant in PLANTS {
            assert!(faults::named(plant.fault).is_some(), "{}", plant.fault);
            assert!(plant.invariants.iter().all(|name| INVARIANTS.iter().any(|(known, _)| known == name)), "{}", plant.name);
            assert_eq!(named(plant.name), Some(&plant));
        }
    }
}
