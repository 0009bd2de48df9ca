//! Holding conversations from the command line, and looking at them.
#![allow(clippy::panic, clippy::unwrap_used, reason = "helpers of tests: a panic is how a test fails")]

use std::path::Path;
use std::process::Output;

use serde_json::{Value as Json, json};
use tests::dev::Dev;
use tests::processes::{Process, command, output};
use tests::sample::{SAMPLE, manifest, replies};

const TASK: &str = "A customer is on the line.";

async fn support(data: &Path) -> Dev {
    Dev::start(&manifest(), data).await
}

/// What a command that succeeds writes to standard output, and to standard error.
fn success(output: &Output) -> (String, String) {
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout).into_owned(), String::from_utf8_lossy(&output.stderr).into_owned());
    assert!(output.status.success(), "{stdout}\n{stderr}");
    (stdout, stderr)
}

async fn text(dev: &Dev, arguments: &[&str]) -> String {
    success(&output(&mut dev.command(arguments).await).await).0
}

/// A file with the first `count` of the sample's replies.
fn some_replies(directory: &Path, count: usize) -> String {
    let all = std::fs::read_to_string(replies()).unwrap();
    let path = directory.join(format!("{count}.txt"));
    std::fs::write(&path, all.lines().take(count).collect::<Vec<_>>().join("\n")).unwrap();
    path.to_str().unwrap().to_owned()
}

/// Standard output of a command, whose every line is JSON.
async fn lines(dev: &Dev, arguments: &[&str]) -> Vec<Json> {
    let (stdout, _) = success(&output(dev.command(arguments).await.args(["-o", "json"])).await);
    stdout.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

fn of_kind<'a>(lines: &'a [Json], kind: &str) -> Vec<&'a Json> {
    lines.iter().filter(|line| line["kind"] == kind).collect()
}

#[tokio::test]
async fn replies_come_from_a_file_or_a_pipe_and_the_result_is_text_or_json() {
    let data = tempfile::tempdir().unwrap();
    let dev = support(data.path()).await;
    let file = replies().to_str().unwrap().to_owned();

    let (stdout, stderr) = success(&output(&mut dev.command(&["run", TASK, "--replies", &file]).await).await);
    assert_eq!(stdout.lines().collect::<Vec<_>>(), SAMPLE);
    assert!(stderr.starts_with("conversation "), "{stderr}");
    assert!(stderr.contains("(OrderStatusAgent hands over to triage)"), "{stderr}");

    let mut piped = Process::start(dev.command(&["run", TASK, "--replies", "-"]).await);
    for reply in std::fs::read_to_string(&file).unwrap().lines() {
        piped.type_line(reply).await;
    }
    piped.close_input();
    let (status, said) = piped.end().await;
    assert!(status.success(), "{said}");
    assert!(SAMPLE.iter().all(|line| said.lines().any(|said| said == *line)), "{said}");

    let lines = lines(&dev, &["run", TASK, "--replies", &file]).await;
    assert_eq!(lines.first().unwrap()["kind"], "conversation");
    assert!(lines.first().unwrap()["conversation"].is_string());
    let said: Vec<String> = of_kind(&lines, "message")
        .iter()
        .map(|line| format!("{}: {}", line["name"].as_str().unwrap(), line["text"].as_str().unwrap()))
        .collect();
    let expected: Vec<&str> = SAMPLE.iter().filter(|line| line.contains("Agent: ")).copied().collect();
    assert_eq!(said, expected);
    assert_eq!(of_kind(&lines, "request").len(), 6, "one for each reply");
    let transfers: Vec<&str> = of_kind(&lines, "transfer").iter().map(|line| line["text"].as_str().unwrap()).collect();
    assert_eq!(transfers, ["transfer_to_order-status", "transfer_to_triage", "transfer_to_order-return"]);
    let outcome = lines.last().unwrap();
    assert_eq!(outcome, &json!({ "kind": "outcome", "outcome": "completed", "text": SAMPLE.last().unwrap() }));
}

#[tokio::test]
async fn a_conversation_without_more_replies_waits_and_is_gone_on_with() {
    let data = tempfile::tempdir().unwrap();
    let dev = support(data.path()).await;

    let (stdout, stderr) = success(&output(&mut dev.command(&["run", TASK, "--replies", &some_replies(data.path(), 2)]).await).await);
    assert_eq!(stdout.lines().collect::<Vec<_>>(), SAMPLE[..5]);
    assert!(stderr.contains("waits for a person; go on with it:\n  baton run"), "{stderr}");
    // What is printed is what is run.
    let printed = stderr.lines().last().unwrap().trim().to_owned();
    let arguments: Vec<&str> = printed.split(' ').skip(1).collect();
    let mut again = Process::start(command(&arguments).await);
    again.line(SAMPLE[4]).await;
    for place in [5, 7, 9, 11] {
        again.type_line(SAMPLE[place].strip_prefix("User: ").unwrap()).await;
        again.line(SAMPLE[place + 1]).await;
    }
    let (status, said) = again.end().await;
    assert!(status.success(), "{said}");

    // The same for programs.
    let waiting = lines(&dev, &["run", TASK, "--replies", &some_replies(data.path(), 0)]).await;
    let conversation = waiting[0]["conversation"].as_str().unwrap().to_owned();
    let last = waiting.last().unwrap();
    assert_eq!((&last["kind"], &last["conversation"]), (&json!("waiting"), &json!(conversation)));
    assert!(last["goOn"].as_str().unwrap().ends_with(&format!("--conversation {conversation}")), "{last}");

    // Whoever leaves is told how to come back; the conversation stays as it is.
    let mut left = Process::start(dev.command(&["run", "--conversation", &conversation]).await);
    left.line("TriageAgent: Hello!").await;
    left.interrupt().await;
    let (status, said) = left.end().await;
    assert_eq!(status.code(), Some(130), "{said}");
    assert!(said.contains(&format!("conversation {conversation} goes on without you; come back to it:\n  baton run")), "{said}");
    assert_eq!(dev.json(&["show", &conversation]).await["brief"]["phase"], "waiting");

    // The same key is the same conversation.
    let first = &lines(&dev, &["run", TASK, "--key", "order-7", "--replies", "/dev/null"]).await[0];
    let second = &lines(&dev, &["run", TASK, "--key", "order-7", "--replies", "/dev/null"]).await[0];
    assert_eq!(first, second);

    // Whoever has had enough says nothing.
    let mut enough = Process::start(dev.command(&["run", "--conversation", &conversation]).await);
    enough.line("TriageAgent: Hello!").await;
    enough.type_line("").await;
    enough.line("The conversation was ended by an empty message.").await;
    assert!(enough.end().await.0.success());

    // Without anybody to ask, the first answer is the result.
    let alone = lines(&dev, &["run", TASK, "--no-human"]).await;
    assert_eq!(alone.last().unwrap()["text"], SAMPLE[0].strip_prefix("TriageAgent: ").unwrap());
}

#[tokio::test]
async fn whoever_comes_back_reads_what_was_said_and_the_slower_one_is_told() {
    let data = tempfile::tempdir().unwrap();
    let dev = support(data.path()).await;
    let first = lines(&dev, &["run", TASK, "--replies", &some_replies(data.path(), 1)]).await;
    let conversation = first[0]["conversation"].as_str().unwrap().to_owned();

    let mut slow = Process::start(dev.command(&["run", "--conversation", &conversation]).await);
    for said in [&format!("User: {TASK}")[..], SAMPLE[0], SAMPLE[1], SAMPLE[2]] {
        assert_eq!(slow.line(": ").await, said);
    }
    let replies = some_replies(data.path(), 6);
    let rest = data.path().join("rest.txt");
    std::fs::write(&rest, std::fs::read_to_string(&replies).unwrap().lines().skip(1).collect::<Vec<_>>().join("\n")).unwrap();
    let (stdout, _) =
        success(&output(dev.command(&["run", "--conversation", &conversation]).await.args(["--replies", rest.to_str().unwrap()])).await);
    assert_eq!(stdout.lines().collect::<Vec<_>>(), [&[&format!("User: {TASK}")[..]], SAMPLE].concat(), "nothing twice");
    slow.line("there is nothing to answer here any more: somebody else has answered it").await;
    slow.line(SAMPLE.last().unwrap()).await;
    let (status, seen) = slow.end().await;
    // What is told and what is said come by two streams, and so in any order.
    assert!(status.success() && SAMPLE.iter().all(|line| seen.contains(line)), "{seen}");
}

#[tokio::test]
async fn conversations_are_listed_shown_and_called_off() {
    let data = tempfile::tempdir().unwrap();
    let dev = support(data.path()).await;
    let open = async |count: usize| {
        let replies = some_replies(data.path(), count);
        let lines = lines(&dev, &["run", TASK, "--replies", &replies]).await;
        lines[0]["conversation"].as_str().unwrap().to_owned()
    };
    let (greeted, tracking, done) = (open(0).await, open(1).await, open(6).await);

    let listed = async |arguments: &[&str]| {
        let listed = dev.json(&[&["list"], arguments].concat()).await;
        let ids = listed["conversations"].as_array().unwrap().iter().map(|shown| shown["conversation"].as_str().unwrap().to_owned());
        (ids.collect::<Vec<_>>(), listed["total"].as_u64().unwrap())
    };
    assert_eq!(listed(&[]).await, (vec![done.clone(), tracking.clone(), greeted.clone()], 3));
    assert_eq!(listed(&["--phase", "waiting"]).await, (vec![tracking.clone(), greeted.clone()], 2));
    assert_eq!(listed(&["--phase", "completed"]).await.0, [done.as_str()]);
    assert_eq!(listed(&["--agent", "order-status"]).await.0, [tracking.as_str()]);
    assert_eq!(listed(&["--agent", "triage", "--phase", "completed"]).await, (Vec::new(), 0));
    assert_eq!(listed(&["--idle", "86400"]).await.0, Vec::<String>::new());
    assert_eq!(listed(&["--limit", "1"]).await, (vec![done.clone()], 3));
    let table = text(&dev, &["list", "--limit", "2"]).await;
    let rows: Vec<&str> = table.lines().collect();
    assert!(rows[0].starts_with("CONVERSATION") && rows[1].starts_with(&done) && rows[2].starts_with(&tracking), "{table}");
    assert!(rows[1].contains("completed") && rows[1].contains("order-return") && rows[3] == "… and 1 more (--limit)", "{table}");

    let shown = dev.json(&["show", &tracking]).await;
    assert_eq!(
        (&shown["conversation"], &shown["orchestration"], &shown["isConsistent"]),
        (&json!(tracking), &json!("support"), &json!(true))
    );
    let kinds: Vec<&str> = shown["entries"].as_array().unwrap().iter().map(|entry| entry["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["opened", "asked", "replied", "transferred", "asked"]);
    let shown = text(&dev, &["show", &tracking]).await;
    assert!(shown.starts_with(&format!("{tracking} of support: waiting, owner order-status, revision ")), "{shown}");
    assert!(shown.contains("3  transferred   by triage (triage-") && shown.ends_with("waits for caller: request 4.1\n"), "{shown}");

    assert_eq!(text(&dev, &["cancel", &tracking, "--reason", "wrong number"]).await, format!("{tracking} is cancelled\n"));
    let shown = dev.json(&["show", &tracking]).await;
    assert_eq!(
        (&shown["brief"]["phase"], &shown["entries"][5]["events"][0]["data"]["reason"]),
        (&json!("cancelled"), &json!("wrong number"))
    );
    for (conversation, why) in
        [(&tracking, "has been cancelled already"), (&done, "has ended already (completed): there is nothing left to cancel")]
    {
        let again = output(&mut dev.command(&["cancel", conversation]).await).await;
        assert_eq!(again.status.code(), Some(1));
        let said = String::from_utf8_lossy(&again.stderr).into_owned();
        assert!(said.contains(conversation.as_str()) && said.contains(why), "{said}");
    }
    assert_eq!(dev.json(&["cancel", &greeted]).await["phase"], "cancelled");
}

#[tokio::test]
async fn a_manifest_is_validated_and_drawn_without_a_broker() {
    let directory = tempfile::tempdir().unwrap();
    let support = manifest();
    let run = async |arguments: &[&str]| output(&mut command(arguments).await).await;
    let (valid, _) = success(&run(&["validate", support.to_str().unwrap()]).await);
    let revision = valid.trim().strip_prefix("support is valid; its revision is ").unwrap();
    let (json, _) = success(&run(&["validate", support.to_str().unwrap(), "--output", "json"]).await);
    let expected = json!({ "isValid": true, "orchestration": "support", "revision": revision, "errors": [], "warnings": [] });
    assert_eq!(serde_json::from_str::<Json>(&json).unwrap(), expected);

    let bad = directory.path().join("bad.yaml");
    std::fs::write(&bad, std::fs::read_to_string(&support).unwrap().replace("start: triage", "start: triag")).unwrap();
    std::fs::copy(support.with_file_name("script.yaml"), directory.path().join("script.yaml")).unwrap();
    let failed = run(&["validate", bad.to_str().unwrap()]).await;
    assert_eq!(failed.status.code(), Some(1));
    let said = String::from_utf8_lossy(&failed.stderr).into_owned();
    assert!(said.contains("bad.yaml:9:10: spec.start: there is no agent \"triag\"") && said.contains("1 problem"), "{said}");
    let failed = run(&["validate", bad.to_str().unwrap(), "-o", "json"]).await;
    let report: Json = serde_json::from_slice(&failed.stdout).unwrap();
    assert_eq!((failed.status.code(), &report["isValid"], report["errors"].as_array().unwrap().len()), (Some(1), &json!(false), 1));

    let (mermaid, _) = success(&run(&["graph", support.to_str().unwrap()]).await);
    assert!(mermaid.starts_with("flowchart LR\n"), "{mermaid}");
    for line in ["  triage([\"TriageAgent\"])", "  refund[\"RefundAgent\"]", "  triage --> order-return", "  order-status --> triage"] {
        assert!(mermaid.lines().any(|drawn| drawn == line), "{line} is not in:\n{mermaid}");
    }
    let (json, _) = success(&run(&["graph", support.to_str().unwrap(), "-o", "json"]).await);
    assert_eq!(serde_json::from_str::<Json>(&json).unwrap(), json!({ "mermaid": mermaid }));
}
