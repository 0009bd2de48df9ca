//! What can go wrong between a program and its broker, drawn from one seed.

use std::collections::BTreeMap;
use std::time::Duration;

use fastrand::Rng;

/// One thing that can go wrong. Each has been seen on a real server, or follows from what its protocol promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// An append never reaches the broker.
    AppendLost,
    /// An append reaches the broker after its writer was told that its outcome is unknown.
    AppendLate,
    /// An append is stored, and its acknowledgement is lost.
    AcknowledgementLost,
    /// An append is stored, and its acknowledgement takes its time.
    AcknowledgementLate,
    /// The resend that would settle a lost append or acknowledgement is lost too: the writer is told "unknown".
    ResendLost,
    /// A work item comes once more, even after it has been acked, and perhaps counted as delivered once: what a
    /// recreated consumer does.
    DeliveryTwice,
    /// A work item comes after later ones.
    DeliveryReordered,
    /// An ack, extension, hand-back or termination is lost.
    SettlementLost,
    /// A follower loses its connection for a while, and reads on from the last entry it saw.
    FollowInterrupted,
    /// A lagging replica answers a read of the tail with an older entry, or lacks a sealing entry.
    ReadStale,
    /// A request other than an append is not answered; it may have been carried out.
    Unavailable,
    /// Something that was said does not arrive.
    SaidLost,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::AppendLost,
        Self::AppendLate,
        Self::AcknowledgementLost,
        Self::AcknowledgementLate,
        Self::ResendLost,
        Self::DeliveryTwice,
        Self::DeliveryReordered,
        Self::SettlementLost,
        Self::FollowInterrupted,
        Self::ReadStale,
        Self::Unavailable,
        Self::SaidLost,
    ];
}

/// How often each fault strikes. None does by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    per_mille: BTreeMap<Fault, u16>,
    latency_max: Duration,
    delay_max: Duration,
}

impl Faults {
    /// Every fault strikes as often, with delays up to 200 ms and requests that take up to 5 ms.
    pub fn all(per_mille: u16) -> Self {
        let faults = Fault::ALL.iter().fold(Self::default(), |faults, fault| faults.with(*fault, per_mille));
        faults.latency(Duration::from_millis(5)).delay(Duration::from_millis(200))
    }

    /// `fault` strikes in `per_mille` of a thousand chances.
    #[must_use]
    pub fn with(mut self, fault: Fault, per_mille: u16) -> Self {
        self.per_mille.insert(fault, per_mille);
        self
    }

    /// Every request takes up to this long: what happens at the same time then depends on the seed.
    #[must_use]
    pub const fn latency(mut self, latency_max: Duration) -> Self {
        self.latency_max = latency_max;
        self
    }

    /// How long whatever is late is late at most.
    #[must_use]
    pub const fn delay(mut self, delay_max: Duration) -> Self {
        self.delay_max = delay_max;
        self
    }
}

/// The only source of randomness of a memory broker: the same seed and the same calls give the same faults.
#[derive(Debug)]
pub(super) struct Chance {
    rng: Rng,
    faults: Faults,
    injected: BTreeMap<Fault, u64>,
}

impl Chance {
    pub(super) fn new(seed: u64, faults: Faults) -> Self {
        Self { rng: Rng::with_seed(seed), faults, injected: BTreeMap::new() }
    }

    pub(super) fn set_faults(&mut self, faults: Faults) {
        self.faults = faults;
    }

    pub(super) const fn injected(&self) -> &BTreeMap<Fault, u64> {
        &self.injected
    }

    /// Whether `fault` strikes now; it is counted if it does.
    pub(super) fn strikes(&mut self, fault: Fault) -> bool {
        let per_mille = self.faults.per_mille.get(&fault).copied().unwrap_or(0);
        let strikes = per_mille > 0 && self.rng.u16(0..1000) < per_mille;
        if strikes {
            *self.injected.entry(fault).or_default() += 1;
        }
        strikes
    }

    pub(super) fn coin(&mut self) -> bool {
        self.rng.bool()
    }

    /// A number below `n`, or 0.
    pub(super) fn below(&mut self, n: usize) -> usize {
        if n == 0 { 0 } else { self.rng.usize(0..n) }
    }

    pub(super) fn latency(&mut self) -> Duration {
        self.up_to(self.faults.latency_max)
    }

    pub(super) fn delay(&mut self) -> Duration {
        self.up_to(self.faults.delay_max)
    }

    fn up_to(&mut self, max: Duration) -> Duration {
        let micros = u64::try_from(max.as_micros()).unwrap_or(u64::MAX);
        if micros == 0 { Duration::ZERO } else { Duration::from_micros(self.rng.u64(0..=micros)) }
    }
}
