//! MCP servers as tools. Made by others: the reference server for times over standard input and output, and one built with the official
//! Python SDK over streamable HTTP. And one that is away for a while.
#![allow(clippy::print_stderr, clippy::indexing_slicing, clippy::unwrap_used, reason = "helpers of tests: a panic is how a test fails")]

use std::path::{Path, PathBuf};

use cli::ports::free_address;
use serde_json::json;
use tests::processes::{Process, eventually};
use tests::tooling::Clerk;
use tokio::process::Command;
use tokio::sync::OnceCell;

const SERVER: &str = "mcp-server-time==2026.10.19";

/// A Python that has the servers; installed once into the cache. None, with a printed reason, where it cannot be.
async fn python() -> Option<PathBuf> {
    static INSTALLED: OnceCell<Option<PathBuf>> = OnceCell::const_new();
    INSTALLED.get_or_init(install).await.clone()
}

async fn install() -> Option<PathBuf> {
    let home =
        std::env::var_os("XDG_CACHE_HOME").map_or_else(|| Path::new(&std::env::var_os("HOME").unwrap()).join(".cache"), PathBuf::from);
    let folder = home.join("baton").join(SERVER.replace("==", "-"));
    let python = folder.join("bin/python");
    if python.exists() && succeeds(Command::new(&python).args(["-c", "import mcp_server_time"])).await {
        return Some(python);
    }
    let made = succeeds(Command::new("python3").args(["-m", "venv"]).arg(&folder)).await
        && succeeds(Command::new(&python).args(["-m", "pip", "install", "--quiet", SERVER])).await;
    if !made {
        eprintln!("skipped: {SERVER} cannot be installed here (python3, pip and a registry are needed)");
    }
    made.then_some(python)
}

async fn succeeds(command: &mut Command) -> bool {
    command.output().await.is_ok_and(|output| output.status.success())
}

#[tokio::test]
async fn a_server_that_is_a_child_process_gives_a_conversation_its_tools() {
    let Some(python) = python().await else { return };
    let command = [python.to_str().unwrap(), "-m", "mcp_server_time", "--local-timezone", "UTC"];
    let mut clerk = Clerk::with(json!({ "mcp": { "command": command, "names": ["convert_time"] } })).await;
    let arguments = json!({ "source_timezone": "Europe/Berlin", "time": "12:00", "target_timezone": "Asia/Tokyo" });
    let (offered, told) = clerk.calls("convert_time", &arguments).await;
    let names: Vec<_> = offered.as_array().unwrap().iter().map(|tool| tool["function"]["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["convert_time", "complete_task"], "what is not named is not offered");
    assert_eq!(offered[0]["function"]["parameters"]["required"], json!(["source_timezone", "time", "target_timezone"]));
    assert!(told.contains("Asia/Tokyo"), "{told}");

    let wrong = json!({ "source_timezone": "Nowhere/Land", "time": "12:00", "target_timezone": "Asia/Tokyo" });
    let (_, told) = clerk.calls("convert_time", &wrong).await;
    assert!(told.contains("Nowhere/Land"), "{told}");

    clerk.worker.terminate();
    let (exit, said) = clerk.worker.end().await;
    assert!(exit.success(), "{said}");
}

/// A server of the official SDK; it says what it was told about the call.
const REMOTE: &str = "
import sys
from mcp.server import MCPServer
server = MCPServer('remote')
@server.tool()
def shout(text: str) -> str:
    'Says it louder.'
    return text.upper()
server.run('streamable-http', host='127.0.0.1', port=int(sys.argv[1]))
";

#[tokio::test]
async fn a_server_at_an_address_gives_a_conversation_its_tools() {
    let Some(python) = python().await else { return };
    let port = free_address().unwrap().port();
    let mut command = Command::new(python);
    command.args(["-c", REMOTE, &port.to_string()]).kill_on_drop(true);
    let _remote = Process::start(command);
    eventually("the server to listen", async || tokio::net::TcpStream::connect(("127.0.0.1", port)).await.ok()).await;
    let mut clerk = Clerk::with(json!({ "mcp": { "url": format!("http://127.0.0.1:{port}/mcp"), "names": ["shout"] } })).await;
    let (offered, told) = clerk.calls("shout", &json!({ "text": "hello" })).await;
    assert_eq!(offered[0]["function"]["description"], "Says it louder.");
    assert_eq!(told, "HELLO");
}

/// Begins only once there is a file.
const AWAY: &str = r#"
test -e "$1" || exit 1
while read -r line; do
  id=${line##*\"id\":}; id=${id%%[,\}]*}
  answer() { printf '{"jsonrpc":"2.0","id":%s,"result":%s}\n' "$id" "$1"; }
  case "$line" in
    *'"method":"initialize"'*)
      answer '{"protocolVersion":"2025-06-18","capabilities":{"tools":{}},"serverInfo":{"name":"away","version":"1"}}' ;;
    *'"method":"tools/list"'*) answer '{"tools":[{"name":"greet","description":"Greets.","inputSchema":{"type":"object"}}]}' ;;
    *'"method":"tools/call"'*) answer '{"content":[{"type":"text","text":"Hello."}]}' ;;
  esac
done
"#;

/// More often than a turn may be tried: nobody takes it for poison, or hands it out again, and whoever looks sees what it waits for.
#[tokio::test]
async fn a_server_that_is_away_puts_work_off_and_is_waited_for() {
    const ATTEMPTS: usize = 5;
    let mut clerk = Clerk::with(json!({ "template": { "tools": { "greet": { "description": "Greets.", "reply": "Hello." } } } })).await;
    let directory = tempfile::tempdir().unwrap();
    let there = directory.path().join("there");
    let command = ["/bin/sh", "-c", AWAY, "sh", there.to_str().unwrap()];
    clerk.is_given(&json!({ "mcp": { "command": command, "names": ["greet"] } })).await;
    let (mut run, id) = clerk.run().await;
    let of_kind =
        |events: &[serde_json::Value], kind: &str| events.iter().filter(|event| event["kind"] == kind).cloned().collect::<Vec<_>>();
    let deferred = eventually("more deferrals than attempts", async || {
        Some(of_kind(&clerk.events(&id).await, "deferred")).filter(|deferred| deferred.len() > ATTEMPTS)
    });
    let deferred = deferred.await;
    assert!(deferred[0]["data"]["reason"].as_str().unwrap().contains("MCP server /bin/sh"), "{deferred:?}");

    std::fs::write(&there, "").unwrap();
    clerk.model.next().await.call("greet", &json!({}));
    clerk.model.next().await.say("Done.");
    run.line("Done.").await;
    let events = clerk.events(&id).await;
    assert_eq!(of_kind(&events, "redispatched"), [] as [serde_json::Value; 0], "whoever waits holds it");
    assert_eq!(of_kind(&events, "returned")[0]["data"]["content"], "Hello.");
}
