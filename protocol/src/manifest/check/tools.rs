//! Toolsets: what a tool is called, what it takes, and what may happen when it runs twice.

use std::collections::BTreeMap;

use serde_json::json;

use super::urls::{arguments, check_headers, check_path, check_tool_url, check_url};
use super::{given, openapi, positive_secs, undo};
use crate::event::{Effect, InDoubt, Json};
use crate::manifest::problem::{Findings, KeyPath};
use crate::manifest::seconds::Seconds;
use crate::manifest::spec::{
    CodeSpec, CodeToolSpec, HttpSpec, HttpToolSpec, InDoubtSpec, McpSpec, Method, NatsSpec, TemplateSpec, TemplateToolSpec, ToolsetSpec,
};
use crate::manifest::template;
use crate::orchestration::{COMPLETE_TASK, HttpEndpoint, McpServer, TRANSFER_PREFIX, Tool, ToolSource};

/// Tools by toolset and name; none where a tool has been refused.
pub(super) type Toolsets = BTreeMap<String, BTreeMap<String, Option<Tool>>>;

const TIMEOUT_SECS: u64 = 30;

pub(super) fn check(specs: &BTreeMap<String, ToolsetSpec>, findings: &mut Findings) -> Toolsets {
    let mut toolsets = Toolsets::new();
    for (name, toolset) in specs {
        let at = KeyPath::of(["spec", "tools"]).key(name);
        let mut tools = BTreeMap::new();
        let kinds = [
            toolset.code.is_some(),
            toolset.http.is_some(),
            toolset.mcp.is_some(),
            toolset.nats.is_some(),
            toolset.openapi.is_some(),
            toolset.template.is_some(),
        ];
        if kinds.into_iter().filter(|is_given| *is_given).count() != 1 {
            findings.error(&at, format!("the toolset {name:?} must be exactly one of code, http, mcp, nats, openapi and template"));
        }
        if let Some(code) = &toolset.code {
            tools.append(&mut code_tools(code, &at.key("code"), findings));
        }
        if let Some(http) = &toolset.http {
            tools.append(&mut http_tools(http, &at.key("http"), findings));
        }
        if let Some(template) = &toolset.template {
            tools.append(&mut template_tools(template, &at.key("template"), findings));
        }
        if let Some(mcp) = &toolset.mcp {
            tools.append(&mut mcp_tools(mcp, &at.key("mcp"), findings));
        }
        if let Some(nats) = &toolset.nats {
            tools.append(&mut nats_tools(nats, &at.key("nats"), findings));
        }
        if let Some(openapi) = &toolset.openapi {
            tools.append(&mut openapi::check(openapi, &at.key("openapi"), findings));
        }
        if tools.is_empty() && kinds != [false; 6] {
            findings.error(&at, format!("the toolset {name:?} has no tools; name one, or remove it"));
        }
        toolsets.insert(name.clone(), tools);
    }
    undo::link(specs, &mut toolsets, findings);
    toolsets
}

pub(super) fn otherwise(in_doubt: Option<&InDoubtSpec>) -> InDoubt {
    in_doubt.map(InDoubtSpec::otherwise).unwrap_or_default()
}

fn code_tools(spec: &CodeSpec, at: &KeyPath, findings: &mut Findings) -> BTreeMap<String, Option<Tool>> {
    let mut tools = BTreeMap::new();
    let plain = CodeToolSpec::default();
    let listed = spec.names.iter().enumerate().map(|(i, name)| (at.key("names").index(i), name, &plain));
    let described = spec.tools.iter().map(|(name, tool)| (at.key("tools").key(name), name, tool));
    for (at, name, spec) in described.chain(listed) {
        check_tool_name(name, &at, findings);
        let tool = Tool {
            name: name.clone(),
            description: given(spec.description.as_ref()).unwrap_or_default().to_owned(),
            parameters: None,
            source: ToolSource::Code,
            effect: spec.effect.unwrap_or(Effect::SideEffect),
            in_doubt: otherwise(spec.in_doubt.as_ref()),
            undo: None,
            approval: spec.approval.clone(),
            timeout_secs: tool_secs(spec.timeout, &at, findings),
        };
        if tools.insert(name.clone(), Some(tool)).is_some() {
            findings.error(&at, format!("the tool {name:?} is defined twice; keep one"));
        }
    }
    tools
}

fn http_tools(spec: &HttpSpec, at: &KeyPath, findings: &mut Findings) -> BTreeMap<String, Option<Tool>> {
    check_headers(&spec.headers, &at.key("headers"), findings);
    if let Some(base_url) = &spec.base_url {
        check_url(base_url, &at.key("baseUrl"), findings);
    }
    let tools = spec.tools.iter().map(|(name, tool)| {
        let at = at.key("tools").key(name);
        check_tool_name(name, &at, findings);
        (name.clone(), http_tool(name, tool, spec, &at, findings))
    });
    tools.collect()
}

fn http_tool(name: &str, spec: &HttpToolSpec, toolset: &HttpSpec, at: &KeyPath, findings: &mut Findings) -> Option<Tool> {
    let parameters = object_schema(spec.parameters.as_ref(), &at.key("parameters"), findings);
    let (at_url, url, arguments) = match (&spec.path, &spec.url, &toolset.base_url) {
        (Some(path), None, Some(base_url)) => {
            let at = at.key("path");
            let arguments = check_path(path, &at, findings);
            (at, format!("{}{path}", base_url.trim_end_matches('/')), arguments)
        }
        (None, Some(url), _) => (at.key("url"), url.clone(), check_tool_url(url, &at.key("url"), findings)),
        (Some(_), None, None) => {
            findings.error(&at.key("path"), "a path needs the toolset's baseUrl; add it, or give the tool a whole url");
            return None;
        }
        (Some(_), Some(_), _) => {
            findings.error(&at.key("url"), "path and url exclude each other; keep one");
            return None;
        }
        (None, None, _) => {
            findings.error(at, format!("the tool {name:?} has neither a path nor a url; give it one"));
            return None;
        }
    };
    check_arguments(&arguments, &parameters, &at_url, findings);
    let read_only = spec.method == Method::Get;
    Some(Tool {
        name: name.to_owned(),
        description: description(name, spec.description.as_ref(), at, findings),
        parameters: Some(parameters),
        source: ToolSource::Http(HttpEndpoint {
            method: spec.method.as_str().to_owned(),
            url,
            headers: toolset.headers.clone(),
            places: BTreeMap::new(),
        }),
        effect: spec.effect.unwrap_or(if read_only { Effect::ReadOnly } else { Effect::SideEffect }),
        in_doubt: otherwise(spec.in_doubt.as_ref()),
        undo: None,
        approval: spec.approval.clone(),
        timeout_secs: tool_secs(spec.timeout, at, findings),
    })
}

fn mcp_tools(spec: &McpSpec, at: &KeyPath, findings: &mut Findings) -> BTreeMap<String, Option<Tool>> {
    let server = match (&spec.url, spec.command.as_slice()) {
        (Some(url), []) => {
            check_url(url, &at.key("url"), findings);
            check_headers(&spec.headers, &at.key("headers"), findings);
            McpServer::Http { url: url.clone(), headers: spec.headers.clone() }
        }
        (None, [_, ..]) => McpServer::Child { command: spec.command.clone(), env: spec.env.clone() },
        _ => {
            findings.error(at, "an MCP server has a url or a command; give it exactly one of both");
            return BTreeMap::new();
        }
    };
    let code = CodeSpec { names: spec.names.clone(), tools: spec.tools.clone() };
    let mut tools = code_tools(&code, at, findings);
    for tool in tools.values_mut().flatten() {
        let is_effect_said = spec.tools.get(&tool.name).is_some_and(|spec| spec.effect.is_some());
        tool.source = ToolSource::Mcp { server: server.clone(), is_effect_said };
    }
    tools
}

fn nats_tools(spec: &NatsSpec, at: &KeyPath, findings: &mut Findings) -> BTreeMap<String, Option<Tool>> {
    let tools = spec.tools.iter().map(|(name, spec)| {
        let at = at.key("tools").key(name);
        check_tool_name(name, &at, findings);
        let is_plain = |token: &str| !token.is_empty() && !token.contains(['*', '>', ' ', '\t', '\r', '\n']);
        if !spec.subject.split('.').all(is_plain) || spec.subject.starts_with('$') || spec.subject.starts_with("baton.") {
            let message = format!("{:?} is not the subject of a service: use tokens without wildcards, not $… or baton.…", spec.subject);
            findings.error(&at.key("subject"), message);
        }
        let tool = Tool {
            name: name.clone(),
            description: description(name, spec.description.as_ref(), &at, findings),
            parameters: Some(object_schema(spec.parameters.as_ref(), &at.key("parameters"), findings)),
            source: ToolSource::Nats { subject: spec.subject.clone() },
            effect: spec.effect.unwrap_or(Effect::SideEffect),
            in_doubt: otherwise(spec.in_doubt.as_ref()),
            undo: None,
            approval: spec.approval.clone(),
            timeout_secs: tool_secs(spec.timeout, &at, findings),
        };
        (name.clone(), Some(tool))
    });
    tools.collect()
}

fn template_tools(spec: &TemplateSpec, at: &KeyPath, findings: &mut Findings) -> BTreeMap<String, Option<Tool>> {
    let tools = spec.tools.iter().map(|(name, tool)| {
        let at = at.key("tools").key(name);
        check_tool_name(name, &at, findings);
        (name.clone(), Some(template_tool(name, tool, &at, findings)))
    });
    tools.collect()
}

fn template_tool(name: &str, spec: &TemplateToolSpec, at: &KeyPath, findings: &mut Findings) -> Tool {
    let parameters = object_schema(spec.parameters.as_ref(), &at.key("parameters"), findings);
    check_arguments(&arguments(&template::arguments(&spec.reply)), &parameters, &at.key("reply"), findings);
    Tool {
        name: name.to_owned(),
        description: description(name, spec.description.as_ref(), at, findings),
        parameters: Some(parameters),
        source: ToolSource::Template { reply: spec.reply.clone() },
        effect: spec.effect.unwrap_or(Effect::ReadOnly),
        in_doubt: otherwise(spec.in_doubt.as_ref()),
        undo: None,
        approval: spec.approval.clone(),
        timeout_secs: tool_secs(spec.timeout, at, findings),
    }
}

pub(super) fn check_tool_name(name: &str, at: &KeyPath, findings: &mut Findings) {
    let valid = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    if name.is_empty() || name.len() > 64 || !name.bytes().all(valid) {
        let shown: String = name.chars().take(80).collect();
        findings.error(at, format!("{shown:?} is not a tool's name: use 1 to 64 of A-Z, a-z, 0-9, '_' and '-'"));
    } else if name == COMPLETE_TASK || name.starts_with(TRANSFER_PREFIX) {
        let message = format!("{name:?} is reserved: agents hand over with {TRANSFER_PREFIX}… and end with {COMPLETE_TASK}; rename it");
        findings.error(at, message);
    }
}

pub(super) fn description(name: &str, text: Option<&String>, at: &KeyPath, findings: &mut Findings) -> String {
    let text = given(text);
    if text.is_none() {
        findings.warn(at, format!("nothing tells the model what {name:?} does; describe it"));
    }
    text.unwrap_or_default().to_owned()
}

pub(super) fn tool_secs(timeout: Option<Seconds>, at: &KeyPath, findings: &mut Findings) -> u64 {
    positive_secs(&at.key("timeout"), timeout, TIMEOUT_SECS, findings)
}

/// The schema of a tool's arguments. Models call tools with an object, and nothing else.
fn object_schema(schema: Option<&Json>, at: &KeyPath, findings: &mut Findings) -> Json {
    let Some(schema) = schema else { return json!({ "type": "object", "properties": {} }) };
    if schema.get("type").and_then(Json::as_str) != Some("object") {
        findings.error(at, "a tool's arguments are an object; write { type: object, properties: … }");
        return schema.clone();
    }
    let no_properties = serde_json::Map::new();
    let properties = match schema.get("properties") {
        None => &no_properties,
        Some(Json::Object(properties)) => properties,
        Some(_) => {
            findings.error(&at.key("properties"), "properties is a mapping from arguments to their schemas");
            return schema.clone();
        }
    };
    for (name, property) in properties {
        if !matches!(property, Json::Object(_) | Json::Bool(_)) {
            let message = format!("the schema of the argument {name:?} is a mapping, as in {{ type: string }}");
            findings.error(&at.key("properties").key(name), message);
        }
    }
    match schema.get("required") {
        None => {}
        Some(Json::Array(required)) => {
            for (i, name) in required.iter().enumerate() {
                if !name.as_str().is_some_and(|name| properties.contains_key(name)) {
                    findings.error(
                        &at.key("required").index(i),
                        format!("{name} is not among the properties; add it there, or remove it here"),
                    );
                }
            }
        }
        Some(_) => findings.error(&at.key("required"), "required is a list of arguments"),
    }
    check_references(schema, at, findings);
    schema.clone()
}

/// A schema is all there is: a worker fetches no part of it from elsewhere.
pub(super) fn check_references(schema: &Json, at: &KeyPath, findings: &mut Findings) {
    match schema {
        Json::Object(entries) => {
            for (key, value) in entries {
                match value.as_str() {
                    Some(target) if key == "$ref" && !target.starts_with('#') => {
                        findings.error(&at.key(key), "a schema refers only to its own parts, as in #/$defs/address; write it out");
                    }
                    _ => check_references(value, &at.key(key), findings),
                }
            }
        }
        Json::Array(items) => {
            for (i, item) in items.iter().enumerate() {
                check_references(item, &at.index(i), findings);
            }
        }
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => {}
    }
}

/// A placeholder stands for an argument, and for one that every call has.
fn check_arguments(arguments: &[&str], parameters: &Json, at: &KeyPath, findings: &mut Findings) {
    let properties = parameters.get("properties").and_then(Json::as_object);
    let required = parameters.get("required").and_then(Json::as_array);
    for argument in arguments {
        if !properties.is_some_and(|properties| properties.contains_key(*argument)) {
            findings.error(at, format!("{{{argument}}} is not among the properties of parameters; add it there"));
        } else if !required.is_some_and(|required| required.iter().any(|name| name == argument)) {
            findings.warn(at, format!("{{{argument}}} is not among the required parameters; a call without it fails"));
        }
    }
}
