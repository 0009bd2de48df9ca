//! The outcomes of an append. The type makes its caller face the one that distributed systems forget: unknown.

use protocol::ids::Seq;

/// What became of an append.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "an append that is not looked at is a write that may have been lost"]
pub enum Append {
    /// It is stored, as this sequence.
    Appended(Seq),
    /// Somebody else wrote first; `tail` is the sequence the broker named. Refold up to it, then decide again.
    Fenced {
        /// The conversation's last sequence, as far as the broker said.
        tail: Seq,
    },
    /// The conversation has been erased.
    Gone,
    /// It cannot be stored as it is; the same append will fail again.
    Refused(Refusal),
    /// The broker could not be asked whether it is stored. It may be: only the same append, repeated, can tell.
    Unknown(String),
}

/// Why an append can never succeed as it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is larger than any entry may be ([`crate::ENTRY_BYTES_MAX`]), or its headers are larger than the broker takes.
    #[error("the entry has {bytes} bytes, at most {bytes_max} can be stored")]
    TooLarge {
        /// The size of its payload, or of its headers.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// The stream is full (`discard: new`): honest back pressure.
    #[error("the broker has no space left: {0}")]
    NoSpace(String),
    /// This process may not publish under that subject.
    #[error("the broker does not permit publishing to {subject}")]
    NotPermitted {
        /// The subject.
        subject: String,
    },
    /// There is no stream for the subject, or the broker refuses for another reason that repeating does not cure.
    #[error("the broker refuses: {0}")]
    Other(String),
}
