//! What people say: messages, answers, decisions, claims.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use client::{Accepted, Claim, Decision};
use protocol::event::Verdict;
use protocol::ids::ConversationId;

use super::Which;
use crate::extract::{Body, Key, OfConversation, OfRequest, Query, id};
use crate::problem::{Problem, Problems};
use crate::{App, said, view};

/// Say something, or answer the question that is open
#[utoipa::path(
    post,
    path = "/v1/conversations/{conversation}/messages",
    request_body = said::Reply,
    params(("conversation" = String, Path), Which, Key),
    responses((status = 201, body = view::Stored), (status = 200, body = view::Stored, description = "It had been said before"), Problems)
)]
pub(super) async fn say(
    State(app): State<Arc<App>>,
    OfConversation(conversation): OfConversation,
    Query(which): Query<Which>,
    Key { key }: Key,
    Body(reply): Body<said::Reply>,
) -> Result<Response, Problem> {
    let edge = app.edge(which.orchestration.as_deref())?;
    let request = reply.request.as_deref().map(id).transpose()?;
    let accepted = edge.client.reply(&conversation, &client::Reply { request, key, ..client::Reply::bare(reply.text) }).await?;
    Ok(stored(&conversation, accepted))
}

/// Decide a request, or answer this very question
#[utoipa::path(
    post,
    path = "/v1/conversations/{conversation}/requests/{request}",
    request_body = said::Answer,
    params(("conversation" = String, Path), ("request" = String, Path, example = "3.1"), Which, Key),
    responses((status = 201, body = view::Stored), (status = 200, body = view::Stored, description = "It had been decided so before, by this key"), Problems)
)]
pub(super) async fn answer(
    State(app): State<Arc<App>>,
    OfConversation(conversation): OfConversation,
    OfRequest(request): OfRequest,
    Query(which): Query<Which>,
    Key { key }: Key,
    Body(answer): Body<said::Answer>,
) -> Result<Response, Problem> {
    let edge = app.edge(which.orchestration.as_deref())?;
    let action = answer.action.map(said::Action::read).transpose()?;
    let accepted = match (answer.text, answer.verdict) {
        (Some(text), None) => {
            let reply = client::Reply { request: Some(request), text, action, value: answer.value, by: answer.by, key };
            edge.client.reply(&conversation, &reply).await?
        }
        (None, Some(verdict)) if action.is_none() && answer.value.is_none() => {
            let arguments_hash = answer.arguments_hash.as_deref().map(id).transpose()?;
            let verdict = Verdict::from(verdict);
            if verdict == Verdict::Approved && arguments_hash.is_none() {
                let detail = "who approves must say what: send the `arguments_hash` of the request that was seen";
                return Err(Problem::invalid("arguments_hash_needed", detail));
            }
            let decision = Decision { request, verdict, arguments_hash, note: answer.note, by: answer.by, key };
            edge.client.decide(&conversation, &decision).await?
        }
        _ => {
            return Err(Problem::invalid("bad_body", "answer with exactly one of `text` (to a question) and `verdict` (to anything else)"));
        }
    };
    Ok(stored(&conversation, accepted))
}

/// Take a desk's request, or put it back
#[utoipa::path(
    post,
    path = "/v1/conversations/{conversation}/requests/{request}/claim",
    request_body = said::Claim,
    params(("conversation" = String, Path), ("request" = String, Path, example = "3.1"), Which, Key),
    responses((status = 201, body = view::Stored), (status = 200, body = view::Stored, description = "It had been claimed so before, by this key"), Problems)
)]
pub(super) async fn claim(
    State(app): State<Arc<App>>,
    OfConversation(conversation): OfConversation,
    OfRequest(request): OfRequest,
    Query(which): Query<Which>,
    Key { key }: Key,
    Body(claim): Body<said::Claim>,
) -> Result<Response, Problem> {
    let edge = app.edge(which.orchestration.as_deref())?;
    let claim = Claim { request, by: claim.by, how: claim.how.into(), key };
    Ok(stored(&conversation, edge.client.claim(&conversation, &claim).await?))
}

fn stored(conversation: &ConversationId, accepted: Accepted) -> Response {
    let status = if accepted.is_repeat { StatusCode::OK } else { StatusCode::CREATED };
    (status, Json(view::Stored::new(conversation, accepted))).into_response()
}
