//! People who take their time, while everything that could remember their conversations is started anew.

use std::time::Duration;

use futures::future::join_all;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout_at};

use super::{Field, RECOVERED_AT_MOST};
use crate::lab::deployment::HUMAN_TIMEOUT;
use crate::lab::faults::Fault;
use crate::lab::member::Member;
use crate::lab::person::{Habits, Patience, Person, Told};
use crate::lab::struck::strike;
use crate::lab::wish::Caller;

/// People who answer late, and people who never do.
const LATE: usize = 6;
const NEVER: usize = 2;
/// How long they may take to be asked.
const ASKED_AT_MOST: Duration = Duration::from_secs(30);

impl Field {
    /// Broker, coordinators, gateways and workers are all killed and started again while people are being waited for; then each of
    /// these answers in two windows at once. Those who never answer are told so when their time is over.
    pub(super) async fn restart_everything(&mut self, fault: &Fault) -> Result<(), String> {
        let caller = Caller::of(&self.deployment.gateways, &self.deployment.recorder);
        let (told, mut hears) = mpsc::unbounded_channel();
        let (may, (never_may, never)) = (watch::Sender::new(false), watch::channel(false));
        let mut people = JoinSet::new();
        for number in 0..LATE + NEVER {
            let id = self.deployment.recorder.number();
            let caller = Caller { name: format!("patient{id}"), ..caller.clone() };
            let may = if number < LATE { may.subscribe() } else { never.clone() };
            let patience = Patience { told: told.clone(), may };
            let habits = Habits { say: 0, both: 0, cancel: 0, watched: 0 };
            people.spawn(Person::new(caller, &format!("p{id}"), habits, self.random.u64(..)).patient(patience).converse());
        }
        drop(told);
        let (mut asked, until) = (0, Instant::now() + ASKED_AT_MOST);
        while asked < LATE + NEVER
            && let Ok(Some(Told::Asked)) = timeout_at(until, hears.recv()).await
        {
            asked += 1;
        }
        let struck = strike(&self.deployment.recorder, fault, "everything", None);
        join_all(self.deployment.members.iter().map(Member::kill)).await;
        self.deployment.broker.kill(0).await;
        sleep(Duration::from_millis(self.random.u64(0..1500))).await;
        self.deployment.broker.restart(0).await;
        // From here on it is the processes' own matter, their start included.
        struck.healed();
        self.settle(&struck).await;
        self.deployment.restore().await;
        may.send_replace(true);
        drop(never_may);
        // Everybody's conversation ends: answered, or given up when their time is over.
        let until = Instant::now() + HUMAN_TIMEOUT + RECOVERED_AT_MOST;
        while let Ok(Some(_)) = timeout_at(until, people.join_next()).await {}
        let (mut accepted, mut late) = (Vec::new(), 0);
        while let Ok(told) = hears.try_recv() {
            match told {
                // Later than it was waited for.
                Told::Asked => asked += 1,
                Told::Answered(count) => accepted.push(count),
                Told::GivenUp => late += 1,
            }
        }
        match (asked, people.len()) {
            (0, _) => Err("nobody was asked anything".to_owned()),
            (_, 0) if !accepted.is_empty() && accepted.iter().all(|accepted| *accepted == 1) && accepted.len() + late == asked => Ok(()),
            (_, left) => Err(format!(
                "of {asked} conversations {left} have not ended, {late} were given up in time, and of the two answers to each question \
                 {accepted:?} were accepted"
            )),
        }
    }
}
