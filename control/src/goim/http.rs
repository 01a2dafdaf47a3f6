//! One HTTP request to goim's API: whether it may ask, and whose it is to answer.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::header::ORIGIN;
use axum::http::{HeaderMap, Request};
use axum::response::Response;
use axum::routing::any;
use bytes::Bytes;
use fanfare_engine::api::{Message, Payload, Reply};
use tokio::time::Instant as Deadline;

use super::answer::Answer;
use super::nodes::Nodes;
use super::pushes::Pushes;
use super::{v1, v2};
use crate::api::{ApiLimits, Pending, Refusal, authorised, read_body};
use crate::api_keys::ApiKeys;
use crate::config::Settings;
use crate::metrics::Metrics;

/// goim's HTTP API.
pub(crate) struct Goim {
    pub(super) engine: Box<dyn Pushes>,
    pub(super) limits: ApiLimits,
    pub(super) nodes: Nodes,
    keys: ApiKeys,
    needs_key: bool,
}

impl std::fmt::Debug for Goim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Goim")
    }
}

/// It, and where its requests are counted.
#[derive(Debug)]
struct Counted {
    goim: Goim,
    metrics: Arc<Metrics>,
}

/// Its routes, to be merged with those of the control API.
pub(crate) fn router(goim: Goim, metrics: Arc<Metrics>) -> Router {
    let body_limit = DefaultBodyLimit::max(goim.limits.body_bytes_max);
    Router::new()
        .route("/goim/{*path}", any(respond))
        .route("/1/{*path}", any(respond))
        .layer(body_limit)
        .with_state(Arc::new(Counted { goim, metrics }))
}

async fn respond(State(counted): State<Arc<Counted>>, request: Request<Body>) -> Response {
    let began = Instant::now();
    let (label, answer) = counted.goim.answer(request).await;
    let (metrics, status) = (&counted.metrics, answer.outcome().as_u16());
    metrics.count_request(label, status, began.elapsed());
    metrics.count_operations(label, status, 1);
    answer.into_response()
}

impl Goim {
    pub(crate) fn new(
        engine: Box<dyn Pushes>,
        keys: ApiKeys,
        settings: &Settings,
        nodes: Nodes,
    ) -> Self {
        Self {
            engine,
            limits: ApiLimits::new(settings),
            nodes,
            keys,
            needs_key: !settings.goim.http_api_without_key,
        }
    }

    /// Does what is asked; what it was, for metrics, and the reply.
    pub(super) async fn answer(&self, request: Request<Body>) -> (&'static str, Answer) {
        match request.uri().path().starts_with("/1/") {
            true => v1::answer(self, request).await,
            false => v2::answer(self, request).await,
        }
    }

    /// Whether the request carries a key, or needs none.
    pub(super) fn check_key(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        // Any page in an operator's browser can post to a service on loopback, but not without its origin. Services
        // send none.
        let is_open = !self.needs_key && !headers.contains_key(ORIGIN);
        if is_open || authorised(headers, &self.keys) {
            return Ok(());
        }
        Err(Refusal::UNAUTHORIZED)
    }

    /// The body as it came.
    pub(super) async fn body(&self, request: Request<Body>) -> Result<Bytes, Refusal> {
        read_body(request, &self.limits).await
    }

    /// What is delivered. Copies, for a slice of the body would keep all of it alive for as long as the message is
    /// in a history.
    pub(super) fn payload(&self, bytes: &[u8]) -> Result<Payload, Refusal> {
        let (len, max) = (bytes.len(), self.limits.payload_bytes_max);
        if len > max {
            return Err(Refusal::limit(format!(
                "the message is {len} bytes, and api.payload_bytes_max allows {max}"
            )));
        }
        Ok(Payload {
            bytes: Bytes::copy_from_slice(bytes),
            is_json: false,
        })
    }

    /// The names once each, in their order: whom a push names twice it reaches once.
    pub(super) fn recipients(
        &self,
        names: impl Iterator<Item = String>,
    ) -> Result<Vec<Box<str>>, Refusal> {
        let mut known = HashSet::new();
        let names: Vec<Box<str>> = names
            .map(String::into_boxed_str)
            .filter(|name| known.insert(name.clone()))
            .collect();
        let max = self.limits.operations_max;
        if names.len() > max {
            return Err(Refusal::limit(format!(
                "{} recipients, and api.operations_per_request_max allows {max}",
                names.len()
            )));
        }
        Ok(names)
    }

    /// Asks the engine, and waits for its answer. Before that, nothing is claimed to be done.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&dyn Pushes, Reply<T>),
    ) -> Result<T, Refusal> {
        let deadline = Deadline::now() + self.limits.answer_timeout;
        Pending::start(|reply| question(&*self.engine, reply))
            .answer(deadline)
            .await
    }

    /// Connections of the whole server.
    pub(super) fn connections(&self) -> u64 {
        let shards = self.engine.counters();
        shards.iter().map(|shard| shard.connections).sum()
    }
}

/// A message with goim's operation; `0` is none.
pub(super) fn message(payload: Payload, operation: i32) -> Message {
    Message::new(payload, (operation != 0).then_some(operation))
}
