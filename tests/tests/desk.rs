//! A desk: people who play an agent, at the terminal, as processes that come and go.

use serde_json::Value as Json;
use tests::dev::Dev;
use tests::processes::Process;

const DEFINITION: &str = "
apiVersion: baton/v1alpha1
kind: Orchestration
metadata: { name: shop }
spec:
  start: triage
  models:
    default:
      provider: scripted
      script:
        - { user: all is well, say: Good., complete: Billing has solved it. }
        - { say: One moment., transfer: billing, arguments: { reason: paid twice } }
  agents:
    triage: { displayName: TriageAgent, instructions: Triage., handoffs: [{ to: billing, when: Bills }] }
    billing: { displayName: Billing, description: People., desk: { name: till, timeout: TIMEOUT }, handoffs: [{ to: triage, when: Else }] }
";

/// As above, but nothing goes without a value: the desk hands over with an order and ends with an amount, and what is
/// refunded wants a supervisor's approval.
const TYPED: &str = "
apiVersion: baton/v1alpha1
kind: Orchestration
metadata: { name: shop }
spec:
  start: billing
  output: { type: object, properties: { paid: { type: integer } }, required: [paid] }
  models:
    default:
      provider: scripted
      script:
        - { tool: pay, say: Refunded., transfer: billing }
        - { say: I refund it., call: pay }
  tools: { bank: { template: { tools: { pay: { description: Pays., reply: Paid., effect: side-effect, approval: 'role:supervisor' } } } } }
  agents:
    refund: { displayName: Refund, description: Refunds., instructions: Refund., tools: [{ from: bank }], handoffs: [{ to: billing, when: Done }] }
    billing:
      displayName: Billing
      description: People.
      desk: { name: till }
      handoffs:
        - { to: refund, when: Refunds, payload: { type: object, properties: { order: { type: integer } }, required: [order] } }
";

async fn shop(timeout: &str, data: &std::path::Path) -> Dev {
    let file = data.join("shop.yaml");
    std::fs::write(&file, DEFINITION.replace("TIMEOUT", timeout)).unwrap();
    Dev::start(&file, data).await
}

async fn desk(dev: &Dev, by: &str) -> Process {
    Process::start(dev.command(&["desk", "--name", "till", "--by", by, "--plain"]).await)
}

async fn customer(dev: &Dev) -> Process {
    Process::start(dev.command(&["chat", "I paid twice", "--plain"]).await)
}

async fn queue(dev: &Dev) -> Vec<Json> {
    dev.json(&["list", "--audience", "desk:till"]).await["conversations"].as_array().unwrap().clone()
}

#[tokio::test]
async fn people_serve_a_customer_across_their_own_restarts() {
    let data = tempfile::tempdir().unwrap();
    let dev = shop("1h", data.path()).await;
    let (mut ann, mut customer) = (desk(&dev, "Ann").await, customer(&dev).await);

    ann.line("  1  ").await;
    ann.type_line("/take").await;
    ann.lines(&["User: I paid twice", "TriageAgent: One moment.", "triage → billing: paid twice", "your turn, due in"]).await;

    // Nobody else answers what is taken; it can be looked at, and is not free.
    let mut bea = desk(&dev, "Bea").await;
    assert!(bea.line("  1  ").await.ends_with("taken by Ann"));
    bea.line("also at desk:till: Ann (for ").await;
    assert_eq!(dev.json(&["list", "--audience", "desk:till"]).await["people"].as_array().unwrap().len(), 2);
    bea.type_line("/take 1").await;
    bea.line("is being served by Ann").await;
    let [open] = queue(&dev).await.try_into().unwrap();
    assert_eq!(open["brief"]["requests"][0]["claimed_by"], "Ann");
    let none: Vec<Json> = Vec::new();
    assert_eq!(dev.json(&["list", "--audience", "desk:other"]).await["conversations"], Json::from(none));

    ann.type_line("Which invoice?").await;
    customer.line("Billing: Which invoice?").await;
    bea.line("nothing waits").await;
    ann.kill();
    ann.end().await;
    customer.type_line("Number 17").await;

    // It came back to Ann while she was away.
    assert!(bea.line("  1  ").await.ends_with("taken by Ann"));
    bea.type_line("/queue").await;
    bea.line("nobody else is at desk:till").await;
    let mut ann = desk(&dev, "Ann").await;
    ann.lines(&["Billing: Which invoice?", "User: Number 17", "your turn"]).await;
    ann.type_line("It is paid back.").await;
    customer.line("Billing: It is paid back.").await;
    customer.type_line("Then all is well").await;
    ann.lines(&["User: Then all is well", "your turn"]).await;
    ann.type_line("/transfer refund").await;
    ann.line("billing hands over to triage, not to refund").await;
    ann.type_line("/back nothing left for us").await;

    customer.line("Task is completed with summary: Billing has solved it.").await;
    assert!(customer.end().await.0.success());
    ann.line("billing → triage: nothing left for us").await;
    ann.line("nothing waits").await;
    ann.terminate();
    ann.end().await;
}

#[tokio::test]
async fn a_request_is_taken_over_from_somebody_who_is_gone_and_another_is_put_back() {
    let data = tempfile::tempdir().unwrap();
    let dev = shop("1h", data.path()).await;
    let (mut ann, mut customer) = (desk(&dev, "Ann").await, customer(&dev).await);
    ann.line("  1  ").await;
    ann.type_line("/take").await;
    ann.line("your turn").await;
    let mut bea = desk(&dev, "Bea").await;
    bea.line("taken by Ann").await;
    bea.type_line("/take!").await;
    bea.line("your turn").await;
    ann.line("Bea has it now").await;
    bea.type_line("/release").await;
    bea.line("it waits for somebody else").await;
    ann.line_that("shows it free", |line| line.ends_with(" min")).await;
    ann.type_line("/take").await;
    ann.line("your turn").await;
    ann.type_line("/done Paid back by hand.").await;
    customer.line("Task is completed with summary: Paid back by hand.").await;
    ann.line("Task is completed with summary: Paid back by hand.").await;
}

#[tokio::test]
async fn what_nobody_answers_in_time_fails_where_everybody_sees_it() {
    let data = tempfile::tempdir().unwrap();
    let dev = shop("2s", data.path()).await;
    let (mut ann, mut customer) = (desk(&dev, "Ann").await, customer(&dev).await);
    ann.line("  1  ").await;
    customer.line("human_timeout").await;
    ann.line("nothing waits").await;
    assert!(queue(&dev).await.is_empty());
}

#[tokio::test]
async fn people_hand_over_and_end_with_values_and_approve_in_a_role() {
    let data = tempfile::tempdir().unwrap();
    let file = data.path().join("shop.yaml");
    std::fs::write(&file, TYPED).unwrap();
    let dev = Dev::start(&file, data.path()).await;
    let mut customer = customer(&dev).await;
    let mut ann = desk(&dev, "Ann").await;
    ann.line("  1  ").await;
    ann.type_line("/take").await;
    ann.line("your turn").await;

    for (typed, told) in [
        ("/transfer refund paid twice", r#"first comes a value as JSON, then the words: {"order": integer}"#),
        ("/transfer refund {order: 7}", "this is no JSON, key must be a string"),
        (r#"/transfer refund {"order": "7"} paid twice"#, r#"at "/order": "7" is not of type "integer""#),
        ("/done Paid.", r#"first comes a value as JSON, then the words: {"paid": integer}"#),
        (r#"/done {"paid": 1.5} Paid."#, "1.5 is not of type"),
        (r#"/done {"paid": 1}"#, "say what was done"),
    ] {
        ann.type_line(typed).await;
        ann.line(told).await;
    }
    let [open] = queue(&dev).await.try_into().unwrap();
    assert_eq!(open["kind"], "claimed", "nothing was sent");
    ann.type_line(r#"/transfer refund {"order": 7} paid twice"#).await;
    ann.line("billing → refund: paid twice").await;

    let mut eve = Process::start(dev.command(&["desk", "--role", "supervisor", "--by", "Eve", "--plain"]).await);
    eve.line("  1  ").await;
    eve.type_line("/take").await;
    eve.line("asks").await;
    eve.type_line("maybe").await;
    eve.line("That decides nothing").await;
    eve.type_line("yes, it is theirs").await;
    eve.line("Refund has it now").await;

    ann.line("  1  ").await;
    ann.type_line("/take").await;
    ann.lines(&["Refund: Refunded.", "your turn"]).await;
    ann.type_line(r#"/done {"paid": 7} Paid back."#).await;
    customer.line("Task is completed with summary: Paid back.").await;

    let conversation = open["conversation"].as_str().unwrap();
    let shown = dev.json(&["show", conversation]).await.to_string();
    for said in [r#""payload":{"order":7}"#, r#""value":{"paid":7}"#, r#""by":"Eve""#] {
        assert!(shown.contains(said), "{said} is not in {shown}");
    }
}
