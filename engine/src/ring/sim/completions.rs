//! The completion queue: who sees what when, in which order, and what does not fit.

use std::collections::VecDeque;
use std::time::Duration;

use super::buffer::SimBuffer;
use super::faults::Fault;
use super::flight::Kind;
use super::world::Chance;
use crate::ring::Completion;

/// Completions that the owner of the ring has not seen yet, in the order in which they were posted.
#[derive(Debug, Default)]
pub(super) struct CompletionQueue {
    posted: VecDeque<Posted>,
    /// So many more fit in this turn before the queue overflows.
    room: Option<u32>,
    has_spilled: bool,
}

/// A completion that the owner has not seen yet.
#[derive(Debug)]
pub(super) struct Posted {
    pub(super) flight: u64,
    pub(super) kind: Kind,
    visible_at: Duration,
    pub(super) completion: Completion<SimBuffer>,
}

impl CompletionQueue {
    pub(super) fn len(&self) -> usize {
        self.posted.len()
    }

    /// When the next of them can be seen.
    pub(super) fn visible_at(&self) -> Option<Duration> {
        self.posted.iter().map(|posted| posted.visible_at).min()
    }

    /// The kernel ends a multishot operation whose completion does not fit.
    pub(super) fn is_full(&self) -> bool {
        self.room == Some(0)
    }

    pub(super) fn push(
        &mut self,
        flight: u64,
        kind: Kind,
        completion: Completion<SimBuffer>,
        chance: &mut Chance,
    ) {
        let mut delay = chance.delay();
        match &mut self.room {
            Some(0) => {
                self.has_spilled = true;
                delay += Duration::from_micros(chance.rng.u64(1..1_000));
            }
            Some(room) => *room -= 1,
            None => {}
        }
        let mut visible_at = chance.now + delay;
        // Completions of one operation keep their order.
        let earlier = self
            .posted
            .iter()
            .rev()
            .find(|posted| posted.flight == flight);
        if let Some(earlier) = earlier {
            visible_at = visible_at.max(earlier.visible_at);
        }
        self.posted.push_back(Posted {
            flight,
            kind,
            visible_at,
            completion,
        });
    }

    /// Decides whether the queue overflows in this turn, and after how many completions.
    pub(super) fn begin_turn(&mut self, chance: &mut Chance) {
        self.room = chance
            .strikes(Fault::Overflow)
            .then(|| chance.rng.u32(0..4));
        self.has_spilled = false;
    }

    /// Everything that can be seen now, up to an overflow. Returns whether there was one.
    pub(super) fn end_turn(
        &mut self,
        chance: &mut Chance,
        mut see: impl FnMut(Posted, &mut Chance),
    ) -> bool {
        let mut fits = self
            .room
            .take()
            .map_or(usize::MAX, |_| chance.rng.usize(0..4));
        while let Some(posted) = self.next_visible(chance).filter(|_| fits > 0) {
            fits -= 1;
            let posted = self
                .posted
                .remove(posted)
                .expect("the index was just found");
            see(posted, chance);
        }
        let is_left = self.visible_at().is_some_and(|at| at <= chance.now);
        std::mem::take(&mut self.has_spilled) || is_left
    }

    fn next_visible(&self, chance: &mut Chance) -> Option<usize> {
        let now = chance.now;
        let visible =
            || (0..self.posted.len()).filter(|&index| self.posted[index].visible_at <= now);
        let first = visible().next()?;
        let count = visible().count();
        if count == 1 || !chance.strikes(Fault::Reorder) {
            return Some(first);
        }
        let flight = self.posted[visible().nth(chance.rng.usize(0..count))?].flight;
        self.posted
            .iter()
            .position(|posted| posted.flight == flight)
    }
}
