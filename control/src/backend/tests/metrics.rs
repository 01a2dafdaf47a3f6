//! What `/metrics` says of the backend.

use fanfare_engine::backend::{ConnectAsk, Refused};

use super::support::{FakeBackend, Shard};
use crate::backend::{Event, Outcome};

#[test]
fn every_question_is_counted_once() {
    let backend = FakeBackend::start(|seen| {
        let (status, body) = match seen.json()["method"].as_str() {
            None => (axum::http::StatusCode::OK, r#"{"result":{"user":"a"}}"#),
            Some(_) => (axum::http::StatusCode::BAD_GATEWAY, ""),
        };
        Box::pin(async move { axum::response::IntoResponse::into_response((status, body)) })
    });
    let shard = Shard::new(&backend.url(), "");
    for _ in 0..3 {
        shard.connect(ConnectAsk::default()).expect("yes");
    }
    assert_eq!(shard.rpc(b"1"), Err(Refused::Unreachable));
    let counters = shard.counters();
    assert_eq!(counters.asked(Event::Connect), 3);
    assert_eq!(counters.ended(Event::Connect, Outcome::Answered), 3);
    assert_eq!(counters.asked(Event::Rpc), 1);
    assert_eq!(counters.ended(Event::Rpc, Outcome::Unreachable), 1);
    for event in Event::ALL {
        let ended: u64 = Outcome::ALL
            .into_iter()
            .map(|outcome| counters.ended(event, outcome))
            .sum();
        assert_eq!(counters.asked(event), ended, "{event:?}");
    }
    assert_eq!(counters.retries(), 0);
}
