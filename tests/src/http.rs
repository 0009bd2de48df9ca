//! A gateway's client for tests: requests and their answers as JSON, streams of server-sent events that can be cut off at any
//! byte and gone on with anywhere, and what somebody is shown who follows docs/gateway.md.
#![allow(clippy::expect_used, clippy::panic, reason = "used by tests only: a panic is how a test says that it cannot go on")]

use std::collections::VecDeque;
use std::net::SocketAddr;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use reqwest::header::{CONTENT_TYPE, HeaderMap};
use reqwest::{Method, RequestBuilder, Response};
use serde_json::{Value as Json, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::processes::PATIENCE;

/// A gateway, as a client sees it.
#[derive(Clone, Debug)]
pub struct Http {
    /// Where it listens.
    pub address: SocketAddr,
    origin: String,
    client: reqwest::Client,
}

/// What a gateway answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub text: String,
    /// The same as JSON; null when it is none.
    pub body: Json,
}

impl Http {
    /// The gateway at this address.
    pub fn at(address: SocketAddr) -> Self {
        // Built without a TLS provider, reqwest wants one, even where nothing is encrypted.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder().no_proxy().build().expect("a client");
        Self { address, origin: format!("http://{address}"), client }
    }

    /// Its origin: `http://127.0.0.1:8080`.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// A request that is yet to be sent.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.origin))
    }

    /// Sends a request.
    pub async fn send(&self, request: RequestBuilder) -> Answer {
        let response = respond(request).await;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = timeout(PATIENCE, response.text()).await.expect("an answer that ends in time").expect("a whole answer");
        Answer { status, headers, body: serde_json::from_str(&text).unwrap_or_default(), text }
    }

    /// Sends these bytes, whatever HTTP makes of them, and leaves the connection open; the status and the whole answer.
    pub async fn raw(&self, request: &[u8]) -> (u16, String) {
        let mut connection = TcpStream::connect(self.address).await.expect("a connection");
        connection.write_all(request).await.expect("a request that is read");
        let mut answer = Vec::new();
        let read = timeout(PATIENCE, connection.read_to_end(&mut answer)).await;
        read.expect("an answer that ends in time").expect("an answer");
        let answer = String::from_utf8(answer).expect("an answer of UTF-8");
        let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
        (status.unwrap_or_else(|| panic!("no status in {answer:?}")), answer)
    }

    /// GET.
    pub async fn get(&self, path: &str) -> Answer {
        self.send(self.request(Method::GET, path)).await
    }

    /// DELETE.
    pub async fn delete(&self, path: &str) -> Answer {
        self.send(self.request(Method::DELETE, path)).await
    }

    /// POST of JSON.
    pub async fn post(&self, path: &str, body: &Json) -> Answer {
        self.send(self.request(Method::POST, path).json(body)).await
    }

    /// The same, with an Idempotency-Key.
    pub async fn post_once(&self, path: &str, key: &str, body: &Json) -> Answer {
        self.send(self.request(Method::POST, path).header("idempotency-key", key).json(body)).await
    }

    /// Starts a conversation with a person who answers; its path.
    pub async fn start(&self, message: &str) -> String {
        let begun = self.post("/v1/conversations", &json!({ "message": message })).await.expect(201);
        format!("/v1/conversations/{}", begun.body.get("conversation").and_then(Json::as_str).expect("an id"))
    }

    /// Follows the conversation at `path`, from after the event `after`; nothing when all of it has been told.
    pub async fn follow(&self, path: &str, after: Option<&str>) -> Option<Events> {
        self.follow_from(&format!("{path}/events"), after).await
    }

    /// The same, for a path that has a query.
    pub async fn follow_from(&self, path: &str, after: Option<&str>) -> Option<Events> {
        let mut request = self.request(Method::GET, path);
        if let Some(after) = after {
            request = request.header("last-event-id", after);
        }
        let response = respond(request).await;
        match response.status().as_u16() {
            200 => Some(Events::of(response)),
            204 => None,
            status => panic!("{path} cannot be followed: {status} {}", response.text().await.unwrap_or_default()),
        }
    }
}

async fn respond(request: RequestBuilder) -> Response {
    timeout(PATIENCE, request.send()).await.expect("an answer in time").unwrap_or_else(|error| panic!("{error:?}"))
}

impl Answer {
    /// The same, if it has this status.
    ///
    /// # Panics
    /// If not.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.body);
        self
    }

    /// Sees that it is a problem as the document describes it; gives its detail.
    #[track_caller]
    pub fn problem(&self, status: u16, code: &str) -> &str {
        let field = |name: &str| self.body.get(name).unwrap_or_else(|| panic!("no {name} in {self:?}"));
        assert_eq!((self.status, field("code")), (status, &json!(code)), "{}", self.body);
        assert_eq!((field("status"), field("type")), (&json!(status), &json!(format!("urn:baton:problem:{code}"))));
        assert_eq!(self.header(CONTENT_TYPE.as_str()), Some("application/problem+json"));
        assert_eq!(self.header("retry-after").is_some(), [429, 503].contains(&status), "{:?}", self.headers);
        assert!(field("title").as_str().is_some_and(|title| !title.is_empty()));
        assert_eq!(self.body.as_object().map(serde_json::Map::len), Some(5), "{}", self.body);
        field("detail").as_str().filter(|detail| !detail.is_empty()).expect("a detail")
    }

    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// One server-sent event.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// Its id, if it has one.
    pub id: Option<String>,
    /// Its kind.
    pub event: String,
    /// Its data.
    pub data: Json,
}

/// Takes server-sent events apart as their bytes come.
#[derive(Debug, Default)]
pub struct Parser {
    rest: Vec<u8>,
    /// Comments so far.
    pub comments: usize,
    /// The pause that the stream asks for before somebody comes back, in milliseconds.
    pub retry_ms: Option<u64>,
}

impl Parser {
    /// What is complete with these bytes.
    pub fn take(&mut self, bytes: &[u8]) -> Vec<Message> {
        self.rest.extend_from_slice(bytes);
        let mut messages = Vec::new();
        while let Some(end) = self.rest.windows(2).position(|pair| pair == b"\n\n") {
            let frame: Vec<u8> = self.rest.drain(..end + 2).collect();
            messages.extend(self.frame(std::str::from_utf8(&frame).expect("UTF-8")));
        }
        messages
    }

    fn frame(&mut self, frame: &str) -> Option<Message> {
        let (mut id, mut event, mut data) = (None, None, None);
        for line in frame.trim_end_matches('\n').split('\n') {
            let (field, value) = line.split_once(':').unwrap_or_else(|| panic!("no field: {line:?}"));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "" => self.comments += 1,
                "retry" => self.retry_ms = Some(value.parse().expect("milliseconds")),
                "id" => assert_eq!(id.replace(value.to_owned()), None, "{frame:?}"),
                "event" => assert_eq!(event.replace(value.to_owned()), None, "{frame:?}"),
                // JSON is one line.
                "data" => assert_eq!(data.replace(serde_json::from_str(value).expect("JSON")), None, "{frame:?}"),
                other => panic!("no field of server-sent events: {other:?} in {frame:?}"),
            }
        }
        let data = data?;
        Some(Message { id, event: event.unwrap_or_else(|| panic!("no event in {frame:?}")), data })
    }
}

/// A stream of server-sent events. Dropping it cuts the connection, wherever it is in the middle of.
pub struct Events {
    bytes: BoxStream<'static, reqwest::Result<Bytes>>,
    /// How its bytes are read.
    pub parser: Parser,
    ready: VecDeque<Message>,
}

impl Events {
    fn of(response: Response) -> Self {
        let kind = response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        assert_eq!(kind, Some("text/event-stream"));
        Self { bytes: response.bytes_stream().boxed(), parser: Parser::default(), ready: VecDeque::new() }
    }

    /// The next event; none when the stream has ended, in order or not.
    pub async fn next(&mut self) -> Option<Message> {
        loop {
            if let Some(message) = self.ready.pop_front() {
                return Some(message);
            }
            let bytes = self.bytes.next().await?.ok()?;
            self.ready.extend(self.parser.take(&bytes));
        }
    }
}

/// What somebody sees who follows a conversation across streams, by the rules of docs/gateway.md: its events, and drafts of
/// answers that no event has confirmed. It panics at whatever must not come.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// The data of the events, in order.
    pub events: Vec<Json>,
    /// Live text that is not settled.
    pub drafts: Vec<Draft>,
    /// Answers of which live text was shown to the last letter before the event that made them true.
    pub read_live: Vec<String>,
    /// How often live text was withdrawn.
    pub resets: usize,
}

/// Live text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Draft {
    /// Who speaks.
    pub agent: String,
    /// What has been said.
    pub text: String,
    /// Whether that is all.
    pub is_final: bool,
}

impl View {
    /// The last event's id.
    pub fn last(&self) -> Option<&str> {
        self.events.last().map(|event| text(event, "id"))
    }

    /// The kinds of its events.
    pub fn kinds(&self) -> Vec<&str> {
        self.events.iter().map(|event| text(event, "kind")).collect()
    }

    /// What was answered, in order.
    pub fn answers(&self) -> Vec<&str> {
        let responses = self.events.iter().filter(|event| text(event, "kind") == "responded");
        responses.filter_map(|event| event.pointer("/data/text").and_then(Json::as_str)).filter(|text| !text.is_empty()).collect()
    }

    /// The last event's request, if it asks one.
    pub fn asked(&self) -> Option<&Json> {
        self.events.last()?.get("request")
    }

    /// Whether the conversation has ended.
    pub fn is_ended(&self) -> bool {
        self.events.last().is_some_and(|event| ["completed", "failed", "cancelled"].contains(&text(event, "kind")))
    }

    /// Follows a stream until it ends.
    pub async fn read(&mut self, mut events: Events) {
        while let Some(message) = timeout(PATIENCE, events.next()).await.expect("something to come in time") {
            self.take(&message);
        }
    }

    /// Follows a stream until `done`.
    pub async fn read_until(&mut self, events: &mut Events, mut done: impl FnMut(&Self) -> bool) {
        while !done(self) {
            let message = timeout(PATIENCE, events.next()).await.unwrap_or_else(|_| panic!("no more in time than {self:#?}"));
            self.take(&message.unwrap_or_else(|| panic!("the stream ended at {self:#?}")));
        }
    }

    /// Takes an event in.
    pub fn take(&mut self, message: &Message) {
        match (message.id.as_deref(), message.event.as_str()) {
            (None, "token") => self.token(&message.data),
            (None, "reset") => {
                self.drafts.clear();
                self.resets += 1;
            }
            (Some(id), kind) => {
                assert_eq!((text(&message.data, "id"), text(&message.data, "kind")), (id, kind));
                assert!(self.last().is_none_or(|last| place(last) < place(id)), "{id} comes after {:?}", self.last());
                self.event(&message.data);
            }
            (None, _) => panic!("an event without an id: {message:?}"),
        }
    }

    fn token(&mut self, token: &Json) {
        let (agent, piece) = (text(token, "agent"), text(token, "text"));
        let is_final = token.get("final").and_then(Json::as_bool).expect("whether it is final");
        match self.drafts.last_mut().filter(|draft| !draft.is_final) {
            Some(draft) => {
                assert_eq!(draft.agent, agent, "one draft, one speaker");
                draft.text.push_str(piece);
                draft.is_final = is_final;
            }
            None => self.drafts.push(Draft { agent: agent.to_owned(), text: piece.to_owned(), is_final }),
        }
    }

    fn event(&mut self, event: &Json) {
        let answer = event.pointer("/data/text").and_then(Json::as_str).filter(|text| !text.is_empty());
        if let Some(answer) = answer.filter(|_| text(event, "kind") == "responded" && !self.drafts.is_empty()) {
            let draft = self.drafts.remove(0);
            // What was shown is a promise about the journal.
            assert_eq!(draft, Draft { agent: text(event, "from").to_owned(), text: answer.to_owned(), is_final: true });
            self.read_live.push(draft.text);
        }
        self.events.push(event.clone());
    }
}

fn text<'a>(json: &'a Json, field: &str) -> &'a str {
    json.get(field).and_then(Json::as_str).unwrap_or_else(|| panic!("no text {field} in {json}"))
}

/// An event's place in its conversation.
fn place(id: &str) -> (u64, u32) {
    let (ordinal, index) = id.split_once('.').expect("an ordinal and an index");
    (ordinal.parse().expect("an ordinal"), index.parse().expect("an index"))
}
