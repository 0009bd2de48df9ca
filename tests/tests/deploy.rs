//! What is deployed (`deploy/`): the broker takes its configuration and is durable with it, and what is said in several
//! files is the same everywhere.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests, where a panic is the failure")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use cli::broker::version::PINNED;
use serde_json::Value as Json;
use tempfile::TempDir;
use tests::in_process::support;
use tests::processes::{self, Process, eventually};
use tests::{nats, sample};
use tokio::process::Command;

/// A server of a test's own beside whatever else runs here, and, for it to be asked how it syncs, accounts: only to an
/// operator's does it say so by itself.
const OF_A_TEST: &str = r#"
include "nats.conf"
listen: "127.0.0.1:-1"
http: "127.0.0.1:-1"
accounts {
  SYS { exports: [{ service: "$SYS.REQ.SERVER.PING.JSZ", response_type: "Stream" }] }
  BATON {
    jetstream: enabled
    users: [{ user: baton, password: baton }]
    imports: [{ service: { account: SYS, subject: "$SYS.REQ.SERVER.PING.JSZ" } }]
  }
}
system_account: SYS
no_auth_user: baton
"#;

fn deploy(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy").join(file)
}

fn read(file: &str) -> String {
    std::fs::read_to_string(deploy(file)).unwrap()
}

/// `text` with `old` replaced; it must be there.
fn with(text: &str, old: &str, new: &str) -> String {
    assert!(text.contains(old), "no {old} in:\n{text}");
    text.replace(old, new)
}

/// A copy of the broker's configuration, to be changed; nats-server includes files from where the first one is only.
fn copy() -> (TempDir, Vec<PathBuf>) {
    let directory = tempfile::tempdir().unwrap();
    let files = std::fs::read_dir(deploy("nats")).unwrap().map(|file| file.unwrap().path());
    let files = files.filter(|file| file.extension().is_some_and(|extension| extension == "conf"));
    let copies = files.map(|file| {
        let copy = directory.path().join(file.file_name().unwrap());
        std::fs::copy(file, &copy).unwrap();
        copy
    });
    let copies = copies.collect();
    (directory, copies)
}

async fn nats_server(file: &Path) -> Command {
    let mut command = Command::new(nats::executable().await);
    command.arg("--config").arg(file).env_clear();
    command
}

/// What nats-server says against it, in an environment that has the variables it names.
async fn is_valid(file: &Path, variables: &BTreeSet<String>) -> Result<(), String> {
    let environment = variables.iter().map(|name| (name, "x"));
    let output = nats_server(file).await.arg("-t").envs(environment).output().await.unwrap();
    output.status.success().then_some(()).ok_or_else(|| String::from_utf8_lossy(&output.stderr).into_owned())
}

#[tokio::test]
async fn the_broker_takes_every_configuration() {
    let (directory, files) = copy();
    let texts: String = files.iter().map(|file| std::fs::read_to_string(file).unwrap()).collect();
    // `$NAME` is a variable; a subject is in quotes.
    let variables: BTreeSet<String> = texts.split_whitespace().filter_map(|word| word.strip_prefix('$')).map(ToOwned::to_owned).collect();
    for file in ["nats.conf", "cluster.conf", "permissions.conf"].map(|file| directory.path().join(file)) {
        assert!(files.contains(&file), "{files:?}");
    }
    for file in &files {
        assert_eq!(is_valid(file, &variables).await, Ok(()), "{}", file.display());
    }
    // With permissions, as its comment says; their passwords must be there.
    let guarded = directory.path().join("guarded.conf");
    std::fs::write(&guarded, with(&read("nats/nats.conf"), "# include ", "include ")).unwrap();
    assert_eq!(is_valid(&guarded, &variables).await, Ok(()));
    let refused = is_valid(&guarded, &BTreeSet::new()).await.unwrap_err();
    assert!(refused.contains("TRIAGE_PASSWORD"), "{refused}");
}

#[tokio::test]
async fn the_broker_is_durable() {
    let (directory, _) = copy();
    let store = directory.path().join("store");
    let config = with(&read("nats/nats.conf"), "\"/data\"", &format!("{store:?}"));
    std::fs::write(directory.path().join("nats.conf"), config).unwrap();
    let file = directory.path().join("test.conf");
    std::fs::write(&file, OF_A_TEST).unwrap();
    let mut server = nats_server(&file).await;
    server.arg("--ports_file_dir").arg(directory.path()).kill_on_drop(true);
    let _server = Process::start(server);
    // The file is named after the program, whatever that is called here.
    let ports_file = || {
        Some(std::fs::read_dir(directory.path()).ok()?.flatten().find(|file| file.path().extension().is_some_and(|e| e == "ports"))?.path())
    };
    let ports: Json = eventually("its ports", async || serde_json::from_slice(&std::fs::read(ports_file()?).ok()?).ok()).await;

    let manifest = sample::manifest();
    let mut coordinator = processes::command(&["coordinator", "--manifest", manifest.to_str().unwrap()]).await;
    coordinator.args(["--nats", ports["nats"][0].as_str().unwrap()]).env("NO_COLOR", "1");
    let mut coordinator = Process::start(coordinator);
    let said = coordinator.line("provisioned").await;
    assert!(said.contains("durable=true"), "{said}");
}

#[test]
fn the_same_is_said_everywhere() {
    let (compose, dockerfile) = (read("compose.yaml"), read("Dockerfile"));
    for agent in support().agents() {
        let service = format!("\n  {0}:\n    <<: *worker\n    command: [worker, --agent, {0}]\n", agent.name);
        assert!(compose.contains(&service), "compose.yaml has no worker of {}", agent.name);
    }
    // The broker that is tested; and syncing is vouched for only because nats.conf says so, which the test above sees.
    assert!(compose.contains(&format!("image: nats:{PINNED}-alpine\n")));
    assert!(compose.contains("BATON_NATS_SYNCED: \"true\"") && compose.contains("--config, /etc/baton/nats.conf"));
    assert!(dockerfile.contains(&format!("library/rust:{}.0-alpine", env!("CARGO_PKG_RUST_VERSION"))));
}
