//! Schemas of an OpenAPI document as JSON Schemas that stand alone.

use serde_json::{Map, json};

use crate::event::Json;

/// What a model still reads; what nests or weighs more is refused.
const DEPTH_MAX: usize = 20;
const NODES_MAX: usize = 4000;

/// What cannot be made of a schema, and the way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unresolved {
    #[error("a $ref leads out of the document, or nowhere; write out what it means")]
    Reference,
    #[error("the schema is too large for a model once its references are written out; simplify it, or leave the operation out of names")]
    TooLarge,
}

/// What a value of the document is: itself, or what its `$ref` names.
pub(super) fn referred<'d>(document: &'d Json, mut value: &'d Json) -> Result<&'d Json, Unresolved> {
    for _ in 0..DEPTH_MAX {
        let Some(target) = value.get("$ref").and_then(Json::as_str) else { return Ok(value) };
        value = target.strip_prefix('#').and_then(|pointer| document.pointer(pointer)).ok_or(Unresolved::Reference)?;
    }
    Err(Unresolved::Reference)
}

/// The schema with its references written out, in the words of JSON Schema 2020-12. Where it contains itself, anything goes.
pub(super) fn written_out(document: &Json, schema: &Json) -> Result<Json, Unresolved> {
    Writer { document, within: Vec::new(), nodes: 0 }.write(schema, 0)
}

struct Writer<'d> {
    document: &'d Json,
    /// The references that are being written out.
    within: Vec<&'d str>,
    nodes: usize,
}

impl<'d> Writer<'d> {
    fn write(&mut self, value: &'d Json, depth: usize) -> Result<Json, Unresolved> {
        self.nodes += 1;
        if depth > DEPTH_MAX || self.nodes > NODES_MAX {
            return Err(Unresolved::TooLarge);
        }
        match value {
            Json::Object(fields) => match fields.get("$ref").and_then(Json::as_str) {
                Some(target) if self.within.contains(&target) => Ok(json!({})),
                Some(target) => {
                    let referred = referred(self.document, value)?;
                    self.within.push(target);
                    let written = self.write(referred, depth + 1);
                    self.within.pop();
                    written
                }
                None => Ok(Json::Object(modern(self.fields(fields, depth)?))),
            },
            Json::Array(items) => items.iter().map(|item| self.write(item, depth + 1)).collect(),
            Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => Ok(value.clone()),
        }
    }

    fn fields(&mut self, fields: &'d Map<String, Json>, depth: usize) -> Result<Map<String, Json>, Unresolved> {
        let mut written = Map::new();
        for (key, value) in fields {
            let value = match (key.as_str(), value) {
                // Names of properties, not keywords: only their schemas are looked at.
                ("properties", Json::Object(properties)) => {
                    let properties = properties.iter().filter(|(_, schema)| schema.get("readOnly") != Some(&Json::Bool(true)));
                    let schemas = properties.map(|(name, schema)| Ok((name.clone(), self.write(schema, depth + 1)?)));
                    Json::Object(schemas.collect::<Result<_, _>>()?)
                }
                ("enum" | "default" | "const", value) => value.clone(),
                ("xml" | "discriminator" | "externalDocs" | "example" | "examples", _) => continue,
                (_, value) => self.write(value, depth + 1)?,
            };
            written.insert(key.clone(), value);
        }
        // What is not sent cannot be required.
        if let Some(properties) = written.get("properties").and_then(Json::as_object).cloned()
            && let Some(required) = written.get_mut("required").and_then(Json::as_array_mut)
        {
            let sent = |name: &Json| name.as_str().is_none_or(|name| properties.contains_key(name) || !is_property(fields, name));
            required.retain(sent);
        }
        Ok(written)
    }
}

fn is_property(fields: &Map<String, Json>, name: &str) -> bool {
    fields.get("properties").is_some_and(|properties| properties.get(name).is_some())
}

/// OpenAPI 3.0 has its own words for null and for exclusive bounds.
fn modern(mut schema: Map<String, Json>) -> Map<String, Json> {
    let is_nullable = matches!(schema.get("nullable"), Some(Json::Bool(_))).then(|| schema.remove("nullable") == Some(Json::Bool(true)));
    if is_nullable == Some(true) {
        if let Some(kind) = schema.get_mut("type").filter(|kind| kind.is_string()) {
            *kind = json!([kind, "null"]);
        }
        if let Some(values) = schema.get_mut("enum").and_then(Json::as_array_mut)
            && !values.contains(&Json::Null)
        {
            values.push(Json::Null);
        }
    }
    for (bound, exclusive) in [("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")] {
        match schema.get(exclusive) {
            Some(Json::Bool(true)) => {
                let bound = schema.shift_remove(bound);
                schema.shift_remove(exclusive);
                schema.extend(bound.map(|bound| (exclusive.to_owned(), bound)));
            }
            Some(Json::Bool(false)) => _ = schema.shift_remove(exclusive),
            _ => {}
        }
    }
    schema
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_written_out_in_the_words_of_json_schema() {
        let document = json!({ "components": { "schemas": {
            "Node": { "type": "object", "required": ["id", "n"], "properties": {
                "id": { "type": "string", "readOnly": true },
                "n": { "type": "integer", "minimum": 0, "exclusiveMinimum": true, "example": 3 },
                "next": { "$ref": "#/components/schemas/Node" },
                "example": { "type": "string", "nullable": true, "enum": ["a"] },
            } },
        } } });
        let written = written_out(&document, &json!({ "$ref": "#/components/schemas/Node" })).unwrap();
        assert_eq!(
            written,
            json!({ "type": "object", "required": ["n"], "properties": {
                "n": { "type": "integer", "exclusiveMinimum": 0 },
                "next": {},
                "example": { "type": ["string", "null"], "enum": ["a", null] },
            } })
        );
    }

    #[test]
    fn what_leads_nowhere_or_explodes_is_refused() {
        let double = |to: usize| json!({ "a": { "$ref": format!("#/s/{to}") }, "b": { "$ref": format!("#/s/{to}") } });
        let mut schemas: Vec<Json> = (1..19).map(double).collect();
        schemas.push(json!({}));
        let document = json!({ "s": schemas });
        assert_eq!(written_out(&document, &json!({ "$ref": "#/s/0" })), Err(Unresolved::TooLarge));
        for target in ["#/s/x", "other.yaml#/a", "https://x/y"] {
            assert_eq!(written_out(&document, &json!({ "$ref": target })), Err(Unresolved::Reference), "{target}");
        }
        let circle = json!({ "a": { "$ref": "#/b" }, "b": { "$ref": "#/a" } });
        assert_eq!(referred(&circle, &circle["a"]), Err(Unresolved::Reference));
    }
}
