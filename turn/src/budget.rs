//! How much of something there may be in a time.

use std::hash::BuildHasher;
use std::net::IpAddr;

use foldhash::fast::FixedState;

use crate::policy::canonical;

/// Fractions of a nanosecond that are counted, in bits.
const FRACTION_BITS: u32 = 16;

/// So many a second, and so many at once.
#[derive(Debug, Clone, Copy)]
pub struct Rate {
    /// Nanoseconds that one takes, times 2^16.
    cost: u64,
    /// Nanoseconds that may be taken in advance.
    advance_ns: u64,
}

impl Rate {
    /// `per_second` in the long run, and `at_once` after a rest: packets, bytes, or replies. Both at least 1.
    #[must_use]
    pub fn new(per_second: u32, at_once: u32) -> Self {
        let cost = (1_000_000_000_u64 << FRACTION_BITS) / u64::from(per_second.max(1));
        Self {
            cost,
            advance_ns: nanoseconds(cost, at_once.max(1)),
        }
    }
}

/// How long so many take, to the nearest nanosecond.
fn nanoseconds(cost: u64, units: u32) -> u64 {
    let exact = u128::from(cost) * u128::from(units);
    let scaled = (exact + (1 << (FRACTION_BITS - 1))) >> FRACTION_BITS;
    u64::try_from(scaled).unwrap_or(u64::MAX)
}

/// What has been used of a rate: eight bytes, and no timer.
#[derive(Debug, Clone, Copy, Default)]
pub struct Meter {
    /// Until when what was taken lasts.
    used_until_ns: u64,
}

impl Meter {
    /// Whether one could be taken.
    pub(crate) fn has_one(&self, rate: &Rate, now_ns: u64) -> bool {
        let mut tried = *self;
        tried.take(rate, 1, now_ns)
    }

    /// Takes so many, also when that is more than there are; false if what comes next has to wait for that.
    pub(crate) fn owe(&mut self, rate: &Rate, units: u32, now_ns: u64) -> bool {
        let owed = nanoseconds(rate.cost, units);
        self.used_until_ns = self.used_until_ns.max(now_ns).saturating_add(owed);
        self.has_one(rate, now_ns)
    }

    /// Takes so many, all or none. Time never runs backwards.
    pub fn take(&mut self, rate: &Rate, units: u32, now_ns: u64) -> bool {
        let until_ns = self
            .used_until_ns
            .max(now_ns)
            .saturating_add(nanoseconds(rate.cost, units));
        let fits = until_ns - now_ns <= rate.advance_ns;
        if fits {
            self.used_until_ns = until_ns;
        }
        fits
    }
}

/// Meters of a source budget. At a million made-up sources a second each has four.
const SOURCES: usize = 1 << 18;

/// How many replies each part of the Internet may cause before anybody has shown who they are: an IPv4 address, or an IPv6
/// network of 64 bits. Two megabytes, however many sources there are; some share what there is for one.
#[derive(Debug)]
pub struct SourceBudget {
    meters: Box<[Meter]>,
    rate: Rate,
    hasher: FixedState,
}

impl SourceBudget {
    /// With this rate for each; the seed keeps others from choosing whom they share with.
    #[must_use]
    pub fn new(rate: Rate, seed: u64) -> Self {
        Self {
            meters: vec![Meter::default(); SOURCES].into(),
            rate,
            hasher: FixedState::with_seed(seed),
        }
    }

    /// Whether this source may be replied to once more.
    pub fn take(&mut self, source: IpAddr, now_ns: u64) -> bool {
        self.meters[self.place(source)].take(&self.rate, 1, now_ns)
    }

    /// Whether it could be.
    #[must_use]
    pub fn has_one(&self, source: IpAddr, now_ns: u64) -> bool {
        self.meters[self.place(source)].has_one(&self.rate, now_ns)
    }

    fn place(&self, source: IpAddr) -> usize {
        let hash = usize::try_from(self.hasher.hash_one(source_of(source))).unwrap_or(0);
        hash % SOURCES
    }
}

/// What counts as one source: an IPv4 address, or an IPv6 network of 64 bits.
pub(crate) fn source_of(ip: IpAddr) -> u64 {
    match canonical(ip) {
        IpAddr::V4(ip) => u64::from(ip.to_bits()),
        // Global addresses have bits set in the upper half of these.
        IpAddr::V6(ip) => u64::try_from(ip.to_bits() >> 64).unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND_NS: u64 = 1_000_000_000;

    #[test]
    fn a_rate_is_kept_and_what_rested_may_come_at_once() {
        let rate = Rate::new(100, 10);
        let mut meter = Meter::default();
        let mut taken_in = |from_ns: u64, to_ns: u64| {
            (from_ns..to_ns)
                .step_by(1_000_000)
                .filter(|now_ns| meter.take(&rate, 1, *now_ns))
                .count()
        };
        // A thousand tries a second: what rested, and then a hundred.
        let first = taken_in(0, SECOND_NS);
        assert!((109..=111).contains(&first), "{first}");
        let second = taken_in(SECOND_NS, 11 * SECOND_NS);
        assert!((999..=1_001).contains(&second), "{second}");
        // A day later there are ten, not a day's.
        let day_ns = 86_400 * SECOND_NS;
        assert_eq!((0..50).filter(|_| meter.take(&rate, 1, day_ns)).count(), 10);
    }

    #[test]
    fn what_is_refused_costs_nothing() {
        let rate = Rate::new(1_000, 1_500);
        let mut meter = Meter::default();
        assert!(!meter.take(&rate, 1_501, 0) && !meter.take(&rate, u32::MAX, 0));
        assert!(meter.take(&rate, 1_500, 0));
        assert!(!meter.take(&rate, 1, 0));
        assert!(meter.take(&rate, 1_000, SECOND_NS) && !meter.take(&rate, 1_000, SECOND_NS));
    }

    #[test]
    fn rates_of_gigabits_do_not_drift() {
        // 1.25 GB/s in packets of 1,200 bytes: 960 ns each.
        let rate = Rate::new(1_250_000_000, 65_536);
        let mut meter = Meter::default();
        let taken = (0..10_000_000_u64)
            .step_by(100)
            .filter(|now_ns| meter.take(&rate, 1_200, *now_ns))
            .count();
        assert!((10_416..=10_472).contains(&taken), "{taken}");
    }

    #[test]
    fn a_source_that_floods_uses_up_its_own() {
        let mut budget = SourceBudget::new(Rate::new(10, 20), 7);
        let flooder = "203.0.113.9".parse().expect("an address");
        let took = (0..1_000).filter(|_| budget.take(flooder, 0)).count();
        assert_eq!(took, 20);
        assert!(!budget.take("::ffff:203.0.113.9".parse().expect("an address"), 0));
        assert!(budget.take("203.0.113.10".parse().expect("an address"), 0));
        // Whoever has a network of 64 bits has one budget.
        let of_network = |low: u128| IpAddr::V6((0x2001_0db8_u128 << 96 | low).into());
        let took = (0..1_000)
            .filter(|low| budget.take(of_network(*low), 0))
            .count();
        assert_eq!(took, 20);
        assert!(budget.take(of_network(1 << 64), 0));
    }

    #[test]
    fn many_sources_hardly_get_in_each_others_way() {
        let mut budget = SourceBudget::new(Rate::new(10, 20), 7);
        let took = (0..1_000_000_u32)
            .filter(|source| budget.take(IpAddr::V4((0x0b00_0000 + source).into()), 0))
            .count();
        assert_eq!(took, 1_000_000);
    }
}
