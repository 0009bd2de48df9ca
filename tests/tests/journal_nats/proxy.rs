//! A network between client and broker that can be made to lose what one of them says.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::AbortHandle;

/// What the network does to what is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Network {
    /// Carries it.
    Whole,
    /// Loses what the broker says.
    LosesAnswers,
    /// Loses what the client says.
    LosesQuestions,
}

/// A network of one client's own.
pub(crate) struct Proxy {
    pub(crate) url: String,
    state: Arc<State>,
    accepting: AbortHandle,
}

struct State {
    network: watch::Sender<Network>,
    /// What the network does once somebody has said this.
    once: Mutex<Option<(&'static str, Network)>>,
    breaks: watch::Sender<u32>,
}

impl Proxy {
    /// Between its clients and the broker at `url`.
    pub(crate) async fn to(url: &str) -> Self {
        let broker = url.trim_start_matches("nats://").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("nats://{}", listener.local_addr().unwrap());
        let state = Arc::new(State { network: watch::Sender::new(Network::Whole), once: Mutex::default(), breaks: watch::Sender::new(0) });
        let accepting = tokio::spawn(accept(listener, broker, state.clone())).abort_handle();
        Self { url, state, accepting }
    }

    /// From now on; connections live on. What is lost are whole messages as long as each comes in one read.
    pub(crate) fn is(&self, network: Network) {
        self.state.network.send_replace(network);
    }

    /// As soon as somebody has said `text`, which is carried yet.
    pub(crate) fn once(&self, text: &'static str, network: Network) {
        *self.state.once.lock().unwrap() = Some((text, network));
    }

    /// Waits until it does that.
    pub(crate) async fn became(&self, network: Network) {
        let became = self.state.network.subscribe().wait_for(|now| *now == network).await.map(drop);
        became.unwrap();
    }

    /// Breaks every connection, and carries whatever is said on new ones.
    pub(crate) fn breaks(&self) {
        self.is(Network::Whole);
        self.state.breaks.send_modify(|breaks| *breaks += 1);
    }
}

impl State {
    fn heard(&self, said: &[u8]) {
        let mut once = self.once.lock().unwrap();
        let is_it = |(text, _): &mut (&str, Network)| said.windows(text.len()).any(|some| some == text.as_bytes());
        if let Some((_, network)) = once.take_if(is_it) {
            self.network.send_replace(network);
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.breaks();
    }
}

async fn accept(listener: TcpListener, broker: String, state: Arc<State>) {
    while let Ok((client, _)) = listener.accept().await {
        let Ok(server) = TcpStream::connect(&broker).await else { continue };
        let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
        tokio::spawn(carry(from_client, to_server, state.clone(), Network::LosesQuestions));
        tokio::spawn(carry(from_server, to_client, state.clone(), Network::LosesAnswers));
    }
}

async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, state: Arc<State>, losing: Network) {
    let mut buffer = vec![0; 64 * 1024];
    let mut breaks = state.breaks.subscribe();
    loop {
        tokio::select! {
            biased;
            _ = breaks.changed() => return,
            read = from.read(&mut buffer) => {
                let Ok(count @ 1..) = read else { return };
                let is_lost = *state.network.borrow() == losing;
                state.heard(&buffer[..count]);
                if !is_lost && to.write_all(&buffer[..count]).await.is_err() {
                    return;
                }
            }
        }
    }
}
