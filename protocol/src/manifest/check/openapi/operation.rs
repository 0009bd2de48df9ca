//! What an operation takes: parameters and body as one object of arguments, and where each of them goes.

use std::collections::BTreeMap;

use serde_json::{Map, json};

use super::schema::{referred, written_out};
use super::{Operation, tool_name};
use crate::event::Json;
use crate::manifest::problem::{Findings, KeyPath};
use crate::orchestration::Place;

/// What a call takes.
pub(super) struct Arguments {
    pub(super) parameters: Json,
    /// With `{argument}` placeholders.
    pub(super) path: String,
    pub(super) places: BTreeMap<String, Place>,
    /// The body's, where it is not plain JSON.
    pub(super) content_type: Option<String>,
}

/// The arguments of an operation; none where something is wrong with them, which has been said.
pub(super) fn arguments_of(operation: &Operation<'_>, document: &Json, findings: &mut Findings) -> Option<Arguments> {
    let mut gathered = Gathered { document, path: operation.path.to_owned(), ..Gathered::new(document) };
    let before = findings.errors.len();
    for (parameter, at) in parameters(operation, document, findings) {
        gathered.parameter(parameter, &at, findings);
    }
    gathered.body(operation, findings);
    if gathered.path.contains('{') && unfilled(&gathered.path, &gathered.properties) {
        findings.error(&operation.at, format!("{:?} has a placeholder that is no parameter in the path; declare it", operation.path));
    }
    let parameters = json!({ "type": "object", "properties": gathered.properties, "required": gathered.required });
    let Gathered { path, places, content_type, .. } = gathered;
    (findings.errors.len() == before).then_some(Arguments { parameters, path, places, content_type })
}

/// The operation's parameters and those of its path, which it may replace.
fn parameters<'d>(operation: &Operation<'d>, document: &'d Json, findings: &mut Findings) -> Vec<(&'d Json, KeyPath)> {
    let mut parameters: BTreeMap<(&str, &str), (&'d Json, KeyPath)> = BTreeMap::new();
    let at_item = KeyPath::from_iter(operation.at.steps().iter().take(operation.at.steps().len() - 1).cloned());
    for (holder, at) in [(operation.item, at_item), (operation.body, operation.at.clone())] {
        let list = holder.get("parameters").and_then(Json::as_array);
        for (i, parameter) in list.into_iter().flatten().enumerate() {
            let at = at.key("parameters").index(i);
            let text = |parameter: &'d Json, key: &str| parameter.get(key).and_then(Json::as_str);
            match referred(document, parameter).map(|parameter| (parameter, text(parameter, "in"), text(parameter, "name"))) {
                Ok((parameter, Some(place), Some(name))) => _ = parameters.insert((place, name), (parameter, at)),
                Ok(_) => findings.error(&at, "a parameter has a name and a place (in)"),
                Err(error) => findings.error(&at, error.to_string()),
            }
        }
    }
    parameters.into_values().collect()
}

struct Gathered<'d> {
    document: &'d Json,
    path: String,
    properties: Map<String, Json>,
    required: Vec<String>,
    places: BTreeMap<String, Place>,
    content_type: Option<String>,
}

impl<'d> Gathered<'d> {
    fn new(document: &'d Json) -> Self {
        let (properties, required, places) = (Map::new(), Vec::new(), BTreeMap::new());
        Self { document, path: String::new(), properties, required, places, content_type: None }
    }

    fn parameter(&mut self, parameter: &'d Json, at: &KeyPath, findings: &mut Findings) {
        let text = |key: &str| parameter.get(key).and_then(Json::as_str).unwrap_or_default();
        let is_required = parameter.get("required") == Some(&Json::Bool(true));
        let name = text("name");
        let place = match text("in") {
            "path" => {
                self.path = self.path.replace(&format!("{{{name}}}"), &format!("{{{}}}", tool_name(name)));
                None
            }
            "query" => Some(Place::Query(name.to_owned())),
            // OpenAPI itself leaves these to whoever makes the request.
            "header" if ["accept", "content-type", "authorization"].contains(&name.to_ascii_lowercase().as_str()) => return,
            "header" => Some(Place::Header(name.to_owned())),
            _ if !is_required => return,
            other => return findings.error(at, format!("a parameter in the {other} cannot be given; leave the operation out of names")),
        };
        let schema = parameter.get("schema").or_else(|| parameter.pointer("/content/application~1json/schema"));
        let is_plain = match parameter.get("style").and_then(Json::as_str) {
            None | Some("simple") => true,
            Some("form") => parameter.get("explode") != Some(&Json::Bool(false)),
            Some(_) => false,
        };
        if !is_plain {
            findings.error(&at.key("style"), "of the styles, only simple and exploded form can be sent; leave the operation out of names");
        }
        match schema.map_or_else(|| Ok(json!({})), |schema| written_out(self.document, schema)) {
            Ok(schema) => {
                let schema = described(schema, parameter.get("description"));
                self.add(name, schema, is_required || place.is_none(), place, at, findings);
            }
            Err(error) => findings.error(at, error.to_string()),
        }
    }

    fn body(&mut self, operation: &Operation<'d>, findings: &mut Findings) {
        let at = operation.at.key("requestBody");
        let Some(body) = operation.body.get("requestBody") else { return };
        let body = match referred(self.document, body) {
            Ok(body) => body,
            Err(error) => return findings.error(&at, error.to_string()),
        };
        let contents = body.get("content").and_then(Json::as_object);
        let Some((content_type, content)) = contents.into_iter().flatten().find(|(content_type, _)| is_json(content_type)) else {
            return findings.error(&at.key("content"), "only JSON can be sent; leave the operation out of names");
        };
        if content_type != "application/json" && content_type != "*/*" {
            self.content_type = Some(content_type.clone());
        }
        let schema = match content.get("schema").map_or_else(|| Ok(json!({})), |schema| written_out(self.document, schema)) {
            Ok(schema) => described(schema, body.get("description")),
            Err(error) => return findings.error(&at.key("content").key(content_type).key("schema"), error.to_string()),
        };
        let is_required = body.get("required") == Some(&Json::Bool(true));
        match self.fields_of(&schema) {
            Some((fields, required)) => {
                for (name, schema) in fields {
                    let is_required = is_required && required.contains(&Json::from(name.as_str()));
                    self.add(&name, schema, is_required, Some(Place::Field(name.clone())), &at, findings);
                }
            }
            None => self.add("body", schema, is_required, Some(Place::Body), &at, findings),
        }
    }

    /// The fields of a body whose schema is nothing but fields, none of them called like a parameter: models fill those in more surely.
    fn fields_of(&self, schema: &Json) -> Option<(Map<String, Json>, Vec<Json>)> {
        let plain = ["type", "properties", "required", "title", "description", "additionalProperties"];
        let schema = schema.as_object().filter(|schema| schema.keys().all(|key| plain.contains(&key.as_str())))?;
        let fields = schema.get("properties")?.as_object().filter(|fields| !fields.is_empty())?;
        let is_closed = !matches!(schema.get("additionalProperties"), Some(Json::Object(_) | Json::Bool(true)));
        let is_free = fields.keys().all(|name| !self.properties.contains_key(&tool_name(name)));
        let required = schema.get("required").and_then(Json::as_array).cloned().unwrap_or_default();
        (is_closed && is_free && schema.get("type")? == "object").then(|| (fields.clone(), required))
    }

    fn add(&mut self, name: &str, schema: Json, is_required: bool, place: Option<Place>, at: &KeyPath, findings: &mut Findings) {
        let argument = tool_name(name);
        self.places.extend(place.map(|place| (argument.clone(), place)));
        if is_required {
            self.required.push(argument.clone());
        }
        if self.properties.insert(argument.clone(), schema).is_some() {
            findings.error(at, format!("two parameters would be the argument {argument:?}; leave the operation out of names"));
        }
    }
}

fn is_json(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence == "application/json" || essence == "*/*" || essence.ends_with("+json")
}

fn described(mut schema: Json, description: Option<&Json>) -> Json {
    if let (Some(schema), Some(description)) = (schema.as_object_mut(), description) {
        schema.entry("description").or_insert_with(|| description.clone());
    }
    schema
}

fn unfilled(path: &str, properties: &Map<String, Json>) -> bool {
    let placeholders = path.split('{').skip(1).filter_map(|rest| rest.split_once('}').map(|(name, _)| name));
    placeholders.into_iter().any(|name| !properties.contains_key(name))
}
