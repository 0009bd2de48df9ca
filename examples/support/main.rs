//! Semantic Kernel's handoff sample, in Rust. `cargo run --example support`; `-- --help` lists its other forms.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program for people")]
use baton::prelude::*;

#[derive(serde::Deserialize, schemars::JsonSchema)]
struct Order {
    order_id: String,
}

#[derive(serde::Deserialize, schemars::JsonSchema)]
struct Complaint {
    order_id: String,
    reason: String,
}

fn orders() -> Functions {
    Functions::new()
        .add("check_order_status", "Check the status of an order.", |Order { order_id }| async move {
            format!("Order {order_id} is shipped and will arrive in 2-3 days.")
        })
        .add("process_refund", "Process a refund for an order.", |Complaint { order_id, reason }| async move {
            eprintln!("Processing refund for order {order_id} due to: {reason}");
            format!("Refund for order {order_id} has been processed successfully.")
        })
        .add("process_return", "Process a return for an order.", |Complaint { order_id, reason }| async move {
            eprintln!("Processing return for order {order_id} due to: {reason}");
            format!("Return for order {order_id} has been processed successfully.")
        })
}

fn support() -> Result<Checked, Invalid> {
    let agent = |name: &str, display_name: &str, job: &str| {
        AgentDef::new(name).display_name(display_name).description(format!("A customer support agent that {job}."))
    };
    let triage = agent("triage", "TriageAgent", "triages issues").instructions("Handle customer requests.");
    let refund = agent("refund", "RefundAgent", "handles refunds").instructions("Handle refund requests.").tool("process_refund");
    let status = agent("order-status", "OrderStatusAgent", "checks order status").instructions("Handle order status requests.");
    let returns = agent("order-return", "OrderReturnAgent", "handles order returns").instructions("Handle order return requests.");
    let (status, returns) = (status.tool("check_order_status"), returns.tool("process_return"));
    let about = |issue: &str| format!("Transfer to this agent if the issue is {issue} related");
    Orchestration::builder("support")
        .model("default", ModelSpec::from_env().or_else("rehearsal")) // without a model's key or address a script plays it
        .model("rehearsal", ModelSpec::script(include_str!("script.yaml"))?)
        .agents([&triage, &refund, &status, &returns])
        .start_with(&triage)
        .add_many(&triage, [(&refund, about("refund")), (&status, about("order status")), (&returns, about("order return"))])
        .add_many_to(&triage, [(&refund, about("not refund")), (&status, about("not order status")), (&returns, about("not order return"))])
        .build()
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let Some(runtime) = Runtime::from_args(support()?, orders()).await? else { return Ok(()) }; // it was a worker, and has stopped
    let callbacks = Callbacks::default().on_message(terminal::agent_response).on_token(terminal::streaming_agent_response);
    let callbacks = callbacks.on_question(terminal::human_response_or(include_str!("replies.txt")));
    let handle = runtime.invoke("A customer is on the line.", callbacks).await?;
    println!("Task is completed with summary: {}", handle.get_as::<String>(None).await?);
    runtime.stop_when_idle().await;
    Ok(())
}
