//! The reference document's conversation.

use std::path::{Path, PathBuf};

/// The document's Python sample output, as it is printed there.
pub const SAMPLE: &[&str] = &[
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

/// The orchestration that plays it.
pub fn manifest() -> PathBuf {
    example("support.yaml")
}

/// The person's lines, one each.
pub fn replies() -> PathBuf {
    example("replies.txt")
}

fn example(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/support").join(file)
}
