//! What people do who play an agent.

use client::{Claim, ClaimError, Claiming, Classified, Decision, NotOpen, Reply, ReplyError, Status};
use protocol::builder::AgentDef;
use protocol::event::{Asked, Audience, DeskAction, Event, Json, RequestKind, Verdict};
use protocol::ids::{ConversationId, EventId, RequestId};
use protocol::manifest::{DeskSpec, HandoffSpec};
use protocol::subject::Class;
use serde_json::json;

use crate::world::{World, agent};

/// People play `till`: they hand over to `refund-agent` with an order, to `triage-agent` with words, and end with a result.
async fn world() -> World {
    let people = AgentDef::new("Till").description("People.").desk(DeskSpec { name: Some("front".to_owned()), timeout: None });
    let order = json!({ "type": "object", "properties": { "order": { "type": "integer" } }, "required": ["order"] });
    let typed = HandoffSpec { payload: Some(order), ..HandoffSpec::to("refund-agent") };
    World::with(|builder| {
        let builder = builder.agent(&people).add("TriageAgent", "Till").add("Till", "TriageAgent");
        builder.add_handoff("Till", typed).output(json!({ "type": "integer" }))
    })
    .await
}

async fn asks(world: &World, id: &ConversationId, from: &str, audience: &str) -> RequestId {
    let audience: Audience = audience.parse().unwrap();
    let asked =
        Asked { kind: RequestKind::Question, audience, text: "Well?".to_owned(), call: None, arguments_hash: None, due_secs: Some(60) };
    EventId { ordinal: world.agent(id, from, Class::Ask, vec![asked.into()]).await, index: 0 }
}

/// A conversation in which it is the turn of the people who play `till`.
async fn at_desk(world: &World) -> (ConversationId, RequestId) {
    let id = world.open().await;
    world.transfers(&id, "triage-agent", "till", "One moment.").await;
    let request = asks(world, &id, "till", "desk:front").await;
    (id, request)
}

fn transfer(to: &str) -> Option<DeskAction> {
    Some(DeskAction::Transfer { to: agent(to) })
}

fn acts(request: RequestId, action: Option<DeskAction>, value: Option<Json>) -> Reply {
    Reply { action, value, ..Reply::to(request, "not ours") }
}

#[tokio::test]
async fn a_value_goes_along_where_the_definition_asks_for_one() {
    let world = world().await;
    for (action, value) in [
        (transfer("refund-agent"), Some(json!({ "order": 7 }))),
        (transfer("triage-agent"), None),
        (Some(DeskAction::Complete), Some(json!(7))),
        (None, None),
    ] {
        let (id, request) = at_desk(&world).await;
        let reply = acts(request, action.clone(), value.clone()).with_key("k1");
        let first = world.client.reply(&id, &reply).await.unwrap();
        let again = world.gateway("gateway-1").reply(&id, &reply).await.unwrap();
        assert_eq!((again.ordinal, again.is_repeat), (first.ordinal, true));
        let Event::Replied(replied) = world.conversation(&id).await.last().unwrap().events[0].clone() else { panic!() };
        assert_eq!((replied.action, replied.value), (action.clone(), value.clone()));
        if value.is_some() {
            let other = acts(request, action, Some(json!({ "order": 8 }))).with_key("k1");
            assert_eq!(world.client.reply(&id, &other).await.unwrap_err().code(), "key_reused");
        }
    }
}

#[tokio::test]
async fn what_is_not_as_the_definition_says_is_refused_and_not_stored() {
    let world = world().await;
    let (id, request) = at_desk(&world).await;
    let before = world.kinds(&id);
    let complete = || Some(DeskAction::Complete);
    for (action, value, expected) in [
        (transfer("refund-agent"), None, "nothing was done, a handoff to refund-agent does not go so: it needs a value that matches {"),
        (transfer("refund-agent"), Some(json!({ "order": "7" })), "is not of type \"integer\"; a value matches {"),
        (transfer("refund-agent"), Some(Json::Null), "null is not of type \"object\""),
        (transfer("triage-agent"), Some(json!({ "order": 7 })), "it takes words only"),
        (complete(), None, "the end of the conversation does not go so: it needs a value"),
        (complete(), Some(json!("seven")), "is not of type \"integer\""),
        (None, Some(json!(7)), "an answer does not go so: it takes words only"),
    ] {
        let error = world.client.reply(&id, &acts(request, action, value)).await.unwrap_err();
        assert_eq!(error.classify(), (Status::Invalid, "invalid_value"), "{error}");
        assert!(error.to_string().contains(expected), "{error}");
    }
    let error = world.client.reply(&id, &acts(request, transfer("till"), None)).await.unwrap_err();
    assert_eq!(error.classify(), (Status::Invalid, "no_handoff"));
    assert_eq!(error.to_string(), "till hands over to triage-agent, refund-agent, not to till");
    assert_eq!(world.kinds(&id), before);
}

#[tokio::test]
async fn an_agents_own_question_is_nobodys_turn() {
    let world = world().await;
    for audience in ["desk:front", "desk:other", "role:manager", "caller"] {
        let id = world.open().await;
        let request = asks(&world, &id, "triage-agent", audience).await;
        let before = world.kinds(&id);
        for action in [transfer("till"), Some(DeskAction::Complete)] {
            let reply = acts(request, action, None);
            for reply in [reply.clone(), Reply { request: None, ..reply }] {
                let error = world.client.reply(&id, &reply).await.unwrap_err();
                assert_eq!(error.classify(), (Status::Conflict, "not_a_turn"), "{audience}");
            }
        }
        assert_eq!(world.kinds(&id), before);
        world.client.reply(&id, &Reply::to(request, "fine")).await.unwrap();
    }
    // An approval is decided, whoever plays the agent.
    let id = world.open().await;
    let approval = world.asks_approvals(&id, &["desk:front"]).await[0];
    let error = world.client.reply(&id, &acts(approval, Some(DeskAction::Complete), None)).await;
    assert_eq!(error, Err(ReplyError::NeedsDecision(approval)));
}

#[tokio::test]
async fn a_request_is_taken_taken_over_and_put_back() {
    let world = world().await;
    let (id, request) = at_desk(&world).await;
    let claim = async |by: &str, how: Claiming| {
        let taken = world.client.claim(&id, &Claim { how, ..Claim::take(request, by) }).await;
        taken.map(|_| ())
    };
    let holder = async || world.conversation(&id).await.requests()[0].claimed_by.clone();
    let is_anns = ClaimError::Claimed { request, by: "ann".to_owned() };

    claim("ann", Claiming::Take).await.unwrap();
    assert_eq!(claim("bea", Claiming::Take).await, Err(is_anns.clone()));
    assert_eq!(claim("bea", Claiming::Release).await, Err(is_anns), "nobody puts back what is another's");
    assert_eq!(holder().await.as_deref(), Some("ann"));
    claim("bea", Claiming::TakeOver).await.unwrap();
    assert_eq!(holder().await.as_deref(), Some("bea"));
    let answer = |by: &str| Reply { by: by.to_owned(), ..Reply::to(request, "It is paid.") };
    assert_eq!(world.client.reply(&id, &answer("ann")).await, Err(ReplyError::Claimed { request, by: "bea".to_owned() }));
    claim("bea", Claiming::Release).await.unwrap();
    assert_eq!(holder().await, None);
    claim("cem", Claiming::TakeOver).await.unwrap();
    assert_eq!(claim(" ", Claiming::TakeOver).await, Err(ClaimError::Nameless));

    let releases = Claim { how: Claiming::Release, key: Some("k1".to_owned()), ..Claim::take(request, "cem") };
    let first = world.client.claim(&id, &releases).await.unwrap();
    let again = world.client.claim(&id, &releases).await.unwrap();
    assert_eq!((again.ordinal, again.is_repeat), (first.ordinal, true));
    let takes = Claim { how: Claiming::TakeOver, ..releases };
    assert_eq!(world.client.claim(&id, &takes).await.unwrap_err().code(), "key_reused");

    world.client.reply(&id, &answer("ann")).await.unwrap();
    assert_eq!(claim("ann", Claiming::TakeOver).await, Err(NotOpen::Answered(request).into()));
}

#[tokio::test]
async fn an_approval_at_a_desk_is_claimed_and_one_of_a_role_is_not() {
    let world = world().await;
    let id = world.open().await;
    let [at_desk, of_role] = world.asks_approvals(&id, &["desk:front", "role:manager"]).await.try_into().unwrap();
    world.client.claim(&id, &Claim::take(at_desk, "ann")).await.unwrap();
    assert_eq!(world.client.claim(&id, &Claim::take(of_role, "ann")).await, Err(ClaimError::NoDesk(of_role)));
    for request in [at_desk, of_role] {
        world.client.decide(&id, &Decision { by: "ann".to_owned(), ..Decision::new(request, Verdict::Denied) }).await.unwrap();
    }
}
