//! The two placeholders of a definition's texts: `{argument}` of a tool, and `${VAR}` or `${VAR:-default}` of the worker's
//! environment. The worker fills them in; here they are found, so that a typo is refused when the definition is loaded.

/// A part of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part<'t> {
    /// As it stands.
    Text(&'t str),
    /// `{name}`.
    Argument(&'t str),
    /// `${name}` or `${name:-default}`.
    Variable {
        /// The environment variable.
        name: &'t str,
        /// What stands in where it is unset or empty.
        default: Option<&'t str>,
    },
}

/// Why a text cannot be filled in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum InvalidTemplate {
    /// A variable without its end.
    #[error("\"${{\" has no \"}}\"; write ${{NAME}} or ${{NAME:-default}}")]
    Unclosed,
    /// A variable that no environment can hold.
    #[error("${{{0}}} names no environment variable; write ${{NAME}} or ${{NAME:-default}}")]
    NoVariable(String),
    /// A brace that belongs to no placeholder.
    #[error("{0:?} belongs to no {{argument}}; a brace in a URL is written %7B or %7D")]
    StrayBrace(char),
}

/// The parts of a text that knows variables only: a model's texts, a header.
///
/// # Errors
/// A malformed variable.
pub(super) fn variables(text: &str) -> Result<Vec<Part<'_>>, InvalidTemplate> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        push_text(&mut parts, before);
        let (inner, behind) = after.split_once('}').ok_or(InvalidTemplate::Unclosed)?;
        let (name, default) = match inner.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (inner, None),
        };
        if !is_variable(name) {
            return Err(InvalidTemplate::NoVariable(inner.chars().take(40).collect()));
        }
        parts.push(Part::Variable { name, default });
        rest = behind;
    }
    push_text(&mut parts, rest);
    Ok(parts)
}

/// The parts of a text that knows arguments only: a template tool's reply. Any other brace is text.
pub(super) fn arguments(text: &str) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    let mut text_from = 0;
    let mut search_from = 0;
    while let Some(open) = text.get(search_from..).and_then(|rest| rest.find('{')).map(|at| search_from + at) {
        search_from = open + 1;
        let Some((name, _)) = text.get(search_from..).and_then(|after| after.split_once('}')) else { break };
        if is_argument(name) {
            push_text(&mut parts, text.get(text_from..open).unwrap_or_default());
            parts.push(Part::Argument(name));
            search_from += name.len() + 1;
            text_from = search_from;
        }
    }
    push_text(&mut parts, text.get(text_from..).unwrap_or_default());
    parts
}

/// The parts of a text that knows both: a tool's URL.
///
/// # Errors
/// A malformed variable, or a brace that belongs to no argument.
pub(super) fn url(text: &str) -> Result<Vec<Part<'_>>, InvalidTemplate> {
    let mut parts = Vec::new();
    for part in variables(text)? {
        match part {
            Part::Text(text) => parts.extend(arguments(text)),
            Part::Argument(_) | Part::Variable { .. } => parts.push(part),
        }
    }
    let stray = |part: &Part<'_>| match part {
        Part::Text(text) => text.chars().find(|c| matches!(c, '{' | '}')),
        Part::Argument(_) | Part::Variable { .. } => None,
    };
    match parts.iter().find_map(stray) {
        Some(brace) => Err(InvalidTemplate::StrayBrace(brace)),
        None => Ok(parts),
    }
}

fn push_text<'t>(parts: &mut Vec<Part<'t>>, text: &'t str) {
    if !text.is_empty() {
        parts.push(Part::Text(text));
    }
}

/// Whether an environment can hold a variable of this name.
pub(super) fn is_variable(name: &str) -> bool {
    !name.starts_with(|c: char| c.is_ascii_digit()) && is_word(name, &[])
}

fn is_argument(name: &str) -> bool {
    is_word(name, b"-")
}

fn is_word(text: &str, further: &[u8]) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || further.contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_have_names_and_perhaps_defaults() {
        assert_eq!(
            variables("a ${B}${C:-d:-e} $f {g}"),
            Ok(vec![
                Part::Text("a "),
                Part::Variable { name: "B", default: None },
                Part::Variable { name: "C", default: Some("d:-e") },
                Part::Text(" $f {g}"),
            ])
        );
        assert_eq!(variables("${A"), Err(InvalidTemplate::Unclosed));
        for bad in ["", "1A", "A B", "A-b", "A:b"] {
            assert_eq!(variables(&format!("x${{{bad}}}")), Err(InvalidTemplate::NoVariable(bad.into())), "{bad}");
        }
    }

    #[test]
    fn only_a_word_in_braces_is_an_argument() {
        assert_eq!(arguments(r#"{"id": "{order_id}", {"#), [Part::Text(r#"{"id": ""#), Part::Argument("order_id"), Part::Text(r#"", {"#)]);
        assert_eq!(arguments("costs ${price}"), [Part::Text("costs $"), Part::Argument("price")]);
        assert_eq!(arguments("{{a}}é"), [Part::Text("{"), Part::Argument("a"), Part::Text("}é")]);
        assert_eq!(arguments(""), []);
    }

    #[test]
    fn urls_know_both() {
        assert_eq!(
            url("${BASE:-http://x}/orders/{id}"),
            Ok(vec![Part::Variable { name: "BASE", default: Some("http://x") }, Part::Text("/orders/"), Part::Argument("id"),])
        );
        assert_eq!(url("/a/{b c}"), Err(InvalidTemplate::StrayBrace('{')));
        assert_eq!(url("/a}"), Err(InvalidTemplate::StrayBrace('}')));
    }
}
