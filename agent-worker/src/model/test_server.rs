//! A server on this machine for the tests of models and tools.

use std::future::Future;
use std::sync::{Arc, Mutex};

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, Method, Uri};
use axum::response::Response;
use protocol::event::Json;

/// One request as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Arrived {
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Arrived {
    pub(crate) fn json(&self) -> Json {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

/// A server; ends with the test's runtime.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) url: String,
    arrived: Arc<Mutex<Vec<Arrived>>>,
}

impl Server {
    /// `answer` is given the number of the request, counted from 0.
    pub(crate) async fn start<R>(answer: impl Fn(usize) -> R + Clone + Send + Sync + 'static) -> Self
    where
        R: Future<Output = Response> + Send,
    {
        let arrived: Arc<Mutex<Vec<Arrived>>> = Arc::default();
        let seen = arrived.clone();
        let handler = move |request: Request| async move {
            let (parts, body) = request.into_parts();
            let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
            let number = {
                let mut seen = seen.lock().unwrap();
                seen.push(Arrived { method: parts.method, uri: parts.uri, headers: parts.headers, body });
                seen.len() - 1
            };
            answer(number).await
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, axum::Router::new().fallback(handler)).await });
        Self { url, arrived }
    }

    pub(crate) fn arrived(&self) -> Vec<Arrived> {
        self.arrived.lock().unwrap().clone()
    }
}

pub(crate) fn reply(status: u16, headers: &[(&str, &str)], body: impl Into<Body>) -> Response {
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(*name, *value);
    }
    response.body(body.into()).unwrap()
}
