//! What a model says next: a seeded walk through what it is offered, now and then through what it is not.

use fastrand::Rng;
use serde_json::{Value as Json, json};

use crate::lab::orchestration::{CHARGE, LOOK, NOTIFY, PAY};

/// One answer of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The token that occurs in no other answer.
    pub token: String,
    /// The text, which has the token.
    pub text: String,
    /// The tools it calls, with their arguments.
    pub calls: Vec<(String, String)>,
}

/// A conversation's way.
#[derive(Clone, Debug)]
pub struct Walk {
    random: Rng,
    canary: String,
    /// Answers that are left before it ends the conversation.
    left: u32,
    answers: u32,
}

/// What a model may do; the numbers are weights.
const STEPS: [(Step, u32); 9] = [
    (Step::Ask, 22),
    (Step::Transfer, 26),
    (Step::Call(LOOK), 10),
    (Step::Call(CHARGE), 12),
    (Step::Call(NOTIFY), 8),
    (Step::Call(PAY), 8),
    (Step::Both, 5),
    (Step::Complete, 4),
    (Step::Wrong, 5),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Ask,
    Transfer,
    Call(&'static str),
    /// A call with effects and a transfer in one answer.
    Both,
    Complete,
    Wrong,
}

impl Walk {
    /// The way of the conversation with this canary; the same for the same seed.
    pub fn new(seed: u64, canary: &str) -> Self {
        let mixed = canary.bytes().fold(seed, |mixed, byte| mixed.wrapping_mul(0x0100_0000_01b3) ^ u64::from(byte));
        let mut random = Rng::with_seed(mixed);
        let left = random.u32(5..14);
        Self { random, canary: canary.to_owned(), left, answers: 0 }
    }

    /// The next answer of a model that is offered these tools.
    pub fn answer(&mut self, offered: &[String]) -> Answer {
        self.answers += 1;
        self.left = self.left.saturating_sub(1);
        let token = format!("[[t:{}-{}]]", self.canary, self.answers);
        let step = if self.left == 0 { Step::Complete } else { self.step() };
        let targets: Vec<&String> = offered.iter().filter(|name| name.starts_with("transfer_to_")).collect();
        let target = self.random.choice(targets).cloned();
        let calls = match (step, target) {
            (Step::Ask, _) | (Step::Transfer, None) => vec![],
            (Step::Transfer, Some(target)) => vec![Self::transfer(&target)],
            (Step::Call(tool), _) => vec![self.call(tool)],
            (Step::Both, None) => vec![self.call(NOTIFY)],
            (Step::Both, Some(target)) => vec![self.call(CHARGE), Self::transfer(&target)],
            (Step::Complete, _) => vec![("complete_task".to_owned(), json!({ "task_summary": "All is done." }).to_string())],
            (Step::Wrong, target) => self.wrong(target),
        };
        Answer { text: self.text(&token), token, calls }
    }

    fn step(&mut self) -> Step {
        let mut left = self.random.u32(0..STEPS.iter().map(|(_, weight)| weight).sum());
        for (step, weight) in STEPS {
            if left < weight {
                return step;
            }
            left -= weight;
        }
        Step::Ask
    }

    /// What no model should do, and some do.
    fn wrong(&mut self, target: Option<String>) -> Vec<(String, String)> {
        match (self.random.u8(0..4), target) {
            (0, _) => vec![("no_such_tool".to_owned(), "{}".to_owned())],
            (1, _) => vec![("transfer_to_nobody".to_owned(), "{}".to_owned())],
            (2, Some(target)) => vec![Self::transfer(&target), Self::transfer(&target)],
            _ => vec![(CHARGE.to_owned(), "{\"number\": \"none\"".to_owned())],
        }
    }

    fn transfer(target: &str) -> (String, String) {
        (target.to_owned(), json!({ "reason": "They can help." }).to_string())
    }

    fn call(&mut self, tool: &str) -> (String, String) {
        (tool.to_owned(), json!({ "canary": format!("[[canary:{}]]", self.canary), "number": self.random.u32(1..1000) }).to_string())
    }

    fn text(&mut self, token: &str) -> String {
        let words = self.random.usize(4..10);
        let said: Vec<&str> =
            (0..words).map(|_| *self.random.choice(&["well", "now", "let", "us", "see", "what", "can"]).unwrap_or(&"so")).collect();
        format!("{token} {}.", said.join(" "))
    }
}

/// The canary that a request to a model speaks of.
pub fn canary(messages: &Json) -> Option<String> {
    let text = messages.to_string();
    let (_, rest) = text.split_once("[[canary:")?;
    let (canary, _) = rest.split_once("]]")?;
    Some(canary.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_walk_is_the_same_for_the_same_seed_and_always_ends() {
        let offered = ["transfer_to_orders".to_owned(), LOOK.to_owned()];
        for seed in 0..100 {
            let (mut one, mut other) = (Walk::new(seed, "c1"), Walk::new(seed, "c1"));
            let mut tokens = std::collections::BTreeSet::new();
            let ends = (0..20).any(|_| {
                let answer = one.answer(&offered);
                assert_eq!(answer, other.answer(&offered));
                assert!(tokens.insert(answer.token.clone()) && answer.text.contains(&answer.token));
                answer.calls.iter().any(|(name, _)| name == "complete_task")
            });
            assert!(ends);
        }
    }

    #[test]
    fn a_canary_is_found_in_what_a_model_is_told() {
        let messages = json!([{ "role": "system", "content": "Be kind." }, { "role": "user", "content": "[[m:1]] [[canary:c7]] Hello" }]);
        assert_eq!(canary(&messages).as_deref(), Some("c7"));
        assert_eq!(canary(&json!([])), None);
    }
}
