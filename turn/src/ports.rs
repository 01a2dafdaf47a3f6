//! The ports that a relay thread may give away.
//!
//! A port is drawn by lot from all that are free: who can guess it can send into somebody's call before its own peer does.
//! One that was given back rests, so that what was meant for the one before does not reach the next; only the same user may
//! have it sooner, when there is no other or when many of theirs rest.

use std::collections::VecDeque;
use std::ops::{Range, RangeInclusive};

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use hashbrown::hash_map::Entry;

/// How long a port rests before another user may have it, in seconds.
pub const REST_S: u32 = 120;

/// Ports of one user that may rest at a time. Who has given back as many gets one of those first: or one user, who takes and
/// gives back, would have all ports at rest within seconds.
const RESTING_PER_USER_MAX: u32 = 16;

/// Draws of a port that has to be even, before all are looked through.
const DRAWS: usize = 32;

/// Who a port is for: any number that is another for another user.
pub type UserKey = u64;

/// The ports of one address that belong to one thread.
#[derive(Debug)]
pub struct Ports {
    first: u16,
    /// In no order.
    free: Vec<u16>,
    /// Where in `free` a port lies, by its distance from the first; `NOWHERE` if it is not there.
    places: Box<[u16]>,
    /// Ports that rest: since when, and who had them.
    resting: VecDeque<(u16, u32, UserKey)>,
    /// How many of whom.
    resting_counts: HashMap<UserKey, u32, RandomState>,
}

const NOWHERE: u16 = u16::MAX;

/// What kind of port a client wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// Any.
    Any,
    /// An even one.
    Even,
    /// An even one, of which the next is to be kept as well.
    Pair,
}

impl Ports {
    /// All of this range, of which 0 is none.
    #[must_use]
    pub fn new(range: RangeInclusive<u16>) -> Self {
        let first = (*range.start()).max(1);
        let free: Vec<u16> = (first..=*range.end()).collect();
        Self {
            first,
            places: (0..=u16::MAX).take(free.len()).collect(),
            free,
            resting: VecDeque::new(),
            resting_counts: HashMap::default(),
        }
    }

    /// All of them, whoever has them.
    #[must_use]
    pub fn range(&self) -> Range<u32> {
        let first = u32::from(self.first);
        first..first + u32::try_from(self.places.len()).unwrap_or(0)
    }

    /// How many could be drawn now, by anybody.
    #[must_use]
    pub const fn free_count(&self) -> usize {
        self.free.len()
    }

    /// Draws a port: the port, which for [`Wanted::Pair`] stands for the next one as well. `None` when there is none.
    ///
    /// # Errors
    /// The system has no randomness.
    pub fn take(
        &mut self,
        wanted: Wanted,
        user: UserKey,
        now_s: u32,
    ) -> Result<Option<u16>, getrandom::Error> {
        self.wake(now_s);
        let resting_count = self.resting_counts.get(&user).copied().unwrap_or(0);
        if resting_count >= RESTING_PER_USER_MAX
            && let Some(port) = self.take_resting(wanted, user)
        {
            return Ok(Some(port));
        }
        for _ in 0..DRAWS {
            if self.free.is_empty() {
                break;
            }
            let port = self.free[below(self.free.len())?];
            if self.does(port, wanted) {
                self.remove(port, wanted);
                return Ok(Some(port));
            }
        }
        // Few are left, or few of those that do. The first that does is as good as drawn among so few.
        let start = below(self.free.len().max(1))?;
        let from_start = self.free[start.min(self.free.len())..].iter();
        if let Some(&port) = from_start
            .chain(&self.free[..start.min(self.free.len())])
            .find(|port| self.does(**port, wanted))
        {
            self.remove(port, wanted);
            return Ok(Some(port));
        }
        Ok(self.take_resting(wanted, user))
    }

    /// Gives a port back.
    pub fn give_back(&mut self, port: u16, user: UserKey, now_s: u32) {
        debug_assert_eq!(self.place(port), NOWHERE, "port {port} was not given away");
        self.resting.push_back((port, now_s, user));
        *self.resting_counts.entry(user).or_default() += 1;
    }

    /// Gives a port back that nobody has had.
    pub fn put_back(&mut self, port: u16) {
        debug_assert_eq!(self.place(port), NOWHERE, "port {port} was not given away");
        self.insert(port);
    }

    /// One of this user's rests no longer.
    fn count_awake(&mut self, user: UserKey) {
        if let Entry::Occupied(mut count) = self.resting_counts.entry(user) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }

    /// Those that have rested long enough are free again.
    fn wake(&mut self, now_s: u32) {
        while let Some(&(port, since_s, user)) = self.resting.front()
            && now_s.saturating_sub(since_s) >= REST_S
        {
            self.resting.pop_front();
            self.count_awake(user);
            self.insert(port);
        }
    }

    /// A port that the same user had, and that rests.
    fn take_resting(&mut self, wanted: Wanted, user: UserKey) -> Option<u16> {
        let does = |port: u16| match wanted {
            Wanted::Any => true,
            Wanted::Even => port.is_multiple_of(2),
            Wanted::Pair => false,
        };
        let at = self
            .resting
            .iter()
            .position(|(port, _, of)| *of == user && does(*port))?;
        let (port, ..) = self.resting.remove(at)?;
        self.count_awake(user);
        Some(port)
    }

    fn does(&self, port: u16, wanted: Wanted) -> bool {
        let is_even = port.is_multiple_of(2);
        match wanted {
            Wanted::Any => true,
            Wanted::Even => is_even,
            Wanted::Pair => is_even && self.place(port + 1) != NOWHERE,
        }
    }

    fn place(&self, port: u16) -> u16 {
        let index = port.checked_sub(self.first).map(usize::from);
        index
            .and_then(|index| self.places.get(index).copied())
            .unwrap_or(NOWHERE)
    }

    fn set_place(&mut self, port: u16, place: u16) {
        self.places[usize::from(port - self.first)] = place;
    }

    fn remove(&mut self, port: u16, wanted: Wanted) {
        self.remove_one(port);
        if wanted == Wanted::Pair {
            self.remove_one(port + 1);
        }
    }

    fn remove_one(&mut self, port: u16) {
        let place = self.place(port);
        self.free.swap_remove(usize::from(place));
        if let Some(&moved) = self.free.get(usize::from(place)) {
            self.set_place(moved, place);
        }
        self.set_place(port, NOWHERE);
    }

    fn insert(&mut self, port: u16) {
        let place = u16::try_from(self.free.len())
            .unwrap_or_else(|_| unreachable!("there are fewer ports than 2^16"));
        self.free.push(port);
        self.set_place(port, place);
    }
}

/// A number below this, each as likely as any other but for one part in 2^48.
fn below(bound: usize) -> Result<usize, getrandom::Error> {
    let random = u128::from(getrandom::u64()?);
    let drawn = (random * bound as u128) >> 64;
    Ok(usize::try_from(drawn).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn take(ports: &mut Ports, wanted: Wanted, user: UserKey, now_s: u32) -> Option<u16> {
        ports
            .take(wanted, user, now_s)
            .expect("there is randomness")
    }

    #[test]
    fn ports_are_drawn_evenly() {
        let mut ports = Ports::new(50_000..=50_099);
        let mut counts = [0_u32; 100];
        for _ in 0..10_000 {
            let port = take(&mut ports, Wanted::Any, 1, 0).expect("most are free");
            counts[usize::from(port - 50_000)] += 1;
            ports.insert(port);
        }
        // χ² with 99 degrees of freedom is above 180 once in a million.
        let chi2: f64 = counts
            .iter()
            .map(|n| (f64::from(*n) - 100.0).powi(2) / 100.0)
            .sum();
        assert!(chi2 < 180.0, "χ² is {chi2}");
    }

    #[test]
    fn a_port_rests_before_another_user_has_it() {
        let mut ports = Ports::new(50_000..=50_000);
        assert_eq!(take(&mut ports, Wanted::Any, 1, 1_000), Some(50_000));
        assert_eq!(take(&mut ports, Wanted::Any, 2, 1_000), None);
        ports.give_back(50_000, 1, 1_000);
        assert_eq!(take(&mut ports, Wanted::Any, 2, 1_000 + REST_S - 1), None);
        assert_eq!(
            take(&mut ports, Wanted::Any, 1, 1_000 + REST_S - 1),
            Some(50_000)
        );
        ports.give_back(50_000, 1, 2_000);
        assert_eq!(
            take(&mut ports, Wanted::Any, 2, 2_000 + REST_S),
            Some(50_000)
        );
    }

    #[test]
    fn one_user_cannot_bring_all_ports_to_rest() {
        let mut ports = Ports::new(50_000..=50_099);
        for _ in 0..10_000 {
            let port = take(&mut ports, Wanted::Any, 1, 1_000).expect("there are some");
            ports.give_back(port, 1, 1_000);
        }
        assert_eq!(ports.resting.len(), 16);
        assert!(take(&mut ports, Wanted::Any, 2, 1_000).is_some());
        assert!(take(&mut ports, Wanted::Any, 2, 1_000 + REST_S).is_some());
        assert!(ports.resting.is_empty() && ports.resting_counts.is_empty());
    }

    #[test]
    fn pairs_are_of_an_even_port_and_the_next() {
        let mut ports = Ports::new(50_001..=50_006);
        let first = take(&mut ports, Wanted::Pair, 1, 0).expect("there are two pairs");
        let second = take(&mut ports, Wanted::Pair, 1, 0).expect("there is one left");
        assert_eq!(
            BTreeSet::from([first, second]),
            BTreeSet::from([50_002, 50_004])
        );
        // 50,006 is even, but the next is not ours.
        assert_eq!(take(&mut ports, Wanted::Pair, 1, 0), None);
        assert_eq!(take(&mut ports, Wanted::Even, 1, 0), Some(50_006));
        assert_eq!(take(&mut ports, Wanted::Even, 1, 0), None);
        assert_eq!(take(&mut ports, Wanted::Any, 1, 0), Some(50_001));
        assert_eq!(
            (take(&mut ports, Wanted::Any, 1, 0), ports.free_count()),
            (None, 0)
        );
        let mut last = Ports::new(65_534..=65_535);
        assert_eq!(take(&mut last, Wanted::Pair, 1, 0), Some(65_534));
        let mut all = Ports::new(0..=65_535);
        let taken: BTreeSet<_> = std::iter::from_fn(|| take(&mut all, Wanted::Any, 1, 0)).collect();
        assert_eq!((taken.len(), taken.contains(&0)), (65_535, false));
    }

    proptest! {
        #[test]
        fn a_port_is_free_or_resting_or_taken(
            steps in prop::collection::vec((0..4_u8, 0..3_u64, any::<prop::sample::Index>(), 0..60_u32), 1..200)
        ) {
            let mut ports = Ports::new(60_000..=60_019);
            let mut taken: Vec<(u16, UserKey)> = Vec::new();
            let mut last: std::collections::BTreeMap<u16, (UserKey, u32)> = Default::default();
            let mut now_s = 0;
            for (step, user, which, later_s) in steps {
                now_s += later_s;
                let wanted = [Wanted::Any, Wanted::Even, Wanted::Pair].get(usize::from(step)).copied();
                match wanted {
                    Some(wanted) => {
                        let Some(port) = take(&mut ports, wanted, user, now_s) else { continue };
                        prop_assert!(wanted == Wanted::Any || port % 2 == 0);
                        let both = if wanted == Wanted::Pair { vec![port, port + 1] } else { vec![port] };
                        for port in both {
                            prop_assert!((60_000..=60_019).contains(&port));
                            prop_assert!(taken.iter().all(|(other, _)| *other != port));
                            if let Some((of, at_s)) = last.get(&port) {
                                prop_assert!(*of == user || now_s - at_s >= REST_S);
                            }
                            taken.push((port, user));
                        }
                    }
                    None if taken.is_empty() => {}
                    None => {
                        let (port, user) = taken.swap_remove(which.index(taken.len()));
                        ports.give_back(port, user, now_s);
                        last.insert(port, (user, now_s));
                    }
                }
                prop_assert_eq!(ports.free.len() + ports.resting.len() + taken.len(), 20);
            }
        }
    }
}
