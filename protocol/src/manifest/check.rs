//! Whether a manifest makes sense. Everything is looked at, so that everything is reported at once.

use super::names::{hint, kebab};
use super::problem::{Findings, KeyPath, Problem};
use super::seconds::Seconds;
use super::spec::{HumanSpec, LimitsSpec};
use super::{CANONICAL_BYTES_MAX, Checked, Manifest};
use crate::ids::{OrchestrationName, Revision};
use crate::orchestration::{Human, Limits, Orchestration};

mod agents;
mod models;
mod tools;
mod urls;

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
        let models = models::check(&self.spec.models, &roster, &toolsets, &agents, &mut findings);
        let start = roster.start(&self.spec.start, &mut findings);
        let limits = limits(self.spec.limits.unwrap_or_default(), &mut findings);
        let human = human(self.spec.human.unwrap_or_default());
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
        let orchestration = Orchestration { name, revision, start, agents, models, limits, human, manifest: self };
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

fn human(spec: HumanSpec) -> Human {
    Human { on_message: spec.on_message.unwrap_or_default(), return_to_start: spec.return_to_start.unwrap_or_default() }
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
