//! What the gateway says of itself, in the document and for programs, and what it does.

use std::collections::{BTreeMap, BTreeSet};

use reqwest::Method;
use serde_json::{Value as Json, json};

use crate::stage::{Stage, desk};

const DOCUMENT: &str = include_str!("../../../docs/gateway.md");

/// `POST /v1/…`, with the statuses of success.
type Interface = BTreeMap<String, BTreeSet<u16>>;

/// The interface as the document's table lists it.
fn documented() -> Interface {
    let rows = DOCUMENT.lines().filter(|line| line.starts_with("| `"));
    let row = |row: &str| {
        let columns: Vec<&str> = row.split('|').collect();
        let statuses: BTreeSet<u16> = columns[3].split(|c: char| !c.is_ascii_digit()).filter_map(|word| word.parse().ok()).collect();
        let calls = columns[1].split('`').filter(|call| call.contains(" /")).map(str::to_owned);
        calls.map(|call| (call, statuses.clone())).collect::<Vec<_>>()
    };
    rows.flat_map(row).collect()
}

/// A path of the description as the document writes it.
fn short(path: &str) -> String {
    path.replace("{conversation}", "{id}")
}

fn operations(description: &Json) -> Vec<(String, String, &Json)> {
    let paths = description["paths"].as_object().unwrap().iter();
    let operations = paths.flat_map(|(path, item)| item.as_object().unwrap().iter().map(move |operation| (path, operation)));
    let operations = operations.filter(|(_, (method, _))| ["get", "post", "put", "patch", "delete"].contains(&method.as_str()));
    operations.map(|(path, (method, operation))| (method.to_uppercase(), path.clone(), operation)).collect()
}

fn statuses(operation: &Json) -> BTreeSet<u16> {
    operation["responses"].as_object().unwrap().keys().map(|status| status.parse().unwrap()).collect()
}

#[tokio::test]
async fn the_document_the_description_and_the_gateway_agree() {
    let mut stage = Stage::of(desk()).await;
    let gateway = stage.gateway().await;
    let description = gateway.get("/openapi.json").await.expect(200);
    assert_eq!(description.header("content-type"), Some("application/json"));
    let description = description.body;
    assert_eq!(description, serde_json::from_str::<Json>(&gateway::openapi()).unwrap());
    assert!(description["openapi"].as_str().unwrap().starts_with("3.1"));

    let described: Interface = operations(&description)
        .into_iter()
        .map(|(method, path, operation)| {
            let successes = statuses(operation).into_iter().filter(|status| (200..300).contains(status)).collect();
            (format!("{method} {}", short(&path)), successes)
        })
        .collect();
    let mut documented = documented();
    // These are served beside the interface.
    for (call, statuses) in [("GET /openapi.json", 200), ("GET /", 200), ("GET /livez", 200), ("GET /readyz", 200)] {
        let documented = documented.remove(call).unwrap_or_else(|| panic!("{call} is not documented"));
        assert!(documented.contains(&statuses));
        gateway.get(call.trim_start_matches("GET ")).await.expect(statuses);
    }
    assert_eq!(documented, described);

    // Every reference leads somewhere.
    let text = description.to_string();
    for reference in text.split(r##""$ref":"#"##).skip(1) {
        let pointer = reference.split('"').next().unwrap();
        assert!(description.pointer(pointer).is_some(), "{pointer}");
    }
}

#[tokio::test]
async fn whatever_is_wrong_with_a_call_is_answered_as_described() {
    let mut stage = Stage::of(desk()).await;
    let gateway = stage.gateway().await;
    let description = gateway.get("/openapi.json").await.expect(200).body;
    let open = gateway.start("Hello").await;
    let nobody = format!("{}x", &open[..open.len() - 1]);
    for (method, path, operation) in operations(&description) {
        let has_body = operation.get("requestBody").is_some();
        let filled = |conversation: &str, request: &str| {
            path.replace("/v1/conversations/{conversation}", conversation).replace("{request}", request)
        };
        let call = |path: &str| gateway.request(Method::from_bytes(method.as_bytes()).unwrap(), path);
        let body = |content: &str| call(&filled(&open, "99.0")).header("content-type", "application/json").body(content.to_owned());
        let mut bad = vec![
            (403, call(&filled(&open, "99.0")).header("origin", "https://evil.example")),
            (405, gateway.request(Method::PATCH, &filled(&open, "99.0"))),
        ];
        if path.contains("{conversation}") {
            let text = if path.ends_with("/claim") { json!({ "by": "Ann" }) } else { json!({ "text": "Hi" }) };
            bad.push((400, call(&filled("/v1/conversations/b%20d", "99.0")).json(&text)));
            bad.push((404, call(&filled(&nobody, "99.0")).json(&text)));
            bad.push((404, call(&format!("{}?orchestration=other", filled(&open, "99.0"))).json(&text)));
        }
        if has_body {
            bad.push((400, body("{")));
            bad.push((400, body(r#"{"unknown": 1}"#)));
            bad.push((413, body(&"x".repeat(70_000))));
            bad.push((415, call(&filled(&open, "99.0")).body("text")));
        }
        for (status, request) in bad {
            let answer = gateway.send(request).await;
            assert_eq!(answer.status, status, "{method} {path}: {}", answer.text);
            answer.problem(status, answer.body["code"].as_str().unwrap());
            // Of a method that it does not have, an operation says nothing.
            let described = operation["responses"].get(status.to_string());
            assert!(described.is_some() || status == 405, "{method} {path} does not say that it may answer {status}");
            let Some(described) = described else { continue };
            let schema = described.pointer("/content/application~1problem+json/schema/$ref");
            assert_eq!(schema, Some(&json!("#/components/schemas/Problem")));
            let fields = |object: &Json| object.as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>();
            assert_eq!(fields(&answer.body), fields(&description["components"]["schemas"]["Problem"]["properties"]));
        }
    }
}
