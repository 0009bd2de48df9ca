use client::Follower;
use protocol::brief::Fixed;
use protocol::builder::AgentDef;
use protocol::conversation::{Conversation, Draft};
use protocol::event::{Cancelled, Completed, Failed, Intended, IntendedCall, Interrupted, Message, Opened, Replied, Said, Taken};
use protocol::event::{Effect, InDoubt};
use protocol::ids::{EntryId, Hash, Seq, Writer};
use protocol::manifest::ModelSpec;
use protocol::orchestration::OnMessage;
use protocol::subject::Class;

use super::*;
use crate::chat::paper::words;

const ARGUMENTS: &str = r#"{"order_id":"321","reason":"Broken item"}"#;

fn orchestration() -> Arc<Orchestration> {
    let agents = ["TriageAgent", "RefundAgent"].map(|name| AgentDef::new(name).instructions("Help."));
    let builder = Orchestration::builder("support").model("default", ModelSpec::openai("m")).agents(&agents);
    let built = builder.start_with("TriageAgent").add("TriageAgent", "RefundAgent").build();
    Arc::new(built.unwrap().orchestration)
}

fn agent(place: usize) -> AgentName {
    let orchestration = orchestration();
    let name = ["TriageAgent", "RefundAgent"][place];
    orchestration.agents().find(|agent| agent.display_name == name).unwrap().name.clone()
}

/// A conversation in the making, and the screen of somebody who follows it.
struct Story {
    conversation: Conversation,
    screen: Screen,
    shown: Vec<String>,
}

fn put(item: &Item) -> String {
    match item {
        Item::Turn => "turn".to_owned(),
        Item::Said(line) => format!("said {}", words(line)),
        Item::Note(line) => format!("note {}", words(line).trim_start()),
        Item::Draft(head) => format!("draft {}", words(head)),
        Item::Text(text) => format!("text {text}"),
        Item::Complete => "complete".to_owned(),
        Item::Settled => "settled".to_owned(),
        Item::Withdrawn => "withdrawn".to_owned(),
    }
}

impl Story {
    /// The person at `me` opened it; messages are shown whole.
    fn opened(on_message: OnMessage) -> Self {
        let conversation = Conversation::empty("support".parse().unwrap(), "c1".parse().unwrap());
        let shows = Shows { is_live: false, is_echoed: false };
        let screen = Screen::new(orchestration(), "me".parse().unwrap(), shows);
        let mut story = Self { conversation, screen, shown: Vec::new() };
        let input = vec![Message { text: "help".to_owned(), ..Message::default() }];
        let draft = story.draft(to(0), Writer::Client, "me", vec![Opened { input, human: true, ..Opened::default() }.into()]);
        let prepared = story.conversation.prepare_opening(draft, Fixed { on_message, ..Fixed::default() }).unwrap();
        story.conversation.commit(prepared, Seq(1)).unwrap();
        story.follow();
        story
    }

    fn draft(&self, class: Class, from: Writer, process: &str, events: Vec<Event>) -> Draft {
        let id = EntryId::of_request(self.conversation.id(), &self.conversation.tail().next.to_string());
        let revision = orchestration().revision().clone();
        Draft { class, from, id, process: process.parse().unwrap(), revision, events, trace: None }
    }

    /// Shows what the last entry adds.
    fn follow(&mut self) {
        let last = self.conversation.last().unwrap().ordinal();
        let (_, followed) = Follower::new(&self.conversation, 1, None, false);
        for followed in followed {
            if matches!(&followed, Followed::Event(recorded) if recorded.id.ordinal == last) {
                let items = self.screen.followed(&followed);
                self.shown.extend(items.iter().map(put));
            }
        }
    }

    fn write(&mut self, class: Class, from: Writer, process: &str, events: Vec<Event>) -> &mut Self {
        let prepared = self.conversation.prepare(self.draft(class, from, process, events)).unwrap();
        let seq = Seq(self.conversation.tail().seq.0 + 1);
        self.conversation.commit(prepared, seq).unwrap();
        self.follow();
        self
    }

    fn by_agent(&mut self, place: usize, class: Class, events: Vec<Event>) -> &mut Self {
        self.write(class, Writer::Agent(agent(place)), "w-1", events)
    }

    fn by_caller(&mut self, process: &str, class: Class, event: impl Into<Event>) -> &mut Self {
        self.write(class, Writer::Client, process, vec![event.into()])
    }

    fn reached(&mut self) -> &mut Self {
        let items = self.screen.reached();
        self.shown.extend(items.iter().map(put));
        self
    }

    /// What was shown since the last time.
    fn shows(&mut self) -> Vec<String> {
        std::mem::take(&mut self.shown)
    }

    fn request(&self) -> RequestId {
        self.conversation.requests()[0].id
    }
}

fn to(place: usize) -> Class {
    Class::To { agent: agent(place), revision: orchestration().revision().clone() }
}

fn responds(text: &str, calls: Vec<Call>) -> Event {
    Responded { text: text.to_owned(), calls, ..Responded::default() }.into()
}

fn call(name: &str) -> Call {
    Call { id: "call-1".to_owned(), name: name.to_owned(), arguments: ARGUMENTS.to_owned() }
}

fn asks(kind: RequestKind, audience: &str) -> Event {
    let call = (kind != RequestKind::Question).then(|| call("pay"));
    let arguments_hash = call.as_ref().map(|call| Hash::of(call.arguments.as_bytes()));
    Asked { kind, audience: audience.parse().unwrap(), text: String::new(), call, arguments_hash, due_secs: None }.into()
}

fn intends() -> Event {
    let call =
        IntendedCall { call: "call-1".to_owned(), key: "k".to_owned(), effect: Effect::SideEffect, in_doubt: InDoubt::Ask, undo: None };
    Intended { calls: vec![call] }.into()
}

fn returns(content: &str, is_error: bool) -> Event {
    Returned { call: "call-1".to_owned(), tool: "pay".to_owned(), content: content.to_owned(), is_error }.into()
}

#[test]
fn what_ran_before_a_transfer_is_shown_with_its_arguments() {
    let mut story = Story::opened(OnMessage::Enqueue);
    let (to_whom, history) = (agent(1), protocol::event::HistoryOption::None);
    let transfer = Transferred { to: to_whom, call: None, reason: None, payload: None, history, summary: None };
    let events = vec![responds("", vec![call("pay")]), returns("Paid.", false), transfer.into()];
    story.by_agent(0, to(1), events);
    let shown = story.shows();
    assert!(shown.contains(&"note ✓ pay(order_id: \"321\", reason: \"Broken item\") → Paid.".to_owned()), "{shown:?}");
}

fn question(story: &mut Story) {
    story.by_agent(0, Class::Ask, vec![responds("Which order?", Vec::new()), asks(RequestKind::Question, "caller")]).reached();
}

#[test]
fn people_agents_transfers_and_the_end_are_shown() {
    let mut story = Story::opened(OnMessage::Enqueue);
    assert_eq!(story.shows(), ["turn", "said You: help"]);
    question(&mut story);
    assert_eq!(story.shows(), ["said TriageAgent: Which order?"], "a question is what was said");
    let request = story.request();
    assert_eq!(story.screen.asked().unwrap().request, request);
    assert_eq!(words(&story.screen.status(3)), "TriageAgent waits for your answer");

    story.by_caller("me", to(0), Replied::new(request, "321"));
    assert_eq!(story.shows(), ["turn", "said You: 321"]);
    assert!(story.screen.asked().is_none());
    assert_eq!(words(&story.screen.status(3)), "TriageAgent is working · 3 s");

    let transfer = Transferred {
        to: agent(1),
        call: None,
        reason: Some("It is about\u{1b}[2J money".to_owned()),
        payload: None,
        history: protocol::event::HistoryOption::None,
        summary: None,
    };
    story.by_agent(0, to(1), vec![transfer.into()]);
    assert_eq!(story.shows(), ["note TriageAgent → RefundAgent: It is about\u{fffd}[2J money"]);

    let completed = Completed { because: CompletedBecause::TaskComplete, result: "Refunded.".to_owned(), value: None };
    story.by_agent(1, Class::End, vec![completed.into()]);
    assert_eq!(story.shows(), ["turn", "said Task is completed with summary: Refunded."]);
    assert!(matches!(story.screen.outcome(), Some(Outcome::Completed(_))));
}

#[test]
fn a_call_is_shown_once_where_it_has_returned_and_twice_where_it_takes_time() {
    let mut story = Story::opened(OnMessage::Enqueue);
    story.shows();
    let events =
        vec![responds("", vec![call("pay")]), returns("done", false), responds("Paid.", Vec::new()), asks(RequestKind::Question, "caller")];
    story.by_agent(0, Class::Ask, events);
    assert_eq!(story.shows(), [r#"note ✓ pay(order_id: "321", reason: "Broken item") → done"#, "said TriageAgent: Paid."]);
    let request = story.request();
    story.by_caller("me", to(0), Replied::new(request, "again"));
    story.shows();
    story.by_agent(0, Class::Note, vec![responds("", vec![call("pay")]), intends()]);
    assert_eq!(story.shows(), [r#"note · pay(order_id: "321", reason: "Broken item")"#]);
    assert_eq!(words(&story.screen.status(0)), "TriageAgent is working · pay");
    story.by_agent(0, Class::Note, vec![returns(&format!("no\n{}", "x".repeat(100)), true)]);
    let shown = story.shows();
    assert!(shown[0].starts_with(r#"note ✗ pay(order_id: "321", reason: "Broken item") → no xxx"#) && shown[0].ends_with('…'), "{shown:?}");
    assert_eq!(words(&story.screen.status(0)), "TriageAgent is working");
}

#[test]
fn a_decision_is_asked_for_in_full_and_only_of_the_caller() {
    let mut story = Story::opened(OnMessage::Enqueue);
    story.shows();
    let responded = || responds("", vec![call("pay")]);
    story.by_agent(0, Class::Ask, vec![responded(), intends(), asks(RequestKind::Approval, "role:manager")]).reached();
    let shown = story.shows();
    assert_eq!(shown.last().unwrap(), r#"note waits for role:manager: pay(order_id: "321", reason: "Broken item")"#);
    assert!(story.screen.asked().is_none());
    assert_eq!(words(&story.screen.status(0)), "TriageAgent waits for role:manager");

    let mut story = Story::opened(OnMessage::Enqueue);
    story.shows();
    story.by_agent(0, Class::Ask, vec![responded(), intends(), asks(RequestKind::Approval, "caller")]);
    assert_eq!(story.shows().len(), 1, "only the call: there may be an answer already");
    story.reached().reached();
    let expected = [
        "turn",
        "note TriageAgent asks whether pay may run:",
        "note {",
        r#"note "order_id": "321","#,
        r#"note "reason": "Broken item""#,
        "note }",
        "note yes or no; further words are passed on",
    ];
    assert_eq!(story.shows(), expected, "once");
    assert_eq!(words(&story.screen.status(0)), "TriageAgent waits: yes or no");
    let request = story.request();
    let arguments_hash = Some(Hash::of(ARGUMENTS.as_bytes()));
    let decided = Decided { request, verdict: Verdict::Denied, arguments_hash, note: "too much".to_owned(), by: "terminal".to_owned() };
    story.by_caller("somebody", to(0), decided);
    assert_eq!(story.shows(), ["note ✗ pay denied, by terminal (elsewhere): too much"]);
}

#[test]
fn what_comes_from_elsewhere_is_said_to_unless_it_is_past() {
    let mut story = Story::opened(OnMessage::Enqueue);
    story.by_agent(0, Class::Ask, vec![responds("Which?", Vec::new()), asks(RequestKind::Question, "caller")]);
    let request = story.request();
    story.by_caller("other", to(0), Replied::new(request, "past"));
    assert_eq!(story.shows().last().unwrap(), "said You: past");
    question(&mut story);
    story.shows();
    let request = story.request();
    story.by_caller("other", to(0), Replied::new(request, "321"));
    assert_eq!(story.shows(), ["turn", "said You (elsewhere): 321"]);
}

#[test]
fn what_comes_of_a_message_meanwhile_is_said() {
    let mut story = Story::opened(OnMessage::Enqueue);
    story.reached().shows();
    story.by_caller("me", Class::In, Said { text: "and quick".to_owned() });
    assert_eq!(story.shows(), ["turn", "said You: and quick", "note TriageAgent goes on, and reads this then"]);
    let mut story = Story::opened(OnMessage::Interrupt);
    story.reached().shows();
    story.by_caller("me", to(0), Interrupted { text: "no, wait".to_owned() });
    assert_eq!(story.shows()[2], "note TriageAgent stops what it was doing, and begins again with this");
}

#[test]
fn takeovers_warnings_and_failures_are_shown() {
    let mut story = Story::opened(OnMessage::Enqueue);
    story.shows();
    story.by_agent(0, Class::Note, vec![Taken { by: "w-2".parse().unwrap(), delivered: 2 }.into()]);
    assert_eq!(story.shows(), ["note another worker (w-2) takes over: the one before has gone silent"]);
    let failed = Failed { code: "model_error".into(), detail: "no such model".to_owned() };
    story.by_agent(0, Class::End, vec![failed.into()]);
    assert_eq!(story.shows(), ["turn", "said The conversation failed (model_error): no such model"]);
}

#[test]
fn live_text_is_a_draft_until_it_is_recorded() {
    let mut story = Story::opened(OnMessage::Enqueue);
    story.shows();
    story.screen.shows.is_live = true;
    let mut token = |text: &str, is_final| {
        let token = Token::Text { agent: agent(0), text: text.to_owned(), is_final };
        story.screen.followed(&Followed::Token(token)).iter().map(put).collect::<Vec<_>>()
    };
    assert_eq!(token("", false), Vec::<String>::new());
    assert_eq!(token("Which ", false), ["draft TriageAgent: ", "text Which "]);
    assert_eq!(token("order?", false), ["text order?"]);
    let withdrawn = Followed::Token(Token::Withdrawn { agent: agent(0) });
    assert_eq!(story.screen.followed(&withdrawn), [Item::Withdrawn]);
    let mut token = |text: &str, is_final| {
        let token = Token::Text { agent: agent(0), text: text.to_owned(), is_final };
        story.screen.followed(&Followed::Token(token)).iter().map(put).collect::<Vec<_>>()
    };
    assert_eq!(token("Which order?", true), ["draft TriageAgent: ", "text Which order?", "complete"]);
    question(&mut story);
    assert_eq!(story.shows(), ["settled"], "it is not said twice");

    story.by_caller("me", Class::End, Cancelled { reason: String::new() });
    assert_eq!(story.shows(), ["withdrawn", "turn", "said The conversation was cancelled."], "nothing unfinished stays");
}
