//! Models that answer whatever they like, right and wrong, each answer with a token that no other has.

use std::time::Duration;

use agent_worker::model::ModelError;
use protocol::event::{Call, Responded};
use protocol::history::PromptMessage;
use protocol::orchestration::COMPLETE_TASK;

use super::definition::{AGENTS, TOOLS};
use super::record::{Seen, Whose};
use super::world::World;

/// A call of a model; dropped, it is closed.
struct ModelCall<'a> {
    world: &'a World,
    token: u64,
}

impl Drop for ModelCall<'_> {
    fn drop(&mut self) {
        self.world.record(Seen::Closed { token: self.token });
    }
}

impl World {
    /// One answer, after a while.
    pub(crate) async fn ask(
        &self,
        whose: &Whose,
        messages: Vec<PromptMessage<'static>>,
        is_summary: bool,
    ) -> Result<Responded, ModelError> {
        let token = self.number();
        self.tell(|| format!("{} asks the model of {} for {} (t:{token})", whose.process, whose.agent, whose.conversation));
        self.record(Seen::Asked { whose: whose.clone(), token, is_summary, messages });
        let _call = ModelCall { world: self, token };
        let takes = if self.chance(50) { 40_000 } else { 5_000 };
        self.step().await;
        self.takes(takes).await;
        if self.poisoned.as_ref() == Some(&whose.conversation) {
            self.tell(|| format!("the answer for {} kills {}", whose.conversation, whose.process));
            self.doomed.borrow_mut().push(whose.process.clone());
            return std::future::pending().await;
        }
        if !self.is_healed.get() && !self.is_calm && self.chance(30) {
            let wait = Duration::from_secs(1) + self.millis(14_000);
            let later = ModelError::Later { wait, detail: "busy".to_owned() };
            return Err(if self.chance(800) { later } else { ModelError::Unavailable("down".to_owned()) });
        }
        self.record(Seen::Answered { token });
        Ok(self.answer(token, is_summary))
    }

    fn answer(&self, token: u64, is_summary: bool) -> Responded {
        let mut calls = Vec::new();
        // What is left when all is well comes to an end.
        let kinds = if self.is_healed.get() { 20 } else { 100 };
        match self.below(kinds) {
            _ if is_summary => {}
            0..=11 => {}
            12..=19 => calls.push(self.completion()),
            20..=54 => calls.extend((0..=self.below(3)).map(|_| self.tool_call(token))),
            55..=74 => calls.push(self.transfer()),
            75..=79 => calls.extend([self.tool_call(token), self.transfer()]),
            80..=82 => calls.extend([self.transfer(), self.tool_call(token), self.transfer()]),
            83..=85 => calls.extend([self.completion(), self.tool_call(token)]),
            86..=88 => calls.extend([self.transfer(), self.completion()]),
            _ => {}
        }
        for (n, call) in calls.iter_mut().enumerate() {
            // Not every provider makes them unique.
            call.id = if self.chance(200) { "call".to_owned() } else { format!("call-{token}-{n}") };
        }
        Responded { text: format!("[[t:{token}]]"), calls, model: String::new(), usage: None }
    }

    fn tool_call(&self, token: u64) -> Call {
        let name = if self.chance(20) { "fly" } else { self.pick(&TOOLS) };
        let arguments = if self.chance(20) { "{".to_owned() } else { format!("{{\"n\":\"[[t:{token}]]\"}}") };
        Call { id: String::new(), name: name.to_owned(), arguments }
    }

    fn transfer(&self) -> Call {
        let target = if self.chance(30) { "sales" } else { self.pick(&AGENTS) };
        Call { id: String::new(), name: format!("transfer_to_{target}"), arguments: "{}".to_owned() }
    }

    fn completion(&self) -> Call {
        let arguments = if self.chance(100) { "{}" } else { r#"{"task_summary":"done"}"# };
        Call { id: String::new(), name: COMPLETE_TASK.to_owned(), arguments: arguments.to_owned() }
    }
}
