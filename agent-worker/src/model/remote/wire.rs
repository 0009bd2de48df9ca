//! What a remote agent is asked, and how its answer is read.

use protocol::event::{Call, Json, Responded, Usage};
use protocol::history::PromptMessage;
use protocol::orchestration::{COMPLETE_TASK, TRANSFER_PREFIX};
use serde::Deserialize;
use serde_json::{Map, json};

use super::framing::Framing;
use crate::model::answer::{Answer, CallPiece};
use crate::model::fault::{Fault, Peer};
use crate::model::{Request, Tokens, ToolDefinition};

/// The end of a stream in the words of those who know OpenAI's.
const DONE: &[u8] = b"[DONE]";

/// The question.
pub(super) fn body(request: &Request<'_>) -> Json {
    let mut body = json!({
        "agent": request.agent,
        "conversation": request.conversation,
        "messages": request.messages.iter().map(message).collect::<Json>(),
        "tools": request.tools.iter().map(tool).collect::<Json>(),
    });
    if let (Json::Object(body), Some(schema)) = (&mut body, &request.output) {
        body.insert("output".to_owned(), schema.clone());
    }
    body
}

fn message(message: &PromptMessage<'_>) -> Json {
    match message {
        PromptMessage::System { text } => json!({ "role": "system", "text": text }),
        PromptMessage::User { text } => json!({ "role": "user", "text": text }),
        PromptMessage::Assistant { name, text, calls } => {
            let mut message = Map::from_iter([("role".to_owned(), json!("assistant")), ("text".to_owned(), json!(text))]);
            message.extend(name.as_ref().map(|name| ("name".to_owned(), json!(name))));
            if !calls.is_empty() {
                message.insert("calls".to_owned(), calls.iter().map(call).collect());
            }
            Json::Object(message)
        }
        PromptMessage::Tool { call, name, content } => json!({ "role": "tool", "call": call, "name": name, "text": content }),
    }
}

/// The arguments as JSON; as they were written where they are none.
fn call(call: &Call) -> Json {
    let arguments = serde_json::from_str(&call.arguments).unwrap_or_else(|_| json!(call.arguments));
    json!({ "id": call.id, "name": call.name, "arguments": arguments })
}

fn tool(tool: &ToolDefinition) -> Json {
    json!({ "name": tool.name, "description": tool.description, "parameters": tool.parameters })
}

/// An answer, or a piece of one.
#[derive(Debug, Deserialize)]
struct Piece {
    text: Option<String>,
    calls: Option<Vec<Called>>,
    transfer: Option<Transfer>,
    complete: Option<String>,
    model: Option<String>,
    usage: Option<Usage>,
    error: Option<Json>,
    #[serde(default)]
    done: bool,
}

#[derive(Debug, Deserialize)]
struct Called {
    id: Option<String>,
    name: String,
    arguments: Option<Json>,
}

#[derive(Debug, Deserialize)]
struct Transfer {
    to: String,
    reason: Option<String>,
    payload: Option<Json>,
}

/// What has arrived so far.
#[derive(Debug)]
pub(super) struct Reading<'a> {
    peer: &'a Peer,
    answer: Answer,
    /// Calls so far.
    count: i64,
    /// Whether it said anything, were it an empty text.
    is_answer: bool,
    is_over: bool,
}

impl<'a> Reading<'a> {
    /// Nothing yet.
    pub(super) fn new(peer: &'a Peer) -> Self {
        Self { peer, answer: Answer::default(), count: 0, is_answer: false, is_over: false }
    }

    /// Whether the service has begun to answer, after which it makes no long pauses.
    pub(super) const fn has_begun(&self) -> bool {
        self.answer.has_begun()
    }

    /// Whether it has said that nothing more follows.
    pub(super) const fn is_over(&self) -> bool {
        self.is_over
    }

    /// Takes the next document in; text goes to `tokens`, too. What follows the end is not looked at.
    pub(super) fn take(&mut self, document: &[u8], tokens: &mut dyn Tokens) -> Result<(), Fault> {
        if self.is_over || document.trim_ascii() == DONE {
            self.is_over = true;
            return Ok(());
        }
        let piece: Piece = serde_json::from_slice(document).map_err(|error| {
            let problem = format!("{} sent no answer: {error} in {:?}", self.peer.shown, self.peer.excerpt(document));
            // Half a document is a connection that broke off, unless it happens again and again.
            if error.is_eof() { Fault::passing(problem) } else { Fault::garbled(problem) }
        })?;
        if let Some(error) = piece.error.filter(|error| !error.is_null()) {
            return Err(Fault::in_answer(&error, self.peer));
        }
        self.is_answer |= piece.text.is_some() || piece.calls.is_some() || piece.transfer.is_some() || piece.complete.is_some();
        self.is_over = piece.done;
        self.answer.model = piece.model.or_else(|| self.answer.model.take());
        self.answer.usage = piece.usage.or(self.answer.usage);
        self.answer.say(&piece.text.unwrap_or_default(), tokens)?;
        let calls = piece.calls.unwrap_or_default().into_iter();
        let transfer = piece.transfer.map(Called::from);
        let complete = piece.complete.map(|summary| Called::new(COMPLETE_TASK.to_owned(), json!({ "task_summary": summary })));
        for Called { id, name, arguments } in calls.chain(transfer).chain(complete) {
            self.answer.call(CallPiece { index: Some(self.count), id: id.unwrap_or_default(), name, arguments })?;
            self.count += 1;
        }
        Ok(())
    }

    /// The response, when there is nothing more to come. Of a stream, only its own word is the end: a connection that breaks off may look
    /// as one that is closed.
    pub(super) fn finish(self, framing: Framing, seen: usize, name: &str) -> Result<Responded, Fault> {
        if framing != Framing::Whole && !self.is_over {
            return Err(Fault::passing(format!("the answer broke off before its {}", json!({ "done": true }))));
        }
        if !self.is_answer {
            return Err(Fault::garbled(format!("{} sent neither text nor calls, transfer or complete", self.peer.shown)));
        }
        Ok(self.answer.finish(seen, name))
    }
}

impl Called {
    const fn new(name: String, arguments: Json) -> Self {
        Self { id: None, name, arguments: Some(arguments) }
    }
}

impl From<Transfer> for Called {
    fn from(Transfer { to, reason, payload }: Transfer) -> Self {
        let arguments = [("reason", reason.map(Json::from)), ("payload", payload)];
        let arguments = arguments.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect();
        Self::new(format!("{TRANSFER_PREFIX}{to}"), Json::Object(arguments))
    }
}
