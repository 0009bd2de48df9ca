//! What a gateway hears, passed on in memory to whoever watches: one consumer and one subscription per orchestration,
//! however many people watch.
//!
//! Nobody waits for a slow watcher: one that does not keep up is cut off, and catches up by reading, like one who comes late.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::BoxStream;
use journal::{Delivery, Follow, FollowError, RequestError, Scope, Start};
use protocol::ids::{AgentName, ConversationId, Ordinal};
use protocol::live::Live;
use protocol::subject::{self, EntrySubject};
use protocol::wire::Stored;
use tokio::sync::{Semaphore, SemaphorePermit, mpsc, watch};

use crate::Edge;
use crate::drafts::{Draft, Drafts};

/// What a watcher may be behind before it is cut off.
const BEHIND_MAX: usize = 256;
/// Conversations that are read at a time, for those who begin to watch.
const READING_MAX: usize = 64;
/// Before following is begun again.
const AGAIN: Duration = Duration::from_secs(1);
/// Before what is not there yet is looked for again.
const SOON: Duration = Duration::from_millis(100);

/// Pieces that workers say.
type Said = BoxStream<'static, Delivery>;
/// What the journal stores.
type Entries = BoxStream<'static, Result<Stored, FollowError>>;

/// What a watcher is told.
#[derive(Clone, Debug)]
pub(crate) enum Piece {
    /// The journal stored an entry.
    Stored(Arc<Stored>),
    /// An agent's worker said a piece of an answer.
    Live(AgentName, Live),
    /// There should be an entry with this ordinal.
    Look(Ordinal),
}

/// Passes on what is heard.
#[derive(Debug)]
pub(crate) struct Hub {
    rooms: Mutex<Rooms>,
    following: watch::Sender<bool>,
    reading: Semaphore,
}

impl Default for Hub {
    fn default() -> Self {
        Self { rooms: Mutex::default(), following: watch::Sender::default(), reading: Semaphore::new(READING_MAX) }
    }
}

#[derive(Debug, Default)]
struct Rooms {
    watchers: HashMap<ConversationId, Vec<(u64, mpsc::Sender<Piece>)>>,
    next: u64,
    drafts: Drafts,
}

/// A place from which one conversation is watched. Dropping it leaves the place.
#[derive(Debug)]
pub(crate) struct Watch {
    edge: Arc<Edge>,
    conversation: ConversationId,
    number: u64,
    pieces: mpsc::Receiver<Piece>,
}

impl Watch {
    /// Begins to watch: what is heard from here on will come. With the answer that is being written at the moment.
    pub(crate) fn begin(edge: &Arc<Edge>, conversation: &ConversationId) -> (Self, Option<Draft>) {
        let (sender, pieces) = mpsc::channel(BEHIND_MAX);
        let mut rooms = edge.hub.rooms();
        let number = rooms.next;
        rooms.next += 1;
        rooms.watchers.entry(conversation.clone()).or_default().push((number, sender));
        let draft = rooms.drafts.get(conversation);
        (Self { edge: Arc::clone(edge), conversation: conversation.clone(), number, pieces }, draft)
    }

    /// The next piece; none once this watcher has been cut off, and has had everything before that.
    pub(crate) async fn next(&mut self) -> Option<Piece> {
        self.pieces.recv().await
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.edge.hub.rooms().leave(&self.conversation, |number| number == self.number);
    }
}

impl Rooms {
    fn leave(&mut self, conversation: &ConversationId, is_leaving: impl Fn(u64) -> bool) {
        if let Some(watchers) = self.watchers.get_mut(conversation) {
            watchers.retain(|(number, _)| !is_leaving(*number));
            if watchers.is_empty() {
                self.watchers.remove(conversation);
            }
        }
    }

    fn tell(&mut self, conversation: &ConversationId, piece: impl FnOnce() -> Piece) {
        let Some(watchers) = self.watchers.get_mut(conversation) else { return };
        let piece = piece();
        watchers.retain(|(_, watcher)| watcher.try_send(piece.clone()).is_ok());
        if watchers.is_empty() {
            self.watchers.remove(conversation);
        }
    }
}

impl Hub {
    fn rooms(&self) -> MutexGuard<'_, Rooms> {
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether everything that is stored is heard.
    pub(crate) fn following(&self) -> watch::Receiver<bool> {
        self.following.subscribe()
    }

    /// The turn of one who begins to watch to read the conversation.
    pub(crate) async fn reading(&self) -> Option<SemaphorePermit<'_>> {
        self.reading.acquire().await.ok()
    }

    /// The journal stored an entry.
    fn stored(&self, stored: Stored) {
        let Ok(subject) = stored.subject.parse::<EntrySubject>() else { return };
        let mut rooms = self.rooms();
        rooms.drafts.stored(&subject, stored.seq);
        rooms.tell(&subject.conversation, || Piece::Stored(Arc::new(stored)));
    }

    /// A piece was said under `subject`.
    fn said(&self, subject: &str, payload: &[u8]) {
        let mut tokens = subject.split('.').skip(3);
        let Some((Ok(agent), Ok(conversation))) = tokens.next().zip(tokens.next()).map(|(agent, id)| (agent.parse(), id.parse())) else {
            return;
        };
        let Ok(live) = Live::decode(payload) else { return };
        let mut rooms = self.rooms();
        rooms.drafts.said(&conversation, &agent, &live);
        rooms.tell(&conversation, || Piece::Live(agent, live));
    }

    /// Somebody says that a conversation has an entry with this ordinal.
    pub(crate) fn look(&self, conversation: &ConversationId, ordinal: Ordinal) {
        self.rooms().tell(conversation, || Piece::Look(ordinal));
    }

    /// Nothing is heard any more: whoever watches reads.
    fn cut_off(&self) {
        self.following.send_replace(false);
        let mut rooms = self.rooms();
        rooms.watchers.clear();
        rooms.drafts = Drafts::default();
    }
}

/// Follows the orchestration for as long as it is polled.
pub(crate) async fn run(edge: Arc<Edge>) {
    let orchestration = edge.client.orchestration();
    loop {
        let pause = match begin(&edge).await {
            Ok((said, entries)) => {
                let problem = tell(&edge.hub, said, entries).await;
                tracing::warn!(%orchestration, "cannot be followed any more, trying again: {problem}");
                AGAIN
            }
            // Whoever starts everything at once starts the gateway before there is anything to follow.
            Err(Problem::Follow(problem @ FollowError::NoStream(_))) => {
                tracing::info!(%orchestration, "waiting for the orchestration: {problem}");
                SOON
            }
            Err(problem) => {
                tracing::warn!(%orchestration, "cannot be followed, trying again: {problem}");
                AGAIN
            }
        };
        edge.hub.cut_off();
        tokio::time::sleep(pause).await;
    }
}

/// Why following did not begin.
#[derive(Debug, thiserror::Error)]
enum Problem {
    #[error(transparent)]
    Listen(#[from] RequestError),
    #[error(transparent)]
    Follow(#[from] FollowError),
}

async fn begin(edge: &Edge) -> Result<(Said, Entries), Problem> {
    let (broker, name) = (edge.client.broker(), edge.client.orchestration());
    let said = broker.listen(&subject::live_all(name), None).await?;
    let entries = broker.follow(name, Follow { scope: Scope::All, start: Start::New, bodies: true }).await?;
    // Whoever began to watch before this has not heard everything.
    edge.hub.cut_off();
    edge.hub.following.send_replace(true);
    Ok((said, entries))
}

/// Tells the watchers everything; why it ended.
async fn tell(hub: &Hub, mut said: Said, mut entries: Entries) -> String {
    loop {
        tokio::select! {
            // Tokens are said before the entry that holds them is stored: taken first, they are in order.
            biased;
            Some(piece) = said.next() => hub.said(&piece.subject, &piece.payload),
            Some(stored) = entries.next() => match stored {
                Ok(stored) => hub.stored(stored),
                Err(error) => return error.to_string(),
            },
            else => return "the broker's connection was closed".to_owned(),
        }
    }
}
