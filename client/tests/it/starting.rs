use std::collections::BTreeMap;
use std::time::Duration;

use client::{Accepted, Classified, Input, Opening, StartError, Started, Status, Unread, Unwritten};
use journal::memory::{Fault, Faults};
use journal::registry::{self, RegistryError};
use journal::{Append, Store};
use protocol::brief::Fixed;
use protocol::entry::Entry;
use protocol::event::{Erased, Event, Json, Message, Opened, Role};
use protocol::ids::{ConversationId, Seq, Writer};
use protocol::manifest::{HumanSpec, LimitsSpec, Seconds};
use protocol::orchestration::OnMessage;
use protocol::subject::Class;
use serde_json::json;

use crate::world::{World, agent, definition};

fn opened(world: &World, id: &ConversationId) -> (Entry, Opened) {
    let entry = Entry::decode(&world.stored(id)[0]).unwrap().0;
    let [Event::Opened(opened)] = entry.events.as_slice() else { panic!("{:?}", entry.events) };
    let opened = opened.clone();
    (entry, opened)
}

#[tokio::test]
async fn an_opening_is_a_work_item_for_the_start_agent() {
    let world = World::new().await;
    let started = world.client.start(&Opening::new("alice", "help")).await.unwrap();
    assert_eq!((started.ordinal, started.is_repeat), (0, false));
    let (entry, opened) = opened(&world, &started.conversation);
    let subject = &entry.head.subject;
    assert_eq!((&subject.class, &subject.from), (&world.to("triage-agent"), &Writer::Client));
    assert_eq!(entry.head.revision, *world.orchestration.revision());
    assert_eq!(opened.input, [Message { role: Role::User, name: None, text: "help".to_owned() }]);
    assert!(!opened.human);
    assert_eq!(entry.head.brief.fixed, Fixed { turn_secs: Some(600), ..Fixed::default() });
}

#[tokio::test]
async fn an_opening_fixes_what_holds_for_the_whole_conversation() {
    let limits = LimitsSpec { turn_timeout: Some(Seconds(7)), conversation_timeout: Some(Seconds(70)), ..LimitsSpec::default() };
    let human = HumanSpec { on_message: Some(OnMessage::Interrupt), return_to_start: Some(true), autonomous: None };
    let world = World::with(|builder| builder.limits(limits).human(human)).await;
    let gateway = world.gateway("gateway-1");
    let metadata = BTreeMap::from([("tier".to_owned(), json!("gold"))]);
    let opening = Opening { tenant: Some("acme".to_owned()), metadata: metadata.clone(), ..Opening::new("alice", "help").with_human() };
    let started = gateway.start(&opening).await.unwrap();
    let (entry, opened) = opened(&world, &started.conversation);
    assert!(opened.human);
    assert_eq!(opened.metadata, metadata);
    assert_eq!(
        entry.head.brief.fixed,
        Fixed {
            gateway: Some("gateway-1".parse().unwrap()),
            tenant: Some("acme".to_owned()),
            turn_secs: Some(7),
            conversation_secs: Some(70),
            on_message: OnMessage::Interrupt,
            reply_to: Some(agent("triage-agent")),
            ..Fixed::default()
        }
    );
}

#[tokio::test]
async fn a_conversation_starts_with_a_text_messages_or_any_value() {
    let world = World::new().await;
    let system = Message { role: Role::System, name: None, text: "Be brief.".to_owned() };
    let task = Message { role: Role::User, name: Some("Alice".to_owned()), text: "help".to_owned() };
    for (input, texts, value) in [
        (Input::from("help"), vec!["help"], None),
        (Input::from(task.clone()), vec!["help"], None),
        (Input::from(vec![system, task.clone()]), vec!["Be brief.", "help"], None),
        (Input::from(json!({"order": 123})), vec![r#"{"order":123}"#], Some(json!({"order": 123}))),
        (Input::from(json!("a text")), vec!["a text"], Some(json!("a text"))),
        (Input { messages: vec![task], value: Some(json!([1])) }, vec!["help"], Some(json!([1]))),
    ] {
        let started = world.client.start(&Opening::new("alice", input)).await.unwrap();
        let (_, opened) = opened(&world, &started.conversation);
        let found: Vec<_> = opened.input.iter().map(|message| message.text.as_str()).collect();
        assert_eq!((found, opened.value), (texts, value));
    }
    for empty in [Input::default(), Input::from(" \n"), Input::from(json!(""))] {
        let refused = world.client.start(&Opening::new("alice", empty)).await.unwrap_err();
        assert_eq!((&refused, refused.status()), (&StartError::Empty, Status::Invalid));
    }
}

/// Case 52.
#[tokio::test]
async fn an_opening_is_a_value_that_matches_the_input_schema_where_there_is_one() {
    let typed = |schema: Json| {
        let mut manifest = definition(|builder| builder).manifest().clone();
        manifest.spec.input = Some(schema);
        manifest.check().unwrap().orchestration
    };
    let world = World::new().await;
    let order = json!({ "type": "object", "properties": { "order": { "type": "integer" } }, "required": ["order"] });
    registry::register(&world.memory, &typed(order)).await.unwrap();
    // Asked through a client that has not read the former definition.
    let client = world.gateway("gateway-1");
    for (input, complaint) in [
        (Input::from("order 7"), "a text is no value"),
        (Input::from(json!({ "order": "7" })), "at \"/order\": \"7\" is not of type \"integer\""),
        (Input::from(json!({})), "\"order\" is a required property"),
    ] {
        let refused = client.start(&Opening::new("alice", input).with_key("k1")).await.unwrap_err();
        assert!(matches!(&refused, StartError::InvalidInput(said) if said.contains(complaint)), "{refused}");
        assert_eq!(refused.classify(), (Status::Invalid, "invalid_input"));
    }
    // Nothing was stored: the key is still free.
    let started = client.start(&Opening::new("alice", json!({ "order": 7 })).with_key("k1")).await.unwrap();
    assert!(!started.is_repeat);
    assert_eq!(opened(&world, &started.conversation).1.value, Some(json!({ "order": 7 })));
    // A definition that nobody can obey.
    registry::register(&world.memory, &typed(json!({ "type": 7 }))).await.unwrap();
    let refused = world.gateway("gateway-2").start(&Opening::new("alice", json!(1))).await.unwrap_err();
    assert!(matches!(&refused, StartError::InputSchema(_)), "{refused}");
}

#[tokio::test]
async fn the_same_key_of_the_same_caller_is_the_same_conversation() {
    let world = World::new().await;
    let opening = Opening::new("alice", "help").with_key("k1");
    let first = world.client.start(&opening).await.unwrap();
    // Through another process, under another revision, and after the conversation went on.
    world.asks(&first.conversation, "triage-agent", "Which order?").await;
    registry::register(&world.memory, &definition(|builder| builder.mesh())).await.unwrap();
    let again = world.gateway("gateway-1").start(&opening).await.unwrap();
    assert_eq!(again, Started { is_repeat: true, ..first.clone() });
    assert_eq!(world.kinds(&first.conversation), ["opened", "asked"]);

    let others = [Opening::new("bob", "help").with_key("k1"), Opening::new("alice", "help").with_key("k2"), Opening::new("alice", "help")];
    for other in others {
        let other = world.client.start(&other).await.unwrap();
        assert!(!other.is_repeat && other.conversation != first.conversation);
    }
}

#[tokio::test]
async fn a_key_serves_one_request() {
    let world = World::new().await;
    world.client.start(&Opening::new("alice", "help").with_key("k1")).await.unwrap();
    let reused = world.client.start(&Opening::new("alice", "something else").with_key("k1")).await.unwrap_err();
    assert_eq!(reused, StartError::Unwritten(Unwritten::KeyReused { key: "k1".to_owned(), ordinal: 0 }));
    assert_eq!((reused.status(), reused.code()), (Status::Conflict, "key_reused"));
}

#[tokio::test]
async fn an_id_that_somebody_else_took_is_an_error() {
    let world = World::new().await;
    let conversation = ConversationId::of_opening("alice", "k1");
    let other = Opening::new("alice", "help").with_key("k2");
    let taken = world.client.start(&other).await.unwrap().conversation;
    // Somebody's entry under the id that this key will have.
    let stored = world.stored(&taken).remove(0);
    let subject = stored.subject.replace(taken.as_str(), conversation.as_str());
    let message = protocol::wire::Message { subject, headers: stored.headers, payload: stored.payload };
    assert!(matches!(world.memory.inject(message), Ok(Append::Appended(_))));
    let foreign = world.client.start(&Opening::new("alice", "help").with_key("k1")).await.unwrap_err();
    assert_eq!(foreign, StartError::Foreign(conversation));
}

#[tokio::test]
async fn an_erased_conversation_does_not_start_again() {
    let world = World::new().await;
    let opening = Opening::new("alice", "help").with_key("k1");
    let id = world.client.start(&opening).await.unwrap().conversation;
    world.completes(&id, "triage-agent", "done").await;
    world.write(&id, Writer::Coordinator, Class::End, vec![Erased {}.into()]).await;
    let tail = world.stored(&id).last().unwrap().seq;
    world.memory.purge(world.orchestration.name(), &id, tail).await.unwrap();
    let gone = world.client.start(&opening).await.unwrap_err();
    assert_eq!(gone, StartError::Unwritten(Unread::Erased(id.clone()).into()));
    assert_eq!(gone.status(), Status::Gone);
    let gone = world.client.say(&id, "hello?", None).await.unwrap_err();
    assert_eq!((gone.status(), gone.code()), (Status::Gone, "erased"));
    assert_eq!(world.stored(&id).len(), 1);
}

#[tokio::test]
async fn without_a_registered_definition_nothing_starts() {
    let world = World::new().await;
    world.memory.delete_value(world.orchestration.name(), "current", journal::Expect::Any).await.unwrap();
    let missing = world.client.start(&Opening::new("alice", "help")).await.unwrap_err();
    assert!(matches!(&missing, StartError::Registry(RegistryError::Missing { .. })), "{missing}");
    assert_eq!(missing.status(), Status::NotFound);
}

#[tokio::test(start_paused = true)]
async fn new_conversations_begin_on_the_current_revision() {
    let world = World::new().await;
    let first = world.open().await;
    let newer = definition(|builder| builder.limits(LimitsSpec { attempts: Some(3), ..LimitsSpec::default() }));
    registry::register(&world.memory, &newer).await.unwrap();
    tokio::time::advance(Duration::from_secs(3)).await;
    let second = world.open().await;
    let revision = async |id| world.conversation(id).await.revision().unwrap().clone();
    assert_eq!(revision(&first).await, *world.orchestration.revision());
    assert_eq!(revision(&second).await, *newer.revision());
    // What a conversation runs on stays what it was.
    let accepted = world.client.say(&first, "hello?", None).await.unwrap();
    assert_eq!(accepted, Accepted { ordinal: 1, is_repeat: false });
    assert_eq!(revision(&first).await, *world.orchestration.revision());
}

#[tokio::test(start_paused = true)]
async fn an_opening_whose_outcome_is_unknown_is_sent_again_until_it_is_known() {
    for fault in [Fault::AcknowledgementLost, Fault::AppendLost, Fault::AppendLate] {
        let world = World::new().await;
        world.memory.set_faults(Faults::default().with(fault, 800).with(Fault::ResendLost, 1000).delay(Duration::from_millis(90)));
        let started = world.client.start(&Opening::new("alice", "help").with_key("k1")).await.unwrap();
        assert_eq!(world.kinds(&started.conversation), ["opened"], "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_outcome_that_nobody_knows_is_called_unknown_and_the_key_settles_it() {
    for (fault, stored) in [(Fault::AcknowledgementLost, 1), (Fault::AppendLost, 0)] {
        let world = World::new().await;
        let opening = Opening::new("alice", "help").with_key("k1");
        world.client.current().await.unwrap();
        world.memory.set_faults(Faults::default().with(fault, 1000).with(Fault::ResendLost, 1000));
        let client = world.client.clone().with_patience(Duration::from_secs(3));
        let unknown = client.start(&opening).await.unwrap_err();
        assert!(matches!(&unknown, StartError::Unwritten(Unwritten::Unknown(_))), "{unknown}");
        assert_eq!((unknown.status(), unknown.code()), (Status::Unavailable, "unknown_outcome"));
        assert_eq!(world.memory.stored(world.orchestration.name()).len(), stored);

        world.memory.set_faults(Faults::default());
        let started = client.start(&opening).await.unwrap();
        assert_eq!(started.is_repeat, stored == 1);
        assert_eq!(world.stored(&started.conversation).len(), 1);
        assert_eq!(world.stored(&started.conversation)[0].seq, Seq(1));
    }
}

#[tokio::test(start_paused = true)]
async fn of_two_openings_under_one_key_at_once_one_begins_and_the_other_is_refused() {
    for seed in 0..200 {
        let world = World::seeded(seed).await;
        world.memory.set_faults(Faults::default().latency(Duration::from_millis(1 + seed % 7)));
        let (help, sell) = (Opening::new("alice", "help").with_key("k1"), Opening::new("alice", "sell").with_key("k1"));
        let (first, second) = futures::future::join(world.client.start(&help), world.client.start(&sell)).await;
        let (begun, refused) = if first.is_ok() { (first, second) } else { (second, first) };
        assert!(!begun.unwrap().is_repeat);
        assert_eq!(refused, Err(StartError::Unwritten(Unwritten::KeyReused { key: "k1".to_owned(), ordinal: 0 })));

        let gateways = (world.gateway("gateway-1"), world.gateway("gateway-2"));
        let buy = Opening::new("alice", "buy").with_key("k2");
        let (first, second) = futures::future::join(gateways.0.start(&buy), gateways.1.start(&buy)).await;
        let (first, second) = (first.unwrap(), second.unwrap());
        assert_eq!(first.conversation, second.conversation);
        assert_ne!(first.is_repeat, second.is_repeat);
    }
}

#[tokio::test]
async fn a_key_is_for_all_that_an_opening_says() {
    let world = World::new().await;
    let opening = Opening::new("alice", "help").with_key("k1");
    world.client.start(&opening).await.unwrap();
    let metadata = BTreeMap::from([("tier".to_owned(), json!("gold"))]);
    for other in [
        Opening { metadata, ..opening.clone() },
        Opening { tenant: Some("acme".to_owned()), ..opening.clone() },
        opening.clone().with_human(),
    ] {
        assert!(matches!(world.client.start(&other).await, Err(StartError::Unwritten(Unwritten::KeyReused { .. }))), "{other:?}");
    }
    assert!(world.client.start(&opening).await.unwrap().is_repeat);
}
