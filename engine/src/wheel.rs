//! A hashed timer wheel: one deadline per slot, links in flat arrays, no allocation per timer.
//!
//! A million connections are pinged every 25 s: 40,000 timers a second move. Scheduling and cancelling are a
//! few stores; a tick touches only the timers of its bucket.

/// Time is counted in ticks of this length, in milliseconds. Deadlines are late by at most one tick.
pub(crate) const TICK_MS: u64 = 100;

/// Buckets; a deadline further away than `BUCKETS` ticks (51.2 s) stays in its bucket for another round.
const BUCKETS: usize = 512;

const NONE: u32 = u32::MAX;

/// In place of a predecessor: the first of its bucket. Slots stay below 2^24.
const FIRST: u32 = u32::MAX - 1;

#[derive(Debug, Clone, Copy)]
struct Timer {
    next: u32,
    /// The timer before this one, or `FIRST`.
    prev: u32,
    deadline: u32,
}

const IDLE: Timer = Timer {
    next: NONE,
    prev: NONE,
    deadline: 0,
};

/// Deadlines of slots.
#[derive(Debug)]
pub(crate) struct Wheel {
    buckets: Box<[u32; BUCKETS]>,
    timers: Vec<Timer>,
    /// Everything due at or before this tick has fired.
    now: u32,
}

impl Wheel {
    /// An empty wheel for slots `0..slots`, at this time. Memory is touched as slots are used.
    pub(crate) fn new(slots: u32, now_ms: u64) -> Self {
        Self {
            buckets: Box::new([NONE; BUCKETS]),
            timers: Vec::with_capacity(slots as usize),
            now: tick(now_ms),
        }
    }

    /// Sets the slot's deadline, in place of the one it had.
    pub(crate) fn schedule(&mut self, slot: u32, at_ms: u64) {
        self.cancel(slot);
        if self.timers.len() <= slot as usize {
            self.timers.resize(slot as usize + 1, IDLE);
        }
        // Rounded up, and never into the past: a due tick must still come.
        let deadline = tick(at_ms + TICK_MS - 1).max(self.now + 1);
        let bucket = deadline as usize % BUCKETS;
        let next = self.buckets[bucket];
        self.timers[slot as usize] = Timer {
            next,
            prev: FIRST,
            deadline,
        };
        if next != NONE {
            self.timers[next as usize].prev = slot;
        }
        self.buckets[bucket] = slot;
    }

    /// Forgets the slot's deadline, if it has one.
    pub(crate) fn cancel(&mut self, slot: u32) {
        let Some(&Timer {
            next,
            prev,
            deadline,
        }) = self.timers.get(slot as usize)
        else {
            return;
        };
        if prev == NONE {
            return;
        }
        let bucket = deadline as usize % BUCKETS;
        if prev == FIRST {
            self.buckets[bucket] = next;
        } else {
            self.timers[prev as usize].next = next;
        }
        if next != NONE {
            self.timers[next as usize].prev = prev;
        }
        self.timers[slot as usize] = IDLE;
    }

    /// The slot's deadline in milliseconds, rounded up to a tick, if it has one.
    pub(crate) fn deadline_ms(&self, slot: u32) -> Option<u64> {
        let timer = self
            .timers
            .get(slot as usize)
            .filter(|timer| timer.prev != NONE)?;
        Some(u64::from(timer.deadline) * TICK_MS)
    }

    /// Moves the time forward and appends the slots whose deadline has come to `due`; they have none any more.
    pub(crate) fn advance(&mut self, now_ms: u64, due: &mut Vec<u32>) {
        let now = tick(now_ms);
        if now <= self.now {
            return;
        }
        // After a long sleep one round over all buckets finds everything.
        let rounds = (now - self.now).min(u32::try_from(BUCKETS).unwrap_or(u32::MAX));
        for step in 1..=rounds {
            let mut slot = self.buckets[(self.now + step) as usize % BUCKETS];
            while slot != NONE {
                let timer = self.timers[slot as usize];
                if timer.deadline <= now {
                    self.cancel(slot);
                    due.push(slot);
                }
                slot = timer.next;
            }
        }
        self.now = now;
    }

    /// When the next tick falls, in milliseconds.
    pub(crate) fn next_tick_ms(&self) -> u64 {
        (u64::from(self.now) + 1) * TICK_MS
    }
}

/// 2^32 ticks are 13 years of uptime.
fn tick(ms: u64) -> u32 {
    u32::try_from(ms / TICK_MS).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn fires_what_a_sorted_map_would_fire() {
        for seed in 0..if cfg!(miri) { 2 } else { 50 } {
            let mut rng = fastrand::Rng::with_seed(seed);
            let mut now = rng.u64(..1_000_000);
            let mut wheel = Wheel::new(64, now);
            let mut model: BTreeMap<u32, u64> = BTreeMap::new();
            for _ in 0..if cfg!(miri) { 200 } else { 2_000 } {
                let slot = rng.u32(..64);
                match rng.u32(..4) {
                    0 => {
                        wheel.cancel(slot);
                        model.remove(&slot);
                    }
                    1 => {
                        let is_long = rng.u32(..20) == 0;
                        now += rng.u64(..if is_long { 200_000 } else { 700 });
                        let mut due = Vec::new();
                        wheel.advance(now, &mut due);
                        due.sort_unstable();
                        // Fired: never early, and late by no more than a tick.
                        for slot in &due {
                            let at = model.remove(slot).expect("fired once, while scheduled");
                            assert!(at <= now, "seed {seed}: early");
                        }
                        assert!(
                            model.values().all(|&at| at + TICK_MS > now),
                            "seed {seed}: late"
                        );
                    }
                    _ => {
                        let at = now + rng.u64(..150_000);
                        wheel.schedule(slot, at);
                        let deadline = wheel.deadline_ms(slot).expect("just scheduled");
                        assert!((at..=at + TICK_MS).contains(&deadline), "seed {seed}");
                        model.insert(slot, at);
                    }
                }
            }
        }
    }
}
