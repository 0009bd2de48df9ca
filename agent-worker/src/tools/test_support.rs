//! What the tests of tools share.

use protocol::event::Json;
use protocol::ids::{ConversationId, Seq};

use super::ToolCall;

pub(crate) fn call(tool: &str, arguments: Json) -> ToolCall {
    ToolCall {
        tool: tool.to_owned(),
        arguments,
        idempotency_key: "key-1".to_owned(),
        undoes: Some("key-0".to_owned()),
        epoch: Seq(7),
        conversation: ConversationId::of_opening("test", "1"),
        agent: "triage".parse().unwrap(),
    }
}
