//! Says that this process is there, answers whether it is, tells what it holds, and hears that conversations moved.

use std::time::Duration;

use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, join};
use journal::service::Service;
use journal::{Delivery, RequestError};
use protocol::presence::{HEARTBEAT_MILLIS, Heartbeat, HoldsAnswer, HoldsQuestion};
use protocol::subject;
use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

use crate::driver::SharedDriver;

/// Before a subscription that was refused, or that the broker has ended, is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// The presence of one agent in this process, until no turn of it runs any more. Each part of it stands for itself: who may not hear
/// of one thing is there all the same.
pub(crate) async fn run(driver: SharedDriver, slots: usize, stop: CancellationToken) {
    let present = async {
        join!(beat(&driver, slots, &stop), answer_alive(&driver), answer_holds(&driver), hear_moved(&driver), register(&driver, slots))
    };
    tokio::select! {
        _ = present => {}
        () = driver.drained.cancelled() => {}
    }
}

async fn beat(driver: &SharedDriver, slots: usize, stop: &CancellationToken) {
    let subject = subject::heartbeat(&driver.orchestration, &driver.agent, &driver.process);
    let mut ticks = interval(Duration::from_millis(HEARTBEAT_MILLIS));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        ticks.tick().await;
        let heartbeat = Heartbeat {
            process: driver.process.clone(),
            pid: std::process::id(),
            agent: driver.agent.clone(),
            held: driver.held.len(),
            slots,
            is_draining: stop.is_cancelled(),
            server: driver.broker.server_name(),
        };
        driver.broker.say(&subject, json(&heartbeat)).await;
    }
}

async fn answer_alive(driver: &SharedDriver) {
    let subject = subject::alive(&driver.orchestration, &driver.process);
    loop {
        let mut probes = listen(driver, &subject).await;
        while let Some(probe) = probes.next().await {
            answer(driver, &probe, Bytes::new()).await;
        }
        ended(&subject).await;
    }
}

async fn answer_holds(driver: &SharedDriver) {
    let subject = subject::holds(&driver.orchestration, &driver.agent);
    loop {
        let mut questions = listen(driver, &subject).await;
        while let Some(question) = questions.next().await {
            let Ok(HoldsQuestion { conversations }) = serde_json::from_slice(&question.payload) else { continue };
            let held = driver.held.among(&conversations);
            answer(driver, &question, json(&HoldsAnswer { process: driver.process.clone(), held })).await;
        }
        ended(&subject).await;
    }
}

async fn hear_moved(driver: &SharedDriver) {
    let subject = subject::moved_all(&driver.orchestration, &driver.agent);
    loop {
        let mut notices = listen(driver, &subject).await;
        while let Some(notice) = notices.next().await {
            if let Some(Ok(conversation)) = notice.subject.rsplit('.').next().map(str::parse) {
                driver.held.notify(&conversation);
            }
        }
        ended(&subject).await;
    }
}

/// Registers this process under its agent's name, for `nats service ls`.
async fn register(driver: &SharedDriver, slots: usize) {
    let metadata = [
        ("orchestration".to_owned(), driver.orchestration.to_string()),
        ("slots".to_owned(), slots.to_string()),
        ("pid".to_owned(), std::process::id().to_string()),
    ];
    let service = Service {
        name: driver.agent.to_string(),
        process: driver.process.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        description: format!("Baton worker of agent {}", driver.agent),
        metadata: metadata.into(),
        endpoints: Vec::new(),
    };
    if let Err(error) = service.answer(&*driver.broker).await {
        tracing::debug!("not registered as a service: {error}");
    }
    std::future::pending().await
}

/// A subscription, however long the broker refuses it: presence is a help, never a condition.
async fn listen(driver: &SharedDriver, subject: &str) -> BoxStream<'static, Delivery> {
    loop {
        match driver.broker.listen(subject, None).await {
            Ok(deliveries) => return deliveries,
            Err(RequestError::NoResponders(problem) | RequestError::Timeout(problem) | RequestError::Refused(problem)) => {
                tracing::warn!(subject, "cannot listen: {problem}");
                sleep(RETRY).await;
            }
        }
    }
}

/// A subscription is over: the broker says only after the fact that it does not permit one, or does so no longer.
async fn ended(subject: &str) {
    tracing::warn!(subject, "nothing is heard any more, listening again");
    sleep(RETRY).await;
}

async fn answer(driver: &SharedDriver, question: &Delivery, payload: Bytes) {
    if let Some(reply) = &question.reply {
        driver.broker.say(reply, payload).await;
    }
}

fn json(value: &impl serde::Serialize) -> Bytes {
    serde_json::to_vec(value).unwrap_or_default().into()
}
