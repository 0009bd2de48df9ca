//! What goes along with an action where the definition asks for more than words: JSON, first on the line. Pure.

use client::Wanted;
use protocol::event::Json;

/// The value and the words of what follows a command.
///
/// # Errors
/// What is expected, for the person.
pub(super) fn split(rest: &str, typed: Wanted<'_>) -> Result<(Option<Json>, String), String> {
    let Wanted::Value(schema) = typed else { return Ok((None, rest.to_owned())) };
    let expected = || format!("first comes a value as JSON, then the words: {}", shape(schema));
    let mut values = serde_json::Deserializer::from_str(rest).into_iter::<Json>();
    match values.next() {
        Some(Ok(value)) => Ok((Some(value), rest.get(values.byte_offset()..).unwrap_or_default().trim().to_owned())),
        Some(Err(error)) if rest.starts_with(['{', '[', '"']) => Err(format!("this is no JSON, {error}; {}", expected())),
        Some(Err(_)) | None => Err(expected()),
    }
}

/// A schema as a person fills it in, `{"order": integer, "note"?: string}`; in full where it says more than types.
fn shape(schema: &Json) -> String {
    let Some(properties) = schema.get("properties").and_then(Json::as_object) else { return kind(schema) };
    let is_required = |name: &str| {
        let required = schema.get("required").and_then(Json::as_array);
        required.is_some_and(|required| required.iter().any(|required| required == name))
    };
    let field = |(name, schema): (&String, &Json)| {
        format!("{}{}: {}", Json::from(name.as_str()), if is_required(name) { "" } else { "?" }, kind(schema))
    };
    format!("{{{}}}", properties.iter().map(field).collect::<Vec<_>>().join(", "))
}

fn kind(schema: &Json) -> String {
    match (schema.get("enum").and_then(Json::as_array), schema.get("type").and_then(Json::as_str)) {
        (Some(values), _) => values.iter().map(Json::to_string).collect::<Vec<_>>().join(" | "),
        (None, Some(kind @ ("string" | "integer" | "number" | "boolean" | "null"))) => kind.to_owned(),
        (None, _) => schema.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_value_comes_first_and_the_rest_is_words() {
        assert_eq!(split("{ 7 } is the order", Wanted::Words), Ok((None, "{ 7 } is the order".to_owned())));
        let schema = json!({
            "type": "object", "required": ["order"],
            "properties": { "note": { "type": "string" }, "order": { "type": "integer" }, "how": { "enum": ["cash", "card"] } },
        });
        let typed = Wanted::Value(&schema);
        assert_eq!(split(r#"{"order": 7}  not ours"#, typed), Ok((Some(json!({ "order": 7 })), "not ours".to_owned())));
        assert_eq!(split("7", Wanted::Value(&json!({ "type": "integer" }))), Ok((Some(json!(7)), String::new())));
        // Whether it is what the definition asks for, the client library says.
        assert_eq!(split("[]", typed), Ok((Some(json!([])), String::new())));
        for words in ["", "not ours"] {
            let expected = split(words, typed).unwrap_err();
            assert!(expected.starts_with("first comes a value as JSON"), "{expected}");
            for field in [r#""order": integer"#, r#""note"?: string"#, r#""how"?: "cash" | "card""#] {
                assert!(expected.contains(field), "{expected}");
            }
        }
        let broken = split("{order: 7} not ours", typed).unwrap_err();
        assert!(broken.starts_with("this is no JSON, key must be a string"), "{broken}");
        assert!(split("x", Wanted::Value(&json!({ "oneOf": [] }))).unwrap_err().ends_with(r#"{"oneOf":[]}"#));
    }
}
