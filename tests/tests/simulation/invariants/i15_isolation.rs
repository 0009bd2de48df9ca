//! I15, isolation: no canary of one conversation in any prompt, tool call, event, span or log line of another.

use protocol::history::PromptMessage;
use protocol::ids::ConversationId;

use crate::record::Seen;
use crate::told::{Evidence, said};

pub(crate) fn check(evidence: &Evidence<'_>) -> Result<(), String> {
    for record in &evidence.recording.records {
        let Seen::Asked { whose, messages, .. } = &record.seen else { continue };
        for message in messages {
            let (PromptMessage::User { text } | PromptMessage::System { text } | PromptMessage::Assistant { text, .. }) = message else {
                continue;
            };
            at_home(text, &whose.conversation)?;
        }
    }
    for (entry, event) in evidence.events() {
        at_home(said(event).unwrap_or_default(), &entry.head.subject.conversation)?;
    }
    Ok(())
}

fn at_home(text: &str, conversation: &ConversationId) -> Result<(), String> {
    let foreign =
        text.split("[[canary:").skip(1).filter_map(|rest| rest.split("]]").next()).find(|canary| *canary != conversation.as_str());
    foreign.map_or(Ok(()), |canary| Err(format!("{conversation} was shown what belongs to {canary}")))
}
