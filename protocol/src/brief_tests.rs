use super::*;
use crate::event::{
    Call, Cancelled, Claimed, Completed, Continued, Decided, Deferred, DeskAction, Erased, Failed, HandedBack, HistoryOption, Intended,
    Interrupted, Opened, Reassigned, Redispatched, Replied, Responded, Returned, Said, SetAside, Snapshotted, Taken, Transferred, Warned,
    Withdrawn,
};
use crate::ids::Revision;

const WRITERS: [(&str, &str); 5] = [("o", "triage"), ("x", "refund"), ("c", "client"), ("g", "gateway"), ("k", "coordinator")];

fn agent(name: &str) -> AgentName {
    name.parse().unwrap()
}

fn to(name: &str) -> Class {
    Class::To { agent: agent(name), revision: Revision::of(b"r") }
}

fn request(ordinal: Ordinal) -> RequestId {
    EventId { ordinal, index: 0 }
}

fn asked(kind: RequestKind, audience: Audience) -> Event {
    let call = Call { id: "c1".to_owned(), name: "pay".to_owned(), arguments: "{}".to_owned() };
    Asked { kind, audience, text: String::new(), call: Some(call), arguments_hash: None, due_secs: Some(60) }.into()
}

fn replied(ordinal: Ordinal) -> Event {
    Replied::new(request(ordinal), "123").into()
}

fn decided(ordinal: Ordinal, verdict: Verdict) -> Event {
    Decided { request: request(ordinal), verdict, arguments_hash: None, note: String::new(), by: "ann".to_owned() }.into()
}

fn responded(calls: usize) -> Event {
    let call = |n| Call { id: format!("c{n}"), name: "pay".to_owned(), arguments: "{}".to_owned() };
    Responded { calls: (0..calls).map(call).collect(), ..Responded::default() }.into()
}

fn returned() -> Event {
    Returned { call: "c1".to_owned(), tool: "pay".to_owned(), content: "ok".to_owned(), is_error: false }.into()
}

fn completed(because: CompletedBecause) -> Event {
    Completed { because, result: "done".to_owned(), value: None }.into()
}

fn transferred(target: &str) -> Event {
    let history = HistoryOption::None;
    Transferred { to: agent(target), call: None, reason: None, payload: None, history, summary: None }.into()
}

fn continued(because: Continuation) -> Event {
    Continued { because, prompt: None }.into()
}

fn failed() -> Event {
    Failed { code: "poison".into(), detail: String::new() }.into()
}

fn deferred(wait_secs: u64) -> Event {
    Deferred { wait_secs, reason: String::new() }.into()
}

fn taken() -> Event {
    Taken { by: "w-1".parse().unwrap(), delivered: 2 }.into()
}

fn handed_back() -> Event {
    HandedBack { by: "w-1".parse().unwrap(), reason: String::new() }.into()
}

/// One event of each kind, under the class it belongs to.
fn one_of_each() -> Vec<(Class, Event)> {
    vec![
        (to("triage"), Opened::default().into()),
        (Class::In, Said { text: "hi".to_owned() }.into()),
        (Class::Note, responded(0)),
        (Class::Note, Intended { calls: vec![] }.into()),
        (Class::Note, Withdrawn { calls: vec![] }.into()),
        (Class::Note, returned()),
        (Class::Note, Warned { code: "w".into(), detail: String::new() }.into()),
        (to("refund"), transferred("refund")),
        (to("triage"), continued(Continuation::Answered)),
        (Class::Ask, asked(RequestKind::Question, Audience::Caller)),
        (to("triage"), replied(1)),
        (to("triage"), decided(1, Verdict::Approved)),
        (Class::In, Claimed { request: request(1), by: "ann".to_owned() }.into()),
        (to("triage"), Interrupted { text: "wait".to_owned() }.into()),
        (Class::Note, taken()),
        (Class::Note, deferred(5)),
        (Class::Note, handed_back()),
        (Class::Note, SetAside { ordinal: 0, what: "x".to_owned(), wait_secs: 10 }.into()),
        (to("triage"), Redispatched { turn: 0, reason: String::new() }.into()),
        (to("refund"), Reassigned { to: agent("refund"), by: "ops".to_owned() }.into()),
        (Class::Note, Snapshotted { entries: 2 }.into()),
        (Class::End, completed(CompletedBecause::UserEnded)),
        (Class::End, failed()),
        (Class::End, Cancelled { reason: String::new() }.into()),
        (Class::End, Erased {}.into()),
    ]
}

fn opening(fixed: Fixed) -> Brief {
    let class = to("triage");
    let events = [Opened::default().into()];
    Brief::opening(Step { ordinal: 0, class: &class, from: &Writer::Client, events: &events }, fixed).unwrap()
}

/// The brief after one more entry; `ordinal` counts on from the brief's turn only where a test cares.
fn after(brief: &Brief, ordinal: Ordinal, class: &Class, from: &str, events: &[Event]) -> Result<Brief, Illegal> {
    brief.after(Step { ordinal, class, from: &from.parse().unwrap(), events })
}

fn working() -> Brief {
    opening(Fixed::default())
}

fn waiting(kind: RequestKind, audience: Audience) -> Brief {
    after(&working(), 1, &Class::Ask, "triage", &[responded(1), asked(kind, audience)])
        .map(|mut brief| {
            // The request of these tests is 1.0 wherever it stands in its entry.
            brief.requests[0].id = request(1);
            brief
        })
        .unwrap()
}

fn ended() -> Brief {
    after(&working(), 1, &Class::End, "client", &[Cancelled { reason: String::new() }.into()]).unwrap()
}

/// Who may write what when: `o` the owner, `x` another agent, `c` client, `g` gateway, `k` coordinator.
const RULES: &str = "
kind          working  question approval ended
opened        -        -        -        -
said          cg       -        cg       -
responded     o        -        -        -
intended      o        -        -        -
withdrawn     o        -        -        -
returned      o        -        -        -
warned        o        -        -        -
transferred   o        -        -        -
continued     o        -        -        -
asked         o        -        -        -
replied       -        cg       -        -
decided       -        -        cg       -
claimed       -        cg       cg       -
interrupted   cg       -        -        -
taken         o        -        -        -
deferred      o        -        -        -
handed-back   o        -        -        -
set-aside     ocgk     cgk      cgk      -
redispatched  k        -        -        -
reassigned    k        k        k        -
snapshotted   -        k        k        -
completed     ocg      cg       cg       -
failed        ocgk     cgk      cgk      -
cancelled     cgk      cgk      cgk      -
erased        -        -        -        k
";

#[test]
fn who_may_write_what_when() {
    let phases = [
        working(),
        waiting(RequestKind::Question, Audience::Caller),
        waiting(RequestKind::Approval, Audience::Role("manager".to_owned())),
        ended(),
    ];
    let mut table = String::from("\nkind          working  question approval ended\n");
    for (class, event) in one_of_each() {
        let allowed = |brief: &Brief| {
            let may = |from: &str| after(brief, 2, &class, from, std::slice::from_ref(&event)).is_ok();
            let who: String = WRITERS.iter().filter(|(_, from)| may(from)).map(|(letter, _)| *letter).collect();
            if who.is_empty() { "-".to_owned() } else { who }
        };
        let cells: Vec<String> = phases.iter().map(allowed).collect();
        let row = format!("{:<14}{:<9}{:<9}{:<9}{}\n", event.kind(), cells[0], cells[1], cells[2], cells[3]);
        table.push_str(&row);
    }
    assert_eq!(table, RULES);
}

#[test]
fn every_kind_is_in_the_table() {
    let kinds: Vec<String> = one_of_each().iter().map(|(_, event)| event.kind().to_owned()).collect();
    assert_eq!(kinds.len(), Event::KINDS.len());
    assert!(Event::KINDS.iter().all(|kind| kinds.iter().any(|other| other == kind)));
}

#[test]
fn a_subject_says_what_the_event_says() {
    let classes = [Class::Note, Class::In, Class::Ask, Class::End, to("triage"), to("refund")];
    let question = waiting(RequestKind::Question, Audience::Caller);
    let approval = waiting(RequestKind::Approval, Audience::Caller);
    for (right, event) in one_of_each() {
        let written = |class: &Class| {
            let briefs = [&working(), &question, &approval, &ended()];
            let writes = |brief: &Brief| WRITERS.iter().any(|(_, from)| after(brief, 2, class, from, std::slice::from_ref(&event)).is_ok());
            briefs.iter().any(|brief| writes(brief))
        };
        for class in classes.iter().filter(|class| **class != right) {
            assert!(!written(class), "{} under {class:?}", event.kind());
        }
    }
}

#[test]
fn only_the_callers_side_opens_and_only_once() {
    let (class, events) = (to("triage"), [Opened::default().into()]);
    let open = |class: &Class, from: &str, events: &[Event]| {
        Brief::opening(Step { ordinal: 0, class, from: &from.parse().unwrap(), events }, Fixed::default())
    };
    assert!(open(&class, "gateway", &events).is_ok());
    assert_eq!(open(&class, "triage", &events), Err(Illegal::Opening("opened".to_owned())));
    assert_eq!(open(&class, "coordinator", &events), Err(Illegal::Opening("opened".to_owned())));
    assert_eq!(open(&Class::Note, "client", &events), Err(Illegal::Opening("opened".to_owned())));
    assert_eq!(open(&class, "client", &[]), Err(Illegal::Opening(String::new())));
    assert_eq!(open(&class, "client", &[failed()]), Err(Illegal::Opening("failed".to_owned())));
    assert_eq!(after(&working(), 1, &class, "client", &events), Err(Illegal::Opening("opened".to_owned())));
    assert_eq!(after(&working(), 1, &class, "client", &[]), Err(Illegal::Empty));
}

/// A writer is judged by every event it writes, not only by the last one, which alone stands in the subject.
#[test]
fn no_decision_hides_before_the_last_event() {
    let hidden = [
        (to("triage"), "gateway", vec![responded(1), Interrupted { text: String::new() }.into()]),
        (Class::Note, "coordinator", vec![responded(0), SetAside { ordinal: 0, what: String::new(), wait_secs: 1 }.into()]),
        (Class::Note, "triage", vec![completed(CompletedBecause::TaskComplete), responded(0)]),
        (Class::Note, "triage", vec![transferred("refund"), responded(0)]),
        (to("refund"), "triage", vec![asked(RequestKind::Approval, Audience::Caller), transferred("refund")]),
        (Class::End, "triage", vec![failed(), completed(CompletedBecause::TaskComplete)]),
        (Class::Note, "triage", vec![taken(), taken()]),
    ];
    for (class, from, events) in hidden {
        assert!(after(&working(), 1, &class, from, &events).is_err(), "{from} wrote {events:?}");
    }
    let approval = waiting(RequestKind::Approval, Audience::Caller);
    let own_decision = [decided(1, Verdict::Approved), responded(0)];
    assert!(after(&approval, 2, &Class::Note, "triage", &own_decision).is_err(), "an agent approved its own call");
}

#[test]
fn a_caller_can_only_end_a_conversation_as_the_caller() {
    for (because, is_legal) in [
        (CompletedBecause::UserEnded, true),
        (CompletedBecause::TaskComplete, false),
        (CompletedBecause::Answered, false),
        (CompletedBecause::Terminated, false),
    ] {
        assert_eq!(after(&working(), 1, &Class::End, "gateway", &[completed(because)]).is_ok(), is_legal, "{because:?}");
    }
}

/// Semantics 1: a customer can never approve their own refund by saying "yes".
#[test]
fn a_request_is_answered_in_its_own_kind() {
    let kinds = [RequestKind::Question, RequestKind::Approval, RequestKind::InDoubt];
    let verdicts = [Verdict::Approved, Verdict::Denied, Verdict::Retry, Verdict::Happened, Verdict::Abandoned];
    for kind in kinds {
        let brief = waiting(kind, Audience::Caller);
        let answer = |event: Event| after(&brief, 2, &to("triage"), "gateway", &[event]);
        assert_eq!(answer(replied(1)).is_ok(), kind == RequestKind::Question);
        for verdict in verdicts {
            let fits = match verdict {
                Verdict::Approved | Verdict::Denied => kind == RequestKind::Approval,
                Verdict::Retry | Verdict::Happened | Verdict::Abandoned => kind == RequestKind::InDoubt,
            };
            let expected = if fits { Ok(()) } else { Err(Illegal::Answer(request(1))) };
            assert_eq!(answer(decided(1, verdict)).map(|_| ()), expected, "{verdict:?} of {kind:?}");
        }
        assert_eq!(answer(replied(7)), Err(Illegal::Request(request(7))));
        assert_eq!(answer(decided(7, Verdict::Approved)), Err(Illegal::Request(request(7))));
    }
}

#[test]
fn only_the_last_of_several_decisions_is_work() {
    let question = || asked(RequestKind::Approval, Audience::Caller);
    let two = after(&working(), 1, &Class::Ask, "triage", &[responded(2), question(), question()]).unwrap();
    let ids: Vec<RequestId> = two.requests.iter().map(|request| request.id).collect();
    assert_eq!(ids, [EventId { ordinal: 1, index: 1 }, EventId { ordinal: 1, index: 2 }]);
    let decide = |brief: &Brief, id: RequestId, class: &Class| {
        let event = Decided { request: id, verdict: Verdict::Denied, arguments_hash: None, note: String::new(), by: String::new() };
        after(brief, 2, class, "gateway", &[event.into()])
    };
    assert!(matches!(decide(&two, ids[1], &to("triage")), Err(Illegal::Class { .. })), "one is still open");
    let one = decide(&two, ids[1], &Class::In).unwrap();
    assert_eq!((one.phase, one.requests.len(), one.open_calls), (Phase::Waiting, 1, 2));
    assert!(matches!(decide(&one, ids[0], &Class::In), Err(Illegal::Class { .. })), "nobody would be woken");
    assert!(matches!(decide(&one, ids[0], &to("refund")), Err(Illegal::Class { .. })), "somebody else would be woken");
    let none = decide(&one, ids[0], &to("triage")).unwrap();
    assert_eq!((none.phase, none.requests.len()), (Phase::Working, 0));
    // The response goes on where it stood: its calls are still open, its model calls still count.
    assert_eq!((none.open_calls, none.model_calls, none.turn, none.user_turns), (2, 1, 2, 1));
}

#[test]
fn a_reply_goes_to_the_owner_or_to_where_the_opening_sends_replies() {
    let ask = [asked(RequestKind::Question, Audience::Caller)];
    let reply = |brief: &Brief, target: &str| {
        let brief = after(brief, 1, &Class::Ask, brief.owner.as_str(), &ask).unwrap();
        after(&brief, 2, &to(target), "gateway", &[replied(1)]).map(|brief| brief.owner)
    };
    assert_eq!(reply(&working(), "triage"), Ok(agent("triage")));
    assert!(matches!(reply(&working(), "refund"), Err(Illegal::Class { .. })));
    let returns = opening(Fixed { reply_to: Some(agent("triage")), ..Fixed::default() });
    let moved = after(&returns, 1, &to("refund"), "triage", &[transferred("refund")]).unwrap();
    assert_eq!(reply(&moved, "triage"), Ok(agent("triage")));
    assert_eq!(reply(&moved, "refund"), Ok(agent("refund")));
    assert!(matches!(reply(&moved, "order"), Err(Illegal::Class { .. })));
}

#[test]
fn an_interruption_begins_a_user_turn() {
    let noted = after(&working(), 1, &Class::Note, "triage", &[responded(1), returned()]).unwrap();
    let interrupted = after(&noted, 2, &to("triage"), "client", &[Interrupted { text: String::new() }.into()]).unwrap();
    assert_eq!((interrupted.turn, interrupted.user_turns, interrupted.model_calls), (2, 2, 0));
}

#[test]
fn a_claim_names_who_serves_the_request() {
    let brief = waiting(RequestKind::Question, Audience::Desk("tier2".to_owned()));
    let claim = |n| after(&brief, 2, &Class::In, "gateway", &[Claimed { request: request(n), by: "ann".to_owned() }.into()]);
    assert_eq!(claim(1).unwrap().requests[0].claimed_by.as_deref(), Some("ann"));
    assert_eq!(claim(3), Err(Illegal::Request(request(3))));
    let released = after(&claim(1).unwrap(), 3, &Class::In, "gateway", &[Claimed { request: request(1), by: String::new() }.into()]);
    assert_eq!(released.unwrap().requests[0].claimed_by, None);
    // A question to a desk is not answered by what the caller says meanwhile.
    assert!(after(&brief, 2, &Class::In, "gateway", &[Said { text: String::new() }.into()]).is_ok());
}

/// Whoever answered at the owner's desk is asked there next, until somebody else owns the conversation.
#[test]
fn a_desk_is_served_by_the_same_person_for_as_long_as_it_owns() {
    let desk = || Audience::Desk("tier2".to_owned());
    let reply = |ordinal| Event::from(Replied { by: "ann".to_owned(), ..Replied::new(request(ordinal), "hello") });
    let answered = after(&waiting(RequestKind::Question, desk()), 2, &to("triage"), "gateway", &[reply(1)]).unwrap();
    assert_eq!(answered.served_by.as_deref(), Some("ann"));

    let again = after(&answered, 3, &Class::Ask, "triage", &[asked(RequestKind::Question, desk())]).unwrap();
    assert_eq!(again.requests[0].claimed_by.as_deref(), Some("ann"));
    let of_caller = after(&answered, 3, &Class::Ask, "triage", &[asked(RequestKind::Question, Audience::Caller)]).unwrap();
    assert_eq!(of_caller.requests[0].claimed_by, None);
    assert_eq!(of_caller.served_by.as_deref(), Some("ann"), "through the caller's answer, too");

    let transferred = after(&answered, 3, &to("refund"), "triage", &[transferred("refund")]).unwrap();
    assert_eq!(transferred.served_by, None);
}

#[test]
fn only_people_at_a_desk_act_as_an_agent_does() {
    let acts = |audience| {
        let action = Some(DeskAction::Transfer { to: "refund".parse().unwrap() });
        let reply = Replied { action, ..Replied::new(request(1), "not ours") };
        after(&waiting(RequestKind::Question, audience), 2, &to("triage"), "gateway", &[reply.into()])
    };
    assert_eq!(acts(Audience::Desk("tier2".to_owned())).map(|brief| brief.phase), Ok(Phase::Working));
    assert_eq!(acts(Audience::Caller), Err(Illegal::Answer(request(1))));
    assert_eq!(acts(Audience::Role("manager".to_owned())), Err(Illegal::Answer(request(1))));
}

/// Design 2: attempts are takeovers and redispatches that no hand-back or deferral precedes.
#[test]
fn an_attempt_after_a_rest_does_not_count() {
    let mut brief = working();
    let mut ordinal = 0;
    let mut note = |event: Event, from: &str, class: &Class| {
        ordinal += 1;
        brief = after(&brief, ordinal, class, from, &[event]).unwrap();
        (brief.attempts, brief.wait_secs)
    };
    let redispatched = |turn| Event::from(Redispatched { turn, reason: String::new() });
    assert_eq!(note(taken(), "triage", &Class::Note), (1, None));
    assert_eq!(note(deferred(30), "triage", &Class::Note), (1, Some(30)));
    assert_eq!(note(Said { text: String::new() }.into(), "client", &Class::In), (1, Some(30)));
    assert_eq!(note(taken(), "triage", &Class::Note), (1, None));
    assert_eq!(note(handed_back(), "triage", &Class::Note), (1, Some(0)));
    assert_eq!(note(redispatched(0), "coordinator", &to("triage")), (1, None));
    assert_eq!(note(redispatched(0), "coordinator", &to("triage")), (2, None));
    assert_eq!(note(taken(), "triage", &Class::Note), (3, None));
    assert_eq!(note(transferred("refund"), "triage", &to("refund")), (0, None));
}

#[test]
fn what_is_counted_and_when_it_begins_anew() {
    let counts = |brief: &Brief| (brief.handoffs, brief.user_turns, brief.continuations, brief.model_calls, brief.turn);
    let handed = after(&working(), 1, &to("refund"), "triage", &[responded(1), responded(1), transferred("refund")]).unwrap();
    assert_eq!(counts(&handed), (1, 1, 0, 0, 1));
    let asked_on = after(&handed, 2, &to("refund"), "refund", &[responded(0), continued(Continuation::Autonomous)]).unwrap();
    assert_eq!(counts(&asked_on), (1, 1, 1, 0, 2));
    let noted = after(&asked_on, 3, &Class::Note, "refund", &[responded(0), responded(2), returned()]).unwrap();
    assert_eq!((counts(&noted), noted.open_calls), ((1, 1, 1, 2, 2), 1));
    let handed_on = after(&noted, 4, &to("triage"), "refund", &[returned(), transferred("triage")]).unwrap();
    assert_eq!((counts(&handed_on), handed_on.open_calls), ((2, 1, 0, 0, 4), 0));
    let answered = after(&handed_on, 5, &to("triage"), "triage", &[responded(0), continued(Continuation::Answered)]).unwrap();
    assert_eq!(counts(&answered), (0, 2, 0, 0, 5));
}

/// Counters come out of headers that anybody could have written.
#[test]
fn counters_at_their_end_stay_there() {
    let mut brief = working();
    (brief.attempts, brief.handoffs, brief.user_turns, brief.continuations, brief.model_calls) =
        (u32::MAX, u32::MAX, u32::MAX, u32::MAX, u32::MAX);
    assert_eq!(after(&brief, 1, &Class::Note, "triage", &[taken()]).unwrap().attempts, u32::MAX);
    assert_eq!(after(&brief, 1, &Class::Note, "triage", &[responded(0)]).unwrap().model_calls, u32::MAX);
    assert_eq!(after(&brief, 1, &to("refund"), "triage", &[transferred("refund")]).unwrap().handoffs, u32::MAX);
    assert_eq!(after(&brief, 1, &to("triage"), "triage", &[continued(Continuation::Autonomous)]).unwrap().continuations, u32::MAX);
    assert_eq!(after(&brief, 1, &to("triage"), "triage", &[continued(Continuation::Answered)]).unwrap().user_turns, u32::MAX);
}

#[test]
fn nothing_is_open_after_the_end() {
    let waiting = waiting(RequestKind::Approval, Audience::Caller);
    let ended = after(&waiting, 2, &Class::End, "coordinator", &[failed()]).unwrap();
    assert_eq!((ended.phase, ended.requests.len(), ended.open_calls), (Phase::Failed, 0, 0));
    let erased = after(&ended, 3, &Class::End, "coordinator", &[Erased {}.into()]).unwrap();
    assert_eq!(erased.phase, Phase::Erased);
    let again = after(&erased, 4, &Class::End, "coordinator", &[Erased {}.into()]);
    assert_eq!(again, Err(Illegal::Ended { phase: Phase::Erased, kind: "erased".to_owned() }));
}

#[test]
fn a_newer_versions_event_changes_nothing() {
    let unknown = Event::Unknown { kind: "sung".to_owned(), data: bytes::Bytes::from_static(&[0xc0]) };
    let brief = working();
    assert_eq!(after(&brief, 1, &Class::Note, "refund", std::slice::from_ref(&unknown)), Ok(brief));
    assert!(after(&ended(), 1, &Class::Note, "refund", &[unknown]).is_err());
}

#[test]
fn a_brief_is_small_where_nothing_is_special() {
    let json = serde_json::to_string(&working()).unwrap();
    assert_eq!(json, r#"{"owner":"triage","phase":"working","turn":0,"user_turns":1}"#);
    assert_eq!(serde_json::from_str::<Brief>(&json).unwrap(), working());
    // A newer version may say more.
    let newer = json.replace("{\"owner\"", "{\"mood\":\"good\",\"owner\"");
    assert_eq!(serde_json::from_str::<Brief>(&newer).unwrap().known(), working());
}
