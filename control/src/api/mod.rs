//! The control API: what services ask of the server over HTTP. `docs/api.md` describes it.
//!
//! The shape is Centrifugo's (`POST /api/<method>`, result and error objects, names of fields, error codes), so
//! that its server SDKs work. It runs on a thread of its own and passes requests to the shards' inboxes; it never
//! blocks them.

mod allowance;
mod answer;
mod answers;
mod ask;
mod batch;
mod body;
mod call;
mod errors;
mod listener;
mod method;
mod methods;
mod payload;
mod request;

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post};
use fanfare_engine::Handle;

pub(crate) use answer::Bounded;
pub(crate) use ask::Pending;
pub(crate) use call::{authorised, read_body};
pub(crate) use errors::Refusal;
pub(crate) use listener::{ConnectionLimits, serve};

use crate::api_keys::ApiKeys;
use crate::config::Settings;
use crate::metrics::Metrics;
use crate::probes;
use crate::turn::Relay;

/// What every request needs.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) handle: EngineHandle,
    /// If it is enabled.
    pub(crate) relay: Option<Arc<Relay>>,
    pub(crate) keys: ApiKeys,
    pub(crate) limits: ApiLimits,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) started: Instant,
    /// Names this run of the server in `info`, and no other.
    pub(crate) uid: String,
    /// Host and port.
    pub(crate) node: String,
}

/// The engine's handle, which has nothing to show.
#[derive(Clone)]
pub(crate) struct EngineHandle(pub(crate) Handle);

impl std::fmt::Debug for EngineHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("EngineHandle")
    }
}

/// Bounds on one request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ApiLimits {
    pub(crate) body_bytes_max: usize,
    pub(crate) payload_bytes_max: usize,
    pub(crate) operations_max: usize,
    pub(crate) listing_entries_max: usize,
    pub(crate) answer_bytes_max: usize,
    pub(crate) request_timeout: Duration,
    pub(crate) answer_timeout: Duration,
}

impl ApiLimits {
    pub(crate) fn new(settings: &Settings) -> Self {
        let size = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
        let api = &settings.api;
        Self {
            body_bytes_max: size(api.body_bytes_max),
            payload_bytes_max: size(api.payload_bytes_max),
            operations_max: size(api.operations_per_request_max),
            listing_entries_max: size(api.listing_entries_max),
            answer_bytes_max: size(api.answer_bytes_max),
            request_timeout: api.request_timeout.0,
            answer_timeout: api.answer_timeout.0,
        }
    }
}

/// The routes. Only `/api` asks for a key: the others say nothing of rooms or users, and whoever watches the
/// server should not hold a key that can push.
pub(crate) fn router(app: Arc<App>) -> Router {
    let body_limit = DefaultBodyLimit::max(app.limits.body_bytes_max);
    Router::new()
        .route("/api/{method}", post(call::call))
        .route("/metrics", get(probes::metrics))
        .route("/live", get(probes::live))
        .route("/ready", get(probes::ready))
        .route("/version", get(probes::version))
        .fallback(call::unknown_path)
        .method_not_allowed_fallback(call::wrong_verb)
        .layer(body_limit)
        .with_state(app)
}
