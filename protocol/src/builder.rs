//! An orchestration written in Rust: the same definition as the file form, checked in the same way.
//!
//! ```
//! use protocol::builder::AgentDef;
//! use protocol::manifest::ModelSpec;
//! use protocol::orchestration::Orchestration;
//!
//! let triage = AgentDef::new("TriageAgent").description("Triages issues.").instructions("Handle customer requests.");
//! let refund = AgentDef::new("RefundAgent").description("Handles refunds.").instructions("Refund.").tool("process_refund");
//! let checked = Orchestration::builder("support")
//!     .model("default", ModelSpec::openai("gpt-5-mini"))
//!     .agents([&triage, &refund])
//!     .start_with(&triage)
//!     .add_described(&triage, &refund, "Transfer to this agent if the issue is refund related")
//!     .add("RefundAgent", "TriageAgent")
//!     .build()
//!     .expect("a definition that makes sense");
//! assert_eq!(checked.orchestration.start().as_str(), "triage-agent");
//! assert!(checked.warnings.is_empty());
//! ```

mod specs;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;

use crate::event::{Audience, Json};
use crate::manifest::{
    AgentSpec, ApiVersion, AutonomousSpec, Checked, CodeToolSpec, DeskSpec, FallbackSpec, HandoffSpec, HumanSpec, KeyPath, Kind,
    LimitsSpec, Manifest, Metadata, ModelSpec, Problem, RemoteSpec, RetentionSpec, ScalingSpec, Spec, ToolsFrom, ToolsetSpec, kebab,
};
use crate::orchestration::{Orchestration, Prompt};

pub use specs::Invalid;

/// The toolset of the code tools that agents name.
const CODE_TOOLSET: &str = "code";

/// An agent's definition. It is not changed by being used, and may serve several orchestrations.
///
/// ```
/// use protocol::builder::AgentDef;
/// use protocol::manifest::{DeskSpec, ModelSpec, RemoteSpec};
/// use protocol::orchestration::{Orchestration, Player};
///
/// let returns = AgentDef::new("OrderReturnAgent")
///     .description("A customer support agent that handles order returns.")
///     .instructions("Handle order return requests.")
///     .tool("process_return");
/// // People, or a service of somebody else's, instead of a model.
/// let manager = AgentDef::new("manager").description("Decides hard cases.").desk(DeskSpec::default());
/// let pricing = AgentDef::new("pricing").description("Knows prices.").remote(RemoteSpec::at("https://pricing.example/turn"));
///
/// let shop = Orchestration::builder("shop")
///     .model("default", ModelSpec::openai("gpt-5-mini"))
///     .agents([&returns, &manager, &pricing])
///     .start_with(&returns)
///     .add(&returns, &manager)
///     .add(&returns, &pricing)
///     .build()?
///     .orchestration;
/// let players: Vec<&Player> = shop.agents().map(|agent| &agent.player).collect();
/// assert!(matches!(players[..], [Player::Desk { .. }, Player::Model(_), Player::Remote(_)]));
/// # Ok::<_, protocol::builder::Invalid>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct AgentDef {
    name: String,
    code_tools: Vec<String>,
    spec: AgentSpec,
}

impl AgentDef {
    /// An agent named `refund-agent`, or `RefundAgent`, which is mapped to the former and kept as the display name.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), code_tools: Vec::new(), spec: AgentSpec::default() }
    }

    /// Its name for people, where it differs.
    #[must_use]
    pub fn display_name(mut self, name: impl Into<String>) -> Self {
        self.spec.display_name = Some(name.into());
        self
    }

    /// What it is for, in one sentence: what the models of other agents read.
    #[must_use]
    pub fn description(mut self, text: impl Into<String>) -> Self {
        self.spec.description = Some(text.into());
        self
    }

    /// What its model is told.
    #[must_use]
    pub fn instructions(mut self, text: impl Into<String>) -> Self {
        self.spec.instructions = Some(text.into());
        self
    }

    /// The key of its model; `default` where none is named.
    #[must_use]
    pub fn model(mut self, key: impl Into<String>) -> Self {
        self.spec.model = Some(key.into());
        self
    }

    /// A code tool, by the name under which the worker registers the function.
    #[must_use]
    pub fn tool(mut self, name: impl Into<String>) -> Self {
        self.code_tools.push(name.into());
        self
    }

    /// Some tools of a toolset that is no code; all of them where none is named.
    #[must_use]
    pub fn tools_from<T: Into<String>>(mut self, toolset: impl Into<String>, names: impl IntoIterator<Item = T>) -> Self {
        let names = names.into_iter().map(Into::into).collect();
        self.spec.tools.push(ToolsFrom { from: toolset.into(), names });
        self
    }

    /// People play it instead of a model: its turn becomes a request at a desk.
    #[must_use]
    pub fn desk(mut self, desk: DeskSpec) -> Self {
        self.spec.desk = Some(desk);
        self
    }

    /// A service of somebody else's plays it instead of a model.
    #[must_use]
    pub fn remote(mut self, remote: RemoteSpec) -> Self {
        self.spec.remote = Some(remote);
        self
    }

    /// A type of the worker's own program plays it instead of a model, registered there under `name`.
    #[must_use]
    pub fn code(mut self, name: impl Into<String>) -> Self {
        self.spec.code = Some(name.into());
        self
    }

    /// How many worker processes a deployment gives it.
    #[must_use]
    pub fn scaling(mut self, scaling: ScalingSpec) -> Self {
        self.spec.worker.get_or_insert_default().scaling = Some(scaling);
        self
    }

    /// Turns that one worker process runs at once.
    #[must_use]
    pub fn concurrency(mut self, turns: u32) -> Self {
        self.spec.worker.get_or_insert_default().concurrency = Some(turns);
        self
    }
}

/// An agent may be given where its name is asked for.
impl From<&AgentDef> for String {
    fn from(agent: &AgentDef) -> Self {
        agent.name.clone()
    }
}

/// Whoever has checked a definition may use it.
impl From<Checked> for Orchestration {
    fn from(checked: Checked) -> Self {
        checked.orchestration
    }
}

/// An orchestration in the making. Everything that the file form can say can be said here.
///
/// ```
/// use protocol::builder::AgentDef;
/// use protocol::event::Audience;
/// use protocol::manifest::{AutonomousSpec, HandoffSpec, McpSpec, ModelSpec};
/// use protocol::orchestration::{Fallback, Orchestration, Prompt};
///
/// /// What a conversation ends with.
/// #[derive(schemars::JsonSchema)]
/// struct Ticket {
///     order: u32,
/// }
///
/// let triage = AgentDef::new("triage").description("Triages issues.").instructions("Triage.").tools_from("crm", ["find_customer"]);
/// let refund = AgentDef::new("refund").description("Handles refunds.").instructions("Refund.");
/// let support = Orchestration::builder("support")
///     .model("default", ModelSpec::openai("gpt-5-mini"))
///     .agents([&triage, &refund])
///     .start_with(&triage)
///     .add_handoff(&triage, HandoffSpec::to("refund").when("It is about money").only_if("metadata.tier == \"gold\""))
///     .toolset("crm", McpSpec { url: Some("https://crm.example/mcp".into()), names: vec!["find_customer".into()], ..McpSpec::default() })
///     .output_of::<Ticket>()
///     .terminate_when("text.contains(\"DONE\")")
///     .fallback_human(Audience::Desk("support".into()))
///     .autonomous(AutonomousSpec { turns: Some(5), prompt: None })
///     .prompt(Prompt::SharedPrefix)
///     .build()?
///     .orchestration;
/// assert_eq!(support.output().unwrap()["required"][0], "order");
/// assert_eq!(support.fallback(), Some(&Fallback::Human(Audience::Desk("support".into()))));
/// assert_eq!(support.prompt(), Prompt::SharedPrefix);
/// assert_eq!(support.human().autonomous.as_ref().unwrap().turns, 5);
/// # Ok::<_, protocol::builder::Invalid>(())
/// ```
#[derive(Clone, Debug)]
pub struct Builder {
    name: String,
    spec: Spec,
    code_tools: BTreeMap<String, CodeToolSpec>,
    edges: Vec<(String, HandoffSpec)>,
    problems: Vec<Problem>,
}

impl Orchestration {
    /// An orchestration to be built.
    pub fn builder(name: impl Into<String>) -> Builder {
        Builder { name: name.into(), spec: Spec::default(), code_tools: BTreeMap::new(), edges: Vec::new(), problems: Vec::new() }
    }
}

impl Builder {
    /// Adds an agent.
    #[must_use]
    pub fn agent(mut self, agent: &AgentDef) -> Self {
        let mut spec = agent.spec.clone();
        if !agent.code_tools.is_empty() {
            spec.tools.push(ToolsFrom { from: CODE_TOOLSET.to_owned(), names: agent.code_tools.clone() });
            for tool in &agent.code_tools {
                self.code_tools.entry(tool.clone()).or_default();
            }
        }
        if self.spec.agents.insert(agent.name.clone(), spec).is_some() {
            self.refuse(&agent.name, format!("there are two agents named {:?}; rename one", agent.name));
        }
        self
    }

    /// Adds several agents.
    #[must_use]
    pub fn agents<'a>(self, agents: impl IntoIterator<Item = &'a AgentDef>) -> Self {
        agents.into_iter().fold(self, Self::agent)
    }

    /// The agent that speaks first.
    #[must_use]
    pub fn start_with(mut self, agent: impl Into<String>) -> Self {
        self.spec.start = agent.into();
        self
    }

    /// Permits a handoff; its description is the target's.
    #[must_use]
    pub fn add(self, source: impl Into<String>, target: impl Into<String>) -> Self {
        self.add_handoff(source, HandoffSpec::to(target))
    }

    /// Permits a handoff and says when to use it.
    #[must_use]
    pub fn add_described(self, source: impl Into<String>, target: impl Into<String>, description: impl Into<String>) -> Self {
        self.add_handoff(source, HandoffSpec::to(target).when(description))
    }

    /// Permits several handoffs of one agent: targets, and when to use them.
    #[must_use]
    pub fn add_many<T: Into<String>, D: Into<String>>(self, source: impl Into<String>, targets: impl IntoIterator<Item = (T, D)>) -> Self {
        let source = source.into();
        targets.into_iter().fold(self, |builder, (target, when)| builder.add_described(&source, target, when))
    }

    /// Permits several agents to hand over to one: sources, and when to do it.
    #[must_use]
    pub fn add_many_to<S: Into<String>, D: Into<String>>(
        self,
        target: impl Into<String>,
        sources: impl IntoIterator<Item = (S, D)>,
    ) -> Self {
        let target = target.into();
        sources.into_iter().fold(self, |builder, (source, when)| builder.add_described(source, &target, when))
    }

    /// Permits a handoff with everything that can be said about it. The same edge twice: the last one stands.
    #[must_use]
    pub fn add_handoff(mut self, source: impl Into<String>, handoff: HandoffSpec) -> Self {
        self.edges.push((source.into(), handoff));
        self
    }

    /// Without any handoff: everyone may hand over to everyone else.
    #[must_use]
    pub fn mesh(mut self) -> Self {
        self.spec.mesh = Some(true);
        self
    }

    /// A model, by the key that agents use.
    #[must_use]
    pub fn model(mut self, key: impl Into<String>, model: ModelSpec) -> Self {
        self.spec.models.insert(key.into(), model);
        self
    }

    /// What is to be said about a code tool: its effect, who must approve it, …
    #[must_use]
    pub fn code_tool(mut self, name: impl Into<String>, tool: CodeToolSpec) -> Self {
        self.code_tools.insert(name.into(), tool);
        self
    }

    /// A toolset that is no code, by the name that agents use.
    #[must_use]
    pub fn toolset(mut self, name: impl Into<String>, toolset: impl Into<ToolsetSpec>) -> Self {
        self.spec.tools.insert(name.into(), toolset.into());
        self
    }

    /// The bounds of a conversation.
    #[must_use]
    pub fn limits(mut self, limits: LimitsSpec) -> Self {
        self.spec.limits = Some(limits);
        self
    }

    /// How long what is over is kept.
    #[must_use]
    pub fn retention(mut self, retention: RetentionSpec) -> Self {
        self.spec.retention = Some(retention);
        self
    }

    /// How people take part.
    #[must_use]
    pub fn human(mut self, human: HumanSpec) -> Self {
        self.spec.human = Some(human);
        self
    }

    /// Agents go on by themselves where they would ask the caller.
    #[must_use]
    pub fn autonomous(mut self, autonomous: AutonomousSpec) -> Self {
        self.spec.human.get_or_insert_default().autonomous = Some(autonomous);
        self
    }

    /// How the prompts of models are made.
    #[must_use]
    pub const fn prompt(mut self, prompt: Prompt) -> Self {
        self.spec.prompt = Some(prompt);
        self
    }

    /// JSON Schema of what a conversation begins with: then it begins with a value, not with a text.
    #[must_use]
    pub fn input(mut self, schema: Json) -> Self {
        self.spec.input = Some(schema);
        self
    }

    /// A conversation begins with a value of this type.
    #[must_use]
    pub fn input_of<T: JsonSchema>(self) -> Self {
        self.input(schema_of::<T>())
    }

    /// JSON Schema of what a conversation ends with.
    #[must_use]
    pub fn output(mut self, schema: Json) -> Self {
        self.spec.output = Some(schema);
        self
    }

    /// A conversation ends with a value of this type.
    #[must_use]
    pub fn output_of<T: JsonSchema>(self) -> Self {
        self.output(schema_of::<T>())
    }

    /// Ends a conversation well when an agent's answer without a transfer matches: a CEL expression over `text`, `agent`
    /// and `metadata`.
    #[must_use]
    pub fn terminate_when(mut self, condition: impl Into<String>) -> Self {
        self.spec.terminate_when = Some(condition.into());
        self
    }

    /// Another agent goes on where one cannot.
    #[must_use]
    pub fn fallback_agent(mut self, agent: impl Into<String>) -> Self {
        self.spec.fallback = Some(FallbackSpec { agent: Some(agent.into()), human: None });
        self
    }

    /// A person is asked what to do where an agent cannot go on.
    #[must_use]
    pub fn fallback_human(mut self, audience: Audience) -> Self {
        self.spec.fallback = Some(FallbackSpec { human: Some(audience), agent: None });
        self
    }

    /// The orchestration.
    ///
    /// # Errors
    /// Everything that is wrong with it; the paths are those of the file form.
    pub fn build(mut self) -> Result<Checked, Invalid> {
        if !self.code_tools.is_empty() {
            let toolset = self.spec.tools.entry(CODE_TOOLSET.to_owned()).or_default();
            toolset.code.get_or_insert_default().tools.append(&mut self.code_tools);
        }
        for (source, handoff) in std::mem::take(&mut self.edges) {
            let wanted = kebab(&source);
            match self.spec.agents.iter_mut().find(|(key, _)| **key == source || kebab(key) == wanted) {
                Some((_, agent)) => agent.handoffs.push(handoff),
                None => self.refuse(&source, format!("a handoff to {:?} begins at {source:?}, but there is no such agent", handoff.to)),
            }
        }
        let manifest =
            Manifest { api_version: ApiVersion::default(), kind: Kind::default(), metadata: Metadata { name: self.name }, spec: self.spec };
        match manifest.check() {
            Ok(checked) if self.problems.is_empty() => Ok(checked),
            Ok(_) => Err(Invalid(self.problems)),
            Err(found) => Err(Invalid(self.problems.into_iter().chain(found).collect())),
        }
    }

    fn refuse(&mut self, agent: &str, message: String) {
        self.problems.push(Problem { place: None, path: KeyPath::of(["spec", "agents"]).key(agent), message });
    }
}

/// The schema of a type, without references where it is not recursive.
fn schema_of<T: JsonSchema>() -> Json {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.meta_schema = None;
        settings.inline_subschemas = true;
    });
    settings.into_generator().into_root_schema_for::<T>().to_value()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Effect;
    use crate::ids::AgentName;
    use crate::manifest::{TemplateSpec, TemplateToolSpec};

    fn agent(name: &str) -> AgentDef {
        AgentDef::new(name).description(format!("Is {name}.")).instructions("Work.")
    }

    fn builder() -> Builder {
        Orchestration::builder("demo").model("default", ModelSpec::openai("m"))
    }

    fn edges(checked: &Checked, source: &str) -> Vec<(String, String)> {
        let source: AgentName = source.parse().unwrap();
        let handoffs = &checked.orchestration.agent(&source).unwrap().handoffs;
        handoffs.iter().map(|handoff| (handoff.to.to_string(), handoff.when.clone())).collect()
    }

    fn edge(to: &str, when: &str) -> (String, String) {
        (to.to_owned(), when.to_owned())
    }

    #[test]
    fn edges_keep_their_texts_whether_agents_are_given_or_named() {
        let (a, b) = (agent("A"), agent("b"));
        let checked = builder()
            .agents([&a, &b, &agent("c")])
            .start_with(&a)
            .add(&a, "b")
            .add_described("a", "c", "first")
            .add_described("A", "c", "last")
            .add_many(&b, [("a", "back"), ("c", "on")])
            .add_many_to(&a, [("c", "up")])
            .build()
            .unwrap();
        assert_eq!(edges(&checked, "a"), [edge("b", "Is b."), edge("c", "last")]);
        assert_eq!(edges(&checked, "b"), [edge("a", "back"), edge("c", "on")]);
        assert_eq!(edges(&checked, "c"), [edge("a", "up")]);
        assert_eq!(checked.warnings, []);
    }

    #[test]
    fn an_agent_serves_two_orchestrations_and_stays_what_it_is() {
        let (a, b) = (agent("a").tool("look"), agent("b"));
        let before = a.clone();
        let one = builder().agents([&a, &b]).start_with(&a).add(&a, &b).build().unwrap();
        let other = builder().agent(&a).start_with(&a).build().unwrap();
        assert_eq!(a, before);
        assert_eq!((edges(&one, "a").len(), edges(&other, "a").len()), (1, 0));
    }

    #[test]
    fn tools_are_named_and_may_be_declared() {
        let read_only = CodeToolSpec { effect: Some(Effect::ReadOnly), ..CodeToolSpec::default() };
        let texts = TemplateToolSpec { description: Some("Sees.".into()), reply: "Nothing.".into(), ..Default::default() };
        let texts = TemplateSpec { tools: [("see".to_owned(), texts)].into() };
        let checked = builder()
            .code_tool("look", read_only)
            .toolset("texts", ToolsetSpec { template: Some(texts), ..ToolsetSpec::default() })
            .agent(&agent("a").tool("look").tool("pay").tools_from("texts", ["see"]).concurrency(3))
            .start_with("a")
            .build()
            .unwrap();
        let agent = checked.orchestration.agents().next().unwrap();
        let tools: Vec<_> = agent.tools.iter().map(|tool| (tool.name.as_str(), tool.effect)).collect();
        assert_eq!(tools, [("see", Effect::ReadOnly), ("look", Effect::ReadOnly), ("pay", Effect::SideEffect)]);
        assert_eq!(agent.concurrency, 3);
    }

    #[test]
    fn a_mesh_needs_no_edges() {
        let checked = builder().agents([&agent("a"), &agent("b")]).start_with("a").mesh().build().unwrap();
        assert_eq!(edges(&checked, "b"), [edge("a", "Is a.")]);
    }

    #[test]
    fn everything_wrong_is_reported_at_once() {
        let problems = builder()
            .agents([&agent("a"), &agent("a"), &agent("b")])
            .start_with("c")
            .add("d", "a")
            .add("a", "a")
            .limits(LimitsSpec { attempts: Some(0), ..LimitsSpec::default() })
            .build()
            .unwrap_err();
        let shown: Vec<String> = problems.iter().map(ToString::to_string).collect();
        assert_eq!(
            shown,
            [
                "spec.agents.a: there are two agents named \"a\"; rename one",
                "spec.agents.d: a handoff to \"a\" begins at \"d\", but there is no such agent",
                "spec.agents.a.handoffs[0].to: \"a\" cannot hand over to itself; remove this handoff",
                "spec.start: there is no agent \"c\"; there is a, b",
                "spec.limits.attempts: must be at least 1; leave it out for the default, 5",
            ]
        );
    }

    #[test]
    fn the_builder_makes_what_the_file_form_makes() {
        let text = "\
apiVersion: baton/v1alpha1
kind: Orchestration
metadata: { name: demo }
spec:
  start: a
  models: { default: { provider: openai, name: m } }
  agents:
    a: { description: Is a., instructions: Work., handoffs: [ { to: b, when: now } ], tools: [ { from: code, names: [look] } ] }
    b: { description: Is b., instructions: Work. }
  tools: { code: { code: { tools: { look: {} } } } }
";
        let read = crate::manifest::parse(text, "demo.yaml", &mut |_| Err(String::new())).unwrap();
        let (a, b) = (agent("a").tool("look"), agent("b"));
        let built = builder().agents([&a, &b]).start_with("a").add_described("a", "b", "now").build().unwrap();
        assert_eq!(read.orchestration, built.orchestration);
    }
}
