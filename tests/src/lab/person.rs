//! One person: opens a conversation, follows it, answers whatever is asked, says something unasked now and then, and sometimes
//! has had enough.

use fastrand::Rng;
use futures::future::join;
use protocol::event::failure;
use serde_json::Value as Json;
use tokio::sync::{mpsc, watch};

use super::record::Act;
use super::watch::Watch;
use super::wish::{Caller, Wish};
use crate::http::Message;

/// What people do of themselves: one in so many, 0 for never.
#[derive(Clone, Copy, Debug)]
pub struct Habits {
    /// Events at which they say something unasked.
    pub say: u32,
    /// Questions that two of them answer at once.
    pub both: u32,
    /// Events at which they call it off.
    pub cancel: u32,
    /// Conversations that somebody else watches too.
    pub watched: u32,
}

impl Default for Habits {
    fn default() -> Self {
        Self { say: 40, both: 8, cancel: 200, watched: 4 }
    }
}

/// Taking one's time: nothing is answered before it may be, and then the first question in two windows at once.
#[derive(Clone, Debug)]
pub struct Patience {
    /// Who hears of it.
    pub told: mpsc::UnboundedSender<Told>,
    /// Whether it may be answered.
    pub may: watch::Receiver<bool>,
}

/// What a patient person tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// They have been asked something.
    Asked,
    /// They have answered in two windows, and so many of the answers were accepted.
    Answered(usize),
    /// Their time was over before they did.
    GivenUp,
}

/// A person, for one conversation.
#[derive(Debug)]
pub struct Person {
    caller: Caller,
    canary: String,
    habits: Habits,
    random: Rng,
    conversation: String,
    patience: Option<Patience>,
}

impl Person {
    /// A person whose conversation has this canary.
    pub fn new(caller: Caller, canary: &str, habits: Habits, seed: u64) -> Self {
        Self { caller, canary: canary.to_owned(), habits, random: Rng::with_seed(seed), conversation: String::new(), patience: None }
    }

    /// The same person, who takes their time with the first question.
    #[must_use]
    pub fn patient(self, patience: Patience) -> Self {
        Self { patience: Some(patience), ..self }
    }

    /// Holds the conversation to its end; whether there was one.
    pub async fn converse(mut self) -> bool {
        let gateway = self.random.usize(..);
        let opening = self.wish(Act::Open, None);
        let Some(opened) = self.caller.wish(opening, gateway).await else { return false };
        self.conversation = opened["conversation"].as_str().unwrap_or_default().to_owned();
        self.caller.recorder.learn(&self.canary, &self.conversation);
        if self.one_in(self.habits.watched) {
            tokio::spawn(look_on(self.second(), self.conversation.clone(), gateway.wrapping_add(1)));
        }
        let mut watch = Watch::new(self.caller.clone(), &self.conversation, gateway);
        while let Some(message) = watch.next().await {
            self.take(&message).await;
        }
        true
    }

    async fn take(&mut self, message: &Message) {
        let ends = ["completed", "failed", "cancelled"].contains(&message.event.as_str());
        if let Some(Patience { told, .. }) = self.patience.as_ref().filter(|_| message.data["data"]["code"] == failure::HUMAN_TIMEOUT) {
            let _ = told.send(Told::GivenUp);
        }
        if let Some(request) = message.data.get("request") {
            self.answer(request).await;
        } else if message.id.is_some() && !ends && self.one_in(self.habits.say) {
            let wish = self.wish(Act::Say, None);
            self.ask(wish).await;
        }
        if message.id.is_some() && !ends && self.one_in(self.habits.cancel) {
            // What is said with it is no message.
            let wish = Wish { text: String::new(), ..self.wish(Act::Cancel, None) };
            self.ask(wish).await;
        }
    }

    async fn answer(&mut self, request: &Json) {
        let mut patience = self.patience.take();
        if let Some(Patience { told, may }) = &mut patience {
            // Whoever has stopped listening has what they wanted.
            let _ = told.send(Told::Asked);
            if may.wait_for(|may| *may).await.is_err() {
                // Whoever never may does not answer what is asked later either.
                self.patience = patience;
                return;
            }
        }
        let wish = self.answer_to(request);
        if patience.is_none() && !self.one_in(self.habits.both) {
            return self.ask(wish).await;
        }
        let second = self.second();
        let (rival, gateway) = (self.answer_to(request), self.random.usize(..));
        let both = join(self.caller.wish(wish, gateway), second.wish(rival, gateway.wrapping_add(1))).await;
        if let Some(Patience { told, .. }) = patience {
            let _ = told.send(Told::Answered(usize::from(both.0.is_some()) + usize::from(both.1.is_some())));
        }
    }

    fn answer_to(&mut self, request: &Json) -> Wish {
        let id = request["id"].as_str().map(ToOwned::to_owned);
        let verdicts: &[&str] = match request["kind"].as_str() {
            Some("approval") => &["approved", "approved", "denied"],
            Some("in-doubt") => &["retry", "happened", "abandoned"],
            _ => &[],
        };
        let Some(verdict) = self.random.choice(verdicts) else { return self.wish(Act::Reply, id) };
        let hash = request["arguments_hash"].as_str().map(ToOwned::to_owned);
        Wish { verdict: Some((verdict, hash)), ..self.wish(Act::Decide, id) }
    }

    async fn ask(&mut self, wish: Wish) {
        let gateway = self.random.usize(..);
        self.caller.wish(wish, gateway).await;
    }

    fn wish(&mut self, act: Act, request: Option<String>) -> Wish {
        let number = self.caller.recorder.number();
        let conversation = Some(self.conversation.clone()).filter(|conversation| !conversation.is_empty());
        let text = format!("[[m:m{number}]] [[canary:{}]] Can you help?", self.canary);
        Wish { act, conversation, request, key: format!("k{number}"), text, verdict: None }
    }

    /// The same conversation in another window.
    fn second(&self) -> Caller {
        Caller { name: format!("{}-too", self.caller.name), ..self.caller.clone() }
    }

    fn one_in(&mut self, many: u32) -> bool {
        many > 0 && self.random.u32(0..many) == 0
    }
}

/// Follows to the end, and says nothing.
async fn look_on(caller: Caller, conversation: String, gateway: usize) {
    let mut watch = Watch::new(caller, &conversation, gateway);
    while watch.next().await.is_some() {}
}
