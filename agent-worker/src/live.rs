//! Tokens on their way to whoever watches: said over the bus by one task, dropped rather than waited for. What counts is
//! the entry; a watcher that misses a piece gets the whole text with it.

use bytes::Bytes;
use journal::Shared;
use protocol::ids::{ProcessId, Seq};
use protocol::live::{Live, Piece};
use tokio::sync::mpsc;

use crate::model::Tokens;

/// Pieces that may wait to be said.
const BACKLOG: usize = 4096;

/// Where pieces are handed over.
#[derive(Clone, Debug)]
pub(crate) struct Speaker(mpsc::Sender<(String, Bytes)>);

impl Speaker {
    /// Begins to say what is handed over, until the last speaker is dropped.
    pub(crate) fn new(broker: Shared) -> Self {
        let (sender, mut pieces) = mpsc::channel::<(String, Bytes)>(BACKLOG);
        tokio::spawn(async move {
            while let Some((subject, piece)) = pieces.recv().await {
                broker.say(&subject, piece).await;
            }
        });
        Self(sender)
    }
}

/// One answer that is being written.
#[derive(Debug)]
pub(crate) struct LiveAnswer {
    pub(crate) speaker: Speaker,
    pub(crate) subject: String,
    pub(crate) process: ProcessId,
    pub(crate) epoch: Seq,
    pub(crate) answer: u32,
    pub(crate) index: u32,
}

impl LiveAnswer {
    fn say(&mut self, piece: Piece) {
        let live = Live { epoch: self.epoch, process: self.process.clone(), answer: self.answer, index: self.index, piece };
        self.index += 1;
        // A full backlog means that the broker is slow or gone: the gap in the indices tells the watcher.
        let _ = self.speaker.0.try_send((self.subject.clone(), live.encode()));
    }
}

impl Tokens for LiveAnswer {
    fn text(&mut self, piece: &str) {
        if !piece.is_empty() {
            self.say(Piece::Text(piece.to_owned()));
        }
    }

    fn reset(&mut self) {
        if self.index > 0 {
            self.say(Piece::Reset);
        }
    }
}
