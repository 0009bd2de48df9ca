//! What a deployment's facts mean, and what to do about them. Pure: facts in, findings out.

use journal::nats::{Backlog, Found, Inspected, There};
use protocol::ids::{AgentName, Writer};
use protocol::presence::Heartbeat;
use serde::Serialize;

use super::facts::{Agent, Facts, Seen, Waiting};
use super::rights::Rights;

/// A difference between clocks that is worth a word. Nothing is decided by a process's own clock: only logs and traces suffer.
const CLOCK_MILLIS_MAX: u64 = 2_000;

/// Work that has waited so long for a worker, although there is one, is worth a word.
const BACKLOG_MILLIS_MAX: u64 = 30_000;

/// A deadline that passed so long ago should have been acted on.
const OVERDUE_MILLIS_MAX: u64 = 10_000;

/// A coordinator renews its lease in the bucket more than once in a second: if nothing was stored there for so long, nothing can be.
const SILENCE_MILLIS_MAX: u64 = 10_000;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Level {
    /// As it should be.
    Ok,
    /// Worth a word; it works.
    Warning,
    /// Something does not work, or will not.
    Problem,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Finding {
    /// How bad it is.
    pub(crate) level: Level,
    /// What was looked at.
    pub(crate) check: String,
    /// What was found.
    pub(crate) found: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) to_do: Option<String>,
}

impl Finding {
    pub(crate) fn ok(check: impl Into<String>, found: impl Into<String>) -> Self {
        Self { level: Level::Ok, check: check.into(), found: found.into(), to_do: None }
    }

    pub(crate) fn warning(check: impl Into<String>, found: impl Into<String>, to_do: impl Into<String>) -> Self {
        Self { level: Level::Warning, check: check.into(), found: found.into(), to_do: Some(to_do.into()) }
    }

    pub(crate) fn problem(check: impl Into<String>, found: impl Into<String>, to_do: impl Into<String>) -> Self {
        Self { level: Level::Problem, check: check.into(), found: found.into(), to_do: Some(to_do.into()) }
    }
}

/// Everything there is to say, in the order in which to look at it: what a later thing needs comes first.
pub(crate) fn judge(facts: &Facts) -> Vec<Finding> {
    let mut findings = vec![server(facts), user(facts)];
    findings.extend(rights(facts));
    findings.extend(durability(facts));
    findings.extend(clock(facts));
    findings.extend(facts.things.iter().map(|thing| stored(facts, thing)));
    findings.extend(limits(facts));
    findings.push(registry(facts));
    findings.push(coordinators(facts));
    findings.extend(writes(facts));
    for (name, agent) in &facts.agents {
        findings.push(workers(facts, name, agent));
        findings.extend(slots(facts, name, agent));
        findings.push(backlog(facts, name, agent));
    }
    findings.push(gateways(facts));
    findings.push(people(facts));
    findings.extend(dead_letters(facts));
    findings
}

fn server(facts: &Facts) -> Finding {
    let server = &facts.server;
    let cluster = server.cluster.as_ref().map_or_else(|| "no cluster".to_owned(), |cluster| format!("cluster {cluster}"));
    let found =
        format!("nats-server {} ({}, {cluster}), messages of up to {} bytes", server.version, server.name, server.message_bytes_max);
    if server.has_jetstream {
        return Finding::ok("broker", found);
    }
    let to_do = "start it with `-js`, or with a `jetstream {}` block in its configuration";
    Finding::problem("broker", format!("{found}, without JetStream"), to_do)
}

fn user(facts: &Facts) -> Finding {
    match &facts.user {
        None => Finding::warning("login", "the server does not say what this login may do", "allow it to publish to $SYS.REQ.USER.INFO"),
        Some(user) => {
            let name = if user.name.is_empty() { "nobody in particular" } else { &user.name };
            let is_restricted = user.permissions.is_some();
            let rights = if is_restricted { "with restricted permissions: what it may not see is said below" } else { "unrestricted" };
            Finding::ok("login", format!("as {name} of account {}, {rights}", user.account))
        }
    }
}

fn rights(facts: &Facts) -> Vec<Finding> {
    let (orchestration, agents) = (&facts.orchestration, facts.agents.keys().cloned().collect());
    match facts.user.as_ref().map(|user| &user.permissions) {
        Some(Some(permissions)) => {
            Rights { orchestration, agents: &agents, edges: &facts.edges, permissions }.findings(facts.role.as_ref())
        }
        Some(None) => facts.role.iter().map(unguarded).collect(),
        // That this cannot be seen is said of the login already.
        None => Vec::new(),
    }
}

fn unguarded(role: &Writer) -> Finding {
    let to_do = "give the server permissions, as deploy/nats/permissions.conf does: whoever has this login can read and write everything";
    Finding::warning(format!("rights of {role}"), "it may do everything", to_do)
}

fn durability(facts: &Facts) -> Vec<Finding> {
    if facts.doubts.is_empty() {
        return vec![Finding::ok("durability", "durable: what is acknowledged survives a power failure")];
    }
    let doubt = |doubt: &String| {
        let (found, to_do) = doubt.split_once(". ").unwrap_or((doubt, "see docs/operations.md"));
        Finding::warning("durability", found, to_do)
    };
    facts.doubts.iter().map(doubt).collect()
}

fn there(thing: &Inspected) -> Option<&There> {
    match &thing.found {
        Found::There(there) => Some(there),
        Found::Missing | Found::Hidden(_) => None,
    }
}

fn journal(facts: &Facts) -> Option<&There> {
    facts.things.first().and_then(there)
}

fn broker_ms(facts: &Facts) -> Option<u64> {
    journal(facts)?.time_ms
}

fn clock(facts: &Facts) -> Option<Finding> {
    let difference = broker_ms(facts)?.abs_diff(facts.own_ms);
    let found = format!("{} from the broker's", duration(difference));
    Some(if difference <= CLOCK_MILLIS_MAX {
        Finding::ok("clock", found)
    } else {
        let to_do =
            "synchronise this machine's clock, or the broker's: deadlines go by the broker's alone, but logs and traces do not agree";
        Finding::warning("clock", found, to_do)
    })
}

fn stored(facts: &Facts, thing: &Inspected) -> Finding {
    let check = thing.what.clone();
    let found = match &thing.found {
        Found::Missing => {
            let to_do = format!("run `baton coordinator` with the manifest of {}: it creates what is missing", facts.orchestration);
            return Finding::problem(check, "does not exist", to_do);
        }
        Found::Hidden(why) => return Finding::warning(check, why, "look at it with another login, or when the broker answers again"),
        Found::There(found) => found,
    };
    if !found.differences.is_empty() {
        let differs = found.differences.iter().map(|it| format!("its {} is {} and must be {}", it.setting, it.found, it.expected));
        let to_do = "change it back with the nats command (`nats stream edit`, `nats consumer edit`); a consumer may also be deleted: the \
            coordinator makes it again, and what is open is delivered again";
        return Finding::problem(check, differs.collect::<Vec<_>>().join("; "), to_do);
    }
    if !found.behind.is_empty() {
        let to_do = "start these servers, or look at their logs: until they have caught up, another loss can stop everything";
        return Finding::warning(check, format!("its copies on {} are behind or gone", found.behind.join(", ")), to_do);
    }
    let leader = found.leader.as_ref().filter(|_| facts.server.cluster.is_some());
    match (leader, facts.server.cluster.is_some()) {
        (None, true) => Finding::problem(check, "has no leader", "see to it that most of the cluster's servers run and reach one another"),
        (leader, _) => {
            let led = leader.map(|leader| format!(", led by {leader}")).unwrap_or_default();
            let copies = if found.replicas > 1 { format!(", {} copies", found.replicas) } else { String::new() };
            Finding::ok(check, format!("as it must be{copies}{led}"))
        }
    }
}

/// A journal without a limit fills the disk, and then everything else of the account stands still with it.
fn limits(facts: &Facts) -> Option<Finding> {
    let journal = journal(facts)?;
    journal.bytes_max.is_none().then(|| {
        let to_do = format!("`nats stream edit baton-{} --max-bytes …`: the rest of the account is then safe from it", facts.orchestration);
        Finding::warning("journal's size", "only the account or the disk limits it", to_do)
    })
}

fn registry(facts: &Facts) -> Finding {
    match &facts.revision {
        Ok(revision) => Finding::ok("registry", format!("current revision {revision}, {} agents", facts.agents.len())),
        Err(why) => Finding::problem("registry", why, "register the orchestration: `baton coordinator --manifest <file>`"),
    }
}

fn coordinators(facts: &Facts) -> Finding {
    const CHECK: &str = "coordinators";
    let start = "start one: `baton coordinator --manifest <file>`. Handoffs go on without it; deadlines, sweeps and queries do not";
    match (&facts.coordinators, &facts.leader) {
        (Err(why), _) => Finding::warning(CHECK, why, "look with a login that may publish to $SRV.PING.coordinator"),
        (Ok(all), _) if all.is_empty() => Finding::problem(CHECK, "none answers", start),
        (Ok(all), Ok(Some(leader))) if all.contains(leader) => Finding::ok(CHECK, format!("{} answering, {leader} leads", all.len())),
        (Ok(all), Ok(_)) => {
            let to_do = "look again in a few seconds: another one leads once the lease of the last has run out";
            Finding::warning(CHECK, format!("{} answering, and none of them leads", all.len()), to_do)
        }
        (Ok(all), Err(why)) => {
            Finding::warning(CHECK, format!("{} answering; who leads cannot be seen: {why}", all.len()), "look with another login")
        }
    }
}

/// Whether the broker stores anything, as far as can be told without writing: somebody is there who does all the time.
fn writes(facts: &Facts) -> Option<Finding> {
    const CHECK: &str = "writes";
    facts.coordinators.as_ref().ok().filter(|all| !all.is_empty())?;
    let bucket = facts.things.iter().find(|thing| thing.what.starts_with("bucket "))?;
    let There { stored_ms, time_ms, .. } = there(bucket)?;
    let silent_ms = (*time_ms)?.saturating_sub((*stored_ms)?);
    if silent_ms < SILENCE_MILLIS_MAX {
        return Some(Finding::ok(CHECK, "what coordinators write is stored"));
    }
    let found = format!("nothing was stored in {} for {}, though coordinators write there every second", bucket.what, duration(silent_ms));
    let to_do = "is the broker's disk full? Its log and its monitor's /healthz say so. Make space, then restart that nats-server: streams \
                 whose writes have failed stay out of service until then. Nothing that was acknowledged is lost";
    Some(Finding::problem(CHECK, found, to_do))
}

fn workers(facts: &Facts, name: &AgentName, agent: &Agent) -> Finding {
    let check = format!("workers of {name}");
    let start = format!("start one: `baton worker --orchestration {} --agent {name}`", facts.orchestration);
    let (draining, serving): (Vec<&Heartbeat>, Vec<_>) = agent.workers.iter().partition(|worker| worker.is_draining);
    match (serving.len(), draining.len()) {
        (0, 0) => Finding::problem(check, "none is alive", start),
        (0, stopping) => Finding::problem(check, format!("all {stopping} are stopping"), start),
        (alive, _) => {
            let count = |of: fn(&Heartbeat) -> usize| serving.iter().map(|worker| of(worker)).sum::<usize>();
            let (held, slots) = (count(|worker| worker.held), count(|worker| worker.slots));
            Finding::ok(check, format!("{alive} alive, {held} of {slots} slots taken"))
        }
    }
}

/// A consumer that gives out less than its workers can take leaves them idle.
fn slots(facts: &Facts, name: &AgentName, agent: &Agent) -> Option<Finding> {
    let slots = agent.workers.iter().map(|worker| worker.slots as u64).sum::<u64>();
    let consumer = facts.things.iter().find(|thing| thing.what.starts_with(&format!("consumer agent-{name} ")))?;
    let most = there(consumer)?.ack_pending_max?;
    (most < slots).then(|| {
        let to_do = format!("raise its max_ack_pending to at least {}", slots.saturating_mul(10));
        Finding::problem(format!("slots of {name}"), format!("{slots} slots, and the consumer gives out {most} items at once"), to_do)
    })
}

fn backlog(facts: &Facts, name: &AgentName, agent: &Agent) -> Finding {
    let check = format!("backlog of {name}");
    let Backlog { pending, in_flight, oldest_ms } = match &agent.backlog {
        Ok(Some(backlog)) => *backlog,
        Ok(None) => return Finding::problem(check, "there is no consumer to have one", "start the coordinator: it creates it"),
        Err(why) => return Finding::warning(check, why, "look at it with another login, or when the broker answers again"),
    };
    let waits_ms = oldest_ms.zip(broker_ms(facts)).map(|(oldest, now)| now.saturating_sub(oldest));
    let oldest = waits_ms.map(|ms| format!(", the oldest for {}", duration(ms))).unwrap_or_default();
    let found = format!("{pending} undelivered{oldest}; {in_flight} in flight");
    let is_stuck = pending > 0 && (agent.workers.is_empty() || waits_ms.is_some_and(|ms| ms > BACKLOG_MILLIS_MAX));
    if is_stuck {
        Finding::warning(check, found, "start more workers of this agent, or give them more slots")
    } else {
        Finding::ok(check, found)
    }
}

fn gateways(facts: &Facts) -> Finding {
    match &facts.gateways {
        Err(why) => Finding::warning("gateways", why, "look with a login that may publish to $SRV.PING.gateway"),
        Ok(all) if all.is_empty() => {
            let to_do = format!("start one, if people are to reach it over HTTP: `baton gateway --orchestration {}`", facts.orchestration);
            Finding::warning("gateways", "none answers", to_do)
        }
        Ok(all) => Finding::ok("gateways", format!("{} answering", all.len())),
    }
}

fn people(facts: &Facts) -> Finding {
    let Waiting { shown, total, now_ms } = match &facts.waiting {
        Ok(waiting) => waiting,
        Err(why) => return Finding::warning("people", why, "the coordinator knows who waits: see to it first"),
    };
    let is_overdue = |due_ms: &u64| due_ms.saturating_add(OVERDUE_MILLIS_MAX) < *now_ms;
    let overdue = shown.iter().filter(|shown| shown.due.iter().any(|(_, due_ms)| is_overdue(due_ms)));
    let overdue: Vec<&str> = overdue.map(|shown| shown.conversation.as_str()).collect();
    let looked_at = if shown.len() < *total { format!(", of which the {} newest were looked at", shown.len()) } else { String::new() };
    let found = format!("{total} conversations wait for somebody{looked_at}");
    match overdue.as_slice() {
        [] => Finding::ok("people", found),
        [first, ..] => {
            let found = format!("{found}, {} of them past their deadline, {first} among them", overdue.len());
            Finding::problem("people", found, "their coordinator should have ended them: look at its log, and restart it")
        }
    }
}

fn dead_letters(facts: &Facts) -> Vec<Finding> {
    const CHECK: &str = "dead letters";
    let letters = match &facts.dead_letters {
        Ok(letters) if letters.is_empty() => return vec![Finding::ok(CHECK, "none")],
        Ok(letters) => letters,
        Err(why) => return vec![Finding::warning(CHECK, why, "look at them with another login")],
    };
    let finding = |letter: &journal::nats::DeadLetters| {
        let found = format!("{} of {}; the newest is {}: {}", letter.count, letter.agent, letter.newest, letter.reason);
        let to_do = format!(
            "look at the conversation (`baton show`); once it is dealt with: `nats stream purge baton-{}-dead --subject baton.{}.dead.{}`",
            facts.orchestration, facts.orchestration, letter.agent
        );
        Finding::problem(CHECK, found, to_do)
    };
    letters.iter().map(finding).collect()
}

fn duration(ms: u64) -> String {
    match ms / 1000 {
        0 => format!("{ms} ms"),
        secs @ 1..=119 => format!("{secs} s"),
        secs @ 120..=7199 => format!("{} min", secs / 60),
        secs => format!("{} h", secs / 3600),
    }
}

/// Seen, or why not, in words.
pub(crate) fn seen<T, E: std::fmt::Display>(result: Result<T, E>) -> Seen<T> {
    result.map_err(|error| error.to_string())
}

#[cfg(test)]
#[path = "judge_tests.rs"]
mod tests;
