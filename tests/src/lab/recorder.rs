//! One recording, which every recorder of the laboratory writes into, and what they tell each other while it goes on.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::{broadcast, watch};
use tokio::time::timeout;

use super::record::{Record, Seen};

/// A recording that is being made.
#[derive(Clone, Debug)]
pub struct Recorder(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    opened: Instant,
    records: Mutex<Vec<Record>>,
    numbers: AtomicU64,
    /// Conversations by canary.
    conversations: watch::Sender<BTreeMap<String, String>>,
    moments: broadcast::Sender<Moment>,
}

/// Something that a fault can be aimed at: it happens now, and goes on for some tens of milliseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moment {
    /// What.
    pub what: What,
    /// For which process of the deployment.
    pub process: String,
    /// In which conversation.
    pub canary: String,
}

/// See [`Moment`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// A model is in the middle of its answer.
    ModelSpeaks,
    /// A model has finished its answer: the worker is about to store what came of it.
    ModelSpoke,
    /// A model's answer has been broken off.
    ModelSilenced,
    /// A tool with effects is at work.
    ToolRuns,
}

impl Recorder {
    /// A recording that begins now.
    pub fn open() -> Self {
        let recorder = Self(Arc::new(Shared {
            opened: Instant::now(),
            records: Mutex::default(),
            numbers: AtomicU64::default(),
            conversations: watch::Sender::default(),
            moments: broadcast::Sender::new(1024),
        }));
        // Brokers of the laboratory run on this machine and have its clock.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        recorder.note(Seen::Clock { time_ms: u64::try_from(now.as_millis()).unwrap_or(u64::MAX) });
        recorder
    }

    /// Microseconds since it was opened.
    pub fn now_us(&self) -> u64 {
        u64::try_from(self.0.opened.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// A number that nothing else in the recording has.
    pub fn number(&self) -> u64 {
        self.0.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// Records what is seen now.
    pub fn note(&self, seen: Seen) {
        let mut records = self.lock();
        // Taken under the lock: records are in the order of their times.
        let at_us = self.now_us();
        records.push(Record { at_us, seen });
    }

    /// Learns which conversation speaks of a canary.
    pub fn learn(&self, canary: &str, conversation: &str) {
        self.0.conversations.send_modify(|known| {
            known.insert(canary.to_owned(), conversation.to_owned());
        });
    }

    /// The conversation of a canary, as soon as its person has learnt it; none if that takes longer than `patience`.
    pub async fn conversation(&self, canary: &str, patience: Duration) -> Option<String> {
        let mut known = self.0.conversations.subscribe();
        let known = timeout(patience, known.wait_for(|known| known.contains_key(canary))).await.ok()?.ok()?;
        known.get(canary).cloned()
    }

    /// Tells whoever aims.
    pub fn moment(&self, what: What, process: &str, canary: &str) {
        // Usually nobody aims.
        let _ = self.0.moments.send(Moment { what, process: process.to_owned(), canary: canary.to_owned() });
    }

    /// What happens from now on.
    pub fn moments(&self) -> broadcast::Receiver<Moment> {
        self.0.moments.subscribe()
    }

    /// What has been recorded; it is taken out, for servers that outlive their round keep hold of the recorder.
    pub fn take(&self) -> Vec<Record> {
        std::mem::take(&mut self.lock())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Record>> {
        self.0.records.lock().expect("nobody panics while recording")
    }
}

/// Writes a recording, a record a line.
pub fn save(records: &[Record], path: &Path) -> std::io::Result<()> {
    let mut file = std::io::BufWriter::new(std::fs::File::create(path)?);
    for record in records {
        serde_json::to_writer(&mut file, record)?;
        file.write_all(b"\n")?;
    }
    file.flush()
}

/// Reads a recording.
pub fn load(path: &Path) -> std::io::Result<Vec<Record>> {
    let text = std::fs::read_to_string(path)?;
    text.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}
