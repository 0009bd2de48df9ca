//! Leaving a server that stores nothing.
//!
//! A server that is cut off from the others of its cluster keeps its clients, hears them, and answers that there is no leader, or
//! nothing. Nothing but the client can end that: it connects to another server. Nor is such a server believed when it says that something
//! is not there.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_nats::Client;
use serde::Deserialize;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use crate::Connection;

/// How long a server may go without storing anything, from the first question in vain. A cluster that elects a leader needs four to nine
/// seconds, and whoever leaves a server meanwhile may land on the one that is cut off.
const PATIENCE: Duration = Duration::from_secs(5);

/// On top of that, up to so much: not everybody leaves at once.
const PATIENCE_SPREAD: Duration = Duration::from_secs(2);

/// Where no server stores anything, one is tried after another, from the third on less and less often.
const PATIENCE_MAX: Duration = Duration::from_secs(60);

/// Questions in vain with so much time between them have nothing to do with each other.
const UNRELATED_AFTER: Duration = Duration::from_secs(8);

const CONNECTED_AT_MOST: Duration = Duration::from_secs(5);

/// What a process knows of its server's place among the others.
#[derive(Debug, Default)]
pub(super) struct Quorum(Mutex<Doubt>);

impl Quorum {
    /// The server has told of something stored: it is with the majority.
    pub(super) fn is_proven(&self) {
        *self.doubt() = Doubt::default();
    }

    /// A question that only the majority can answer was asked in vain. Connects to another server when that has gone on for too long.
    pub(super) fn is_missed(&self, client: &Client, connection: &watch::Sender<Connection>) {
        let now = *connection.borrow();
        if now.is_up && self.doubt().misses(now.generation, Instant::now(), fastrand::f64()) {
            tokio::spawn(leave(client.clone(), connection.subscribe()));
        }
    }

    fn doubt(&self) -> std::sync::MutexGuard<'_, Doubt> {
        // A doubt is whole at every moment.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// For how long a server has been asked in vain.
#[derive(Debug, Default)]
struct Doubt {
    vain: Option<Vain>,
    moves: u32,
}

/// Questions in vain, one after the other.
#[derive(Clone, Copy, Debug)]
struct Vain {
    /// With which connection.
    generation: u64,
    last: Instant,
    /// Chosen at the first one, once: whoever chose anew at each would soon choose the least, as everybody else.
    leave_at: Instant,
}

impl Doubt {
    /// Whether it is time to leave. `jitter` is between 0 and 1.
    fn misses(&mut self, generation: u64, now: Instant, jitter: f64) -> bool {
        let leave_at = match self.vain {
            Some(vain) if vain.generation == generation && now - vain.last < UNRELATED_AFTER => vain.leave_at,
            _ => {
                let patience = PATIENCE.saturating_mul(1 << self.moves.saturating_sub(1).min(10)).min(PATIENCE_MAX);
                now + patience + PATIENCE_SPREAD.mul_f64(jitter)
            }
        };
        self.vain = Some(Vain { generation, last: now, leave_at });
        let is_time = now >= leave_at;
        if is_time {
            (self.vain, self.moves) = (None, self.moves + 1);
        }
        is_time
    }
}

/// The client chooses among all servers, also the one that is to be left, which may be there under several addresses.
async fn leave(client: Client, mut connection: watch::Receiver<Connection>) {
    let servers = client.server_pool().await.map_or(1, |servers| servers.len());
    let left = client.server_info();
    if servers < 2 {
        return;
    }
    tracing::warn!(server = left.server_name, "nothing has been stored for some seconds: this process connects to another server");
    for _ in 0..servers * 4 {
        let generation = connection.borrow_and_update().generation;
        if client.force_reconnect().await.is_err() {
            return;
        }
        let is_new = |now: &Connection| now.is_up && now.generation > generation;
        let is_connected = timeout(CONNECTED_AT_MOST, connection.wait_for(is_new)).await.is_ok();
        if is_connected && client.server_info().server_id != left.server_id {
            return;
        }
    }
}

/// How long ago a leader may have heard from its followers, and still be the only one: none is elected within less than four seconds.
const LEADS_FOR: Duration = Duration::from_secs(3);

/// What a stream's leader tells of those that follow it.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Followers {
    /// None where the stream is stored once.
    #[serde(default)]
    replicas: Vec<Follower>,
}

#[derive(Debug, Deserialize)]
struct Follower {
    /// How long ago it was heard, in nanoseconds.
    #[serde(default)]
    active: u64,
    #[serde(default)]
    offline: bool,
}

impl Followers {
    /// Whether their leader is the only one: the one that was, and has been cut off from them, does not know it for up to ten seconds, and
    /// of whatever has been stored since says that it is not there.
    pub(super) fn are_led(&self) -> bool {
        let is_heard = |follower: &&Follower| !follower.offline && Duration::from_nanos(follower.active) < LEADS_FOR;
        let heard = 1 + self.replicas.iter().filter(is_heard).count();
        heard * 2 > self.replicas.len() + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    #[test]
    fn a_server_is_left_after_some_seconds_in_vain() {
        let (mut doubt, start) = (Doubt::default(), Instant::now());
        assert!(!doubt.misses(1, start, 0.0));
        assert!(!doubt.misses(1, start + secs(4), 0.0));
        assert!(doubt.misses(1, start + secs(5), 0.0));
        let mut patient = Doubt::default();
        assert!(!patient.misses(1, start, 0.5));
        assert!(!patient.misses(1, start + secs(5), 0.5));
        assert!(patient.misses(1, start + secs(6), 0.5));
    }

    #[test]
    fn how_patient_a_process_is_it_decides_once() {
        let (mut doubt, start) = (Doubt::default(), Instant::now());
        assert!(!doubt.misses(1, start, 1.0));
        assert!(!doubt.misses(1, start + secs(6), 0.0));
        assert!(doubt.misses(1, start + secs(7), 0.0));
    }

    #[test]
    fn what_has_nothing_to_do_with_each_other_does_not_add_up() {
        let (mut doubt, start) = (Doubt::default(), Instant::now());
        assert!(!doubt.misses(1, start, 0.0));
        assert!(!doubt.misses(1, start + secs(9), 0.0), "long ago");
        assert!(!doubt.misses(2, start + secs(15), 0.0), "another connection");
        assert!(doubt.misses(2, start + secs(20), 0.0));
    }

    #[test]
    fn who_has_heard_from_no_majority_may_lead_no_more() {
        let led = |followers: &str| serde_json::from_str::<Followers>(followers).unwrap().are_led();
        assert!(led(r#"{"leader": "n0"}"#), "stored once");
        let two = |one: &str, other: &str| led(&format!(r#"{{"leader": "n0", "replicas": [{one}, {other}]}}"#));
        let (heard, silent, offline) = (r#"{"active": 900000000}"#, r#"{"active": 3100000000}"#, r#"{"active": 1, "offline": true}"#);
        assert!(two(heard, silent) && two(offline, heard));
        assert!(!two(silent, offline) && !two(silent, silent));
    }

    #[test]
    fn where_no_server_stores_anything_they_are_tried_less_and_less_often() {
        let (mut doubt, mut now, mut waits) = (Doubt::default(), Instant::now(), Vec::new());
        for generation in 1..8 {
            let first = now;
            while !doubt.misses(generation, now, 0.0) {
                now += secs(1);
            }
            waits.push((now - first).as_secs());
        }
        assert_eq!(waits, [5, 5, 10, 20, 40, 60, 60]);
    }
}
