//! A broker in memory, an orchestration of two agents, and somebody to play the agents.

use std::sync::Arc;

use client::{Client, Opening, Side};
use journal::memory::{Faults, Memory};
use journal::{Append, Journal, Plan, Provision, registry};
use protocol::builder::{AgentDef, Builder};
use protocol::conversation::{Conversation, Draft};
use protocol::event::{
    Asked, Audience, Call, Completed, CompletedBecause, Effect, Event, HistoryOption, InDoubt, Intended, IntendedCall, RequestKind,
    Responded, Transferred,
};
use protocol::ids::{AgentName, ConversationId, EntryId, EventId, Hash, RequestId, Writer};
use protocol::manifest::ModelSpec;
use protocol::orchestration::Orchestration;
use protocol::subject::Class;
use protocol::wire::Stored;

pub(crate) struct World {
    pub(crate) memory: Memory,
    pub(crate) orchestration: Orchestration,
    pub(crate) client: Client,
}

pub(crate) fn agent(name: &str) -> AgentName {
    name.parse().unwrap()
}

pub(crate) fn responded(text: &str) -> Event {
    Responded { text: text.to_owned(), ..Responded::default() }.into()
}

pub(crate) fn definition(configure: impl FnOnce(Builder) -> Builder) -> Orchestration {
    let triage = AgentDef::new("TriageAgent").description("Triages.").instructions("Triage.");
    let refund = AgentDef::new("RefundAgent").description("Refunds.").instructions("Refund.");
    let builder = Orchestration::builder("support").model("default", ModelSpec::openai("gpt-5-mini")).agents([&triage, &refund]);
    configure(builder.start_with(&triage).add(&triage, &refund).add(&refund, &triage)).build().unwrap().orchestration
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::seeded(0).await
    }

    /// A world in which whatever goes wrong later goes wrong in its own way.
    pub(crate) async fn seeded(seed: u64) -> Self {
        Self::on(Memory::with_faults(seed, Faults::default()), definition(|builder| builder)).await
    }

    pub(crate) async fn with(configure: impl FnOnce(Builder) -> Builder) -> Self {
        Self::on(Memory::new(), definition(configure)).await
    }

    async fn on(memory: Memory, orchestration: Orchestration) -> Self {
        let agents = orchestration.agents().map(|agent| agent.name.clone()).collect();
        memory.provision(&Plan::new(orchestration.name().clone(), agents)).await.unwrap();
        registry::register(&memory, &orchestration).await.unwrap();
        let client = Client::new(Arc::new(memory.clone()), orchestration.name().clone(), Side::Client, "shop-1".parse().unwrap());
        Self { memory, orchestration, client }
    }

    /// The client of another process, with a connection of its own.
    pub(crate) fn gateway(&self, process: &str) -> Client {
        let broker = Arc::new(self.memory.client());
        Client::new(broker, self.orchestration.name().clone(), Side::Gateway, process.parse().unwrap())
    }

    pub(crate) async fn open(&self) -> ConversationId {
        self.client.start(&Opening::new("alice", "help").with_human()).await.unwrap().conversation
    }

    /// A conversation in which `triage-agent` has asked a question.
    pub(crate) async fn asked(&self) -> (ConversationId, RequestId) {
        let id = self.open().await;
        let request = self.asks(&id, "triage-agent", "Which order?").await;
        (id, request)
    }

    /// What the journal holds of a conversation, without asking anybody who may be lying.
    pub(crate) fn stored(&self, id: &ConversationId) -> Vec<Stored> {
        let prefix = format!("baton.support.c.{id}.");
        self.memory.stored(self.orchestration.name()).into_iter().filter(|stored| stored.subject.starts_with(&prefix)).collect()
    }

    pub(crate) fn kinds(&self, id: &ConversationId) -> Vec<String> {
        let kind = |stored: &Stored| stored.headers.get("Baton-Kind").unwrap().to_owned();
        self.stored(id).iter().map(kind).collect()
    }

    pub(crate) async fn conversation(&self, id: &ConversationId) -> Conversation {
        journal::load(&self.memory, self.orchestration.name(), id).await.unwrap().unwrap()
    }

    /// An agent's worker writes.
    pub(crate) async fn write(&self, id: &ConversationId, from: Writer, class: Class, events: Vec<Event>) -> u64 {
        let conversation = self.conversation(id).await;
        let draft = Draft {
            class,
            from,
            id: EntryId::from_random(uuid::Uuid::new_v4().into_bytes()),
            process: "worker-1".parse().unwrap(),
            revision: self.orchestration.revision().clone(),
            events,
            // An agent's turn goes on in the trace of what it works on.
            trace: conversation.last().unwrap().head.trace.clone(),
        };
        let prepared = conversation.prepare(draft).unwrap();
        assert!(matches!(self.memory.append(&prepared).await, Append::Appended(_)));
        prepared.ordinal()
    }

    pub(crate) async fn agent(&self, id: &ConversationId, name: &str, class: Class, events: Vec<Event>) -> u64 {
        self.write(id, Writer::Agent(agent(name)), class, events).await
    }

    pub(crate) fn to(&self, name: &str) -> Class {
        Class::To { agent: agent(name), revision: self.orchestration.revision().clone() }
    }

    /// An agent asks the caller.
    pub(crate) async fn asks(&self, id: &ConversationId, name: &str, text: &str) -> RequestId {
        let asked = asked(RequestKind::Question, Audience::Caller, None);
        let ordinal = self.agent(id, name, Class::Ask, vec![responded(text), asked.into()]).await;
        EventId { ordinal, index: 1 }
    }

    /// `triage-agent` asks for the approval of some calls.
    pub(crate) async fn asks_approvals(&self, id: &ConversationId, audiences: &[&str]) -> Vec<RequestId> {
        let calls: Vec<Call> = (0..audiences.len()).map(call).collect();
        let mut events: Vec<Event> = vec![
            Responded { calls: calls.clone(), ..Responded::default() }.into(),
            Intended { calls: calls.iter().map(intended).collect() }.into(),
        ];
        let approvals = audiences.iter().zip(calls);
        events.extend(approvals.map(|(audience, call)| asked(RequestKind::Approval, audience.parse().unwrap(), Some(call)).into()));
        let ordinal = self.agent(id, "triage-agent", Class::Ask, events).await;
        (2..).take(audiences.len()).map(|index| EventId { ordinal, index }).collect()
    }

    pub(crate) async fn transfers(&self, id: &ConversationId, from: &str, to: &str, text: &str) -> u64 {
        let call = Call { id: "t1".to_owned(), name: format!("transfer_to_{to}"), arguments: "{}".to_owned() };
        let transferred = Transferred {
            to: agent(to),
            call: Some(call.id.clone()),
            reason: None,
            payload: None,
            history: HistoryOption::None,
            summary: None,
        };
        let responded = Responded { text: text.to_owned(), calls: vec![call], ..Responded::default() };
        self.agent(id, from, self.to(to), vec![responded.into(), transferred.into()]).await
    }

    pub(crate) async fn completes(&self, id: &ConversationId, name: &str, summary: &str) -> u64 {
        let completed = Completed { because: CompletedBecause::TaskComplete, result: summary.to_owned(), value: None };
        self.agent(id, name, Class::End, vec![responded(""), completed.into()]).await
    }
}

pub(crate) fn call(n: usize) -> Call {
    Call { id: format!("call-{n}"), name: "process_refund".to_owned(), arguments: format!(r#"{{"order":{n}}}"#) }
}

pub(crate) fn intended(call: &Call) -> IntendedCall {
    IntendedCall { call: call.id.clone(), key: format!("key-{}", call.id), effect: Effect::SideEffect, in_doubt: InDoubt::Ask, undo: None }
}

fn asked(kind: RequestKind, audience: Audience, call: Option<Call>) -> Asked {
    let arguments_hash = call.as_ref().map(|call| Hash::of(call.arguments.as_bytes()));
    Asked { kind, audience, text: String::new(), call, arguments_hash, due_secs: Some(60) }
}
