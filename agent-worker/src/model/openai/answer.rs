//! An answer, put together from its pieces: the chunks of a stream, or the one document of a server that does not stream. Servers
//! that merely resemble OpenAI's leave fields out, send null for them, or give objects for texts; none of that costs the answer.

use protocol::event::{Call, Json, Responded, Usage};
use serde::Deserialize;

use super::fault::Fault;
use super::target::Target;
use crate::model::{ModelError, Tokens};

/// Bytes of text, and of all calls' arguments together.
const TEXT_BYTES_MAX: usize = 1024 * 1024;
const CALLS_MAX: usize = 256;

/// A chunk of a stream, or a whole answer.
#[derive(Debug, Deserialize)]
pub(super) struct Chunk {
    model: Option<String>,
    choices: Option<Vec<Choice>>,
    usage: Option<Counted>,
    /// Where a server finds out only after it has said 200.
    error: Option<Json>,
}

#[derive(Debug, Deserialize)]
struct Choice {
    delta: Option<Piece>,
    message: Option<Piece>,
    finish_reason: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Piece {
    content: Option<Json>,
    refusal: Option<String>,
    tool_calls: Option<Vec<CallPiece>>,
}

#[derive(Debug, Deserialize)]
struct CallPiece {
    index: Option<i64>,
    id: Option<String>,
    function: Option<FunctionPiece>,
}

#[derive(Debug, Default, Deserialize)]
struct FunctionPiece {
    name: Option<String>,
    arguments: Option<Json>,
}

#[derive(Debug, Deserialize)]
struct Counted {
    prompt_tokens: Option<u64>,
    completion_tokens: Option<u64>,
    prompt_tokens_details: Option<CountedPrompt>,
}

#[derive(Debug, Deserialize)]
struct CountedPrompt {
    cached_tokens: Option<u64>,
}

/// What has arrived so far.
#[derive(Debug)]
pub(super) struct Answer<'a> {
    target: &'a Target,
    text: String,
    calls: Vec<PartialCall>,
    argument_bytes: usize,
    model: Option<String>,
    usage: Option<Usage>,
    finish_reason: Option<String>,
    is_whole: bool,
}

#[derive(Debug, Default)]
struct PartialCall {
    index: Option<i64>,
    id: String,
    name: String,
    arguments: String,
}

impl<'a> Answer<'a> {
    /// Nothing yet.
    pub(super) const fn of(target: &'a Target) -> Self {
        Self {
            target,
            text: String::new(),
            calls: Vec::new(),
            argument_bytes: 0,
            model: None,
            usage: None,
            finish_reason: None,
            is_whole: false,
        }
    }

    /// Whether the model has begun to write, after which it makes no long pauses.
    pub(super) const fn has_begun(&self) -> bool {
        !self.text.is_empty() || !self.calls.is_empty()
    }

    /// Takes the next chunk in; text goes to `tokens`, too.
    pub(super) fn take(&mut self, chunk: Chunk, tokens: &mut dyn Tokens) -> Result<(), Fault> {
        if let Some(error) = chunk.error.filter(|error| !error.is_null()) {
            return Err(Fault::in_answer(&error, self.target));
        }
        self.model = chunk.model.filter(|model| !model.is_empty()).or_else(|| self.model.take());
        self.usage = chunk.usage.map(Usage::from).or(self.usage);
        let Some(choice) = chunk.choices.unwrap_or_default().into_iter().next() else { return Ok(()) };
        self.is_whole |= choice.delta.is_none() && choice.message.is_some();
        self.finish_reason = choice.finish_reason.or_else(|| self.finish_reason.take());
        let Some(piece) = choice.delta.or(choice.message) else { return Ok(()) };
        for text in [piece.content.map(text_of), piece.refusal].into_iter().flatten().filter(|text| !text.is_empty()) {
            self.text.push_str(&text);
            bounded(self.text.len(), TEXT_BYTES_MAX, "bytes of text")?;
            tokens.text(&text);
        }
        for piece in piece.tool_calls.unwrap_or_default() {
            self.take_call(piece)?;
        }
        Ok(())
    }

    fn take_call(&mut self, piece: CallPiece) -> Result<(), Fault> {
        let CallPiece { index, id, function } = piece;
        let (id, function) = (id.unwrap_or_default(), function.unwrap_or_default());
        let name = function.name.unwrap_or_default();
        let begun = self.calls.iter().rposition(|call| call.index == index && !call.is_another(index, &id, &name));
        let place = begun.unwrap_or(self.calls.len());
        if begun.is_none() {
            bounded(place + 1, CALLS_MAX, "calls")?;
            self.calls.push(PartialCall { index, ..PartialCall::default() });
        }
        let Some(call) = self.calls.get_mut(place) else { return Ok(()) };
        // Some servers repeat the id and the name with every piece.
        if call.id.is_empty() {
            call.id = id;
        }
        if call.name.is_empty() {
            call.name = name;
        }
        let arguments = match function.arguments {
            None | Some(Json::Null) => return Ok(()),
            Some(Json::String(text)) => text,
            Some(value) => value.to_string(),
        };
        call.arguments.push_str(&arguments);
        self.argument_bytes += arguments.len();
        bounded(self.argument_bytes, TEXT_BYTES_MAX, "bytes of arguments")
    }

    /// The response, when there is nothing more to come. `seen` is the number of the prompt's messages, from which
    /// calls without an id get one that no earlier call of the conversation has.
    pub(super) fn finish(self, seen: usize) -> Result<Responded, Fault> {
        let reason = self.finish_reason.as_deref();
        if reason.is_none() && !self.is_whole {
            return Err(Fault::passing("the answer broke off before its finish_reason"));
        }
        if reason == Some("content_filter") && !self.has_begun() {
            return Err(Fault::Final(ModelError::Refused("the provider's content filter withheld the answer".to_owned())));
        }
        if reason == Some("length") {
            tracing::warn!(model = self.target.model, "an answer was cut off at the model's token limit");
        }
        let mut calls: Vec<Call> = Vec::with_capacity(self.calls.len());
        for (number, call) in (seen..).zip(self.calls) {
            let is_taken = call.id.is_empty() || calls.iter().any(|other| other.id == call.id);
            let id = if is_taken { format!("call_baton_{number}") } else { call.id };
            let arguments = if call.arguments.trim().is_empty() { "{}".to_owned() } else { call.arguments };
            calls.push(Call { id, name: call.name, arguments });
        }
        Ok(Responded { text: self.text, calls, model: self.model.unwrap_or_else(|| self.target.model.clone()), usage: self.usage })
    }
}

impl PartialCall {
    /// Whether a piece with the same index belongs to another call all the same: some servers give every call the index 0, or none.
    fn is_another(&self, index: Option<i64>, id: &str, name: &str) -> bool {
        let has_other_id = !id.is_empty() && !self.id.is_empty() && self.id != id;
        let is_named_again = index.is_none() && id.is_empty() && !name.is_empty() && !self.name.is_empty();
        has_other_id || is_named_again
    }
}

/// Content is a text, or a list of parts of which some are texts.
fn text_of(content: Json) -> String {
    match content {
        Json::String(text) => text,
        Json::Array(parts) => parts.iter().filter_map(|part| part.get("text")?.as_str()).collect(),
        _ => String::new(),
    }
}

fn bounded(size: usize, max: usize, what: &str) -> Result<(), Fault> {
    if size <= max {
        return Ok(());
    }
    Err(Fault::Final(ModelError::Garbled(format!("it has more than {max} {what}"))))
}

impl From<Counted> for Usage {
    fn from(counted: Counted) -> Self {
        let cached = counted.prompt_tokens_details.and_then(|details| details.cached_tokens);
        Self {
            input_tokens: counted.prompt_tokens.unwrap_or_default(),
            output_tokens: counted.completion_tokens.unwrap_or_default(),
            cached_tokens: cached.unwrap_or_default(),
        }
    }
}
