//! Users that somebody else knows, and what they have said of them.

use foldhash::fast::RandomState;
use hashbrown::HashMap;

/// Users that are remembered, for each relay. Those that are not are asked about again.
const USERS_MAX: usize = 10_000;

/// What is known of users from elsewhere, for a time.
#[derive(Debug, Default)]
pub(super) struct Learned {
    users: HashMap<Box<[u8]>, User, RandomState>,
}

#[derive(Debug)]
struct User {
    /// `None`: there is no such user.
    password: Option<Box<[u8]>>,
    until_s: u32,
}

impl Learned {
    /// What is known of a user: `None` if nothing is, `Some(None)` if there is no such user.
    pub(super) fn of(&self, user: &[u8], now_s: u32) -> Option<Option<&[u8]>> {
        let known = self.users.get(user).filter(|it| now_s < it.until_s)?;
        Some(known.password.as_deref())
    }

    /// Remembers what was said of a user.
    pub(super) fn learn(&mut self, user: &[u8], password: Option<&[u8]>, until_s: u32, now_s: u32) {
        if self.users.len() >= USERS_MAX && !self.users.contains_key(user) {
            self.forget(now_s);
            // They are all still good: any of them is as good to forget as any other.
            if self.users.len() >= USERS_MAX
                && let Some(one) = self.users.keys().next().cloned()
            {
                self.users.remove(&one);
            }
        }
        let known = User {
            password: password.map(Box::from),
            // Those who have waited for it ask no second time.
            until_s: until_s.max(now_s.saturating_add(1)),
        };
        self.users.insert(user.into(), known);
    }

    /// Forgets what has ended.
    pub(super) fn forget(&mut self, now_s: u32) {
        self.users.retain(|_, it| now_s < it.until_s);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_are_remembered_for_so_long() {
        let mut learned = Learned::default();
        for number in 0..USERS_MAX {
            learned.learn(&number.to_be_bytes(), Some(b"secret"), 100, 0);
        }
        let first = 0_usize.to_be_bytes();
        assert_eq!(learned.of(&first, 99), Some(Some(&b"secret"[..])));
        assert_eq!(learned.of(&first, 100), None);
        // One more, of whom nobody knows anything.
        learned.learn(b"eve", None, 10, 0);
        assert_eq!(learned.of(b"eve", 9), Some(None));
        assert_eq!(learned.of(b"eve", 10), None);
        assert_eq!(learned.users.len(), USERS_MAX);
        learned.forget(100);
        assert_eq!(learned.users.len(), 0);
    }
}
