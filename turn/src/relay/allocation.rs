//! What a client has been given.

use std::net::SocketAddr;

use super::quota::owner;
use super::reservations::{Reservation, ReservationToken, Returned};
use super::shared::Place;
use super::{Client, ConnectionId, Now, Relay, RelaySocket, Sockets};
use crate::budget::Meter;
use crate::peers::Peers;
use crate::ports::UserKey;
use crate::stun::{Key, TransactionId};

/// What a client has been given.
#[derive(Debug)]
pub struct Allocation {
    pub(super) user: Box<[u8]>,
    pub(super) key: Key,
    /// Peers connect to it, and it to peers, instead of exchanging datagrams.
    pub(super) is_tcp: bool,
    /// Its connections to peers, if it is one of TCP.
    pub(super) connections: Vec<ConnectionId>,
    /// One of each family at most.
    pub(super) sockets: [Option<Relayed>; 2],
    /// Seconds of the clock that never runs backwards.
    pub(super) until_s: u32,
    pub(super) peers: Peers,
    pub(super) packets: Meter,
    pub(super) bytes: Meter,
    /// What it was made by: a request that comes twice is answered twice alike.
    pub(super) made_by: Made,
    /// Packets and bytes that were relayed, to peers and from them.
    pub(super) relayed: [(u64, u64); 2],
}

/// A relayed address.
#[derive(Debug, Clone, Copy)]
pub(super) struct Relayed {
    pub(super) socket: RelaySocket,
    /// As the client is told.
    pub(super) address: SocketAddr,
}

/// The request that an allocation was made by, and what of the answer is not found elsewhere.
#[derive(Debug, Clone, Copy)]
pub(super) struct Made {
    pub(super) transaction: TransactionId,
    pub(super) lifetime_s: u32,
    pub(super) token: Option<ReservationToken>,
    /// The family that was asked for besides, and could not be had.
    pub(super) refused: Option<u16>,
}

impl Allocation {
    /// Whose it is.
    #[must_use]
    pub fn user(&self) -> &[u8] {
        &self.user
    }

    /// The addresses that peers send to.
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.sockets.iter().flatten().map(|it| it.address)
    }

    /// Packets and bytes that were relayed: to peers, and from them.
    #[must_use]
    pub const fn relayed(&self) -> [(u64, u64); 2] {
        self.relayed
    }
}

/// An allocation as operators see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllocationInfo {
    /// Whose it is.
    pub client: Client,
    /// The user name; bytes, for nobody has checked that it is text.
    pub user: Vec<u8>,
    /// The addresses that peers send to.
    pub relayed: Vec<SocketAddr>,
    /// Seconds until it ends unless it is refreshed.
    pub seconds_left: u32,
    /// Permissions and channels.
    pub peers: (usize, usize),
    /// Packets and bytes that were relayed: to peers, and from them.
    pub carried: [(u64, u64); 2],
}

/// That an allocation has begun, or has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// Which one, as it is then.
    pub info: AllocationInfo,
    /// Why it has ended; `None` if it has begun.
    pub ending: Option<Ending>,
}

/// Why an allocation has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Its client has given it back.
    GivenBack,
    /// Its client has not refreshed it in time.
    Expired,
    /// Its client's connection has ended.
    Left,
    /// Whoever operates the server has ended it.
    Taken,
}

impl Allocation {
    fn info(&self, client: &Client, now: Now) -> AllocationInfo {
        AllocationInfo {
            client: *client,
            user: self.user.to_vec(),
            relayed: self.addresses().collect(),
            seconds_left: self.until_s.saturating_sub(now.s()),
            peers: self.peers.counts(now.s()),
            carried: self.relayed,
        }
    }
}

/// 0 for IPv4, 1 for IPv6.
pub(super) const fn family_of(address: SocketAddr) -> usize {
    if address.is_ipv4() { 0 } else { 1 }
}

/// Another number for another user.
pub(super) fn user_key(user: &[u8]) -> UserKey {
    use std::hash::BuildHasher;
    foldhash::fast::FixedState::with_seed(0).hash_one(owner(user))
}

impl Relay {
    /// All allocations, as operators see them.
    #[must_use]
    pub fn describe(&self, now: Now) -> Vec<AllocationInfo> {
        let describe = |(client, it): (&Client, &Allocation)| it.info(client, now);
        self.allocations().map(describe).collect()
    }

    /// What has become of allocations since this was last called, if [`Config::tells`](super::Config::tells).
    pub fn take_told(&mut self) -> std::vec::Drain<'_, Told> {
        self.told.drain(..)
    }

    pub(super) fn tell_of(&mut self, client: &Client, ending: Option<Ending>, now: Now) {
        if self.config.tells
            && let Some(allocation) = self.allocations.get(client)
        {
            let info = allocation.info(client, now);
            self.told.push(Told { info, ending });
        }
    }

    /// Takes an allocation away from a client, if it has one.
    pub(super) fn free(
        &mut self,
        client: &Client,
        ending: Ending,
        now: Now,
        sockets: &mut impl Sockets,
    ) {
        self.tell_of(client, Some(ending), now);
        let Some(allocation) = self.allocations.remove(client) else {
            return;
        };
        for family in 0..2 {
            if let Some(relayed) = allocation.sockets[family] {
                self.close(family, relayed, &allocation.user, now, sockets);
            }
        }
        for id in allocation.connections {
            self.connections.remove(&id);
            sockets.disconnect(id);
        }
        self.shared.quota.give_back(&allocation.user);
    }

    pub(super) fn close(
        &mut self,
        family: usize,
        relayed: Relayed,
        user: &[u8],
        now: Now,
        sockets: &mut impl Sockets,
    ) {
        sockets.close(relayed.socket);
        self.set_owner(family, relayed, None, false);
        self.give_back(family, relayed.address.port(), user_key(user), now);
    }

    /// Gives a port back to whom it comes from.
    pub(super) fn give_back(&mut self, family: usize, port: u16, user: UserKey, now: Now) {
        match &mut self.families[family] {
            Some(of) if of.ports.range().contains(&u32::from(port)) => {
                of.ports.give_back(port, user, now.s());
            }
            _ => self
                .shared
                .reservations
                .give_back(Returned { family, port, user }),
        }
    }

    pub(super) fn set_owner(
        &mut self,
        family: usize,
        relayed: Relayed,
        owner: Option<Client>,
        is_tcp: bool,
    ) {
        let Relayed { socket, address } = relayed;
        let at = socket.0 as usize;
        if self.owners.len() <= at {
            self.owners.resize(at + 1, None);
        }
        self.owners[at] = owner;
        let place = owner.map(|_| Place {
            thread: self.config.thread,
            socket,
            is_tcp,
        });
        self.shared.places.set(family, address.port(), place);
    }

    /// Gives up the ports that nobody came for, and takes back those that came from here.
    pub(super) fn sweep_ports(&mut self, now: Now, sockets: &mut impl Sockets) {
        // The ports of both families are the same.
        let Some(range) = self
            .families
            .iter()
            .flatten()
            .map(|it| it.ports.range())
            .next()
        else {
            return;
        };
        for reservation in self.shared.reservations.expired(&range, now.s()) {
            let Reservation {
                token,
                user,
                address,
                ..
            } = reservation;
            sockets.give_up(token);
            self.give_back(family_of(address), address.port(), user_key(&user), now);
        }
        for Returned { family, port, user } in self.shared.reservations.take_returned(&range) {
            self.give_back(family, port, user, now);
        }
    }
}
