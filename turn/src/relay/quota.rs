//! How many allocations there may be, for each user and in all.

use std::sync::{Mutex, PoisonError};

use hashbrown::HashMap;

/// What there may be at a time.
#[derive(Debug, Clone, Copy)]
pub struct QuotaLimits {
    /// Allocations of one user.
    pub per_user: u32,
    /// Allocations in all.
    pub total: u32,
}

/// Allocations as all threads count them. Asked when one is made or ends, never for a packet.
#[derive(Debug)]
pub(super) struct Quota {
    limits: QuotaLimits,
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    total: u32,
    by_user: HashMap<Box<[u8]>, u32>,
}

impl Quota {
    /// With nothing allocated.
    pub(super) fn new(limits: QuotaLimits) -> Self {
        Self {
            limits,
            counts: Mutex::default(),
        }
    }

    /// Counts one more, unless there are as many as there may be.
    pub(super) fn take(&self, user: &[u8]) -> bool {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.total >= self.limits.total || self.limits.per_user == 0 {
            return false;
        }
        let owner = owner(user);
        match counts.by_user.get_mut(owner) {
            Some(count) if *count >= self.limits.per_user => return false,
            Some(count) => *count += 1,
            None => {
                counts.by_user.insert(owner.into(), 1);
            }
        }
        counts.total += 1;
        true
    }

    /// Counts one less.
    pub(super) fn give_back(&self, user: &[u8]) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let owner = owner(user);
        let Some(count) = counts.by_user.get_mut(owner) else {
            debug_assert!(false, "given back twice");
            return;
        };
        *count -= 1;
        if *count == 0 {
            counts.by_user.remove(owner);
        }
        counts.total -= 1;
    }

    /// How many there are.
    pub(super) fn total(&self) -> u32 {
        self.counts
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .total
    }
}

/// Whom a user name stands for: without the time that it begins with, so that whoever gets new credentials every minute
/// gets no new quota with them. A name that is nothing but a time stands for itself.
pub(super) fn owner(user: &[u8]) -> &[u8] {
    let Some(at) = user.iter().position(|byte| *byte == b':') else {
        return user;
    };
    let (time, name) = (&user[..at], &user[at + 1..]);
    if !name.is_empty() && time.iter().all(u8::is_ascii_digit) {
        name
    } else {
        user
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_and_all_of_them_have_so_many() {
        let quota = Quota::new(QuotaLimits {
            per_user: 2,
            total: 3,
        });
        assert!(quota.take(b"1700000001:ann") && quota.take(b"1700000002:ann"));
        assert!(!quota.take(b"1700000003:ann") && !quota.take(b"ann"));
        assert!(quota.take(b"bob"));
        assert!(!quota.take(b"1700000001:carol"));
        quota.give_back(b"1700000002:ann");
        assert!(quota.take(b"1700000001:carol") && !quota.take(b"bob"));
        for user in [&b"1700000001:ann"[..], b"bob", b"1700000009:carol"] {
            quota.give_back(user);
        }
        assert_eq!(quota.total(), 0);
        assert!(quota.counts.lock().expect("no panic").by_user.is_empty());
    }

    #[test]
    fn threads_together_take_no_more_than_there_is() {
        let quota = Quota::new(QuotaLimits {
            per_user: 100,
            total: 1_000,
        });
        std::thread::scope(|scope| {
            let takers: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| (0..1_000).filter(|_| quota.take(b"ann")).count()))
                .collect();
            let taken: usize = takers
                .into_iter()
                .map(|it| it.join().expect("no panic"))
                .sum();
            assert_eq!(taken, 100);
        });
        assert_eq!(quota.total(), 100);
    }
}
