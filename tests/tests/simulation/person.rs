//! People: they open, reply, decide, interrupt, cancel, repeat themselves, and do all that out of turn, too. What they do goes
//! through the client library; only an opening is made here, because the library would read its definition anew in every story.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use client::{CancelError, Classified, Client, Decision, Reply, Side, Status};
use journal::{Append, Journal, load};
use protocol::brief::{Brief, Fixed, Phase};
use protocol::conversation::{Conversation, Draft};
use protocol::entry::Head;
use protocol::event::{Event, Message, Opened, RequestKind, Verdict};
use protocol::ids::{ConversationId, EntryId, Writer};
use protocol::subject::{self, Class};
use tokio::time::sleep;

use super::plant::Plant;
use super::record::{How, Seen};
use super::world::{Process, World};

/// What a person does at most, before they leave it at that.
const DEEDS_MAX: usize = 10;

/// A person at a gateway, in one conversation. Two may be in the same one.
pub(crate) struct Person {
    world: Rc<World>,
    process: Rc<Process>,
    client: Client,
    conversation: ConversationId,
    opens: bool,
}

/// Something that a person says or decides.
#[derive(Clone)]
enum Deed {
    Reply(Reply),
    Decide(Decision),
    Cancel(String),
}

impl Person {
    pub(crate) fn new(world: &Rc<World>, process: &Rc<Process>, conversation: ConversationId, opens: bool) -> Self {
        let broker = Arc::new(process.broker.clone());
        let name = world.definition.orchestration.name().clone();
        let client = Client::new(broker, name, Side::Gateway, process.id.clone()).with_patience(Duration::from_secs(1));
        Self { world: Rc::clone(world), process: Rc::clone(process), client, conversation, opens }
    }

    pub(crate) async fn live(self) {
        sleep(self.world.millis(1_000)).await;
        if self.opens {
            self.open().await;
        }
        for _ in 0..DEEDS_MAX {
            sleep(self.world.millis(if self.world.chance(300) { 400 } else { 8_000 })).await;
            if self.world.is_healed.get() {
                return;
            }
            self.world.step().await;
            let name = self.world.definition.orchestration.name();
            // What a gateway shows is what the last entry says in brief.
            let Ok(Some(last)) = self.process.broker.tail(name, &self.conversation).await else { continue };
            let brief = Head::decode(&last.subject, &last.headers).unwrap().brief;
            if brief.phase.is_ended() && self.world.chance(700) {
                return;
            }
            if let Some((wish, deed)) = self.wish(&brief) {
                self.do_it(wish, deed).await;
            }
        }
    }

    fn begin(&self) -> u64 {
        let wish = self.world.number();
        self.world.record(Seen::Wished { wish });
        wish
    }

    fn told(&self, wish: u64, how: How) {
        self.world.tell(|| format!("m:{wish} in {} is {how:?}", self.conversation));
        self.world.record(Seen::Told { wish, how });
    }

    /// Now and then somebody writes a lot: conversations seal, and those that wait then get snapshots.
    fn text(&self, wish: u64) -> String {
        let rest = " and so on".repeat(if wish.is_multiple_of(3) { 900 } else { 0 });
        format!("[[m:{wish}]] [[canary:{}]]{rest}", self.conversation)
    }

    /// The moves of `client/src/start.rs`: one append, repeated as it is until it is known to be stored.
    async fn open(&self) {
        let orchestration = &self.world.definition.orchestration;
        let wish = self.begin();
        let input = vec![Message { text: self.text(wish), ..Message::default() }];
        let opened = Opened { input, human: self.world.chance(850), ..Opened::default() };
        let revision = orchestration.revision().clone();
        let draft = Draft {
            class: Class::To { agent: orchestration.start().clone(), revision: revision.clone() },
            from: Writer::Gateway,
            id: EntryId::of_request(&self.conversation, &wish.to_string()),
            process: self.process.id.clone(),
            revision,
            events: vec![opened.into()],
            trace: None,
        };
        let (limits, human) = (orchestration.limits(), orchestration.human());
        let fixed = Fixed {
            turn_secs: Some(limits.turn_secs),
            on_message: human.on_message,
            reply_to: human.return_to_start.then(|| orchestration.start().clone()),
            ..Fixed::default()
        };
        let prepared = Conversation::empty(orchestration.name().clone(), self.conversation.clone()).prepare_opening(draft, fixed).unwrap();
        for _ in 0..8 {
            self.world.step().await;
            if self.world.has(Plant::AcceptsBeforeStored) {
                self.told(wish, How::Accepted);
            }
            match self.process.broker.append(&prepared).await {
                Append::Appended(_) => return self.told(wish, How::Accepted),
                Append::Unknown(_) if self.world.has(Plant::AcceptsBeforeStored) => return,
                Append::Unknown(_) => sleep(self.world.millis(1_000)).await,
                other => panic!("nobody else opens this conversation: {other:?}"),
            }
        }
        self.told(wish, How::Unknown);
    }

    /// What comes to their mind.
    fn wish(&self, brief: &Brief) -> Option<(u64, Deed)> {
        let asked = brief.requests.first().cloned();
        if self.world.chance(25) {
            let wish = self.begin();
            return Some((wish, Deed::Cancel(format!("[[m:{wish}]]"))));
        }
        // Somebody who did not look says something that answers nothing.
        let asked = if self.world.chance(100) { None } else { asked };
        match asked {
            None if brief.phase == Phase::Working && self.world.chance(600) => None,
            None => {
                let wish = self.begin();
                Some((wish, Deed::Reply(Reply::bare(self.text(wish)).with_key(wish.to_string()))))
            }
            Some(open) if open.kind == RequestKind::Question => {
                let wish = self.begin();
                Some((wish, Deed::Reply(Reply::to(open.id, self.text(wish)).with_key(wish.to_string()))))
            }
            Some(open) => {
                let wish = self.begin();
                let verdict = match open.kind {
                    RequestKind::InDoubt => self.world.pick(&[Verdict::Retry, Verdict::Happened, Verdict::Abandoned]),
                    RequestKind::Approval | RequestKind::Question => {
                        self.world.pick(&[Verdict::Approved, Verdict::Approved, Verdict::Denied])
                    }
                };
                let note = format!("[[m:{wish}]]");
                Some((wish, Deed::Decide(Decision { note, key: Some(wish.to_string()), ..Decision::new(open.id, verdict) })))
            }
        }
    }

    /// Does it, and again while nobody can say what became of it; now and then again although it is known.
    async fn do_it(&self, wish: u64, mut deed: Deed) {
        for attempt in 0..3 {
            self.world.step().await;
            let how = self.attempt(&deed).await;
            let is_known = how != How::Unknown;
            if is_known || attempt == 2 {
                self.told(wish, how);
                if self.world.chance(100) && !matches!(deed, Deed::Cancel(_)) {
                    let again = self.attempt(&deed).await;
                    self.told(wish, again);
                }
                return;
            }
            match &mut deed {
                Deed::Reply(reply) if self.world.has(Plant::RepeatsUnderAnotherKey) => reply.key = Some(self.world.number().to_string()),
                // Without a key it cannot be repeated safely: what was unknown stays so.
                Deed::Cancel(_) => return self.told(wish, How::Unknown),
                Deed::Reply(_) | Deed::Decide(_) => {}
            }
        }
    }

    async fn attempt(&self, deed: &Deed) -> How {
        let work = async {
            match deed {
                Deed::Reply(reply) => how(self.client.reply(&self.conversation, reply).await),
                Deed::Decide(decision) => how(self.client.decide(&self.conversation, decision).await),
                Deed::Cancel(reason) if self.world.has(Plant::CancelsUnfenced) => self.cancel_unfenced(reason).await,
                Deed::Cancel(reason) => match self.client.cancel(&self.conversation, reason).await {
                    // It may be this very cancellation, sent twice.
                    Err(CancelError::AlreadyCancelled) => How::Unknown,
                    other => how(other),
                },
            }
        };
        // A browser does not wait for ever.
        let patience = Duration::from_secs(1) + self.world.millis(15_000);
        tokio::time::timeout(patience, work).await.unwrap_or(How::Unknown)
    }

    /// The bug that is planted.
    async fn cancel_unfenced(&self, reason: &str) -> How {
        let name = self.world.definition.orchestration.name();
        let Ok(Some(known)) = load(&self.process.broker, name, &self.conversation).await else { return How::Unknown };
        let draft = Draft {
            class: Class::End,
            from: Writer::Gateway,
            id: EntryId::from_random(self.world.bytes()),
            process: self.process.id.clone(),
            revision: known.revision().unwrap().clone(),
            events: vec![Event::from(protocol::event::Cancelled { reason: reason.to_owned() })],
            trace: None,
        };
        let Ok(prepared) = known.prepare(draft) else { return How::Refused };
        sleep(self.world.millis(2_000)).await;
        let _ = self.world.memory.inject(prepared.message).unwrap();
        let moved = subject::moved(name, known.owner().unwrap(), known.id());
        journal::Bus::say(&self.process.broker, &moved, bytes::Bytes::new()).await;
        How::Accepted
    }
}

fn how<T, E: Classified>(result: Result<T, E>) -> How {
    match result {
        Ok(_) => How::Accepted,
        Err(error) => match error.status() {
            Status::Unavailable | Status::Internal => How::Unknown,
            _ => How::Refused,
        },
    }
}
