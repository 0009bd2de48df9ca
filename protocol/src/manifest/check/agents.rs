//! Agents, their names and the edges between them.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use super::tools::Toolsets;
use super::urls::{check_headers, check_url};
use super::{check_condition, given, models, nobody, positive, positive_secs, undo};
use crate::event::{Audience, HistoryOption, Json};
use crate::ids::AgentName;
use crate::manifest::names::kebab;
use crate::manifest::problem::{Findings, KeyPath, Problem};
use crate::manifest::spec::{AgentSpec, DeskSpec, HandoffSpec, ScalingSpec, Spec, ToolsFrom};
use crate::orchestration::{Agent, Handoff, Limits, Player, Remote, TRANSFER_PREFIX, Tool};

/// Characters of a tool's name.
const TOOL_NAME_MAX: usize = 64;
/// Characters of a display name: it goes into every prompt beside every message.
const DISPLAY_NAME_MAX: usize = 64;
const CONCURRENCY: u32 = 64;
/// Agents of one orchestration: each is a consumer of its stream.
const AGENTS_MAX: usize = 256;
/// Tools that one request may offer a model; providers refuse more.
pub(super) const TOOLS_MAX: usize = 128;

/// Who is who: agents by the keys under which the manifest holds them.
pub(super) struct Roster<'m> {
    /// The agent's name; none where the key cannot become one, which has been reported.
    names: BTreeMap<&'m str, Option<AgentName>>,
    specs: &'m BTreeMap<String, AgentSpec>,
}

impl<'m> Roster<'m> {
    pub(super) fn of(specs: &'m BTreeMap<String, AgentSpec>, findings: &mut Findings) -> Self {
        let at = KeyPath::of(["spec", "agents"]);
        if specs.is_empty() {
            findings.error(&at, "there is no agent; define at least one");
        }
        if specs.len() > AGENTS_MAX {
            findings.error(&at, format!("there are {} agents; {AGENTS_MAX} is the most, split the orchestration", specs.len()));
            return Self { names: specs.keys().map(|key| (key.as_str(), None)).collect(), specs };
        }
        let mut taken: BTreeMap<AgentName, &str> = BTreeMap::new();
        let mut names = BTreeMap::new();
        for key in specs.keys() {
            let name = name_of(key).and_then(|name| match taken.entry(name.clone()) {
                Entry::Vacant(free) => {
                    free.insert(key);
                    Ok(name)
                }
                Entry::Occupied(first) => Err(format!("{key:?} and {:?} are both named {name:?}; rename one", first.get())),
            });
            names.insert(key.as_str(), name.map_err(|message| findings.error(&at.key(key), message)).ok());
        }
        Self { names, specs }
    }

    /// The agent that `text` means, by its key or by its name. Nobody is reported, with a proposal.
    pub(super) fn resolve(&self, text: &str, at: &KeyPath, findings: &mut Findings) -> Option<AgentName> {
        if let Some(name) = self.names.get(text) {
            return name.clone();
        }
        let wanted = kebab(text);
        let found = self.names.values().flatten().find(|name| name.as_str() == wanted);
        if found.is_none() {
            let displayed = self.specs.iter().find(|(_, spec)| spec.display_name.as_deref() == Some(text));
            let message = match displayed {
                Some((key, _)) => format!("there is no agent {text:?}; {key:?} is displayed so, did you mean it?"),
                None => nobody("agent", text, self.names.keys().copied()),
            };
            findings.error(at, message);
        }
        found.cloned()
    }

    pub(super) fn start(&self, text: &str, findings: &mut Findings) -> Option<AgentName> {
        if self.names.is_empty() {
            return None;
        }
        self.resolve(text, &KeyPath::of(["spec", "start"]), findings)
    }

    /// The key of an agent.
    pub(super) fn key(&self, name: &AgentName) -> &'m str {
        self.names.iter().find(|(_, found)| found.as_ref() == Some(name)).map_or("", |(key, _)| key)
    }

    /// The agents whose keys are names, with their specifications.
    fn named(&self) -> impl Iterator<Item = (&'m str, &AgentName, &'m AgentSpec)> {
        self.specs.iter().filter_map(|(key, spec)| Some((key.as_str(), self.names.get(key.as_str())?.as_ref()?, spec)))
    }

    fn display_name(&self, name: &AgentName) -> &'m str {
        let key = self.key(name);
        self.specs.get(key).and_then(|spec| given(spec.display_name.as_ref())).unwrap_or(key)
    }

    /// When to hand over to an agent, where the edge does not say.
    fn when(&self, target: &AgentName) -> String {
        let description = self.specs.get(self.key(target)).and_then(|spec| given(spec.description.as_ref()));
        description.map_or_else(|| format!("Hand the conversation over to {}.", self.display_name(target)), str::to_owned)
    }
}

/// The name that a key stands for: the key itself, or what `OrderStatusAgent` and `Refund Agent` are mapped to.
fn name_of(key: &str) -> Result<AgentName, String> {
    let mapped = kebab(key);
    match (key.parse(), mapped.parse::<AgentName>()) {
        (Ok(name), _) | (Err(_), Ok(name)) => Ok(name),
        (Err(invalid), Err(_)) if mapped == key || mapped.is_empty() => Err(invalid.to_string()),
        (Err(_), Err(invalid)) => Err(format!("{key:?} is mapped to a name that is refused: {invalid}")),
    }
}

pub(super) fn check(spec: &Spec, roster: &Roster<'_>, toolsets: &Toolsets, findings: &mut Findings) -> BTreeMap<AgentName, Agent> {
    let mut agents = BTreeMap::new();
    for (key, name, agent) in roster.named() {
        let at = KeyPath::of(["spec", "agents"]).key(key);
        check_texts(agent, &at, findings);
        check_scaling(agent.worker.and_then(|worker| worker.scaling), &at, findings);
        let concurrency = agent.worker.and_then(|worker| worker.concurrency);
        let concurrency = positive(&at.key("worker").key("concurrency"), concurrency, CONCURRENCY, findings);
        agents.insert(
            name.clone(),
            Agent {
                name: name.clone(),
                display_name: roster.display_name(name).to_owned(),
                description: given(agent.description.as_ref()).unwrap_or_default().to_owned(),
                instructions: agent.instructions.clone().unwrap_or_default(),
                player: player_of(spec, (name, agent), &at, findings),
                tools: tools_of(agent, toolsets, &at, findings),
                handoffs: handoffs_of(name, agent, roster, &at, findings),
                concurrency: usize::try_from(concurrency).unwrap_or(usize::MAX),
            },
        );
    }
    check_default_model(spec, findings);
    check_display_names(roster, findings);
    mesh(spec, roster, &mut agents, findings);
    check_targets(&agents, roster, findings);
    for agent in agents.values() {
        let count = agent.tools.len() + agent.handoffs.len() + 1;
        if count > TOOLS_MAX {
            let message = format!("its tools, its handoffs and complete_task make {count}; models take {TOOLS_MAX} tools at most");
            findings.error(&KeyPath::of(["spec", "agents"]).key(roster.key(&agent.name)), message);
        }
    }
    agents
}

fn check_texts(agent: &AgentSpec, at: &KeyPath, findings: &mut Findings) {
    match (&agent.instructions, &agent.instructions_file) {
        (Some(_), Some(_)) => {
            findings.error(&at.key("instructionsFile"), "instructions and instructionsFile exclude each other; keep one");
        }
        (None, Some(_)) => findings.error(&at.key("instructionsFile"), NOT_INLINED),
        // People at a desk know their job.
        (instructions, None) if given(instructions.as_ref()).is_none() && agent.desk.is_none() => {
            findings.warn(&at.key("instructions"), "the agent has no instructions; its model is told nothing but its handoffs");
        }
        (_, None) => {}
    }
    if let Some(name) = &agent.display_name {
        let printable = !name.trim().is_empty() && !name.chars().any(char::is_control);
        if !printable || name.chars().count() > DISPLAY_NAME_MAX {
            let message = format!("a display name is one line of 1 to {DISPLAY_NAME_MAX} characters; leave it out to use the key");
            findings.error(&at.key("displayName"), message);
        }
    }
}

pub(super) const NOT_INLINED: &str = "files are read when a manifest is parsed from a text; a manifest made otherwise holds their content";

fn check_scaling(scaling: Option<ScalingSpec>, at: &KeyPath, findings: &mut Findings) {
    let Some(ScalingSpec { min, max, backlog_per_replica }) = scaling else { return };
    let at = at.key("worker").key("scaling");
    if max == 0 {
        findings.error(&at.key("max"), "must be at least 1, or nobody ever does the agent's work");
    } else if min > max {
        findings.error(&at.key("min"), format!("the least, {min}, is more than the most, {max}"));
    }
    positive(&at.key("backlogPerReplica"), backlog_per_replica, 5, findings);
}

/// Who plays an agent: a model, unless it says otherwise.
fn player_of(spec: &Spec, (name, agent): (&AgentName, &AgentSpec), at: &KeyPath, findings: &mut Findings) -> Player {
    let (desk, remote, code) = (agent.desk.is_some(), agent.remote.is_some(), agent.code.is_some());
    let kinds = [("model", agent.model.is_some()), ("desk", desk), ("remote", remote), ("code", code)];
    if let [_, (other, _), ..] = kinds.into_iter().filter(|(_, is_given)| *is_given).collect::<Vec<_>>()[..] {
        findings.error(&at.key(other), "an agent is played by one of model, desk, remote and code; keep one");
    }
    if let Some(desk) = &agent.desk {
        return desk_of(spec, name, desk, &at.key("desk"), findings);
    }
    if let Some(remote) = &agent.remote {
        let at = at.key("remote");
        check_url(&remote.url, &at.key("url"), findings);
        check_headers(&remote.headers, &at.key("headers"), findings);
        return Player::Remote(Remote {
            url: remote.url.clone(),
            headers: remote.headers.clone(),
            timeout_secs: positive_secs(&at.key("timeout"), remote.timeout, models::TIMEOUT_SECS, findings),
            retries: remote.retries.unwrap_or(models::RETRIES),
        });
    }
    if let Some(code) = &agent.code {
        check_code(code, &at.key("code"), findings);
        return Player::Code(code.clone());
    }
    Player::Model(model_of(spec, agent, at, findings))
}

/// A name in a program is a text, and there is one.
fn check_code(name: &str, at: &KeyPath, findings: &mut Findings) {
    if name.trim().is_empty() {
        findings.error(at, "name what the worker's program registers it under");
    }
}

fn desk_of(spec: &Spec, agent: &AgentName, desk: &DeskSpec, at: &KeyPath, findings: &mut Findings) -> Player {
    let name = desk.name.clone().unwrap_or_else(|| agent.to_string());
    if let Err(invalid) = format!("desk:{name}").parse::<Audience>() {
        findings.error(&at.key("name"), invalid.to_string());
    }
    let human = spec.limits.and_then(|limits| limits.human_timeout).map_or(Limits::default().human_secs, |secs| secs.0);
    Player::Desk { name, timeout_secs: positive_secs(&at.key("timeout"), desk.timeout, human, findings) }
}

fn model_of(spec: &Spec, agent: &AgentSpec, at: &KeyPath, findings: &mut Findings) -> String {
    let Some(key) = &agent.model else { return "default".to_owned() };
    if !spec.models.contains_key(key) {
        findings.error(&at.key("model"), nobody("model", key, spec.models.keys().map(String::as_str)));
    }
    key.clone()
}

/// Says once what each agent without a model could say.
fn check_default_model(spec: &Spec, findings: &mut Findings) {
    let has_no_player = |agent: &AgentSpec| agent.model.is_none() && agent.desk.is_none() && agent.remote.is_none() && agent.code.is_none();
    let without: Vec<&str> = spec.agents.iter().filter(|(_, agent)| has_no_player(agent)).map(|(key, _)| key.as_str()).collect();
    if !without.is_empty() && !spec.models.contains_key("default") {
        let message = format!(
            "there is no model under \"default\", and {} {} none; define it, or give them a model",
            without.join(", "),
            if without.len() == 1 { "names" } else { "name" },
        );
        findings.error(&KeyPath::of(["spec", "models"]), message);
    }
}

/// Two speakers of one name could not be told apart in a prompt.
fn check_display_names(roster: &Roster<'_>, findings: &mut Findings) {
    let mut taken: BTreeMap<&str, &str> = BTreeMap::new();
    // Whoever chose its display name is told, not whoever is called so.
    let (chosen, called): (Vec<_>, Vec<_>) = roster.named().partition(|(_, _, agent)| agent.display_name.is_some());
    for (key, name, _) in called.into_iter().chain(chosen) {
        let display_name = roster.display_name(name);
        if let Some(first) = taken.insert(display_name, key) {
            let at = KeyPath::of(["spec", "agents"]).key(key).key("displayName");
            findings.error(&at, format!("{key:?} and {first:?} are both displayed as {display_name:?}; give one another name"));
        }
    }
}

fn tools_of(agent: &AgentSpec, toolsets: &Toolsets, at: &KeyPath, findings: &mut Findings) -> Vec<Tool> {
    let mut tools: Vec<Tool> = Vec::new();
    let mut from: BTreeMap<&str, &str> = BTreeMap::new();
    for (i, ToolsFrom { from: toolset, names }) in agent.tools.iter().enumerate() {
        let at = at.key("tools").index(i);
        let Some(offered) = toolsets.get(toolset) else {
            findings.error(&at.key("from"), nobody("toolset", toolset, toolsets.keys().map(String::as_str)));
            continue;
        };
        let all = offered.keys().map(|name| (at.key("from"), name));
        let some = names.iter().enumerate().map(|(j, name)| (at.key("names").index(j), name));
        let wanted: Vec<(KeyPath, &String)> = if names.is_empty() { all.collect() } else { some.collect() };
        for (at, name) in wanted {
            let Some(tool) = offered.get(name) else {
                let what = format!("tool of {toolset:?} named");
                findings.error(&at, nobody(&what, name, offered.keys().map(String::as_str)));
                continue;
            };
            match from.insert(name, toolset) {
                Some(first) if first == toolset => findings.error(&at, format!("the agent takes {name:?} twice; once is enough")),
                Some(first) => {
                    let message = format!("{toolset:?} and {first:?} both give the agent a tool {name:?}; take one, or rename one");
                    findings.error(&at, message);
                }
                None => tools.extend(tool.clone()),
            }
        }
    }
    undo::check_names(&tools, &at.key("tools"), findings);
    tools
}

fn handoffs_of(source: &AgentName, agent: &AgentSpec, roster: &Roster<'_>, at: &KeyPath, findings: &mut Findings) -> Vec<Handoff> {
    let mut handoffs: Vec<Handoff> = Vec::new();
    for (i, HandoffSpec { to, when, condition, history, filter, payload }) in agent.handoffs.iter().enumerate() {
        let at = at.key("handoffs").index(i);
        if let Some(expression) = condition {
            check_condition(expression, &["metadata"], &at.key("if"), findings);
        }
        if payload.as_ref().is_some_and(|schema| !matches!(schema, Json::Object(_))) {
            findings.error(&at.key("payload"), "a payload's schema is a mapping, as in { type: object, properties: … }");
        }
        if let Some(filter) = filter {
            check_code(filter, &at.key("filter"), findings);
        }
        let Some(to) = roster.resolve(to, &at.key("to"), findings) else { continue };
        if to == *source {
            findings.error(&at.key("to"), format!("{source:?} cannot hand over to itself; remove this handoff"));
            continue;
        }
        let when = given(when.as_ref()).map_or_else(|| roster.when(&to), str::to_owned);
        let (condition, history) = (condition.clone(), history.unwrap_or_default());
        let handoff = Handoff { to, when, condition, history, filter: filter.clone(), payload: payload.clone() };
        // The same edge twice: the last text wins.
        match handoffs.iter_mut().find(|known| known.to == handoff.to) {
            Some(known) => *known = handoff,
            None => handoffs.push(handoff),
        }
    }
    handoffs
}

/// Everyone to everyone else, where nobody says otherwise.
fn mesh(spec: &Spec, roster: &Roster<'_>, agents: &mut BTreeMap<AgentName, Agent>, findings: &mut Findings) {
    if spec.mesh != Some(true) {
        return;
    }
    if spec.agents.values().any(|agent| !agent.handoffs.is_empty()) {
        findings.warn(&KeyPath::of(["spec", "mesh"]), "explicit handoffs turn the mesh off; remove this, or them");
        return;
    }
    let names: Vec<AgentName> = agents.keys().cloned().collect();
    for agent in agents.values_mut() {
        let targets = names.iter().filter(|name| **name != agent.name);
        let plain = |to: &AgentName| Handoff {
            to: to.clone(),
            when: roster.when(to),
            condition: None,
            history: HistoryOption::default(),
            filter: None,
            payload: None,
        };
        agent.handoffs = targets.map(plain).collect();
    }
}

/// What is asked of an agent because others may hand over to it.
fn check_targets(agents: &BTreeMap<AgentName, Agent>, roster: &Roster<'_>, findings: &mut Findings) {
    let edges = agents.values().flat_map(|agent| &agent.handoffs);
    let targets: BTreeSet<&AgentName> = edges.clone().map(|handoff| &handoff.to).collect();
    for target in targets {
        let at = KeyPath::of(["spec", "agents"]).key(roster.key(target));
        let max = TOOL_NAME_MAX - TRANSFER_PREFIX.len();
        if target.as_str().len() > max {
            let message =
                format!("others hand over to it with a tool {TRANSFER_PREFIX}<name>, so that its name can have at most {max} characters");
            findings.error(&at, message);
        }
        let undescribed = agents.get(target).is_some_and(|agent| agent.description.is_empty());
        if undescribed && edges.clone().any(|handoff| handoff.to == *target && handoff.when == roster.when(target)) {
            findings.warn(&at, format!("nothing says when to hand over to {target:?}; describe it, or say when on the handoff"));
        }
    }
}

/// Warns of agents that no conversation ever comes to.
pub(super) fn warn_unreachable(start: &AgentName, agents: &BTreeMap<AgentName, Agent>, roster: &Roster<'_>, warnings: &mut Vec<Problem>) {
    let mut reached = BTreeSet::from([start]);
    let mut next = vec![start];
    while let Some(agent) = next.pop().and_then(|name| agents.get(name)) {
        next.extend(agent.handoffs.iter().map(|handoff| &handoff.to).filter(|to| reached.insert(to)));
    }
    for name in agents.keys().filter(|name| !reached.contains(name)) {
        let path = KeyPath::of(["spec", "agents"]).key(roster.key(name));
        let message = format!(
            "no handoff leads from {start:?} to {name:?}; add one, remove the agent, or set mesh: true where there is no handoff at all"
        );
        warnings.push(Problem { place: None, path, message });
    }
}
