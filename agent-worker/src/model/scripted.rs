//! A script in place of a model: for tests, for rehearsals, and for trying Baton out without a key.

use async_trait::async_trait;
use protocol::event::{Call, Json, Responded};
use protocol::history::PromptMessage;
use protocol::orchestration::{COMPLETE_TASK, ScriptLine, TRANSFER_PREFIX};
use serde_json::json;

use super::{Model, ModelError, Request, Tokens};

const NAME: &str = "scripted";

/// Answers with the first line whose conditions hold; the same prompt always gets the same answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scripted {
    lines: Vec<ScriptLine>,
}

impl Scripted {
    /// A model that knows these lines.
    pub const fn new(lines: Vec<ScriptLine>) -> Self {
        Self { lines }
    }

    fn line(&self, request: &Request<'_>) -> Result<&ScriptLine, ModelError> {
        let scene = Scene::of(request);
        self.lines.iter().find(|line| scene.fits(line)).ok_or_else(|| ModelError::Refused(scene.without_a_line()))
    }
}

/// What the conditions of a line look at.
struct Scene<'a> {
    agent: &'a str,
    user: &'a str,
    /// Its name, and its result.
    tool: Option<(&'a str, &'a str)>,
}

impl<'a> Scene<'a> {
    fn of(request: &'a Request<'_>) -> Self {
        let user = request.messages.iter().rev().find_map(|message| match message {
            PromptMessage::User { text } => Some(text.as_ref()),
            _ => None,
        });
        let tool = match request.messages.last() {
            Some(PromptMessage::Tool { name, content, .. }) => Some((name.as_ref(), content.as_ref())),
            _ => None,
        };
        Self { agent: request.agent.as_str(), user: user.unwrap_or_default(), tool }
    }

    fn fits(&self, line: &ScriptLine) -> bool {
        let contains = |text: &str, words: &str| text.to_lowercase().contains(&words.to_lowercase());
        line.agent.as_deref().is_none_or(|agent| agent == self.agent)
            && line.user.as_deref().is_none_or(|words| contains(self.user, words))
            && line.tool.as_deref().is_none_or(|tool| self.tool.is_some_and(|(name, _)| name == tool))
            && line.returned.as_deref().is_none_or(|words| self.tool.is_some_and(|(_, result)| contains(result, words)))
    }

    fn without_a_line(&self) -> String {
        let Self { agent, user, tool } = self;
        let after = tool.map(|(tool, _)| format!(" after the tool {tool}")).unwrap_or_default();
        let user: String = user.chars().take(200).collect();
        format!("the script has no line for agent {agent}{after}, where the person last said {user:?}")
    }
}

#[async_trait]
impl Model for Scripted {
    fn provider(&self) -> &str {
        NAME
    }

    fn name(&self) -> &str {
        NAME
    }

    async fn respond(&self, request: &Request<'_>, tokens: &mut dyn Tokens) -> Result<Responded, ModelError> {
        let line = self.line(request)?;
        let text = line.say.clone().unwrap_or_default();
        text.split_inclusive(' ').for_each(|word| tokens.text(word));
        Ok(Responded { text, calls: calls(line, request), model: NAME.to_owned(), usage: None })
    }
}

/// The calls of a line. Each call adds a message, its result, to every later prompt of this agent: counting on from the number of
/// messages gives ids that are never used twice in a conversation.
fn calls(line: &ScriptLine, request: &Request<'_>) -> Vec<Call> {
    let arguments = json!(line.arguments).to_string();
    let called = line.call.as_ref().map(|tool| (tool.clone(), arguments.clone()));
    // Without a call of its own, a line's arguments are those of its transfer: a reason, a payload.
    let transfer_arguments = if called.is_some() { json!({}).to_string() } else { arguments };
    let transferred = line.transfer.as_ref().map(|agent| (format!("{TRANSFER_PREFIX}{agent}"), transfer_arguments));
    let completed = line.complete.as_ref().map(|summary| (COMPLETE_TASK.to_owned(), completion(summary, line.result.as_ref())));
    let first = request.messages.len();
    [called, transferred, completed]
        .into_iter()
        .flatten()
        .zip(first..)
        .map(|((name, arguments), number)| Call { id: format!("call_{}_{number}", request.agent), name, arguments })
        .collect()
}

fn completion(summary: &str, result: Option<&Json>) -> String {
    let mut arguments = json!({ "task_summary": summary });
    if let (Some(result), Json::Object(arguments)) = (result, &mut arguments) {
        arguments.insert("result".to_owned(), result.clone());
    }
    arguments.to_string()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::model::test_support::{Heard, request};

    fn line(edit: impl FnOnce(&mut ScriptLine)) -> ScriptLine {
        let mut line = ScriptLine::default();
        edit(&mut line);
        line
    }

    fn user(text: &str) -> PromptMessage<'_> {
        PromptMessage::User { text: text.into() }
    }

    fn result(tool: &str) -> PromptMessage<'_> {
        PromptMessage::Tool { call: "call_1".into(), name: tool.into(), content: "done".into() }
    }

    async fn said(lines: &[ScriptLine], messages: Vec<PromptMessage<'_>>) -> Result<String, String> {
        let answer = Scripted::new(lines.to_vec()).respond(&request("triage", messages), &mut ()).await;
        answer.map(|answer| answer.text).map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn the_first_line_whose_conditions_hold_answers() {
        let lines = [
            line(|l| (l.agent, l.say) = (Some("refund".into()), Some("not me".into()))),
            line(|l| (l.tool, l.say) = (Some("look_up".into()), Some("looked up".into()))),
            line(|l| (l.user, l.tool, l.say) = (Some("ORDER".into()), Some("pay".into()), Some("paid".into()))),
            line(|l| (l.user, l.say) = (Some("Order".into()), Some("which order?".into()))),
            line(|l| (l.agent, l.user, l.say) = (Some("triage".into()), Some("hello".into()), Some("hi".into()))),
        ];
        assert_eq!(said(&lines, vec![user("My ORDER is late")]).await.unwrap(), "which order?");
        assert_eq!(said(&lines, vec![user("my order"), result("pay")]).await.unwrap(), "paid");
        assert_eq!(said(&lines, vec![user("my order"), result("look_up")]).await.unwrap(), "looked up");
        // Only the last message of a person counts, and a tool's result only while nothing follows it.
        assert_eq!(said(&lines, vec![user("my order"), result("look_up"), user("hello")]).await.unwrap(), "hi");
    }

    #[tokio::test]
    async fn what_a_tool_returned_is_a_condition() {
        let lines = [
            line(|l| (l.returned, l.say) = (Some("DONE".into()), Some("good".into()))),
            line(|l| (l.returned, l.say) = (Some("denied".into()), Some("sorry".into()))),
            line(|l| l.say = Some("hello".into())),
        ];
        assert_eq!(said(&lines, vec![user("pay"), result("pay")]).await.unwrap(), "good");
        assert_eq!(said(&lines, vec![user("done and denied")]).await.unwrap(), "hello", "a person returns nothing");
    }

    #[tokio::test]
    async fn without_a_line_it_says_what_it_was_asked() {
        let lines = [line(|l| (l.user, l.say) = (Some("order".into()), Some("yes".into())))];
        assert_eq!(
            said(&lines, vec![user("tell \"me\""), result("look_up")]).await.unwrap_err(),
            "the model refuses the request: the script has no line for agent triage after the tool look_up, \
             where the person last said \"tell \\\"me\\\"\""
        );
    }

    #[tokio::test]
    async fn words_are_streamed_and_all_actions_of_a_line_are_calls() {
        let line = line(|l| {
            l.say = Some("One moment, please.".into());
            l.call = Some("look_up".into());
            l.arguments.insert("order".into(), "1 \"2\"".into());
            l.transfer = Some("refund".into());
            l.complete = Some("done".into());
        });
        let mut heard = Heard::default();
        let answer = Scripted::new(vec![line]).respond(&request("triage", vec![user("hi")]), &mut heard).await.unwrap();
        assert_eq!(heard.0, ["One ", "moment, ", "please."]);
        assert_eq!(heard.0.concat(), answer.text);
        let calls: Vec<_> = answer.calls.iter().map(|call| (call.name.as_str(), call.arguments.as_str())).collect();
        assert_eq!(
            calls,
            [("look_up", r#"{"order":"1 \"2\""}"#), ("transfer_to_refund", "{}"), ("complete_task", r#"{"task_summary":"done"}"#)]
        );
    }

    #[tokio::test]
    async fn arguments_of_a_line_without_a_call_are_those_of_its_transfer() {
        let line = line(|l| {
            l.transfer = Some("refund".into());
            l.arguments.insert("reason".into(), "money".into());
        });
        let answer = Scripted::new(vec![line]).respond(&request("triage", vec![user("hi")]), &mut ()).await.unwrap();
        assert_eq!(answer.calls[0].arguments, r#"{"reason":"money"}"#);
    }

    #[tokio::test]
    async fn arguments_and_results_are_any_values() {
        let lines = [
            line(|l| {
                l.complete = Some("paid".into());
                l.result = Some(json!({ "amount": 4300 }));
            }),
            line(|l| {
                l.call = Some("pay".into());
                l.arguments.insert("amount".into(), 4300.into());
            }),
        ];
        for (line, arguments) in lines.into_iter().zip([r#"{"task_summary":"paid","result":{"amount":4300}}"#, r#"{"amount":4300}"#]) {
            let answer = Scripted::new(vec![line]).respond(&request("triage", vec![user("hi")]), &mut ()).await.unwrap();
            assert_eq!(answer.calls[0].arguments, arguments);
        }
    }

    #[tokio::test]
    async fn no_call_id_is_used_twice_however_long_the_conversation() {
        let model = Scripted::new(vec![line(|l| (l.call, l.transfer) = (Some("look_up".into()), Some("refund".into())))]);
        let (mut messages, mut ids) = (vec![user("hi")], BTreeSet::new());
        for _ in 0..5 {
            let answer = model.respond(&request("triage", messages.clone()), &mut ()).await.unwrap();
            messages.push(PromptMessage::Assistant { name: None, text: answer.text.into(), calls: answer.calls.clone().into() });
            for call in answer.calls {
                messages.push(PromptMessage::Tool { call: call.id.clone().into(), name: call.name.into(), content: "".into() });
                assert!(ids.insert(call.id.clone()), "{} came twice", call.id);
            }
        }
        assert_eq!(ids.len(), 10);
    }
}
