//! Requests of clients that are known: RFC 8656 sections 7, 8, 10 and 12. Those of RFC 6062 are in `connections`.

use std::net::{IpAddr, SocketAddr};

use smallvec::SmallVec;

use super::allocation::{Allocation, Ending, Made, Relayed, family_of, user_key};
use super::answer::Answer;
use super::authentication::Known;
use super::reservations::{RESERVATION_S, Reservation, ReservationToken};
use super::{Action, Client, Now, Relay, RelayAddress, Sockets};
use crate::budget::Meter;
use crate::peers::{PeerRefused, Peers};
use crate::policy::canonical_socket;
use crate::ports::Wanted;
use crate::stun::{AttributeType, Message, Method};

const UDP: u8 = 17;
const TCP: u8 = 6;
const IPV4: u8 = 1;
const IPV6: u8 = 2;

/// Pairs that are tried, of which the second port turns out to be somebody else's.
const PAIRS_MAX: usize = 4;

/// Ports that are tried before there are said to be none: somebody else on this host may have them.
const BINDS_MAX: usize = 16;

/// Attributes that requests of a relay may have; others below 0x8000 are answered with 420.
const UNDERSTOOD: [AttributeType; 19] = [
    AttributeType::USERNAME,
    AttributeType::USERHASH,
    AttributeType::REALM,
    AttributeType::NONCE,
    AttributeType::PASSWORD_ALGORITHM,
    AttributeType::MESSAGE_INTEGRITY,
    AttributeType::MESSAGE_INTEGRITY_SHA256,
    AttributeType::CHANNEL_NUMBER,
    AttributeType::LIFETIME,
    AttributeType::XOR_PEER_ADDRESS,
    AttributeType::DATA,
    AttributeType::XOR_RELAYED_ADDRESS,
    AttributeType::REQUESTED_ADDRESS_FAMILY,
    AttributeType::EVEN_PORT,
    AttributeType::REQUESTED_TRANSPORT,
    AttributeType::DONT_FRAGMENT,
    AttributeType::RESERVATION_TOKEN,
    AttributeType::XOR_MAPPED_ADDRESS,
    AttributeType::CONNECTION_ID,
];

/// The codes of errors (RFC 8489 section 14.8, RFC 8656 section 19).
pub(super) mod code {
    pub(in crate::relay) const TRY_ALTERNATE: u16 = 300;
    pub(in crate::relay) const BAD_REQUEST: u16 = 400;
    pub(in crate::relay) const FORBIDDEN: u16 = 403;
    pub(in crate::relay) const UNKNOWN_ATTRIBUTE: u16 = 420;
    pub(in crate::relay) const ALLOCATION_MISMATCH: u16 = 437;
    pub(in crate::relay) const ADDRESS_FAMILY_NOT_SUPPORTED: u16 = 440;
    pub(in crate::relay) const WRONG_CREDENTIALS: u16 = 441;
    pub(in crate::relay) const UNSUPPORTED_TRANSPORT: u16 = 442;
    pub(in crate::relay) const PEER_FAMILY_MISMATCH: u16 = 443;
    // RFC 6062 section 6.3.
    pub(in crate::relay) const CONNECTION_EXISTS: u16 = 446;
    pub(in crate::relay) const CONNECTION_FAILED: u16 = 447;
    pub(in crate::relay) const ALLOCATION_QUOTA: u16 = 486;
    pub(in crate::relay) const SERVER_ERROR: u16 = 500;
    pub(in crate::relay) const INSUFFICIENT_CAPACITY: u16 = 508;
}

/// What an Allocate asks for.
#[derive(Debug, Clone, Copy)]
struct Asked {
    lifetime_s: u32,
    is_tcp: bool,
    family: usize,
    /// IPv6 besides IPv4.
    both: bool,
    wanted: Wanted,
    token: Option<ReservationToken>,
}

impl Relay {
    /// The attributes of a request that would have to be understood and are not, as UNKNOWN-ATTRIBUTES has them
    /// (RFC 8489 section 14.13).
    pub(super) fn unknown_in(&self, message: &Message<'_>) -> SmallVec<[u8; 16]> {
        message
            .attributes()
            .filter(|it| it.kind.is_comprehension_required() && !self.understands(it.kind))
            .flat_map(|it| it.kind.0.to_be_bytes())
            .collect()
    }

    pub(super) fn handle_request(
        &mut self,
        client: Client,
        message: &Message<'_>,
        known: &Known<'_>,
        now: Now,
        sockets: &mut impl Sockets,
        reply: &mut Vec<u8>,
    ) -> Action<'static> {
        let answer = Answer::to(message, Some(known), reply);
        let unknown = self.unknown_in(message);
        if !unknown.is_empty() {
            answer.unknown(&unknown);
            return Action::Reply;
        }
        // What has ended and was not swept yet is none.
        if self
            .allocations
            .get(&client)
            .is_some_and(|it| it.until_s <= now.s())
        {
            self.free(&client, Ending::Expired, now, sockets);
        }
        match message.method() {
            Method::ALLOCATE => {
                self.allocate(client, message, known, now, sockets, answer);
                return Action::Reply;
            }
            Method::CONNECTION_BIND => {
                return self.bind_connection(&client, message, known, now, answer);
            }
            _ => {}
        }
        let Some(allocation) = self.allocations.get(&client) else {
            answer.error(match message.method() {
                Method::REFRESH
                | Method::CREATE_PERMISSION
                | Method::CHANNEL_BIND
                | Method::CONNECT => code::ALLOCATION_MISMATCH,
                _ => code::BAD_REQUEST,
            });
            return Action::Reply;
        };
        if *allocation.user != *known.user {
            answer.error(code::WRONG_CREDENTIALS);
            return Action::Reply;
        }
        match message.method() {
            Method::REFRESH => self.refresh(&client, message, now, sockets, answer),
            Method::CREATE_PERMISSION => {
                let result = self.permit(&client, message, now);
                self.answer_about_peer(result, answer);
            }
            Method::CHANNEL_BIND if !allocation.is_tcp => {
                let result = self.bind_channel(&client, message, now);
                self.answer_about_peer(result, answer);
            }
            Method::CONNECT => return self.connect(&client, message, now, sockets, answer),
            _ => answer.error(code::BAD_REQUEST),
        }
        Action::Reply
    }

    /// A kernel that cannot send without fragments makes of DONT-FRAGMENT an attribute that is not known (RFC 8656 section
    /// 7.2).
    fn understands(&self, kind: AttributeType) -> bool {
        UNDERSTOOD.contains(&kind)
            && (self.config.can_send_whole || kind != AttributeType::DONT_FRAGMENT)
    }

    fn answer_about_peer(&mut self, result: Result<(), u16>, answer: Answer<'_>) {
        match result {
            Ok(()) => answer.success(|_| {}),
            Err(code) => {
                if code == code::FORBIDDEN {
                    self.tally.peers_forbidden += 1;
                }
                answer.error(code);
            }
        }
    }

    fn allocate(
        &mut self,
        client: Client,
        message: &Message<'_>,
        known: &Known<'_>,
        now: Now,
        sockets: &mut impl Sockets,
        answer: Answer<'_>,
    ) {
        if let Some(allocation) = self.allocations.get(&client) {
            // The answer was lost, and the request sent again.
            let is_again = allocation.made_by.transaction == message.transaction()
                && *allocation.user == *known.user;
            return if is_again {
                answer.success(|writer| allocation.describe(&client, writer));
            } else {
                answer.error(code::ALLOCATION_MISMATCH);
            };
        }
        let asked = match self.read_allocate(&client, message) {
            Ok(asked) => asked,
            Err(code) => return answer.error(code),
        };
        if let Some(drain) = self.drain {
            self.tally.while_draining += 1;
            return match drain.alternate[family_of(client.remote)] {
                Some(alternate) => answer.error_with(code::TRY_ALTERNATE, |writer| {
                    writer.address(AttributeType::ALTERNATE_SERVER, alternate);
                }),
                None => answer.error(code::INSUFFICIENT_CAPACITY),
            };
        }
        if !self.shared.quota.take(&known.user) {
            self.tally.over_quota += 1;
            return answer.error(code::ALLOCATION_QUOTA);
        }
        match self.make(message, known, asked, now, sockets) {
            Ok(allocation) => {
                answer.success(|writer| allocation.describe(&client, writer));
                for (family, relayed) in allocation.sockets.iter().enumerate() {
                    if let Some(relayed) = relayed {
                        self.set_owner(family, *relayed, Some(client), allocation.is_tcp);
                    }
                }
                self.allocations.insert(client, Box::new(allocation));
                self.tell_of(&client, None, now);
                self.tally.allocations_made += 1;
            }
            Err(code) => {
                self.shared.quota.give_back(&known.user);
                if code == code::INSUFFICIENT_CAPACITY {
                    self.tally.without_port += 1;
                }
                answer.error(code);
            }
        }
    }

    /// What is asked for, or the code of what is wrong with it (RFC 8656 section 7.2).
    fn read_allocate(&self, client: &Client, message: &Message<'_>) -> Result<Asked, u16> {
        let is_tcp = match message.first(AttributeType::REQUESTED_TRANSPORT) {
            Some(&[UDP, _, _, _]) => false,
            Some(&[TCP, _, _, _]) if self.config.has_tcp => true,
            Some(&[_, _, _, _]) => return Err(code::UNSUPPORTED_TRANSPORT),
            _ => return Err(code::BAD_REQUEST),
        };
        let family = |kind| -> Result<Option<usize>, u16> {
            match message.first(kind) {
                None => Ok(None),
                Some(&[IPV4, _, _, _]) => Ok(Some(0)),
                Some(&[IPV6, _, _, _]) => Ok(Some(1)),
                Some(&[_, _, _, _]) => Err(code::ADDRESS_FAMILY_NOT_SUPPORTED),
                Some(_) => Err(code::BAD_REQUEST),
            }
        };
        let requested = family(AttributeType::REQUESTED_ADDRESS_FAMILY)?;
        let additional = family(AttributeType::ADDITIONAL_ADDRESS_FAMILY)?
            .or(family(AttributeType::ADDITIONAL_ADDRESS_FAMILY_DRAFT)?);
        let wanted = match message.first(AttributeType::EVEN_PORT) {
            None => Wanted::Any,
            Some(&[flags]) if flags & 0x80 != 0 => Wanted::Pair,
            Some(&[_]) => Wanted::Even,
            Some(_) => return Err(code::BAD_REQUEST),
        };
        let token = match message.first(AttributeType::RESERVATION_TOKEN) {
            None => None,
            Some(token) => Some(token.try_into().map_err(|_| code::BAD_REQUEST)?),
        };
        let is_contradiction = requested.is_some() && additional.is_some()
            || additional == Some(0)
            || additional.is_some() && (wanted == Wanted::Pair || token.is_some())
            || token.is_some() && (requested.is_some() || wanted != Wanted::Any);
        // Streams have no pairs and no fragments, and need one themselves (RFC 6062 section 5.1).
        let is_wrong_for_tcp = is_tcp
            && (client.is_udp()
                || wanted != Wanted::Any
                || token.is_some()
                || message.first(AttributeType::DONT_FRAGMENT).is_some());
        if is_contradiction || is_wrong_for_tcp {
            return Err(code::BAD_REQUEST);
        }
        let family = requested.unwrap_or(0);
        if token.is_none() && self.families[family].is_none() {
            return Err(code::ADDRESS_FAMILY_NOT_SUPPORTED);
        }
        Ok(Asked {
            is_tcp,
            lifetime_s: self
                .lifetime(message)?
                .unwrap_or(0)
                .max(self.config.lifetime_s),
            family,
            both: additional.is_some(),
            wanted,
            token,
        })
    }

    /// What LIFETIME asks for, within what there is at most.
    fn lifetime(&self, message: &Message<'_>) -> Result<Option<u32>, u16> {
        let Some(value) = message.first(AttributeType::LIFETIME) else {
            return Ok(None);
        };
        let value = value.try_into().map_err(|_| code::BAD_REQUEST)?;
        Ok(Some(
            u32::from_be_bytes(value).min(self.config.lifetime_max_s),
        ))
    }

    fn make(
        &mut self,
        message: &Message<'_>,
        known: &Known<'_>,
        asked: Asked,
        now: Now,
        sockets: &mut impl Sockets,
    ) -> Result<Allocation, u16> {
        let user = &known.user;
        let mut relayed = [None; 2];
        let (mut token, mut refused) = (None, None);
        if let Some(of) = asked.token {
            let (family, socket) = self.redeem(of, user, now, sockets)?;
            relayed[family] = Some(socket);
        } else if asked.wanted == Wanted::Pair {
            let (one, of_other) = self.open_pair(asked.family, user, now, sockets)?;
            relayed[asked.family] = Some(one);
            token = Some(of_other);
        } else {
            let one = self.open(asked.family, asked.wanted, asked.is_tcp, user, now, sockets)?;
            relayed[asked.family] = Some(one);
        }
        if asked.both {
            // One family is better than none (RFC 8656 section 7.2).
            match self.open(1, Wanted::Any, asked.is_tcp, user, now, sockets) {
                Ok(other) => relayed[1] = Some(other),
                Err(code) => refused = Some(code),
            }
        }
        Ok(Allocation {
            user: user.as_ref().into(),
            key: known.key,
            is_tcp: asked.is_tcp,
            connections: Vec::new(),
            sockets: relayed,
            until_s: now.s().saturating_add(asked.lifetime_s),
            peers: Peers::default(),
            packets: Meter::default(),
            bytes: Meter::default(),
            made_by: Made {
                transaction: message.transaction(),
                lifetime_s: asked.lifetime_s,
                token,
                refused,
            },
            relayed: [(0, 0); 2],
        })
    }

    /// Opens a socket on a port that is drawn; the next port stays drawn, too, if a pair is wanted.
    fn open(
        &mut self,
        family: usize,
        wanted: Wanted,
        is_tcp: bool,
        user: &[u8],
        now: Now,
        sockets: &mut impl Sockets,
    ) -> Result<Relayed, u16> {
        let of = self.families[family]
            .as_mut()
            .ok_or(code::ADDRESS_FAMILY_NOT_SUPPORTED)?;
        for _ in 0..BINDS_MAX {
            let port = of
                .ports
                .take(wanted, user_key(user), now.s())
                .map_err(|_| code::SERVER_ERROR)?
                .ok_or(code::INSUFFICIENT_CAPACITY)?;
            let local = SocketAddr::new(of.address.local, port);
            let opened = if is_tcp {
                sockets.listen(local)
            } else {
                sockets.open(local)
            };
            match opened {
                Ok(socket) => {
                    return Ok(Relayed {
                        socket,
                        address: SocketAddr::new(of.address.external, port),
                    });
                }
                // Nobody could have had it: it is not the port's fault.
                Err(error) if !is_of_port(&error) => {
                    of.ports.put_back(port);
                    if wanted == Wanted::Pair {
                        of.ports.put_back(port + 1);
                    }
                    break;
                }
                // It is tried again when it has rested.
                Err(_) => {
                    of.ports.give_back(port, NOBODY, now.s());
                    if wanted == Wanted::Pair {
                        of.ports.give_back(port + 1, NOBODY, now.s());
                    }
                }
            }
        }
        Err(code::INSUFFICIENT_CAPACITY)
    }

    /// Opens a socket on an even port, and keeps the next for whoever has the token.
    fn open_pair(
        &mut self,
        family: usize,
        user: &[u8],
        now: Now,
        sockets: &mut impl Sockets,
    ) -> Result<(Relayed, ReservationToken), u16> {
        if !self.shared.reservations.has_room(user) {
            return Err(code::INSUFFICIENT_CAPACITY);
        }
        for _ in 0..PAIRS_MAX {
            let one = self.open(family, Wanted::Pair, false, user, now, sockets)?;
            match self.reserve(family, one.address.port() + 1, user, now, sockets) {
                Some(token) => return Ok((one, token)),
                None => self.close(family, one, user, now, sockets),
            }
        }
        Err(code::INSUFFICIENT_CAPACITY)
    }

    /// Keeps a port that was drawn, unless it cannot be had.
    fn reserve(
        &mut self,
        family: usize,
        port: u16,
        user: &[u8],
        now: Now,
        sockets: &mut impl Sockets,
    ) -> Option<ReservationToken> {
        let RelayAddress { local, external } = self.families[family].as_ref()?.address;
        let token = getrandom::u64().ok().map(u64::to_be_bytes);
        let kept = token.filter(|token| sockets.keep(*token, SocketAddr::new(local, port)).is_ok());
        let Some(token) = kept else {
            self.give_back(family, port, NOBODY, now);
            return None;
        };
        self.shared.reservations.keep(Reservation {
            token,
            user: user.into(),
            address: SocketAddr::new(external, port),
            until_s: now.s().saturating_add(RESERVATION_S),
        });
        Some(token)
    }

    /// The socket that was kept for this token of this user, once.
    fn redeem(
        &mut self,
        token: ReservationToken,
        user: &[u8],
        now: Now,
        sockets: &mut impl Sockets,
    ) -> Result<(usize, Relayed), u16> {
        let kept = self.shared.reservations.redeem(token, user, now.s());
        let Reservation { address, .. } = kept.ok_or(code::INSUFFICIENT_CAPACITY)?;
        let family = family_of(address);
        let Ok(socket) = sockets.take_up(token) else {
            self.give_back(family, address.port(), user_key(user), now);
            return Err(code::INSUFFICIENT_CAPACITY);
        };
        Ok((family, Relayed { socket, address }))
    }

    fn refresh(
        &mut self,
        client: &Client,
        message: &Message<'_>,
        now: Now,
        sockets: &mut impl Sockets,
        answer: Answer<'_>,
    ) {
        let lifetime_s = match self.lifetime(message) {
            Ok(Some(0)) => 0,
            Ok(asked) => asked.unwrap_or(0).max(self.config.lifetime_s),
            Err(code) => return answer.error(code),
        };
        let Some(allocation) = self.allocations.get_mut(client) else {
            return answer.error(code::ALLOCATION_MISMATCH);
        };
        let family = match message.first(AttributeType::REQUESTED_ADDRESS_FAMILY) {
            None => None,
            Some(&[IPV4, _, _, _]) => Some(0),
            Some(&[IPV6, _, _, _]) => Some(1),
            Some(_) => return answer.error(code::BAD_REQUEST),
        };
        if family.is_some_and(|family| allocation.sockets[family].is_none()) {
            return answer.error(code::PEER_FAMILY_MISMATCH);
        }
        match family {
            // One of two families is given back, the other stays as it is (RFC 8656 section 8.2).
            Some(family) if lifetime_s == 0 && allocation.sockets[1 - family].is_some() => {
                if let Some(relayed) = allocation.sockets[family].take() {
                    let user = allocation.user.clone();
                    self.close(family, relayed, &user, now, sockets);
                }
            }
            _ if lifetime_s == 0 => self.free(client, Ending::GivenBack, now, sockets),
            _ => allocation.until_s = now.s().saturating_add(lifetime_s),
        }
        answer.success(|writer| {
            writer.attribute(AttributeType::LIFETIME, &lifetime_s.to_be_bytes());
        });
    }

    fn permit(&mut self, client: &Client, message: &Message<'_>, now: Now) -> Result<(), u16> {
        let mut ips: SmallVec<[IpAddr; 4]> = SmallVec::new();
        for attribute in message.attributes() {
            if attribute.kind == AttributeType::XOR_PEER_ADDRESS {
                let peer = message.address(attribute.value).ok_or(code::BAD_REQUEST)?;
                self.check_peer(client, peer)?;
                ips.push(peer.ip());
            }
        }
        if ips.is_empty() {
            return Err(code::BAD_REQUEST);
        }
        let limits = self.config.peers;
        let allocation = self
            .allocations
            .get_mut(client)
            .ok_or(code::ALLOCATION_MISMATCH)?;
        allocation
            .peers
            .permit(&ips, &limits, now.s())
            .map_err(code_of)
    }

    fn bind_channel(
        &mut self,
        client: &Client,
        message: &Message<'_>,
        now: Now,
    ) -> Result<(), u16> {
        let number = message.first(AttributeType::CHANNEL_NUMBER);
        let peer = message.first(AttributeType::XOR_PEER_ADDRESS);
        let (Some(&[high, low, _, _]), Some(peer)) = (number, peer) else {
            return Err(code::BAD_REQUEST);
        };
        let peer = peer_address(message, peer)?;
        self.check_peer(client, peer)?;
        if peer.port() == 0 || self.access.policy.check_socket(peer).is_err() {
            return Err(code::FORBIDDEN);
        }
        let limits = self.config.peers;
        let allocation = self
            .allocations
            .get_mut(client)
            .ok_or(code::ALLOCATION_MISMATCH)?;
        allocation
            .peers
            .bind(u16::from_be_bytes([high, low]), peer, &limits, now.s())
            .map_err(code_of)
    }

    /// Whether the client may have anything to do with this peer.
    pub(super) fn check_peer(&self, client: &Client, peer: SocketAddr) -> Result<(), u16> {
        if self.access.policy.check(peer.ip()).is_err() {
            return Err(code::FORBIDDEN);
        }
        let allocation = self
            .allocations
            .get(client)
            .ok_or(code::ALLOCATION_MISMATCH)?;
        if allocation.sockets[family_of(peer)].is_none() {
            return Err(code::PEER_FAMILY_MISMATCH);
        }
        Ok(())
    }
}

/// The address of a peer; one of IPv4 in the clothes of IPv6 is one of IPv4, for whatever is done with it.
pub(super) fn peer_address(message: &Message<'_>, value: &[u8]) -> Result<SocketAddr, u16> {
    let peer = message.address(value).ok_or(code::BAD_REQUEST)?;
    Ok(canonical_socket(peer))
}

/// Whether a socket was refused for the port that was asked for, not for want of descriptors or memory.
fn is_of_port(error: &std::io::Error) -> bool {
    use std::io::ErrorKind;
    matches!(
        error.kind(),
        ErrorKind::AddrInUse | ErrorKind::AddrNotAvailable | ErrorKind::PermissionDenied
    )
}

/// Whose a port is that could not be opened: no user has this key but by a chance of 2^-64.
const NOBODY: u64 = u64::MAX;

impl Allocation {
    /// What Allocate is answered with.
    fn describe(&self, client: &Client, writer: &mut crate::stun::Writer<'_>) {
        for relayed in self.sockets.iter().flatten() {
            writer.xor_address(AttributeType::XOR_RELAYED_ADDRESS, relayed.address);
        }
        writer
            .attribute(
                AttributeType::LIFETIME,
                &self.made_by.lifetime_s.to_be_bytes(),
            )
            .xor_address(AttributeType::XOR_MAPPED_ADDRESS, client.remote);
        if let Some(token) = &self.made_by.token {
            writer.attribute(AttributeType::RESERVATION_TOKEN, token);
        }
        if let Some(code) = self.made_by.refused {
            let [class, number] = [code / 100, code % 100].map(|it| it.to_le_bytes()[0]);
            writer.attribute(AttributeType::ADDRESS_ERROR_CODE, &[IPV6, 0, class, number]);
        }
    }
}

pub(super) const fn code_of(refused: PeerRefused) -> u16 {
    match refused {
        PeerRefused::PermissionsMax | PeerRefused::ChannelsMax | PeerRefused::NewPeers => {
            code::INSUFFICIENT_CAPACITY
        }
        PeerRefused::ChannelNumber(_) | PeerRefused::ChannelTaken | PeerRefused::PeerTaken => {
            code::BAD_REQUEST
        }
    }
}
