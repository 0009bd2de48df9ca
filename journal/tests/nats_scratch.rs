#![allow(warnings, clippy::all, clippy::unwrap_used, clippy::expect_used, clippy::panic)]
extern crate self as tests;
pub mod nats {
    use std::process::{Child, Command, Stdio};
    use std::time::Duration;
    pub struct Config { pub extra: String, pub max_payload_bytes: u32 }
    pub struct Cluster { pub nodes: Vec<Server> }
    impl Cluster {
        pub fn urls(&self) -> Vec<String> { self.nodes.iter().map(|n| n.url.clone()).collect() }
        pub async fn settled(&self) {
            let c = async_nats::connect(self.nodes[0].url()).await.unwrap();
            
            loop {
                if let Ok(Ok(m)) = tokio::time::timeout(Duration::from_millis(500), c.request("$JS.API.INFO", "".into())).await {
                    if !String::from_utf8_lossy(&m.payload).contains("\"error\"") { return; }
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    pub async fn cluster_of_three() -> Cluster {
        let ports: Vec<u16> = { let ls: Vec<_> = (0..3).map(|_| std::net::TcpListener::bind("127.0.0.1:0").unwrap()).collect(); ls.iter().map(|l| l.local_addr().unwrap().port()).collect() };
        let routes: Vec<String> = ports.iter().map(|p| format!("nats://127.0.0.1:{p}")).collect();
        let mut nodes = Vec::new();
        for (i, p) in ports.iter().enumerate() {
            let extra = format!("server_name: n{i}\ncluster {{ name: baton, listen: \"127.0.0.1:{p}\", routes: {routes:?} }}");
            nodes.push(server_with(|c| c.extra = extra).await);
        }
        let c = Cluster { nodes };
        c.settled().await;
        c
    }
    #[derive(Debug)]
    pub struct Server { dir: tempfile::TempDir, child: Option<Child>, port: u16, url: String, _p: tokio::sync::SemaphorePermit<'static> }
    static PLACES: tokio::sync::Semaphore = tokio::sync::Semaphore::const_new(4);
    pub async fn server() -> Server { server_with(|_| {}).await }
    pub async fn server_with(change: impl FnOnce(&mut Config)) -> Server {
        let _p = PLACES.acquire().await.unwrap();
        let mut config = Config { extra: String::new(), max_payload_bytes: 1 << 20 };
        change(&mut config);
        let l = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = l.local_addr().unwrap().port();
        drop(l);
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("c.conf"), format!("listen: \"127.0.0.1:{port}\"\nmax_payload: {}\njetstream {{ store_dir: \"{}\" }}\n{}\n", config.max_payload_bytes, dir.path().join("s").display(), config.extra)).unwrap();
        let mut s = Server { dir, child: None, port, url: format!("nats://127.0.0.1:{port}"), _p };
        s.restart().await.unwrap();
        s
    }
    impl Server {
        pub fn url(&self) -> &str { &self.url }
        pub async fn kill(&mut self) -> std::io::Result<()> { if let Some(mut c) = self.child.take() { c.kill()?; c.wait()?; } Ok(()) }
        pub async fn restart(&mut self) -> std::io::Result<()> {
            self.kill().await?;
            self.child = Some(Command::new(std::env::var("BATON_NATS_SERVER").unwrap()).arg("-c").arg(self.dir.path().join("c.conf")).arg("-l").arg(self.dir.path().join("log")).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?);
            loop {
                if tokio::net::TcpStream::connect(("127.0.0.1", self.port)).await.is_ok() { return Ok(()); }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }
    impl Drop for Server { fn drop(&mut self) { if let Some(c) = &mut self.child { let _ = c.kill(); let _ = c.wait(); } } }
}
#[path = "../../tests/tests/journal_nats.rs"]
mod lasting;

#[tokio::test]
async fn exp_one_writer_after_kill() {
    use journal::*; use protocol::conversation::*; use protocol::event::*; use protocol::ids::*; use protocol::subject::Class; use std::time::*;
    let mut cluster = crate::nats::cluster_of_three().await;
    let url = cluster.urls().join(",");
    let b = journal::nats::Nats::connect(&journal::nats::Settings::new(url, "tests".parse().unwrap())).await.unwrap();
    let orch: OrchestrationName = "support".parse().unwrap();
    b.provision(&Plan { replicas: 3, ..Plan::new(orch.clone(), vec!["triage".parse().unwrap()]) }).await.unwrap();
    let draft = |class, event| Draft { class, from: Writer::Gateway, id: EntryId::from_random(fastrand::u128(..).to_be_bytes()), process: "tests".parse().unwrap(), revision: Revision::of(b"tests"), events: vec![event], trace: None };
    let mut c = Conversation::empty(orch.clone(), "c1".parse().unwrap());
    let o = c.prepare_opening(draft(Class::To { agent: "triage".parse().unwrap(), revision: Revision::of(b"tests") }, Opened::default().into()), Default::default()).unwrap();
    let Append::Appended(seq) = b.append(&o).await else { panic!() };
    c.commit(o, seq).unwrap();
    let admin = async_nats::jetstream::new(async_nats::connect(cluster.urls()).await.unwrap());
    for round in 0..6 {
        let mut times = vec![];
        for _ in 0..100 {
            let s = c.prepare(draft(Class::In, Said { text: "x".into() }.into())).unwrap();
            let t = Instant::now();
            loop { match b.append(&s).await { Append::Appended(seq) => { c.commit(s, seq).unwrap(); break } Append::Unknown(w) => println!("unknown {w}"), o => panic!("{o:?}") } }
            times.push(t.elapsed());
        }
        times.sort();
        println!("round {round}: p50 {:?} p90 {:?} max {:?}", times[50], times[90], times[99]);
        if round == 1 {
            let leader = admin.get_stream("baton-support").await.unwrap().get_info().await.unwrap().cluster.unwrap().leader.unwrap();
            let l: usize = leader.trim_start_matches('n').parse().unwrap();
            cluster.nodes[l].kill().await.unwrap();
        }
        if round == 3 {
            let mut t = vec![];
            for _ in 0..50 { let i = Instant::now(); let x = b.tail(&orch, c.id()).await; t.push(i.elapsed()); x.unwrap(); }
            t.sort(); println!("tail reads p50 {:?} max {:?}", t[25], t[49]);
            let mut t = vec![];
            for _ in 0..50 { let i = Instant::now(); let x = b.at(&orch, c.id(), 3).await; t.push(i.elapsed()); x.unwrap(); }
            t.sort(); println!("leader reads p50 {:?} max {:?}", t[25], t[49]);
        }
    }
}

#[tokio::test]
async fn exp_race() {
    use journal::*; use protocol::conversation::*; use protocol::event::*; use protocol::ids::*; use protocol::subject::Class; use std::time::*;
    let mut cluster = crate::nats::cluster_of_three().await;
    let url = cluster.urls().join(",");
    let con = || { let url = url.clone(); async move { journal::nats::Nats::connect(&journal::nats::Settings::new(url, "tests".parse().unwrap())).await.unwrap() } };
    let b = con().await;
    let orch: OrchestrationName = "support".parse().unwrap();
    b.provision(&Plan { replicas: 3, ..Plan::new(orch.clone(), vec!["triage".parse().unwrap()]) }).await.unwrap();
    let draft = |class, event| Draft { class, from: Writer::Gateway, id: EntryId::from_random(fastrand::u128(..).to_be_bytes()), process: "tests".parse().unwrap(), revision: Revision::of(b"tests"), events: vec![event], trace: None };
    let mut c = Conversation::empty(orch.clone(), "c1".parse().unwrap());
    let o = c.prepare_opening(draft(Class::To { agent: "triage".parse().unwrap(), revision: Revision::of(b"tests") }, Opened::default().into()), Default::default()).unwrap();
    let Append::Appended(seq) = b.append(&o).await else { panic!() };
    c.commit(o, seq).unwrap();
    let admin = async_nats::jetstream::new(async_nats::connect(cluster.urls()).await.unwrap());
    for phase in 0..3u64 {
        let t0 = Instant::now();
        let mut set = tokio::task::JoinSet::new();
        let start = c.tail().next;
        for w in 0..4 {
            let b = con().await; let mut c = c.clone(); let orch = orch.clone();
            set.spawn(async move {
                let (mut ap, mut fe, mut lo, mut nload, mut nmiss) = (vec![], vec![], vec![], 0, 0);
                while c.tail().next < start + 100 {
                    let s = c.prepare(draft(Class::In, Said { text: "x".into() }.into())).unwrap();
                    let t = Instant::now();
                    match b.append(&s).await {
                        Append::Appended(seq) => { ap.push(t.elapsed()); c.commit(s, seq).unwrap() }
                        Append::Fenced { tail } => { fe.push(t.elapsed());
                            let t = Instant::now();
                            loop { nload += 1; match load(&b, &orch, c.id()).await { Ok(Some(l)) if has_reached(&l, tail) => { c = l; break } Ok(_) => nmiss += 1, Err(e) => println!("{e}") } }
                            lo.push(t.elapsed()) }
                        o => println!("{o:?}"),
                    }
                }
                for v in [&mut ap, &mut fe, &mut lo] { v.sort(); if v.is_empty() { v.push(Duration::ZERO) } }
                println!("writer {w}: appended {} p50 {:?} max {:?}; fenced {} p50 {:?} max {:?}; load p50 {:?} max {:?} n {nload} miss {nmiss}", ap.len(), ap[ap.len()/2], ap[ap.len()-1], fe.len(), fe[fe.len()/2], fe[fe.len()-1], lo[lo.len()/2], lo[lo.len()-1]);
                c
            });
        }
        let cs = set.join_all().await;
        c = cs.into_iter().max_by_key(|c| c.tail().seq).unwrap();
        println!("phase {phase} took {:?}", t0.elapsed());
        if phase == 0 {
            let leader = admin.get_stream("baton-support").await.unwrap().get_info().await.unwrap().cluster.unwrap().leader.unwrap();
            let l: usize = leader.trim_start_matches('n').parse().unwrap();
            cluster.nodes[l].kill().await.unwrap();
            tokio::time::sleep(Duration::from_secs(10)).await;
            println!("slept; {}", b.connection().borrow().generation);
        }
        if phase == 1 { for n in &mut cluster.nodes { let _ = n.restart().await; } tokio::time::sleep(Duration::from_secs(10)).await; c = load(&b, &orch, c.id()).await.unwrap().unwrap(); }
    }
}
