//! What must hold of whatever models, tools and workers were seen to do. Nothing here asks the code that it judges: it knows
//! the definition's file, the journal's events, and what was said and done outside.

use std::collections::BTreeSet;
use std::sync::Arc;

use protocol::entry::Entry;
use protocol::event::{Asked, Call, Effect, Event, HistoryOption, Replied, Verdict};
use protocol::history::PromptMessage;
use protocol::ids::{Hash, Ordinal};
use protocol::manifest::InDoubtSpec;
use protocol::subject::Class;

use super::law::Means;
use super::world::{Seen, What, World};
use crate::turn::{Finish, Run};

/// The words of a text that nobody else has said.
pub(super) fn words(text: &str) -> Vec<u64> {
    text.split('§').skip(1).step_by(2).filter_map(|part| part.parse().ok()).collect()
}

/// The agent that wrote an entry.
pub(super) fn writer(entry: &Entry) -> Option<&str> {
    entry.head.subject.from.agent().map(|agent| agent.as_str())
}

/// All events, with the entry that each is in.
fn events(entries: &[Arc<Entry>]) -> impl DoubleEndedIterator<Item = (&Entry, &Event)> {
    entries.iter().flat_map(|entry| entry.events.iter().map(move |event| (entry.as_ref(), event)))
}

impl World {
    /// The journal as somebody knew it.
    fn known(&self, next: Ordinal) -> &[Arc<Entry>] {
        &self.stage.journal.entries()[..usize::try_from(next).unwrap()]
    }

    /// Whether a reply is that of people who play the agent that asked.
    pub(super) fn is_of_desk(&self, reply: &Replied) -> bool {
        let entry = &self.stage.journal.entries()[usize::try_from(reply.request.ordinal).unwrap()];
        let Event::Asked(Asked { audience, .. }) = &entry.events[usize::try_from(reply.request.index).unwrap()] else { panic!() };
        self.demands.is_played_at(writer(entry).unwrap(), audience)
    }

    /// Everything that processes were seen to do.
    pub(super) fn check_what_was_seen(&self) {
        for (place, seen) in self.seen.iter().enumerate() {
            let before = &self.seen[..place];
            match &seen.what {
                What::Began { offered, .. } => {
                    let offered: BTreeSet<String> = offered.iter().cloned().collect();
                    assert_eq!(offered, self.demands.offered(seen.agent.as_str()), "offered to {}", seen.agent);
                }
                What::Prompted { messages, is_summary } => {
                    check_results(messages);
                    self.check_words(seen, before, messages);
                    self.check_effects_are_stored(seen, before);
                    assert!(!is_summary || self.edge_folds(seen), "a summary that nobody wants");
                }
                What::Ran(runs) => self.check_runs(seen, before, runs),
                What::Finished { finish, is_done } => {
                    assert!(*is_done || *finish != Finish::Settled, "settled, and nobody goes on");
                }
                What::Answered { .. } | What::Returned(_) | What::Stored => {}
            }
            let mut mine = self.seen[..=place].iter().rev().filter(|other| other.process == seen.process);
            let is_current = mine.find_map(Seen::is_current);
            let is_idle = matches!(seen.what, What::Began { .. } | What::Finished { .. });
            assert!(is_idle || is_current == Some(true), "work on what somebody else went on with: {:?}", seen.what);
        }
    }

    fn edge_folds(&self, seen: &Seen) -> bool {
        self.demands.spec.agents[seen.agent.as_str()].handoffs.iter().any(|edge| edge.history == Some(HistoryOption::Summary))
    }

    /// Each message is in a prompt once: none missing, none doubled, in order; not what a summary stands for.
    fn check_words(&self, seen: &Seen, before: &[Seen], messages: &[PromptMessage<'_>]) {
        let me = seen.agent.as_str();
        let (mut people, mut agents) = (Vec::new(), Vec::new());
        for (_, event) in events(self.known(seen.next)) {
            match event {
                Event::Opened(opened) => people.extend(opened.input.iter().flat_map(|message| words(&message.text))),
                Event::Said(said) => people.extend(words(&said.text)),
                Event::Interrupted(said) => people.extend(words(&said.text)),
                Event::Replied(reply) if !self.is_of_desk(reply) => people.extend(words(&reply.text)),
                Event::Responded(response) => agents.extend(words(&response.text)),
                Event::Transferred(transfer) if transfer.to.as_str() == me => {
                    if let Some(summary) = &transfer.summary {
                        people.clear();
                        agents = words(summary);
                    }
                }
                _ => {}
            }
        }
        let mine = before.iter().rev().filter(|other| other.process == seen.process);
        let fresh = mine.take_while(|other| !matches!(other.what, What::Stored)).filter_map(|other| match &other.what {
            What::Answered { response, is_summary: false } => Some(words(&response.text)),
            _ => None,
        });
        let fresh: Vec<Vec<u64>> = fresh.collect();
        agents.extend(fresh.into_iter().rev().flatten());
        let said = |is_wanted: for<'a> fn(&'a PromptMessage<'_>) -> Option<&'a str>| messages.iter().filter_map(is_wanted).flat_map(words);
        let of_people: Vec<u64> =
            said(|message| if let PromptMessage::User { text } = message { Some(text.as_ref()) } else { None }).collect();
        let of_agents = said(|message| if let PromptMessage::Assistant { text, .. } = message { Some(text.as_ref()) } else { None });
        // A service's words, and a person's at a desk, may stand in shared arguments and results too.
        let known: BTreeSet<u64> = agents.iter().copied().collect();
        let of_agents: Vec<u64> = of_agents.filter(|word| known.contains(word)).collect();
        assert_eq!(of_people, people, "what people said, in a prompt of {me}: {messages:#?}");
        assert_eq!(of_agents, agents, "what agents said, in a prompt of {me}: {messages:#?}");
    }

    /// What tools with effects returned is stored before a model sees it.
    fn check_effects_are_stored(&self, seen: &Seen, before: &[Seen]) {
        let stored: BTreeSet<u64> = events(self.known(seen.next))
            .filter_map(|(_, event)| if let Event::Returned(returned) = event { Some(words(&returned.content)) } else { None })
            .flatten()
            .collect();
        for other in before.iter().filter(|other| other.process == seen.process) {
            let What::Returned(results) = &other.what else { continue };
            for (run, word) in results.iter().filter(|(run, _)| self.demands.effect(&run.call.name) != Effect::ReadOnly) {
                assert!(words(word).iter().all(|word| stored.contains(word)), "shown before it was stored: {run:?}");
            }
        }
    }

    /// A tool runs only for a call that was made, offered and well-formed; behind an intent where it has effects, by leave
    /// of a person where it needs that, and not again where nobody can know what the first run did.
    fn check_runs(&self, seen: &Seen, before: &[Seen], runs: &[Run]) {
        let (me, known) = (seen.agent.as_str(), self.known(seen.next));
        let calls = self.last_response(seen, before);
        let distinct: BTreeSet<&str> = runs.iter().map(|run| run.call.id.as_str()).collect();
        assert_eq!(distinct.len(), runs.len(), "one call, two runs: {runs:?}");
        for Run { call, key, undoes } in runs {
            assert_eq!(*undoes, None, "no tool here undoes another: {call:?}");
            assert!(calls.iter().any(|made| made.name == call.name && made.arguments == call.arguments), "nobody made {call:?}");
            let Means::Run(tool) = self.demands.means(me, call) else { panic!("{call:?} means no run for {me}") };
            let earlier = before.iter().filter_map(|other| if let What::Ran(runs) = &other.what { Some((other, runs)) } else { None });
            let earlier: Vec<_> = earlier.flat_map(|(other, runs)| runs.iter().map(move |run| (other, run))).collect();
            let repeats: Vec<_> = earlier.into_iter().filter(|(_, run)| run.key == *key).collect();
            assert!(repeats.iter().all(|(_, run)| run.call == *call), "one key, two calls: {call:?}");
            if tool.approval.is_some() {
                assert!(permission(known, call, &[Verdict::Approved, Verdict::Retry]), "nobody permitted {call:?}");
            }
            let effect = self.demands.effect(&call.name);
            if effect == Effect::ReadOnly {
                continue;
            }
            let (writer, class) = intent(known, key, &call.id).unwrap_or_else(|| panic!("no intent of {call:?}"));
            assert!(matches!(class, Class::Note), "an intent that is no note");
            if effect == Effect::SideEffect && tool.in_doubt != Some(InDoubtSpec::Retry) {
                assert_eq!(writer.head.process, seen.process, "somebody else's intent: {call:?}");
                let by_me = repeats.iter().filter(|(other, _)| other.process == seen.process && other.next == seen.next);
                assert_eq!(by_me.count(), 0, "one intent, two runs: {call:?}");
                // Whoever stood still between intent and run may come after a person had it run again.
                let all = self.stage.journal.entries();
                let retries = events(all).filter(|(_, event)| decides(all, event, call, &[Verdict::Retry])).count();
                assert!(repeats.len() <= retries, "{call:?} ran again without anybody's leave");
            }
        }
    }

    /// The calls of the response that a process is working on: its model's last, or the journal's.
    fn last_response(&self, seen: &Seen, before: &[Seen]) -> Vec<Call> {
        let mut mine = before.iter().rev().filter(|other| other.process == seen.process);
        let answered = mine.find_map(|other| match &other.what {
            What::Answered { response, is_summary: false } => Some(response.calls.clone()),
            _ => None,
        });
        let recorded = || {
            events(self.known(seen.next)).rev().find_map(|(entry, event)| match event {
                Event::Responded(response) if writer(entry) == Some(seen.agent.as_str()) => Some(response.calls.clone()),
                _ => None,
            })
        };
        answered.or_else(recorded).unwrap_or_default()
    }
}

impl Seen {
    fn is_current(&self) -> Option<bool> {
        if let What::Began { is_current, .. } = self.what { Some(is_current) } else { None }
    }
}

/// Every call of a prompt is followed by its result, in order, and every result by none but its own call's.
fn check_results(prompt: &[PromptMessage<'_>]) {
    let mut open: Vec<&str> = Vec::new();
    for message in prompt {
        match message {
            PromptMessage::Tool { call, .. } => {
                assert_eq!(open.first(), Some(&call.as_ref()), "a result without its call");
                open.remove(0);
            }
            PromptMessage::System { .. } | PromptMessage::User { .. } => assert!(open.is_empty(), "{open:?} have no result"),
            PromptMessage::Assistant { calls, .. } => {
                assert!(open.is_empty(), "{open:?} have no result");
                open = calls.iter().map(|call| call.id.as_str()).collect();
                assert_eq!(open.iter().collect::<BTreeSet<_>>().len(), open.len(), "one id, two calls");
            }
        }
    }
    assert!(open.is_empty(), "{open:?} have no result");
}

/// The last entry that says of a key that its call is about to run.
fn intent<'a>(known: &'a [Arc<Entry>], key: &str, call: &str) -> Option<(&'a Entry, &'a Class)> {
    let intends = |event: &Event| matches!(event, Event::Intended(it) if it.calls.iter().any(|it| it.key == key && it.call == call));
    let (entry, _) = events(known).rev().find(|(_, event)| intends(event))?;
    Some((entry, &entry.head.subject.class))
}

/// Whether people decided a request about this very call in one of these ways.
fn permission(known: &[Arc<Entry>], call: &Call, verdicts: &[Verdict]) -> bool {
    events(known).any(|(_, event)| decides(known, event, call, verdicts))
}

fn decides(known: &[Arc<Entry>], event: &Event, call: &Call, verdicts: &[Verdict]) -> bool {
    let Event::Decided(decided) = event else { return false };
    let entry = &known[usize::try_from(decided.request.ordinal).unwrap()];
    let Event::Asked(asked) = &entry.events[usize::try_from(decided.request.index).unwrap()] else { panic!("{decided:?}") };
    let is_of_it = asked.call.as_ref() == Some(call) && asked.arguments_hash == Some(Hash::of(call.arguments.as_bytes()));
    is_of_it && decided.arguments_hash == asked.arguments_hash && verdicts.contains(&decided.verdict)
}
