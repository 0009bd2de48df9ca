//! Live tokens beside the entries that make them true. Pure.
//!
//! What is shown is a promise about the journal: without what was withdrawn, the pieces up to each final one are, in
//! order, exactly the texts of the journal's responses. Tokens are said and may be lost, repeated, late or early; the
//! entry has the whole text. So a lost piece silences the rest of its answer until the entry brings it, another attempt
//! withdraws what was shown of the one before, and pieces ahead of the journal wait for it.

use std::collections::VecDeque;

use protocol::ids::{AgentName, ProcessId, Seq};
use protocol::live::{Live, Piece};

/// A piece of a response that is being written, or was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Token {
    /// The next piece.
    Text {
        /// Who speaks.
        agent: AgentName,
        /// What is said; may be empty where it is final.
        text: String,
        /// Whether the message is complete with it.
        is_final: bool,
    },
    /// What was shown beyond the messages whose events were followed does not count, complete messages included: it was
    /// not recorded. What counts of it is shown again.
    Withdrawn {
        /// Who spoke.
        agent: AgentName,
    },
}

/// Pieces that may wait for the journal to reach their epoch; what is beyond is lost, which its index tells.
const EARLY_MAX: usize = 1024;

/// A piece as it is said, or several that somebody has put together: those `from` there on, up to its own index.
#[derive(Clone, Debug)]
pub(crate) struct Said {
    pub(crate) agent: AgentName,
    pub(crate) live: Live,
    pub(crate) from: u32,
}

/// What has been shown of the current epoch's answers, and is not recorded yet.
#[derive(Debug, Default)]
pub(crate) struct Tokens {
    epoch: Seq,
    is_working: bool,
    process: Option<ProcessId>,
    /// The answer that is being written, and the index of its next piece.
    place: Option<(u32, u32)>,
    /// The last answer that was shown and recorded: what comes of it now is late.
    done: Option<u32>,
    drafts: VecDeque<Draft>,
    early: Vec<Said>,
}

#[derive(Debug)]
struct Draft {
    agent: AgentName,
    answer: u32,
    text: String,
    is_final: bool,
}

impl Tokens {
    /// A piece was said.
    pub(crate) fn said(&mut self, said: Said, show: &mut Vec<Token>) {
        let live = &said.live;
        if live.epoch > self.epoch {
            if self.early.len() < EARLY_MAX {
                self.early.push(said);
            }
            return;
        }
        if live.epoch < self.epoch || !self.is_working {
            return;
        }
        if self.process.as_ref() != Some(&live.process) {
            // Only the beginning of an answer can begin an attempt: a piece from its middle is late, or of a zombie.
            if said.from != 0 {
                return;
            }
            self.withdraw(show);
            self.process = Some(live.process.clone());
            (self.place, self.done) = (None, None);
        }
        self.next_piece(said, show);
    }

    fn next_piece(&mut self, said: Said, show: &mut Vec<Token>) {
        let Said { agent, live: Live { answer, index, piece, .. }, from } = said;
        if self.done.is_some_and(|done| answer <= done) {
            return;
        }
        let is_next = match self.place {
            Some((current, next)) if answer < current || (answer == current && index < next) => return,
            Some((current, next)) if answer == current => from == next,
            _ => from == 0,
        };
        let is_new = self.place.is_none_or(|(current, _)| answer > current);
        match piece {
            // Whatever was lost of this answer does not count any more.
            Piece::Reset if !is_new => {
                self.place = Some((answer, index + 1));
                self.reset(answer, show);
            }
            Piece::Text(text) if is_next => {
                self.place = Some((answer, index + 1));
                self.text(&agent, answer, text, show);
            }
            // Something before it was lost.
            Piece::Text(_) | Piece::Reset => {}
        }
    }

    fn text(&mut self, agent: &AgentName, answer: u32, text: String, show: &mut Vec<Token>) {
        match self.drafts.back_mut() {
            Some(draft) if draft.answer == answer => draft.text.push_str(&text),
            before => {
                // The answer before is complete, as far as anybody can tell before it is recorded; without a text it is
                // no message.
                if let Some(draft) = before.filter(|draft| !draft.is_final && !draft.text.is_empty()) {
                    draft.is_final = true;
                    show.push(token(&draft.agent, String::new(), true));
                }
                self.drafts.retain(|draft| draft.is_final);
                self.drafts.push_back(Draft { agent: agent.clone(), answer, text: text.clone(), is_final: false });
            }
        }
        show.push(token(agent, text, false));
    }

    /// The text of `answer` so far does not count; that of the answers before it does.
    fn reset(&mut self, answer: u32, show: &mut Vec<Token>) {
        let Some(draft) = self.drafts.back_mut().filter(|draft| draft.answer == answer) else { return };
        if draft.text.is_empty() {
            return;
        }
        draft.text.clear();
        show.push(Token::Withdrawn { agent: draft.agent.clone() });
        for draft in self.drafts.iter().filter(|draft| draft.is_final) {
            show.push(token(&draft.agent, draft.text.clone(), true));
        }
    }

    /// A response was recorded: its text is what counts.
    pub(crate) fn recorded(&mut self, agent: &AgentName, text: &str, show: &mut Vec<Token>) {
        if text.is_empty() {
            return;
        }
        let Some(draft) = self.drafts.pop_front() else {
            show.push(token(agent, text.to_owned(), true));
            return;
        };
        self.done = Some(draft.answer);
        match text.strip_prefix(draft.text.as_str()) {
            Some("") if draft.is_final => {}
            Some(rest) if !draft.is_final && draft.agent == *agent => show.push(token(agent, rest.to_owned(), true)),
            _ => {
                // Nor does what was shown after it: what else comes of that is not waited for.
                self.done = self.place.map(|(answer, _)| answer);
                self.drafts.push_front(draft);
                self.withdraw(show);
                show.push(token(agent, text.to_owned(), true));
            }
        }
    }

    /// An entry was recorded, and its responses have been: where the journal is now.
    pub(crate) fn reached(&mut self, epoch: Seq, is_working: bool, show: &mut Vec<Token>) {
        if epoch == self.epoch && is_working {
            return;
        }
        self.withdraw(show);
        let early = std::mem::take(&mut self.early);
        *self = Self { epoch, is_working, ..Self::default() };
        for said in early {
            self.said(said, show);
        }
    }

    /// Nothing that was shown and is not recorded counts.
    fn withdraw(&mut self, show: &mut Vec<Token>) {
        let shown = self.drafts.drain(..).rfind(|draft| !draft.text.is_empty());
        if let Some(draft) = shown {
            show.push(Token::Withdrawn { agent: draft.agent });
        }
    }
}

fn token(agent: &AgentName, text: String, is_final: bool) -> Token {
    Token::Text { agent: agent.clone(), text, is_final }
}

#[cfg(test)]
#[path = "tokens_tests.rs"]
mod tests;
