//! What `baton dev` does while its manifest changes: it says what is different, and sees that every agent that is needed has
//! workers. The coordinator, which reads the same file, registers it, and says what is wrong with one that it cannot use.

use std::collections::BTreeSet;
use std::pin::pin;
use std::time::Duration;

use client::Client;
use protocol::ids::AgentName;
use protocol::orchestration::Orchestration;
use tokio::time::interval;

use crate::dev::system::{System, cast};
use crate::manifest::Followed;
use crate::output;

/// Between two looks at which agents are needed.
const LOOK: Duration = Duration::from_secs(1);

/// Follows the manifest, for ever.
pub(crate) async fn follow(system: &mut System, mut followed: Followed, client: &Client) {
    let mut looks = interval(LOOK);
    loop {
        let changed = {
            let mut changed = pin!(followed.changed());
            loop {
                tokio::select! {
                    changed = &mut changed => break changed,
                    _ = looks.tick() => attend(system, client).await,
                }
            }
        };
        let Ok(checked) = changed else { continue };
        let differences = differences(system.orchestration(), &checked.orchestration);
        if differences.is_empty() {
            continue;
        }
        let (name, before, now) = (checked.orchestration.name(), system.orchestration().revision(), checked.orchestration.revision());
        output::note(&format!("\n{name}: {before} → {now}\n  {}\nRunning conversations go on as they began.\n", differences.join("\n  ")));
        if let Err(error) = cast(&checked.orchestration, &agent_worker::Functions::new()) {
            output::note(&format!("{error:#}"));
        }
        system.change(checked.orchestration);
    }
}

/// Starts workers of agents that are needed, and ends those of agents that have retired.
async fn attend(system: &mut System, client: &Client) {
    // Without a coordinator nobody retires, and the next look is soon.
    let Ok(registered) = client.revisions().await else { return };
    let in_use = registered.revisions.into_iter().filter(|shown| shown.is_current || shown.open > 0).flat_map(|shown| shown.agents);
    let mut needed: BTreeSet<AgentName> = in_use.collect();
    needed.extend(system.orchestration().agents().map(|agent| agent.name.clone()));
    for agent in needed.difference(&system.attended()) {
        output::note(&format!("starting a worker of {agent}"));
        system.attend(agent);
    }
    for agent in system.attended().difference(&needed) {
        if matches!(client.broker().consumer_state(system.orchestration().name(), agent).await, Ok(None)) {
            output::note(&format!("{agent} has retired: ending its worker"));
            system.dismiss(agent);
        }
    }
}

/// What is different, a line each; nothing where the definitions mean the same.
fn differences(before: &Orchestration, now: &Orchestration) -> Vec<String> {
    if before.revision() == now.revision() {
        return Vec::new();
    }
    let agents = |of: &Orchestration| -> BTreeSet<String> { of.agents().map(|agent| format!("agent {}", agent.name)).collect() };
    let edges = |of: &Orchestration| -> BTreeSet<String> {
        of.agents().flat_map(|agent| agent.handoffs.iter().map(|to| format!("{} → {}", agent.name, to.to))).collect()
    };
    let mut lines = Vec::new();
    for (before, now) in [(agents(before), agents(now)), (edges(before), edges(now))] {
        lines.extend(now.difference(&before).map(|came| format!("+ {came}")));
        lines.extend(before.difference(&now).map(|went| format!("- {went}")));
    }
    let is_other = |agent: &&protocol::orchestration::Agent| before.agent(&agent.name).is_some_and(|before| before != *agent);
    lines.extend(now.agents().filter(is_other).map(|agent| format!("~ agent {}", agent.name)));
    if lines.is_empty() {
        lines.push("~ models, tools or limits".to_owned());
    }
    lines
}

#[cfg(test)]
mod tests {
    use protocol::builder::AgentDef;
    use protocol::manifest::{LimitsSpec, ModelSpec};

    use super::*;

    fn orchestration(agents: &[(&str, &str)], edges: &[(usize, usize)], attempts: u32) -> Orchestration {
        let agents: Vec<_> = agents.iter().map(|(name, told)| AgentDef::new(*name).description("Is there.").instructions(*told)).collect();
        let limits = LimitsSpec { attempts: Some(attempts), ..LimitsSpec::default() };
        let builder = Orchestration::builder("desk").model("default", ModelSpec::openai("m")).limits(limits);
        let builder = builder.agents(&agents).start_with(&agents[0]);
        edges.iter().fold(builder, |builder, (from, to)| builder.add(&agents[*from], &agents[*to])).build().unwrap().orchestration
    }

    #[test]
    fn what_came_what_went_and_what_is_different_is_told() {
        let before = orchestration(&[("a", "A."), ("b", "B.")], &[(0, 1), (1, 0)], 5);
        let now = orchestration(&[("a", "Another."), ("b", "B."), ("c", "C.")], &[(0, 1), (0, 2)], 5);
        assert_eq!(differences(&before, &now), ["+ agent c", "+ a → c", "- b → a", "~ agent a", "~ agent b"]);
        assert_eq!(differences(&before, &before), Vec::<String>::new());
        let limited = orchestration(&[("a", "A."), ("b", "B.")], &[(0, 1), (1, 0)], 6);
        assert_eq!(differences(&before, &limited), ["~ models, tools or limits"]);
    }
}
