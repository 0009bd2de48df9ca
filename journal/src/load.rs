//! From messages to conversations: nearly always from one message, and from all of them where something is damaged.

use protocol::brief::Phase;
use protocol::conversation::{Conversation, FoldError, Partial};
use protocol::ids::{ConversationId, OrchestrationName, Seq};
use protocol::wire::DecodeError;

use crate::{Journal, ReadError, planted};

/// Why a conversation could not be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// It could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// What was read is no conversation.
    #[error(transparent)]
    Fold(#[from] FoldError),
}

impl LoadError {
    /// Whether something is wrong with what was read, that asking again does not heal.
    pub const fn is_damage(&self) -> bool {
        match self {
            Self::Read(ReadError::Damaged { .. } | ReadError::Incomplete { .. }) => true,
            Self::Read(ReadError::Unavailable(_) | ReadError::Refused(_)) | Self::Fold(FoldError::Decode(DecodeError::Newer { .. })) => {
                false
            }
            Self::Fold(_) => true,
        }
    }
}

/// The whole conversation that a message belongs to, up to that message: no read for a short one, one for a long one.
///
/// # Errors
/// [`LoadError`].
pub async fn complete(journal: &(impl Journal + ?Sized), partial: Partial) -> Result<Conversation, LoadError> {
    let subject = &partial.last().head.subject;
    let sealed = match partial.sealed() {
        [] => Vec::new(),
        ordinals => journal.sealed(&subject.orchestration, &subject.conversation, ordinals).await?,
    };
    Ok(partial.complete(&sealed)?)
}

/// The whole conversation as the journal has it now; none where there is no conversation, or nothing is left of it. Of one that is
/// [damaged](Conversation::damage) what can be read.
///
/// # Errors
/// [`LoadError`].
pub async fn load(
    journal: &(impl Journal + ?Sized),
    orchestration: &OrchestrationName,
    conversation: &ConversationId,
) -> Result<Option<Conversation>, LoadError> {
    let read = async {
        let Some(stored) = journal.tail(orchestration, conversation).await? else { return Ok(None) };
        let partial = Partial::decode(&stored).map_err(FoldError::from)?;
        if partial.last().head.brief.phase == Phase::Erased {
            return Ok(None);
        }
        complete(journal, partial).await.map(Some)
    };
    match read.await {
        Err(why) => Ok(Some(salvage(journal, orchestration, conversation, why).await?.0).filter(|salvaged| salvaged.last().is_some())),
        read => read,
    }
}

/// What can be read of a conversation that cannot be read from one message, and when its last entry was stored: all there is was
/// looked at.
///
/// # Errors
/// [`LoadError`]: `why` again where salvaging is no use, which is where the journal did not answer or a newer version wrote it.
pub async fn salvage(
    journal: &(impl Journal + ?Sized),
    orchestration: &OrchestrationName,
    conversation: &ConversationId,
    why: LoadError,
) -> Result<(Conversation, u64), LoadError> {
    if !why.is_damage() || planted::is("poison-hangs") {
        return Err(why);
    }
    let (salvaged, time_ms) = give_up(journal, orchestration, conversation).await?;
    match salvaged.damage() {
        Some(damage) if damage.is_newer() => Err(damage.problem.clone().into()),
        _ => Ok((salvaged, time_ms)),
    }
}

/// The same, where nobody waits for a newer version any more.
///
/// # Errors
/// [`ReadError`].
pub async fn give_up(
    journal: &(impl Journal + ?Sized),
    orchestration: &OrchestrationName,
    conversation: &ConversationId,
) -> Result<(Conversation, u64), ReadError> {
    let messages = journal.messages(orchestration, conversation).await?;
    let salvaged = Conversation::salvage(orchestration.clone(), conversation.clone(), &messages);
    let last = salvaged.last().and_then(|last| messages.iter().find(|stored| stored.seq == last.seq));
    let time_ms = last.map_or(0, |stored| stored.time_ms);
    Ok((salvaged, time_ms))
}

/// The sequence a reader must have reached before a fenced append may be judged again.
pub fn has_reached(conversation: &Conversation, tail: Seq) -> bool {
    conversation.tail().seq >= tail
}
