//! What a relay counts itself; what is dropped its caller counts.

use super::authentication::Challenge;

/// What has happened since the relay was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Allocations made.
    pub allocations_made: u64,
    /// Allocations refused with 486.
    pub over_quota: u64,
    /// Allocations refused with 508, for want of a port.
    pub without_port: u64,
    /// Allocations refused because the relay is drained.
    pub while_draining: u64,
    /// 401 to requests without a signature.
    pub challenges: u64,
    /// 401 to requests with one.
    pub auth_failures: u64,
    /// 400 to requests whose signature makes no sense.
    pub auth_malformed: u64,
    /// 438.
    pub nonces_stale: u64,
    /// 403.
    pub peers_forbidden: u64,
}

impl Tally {
    pub(super) const fn count(&mut self, challenge: Challenge, is_signed: bool) {
        let counter = match challenge {
            Challenge::Unauthenticated if is_signed => &mut self.auth_failures,
            Challenge::Unauthenticated => &mut self.challenges,
            Challenge::BadRequest => &mut self.auth_malformed,
            Challenge::StaleNonce => &mut self.nonces_stale,
        };
        *counter += 1;
    }
}
