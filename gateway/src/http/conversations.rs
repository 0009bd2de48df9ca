//! Conversations themselves: started, listed, shown, called off.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use client::Input;
use protocol::brief::Phase;
use protocol::event::Message;
use protocol::query::{LISTED_MAX, ListQuery};
use serde::Deserialize;
use telemetry::spans;
use tracing::Span;
use utoipa::{IntoParams, ToSchema};

use super::Which;
use crate::extract::{Body, Key, OfConversation, Query, id};
use crate::problem::{Problem, Problems};
use crate::{App, said, view};

/// Conversations in a list, where nothing else is said.
const LISTED: usize = 50;
/// What a caller's or a tenant's name may have.
const NAME_BYTES_MAX: usize = 256;

/// Start a conversation
#[utoipa::path(
    post,
    path = "/v1/conversations",
    request_body = said::Opening,
    params(Key),
    responses((status = 201, body = view::Begun), (status = 200, body = view::Begun, description = "It had begun before"), Problems)
)]
pub(super) async fn start(State(app): State<Arc<App>>, Key { key }: Key, Body(opening): Body<said::Opening>) -> Result<Response, Problem> {
    let names = [("caller", Some(&opening.caller)), ("tenant", opening.tenant.as_ref())];
    if let Some((name, _)) = names.into_iter().find(|(_, text)| text.is_some_and(|text| text.len() > NAME_BYTES_MAX)) {
        return Err(Problem::invalid("bad_body", format!("{name} has at most {NAME_BYTES_MAX} bytes")));
    }
    let which = Which { orchestration: opening.orchestration.clone() };
    let edge = app.edge(which.orchestration.as_deref())?;
    let opening = client::Opening {
        caller: opening.caller.clone(),
        key,
        metadata: opening.metadata.clone(),
        human: opening.human,
        gateway: Some(app.config.group.clone()),
        tenant: opening.tenant.clone(),
        input: input(opening)?,
    };
    let started = edge.client.start(&opening).await?;
    spans::conversation(&Span::current(), started.conversation.as_str());
    let status = if started.is_repeat { StatusCode::OK } else { StatusCode::CREATED };
    let location = [(header::LOCATION, format!("/v1/conversations/{}{}", started.conversation, which.query()))];
    Ok((status, location, Json(view::Begun::new(edge.client.orchestration(), &started, &which.query()))).into_response())
}

fn input(opening: said::Opening) -> Result<Input, Problem> {
    match (opening.message, opening.messages, opening.value) {
        (Some(message), None, None) => Ok(message.into()),
        (None, Some(messages), None) => Ok(messages.into_iter().map(Message::from).collect::<Vec<_>>().into()),
        (None, None, Some(value)) => Ok(value.into()),
        _ => Err(Problem::invalid("bad_body", "a conversation begins with exactly one of `message`, `messages` and `value`")),
    }
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Listing {
    /// Which orchestration; may be left out where the gateway serves one.
    orchestration: Option<String>,
    /// Only those that this agent owns.
    agent: Option<String>,
    /// Only those in this phase.
    #[param(inline)]
    phase: Option<InPhase>,
    /// Only those in which nothing has happened for so many seconds.
    idle_secs: Option<u64>,
    /// Only those in which these people are asked something, the oldest request first: `caller`, `role:<name>` or `desk:<name>`.
    audience: Option<String>,
    /// At most so many; 50 if nothing is said.
    #[param(minimum = 1, maximum = 250)]
    limit: Option<usize>,
}

/// What a conversation is doing.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum InPhase {
    Working,
    Waiting,
    Completed,
    Failed,
    Cancelled,
}

impl From<InPhase> for Phase {
    fn from(phase: InPhase) -> Self {
        match phase {
            InPhase::Working => Self::Working,
            InPhase::Waiting => Self::Waiting,
            InPhase::Completed => Self::Completed,
            InPhase::Failed => Self::Failed,
            InPhase::Cancelled => Self::Cancelled,
        }
    }
}

/// List conversations, newest activity first
///
/// The coordinator answers this, from memory.
#[utoipa::path(get, path = "/v1/conversations", params(Listing), responses((status = 200, body = view::Conversations), Problems))]
pub(super) async fn list(State(app): State<Arc<App>>, Query(listing): Query<Listing>) -> Result<Json<view::Conversations>, Problem> {
    let edge = app.edge(listing.orchestration.as_deref())?;
    let limit = listing.limit.unwrap_or(LISTED);
    if !(1..=LISTED_MAX).contains(&limit) {
        return Err(Problem::invalid("bad_query", format!("limit is 1 to {LISTED_MAX}")));
    }
    let query = ListQuery {
        agent: listing.agent.as_deref().map(id).transpose()?,
        phase: listing.phase.map(Phase::from),
        idle_secs: listing.idle_secs,
        audience: listing.audience.as_deref().map(id).transpose()?,
        limit: Some(limit),
    };
    Ok(Json(view::Conversations::new(edge.client.orchestration(), &edge.client.list(&query).await?)))
}

/// Show a conversation: its state, what is asked, how it ended
#[utoipa::path(
    get,
    path = "/v1/conversations/{conversation}",
    params(("conversation" = String, Path), Which),
    responses((status = 200, body = view::Details), Problems)
)]
pub(super) async fn show(
    State(app): State<Arc<App>>,
    OfConversation(conversation): OfConversation,
    Query(which): Query<Which>,
) -> Result<Json<view::Details>, Problem> {
    let edge = app.edge(which.orchestration.as_deref())?;
    let inspected = edge.client.inspect(&conversation).await?;
    let definition = edge.client.definition(&inspected.shown.revision).await?;
    Ok(Json(view::Details::new(&definition, inspected, &which.query())))
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Cancelling {
    /// Which orchestration; may be left out where the gateway serves one.
    orchestration: Option<String>,
    /// Why, for people.
    #[serde(default)]
    reason: String,
}

/// Call a conversation off
#[utoipa::path(
    delete,
    path = "/v1/conversations/{conversation}",
    params(("conversation" = String, Path), Cancelling),
    responses((status = 200, body = view::Stored), Problems)
)]
pub(super) async fn cancel(
    State(app): State<Arc<App>>,
    OfConversation(conversation): OfConversation,
    Query(cancelling): Query<Cancelling>,
) -> Result<Json<view::Stored>, Problem> {
    let edge = app.edge(cancelling.orchestration.as_deref())?;
    let accepted = edge.client.cancel(&conversation, &cancelling.reason).await?;
    Ok(Json(view::Stored::new(&conversation, accepted)))
}
