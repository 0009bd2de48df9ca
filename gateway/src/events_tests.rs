//! A reader who is told too little, or too late. The broker is in memory.

use client::{Client, Opening, Side};
use journal::memory::Memory;
use journal::{Append, Bus, Delivery, Journal, Plan, Provision, registry};
use protocol::builder::AgentDef;
use protocol::conversation::Draft;
use protocol::event::{Asked, Audience, Event, RequestKind};
use protocol::ids::{EntryId, Writer};
use protocol::live::{self, Live};
use protocol::manifest::ModelSpec;
use protocol::orchestration::Orchestration;
use protocol::query::ForwardedRequest;
use protocol::subject::{self, Class};
use tokio::sync::Semaphore;

use super::*;
use crate::hub::{self, Hub};

const NAME: &str = "support";

struct Stage {
    memory: Memory,
    edge: Arc<Edge>,
    conversation: ConversationId,
}

impl Stage {
    /// A conversation that has been opened, and a gateway that hears of nothing yet.
    async fn new() -> Self {
        let agent = AgentDef::new("triage").instructions("Help.");
        let builder = Orchestration::builder(NAME).model("default", ModelSpec::openai("gpt-5-mini")).agent(&agent);
        let definition = builder.start_with("triage").build().unwrap().orchestration;
        let memory = Memory::new();
        memory.provision(&Plan::new(NAME.parse().unwrap(), vec!["triage".parse().unwrap()])).await.unwrap();
        registry::register(&memory, &definition).await.unwrap();
        let client = Client::new(Arc::new(memory.client()), NAME.parse().unwrap(), Side::Gateway, "gateway-1".parse().unwrap());
        let conversation = client.start(&Opening::new("ann", "Hello").with_human()).await.unwrap().conversation;
        Self { memory, edge: Arc::new(Edge { client, hub: Hub::default() }), conversation }
    }

    async fn reader(&self) -> Stream {
        let wanted = Wanted { conversation: self.conversation.clone(), after: None, tokens: true };
        let edge = Arc::clone(&self.edge);
        let joined = Reader::join(edge, wanted, None, Session::begin(None), CancellationToken::new()).await;
        let (reader, shown) = joined.unwrap_or_else(|error| panic!("{error}"));
        let permit = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        Stream { reader, shown, _permit: permit }
    }

    /// The agent asks something; the ordinal of the entry.
    async fn asks(&self) -> u64 {
        let name = NAME.parse().unwrap();
        let conversation = journal::load(&self.memory, &name, &self.conversation).await.unwrap().unwrap();
        let audience = Audience::Caller;
        let asked =
            Asked { kind: RequestKind::Question, audience, text: "Well?".to_owned(), call: None, arguments_hash: None, due_secs: None };
        let draft = Draft {
            class: Class::Ask,
            from: Writer::Agent("triage".parse().unwrap()),
            id: EntryId::of_request(&self.conversation, &conversation.tail().next.to_string()),
            process: "triage-1".parse().unwrap(),
            revision: conversation.revision().unwrap().clone(),
            events: vec![Event::from(asked)],
            trace: None,
        };
        let prepared = conversation.prepare(draft).unwrap();
        assert!(matches!(self.memory.append(&prepared).await, Append::Appended(_)));
        prepared.ordinal()
    }

    /// What the coordinator forwards of the request at `ordinal`.
    async fn forwards(&self, ordinal: u64) {
        let request = ForwardedRequest {
            conversation: self.conversation.clone(),
            request: EventId { ordinal, index: 0 },
            kind: RequestKind::Question,
            audience: Audience::Caller,
            agent: "triage".parse().unwrap(),
        };
        let payload = serde_json::to_vec(&request).unwrap().into();
        crate::forward::take(&self.edge, Delivery { subject: String::new(), headers: journal::Headers::new(), payload, reply: None }).await;
    }
}

/// The kinds of the next frames.
async fn kinds(stream: &mut Stream) -> Vec<String> {
    let frames = stream.next().await.unwrap();
    let text = std::str::from_utf8(&frames).unwrap().to_owned();
    text.lines().filter_map(|line| line.strip_prefix("event: ")).map(str::to_owned).collect()
}

#[tokio::test]
async fn a_request_that_the_gateway_did_not_hear_of_is_shown_when_it_is_forwarded() {
    let stage = Stage::new().await;
    let mut stream = stage.reader().await;
    assert_eq!(kinds(&mut stream).await, ["opened"]);

    let ordinal = stage.asks().await;
    stage.forwards(ordinal).await;
    assert_eq!(kinds(&mut stream).await, ["reset", "asked"]);
    // It comes once, however often it is forwarded.
    stage.forwards(ordinal).await;
    let heard = stream.reader.advance().await;
    assert!(matches!(heard, Ok(Heard::Shown(shown)) if shown.is_empty()));
}

#[tokio::test]
async fn whoever_falls_behind_is_cut_off_and_catches_up() {
    const PIECES: u32 = 400;
    let stage = Stage::new().await;
    let hub = tokio::spawn(hub::run(Arc::clone(&stage.edge)));
    stage.edge.hub.following().wait_for(|following| *following).await.unwrap();
    let (mut slow, mut quick) = (stage.reader().await, stage.reader().await);
    let mut seen = kinds(&mut quick).await;
    let said = subject::live(&NAME.parse().unwrap(), &"triage".parse().unwrap(), &stage.conversation);
    let epoch = slow.reader.follower.tail().epoch;
    for index in 0..PIECES {
        let live = Live { epoch, process: "triage-1".parse().unwrap(), answer: 0, index, piece: live::Piece::Text("x".to_owned()) };
        stage.memory.say(&said, live.encode()).await;
        seen.extend(kinds(&mut quick).await);
    }
    for text in ["One", "Two", "Three"] {
        stage.edge.client.say(&stage.conversation, text, None).await.unwrap();
        seen.extend(kinds(&mut quick).await);
    }
    let count = |kinds: &[String], kind: &str| kinds.iter().filter(|seen| *seen == kind).count();
    let counts = |seen: &[String]| ["opened", "said", "token", "reset"].map(|kind| count(seen, kind));
    assert_eq!(counts(&seen), [1, 3, PIECES as usize, 0]);

    let mut late = Vec::new();
    while count(&late, "said") < 3 {
        late.extend(kinds(&mut slow).await);
    }
    let [opened, said, tokens, resets] = counts(&late);
    assert_eq!((opened, said, resets), (1, 3, 1));
    assert!(tokens < PIECES as usize, "what it had not been told is not kept for it: {tokens}");
    assert_eq!(slow.reader.session.last(), quick.reader.session.last());
    hub.abort();
}
