//! What one reader is written: for what a follower shows, and for what could be shown.

use client::Follower;
use protocol::brief::Fixed;
use protocol::builder::AgentDef;
use protocol::conversation::{Conversation, Draft};
use protocol::event::{Asked, Audience, Message, Opened, RequestKind, Responded, Returned};
use protocol::ids::{EntryId, Revision, Seq, Writer};
use protocol::live::{Live, Piece};
use protocol::manifest::ModelSpec;
use protocol::subject::Class;
use serde_json::{Value, json};

use super::*;

fn names() -> Orchestration {
    let agent = AgentDef::new("TriageAgent").instructions("Help.");
    let builder = Orchestration::builder("support").model("default", ModelSpec::openai("gpt-5-mini")).agent(&agent);
    builder.start_with("TriageAgent").build().unwrap().orchestration
}

fn agent() -> AgentName {
    "triage-agent".parse().unwrap()
}

fn revision() -> Revision {
    "0123456789ab".parse().unwrap()
}

/// A conversation that has been opened, whoever writes it, and one who reads it from the beginning.
struct Stage {
    conversation: Conversation,
    follower: Follower,
    session: Session,
}

impl Stage {
    fn new() -> Self {
        let mut conversation = Conversation::empty("support".parse().unwrap(), "c1".parse().unwrap());
        let input = vec![Message { text: "help".to_owned(), ..Message::default() }];
        let opened = vec![Opened { input, human: true, ..Opened::default() }.into()];
        let to = Class::To { agent: agent(), revision: revision() };
        let prepared = conversation.prepare_opening(draft(&conversation, to, Writer::Client, opened), Fixed::default()).unwrap();
        conversation.commit(prepared, Seq(1)).unwrap();
        let (follower, _) = Follower::new(&conversation, 7, Some(EventId { ordinal: 0, index: 0 }), true);
        let mut stage = Self { conversation, follower, session: Session::begin(None) };
        assert_eq!(stage.session.take().unwrap(), "retry: 500\n\n");
        stage.session.name_by(Arc::new(names()));
        stage
    }

    /// The agent says a piece; an empty one withdraws the answer so far.
    fn says(&mut self, answer: u32, index: u32, text: &str) -> Vec<String> {
        let piece = if text.is_empty() { Piece::Reset } else { Piece::Text(text.to_owned()) };
        let live = Live { epoch: self.conversation.tail().epoch, process: "p1".parse().unwrap(), answer, index, piece };
        let shown = self.follower.said(agent(), live, index);
        self.shows(&shown)
    }

    /// The agent writes an entry.
    fn writes(&mut self, class: Class, events: Vec<Event>) -> Vec<String> {
        let prepared = self.conversation.prepare(draft(&self.conversation, class, Writer::Agent(agent()), events)).unwrap();
        self.conversation.commit(prepared, Seq(self.conversation.tail().seq.0 + 1)).unwrap();
        let shown = self.follower.replace(&self.conversation, 8);
        self.shows(&shown)
    }

    fn shows(&mut self, shown: &[Followed]) -> Vec<String> {
        for (place, followed) in shown.iter().enumerate() {
            self.session.show(followed, shown.get(place + 1));
        }
        frames(&mut self.session).into_iter().map(|(id, kind, data)| brief(id, &kind, &data)).collect()
    }
}

fn draft(conversation: &Conversation, class: Class, from: Writer, events: Vec<Event>) -> Draft {
    let id = EntryId::of_request(conversation.id(), &conversation.tail().next.to_string());
    Draft { class, from, id, process: "p1".parse().unwrap(), revision: revision(), events, trace: None }
}

fn responded(text: &str) -> Event {
    Responded { text: text.to_owned(), ..Responded::default() }.into()
}

fn asked() -> Event {
    let audience = Audience::Caller;
    Asked { kind: RequestKind::Question, audience, text: "Well?".to_owned(), call: None, arguments_hash: None, due_secs: Some(60) }.into()
}

/// Ids, events and data of what is to be written.
fn frames(session: &mut Session) -> Vec<(Option<String>, String, Value)> {
    let bytes = session.take().unwrap_or_default();
    let text = std::str::from_utf8(&bytes).unwrap().to_owned();
    assert!(text.is_empty() || text.ends_with("\n\n"), "{text:?}");
    let field = |frame: &str, name: &str| frame.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
    let frame = |frame: &str| {
        let data = serde_json::from_str(&field(frame, "data: ").unwrap()).unwrap();
        (field(frame, "id: "), field(frame, "event: ").unwrap(), data)
    };
    text.split_terminator("\n\n").map(frame).collect()
}

/// `1.0 responded`, `token How`, `token can.|` for a final one, `reset`.
fn brief(id: Option<String>, kind: &str, data: &Value) -> String {
    match (id, kind) {
        (Some(id), _) => format!("{id} {kind}"),
        (None, "token") => {
            assert_eq!((&data["agent"], &data["name"]), (&json!("triage-agent"), &json!("TriageAgent")));
            format!("token {}{}", data["text"].as_str().unwrap(), if data["final"] == true { "|" } else { "" })
        }
        (None, _) => kind.to_owned(),
    }
}

#[test]
fn an_event_has_an_id_and_says_who_wrote_what_and_what_is_now() {
    let mut stage = Stage::new();
    let (_, shown) = Follower::new(&stage.conversation, 7, None, false);
    assert_eq!(stage.shows(&shown), ["0.0 opened"]);
    assert_eq!(stage.session.last(), Some(EventId { ordinal: 0, index: 0 }));
    stage.session.show(&shown[0], None);
    let expected = json!({
        "id": "0.0", "kind": "opened", "time_ms": 7, "from": "client", "name": "client", "process": "p1",
        "owner": "triage-agent", "phase": "working", "trace": null,
        "data": { "input": [{ "role": "user", "text": "help" }], "human": true },
    });
    let (id, kind, data) = frames(&mut stage.session).remove(0);
    assert_eq!((id.as_deref(), kind.as_str()), (Some("0.0"), "opened"));
    for (field, value) in expected.as_object().unwrap() {
        match field.as_str() {
            "data" => assert_eq!((&data["data"]["input"][0]["text"], &data["data"]["human"]), (&json!("help"), &json!(true))),
            _ => assert_eq!(&data[field], value, "{field}"),
        }
    }
}

#[test]
fn live_text_comes_before_the_event_that_makes_it_true() {
    let mut stage = Stage::new();
    assert_eq!(stage.says(0, 0, "How "), ["token How "]);
    assert_eq!(stage.says(0, 1, "can I "), ["token can I "]);
    assert_eq!(stage.writes(Class::Ask, vec![responded("How can I help?"), asked()]), ["token help?|", "1.0 responded", "1.1 asked"]);
}

#[test]
fn text_that_nobody_saw_live_comes_with_its_event_only() {
    let mut stage = Stage::new();
    assert_eq!(stage.writes(Class::Ask, vec![responded("How can I help?"), asked()]), ["1.0 responded", "1.1 asked"]);
}

#[test]
fn each_answer_that_was_begun_is_said_to_its_end() {
    let mut stage = Stage::new();
    assert_eq!(stage.says(0, 0, "Let me look."), ["token Let me look."]);
    assert_eq!(stage.says(1, 0, "It is "), ["token |", "token It is "]);
    let looked = Returned { call: "call-1".to_owned(), tool: "look".to_owned(), content: "sent".to_owned(), is_error: false };
    let call = protocol::event::Call { id: "call-1".to_owned(), name: "look".to_owned(), arguments: "{}".to_owned() };
    let first = Responded { text: "Let me look.".to_owned(), calls: vec![call], ..Responded::default() };
    assert_eq!(
        stage.writes(Class::Ask, vec![first.into(), looked.into(), responded("It is sent."), asked()]),
        ["1.0 responded", "1.1 returned", "token sent.|", "1.2 responded", "1.3 asked"]
    );
}

#[test]
fn what_was_shown_and_is_not_true_is_withdrawn() {
    let mut stage = Stage::new();
    assert_eq!(stage.says(0, 0, "Hax"), ["token Hax"]);
    assert_eq!(stage.says(0, 1, ""), ["reset"]);
    assert_eq!(stage.says(0, 2, "How"), ["token How"]);
    assert_eq!(stage.writes(Class::Ask, vec![responded("What?"), asked()]), ["reset", "1.0 responded", "1.1 asked"]);
}

#[test]
fn an_answer_without_a_text_confirms_nothing() {
    let mut stage = Stage::new();
    let token = |text: &str, is_final| Followed::Token(Token::Text { agent: agent(), text: text.to_owned(), is_final });
    let event = |stage: &mut Stage, events| {
        let mut conversation = stage.conversation.clone();
        let prepared = conversation.prepare(draft(&conversation, Class::Ask, Writer::Agent(agent()), events)).unwrap();
        conversation.commit(prepared, Seq(2)).unwrap();
        Follower::new(&conversation, 8, Some(EventId { ordinal: 0, index: 0 }), false).1
    };
    let [silent, spoken] = [event(&mut stage, vec![responded(""), asked()]), event(&mut stage, vec![responded("How?"), asked()])];
    let shown = [token("How", false), silent[0].clone(), token("?", true), spoken[0].clone()];
    assert_eq!(stage.shows(&shown), ["token How", "1.0 responded", "token ?|", "1.0 responded"]);
    // Nor is a text said twice because an answer without one follows it.
    assert_eq!(stage.shows(&[token("How?", true), silent[0].clone()]), ["token How?|", "1.0 responded"]);
}

#[test]
fn a_stream_that_is_resumed_begins_by_withdrawing_whatever_was_live() {
    let after = EventId { ordinal: 3, index: 1 };
    let mut session = Session::begin(Some(after));
    assert_eq!(session.last(), Some(after));
    let expected = "retry: 500\n\nevent: reset\ndata: {\"agent\":null,\"name\":null}\n\n";
    assert_eq!(session.take().unwrap(), expected);
    assert_eq!(session.take(), None);
}

#[test]
fn an_event_whose_definition_cannot_be_had_is_shown_all_the_same() {
    let mut stage = Stage::new();
    stage.session.names = None;
    assert_eq!(stage.writes(Class::Ask, vec![responded("How can I help?"), asked()]), ["1.0 responded", "1.1 asked"]);
    assert_eq!(stage.session.last(), Some(EventId { ordinal: 1, index: 1 }));
}
