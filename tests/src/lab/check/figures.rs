//! What a recording measures: how long work lay after a fault, what it cost in model calls, how long nothing was stored.

use std::collections::BTreeMap;

use protocol::event::Event;
use protocol::subject::Class;

use super::i07_turn_never_lost_or_doubled::tokens_of;
use super::view::{Fault, Line, ModelRequest, View, marks};
use crate::lab::measure::percentile;

/// How a conversation went on after a fault that was aimed at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovery {
    /// The fault's name.
    pub fault: String,
    /// What it hit.
    pub target: String,
    /// The conversation.
    pub conversation: String,
    /// When it struck.
    pub at_us: u64,
    /// How long until the next entry of the owner's side.
    pub took_us: u64,
    /// Whether that entry takes the work over from a dead owner; otherwise the turn went on as if nothing had been.
    pub is_taken_over: bool,
    /// The records that show it.
    pub evidence: Vec<usize>,
}

/// The most that is promised for one fault, in milliseconds: from the owner's last sign of life to the entry that takes its work
/// over. Of a stopped or cut-off worker a 99th percentile is promised, and the report shows it: one alone may take twice as long.
pub fn orphan_bound_ms(fault: &str) -> Option<u64> {
    let bounds = [("kill-worker", 5_000), ("stop-worker", 10_000), ("freeze-worker", 10_000), ("cut-worker", 12_000)];
    bounds.into_iter().find(|(name, _)| fault.starts_with(name)).map(|(_, bound_ms)| bound_ms)
}

/// What came of every fault that was aimed at a conversation whose owner was at work.
pub fn recoveries(view: &View<'_>) -> Vec<Recovery> {
    let judged = view.faults.iter().filter_map(|fault| {
        let conversation = fault.conversation?;
        let is_owners = |line: &&Line<'_>| line.subject.class != Class::In;
        let (before, after): (Vec<&Line<'_>>, Vec<&Line<'_>>) =
            view.lines(conversation).filter(is_owners).partition(|line| view.stored_us(line) <= fault.at_us);
        // Who waits or has ended has nobody who could die.
        before.last().filter(|line| !matches!(line.subject.class, Class::Ask | Class::End))?;
        let next = after.first()?;
        Some(Recovery {
            fault: fault.name.to_owned(),
            target: fault.target.to_owned(),
            conversation: conversation.to_owned(),
            at_us: fault.at_us,
            took_us: view.stored_us(next) - fault.at_us,
            is_taken_over: matches!(next.kind(), "taken" | "redispatched"),
            evidence: fault.evidence.iter().copied().chain([next.record]).collect(),
        })
    });
    judged.collect()
}

/// What one committed answer of a model cost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The conversation.
    pub conversation: String,
    /// The entry that holds the answer.
    pub ordinal: u64,
    /// When the model was first asked for it.
    pub at_us: u64,
    /// How often it was asked.
    pub calls: usize,
    /// What interfered meanwhile: faults, takeovers, interrupts.
    pub excuses: usize,
    /// The records that show it.
    pub evidence: Vec<usize>,
}

/// Every committed answer, with all requests to the model since the one before it in the same conversation.
pub fn steps(view: &View<'_>) -> Vec<Step> {
    view.conversations().flat_map(|conversation| steps_of(view, conversation)).collect()
}

fn steps_of(view: &View<'_>, conversation: &str) -> Vec<Step> {
    let mut asked: Vec<&ModelRequest<'_>> =
        view.requests.values().filter(|request| request.conversation.as_deref() == Some(conversation)).collect();
    asked.sort_by_key(|request| request.at_us);
    let committed = committed(view, conversation);
    let mut steps = Vec::new();
    let mut wasted: Vec<&ModelRequest<'_>> = Vec::new();
    for request in asked {
        let Some((token, line)) = request.token.and_then(|token| committed.get_key_value(token)) else {
            wasted.push(request);
            continue;
        };
        debug_assert_eq!(Some(token.as_str()), request.token);
        // Of another agent's work nothing is repeated here.
        let tries: Vec<&ModelRequest<'_>> =
            std::mem::take(&mut wasted).into_iter().filter(|wasted| wasted.agent == request.agent).chain([request]).collect();
        let from_us = tries.first().map_or(request.at_us, |first| first.at_us);
        steps.push(Step {
            conversation: conversation.to_owned(),
            ordinal: line.ordinal(),
            at_us: from_us,
            calls: tries.len(),
            excuses: excuses(view, conversation, &tries, from_us, view.stored_us(line).max(request.at_us)),
            evidence: tries.iter().flat_map(|request| request.evidence.clone()).chain([line.record]).collect(),
        });
    }
    steps
}

/// The answers that are stored, by their tokens; a summary that goes along with a transfer is one.
fn committed<'v, 'a>(view: &'v View<'a>, conversation: &str) -> BTreeMap<String, &'v Line<'a>> {
    let mut committed = BTreeMap::new();
    for line in view.lines(conversation) {
        for event in line.events() {
            match event {
                Event::Responded(response) => committed.extend(tokens_of(response).into_iter().map(|token| (token, line))),
                Event::Transferred(transfer) => {
                    let summary = transfer.summary.iter().flat_map(|summary| marks(summary, "t"));
                    committed.extend(summary.map(|token| (token.to_owned(), line)));
                }
                _ => {}
            }
        }
    }
    committed
}

/// What may have cost a model call between two times. A fault that can have done so may cost as many as the model is asked again
/// for one answer.
fn excuses(view: &View<'_>, conversation: &str, tries: &[&ModelRequest<'_>], from_us: u64, to_us: u64) -> usize {
    /// Attempts at one answer of a model that fails.
    const ATTEMPTS: usize = 3;
    /// How long what a fault began goes on.
    const AFTERMATH_US: u64 = 60_000_000;
    /// A broker that is back, a consumer that is new and a worker that was away bring what was delivered before once more, and
    /// two may be at work until the fence tells them apart. What leaves deliveries alone has no such aftermath.
    const REDELIVERY_US: u64 = 5_000_000;
    let over_us = |fault: &Fault<'_>| match fault.healed_us {
        Some(healed) if fault.may_deliver_late() => fault.settled_us.unwrap_or(healed) + REDELIVERY_US,
        healed => healed.unwrap_or(u64::MAX),
    };
    let costs = |fault: &&Fault<'_>| fault.may_repeat(conversation) && fault.at_us <= to_us && over_us(fault) >= from_us;
    let faults = view.faults.iter().filter(costs).count();
    let cut = tries.iter().filter(|request| request.is_cut).count();
    let recent = |fault: &&Fault<'_>| fault.touches(from_us.saturating_sub(AFTERMATH_US), to_us);
    let interferes = |line: &&Line<'_>| match line.kind() {
        // Nobody takes over from the living.
        "taken" | "redispatched" => view.faults.iter().filter(recent).any(|fault| may_orphan(view, conversation, fault, line)),
        kind => matches!(kind, "reassigned" | "interrupted" | "deferred" | "handed-back" | "set-aside"),
    };
    let stored = view.lines(conversation).filter(interferes).filter(|line| (from_us..=to_us).contains(&view.stored_us(line))).count();
    faults * ATTEMPTS + cut + stored
}

/// Whether a fault can have led to this takeover.
fn may_orphan(view: &View<'_>, conversation: &str, fault: &Fault<'_>, takeover: &Line<'_>) -> bool {
    let (agent, taker) = match &takeover.subject.class {
        Class::To { agent, .. } => (Some(agent), None),
        _ => (takeover.agent(), Some(takeover.process())),
    };
    let before: Vec<&Line<'_>> = view.lines(conversation).take_while(|line| line.ordinal() < takeover.ordinal()).collect();
    let of_item = before.iter().rev().take_while(|line| !matches!(line.subject.class, Class::To { .. }));
    let writer = of_item.filter(|line| line.agent().is_some()).map(|line| line.process()).next();
    agent.is_some_and(|agent| fault.may_orphan(agent.as_str(), writer, taker))
}

/// What happened in a conversation after it was called off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CalledOff {
    /// How long its model was heard to write on, where one was writing.
    pub model_us: Option<u64>,
    /// How much later a tool was called last, where one was.
    pub tool_us: Option<u64>,
    /// How many entries follow.
    pub entries: usize,
    /// Whether a fault kept its worker from hearing of it.
    pub is_deafened: bool,
}

/// Every conversation that was called off.
pub fn called_off(view: &View<'_>) -> Vec<CalledOff> {
    let of = |conversation: &str| {
        let end = view.lines(conversation).find(|line| line.events().iter().any(|event| matches!(event, Event::Cancelled(_))))?;
        let over_us = view.stored_us(end);
        let later = |at_us: u64| at_us.checked_sub(over_us).filter(|later| *later > 0);
        let requests = view.requests.values().filter(|request| request.conversation.as_deref() == Some(conversation));
        let calls = view.calls.iter().filter(|call| call.conversation == conversation);
        let model_us = requests.filter_map(|request| later(request.over_us?)).max();
        let tool_us = calls.filter_map(|call| later(call.at_us)).max();
        let until_us = over_us + model_us.max(tool_us).unwrap_or_default();
        Some(CalledOff {
            model_us,
            tool_us,
            entries: view.lines(conversation).filter(|line| line.ordinal() > end.ordinal() && line.kind() != "erased").count(),
            is_deafened: view.is_deafened(over_us, until_us),
        })
    };
    view.conversations().filter_map(of).collect()
}

/// How often each key took effect.
pub fn effects(view: &View<'_>) -> BTreeMap<String, usize> {
    let mut effects = BTreeMap::new();
    for call in &view.calls {
        *effects.entry(call.key.to_owned()).or_default() += usize::from(call.is_effect);
    }
    effects
}

/// For each fault, by name, the longest time in which nothing was stored in any conversation, from the last entry before it until
/// the first after it was over.
pub fn stalls(view: &View<'_>) -> Vec<(String, u64)> {
    let lines = view.conversations().flat_map(|conversation| view.lines(conversation));
    let mut stored: Vec<u64> = lines.map(|line| view.stored_us(line)).collect();
    stored.sort_unstable();
    let longest = |from_us: u64, to_us: u64| {
        let begin = stored.partition_point(|at_us| *at_us <= from_us).saturating_sub(1);
        let end = stored.partition_point(|at_us| *at_us <= to_us).saturating_add(1).min(stored.len());
        stored.get(begin..end)?.array_windows().map(|[one, next]| next - one).max()
    };
    let of = |fault: &Fault<'_>| Some((fault.name.to_owned(), longest(fault.at_us, fault.healed_us.unwrap_or(fault.at_us))?));
    view.faults.iter().filter_map(of).collect()
}

/// How figures of one kind are spread, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spread {
    /// How many there are.
    pub count: usize,
    /// Half of them are at most this.
    pub p50_ms: u64,
    /// All but one in a hundred are at most this.
    pub p99_ms: u64,
    /// The most.
    pub max_ms: u64,
}

/// Figures by name, in microseconds, spread out.
pub fn spread(figures: impl IntoIterator<Item = (String, u64)>) -> BTreeMap<String, Spread> {
    let mut by_name: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for (name, us) in figures {
        by_name.entry(name).or_default().push(us / 1000);
    }
    let of = |figures: Vec<u64>| {
        let at = |percent: usize| percentile(&figures, percent).unwrap_or_default();
        Spread { count: figures.len(), p50_ms: at(50), p99_ms: at(99), max_ms: at(100) }
    };
    by_name.into_iter().map(|(name, figures)| (name, of(figures))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::check::story::{Story, asked, responded, setup};

    #[test]
    fn percentiles_are_the_nearest_ranks() {
        let figures = (1..=200_u64).map(|ms| ("kill".to_owned(), ms * 1000)).chain([("stop".to_owned(), 7_000)]);
        let spread = spread(figures);
        assert_eq!(spread["kill"], Spread { count: 200, p50_ms: 100, p99_ms: 198, max_ms: 200 });
        assert_eq!(spread["stop"], Spread { count: 1, p50_ms: 7, p99_ms: 7, max_ms: 7 });
    }

    #[test]
    fn what_goes_on_after_a_cancel_is_measured_from_when_that_is_stored() {
        let mut story = Story::begun();
        story.working("triage", "triage-1");
        story.cancel("c1");
        story.wait(300);
        story.called("pay", "k1", "c1");
        story.wait(400);
        story.aborted(false);
        story.strike("freeze-worker-3s", "triage-1", None);
        let (setup, records) = (setup(), story.records());
        let [called_off] = &called_off(&View::new(&setup, &records))[..] else { panic!("one is called off") };
        let ms = |us: Option<u64>| us.unwrap_or_default() / 100_000 * 100;
        assert_eq!((ms(called_off.tool_us), ms(called_off.model_us), called_off.entries, called_off.is_deafened), (300, 700, 0, false));
    }

    #[test]
    fn a_fault_is_measured_from_its_strike_to_the_takeover() {
        let mut story = Story::begun();
        story.working("triage", "triage-1");
        story.fault("kill-worker", "triage-1", Some("c1"), 0);
        story.wait(750);
        story.redispatched();
        story.aborted(false);
        story.by("triage", "triage-2", vec![responded("t1", &[]), asked()]);
        let (setup, records) = (setup(), story.records());
        let view = View::new(&setup, &records);
        let [recovery] = &recoveries(&view)[..] else { panic!("one recovery") };
        assert!(recovery.is_taken_over);
        assert!((750_000..800_000).contains(&recovery.took_us), "{}", recovery.took_us);
        let [step] = &steps(&view)[..] else { panic!("one step") };
        assert_eq!((step.calls, step.ordinal), (2, 2));
        let [(_, stall)] = &stalls(&view)[..] else { panic!("one stall") };
        assert!(*stall >= 750_000, "{stall}");
    }

    #[test]
    fn effects_are_counted_by_key() {
        let mut story = Story::begun();
        story.called("pay", "k1", "c1");
        story.called("pay", "k1", "c1");
        story.called("pay", "k2", "c1");
        let (setup, records) = (setup(), story.records());
        let effects = effects(&View::new(&setup, &records));
        assert_eq!(effects, BTreeMap::from([("k1".to_owned(), 1), ("k2".to_owned(), 1)]));
    }
}
