//! How much of a conversation's prompts begins as an earlier one did: what a provider's cache can serve at most.

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

/// A call of a model, as it went out.
#[derive(Clone, Debug)]
pub(super) struct Call {
    /// Whose turn it was.
    pub(super) agent: String,
    /// The body of the request.
    pub(super) body: Json,
}

/// What of a conversation's prompts could come from a cache, all calls but the first together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Share {
    /// The bytes that a prompt has in common with the beginning of an earlier one, over all bytes.
    pub all: f64,
    /// The same of the first call after each handoff.
    pub after_handoff: f64,
    /// All bytes: more of a larger prompt may come from a cache, and yet more of it be new.
    pub prompt_bytes: f64,
}

/// A prompt as it is cached: tools, then messages.
struct Prompt {
    tools: String,
    messages: String,
}

impl Prompt {
    fn of(body: &Json) -> Self {
        let written = |key: &str| body.get(key).map(Json::to_string).unwrap_or_default();
        Self { tools: written("tools"), messages: written("messages") }
    }

    fn bytes(&self) -> usize {
        self.tools.len() + self.messages.len()
    }

    /// The bytes in common with the beginning of another: without the same tools, none.
    fn common_bytes(&self, other: &Self) -> usize {
        if self.tools != other.tools {
            return 0;
        }
        let messages = self.messages.bytes().zip(other.messages.bytes());
        self.tools.len() + messages.take_while(|(one, other)| one == other).count()
    }
}

/// What could come from a cache of the calls of one conversation, in their order; none, of a conversation without a handoff.
pub(super) fn share(calls: &[Call]) -> Option<Share> {
    let prompts: Vec<Prompt> = calls.iter().map(|call| Prompt::of(&call.body)).collect();
    let (mut all, mut after_handoff) = ((0, 0), (0, 0));
    for (at, (prompt, pair)) in prompts.iter().skip(1).zip(calls.windows(2)).enumerate() {
        let common_bytes = prompts.iter().take(at + 1).map(|earlier| prompt.common_bytes(earlier)).max().unwrap_or_default();
        let count = |(common, bytes): &mut (usize, usize)| {
            *common += common_bytes;
            *bytes += prompt.bytes();
        };
        count(&mut all);
        if let [before, now] = pair
            && before.agent != now.agent
        {
            count(&mut after_handoff);
        }
    }
    let over = |(common, bytes): (usize, usize)| super::report::over(common as f64, bytes as f64);
    Some(Share { all: over(all)?, after_handoff: over(after_handoff)?, prompt_bytes: all.1 as f64 })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn call(agent: &str, tools: &str, messages: &[&str]) -> Call {
        Call { agent: agent.to_owned(), body: json!({ "model": agent, "tools": [tools], "messages": messages }) }
    }

    #[test]
    fn the_longest_common_beginning_of_all_earlier_calls_counts() {
        let calls = [
            call("a", "t", &["one"]),
            call("a", "t", &["one", "two"]),
            call("b", "t", &["one", "no"]),
            call("a", "t", &["one", "two", "three"]),
        ];
        // ["t"]["one","two"], ["t"]["one","no"], ["t"]["one","two","three"]
        let share = share(&calls).unwrap();
        assert_eq!(share.prompt_bytes, 18.0 + 17.0 + 26.0);
        assert_eq!(share.all, (11.0 + 13.0 + 17.0) / 61.0);
        assert_eq!(share.after_handoff, (13.0 + 17.0) / 43.0);
    }

    #[test]
    fn with_other_tools_nothing_is_common() {
        let share = share(&[call("a", "t", &["one"]), call("b", "u", &["one"])]).unwrap();
        assert_eq!((share.all, share.after_handoff), (0.0, 0.0));
        assert_eq!(super::share(&[call("a", "t", &["one"])]), None);
    }
}
