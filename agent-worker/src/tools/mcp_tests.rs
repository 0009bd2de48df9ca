//! Against a server that misbehaves as it is told, in a child process (`mcp_fake.sh`); real ones are in `tests/tests/tools_mcp.rs`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use protocol::ids::ConversationId;
use serde_json::json;
use tokio::time::timeout;

use super::*;
use crate::model::test_support::http;
use crate::tools::test_support::call;

const SOON: Duration = Duration::from_secs(60);

/// A fake, and the servers that a worker would know.
struct Fake {
    servers: McpServers,
    log: PathBuf,
}

impl Fake {
    fn new() -> Self {
        let log = std::env::temp_dir().join(format!("baton-mcp-{}", uuid::Uuid::new_v4()));
        Self { servers: McpServers::new(http()), log }
    }

    async fn tool(&self, name: &str) -> Result<McpTool, Reason> {
        let command = ["sh", "-c", include_str!("mcp_fake.sh")].map(str::to_owned).to_vec();
        let server = McpServer::Child { command, env: BTreeMap::from([("LOG".to_owned(), "${THE_LOG}".to_owned())]) };
        let environment = |name: &str| (name == "THE_LOG").then(|| self.log.to_str().unwrap().to_owned());
        McpTool::new(Server::find(&server, &environment, &self.servers)?, name).await
    }

    /// What the server has heard, line by line.
    fn heard(&self) -> Vec<Json> {
        std::fs::read_to_string(&self.log).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.log);
    }
}

async fn told(tool: &McpTool, what: &str) -> Result<String, String> {
    timeout(SOON, tool.run(call("act", json!({ "do": what })))).await.expect("an answer in time").map_err(|error| error.0)
}

#[tokio::test]
async fn a_tool_is_what_its_server_says() {
    let fake = Fake::new();
    let act = fake.tool("act").await.unwrap();
    assert_eq!(act.parameters().unwrap(), json!({ "type": "object", "properties": { "do": { "type": "string" } } }));
    assert_eq!((act.description(), act.effect()), (Some("Does it."), Some(Effect::SideEffect)));
    assert_eq!(fake.tool("look").await.unwrap().effect(), Some(Effect::ReadOnly));
    assert_eq!(fake.tool("set").await.unwrap().effect(), Some(Effect::Idempotent));
    let lacking = fake.tool("fly").await.unwrap_err();
    assert!(!lacking.is_transient());
    assert_eq!(
        lacking.to_string(),
        "the MCP server sh has no tool of that name (it has act, look, set): correct the name, or run a version of the server that has it"
    );
    let lists = fake.heard().iter().filter(|line| line["method"] == "tools/list").count();
    assert_eq!(lists, 1, "asked once for all tools");
}

#[tokio::test]
async fn all_tools_of_a_server_share_one_process_that_ends_with_the_worker() {
    let fake = Fake::new();
    let (act, look) = (fake.tool("act").await.unwrap(), fake.tool("look").await.unwrap());
    let process = told(&act, "tell").await.unwrap();
    assert_eq!(told(&look, "tell").await.unwrap(), process);
    let is_there = || std::process::Command::new("kill").args(["-0", &process]).output().unwrap().status.success();
    assert!(is_there());
    fake.servers.close().await;
    assert!(!is_there());
}

#[tokio::test]
async fn a_call_says_whose_it_is() {
    let fake = Fake::new();
    let act = fake.tool("act").await.unwrap();
    told(&act, "tell").await.unwrap();
    let heard = fake.heard();
    let call = heard.iter().find(|line| line["method"] == "tools/call").unwrap();
    assert_eq!((&call["params"]["name"], &call["params"]["arguments"]), (&json!("act"), &json!({ "do": "tell" })));
    let meta = &call["params"]["_meta"];
    let conversation = ConversationId::of_opening("test", "1").to_string();
    assert_eq!((&meta["baton/idempotency-key"], &meta["baton/epoch"]), (&json!("key-1"), &json!(7)));
    assert_eq!(meta["baton/undoes"], json!("key-0"));
    assert_eq!(meta["baton/conversation"], json!(conversation));
    assert_eq!(heard[0]["params"]["clientInfo"]["name"], "baton");
}

#[tokio::test]
async fn what_goes_wrong_is_said_to_the_model() {
    let fake = Fake::new();
    let act = fake.tool("act").await.unwrap();
    assert_eq!(told(&act, "fail").await.unwrap_err(), "no such order");
    assert_eq!(told(&act, "refuse").await.unwrap_err(), "The MCP server refuses the call: not like this");
    let long = told(&act, "talk").await.unwrap();
    assert!(long.len() < ANSWER_BYTES_MAX + 100 && long.ends_with("bytes are shown.]"), "{}", long.len());
}

#[tokio::test]
async fn a_server_that_dies_in_mid_call_is_started_again_for_the_next() {
    let fake = Fake::new();
    let act = fake.tool("act").await.unwrap();
    let first = told(&act, "tell").await.unwrap();
    let error = told(&act, "die").await.unwrap_err();
    assert!(error.starts_with("The MCP server did not answer: "), "{error}");
    assert!(error.ends_with("It is unknown whether the call took effect."), "{error}");
    assert_ne!(told(&act, "tell").await.unwrap(), first);
    assert!(!act.is_current(), "another process may have other tools");
    assert!(fake.tool("act").await.unwrap().is_current());
}

#[tokio::test]
async fn a_call_that_nobody_waits_for_is_called_off() {
    let fake = Fake::new();
    let act = fake.tool("act").await.unwrap();
    assert!(timeout(Duration::from_millis(200), act.run(call("act", json!({ "do": "nothing" })))).await.is_err());
    assert_eq!(told(&act, "tell whether it was cancelled").await.unwrap(), "it was");
    let heard = fake.heard();
    let of = |method: &str| heard.iter().find(|line| line["method"] == method).unwrap();
    assert_eq!(of("notifications/cancelled")["params"]["requestId"], of("tools/call")["id"]);
}

#[tokio::test]
async fn a_server_may_find_other_words_for_its_tools() {
    let fake = Fake::new();
    let act = fake.tool("act").await.unwrap();
    assert!(act.is_current());
    assert_eq!(told(&act, "change").await.unwrap(), "changed");
    let heard = async {
        while act.is_current() {
            tokio::task::yield_now().await;
        }
    };
    timeout(SOON, heard).await.expect("the notice to be heard");
    let again = fake.tool("act").await.unwrap();
    assert_eq!((again.description(), again.is_current()), (Some("Does it better."), true));
}

#[tokio::test]
async fn a_server_that_cannot_be_reached_may_be_later() {
    let servers = McpServers::new(http());
    let missing = McpServer::Child { command: vec!["baton-no-such-program".to_owned()], env: BTreeMap::new() };
    let closed = McpServer::Http { url: "http://127.0.0.1:9/${PATH_TO_IT:-mcp}".to_owned(), headers: BTreeMap::new() };
    for (server, name) in [(missing, "baton-no-such-program"), (closed, "http://127.0.0.1:9/${PATH_TO_IT:-mcp}")] {
        let tool = async || McpTool::new(Server::find(&server, &|_| None, &servers).unwrap(), "act").await.unwrap_err();
        let reason = tool().await;
        assert!(reason.is_transient(), "{reason}");
        assert!(reason.to_string().starts_with(&format!("the MCP server {name} cannot be reached: ")), "{reason}");
        assert_eq!(tool().await, reason, "between attempts it is told at once");
    }
    let unset = McpServer::Http { url: "${NOWHERE}".to_owned(), headers: BTreeMap::new() };
    let reason = Server::find(&unset, &|_| None, &servers).err().unwrap();
    assert_eq!(
        reason,
        Reason::Invalid("its MCP server: the environment variable NOWHERE is not set: set it, or write ${NOWHERE:-default}".to_owned())
    );
}

#[test]
fn results_become_text() {
    let shown = |result: Json| shown(&serde_json::from_value(result).unwrap()).map_err(|error| error.0);
    let content = json!([
        { "type": "text", "text": "Here:" },
        { "type": "image", "data": "aGk=", "mimeType": "image/png" },
        { "type": "audio", "data": "aGk=", "mimeType": "audio/wav" },
        { "type": "resource_link", "uri": "file:///a", "name": "a", "description": "the first" },
        { "type": "resource", "resource": { "uri": "file:///b", "text": "bee" } },
        { "type": "resource", "resource": { "uri": "file:///c", "blob": "aGk=" } },
    ]);
    let text = "Here:\n[an image (image/png), not shown]\n[a recording (audio/wav), not shown]\n[a resource: a at file:///a, the first]\n\
                [file:///b]\nbee\n[a file (of unknown type) at file:///c, not shown]";
    assert_eq!(shown(json!({ "content": content, "structuredContent": { "n": 1 } })).unwrap(), text);
    assert_eq!(shown(json!({ "content": [], "structuredContent": { "n": 1 } })).unwrap(), "{\"n\":1}");
    assert_eq!(shown(json!({ "content": [] })).unwrap(), "The tool has done it, without a word.");
    assert_eq!(shown(json!({ "content": [], "isError": true })).unwrap_err(), "The tool failed, and did not say why.");
}
