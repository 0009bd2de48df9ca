//! The moves of `agent-worker/src/driver/append.rs`: an append is asked for until the broker has said what became of it.

use std::time::Duration;

use agent_worker::turn::loss::{Behind, must_look};
use agent_worker::turn::{Finish, Input, Turn};
use journal::{Append, Journal, LoadError, has_reached, load};
use protocol::conversation::{Draft, Prepared};
use protocol::ids::{EntryId, Seq};
use tokio::time::{Instant, sleep};

use super::plant::Plant;
use super::worker::{RETRY, Slot};

impl Slot {
    pub(super) async fn append(&self, turn: &mut Turn, draft: Draft) -> Result<Input, Finish> {
        let (asked_at, class) = (Instant::now(), draft.class.clone());
        let give_back = |reason: String| Finish::GiveBack { delay: RETRY, reason };
        let prepared = match turn.conversation().prepare(draft.clone()) {
            Ok(prepared) => prepared,
            // The driver says so in its log and gives the item back; here it is a failed story.
            Err(error) => panic!("an entry that cannot follow was decided: {error}: {draft:?}"),
        };
        let mut pause = Duration::from_millis(100);
        loop {
            self.world.step().await;
            let append = self.publish(&prepared).await;
            self.world.tell(|| format!("{} writes {}: {append:?}", self.process.id, prepared.subject()));
            // It is stored or not; its writer has not heard of it yet.
            self.world.step().await;
            match append {
                Append::Appended(seq) => {
                    let input = stored(turn, prepared, seq)?;
                    let must_look = must_look(&class, asked_at.elapsed()) && !self.world.has(Plant::ActsOnLateWord);
                    return if must_look && self.is_overtaken(turn).await? { Err(Finish::Dropped) } else { Ok(input) };
                }
                Append::Fenced { tail } => return self.after_fence(turn, prepared, tail).await,
                Append::Gone => return Err(Finish::Settled),
                Append::Refused(refusal) => return Ok(Input::Refused(refusal)),
                Append::Unknown(_) if self.world.has(Plant::TakesUnknownForFailed) => {
                    self.write_anew(turn, draft).await.map_err(give_back)?;
                    return Err(Finish::Settled);
                }
                Append::Unknown(_) => {}
            }
            self.pause(pause.mul_f64(0.5) + self.world.millis(u64::try_from(pause.as_millis() / 2).unwrap())).await?;
            pause = (pause * 2).min(Duration::from_secs(2));
        }
    }

    async fn publish(&self, prepared: &Prepared) -> Append {
        if self.world.has(Plant::AppendsUnfenced) {
            return self.world.memory.inject(prepared.message.clone()).unwrap();
        }
        self.process.broker.append(prepared).await
    }

    /// The bug that is planted: behind whatever is there now, under another id.
    async fn write_anew(&self, turn: &Turn, draft: Draft) -> Result<(), String> {
        let known = turn.conversation();
        let found = load(&self.process.broker, known.orchestration(), known.id()).await.map_err(|error| error.to_string())?;
        let conversation = found.ok_or("it is gone")?;
        let draft = Draft { id: EntryId::from_random(self.world.bytes()), ..draft };
        let prepared = conversation.prepare(draft).map_err(|error| error.to_string())?;
        match self.process.broker.append(&prepared).await {
            Append::Appended(_) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    }

    /// Somebody wrote first. It may have been this very append, sent twice.
    async fn after_fence(&self, turn: &mut Turn, prepared: Prepared, tail: Seq) -> Result<Input, Finish> {
        let known = turn.conversation();
        let (orchestration, conversation) = (known.orchestration().clone(), known.id().clone());
        let mut pause = Duration::from_millis(2);
        loop {
            match load(&self.process.broker, &orchestration, &conversation).await {
                // Nothing is left of it, or a replica has nothing of it yet: only the leader can tell.
                Ok(None) => match self.process.broker.at(&orchestration, &conversation, prepared.ordinal()).await {
                    Ok(None) => return Err(Finish::Settled),
                    Ok(Some(_)) | Err(_) => self.pause(pause).await?,
                },
                Ok(Some(refolded)) if has_reached(&refolded, tail) => {
                    let at = usize::try_from(prepared.ordinal()).ok().and_then(|ordinal| refolded.entries().get(ordinal));
                    return match at.filter(|entry| entry.head.id == prepared.id()) {
                        Some(own) => stored(turn, prepared, own.seq),
                        None => Ok(Input::Fenced(refolded)),
                    };
                }
                Ok(Some(_)) | Err(LoadError::Read(_)) => self.pause(pause).await?,
                Err(LoadError::Fold(error)) => return Err(Finish::GiveBack { delay: RETRY, reason: error.to_string() }),
            }
            pause = (pause * 2).min(Duration::from_secs(1));
        }
    }

    /// Whether anybody has gone on behind this turn's tail. Only the leader knows.
    async fn is_overtaken(&self, turn: &Turn) -> Result<bool, Finish> {
        let (known, mut ordinal) = (turn.conversation(), turn.conversation().tail().next);
        let mut pause = Duration::from_millis(2);
        loop {
            self.world.step().await;
            match self.process.broker.at(known.orchestration(), known.id(), ordinal).await.map(|next| Behind::of(next.as_ref())) {
                Ok(Behind::Nothing) => return Ok(false),
                Ok(Behind::Message) => ordinal += 1,
                Ok(Behind::Successor) => return Ok(true),
                Err(_) => {
                    self.pause(pause).await?;
                    pause = (pause * 2).min(Duration::from_secs(1));
                }
            }
        }
    }

    async fn pause(&self, pause: Duration) -> Result<(), Finish> {
        tokio::select! {
            biased;
            () = self.process.drain.cancelled() => Err(Finish::Dropped),
            () = sleep(pause) => Ok(()),
        }
    }
}

fn stored(turn: &mut Turn, prepared: Prepared, seq: Seq) -> Result<Input, Finish> {
    match turn.commit(prepared, seq) {
        Ok(()) => Ok(Input::Appended(seq)),
        Err(error) => Err(Finish::GiveBack { delay: RETRY, reason: error.to_string() }),
    }
}
