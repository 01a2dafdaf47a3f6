//! What is relayed (RFC 8656 sections 11 and 12).

use std::net::SocketAddr;

use super::allocation::{Allocation, family_of};
use super::shared::Place;
use super::{Action, Client, Config, Dropped, Now, Relay, RelaySocket, Transport, place_of};
use crate::framing::channel_header;
use crate::policy::canonical_socket;
use crate::stun::{AttributeType, Class, Message, Method, TransactionId, Writer};

/// What is to be done about a packet of a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FromPeer {
    /// Nothing, and it is counted.
    Drop(Dropped),
    /// It goes to this client, behind what was appended to the header, and with so many bytes of zero behind it.
    Relay {
        /// Whose packet it is.
        client: Client,
        /// Up to 3.
        padding: u8,
    },
}

/// Whom a client sends to.
#[derive(Debug, Clone, Copy)]
enum To {
    Channel(u16),
    Peer(SocketAddr),
}

impl Relay {
    /// Data on a channel.
    pub(super) fn relay_channel<'p>(
        &mut self,
        client: &Client,
        channel: u16,
        data: &'p [u8],
        now: Now,
    ) -> Result<Action<'p>, Dropped> {
        self.relay_to_peer(client, To::Channel(channel), data, false, now)
    }

    /// A Send indication.
    pub(super) fn relay_indication<'p>(
        &mut self,
        client: &Client,
        message: &Message<'p>,
        now: Now,
    ) -> Result<Action<'p>, Dropped> {
        let (mut to, mut data, mut dont_fragment) = (None, None, false);
        for attribute in message.attributes() {
            match attribute.kind {
                AttributeType::XOR_PEER_ADDRESS if to.is_none() => {
                    let peer = message.address(attribute.value);
                    to = Some(canonical_socket(peer.ok_or(Dropped::Indication)?));
                }
                AttributeType::DATA if data.is_none() => data = Some(attribute.value),
                AttributeType::DONT_FRAGMENT if self.config.can_send_whole => dont_fragment = true,
                AttributeType::XOR_PEER_ADDRESS | AttributeType::DATA => {}
                kind if kind.is_comprehension_required() => return Err(Dropped::Indication),
                _ => {}
            }
        }
        let (Some(to), Some(data)) = (to, data) else {
            return Err(Dropped::Indication);
        };
        self.relay_to_peer(client, To::Peer(to), data, dont_fragment, now)
    }

    fn relay_to_peer<'p>(
        &mut self,
        client: &Client,
        to: To,
        data: &'p [u8],
        dont_fragment: bool,
        now: Now,
    ) -> Result<Action<'p>, Dropped> {
        let allocation = self
            .allocations
            .get_mut(client)
            .filter(|it| now.s() < it.until_s && !it.is_tcp)
            .ok_or(Dropped::NoAllocation)?;
        let to = match to {
            To::Peer(peer) => peer,
            To::Channel(channel) => allocation
                .peers
                .of_channel(channel, now.s())
                .ok_or(Dropped::NoChannel)?,
        };
        if !allocation.peers.are_permitted(to.ip(), now.s()) {
            return Err(Dropped::NoPermission);
        }
        // A permission is for all ports, and those of the server itself are not to be reached; and the lists may have
        // changed since.
        if to.port() == 0 || self.access.policy.check_socket(to).is_err() {
            return Err(Dropped::Denied);
        }
        let relayed = allocation.sockets[family_of(to)].ok_or(Dropped::Denied)?;
        let place = place_of(&self.families, &self.shared, to).filter(|it| !it.is_tcp);
        if place.is_none() && self.access.policy.is_host(to.ip()) {
            return Err(Dropped::Denied);
        }
        if !allocation.may_relay(data.len(), now, &self.config) {
            return Err(Dropped::Rate);
        }
        allocation.count(0, data.len());
        let from = relayed.address;
        Ok(match place {
            Some(Place { thread, socket, .. }) if thread == self.config.thread => Action::Hairpin {
                from,
                to: socket,
                data,
            },
            Some(Place { thread, .. }) => Action::Handover {
                thread,
                from,
                to,
                data,
            },
            None => Action::Relay {
                from: relayed.socket,
                to,
                data,
                dont_fragment,
            },
        })
    }

    /// Handles a datagram of a peer: so many bytes that arrived on this socket. What is to be sent before them is appended
    /// to `header`: 4 bytes of ChannelData, or at most 48 of a Data indication.
    pub fn handle_peer(
        &mut self,
        socket: RelaySocket,
        from: SocketAddr,
        data_bytes: usize,
        now: Now,
        header: &mut Vec<u8>,
    ) -> FromPeer {
        let owner = self.owners.get(socket.0 as usize).copied().flatten();
        let Some(client) = owner else {
            return FromPeer::Drop(Dropped::NoAllocation);
        };
        let Some(allocation) = self
            .allocations
            .get_mut(&client)
            // What is handed over does not ask whether the socket takes datagrams.
            .filter(|it| now.s() < it.until_s && !it.is_tcp)
        else {
            return FromPeer::Drop(Dropped::NoAllocation);
        };
        if !allocation.peers.are_permitted(from.ip(), now.s()) {
            return FromPeer::Drop(Dropped::NoPermission);
        }
        // The lists may have changed since it was permitted.
        let policy = &self.access.policy;
        let is_denied = policy.check_socket(from).is_err()
            || policy.is_host(from.ip()) && place_of(&self.families, &self.shared, from).is_none();
        if is_denied {
            return FromPeer::Drop(Dropped::Denied);
        }
        if !allocation.may_relay(data_bytes, now, &self.config) {
            return FromPeer::Drop(Dropped::Rate);
        }
        let channel = allocation.peers.channel_of(from, now.s());
        let is_written = match channel {
            Some(channel) => channel_header(channel, data_bytes).map(|it| header.extend(it)),
            None => Writer::new(
                header,
                Class::Indication,
                Method::DATA,
                self.transactions.next(),
            )
            .xor_address(AttributeType::XOR_PEER_ADDRESS, from)
            .begin_attribute(AttributeType::DATA, data_bytes),
        };
        if is_written.is_none() {
            return FromPeer::Drop(Dropped::Unknown);
        }
        allocation.count(1, data_bytes);
        // Only on a stream is ChannelData padded; a message is a multiple of four bytes long anywhere.
        let is_padded = channel.is_none() || client.transport != Transport::Udp;
        let padding = data_bytes.next_multiple_of(4) - data_bytes;
        FromPeer::Relay {
            client,
            padding: if is_padded {
                padding.to_le_bytes()[0]
            } else {
                0
            },
        }
    }
}

impl Relay {
    /// Handles what the network says about a packet that was sent from this socket to this peer: type and code of ICMP, or of
    /// ICMPv6 for a peer of IPv6, and the MTU if that is what it is about. What the client is told, if anything, is appended
    /// to `reply` (RFC 8656 section 11.5).
    pub fn handle_icmp(
        &mut self,
        socket: RelaySocket,
        to: SocketAddr,
        (kind, code): (u8, u8),
        mtu: u32,
        now: Now,
        reply: &mut Vec<u8>,
    ) -> Option<Client> {
        // Destination unreachable, packet too big, time exceeded: what says something about the path.
        let is_of_interest = match to {
            SocketAddr::V4(_) => matches!(kind, 3 | 11),
            SocketAddr::V6(_) => matches!(kind, 1..=3),
        };
        let is_too_big = matches!((to, kind, code), (SocketAddr::V4(_), 3, 4))
            || matches!((to, kind), (SocketAddr::V6(_), 2));
        let client = self.owners.get(socket.0 as usize).copied().flatten()?;
        let allocation = self.allocations.get_mut(&client)?;
        let is_told = is_of_interest
            && now.s() < allocation.until_s
            && allocation.peers.are_permitted(to.ip(), now.s())
            && allocation.may_relay(0, now, &self.config);
        if !is_told {
            return None;
        }
        // Seven bits of type, nine of code (RFC 8656 section 18.13).
        let [t, c] = (u16::from(kind) << 9 | u16::from(code)).to_be_bytes();
        let [d0, d1, d2, d3] = if is_too_big { mtu } else { 0 }.to_be_bytes();
        Writer::new(
            reply,
            Class::Indication,
            Method::DATA,
            self.transactions.next(),
        )
        .xor_address(AttributeType::XOR_PEER_ADDRESS, to)
        .attribute(AttributeType::ICMP, &[0, 0, t, c, d0, d1, d2, d3]);
        Some(client)
    }
}

/// Numbers for the transactions of indications, which nobody answers: so they need not be hard to guess.
#[derive(Debug)]
pub(super) struct Transactions {
    next: u64,
}

impl Transactions {
    pub(super) const fn new(seed: u64) -> Self {
        Self { next: seed }
    }

    pub(super) fn next(&mut self) -> TransactionId {
        let mut id = [0; 12];
        id[4..].copy_from_slice(&self.next.to_be_bytes());
        self.next = self.next.wrapping_add(1);
        id
    }
}

impl Allocation {
    fn may_relay(&mut self, bytes: usize, now: Now, config: &Config) -> bool {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.packets.take(&config.packets, 1, now.ns)
            && self.bytes.take(&config.bytes, bytes, now.ns)
    }

    pub(super) fn carried(
        &mut self,
        direction: usize,
        bytes: usize,
        now: Now,
        config: &Config,
    ) -> bool {
        self.count(direction, bytes);
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let has_packets = self.packets.owe(&config.packets, 1, now.ns);
        self.bytes.owe(&config.bytes, bytes, now.ns) && has_packets
    }

    pub(super) fn may_carry(&self, now: Now, config: &Config) -> bool {
        self.packets.has_one(&config.packets, now.ns) && self.bytes.has_one(&config.bytes, now.ns)
    }

    const fn count(&mut self, direction: usize, bytes: usize) {
        let (packets, total) = &mut self.relayed[direction];
        *packets += 1;
        *total += bytes as u64;
    }
}
