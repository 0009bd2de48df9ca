//! I18, bounded rework: model calls per committed step ≤ 1 + faults and interrupts that touched it; = 1 without. Two processes ask
//! a model in one epoch only where the broker repeats an item that was settled, as if it had never delivered it.

use std::collections::BTreeMap;

use journal::memory::Fault;
use protocol::event::Event;
use protocol::history::PromptMessage;
use protocol::ids::{ConversationId, ProcessId, Seq};

use crate::record::Seen;
use crate::told::Evidence;

pub(crate) fn check(evidence: &Evidence<'_>) -> Result<(), String> {
    let recording = evidence.recording;
    let mut asked: BTreeMap<&ConversationId, Vec<&[PromptMessage<'_>]>> = BTreeMap::new();
    for record in &recording.records {
        if let Seen::Asked { whose, messages, is_summary: false, .. } = &record.seen {
            asked.entry(&whose.conversation).or_default().push(messages);
        }
    }
    let struck = recording.records.iter().filter(|record| matches!(record.seen, Seen::Struck)).count() as u64;
    let faults = struck + recording.faults.values().sum::<u64>();
    for conversation in evidence.conversations() {
        let events: Vec<&Event> = conversation.entries().iter().flat_map(|entry| &entry.events).collect();
        let count = |is: fn(&Event) -> bool| events.iter().filter(|event| is(event)).count() as u64;
        let interrupts = count(|event| matches!(event, Event::Interrupted(_) | Event::Cancelled(_) | Event::Failed(_)));
        let pauses = count(|event| matches!(event, Event::Deferred(_) | Event::HandedBack(_)));
        let takeovers = count(|event| matches!(event, Event::Taken(_) | Event::Redispatched(_)));
        // Where a replica lacks what is needed to begin, whoever asked it gives the item back.
        if recording.is_calm && takeovers > 0 && !recording.faults.contains_key(&Fault::ReadStale) {
            return Err(format!("{} was taken from a healthy worker {takeovers} times", conversation.id()));
        }
        let same = same_prompts(asked.get(conversation.id()).map_or(&[], Vec::as_slice));
        let touched = if recording.is_calm { 0 } else { faults + interrupts + pauses + takeovers };
        if same > 1 + touched {
            return Err(format!("{}: {same} model calls for one step, which {touched} faults may have touched", conversation.id()));
        }
    }
    one_asks_in_an_epoch(evidence)
}

/// Who was given an epoch's work item asks; whoever else is given it begins an epoch of their own first.
fn one_asks_in_an_epoch(evidence: &Evidence<'_>) -> Result<(), String> {
    if evidence.recording.faults.contains_key(&Fault::DeliveryTwice) {
        return Ok(());
    }
    let mut askers: BTreeMap<(&ConversationId, Seq), &ProcessId> = BTreeMap::new();
    for record in &evidence.recording.records {
        let Seen::Asked { whose, .. } = &record.seen else { continue };
        let asker = askers.entry((&whose.conversation, whose.epoch)).or_insert(&whose.process);
        if **asker != whose.process {
            return Err(format!("{} asked in epoch {} of {}, as {asker} had", whose.process, whose.epoch, whose.conversation));
        }
    }
    Ok(())
}

/// How often the model was asked the very same.
fn same_prompts(prompts: &[&[PromptMessage<'_>]]) -> u64 {
    let most = prompts.iter().map(|prompt| prompts.iter().filter(|other| *other == prompt).count()).max();
    most.unwrap_or(0) as u64
}
