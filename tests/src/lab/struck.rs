//! A fault on record: struck, healed, and settled.

use super::faults::Fault;
use super::record::Seen;
use super::recorder::Recorder;

/// A fault that has struck.
#[derive(Debug)]
pub struct Struck {
    number: u64,
    recorder: Recorder,
}

/// Records that a fault strikes now.
pub fn strike(recorder: &Recorder, fault: &Fault, target: &str, conversation: Option<&str>) -> Struck {
    let number = recorder.number();
    recorder.note(Seen::Struck {
        fault: number,
        name: fault.name.to_owned(),
        target: target.to_owned(),
        conversation: conversation.map(ToOwned::to_owned),
    });
    Struck { number, recorder: recorder.clone() }
}

impl Struck {
    /// Records that it is over.
    pub fn healed(&self) {
        self.recorder.note(Seen::Healed { fault: self.number });
    }

    /// Records that the broker has got over it.
    pub fn settled(&self) {
        self.recorder.note(Seen::Settled { fault: self.number });
    }
}
