//! Whether a login may do what its role needs, and nothing that it must not. Pure: judged from what the server says that the login
//! may do, so nothing is tried.

use std::collections::BTreeSet;
use std::fmt;

use journal::nats::Permissions;
use protocol::ids::{AgentName, OrchestrationName, Writer};
use protocol::query::verb;
use protocol::subject;

use super::judge::Finding;

/// Where what each role needs is written down.
const TEMPLATE: &str = "deploy/nats/permissions.conf";

/// Whose rights are judged against what.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rights<'a> {
    pub(crate) orchestration: &'a OrchestrationName,
    pub(crate) agents: &'a BTreeSet<AgentName>,
    /// From whom to whom a conversation may be handed.
    pub(crate) edges: &'a BTreeSet<(AgentName, AgentName)>,
    pub(crate) permissions: &'a Permissions,
}

/// One thing that a login may do or not.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Act {
    Publish(String),
    Subscribe(String),
}

impl fmt::Display for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Publish(subject) => write!(f, "publish to {subject}"),
            Self::Subscribe(subject) => write!(f, "listen at {subject}"),
        }
    }
}

impl Rights<'_> {
    /// What is to be said of a login that has to write as `role`, or as whoever it may write as.
    pub(crate) fn findings(&self, role: Option<&Writer>) -> Vec<Finding> {
        let roles = role.map_or_else(|| self.roles(), |role| vec![role.clone()]);
        match roles.as_slice() {
            [] => vec![self.of("one who only looks", &[], &self.forbidden(None))],
            [role] => vec![self.of(&role.to_string(), &self.needed(role), &self.forbidden(Some(role)))],
            several => {
                let names: Vec<String> = several.iter().map(ToString::to_string).collect();
                let to_do = format!("give each process a login of its own, as {TEMPLATE} does; `--role` says which one this should be");
                vec![Finding::warning("rights", format!("it may write as {}", names.join(", ")), to_do)]
            }
        }
    }

    fn of(&self, role: &str, needed: &[Act], forbidden: &[Act]) -> Finding {
        let check = format!("rights of {role}");
        let lacking: Vec<&Act> = needed.iter().filter(|act| !self.may(act)).collect();
        let excess: Vec<&Act> = forbidden.iter().filter(|act| self.may(act)).collect();
        match (lacking.as_slice(), excess.as_slice()) {
            ([], []) => {
                Finding::ok(check, format!("{} that it needs, and none of {} that it must not have", needed.len(), forbidden.len()))
            }
            ([], excess) => {
                Finding::warning(check, format!("it may, and must not, {}", listed(excess)), format!("take it away: {TEMPLATE}"))
            }
            (lacking, _) => {
                let to_do =
                    format!("permit it in the server's configuration, as {TEMPLATE} does: without it this role fails when it comes to it");
                Finding::problem(check, format!("it may not {}", listed(lacking)), to_do)
            }
        }
    }

    fn may(&self, act: &Act) -> bool {
        match act {
            Act::Publish(subject) => self.permissions.publish.permits(subject),
            Act::Subscribe(subject) => self.permissions.subscribe.permits(subject),
        }
    }

    fn writers(&self) -> impl Iterator<Item = Writer> {
        self.agents.iter().cloned().map(Writer::Agent).chain([Writer::Client, Writer::Gateway, Writer::Coordinator])
    }

    /// Those whose entries this login may write: nothing else tells roles apart.
    fn roles(&self) -> Vec<Writer> {
        self.writers().filter(|writer| self.may(&self.end(writer))).collect()
    }

    /// The one class of entry that every role writes.
    fn end(&self, from: &Writer) -> Act {
        self.entry("end", from)
    }

    fn entry(&self, class: &str, from: &Writer) -> Act {
        Act::Publish(format!("baton.{}.c.c.1.{class}.{from}", self.orchestration))
    }

    fn handoff(&self, to: &AgentName, from: &Writer) -> Act {
        self.entry(&format!("to.{to}.r"), from)
    }

    fn api(&self, request: &str) -> Act {
        Act::Publish(format!("$JS.API.{}", request.replace("<stream>", &subject::stream(self.orchestration))))
    }

    fn has_edge(&self, from: &Writer, to: &AgentName) -> bool {
        from.agent().is_none_or(|agent| agent == to || self.edges.contains(&(agent.clone(), to.clone())))
    }

    fn needed(&self, role: &Writer) -> Vec<Act> {
        let orchestration = self.orchestration;
        let said = |rest: &str| Act::Publish(format!("baton.{orchestration}.{rest}"));
        let heard = |rest: &str| Act::Subscribe(format!("baton.{orchestration}.{rest}"));
        let objects = |kind: &str| Act::Publish(format!("$O.{}.{kind}.x", subject::bucket(orchestration)));
        let mut acts: Vec<Act> = self.agents.iter().filter(|to| self.has_edge(role, to)).map(|to| self.handoff(to, role)).collect();
        let reading = ["DIRECT.GET.<stream>", "STREAM.MSG.GET.<stream>", "STREAM.INFO.<stream>", "STREAM.MSG.GET.KV_<stream>"];
        acts.extend(
            reading.into_iter().chain(["STREAM.INFO.OBJ_<stream>", "STREAM.MSG.GET.OBJ_<stream>"]).map(|request| self.api(request)),
        );
        acts.extend([objects("C"), objects("M"), self.end(role)]);
        let following = [
            self.api(&format!("CONSUMER.CREATE.<stream>.x.{}", subject::entries(orchestration))),
            self.api("CONSUMER.MSG.NEXT.<stream>.x"),
        ];
        match role {
            Writer::Agent(agent) => {
                acts.extend(["note", "ask"].map(|class| self.entry(class, role)));
                acts.extend(["INFO", "MSG.NEXT"].map(|verb| self.api(&format!("CONSUMER.{verb}.<stream>.{}", subject::consumer(agent)))));
                let settled = format!("{}.{}.1.1.1.1.0", subject::stream(orchestration), subject::consumer(agent));
                acts.extend([format!("$JS.ACK.{settled}"), format!("$JS.ACK.d.a.{settled}")].map(Act::Publish));
                acts.extend([said(&format!("live.{agent}.c")), said(&format!("dead.{agent}"))]);
                acts.extend([heard(&format!("holds.{agent}")), heard(&format!("moved.{agent}.*"))]);
            }
            Writer::Client | Writer::Gateway => {
                acts.extend(following);
                acts.extend([self.entry("in", role), said("moved.a.c"), said("coordinator.status"), heard("live.*.*")]);
            }
            Writer::Coordinator => {
                acts.extend(following);
                let streams = ["<stream>", "KV_<stream>", "OBJ_<stream>", "<stream>-dead", "<stream>-tick"];
                acts.extend(streams.iter().flat_map(|stream| ["CREATE", "INFO"].map(|verb| self.api(&format!("STREAM.{verb}.{stream}")))));
                acts.extend(streams.iter().take(3).map(|stream| self.api(&format!("STREAM.PURGE.{stream}"))));
                acts.extend(["CONSUMER.INFO.<stream>.x", "CONSUMER.DELETE.<stream>.x"].map(|request| self.api(request)));
                acts.extend([self.entry("note", role), said("tick"), Act::Publish(format!("$KV.{}.x", subject::bucket(orchestration)))]);
                acts.extend(["alive.p", "holds.a", "moved.a.c", "gateway.g"].map(said));
                acts.extend(["beat.*.*", "hello.*", "coordinator.*", "operator.*"].map(heard));
            }
        }
        acts
    }

    /// What undoes the isolation of roles, or the journal.
    fn forbidden(&self, role: Option<&Writer>) -> Vec<Act> {
        let mut acts: Vec<Act> =
            ["UPDATE", "DELETE", "MSG.DELETE", "RESTORE"].map(|verb| self.api(&format!("STREAM.{verb}.<stream>"))).into();
        acts.extend(["_INBOX.>", ">"].map(|subject| Act::Subscribe(subject.to_owned())));
        acts.push(Act::Subscribe(subject::entries(self.orchestration)));
        // What is an operator's alone: who writes entries does not erase them.
        acts.extend(role.map(|_| Act::Publish(subject::operator(self.orchestration, verb::ERASE))));
        for writer in self.writers().filter(|writer| Some(writer) != role) {
            acts.push(self.end(&writer));
        }
        if role != Some(&Writer::Coordinator) {
            acts.extend([self.api("STREAM.PURGE.<stream>"), self.api("STREAM.CREATE.<stream>")]);
        }
        for agent in self.agents {
            let (consumer, own) = (subject::consumer(agent), role.and_then(Writer::agent) == Some(agent));
            if !own {
                acts.push(self.api(&format!("CONSUMER.MSG.NEXT.<stream>.{consumer}")));
            }
            if role != Some(&Writer::Coordinator) {
                acts.push(self.api(&format!("CONSUMER.DELETE.<stream>.{consumer}")));
                acts.push(self.api(&format!("CONSUMER.CREATE.<stream>.{consumer}.{}", subject::work(self.orchestration, agent))));
            }
            acts.extend(role.filter(|role| !self.has_edge(role, agent)).map(|role| self.handoff(agent, role)));
        }
        acts
    }
}

fn listed(acts: &[&Act]) -> String {
    const SHOWN: usize = 4;
    let shown: Vec<String> = acts.iter().take(SHOWN).map(ToString::to_string).collect();
    let more = acts.len().saturating_sub(SHOWN);
    let more = if more > 0 { format!(", and {more} more") } else { String::new() };
    format!("{}{more}", shown.join(", "))
}

#[cfg(test)]
#[path = "rights_tests.rs"]
mod tests;
