use journal::nats::Rule;

use super::*;
use crate::doctor::judge::Level;

struct Login {
    orchestration: OrchestrationName,
    agents: BTreeSet<AgentName>,
    edges: BTreeSet<(AgentName, AgentName)>,
    permissions: Permissions,
}

impl Login {
    /// Of an orchestration in which triage may hand over to refund, and nobody else to anybody.
    fn new(publish: &[&str], subscribe: &[&str]) -> Self {
        let rule = |allow: &[&str]| Rule { allow: allow.iter().map(ToString::to_string).collect(), deny: Vec::new() };
        let [triage, refund] = ["triage", "refund"].map(|name| name.parse::<AgentName>().unwrap());
        Self {
            orchestration: "support".parse().unwrap(),
            agents: [triage.clone(), refund.clone()].into(),
            edges: [(triage, refund)].into(),
            permissions: Permissions { publish: rule(publish), subscribe: rule(subscribe) },
        }
    }

    fn rights(&self) -> Rights<'_> {
        let Self { orchestration, agents, edges, permissions } = self;
        Rights { orchestration, agents, edges, permissions }
    }

    fn found(&self, role: Option<&str>) -> (Level, String) {
        let role = role.map(|role| role.parse().unwrap());
        let mut findings = self.rights().findings(role.as_ref());
        let Finding { level, check, found, .. } = findings.pop().unwrap();
        assert!(findings.is_empty());
        (level, format!("{check}: {found}"))
    }
}

const REFUND: [&str; 17] = [
    "baton.support.c.*.*.to.refund.*.refund",
    "baton.support.c.*.*.note.refund",
    "baton.support.c.*.*.ask.refund",
    "baton.support.c.*.*.end.refund",
    "$JS.API.CONSUMER.INFO.baton-support.agent-refund",
    "$JS.API.CONSUMER.MSG.NEXT.baton-support.agent-refund",
    "$JS.ACK.baton-support.agent-refund.>",
    "$JS.ACK.*.*.baton-support.agent-refund.>",
    "$JS.API.DIRECT.GET.baton-support",
    "$JS.API.STREAM.MSG.GET.*",
    "$JS.API.STREAM.INFO.baton-support",
    "$JS.API.STREAM.INFO.OBJ_baton-support",
    "$O.baton-support.C.>",
    "$O.baton-support.M.*",
    "baton.support.beat.refund.refund-1",
    "baton.support.live.refund.*",
    "baton.support.dead.refund",
];
const HEARD: [&str; 3] = ["_INBOX_refund-1.>", "baton.support.holds.refund", "baton.support.moved.refund.*"];

#[test]
fn a_login_with_what_its_role_needs_is_as_it_should_be() {
    let (level, found) = Login::new(&REFUND, &HEARD).found(None);
    assert_eq!(level, Level::Ok, "{found}");
    assert!(found.starts_with("rights of refund: "), "{found}");
}

#[test]
fn each_right_that_is_lacking_is_named() {
    // What tells whose login it is, and what only its process needs.
    let needless = ["baton.support.c.*.*.end.refund", "baton.support.beat.refund.refund-1"];
    for left_out in REFUND.iter().filter(|right| !needless.contains(right)) {
        let rest: Vec<&str> = REFUND.iter().copied().filter(|right| right != left_out).collect();
        let (level, found) = Login::new(&rest, &HEARD).found(None);
        assert_eq!(level, Level::Problem, "without {left_out}: {found}");
        let beginning = left_out.split(".*").next().unwrap().trim_end_matches(".>");
        assert!(found.contains(&format!("publish to {beginning}")), "without {left_out}: {found}");
    }
    let (level, found) = Login::new(&REFUND, &HEARD[..2]).found(None);
    assert_eq!((level, found.as_str()), (Level::Problem, "rights of refund: it may not listen at baton.support.moved.refund.*"));
}

#[test]
fn each_right_too_many_is_named() {
    for excess in [
        "baton.support.c.*.*.to.triage.*.refund",
        "$JS.API.CONSUMER.MSG.NEXT.baton-support.*",
        "$JS.API.CONSUMER.CREATE.baton-support.>",
        "$JS.API.STREAM.PURGE.>",
        "$JS.API.STREAM.DELETE.>",
    ] {
        let (level, found) = Login::new(&[REFUND.as_slice(), &[excess]].concat(), &HEARD).found(None);
        assert_eq!(level, Level::Warning, "with {excess}: {found}");
        assert!(found.contains("it may, and must not, publish to"), "{found}");
    }
    for excess in ["_INBOX.>", ">", "baton.support.>"] {
        let (level, found) = Login::new(&REFUND, &[HEARD.as_slice(), &[excess]].concat()).found(None);
        assert_eq!(level, Level::Warning, "with {excess}: {found}");
        assert!(found.contains("it may, and must not, listen at"), "{found}");
    }
}

#[test]
fn a_login_of_several_roles_and_one_of_another_role_are_told() {
    let both = [REFUND.as_slice(), &["baton.support.c.*.*.end.triage"]].concat();
    let (level, found) = Login::new(&both, &HEARD).found(None);
    assert_eq!((level, found.as_str()), (Level::Warning, "rights: it may write as refund, triage"));
    let (level, found) = Login::new(&REFUND, &HEARD).found(Some("triage"));
    assert_eq!(level, Level::Problem);
    assert!(found.starts_with("rights of triage: it may not publish to baton.support.c.c.1.to.refund.r.triage"), "{found}");
}

#[test]
fn whoever_may_write_nothing_may_look() {
    let (level, found) = Login::new(&["$JS.API.DIRECT.GET.baton-support"], &["_INBOX_x.>"]).found(None);
    assert_eq!(level, Level::Ok, "{found}");
}
