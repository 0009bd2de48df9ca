//! The reference document's program, written in Rust: `examples/support/main.rs`, in one process and spread over several.
#![allow(clippy::panic, clippy::unwrap_used, reason = "helpers of tests: a panic is how a test fails")]

use std::path::PathBuf;

use cli::broker::{Config, Server};
use cli::prelude::*;
use tests::processes::{Process, command_of, example, output};
use tests::sample::SAMPLE;
use tokio::process::Command;
use tokio::sync::OnceCell;

/// The example, with the environment of a test.
async fn support(arguments: &[&str]) -> Command {
    static BUILT: OnceCell<PathBuf> = OnceCell::const_new();
    command_of(BUILT.get_or_init(|| example("support")).await, arguments).await
}

#[tokio::test]
async fn in_one_process_it_prints_the_documents_sample() {
    for arguments in [&["--memory"][..], &[]] {
        let output = output(&mut support(arguments).await).await;
        let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{stdout}\n{stderr}");
        assert_eq!(stdout.lines().collect::<Vec<_>>(), SAMPLE, "{arguments:?}");
        let announced = stderr.lines().filter(|line| line.contains("played by the scripted model")).count();
        assert_eq!(announced, 1, "that no model was asked is said, once: {stderr}");
    }
}

/// Repeats what it sees, a line a message: an agent of a type of its own.
#[derive(Debug)]
struct Parrot;

#[async_trait]
impl Model for Parrot {
    fn provider(&self) -> &str {
        "parrot"
    }

    fn name(&self) -> &str {
        "grey"
    }

    async fn respond(&self, request: &Request<'_>, _tokens: &mut dyn Tokens) -> Result<Responded, ModelError> {
        let seen: Vec<String> = request.messages.iter().map(|message| format!("{message:?}")).collect();
        let arguments = serde_json::json!({ "task_summary": seen.join("\n") }).to_string();
        let call = Call { id: "1".to_owned(), name: "complete_task".to_owned(), arguments };
        Ok(Responded { text: String::new(), calls: vec![call], model: String::new(), usage: None })
    }
}

#[tokio::test]
async fn an_agent_of_a_type_of_its_own_sees_what_a_filter_leaves() {
    let triage = AgentDef::new("triage").description("Sorts.").instructions("Sort.");
    let parrot = AgentDef::new("parrot").description("Repeats.").code("parrot");
    let orchestration = || {
        let script = ModelSpec::script("- { say: One moment., transfer: parrot }").unwrap();
        let builder = Orchestration::builder("zoo").model("default", script).agents([&triage, &parrot]).start_with(&triage);
        builder.add_handoff(&triage, HandoffSpec::to("parrot").filter("people_only")).build().unwrap()
    };
    fn people_only(messages: Vec<PromptMessage<'_>>) -> Vec<PromptMessage<'_>> {
        messages.into_iter().filter(|message| matches!(message, PromptMessage::User { .. })).collect()
    }
    let missing = Runtime::in_memory(orchestration(), Functions::new()).await.unwrap_err();
    assert!(
        format!("{missing:#}").contains("this program has no agent `parrot` of its own: add it with `Functions::add_agent`"),
        "{missing:#}"
    );
    let missing = Runtime::in_memory(orchestration(), Functions::new().add_agent("parrot", Parrot)).await.unwrap_err();
    assert!(format!("{missing:#}").contains("the filter `people_only`, and this program has none"), "{missing:#}");

    let functions = Functions::new().add_agent("parrot", Parrot).add_filter("people_only", people_only);
    let runtime = Runtime::in_memory(orchestration(), functions).await.unwrap();
    let handle = runtime.invoke("Say something.", Callbacks::default()).await.unwrap();
    assert_eq!(handle.get_as::<String>(None).await.unwrap(), r#"User { text: "Say something." }"#);
    runtime.stop_when_idle().await;
}

#[tokio::test]
async fn its_agents_are_processes_and_it_calls_them() {
    let mut server = Server::start(Config::new(tests::nats::executable().await)).await.unwrap();
    let url = server.url().to_owned();
    let mut programs = Vec::new();
    for form in [&["coordinator"][..], &["worker", "triage"], &["worker", "refund"], &["worker", "order-status", "order-return"]] {
        let mut program = Process::start(support(&[form, &["--nats", &url]].concat()).await);
        program.line("ready, as ").await;
        programs.push(program);
    }
    let output = output(&mut support(&["invoke", "--nats", &url]).await).await;
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{stdout}\n{stderr}");
    assert_eq!(stdout.lines().collect::<Vec<_>>(), SAMPLE);
    // Those who only serve stop in order when they are told to.
    for mut program in programs.into_iter().rev() {
        program.terminate();
        let (status, said) = program.end().await;
        assert!(status.success() && said.contains("stopped"), "{said}");
    }
    server.kill().await.unwrap();
}
