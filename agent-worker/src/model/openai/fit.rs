//! What both interfaces permit, and how what agents and definitions say is made to fit.

use std::borrow::Cow;

use protocol::event::{Call, Json};
use protocol::orchestration::Endpoint;
use serde::Serialize;
use serde_json::{Map, json};

use crate::model::{Request, ToolDefinition};

/// Who keeps offering tools while an answer's text must match a schema.
const ANSWERS_BY_SCHEMA_AND_CALLS: [&str; 2] = ["openai", "azure"];

/// Who understands that of a list of tools only some may be called.
const KNOWS_ALLOWED_TOOLS: [&str; 2] = ["openai", "azure"];

/// A name as the API permits it: `^[a-zA-Z0-9_-]{1,64}$`.
pub(super) fn name(name: &str) -> Option<Cow<'_, str>> {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let trimmed = name.trim();
    let name = match trimmed.len() <= 64 && trimmed.chars().all(fits) {
        true => Cow::from(trimmed),
        false => trimmed.chars().map(|c| if fits(c) { c } else { '_' }).take(64).collect::<String>().into(),
    };
    name.contains(|c| c != '_').then_some(name)
}

/// A call that the model made, as it is shown to it again.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct CallBack<'a> {
    name: Cow<'a, str>,
    arguments: Cow<'a, str>,
}

/// Name and arguments of a call that the model made. Servers refuse those that are not well-formed, even where their own model wrote
/// them, and a refused history could never be asked again.
pub(super) fn call(call: &Call) -> CallBack<'_> {
    let name = name(&call.name).unwrap_or("unknown".into());
    // Read as values, not merely passed over: half a character is well-formed, and no text.
    let arguments = match serde_json::from_str::<Map<String, Json>>(&call.arguments) {
        Ok(_) => Cow::from(&call.arguments),
        Err(_) if call.arguments.trim().is_empty() => "{}".into(),
        Err(_) => json!({ "not_a_json_object": call.arguments }).to_string().into(),
    };
    CallBack { name, arguments }
}

/// What of its tools a request permits to be called, if not all: nothing, or what `some` says of their names. Who does not understand the
/// latter refuses the request, or does not look: it is told in words only, like everybody.
pub(super) fn tool_choice(request: &Request<'_>, endpoint: &Endpoint, some: impl Fn(&[String]) -> Json) -> Option<Json> {
    match request.allowed.as_deref()? {
        [] => Some(json!("none")),
        names => KNOWS_ALLOWED_TOOLS.contains(&endpoint.provider.as_str()).then(|| some(names)),
    }
}

/// A tool's parameters. Of a tool without any, OpenAI wants to see that there are none.
pub(super) fn parameters(tool: &ToolDefinition) -> Cow<'_, Json> {
    let mut parameters = Cow::Borrowed(&tool.parameters);
    if tool.parameters.get("type").is_some_and(|kind| kind == "object")
        && tool.parameters.get("properties").is_none()
        && let Json::Object(schema) = parameters.to_mut()
    {
        schema.insert("properties".to_owned(), json!({}));
    }
    parameters
}

/// The format of an answer that must match `schema`, where asking for it costs nothing: many servers that merely resemble OpenAI's write
/// no calls any more once a text's format is given, and OpenAI's takes nothing but objects.
pub(super) fn format(schema: Option<&Json>, endpoint: &Endpoint, has_tools: bool) -> Option<Map<String, Json>> {
    let schema = schema.filter(|schema| schema.get("type").is_some_and(|kind| kind == "object"))?;
    if has_tools && !ANSWERS_BY_SCHEMA_AND_CALLS.contains(&endpoint.provider.as_str()) {
        return None;
    }
    let format = [("name", json!("output")), ("schema", schema.clone()), ("strict", json!(is_strict(schema)))];
    Some(format.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

/// Whether a schema is one of those that OpenAI can hold a model to: every object is closed, and has all its properties.
fn is_strict(schema: &Json) -> bool {
    let Json::Object(fields) = schema else { return false };
    let properties = fields.get("properties").and_then(Json::as_object);
    if fields.get("type").is_some_and(|kind| kind == "object") || properties.is_some() {
        let required: Vec<&str> = fields.get("required").and_then(Json::as_array).into_iter().flatten().filter_map(Json::as_str).collect();
        let is_closed = fields.get("additionalProperties") == Some(&Json::Bool(false));
        if !is_closed || !properties.into_iter().flatten().all(|(name, _)| required.contains(&name.as_str())) {
            return false;
        }
    }
    fields.iter().all(|(key, value)| match key.as_str() {
        "type" | "required" | "additionalProperties" | "enum" | "const" | "description" | "title" | "$ref" => true,
        "items" => is_strict(value),
        "anyOf" => value.as_array().is_some_and(|schemas| schemas.iter().all(is_strict)),
        "properties" | "$defs" => value.as_object().is_some_and(|schemas| schemas.values().all(is_strict)),
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::test_support::endpoint;

    #[test]
    fn what_a_model_wrote_badly_does_not_spoil_every_later_request() {
        for (name, arguments, fit, written) in [
            ("look up!", "", "look_up_", "{}"),
            ("", "{}", "unknown", "{}"),
            ("x", r#"{"a": "#, "x", r#"{"not_a_json_object":"{\"a\": "}"#),
            ("x", "[1]", "x", r#"{"not_a_json_object":"[1]"}"#),
            // Half a character: JSON by its grammar, which not every server can write down again.
            ("x", r#"{"a":"\ud800"}"#, "x", r#"{"not_a_json_object":"{\"a\":\"\\ud800\"}"}"#),
        ] {
            let made = Call { id: "call_1".to_owned(), name: name.to_owned(), arguments: arguments.to_owned() };
            assert_eq!(call(&made), CallBack { name: fit.into(), arguments: written.into() });
        }
    }

    #[test]
    fn speakers_get_names_that_the_api_permits() {
        for (given, expected) in [
            ("OrderStatusAgent", Some("OrderStatusAgent")),
            (" Jürgen M. ", Some("J_rgen_M_")),
            ("退款", None),
            ("", None),
            (&"x".repeat(70), Some(&*"x".repeat(64))),
        ] {
            assert_eq!(name(given).as_deref(), expected, "{given:?}");
        }
    }

    #[test]
    fn a_schema_is_asked_for_where_that_costs_no_calls() {
        let schema = json!({ "type": "object" });
        let other = Endpoint { provider: "vllm".into(), ..endpoint(None) };
        let asked = |schema: Option<&Json>, endpoint: &Endpoint, has_tools| format(schema, endpoint, has_tools).is_some();
        assert!(asked(Some(&schema), &endpoint(None), true));
        assert!(asked(Some(&schema), &other, false));
        assert!(!asked(Some(&schema), &other, true));
        assert!(!asked(Some(&json!({ "type": "string" })), &endpoint(None), false));
        assert!(!asked(None, &endpoint(None), false));
    }

    #[test]
    fn a_model_is_held_strictly_to_schemas_that_permit_it() {
        let closed = |properties: Json, required: Json| json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": false });
        let id = json!({ "type": "string" });
        assert!(is_strict(&closed(
            json!({ "id": id, "list": { "type": "array", "items": closed(json!({}), json!([])) } }),
            json!(["id", "list"])
        )));
        for open in [
            closed(json!({ "id": id }), json!([])),
            closed(json!({ "id": { "type": "object" } }), json!(["id"])),
            closed(json!({ "id": { "type": "string", "pattern": "x" } }), json!(["id"])),
            closed(json!({ "id": { "anyOf": [{ "type": "null" }, true] } }), json!(["id"])),
            json!({ "type": "object", "properties": { "id": id }, "required": ["id"] }),
        ] {
            assert!(!is_strict(&open), "{open}");
        }
    }
}
