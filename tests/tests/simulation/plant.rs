//! Bugs that are planted to see whether they are found: each is a mistake that a careful writer of a worker, a caller or a
//! coordinator could make. They live in the simulation's own shells; nothing of Baton's code knows of them.

/// A planted bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Plant {
    /// Entries are published without the fence.
    AppendsUnfenced,
    /// The work item is acked when it is taken, not when what it caused is stored.
    AcksFirst,
    /// An append of unknown outcome is taken for lost, and written anew under another id behind whatever is there.
    TakesUnknownForFailed,
    /// A redelivered work item is gone on with, without fencing its former worker off.
    SkipsTaken,
    /// An intent is carried out again under a new idempotency key.
    NewKeyOnRetry,
    /// The model is asked again, when it has answered, because nobody kept the answer.
    AsksTwice,
    /// A cancellation is published without the fence.
    CancelsUnfenced,
    /// The prompt is made of what this process remembers of the conversation.
    PromptsFromMemory,
    /// Results of side effects are shown to the model before they are stored.
    ShowsUnstoredResults,
    /// Tools with side effects run before their intent is stored.
    RunsBeforeIntent,
    /// The coordinator takes silence by its own clock for death.
    RedispatchesByOwnClock,
    /// A person's message of unknown outcome is sent again under another key.
    RepeatsUnderAnotherKey,
    /// A person is told that a message is stored, before the broker has said so.
    AcceptsBeforeStored,
    /// A worker that has lost its conversation acks the work item, as if it had done it.
    AcksWhatItLost,
    /// A worker that hears late that its intent is stored runs the tool without a look at what has happened since.
    ActsOnLateWord,
    /// A worker that is told that its conversation moved looks once, and believes the replica that answers.
    LooksOnce,
}
