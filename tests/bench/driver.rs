//! Drives Baton for a benchmark that drives other systems in the same way: it starts a deployment of real processes as its own children (a
//! nats-server that syncs every entry, a coordinator, a gateway, a worker for each agent), plays one conversation to warm up, says `READY`, and
//! on a line plays the rest and says `DONE` with what it took. `README.md` beside it has the variables.
#![allow(clippy::print_stdout, reason = "standard output is how it talks to the benchmark")]

use std::collections::VecDeque;
use std::io::{BufRead, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use cli::broker::Fsync;
use cli::dev::system::{Config, System};
use client::{Answer, Callbacks, Client, Opening, Outcome};
use futures::{StreamExt, stream};
use serde_json::{Value as Json, json};
use tests::sample;

/// How long one conversation may take.
const PATIENCE: Duration = Duration::from_secs(200);

/// What is to be played, as the environment says.
struct Plan {
    scenario: String,
    concurrency: usize,
    conversations: usize,
    handoffs: usize,
    base_url: String,
    model: String,
}

impl Plan {
    fn from_env() -> Self {
        let text = |name: &str, default: &str| std::env::var(name).unwrap_or_else(|_| default.to_owned());
        let number = |name: &str, default: usize| text(name, "").parse().unwrap_or(default);
        Self {
            scenario: text("SCENARIO", "pingpong"),
            concurrency: number("CONC", 1),
            conversations: number("CONVS", 3),
            handoffs: number("H", 100),
            base_url: text("OPENAI_BASE_URL", "http://127.0.0.1:15000/v1"),
            // Agents here do not see each other's tool calls, so the model has to count for itself.
            model: text("MODEL", "fake-stateful"),
        }
    }

    fn is_support(&self) -> bool {
        self.scenario == "support"
    }

    /// JSON is YAML too.
    fn manifest(&self) -> String {
        let model = json!({ "provider": "compatible", "name": self.model, "baseUrl": self.base_url, "apiKeyEnv": "OPENAI_API_KEY" });
        if self.is_support() {
            // The example reads its endpoint from the environment, which the workers inherit.
            let text = std::fs::read_to_string(sample::manifest()).unwrap();
            return text.replace("${OPENAI_MODEL:-gpt-5-mini}", &self.model);
        }
        let agent = |other: &str| {
            let instructions = format!("Hand off to {other}.");
            let handoffs = json!([{ "to": other, "when": format!("Transfer to {other}") }]);
            json!({ "instructions": instructions, "handoffs": handoffs, "worker": { "concurrency": self.concurrency.max(64) } })
        };
        json!({
            "apiVersion": "baton/v1alpha1",
            "kind": "Orchestration",
            "metadata": { "name": "pingpong" },
            "spec": {
                "start": "agent-a",
                "models": { "default": model },
                "agents": { "agent-a": agent("agent-b"), "agent-b": agent("agent-a") },
                "limits": { "handoffsPerUserTurn": self.handoffs + 16 },
            },
        })
        .to_string()
    }

    fn task(&self, id: &str, handoffs: usize) -> String {
        if self.is_support() {
            format!("A customer is on the line. [[conv:{id}]]")
        } else {
            format!("Play ping-pong. [[conv:{id} h:{handoffs}]]")
        }
    }

    /// One conversation, to its end; why not, if it did not end well.
    async fn converse(&self, client: &Client, id: &str, handoffs: usize) -> Result<(), Failure> {
        let opening = Opening::new("bench", self.task(id, handoffs));
        let outcome = if self.is_support() { talk(client, opening).await? } else { watch(client, opening).await? };
        match outcome {
            Outcome::Completed(_) => Ok(()),
            other => Err(other.to_string().into()),
        }
    }
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// A person's conversation, with the example's lines.
async fn talk(client: &Client, opening: Opening) -> Result<Outcome, Failure> {
    let mut lines: VecDeque<String> = std::fs::read_to_string(sample::replies())?.lines().map(ToOwned::to_owned).collect();
    let callbacks = Callbacks::default().on_question(move |_| {
        let line = lines.pop_front().unwrap_or_default();
        async move { Ok(Answer::from(line)) }
    });
    Ok(client.invoke(&opening.with_human(), callbacks).await?.get(Some(PATIENCE)).await?)
}

/// A conversation that needs nobody.
async fn watch(client: &Client, opening: Opening) -> Result<Outcome, Failure> {
    let started = client.start(&opening).await?;
    Ok(client.result(&started.conversation, Some(PATIENCE)).await?)
}

/// Conversations that are over: how long each took, or why it failed.
fn summary(wall: Duration, results: Vec<Result<Duration, String>>) -> Json {
    let (ok, failed): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
    let mut times: Vec<f64> = ok.into_iter().flatten().map(|time| time.as_secs_f64() * 1e3).collect();
    times.sort_by(f64::total_cmp);
    let at = |share: f64| times.get(((times.len().max(1) - 1) as f64 * share) as usize);
    let first_error: Vec<String> = failed.iter().filter_map(|result| result.clone().err()).take(1).collect();
    json!({
        "wall_s": wall.as_secs_f64(), "ok": times.len(), "failed": failed.len(), "first_error": first_error,
        "conv_ms_p50": at(0.5), "conv_ms_p99": at(0.99),
    })
}

fn say(line: &str) {
    println!("{line}");
    let _ = std::io::stdout().flush();
}

async fn line() {
    let _ = tokio::task::spawn_blocking(|| std::io::stdin().lock().read_line(&mut String::new())).await;
}

async fn drive(plan: &Plan) -> ExitCode {
    let directory = tempfile::tempdir().unwrap();
    let manifest = directory.path().join("bench.yaml");
    std::fs::write(&manifest, plan.manifest()).unwrap();
    if plan.is_support() {
        let script = sample::manifest().with_file_name("script.yaml");
        std::fs::copy(script, directory.path().join("script.yaml")).unwrap();
    }
    let http = cli::ports::free_address().ok();
    let config = Config {
        orchestration: cli::manifest::load(&manifest).unwrap().orchestration,
        manifest,
        data: directory.path().join("data"),
        workers: 1,
        port: None,
        http,
        fsync: Fsync::Always,
        echoes: false,
        restarts: false,
    };
    let system = System::start(config).await.unwrap();
    system.ready().await.unwrap();
    let client = system.client("bench-driver".parse().unwrap()).await.unwrap();
    // Stores of other runs may outlive them; ids do not repeat.
    let prefix = format!("c{}", std::process::id());
    let warm = plan.converse(&client, &format!("{prefix}-warm"), 4).await;
    say("READY");
    line().await;
    let began = Instant::now();
    let one = |number: usize| {
        let (client, id) = (&client, format!("{prefix}-{number}"));
        async move {
            let began = Instant::now();
            plan.converse(client, &id, plan.handoffs).await.map(|()| began.elapsed()).map_err(|error| error.to_string())
        }
    };
    let results = stream::iter((0..plan.conversations).map(one)).buffer_unordered(plan.concurrency).collect().await;
    say(&format!("DONE {}", summary(began.elapsed(), results)));
    line().await;
    system.stop().await;
    if warm.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// With arguments it is `baton`: the deployment's processes are started from this very program.
fn main() -> ExitCode {
    if std::env::args().len() > 1 {
        return cli::main();
    }
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let exit = runtime.block_on(drive(&Plan::from_env()));
    runtime.shutdown_background();
    exit
}
