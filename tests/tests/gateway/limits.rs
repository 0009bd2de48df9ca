//! What is refused, and in which words.

use reqwest::Method;
use serde_json::json;
use tests::http::Http;
use tests::processes::eventually;
use tokio_util::sync::CancellationToken;

use crate::stage::{Stage, desk, id};

const LISTED: &str = "https://shop.example";
const BODY_BYTES_MAX: usize = 64 << 10;

/// A gateway that pages of another origin may use, and that serves two streams.
async fn stage() -> (Stage, Http) {
    let mut stage = Stage::of(desk()).await;
    let settings = stage.next_gateway();
    let change = |config: &mut gateway::Config| (config.origins, config.streams_max) = (vec![LISTED.parse().unwrap()], 2);
    let address = stage.programs.gateway_with(&settings, CancellationToken::new(), change).await;
    (stage, Http::at(address))
}

/// A request to start a conversation, as it goes over the wire, but for its body.
fn head(framing: &str) -> String {
    format!(
        "POST /v1/conversations HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nConnection: close\r\n{framing}\r\n\r\n"
    )
}

#[tokio::test]
async fn bodies_are_json_of_a_bounded_size_and_depth() {
    let (_stage, gateway) = stage().await;
    let start = "/v1/conversations";
    let fits = json!({ "message": "x".repeat(BODY_BYTES_MAX - r#"{"message":""}"#.len()) });
    assert_eq!(fits.to_string().len(), BODY_BYTES_MAX);
    gateway.post(start, &fits).await.expect(201);

    // Announced, it is refused before it comes; without an announcement once it is too much.
    let (status, answer) = gateway.raw(head(&format!("Content-Length: {}", BODY_BYTES_MAX + 1)).as_bytes()).await;
    assert!(status == 413 && answer.contains(r#""code":"too_large""#) && answer.contains("application/problem+json"), "{answer}");
    let chunk = format!("4000\r\n{}\r\n", "x".repeat(0x4000));
    let (status, answer) = gateway.raw((head("Transfer-Encoding: chunked") + &chunk.repeat(5)).as_bytes()).await;
    assert!(status == 413 && answer.contains(r#""code":"too_large""#), "{answer}");
    let (status, answer) = gateway.raw((head("Transfer-Encoding: chunked") + "11\r\n{\"message\": \"Hi\"}\r\n0\r\n\r\n").as_bytes()).await;
    assert_eq!(status, 201, "{answer}");

    let send = async |kind: Option<&str>, body: String| {
        let request = gateway.request(Method::POST, start).body(body);
        gateway.send(kind.into_iter().fold(request, |request, kind| request.header("content-type", kind))).await
    };
    for kind in [None, Some("text/plain"), Some("application/x-www-form-urlencoded"), Some("application/jsonp")] {
        send(kind, fits.to_string()).await.problem(415, "not_json");
    }
    let json = Some("application/json; charset=utf-8");
    send(json, r#"{"message": "Hi"}"#.to_owned()).await.expect(201);
    for body in ["", "{", "[]", "null", "\u{feff}{}", r#"{"message": 1}"#, r#"{"message": "a", "message": "b"}"#] {
        send(json, body.to_owned()).await.problem(400, "bad_body");
    }
    // What is let in can be recorded.
    let nested = |levels: usize| format!("{}1{}", "[".repeat(levels), "]".repeat(levels));
    send(json, format!(r#"{{"value": {}}}"#, nested(30))).await.expect(201);
    send(json, format!(r#"{{"message": "Hi", "metadata": {{"a": {}}}}}"#, nested(29))).await.expect(201);
    for levels in [31, 30_000] {
        send(json, format!(r#"{{"value": {}}}"#, nested(levels))).await.problem(400, "too_deep");
    }

    let path = gateway.start("Hello").await;
    for (path, body) in [
        (start.to_owned(), json!({ "message": "Hi", "mesage": "Hi" })),
        (start.to_owned(), json!({ "messages": [{ "text": "Hi", "mesage": "Hi" }] })),
        (format!("{path}/messages"), json!({ "text": "Hi", "mesage": "Hi" })),
        (format!("{path}/requests/1.0"), json!({ "text": "Hi", "mesage": "Hi" })),
    ] {
        let answer = gateway.post(&path, &body).await;
        let detail = answer.problem(400, "bad_body");
        assert!(detail.contains("`mesage`"), "{detail}");
    }
    for name in ["caller", "tenant"] {
        let long = |bytes: usize| json!({ "message": "Hi", name: "n".repeat(bytes) });
        gateway.post(start, &long(256)).await.expect(201);
        assert!(gateway.post(start, &long(257)).await.problem(400, "bad_body").contains(name));
    }
    // Whatever is in a text is a text.
    let odd = "a\r\nNats-Msg-Id: x\0\u{1f600}";
    let body = json!({ "message": odd, "caller": odd, "tenant": odd, "metadata": { odd: odd } });
    let begun = gateway.post(start, &body).await.expect(201);
    let mut events = gateway.follow(begun.header("location").unwrap(), None).await.unwrap();
    assert_eq!(events.next().await.unwrap().data["data"]["input"][0]["text"], odd);
}

#[tokio::test]
async fn paths_methods_ids_queries_and_keys_are_checked() {
    let (_stage, gateway) = stage().await;
    let path = gateway.start("Hello").await;
    let get = async |path: String| gateway.get(&path).await;
    for unknown in ["/v2/conversations", "/v1", "/v1/conversations/", "/favicon.ico", "//", &format!("{path}/nothing")] {
        get(unknown.to_owned()).await.problem(404, "unknown_path");
    }
    for (method, path) in [
        (Method::PUT, "/v1/conversations"),
        (Method::DELETE, "/v1/conversations"),
        (Method::OPTIONS, "/v1/conversations"),
        (Method::POST, "/v1/orchestrations"),
        (Method::GET, &format!("{path}/messages")),
        (Method::POST, &format!("{path}/events")),
        (Method::POST, "/"),
    ] {
        let answer = gateway.send(gateway.request(method, path)).await;
        answer.problem(405, "wrong_method");
        assert!(answer.header("allow").is_some_and(|allow| !allow.is_empty()), "{answer:?}");
    }

    for bad in ["a.b", "*", "%3E", "%20", "%FF", "%00", "..%2F..", &"x".repeat(300)] {
        let (conversation, body) = (format!("/v1/conversations/{bad}"), json!({ "text": "Hi" }));
        get(conversation.clone()).await.problem(400, "bad_id");
        get(format!("{conversation}/events")).await.problem(400, "bad_id");
        gateway.delete(&conversation).await.problem(400, "bad_id");
        gateway.post(&format!("{conversation}/messages"), &body).await.problem(400, "bad_id");
        gateway.post(&format!("{path}/requests/{bad}"), &body).await.problem(400, "bad_id");
    }
    gateway.post(&format!("{path}/messages"), &json!({ "text": "Hi", "request": "1" })).await.problem(400, "bad_id");
    for query in ["events?after=x", "events?after=1.", "events?after=-1.0"] {
        get(format!("{path}/{query}")).await.problem(400, "bad_id");
    }
    let seen = gateway.request(Method::GET, &format!("{path}/events")).header("last-event-id", "first");
    gateway.send(seen).await.problem(400, "bad_id");

    let nobody = format!("{}x", &path[..path.len() - 1]);
    let body = json!({ "text": "Hi" });
    get(nobody.clone()).await.problem(404, "unknown_conversation");
    get(format!("{nobody}/events")).await.problem(404, "unknown_conversation");
    gateway.delete(&nobody).await.problem(404, "unknown_conversation");
    gateway.post(&format!("{nobody}/messages"), &body).await.problem(404, "unknown_conversation");
    gateway.post(&format!("{nobody}/requests/1.0"), &body).await.problem(404, "unknown_conversation");

    for query in ["limit=0", "limit=1001", "limit=many", "phase=odd", "idle_secs=-1"] {
        get(format!("/v1/conversations?{query}")).await.problem(400, "bad_query");
    }
    get("/v1/conversations?agent=no.agent".to_owned()).await.problem(400, "bad_id");
    get(format!("{path}/events?tokens=maybe")).await.problem(400, "bad_query");
    let other = get(format!("{path}?orchestration=other")).await;
    assert!(other.problem(404, "unknown_orchestration").contains("desk"));
    gateway.post("/v1/conversations", &json!({ "message": "Hi", "orchestration": "b a d" })).await.problem(404, "unknown_orchestration");

    let start = json!({ "message": "Hello" });
    for key in ["", " ", "a b", "clé", &"k".repeat(256)] {
        gateway.post_once("/v1/conversations", key, &start).await.problem(400, "bad_key");
    }
    gateway.post_once("/v1/conversations", &"k".repeat(255), &start).await.expect(201);
    assert_eq!(get(path.clone()).await.expect(200).body["conversation"], id(&path));
}

#[tokio::test]
async fn pages_of_other_origins_are_kept_out() {
    let (_stage, gateway) = stage().await;
    let own = gateway.origin().to_owned();
    let from = async |method: Method, path: &str, headers: &[(&'static str, &str)]| {
        let request = headers.iter().fold(gateway.request(method, path), |request, (name, value)| request.header(*name, *value));
        gateway.send(request).await
    };
    let list = "/v1/conversations";
    for path in [list, "/", "/openapi.json", "/nothing"] {
        for origin in ["https://evil.example", "null", "http://127.0.0.1:1", "https://shop.example.evil.example"] {
            from(Method::GET, path, &[("origin", origin)]).await.problem(403, "foreign_origin");
        }
        // A name that somebody's DNS points at this machine.
        let rebound = from(Method::GET, path, &[("host", "evil.example"), ("origin", "http://evil.example")]).await;
        rebound.problem(403, "foreign_host");
        from(Method::GET, path, &[("host", "evil.example")]).await.problem(403, "foreign_host");
    }
    // What a page asks for in the background says so even without an origin; a link that somebody follows is none of that.
    let (site, mode) = (("sec-fetch-site", "cross-site"), "sec-fetch-mode");
    from(Method::GET, list, &[site, (mode, "no-cors")]).await.problem(403, "foreign_origin");
    from(Method::GET, "/", &[site, (mode, "navigate")]).await.expect(200);
    from(Method::GET, list, &[("origin", LISTED), ("origin", "https://evil.example")]).await.problem(403, "foreign_origin");

    let preflight = [("access-control-request-method", "POST"), ("access-control-request-headers", "content-type")];
    let asks = |origin: &'static str| [&preflight[..], &[("origin", origin)]].concat();
    let refused = from(Method::OPTIONS, list, &asks("https://evil.example")).await;
    refused.problem(403, "foreign_origin");
    assert_eq!(refused.header("access-control-allow-origin"), None);

    let own = from(Method::GET, list, &[("origin", &own)]).await.expect(200);
    assert_eq!(own.header("access-control-allow-origin"), None);
    let admitted = from(Method::OPTIONS, list, &asks(LISTED)).await.expect(204);
    assert_eq!(admitted.header("access-control-allow-origin"), Some(LISTED));
    for needed in ["GET", "POST", "DELETE"] {
        assert!(admitted.header("access-control-allow-methods").unwrap().contains(needed));
    }
    for needed in ["content-type", "idempotency-key", "last-event-id"] {
        assert!(admitted.header("access-control-allow-headers").unwrap().contains(needed));
    }
    let listed = from(Method::GET, list, &[("origin", LISTED)]).await.expect(200);
    assert_eq!((listed.header("access-control-allow-origin"), listed.header("vary")), (Some(LISTED), Some("origin")));
    // A refusal is one that the page can read.
    let refused = from(Method::GET, "/v1/conversations?limit=0", &[("origin", LISTED)]).await;
    refused.problem(400, "bad_query");
    assert_eq!(refused.header("access-control-allow-origin"), Some(LISTED));
    let proxied = from(Method::GET, list, &[("host", "shop.example"), ("origin", LISTED)]).await;
    assert_eq!(proxied.expect(200).header("access-control-allow-origin"), Some(LISTED));

    for path in [list, "/", "/livez", "/nothing", "/openapi.json"] {
        let answer = gateway.get(path).await;
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{path}");
        assert!(answer.header("cache-control").is_some_and(|control| control.starts_with("no-")), "{path}: {answer:?}");
    }
}

#[tokio::test]
async fn one_stream_too_many_is_sent_elsewhere() {
    let (_stage, gateway) = stage().await;
    let path = gateway.start("Hello").await;
    let following = format!("{path}/events");
    let (first, _second) = (gateway.follow(&path, None).await.unwrap(), gateway.follow(&path, None).await.unwrap());
    gateway.get(&following).await.problem(503, "too_many_streams");
    gateway.get(&path).await.expect(200);
    drop(first);
    let status = async || gateway.request(Method::GET, &following).send().await.unwrap().status();
    eventually("a place to be free", async || status().await.is_success().then_some(())).await;
}
