//! People who listen while agents speak: how long a model's word is on its way to the gateway's client. A word that the scripted model says
//! is the time at which it was said.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use futures::StreamExt;
use protocol::ids::ConversationId;
use serde::Deserialize;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// How long streams may take to end once everything is over.
const ENDED: Duration = Duration::from_secs(10);

/// Now, in nanoseconds since the Unix epoch.
pub(super) fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.ok().and_then(|since| u64::try_from(since.as_nanos()).ok()).unwrap_or_default()
}

/// One for each conversation, at a gateway.
#[derive(Debug)]
pub(super) struct Listeners {
    gateway: String,
    client: reqwest::Client,
    listening: JoinSet<()>,
    delays_ns: Arc<Mutex<Vec<u64>>>,
}

/// See `docs/gateway.md`.
#[derive(Debug, Deserialize)]
struct Token {
    text: String,
    r#final: bool,
}

impl Listeners {
    /// Those who listen at the gateway with this base URL.
    pub(super) fn at(gateway: &str) -> anyhow::Result<Self> {
        let client = agent_worker::model::build::http_client()?;
        Ok(Self { gateway: gateway.trim_end_matches('/').to_owned(), client, listening: JoinSet::new(), delays_ns: Arc::default() })
    }

    /// Listens to a conversation until its stream ends.
    pub(super) fn listen(&mut self, conversation: &ConversationId) {
        let request = self.client.get(format!("{}/v1/conversations/{conversation}/events", self.gateway));
        let delays_ns = Arc::clone(&self.delays_ns);
        self.listening.spawn(async move {
            let Ok(answer) = request.send().await else { return };
            let (mut chunks, mut heard) = (answer.bytes_stream(), Heard::default());
            while let Some(Ok(chunk)) = chunks.next().await {
                heard.take(&chunk, now_ns());
                delays_ns.lock().unwrap_or_else(PoisonError::into_inner).append(&mut heard.delays_ns);
            }
        });
    }

    /// For each answer whose beginning was heard, the time that its first word was on its way.
    pub(super) async fn delays_ns(&mut self) -> Vec<u64> {
        let ended = async { while self.listening.join_next().await.is_some() {} };
        if timeout(ENDED, ended).await.is_err() {
            self.listening.abort_all();
        }
        std::mem::take(&mut self.delays_ns.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What has been heard of one conversation.
#[derive(Debug, Default)]
struct Heard {
    unread: Vec<u8>,
    /// Whether the next word is the first of an answer.
    begins: bool,
    delays_ns: Vec<u64>,
}

impl Heard {
    /// Takes what has come in at a time.
    fn take(&mut self, chunk: &[u8], now_ns: u64) {
        self.unread.extend_from_slice(chunk);
        let whole = self.unread.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
        let lines: Vec<u8> = self.unread.drain(..whole).collect();
        let tokens = lines.split(|byte| *byte == b'\n').filter_map(|line| line.strip_prefix(b"data:"));
        // No other event has both fields.
        for Token { text, r#final } in tokens.filter_map(|data| serde_json::from_slice(data).ok()) {
            let said_ns = text.split(' ').next().and_then(|word| word.parse::<u64>().ok());
            if let Some(said_ns) = said_ns.filter(|_| self.begins) {
                self.delays_ns.push(now_ns.saturating_sub(said_ns));
            }
            self.begins = r#final;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_word_of_each_answer_counts_from_the_second_on() {
        let mut heard = Heard::default();
        // Whoever comes in the middle has not heard the beginning.
        heard.take(b"event: token\ndata: {\"text\":\"100 \",\"final\":false}\n\nevent: token\ndata: {\"text\":\"\",\"fin", 170);
        heard.take(b"al\":true}\n\nid: 3.0\nevent: responded\ndata: {\"text\":\"100 \"}\n\n", 180);
        heard.take(b"event: token\ndata: {\"text\":\"200 210 \",\"final\":false}\n\n", 250);
        heard.take(b"event: token\ndata: {\"text\":\"220 \",\"final\":false}\n\n", 290);
        assert_eq!(heard.delays_ns, [50]);
    }
}
