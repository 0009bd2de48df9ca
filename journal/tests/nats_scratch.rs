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
            eprintln!("settling");
            loop {
                if let Ok(Ok(m)) = tokio::time::timeout(Duration::from_millis(500), c.request("$JS.API.INFO", "".into())).await {
                    eprintln!("{}", String::from_utf8_lossy(&m.payload)); if !String::from_utf8_lossy(&m.payload).contains("error") { return; }
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
