//! What passes through the broker, in its own statistics.

use std::ops::Sub;

use serde::Deserialize;

/// Messages and bytes that the broker has taken from its clients and given to them, since it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub(super) struct Traffic {
    pub(super) in_msgs: u64,
    pub(super) out_msgs: u64,
    pub(super) in_bytes: u64,
    pub(super) out_bytes: u64,
}

impl Sub for Traffic {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self {
            in_msgs: self.in_msgs.saturating_sub(before.in_msgs),
            out_msgs: self.out_msgs.saturating_sub(before.out_msgs),
            in_bytes: self.in_bytes.saturating_sub(before.in_bytes),
            out_bytes: self.out_bytes.saturating_sub(before.out_bytes),
        }
    }
}

/// Deliveries and acknowledgements of the agents' work, all agents together, since the beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Deliveries {
    pub(super) delivered: u64,
    pub(super) acked: u64,
}

impl Sub for Deliveries {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self { delivered: self.delivered.saturating_sub(before.delivered), acked: self.acked.saturating_sub(before.acked) }
    }
}

/// The part of `/jsz?consumers=true` that counts.
#[derive(Debug, Deserialize)]
pub(super) struct Jsz {
    #[serde(default)]
    account_details: Vec<Account>,
}

#[derive(Debug, Deserialize)]
struct Account {
    #[serde(default)]
    stream_detail: Vec<Stream>,
}

#[derive(Debug, Deserialize)]
struct Stream {
    name: String,
    #[serde(default)]
    consumer_detail: Vec<Consumer>,
}

#[derive(Debug, Deserialize)]
struct Consumer {
    name: String,
    delivered: Position,
    ack_floor: Position,
}

#[derive(Debug, Deserialize)]
struct Position {
    consumer_seq: u64,
}

impl Jsz {
    /// Of the consumers of agents in one stream.
    pub(super) fn deliveries(&self, stream: &str) -> Deliveries {
        let streams = self.account_details.iter().flat_map(|account| &account.stream_detail).filter(|found| found.name == stream);
        let agents = streams.flat_map(|stream| &stream.consumer_detail).filter(|consumer| consumer.name.starts_with("agent-"));
        agents.fold(Deliveries::default(), |sum, agent| Deliveries {
            delivered: sum.delivered + agent.delivered.consumer_seq,
            acked: sum.acked + agent.ack_floor.consumer_seq,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_agents_were_delivered_counts() {
        let consumer = |name: &str, delivered: u64, acked: u64| {
            let position = |consumer_seq: u64| json!({ "consumer_seq": consumer_seq, "stream_seq": 900 });
            json!({ "name": name, "delivered": position(delivered), "ack_floor": position(acked) })
        };
        let agents = [consumer("agent-ping", 10, 9), consumer("agent-pong", 5, 5), consumer("follow-x", 99, 0)];
        let streams = json!([{ "name": "KV_baton-bench" }, { "name": "baton-bench", "consumer_detail": agents }]);
        let jsz: Jsz = serde_json::from_value(json!({ "account_details": [{ "name": "$G", "stream_detail": streams }] })).unwrap();
        assert_eq!(jsz.deliveries("baton-bench"), Deliveries { delivered: 15, acked: 14 });
        assert_eq!(jsz.deliveries("baton-other"), Deliveries::default());
    }

    #[test]
    fn what_was_before_does_not_count() {
        let before = Traffic { in_msgs: 1, out_msgs: 2, in_bytes: 3, out_bytes: 4 };
        let after = Traffic { in_msgs: 11, out_msgs: 12, in_bytes: 13, out_bytes: 14 };
        assert_eq!(after - before, Traffic { in_msgs: 10, out_msgs: 10, in_bytes: 10, out_bytes: 10 });
    }
}
