//! The main job: the reference document's conversation, every agent in a process of its own.

use tests::processes::{command, output};
use tests::sample::SAMPLE;

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
    let listed: Vec<(&str, &str)> =
        stderr.lines().filter_map(|line| line.trim().split_once(" pid ")).map(|(name, pid)| (name.trim(), pid.trim())).collect();
    let pid_of =
        |name: &str| listed.iter().find(|(listed, _)| *listed == name).unwrap_or_else(|| panic!("{name} is not listed:\n{stderr}")).1;
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

#[tokio::test]
async fn the_demo_kills_the_owner_in_mid_sentence_and_in_mid_refund_and_counts_what_came_of_it() {
    let output = output(command(&["demo", "--crash", "--output", "json"]).await.env("NO_COLOR", "1")).await;
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{stdout}\n{stderr}");
    let told: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((&told["killed"], told["takeoverMs"].as_array().unwrap().len()), (&2.into(), 2), "{told}");
    assert_eq!(told["sentence"]["recorded"], 1, "{told}");
    assert_eq!((&told["refund"]["paid"], &told["refund"]["resultsRecorded"]), (&1.into(), &1.into()), "{told}");
    assert_eq!(told["result"], "Order 321 was paid back.");
    assert_eq!(stderr.matches("signal: 9").count(), 2, "{stderr}");
}
