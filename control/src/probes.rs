//! What monitors and load balancers ask, without a key: `/metrics`, `/live`, `/ready`, `/version`.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::api::App;
use crate::metrics;

/// A shard's loop turns at least every second, for its timers. One that has not for so long is stuck.
const STUCK_AFTER: Duration = Duration::from_secs(5);

#[derive(Serialize)]
struct Live {
    live: bool,
    /// The shards that are stuck, and for how long.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    stuck: Vec<Stuck>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Stuck {
    shard: usize,
    idle_ms: u64,
}

#[derive(Serialize)]
struct Ready {
    ready: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
}

#[derive(Serialize)]
struct Version {
    name: &'static str,
    version: &'static str,
}

/// Everything Prometheus may want.
pub(crate) async fn metrics(State(app): State<Arc<App>>) -> Response {
    match app.metrics.encode() {
        Ok(text) => ([(CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// Whether every shard turns. If not, restart the process.
pub(crate) async fn live(State(app): State<Arc<App>>) -> Response {
    let stuck = stuck(&app.handle.0.ages());
    let live = stuck.is_empty();
    answer(live, Live { live, stuck })
}

/// Whether new clients are welcome. If not, send them elsewhere.
pub(crate) async fn ready(State(app): State<Arc<App>>) -> Response {
    let ready = !app.handle.0.is_draining();
    let reason = (!ready).then_some("draining");
    answer(ready, Ready { ready, reason })
}

/// What is running.
pub(crate) async fn version() -> Response {
    Json(Version {
        name: "fanfare",
        version: env!("CARGO_PKG_VERSION"),
    })
    .into_response()
}

fn stuck(ages: &[Duration]) -> Vec<Stuck> {
    let all = ages.iter().enumerate();
    all.filter(|(_, age)| **age > STUCK_AFTER)
        .map(|(shard, age)| Stuck {
            shard,
            idle_ms: u64::try_from(age.as_millis()).unwrap_or(u64::MAX),
        })
        .collect()
}

fn answer(is_well: bool, body: impl Serialize) -> Response {
    let status = if is_well {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, Json(body)).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_is_stuck_after_five_seconds() {
        let ages = [
            Duration::ZERO,
            Duration::from_secs(5),
            Duration::from_millis(5_001),
        ];
        assert_eq!(
            stuck(&ages),
            [Stuck {
                shard: 2,
                idle_ms: 5_001
            }]
        );
    }
}
