//! What the relays of a server share: how much there is, who has which port, and what is kept for later.

use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU32, Ordering};

use super::RelaySocket;
use super::quota::{Quota, QuotaLimits};
use super::reservations::Reservations;

/// What the relays of a server share.
#[derive(Debug)]
pub struct Shared {
    pub(super) quota: Quota,
    pub(super) places: Places,
    pub(super) reservations: Reservations,
}

impl Shared {
    /// For relays that give away these ports among them.
    #[must_use]
    pub fn new(limits: QuotaLimits, ports: &RangeInclusive<u16>) -> Self {
        Self {
            quota: Quota::new(limits),
            places: Places::new(ports),
            reservations: Reservations::default(),
        }
    }

    /// Allocations that there are, the ones being made included.
    #[must_use]
    pub fn allocation_count(&self) -> u32 {
        self.quota.total()
    }

    /// Ports that are kept for whoever has their tokens.
    #[must_use]
    pub fn reserved_count(&self) -> usize {
        self.reservations.count()
    }
}

/// Numbers of a relay's sockets are below this, so that one fits beside the number of its relay.
pub const SOCKETS_MAX: u32 = (1 << SOCKET_BITS) - 1;

/// Relays that may share.
pub const RELAYS_MAX: u16 = 1 << (u32::BITS - SOCKET_BITS - 1);

/// Says that an entry is of connections.
const IS_TCP: u32 = 1 << (u32::BITS - 1);

/// A ring has no more than 2^20 direct descriptors, and 0 stands for none.
const SOCKET_BITS: u32 = 21;

/// Which relay has which port. Only the one that has it writes its entry; all read, for packets from client to client.
#[derive(Debug)]
pub(super) struct Places {
    first: u16,
    /// Of IPv4 and of IPv6; 0 where there is no allocation.
    families: [Box<[AtomicU32]>; 2],
}

/// Where an allocation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// The number of its relay.
    pub(super) thread: u16,
    pub(super) socket: RelaySocket,
    /// It takes connections, not datagrams.
    pub(super) is_tcp: bool,
}

impl Places {
    fn new(ports: &RangeInclusive<u16>) -> Self {
        let none = || ports.clone().map(|_| AtomicU32::new(0)).collect();
        Self {
            first: *ports.start(),
            families: [none(), none()],
        }
    }

    /// Who has this port.
    pub(super) fn at(&self, family: usize, port: u16) -> Option<Place> {
        // Relaxed: whoever it names looks again, and is the one who wrote it.
        let entry = self.entry(family, port)?.load(Ordering::Relaxed);
        let socket = (entry & SOCKETS_MAX).checked_sub(1)?;
        Some(Place {
            thread: u16::try_from((entry & !IS_TCP) >> SOCKET_BITS).unwrap_or(RELAYS_MAX),
            socket: RelaySocket(socket),
            is_tcp: entry & IS_TCP != 0,
        })
    }

    /// Says who has it now.
    pub(super) fn set(&self, family: usize, port: u16, place: Option<Place>) {
        let entry = place.map_or(0, |it| {
            debug_assert!(it.socket.0 < SOCKETS_MAX && it.thread < RELAYS_MAX);
            let is_tcp = if it.is_tcp { IS_TCP } else { 0 };
            is_tcp | u32::from(it.thread) << SOCKET_BITS | (it.socket.0 + 1)
        });
        if let Some(of) = self.entry(family, port) {
            of.store(entry, Ordering::Relaxed);
        }
    }

    fn entry(&self, family: usize, port: u16) -> Option<&AtomicU32> {
        let index = port.checked_sub(self.first)?;
        self.families[family].get(usize::from(index))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_where_it_was_last_said_to_be() {
        let places = Places::new(&(50_000..=50_001));
        let place = |thread, socket, is_tcp| Place {
            thread,
            socket: RelaySocket(socket),
            is_tcp,
        };
        assert_eq!(places.at(0, 50_001), None);
        for it in [
            place(0, 0, false),
            place(RELAYS_MAX - 1, SOCKETS_MAX - 1, true),
            place(3, 77, false),
        ] {
            places.set(0, 50_001, Some(it));
            assert_eq!(places.at(0, 50_001), Some(it));
        }
        assert_eq!(
            [(1, 50_001), (0, 50_000), (0, 49_999), (0, 50_002)].map(|(of, at)| places.at(of, at)),
            [None; 4]
        );
        places.set(0, 50_001, None);
        assert_eq!(places.at(0, 50_001), None);
    }
}
