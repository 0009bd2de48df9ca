//! Texts with `{argument}` placeholders, and the tool that is nothing but such a text.

use std::borrow::Cow;

use async_trait::async_trait;
use protocol::event::Json;

use super::{Tool, ToolCall, ToolError};

/// A text with `{argument}` placeholders. Only a name between braces is one: other braces, as in JSON, are text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Argument(String),
}

impl Template {
    /// Finds the placeholders.
    pub fn parse(text: &str) -> Self {
        let (mut parts, mut plain, mut rest) = (Vec::new(), String::new(), text);
        while let Some((before, after)) = rest.split_once('{') {
            plain.push_str(before);
            match after.split_once('}').filter(|(name, _)| is_name(name)) {
                Some((name, behind)) => {
                    parts.extend([Part::Text(std::mem::take(&mut plain)), Part::Argument(name.to_owned())]);
                    rest = behind;
                }
                None => {
                    plain.push('{');
                    rest = after;
                }
            }
        }
        plain.push_str(rest);
        parts.push(Part::Text(plain));
        Self(parts)
    }

    /// The placeholders' names.
    pub fn arguments(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|part| match part {
            Part::Argument(name) => Some(name.as_str()),
            Part::Text(_) => None,
        })
    }

    /// The text before the first placeholder.
    pub(super) fn prefix(&self) -> &str {
        match self.0.first() {
            Some(Part::Text(text)) => text,
            _ => "",
        }
    }

    /// The text with every placeholder replaced, once: what an argument holds is not looked at again.
    ///
    /// # Errors
    /// The first one of `value`.
    pub fn fill<'a, E>(&'a self, mut value: impl FnMut(&'a str) -> Result<Cow<'a, str>, E>) -> Result<String, E> {
        let mut filled = String::new();
        for part in &self.0 {
            match part {
                Part::Text(text) => filled.push_str(text),
                Part::Argument(name) => filled.push_str(&value(name)?),
            }
        }
        Ok(filled)
    }
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

/// An argument as text: a string as it is, anything else as JSON.
pub(super) fn shown(value: &Json) -> Cow<'_, str> {
    value.as_str().map_or_else(|| Cow::Owned(value.to_string()), Cow::Borrowed)
}

/// A tool that returns its text: for trying an orchestration out before there is anything to call. A placeholder without an argument
/// stays as it is.
#[derive(Clone, Debug)]
pub struct TemplateTool(Template);

impl TemplateTool {
    /// A tool with this reply.
    pub fn new(reply: &str) -> Self {
        Self(Template::parse(reply))
    }
}

#[async_trait]
impl Tool for TemplateTool {
    async fn run(&self, call: ToolCall) -> Result<String, ToolError> {
        self.0.fill(|name| Ok(call.arguments.get(name).map_or_else(|| Cow::Owned(format!("{{{name}}}")), shown)))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::tools::test_support::call;

    #[tokio::test]
    async fn placeholders_are_filled_once_and_other_braces_stay() {
        let arguments = json!({ "order": "{secret} \"1\"", "secret": "s", "n": 2, "list": [1, "a"] });
        for (reply, expected) in [
            ("plain", "plain"),
            ("", ""),
            ("{order}", "{secret} \"1\""),
            ("Order {n}: {list}.", "Order 2: [1,\"a\"]."),
            (r#"{"order": {n}, "x": {}}"#, r#"{"order": 2, "x": {}}"#),
            ("{{n}} {n", "{2} {n"),
            ("{missing}", "{missing}"),
        ] {
            assert_eq!(TemplateTool::new(reply).run(call("t", arguments.clone())).await.unwrap(), expected, "{reply}");
        }
    }

    #[test]
    fn the_names_of_placeholders_are_known() {
        let template = Template::parse("a{b}{c-d}{e f}{}");
        assert_eq!(template.arguments().collect::<Vec<_>>(), ["b", "c-d"]);
        assert_eq!(template.prefix(), "a");
    }
}
