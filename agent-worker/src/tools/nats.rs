//! Tools that are NATS services.

use std::time::Duration;

use async_trait::async_trait;
use journal::{Headers, RequestError, Shared};
use telemetry::context;

use super::clip::{ANSWER_BYTES_MAX, ERROR_BYTES_MAX, clipped};
use super::{Tool, ToolCall, ToolError};

/// What a service says that it failed with (ADR-32): words, and a number in the manner of HTTP.
const SERVICE_ERROR: &str = "Nats-Service-Error";
const SERVICE_ERROR_CODE: &str = "Nats-Service-Error-Code";

/// A service that answers at a subject ([`ToolSource::Nats`](protocol::orchestration::ToolSource::Nats)): a call is a request with
/// its arguments as JSON over the worker's own connection, and the answer's text is the result.
///
/// Every request carries `Idempotency-Key`, `Baton-Undoes`, `Baton-Epoch`, `Baton-Conversation` and `traceparent`, as those of HTTP tools do.
#[derive(Debug)]
pub struct NatsTool {
    subject: String,
    timeout: Duration,
    broker: Shared,
}

impl NatsTool {
    /// A tool that asks at `subject`.
    pub fn new(subject: &str, timeout: Duration, broker: Shared) -> Self {
        Self { subject: subject.to_owned(), timeout, broker }
    }

    fn unanswered(&self, error: &RequestError) -> ToolError {
        ToolError(match error {
            RequestError::NoResponders(subject) => format!("The service does not run: nobody answers at {subject}. Nothing was called."),
            RequestError::Refused(reason) => format!("The request was refused: {reason}. Nothing was called."),
            RequestError::Timeout(_) => {
                format!("The service at {} did not answer in time. It is unknown whether the call took effect.", self.subject)
            }
        })
    }
}

#[async_trait]
impl Tool for NatsTool {
    async fn run(&self, call: ToolCall) -> Result<String, ToolError> {
        let headers = call_headers(&call);
        let arguments = call.arguments.to_string();
        let answer = self.broker.ask_with(&self.subject, headers, arguments.into(), self.timeout).await;
        let answer = answer.map_err(|error| self.unanswered(&error))?;
        let text = String::from_utf8_lossy(&answer.payload).into_owned();
        let header = |name: &str| answer.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str());
        if header(SERVICE_ERROR).is_some() || header(SERVICE_ERROR_CODE).is_some() {
            let said = [header(SERVICE_ERROR_CODE), header(SERVICE_ERROR), Some(text.as_str())];
            let said: Vec<&str> = said.into_iter().flatten().filter(|part| !part.is_empty()).collect();
            return Err(ToolError(clipped(format!("The service answers with an error: {}", said.join(" ")), ERROR_BYTES_MAX)));
        }
        Ok(if text.is_empty() { "The service has done it, without a word.".to_owned() } else { clipped(text, ANSWER_BYTES_MAX) })
    }
}

fn call_headers(call: &ToolCall) -> Headers {
    let trace = context::current();
    let (parent, state) = trace.map_or((None, None), |trace| (Some(trace.traceparent), trace.tracestate));
    let headers = [
        ("Idempotency-Key", Some(call.idempotency_key.clone())),
        ("Baton-Undoes", call.undoes.clone()),
        ("Baton-Epoch", Some(call.epoch.0.to_string())),
        ("Baton-Conversation", Some(call.conversation.to_string())),
        ("traceparent", parent),
        ("tracestate", state),
    ];
    headers.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use futures::StreamExt;
    use journal::memory::Memory;
    use journal::{Bus, Delivery};
    use serde_json::json;

    use super::*;
    use crate::tools::test_support::call;

    /// What the tool makes of an answer, and the request as it arrived.
    async fn asked(headers: &[(&str, &str)], payload: impl Into<Bytes>) -> (Result<String, String>, Delivery) {
        let memory = Memory::new();
        let mut requests = memory.listen("orders.status", Some("q")).await.unwrap();
        let tool = NatsTool::new("orders.status", Duration::from_secs(60), Arc::new(memory.clone()));
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let (result, request) = tokio::join!(tool.run(call("t", json!({ "order": 7 }))), async {
            let request = requests.next().await.unwrap();
            memory.say_with(request.reply.as_ref().unwrap(), headers, payload.into()).await;
            request
        });
        (result.map_err(|error| error.0), request)
    }

    #[tokio::test]
    async fn a_call_is_a_request_that_says_whose_it_is() {
        let (result, request) = asked(&[], "It arrives tomorrow.").await;
        assert_eq!(result.unwrap(), "It arrives tomorrow.");
        assert_eq!(request.payload, r#"{"order":7}"#);
        let header = |name: &str| request.headers[name].as_str();
        assert_eq!((header("Idempotency-Key"), header("Baton-Undoes"), header("Baton-Epoch")), ("key-1", "key-0", "7"));
        assert_eq!(header("Baton-Conversation"), call("t", json!({})).conversation.as_str());
    }

    #[tokio::test]
    async fn an_error_of_a_service_is_one_of_the_tool() {
        let headers = [("Nats-Service-Error", "no such order"), ("Nats-Service-Error-Code", "404")];
        assert_eq!(asked(&headers, "").await.0.unwrap_err(), "The service answers with an error: 404 no such order");
        let lower = [("nats-service-error", "busy")];
        assert_eq!(asked(&lower, "try later").await.0.unwrap_err(), "The service answers with an error: busy try later");
    }

    #[tokio::test]
    async fn what_is_shown_is_bounded_and_never_empty() {
        let long = asked(&[], vec![b'x'; 1 << 20]).await.0.unwrap();
        assert!(long.len() < ANSWER_BYTES_MAX + 100 && long.ends_with("are shown.]"));
        assert_eq!(asked(&[], "").await.0.unwrap(), "The service has done it, without a word.");
    }

    #[tokio::test]
    async fn a_service_that_does_not_run_is_told_from_one_that_does_not_answer() {
        let memory = Memory::new();
        let tool = NatsTool::new("orders.status", Duration::from_millis(300), Arc::new(memory.clone()));
        let nobody = tool.run(call("t", json!({}))).await.unwrap_err().0;
        assert_eq!(nobody, "The service does not run: nobody answers at orders.status. Nothing was called.");
        let _mute = memory.listen("orders.status", None).await.unwrap();
        let silent = tool.run(call("t", json!({}))).await.unwrap_err().0;
        assert_eq!(silent, "The service at orders.status did not answer in time. It is unknown whether the call took effect.");
    }
}
