//! What the journal itself tells of a load: entries with the broker's own time of each. No process that is measured has a say in it.

use std::collections::BTreeMap;

use journal::nats::measure::Kept;
use protocol::ids::{ConversationId, Writer};
use protocol::subject::{Class, EntrySubject};

/// Handoffs on either side of the one that a gap is measured at.
const AROUND: usize = 5;

/// One entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Step {
    time_ns: u64,
    header_bytes: usize,
    payload_bytes: usize,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// An agent handed over to another one.
    Transfer,
    /// Another work item: an opening, a reply.
    Work,
    /// An agent's turn ended otherwise, or something was noted.
    Other,
}

/// The entries of a load, by conversation.
#[derive(Clone, Debug, Default)]
pub(super) struct Trail {
    conversations: BTreeMap<ConversationId, Vec<Step>>,
}

impl Trail {
    /// Of entries in the order of their stream; what is no entry of a conversation is left out.
    pub(super) fn of(kept: &[Kept]) -> Self {
        let mut trail = Self::default();
        for kept in kept {
            let Ok(subject) = kept.subject.parse::<EntrySubject>() else { continue };
            let kind = match (&subject.class, &subject.from) {
                (Class::To { agent, .. }, Writer::Agent(from)) if from != agent => Kind::Transfer,
                (Class::To { .. }, _) => Kind::Work,
                _ => Kind::Other,
            };
            trail.add(subject.conversation, kept, kind);
        }
        trail
    }

    /// Of the raw loop's messages: all but the opening of each conversation are handoffs.
    pub(super) fn of_raw(kept: &[Kept]) -> Self {
        let mut trail = Self::default();
        for kept in kept {
            let mut tokens = kept.subject.split('.').skip(2);
            let Some(conversation) = tokens.next().and_then(|token| token.parse().ok()) else { continue };
            let kind = if tokens.next() == Some("0") { Kind::Work } else { Kind::Transfer };
            trail.add(conversation, kept, kind);
        }
        trail
    }

    fn add(&mut self, conversation: ConversationId, kept: &Kept, kind: Kind) {
        let Kept { time_ns, header_bytes, payload_bytes, .. } = *kept;
        self.conversations.entry(conversation).or_default().push(Step { time_ns, header_bytes, payload_bytes, kind });
    }

    /// Which conversations.
    pub(super) fn conversations(&self) -> impl Iterator<Item = &ConversationId> {
        self.conversations.keys()
    }

    fn steps(&self) -> impl Iterator<Item = &Step> {
        self.conversations.values().flatten()
    }

    /// All entries.
    pub(super) fn entries(&self) -> usize {
        self.steps().count()
    }

    /// Those of them that hand a conversation over from agent to agent.
    pub(super) fn handoffs(&self) -> usize {
        self.steps().filter(|step| step.kind == Kind::Transfer).count()
    }

    /// Those of them that somebody works on: openings, replies, handoffs.
    pub(super) fn work_items(&self) -> usize {
        self.steps().filter(|step| step.kind != Kind::Other).count()
    }

    /// By what a cost is divided, and how often it was done: handoffs, or work items where there are none.
    pub(super) fn per(&self) -> (&'static str, usize) {
        match self.handoffs() {
            0 => ("work item", self.work_items()),
            handoffs => ("handoff", handoffs),
        }
    }

    /// The mean sizes of an entry's headers and of its payload, in bytes.
    pub(super) fn entry_bytes(&self) -> (usize, usize) {
        let mean = |of: fn(&Step) -> usize| self.steps().map(of).sum::<usize>() / self.entries().max(1);
        (mean(|step| step.header_bytes), mean(|step| step.payload_bytes))
    }

    /// From the first entry to the last, in seconds.
    pub(super) fn seconds(&self) -> f64 {
        let (first, last) = (self.steps().map(|step| step.time_ns).min(), self.steps().map(|step| step.time_ns).max());
        last.zip(first).map_or(0.0, |(last, first)| (last - first) as f64 / 1e9)
    }

    /// From each work item to the handoff that its turn ended with, in nanoseconds: a whole hop, store to store.
    pub(super) fn hops_ns(&self) -> Vec<u64> {
        self.conversations.values().flat_map(|steps| hops(steps)).collect()
    }

    /// From each work item that was not handed over by an agent to what became of it: how soon somebody who says something is answered.
    pub(super) fn answers_ns(&self) -> Vec<u64> {
        let pairs = self.conversations.values().flat_map(|steps| steps.iter().zip(steps.iter().skip(1)));
        pairs.filter(|(item, _)| item.kind == Kind::Work).map(|(item, next)| next.time_ns.saturating_sub(item.time_ns)).collect()
    }

    /// The hops around the `at`th of each conversation that has so many.
    pub(super) fn hops_around_ns(&self, at: usize) -> Vec<u64> {
        let around = |steps: &Vec<Step>| -> Vec<u64> {
            let hops = hops(steps);
            hops.get(at.saturating_sub(AROUND)..hops.len().min(at + AROUND)).map(<[u64]>::to_vec).unwrap_or_default()
        };
        self.conversations.values().flat_map(around).collect()
    }

    /// From each work item to the first request to its model, in nanoseconds. `arrivals_ns` are the requests of each conversation, by the
    /// clock of this machine, which is the broker's too.
    pub(super) fn requests_ns(&self, arrivals_ns: &BTreeMap<ConversationId, Vec<u64>>) -> Vec<u64> {
        let mut gaps = Vec::new();
        for (conversation, steps) in &self.conversations {
            let Some(arrivals) = arrivals_ns.get(conversation) else { continue };
            for (index, item) in steps.iter().enumerate().filter(|(_, step)| step.kind != Kind::Other) {
                let next_ns = steps.get(index + 1).map_or(u64::MAX, |next| next.time_ns);
                let arrival = arrivals.iter().find(|arrival| **arrival >= item.time_ns).filter(|arrival| **arrival < next_ns);
                gaps.extend(arrival.map(|arrival| arrival - item.time_ns));
            }
        }
        gaps
    }
}

fn hops(steps: &[Step]) -> Vec<u64> {
    let mut item_ns = None;
    let mut hops = Vec::new();
    for step in steps {
        if step.kind == Kind::Transfer {
            hops.extend(item_ns.map(|item_ns| step.time_ns.saturating_sub(item_ns)));
        }
        item_ns = (step.kind != Kind::Other).then_some(step.time_ns);
    }
    hops
}

#[cfg(test)]
mod tests {
    use protocol::ids::Seq;

    use super::*;

    const KEPT: Kept = Kept { seq: Seq(0), subject: String::new(), time_ns: 0, header_bytes: 100, payload_bytes: 50 };

    fn trail(entries: &[(&str, u64)]) -> Trail {
        let kept = |(seq, (what, time_ns)): (u64, &(&str, u64))| Kept {
            seq: Seq(seq),
            subject: format!("baton.bench.c.{what}"),
            time_ns: *time_ns,
            ..KEPT
        };
        Trail::of(&(1..).zip(entries).map(kept).collect::<Vec<_>>())
    }

    const RALLY: [(&str, u64); 5] = [
        ("a.0.to.ping.0123456789ab.client", 1_000),
        ("b.0.to.ping.0123456789ab.client", 1_500),
        ("a.1.to.pong.0123456789ab.ping", 3_000),
        ("a.2.to.ping.0123456789ab.pong", 4_000),
        ("a.3.end.ping", 9_000),
    ];

    #[test]
    fn a_hop_lasts_from_the_work_item_to_the_next_handoff_of_the_same_conversation() {
        let trail = trail(&RALLY);
        assert_eq!((trail.entries(), trail.handoffs(), trail.work_items()), (5, 2, 4));
        assert_eq!((trail.hops_ns(), trail.entry_bytes(), trail.seconds()), (vec![2_000, 1_000], (100, 50), 8e-6));
        assert_eq!(trail.hops_around_ns(1), [2_000, 1_000]);
        assert_eq!(trail.hops_around_ns(500), [0; 0]);
    }

    #[test]
    fn of_the_raw_loop_all_but_openings_are_handoffs() {
        let kept = |n: u64| Kept { seq: Seq(n), subject: format!("raw.c.0x0.{n}.to.ping.0123456789ab.pong"), time_ns: n * 100, ..KEPT };
        let trail = Trail::of_raw(&[kept(0), kept(1), kept(2)]);
        assert_eq!((trail.entries(), trail.handoffs(), trail.hops_ns()), (3, 2, vec![100, 100]));
    }

    #[test]
    fn what_is_no_handoff_is_no_hop() {
        let trail = trail(&[
            ("a.0.to.ping.0123456789ab.client", 1_000),
            ("a.1.ask.ping", 2_000),
            ("a.2.to.ping.0123456789ab.client", 7_000),
            ("a.3.note.ping", 7_500),
            ("a.4.to.ping.0123456789ab.ping", 8_000),
            ("a.5.end.ping", 9_000),
        ]);
        assert_eq!((trail.handoffs(), trail.hops_ns(), trail.answers_ns()), (0, vec![], vec![1_000, 500, 1_000]));
    }

    #[test]
    fn a_request_belongs_to_the_work_item_before_it() {
        let arrivals = BTreeMap::from([("a".parse().unwrap(), vec![1_400, 1_450, 3_100, 9_500])]);
        // The item at 4,000 was never asked about before the end.
        assert_eq!(trail(&RALLY).requests_ns(&arrivals), [400, 100]);
    }
}
