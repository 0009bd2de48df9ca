//! What the tests of models and tools share.

use std::collections::BTreeMap;

use protocol::history::PromptMessage;
use protocol::ids::ConversationId;
use protocol::orchestration::Endpoint;

use super::{Request, Tokens};

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

pub(crate) fn request(agent: &str, messages: Vec<PromptMessage>) -> Request {
    Request { agent: agent.parse().unwrap(), conversation: ConversationId::of_opening("test", "1"), messages, tools: [].into() }
}

pub(crate) fn endpoint(base_url: Option<String>) -> Endpoint {
    Endpoint {
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
