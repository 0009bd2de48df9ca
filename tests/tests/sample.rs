//! The main job: the reference document's conversation, every agent in a process of its own.

use tests::processes::{command, output};

/// The document's Python sample output, as it is printed there.
const SAMPLE: &[&str] = &[
    "TriageAgent: Hello! Thank you for reaching out. How can I assist you today?",
    "User: I'd like to track the status of my order",
    "OrderStatusAgent: Sure, I can help you with that. Could you please provide me with your order ID?",
    "User: My order ID is 123",
    "OrderStatusAgent: Your order with ID 123 has been shipped and is expected to arrive in 2-3 days. Is there anything else I can assist you with?",
    "User: I want to return another order of mine",
    "OrderReturnAgent: I can help you with returning your order. Could you please provide the order ID for the return and the reason you'd like to return it?",
    "User: Order ID 321",
    "OrderReturnAgent: Please provide the reason for returning the order with ID 321.",
    "User: Broken item",
    "OrderReturnAgent: The return for your order with ID 321 has been successfully processed due to the broken item. Is there anything else I can assist you with?",
    "User: No, bye",
    "Task is completed with summary: Handled order return for order ID 321 due to a broken item, and successfully processed the return.",
];

#[tokio::test]
async fn the_demo_prints_the_documents_sample_conversation() {
    let output = output(command(&["demo"]).await.env("NO_COLOR", "1")).await;
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{stdout}\n{stderr}");
    let lines: Vec<&str> = stdout.lines().collect();
    assert_eq!(lines.len(), SAMPLE.len(), "{stdout}");
    for (line, expected) in lines.iter().zip(SAMPLE) {
        assert!(line.ends_with(expected), "{line:?} is not {expected:?}");
    }

    // Five programs and the broker, each a process of its own; and every line of an agent names the one that said it.
    let listed: Vec<(&str, &str)> = stderr.lines().filter_map(|line| line.trim().split_once(" pid ")).map(|(name, pid)| (name.trim(), pid.trim())).collect();
    let pid_of = |name: &str| listed.iter().find(|(listed, _)| *listed == name).unwrap_or_else(|| panic!("{name} is not listed:\n{stderr}")).1;
    let names = ["nats-server", "coordinator", "order-return", "order-status", "refund", "triage"];
    let pids: std::collections::BTreeSet<&str> = names.iter().map(|name| pid_of(name)).collect();
    assert_eq!(pids.len(), names.len(), "{stderr}");
    for (speaker, agent) in [("TriageAgent: ", "triage"), ("OrderStatusAgent: ", "order-status"), ("OrderReturnAgent: ", "order-return")] {
        let said = lines.iter().filter(|line| line.contains(speaker));
        for line in said {
            assert!(line.contains(&format!(" pid {}]", pid_of(agent))), "{line:?} was not said by the process of {agent}");
        }
    }
}
