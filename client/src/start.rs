//! Starting a conversation: one append, idempotent by caller and key.

use std::collections::BTreeMap;

use journal::planted;
use protocol::brief::Fixed;
use protocol::conversation::{Conversation, Draft};
use protocol::entry::Entry;
use protocol::event::{Event, Json, Message, Opened};
use protocol::ids::{ConversationId, EntryId, Ordinal, ProcessId};
use protocol::orchestration::Orchestration;
use protocol::subject::Class;
use telemetry::spans;
use tokio::time::Instant;

use crate::definitions::in_time;
use crate::desk::complaints;
use crate::write::{Settled, entry_id, random};
use crate::{Client, Side, StartError, Unread, Unwritten, trace};

/// What a conversation is to do: a text, a message, several, or any JSON value.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Input {
    /// As messages.
    pub messages: Vec<Message>,
    /// As a typed value; agents read it as text where there is no message.
    pub value: Option<Json>,
}

impl From<&str> for Input {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

impl From<String> for Input {
    fn from(text: String) -> Self {
        Message { text, ..Message::default() }.into()
    }
}

impl From<Message> for Input {
    fn from(message: Message) -> Self {
        vec![message].into()
    }
}

impl From<Vec<Message>> for Input {
    fn from(messages: Vec<Message>) -> Self {
        Self { messages, value: None }
    }
}

impl From<Json> for Input {
    fn from(value: Json) -> Self {
        Self { messages: Vec::new(), value: Some(value) }
    }
}

/// A conversation to be started.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Opening {
    /// Who starts it: the same key of two callers means two conversations.
    pub caller: String,
    /// Makes the call idempotent: a repeat with the same key returns the first conversation.
    pub key: Option<String>,
    /// The task.
    pub input: Input,
    /// What conditional handoffs may look at.
    pub metadata: BTreeMap<String, Json>,
    /// Whether somebody answers questions; without a human channel a plain answer completes.
    pub human: bool,
    /// The gateway that serves the caller; a gateway's own client names itself.
    pub gateway: Option<ProcessId>,
    /// Who pays for it.
    pub tenant: Option<String>,
}

impl Opening {
    /// A conversation in which nobody answers questions.
    pub fn new(caller: impl Into<String>, input: impl Into<Input>) -> Self {
        Self { caller: caller.into(), input: input.into(), ..Self::default() }
    }

    /// The same, idempotent under `key`.
    #[must_use]
    pub fn with_key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// The same, with somebody who answers questions.
    #[must_use]
    pub const fn with_human(mut self) -> Self {
        self.human = true;
        self
    }

    fn opened(&self) -> Result<Opened, StartError> {
        let Input { mut messages, value } = self.input.clone();
        if let (true, Some(value)) = (messages.is_empty(), &value) {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            messages.push(Message { text, ..Message::default() });
        }
        if messages.iter().all(|message| message.text.trim().is_empty()) {
            return Err(StartError::Empty);
        }
        Ok(Opened { input: messages, value, metadata: self.metadata.clone(), human: self.human })
    }
}

/// A conversation that has begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Started {
    /// Its id.
    pub conversation: ConversationId,
    /// The entry that opened it.
    pub ordinal: Ordinal,
    /// Whether it had begun before: this is the first call's answer.
    pub is_repeat: bool,
}

impl Client {
    /// Starts a conversation on the orchestration's current revision.
    ///
    /// # Errors
    /// [`StartError`]; after [`Unknown`](Unwritten::Unknown) only the same call with the same key is safe.
    pub async fn start(&self, opening: &Opening) -> Result<Started, StartError> {
        let (opened, deadline) = (opening.opened()?, self.deadline());
        let conversation = match &opening.key {
            Some(key) if !planted::is("unknown-is-failed") => ConversationId::of_opening(&opening.caller, key),
            _ => ConversationId::from_random(random()),
        };
        let id = entry_id(&conversation, opening.key.as_deref());
        // The definition of a first opening may be gone by the time of a repeat: it is looked for first.
        if opening.key.is_some()
            && let Some(entry) = self.opening_of(&conversation, deadline).await?
        {
            return repeated(&entry, conversation, id, &opened, opening);
        }
        let orchestration = in_time(deadline, self.current()).await?;
        check_input(orchestration.input(), opened.value.as_ref())?;
        match self.open(&orchestration, &conversation, id, opened.clone(), opening, deadline).await? {
            Settled::Stored(_) => Ok(Started { conversation, ordinal: 0, is_repeat: false }),
            // Somebody was faster: with the same key, most likely.
            Settled::Fenced { .. } => match self.opening_of(&conversation, deadline).await? {
                Some(entry) => repeated(&entry, conversation, id, &opened, opening),
                None => Err(StartError::Foreign(conversation)),
            },
        }
    }

    async fn open(
        &self,
        orchestration: &Orchestration,
        id: &ConversationId,
        entry: EntryId,
        opened: Opened,
        opening: &Opening,
        deadline: Instant,
    ) -> Result<Settled, Unwritten> {
        let conversation = Conversation::empty(self.orchestration.clone(), id.clone());
        let class = Class::To { agent: orchestration.start().clone(), revision: orchestration.revision().clone() };
        let event = Event::from(opened);
        let span = trace::span(&conversation, &class, &event);
        let draft = Draft {
            class,
            from: self.side.into(),
            id: entry,
            process: self.process.clone(),
            revision: orchestration.revision().clone(),
            events: vec![event],
            trace: trace::of(&span),
        };
        spans::entry(&span, &entry.to_string(), conversation.tail().epoch.0);
        let prepared = conversation.prepare_opening(draft, self.fixed(orchestration, opening))?;
        self.append(&prepared, &span, deadline).await
    }

    fn fixed(&self, orchestration: &Orchestration, opening: &Opening) -> Fixed {
        let (limits, human) = (orchestration.limits(), orchestration.human());
        let own_gateway = || (self.side == Side::Gateway).then(|| self.process.clone());
        Fixed {
            gateway: opening.gateway.clone().or_else(own_gateway),
            tenant: opening.tenant.clone(),
            turn_secs: Some(limits.turn_secs),
            conversation_secs: limits.conversation_secs,
            on_message: human.on_message,
            reply_to: human.return_to_start.then(|| orchestration.start().clone()),
            ..Fixed::default()
        }
    }

    async fn opening_of(&self, conversation: &ConversationId, deadline: Instant) -> Result<Option<Entry>, Unwritten> {
        let Some(stored) = self.at(conversation, 0, deadline).await? else { return Ok(None) };
        let (entry, _) = Entry::decode(&stored).map_err(|error| Unread::Unreadable(error.into()))?;
        Ok(Some(entry))
    }
}

/// What a conversation begins with must be what the definition says, where it says something.
fn check_input(schema: Option<&Json>, value: Option<&Json>) -> Result<(), StartError> {
    let Some(schema) = schema else { return Ok(()) };
    let value = value.ok_or_else(|| StartError::InvalidInput("a text is no value, give one (any JSON)".to_owned()))?;
    let validator = jsonschema::validator_for(schema).map_err(|error| StartError::InputSchema(error.to_string()))?;
    complaints(&validator, value).map_or(Ok(()), |complaints| Err(StartError::InvalidInput(complaints)))
}

/// The first answer, to the same opening again.
fn repeated(entry: &Entry, conversation: ConversationId, id: EntryId, opened: &Opened, opening: &Opening) -> Result<Started, StartError> {
    let Some(key) = opening.key.clone().filter(|_| entry.head.id == id) else { return Err(StartError::Foreign(conversation)) };
    let is_same = entry.head.brief.fixed.tenant == opening.tenant
        && entry.events.iter().any(|event| matches!(event, Event::Opened(first) if first == opened));
    if !is_same {
        return Err(Unwritten::KeyReused { key, ordinal: 0 }.into());
    }
    Ok(Started { conversation, ordinal: 0, is_repeat: true })
}
