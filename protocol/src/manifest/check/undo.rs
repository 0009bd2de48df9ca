//! Compensation: which tool undoes which, and whether it may.

use std::collections::BTreeMap;

use super::openapi::tool_name;
use super::tools::Toolsets;
use crate::event::Effect;
use crate::manifest::names::hint;
use crate::manifest::problem::{Findings, KeyPath};
use crate::manifest::spec::{CodeToolSpec, InDoubtSpec, ToolsetSpec};
use crate::orchestration::Tool;

/// Gives each tool that names one the tool that undoes it: one of its own toolset, else the only one of that name.
pub(super) fn link(specs: &BTreeMap<String, ToolsetSpec>, toolsets: &mut Toolsets, findings: &mut Findings) {
    let mut found = Vec::new();
    for (toolset, spec) in specs {
        for (at, name, undo) in compensated(spec, &KeyPath::of(["spec", "tools"]).key(toolset)) {
            let Some(Some(tool)) = toolsets.get(toolset).and_then(|tools| tools.get(&name)) else { continue };
            if tool.effect != Effect::SideEffect {
                findings.warn(&at, format!("{name:?} may run again, so that it is never in doubt; remove inDoubt, or the effect"));
                continue;
            }
            if let Some(undo) = resolve(undo, toolset, toolsets, &at, findings)
                && may_undo(&name, &undo, &at, findings)
            {
                found.push((toolset, name, undo));
            }
        }
    }
    for (toolset, name, undo) in found {
        if let Some(Some(tool)) = toolsets.get_mut(toolset).and_then(|tools| tools.get_mut(&name)) {
            tool.undo = Some(Box::new(undo));
        }
    }
}

/// The tools of a toolset that another one undoes, each with its place and that one's name.
fn compensated<'s>(spec: &'s ToolsetSpec, at: &KeyPath) -> Vec<(KeyPath, String, &'s str)> {
    let mut found = Vec::new();
    let mut look = |kind: &str, name: &str, tool: String, in_doubt: Option<&'s InDoubtSpec>| {
        if let Some(InDoubtSpec::Compensate(undo)) = in_doubt {
            found.push((at.key(kind).key("tools").key(name).key("inDoubt").key("compensate"), tool, undo.as_str()));
        }
    };
    let (code, mcp, openapi) = (spec.code.as_ref(), spec.mcp.as_ref(), spec.openapi.as_ref());
    let plain: [(&str, Option<&'s BTreeMap<String, CodeToolSpec>>); 2] =
        [("code", code.map(|spec| &spec.tools)), ("mcp", mcp.map(|spec| &spec.tools))];
    for (kind, tools) in plain {
        tools.into_iter().flatten().for_each(|(name, tool)| look(kind, name, name.clone(), tool.in_doubt.as_ref()));
    }
    let operations = openapi.into_iter().flat_map(|spec| &spec.tools);
    operations.for_each(|(id, tool)| look("openapi", id, tool_name(id), tool.in_doubt.as_ref()));
    let http = spec.http.iter().flat_map(|spec| &spec.tools);
    http.for_each(|(name, tool)| look("http", name, name.clone(), tool.in_doubt.as_ref()));
    let nats = spec.nats.iter().flat_map(|spec| &spec.tools);
    nats.for_each(|(name, tool)| look("nats", name, name.clone(), tool.in_doubt.as_ref()));
    let template = spec.template.iter().flat_map(|spec| &spec.tools);
    template.for_each(|(name, tool)| look("template", name, name.clone(), tool.in_doubt.as_ref()));
    found
}

fn resolve(name: &str, toolset: &str, toolsets: &Toolsets, at: &KeyPath, findings: &mut Findings) -> Option<Tool> {
    if let Some(own) = toolsets.get(toolset).and_then(|tools| tools.get(name)) {
        return own.clone();
    }
    let others: Vec<(&String, &Option<Tool>)> = toolsets.iter().filter_map(|(toolset, tools)| Some((toolset, tools.get(name)?))).collect();
    match others[..] {
        [(_, tool)] => tool.clone(),
        [] => {
            let known = toolsets.values().flat_map(BTreeMap::keys).map(String::as_str);
            let shown: String = name.chars().take(80).collect();
            findings.error(at, format!("there is no tool {shown:?} in any toolset{}", hint(name, known)));
            None
        }
        [(first, _), (second, _), ..] => {
            findings.error(at, format!("{first:?} and {second:?} both have a tool {name:?}; rename one, or move it to {toolset:?}"));
            None
        }
    }
}

/// What undoes runs again whenever nobody knows whether it ran, and asks nobody.
fn may_undo(name: &str, undo: &Tool, at: &KeyPath, findings: &mut Findings) -> bool {
    let problem = if undo.effect == Effect::SideEffect {
        "has a side effect each time it runs: make it idempotent under its key and say `effect: idempotent`, or name another"
    } else if undo.approval.is_some() {
        "waits for an approval, and what undoes a call asks nobody; remove the approval, or use `inDoubt: ask`"
    } else {
        return true;
    };
    findings.error(at, format!("{:?}, which undoes {name:?}, {problem}", undo.name));
    false
}

/// Two tools of one name would be one to the agent's worker.
pub(super) fn check_names(tools: &[Tool], at: &KeyPath, findings: &mut Findings) {
    let undo = tools.iter().filter_map(|tool| Some((tool, tool.undo.as_deref()?)));
    for (tool, undo) in undo {
        let others = tools.iter().chain(tools.iter().filter_map(|tool| tool.undo.as_deref()));
        if others.filter(|other| other.name == undo.name).any(|other| other != undo) {
            let message =
                format!("{:?} is undone by a tool {:?}, and the agent has another one of that name; rename one", tool.name, undo.name);
            findings.error(at, message);
        }
    }
}
