//! Tools of MCP servers.

mod connection;

use std::fmt::Write as _;
use std::sync::Arc;

use async_trait::async_trait;
use protocol::event::{Effect, Json};
use protocol::orchestration::McpServer;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, JsonObject, MetaObject, RequestMetaObject, ResourceContents,
    Tool as Offered,
};
use rmcp::service::ServiceError;
use telemetry::context;

pub use self::connection::McpServers;
use self::connection::{Connection, Listing};
use super::build::Reason;
use super::clip::{ANSWER_BYTES_MAX, ERROR_BYTES_MAX, clipped};
use super::{Tool, ToolCall, ToolError};
use crate::model::environment::{Environment, resolve};

/// A tool of an MCP server ([`ToolSource::Mcp`](protocol::orchestration::ToolSource::Mcp)).
///
/// What it takes, does and may do when it runs twice are the server's words, as of when it was asked. Every call carries in its `_meta`
/// `baton/idempotency-key` (the same for every run of the same call), `baton/undoes` (the key of the call to undo), `baton/epoch`, `baton/conversation` and `traceparent`.
#[derive(Debug)]
pub struct McpTool {
    offered: Offered,
    connection: Arc<Connection>,
    change: u64,
}

impl McpTool {
    /// A tool of a server, which is asked whether it has it.
    ///
    /// # Errors
    /// [`Reason`]: the environment lacks a variable, the server cannot be reached, or it has no such tool.
    pub(super) async fn new(server: Server, name: &str) -> Result<Self, Reason> {
        let Server { connection, shown } = server;
        let unreachable = |problem: String| Reason::Unreachable { server: shown.clone(), problem };
        let Listing { tools, change } = connection.listing().await.map_err(|error| unreachable(error.0))?;
        let Some(offered) = tools.get(name).cloned() else {
            return Err(Reason::NotOffered { server: shown, has: tools.keys().cloned().collect() });
        };
        Ok(Self { offered, connection, change })
    }
}

/// A server as it is found, and as it may be shown: without what the environment holds.
pub(super) struct Server {
    connection: Arc<Connection>,
    shown: String,
}

impl Server {
    /// The server of a definition.
    ///
    /// # Errors
    /// [`Reason::Invalid`] when a variable is missing.
    pub(super) fn find(server: &McpServer, environment: Environment<'_>, servers: &McpServers) -> Result<Self, Reason> {
        let resolved = |text: &String| resolve(text, environment).map_err(|missing| Reason::Invalid(format!("its MCP server: {missing}")));
        let named = |texts: &std::collections::BTreeMap<String, String>| {
            texts.iter().map(|(name, text)| Ok((name.clone(), resolved(text)?))).collect::<Result<_, Reason>>()
        };
        let (server, shown) = match server {
            McpServer::Http { url, headers } => (McpServer::Http { url: resolved(url)?, headers: named(headers)? }, url.clone()),
            McpServer::Child { command, env } => {
                let shown = command.first().cloned().unwrap_or_default();
                let command = command.iter().map(resolved).collect::<Result<_, _>>()?;
                (McpServer::Child { command, env: named(env)? }, shown)
            }
        };
        Ok(Self { connection: servers.to(&server), shown })
    }
}

#[async_trait]
impl Tool for McpTool {
    fn parameters(&self) -> Option<Json> {
        let mut schema = (*self.offered.input_schema).clone();
        schema.entry("type").or_insert_with(|| "object".into());
        Some(Json::Object(schema))
    }

    fn description(&self) -> Option<&str> {
        self.offered.description.as_deref().or(self.offered.title.as_deref())
    }

    fn effect(&self) -> Option<Effect> {
        let hints = self.offered.annotations.as_ref();
        Some(match hints.map(|hints| (hints.read_only_hint, hints.idempotent_hint)) {
            Some((Some(true), _)) => Effect::ReadOnly,
            Some((_, Some(true))) => Effect::Idempotent,
            _ => Effect::SideEffect,
        })
    }

    fn is_current(&self) -> bool {
        self.connection.change() == self.change
    }

    /// A call that is dropped is called off at the server, too (`notifications/cancelled`).
    async fn run(&self, call: ToolCall) -> Result<String, ToolError> {
        let live = self.connection.live().await;
        let live = live.map_err(|why| ToolError(format!("The MCP server cannot be reached: {why}. Nothing was called.")))?;
        let mut params = CallToolRequestParams::new(self.offered.name.clone());
        params.meta = Some(meta(&call));
        params.arguments = Some(call.arguments.as_object().cloned().unwrap_or_default());
        match live.peer.call_tool_once(params).await {
            Ok(CallToolResponse::Complete(result)) => shown(&result),
            Ok(_) => Err(ToolError("The MCP server asks for what only a person could give; nothing came of the call.".to_owned())),
            Err(ServiceError::McpError(error)) => {
                Err(ToolError(clipped(format!("The MCP server refuses the call: {}", error.message), ERROR_BYTES_MAX)))
            }
            Err(error) => {
                if matches!(error, ServiceError::TransportSend(_) | ServiceError::TransportClosed) {
                    self.connection.give_up(&live).await;
                }
                let told = format!("The MCP server did not answer: {error}. It is unknown whether the call took effect.");
                Err(ToolError(clipped(told, ERROR_BYTES_MAX)))
            }
        }
    }
}

fn meta(call: &ToolCall) -> RequestMetaObject {
    let trace = context::current();
    let (parent, state) = trace.map_or((None, None), |trace| (Some(trace.traceparent), trace.tracestate));
    let entries = [
        ("baton/idempotency-key", Some(Json::from(call.idempotency_key.clone()))),
        ("baton/undoes", call.undoes.clone().map(Json::from)),
        ("baton/epoch", Some(call.epoch.0.into())),
        ("baton/conversation", Some(call.conversation.to_string().into())),
        ("traceparent", parent.map(Json::from)),
        ("tracestate", state.map(Json::from)),
    ];
    let entries = entries.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    RequestMetaObject(MetaObject(entries.collect::<JsonObject>()))
}

/// A result as text. Servers repeat structured content as text for those who read only that; where one does not, it is JSON.
fn shown(result: &CallToolResult) -> Result<String, ToolError> {
    let has_text = result.content.iter().any(|part| matches!(part, ContentBlock::Text(_)));
    let parts = result.content.iter().map(part);
    let structured = result.structured_content.as_ref().filter(|_| !has_text).map(Json::to_string);
    let text = structured.into_iter().chain(parts).collect::<Vec<_>>().join("\n");
    match result.is_error {
        Some(true) if text.is_empty() => Err(ToolError("The tool failed, and did not say why.".to_owned())),
        Some(true) => Err(ToolError(clipped(text, ERROR_BYTES_MAX))),
        _ if text.is_empty() => Ok("The tool has done it, without a word.".to_owned()),
        _ => Ok(clipped(text, ANSWER_BYTES_MAX)),
    }
}

/// What is no text is described in a line.
fn part(content: &ContentBlock) -> String {
    match content {
        ContentBlock::Text(text) => text.text.clone(),
        ContentBlock::Image(image) => format!("[an image ({}), not shown]", image.mime_type),
        ContentBlock::Audio(audio) => format!("[a recording ({}), not shown]", audio.mime_type),
        ContentBlock::ResourceLink(link) => {
            let mut line = format!("[a resource: {} at {}", link.name, link.uri);
            if let Some(description) = &link.description {
                // Writing to a String cannot fail.
                _ = write!(line, ", {description}");
            }
            line + "]"
        }
        ContentBlock::Resource(embedded) => match &embedded.resource {
            ResourceContents::TextResourceContents { uri, text, .. } => format!("[{uri}]\n{text}"),
            ResourceContents::BlobResourceContents { uri, mime_type, .. } => {
                format!("[a file ({}) at {uri}, not shown]", mime_type.as_deref().unwrap_or("of unknown type"))
            }
            _ => "[a resource of an unknown kind, not shown]".to_owned(),
        },
        _ => "[content of an unknown kind, not shown]".to_owned(),
    }
}

#[cfg(test)]
#[path = "mcp_tests.rs"]
mod tests;
