//! A conversation as one writer sees it, to append to.

use std::sync::atomic::{AtomicU64, Ordering};

use protocol::brief::Fixed;
use protocol::conversation::{Conversation, Draft, Prepared};
use protocol::entry::Trace;
use protocol::event::{Cancelled, Erased, Event, HistoryOption, Opened, Said, Transferred};
use protocol::ids::{EntryId, OrchestrationName, Revision, Seq, Writer};
use protocol::subject::Class;
use protocol::wire::Stored;

use super::{agent, orchestration};
use crate::{Append, Shared};

#[derive(Clone)]
pub(super) struct Chat {
    broker: Shared,
    pub(super) conversation: Conversation,
}

impl Chat {
    /// A conversation that has not been opened.
    pub(super) fn unopened(broker: &Shared, id: &str) -> Self {
        Self::unopened_in(broker, orchestration(), id)
    }

    pub(super) fn unopened_in(broker: &Shared, orchestration: OrchestrationName, id: &str) -> Self {
        Self { broker: broker.clone(), conversation: Conversation::empty(orchestration, id.parse().unwrap()) }
    }

    /// A conversation that `triage` owns.
    pub(super) async fn open(broker: &Shared, id: &str) -> Self {
        let mut chat = Self::unopened(broker, id);
        let opening = chat.opening();
        chat.append(opening).await;
        chat
    }

    pub(super) fn seq(&self) -> Seq {
        self.conversation.tail().seq
    }

    pub(super) fn opening(&self) -> Prepared {
        self.opening_with("A customer is on the line.")
    }

    pub(super) fn opening_with(&self, text: &str) -> Prepared {
        let opened = Opened { value: Some(text.into()), ..Opened::default() };
        let draft = draft(to("triage"), Writer::Client, opened.into());
        self.conversation.prepare_opening(draft, Fixed::default()).unwrap()
    }

    pub(super) fn saying(&self, text: &str) -> Prepared {
        self.prepare(Class::In, Writer::Gateway, Said { text: text.to_owned() }.into())
    }

    pub(super) fn saying_as(&self, id: EntryId, text: &str) -> Prepared {
        let said = draft(Class::In, Writer::Gateway, Said { text: text.to_owned() }.into());
        self.conversation.prepare(Draft { id, ..said }).unwrap()
    }

    /// The owner hands over: a work item.
    pub(super) fn transferring(&self, target: &str) -> Prepared {
        self.transferring_because(target, None)
    }

    pub(super) fn transferring_because(&self, target: &str, reason: Option<String>) -> Prepared {
        let transferred = Transferred { to: agent(target), call: None, reason, payload: None, history: HistoryOption::None, summary: None };
        let owner = self.conversation.owner().unwrap().clone();
        self.prepare(to(target), Writer::Agent(owner), transferred.into())
    }

    /// The failure of a conversation in which something cannot be read.
    pub(super) fn failing(&self, damaged: &Conversation) -> Prepared {
        damaged.prepare(draft(Class::End, Writer::Coordinator, damaged.must_fail().unwrap().into())).unwrap()
    }

    fn prepare(&self, class: Class, from: Writer, event: Event) -> Prepared {
        self.conversation.prepare(draft(class, from, event)).unwrap()
    }

    /// Appends what must not fail, and takes it in; what the broker must have stored is returned.
    pub(super) async fn append(&mut self, prepared: Prepared) -> Appended {
        let appended = match self.broker.append(&prepared).await {
            Append::Appended(seq) => Appended { seq, prepared: prepared.clone() },
            other => panic!("{}: {other:?}", prepared.message.subject),
        };
        self.conversation.commit(prepared, appended.seq).unwrap();
        appended
    }

    pub(super) async fn say(&mut self, text: &str) -> Appended {
        self.append(self.saying(text)).await
    }

    pub(super) async fn transfer(&mut self, target: &str) -> Appended {
        self.append(self.transferring(target)).await
    }

    pub(super) async fn cancel(&mut self) -> Appended {
        self.append(self.prepare(Class::End, Writer::Gateway, Cancelled { reason: String::new() }.into())).await
    }

    /// Ends the conversation and leaves nothing of it but the entry that says so.
    pub(super) async fn erase(&mut self) -> Appended {
        self.cancel().await;
        let erased = self.append(self.prepare(Class::End, Writer::Coordinator, Erased {}.into())).await;
        self.purge(erased.seq).await;
        erased
    }

    pub(super) async fn purge(&self, below: Seq) {
        self.broker.purge(self.conversation.orchestration(), self.conversation.id(), below).await.unwrap();
    }

    pub(super) async fn tail(&self) -> Option<Stored> {
        self.broker.tail(self.conversation.orchestration(), self.conversation.id()).await.unwrap()
    }

    pub(super) async fn at(&self, ordinal: u64) -> Option<Stored> {
        self.broker.at(self.conversation.orchestration(), self.conversation.id(), ordinal).await.unwrap()
    }
}

/// An entry that was appended.
#[derive(Clone, Debug)]
pub(super) struct Appended {
    pub(super) seq: Seq,
    pub(super) prepared: Prepared,
}

impl Appended {
    /// Whether `stored` is this entry, byte for byte.
    pub(super) fn assert_is(&self, stored: &Stored) {
        let message = &self.prepared.message;
        assert_eq!((stored.seq, &stored.subject), (self.seq, &message.subject));
        assert_eq!(stored.headers, message.headers);
        assert_eq!(stored.payload, message.payload);
    }
}

fn to(name: &str) -> Class {
    Class::To { agent: agent(name), revision: Revision::of(b"contract") }
}

fn draft(class: Class, from: Writer, event: Event) -> Draft {
    static LAST: AtomicU64 = AtomicU64::new(0);
    let number = LAST.fetch_add(1, Ordering::Relaxed);
    let trace = Trace { parent: format!("00-{number:032x}-{:016x}-01", 1), state: Some("baton=contract".to_owned()) };
    Draft {
        class,
        from,
        id: EntryId::from_random(u128::from(number).to_be_bytes()),
        revision: Revision::of(b"contract"),
        events: vec![event],
        process: "contract".parse().unwrap(),
        trace: Some(trace),
    }
}
