//! The publications that are not to be repeated.

use std::collections::VecDeque;

use hashbrown::HashMap;

use crate::api::{IDEMPOTENCY_KEYS_MAX, IDEMPOTENCY_SECONDS, Position};

/// The idempotency keys of a room.
#[derive(Debug, Default)]
pub(crate) struct Idempotency {
    positions: HashMap<Box<str>, Position>,
    ages: VecDeque<(u64, Box<str>)>,
}

impl Idempotency {
    pub(crate) fn find(&mut self, key: &str, now_ms: u64) -> Option<Position> {
        while self
            .ages
            .front()
            .is_some_and(|(at_ms, _)| now_ms.saturating_sub(*at_ms) >= IDEMPOTENCY_SECONDS * 1000)
        {
            self.forget_oldest();
        }
        self.positions.get(key).copied()
    }

    pub(crate) fn insert(&mut self, key: Box<str>, position: Position, now_ms: u64) {
        if self.ages.len() >= IDEMPOTENCY_KEYS_MAX {
            self.forget_oldest();
        }
        self.ages.push_back((now_ms, key.clone()));
        self.positions.insert(key, position);
    }

    fn forget_oldest(&mut self) {
        if let Some((_, key)) = self.ages.pop_front() {
            self.positions.remove(&key);
        }
    }
}
