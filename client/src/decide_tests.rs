use protocol::brief::Fixed;
use protocol::event::{Call, Erased, Intended, Reassigned, RequestKind, Responded, Returned, Transferred};
use protocol::ids::{Hash, Writer};

use super::*;
use crate::testing::{REFUND, Story, agent, call, event, intended, to};

use RequestKind::{Approval, InDoubt, Question};

fn policy(on_message: OnMessage) -> Fixed {
    Fixed { on_message, ..Fixed::default() }
}

fn working() -> Story {
    Story::opened(Fixed::default())
}

fn asked(requests: &[(RequestKind, &str)]) -> Story {
    working().asks(requests)
}

fn said(story: &Story, text: &str) -> Result<Proposal, ReplyError> {
    reply(Known::of(&story.0).unwrap(), &Reply::bare(text))
}

fn replied(story: &Story, request: RequestId, text: &str) -> Result<Proposal, ReplyError> {
    reply(Known::of(&story.0).unwrap(), &Reply::to(request, text))
}

fn decided(story: &Story, request: RequestId, verdict: Verdict) -> Result<Proposal, DecideError> {
    decide(Known::of(&story.0).unwrap(), &Decision::new(request, verdict))
}

fn claimed(story: &Story, request: RequestId, by: &str) -> Result<Proposal, ClaimError> {
    claim(Known::of(&story.0).unwrap(), &Claim::take(request, by))
}

fn proposes(class: Class, event: impl Into<Event>) -> Proposal {
    Proposal { class, event: event.into() }
}

fn says(text: &str) -> Proposal {
    proposes(Class::In, Said { text: text.to_owned() })
}

fn replies(agent: &str, request: RequestId, text: &str) -> Proposal {
    proposes(to(agent), Replied::new(request, text))
}

fn decides(class: Class, request: RequestId, verdict: Verdict) -> Proposal {
    let arguments_hash = Some(Hash::of(REFUND.as_bytes()));
    proposes(class, Decided { request, verdict, arguments_hash, note: String::new(), by: String::new() })
}

/// Every proposal must be one that the fold accepts.
fn is_legal(story: &Story, proposal: Proposal) -> Story {
    story.clone().write(proposal.class, Writer::Client, vec![proposal.event])
}

fn ended() -> Vec<(Story, Phase)> {
    let end = |event: Event| working().write(Class::End, Writer::Client, vec![event]);
    vec![
        (end(user_ended().event), Phase::Completed),
        (end(Failed { code: failure::POISON.into(), detail: String::new() }.into()), Phase::Failed),
        (end(Cancelled { reason: String::new() }.into()), Phase::Cancelled),
        (end(Cancelled { reason: String::new() }.into()).write(Class::End, Writer::Coordinator, vec![Erased {}.into()]), Phase::Erased),
    ]
}

// A reply to a question.

#[test]
fn a_reply_goes_to_the_agent_that_asked() {
    let story = asked(&[(Question, "caller")]);
    let request = story.request(0);
    let proposal = replied(&story, request, "123").unwrap();
    assert_eq!(proposal, replies("triage", request, "123"));
    is_legal(&story, proposal);
}

#[test]
fn a_message_without_a_request_answers_the_question_to_the_caller() {
    let story = asked(&[(Question, "caller")]);
    assert_eq!(said(&story, "123"), Ok(replies("triage", story.request(0), "123")));
}

#[test]
fn a_message_without_a_request_answers_the_question_even_beside_other_requests() {
    let story = asked(&[(Approval, "caller"), (Question, "desk:refunds"), (Question, "caller"), (InDoubt, "role:manager")]);
    assert_eq!(said(&story, "yes"), Ok(replies("triage", story.request(2), "yes")));
}

#[test]
fn with_return_to_start_the_caller_is_heard_by_the_start_agent() {
    let fixed = Fixed { reply_to: Some(agent("front")), ..Fixed::default() };
    let story = Story::opened(fixed).asks(&[(Question, "caller"), (Question, "desk:refunds")]);
    let (caller, desk) = (story.request(0), story.request(1));
    assert_eq!(said(&story, "hi"), Ok(replies("front", caller, "hi")));
    assert_eq!(replied(&story, caller, "hi"), Ok(replies("front", caller, "hi")));
    // A colleague's answer is for whoever asked for it.
    assert_eq!(replied(&story, desk, "hi"), Ok(replies("triage", desk, "hi")));
}

#[test]
fn an_empty_reply_to_the_caller_s_question_ends_the_conversation() {
    let story = asked(&[(Question, "caller")]);
    for text in ["", " ", "\n\t "] {
        assert_eq!(said(&story, text), Ok(user_ended()));
        assert_eq!(replied(&story, story.request(0), text), Ok(user_ended()));
    }
    assert_eq!(is_legal(&story, user_ended()).0.phase(), Some(Phase::Completed));
}

#[test]
fn an_empty_reply_to_anybody_else_s_question_is_refused() {
    let story = asked(&[(Question, "role:manager")]);
    assert_eq!(replied(&story, story.request(0), " "), Err(ReplyError::Empty));
}

#[test]
fn questions_to_a_role_or_desk_need_their_request_id() {
    for audience in ["role:manager", "desk:refunds"] {
        let story = asked(&[(Question, audience)]);
        let request = story.request(0);
        assert_eq!(said(&story, "fine"), Ok(says("fine")));
        assert_eq!(replied(&story, request, "fine"), Ok(replies("triage", request, "fine")));
    }
}

#[test]
fn approvals_and_doubts_are_not_answered_by_a_text() {
    for kind in [Approval, InDoubt] {
        for audience in ["caller", "role:manager", "desk:refunds"] {
            let story = asked(&[(kind, audience)]);
            assert_eq!(replied(&story, story.request(0), "yes"), Err(ReplyError::NeedsDecision(story.request(0))));
            assert_eq!(said(&story, "yes"), Ok(says("yes")));
            is_legal(&story, says("yes"));
        }
    }
}

#[test]
fn a_reply_to_what_is_not_open_is_refused() {
    let asked = asked(&[(Question, "caller")]);
    let request = asked.request(0);
    for unknown in [event(0, 0), event(1, 0), event(1, 9), event(7, 0), event(u64::MAX, 0)] {
        assert_eq!(replied(&asked, unknown, "x"), Err(NotOpen::Unknown(unknown).into()));
    }
    let answered = is_legal(&asked, replies("triage", request, "123"));
    assert_eq!(replied(&answered, request, "124"), Err(NotOpen::Answered(request).into()));
    assert_eq!(replied(&answered, request, ""), Err(NotOpen::Answered(request).into()));
    let reassigned = asked.clone().write(
        to("refund"),
        Writer::Coordinator,
        vec![Reassigned { to: agent("refund"), by: "an operator".to_owned() }.into()],
    );
    assert_eq!(replied(&reassigned, request, "123"), Err(NotOpen::Withdrawn(request).into()));
    let ended = is_legal(&asked, user_ended());
    assert_eq!(replied(&ended, request, "123"), Err(NotOpen::Ended(Phase::Completed).into()));
    let over = is_legal(&answered, user_ended());
    assert_eq!(replied(&over, request, "123"), Err(NotOpen::Answered(request).into()));
}

// A message while nobody asks.

#[test]
fn a_message_while_an_agent_works_follows_the_policy() {
    let text = "one more thing".to_owned();
    let interrupted = proposes(to("triage"), Interrupted { text: text.clone() });
    let rejected = ReplyError::Rejected { owner: agent("triage") };
    for (on_message, expected) in
        [(OnMessage::Enqueue, Ok(says(&text))), (OnMessage::Interrupt, Ok(interrupted)), (OnMessage::Reject, Err(rejected))]
    {
        let story = Story::opened(policy(on_message));
        assert_eq!(said(&story, &text), expected, "{on_message:?}");
        assert_eq!(said(&story, " "), Err(ReplyError::Empty), "{on_message:?}");
        if let Ok(proposal) = expected {
            is_legal(&story, proposal);
        }
    }
}

#[test]
fn a_message_while_others_are_asked_is_stored_whatever_the_policy() {
    for on_message in [OnMessage::Enqueue, OnMessage::Interrupt, OnMessage::Reject] {
        for requests in [[(Approval, "caller")], [(Question, "desk:refunds")], [(InDoubt, "role:manager")]] {
            let story = Story::opened(policy(on_message)).asks(&requests);
            assert_eq!(said(&story, "hm"), Ok(says("hm")), "{on_message:?} {requests:?}");
        }
    }
}

/// A response with these calls, and the intent of the first.
fn intent(calls: &[Call]) -> Vec<Event> {
    let responded = Responded { calls: calls.to_vec(), ..Responded::default() };
    vec![responded.into(), Intended { calls: calls.iter().take(1).map(intended).collect() }.into()]
}

fn returned(call: &str) -> Event {
    Returned { call: call.to_owned(), tool: "refund".to_owned(), content: "ok".to_owned(), is_error: false }.into()
}

#[test]
fn an_interrupt_waits_while_a_side_effect_is_unresolved() {
    let calls = [call("call-0"), call("call-1")];
    let story = Story::opened(policy(OnMessage::Interrupt)).triage(Class::Note, intent(&calls));
    assert_eq!(said(&story, "stop"), Ok(says("stop")));
    // A message in between changes nothing.
    let story = is_legal(&story, says("stop"));
    assert_eq!(said(&story, "stop!"), Ok(says("stop!")));
    // The other call of the response has no intent: nothing is known to have happened.
    let resolved = story.clone().triage(Class::Note, vec![returned("call-0")]);
    assert!(matches!(said(&resolved, "stop").unwrap().event, Event::Interrupted(_)));
    let other = story.triage(Class::Note, vec![returned("call-1")]);
    assert_eq!(said(&other, "stop"), Ok(says("stop")));
}

#[test]
fn an_approved_call_is_a_side_effect_on_its_way() {
    let story = Story::opened(policy(OnMessage::Interrupt)).asks(&[(Approval, "caller")]);
    let request = story.request(0);
    let story = is_legal(&story, decides(to("triage"), request, Verdict::Approved));
    assert_eq!(said(&story, "stop"), Ok(says("stop")));
    let story = story.triage(Class::Note, vec![returned("call-0")]);
    assert!(matches!(said(&story, "stop").unwrap().event, Event::Interrupted(_)));
}

#[test]
fn an_intent_of_an_earlier_turn_does_not_count() {
    let transferred = Transferred {
        to: agent("refund"),
        call: None,
        reason: None,
        payload: None,
        history: protocol::event::HistoryOption::None,
        summary: None,
    };
    let story = Story::opened(policy(OnMessage::Interrupt)).triage(Class::Note, intent(&[call("call-0")]));
    let story = story.triage(to("refund"), vec![returned("call-0"), transferred.into()]);
    let story = story.write(
        Class::Note,
        Writer::Agent(agent("refund")),
        vec![Responded { calls: vec![call("call-9")], ..Responded::default() }.into()],
    );
    assert_eq!(said(&story, "stop"), Ok(proposes(to("refund"), Interrupted { text: "stop".to_owned() })));
}

#[test]
fn nothing_is_said_after_the_end() {
    for (story, phase) in ended() {
        assert_eq!(said(&story, "hello?"), Err(NotOpen::Ended(phase).into()));
        assert_eq!(said(&story, ""), Err(NotOpen::Ended(phase).into()));
    }
}

// Decisions.

#[test]
fn a_verdict_must_fit_what_is_asked() {
    use Verdict::{Abandoned, Approved, Denied, Happened, Retry};
    for (kind, fitting) in [(Approval, [Approved, Denied].as_slice()), (InDoubt, [Retry, Happened, Abandoned].as_slice())] {
        let story = asked(&[(kind, "role:manager")]);
        let request = story.request(0);
        for verdict in [Approved, Denied, Retry, Happened, Abandoned] {
            let expected = match fitting.contains(&verdict) {
                true => Ok(decides(to("triage"), request, verdict)),
                false => Err(DecideError::Unfit { request, kind, verdict }),
            };
            assert_eq!(decided(&story, request, verdict), expected, "{kind:?} {verdict:?}");
        }
    }
    let story = asked(&[(Question, "caller")]);
    for verdict in [Approved, Denied, Retry, Happened, Abandoned] {
        assert_eq!(decided(&story, story.request(0), verdict), Err(DecideError::NeedsReply(story.request(0))));
    }
}

#[test]
fn a_decision_is_bound_to_the_arguments_that_were_seen() {
    let story = asked(&[(Approval, "caller")]);
    let request = story.request(0);
    let with = |hash: Option<Hash>| {
        let decision = Decision { arguments_hash: hash, ..Decision::new(request, Verdict::Approved) };
        decide(Known::of(&story.0).unwrap(), &decision)
    };
    // Recorded with the request's hash, whether the decider repeats it or not.
    assert_eq!(with(None), Ok(decides(to("triage"), request, Verdict::Approved)));
    assert_eq!(with(Some(Hash::of(REFUND.as_bytes()))), Ok(decides(to("triage"), request, Verdict::Approved)));
    assert_eq!(with(Some(Hash::of(b"{}"))), Err(DecideError::OtherArguments(request)));
}

#[test]
fn a_decision_keeps_its_words() {
    let story = asked(&[(InDoubt, "caller")]);
    let decision =
        Decision { note: "the bank confirms it".to_owned(), by: "bea".to_owned(), ..Decision::new(story.request(0), Verdict::Happened) };
    let Ok(Proposal { event: Event::Decided(decided), .. }) = decide(Known::of(&story.0).unwrap(), &decision) else { panic!() };
    assert_eq!((decided.note.as_str(), decided.by.as_str()), ("the bank confirms it", "bea"));
}

#[test]
fn only_the_last_of_several_decisions_wakes_the_owner() {
    let mut story = asked(&[(Approval, "caller"), (InDoubt, "desk:refunds"), (Approval, "role:manager")]);
    let requests = [story.request(1), story.request(2), story.request(0)];
    for (request, verdict, class) in [
        (requests[0], Verdict::Abandoned, Class::In),
        (requests[1], Verdict::Denied, Class::In),
        (requests[2], Verdict::Approved, to("triage")),
    ] {
        let proposal = decided(&story, request, verdict).unwrap();
        assert_eq!(proposal, decides(class, request, verdict));
        story = is_legal(&story, proposal);
        assert_eq!(decided(&story, request, verdict), Err(NotOpen::Answered(request).into()));
    }
    assert_eq!(story.0.phase(), Some(Phase::Working));
}

#[test]
fn what_is_not_open_is_not_decided() {
    let story = asked(&[(Approval, "caller")]);
    let request = story.request(0);
    assert_eq!(decided(&story, event(0, 0), Verdict::Approved), Err(NotOpen::Unknown(event(0, 0)).into()));
    let ended = is_legal(&story, proposes(Class::End, Cancelled { reason: String::new() }));
    assert_eq!(decided(&ended, request, Verdict::Approved), Err(NotOpen::Ended(Phase::Cancelled).into()));
}

// Claims.

#[test]
fn a_desk_s_request_is_claimed_by_one_person() {
    let story = asked(&[(Question, "desk:refunds"), (Approval, "role:manager"), (Question, "caller")]);
    let request = story.request(0);
    let proposal = claimed(&story, request, "bea").unwrap();
    assert_eq!(proposal, proposes(Class::In, Claimed { request, by: "bea".to_owned() }));
    for other in [1, 2] {
        assert_eq!(claimed(&story, story.request(other), "bea"), Err(ClaimError::NoDesk(story.request(other))));
    }
    assert_eq!(claimed(&story, event(9, 0), "bea"), Err(NotOpen::Unknown(event(9, 0)).into()));
    let story = is_legal(&story, proposal);
    assert_eq!(claimed(&story, request, "cem"), Err(ClaimError::Claimed { request, by: "bea".to_owned() }));
    assert!(claimed(&story, request, "bea").is_ok());
}

// Ends.

#[test]
fn an_open_conversation_is_ended_failed_or_cancelled_in_any_phase() {
    for story in [working(), asked(&[(Question, "caller")]), asked(&[(Approval, "desk:refunds"), (InDoubt, "caller")])] {
        let known = Known::of(&story.0).unwrap();
        assert_eq!(end(known), Ok(user_ended()));
        let failed = Failed { code: failure::CALLER_ERROR.into(), detail: "boom".to_owned() };
        assert_eq!(fail(known, "boom"), Ok(proposes(Class::End, failed)));
        assert_eq!(cancel(known, "enough"), Ok(proposes(Class::End, Cancelled { reason: "enough".to_owned() })));
        for (proposal, phase) in [
            (end(known).unwrap(), Phase::Completed),
            (fail(known, "").unwrap(), Phase::Failed),
            (cancel(known, "").unwrap(), Phase::Cancelled),
        ] {
            assert_eq!(is_legal(&story, proposal).0.phase(), Some(phase));
        }
    }
}

#[test]
fn cancelling_twice_and_cancelling_after_the_end_are_different_errors() {
    for (story, phase) in ended() {
        let known = Known::of(&story.0).unwrap();
        let expected = if phase == Phase::Cancelled { CancelError::AlreadyCancelled } else { CancelError::Ended(phase) };
        assert_eq!(cancel(known, "again"), Err(expected));
        assert_eq!(end(known), Err(EndError::Ended(phase)));
        assert_eq!(fail(known, "late"), Err(EndError::Ended(phase)));
    }
}
