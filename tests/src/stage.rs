//! The stage of the semantics' tests: an orchestration with real workers on a real broker, whose models and tools are the
//! test itself. Every request to a model or a tool is expected by name and in order, with everything it shows; one that
//! nobody expects fails the test, wherever the test is.
//!
//! All tests of a program share one nats-server, and each has an orchestration of its own on it.
#![allow(clippy::expect_used, clippy::panic, reason = "used by tests only: a panic is how a test says that it cannot go on")]

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Weak};

use axum::http::StatusCode;
use client::{Accepted, Client, Decision, Opening, Outcome, Question, Recorded, Reply, ReplyError};
use futures::StreamExt;
use futures::stream::BoxStream;
use journal::nats::Settings;
use protocol::builder::{AgentDef, Builder};
use protocol::event::{Audience, Call, Effect, Event, RequestKind, Verdict};
use protocol::ids::ConversationId;
use protocol::manifest::{HttpSpec, HttpToolSpec, Method, ModelSpec, Provider, ToolsetSpec};
use protocol::orchestration::{COMPLETE_TASK, Orchestration, TRANSFER_PREFIX};
use serde_json::{Value as Json, json};
use tokio::time::timeout;

use crate::in_process::{self, Programs};
use crate::nats::{self, Server};
use crate::processes::PATIENCE;
use crate::service::{Request, Service, Stream};

/// The tools that every agent of [`Set::agent`] has: what is read, what is done, and what a person must approve.
pub const TOOLS: [&str; 3] = ["look", "pay", "wire"];
const TOOLSET: &str = "shop";

/// What definitions are made of before the stage stands.
#[derive(Debug)]
pub struct Set {
    name: String,
    url: String,
}

impl Set {
    /// An agent whose model and tools the test plays.
    pub fn agent(&self, name: &str) -> AgentDef {
        let agent = AgentDef::new(name).description(format!("Is {name}.")).instructions(format!("You are {name}."));
        agent.model(model_key(name)).tools_from(TOOLSET, TOOLS)
    }

    /// An orchestration of these agents; the first one starts.
    pub fn of<'a>(&self, agents: impl IntoIterator<Item = &'a AgentDef>) -> Builder {
        let mut builder = Orchestration::builder(&self.name).toolset(TOOLSET, self.tools());
        let mut start = None;
        for agent in agents {
            let key = model_key(&String::from(agent));
            start.get_or_insert_with(|| String::from(agent));
            builder = builder.model(&key, self.model(&key)).agent(agent);
        }
        builder.start_with(start.expect("somebody to start with"))
    }

    /// An orchestration of agents with these names, and nothing special about them.
    pub fn named(&self, agents: &[&str]) -> Builder {
        let agents: Vec<AgentDef> = agents.iter().map(|name| self.agent(name)).collect();
        self.of(&agents)
    }

    fn model(&self, key: &str) -> ModelSpec {
        let base_url = Some(format!("{}/{key}/v1", self.url));
        ModelSpec { provider: Provider::Compatible, base_url, retries: Some(0), ..ModelSpec::openai(key) }
    }

    fn tools(&self) -> ToolsetSpec {
        let tool = |name: &str, effect, approval| {
            let parameters = json!({ "type": "object", "properties": { "order": { "type": "integer" } } });
            let tool = HttpToolSpec {
                method: Method::Post,
                path: Some(format!("/{name}")),
                description: Some(format!("Does {name}.")),
                parameters: Some(parameters),
                effect: Some(effect),
                approval,
                ..HttpToolSpec::default()
            };
            (name.to_owned(), tool)
        };
        let [look, pay, wire] = TOOLS;
        let tools = [
            tool(look, Effect::ReadOnly, None),
            tool(pay, Effect::SideEffect, None),
            tool(wire, Effect::SideEffect, Some(Audience::Caller)),
        ];
        let http = HttpSpec { base_url: Some(format!("{}/tools", self.url)), tools: tools.into(), ..HttpSpec::default() };
        ToolsetSpec { http: Some(http), ..ToolsetSpec::default() }
    }
}

/// The name under which an agent's model is asked: that of the agent, as the system maps it.
fn model_key(agent: &str) -> String {
    protocol::manifest::kebab(agent)
}

/// An orchestration that runs, and whoever plays its models.
#[derive(Debug)]
pub struct Stage {
    server: Arc<Server>,
    service: Service,
    orchestration: Orchestration,
    programs: Option<Programs>,
    client: Client,
    starts: u32,
}

impl Stage {
    /// What `define` makes of the set, with a coordinator and a worker of every agent.
    pub async fn of(define: impl FnOnce(&Set) -> Builder) -> Self {
        Self::on(server().await, define).await
    }

    /// The same beside another stage, on the same broker.
    pub async fn beside(&self, define: impl FnOnce(&Set) -> Builder) -> Self {
        Self::on(self.server.clone(), define).await
    }

    async fn on(server: Arc<Server>, define: impl FnOnce(&Set) -> Builder) -> Self {
        static STAGES: AtomicU32 = AtomicU32::new(0);
        let name = format!("stage-{}", STAGES.fetch_add(1, Ordering::Relaxed));
        let service = Service::start().await;
        let set = Set { name, url: service.url().to_owned() };
        let orchestration = define(&set).build().unwrap_or_else(|problems| panic!("{problems}")).orchestration;
        let caller = Settings::new(server.url(), "caller-1".parse().expect("a process's name"));
        let client = in_process::client(&caller, orchestration.name()).await;
        let mut stage = Self { server, service, orchestration, programs: None, client, starts: 0 };
        stage.start().await;
        stage
    }

    async fn start(&mut self) {
        self.starts += 1;
        let settings = |name: &str| Settings::new(self.server.url(), format!("{name}-{}", self.starts).parse().expect("a process's name"));
        let mut programs = Programs::of(self.orchestration.clone());
        programs.coordinator(&settings("coordinator"), 1).await;
        for agent in self.orchestration.agents() {
            programs.worker(&settings(agent.name.as_str()), agent.name.as_str()).await;
        }
        self.programs = Some(programs);
    }

    /// Ends all programs, and starts others: they have nothing but the journal.
    pub async fn restart(&mut self) {
        self.programs.take().expect("programs that run").stop().await;
        self.start().await;
    }

    /// A caller's access.
    pub const fn client(&self) -> &Client {
        &self.client
    }

    /// Somebody begins a conversation, and answers questions.
    pub async fn begin(&self, text: &str) -> Talk {
        self.open(&Opening::new("tests", text).with_human()).await
    }

    /// Somebody begins one in which nobody answers.
    pub async fn begin_alone(&self, text: &str) -> Talk {
        self.open(&Opening::new("tests", text)).await
    }

    /// Somebody begins one in a way of their own.
    pub async fn open(&self, opening: &Opening) -> Talk {
        let started = self.client.start(opening).await.expect("a conversation that begins");
        Talk::follow(self.client.clone(), started.conversation).await
    }

    /// The next request, which must be to the model of `agent`.
    pub async fn asked(&mut self, agent: &str) -> Asked {
        let request = self.service.next().await;
        assert_eq!(request.path, format!("/{agent}/v1/chat/completions"), "{:#}", request.body);
        Asked(request)
    }

    /// One turn of a play: the model of `agent` is asked next, is shown exactly this, and answers.
    pub async fn turn(&mut self, agent: &str, prompt: &str, answer: Answer) {
        let asked = self.asked(agent).await;
        asked.sees(prompt);
        asked.answer(answer);
    }

    /// The next request, which must be a call of `tool`.
    pub async fn called(&mut self, tool: &str) -> Request {
        let request = self.service.next().await;
        assert_eq!(request.path, format!("/tools/{tool}"), "{:#}", request.body);
        request
    }

    /// A tool is called next, with these arguments, and gives its result.
    pub async fn tool(&mut self, tool: &str, arguments: Json, result: &Json) {
        let request = self.called(tool).await;
        assert_eq!(request.body, arguments);
        request.answer(result);
    }

    /// What a person is asked next, if nobody else is asked anything meanwhile.
    pub async fn question(&mut self, talk: &mut Talk) -> Question {
        loop {
            let recorded = self.next(talk).await;
            if matches!(recorded.event, Event::Asked(_)) {
                return Question::of(&recorded.entry, recorded.id).expect("a request");
            }
        }
    }

    /// A person is asked this next, and answers.
    pub async fn person(&mut self, talk: &mut Talk, question: &str, reply: &str) {
        let asked = self.question(talk).await;
        assert_eq!(asked.text, question);
        talk.reply(&asked, reply).await.expect("a reply that is taken");
    }

    /// How the conversation ends, if nobody is asked anything meanwhile.
    pub async fn outcome(&mut self, talk: &mut Talk) -> String {
        loop {
            if let Some(outcome) = Outcome::of(&self.next(talk).await.event) {
                return outcome.to_string();
            }
        }
    }

    /// The next event of a conversation, while nobody may be asked anything.
    pub async fn next(&mut self, talk: &mut Talk) -> Recorded {
        tokio::select! {
            biased;
            recorded = talk.next() => recorded,
            request = self.service.next() => panic!("nobody expects a request of {}: {:#}", request.path, request.body),
        }
    }

    /// The end of the play: whoever was asked anything more fails the test, and so does a program that did not end well.
    pub async fn end(mut self) {
        self.programs.take().expect("programs that run").stop().await;
        assert!(self.service.is_quiet(), "somebody was asked whom nobody expected: {:#}", self.service.next().await.body);
    }
}

/// The broker of all stages that stand at this moment: a process's statics are never dropped, and a server must not
/// outlive its tests.
async fn server() -> Arc<Server> {
    static SERVER: tokio::sync::Mutex<Weak<Server>> = tokio::sync::Mutex::const_new(Weak::new());
    let mut shared = SERVER.lock().await;
    if let Some(server) = shared.upgrade() {
        return server;
    }
    let server = Arc::new(nats::server().await);
    *shared = Arc::downgrade(&server);
    server
}

/// What a model answers.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    text: String,
    calls: Vec<(String, String)>,
}

/// An answer with a text.
pub fn says(text: &str) -> Answer {
    Answer { text: text.to_owned(), calls: Vec::new() }
}

/// An answer without one.
pub fn silent() -> Answer {
    Answer::default()
}

impl Answer {
    /// And calls a tool.
    #[must_use]
    pub fn calls(self, tool: &str, arguments: &Json) -> Self {
        self.calls_raw(tool, &arguments.to_string())
    }

    /// And calls a tool with what need not be arguments.
    #[must_use]
    pub fn calls_raw(mut self, tool: &str, arguments: &str) -> Self {
        self.calls.push((tool.to_owned(), arguments.to_owned()));
        self
    }

    /// And hands over.
    #[must_use]
    pub fn transfers(self, to: &str) -> Self {
        self.calls(&format!("{TRANSFER_PREFIX}{to}"), &json!({}))
    }

    /// And ends the conversation.
    #[must_use]
    pub fn completes(self, summary: &str) -> Self {
        self.calls(COMPLETE_TASK, &json!({ "task_summary": summary }))
    }
}

/// A model that is asked, and waits for its answer.
#[derive(Debug)]
pub struct Asked(Request);

impl Asked {
    /// What it is shown, a line a message: `user: …`, `assistant <name>: … [<call> <tool> <arguments>]`, `tool <call>: …`. Its
    /// own instructions, which must come first, are left out; within a message lines end with ` | `.
    pub fn prompt(&self) -> Vec<String> {
        let lines: Vec<String> = self.messages().iter().map(message).collect();
        let instructions = lines.first().filter(|line| line.starts_with("system: You are "));
        assert!(instructions.is_some(), "no instructions: {lines:?}");
        lines.into_iter().skip(1).collect()
    }

    /// Holds what it is shown against the lines of a text.
    #[track_caller]
    pub fn sees(&self, expected: &str) {
        assert_lines(&self.prompt(), expected);
    }

    /// The tools that it may call, with their descriptions: `<name>: <description>`.
    pub fn offered(&self) -> Vec<String> {
        let tools = self.body()["tools"].as_array().expect("tools");
        let functions = tools.iter().map(|tool| &tool["function"]);
        functions.map(|function| format!("{}: {}", words(&function["name"]), words(&function["description"]))).collect()
    }

    /// Those of them that hand over.
    pub fn transfers(&self) -> Vec<String> {
        self.offered().into_iter().filter_map(|tool| tool.strip_prefix(TRANSFER_PREFIX).map(str::to_owned)).collect()
    }

    /// The whole request.
    pub const fn body(&self) -> &Json {
        &self.0.body
    }

    /// Its messages, as they were sent.
    pub fn messages(&self) -> &[Json] {
        self.body()["messages"].as_array().expect("messages")
    }

    /// Answers. Calls have the ids `c1`, `c2` …, counted on from those that the model is shown.
    pub fn answer(self, answer: Answer) {
        let earlier = self.messages().iter().filter_map(|message| message["tool_calls"].as_array()).flatten().count();
        let calls: Vec<Call> = answer
            .calls
            .into_iter()
            .zip(earlier + 1..)
            .map(|((name, arguments), number)| Call { id: format!("c{number}"), name, arguments })
            .collect();
        self.0.respond_as_model(&answer.text, &calls);
    }

    /// Refuses to answer.
    pub fn refuse(self, problem: &str) {
        self.0.refuse(StatusCode::BAD_REQUEST, &json!({ "error": { "message": problem } }));
    }

    /// Begins to answer piece by piece.
    pub fn stream(self) -> Stream {
        self.0.stream()
    }

    /// Waits until nobody wants the answer any more.
    pub async fn abandoned(self) {
        self.0.abandoned().await;
    }
}

/// Every call in these messages, and how many results it has among those that follow it at once.
pub fn results_per_call(asked: &Asked) -> Vec<(String, usize)> {
    let mut results: Vec<(String, usize)> = Vec::new();
    let mut open = 0;
    for message in asked.messages() {
        if message["role"] == "tool" {
            let recent = results.iter_mut().rev().take(open);
            let id = words(&message["tool_call_id"]);
            recent.filter(|(call, _)| *call == id).for_each(|(_, count)| *count += 1);
            continue;
        }
        let calls = message["tool_calls"].as_array().map(Vec::as_slice).unwrap_or_default();
        open = calls.len();
        results.extend(calls.iter().map(|call| (words(&call["id"]).to_owned(), 0)));
    }
    results
}

fn message(message: &Json) -> String {
    let text = message["content"].as_str().unwrap_or_default().replace('\n', " | ");
    match words(&message["role"]) {
        "tool" => format!("tool {}: {text}", words(&message["tool_call_id"])),
        role => {
            let name = message["name"].as_str().map(|name| format!(" {name}")).unwrap_or_default();
            let mut line = format!("{role}{name}: {text}").trim_end().to_owned();
            for call in message["tool_calls"].as_array().map(Vec::as_slice).unwrap_or_default() {
                let function = &call["function"];
                let _ = write!(line, " [{} {} {}]", words(&call["id"]), words(&function["name"]), words(&function["arguments"]));
            }
            line
        }
    }
}

fn words(value: &Json) -> &str {
    value.as_str().expect("a text")
}

/// Holds lines against those of a text.
#[track_caller]
pub fn assert_lines(lines: &[String], expected: &str) {
    let lines: Vec<&str> = lines.iter().map(|line| line.trim()).collect();
    let expected: Vec<&str> = expected.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    assert_eq!(lines, expected, "\nit was:\n{}\n", lines.join("\n"));
}

/// A conversation, and what has been seen of it.
pub struct Talk {
    client: Client,
    id: ConversationId,
    events: BoxStream<'static, Result<Recorded, client::FollowError>>,
    seen: Vec<Recorded>,
}

impl std::fmt::Debug for Talk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Talk").field("id", &self.id).field("seen", &self.seen).finish_non_exhaustive()
    }
}

impl Talk {
    /// A conversation from its beginning.
    pub async fn follow(client: Client, id: ConversationId) -> Self {
        let events = client.follow(&id, None).await.expect("a conversation that can be followed");
        Self { client, id, events, seen: Vec::new() }
    }

    /// Its id.
    pub const fn id(&self) -> &ConversationId {
        &self.id
    }

    /// Its next event.
    pub async fn next(&mut self) -> Recorded {
        let next = timeout(PATIENCE, self.events.next()).await;
        let next = next.unwrap_or_else(|_| panic!("nothing happens after:\n{}", self.story().join("\n")));
        let recorded = next.expect("a conversation that goes on").expect("a conversation that can be followed");
        self.seen.push(recorded.clone());
        recorded
    }

    /// What has been seen of it, a line an event: `<writer> <what happened>`.
    pub fn story(&self) -> Vec<String> {
        self.seen.iter().map(line).collect()
    }

    /// Holds what has been seen against the lines of a text.
    #[track_caller]
    pub fn tells(&self, expected: &str) {
        assert_lines(&self.story(), expected);
    }

    /// Whether something has been seen of this kind.
    pub fn has(&self, kind: &str) -> bool {
        self.seen.iter().any(|recorded| recorded.event.kind() == kind)
    }

    /// A person answers a question.
    ///
    /// # Errors
    /// [`ReplyError`].
    pub async fn reply(&self, question: &Question, text: &str) -> Result<Accepted, ReplyError> {
        self.client.reply(&self.id, &Reply::to(question.request, text)).await
    }

    /// A person says something.
    ///
    /// # Errors
    /// [`ReplyError`].
    pub async fn say(&self, text: &str) -> Result<Accepted, ReplyError> {
        self.client.say(&self.id, text, None).await
    }

    /// A person decides an approval.
    pub async fn decide(&self, question: &Question, verdict: Verdict) {
        let decision = Decision { arguments_hash: question.arguments_hash, ..Decision::new(question.request, verdict) };
        self.client.decide(&self.id, &decision).await.expect("a decision that is taken");
    }
}

/// An event in a few words.
pub fn line(recorded: &Recorded) -> String {
    let what = match &recorded.event {
        Event::Opened(opened) => {
            let texts: Vec<&str> = opened.input.iter().map(|message| message.text.as_str()).collect();
            format!("opened: {}", texts.join(" / "))
        }
        Event::Said(said) => format!("said: {}", said.text),
        Event::Replied(reply) => format!("replied: {}", reply.text),
        Event::Interrupted(interrupted) => format!("interrupted: {}", interrupted.text),
        Event::Responded(response) => {
            let calls: String = response.calls.iter().map(|call| format!(" [{} {}]", call.id, call.name)).collect();
            format!("{}{calls}", format!("responded: {}", response.text).trim_end())
        }
        Event::Intended(intended) => {
            let calls: Vec<&str> = intended.calls.iter().map(|call| call.call.as_str()).collect();
            format!("intended {}", calls.join(" "))
        }
        Event::Returned(returned) => {
            format!("{} {}: {}", if returned.is_error { "error" } else { "returned" }, returned.call, returned.content)
        }
        Event::Warned(warned) => format!("warned {}", warned.code),
        Event::Transferred(transfer) => format!("transferred {}", transfer.to),
        Event::Continued(continued) => format!("continued {:?}", continued.because).to_lowercase(),
        Event::Asked(asked) => {
            let kind = match asked.kind {
                RequestKind::Question => "question",
                RequestKind::Approval => "approval",
                RequestKind::InDoubt => "in doubt",
            };
            format!("asked {}: {kind}{}", asked.audience, asked.call.as_ref().map(|call| format!(" {}", call.name)).unwrap_or_default())
        }
        Event::Decided(decided) => format!("decided {:?}", decided.verdict).to_lowercase(),
        Event::Completed(completed) => format!("completed {:?}: {}", completed.because, completed.result),
        Event::Failed(failed) => format!("failed {}", failed.code),
        Event::Cancelled(cancelled) => format!("cancelled: {}", cancelled.reason),
        other => other.kind().to_owned(),
    };
    format!("{} {what}", recorded.from())
}
