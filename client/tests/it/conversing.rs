use std::sync::{Arc, Mutex};
use std::time::Duration;

use client::{
    Answer, Callbacks, Classified, Client, Content, ConverseError, Handle, Line, Opening, Outcome, Question, Reply, Status, Token,
};
use futures::StreamExt;
use journal::memory::{Fault, Faults};
use protocol::brief::Phase;
use protocol::event::{Asked, Audience, Decided, Event, Failed, RequestKind, Verdict, failure};
use protocol::ids::{ConversationId, EventId};
use tokio::sync::mpsc;

use crate::world::{World, agent, responded};

const MINUTE: Option<Duration> = Some(Duration::from_secs(60));

/// Waits until the journal holds an event of this kind (the `n`-th, from 1).
async fn until(client: &Client, id: &ConversationId, kind: &str, n: usize) {
    let events = client.follow(id, None).await.unwrap();
    let found = events.filter(|event| std::future::ready(event.as_ref().unwrap().event.kind() == kind)).take(n).count();
    assert_eq!(tokio::time::timeout(MINUTE.unwrap(), found).await.expect("it happens in time"), n);
}

fn line(line: &Line) -> String {
    match &line.content {
        Content::Text(text) => format!("{}: {text}", line.name),
        Content::TransferCall(call) => format!("{} calls {}", line.name, call.name),
        Content::TransferResult { text, .. } => format!("{} got {text}", line.name),
    }
}

type Lines = Arc<Mutex<Vec<String>>>;

fn recording(lines: &Lines) -> impl FnMut(&Line) -> Result<(), client::BoxError> + Send + 'static {
    let lines = Arc::clone(lines);
    move |message| {
        lines.lock().unwrap().push(line(message));
        Ok(())
    }
}

async fn invoke(world: &World, callbacks: Callbacks) -> Handle {
    world.client.invoke(&Opening::new("alice", "help"), callbacks).await.unwrap()
}

fn failed(detail: &str) -> Event {
    Failed { code: failure::CALLER_ERROR.into(), detail: detail.to_owned() }.into()
}

#[tokio::test(start_paused = true)]
async fn a_conversation_in_one_call() {
    let world = World::new().await;
    let lines = Lines::default();
    let mut answers = vec!["It broke.", "123"];
    let asked = Lines::default();
    let questions = Arc::clone(&asked);
    let callbacks = Callbacks::default().on_message(recording(&lines)).on_question(move |question: Question| {
        questions.lock().unwrap().push(question.text);
        let answer = answers.pop().unwrap();
        async move { Ok(answer.into()) }
    });
    let handle = invoke(&world, callbacks).await;
    let id = handle.conversation().clone();
    world.asks(&id, "triage-agent", "Which order?").await;
    until(&world.client, &id, "replied", 1).await;
    world.transfers(&id, "triage-agent", "refund-agent", "").await;
    world.asks(&id, "refund-agent", "Why?").await;
    until(&world.client, &id, "replied", 2).await;
    world.completes(&id, "refund-agent", "Refunded 123.").await;
    assert_eq!(handle.get(MINUTE).await.unwrap().to_string(), "completed: Refunded 123.");
    // In the journal's order, under the speaker's name; nothing empty, nothing twice.
    assert_eq!(
        *lines.lock().unwrap(),
        [
            "TriageAgent: Which order?",
            "TriageAgent calls transfer_to_refund-agent",
            "TriageAgent got Transferred to refund-agent.",
            "RefundAgent: Why?",
        ]
    );
    assert_eq!(*asked.lock().unwrap(), ["Which order?", "Why?"]);
    let kinds: Vec<_> = handle.events().await.unwrap().map(|event| event.unwrap().event.kind().to_owned()).collect().await;
    assert_eq!(kinds.join(" "), "opened responded asked replied responded transferred responded asked replied responded completed");
}

#[tokio::test(start_paused = true)]
async fn a_handle_waits_no_longer_than_it_is_told_and_can_call_it_off() {
    let world = World::new().await;
    let handle = invoke(&world, Callbacks::default()).await;
    let timed_out = handle.get(MINUTE).await.unwrap_err();
    assert!(matches!(timed_out, ConverseError::TimedOut(_)), "{timed_out}");
    assert_eq!(timed_out.status(), Status::Timeout);
    assert_eq!(world.conversation(handle.conversation()).await.phase(), Some(Phase::Working));
    handle.cancel("enough").await.unwrap();
    assert!(matches!(handle.get(MINUTE).await.unwrap(), Outcome::Cancelled(_)));
    // As often as one likes.
    assert!(matches!(handle.clone().get(None).await.unwrap(), Outcome::Cancelled(_)));
}

#[tokio::test(start_paused = true)]
async fn a_human_function_decides_approvals_bound_to_what_it_saw() {
    let world = World::new().await;
    let callbacks = Callbacks::default().on_question(|question: Question| async move {
        assert_eq!(question.kind, RequestKind::Approval);
        let verdict = if question.call.unwrap().id == "call-0" { Verdict::Approved } else { Verdict::Denied };
        Ok(Answer::Decision { verdict, note: String::new(), by: "bea".to_owned() })
    });
    let handle = invoke(&world, callbacks).await;
    let id = handle.conversation();
    // Not all of them are for this function.
    let requests = world.asks_approvals(id, &["caller", "role:manager", "caller"]).await;
    until(&world.client, id, "decided", 2).await;
    let conversation = world.conversation(id).await;
    let decided: Vec<Decided> = conversation
        .events()
        .filter_map(|(_, (_, event))| match event {
            Event::Decided(decided) => Some(decided.clone()),
            _ => None,
        })
        .collect();
    assert_eq!(
        decided.iter().map(|decided| (decided.request, decided.verdict)).collect::<Vec<_>>(),
        [(requests[0], Verdict::Approved), (requests[2], Verdict::Denied),]
    );
    assert_eq!(conversation.requests().iter().map(|open| open.id).collect::<Vec<_>>(), [requests[1]]);
}

#[tokio::test(start_paused = true)]
async fn a_question_that_another_process_answers_is_dropped() {
    let world = World::new().await;
    let (asked, mut asking) = mpsc::unbounded_channel();
    let callbacks = Callbacks::default().on_question(move |question: Question| {
        let asked = asked.clone();
        async move {
            asked.send(question.text).unwrap();
            // The person never answers here; the channel closes when nobody waits any more.
            asked.closed().await;
            Ok(Answer::Elsewhere)
        }
    });
    let handle = invoke(&world, callbacks).await;
    let id = handle.conversation();
    world.asks(id, "triage-agent", "Which order?").await;
    let mut asking = async || tokio::time::timeout(MINUTE.unwrap(), asking.recv()).await.expect("it happens in time");
    assert_eq!(asking().await.unwrap(), "Which order?");
    world.gateway("gateway-1").say(id, "123", None).await.unwrap();
    world.asks(id, "triage-agent", "Why?").await;
    assert_eq!(asking().await.unwrap(), "Why?");
    world.gateway("gateway-1").end(id).await.unwrap();
    assert!(matches!(handle.get(MINUTE).await.unwrap(), Outcome::Completed(_)));
    assert_eq!(asking().await, None);
}

#[tokio::test(start_paused = true)]
async fn what_is_left_to_others_stays_open() {
    let world = World::new().await;
    let handle = invoke(&world, Callbacks::default().on_question(|_| async { Ok(Answer::Elsewhere) })).await;
    let id = handle.conversation();
    world.asks(id, "triage-agent", "Which order?").await;
    handle.get(MINUTE).await.unwrap_err();
    assert_eq!(world.conversation(id).await.requests().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn another_process_attaches_and_asks_only_what_is_open() {
    let world = World::new().await;
    let (id, _) = world.asked().await;
    world.client.say(&id, "123", None).await.unwrap();
    world.asks(&id, "triage-agent", "Why?").await;
    let lines = Lines::default();
    let callbacks = Callbacks::default().on_message(recording(&lines)).on_question(|question: Question| async move {
        assert_eq!(question.text, "Why?");
        Ok("It broke.".into())
    });
    let handle = world.gateway("gateway-1").attach(&id, callbacks);
    until(&world.client, &id, "replied", 2).await;
    world.completes(&id, "triage-agent", "done").await;
    handle.get(MINUTE).await.unwrap();
    assert_eq!(*lines.lock().unwrap(), ["TriageAgent: Which order?", "TriageAgent: Why?"]);
}

#[tokio::test(start_paused = true)]
async fn tokens_reach_their_callback() {
    let world = World::new().await;
    let lines = Lines::default();
    let heard = Arc::clone(&lines);
    let callbacks = Callbacks::default().on_token(move |token: &Token| {
        let Token::Text { text, is_final, .. } = token else { panic!("{token:?}") };
        heard.lock().unwrap().push(format!("{text} {is_final}"));
        Ok(())
    });
    let handle = invoke(&world, callbacks).await;
    let id = handle.conversation();
    world.asks(id, "triage-agent", "Which order?").await;
    world.client.end(id).await.unwrap();
    handle.get(MINUTE).await.unwrap();
    assert_eq!(*lines.lock().unwrap(), ["Which order? true"]);
}

// The caller's own code fails.

#[tokio::test(start_paused = true)]
async fn a_failing_callback_fails_the_conversation_and_its_error_is_the_result() {
    for later in [false, true] {
        let world = World::new().await;
        let callbacks = Callbacks::default().on_message(move |line| match line.agent == Some(agent("refund-agent")) || !later {
            true => Err("the screen is broken".into()),
            false => Ok(()),
        });
        let handle = invoke(&world, callbacks).await;
        let id = handle.conversation();
        if later {
            world.transfers(id, "triage-agent", "refund-agent", "One moment.").await;
            world.asks(id, "refund-agent", "Why?").await;
        } else {
            world.asks(id, "triage-agent", "Which order?").await;
        }
        let error = handle.get(MINUTE).await.unwrap_err();
        assert_eq!(error.to_string(), "the message callback failed: the screen is broken");
        let conversation = world.conversation(id).await;
        assert_eq!(conversation.last().unwrap().events, [failed("the message callback failed: the screen is broken")]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_failing_or_panicking_human_function_fails_the_conversation() {
    let erring: fn(Question) -> Result<Answer, client::BoxError> = |_| Err("nobody is there".into());
    let panicking: fn(Question) -> Result<Answer, client::BoxError> = |_| panic!("out of paper");
    for (function, detail) in
        [(erring, "the human function failed: nobody is there"), (panicking, "the caller's code failed: out of paper")]
    {
        let world = World::new().await;
        let handle = invoke(&world, Callbacks::default().on_question(move |question| async move { function(question) })).await;
        let id = handle.conversation();
        world.asks(id, "triage-agent", "Which order?").await;
        assert_eq!(handle.get(MINUTE).await.unwrap_err().to_string(), detail);
        assert_eq!(world.conversation(id).await.last().unwrap().events, [failed(detail)]);
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_does_not_fit_is_asked_for_again_and_then_the_caller_s_failure() {
    let world = World::new().await;
    let lines = Lines::default();
    let callbacks = Callbacks::default().on_question(|_| async { Ok("yes".into()) }).on_unanswered(refusals(&lines));
    let handle = invoke(&world, callbacks).await;
    let id = handle.conversation();
    world.asks_approvals(id, &["caller"]).await;
    let error = handle.get(MINUTE).await.unwrap_err();
    assert!(error.to_string().contains("needs a decision"), "{error}");
    assert_eq!(lines.lock().unwrap().len(), 2, "asked three times, told twice");
    assert_eq!(world.conversation(id).await.phase(), Some(Phase::Failed));

    // Whoever thinks again is heard.
    let world = World::new().await;
    let mut answers = vec![Answer::Decision { verdict: Verdict::Approved, note: String::new(), by: String::new() }, "yes".into()];
    let callbacks = Callbacks::default().on_question(move |_| {
        let answer = answers.pop().unwrap();
        async move { Ok(answer) }
    });
    let handle = invoke(&world, callbacks).await;
    world.asks_approvals(handle.conversation(), &["caller"]).await;
    until(&world.client, handle.conversation(), "decided", 1).await;
}

fn refusals(lines: &Lines) -> impl FnMut(&Question, Option<&Answer>, &str) + Send + 'static {
    let lines = Arc::clone(lines);
    move |question, answer, why| lines.lock().unwrap().push(format!("{} {answer:?}: {why}", question.text))
}

#[tokio::test(start_paused = true)]
async fn whoever_is_slower_is_told() {
    for has_answered in [false, true] {
        let world = World::new().await;
        let lines = Lines::default();
        let gateway = world.gateway("gateway-1");
        let (asked, mut asking) = mpsc::unbounded_channel();
        let callbacks = Callbacks::default().on_unanswered(refusals(&lines)).on_question(move |question: Question| {
            let (asked, gateway) = (asked.clone(), gateway.clone());
            async move {
                let id = asked_in(&asked, &question).await;
                gateway.say(&id, "I was faster", None).await?;
                if !has_answered {
                    std::future::pending::<()>().await;
                }
                Ok("too late".into())
            }
        });
        let handle = invoke(&world, callbacks).await;
        let id = handle.conversation().clone();
        world.asks(&id, "triage-agent", "Which order?").await;
        let answer: tokio::sync::oneshot::Sender<ConversationId> = asking.recv().await.unwrap();
        answer.send(id.clone()).unwrap();
        until(&world.client, &id, "replied", 1).await;
        world.completes(&id, "triage-agent", "done").await;
        handle.get(MINUTE).await.unwrap();
        let told = lines.lock().unwrap().clone();
        let expected = match has_answered {
            false => "Which order? None: somebody else has answered it",
            true => "Which order? Some(Text(\"too late\")): request 1.1 has been answered already",
        };
        assert!(told.len() == 1 && told[0].starts_with(expected), "{told:?}");
    }
}

/// Learns the conversation from the test.
async fn asked_in(asked: &mpsc::UnboundedSender<tokio::sync::oneshot::Sender<ConversationId>>, _question: &Question) -> ConversationId {
    let (answer, conversation) = tokio::sync::oneshot::channel();
    asked.send(answer).unwrap();
    conversation.await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn what_people_say_elsewhere_is_heard_and_one_s_own_words_are_not() {
    let world = World::new().await;
    let (lines, heard) = (Lines::default(), Lines::default());
    let callbacks = || Callbacks::default().on_question(|_| async { Ok("mine".into()) });
    let handle = invoke(&world, callbacks().on_person(recording(&lines))).await;
    let id = handle.conversation();
    world.asks(id, "triage-agent", "Which order?").await;
    until(&world.client, id, "replied", 1).await;
    world.gateway("gateway-1").say(id, "quick", None).await.unwrap();
    world.completes(id, "triage-agent", "done").await;
    handle.get(MINUTE).await.unwrap();
    assert_eq!(*lines.lock().unwrap(), ["User: quick"]);
    world.client.attach(id, callbacks().on_person(recording(&heard))).get(MINUTE).await.unwrap();
    assert_eq!(*heard.lock().unwrap(), ["User: help", "User: mine", "User: quick"]);
}

#[tokio::test(start_paused = true)]
async fn a_conversation_is_idle_while_nobody_here_acts() {
    let world = World::new().await;
    let handle = invoke(&world, Callbacks::default().on_question(|_| async { Ok(Answer::Elsewhere) })).await;
    let id = handle.conversation();
    let idle = async |handle: &Handle| tokio::time::timeout(MINUTE.unwrap(), handle.idle()).await.is_ok();
    assert!(!idle(&handle).await, "an agent works");
    world.asks(id, "triage-agent", "Which order?").await;
    assert!(idle(&handle).await, "somebody elsewhere is asked");
    let asked = world.client.attach(id, Callbacks::default().on_question(|_| std::future::pending()));
    assert!(!idle(&asked).await, "its own person is asked");
    world.client.end(id).await.unwrap();
    assert!(idle(&handle).await && idle(&asked).await, "it has ended");
}

#[tokio::test(start_paused = true)]
async fn a_failing_token_callback_fails_the_conversation() {
    let world = World::new().await;
    let handle = invoke(&world, Callbacks::default().on_token(|_| Err("the pipe is closed".into()))).await;
    let id = handle.conversation();
    world.asks(id, "triage-agent", "Which order?").await;
    assert_eq!(handle.get(MINUTE).await.unwrap_err().to_string(), "the token callback failed: the pipe is closed");
    assert_eq!(world.conversation(id).await.phase(), Some(Phase::Failed));
}

#[tokio::test(start_paused = true)]
async fn an_answer_outlives_a_broker_that_is_away() {
    let world = World::new().await;
    let gateway = world.gateway("gateway-1").with_patience(Duration::from_secs(2));
    let (asked, mut asking) = mpsc::unbounded_channel();
    let broker = world.memory.clone();
    let callbacks = Callbacks::default().on_question(move |_| {
        let (asked, broker) = (asked.clone(), broker.clone());
        async move {
            broker.set_faults(Faults::default().with(Fault::Unavailable, 1000).with(Fault::AppendLost, 1000).with(Fault::ResendLost, 1000));
            asked.send(()).unwrap();
            Ok("123".into())
        }
    });
    let handle = gateway.invoke(&Opening::new("alice", "help"), callbacks).await.unwrap();
    let id = handle.conversation();
    world.asks(id, "triage-agent", "Which order?").await;
    asking.recv().await.unwrap();
    // Still nothing, a minute later; and the conversation is none the worse for it.
    handle.get(MINUTE).await.unwrap_err();
    assert_eq!(world.kinds(id), ["opened", "asked"]);
    world.memory.set_faults(Faults::default());
    until(&world.client, id, "replied", 1).await;
    assert_eq!(world.kinds(id), ["opened", "asked", "replied"]);
}

#[tokio::test(start_paused = true)]
async fn people_and_agents_have_their_lines_in_the_transcript() {
    let world = World::new().await;
    let (id, _) = world.asked().await;
    world.client.say(&id, "123", None).await.unwrap();
    world.client.say(&id, "quick", None).await.unwrap();
    world.agent(&id, "triage-agent", protocol::subject::Class::Note, vec![responded("On it.")]).await;
    let mut transcript = client::Transcript::new(Arc::new(world.orchestration.clone()));
    let events: Vec<_> = world.client.follow(&id, None).await.unwrap().take(6).collect().await;
    let lines: Vec<_> = events.iter().flat_map(|event| transcript.lines(event.as_ref().unwrap())).map(|message| line(&message)).collect();
    assert_eq!(lines, ["User: help", "TriageAgent: Which order?", "User: 123", "User: quick", "TriageAgent: On it."]);
}

#[tokio::test(start_paused = true)]
async fn what_a_colleague_is_asked_and_answers_is_none_of_the_callers_lines() {
    let world = World::new().await;
    let id = world.open().await;
    for audience in [Audience::Role("manager".to_owned()), Audience::Desk("billing".to_owned())] {
        let (text, due_secs) = ("TriageAgent cannot go on (model_error). How shall it go on?".to_owned(), Some(60));
        let asked = Asked { kind: RequestKind::Question, audience, text, call: None, arguments_hash: None, due_secs };
        let ordinal = world.agent(&id, "triage-agent", protocol::subject::Class::Ask, vec![asked.into()]).await;
        let reply = Reply { by: "ann".to_owned(), ..Reply::to(EventId { ordinal, index: 0 }, "Be brief.") };
        world.client.reply(&id, &reply).await.unwrap();
    }
    world.asks(&id, "triage-agent", "Which order?").await;
    world.client.say(&id, "123", None).await.unwrap();
    let mut transcript = client::Transcript::new(Arc::new(world.orchestration.clone()));
    let events: Vec<_> = world.client.follow(&id, None).await.unwrap().take(8).collect().await;
    let lines: Vec<_> = events.iter().flat_map(|event| transcript.lines(event.as_ref().unwrap())).map(|message| line(&message)).collect();
    assert_eq!(lines, ["User: help", "TriageAgent: Which order?", "User: 123"]);
}
