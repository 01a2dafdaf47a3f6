//! What became of questions, counted for `/metrics`.

use std::sync::atomic::{AtomicU64, Ordering};

use super::event::Event;

/// How a question ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The backend said yes.
    Answered,
    /// The backend said no: an error or a disconnect, in its answer or by its status.
    Refused,
    /// No connection, or an answer that makes no sense.
    Unreachable,
    /// The answer was not complete in time.
    Timeout,
    /// Not asked: as many questions were under way as may be.
    TooMany,
}

impl Outcome {
    pub(crate) const ALL: [Self; 5] = [
        Self::Answered,
        Self::Refused,
        Self::Unreachable,
        Self::Timeout,
        Self::TooMany,
    ];

    /// As metrics call it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Refused => "refused",
            Self::Unreachable => "unreachable",
            Self::Timeout => "timeout",
            Self::TooMany => "too_many",
        }
    }
}

/// Counters of all events. Written on shard threads and on the backend's, some thousand times a second at most.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    events: [EventCounters; Event::COUNT],
    retries: AtomicU64,
}

#[derive(Debug, Default)]
struct EventCounters {
    asked: AtomicU64,
    outcomes: [AtomicU64; Outcome::ALL.len()],
}

impl Counters {
    pub(super) fn ask(&self, event: Event) {
        self.events[event.index()]
            .asked
            .fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn end(&self, event: Event, outcome: Outcome) {
        self.events[event.index()].outcomes[outcome as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn retry(&self) {
        self.retries.fetch_add(1, Ordering::Relaxed);
    }

    /// Questions that shards had.
    pub(crate) fn asked(&self, event: Event) -> u64 {
        self.events[event.index()].asked.load(Ordering::Relaxed)
    }

    /// Those that ended so.
    pub(crate) fn ended(&self, event: Event, outcome: Outcome) -> u64 {
        self.events[event.index()].outcomes[outcome as usize].load(Ordering::Relaxed)
    }

    /// Those that have not ended.
    pub(crate) fn under_way(&self, event: Event) -> u64 {
        let ended: u64 = Outcome::ALL
            .into_iter()
            .map(|outcome| self.ended(event, outcome))
            .sum();
        // Read later, so never less than what has ended of them.
        self.asked(event).saturating_sub(ended)
    }

    /// Times that an answer found its shard's inbox full.
    pub(crate) fn retries(&self) -> u64 {
        self.retries.load(Ordering::Relaxed)
    }
}
