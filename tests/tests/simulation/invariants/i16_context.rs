//! I16, context integrity: the prompt that produced a turn = projection of the journal before it: nothing missing, doubled, reordered.

use std::collections::{BTreeMap, BTreeSet};

use protocol::conversation::Conversation;
use protocol::entry::Entry;
use protocol::event::Event;
use protocol::history::{PromptMessage, project};
use protocol::subject::Class;

use crate::record::Seen;
use crate::told::{Evidence, mark, marks};

pub(crate) fn check(evidence: &Evidence<'_>) -> Result<(), String> {
    let mut prompts: BTreeMap<u64, &[PromptMessage<'_>]> = BTreeMap::new();
    for record in &evidence.recording.records {
        let Seen::Asked { token, is_summary: false, messages, whose } = &record.seen else { continue };
        if let Some(doubled) = doubled(messages) {
            return Err(format!("{} asked the model with m:{doubled} twice, for t:{token}", whose.process));
        }
        prompts.insert(*token, messages);
    }
    for conversation in evidence.conversations() {
        for entry in conversation.entries() {
            for (index, event) in entry.events.iter().enumerate() {
                let Event::Responded(response) = event else { continue };
                let token = mark('t', &response.text).ok_or("a response without a token")?;
                let Some(prompt) = prompts.get(&token) else { return Err(format!("nobody asked for t:{token}")) };
                if !is_explained(evidence, conversation, (entry, index), prompt) {
                    return Err(format!("{}: t:{token} answers something else than the journal: {prompt:#?}", entry.head.subject));
                }
            }
        }
    }
    Ok(())
}

/// A person's message that a prompt holds twice.
fn doubled(messages: &[PromptMessage<'_>]) -> Option<u64> {
    let mut seen = BTreeSet::new();
    let texts = messages.iter().filter_map(|message| if let PromptMessage::User { text } = message { Some(text) } else { None });
    texts.flat_map(|text| marks('m', text)).find(|mark| !seen.insert(*mark))
}

/// Whether a prompt shows what came before the `index`-th event of an entry; of the messages right before the entry any may have
/// come while the model was answering.
fn is_explained(
    evidence: &Evidence<'_>,
    conversation: &Conversation,
    (entry, index): (&Entry, usize),
    prompt: &[PromptMessage<'_>],
) -> bool {
    let Some(agent) = entry.head.subject.from.agent() else { return false };
    let mut before = conversation.before(entry.ordinal());
    loop {
        if project(&evidence.recording.definition.orchestration, &before, agent, &entry.events[..index]) == prompt {
            return true;
        }
        match before.last() {
            Some(last) if last.head.subject.class == Class::In => before = before.before(last.ordinal()),
            _ => return false,
        }
    }
}
