//! The page on remote agents means what it says: its manifest and its service hold a conversation.
#![allow(clippy::panic, clippy::unwrap_used, reason = "helpers of tests: a panic is how a test fails")]

use std::path::Path;

use serde_json::{Value as Json, json};
use tests::dev::Dev;
use tests::processes::{Process, output};
use tokio::process::Command;

/// The page's block of a language.
fn block(language: &str) -> String {
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/remote-agent.md")).unwrap();
    let (_, after) = page.split_once(&format!("```{language}\n")).unwrap();
    after.split_once("```").unwrap().0.to_owned()
}

/// The service, and its port.
async fn service() -> (Process, String) {
    let mut python = Command::new("python3");
    python.args(["-c", &block("python"), "0"]).kill_on_drop(true);
    let mut service = Process::start(python);
    let line = service.line("listening at port").await;
    let port = line.rsplit(' ').next().unwrap().to_owned();
    (service, port)
}

#[tokio::test]
async fn a_service_takes_part_in_a_conversation_with_handoffs_both_ways() {
    let data = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = data.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let (mut service, port) = service().await;
    let manifest = file("shop.yaml", &block("yaml"));
    let url = format!("http://127.0.0.1:{port}/refund");
    let dev = Dev::start_with(&manifest, &data.path().join("dev"), |dev| _ = dev.env("REFUND_URL", url)).await;

    let replies = file("replies.txt", "It is order 123\n");
    let arguments = ["run", "I want a refund", "--replies", replies.to_str().unwrap(), "-o", "json"];
    let run = output(&mut dev.command(&arguments).await).await;
    let (stdout, stderr) = (String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
    assert!(run.status.success(), "{stdout}\n{stderr}");

    let lines: Vec<Json> = stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let told: Vec<String> = lines
        .iter()
        .filter(|line| line["kind"] == "message" || line["kind"] == "transfer")
        .map(|line| format!("{}: {}", line["name"].as_str().unwrap(), line["text"].as_str().unwrap()))
        .collect();
    let expected =
        ["triage: transfer_to_refund", "refund: Which order is it?", "refund: Order 123 is refunded.", "refund: transfer_to_triage"];
    assert_eq!(told, expected);
    let outcome =
        json!({ "kind": "outcome", "outcome": "completed", "text": "Task is completed with summary: Your refund is on its way." });
    assert_eq!(lines.last().unwrap(), &outcome);
    // Two questions, both at the address that the environment gave.
    for _ in 0..2 {
        service.line("\"POST /refund HTTP/1.1\" 200").await;
    }
}
