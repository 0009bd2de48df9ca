//! An answer in the chunks of a stream, or in the one document of a server that does not stream. Servers that merely resemble OpenAI's
//! leave fields out, send null for them, or give objects for texts; none of that costs the answer.

use protocol::event::{Json, Responded, Usage};
use serde::Deserialize;

use crate::model::Tokens;
use crate::model::answer::{Answer, CallPiece};
use crate::model::fault::Fault;
use crate::model::openai::Reading;
use crate::model::openai::target::Target;

/// A chunk of a stream, or a whole answer.
#[derive(Debug, Deserialize)]
pub(in crate::model::openai) struct Chunk {
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
    tool_calls: Option<Vec<ToolCall>>,
}

#[derive(Debug, Deserialize)]
struct ToolCall {
    index: Option<i64>,
    id: Option<String>,
    function: Option<Function>,
}

#[derive(Debug, Default, Deserialize)]
struct Function {
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
pub(in crate::model::openai) struct Chunks<'a> {
    target: &'a Target,
    answer: Answer,
    finish_reason: Option<String>,
    is_whole: bool,
}

impl<'a> Chunks<'a> {
    /// Nothing yet.
    pub(in crate::model::openai) fn of(target: &'a Target) -> Self {
        Self { target, answer: Answer::default(), finish_reason: None, is_whole: false }
    }
}

impl Reading for Chunks<'_> {
    type Event = Chunk;

    fn has_begun(&self) -> bool {
        self.answer.has_begun()
    }

    fn take(&mut self, chunk: Chunk, tokens: &mut dyn Tokens) -> Result<(), Fault> {
        if let Some(error) = chunk.error.filter(|error| !error.is_null()) {
            return Err(Fault::in_answer(&error, &self.target.peer));
        }
        self.answer.model = chunk.model.filter(|model| !model.is_empty()).or_else(|| self.answer.model.take());
        self.answer.usage = chunk.usage.map(Usage::from).or(self.answer.usage);
        let Some(choice) = chunk.choices.unwrap_or_default().into_iter().next() else { return Ok(()) };
        self.is_whole |= choice.delta.is_none() && choice.message.is_some();
        self.finish_reason = choice.finish_reason.or_else(|| self.finish_reason.take());
        let Some(piece) = choice.delta.or(choice.message) else { return Ok(()) };
        for text in [piece.content.map(text_of), piece.refusal].into_iter().flatten() {
            self.answer.say(&text, tokens)?;
        }
        for ToolCall { index, id, function } in piece.tool_calls.unwrap_or_default() {
            let Function { name, arguments } = function.unwrap_or_default();
            self.answer.call(CallPiece { index, id: id.unwrap_or_default(), name: name.unwrap_or_default(), arguments })?;
        }
        Ok(())
    }

    fn finish(self, seen: usize) -> Result<Responded, Fault> {
        let reason = self.finish_reason.as_deref();
        if reason.is_none() && !self.is_whole {
            return Err(Fault::passing("the answer broke off before its finish_reason"));
        }
        if reason == Some("content_filter") && !self.has_begun() {
            return Err(Fault::refused("the provider's content filter withheld the answer"));
        }
        if reason == Some("length") {
            tracing::warn!(model = self.target.model, "an answer was cut off at the model's token limit");
        }
        Ok(self.answer.finish(seen, &self.target.model))
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
