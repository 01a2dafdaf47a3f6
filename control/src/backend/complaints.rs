//! Tells the log that a backend fails, without filling it: a backend that is down fails every question.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use super::client::Fault;
use super::event::Event;

/// Between two lines about one event.
const PAUSE_MS: u64 = 1_000;

#[derive(Debug)]
pub(super) struct Complaints {
    started: Instant,
    events: [Silence; Event::COUNT],
}

/// Since the last line about an event.
#[derive(Debug, Default)]
struct Silence {
    /// When the next line may come, in milliseconds since the start.
    until_ms: AtomicU64,
    unlogged: AtomicU64,
}

impl Complaints {
    pub(super) fn new() -> Self {
        Self {
            started: Instant::now(),
            events: Default::default(),
        }
    }

    /// Logs why a question got no answer. The text has nothing in it that a client wrote; what a backend, a resolver or
    /// TLS wrote is quoted, for it may have line breaks.
    pub(super) fn log(&self, event: Event, fault: &Fault) {
        let silence = &self.events[event.index()];
        let now_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let until_ms = silence.until_ms.load(Ordering::Relaxed);
        let is_mine = now_ms >= until_ms
            && silence
                .until_ms
                .compare_exchange(
                    until_ms,
                    now_ms + PAUSE_MS,
                    Ordering::Relaxed,
                    Ordering::Relaxed,
                )
                .is_ok();
        if !is_mine {
            silence.unlogged.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let unlogged = silence.unlogged.swap(0, Ordering::Relaxed);
        let reason = fault.to_string();
        tracing::warn!(
            event = event.name(),
            ?reason,
            unlogged,
            "the backend did not answer as it should"
        );
    }
}
