//! The command line. Flags win over the environment, the environment over defaults.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};
use protocol::brief::Phase;
use protocol::event::Audience;
use protocol::ids::{AgentName, ConversationId, InvalidId, OrchestrationName, ProcessId, Writer};

use crate::bench::shape::Shape;
use crate::broker::Fsync;

/// AI agents that hand conversations to one another, each in its own process, over NATS.
#[derive(Debug, Parser)]
#[command(name = "baton", version, propagate_version = true, disable_help_subcommand = true)]
pub struct Args {
    /// How results are written.
    #[arg(short, long, global = true, value_enum, default_value_t = Format::Text)]
    pub output: Format,
    /// How the process logs.
    #[command(flatten)]
    pub log: LogArgs,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// How results are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// For programs: one JSON value, or one a line where results arrive one by one.
    Json,
}

/// How the process logs, on standard error.
#[derive(Clone, Debug, clap::Args)]
pub struct LogArgs {
    /// What is logged, as in `info,agent_worker=debug`.
    #[arg(long, global = true, value_name = "FILTER", env = "BATON_LOG")]
    pub log: Option<String>,
    /// `pretty` or `json`.
    #[arg(long, global = true, value_name = "FORMAT", env = "BATON_LOG_FORMAT")]
    pub log_format: Option<telemetry::Format>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run everything on this machine: a private nats-server, a coordinator, a gateway and a worker per agent.
    Dev(DevArgs),
    /// Play the customer-support conversation, every agent in a process of its own.
    Demo(DemoArgs),
    /// Measure a deployment on this machine under a load of conversations, beside what any durable handoff costs at least.
    Bench(BenchArgs),
    /// Serve agents of an orchestration.
    Worker(WorkerArgs),
    /// Watch over orchestrations: register, provision, deadlines, sweep, queries.
    Coordinator(CoordinatorArgs),
    /// Serve people over HTTP: start, answer, decide, follow; and a chat for browsers.
    Gateway(GatewayArgs),
    /// Talk to an orchestration at the terminal.
    Chat(ChatArgs),
    /// Serve a desk at the terminal: take what waits there, answer, hand over.
    Desk(DeskArgs),
    /// Hold a conversation, with replies from a file, a pipe or the terminal.
    Run(RunArgs),
    /// Show a conversation, entry by entry.
    Show(ShowArgs),
    /// List conversations.
    List(ListArgs),
    /// Call a conversation off.
    Cancel(CancelArgs),
    /// Erase a conversation that has ended, for good.
    Erase(EraseArgs),
    /// Make a manifest the current revision: new conversations begin on it, running ones go on as they began.
    Register(RegisterArgs),
    /// List the revisions, and how many open conversations run on each.
    Revisions(RevisionsArgs),
    /// Look at a deployment, and say what to do.
    Doctor(DoctorArgs),
    /// Check a manifest, without running anything.
    Validate(ManifestArgs),
    /// Draw a manifest's agents and handoffs as a Mermaid diagram.
    Graph(ManifestArgs),
    /// Ask a program that runs here whether it is ready, as a container's health check does.
    Health(HealthArgs),
    /// End the broker of a `baton dev` that was killed. `baton dev` starts it.
    #[command(hide = true)]
    Guard,
}

/// Where the broker is. Credentials come from the environment, as for the nats command.
#[derive(Clone, Debug, Default, PartialEq, Eq, clap::Args)]
pub struct BrokerArgs {
    /// The broker's address; by default NATS_URL, the nats context that NATS_CONTEXT names, or nats://127.0.0.1:4222.
    #[arg(long, value_name = "URL")]
    pub nats: Option<String>,
}

/// See [`Command::Dev`].
#[derive(Debug, clap::Args)]
pub struct DevArgs {
    /// The orchestration.
    pub manifest: PathBuf,
    /// Where the broker's data and the processes' logs are kept, for the next time.
    #[arg(long, value_name = "DIR", default_value = ".baton")]
    pub data: PathBuf,
    /// Worker processes per agent.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub workers: u32,
    /// The port for the private nats-server; a free one by default.
    #[arg(long)]
    pub port: Option<u16>,
    /// Where the gateway listens; by default a free port of this machine, the same one the next time.
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub http: Option<std::net::SocketAddr>,
}

/// See [`Command::Demo`].
#[derive(Debug, clap::Args)]
pub struct DemoArgs {
    /// Another orchestration than the built-in customer support.
    #[arg(long, value_name = "FILE", requires = "replies")]
    pub manifest: Option<PathBuf>,
    /// The person's lines, one each; `-` for standard input or the terminal.
    #[arg(long, value_name = "FILE")]
    pub replies: Option<PathBuf>,
    /// What the conversation begins with.
    #[arg(long, default_value = "A customer is on the line.")]
    pub task: String,
    /// Another story: kill the worker that owns the conversation in the middle of its sentence, and one in the middle of a
    /// refund, and count what was lost and doubled.
    #[arg(long, conflicts_with_all = ["manifest", "replies", "task"])]
    pub crash: bool,
}

/// See [`Command::Bench`].
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Compare ratios (×: Baton over the raw loop in the same run), not figures of different machines or hours. Nothing else \
    should run meanwhile. docs/performance.md says what each figure means."
)]
pub struct BenchArgs {
    /// What the conversations are like; may be given several times. By default every shape, one after the other: a minute or two.
    #[arg(long = "shape", value_enum, value_name = "SHAPE", value_delimiter = ',')]
    pub shapes: Vec<Shape>,
    /// Conversations at once; may be given several times, each a load of its own. By default as the shape has it.
    #[arg(long, value_name = "N", value_delimiter = ',', value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=1_000_000))]
    pub conversations: Vec<usize>,
    /// Handoffs of each conversation, for shapes in which agents only hand over.
    #[arg(long, value_name = "N", value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=100_000))]
    pub handoffs: Option<usize>,
    /// How often each load is played; medians are reported.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=1000))]
    pub runs: usize,
    /// When the broker's files reach the disk.
    #[arg(long, value_enum, default_value_t = FileSync::Always)]
    pub sync: FileSync,
    /// A real endpoint that speaks OpenAI's Chat Completions; by default a script plays the models. Its key is OPENAI_API_KEY.
    #[arg(long, value_name = "URL")]
    pub base_url: Option<String>,
    /// The model there.
    #[arg(long, value_name = "NAME", env = "OPENAI_MODEL", default_value = "gpt-5-mini")]
    pub model: String,
}

/// When a broker's files reach the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FileSync {
    /// Before an entry is acknowledged: it survives a power failure.
    Always,
    /// Every two minutes, as nats-server does unless it is told otherwise.
    Default,
}

impl From<FileSync> for Fsync {
    fn from(sync: FileSync) -> Self {
        match sync {
            FileSync::Always => Self::Always,
            FileSync::Default => Self::Every(Duration::from_secs(120)),
        }
    }
}

/// See [`Command::Worker`].
#[derive(Debug, clap::Args)]
pub struct WorkerArgs {
    /// The orchestration of the agents that are given without theirs.
    #[arg(long, env = "BATON_ORCHESTRATION")]
    pub orchestration: Option<OrchestrationName>,
    /// An agent to serve, as `refund` or, whatever the orchestration, as `support/refund`; may be given several times.
    #[arg(long = "agent", value_name = "AGENT", env = "BATON_AGENT", value_delimiter = ',', required = true)]
    pub agents: Vec<ServedAgent>,
    /// Turns of each agent at once; by default as the definition says.
    #[arg(long, env = "BATON_CONCURRENCY", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub concurrency: Option<u32>,
    /// Seconds that running turns may take to finish once the worker is told to stop; the rest is handed back.
    #[arg(long, env = "BATON_DRAIN_SECS", default_value_t = 20)]
    pub drain_secs: u64,
    /// What all programs have.
    #[command(flatten)]
    pub program: ProgramArgs,
}

/// An agent, with its orchestration or without.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServedAgent {
    /// Its orchestration, where it was said.
    pub orchestration: Option<OrchestrationName>,
    /// Its name.
    pub agent: AgentName,
}

impl FromStr for ServedAgent {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let (orchestration, agent) = match text.split_once('/') {
            Some((orchestration, agent)) => (Some(orchestration.parse()?), agent),
            None => (None, text),
        };
        Ok(Self { orchestration, agent: agent.parse()? })
    }
}

/// See [`Command::Coordinator`].
#[derive(Debug, clap::Args)]
pub struct CoordinatorArgs {
    /// An orchestration to register and watch over; may be given several times.
    #[arg(long = "manifest", value_name = "FILE", env = "BATON_MANIFEST", value_delimiter = ',', required = true)]
    pub manifests: Vec<PathBuf>,
    /// What it makes on the broker.
    #[command(flatten)]
    pub storage: StorageArgs,
    /// What all programs have.
    #[command(flatten)]
    pub program: ProgramArgs,
}

/// What a coordinator makes on the broker, and finds there.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct StorageArgs {
    /// Copies of everything that is stored: 1, or 3 or 5 on a cluster.
    #[arg(long, env = "BATON_REPLICAS", default_value_t = 1)]
    pub replicas: usize,
    /// The most that an orchestration's conversations may take of the disk, in bytes; without it, what the account or the disk has.
    #[arg(long, value_name = "BYTES", env = "BATON_JOURNAL_BYTES")]
    pub journal_bytes: Option<u64>,
}

/// See [`Command::Gateway`].
#[derive(Debug, clap::Args)]
pub struct GatewayArgs {
    /// An orchestration to serve; may be given several times.
    #[arg(long = "orchestration", value_name = "NAME", env = "BATON_ORCHESTRATION", value_delimiter = ',', required = true)]
    pub orchestrations: Vec<OrchestrationName>,
    /// Where to listen. Nobody is asked who they are: whoever reaches this address can use it.
    #[arg(long, value_name = "ADDRESS:PORT", env = "BATON_LISTEN", default_value = "127.0.0.1:8080")]
    pub listen: std::net::SocketAddr,
    /// The group of gateways that serve the same people; human requests are forwarded to the group.
    #[arg(long, value_name = "GROUP", env = "BATON_GATEWAY", default_value = "gateway")]
    pub name: ProcessId,
    /// Another origin whose pages may use it, as in `https://shop.example`; may be given several times.
    #[arg(long = "origin", value_name = "ORIGIN", env = "BATON_ORIGINS", value_delimiter = ',')]
    pub origins: Vec<gateway::Origin>,
    /// Where a trace can be looked at, with `{trace}` for its id: pages link to it.
    #[arg(long, value_name = "TEMPLATE", env = "BATON_TRACE_URL")]
    pub trace_url: Option<String>,
    /// Streams of events at a time.
    #[arg(long, value_name = "N", env = "BATON_STREAMS_MAX", default_value_t = gateway::STREAMS_MAX)]
    pub streams_max: usize,
    /// What all programs have.
    #[command(flatten)]
    pub program: ProgramArgs,
}

/// What all long-running programs have.
#[derive(Clone, Debug, clap::Args)]
pub struct ProgramArgs {
    /// Where the broker is.
    #[command(flatten)]
    pub broker: BrokerArgs,
    /// This process's id, unique among those that run now; by default a fresh one. Credentials that permit one inbox
    /// (`_INBOX_<id>.>`) and no other need it fixed.
    #[arg(long, value_name = "ID", env = "BATON_PROCESS")]
    pub process: Option<ProcessId>,
    /// Answer `/livez` and `/readyz` over HTTP at this address.
    #[arg(long, value_name = "ADDRESS:PORT", env = "BATON_HEALTH")]
    pub health: Option<std::net::SocketAddr>,
    /// Stop when standard input closes: a supervisor that dies takes its processes along.
    #[arg(long, hide = true)]
    pub tied: bool,
}

/// See [`Command::Chat`].
#[derive(Debug, clap::Args)]
#[command(after_help = "At the prompt, /help lists the commands. You may type at any time: while an agent works, the orchestration's \
    onMessage policy says whether your message waits, interrupts, or is refused.\n\
    Ctrl-C and Ctrl-D leave the conversation as it is, and print the command to come back with.")]
pub struct ChatArgs {
    /// What the conversation begins with; without it, you are asked.
    pub message: Option<String>,
    /// Comes back to a conversation: shows what was said so far, and goes on.
    #[arg(long, value_name = "ID", conflicts_with = "message")]
    pub conversation: Option<ConversationId>,
    /// Makes the opening repeatable: the same key gives the same conversation.
    #[arg(long, conflicts_with = "conversation")]
    pub key: Option<String>,
    /// Lines as they are complete, without a line editor, colours or escape codes, as when it is no terminal: you are asked
    /// when it is your turn.
    #[arg(long)]
    pub plain: bool,
    /// Keeps no history of what you type.
    #[arg(long)]
    pub no_history: bool,
    /// Which orchestration.
    #[command(flatten)]
    pub target: TargetArgs,
}

/// See [`Command::Desk`].
#[derive(Debug, clap::Args)]
#[command(
    after_help = "At the prompt, /help lists the commands. What you have taken stays yours when you leave: the same name goes on with it."
)]
pub struct DeskArgs {
    /// The desk.
    #[arg(long, value_name = "DESK", required_unless_present = "role", conflicts_with = "role")]
    pub name: Option<AgentName>,
    /// A role instead of a desk: what its people are asked to approve or answer. Nobody claims that; who is first decides.
    #[arg(long, value_name = "ROLE")]
    pub role: Option<AgentName>,
    /// Your name: what you take is yours under it.
    #[arg(long, value_name = "NAME", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub by: String,
    /// Lines as they are complete, without a line editor, colours or escape codes, as when it is no terminal: you are asked
    /// when it is your turn.
    #[arg(long)]
    pub plain: bool,
    /// Keeps no history of what you type.
    #[arg(long)]
    pub no_history: bool,
    /// Which orchestration.
    #[command(flatten)]
    pub target: TargetArgs,
}

/// See [`Command::Run`].
#[derive(Debug, clap::Args)]
pub struct RunArgs {
    /// The orchestration.
    #[arg(long, env = "BATON_ORCHESTRATION", required_unless_present = "data")]
    pub orchestration: Option<OrchestrationName>,
    /// The directory of a running `baton dev`, whose orchestration and broker are used.
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// What the conversation begins with.
    #[arg(required_unless_present = "conversation")]
    pub task: Option<String>,
    /// Goes on with a conversation that waits for a person.
    #[arg(long, value_name = "ID", conflicts_with = "task")]
    pub conversation: Option<ConversationId>,
    /// The person's lines, one each; by default standard input, line by line.
    #[arg(long, value_name = "FILE")]
    pub replies: Option<PathBuf>,
    /// Makes the opening repeatable: the same key gives the same conversation.
    #[arg(long)]
    pub key: Option<String>,
    /// Nobody answers questions: a plain answer completes the conversation.
    #[arg(long)]
    pub no_human: bool,
    /// Where the broker is.
    #[command(flatten)]
    pub broker: BrokerArgs,
}

/// Which orchestration, on which broker.
#[derive(Clone, Debug, clap::Args)]
pub struct TargetArgs {
    /// The orchestration.
    #[arg(long, env = "BATON_ORCHESTRATION", required_unless_present = "data")]
    pub orchestration: Option<OrchestrationName>,
    /// The directory of a running `baton dev`, whose orchestration and broker are used.
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Where the broker is.
    #[command(flatten)]
    pub broker: BrokerArgs,
}

/// See [`Command::Show`].
#[derive(Debug, clap::Args)]
pub struct ShowArgs {
    /// The conversation.
    pub conversation: ConversationId,
    /// Which orchestration.
    #[command(flatten)]
    pub target: TargetArgs,
}

/// See [`Command::List`].
#[derive(Debug, clap::Args)]
pub struct ListArgs {
    /// Only those that this agent owns.
    #[arg(long)]
    pub agent: Option<AgentName>,
    /// Only those in this phase: working, waiting, completed, failed or cancelled.
    #[arg(long, value_parser = phase)]
    pub phase: Option<Phase>,
    /// Only those in which nothing has happened for so many seconds.
    #[arg(long, value_name = "SECS")]
    pub idle: Option<u64>,
    /// Only those in which these people are asked something, the oldest request first: `caller`, `role:<name>` or `desk:<name>`.
    #[arg(long)]
    pub audience: Option<Audience>,
    /// At most so many.
    #[arg(long, default_value_t = 50)]
    pub limit: usize,
    /// Which orchestration.
    #[command(flatten)]
    pub target: TargetArgs,
}

/// See [`Command::Cancel`].
#[derive(Debug, clap::Args)]
pub struct CancelArgs {
    /// The conversation.
    pub conversation: ConversationId,
    /// Why, for people.
    #[arg(long, default_value = "")]
    pub reason: String,
    /// Which orchestration.
    #[command(flatten)]
    pub target: TargetArgs,
}

/// See [`Command::Erase`].
#[derive(Debug, clap::Args)]
#[command(after_help = "Nothing brings it back. docs/operations.md says what is erased, and what other systems may have kept.")]
pub struct EraseArgs {
    /// The conversation.
    pub conversation: ConversationId,
    /// Call it off first, where it is open.
    #[arg(long)]
    pub cancel: bool,
    /// Which orchestration.
    #[command(flatten)]
    pub target: TargetArgs,
    /// The process that this login is permitted to be, whose name its inboxes have; by default a name of its own.
    #[arg(long, env = "BATON_PROCESS")]
    pub process: Option<ProcessId>,
}

/// See [`Command::Register`].
#[derive(Debug, clap::Args)]
pub struct RegisterArgs {
    /// The file; `-` for standard input.
    pub manifest: PathBuf,
    /// The directory of a running `baton dev`, whose broker is used.
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Where the broker is.
    #[command(flatten)]
    pub broker: BrokerArgs,
}

/// See [`Command::Revisions`].
#[derive(Debug, clap::Args)]
pub struct RevisionsArgs {
    /// Which orchestration.
    #[command(flatten)]
    pub target: TargetArgs,
}

/// See [`Command::Doctor`].
#[derive(Debug, clap::Args)]
#[command(after_help = "The exit code is 1 where something does not work. docs/operations.md says what each finding means.")]
pub struct DoctorArgs {
    /// Which orchestration.
    #[command(flatten)]
    pub target: TargetArgs,
    /// What this login is for: an agent, `client`, `gateway` or `coordinator`; by default whichever it may write as. Run it once
    /// with each role's credentials.
    #[arg(long)]
    pub role: Option<Writer>,
    /// The process that this login is permitted to be, whose name its inboxes have; by default a name of its own.
    #[arg(long, env = "BATON_PROCESS")]
    pub process: Option<ProcessId>,
}

/// A manifest.
#[derive(Debug, clap::Args)]
pub struct ManifestArgs {
    /// The file; `-` for standard input.
    pub manifest: PathBuf,
}

/// See [`Command::Health`].
#[derive(Debug, clap::Args)]
pub struct HealthArgs {
    /// Where it answers: see --health of the program.
    #[arg(default_value = "http://127.0.0.1:8081/readyz")]
    pub url: axum::http::Uri,
}

fn phase(text: &str) -> Result<Phase, String> {
    serde_json::from_value(text.into()).map_err(|_| "use working, waiting, completed, failed or cancelled".to_owned())
}
