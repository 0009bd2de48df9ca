//! A client of a nats-server that knows only enough of the protocol to learn what it may do: each try is followed by a
//! ping, and a violation, if it is one, comes before the pong.

use serde_json::json;
use tests::processes::PATIENCE;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// What is tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Try {
    /// To publish to a subject.
    Publish(String),
    /// To subscribe to one.
    Subscribe(String),
}

/// A logged-in connection.
pub(crate) struct Probe(BufReader<TcpStream>);

impl Probe {
    pub(crate) async fn login(url: &str, user: &str, password: &str) -> Self {
        let stream = TcpStream::connect(url.trim_start_matches("nats://")).await.unwrap();
        let mut probe = Self(BufReader::new(stream));
        let info = probe.line().await;
        assert!(info.starts_with("INFO "), "{info}");
        let connect = json!({ "user": user, "pass": password, "verbose": false, "pedantic": false });
        let errors = probe.errors_of(&format!("CONNECT {connect}\r\n")).await;
        assert!(errors.is_empty(), "{user}: {errors:?}");
        probe
    }

    /// Whether the server permits it.
    pub(crate) async fn may(&mut self, what: &Try) -> bool {
        let (command, violation) = match what {
            Try::Publish(subject) => {
                (format!("PUB {subject} 0\r\n\r\n"), format!("-ERR 'Permissions Violation for Publish to \"{subject}\"'"))
            }
            Try::Subscribe(subject) => {
                (format!("SUB {subject} 1\r\nUNSUB 1\r\n"), format!("-ERR 'Permissions Violation for Subscription to \"{subject}\"'"))
            }
        };
        match self.errors_of(&command).await.as_slice() {
            [] => true,
            [error] if *error == violation => false,
            errors => panic!("{what:?}: {errors:?}"),
        }
    }

    async fn errors_of(&mut self, command: &str) -> Vec<String> {
        self.0.write_all(format!("{command}PING\r\n").as_bytes()).await.unwrap();
        let mut errors = Vec::new();
        loop {
            match self.line().await {
                pong if pong == "PONG" => return errors,
                error if error.starts_with("-ERR") => errors.push(error),
                ping if ping == "PING" => self.0.write_all(b"PONG\r\n").await.unwrap(),
                info if info.starts_with("INFO ") => {}
                other => panic!("after {command:?} the server says {other:?}"),
            }
        }
    }

    async fn line(&mut self) -> String {
        let mut line = String::new();
        timeout(PATIENCE, self.0.read_line(&mut line)).await.expect("an answer in time").unwrap();
        line.trim_end().to_owned()
    }
}
