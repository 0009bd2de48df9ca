//! The two slow effects of a turn: asking the model and running tools.

use std::time::Duration;

use futures::future::join_all;
use protocol::event::Responded;
use protocol::ids::Seq;
use protocol::subject;
use telemetry::{keys, spans};
use tracing::Instrument;

use super::{Driver, content};
use crate::catalog;
use crate::live::LiveAnswer;
use crate::model::{ModelError, Request, Tokens};
use crate::role::Role;
use crate::tools::ToolCall;
use crate::turn::{Run, Turn};

/// Wall time of a tool that the catalogue does not know, in seconds.
const TOOL_SECS: u64 = 60;

impl Driver {
    /// One answer of the model, the `answer`-th of its turn that people may watch while it is written; none, if they may not.
    pub(super) async fn ask_model(
        &self,
        role: &Role,
        request: Request<'_>,
        epoch: Seq,
        answer: Option<u32>,
    ) -> Result<Responded, ModelError> {
        let conversation = request.conversation.as_str();
        let span = spans::chat(role.model.provider(), role.model.name(), self.agent.as_str(), conversation);
        spans::content(&span, keys::INPUT_MESSAGES, || content::input(&request.messages));
        let mut live = answer.map(|answer| LiveAnswer {
            speaker: self.speaker.clone(),
            subject: subject::live(&self.orchestration, &self.agent, &request.conversation),
            process: self.process.clone(),
            epoch,
            answer,
            index: 0,
        });
        let mut nobody = ();
        let tokens: &mut dyn Tokens = live.as_mut().map_or(&mut nobody, |live| live);
        let result = role.model.respond(&request, tokens).instrument(span.clone()).await;
        match &result {
            Ok(response) => {
                let usage = response.usage.unwrap_or_default();
                let counted = response.usage.is_some();
                let finish_reason = if response.calls.is_empty() { "stop" } else { "tool_calls" };
                spans::content(&span, keys::OUTPUT_MESSAGES, || content::output(response, finish_reason));
                spans::answered(
                    &span,
                    &spans::Answer {
                        model: Some(response.model.as_str()).filter(|model| !model.is_empty()),
                        id: None,
                        finish_reason: Some(finish_reason),
                        input_tokens: counted.then_some(usage.input_tokens),
                        output_tokens: counted.then_some(usage.output_tokens),
                        cached_tokens: counted.then_some(usage.cached_tokens),
                    },
                );
            }
            Err(error) => {
                tracing::warn!(conversation, agent = %self.agent, "{error}");
                spans::failed(&span, "model", error);
            }
        }
        result
    }

    pub(super) async fn run_tools(&self, role: &Role, turn: &Turn, runs: Vec<Run>) -> Vec<(String, Result<String, String>)> {
        let calls = runs.into_iter().map(|run| self.run_tool(role, turn, run));
        join_all(calls).await
    }

    async fn run_tool(&self, role: &Role, turn: &Turn, run: Run) -> (String, Result<String, String>) {
        let Run { call, key, undoes } = run;
        let conversation = turn.conversation().id();
        let span = spans::execute_tool(&call.name, &call.id, conversation.as_str());
        spans::content(&span, keys::TOOL_ARGUMENTS, || call.arguments.clone());
        let result = async {
            let tool = role.tools.get(&call.name).ok_or_else(|| format!("tool {} is not available in this worker", call.name))?;
            let arguments = catalog::arguments(&call)?;
            if undoes.is_some() {
                role.catalog.check(&call.name, &arguments)?;
            }
            let call = ToolCall {
                tool: call.name.clone(),
                arguments,
                idempotency_key: key,
                undoes,
                epoch: turn.epoch(),
                conversation: conversation.clone(),
                agent: self.agent.clone(),
            };
            let timeout_secs = role.catalog.timeout_secs(&call.tool).unwrap_or(TOOL_SECS);
            let ran = tokio::time::timeout(Duration::from_secs(timeout_secs), tool.run(call)).await;
            ran.map_err(|_| format!("the tool did not return within {timeout_secs} s; it is unknown whether it did its work"))?
                .map_err(|error| error.to_string())
        };
        let result = result.instrument(span.clone()).await;
        match &result {
            Ok(text) => spans::content(&span, keys::TOOL_RESULT, || text.clone()),
            Err(error) => spans::failed(&span, "tool", error),
        }
        (call.id, result)
    }
}
