//! An answer that is put together from pieces, whoever writes them, within bounds.

use protocol::event::{Call, Json, Responded, Usage};

use super::Tokens;
use super::fault::Fault;

/// Bytes of one event, or of an answer that is not streamed.
pub(super) const EVENT_BYTES_MAX: usize = 2 * 1024 * 1024;
pub(super) const TOO_LARGE: &str = "it is larger than any answer may be";
/// Bytes of text, and of all calls' arguments together.
const TEXT_BYTES_MAX: usize = 1024 * 1024;
const CALLS_MAX: usize = 256;

/// What has arrived so far.
#[derive(Debug, Default)]
pub(super) struct Answer {
    /// The model that answers, as it names itself.
    pub(super) model: Option<String>,
    pub(super) usage: Option<Usage>,
    text: String,
    calls: Vec<PartialCall>,
    argument_bytes: usize,
}

#[derive(Debug, Default)]
struct PartialCall {
    index: Option<i64>,
    id: String,
    name: String,
    arguments: String,
}

/// A call, or more of it.
#[derive(Debug, Default)]
pub(super) struct CallPiece {
    /// Which call, where they are counted.
    pub(super) index: Option<i64>,
    pub(super) id: String,
    pub(super) name: String,
    /// A text, or the arguments themselves.
    pub(super) arguments: Option<Json>,
}

impl Answer {
    pub(super) const fn has_text(&self) -> bool {
        !self.text.is_empty()
    }

    pub(super) const fn has_calls(&self) -> bool {
        !self.calls.is_empty()
    }

    /// Whether the model has begun to write, after which it makes no long pauses.
    pub(super) const fn has_begun(&self) -> bool {
        self.has_text() || self.has_calls()
    }

    /// Whether anything is known of the arguments of a call.
    pub(super) fn has_arguments(&self, index: Option<i64>, id: &str) -> bool {
        self.calls.iter().any(|call| call.index == index && call.id == id && !call.arguments.is_empty())
    }

    /// Takes text in, and passes it on.
    pub(super) fn say(&mut self, text: &str, tokens: &mut dyn Tokens) -> Result<(), Fault> {
        if text.is_empty() {
            return Ok(());
        }
        self.text.push_str(text);
        bounded(self.text.len(), TEXT_BYTES_MAX, "bytes of text")?;
        tokens.text(text);
        Ok(())
    }

    /// Takes a call in, or more of one.
    pub(super) fn call(&mut self, piece: CallPiece) -> Result<(), Fault> {
        let CallPiece { index, id, name, arguments } = piece;
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
        let arguments = match arguments {
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
    pub(super) fn finish(self, seen: usize, model: &str) -> Responded {
        let mut calls: Vec<Call> = Vec::with_capacity(self.calls.len());
        for (number, call) in (seen..).zip(self.calls) {
            let is_taken = call.id.is_empty() || calls.iter().any(|other| other.id == call.id);
            let id = if is_taken { format!("call_baton_{number}") } else { call.id };
            let arguments = if call.arguments.trim().is_empty() { "{}".to_owned() } else { call.arguments };
            calls.push(Call { id, name: call.name, arguments });
        }
        let model = self.model.filter(|model| !model.is_empty()).unwrap_or_else(|| model.to_owned());
        Responded { text: self.text, calls, model, usage: self.usage }
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

fn bounded(size: usize, max: usize, what: &str) -> Result<(), Fault> {
    if size <= max {
        return Ok(());
    }
    Err(Fault::garbled(format!("it has more than {max} {what}")))
}
