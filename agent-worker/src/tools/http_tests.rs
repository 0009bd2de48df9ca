//! Against a server on this machine.

use serde_json::json;

use super::*;
use crate::model::test_server::{Arrived, Server, reply};
use crate::model::test_support::http;
use crate::tools::test_support::call;

fn tool(method: &str, url: &str) -> Result<HttpTool, String> {
    let headers =
        BTreeMap::from([("Authorization".to_owned(), "Bearer ${TOKEN}".to_owned()), ("Baton-Epoch".to_owned(), "forged".to_owned())]);
    let environment = |name: &str| (name == "TOKEN").then(|| "t-1".to_owned());
    HttpTool::new(&endpoint(method, url, headers), &environment, http())
}

fn endpoint(method: &str, url: &str, headers: BTreeMap<String, String>) -> HttpEndpoint {
    HttpEndpoint { method: method.to_owned(), url: url.to_owned(), headers, places: BTreeMap::new() }
}

/// The one request that a call makes.
async fn sent(method: &str, path: &str, arguments: Json) -> Result<Arrived, String> {
    let server = Server::start(|_| std::future::ready(reply(200, &[], "done"))).await;
    let tool = tool(method, &format!("{}{path}", server.url)).unwrap();
    let outcome = tool.run(call("t", arguments)).await.map_err(|error| error.0);
    let arrived = server.arrived();
    assert_eq!(arrived.len(), usize::from(outcome.is_ok()), "{outcome:?}");
    assert_eq!(outcome?, "done");
    Ok(arrived[0].clone())
}

async fn shown_for(status: u16, body: impl Into<Vec<u8>>) -> Result<String, String> {
    let body = body.into();
    let server = Server::start(move |_| std::future::ready(reply(status, &[], body.clone()))).await;
    tool("GET", &server.url).unwrap().run(call("t", json!({}))).await.map_err(|error| error.0)
}

#[tokio::test]
async fn arguments_go_to_their_places() {
    let arguments = json!({ "id": 7, "verbose": true, "tags": ["a b", 2, null], "filter": { "x": 1 }, "none": null });
    let get = sent("GET", "/orders/{id}?fixed=1", arguments.clone()).await.unwrap();
    assert_eq!(get.uri.to_string(), "/orders/7?fixed=1&verbose=true&tags=a+b&tags=2&filter=%7B%22x%22%3A1%7D");
    assert!(get.body.is_empty());
    let delete = sent("DELETE", "/orders/{id}", json!({ "id": "a-1" })).await.unwrap();
    assert_eq!((delete.method.as_str(), delete.uri.to_string().as_str()), ("DELETE", "/orders/a-1"));
    for method in ["POST", "PUT", "PATCH"] {
        let arrived = sent(method, "/orders/{id}?by={verbose}", arguments.clone()).await.unwrap();
        assert_eq!((arrived.method.as_str(), arrived.uri.to_string().as_str()), (method, "/orders/7?by=true"));
        assert_eq!(arrived.json(), json!({ "tags": ["a b", 2, null], "filter": { "x": 1 }, "none": null }));
        assert_eq!(arrived.header("content-type"), Some("application/json"));
    }
}

#[tokio::test]
async fn a_definition_says_which_arguments_go_where() {
    let server = Server::start(|_| std::future::ready(reply(200, &[], "done"))).await;
    let sent = async |method: &str, places: &[(&str, Place)], arguments: Json| {
        let places = places.iter().map(|(name, place)| ((*name).to_owned(), place.clone())).collect();
        let endpoint = HttpEndpoint { places, ..endpoint(method, &format!("{}/orders/{{id}}", server.url), BTreeMap::new()) };
        HttpTool::new(&endpoint, &|_| None, http()).unwrap().run(call("t", arguments)).await.map(|_| server.arrived().pop().unwrap())
    };
    let named = |name: &str| name.to_owned();
    let places = [
        ("filter_by", Place::Query(named("filter[by]"))),
        ("x_tenant", Place::Header(named("X-Tenant"))),
        ("first_name", Place::Field(named("first name"))),
    ];
    let arguments = json!({ "id": 7, "filter_by": ["a", "b"], "x_tenant": 5, "first_name": "Ann" });
    let arrived = sent("POST", &places, arguments).await.unwrap();
    assert_eq!(arrived.uri.to_string(), "/orders/7?filter%5Bby%5D=a&filter%5Bby%5D=b");
    assert_eq!((arrived.header("x-tenant"), arrived.json()), (Some("5"), json!({ "first name": "Ann" })));
    assert_eq!(sent("POST", &places, json!({ "id": 7 })).await.unwrap().json(), json!({}));

    let whole = [("body", Place::Body)];
    assert_eq!(sent("PUT", &whole, json!({ "id": 7, "body": [1, 2] })).await.unwrap().json(), json!([1, 2]));
    assert!(sent("PUT", &whole, json!({ "id": 7 })).await.unwrap().body.is_empty());
    assert_eq!(sent("DELETE", &whole, json!({ "id": 7, "body": { "why": "late" } })).await.unwrap().json(), json!({ "why": "late" }));
    let error = sent("POST", &places, json!({ "id": 7, "x_tenant": "a\r\nb" })).await.unwrap_err().0;
    assert_eq!(error, "What is given for the header X-Tenant cannot stand in one. Nothing was called.");
}

#[tokio::test]
async fn an_argument_cannot_leave_its_place() {
    for (value, path) in [
        ("a/b", "/orders/a%2Fb/items?q=a%2Fb"),
        ("../admin", "/orders/..%2Fadmin/items?q=..%2Fadmin"),
        ("x?y=1#z&w", "/orders/x%3Fy%3D1%23z%26w/items?q=x%3Fy%3D1%23z%26w"),
        ("%2e%2e", "/orders/%252e%252e/items?q=%252e%252e"),
        ("\r\nHost: x \\ é{q}", "/orders/%0D%0AHost%3A%20x%20%5C%20%C3%A9%7Bq%7D/items?q=%0D%0AHost%3A%20x%20%5C%20%C3%A9%7Bq%7D"),
    ] {
        let arrived = sent("GET", "/orders/{id}/items?q={id}", json!({ "id": value })).await.unwrap();
        assert_eq!(arrived.uri.to_string(), path, "{value:?}");
    }
    for value in ["", ".", ".."] {
        let error = sent("GET", "/orders/{id}/items", json!({ "id": value })).await.unwrap_err();
        assert!(error.ends_with("Nothing was called."), "{error}");
    }
    assert_eq!(sent("GET", "/orders?q={id}", json!({ "id": "" })).await.unwrap().uri.to_string(), "/orders?q=");
    assert!(sent("GET", "/.{id}/x", json!({ "id": "." })).await.is_err());
    for missing in [json!({}), json!({ "id": null }), Json::Null] {
        assert_eq!(sent("GET", "/orders/{id}", missing).await.unwrap_err(), "The argument id is missing. Nothing was called.");
    }
}

#[tokio::test]
async fn every_request_says_whose_call_it_is() {
    let arrived = sent("POST", "/", json!({})).await.unwrap();
    assert_eq!(arrived.header("authorization"), Some("Bearer t-1"));
    assert_eq!((arrived.header("idempotency-key"), arrived.header("baton-undoes")), (Some("key-1"), Some("key-0")));
    assert_eq!(arrived.header("baton-epoch"), Some("7"));
    let conversation = call("t", json!({})).conversation.to_string();
    assert_eq!(arrived.header("baton-conversation"), Some(conversation.as_str()));
}

#[tokio::test]
async fn what_a_service_says_is_shown_up_to_a_size() {
    assert_eq!(shown_for(200, "{\"a\": 1}").await.unwrap(), "{\"a\": 1}");
    assert_eq!(shown_for(204, "").await.unwrap(), "204 No Content");
    assert_eq!(shown_for(200, "x".repeat(ANSWER_BYTES_MAX)).await.unwrap().len(), ANSWER_BYTES_MAX);
    // é takes two bytes, of which the cut leaves one.
    let long = shown_for(200, format!("x{}", "é".repeat(ANSWER_BYTES_MAX))).await.unwrap();
    let (body, note) = long.split_once('\n').unwrap();
    assert_eq!((body.len(), body.chars().last()), (ANSWER_BYTES_MAX - 1, Some('é')));
    assert_eq!(note, "[The answer is longer: only its first 65536 bytes are shown.]");
}

#[tokio::test]
async fn an_answer_that_is_no_success_is_an_error_with_its_status_and_words() {
    assert_eq!(shown_for(404, "no such order").await.unwrap_err(), "The service answers 404 Not Found: no such order");
    assert_eq!(shown_for(500, "").await.unwrap_err(), "The service answers 500 Internal Server Error");
    assert_eq!(shown_for(302, "").await.unwrap_err(), "The service answers 302 Found");
    assert!(shown_for(400, "x".repeat(1 << 20)).await.unwrap_err().len() < 3000);
}

#[tokio::test]
async fn a_call_whose_effect_is_unknown_says_so() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/?key=hidden", listener.local_addr().unwrap());
    let closing = tokio::spawn(async move {
        for _ in 0..2 {
            drop(listener.accept().await.unwrap());
        }
    });
    for (method, is_unknown) in [("POST", true), ("GET", false)] {
        let error = tool(method, &url).unwrap().run(call("t", json!({}))).await.unwrap_err().0;
        assert!(error.starts_with("The service did not answer: ") && !error.contains("hidden"), "{error}");
        assert_eq!(error.ends_with("It is unknown whether the call took effect."), is_unknown, "{error}");
    }
    closing.await.unwrap();
    let error = tool("POST", &url).unwrap().run(call("t", json!({}))).await.unwrap_err().0;
    assert!(error.starts_with("The service cannot be reached: ") && error.ends_with("Nothing was called."), "{error}");
}

#[test]
fn no_secret_is_printed() {
    let tool = tool("GET", "http://x/?token=${TOKEN}").unwrap();
    assert_eq!(format!("{tool:?}"), "HttpTool { method: GET, .. }");
}

#[test]
fn a_definition_that_cannot_be_used_is_refused() {
    for (method, url, expected) in [
        ("GET", "http://${NOWHERE}/", "its URL: the environment variable NOWHERE is not set: set it, or write ${NOWHERE:-default}"),
        ("GET", "orders/{id}", "its URL has a placeholder in the host: only the path and the query may have some"),
        ("GET", "https://{host}/", "its URL has a placeholder in the host: only the path and the query may have some"),
        ("GET", "https://shop.{domain}/", "its URL has a placeholder in the host: only the path and the query may have some"),
        ("GET", "file:///etc/{name}", "its URL is no http(s) URL"),
        ("GET", "orders", "its URL is no http(s) URL"),
        ("NO WAY", "http://x", "\"NO WAY\" is no HTTP method"),
    ] {
        assert_eq!(tool(method, url).unwrap_err(), expected);
    }
    let header = |name: &str, value: &str| {
        let headers = BTreeMap::from([(name.to_owned(), value.to_owned())]);
        HttpTool::new(&endpoint("GET", "http://x", headers), &|_| Some("line\nbreak".to_owned()), http()).unwrap_err()
    };
    assert_eq!(header("X Y", "z"), "\"X Y\" is no name of an HTTP header");
    assert_eq!(header("X-Key", "${KEY}"), "its header `X-Key` has characters that no header may have");
}
