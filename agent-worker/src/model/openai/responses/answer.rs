//! An answer in the events of a stream, or in the one document of a response that is not streamed. Of the many kinds of events and items
//! only those matter that carry text, calls or the end.

use protocol::event::{Json, Responded, Usage};
use serde::Deserialize;

use crate::model::Tokens;
use crate::model::answer::{Answer, CallPiece};
use crate::model::fault::Fault;
use crate::model::openai::Reading;
use crate::model::openai::target::Target;

/// An event of a stream, or a whole response.
#[derive(Debug, Deserialize)]
pub(in crate::model::openai) struct Event(Json);

/// A response, as far as it is there.
#[derive(Debug, Deserialize)]
struct Response {
    model: Option<String>,
    status: Option<String>,
    output: Option<Vec<Item>>,
    usage: Option<Counted>,
    error: Option<Json>,
    incomplete_details: Option<Incomplete>,
}

#[derive(Debug, Deserialize)]
struct Incomplete {
    reason: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Item {
    #[serde(rename = "type")]
    kind: Option<String>,
    content: Option<Json>,
    call_id: Option<String>,
    name: Option<String>,
    arguments: Option<Json>,
}

#[derive(Debug, Deserialize)]
struct Counted {
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    input_tokens_details: Option<CountedInput>,
}

#[derive(Debug, Deserialize)]
struct CountedInput {
    cached_tokens: Option<u64>,
}

/// What has arrived so far.
#[derive(Debug)]
pub(in crate::model::openai) struct Events<'a> {
    target: &'a Target,
    answer: Answer,
    is_over: bool,
    is_filtered: bool,
}

impl<'a> Events<'a> {
    /// Nothing yet.
    pub(in crate::model::openai) fn of(target: &'a Target) -> Self {
        Self { target, answer: Answer::default(), is_over: false, is_filtered: false }
    }

    /// An item that begins or ends. Whatever came of it before is not taken twice.
    fn take_item(&mut self, index: Option<i64>, item: Item, tokens: &mut dyn Tokens) -> Result<(), Fault> {
        let id = item.call_id.unwrap_or_default();
        match item.kind.as_deref() {
            Some("function_call") if !self.answer.has_arguments(index, &id) => {
                let name = item.name.unwrap_or_default();
                self.answer.call(CallPiece { index, id, name, arguments: item.arguments })
            }
            Some("message") if !self.answer.has_text() => self.answer.say(&text_of(item.content.as_ref()), tokens),
            _ => Ok(()),
        }
    }

    /// The end of a stream, or a whole response.
    fn take_response(&mut self, response: Response, tokens: &mut dyn Tokens) -> Result<(), Fault> {
        if let Some(error) = response.error.filter(|error| !error.is_null()) {
            return Err(Fault::in_answer(&error, &self.target.peer));
        }
        match response.status.as_deref() {
            Some("failed") => return Err(Fault::passing("the response failed, and does not say why")),
            Some("cancelled" | "queued" | "in_progress") => return Err(Fault::garbled("the response is not finished")),
            _ => {}
        }
        self.is_over = true;
        self.answer.model = response.model;
        self.answer.usage = response.usage.map(Usage::from);
        let items = response.output.unwrap_or_default();
        if !self.answer.has_text() {
            let texts = items.iter().filter(|item| item.kind.as_deref() == Some("message")).map(|item| text_of(item.content.as_ref()));
            self.answer.say(&texts.collect::<String>(), tokens)?;
        }
        if !self.answer.has_calls() {
            for (index, item) in (0..).zip(items) {
                self.take_item(Some(index), item, tokens)?;
            }
        }
        match response.incomplete_details.and_then(|details| details.reason).as_deref() {
            Some("content_filter") => self.is_filtered = true,
            Some(reason) => tracing::warn!(model = self.target.model, reason, "an answer was cut off"),
            None => {}
        }
        Ok(())
    }
}

impl Reading for Events<'_> {
    type Event = Event;

    fn has_begun(&self) -> bool {
        self.answer.has_begun()
    }

    fn is_over(&self) -> bool {
        self.is_over
    }

    fn take(&mut self, Event(mut event): Event, tokens: &mut dyn Tokens) -> Result<(), Fault> {
        let index = event.get("output_index").and_then(Json::as_i64);
        let mut field = |name: &str| event.get_mut(name).map(Json::take).unwrap_or_default();
        let kind = field("type");
        match kind.as_str() {
            Some("response.output_text.delta" | "response.refusal.delta") => self.answer.say(&parsed::<String>(field("delta"))?, tokens),
            Some("response.output_item.added" | "response.output_item.done") => self.take_item(index, parsed(field("item"))?, tokens),
            Some("response.function_call_arguments.delta") => {
                self.answer.call(CallPiece { index, arguments: Some(field("delta")), ..CallPiece::default() })
            }
            Some("response.completed" | "response.incomplete" | "response.failed") => {
                self.take_response(parsed(field("response"))?, tokens)
            }
            Some("error") => {
                let inner = field("error");
                Err(Fault::in_answer(if inner.is_object() { &inner } else { &event }, &self.target.peer))
            }
            // Reasoning, tools of the provider's, beginnings and ends of parts.
            Some(_) => Ok(()),
            None if ["output", "error"].iter().all(|name| event.get(name).is_none_or(Json::is_null)) => {
                Err(Fault::garbled("it is no response: it has no output"))
            }
            None => self.take_response(parsed(event)?, tokens),
        }
    }

    fn finish(self, seen: usize) -> Result<Responded, Fault> {
        if !self.is_over {
            return Err(Fault::passing("the answer broke off before its response.completed"));
        }
        if self.is_filtered && !self.has_begun() {
            return Err(Fault::refused("the provider's content filter withheld the answer"));
        }
        Ok(self.answer.finish(seen, &self.target.model))
    }
}

fn parsed<T: for<'de> Deserialize<'de>>(json: Json) -> Result<T, Fault> {
    T::deserialize(json).map_err(|error| Fault::garbled(error.to_string()))
}

/// The texts, refusals among them, of a message's parts.
fn text_of(content: Option<&Json>) -> String {
    let parts = content.and_then(Json::as_array).into_iter().flatten();
    parts.filter_map(|part| part.get("text").or_else(|| part.get("refusal"))?.as_str()).collect()
}

impl From<Counted> for Usage {
    fn from(counted: Counted) -> Self {
        let cached = counted.input_tokens_details.and_then(|details| details.cached_tokens);
        Self {
            input_tokens: counted.input_tokens.unwrap_or_default(),
            output_tokens: counted.output_tokens.unwrap_or_default(),
            cached_tokens: cached.unwrap_or_default(),
        }
    }
}
