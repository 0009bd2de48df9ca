//! Following: what is asked for. `events` answers.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::Deserialize;
use utoipa::IntoParams;

use crate::App;
use crate::events::{self, Wanted};
use crate::extract::{OfConversation, Query, id};
use crate::problem::{Problem, Problems};

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Following {
    /// Which orchestration; may be left out where the gateway serves one.
    orchestration: Option<String>,
    /// The last event that was seen: what comes after it is wanted. `Last-Event-ID` says the same, and wins.
    #[param(example = "3.1")]
    after: Option<String>,
    /// Whether live text is wanted.
    #[serde(default = "is_wanted")]
    #[param(default = true)]
    tokens: bool,
}

const fn is_wanted() -> bool {
    true
}

/// Follow a conversation, as server-sent events
///
/// Events with an id are `Happened`; `token` and `reset` have none.
#[utoipa::path(
    get,
    path = "/v1/conversations/{conversation}/events",
    params(("conversation" = String, Path), Following, ("last-event-id" = Option<String>, Header, description = "The last event that was seen", example = "3.1")),
    responses((status = 200, body = String, content_type = "text/event-stream"), (status = 204, description = "It has ended, and everything has been told"), Problems)
)]
pub(super) async fn follow(
    State(app): State<Arc<App>>,
    OfConversation(conversation): OfConversation,
    Query(following): Query<Following>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let edge = app.edge(following.orchestration.as_deref())?;
    let seen = headers.get("last-event-id").map(|value| value.to_str().unwrap_or("?")).or(following.after.as_deref());
    let after = seen.filter(|seen| !seen.is_empty()).map(id).transpose()?;
    let wanted = Wanted { conversation, after, tokens: following.tokens };
    let permit = Arc::clone(&app.streams).try_acquire_owned().map_err(|_| {
        let detail = format!("this gateway serves {} streams: ask another one, or try again", app.config.streams_max);
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too_many_streams", detail)
    })?;
    events::answer(Arc::clone(edge), wanted, permit, app.stop.clone()).await
}
