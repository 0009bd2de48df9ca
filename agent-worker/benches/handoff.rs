//! What a worker computes for one handoff, piece by piece, in conversations of 10, 100 and 1,000 entries. What it costs all together, with a
//! broker and processes, `baton bench` says.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a benchmark: a panic is how it says that it cannot go on")]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use agent_worker::catalog::Catalog;
use agent_worker::turn::{Delivered, Effect, Input, Turn};
use divan::Bencher;
use journal::memory::Memory;
use journal::{Append, Journal, Plan, Provision};
use protocol::brief::Fixed;
use protocol::builder::AgentDef;
use protocol::conversation::{Conversation, Draft, Partial, Prepared};
use protocol::event::{Call, Event, HistoryOption, Message, Opened, Responded, Role, Transferred};
use protocol::history::project;
use protocol::ids::{EntryId, Seq, Writer};
use protocol::manifest::{LimitsSpec, ModelSpec};
use protocol::orchestration::{Orchestration, ScriptLine};
use protocol::subject::Class;
use protocol::wire::Stored;

const LENGTHS: [usize; 3] = [10, 100, 1000];
const AGENTS: [&str; 2] = ["ping", "pong"];
const SAYS: &str = "The ball comes back, a little faster than the last time.";

fn main() {
    divan::main();
}

fn orchestration() -> Orchestration {
    let limits = LimitsSpec { handoffs_per_user_turn: Some(1_000_000), ..LimitsSpec::default() };
    let agent = |name: &str| AgentDef::new(name).description("Plays.").instructions("Return the ball.");
    // It is never asked.
    let line = ScriptLine { say: Some(SAYS.to_owned()), ..ScriptLine::default() };
    let builder = Orchestration::builder("bench").model("default", ModelSpec::scripted([line]));
    builder.agents([&agent("ping"), &agent("pong")]).start_with("ping").mesh().limits(limits).build().unwrap().orchestration
}

/// The entry after `conversation`'s last: an opening, or a sentence and a transfer.
fn draft(orchestration: &Orchestration, conversation: &Conversation) -> Draft {
    let ordinal = usize::try_from(conversation.tail().next).unwrap();
    let (to, from) = (AGENTS[ordinal % 2].parse().unwrap(), AGENTS[(ordinal + 1) % 2]);
    let events = if ordinal == 0 {
        let input = vec![Message { role: Role::User, name: None, text: "Play!".to_owned() }];
        vec![Event::from(Opened { input, value: None, metadata: BTreeMap::new(), human: false })]
    } else {
        let call = Call { id: format!("call_{ordinal}"), name: format!("transfer_to_{to}"), arguments: "{}".to_owned() };
        let call_id = Some(call.id.clone());
        let responded = Responded { text: SAYS.to_owned(), calls: vec![call], model: "scripted".to_owned(), usage: None };
        let history = HistoryOption::default();
        let transferred =
            Transferred { to: AGENTS[ordinal % 2].parse().unwrap(), call: call_id, reason: None, payload: None, history, summary: None };
        vec![responded.into(), transferred.into()]
    };
    Draft {
        class: Class::To { agent: to, revision: orchestration.revision().clone() },
        from: if ordinal == 0 { Writer::Client } else { Writer::Agent(from.parse().unwrap()) },
        id: EntryId::from_random((ordinal as u128 + 1).to_be_bytes()),
        process: "bench".parse().unwrap(),
        revision: orchestration.revision().clone(),
        events,
        trace: None,
    }
}

fn prepare(orchestration: &Orchestration, conversation: &Conversation) -> Prepared {
    let draft = draft(orchestration, conversation);
    if conversation.tail().next == 0 {
        return conversation.prepare_opening(draft, Fixed::default()).unwrap();
    }
    conversation.prepare(draft).unwrap()
}

/// A conversation of so many entries, and what the journal has of it.
fn play(orchestration: &Orchestration, entries: usize) -> (Conversation, Vec<Stored>) {
    let mut conversation = Conversation::empty(orchestration.name().clone(), "c1".parse().unwrap());
    let mut stored = Vec::new();
    for number in 1..=entries {
        let (prepared, seq) = (prepare(orchestration, &conversation), Seq(number as u64));
        let message = prepared.message.clone();
        stored.push(message.stored(seq, 0));
        conversation.commit(prepared, seq).unwrap();
    }
    (conversation, stored)
}

/// From what was decided to the message: hashes, brief, carry, bytes.
#[divan::bench(args = LENGTHS)]
fn encode(bencher: Bencher<'_, '_>, entries: usize) {
    let orchestration = orchestration();
    let (conversation, _) = play(&orchestration, entries);
    bencher.with_inputs(|| draft(&orchestration, &conversation)).bench_values(|draft| conversation.prepare(draft).unwrap());
}

/// From a delivery to the entries that it carries.
#[divan::bench(args = LENGTHS)]
fn decode(bencher: Bencher<'_, '_>, entries: usize) {
    let (_, stored) = play(&orchestration(), entries);
    let last = stored.last().unwrap();
    bencher.bench(|| Partial::decode(last).unwrap());
}

/// From a delivery, and the sealing entries where there are any, to the whole conversation: what a worker does that has never seen it.
#[divan::bench(args = LENGTHS)]
fn fold(bencher: Bencher<'_, '_>, entries: usize) {
    let (_, stored) = play(&orchestration(), entries);
    let last = stored.last().unwrap();
    let ordinals = Partial::decode(last).unwrap().sealed().to_vec();
    let sealed: Vec<Stored> = ordinals.into_iter().map(|ordinal| stored[usize::try_from(ordinal).unwrap()].clone()).collect();
    bencher.bench(|| Partial::decode(last).unwrap().complete(&sealed).unwrap());
}

/// From the conversation as it was two entries ago, which a worker remembers, to what it is now.
#[divan::bench(args = LENGTHS)]
fn extend(bencher: Bencher<'_, '_>, entries: usize) {
    let (conversation, stored) = play(&orchestration(), entries);
    let (known, newest) = (conversation.before(entries as u64 - 2), stored.last().unwrap());
    bencher.with_inputs(|| known.clone()).bench_refs(|known| known.extend(Partial::decode_behind(newest, known.tail()).unwrap()).unwrap());
}

/// From the conversation to what one agent's model sees of it.
#[divan::bench(args = LENGTHS)]
fn projection(bencher: Bencher<'_, '_>, entries: usize) {
    let orchestration = orchestration();
    let (conversation, _) = play(&orchestration, entries);
    let agent = conversation.owner().unwrap().clone();
    bencher.bench(|| project(&orchestration, &conversation, &agent, &[]));
}

/// From the work item to the request to the model: the checks, the projection, the tools.
#[divan::bench(args = LENGTHS)]
fn prompt(bencher: Bencher<'_, '_>, entries: usize) {
    let orchestration = Arc::new(orchestration());
    let (conversation, _) = play(&orchestration, entries);
    let agent = conversation.owner().unwrap().clone();
    let catalog = Arc::new(Catalog::new(&orchestration, orchestration.agent(&agent).unwrap(), &BTreeMap::new()).unwrap());
    let delivered = || Delivered { item: conversation.last().unwrap().ordinal(), count: 1, is_recounted: false };
    let begin = || {
        let (process, conversation) = ("bench".parse().unwrap(), conversation.clone());
        Turn::new(orchestration.clone(), catalog.clone(), agent.clone(), process, conversation, delivered(), [7; 16])
    };
    bencher.with_inputs(begin).bench_refs(|turn| {
        let effect = turn.next(Input::Start);
        assert_eq!(effect, Effect::AskModel);
        turn.prompt().len()
    });
}

/// An append to the journal in memory: what the contract costs without a broker.
#[divan::bench(args = LENGTHS, sample_size = 1)]
fn append(bencher: Bencher<'_, '_>, entries: usize) {
    let (orchestration, journal) = (orchestration(), Memory::new());
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let agents = AGENTS.map(|agent| agent.parse().unwrap()).to_vec();
    runtime.block_on(journal.provision(&Plan::new(orchestration.name().clone(), agents))).unwrap();
    let stored = |prepared: &Prepared| match runtime.block_on(journal.append(prepared)) {
        Append::Appended(seq) => seq,
        other => panic!("{other:?}"),
    };
    let conversation = RefCell::new(Conversation::empty(orchestration.name().clone(), "c1".parse().unwrap()));
    let next = || prepare(&orchestration, &conversation.borrow());
    for _ in 0..entries {
        let prepared = next();
        let seq = stored(&prepared);
        conversation.borrow_mut().commit(prepared, seq).unwrap();
    }
    // One input at a time: each follows the one before.
    bencher.with_inputs(next).bench_local_values(|prepared| {
        let seq = stored(&prepared);
        conversation.borrow_mut().commit(prepared, seq).unwrap();
    });
}
