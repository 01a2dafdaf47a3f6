//! When publications are due, so that a member can tell how late each one reaches it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A timetable for publications: the `i`-th (from 0) is due `i` intervals after the beginning and goes to the room
/// `i % rooms`; the `m`-th member (from 0) of a group is in the room `m % rooms`.
///
/// Latency is counted from when a publication was *due*, not from when it was sent: a publisher that falls behind makes its
/// publications late, and that is what a user would see (no coordinated omission).
#[derive(Debug)]
pub struct Schedule {
    rooms: u64,
    interval_ns: f64,
    record_every: u32,
    made: Instant,
    /// In ns since `made`; 0 while it has not begun.
    began_ns: AtomicU64,
    /// Publications whose latency counts: from this one on ...
    from: AtomicU64,
    /// ... to before this one.
    to: AtomicU64,
}

impl Schedule {
    /// Of `rate` publications per second over all rooms. Of the members, every `record_every`-th records latencies.
    #[must_use]
    pub fn new(rooms: u32, rate: f64, record_every: u32) -> Self {
        Self {
            rooms: u64::from(rooms),
            interval_ns: 1e9 / rate,
            record_every: record_every.max(1),
            made: Instant::now(),
            began_ns: AtomicU64::new(0),
            from: AtomicU64::new(u64::MAX),
            to: AtomicU64::new(u64::MAX),
        }
    }

    /// The first publication is due now.
    pub fn begin(&self) {
        self.began_ns.store(self.now_ns().max(1), Ordering::Release);
    }

    /// How many publications are due by now.
    #[must_use]
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a count, not negative; hours of nanoseconds are exact in a float"
    )]
    pub fn due_by_now(&self) -> u64 {
        match self.began_ns.load(Ordering::Acquire) {
            0 => 0,
            began => (((self.now_ns() - began) as f64 / self.interval_ns) as u64).saturating_add(1),
        }
    }

    /// How long until the `index`-th publication is due.
    #[must_use]
    pub fn until(&self, index: u64) -> Duration {
        Duration::from_nanos(self.due_ns(index).saturating_sub(self.now_ns()))
    }

    /// Latencies count from the publication on that is due next.
    pub fn record_from(&self, index: u64) {
        self.from.store(index, Ordering::Release);
    }

    /// Latencies of this publication and later ones do not count.
    pub fn record_to(&self, index: u64) {
        self.to.store(index, Ordering::Release);
    }

    pub(super) const fn records(&self, member: u32) -> bool {
        member.is_multiple_of(self.record_every)
    }

    pub(super) fn now_ns(&self) -> u64 {
        u64::try_from(self.made.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Microseconds that the member's `number`-th publication (from 1) is late at `now_ns`, if it counts.
    pub(super) fn latency_us(&self, member: u32, number: u64, now_ns: u64) -> Option<u64> {
        let index = number.checked_sub(1)? * self.rooms + u64::from(member) % self.rooms;
        let counts =
            self.from.load(Ordering::Relaxed) <= index && index < self.to.load(Ordering::Relaxed);
        counts.then(|| now_ns.saturating_sub(self.due_ns(index)) / 1_000)
    }

    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "not negative; hours of nanoseconds are exact in a float"
    )]
    fn due_ns(&self, index: u64) -> u64 {
        let after_ns = (index as f64 * self.interval_ns) as u64;
        self.began_ns
            .load(Ordering::Relaxed)
            .saturating_add(after_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lateness_counts_from_when_a_publication_was_due() {
        let schedule = Schedule::new(10, 1_000.0, 1);
        schedule.began_ns.store(5_000_000, Ordering::Release);
        // The third member's second publication is the 12th of all, counted from 0.
        assert_eq!(schedule.latency_us(2, 2, 18_000_000), None, "not recording");
        schedule.record_from(12);
        assert_eq!(schedule.latency_us(2, 2, 18_000_000), Some(1_000));
        assert_eq!(
            schedule.latency_us(1, 2, 18_000_000),
            None,
            "before the window"
        );
        schedule.record_to(12);
        assert_eq!(
            schedule.latency_us(2, 2, 18_000_000),
            None,
            "behind the window"
        );
        assert_eq!(schedule.latency_us(2, 0, 18_000_000), None, "no number");
    }

    #[test]
    fn nothing_is_due_before_the_beginning_and_one_at_once() {
        let schedule = Schedule::new(1, 0.001, 1);
        assert_eq!(schedule.due_by_now(), 0);
        schedule.begin();
        assert_eq!(schedule.due_by_now(), 1);
        assert!(schedule.until(1) > Duration::from_secs(900));
    }
}
