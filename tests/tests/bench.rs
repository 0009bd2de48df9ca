//! `baton bench`, for real and very small: what it says must be what happened, whatever the machine's speed.

use serde_json::Value as Json;
use tests::processes::{command, output};

const CONVERSATIONS: f64 = 2.0;
const HANDOFFS: f64 = 12.0;

fn number(json: &Json, pointer: &str) -> f64 {
    json.pointer(pointer).and_then(Json::as_f64).unwrap_or_else(|| panic!("{pointer} is no number in {json:#}"))
}

/// A figure of Baton's, of the raw loop, and what the one is of the other.
fn check_ratio(case: &Json, figure: &str) {
    let of = |key: &str| number(case, &format!("{figure}/{key}"));
    assert!(of("baton") > 0.0 && (of("ratio") - of("baton") / of("raw")).abs() < 1e-6, "{figure} in {case:#}");
}

/// One run of one shape with few and short conversations; its one case.
async fn bench(shape: &str) -> Json {
    let arguments = ["bench", "--shape", shape, "--conversations", "2", "--handoffs", "12", "--runs", "1", "-o", "json"];
    let output = output(&mut command(&arguments).await).await;
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{stderr}");
    let report: Json = serde_json::from_str(&stdout).unwrap();
    assert_eq!((&report["sync"], &report["runs"]), (&"always".into(), &1.into()), "{report:#}");
    assert_eq!((report["cases"].as_array().unwrap().len(), &report["cases"][0]["shape"]), (1, &shape.into()), "{report:#}");
    report["cases"][0].clone()
}

/// What must be right where agents do nothing but hand over.
fn check_rally(case: &Json) {
    assert_eq!(number(case, "/handoffs"), CONVERSATIONS * HANDOFFS, "{case:#}");
    // The opening, the handoffs, the end; on a machine that stalls for seconds also who took work over.
    assert!(number(case, "/entries") >= CONVERSATIONS * (HANDOFFS + 2.0), "{case:#}");
    for figure in ["/handoffsPerSecond", "/entriesPerSecond", "/broker/messagesIn", "/broker/bytesOut"] {
        check_ratio(case, figure);
    }
    let hop = |key: &str| number(case, &format!("/hopUs/{key}"));
    assert!(0.0 < hop("baton/p50") && hop("baton/p50") <= hop("baton/p99") && hop("ratioP50") > 0.0 && hop("ratioP99") > 0.0);
    // An item is delivered once and acked once, the opening and the handoffs; where everything stalls, now and then once more.
    let items = 1.0 + 1.0 / HANDOFFS;
    for of in ["deliveries", "acks"] {
        assert!((items - 1e-6..items * 1.5).contains(&number(case, &format!("/broker/{of}"))), "{of} in {case:#}");
    }
    // Only work that lay about for a second is looked at before it is done.
    assert!(number(case, "/broker/reads") < 1.0, "{case:#}");
    #[cfg(target_os = "linux")]
    check_processes(case);
}

#[cfg(target_os = "linux")]
fn check_processes(case: &Json) {
    for process in ["nats-server", "coordinator", "gateway", "ping", "pong", "bench", "total"] {
        let of = |figure: &str| number(case, &format!("/{figure}/{process}"));
        // In so short a time some may have nothing to do.
        let is_busy = !["coordinator", "gateway"].contains(&process);
        assert!(of("cpuSecondsPer1000") > 0.0 || !is_busy, "{process} in {case:#}");
        assert!(of("memoryIdleMb") > 0.0 && of("memoryPeakMb") > 0.0, "{process} in {case:#}");
    }
}

#[tokio::test]
async fn a_rally_stands_beside_the_raw_loop() {
    let case = bench("ping-pong").await;
    check_rally(&case);
    assert!(case.get("requestUs").is_none(), "nobody saw a request: {case:#}");
}

#[tokio::test]
async fn a_model_that_is_asked_over_http_tells_when() {
    let case = bench("request").await;
    check_rally(&case);
    assert!(number(&case, "/requestUs/baton/p50") > 0.0 && number(&case, "/requestUs/ratioP50") > 0.0);
}

#[tokio::test]
async fn people_are_played_too() {
    let case = bench("support").await;
    assert_eq!(number(&case, "/handoffs"), CONVERSATIONS * 3.0, "triage, order status, triage, order return: {case:#}");
    assert!(number(&case, "/answerUs/p50") > 0.0);
    check_cacheable_share(&case);
}

/// The definition's prompts, a script's answers: the same figures on every machine.
fn check_cacheable_share(case: &Json) {
    let share = |figure: &str| number(case, &format!("/cacheableShare/{figure}"));
    assert!(share("isolated/all") < 0.75 && share("isolated/afterHandoff") < 0.3, "{case:#}");
    assert!(share("sharedPrefix/all") >= 0.85 && share("sharedPrefix/afterHandoff") >= 0.8, "{case:#}");
    let new_bytes = |prompt: &str| (1.0 - share(&format!("{prompt}/all"))) * share(&format!("{prompt}/promptBytes"));
    assert!(new_bytes("sharedPrefix") < new_bytes("isolated"), "{case:#}");
}

#[tokio::test]
async fn those_who_were_parked_are_woken() {
    let case = bench("parked").await;
    assert_eq!((number(&case, "/handoffs"), number(&case, "/workItems")), (0.0, CONVERSATIONS), "{case:#}");
    assert_eq!(case["broker"]["per"], "work item");
    assert!(number(&case, "/wakeUs/first/p50") > 0.0 && number(&case, "/wakeUs/again/p99") > 0.0, "{case:#}");
}

#[tokio::test]
async fn an_endpoint_that_is_not_there_is_said() {
    let arguments = ["bench", "--shape", "ping-pong", "--conversations", "1", "--handoffs", "1", "--runs", "1"];
    let output = output(command(&arguments).await.args(["--base-url", "http://127.0.0.1:9/v1"])).await;
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && stderr.contains("failed"), "{stderr}");
}
