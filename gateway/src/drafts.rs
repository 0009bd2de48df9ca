//! The answers that are being written at the moment, as far as they have been said: for whoever comes late. Pure.
//!
//! What is kept here is only shown, never believed: a `Follower` decides whether it counts.

use std::collections::HashMap;

use protocol::ids::{AgentName, ConversationId, Seq};
use protocol::live::{Live, Piece};
use protocol::subject::{Class, EntrySubject};

/// Answers at a time; what is beyond is not kept, and its late comers wait for the entry.
const DRAFTS_MAX: usize = 10_000;
/// The text of one answer.
const TEXT_BYTES_MAX: usize = 64 << 10;

/// An answer so far: its pieces from the first to `live.index`, in one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Draft {
    /// Who speaks.
    pub(crate) agent: AgentName,
    /// The pieces in one.
    pub(crate) live: Live,
}

impl Draft {
    /// The place in the conversation: a later one replaces an earlier one.
    fn place(live: &Live) -> (Seq, u32) {
        (live.epoch, live.answer)
    }

    /// Takes the next piece in; whether it still is the whole answer so far.
    fn extend(&mut self, next: &Live) -> bool {
        if next.index <= self.live.index {
            return true;
        }
        let is_next = next.index == self.live.index + 1;
        self.live.index = next.index;
        match (&mut self.live.piece, &next.piece) {
            (_, Piece::Reset) => self.live.piece = Piece::Text(String::new()),
            (Piece::Text(so_far), Piece::Text(more)) if is_next => so_far.push_str(more),
            _ => return false,
        }
        matches!(&self.live.piece, Piece::Text(text) if text.len() <= TEXT_BYTES_MAX)
    }
}

#[derive(Debug, Default)]
pub(crate) struct Drafts(HashMap<ConversationId, Draft>);

impl Drafts {
    /// The answer that is being written in a conversation.
    pub(crate) fn get(&self, conversation: &ConversationId) -> Option<Draft> {
        self.0.get(conversation).cloned()
    }

    /// A piece was said.
    pub(crate) fn said(&mut self, conversation: &ConversationId, agent: &AgentName, live: &Live) {
        if let Some(draft) = self.0.get_mut(conversation) {
            let is_same = Draft::place(&draft.live) == Draft::place(live) && draft.live.process == live.process;
            let is_older = Draft::place(live) < Draft::place(&draft.live);
            if is_older || (is_same && draft.extend(live)) {
                return;
            }
            self.0.remove(conversation);
        }
        if live.index == 0 && self.0.len() < DRAFTS_MAX {
            let text = match &live.piece {
                Piece::Text(text) => text.clone(),
                Piece::Reset => String::new(),
            };
            let live = Live { piece: Piece::Text(text), ..live.clone() };
            self.0.insert(conversation.clone(), Draft { agent: agent.clone(), live });
        }
    }

    /// An entry was stored, and with it the answer that was being written in the epoch before it.
    pub(crate) fn stored(&mut self, entry: &EntrySubject, seq: Seq) {
        let records = match &entry.class {
            Class::To { .. } | Class::Ask | Class::End => true,
            Class::Note => entry.from.agent().is_some(),
            Class::In => false,
        };
        // The next owner may be faster than its entry: what it says belongs to the epoch that the entry begins.
        if records && self.0.get(&entry.conversation).is_some_and(|draft| draft.live.epoch < seq) {
            self.0.remove(&entry.conversation);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn live(epoch: u64, process: &str, answer: u32, index: u32, text: &str) -> Live {
        let piece = if text == "RESET" { Piece::Reset } else { Piece::Text(text.to_owned()) };
        Live { epoch: Seq(epoch), process: process.parse().unwrap(), answer, index, piece }
    }

    /// What a late comer is told after these pieces.
    fn so_far(pieces: &[Live]) -> Option<(u32, String)> {
        let (mut drafts, id) = (Drafts::default(), "c1".parse().unwrap());
        for piece in pieces {
            drafts.said(&id, &"triage".parse().unwrap(), piece);
        }
        let draft = drafts.get(&id)?;
        let Piece::Text(text) = draft.live.piece else { return None };
        Some((draft.live.index, text))
    }

    #[test]
    fn a_late_comer_is_told_the_answer_so_far() {
        assert_eq!(
            so_far(&[live(1, "p", 1, 0, "How "), live(1, "p", 1, 1, "can "), live(1, "p", 1, 1, "can ")]),
            Some((1, "How can ".into()))
        );
        assert_eq!(so_far(&[live(1, "p", 1, 0, "Hax"), live(1, "p", 1, 1, "RESET"), live(1, "p", 1, 2, "How")]), Some((2, "How".into())));
    }

    #[test]
    fn another_answer_attempt_or_owner_takes_its_place() {
        assert_eq!(so_far(&[live(1, "p", 1, 0, "One"), live(1, "p", 2, 0, "Two")]), Some((0, "Two".into())));
        assert_eq!(so_far(&[live(1, "p", 1, 0, "One"), live(1, "q", 1, 0, "Two")]), Some((0, "Two".into())));
        assert_eq!(so_far(&[live(1, "p", 1, 0, "One"), live(5, "q", 1, 0, "Two"), live(1, "p", 1, 1, "!")]), Some((0, "Two".into())));
    }

    #[test]
    fn what_has_a_gap_is_not_told() {
        assert_eq!(so_far(&[live(1, "p", 1, 0, "How "), live(1, "p", 1, 2, "help?")]), None);
        assert_eq!(so_far(&[live(1, "p", 1, 3, "help?")]), None);
        assert_eq!(so_far(&[live(1, "p", 1, 0, &"x".repeat(TEXT_BYTES_MAX)), live(1, "p", 1, 1, "y")]), None);
    }

    #[test]
    fn an_entry_ends_the_answers_before_it_and_no_other() {
        let (mut drafts, id) = (Drafts::default(), "c1".parse().unwrap());
        let entry = |class: &str| format!("baton.support.c.c1.4.{class}").parse::<EntrySubject>().unwrap();
        for (class, is_kept) in
            [("in.client", true), ("ask.triage", false), ("note.triage", false), ("to.refund.0123456789ab.triage", false)]
        {
            drafts.said(&id, &"triage".parse().unwrap(), &live(3, "p", 1, 0, "How"));
            drafts.stored(&entry(class), Seq(9));
            assert_eq!(drafts.get(&id).is_some(), is_kept, "{class}");
        }
        drafts.said(&id, &"refund".parse().unwrap(), &live(9, "q", 1, 0, "Hello"));
        drafts.stored(&entry("to.refund.0123456789ab.triage"), Seq(9));
        assert!(drafts.get(&id).is_some(), "the new owner was faster than the entry that made it one");
    }
}
