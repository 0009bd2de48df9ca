//! What is the matter when an agent should be working and nothing is heard of it. Pure.

use protocol::brief::Brief;
use protocol::orchestration::Orchestration;
use protocol::query::Status;

/// Says what keeps a conversation that is `working`, as far as the coordinator's `status` tells; none where it has none.
/// `flags` name the broker, for the command that would help.
pub(crate) fn matter(orchestration: &Orchestration, brief: &Brief, status: Option<&Status>, flags: &str) -> String {
    let (owner, name) = (&brief.owner, orchestration.display_name(&brief.owner));
    let Some(status) = status else {
        return format!(
            "nothing is heard of {name}, and no coordinator answers that could say why: see whether its worker and \
             `baton coordinator` run"
        );
    };
    if let Some(secs) = brief.wait_secs.filter(|secs| *secs > 0) {
        return format!("{name} has put its turn off, for {secs} s at first");
    }
    let workers: Vec<_> = status.workers.iter().filter(|worker| worker.agent == *owner).collect();
    let serving: Vec<_> = workers.iter().filter(|worker| !worker.is_draining).collect();
    let (held, slots) = (workers.iter().map(|worker| worker.held).sum::<usize>(), workers.iter().map(|worker| worker.slots).sum::<usize>());
    let start = format!("baton worker --orchestration {} --agent {owner}{flags}", orchestration.name());
    match (workers.as_slice(), serving.as_slice()) {
        ([], _) => format!("no worker serves {name}: start one with\n    {start}"),
        (_, []) => format!("the last worker of {name} is stopping: start another one with\n    {start}"),
        ([one], _) if held == 0 => format!("{} serves {name} and holds no turn now: this one is about to be handed to it", one.process),
        ([one], _) if held < slots => format!("{} (pid {}) is at it: its model or a tool takes its time", one.process, one.pid),
        _ if held >= slots => {
            format!("all workers of {name} are busy ({held} of {slots} turns): this one may have to wait; more workers help")
        }
        _ => format!("{} workers serve {name} and hold {held} turns: its model or a tool takes its time", workers.len()),
    }
}

#[cfg(test)]
mod tests {
    use protocol::brief::Phase;
    use protocol::builder::AgentDef;
    use protocol::manifest::ModelSpec;
    use protocol::presence::Heartbeat;
    use serde_json::json;

    use super::*;

    fn worker(process: &str, agent: &str, (held, slots): (usize, usize)) -> Heartbeat {
        Heartbeat {
            process: process.parse().unwrap(),
            pid: 7,
            agent: agent.parse().unwrap(),
            held,
            slots,
            is_draining: false,
            server: None,
        }
    }

    fn said(workers: Vec<Heartbeat>, change: impl FnOnce(&mut Brief)) -> String {
        let refund = AgentDef::new("RefundAgent").instructions("Pay.");
        let builder = Orchestration::builder("support").model("default", ModelSpec::openai("m")).agent(&refund).start_with("RefundAgent");
        let orchestration = builder.build().unwrap().orchestration;
        let owner = orchestration.start().clone();
        let brief = json!({ "owner": owner, "phase": Phase::Working, "turn": 0, "user_turns": 1 });
        let mut brief: Brief = serde_json::from_value(brief).unwrap();
        change(&mut brief);
        let process = "c-1".parse().unwrap();
        let status = Status { process, is_leader: true, seq: 1, open: 1, now_ms: 1, workers };
        matter(&orchestration, &brief, Some(&status), " --nats nats://there")
    }

    #[test]
    fn what_is_said_is_what_helps() {
        let agent = {
            let refund = AgentDef::new("RefundAgent").instructions("Pay.");
            let builder =
                Orchestration::builder("support").model("default", ModelSpec::openai("m")).agent(&refund).start_with("RefundAgent");
            builder.build().unwrap().orchestration.start().to_string()
        };
        let nobody = said(vec![worker("t-1", "somebody-else", (1, 4))], |_| {});
        assert_eq!(
            nobody,
            format!(
                "no worker serves RefundAgent: start one with\n    baton worker --orchestration support --agent {agent} --nats nats://there"
            )
        );
        let mut draining = worker("r-1", &agent, (1, 4));
        draining.is_draining = true;
        assert!(said(vec![draining], |_| {}).starts_with("the last worker of RefundAgent is stopping"));
        assert_eq!(said(vec![worker("r-1", &agent, (1, 4))], |_| {}), "r-1 (pid 7) is at it: its model or a tool takes its time");
        assert!(said(vec![worker("r-1", &agent, (0, 4))], |_| {}).ends_with("is about to be handed to it"));
        let busy = vec![worker("r-1", &agent, (4, 4)), worker("r-2", &agent, (2, 2))];
        assert!(said(busy, |_| {}).starts_with("all workers of RefundAgent are busy (6 of 6 turns)"));
        let two = vec![worker("r-1", &agent, (1, 4)), worker("r-2", &agent, (2, 4))];
        assert_eq!(said(two, |_| {}), "2 workers serve RefundAgent and hold 3 turns: its model or a tool takes its time");
        assert_eq!(said(Vec::new(), |brief| brief.wait_secs = Some(30)), "RefundAgent has put its turn off, for 30 s at first");
    }
}
