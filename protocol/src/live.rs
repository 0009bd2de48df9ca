//! Tokens while they are being written: said over core NATS, never stored, and never needed. What counts is the entry.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::ids::{ProcessId, Seq};
use crate::wire::{DecodeError, from_slice};

/// A piece of an answer that is being written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Live {
    /// The epoch it is written in: pieces of an older epoch than the last one seen are dropped.
    pub epoch: Seq,
    /// Who writes it: a change within an epoch means that the pieces so far do not count.
    pub process: ProcessId,
    /// The answer's number in the turn; a new one begins a new message.
    pub answer: u32,
    /// The piece's number in the answer, from 0: a gap means that one was lost.
    pub index: u32,
    /// What is said.
    pub piece: Piece,
}

/// What is said in a [`Live`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Piece {
    /// More text.
    Text(String),
    /// The text of this answer so far does not count.
    Reset,
}

impl Live {
    /// Its bytes.
    pub fn encode(&self) -> Bytes {
        rmp_serde::to_vec_named(self).unwrap_or_default().into()
    }

    /// The piece in `bytes`.
    ///
    /// # Errors
    /// [`DecodeError::Malformed`] when they are none.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        from_slice(bytes).map_err(DecodeError::malformed)
    }
}
