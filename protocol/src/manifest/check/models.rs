//! Models, and the scripts that stand in for them.

use std::collections::BTreeMap;

use super::agents::{NOT_INLINED, Roster};
use super::tools::Toolsets;
use super::urls::{check_headers, check_url, check_variables};
use super::{given, nobody, positive_secs};
use crate::ids::AgentName;
use crate::manifest::problem::{Findings, KeyPath};
use crate::manifest::spec::{Api, ModelSpec, Provider};
use crate::manifest::template::is_variable;
use crate::orchestration::{Agent, COMPLETE_TASK, Endpoint, Model, ScriptLine, TRANSFER_PREFIX};

pub(super) const TIMEOUT_SECS: u64 = 120;
pub(super) const RETRIES: u32 = 2;
/// Fields of a request that are the worker's to set, by the interface.
const fn own_parameters(api: Api) -> &'static [&'static str] {
    match api {
        Api::Chat => &["messages", "model", "n", "stream", "tools"],
        Api::Responses => {
            &["background", "conversation", "input", "instructions", "model", "previous_response_id", "store", "stream", "tools"]
        }
    }
}

pub(super) fn check(
    specs: &BTreeMap<String, ModelSpec>,
    roster: &Roster<'_>,
    toolsets: &Toolsets,
    agents: &BTreeMap<AgentName, Agent>,
    has_output: bool,
    findings: &mut Findings,
) -> BTreeMap<String, Model> {
    let mut models = BTreeMap::new();
    for (key, spec) in specs {
        let at = KeyPath::of(["spec", "models"]).key(key);
        check_files(spec, &at, findings);
        let model = if spec.provider == Provider::Scripted {
            check_only_script(spec, &at, findings);
            let lines = spec.script.iter().enumerate();
            let cast = Cast { roster, toolsets, agents, has_output };
            Model::Scripted(lines.map(|(i, line)| cast.check(line, &at.key("script").index(i), findings)).collect())
        } else {
            check_or_else(key, specs, &at.key("orElse"), findings);
            Model::Endpoint(endpoint(spec, &at, findings))
        };
        models.insert(key.clone(), model);
    }
    models
}

fn check_files(spec: &ModelSpec, at: &KeyPath, findings: &mut Findings) {
    match (spec.script.is_empty(), &spec.script_file) {
        (false, Some(_)) => findings.error(&at.key("scriptFile"), "script and scriptFile exclude each other; keep one"),
        (true, Some(_)) => findings.error(&at.key("scriptFile"), NOT_INLINED),
        (_, None) => {}
    }
}

fn check_only_script(spec: &ModelSpec, at: &KeyPath, findings: &mut Findings) {
    let others = [
        ("name", spec.name.is_some()),
        ("api", spec.api.is_some()),
        ("baseUrl", spec.base_url.is_some()),
        ("apiKeyEnv", spec.api_key_env.is_some()),
        ("apiVersion", spec.api_version.is_some()),
        ("headers", !spec.headers.is_empty()),
        ("timeout", spec.timeout.is_some()),
        ("retries", spec.retries.is_some()),
        ("stream", spec.stream.is_some()),
        ("parameters", !spec.parameters.is_empty()),
        ("orElse", spec.or_else.is_some()),
    ];
    for (key, _) in others.into_iter().filter(|(_, is_given)| *is_given) {
        findings.error(&at.key(key), "a scripted model has a script and nothing else; remove this");
    }
    if spec.script.is_empty() && spec.script_file.is_none() {
        findings.error(at, "a scripted model needs lines to say; write them under script, or name a scriptFile");
    }
}

fn endpoint(spec: &ModelSpec, at: &KeyPath, findings: &mut Findings) -> Endpoint {
    let provider = spec.provider.as_str();
    if !spec.script.is_empty() {
        findings.error(&at.key("script"), "only a scripted model has a script; write provider: scripted, or remove it");
    }
    let name = given(spec.name.as_ref());
    match name {
        Some(name) => check_variables(name, &at.key("name"), findings),
        None => findings.error(at, "the model has no name; write name: with what its provider calls it"),
    }
    match &spec.base_url {
        Some(base_url) => check_url(base_url, &at.key("baseUrl"), findings),
        None if spec.provider.needs_base_url() => {
            findings.error(at, format!("the provider {provider} has no address of its own; add a baseUrl"));
        }
        None => {}
    }
    if let Some(variable) = spec.api_key_env.as_ref().filter(|name| !is_variable(name)) {
        let shown: String = variable.chars().take(3).collect();
        let message = format!("\"{shown}…\" is not an environment variable's name; name the one that holds the key, not the key");
        findings.error(&at.key("apiKeyEnv"), message);
    }
    if let Some(version) = &spec.api_version {
        check_variables(version, &at.key("apiVersion"), findings);
        if spec.provider != Provider::Azure {
            findings.warn(&at.key("apiVersion"), "only azure has an apiVersion; remove it");
        }
    }
    check_headers(&spec.headers, &at.key("headers"), findings);
    let api = spec.api.unwrap_or_default();
    for key in spec.parameters.keys().filter(|key| own_parameters(api).contains(&key.as_str())) {
        findings.error(&at.key("parameters").key(key), format!("{key:?} is the worker's to set; remove it"));
    }
    Endpoint {
        api,
        provider: provider.to_owned(),
        name: name.unwrap_or_default().to_owned(),
        base_url: spec.base_url.clone(),
        api_key_env: spec.api_key_env.clone().or_else(|| spec.provider.api_key_env().map(str::to_owned)),
        api_version: spec.api_version.clone(),
        headers: spec.headers.clone(),
        timeout_secs: positive_secs(&at.key("timeout"), spec.timeout, TIMEOUT_SECS, findings),
        retries: spec.retries.unwrap_or(RETRIES),
        stream: spec.stream.unwrap_or(true),
        parameters: spec.parameters.clone(),
        or_else: spec.or_else.clone(),
    }
}

/// Whoever stands in must exist, and the chain of those who do must end.
fn check_or_else(key: &str, specs: &BTreeMap<String, ModelSpec>, at: &KeyPath, findings: &mut Findings) {
    let next_of = |key: &str| specs.get(key).and_then(|spec| spec.or_else.as_deref());
    let Some(first) = next_of(key) else { return };
    if !specs.contains_key(first) {
        findings.error(at, nobody("model", first, specs.keys().map(String::as_str)));
        return;
    }
    let mut chain = vec![key];
    let mut next = Some(first);
    while let Some(model) = next.filter(|model| !chain.contains(model)) {
        chain.push(model);
        next = next_of(model);
    }
    // A loop is reported once, by its first member in the order of names.
    if next == Some(key) && chain.iter().min() == Some(&key) {
        findings.error(at, format!("{} → {key}: in the end nobody stands in; break the loop", chain.join(" → ")));
    }
}

/// Who a script speaks of.
struct Cast<'c> {
    roster: &'c Roster<'c>,
    toolsets: &'c Toolsets,
    agents: &'c BTreeMap<AgentName, Agent>,
    /// Whether conversations end with a value.
    has_output: bool,
}

impl Cast<'_> {
    /// The line with its agents under their names.
    fn check(&self, line: &ScriptLine, at: &KeyPath, findings: &mut Findings) -> ScriptLine {
        check_actions(line, at, findings);
        let mut resolve = |text: &Option<String>, key| text.as_ref().and_then(|text| self.roster.resolve(text, &at.key(key), findings));
        let speaker = resolve(&line.agent, "agent");
        let target = resolve(&line.transfer, "transfer");
        // What a model sees behind a transfer of its own is that it was refused.
        let is_refusal = |tool: &&str| {
            let target = tool.strip_prefix(TRANSFER_PREFIX);
            target.is_some_and(|target| self.agents.keys().any(|name| name.as_str() == target))
        };
        let result_of = line.tool.as_deref().filter(|tool| !is_refusal(tool));
        self.check_tool(result_of, speaker.as_ref(), &at.key("tool"), findings);
        self.check_tool(line.call.as_deref(), speaker.as_ref(), &at.key("call"), findings);
        if let (Some(speaker), Some(target)) = (speaker.as_ref().and_then(|name| self.agents.get(name)), &target)
            && !speaker.handoffs.iter().any(|handoff| handoff.to == *target)
        {
            let message = format!("no handoff leads from {:?} to {target:?}; this transfer would be refused", speaker.name);
            findings.warn(&at.key("transfer"), message);
        }
        match (&line.complete, &line.result) {
            (Some(_), None) if self.has_output => {
                findings.warn(&at.key("complete"), "spec.output wants a value of every end; this one would be refused, add a result");
            }
            (Some(_), Some(_)) if !self.has_output => {
                findings.warn(&at.key("result"), "without spec.output an end has no value; this one is lost, add an output");
            }
            _ => {}
        }
        let text = |name: AgentName| name.as_str().to_owned();
        ScriptLine { agent: speaker.map(text), transfer: target.map(text), ..line.clone() }
    }

    fn check_tool(&self, tool: Option<&str>, speaker: Option<&AgentName>, at: &KeyPath, findings: &mut Findings) {
        let Some(tool) = tool else { return };
        let known = || self.toolsets.values().flat_map(BTreeMap::keys).map(String::as_str);
        if tool == COMPLETE_TASK || tool.starts_with(TRANSFER_PREFIX) {
            findings.error(at, format!("{tool:?} is not a tool of the toolsets; write complete: <summary> or transfer: <agent>"));
        } else if !known().any(|name| name == tool) {
            findings.error(at, nobody("tool", tool, known()));
        } else if let Some(agent) = speaker.and_then(|name| self.agents.get(name))
            && !agent.tools.iter().any(|known| known.name == tool)
        {
            findings.warn(at, format!("{:?} has no tool {tool:?}; this call would be refused", agent.name));
        }
    }
}

/// A line does one thing, and may say something with it.
fn check_actions(line: &ScriptLine, at: &KeyPath, findings: &mut Findings) {
    let actions = [("call", line.call.is_some()), ("transfer", line.transfer.is_some()), ("complete", line.complete.is_some())];
    let mut given = actions.into_iter().filter(|(_, is_given)| *is_given).map(|(key, _)| key);
    match (given.next(), given.next()) {
        (None, _) if line.say.is_none() => {
            findings.error(at, "the line does nothing; add say, call, transfer or complete");
        }
        (Some(first), Some(second)) => {
            findings.error(&at.key(second), format!("the line already has a {first}; a line does one thing, besides saying something"));
        }
        (None | Some(_), _) => {}
    }
    if line.call.is_none() && line.transfer.is_none() && !line.arguments.is_empty() {
        findings.error(&at.key("arguments"), "only a call or a transfer has arguments; add one, or remove them");
    }
    if line.complete.is_none() && line.result.is_some() {
        findings.error(&at.key("result"), "only an end has a result; add complete: <summary>, or remove it");
    }
}
