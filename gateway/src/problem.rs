//! Errors as `application/problem+json` (RFC 9457).

use std::collections::BTreeMap;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use client::{Classified, Status};
use journal::planted;
use serde::Serialize;
use utoipa::openapi::{ContentBuilder, Ref, RefOr, ResponseBuilder, response::Response as Described};
use utoipa::{IntoResponses, ToSchema};

/// When to try again, in seconds, where waiting helps.
const RETRY_SECS: u32 = 1;

/// Why a request was not served.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Problem {
    /// `urn:baton:problem:<code>`.
    #[serde(rename = "type")]
    kind: String,
    /// The status, in words.
    title: &'static str,
    /// The status.
    status: u16,
    /// What went wrong, in a stable word.
    code: String,
    /// What is wrong, and the way out.
    detail: String,
}

impl Problem {
    pub(crate) fn new(status: StatusCode, code: &str, detail: impl Into<String>) -> Self {
        Self {
            kind: format!("urn:baton:problem:{code}"),
            title: status.canonical_reason().unwrap_or("Error"),
            status: status.as_u16(),
            code: code.to_owned(),
            detail: detail.into(),
        }
    }

    /// A request that makes no sense.
    pub(crate) fn invalid(code: &str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, detail)
    }
}

impl<E: Classified> From<E> for Problem {
    fn from(error: E) -> Self {
        let (status, code) = error.classify();
        let status = match status {
            Status::Invalid => StatusCode::BAD_REQUEST,
            Status::NotFound => StatusCode::NOT_FOUND,
            Status::Gone => StatusCode::GONE,
            Status::Conflict => StatusCode::CONFLICT,
            Status::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Status::Timeout => StatusCode::GATEWAY_TIMEOUT,
            Status::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Status::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        };
        if status == StatusCode::INTERNAL_SERVER_ERROR {
            tracing::error!(code, "{error}");
        }
        Self::new(status, code, error.to_string())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, serde_json::to_vec(&self).unwrap_or_default()).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        let is_passing = matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT | StatusCode::TOO_MANY_REQUESTS);
        if is_passing && !planted::is("comes-back-whenever") {
            headers.insert(header::RETRY_AFTER, RETRY_SECS.into());
        }
        response
    }
}

/// The problems that any request of the interface may meet.
pub(crate) struct Problems;

impl IntoResponses for Problems {
    fn responses() -> BTreeMap<String, RefOr<Described>> {
        let statuses = [
            (400, "The request makes no sense as it is."),
            (403, "A page of another origin may not ask this."),
            (404, "There is no such thing."),
            (408, "The body did not come in time."),
            (409, "Somebody was faster, or it is over."),
            (410, "It has been erased."),
            (413, "It is too large."),
            (415, "The body is not JSON."),
            (429, "Too many requests are under way: try again after Retry-After."),
            (500, "Something is wrong with the system itself."),
            (503, "The broker or coordinator is away: repeat the same request after Retry-After."),
            (504, "There was no answer in time, and it may have happened: repeat the same request, under the same key, after Retry-After."),
        ];
        let content = || ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
        let response = |text: &str| ResponseBuilder::new().description(text).content("application/problem+json", content()).build();
        statuses.into_iter().map(|(status, text)| (status.to_string(), RefOr::T(response(text)))).collect()
    }
}
