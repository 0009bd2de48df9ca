//! The network between one process and the broker, which can be cut, stopped or slowed down.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::sleep;

/// What a link does with what is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrying {
    /// Carries it.
    Whole,
    /// Carries nothing, and says nothing about it: what was said meanwhile arrives when the link is whole again, as it would
    /// be sent again by the network.
    Nothing,
    /// Breaks all connections and takes no new ones.
    Refused,
    /// Carries it later.
    Late(Duration),
}

/// A process's own way to every server of the broker.
#[derive(Debug)]
pub struct Link {
    urls: Vec<String>,
    carrying: Arc<watch::Sender<Carrying>>,
    accepting: Vec<AbortHandle>,
}

impl Link {
    /// To these servers.
    pub async fn to(urls: &[String]) -> Self {
        let carrying = Arc::new(watch::Sender::new(Carrying::Whole));
        let (mut own, mut accepting) = (Vec::new(), Vec::new());
        for url in urls {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
            own.push(format!("nats://{}", listener.local_addr().expect("its address")));
            let server = url.trim_start_matches("nats://").to_owned();
            accepting.push(tokio::spawn(accept(listener, server, carrying.clone())).abort_handle());
        }
        Self { urls: own, carrying, accepting }
    }

    /// None: straight to these servers.
    pub fn none(urls: &[String]) -> Self {
        Self { urls: urls.to_vec(), carrying: Arc::new(watch::Sender::new(Carrying::Whole)), accepting: Vec::new() }
    }

    /// Where the process connects to.
    pub fn url(&self) -> String {
        self.urls.join(",")
    }

    /// From now on.
    pub fn is(&self, carrying: Carrying) {
        self.carrying.send_replace(carrying);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.is(Carrying::Refused);
        for accepting in &self.accepting {
            accepting.abort();
        }
    }
}

async fn accept(listener: TcpListener, server: String, carrying: Arc<watch::Sender<Carrying>>) {
    while let Ok((client, _)) = listener.accept().await {
        tokio::spawn(connect(client, server.clone(), carrying.subscribe()));
    }
}

async fn connect(client: TcpStream, server: String, mut carrying: watch::Receiver<Carrying>) {
    if carrying.wait_for(|now| *now != Carrying::Nothing).await.is_ok_and(|now| *now == Carrying::Refused) {
        return;
    }
    let Ok(server) = TcpStream::connect(&server).await else { return };
    // Small messages are what is said here.
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
    let mut broken = carrying.clone();
    tokio::select! {
        () = carry(from_client, to_server, carrying.clone()) => {}
        () = carry(from_server, to_client, carrying) => {}
        _ = broken.wait_for(|now| *now == Carrying::Refused) => {}
    }
}

async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut carrying: watch::Receiver<Carrying>) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let Ok(count @ 1..) = from.read(&mut buffer).await else { return };
        let now = carrying.wait_for(|now| *now != Carrying::Nothing).await.map(|now| *now);
        if let Ok(Carrying::Late(by)) = now {
            sleep(by).await;
        }
        if to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}
