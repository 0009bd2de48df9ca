//! The interface. A handler extracts, calls `client`, and converts; no rule of a conversation is here.

mod conversations;
mod follow;
mod people;

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::get;
use axum::{Json, Router};
use client::StartError;
use serde::Deserialize;
use tokio::sync::Semaphore;
use utoipa::{IntoParams, OpenApi};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::guard::{self, REQUESTS_MAX};
use crate::problem::{Problem, Problems};
use crate::{App, Edge, page, view};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Baton gateway",
        description = "Conversations with AI agents that hand over to one another. docs/gateway.md tells it in prose."
    ),
    components(schemas(Problem, conversations::InPhase, view::Happened, view::Token<'static>, view::Reset<'static>))
)]
struct Description;

fn described() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::with_openapi(Description::openapi())
        .routes(routes!(conversations::start, conversations::list))
        .routes(routes!(conversations::show, conversations::cancel))
        .routes(routes!(people::say))
        .routes(routes!(people::answer))
        .routes(routes!(people::claim))
        .routes(routes!(follow::follow))
        .routes(routes!(orchestrations))
}

/// The description of the interface.
pub(crate) fn openapi() -> String {
    described().split_for_parts().1.to_pretty_json().unwrap_or_default()
}

/// Everything that is served.
pub(crate) fn router(app: Arc<App>) -> Router {
    let (router, description) = described().split_for_parts();
    let description = description.to_json().unwrap_or_default();
    let described = move || {
        let json = [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))];
        std::future::ready((json, description.clone()))
    };
    router
        .route_layer(from_fn(guard::traced))
        .route("/openapi.json", get(described))
        .merge(page::routes())
        .fallback(async || Problem::new(StatusCode::NOT_FOUND, "unknown_path", "there is nothing here: /openapi.json lists what there is"))
        .method_not_allowed_fallback(async || {
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "wrong_method", "this path has other methods: /openapi.json lists them")
        })
        .layer(from_fn_with_state(Arc::new(Semaphore::new(REQUESTS_MAX)), guard::bounded))
        .layer(from_fn_with_state(Arc::clone(&app), guard::same_origin))
        // Probes come from anywhere, at any load.
        .route("/livez", get(|| std::future::ready("alive\n")))
        .route("/readyz", get(readyz))
        .layer(from_fn(guard::headers))
        .with_state(app)
}

async fn readyz(State(app): State<Arc<App>>) -> (StatusCode, &'static str) {
    match *app.ready.borrow() {
        true => (StatusCode::OK, "ready\n"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "not ready\n"),
    }
}

/// Which orchestration is meant; may be left out where the gateway serves one.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Which {
    orchestration: Option<String>,
}

impl Which {
    /// What makes another URL mean the same orchestration.
    fn query(&self) -> String {
        self.orchestration.as_ref().map(|name| format!("?orchestration={name}")).unwrap_or_default()
    }
}

impl App {
    fn edge(&self, named: Option<&str>) -> Result<&Arc<Edge>, Problem> {
        let served = || self.edges.keys().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        match (named, self.edges.values().next()) {
            (Some(name), _) => {
                let edge = name.parse().ok().and_then(|name| self.edges.get(&name));
                edge.ok_or_else(|| {
                    let detail = format!("this gateway serves no orchestration {name:?}, but {}", served());
                    Problem::new(StatusCode::NOT_FOUND, "unknown_orchestration", detail)
                })
            }
            (None, Some(edge)) if self.edges.len() == 1 => Ok(edge),
            (None, _) => Err(Problem::invalid("orchestration_needed", format!("name the orchestration: {}", served()))),
        }
    }
}

/// What this gateway serves
#[utoipa::path(get, path = "/v1/orchestrations", responses((status = 200, body = view::Orchestrations), Problems))]
async fn orchestrations(State(app): State<Arc<App>>) -> Result<Json<view::Orchestrations>, Problem> {
    let mut served = Vec::new();
    for edge in app.edges.values() {
        let current = edge.client.current().await.map_err(StartError::from)?;
        served.push(view::Served::new(&current));
    }
    Ok(Json(view::Orchestrations { orchestrations: served, trace_url: app.config.trace_url.clone() }))
}
