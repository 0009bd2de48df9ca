//! Calls in doubt that another tool undoes: a death between every two steps, and what is left to people.

use protocol::brief::Phase;
use protocol::event::{Event, Verdict};
use protocol::subject::Class;

use super::stage::{Meanwhile, Reply, Stage, calls, check, says};
use crate::turn::Run;

const BOOK: (&str, &str) = ("book", r#"{"seat":"7a"}"#);
const UNDONE: &str = "It is unknown whether this call ran; if it did, unbook has undone it. unbook returned: unbook done";

/// A worker has died while it booked.
fn in_doubt() -> Stage {
    let mut stage = Stage::new();
    check(
        &stage.act("triage", [calls(&[BOOK]), Reply::Dies]),
        "
        ask model
        note: responded book; intended c1
        run book
        dies
    ",
    );
    stage
}

fn runs_of(stage: &Stage, tool: &str) -> Vec<Run> {
    stage.runs.iter().filter(|run| run.call.name == tool).cloned().collect()
}

/// Every run that undoes has the call's arguments, and one key that is derived from the call's.
fn check_runs(stage: &Stage) {
    let booked = runs_of(stage, "book");
    for undo in runs_of(stage, "unbook") {
        assert_eq!((&undo.call.id, &undo.call.arguments), (&booked[0].call.id, &booked[0].call.arguments));
        assert_eq!((undo.undoes.as_ref(), undo.key), (Some(&booked[0].key), format!("{}-undo", booked[0].key)));
    }
}

#[test]
fn a_call_in_doubt_is_undone_once_its_withdrawal_is_stored_and_the_model_goes_on() {
    let mut stage = in_doubt();
    check(
        &stage.act_again("triage", [says("ok")]),
        &format!(
            "
        note: taken by w-2
        note: withdrawn c1
        run unbook
        note: error c1: {UNDONE}
        ask model
        ask: responded \"ok\"; asked question of caller
        settled
    "
        ),
    );
    check_runs(&stage);
    assert_eq!((runs_of(&stage, "book").len(), runs_of(&stage, "unbook").len(), stage.prompts.len()), (1, 1, 2));
    assert!(!stage.offered.0.contains(&"unbook".to_owned()), "the model is not offered what undoes");
    stage.journal.verify().unwrap();
}

#[test]
fn what_only_undoes_is_no_tool_of_the_model() {
    let mut stage = Stage::new();
    let effects = stage.act("triage", [calls(&[("unbook", "{}")]), says("ok")]);
    assert_eq!(effects.len(), 4, "{effects:?}");
    assert!(effects[2].contains("error c1: There is no tool \"unbook\""), "{effects:?}");
}

/// Wherever a worker dies, the next goes on from what is stored: the call never runs again, and what undoes it has one key.
#[test]
fn a_death_between_any_two_steps_never_runs_the_call_again() {
    // Dies after `taken`: the withdrawal never reaches the journal.
    let mut stage = in_doubt();
    let journal = {
        let mut second = stage.clone();
        second.meanwhile(1, Meanwhile::Refuses(journal::Refusal::NoSpace("full".to_owned())));
        check(&second.act_again("triage", []), "note: taken by w-2\nnote: withdrawn c1\ngiven back for 5 s");
        assert_eq!(runs_of(&second, "unbook"), [], "nothing is undone before it is stored that it will be");
        second
    };
    stage = journal;
    // Dies while it undoes, twice.
    for n in [3, 4] {
        let withdrawn = if n == 3 { "note: withdrawn c1\n" } else { "" };
        check(&stage.act_again("triage", [Reply::Dies]), &format!("note: taken by w-{n}\n{withdrawn}run unbook\ndies"));
    }
    // Undoes, and the result never reaches the journal.
    stage.meanwhile(1, Meanwhile::Refuses(journal::Refusal::NoSpace("full".to_owned())));
    let effects = stage.act_again("triage", []);
    assert_eq!(effects[1..3], ["run unbook".to_owned(), format!("note: error c1: {UNDONE}")]);
    // Stores the result, and dies while it asks the model: the next one asks again, and undoes nothing.
    let mut stored = in_doubt();
    check(
        &stored.act_again("triage", [Reply::Tools(vec![("c1", Ok("unbook done"))]), Reply::Dies]),
        &format!("note: taken by w-2\nnote: withdrawn c1\nrun unbook\nnote: error c1: {UNDONE}\nask model\ndies"),
    );
    check(&stored.act_again("triage", []), "note: taken by w-3\nask model\ndies");
    for stage in [&stage, &stored] {
        check_runs(stage);
        assert_eq!(runs_of(stage, "book").len(), 1);
        stage.journal.verify().unwrap();
    }
    assert_eq!((runs_of(&stage, "unbook").len(), runs_of(&stored, "unbook").len()), (3, 1));
}

#[test]
fn what_cannot_be_undone_is_put_to_people_and_stays_with_them() {
    let mut stage = in_doubt();
    check(
        &stage.act_again("triage", [Reply::Tools(vec![("c1", Err("no such seat."))])]),
        "
        note: taken by w-2
        note: withdrawn c1
        run unbook
        ask: intended c1; asked in doubt of caller book
        settled
    ",
    );
    let text = stage.journal.events().find_map(|(_, (_, event))| match event {
        Event::Asked(asked) => Some(asked.text.clone()),
        _ => None,
    });
    assert!(text.unwrap().ends_with("unbook was to undo it and failed: no such seat. Did it happen?"));
    let mut happened = stage.clone();
    happened.decide(Verdict::Happened, "seat 7a");
    assert_eq!(happened.act("triage", [says("ok")])[0], "note: returned c1: seat 7a");
    // Tried again and in doubt again: the key of what undoes it is spent, so that people decide once more.
    stage.decide(Verdict::Retry, "");
    check(&stage.act("triage", [Reply::Dies]), "note: intended c1\nrun book\ndies");
    check(
        &stage.act_again("triage", []),
        "
        note: taken by w-4
        ask: intended c1; asked in doubt of caller book
        settled
    ",
    );
    assert_eq!(stage.phase(), Phase::Waiting);
    assert_eq!((runs_of(&stage, "unbook").len(), runs_of(&stage, "book").len()), (1, 2));
    check_runs(&stage);
}

#[test]
fn a_worker_that_dies_before_it_has_asked_undoes_again_under_the_same_key() {
    let mut stage = in_doubt();
    stage.meanwhile(2, Meanwhile::Refuses(journal::Refusal::NoSpace("full".to_owned())));
    let failed = || Reply::Tools(vec![("c1", Err("no such seat."))]);
    stage.act_again("triage", [failed()]);
    check(
        &stage.act_again("triage", [failed()]),
        "note: taken by w-3\nrun unbook\nask: intended c1; asked in doubt of caller book\nsettled",
    );
    check_runs(&stage);
    assert_eq!(runs_of(&stage, "unbook").len(), 2);
}

#[test]
fn beside_other_calls_each_goes_its_own_way_in_one_entry() {
    let mut stage = Stage::new();
    stage.act("triage", [calls(&[BOOK, ("put", "{}"), ("let", "{}"), ("complete_task", r#"{"task_summary":"done"}"#)]), Reply::Dies]);
    check(
        &stage.act_again("triage", []),
        &format!(
            "
        note: taken by w-2
        note: withdrawn c1
        run unbook, put
        end: error c1: {UNDONE}; returned c2: put done; error c3: Ignored: the same response completed the task.; completed TaskComplete: done
        settled
    "
        ),
    );
}

#[test]
fn an_approved_call_that_died_is_undone_too() {
    let mut stage = Stage::new();
    stage.act("triage", [calls(&[("let", "{}")])]);
    stage.decide(Verdict::Approved, "");
    check(&stage.act("triage", [Reply::Dies]), "note: intended c1\nrun let\ndies");
    assert_eq!(stage.act_again("triage", [says("ok")])[1..3], ["note: withdrawn c1", "run unbook"]);
}

/// What a person says meanwhile changes nothing of what is to be undone; a conversation that is called off is not touched.
#[test]
fn a_withdrawal_is_fenced_like_everything_else() {
    let mut stage = in_doubt();
    stage.meanwhile(1, Meanwhile::Says("hello?"));
    let effects = stage.act_again("triage", [says("ok")]);
    assert_eq!(effects[1..4], ["note: withdrawn c1", "note: withdrawn c1", "run unbook"]);
    let mut stage = in_doubt();
    let cancelled = Event::from(protocol::event::Cancelled { reason: String::new() });
    stage.meanwhile(1, Meanwhile::Entry(Class::End, "client".to_owned(), Box::new(cancelled)));
    check(&stage.act_again("triage", []), "note: taken by w-2\nnote: withdrawn c1\ndropped");
    assert_eq!(runs_of(&stage, "unbook"), []);
}
