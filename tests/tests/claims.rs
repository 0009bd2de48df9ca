//! `examples/claims`, played end to end: a program of one's own as `baton dev`, a customer in the chat, people at two desks.
#![allow(clippy::panic, clippy::unwrap_used, reason = "helpers of tests: a panic is how a test fails")]

use std::path::{Path, PathBuf};

use client::Callbacks;
use futures::StreamExt;
use journal::nats::Settings;
use protocol::event::Event;
use serde::Deserialize;
use serde_json::Value as Json;
use tests::dev::Dev;
use tests::in_process;
use tests::processes::{PATIENCE, Process, example};
use tokio::process::Command;
use tokio::sync::OnceCell;

/// What a claim comes to.
#[derive(Debug, PartialEq, Eq, Deserialize)]
struct Settlement {
    policy: String,
    decision: String,
    amount: u32,
}

impl Settlement {
    fn new(policy: &str, decision: &str, amount: u32) -> Self {
        Self { policy: policy.to_owned(), decision: decision.to_owned(), amount }
    }
}

/// The office, which keeps its payments in `ledger` below `data`.
async fn office(data: &Path) -> Dev {
    static BUILT: OnceCell<PathBuf> = OnceCell::const_new();
    let program = BUILT.get_or_init(|| example("claims")).await;
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/claims/claims.yaml");
    let keeps_ledger = |dev: &mut Command| {
        dev.env("CLAIMS_LEDGER", data.join("ledger"));
    };
    Dev::start_of(program, &manifest, data, keeps_ledger).await
}

async fn customer(dev: &Dev) -> Process {
    Process::start(dev.command(&["chat", "Hello", "--plain"]).await)
}

async fn desk(dev: &Dev, name: &str, by: &str) -> Process {
    Process::start(dev.command(&["desk", "--name", name, "--by", by, "--plain"]).await)
}

/// The payments that have been made.
fn payments(data: &Path) -> Vec<Json> {
    let Ok(files) = std::fs::read_dir(data.join("ledger")) else { return Vec::new() };
    files.map(|file| serde_json::from_slice(&std::fs::read(file.unwrap().path()).unwrap()).unwrap()).collect()
}

/// What the only conversation came to, and through whose hands it went.
async fn settled(dev: &Dev) -> (Settlement, Vec<String>) {
    let listed = dev.json(&["list"]).await;
    let id = listed["conversations"][0]["conversation"].as_str().unwrap().to_owned();
    let client = in_process::client(&Settings::new(&dev.nats, "claims-1".parse().unwrap()), &"claims".parse().unwrap()).await;
    let handle = client.attach(&id.parse().unwrap(), Callbacks::default());
    let settlement = handle.get_as(Some(PATIENCE)).await.unwrap();
    let events = handle.events().await.unwrap().map(|recorded| recorded.unwrap().event);
    let path = events.filter_map(async |event| if let Event::Transferred(transfer) = event { Some(transfer.to.to_string()) } else { None });
    (settlement, path.collect().await)
}

#[tokio::test]
async fn an_odd_claim_is_looked_into_and_paid_once_a_supervisor_says_so() {
    let data = tempfile::tempdir().unwrap();
    let dev = office(data.path()).await;
    let (mut ben, mut customer) = (desk(&dev, "investigations", "Ben").await, customer(&dev).await);

    customer.line("Front desk: Alder Insurance, good morning!").await;
    customer.type_line("There is water in my kitchen, policy H-2042").await;
    customer.line("Water damage: I am sorry about your kitchen.").await;
    customer.type_line("A pipe burst, and the repair costs 4800 euros").await;
    customer.line("Water damage: Thank you").await;
    customer.line("Assessor: Before I can decide").await;

    ben.line("  1  ").await;
    ben.type_line("/take").await;
    ben.lines(&["assessor → investigations: 3 claims before this one", "your turn"]).await;
    ben.type_line("Who repaired the pipe, and what is the number of the invoice?").await;
    customer.line("Investigations: Who repaired the pipe").await;
    customer.type_line("Meier Plumbing, invoice 4711").await;
    ben.lines(&["User: Meier Plumbing, invoice 4711", "your turn"]).await;
    ben.type_line("/back Meier Plumbing confirms the invoice.").await;
    ben.line("nothing waits").await;

    // The figure is the tool's own: 4800 less the deductible. Nothing is paid before a supervisor has agreed.
    let mut ann = desk(&dev, "supervisors", "Ann").await;
    ann.line("  1  ").await;
    ann.type_line("/take").await;
    let asked = ann.line("pay_out").await;
    assert!(asked.contains("4300") && asked.contains("yes or no"), "{asked}");
    assert_eq!(payments(data.path()), Vec::<Json>::new());
    ann.type_line("yes").await;

    customer.line("Assessor: Your claim is settled. 4300 euros").await;
    customer.line("Task is completed with summary: Water damage on policy H-2042").await;
    customer.line(r#"result: {"policy":"H-2042","decision":"paid","amount":4300}"#).await;
    assert!(customer.end().await.0.success());
    assert_eq!(payments(data.path()), [serde_json::json!({ "policy": "H-2042", "amount": 4300 })]);
    let (settlement, path) = settled(&dev).await;
    assert_eq!(settlement, Settlement::new("H-2042", "paid", 4300));
    assert_eq!(path, ["home", "water", "assessor", "investigations", "assessor"]);
}

#[tokio::test]
async fn what_a_supervisor_denies_is_not_paid() {
    let data = tempfile::tempdir().unwrap();
    let dev = office(data.path()).await;
    let (mut ann, mut customer) = (desk(&dev, "supervisors", "Ann").await, customer(&dev).await);

    customer.line("Front desk: ").await;
    customer.type_line("A stone hit my windscreen, policy M-1001").await;
    customer.line("Glass: I am sorry to hear that.").await;
    customer.type_line("It is a crack, and a new one costs 650 euros").await;
    customer.line("Glass: Then it must be replaced.").await;
    ann.line("  1  ").await;
    ann.type_line("/take").await;
    ann.line("pay_out").await;
    ann.type_line("no, the policy has lapsed").await;

    customer.line("Assessor: I am sorry, we cannot pay this claim.").await;
    assert!(customer.end().await.0.success());
    assert_eq!(payments(data.path()), Vec::<Json>::new());
    let (settlement, path) = settled(&dev).await;
    assert_eq!(settlement, Settlement::new("M-1001", "declined", 0));
    assert_eq!(path, ["motor", "glass", "assessor"]);
}
