//! Operations of an OpenAPI 3 document, as HTTP tools.

mod operation;
mod schema;

use std::collections::BTreeMap;

use self::operation::{Arguments, arguments_of};
use super::agents::NOT_INLINED;
use super::tools::{check_tool_name, description, otherwise, tool_secs};
use super::urls::{check_headers, check_url};
use super::{given, nobody};
use crate::event::{Effect, Json};
use crate::manifest::problem::{Findings, KeyPath};
use crate::manifest::spec::{CodeToolSpec, OpenapiSpec};
use crate::orchestration::{HttpEndpoint, Tool, ToolSource};

const METHODS: [&str; 6] = ["get", "head", "post", "put", "patch", "delete"];

/// An operation where it stands in the document.
struct Operation<'d> {
    method: &'static str,
    path: &'d str,
    /// What holds for all operations of the path.
    item: &'d Json,
    body: &'d Json,
    at: KeyPath,
}

pub(super) fn check(spec: &OpenapiSpec, at: &KeyPath, findings: &mut Findings) -> BTreeMap<String, Option<Tool>> {
    let nothing = BTreeMap::new();
    check_headers(&spec.headers, &at.key("headers"), findings);
    let document = match (&spec.document, &spec.file) {
        (Some(document), None) => document,
        (Some(_), Some(_)) => {
            findings.error(&at.key("file"), "document and file exclude each other; keep one");
            return nothing;
        }
        (None, Some(_)) => {
            findings.error(&at.key("file"), NOT_INLINED);
            return nothing;
        }
        (None, None) => {
            findings.error(at, "an OpenAPI service has a document or a file; give it one");
            return nothing;
        }
    };
    let at_document = at.key("document");
    let version = document.get("openapi").map(|version| version.as_str().map_or_else(|| version.to_string(), str::to_owned));
    if !version.is_some_and(|version| version.starts_with("3.")) {
        findings
            .error(&at_document.key("openapi"), "this is no OpenAPI 3 document; convert older ones, or write the operations under http");
        return nothing;
    }
    let Some(base_url) = base_url(spec, document, at, findings) else { return nothing };
    let operations = named(document, &at_document, findings);
    check_known(spec, &operations, at, findings);
    let is_taken = |id: &str| spec.names.is_empty() || spec.names.iter().any(|name| name == id) || spec.tools.contains_key(id);
    let mut tools = BTreeMap::new();
    for (id, operation) in operations.into_iter().filter(|(id, _)| is_taken(id)) {
        let name = tool_name(id);
        let tool = tool((id, &name), &operation, document, (spec, &base_url), findings);
        if tools.insert(name.clone(), tool).is_some() {
            let message = format!("another operation is the tool {name:?} already; give this one another operationId, or take one of both");
            findings.error(&operation.at.key("operationId"), message);
        }
    }
    tools
}

/// Characters that no tool's name has become '_'.
pub(super) fn tool_name(id: &str) -> String {
    id.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' || c == '-' { c } else { '_' }).collect()
}

/// Where the service is: what the manifest says, else the document's first server.
fn base_url(spec: &OpenapiSpec, document: &Json, at: &KeyPath, findings: &mut Findings) -> Option<String> {
    if let Some(base_url) = &spec.base_url {
        check_url(base_url, &at.key("baseUrl"), findings);
        return Some(base_url.clone());
    }
    let server = document.pointer("/servers/0");
    let Some(url) = server.and_then(|server| server.get("url")).and_then(Json::as_str) else {
        findings.error(at, "the document names no server; give the toolset a baseUrl");
        return None;
    };
    let at = at.key("document").key("servers").index(0).key("url");
    let variables = server.and_then(|server| server.get("variables")).and_then(Json::as_object);
    let url = variables.into_iter().flatten().fold(url.to_owned(), |url, (name, variable)| {
        url.replace(&format!("{{{name}}}"), variable.get("default").and_then(Json::as_str).unwrap_or_default())
    });
    if !url.starts_with("http://") && !url.starts_with("https://") {
        findings.error(&at, format!("{url:?} is no whole URL; give the toolset a baseUrl"));
        return None;
    }
    check_url(&url, &at, findings);
    Some(url)
}

/// The operations that have an id, in the document's order.
fn named<'d>(document: &'d Json, at: &KeyPath, findings: &mut Findings) -> Vec<(&'d str, Operation<'d>)> {
    let paths = document.get("paths").and_then(Json::as_object);
    let mut operations = Vec::new();
    for (path, item) in paths.into_iter().flatten() {
        for method in METHODS {
            let Some(body) = item.get(method) else { continue };
            let at = at.key("paths").key(path).key(method);
            match body.get("operationId").and_then(Json::as_str) {
                Some(id) => operations.push((id, Operation { method, path, item, body, at })),
                None => findings.warn(&at, "the operation has no operationId, and is no tool without one"),
            }
        }
    }
    operations
}

fn check_known(spec: &OpenapiSpec, operations: &[(&str, Operation<'_>)], at: &KeyPath, findings: &mut Findings) {
    let listed = spec.names.iter().enumerate().map(|(i, name)| (at.key("names").index(i), name));
    let described = spec.tools.keys().map(|name| (at.key("tools").key(name), name));
    for (at, name) in listed.chain(described) {
        if !operations.iter().any(|(id, _)| id == name) {
            findings.error(&at, nobody("operation", name, operations.iter().map(|(id, _)| *id)));
        }
    }
}

fn tool(
    (id, name): (&str, &str),
    operation: &Operation<'_>,
    document: &Json,
    (toolset, base_url): (&OpenapiSpec, &str),
    findings: &mut Findings,
) -> Option<Tool> {
    let at = &operation.at;
    check_tool_name(name, &at.key("operationId"), findings);
    let plain = CodeToolSpec::default();
    let spec = toolset.tools.get(id).unwrap_or(&plain);
    let text = |key: &str| operation.body.get(key).and_then(Json::as_str).filter(|text| !text.trim().is_empty());
    let said = given(spec.description.as_ref()).or_else(|| text("description")).or_else(|| text("summary")).map(str::to_owned);
    let Arguments { parameters, path, places, content_type } = arguments_of(operation, document, findings)?;
    let mut headers = toolset.headers.clone();
    headers.extend(content_type.map(|content_type| ("Content-Type".to_owned(), content_type)));
    let is_read_only = matches!(operation.method, "get" | "head");
    Some(Tool {
        name: name.to_owned(),
        description: description(name, said.as_ref(), at, findings),
        parameters: Some(parameters),
        source: ToolSource::Http(HttpEndpoint {
            method: operation.method.to_ascii_uppercase(),
            url: format!("{}{path}", base_url.trim_end_matches('/')),
            headers,
            places,
        }),
        effect: spec.effect.unwrap_or(if is_read_only { Effect::ReadOnly } else { Effect::SideEffect }),
        in_doubt: otherwise(spec.in_doubt.as_ref()),
        undo: None,
        approval: spec.approval.clone(),
        timeout_secs: tool_secs(spec.timeout, at, findings),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::orchestration::Place;

    fn tools(spec: &OpenapiSpec) -> (BTreeMap<String, Option<Tool>>, Findings) {
        let mut findings = Findings::default();
        let tools = check(spec, &KeyPath::of(["spec", "tools", "shop", "openapi"]), &mut findings);
        (tools, findings)
    }

    #[test]
    fn an_operation_is_an_http_tool() {
        let document = json!({
            "openapi": "3.0.3",
            "servers": [{ "url": "https://{region}.shop.example/v1/", "variables": { "region": { "default": "eu" } } }],
            "paths": {
                "/orders/{order.id}": {
                    "parameters": [{ "$ref": "#/components/parameters/Id" }],
                    "get": { "operationId": "orders.get", "summary": "Gets an order.", "parameters": [
                        { "name": "expand[]", "in": "query", "description": "What to add.", "schema": { "type": "array" } },
                        { "name": "Authorization", "in": "header", "required": true },
                    ] },
                    "patch": { "operationId": "orders.change", "description": "Changes an order.", "requestBody": {
                        "required": true, "content": { "application/merge-patch+json": { "schema": { "$ref": "#/components/schemas/Order" } } }
                    } },
                    "delete": {},
                },
                "/import": { "post": { "operationId": "import", "summary": "Imports.", "requestBody": {
                    "content": { "application/json": { "schema": { "type": "array" } } }
                } } },
            },
            "components": {
                "parameters": { "Id": { "name": "order.id", "in": "path", "required": true, "schema": { "type": "integer" } } },
                "schemas": { "Order": { "type": "object", "required": ["state"], "properties": { "state": { "type": "string" } } } },
            },
        });
        let change = CodeToolSpec { effect: Some(Effect::Idempotent), ..CodeToolSpec::default() };
        let described = BTreeMap::from([("orders.change".to_owned(), change)]);
        let spec = OpenapiSpec { document: Some(document.clone()), tools: described, ..OpenapiSpec::default() };
        let (all, findings) = tools(&spec);
        assert_eq!(findings.errors, []);
        let warnings: Vec<String> = findings.warnings.iter().map(ToString::to_string).collect();
        let delete = r#"spec.tools.shop.openapi.document.paths["/orders/{order.id}"].delete"#;
        assert_eq!(warnings, [format!("{delete}: the operation has no operationId, and is no tool without one")]);

        let get = all["orders_get"].as_ref().unwrap();
        assert_eq!((get.description.as_str(), get.effect), ("Gets an order.", Effect::ReadOnly));
        assert_eq!(get.parameters.as_ref().unwrap()["properties"]["expand__"], json!({ "type": "array", "description": "What to add." }));
        let endpoint = |name: &str| match &all[name].as_ref().unwrap().source {
            ToolSource::Http(endpoint) => endpoint.clone(),
            other => panic!("{other:?}"),
        };
        assert_eq!(endpoint("orders_get").url, "https://eu.shop.example/v1/orders/{order_id}");
        assert_eq!(endpoint("orders_get").places, BTreeMap::from([("expand__".to_owned(), Place::Query("expand[]".to_owned()))]));

        let change = all["orders_change"].as_ref().unwrap();
        assert_eq!(change.parameters.as_ref().unwrap()["required"], json!(["order_id", "state"]));
        assert_eq!(change.effect, Effect::Idempotent);
        assert_eq!(endpoint("orders_change").places, BTreeMap::from([("state".to_owned(), Place::Field("state".to_owned()))]));
        assert_eq!(endpoint("orders_change").headers["Content-Type"], "application/merge-patch+json");
        assert_eq!(endpoint("import").places, BTreeMap::from([("body".to_owned(), Place::Body)]));

        let one = OpenapiSpec { document: Some(document), names: vec!["import".to_owned()], ..OpenapiSpec::default() };
        assert_eq!(tools(&one).0.keys().collect::<Vec<_>>(), ["import"]);
    }
}
