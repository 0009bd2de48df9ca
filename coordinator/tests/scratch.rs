use std::sync::{Arc, Mutex};
use std::time::Duration;
use coordinator::{Config, Coordinator, Served};
use futures::StreamExt;
use journal::nats::{Nats, Settings};
use journal::*;
use protocol::builder::AgentDef;
use protocol::conversation::*;
use protocol::entry::Head;
use protocol::event::*;
use protocol::ids::*;
use protocol::manifest::ModelSpec;
use protocol::orchestration::Orchestration;
use protocol::presence::*;
use protocol::subject;
use tokio_util::sync::CancellationToken;

fn name() -> OrchestrationName { "support".parse().unwrap() }
fn agent() -> AgentName { "triage".parse().unwrap() }
async fn connect(url: &str) -> Nats { let mut s = Settings::default(); s.servers = vec![url.parse().unwrap()]; Nats::connect(&s).await.unwrap() }

async fn worker(url: &str, id: String) {
    let broker = connect(url).await;
    let process: ProcessId = id.parse().unwrap();
    let held = Arc::<Mutex<Vec<ConversationId>>>::default();
    let mut alive = broker.listen(&subject::alive(&name(), &process), None).await.unwrap();
    let mut holds = broker.listen(&subject::holds(&name(), &agent()), None).await.unwrap();
    let mut beats = tokio::time::interval(Duration::from_millis(250));
    let (b2, h2) = (broker.clone(), held.clone());
    let take = std::env::var("TAKE").is_ok();
    tokio::spawn(async move {
        if !take { std::future::pending::<()>().await; }
        let mut src = b2.work(&name(), &agent()).await.unwrap();
        let mut items = vec![];
        loop {
            let item = src.next(8).await.unwrap();
            let c = Head::decode(&item.stored.subject, &item.stored.headers).unwrap().subject.conversation;
            h2.lock().unwrap().push(c.clone());
            b2.say("took", c.to_string().into()).await;
            items.push(item);
        }
    });
    loop {
        tokio::select! {
            _ = beats.tick() => broker.say(&subject::heartbeat(&name(), &agent(), &process), serde_json::to_vec(&Heartbeat{process: process.clone(), pid: 1, agent: agent(), held: 0, slots: 8, is_draining: false}).unwrap().into()).await,
            Some(p) = alive.next() => broker.say(&p.reply.unwrap(), vec![].into()).await,
            Some(q) = holds.next() => {
                let HoldsQuestion { conversations } = serde_json::from_slice(&q.payload).unwrap();
                let held = { let h = held.lock().unwrap(); conversations.into_iter().filter(|c| h.contains(c)).collect() };
                broker.say(&q.reply.unwrap(), serde_json::to_vec(&HoldsAnswer{process: process.clone(), held}).unwrap().into()).await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn measure() {
    if let Ok(id) = std::env::var("WORKER") { worker(&std::env::var("NURL").unwrap(), id).await; return; }
    let dir = std::env::temp_dir().join(format!("scratch-{}", std::process::id()));
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut server = std::process::Command::new("/tmp/nats/nats-server").args(["-js", "-a", "127.0.0.1", "-p", &port.to_string(), "-sd", dir.to_str().unwrap()]).stderr(std::process::Stdio::null()).spawn().unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let url = format!("nats://127.0.0.1:{port}");
    let triage = AgentDef::new("triage").description("T.");
    let o = Orchestration::builder("support").model("default", ModelSpec::openai("x")).agents([&triage]).start_with(&triage).build().unwrap().orchestration;
    let broker = connect(&url).await;
    let c = Coordinator::new(Arc::new(connect(&url).await), "k-1".parse().unwrap(), Config::new(vec![Served::Definition(Box::new(o.clone()))]));
    let mut ready = c.ready();
    let began = std::time::Instant::now();
    let stop = CancellationToken::new();
    let run = tokio::spawn(c.run(stop.clone()));
    ready.wait_for(|r| *r).await.unwrap();
    println!("ready after {:?}", began.elapsed());
    let child = |id: &str, take: bool| { let mut c = std::process::Command::new(std::env::current_exe().unwrap()); c.args(["measure", "--exact", "--nocapture"]).env("WORKER", id).env("NURL", &url); if take { c.env("TAKE", "1"); } c.spawn().unwrap() };
    let mut survivor = child("w-s", false);
    let mut took = broker.listen("took", None).await.unwrap();
    let mut figures = vec![];
    for n in 0..20 {
        let mut victim = child(&format!("w-{n}"), true);
        let empty = Conversation::empty(name(), format!("c{n}").parse().unwrap());
        let draft = Draft { class: subject::Class::To { agent: agent(), revision: o.revision().clone() }, from: Writer::Client, id: EntryId::from_random(*uuid::Uuid::new_v4().as_bytes()), process: "gw".parse().unwrap(), revision: o.revision().clone(), events: vec![Opened::default().into()], trace: None };
        let p = empty.prepare_opening(draft, Default::default()).unwrap();
        assert!(matches!(broker.append(&p).await, Append::Appended(_)));
        let mut follow = broker.follow(&name(), Follow { scope: Scope::Conversation(format!("c{n}").parse().unwrap()), start: Start::First, bodies: false }).await.unwrap();
        follow.next().await.unwrap().unwrap();
        loop { if took.next().await.unwrap().payload == format!("c{n}").as_bytes() { break } }
        tokio::time::sleep(Duration::from_millis(1500 + n * 37)).await;
        victim.kill().unwrap();
        let killed = std::time::Instant::now();
        let next = follow.next().await.unwrap().unwrap();
        figures.push(killed.elapsed().as_millis());
        let head = Head::decode(&next.subject, &next.headers).unwrap();
        assert_eq!(head.kind, "redispatched");
        victim.wait().unwrap();
        // end it so the next worker does not take it
        let conv = load(&broker, &name(), &format!("c{n}").parse().unwrap()).await.unwrap().unwrap();
        let draft = Draft { class: subject::Class::End, from: Writer::Client, id: EntryId::from_random(*uuid::Uuid::new_v4().as_bytes()), process: "gw".parse().unwrap(), revision: o.revision().clone(), events: vec![Cancelled{reason: String::new()}.into()], trace: None };
        let _ = broker.append(&conv.prepare(draft).unwrap()).await;
    }
    figures.sort();
    println!("kill to redispatch, ms: {figures:?}");
    stop.cancel();
    println!("{:?}", run.await);
    println!("lease {:?}; checkpoint {:?}", broker.value(&name(), "lease").await, broker.keys(&name(), "checkpoint").await);
    survivor.kill().unwrap(); survivor.wait().unwrap();
    server.kill().unwrap(); server.wait().unwrap();
    std::fs::remove_dir_all(dir).unwrap();
}
