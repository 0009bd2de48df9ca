//! Random models, people, deaths and fences. Whatever they do: every turn ends in one legal outcome, every prompt holds exactly one
//! result for each call, and no side effect runs twice without somebody's leave.

use std::collections::{BTreeMap, BTreeSet};

use journal::Refusal;
use protocol::brief::Phase;
use protocol::event::{Audience, Call, CompletedBecause, Continuation, Event, HistoryOption, Opened, RequestKind, Responded, Verdict};
use protocol::history::{PromptMessage, project};
use protocol::ids::Seq;
use protocol::manifest::{AutonomousSpec, FallbackSpec, HumanSpec, LimitsSpec, Spec};
use protocol::subject::Class;

use super::stage::{Meanwhile, Reply, Stage};
use crate::model::ModelError;
use crate::turn::{Delivered, Effect, Finish, Input};

/// Turns of the long stories.
const ACTS: u64 = 6_000;
/// Stories under definitions that demand more.
const OPTIONS: u64 = 300;
/// Responses of the short ones.
const RESPONSES: u64 = 100_000;

fn pick<'a, T: ?Sized>(rng: &mut fastrand::Rng, of: &[&'a T]) -> &'a T {
    of[rng.usize(..of.len())]
}

/// What models write where a tool's name belongs.
fn name(rng: &mut fastrand::Rng) -> String {
    let known = [
        "look",
        "count",
        "put",
        "pay",
        "mail",
        "log",
        "refund_money",
        "wire",
        "spy",
        "complete_task",
        "transfer_to_refund",
        "transfer_to_triage",
        "transfer_to_order",
    ];
    match rng.u8(..12) {
        0 => pick(rng, &["", "fly", "transfer_to_", "transfer_to_sales", "Complete_Task", "functions.look", "look ", "🙂"]).to_owned(),
        1 => (0..rng.usize(..80)).map(|_| rng.char(..)).collect(),
        _ => pick(rng, &known).to_owned(),
    }
}

/// What models write where JSON belongs: right, nearly right, half, and wrong.
fn arguments(rng: &mut fastrand::Rng) -> String {
    if rng.u8(..50) == 0 {
        return format!("{{\"payload\":{{\"order\":1,\"x\":{}{}}}}}", "[".repeat(rng.usize(..200)), "]".repeat(rng.usize(..200)));
    }
    let texts = [
        "{}",
        "",
        " ",
        "{}",
        r#"{"task_summary":"done"}"#,
        r#"{"payload":{"order":7}}"#,
        r#"{"n":1}"#,
        r#"{"reason":"r"}"#,
        "null",
        "[]",
        "7",
        "\"x\"",
        r#"{"n":"1"}"#,
        r#"{"n":1e999}"#,
        r#"{"payload":{"order":1.5}}"#,
        r#"{"payload":null}"#,
        r#"{"task_summary":["done"]}"#,
        "{\"a\":",
        "{}{}",
        "\u{0}",
        r#"{"a":1,"a":2}"#,
        r#"{"n":18446744073709551616}"#,
        "{\"\\ud800\":1}",
    ];
    let text = pick(rng, &texts);
    if rng.u8(..10) > 0 {
        return text.to_owned();
    }
    text.chars().take(rng.usize(..=text.len())).collect()
}

fn response(rng: &mut fastrand::Rng) -> Responded {
    let calls = match rng.u16(..1000) {
        0 => 100 + rng.usize(..60),
        1..=300 => 0,
        _ => 1 + rng.usize(..4),
    };
    let mut call =
        |_| Call { id: pick(rng, &["", "call_0", "call_1", "c", "c1", "c2"]).to_owned(), name: name(rng), arguments: arguments(rng) };
    let calls = (0..calls).map(&mut call).collect();
    let text = pick(rng, &["", "", " \n", "text", "a longer text", "\u{0}\u{7f}🙂"]).to_owned();
    Responded { text, calls, model: String::new(), usage: None }
}

fn reply(rng: &mut fastrand::Rng) -> Reply {
    match rng.u8(..40) {
        0 => Reply::Dies,
        1 => Reply::Breaks(ModelError::Later { wait: std::time::Duration::from_secs(rng.u64(..700)), detail: "busy".to_owned() }),
        2 if rng.bool() => Reply::Breaks(ModelError::Unavailable("down".to_owned())),
        3 => Reply::HandsBack,
        _ => Reply::Model(response(rng)),
    }
}

fn meanwhile(rng: &mut fastrand::Rng, stage: &Stage) -> Option<Meanwhile> {
    Some(match rng.u8(..12) {
        0..=7 => Meanwhile::Says("meanwhile"),
        8 => Meanwhile::Refuses(Refusal::NoSpace("full".to_owned())),
        9 => Meanwhile::Refuses(Refusal::TooLarge { bytes: 2, bytes_max: 1 }),
        10 => {
            let turn = stage.journal.brief()?.turn;
            let event = protocol::event::Redispatched { turn, reason: "silence".to_owned() };
            Meanwhile::Entry(stage.to(&stage.owner()), "coordinator".to_owned(), Box::new(event.into()))
        }
        _ => {
            let event = protocol::event::Taken { by: "w-0".parse().ok()?, delivered: 2 };
            Meanwhile::Entry(Class::Note, stage.owner(), Box::new(event.into()))
        }
    })
}

/// A person answers whatever is asked.
fn answer(rng: &mut fastrand::Rng, stage: &mut Stage) {
    if rng.u8(..8) == 0 && stage.journal.requests().iter().all(|request| request.kind != RequestKind::Question) {
        stage.say("yes, yes");
    }
    while stage.phase() == Phase::Waiting {
        match stage.journal.requests()[0].kind {
            RequestKind::Question => stage.reply("an answer"),
            RequestKind::Approval => stage.decide(if rng.bool() { Verdict::Approved } else { Verdict::Denied }, ""),
            RequestKind::InDoubt => {
                let verdicts = [&Verdict::Retry, &Verdict::Happened, &Verdict::Abandoned];
                stage.decide(*pick(rng, &verdicts), "so it is");
            }
        }
    }
}

/// What the whole journal must say after every act.
fn check_journal(stage: &Stage, seed: u64) {
    assert_eq!(stage.journal.verify(), Ok(()), "seed {seed}");
    for agent in stage.orchestration.agents() {
        check_prompt(&project(&stage.orchestration, &stage.journal, &agent.name, &[]), seed);
    }
}

/// Every call of a prompt is followed by its result, in order, and every result by none but its own call's.
fn check_prompt(prompt: &[PromptMessage], seed: u64) {
    let mut open: Vec<&str> = Vec::new();
    for message in prompt {
        match message {
            PromptMessage::Tool { call, .. } => {
                assert_eq!(open.first(), Some(&call.as_str()), "seed {seed}: a result without its call");
                open.remove(0);
            }
            PromptMessage::System { .. } | PromptMessage::User { .. } => assert!(open.is_empty(), "seed {seed}: {open:?} have no result"),
            PromptMessage::Assistant { calls, .. } => {
                assert!(open.is_empty(), "seed {seed}: {open:?} have no result");
                open = calls.iter().map(|call| call.id.as_str()).collect();
                assert_eq!(open.iter().collect::<BTreeSet<_>>().len(), open.len(), "seed {seed}: one id, two calls");
            }
        }
    }
    assert!(open.is_empty(), "seed {seed}: {open:?} have no result");
}

/// No call whose doubts people decide ran more often than they let it; the same key, the same call.
fn check_runs(stage: &Stage, seed: u64) {
    let mut runs: BTreeMap<&str, usize> = BTreeMap::new();
    for run in stage.runs.iter().filter(|run| ["pay", "wire", "refund_money", "log"].contains(&run.call.name.as_str())) {
        *runs.entry(run.key.as_str()).or_default() += 1;
    }
    let mut retries: BTreeMap<&str, usize> = BTreeMap::new();
    for (_, (_, event)) in stage.journal.events() {
        let Event::Decided(decision) = event else { continue };
        if decision.verdict != Verdict::Retry {
            continue;
        }
        let Some(Event::Asked(asked)) = stage.journal.event(decision.request) else { panic!("seed {seed}: nothing was asked") };
        let call = &asked.call.as_ref().unwrap().id;
        let entry = &stage.journal.entries()[usize::try_from(decision.request.ordinal).unwrap()];
        let keys = entry.events.iter().filter_map(|event| if let Event::Intended(intended) = event { Some(intended) } else { None });
        let key = keys.flat_map(|intended| &intended.calls).find(|intended| intended.call == *call).unwrap();
        *retries.entry(key.key.as_str()).or_default() += 1;
    }
    for (key, count) in runs {
        let allowed = 1 + retries.get(key).copied().unwrap_or_default();
        assert!(count <= allowed, "seed {seed}: {key} ran {count} times, {allowed} were allowed");
    }
}

/// One act: a turn that ended has left the conversation with somebody.
fn act(rng: &mut fastrand::Rng, stage: &mut Stage, seed: u64) {
    let owner = stage.owner();
    let turn = stage.journal.brief().unwrap().turn;
    let replies: Vec<Reply> = (0..1 + rng.usize(..12)).map(|_| reply(rng)).collect();
    let effects = if rng.u8(..4) == 0 { stage.act_again(&owner, replies) } else { stage.act(&owner, replies) };
    match effects.last().map(String::as_str) {
        Some("settled") => {
            let brief = stage.journal.brief().unwrap();
            assert!(brief.phase != Phase::Working || brief.turn != turn, "seed {seed}: settled, and nobody goes on: {effects:?}");
        }
        Some("dropped" | "dies") => {}
        Some(other) => assert!(other.starts_with("given back") || other.contains("handed back"), "seed {seed}: {other}"),
        None => panic!("seed {seed}: no effect"),
    }
}

/// A definition with every option that bears on outcomes: each one that holds in one story of two.
fn demanding(rng: &mut fastrand::Rng, human: bool) -> Stage {
    let mut chance = || rng.bool();
    let (alone, ends, typed, falls, asks, folds) = (chance(), chance(), chance(), chance(), chance(), chance());
    let adapt = |spec: &mut Spec| {
        let autonomous = alone.then(|| AutonomousSpec { turns: Some(2), prompt: Some("Go on.".to_owned()) });
        spec.human = Some(HumanSpec { autonomous, ..HumanSpec::default() });
        spec.terminate_when = ends.then(|| "text == 'a longer text' || metadata.tier == 4".to_owned());
        spec.output = typed.then(|| serde_json::json!({ "type": ["integer", "string"] }));
        let fallback = if asks { (Some(Audience::Caller), None) } else { (None, Some("refund".to_owned())) };
        spec.fallback = falls.then_some(FallbackSpec { human: fallback.0, agent: fallback.1 });
        spec.limits = Some(LimitsSpec { model_calls_per_turn: Some(6), handoffs_per_user_turn: Some(3), ..LimitsSpec::default() });
        for edge in spec.agents.values_mut().flat_map(|agent| &mut agent.handoffs) {
            edge.history = folds.then_some(HistoryOption::Summary);
            edge.condition = (edge.to == "order").then(|| "metadata.tier == 'gold'".to_owned());
        }
    };
    let tier = if rng.bool() { "gold" } else { "silver" };
    let metadata = BTreeMap::from([("tier".to_owned(), tier.into())]);
    Stage::of(adapt, Opened { human, metadata, ..Opened::default() })
}

/// No agent goes on by itself more often than it may, nobody falls back twice in a user turn, and all results match.
fn check_options(stage: &Stage, seed: u64) -> BTreeSet<&'static str> {
    let (mut seen, mut fallbacks) = (BTreeSet::new(), 0);
    for (entry, (_, event)) in stage.journal.events() {
        assert!(entry.head.brief.continuations <= 2, "seed {seed}: {:?}", entry.head.brief);
        match event {
            Event::Replied(_) => fallbacks = 0,
            Event::Continued(continued) if continued.because == Continuation::Answered => fallbacks = 0,
            Event::Continued(_) => _ = seen.insert("alone"),
            Event::Warned(warned) if warned.code == "fallback" => {
                fallbacks += 1;
                seen.insert("fallback");
            }
            Event::Warned(warned) if warned.code == "output_invalid" => _ = seen.insert("invalid"),
            Event::Transferred(transferred) => {
                let is_folded = transferred.history == HistoryOption::Summary;
                assert_eq!(is_folded, transferred.summary.as_ref().is_some_and(|text| !text.trim().is_empty()), "seed {seed}");
                seen.extend(is_folded.then_some("folded"));
                let is_hidden = entry.head.subject.from.agent().is_some() && transferred.to.as_str() == "order";
                seen.extend(is_hidden.then_some("to order"));
            }
            Event::Completed(completed) => {
                let is_typed = stage.orchestration.output().is_some();
                assert_eq!(completed.value.is_some(), is_typed, "seed {seed}: {completed:?}");
                seen.extend((completed.because == CompletedBecause::Terminated).then_some("terminated"));
            }
            _ => {}
        }
        assert!(fallbacks <= 1, "seed {seed}: twice in a user turn");
    }
    let Some(Event::Opened(opened)) = stage.journal.event(protocol::ids::EventId { ordinal: 0, index: 0 }) else { panic!() };
    assert!(opened.metadata["tier"] == "gold" || !seen.contains("to order"), "seed {seed}: along an edge that is not there");
    seen
}

#[test]
fn whatever_a_definition_demands_every_turn_ends_in_one_legal_outcome() {
    let (mut seen, mut acts) = (BTreeSet::new(), 0);
    for seed in 0..OPTIONS {
        let mut rng = fastrand::Rng::with_seed(seed);
        let human = rng.u8(..3) > 0;
        let mut stage = demanding(&mut rng, human);
        stage.lenient = true;
        for _ in 0..12 {
            if stage.phase() == Phase::Waiting {
                answer(&mut rng, &mut stage);
            }
            if stage.phase().is_ended() {
                break;
            }
            if rng.u8(..4) == 0 {
                let place = rng.usize(..3);
                let what = meanwhile(&mut rng, &stage);
                what.into_iter().for_each(|what| stage.meanwhile(place, what));
            }
            act(&mut rng, &mut stage, seed);
            acts += 1;
        }
        check_journal(&stage, seed);
        check_runs(&stage, seed);
        seen.extend(check_options(&stage, seed));
    }
    assert_eq!(seen, BTreeSet::from(["alone", "fallback", "folded", "invalid", "terminated", "to order"]), "{acts} acts");
}

#[test]
fn whatever_happens_every_turn_ends_in_one_legal_outcome() {
    let mut stages = [Stage::new(), Stage::without_people()];
    stages.iter_mut().for_each(|stage| stage.lenient = true);
    let (mut acts, mut seed, mut models, mut ended) = (0, 0, 0, 0);
    while acts < ACTS {
        seed += 1;
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut stage = stages[usize::from(rng.u8(..5) == 0)].clone();
        for _ in 0..12 {
            if stage.phase() == Phase::Waiting {
                answer(&mut rng, &mut stage);
            }
            if stage.phase().is_ended() {
                ended += 1;
                break;
            }
            if rng.u8(..4) == 0 {
                let place = rng.usize(..3);
                let what = meanwhile(&mut rng, &stage);
                what.into_iter().for_each(|what| stage.meanwhile(place, what));
            }
            act(&mut rng, &mut stage, seed);
            acts += 1;
        }
        models += stage.prompts.len();
        check_journal(&stage, seed);
        check_runs(&stage, seed);
    }
    assert!(models > 10_000 && ended > 400, "{models} model calls, {ended} ended, {acts} acts");
}

/// One response, whatever it is: its outcome can be stored, or the model is asked again with one result for each call.
#[test]
fn any_response_has_one_outcome() {
    let mut rng = fastrand::Rng::with_seed(7);
    let mut stage = Stage::new();
    let (mut outcomes, mut loops) = (BTreeMap::new(), 0);
    for n in 0..RESPONSES {
        let mut turn = stage.turn("triage", Delivered { item: 0, count: 1 });
        turn.next(Input::Start);
        let mut effect = turn.next(Input::Model(Ok(response(&mut rng))));
        loop {
            let input = match effect {
                Effect::AskModel(prompt) | Effect::Summarize(prompt) => {
                    check_prompt(&prompt, n);
                    loops += 1;
                    break;
                }
                Effect::RunTools(runs) => Input::Tools(runs.into_iter().map(|run| (run.call.id, Ok("ok".to_owned()))).collect()),
                Effect::Append(draft) => {
                    let prepared = turn.conversation().prepare(draft).unwrap();
                    turn.commit(prepared, Seq(n + 2)).unwrap();
                    Input::Appended(Seq(n + 2))
                }
                Effect::Finish(finish) => {
                    assert_eq!(finish, Finish::Settled);
                    let last = turn.conversation().last().unwrap();
                    assert!(last.ordinal() > 0, "settled, and nothing came of it");
                    *outcomes.entry(last.head.kind.clone()).or_insert(0) += 1;
                    break;
                }
            };
            effect = turn.next(input);
        }
    }
    let kinds: Vec<&str> = outcomes.keys().map(String::as_str).collect();
    assert_eq!(kinds, ["asked", "completed", "failed", "transferred"]);
    assert!(loops > 1000 && outcomes.values().all(|count| *count > 20), "{outcomes:?}, {loops} loops");
}
