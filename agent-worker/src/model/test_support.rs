//! What the tests of models and tools share.

use std::borrow::Cow;
use std::collections::BTreeMap;

use protocol::event::Call;
use protocol::history::PromptMessage;
use protocol::ids::ConversationId;
use protocol::orchestration::Endpoint;
use serde_json::json;

use super::{Request, Tokens, ToolDefinition};

/// Keeps every piece; a reset empties it.
#[derive(Debug, Default)]
pub(crate) struct Heard(pub(crate) Vec<String>);

impl Tokens for Heard {
    fn text(&mut self, piece: &str) {
        self.0.push(piece.to_owned());
    }
    fn reset(&mut self) {
        self.0.clear();
        self.0.push("[reset]".to_owned());
    }
}

pub(crate) fn request<'a>(agent: &str, messages: Vec<PromptMessage<'a>>) -> Request<'a> {
    let conversation = ConversationId::of_opening("test", "1");
    Request { agent: agent.parse().unwrap(), conversation, messages, tools: [].into(), allowed: None, output: None }
}

/// A request with a message of every kind, and a tool.
pub(crate) fn every_kind_of_message() -> Request<'static> {
    let call = Call { id: "call_1".into(), name: "look_up".into(), arguments: r#"{"order": 1}"#.into() };
    let messages = vec![
        PromptMessage::System { text: "Be kind.".into() },
        PromptMessage::User { text: "Hi".into() },
        PromptMessage::Assistant { name: Some("Refund Agent".into()), text: "Hello".into(), calls: Cow::default() },
        PromptMessage::Assistant { name: None, text: "".into(), calls: vec![call].into() },
        PromptMessage::Tool { call: "call_1".into(), name: "look_up".into(), content: "late".into() },
    ];
    let tool = ToolDefinition { name: "look_up".into(), description: "Looks up.".into(), parameters: json!({ "type": "object" }) };
    Request { tools: [tool].into(), ..request("triage", messages) }
}

pub(crate) fn endpoint(base_url: Option<String>) -> Endpoint {
    Endpoint {
        api: protocol::manifest::Api::Chat,
        provider: "openai".into(),
        name: "gpt-5-mini".into(),
        base_url,
        api_key_env: Some("OPENAI_API_KEY".into()),
        api_version: None,
        headers: BTreeMap::new(),
        timeout_secs: 30,
        retries: 2,
        stream: true,
        parameters: BTreeMap::new(),
        or_else: None,
    }
}

pub(crate) fn http() -> reqwest::Client {
    // A second installation fails, and the first is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().build().unwrap()
}
