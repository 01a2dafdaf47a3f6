//! Ports that are kept for whoever has their tokens (RFC 8656 section 7.2).
//!
//! Whoever comes with a token may be another relay's client: the kernel hands out clients as it likes. So what is kept is
//! known to all relays, its socket belongs to none until it is taken up, and a port goes back to the relay that it came from.

use std::net::SocketAddr;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::ports::UserKey;

/// How long a port is kept for whoever has the token, in seconds (RFC 8656 section 7.2: at least 30).
pub(super) const RESERVATION_S: u32 = 30;

/// Ports that are kept for one user at a time. Each is a descriptor that no quota counts.
const PER_USER_MAX: usize = 16;

/// Ports that are kept in all.
const TOTAL_MAX: usize = 1_024;

/// RESERVATION-TOKEN.
pub type ReservationToken = [u8; 8];

/// A port that is kept for the next allocation of a user.
#[derive(Debug)]
pub(super) struct Reservation {
    pub(super) token: ReservationToken,
    pub(super) user: Box<[u8]>,
    /// As clients are told.
    pub(super) address: SocketAddr,
    /// Seconds of the clock that never runs backwards, which is the same for all relays.
    pub(super) until_s: u32,
}

/// A port that was had by a relay that it does not come from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Returned {
    pub(super) family: usize,
    pub(super) port: u16,
    pub(super) user: UserKey,
}

/// What is kept, as all relays see it. Asked when an allocation is made or ends, and once a second.
#[derive(Debug, Default)]
pub(super) struct Reservations {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    kept: Vec<Reservation>,
    returned: Vec<Returned>,
}

impl Reservations {
    /// Whether one more may be kept for this user.
    pub(super) fn has_room(&self, user: &[u8]) -> bool {
        let state = self.lock();
        let of_user = state.kept.iter().filter(|it| *it.user == *user).count();
        state.kept.len() < TOTAL_MAX && of_user < PER_USER_MAX
    }

    pub(super) fn keep(&self, reservation: Reservation) {
        self.lock().kept.push(reservation);
    }

    /// What was kept for this token of this user, once.
    pub(super) fn redeem(
        &self,
        token: ReservationToken,
        user: &[u8],
        now_s: u32,
    ) -> Option<Reservation> {
        let mut state = self.lock();
        let is_it = |it: &Reservation| it.token == token && *it.user == *user && now_s < it.until_s;
        let at = state.kept.iter().position(is_it)?;
        Some(state.kept.swap_remove(at))
    }

    /// What nobody came for, of these ports.
    pub(super) fn expired(&self, ports: &Range<u32>, now_s: u32) -> Vec<Reservation> {
        let is_over = |it: &mut Reservation| {
            it.until_s <= now_s && ports.contains(&u32::from(it.address.port()))
        };
        self.lock().kept.extract_if(.., is_over).collect()
    }

    /// Gives a port back to the relay that it comes from.
    pub(super) fn give_back(&self, returned: Returned) {
        self.lock().returned.push(returned);
    }

    /// What was given back of these ports.
    pub(super) fn take_returned(&self, ports: &Range<u32>) -> Vec<Returned> {
        let is_ours = |it: &mut Returned| ports.contains(&u32::from(it.port));
        self.lock().returned.extract_if(.., is_ours).collect()
    }

    pub(super) fn count(&self) -> usize {
        self.lock().kept.len()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
