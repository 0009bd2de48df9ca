//! Semantic Kernel's handoff sample, in Rust. `cargo run --example support`; `-- --help` lists its other forms.
#![expect(clippy::print_stdout, reason = "a program for people")]
use baton::prelude::*;
use std::io::{IsTerminal, Write, stderr, stdin, stdout};

#[derive(serde::Deserialize, schemars::JsonSchema)]
struct Order {
    /// The order's number.
    order_id: String,
}

fn orchestration() -> Result<Orchestration, Invalid> {
    let agent = |name: &str, display: &str, job: &str, work: &str| {
        AgentDef::new(name).display_name(display).description(format!("A customer support agent that {job}.")).instructions(work)
    };
    let triage = agent("triage", "TriageAgent", "triages issues", "Handle customer requests.");
    let refund = agent("refund", "RefundAgent", "handles refunds", "Handle refund requests.").tool("process_refund");
    let status = agent("order-status", "OrderStatusAgent", "checks order status", "Handle order status requests.");
    let returns = agent("order-return", "OrderReturnAgent", "handles order returns", "Handle order return requests.");
    let (status, returns) = (status.tool("check_order_status"), returns.tool("process_return"));
    let about = |issue: &str| format!("Transfer to this agent if the issue is {issue} related");
    // Without OPENAI_API_KEY a script plays the model, and says so.
    let support = Orchestration::builder("support")
        .model("default", ModelSpec::openai("${OPENAI_MODEL:-gpt-5-mini}").base_url("${OPENAI_BASE_URL:-}").or_else("rehearsal"))
        .model("rehearsal", ModelSpec::script(include_str!("script.yaml"))?)
        .agents([&triage, &refund, &status, &returns])
        .start_with(&triage)
        .add_many(&triage, [(&refund, about("refund")), (&status, about("order status")), (&returns, about("order return"))])
        .add_described(&refund, &triage, about("not refund"))
        .add_described(&status, &triage, about("not order status"))
        .add_described(&returns, &triage, about("not order return"));
    Ok(support.build()?.into())
}

fn orders() -> Functions {
    Functions::new()
        .add("check_order_status", "Check the status of an order.", |Order { order_id }| async move {
            format!("Order {order_id} is shipped and will arrive in 2-3 days.")
        })
        .add("process_refund", "Process a refund for an order.", |Order { order_id }| async move {
            format!("Refund for order {order_id} has been processed successfully.")
        })
        .add("process_return", "Process a return for an order.", |Order { order_id }| async move {
            format!("Return for order {order_id} has been processed successfully.")
        })
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    // No runtime: this process was a worker or the coordinator, and has been told to stop.
    let Some(runtime) = Runtime::from_args(orchestration()?, orders()).await? else { return Ok(()) };
    let callbacks = Callbacks::default().on_message(agent_response).on_token(streaming_agent_response).on_question(human_response());
    let handle = runtime.invoke("A customer is on the line.", callbacks).await?;
    println!("Task is completed with summary: {}", handle.get_as::<String>(None).await?);
    runtime.stop_when_idle().await;
    Ok(())
}

fn agent_response(line: &Line) -> Result<(), BoxError> {
    if let Content::Text(text) = &line.content {
        println!("{}: {text}", line.name);
    }
    Ok(())
}

/// Shows at a terminal that an answer is being written; the message itself follows in one piece.
fn streaming_agent_response(token: &Token) -> Result<(), BoxError> {
    if let (Token::Text { agent, is_final, .. }, true) = (token, stderr().is_terminal()) {
        write!(stderr(), "\r\x1b[K{}", if *is_final { String::new() } else { format!("{agent} is writing …") })?;
    }
    Ok(())
}

/// What is typed, or the sample's six lines where nobody types.
fn human_response() -> impl FnMut(Question) -> futures::future::BoxFuture<'static, Result<Answer, BoxError>> {
    let mut replies = include_str!("replies.txt").lines();
    move |_| {
        let reply = replies.next().filter(|_| !stdin().is_terminal());
        Box::pin(async move {
            print!("User: {}", reply.map(|reply| format!("{reply}\n")).unwrap_or_default());
            stdout().flush()?;
            let Some(reply) = reply else {
                let typed = tokio::task::spawn_blocking(|| stdin().lines().next().transpose()).await??;
                return Ok(typed.unwrap_or_default().into());
            };
            Ok(reply.into())
        })
    }
}
