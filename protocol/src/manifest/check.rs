//! Whether a manifest makes sense. Everything is looked at, so that everything is reported at once.

use super::names::{hint, kebab};
use super::problem::{Findings, KeyPath, Problem};
use super::seconds::Seconds;
use super::spec::{FallbackSpec, HumanSpec, LimitsSpec, RetentionSpec};
use super::{CANONICAL_BYTES_MAX, Checked, Manifest};
use crate::condition::Condition;
use crate::event::Json;
use crate::ids::{OrchestrationName, Revision};
use crate::orchestration::{Autonomous, Fallback, Human, Limits, Orchestration, Retention, TERMINATE_VARIABLES};

mod agents;
mod models;
mod openapi;
mod prompt;
mod tools;
mod undo;
mod urls;

/// How often in a row an agent goes on by itself, where nothing else is said.
const AUTONOMOUS_TURNS: u32 = 50;
/// What it is told then.
const AUTONOMOUS_PROMPT: &str = "Nobody answers at the moment. Go on by yourself, as well as you can.";

impl Manifest {
    /// Makes an orchestration of it.
    ///
    /// # Errors
    /// Everything that is wrong with it, each problem naming the agent, edge, tool or model and the way out.
    pub fn check(self) -> Result<Checked, Vec<Problem>> {
        let mut findings = Findings::default();
        let name = self.checked_name(&mut findings);
        let toolsets = tools::check(&self.spec.tools, &mut findings);
        let roster = agents::Roster::of(&self.spec.agents, &mut findings);
        let agents = agents::check(&self.spec, &roster, &toolsets, &mut findings);
        let prompt = prompt::check(self.spec.prompt, &agents, &roster, &mut findings);
        let models = models::check(&self.spec.models, &roster, &toolsets, &agents, self.spec.output.is_some(), &mut findings);
        let start = roster.start(&self.spec.start, &mut findings);
        let limits = limits(self.spec.limits.unwrap_or_default(), &mut findings);
        let human = human(self.spec.human.as_ref(), &mut findings);
        let retention = retention(self.spec.retention.unwrap_or_default(), &mut findings);
        let input = schema(self.spec.input.as_ref(), "input", &mut findings);
        let output = schema(self.spec.output.as_ref(), "output", &mut findings);
        let terminate_when = self.spec.terminate_when.clone();
        if let Some(expression) = &terminate_when {
            check_condition(expression, &TERMINATE_VARIABLES, &KeyPath::of(["spec", "terminateWhen"]), &mut findings);
        }
        let fallback = fallback(self.spec.fallback.as_ref(), &roster, &mut findings);
        let canonical = self.canonical().unwrap_or_else(|error| {
            findings.error(&KeyPath::default(), format!("the definition cannot be written as JSON: {error}"));
            Vec::new()
        });
        if canonical.len() > CANONICAL_BYTES_MAX {
            let message = format!("the definition has {} bytes with its files; {CANONICAL_BYTES_MAX} is the most", canonical.len());
            findings.error(&KeyPath::default(), message);
        }
        let Findings { errors, mut warnings } = findings;
        let (Some(name), Some(start), true) = (name, start, errors.is_empty()) else { return Err(errors) };
        agents::warn_unreachable(&start, &agents, &roster, &mut warnings);
        let revision = Revision::of(&canonical);
        let orchestration = Orchestration {
            name,
            revision,
            start,
            agents,
            models,
            limits,
            human,
            retention,
            prompt,
            input,
            output,
            terminate_when,
            fallback,
            manifest: self,
        };
        Ok(Checked { orchestration, warnings })
    }

    fn checked_name(&self, findings: &mut Findings) -> Option<OrchestrationName> {
        let name = &self.metadata.name;
        let parsed = name.parse::<OrchestrationName>();
        if let Err(invalid) = &parsed {
            let proposal = kebab(name);
            let hint = match proposal.parse::<OrchestrationName>() {
                Ok(_) => format!("; did you mean {proposal:?}?"),
                Err(_) => String::new(),
            };
            findings.error(&KeyPath::of(["metadata", "name"]), format!("{invalid}{hint}"));
        }
        parsed.ok()
    }
}

fn limits(spec: LimitsSpec, findings: &mut Findings) -> Limits {
    let default = Limits::default();
    let at = KeyPath::of(["spec", "limits"]);
    let mut count = |key, value: Option<u32>, default| positive(&at.key(key), value, default, findings);
    let handoffs_per_user_turn = count("handoffsPerUserTurn", spec.handoffs_per_user_turn, default.handoffs_per_user_turn);
    let model_calls_per_turn = count("modelCallsPerTurn", spec.model_calls_per_turn, default.model_calls_per_turn);
    let attempts = count("attempts", spec.attempts, default.attempts);
    let mut secs = |key, value, default| positive_secs(&at.key(key), value, default, findings);
    Limits {
        handoffs_per_user_turn,
        model_calls_per_turn,
        turn_secs: secs("turnTimeout", spec.turn_timeout, default.turn_secs),
        human_secs: secs("humanTimeout", spec.human_timeout, default.human_secs),
        conversation_secs: spec.conversation_timeout.map(|value| secs("conversationTimeout", Some(value), 1)),
        attempts,
    }
}

fn retention(spec: RetentionSpec, findings: &mut Findings) -> Retention {
    let at = KeyPath::of(["spec", "retention"]);
    let mut secs = |key, value, default| positive_secs(&at.key(key), value, default, findings);
    Retention {
        ended_secs: spec.ended.map(|value| secs("ended", Some(value), 1)),
        erased_secs: secs("erased", spec.erased, Retention::default().erased_secs),
    }
}

fn human(spec: Option<&HumanSpec>, findings: &mut Findings) -> Human {
    let spec = spec.cloned().unwrap_or_default();
    let at = KeyPath::of(["spec", "human", "autonomous"]);
    let autonomous = spec.autonomous.map(|spec| Autonomous {
        turns: positive(&at.key("turns"), spec.turns, AUTONOMOUS_TURNS, findings),
        prompt: given(spec.prompt.as_ref()).unwrap_or(AUTONOMOUS_PROMPT).to_owned(),
    });
    Human { on_message: spec.on_message.unwrap_or_default(), return_to_start: spec.return_to_start.unwrap_or_default(), autonomous }
}

fn schema(schema: Option<&Json>, key: &str, findings: &mut Findings) -> Option<Json> {
    let schema = schema?;
    let at = KeyPath::of(["spec", key]);
    if !matches!(schema, Json::Object(_)) {
        findings.error(&at, "a schema is a mapping, as in { type: object, properties: … }");
    }
    tools::check_references(schema, &at, findings);
    Some(schema.clone())
}

fn check_condition(expression: &str, known: &[&'static str], at: &KeyPath, findings: &mut Findings) {
    if let Err(problem) = Condition::parse(expression, known) {
        findings.error(at, problem.to_string());
    }
}

fn fallback(spec: Option<&FallbackSpec>, roster: &agents::Roster<'_>, findings: &mut Findings) -> Option<Fallback> {
    let at = KeyPath::of(["spec", "fallback"]);
    match spec? {
        FallbackSpec { human: Some(audience), agent: None } => Some(Fallback::Human(audience.clone())),
        FallbackSpec { human: None, agent: Some(agent) } => roster.resolve(agent, &at.key("agent"), findings).map(Fallback::Agent),
        FallbackSpec { .. } => {
            findings.error(&at, "exactly one of human and agent goes on; keep one");
            None
        }
    }
}

fn positive(at: &KeyPath, value: Option<u32>, default: u32, findings: &mut Findings) -> u32 {
    if value == Some(0) {
        findings.error(at, format!("must be at least 1; leave it out for the default, {default}"));
    }
    value.unwrap_or(default)
}

fn positive_secs(at: &KeyPath, value: Option<Seconds>, default: u64, findings: &mut Findings) -> u64 {
    if value == Some(Seconds(0)) {
        findings.error(at, "must be at least 1s; leave it out for the default");
    }
    value.map_or(default, |secs| secs.0)
}

/// A text that says something.
fn given(text: Option<&String>) -> Option<&str> {
    text.map(|text| text.trim()).filter(|text| !text.is_empty())
}

/// "there is no X; did you mean …?", the same everywhere.
fn nobody<'a>(what: &str, text: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    format!("there is no {what} {:?}{}", text.chars().take(80).collect::<String>(), hint(text, known))
}
