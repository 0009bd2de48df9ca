//! A network between client and broker that can be made to lose what one of them says.

use std::sync::Arc;

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
    /// Is down.
    Down,
}

/// A network of one client's own.
pub(crate) struct Proxy {
    pub(crate) url: String,
    state: Arc<watch::Sender<Network>>,
    accepting: AbortHandle,
}

impl Proxy {
    /// Between its clients and the broker at `url`.
    pub(crate) async fn to(url: &str) -> Self {
        let broker = url.trim_start_matches("nats://").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("nats://{}", listener.local_addr().unwrap());
        let state = Arc::new(watch::Sender::new(Network::Whole));
        let accepting = tokio::spawn(accept(listener, broker, state.clone())).abort_handle();
        Self { url, state, accepting }
    }

    pub(crate) fn is(&self, network: Network) {
        self.state.send_replace(network);
    }

    /// Breaks every connection; new ones are taken at once.
    pub(crate) fn breaks(&self) {
        self.is(Network::Down);
        self.is(Network::Whole);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.is(Network::Down);
    }
}

async fn accept(listener: TcpListener, broker: String, state: Arc<watch::Sender<Network>>) {
    while let Ok((client, _)) = listener.accept().await {
        let Ok(server) = TcpStream::connect(&broker).await else { continue };
        let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
        tokio::spawn(carry(from_client, to_server, state.subscribe(), Network::LosesQuestions));
        tokio::spawn(carry(from_server, to_client, state.subscribe(), Network::LosesAnswers));
    }
}

async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut state: watch::Receiver<Network>, losing: Network) {
    let mut buffer = vec![0; 64 * 1024];
    state.mark_unchanged();
    loop {
        tokio::select! {
            biased;
            changed = state.changed() => {
                // A break may already be over when it is noticed: it was one all the same.
                let now = *state.borrow_and_update();
                if changed.is_err() || now == Network::Down || now == Network::Whole {
                    return;
                }
            }
            read = from.read(&mut buffer) => {
                let Ok(count @ 1..) = read else { return };
                if *state.borrow() != losing && to.write_all(&buffer[..count]).await.is_err() {
                    return;
                }
            }
        }
    }
}
