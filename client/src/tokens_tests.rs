use super::*;
use crate::testing::agent;

/// A reader who trusts what it is shown, and checks every promise that is made about it.
#[derive(Debug, Default)]
struct Reader {
    tokens: Tokens,
    /// What was shown and not withdrawn: messages, and whether each is final.
    messages: Vec<(String, bool)>,
    /// How many of them are recorded.
    recorded: usize,
    withdrawals: usize,
}

impl Reader {
    fn new(epoch: u64) -> Self {
        let mut reader = Self::default();
        reader.reached(epoch, true);
        reader
    }

    fn take(&mut self, act: impl FnOnce(&mut Tokens, &mut Vec<Token>)) -> Vec<Token> {
        let mut shown = Vec::new();
        act(&mut self.tokens, &mut shown);
        for token in &shown {
            match token {
                Token::Withdrawn { .. } => {
                    assert!(self.messages.len() > self.recorded, "withdrawn, but nothing was shown");
                    self.messages.truncate(self.recorded);
                    self.withdrawals += 1;
                }
                Token::Text { text, is_final, .. } => {
                    if self.messages.last().is_none_or(|(_, is_final)| *is_final) {
                        self.messages.push(Default::default());
                    }
                    let (message, ended) = self.messages.last_mut().unwrap();
                    message.push_str(text);
                    *ended = *is_final;
                    assert!(!*is_final || !message.is_empty(), "an empty message");
                }
            }
        }
        shown
    }

    fn said(&mut self, live: &Live) -> Vec<Token> {
        self.take(|tokens, shown| tokens.said(Said { agent: agent("triage"), live: live.clone(), from: live.index }, shown))
    }

    fn recorded(&mut self, text: &str) -> Vec<Token> {
        let shown = self.take(|tokens, shown| tokens.recorded(&agent("triage"), text, shown));
        if !text.is_empty() {
            assert_eq!(self.messages[self.recorded], (text.to_owned(), true));
            self.recorded += 1;
        }
        shown
    }

    fn reached(&mut self, epoch: u64, is_working: bool) -> Vec<Token> {
        self.take(|tokens, shown| tokens.reached(Seq(epoch), is_working, shown))
    }
}

fn piece(epoch: u64, process: &str, answer: u32, index: u32, piece: Piece) -> Live {
    Live { epoch: Seq(epoch), process: process.parse().unwrap(), answer, index, piece }
}

fn text(answer: u32, index: u32, text: &str) -> Live {
    piece(1, "p1", answer, index, Piece::Text(text.to_owned()))
}

fn shows(text: &str, is_final: bool) -> Vec<Token> {
    vec![token(&agent("triage"), text.to_owned(), is_final)]
}

fn withdrawn() -> Token {
    Token::Withdrawn { agent: agent("triage") }
}

#[test]
fn pieces_are_shown_as_they_come_and_become_final_with_the_entry() {
    let mut reader = Reader::new(1);
    assert_eq!(reader.said(&text(1, 0, "How ")), shows("How ", false));
    assert_eq!(reader.said(&text(1, 1, "can I help?")), shows("can I help?", false));
    assert_eq!(reader.recorded("How can I help?"), shows("", true));
    assert_eq!(reader.reached(1, false), []);
}

#[test]
fn without_pieces_the_entry_s_text_is_the_message() {
    let mut reader = Reader::new(1);
    assert_eq!(reader.recorded("How can I help?"), shows("How can I help?", true));
    assert_eq!(reader.recorded(""), []);
}

#[test]
fn what_was_lost_comes_with_the_entry() {
    let mut reader = Reader::new(1);
    reader.said(&text(1, 0, "How "));
    // The piece in between is lost: nothing is shown that would not fit.
    assert_eq!(reader.said(&text(1, 2, "help?")), []);
    assert_eq!(reader.said(&text(1, 3, " Or not?")), []);
    assert_eq!(reader.recorded("How can I help? Or not?"), shows("can I help? Or not?", true));
    assert_eq!(reader.withdrawals, 0);
    // What comes of it now is late; the next answer is new.
    assert_eq!(reader.said(&text(1, 1, "can I ")), []);
    assert_eq!(reader.said(&text(2, 0, "Well")), shows("Well", false));
}

#[test]
fn a_repeated_piece_is_shown_once() {
    let mut reader = Reader::new(1);
    reader.said(&text(1, 0, "How "));
    assert_eq!(reader.said(&text(1, 0, "How ")), []);
    assert_eq!(reader.said(&text(1, 1, "can I help?")), shows("can I help?", false));
}

#[test]
fn who_comes_late_gets_the_whole_text_with_the_entry() {
    let mut reader = Reader::new(1);
    assert_eq!(reader.said(&text(1, 7, "help?")), []);
    assert_eq!(reader.recorded("How can I help?"), shows("How can I help?", true));
}

#[test]
fn who_comes_late_and_is_told_what_was_said_goes_on_from_there() {
    let mut reader = Reader::new(1);
    let so_far = Said { agent: agent("triage"), live: text(1, 4, "How can I "), from: 0 };
    assert_eq!(reader.take(|tokens, shown| tokens.said(so_far, shown)), shows("How can I ", false));
    assert_eq!(reader.said(&text(1, 4, "I ")), []);
    assert_eq!(reader.said(&text(1, 5, "help?")), shows("help?", false));
    assert_eq!(reader.recorded("How can I help?"), shows("", true));
}

#[test]
fn an_answer_is_complete_when_the_next_one_begins() {
    let mut reader = Reader::new(1);
    reader.said(&text(1, 0, "Let me look."));
    let mut expected = shows("", true);
    expected.extend(shows("It has", false));
    assert_eq!(reader.said(&text(2, 0, "It has")), expected);
    assert_eq!(reader.recorded("Let me look."), []);
    assert_eq!(reader.recorded("It has shipped."), shows(" shipped.", true));
}

#[test]
fn an_answer_that_lost_its_end_unnoticed_is_shown_again() {
    let mut reader = Reader::new(1);
    reader.said(&text(1, 0, "Let me"));
    reader.said(&text(2, 0, "It has"));
    let mut expected = vec![withdrawn()];
    expected.extend(shows("Let me look.", true));
    assert_eq!(reader.recorded("Let me look."), expected);
    // The rest of the second answer has lost its beginning.
    assert_eq!(reader.said(&text(2, 1, " shipped.")), []);
    assert_eq!(reader.recorded("It has shipped."), shows("It has shipped.", true));
}

#[test]
fn a_reset_withdraws_the_answer_and_not_those_before_it() {
    let mut reader = Reader::new(1);
    reader.said(&text(1, 0, "Let me look."));
    reader.said(&text(2, 0, "It hax"));
    let mut expected = vec![withdrawn()];
    expected.extend(shows("Let me look.", true));
    assert_eq!(reader.said(&piece(1, "p1", 2, 1, Piece::Reset)), expected);
    assert_eq!(reader.said(&text(2, 2, "It has")), shows("It has", false));
    assert_eq!(reader.messages, [("Let me look.".to_owned(), true), ("It has".to_owned(), false)]);
    // A reset heals what was lost before it.
    reader.said(&text(2, 9, "lost"));
    reader.said(&piece(1, "p1", 2, 10, Piece::Reset));
    assert_eq!(reader.said(&text(2, 11, "It has shipped.")), shows("It has shipped.", false));
}

#[test]
fn an_answer_that_was_reset_and_not_written_again_is_no_message() {
    let mut reader = Reader::new(1);
    reader.said(&text(1, 0, "Hm"));
    reader.said(&piece(1, "p1", 1, 1, Piece::Reset));
    assert_eq!(reader.said(&text(2, 0, "Well")), shows("Well", false));
    assert_eq!(reader.recorded(""), []);
    assert_eq!(reader.recorded("Well"), shows("", true));
}

#[test]
fn an_attempt_that_died_is_withdrawn_when_its_epoch_is_over() {
    let mut reader = Reader::new(1);
    reader.said(&text(1, 0, "How can"));
    assert_eq!(reader.reached(5, true), [withdrawn()]);
    // The zombie goes on.
    assert_eq!(reader.said(&text(1, 1, " I")), []);
    assert_eq!(reader.said(&piece(5, "p2", 1, 0, Piece::Text("What".to_owned()))), shows("What", false));
}

#[test]
fn another_process_of_the_same_epoch_begins_anew() {
    let mut reader = Reader::new(1);
    reader.said(&text(1, 0, "How can"));
    let mut expected = vec![withdrawn()];
    expected.extend(shows("What", false));
    assert_eq!(reader.said(&piece(1, "p2", 1, 0, Piece::Text("What".to_owned()))), expected);
    assert_eq!(reader.said(&text(1, 1, " I")), []);
}

#[test]
fn pieces_ahead_of_the_journal_wait_for_it() {
    let mut reader = Reader::new(1);
    assert_eq!(reader.said(&piece(5, "p2", 1, 0, Piece::Text("What".to_owned()))), []);
    assert_eq!(reader.said(&piece(9, "p3", 1, 0, Piece::Text("Then".to_owned()))), []);
    assert_eq!(reader.reached(5, true), shows("What", false));
    let mut expected = vec![withdrawn()];
    expected.extend(shows("Then", false));
    assert_eq!(reader.reached(9, true), expected);
}

#[test]
fn nothing_is_shown_while_nobody_works() {
    let mut reader = Reader::new(1);
    reader.said(&text(1, 0, "Hm"));
    assert_eq!(reader.reached(1, false), [withdrawn()]);
    assert_eq!(reader.said(&text(1, 1, "!")), []);
    assert_eq!(reader.said(&text(2, 0, "!")), []);
}

// Every promise, over whatever can happen to pieces on their way.

#[derive(Clone, Debug)]
enum Step {
    Said(Live),
    Recorded(Vec<String>),
    Reached(u64, bool),
}

/// What workers do in some epochs: answers in pieces, attempts that die, resets, commits in the middle of a turn.
fn history(rng: &mut fastrand::Rng) -> Vec<Step> {
    let mut steps = Vec::new();
    for epoch in 1..=rng.u64(1..6) {
        steps.push(Step::Reached(epoch, true));
        let process = format!("p{}", rng.u32(1..4));
        let mut uncommitted = Vec::new();
        for answer in 1..=rng.u32(0..5) {
            uncommitted.push(one_answer(rng, epoch, &process, answer, &mut steps));
            if rng.u8(0..4) == 0 {
                steps.push(Step::Recorded(std::mem::take(&mut uncommitted)));
            }
        }
        if rng.bool() {
            steps.push(Step::Recorded(uncommitted));
            if rng.bool() {
                steps.push(Step::Reached(epoch, false));
            }
        }
    }
    steps.push(Step::Reached(99, false));
    steps
}

fn one_answer(rng: &mut fastrand::Rng, epoch: u64, process: &str, answer: u32, steps: &mut Vec<Step>) -> String {
    let mut whole = String::new();
    for index in 0..rng.u32(0..6) {
        let said = if index > 0 && rng.u8(0..8) == 0 {
            whole.clear();
            Piece::Reset
        } else {
            let text = rng.alphabetic().to_string();
            whole.push_str(&text);
            Piece::Text(text)
        };
        steps.push(Step::Said(piece(epoch, process, answer, index, said)));
    }
    whole
}

/// Pieces are lost, doubled, late or early; entries stay where they are.
fn disturbed(rng: &mut fastrand::Rng, steps: Vec<Step>) -> Vec<Step> {
    let trouble = rng.usize(0..4);
    let mut placed: Vec<(usize, Step)> = Vec::new();
    for (place, step) in steps.into_iter().enumerate() {
        let place = place * 2;
        let copies = match (&step, trouble) {
            (Step::Said(_), 1..) => [0, 1, 1, 1, 1, 2][rng.usize(0..6)],
            _ => 1,
        };
        for _ in 0..copies {
            let shift = if trouble >= 2 && matches!(step, Step::Said(_)) && rng.u8(0..4) == 0 { rng.usize(0..24) } else { 12 };
            placed.push(((place + shift).saturating_sub(if trouble == 3 { 0 } else { 12.min(shift) }), step.clone()));
        }
    }
    placed.sort_by_key(|(place, _)| *place);
    placed.into_iter().map(|(_, step)| step).collect()
}

#[test]
fn whatever_happens_to_pieces_the_messages_are_the_journal_s() {
    let mut withdrawals = 0;
    for seed in 0..20_000 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let told = history(&mut rng);
        let steps = disturbed(&mut rng, told);
        let mut reader = Reader::default();
        let replay = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for step in &steps {
                match step {
                    Step::Said(live) => drop(reader.said(live)),
                    Step::Recorded(texts) => texts.iter().for_each(|text| drop(reader.recorded(text))),
                    Step::Reached(epoch, is_working) => drop(reader.reached(*epoch, *is_working)),
                }
            }
            assert_eq!(reader.messages.len(), reader.recorded, "something unrecorded is left");
            reader.withdrawals
        }));
        withdrawals += replay.unwrap_or_else(|_| panic!("seed {seed}: {steps:#?}"));
    }
    assert!(withdrawals > 1000, "the trouble is too little to prove anything: {withdrawals} withdrawals");
}
