//! The relay as a state machine: what clients and peers send goes in, what is to be sent comes out.
//!
//! A [`Relay`] belongs to one thread and shares nothing but the quotas. It opens and closes sockets through [`Sockets`], and
//! is told the time. Data never enters it: it says where a packet goes, and whoever holds the packet sends it.

mod allocation;
mod answer;
mod authentication;
mod connections;
mod data;
mod learned;
mod quota;
mod requests;
mod reservations;
mod shared;
mod tally;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use crate::budget::{Rate, SourceBudget};
use crate::credentials::Credentials;
use crate::framing::Datagram;
use crate::nonce::Nonces;
use crate::peers::PeerLimits;
use crate::policy::PeerPolicy;
use crate::ports::Ports;
use crate::stun::{Class, Malformed, Message, Method};

pub use allocation::{Allocation, AllocationInfo, Ending, Told};
pub use connections::{CONNECTION_S, ConnectionId, NotConnected};
pub use data::FromPeer;
pub use quota::QuotaLimits;
pub use reservations::ReservationToken;
pub use shared::{RELAYS_MAX, SOCKETS_MAX, Shared};
pub use tally::Tally;

use allocation::family_of;
use answer::Answer;
use authentication::{Challenge, NotKnown};
use connections::Connection;
use data::Transactions;
use learned::Learned;
use shared::Place;

/// How a client reaches the relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    /// Datagrams.
    Udp,
    /// A stream.
    Tcp,
    /// A stream that is encrypted.
    Tls,
}

/// The five-tuple that an allocation belongs to (RFC 8656 section 2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Client {
    /// How it reaches the relay.
    pub transport: Transport,
    /// Where it has sent to.
    pub local: SocketAddr,
    /// From where.
    pub remote: SocketAddr,
}

impl Client {
    /// Whether it comes without a connection.
    #[must_use]
    pub fn is_udp(&self) -> bool {
        self.transport == Transport::Udp
    }
}

/// A socket that packets of peers arrive at, or connections. Whoever opens them numbers them, from 0, and may use a number again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RelaySocket(pub u32);

/// What the relay needs sockets for.
pub trait Sockets {
    /// Opens a UDP socket at this address and port.
    ///
    /// # Errors
    /// The system's, `AddrInUse` among them: another port is tried then.
    fn open(&mut self, local: SocketAddr) -> std::io::Result<RelaySocket>;

    /// Opens a TCP socket there that peers can connect to.
    ///
    /// # Errors
    /// As above.
    fn listen(&mut self, local: SocketAddr) -> std::io::Result<RelaySocket>;

    /// Opens a UDP socket that nothing is read from until it is taken up, perhaps by another relay of the same server.
    ///
    /// # Errors
    /// As above.
    fn keep(&mut self, token: ReservationToken, local: SocketAddr) -> std::io::Result<()>;

    /// Takes up the socket that was kept for this token.
    ///
    /// # Errors
    /// The system's. The socket is closed then.
    fn take_up(&mut self, token: ReservationToken) -> std::io::Result<RelaySocket>;

    /// Closes the socket that was kept for this token.
    fn give_up(&mut self, token: ReservationToken);

    /// Closes one. Nothing that still arrives there is handed in any more.
    fn close(&mut self, socket: RelaySocket);

    /// Begins to connect to a peer from the address of a socket; [`Relay::connected`] is told how it went.
    ///
    /// # Errors
    /// The system's.
    fn connect(
        &mut self,
        id: ConnectionId,
        from: RelaySocket,
        to: SocketAddr,
    ) -> std::io::Result<()>;

    /// Closes the connection to a peer, and the client's that was joined with it.
    fn disconnect(&mut self, id: ConnectionId);
}

/// The time, as the caller knows it.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// Unix seconds: for what is agreed on with others.
    pub unix_s: u32,
    /// Nanoseconds since some moment: never runs backwards.
    pub ns: u64,
}

impl Now {
    /// Seconds of the clock that never runs backwards: for all that lasts.
    pub(crate) fn s(self) -> u32 {
        u32::try_from(self.ns / 1_000_000_000).unwrap_or(u32::MAX)
    }
}

/// An address that relayed addresses are of.
#[derive(Debug, Clone, Copy)]
pub struct RelayAddress {
    /// Where sockets are bound.
    pub local: IpAddr,
    /// What clients are told: another one behind a NAT that maps one to one.
    pub external: IpAddr,
}

/// How a relay is set up.
#[derive(Debug, Clone)]
pub struct Config {
    /// Its number among those that it shares with.
    pub thread: u16,
    /// What an allocation lasts without LIFETIME, in seconds: 600.
    pub lifetime_s: u32,
    /// What it lasts at most: 3,600.
    pub lifetime_max_s: u32,
    /// What an allocation may have of peers.
    pub peers: PeerLimits,
    /// Packets that an allocation may have relayed, both ways together.
    pub packets: Rate,
    /// Bytes of them.
    pub bytes: Rate,
    /// Whether packets can be sent so that they are not cut (DONT-FRAGMENT).
    pub can_send_whole: bool,
    /// Whether clients may have connections to peers (RFC 6062).
    pub has_tcp: bool,
    /// Connections to peers of an allocation.
    pub connections_max: usize,
    /// Where datagrams come to: none come from there that are worth an answer.
    pub listeners: Vec<SocketAddr>,
    /// Replies to whoever has not shown who they are, for each source; and of those who sign what they ask, how many may be
    /// wrong before nobody looks.
    pub strangers: Rate,
    /// Replies to Binding, for each source.
    pub bindings: Rate,
    /// Whether somebody else is asked about users that are not known here ([`Action::Ask`]).
    pub asks: bool,
    /// Whether it is remembered what becomes of allocations, to be [told](Relay::take_told).
    pub tells: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            thread: 0,
            lifetime_s: 600,
            lifetime_max_s: 3_600,
            peers: PeerLimits::default(),
            packets: Rate::new(10_000, 10_000),
            bytes: Rate::new(12_500_000, 4_000_000),
            can_send_whole: true,
            has_tcp: false,
            connections_max: 16,
            listeners: Vec::new(),
            strangers: Rate::new(50, 200),
            bindings: Rate::new(50, 200),
            asks: false,
            tells: false,
        }
    }
}

/// What a relay refuses by, which can be exchanged while it runs.
#[derive(Debug, Clone)]
pub struct Access {
    /// Who may use it.
    pub credentials: Arc<Credentials>,
    /// Whom they may reach.
    pub policy: Arc<PeerPolicy>,
}

/// Why something was not carried or answered. Each is a counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dropped {
    /// Neither STUN nor ChannelData, or shorter than it says.
    Unknown,
    /// STUN that is not well-formed.
    Malformed(Malformed),
    /// An answer, or an indication that clients do not send.
    Unexpected,
    /// From port 0 or from a socket of this server: an answer would go round in circles.
    Source,
    /// A stranger has had as many replies, or has been wrong as often, as they may.
    Strangers,
    /// There is no allocation.
    NoAllocation,
    /// The channel is bound to nobody.
    NoChannel,
    /// The peer is not permitted.
    NoPermission,
    /// The peer may not be reached.
    Denied,
    /// The allocation has used up what it may have relayed.
    Rate,
    /// An indication without what belongs in it, or with what is not known.
    Indication,
}

/// What is to be done about a packet of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action<'p> {
    /// Nothing, and it is counted.
    Drop(Dropped),
    /// The reply is to be sent back.
    Reply,
    /// There will be a reply.
    Wait,
    /// Somebody else is to be asked for the password of this user. When it has been [learned](Relay::learn), the packet is to
    /// be handed in again.
    Ask(&'p [u8]),
    /// The reply is to be sent back, and after it the client's connection carries what the peer's does.
    Join(ConnectionId),
    /// Data is for whoever has that socket, here: it is to be handed to [`Relay::handle_peer`], and need not leave the
    /// process.
    Hairpin {
        /// From this relayed address.
        from: SocketAddr,
        /// To this socket.
        to: RelaySocket,
        /// A part of the packet.
        data: &'p [u8],
    },
    /// The same, but another relay of this server has that socket.
    Handover {
        /// Which one.
        thread: u16,
        /// From this relayed address.
        from: SocketAddr,
        /// To this one.
        to: SocketAddr,
        /// A part of the packet.
        data: &'p [u8],
    },
    /// Data is to be sent to a peer.
    Relay {
        /// From this socket.
        from: RelaySocket,
        /// To this peer.
        to: SocketAddr,
        /// A part of the packet.
        data: &'p [u8],
        /// Not in fragments.
        dont_fragment: bool,
    },
}

/// The relay of one thread.
#[derive(Debug)]
pub struct Relay {
    config: Config,
    access: Access,
    nonces: Nonces,
    shared: Arc<Shared>,
    /// IPv4 and IPv6, as far as there are addresses to give away.
    families: [Option<Family>; 2],
    allocations: HashMap<Client, Box<Allocation>, RandomState>,
    /// Whose a socket is.
    owners: Vec<Option<Client>>,
    connections: HashMap<ConnectionId, Connection, RandomState>,
    strangers: SourceBudget,
    /// Credentials that were not good. Whoever asks for them has a nonce, so it is their address.
    failures: SourceBudget,
    bindings: SourceBudget,
    learned: Learned,
    told: Vec<Told>,
    transactions: Transactions,
    /// No new allocations: clients are sent there, or away.
    drain: Option<Drain>,
    tally: Tally,
}

/// Where the clients of a relay that is drained are to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drain {
    /// Another server of the family of the client, if there is one.
    pub alternate: [Option<SocketAddr>; 2],
}

#[derive(Debug)]
struct Family {
    address: RelayAddress,
    ports: Ports,
}

impl Family {
    /// Whether allocations are at this address, whether it is named as clients know it or as it is here.
    fn is_at(&self, ip: IpAddr) -> bool {
        ip == self.address.external || ip == self.address.local
    }
}

impl Relay {
    /// A relay that gives away the ports of these addresses: of IPv4, and of IPv6. The seed is a secret of the process.
    #[must_use]
    pub fn new(
        config: Config,
        access: Access,
        nonces: Nonces,
        shared: Arc<Shared>,
        families: [Option<(RelayAddress, Ports)>; 2],
        seed: u64,
    ) -> Self {
        Self {
            strangers: SourceBudget::new(config.strangers, seed),
            bindings: SourceBudget::new(config.bindings, seed.rotate_left(32)),
            failures: SourceBudget::new(config.strangers, seed.rotate_left(48)),
            config,
            access,
            nonces,
            shared,
            families: families.map(|it| it.map(|(address, ports)| Family { address, ports })),
            allocations: HashMap::default(),
            owners: Vec::new(),
            connections: HashMap::default(),
            learned: Learned::default(),
            told: Vec::new(),
            transactions: Transactions::new(seed.rotate_left(16)),
            drain: None,
            tally: Tally::default(),
        }
    }

    /// Handles what a client has sent: a datagram, or a message of a stream without its padding. A reply is appended to
    /// `reply`.
    pub fn handle_client<'p>(
        &mut self,
        client: Client,
        packet: &'p [u8],
        now: Now,
        sockets: &mut impl Sockets,
        reply: &mut Vec<u8>,
    ) -> Action<'p> {
        let result = match Datagram::read(packet, self.config.peers.channels) {
            None => Err(Dropped::Unknown),
            Some(Datagram::ChannelData { channel, data }) => {
                self.relay_channel(&client, channel, data, now)
            }
            Some(Datagram::Stun(bytes)) => match Message::parse(bytes) {
                Err(malformed) => Err(Dropped::Malformed(malformed)),
                Ok(message) => self.handle_message(client, &message, now, sockets, reply),
            },
        };
        result.unwrap_or_else(Action::Drop)
    }

    fn handle_message<'p>(
        &mut self,
        client: Client,
        message: &Message<'p>,
        now: Now,
        sockets: &mut impl Sockets,
        reply: &mut Vec<u8>,
    ) -> Result<Action<'p>, Dropped> {
        match (message.class(), message.method()) {
            (Class::Indication, Method::SEND) => {
                return self.relay_indication(&client, message, now);
            }
            (Class::Request, _) => {}
            // A keep-alive of ICE (RFC 8445 section 11), and what only servers send.
            _ => return Err(Dropped::Unexpected),
        }
        let is_own = client.is_udp() && self.config.listeners.contains(&client.remote);
        if client.remote.port() == 0 || is_own {
            return Err(Dropped::Source);
        }
        if message.method() == Method::BINDING {
            if !self.bindings.take(client.remote.ip(), now.ns) {
                return Err(Dropped::Strangers);
            }
            let answer = Answer::to(message, None, reply);
            let unknown = self.unknown_in(message);
            if unknown.is_empty() {
                answer.binding(client.remote);
            } else {
                answer.unknown(&unknown);
            }
            return Ok(Action::Reply);
        }
        let known = match self.authenticate(&client, message, now) {
            Ok(known) => known,
            Err(NotKnown::NotAsked) => return Err(Dropped::Strangers),
            Err(NotKnown::Ask(user)) => {
                // Names can be made up as well as passwords.
                self.failures.take(client.remote.ip(), now.ns);
                return Ok(Action::Ask(user));
            }
            Err(NotKnown::Challenge(challenge)) => {
                let is_signed = message.integrity().is_some();
                if is_signed && challenge == Challenge::Unauthenticated {
                    self.failures.take(client.remote.ip(), now.ns);
                }
                self.tally.count(challenge, is_signed);
                if !self.strangers.take(client.remote.ip(), now.ns) {
                    return Err(Dropped::Strangers);
                }
                self.challenge(&client, message, challenge, now, reply);
                return Ok(Action::Reply);
            }
        };
        Ok(self.handle_request(client, message, &known, now, sockets, reply))
    }

    /// Remembers what somebody else has said of a user, until then (Unix seconds of [`Now`]): the password, or that there is no
    /// such user.
    pub fn learn(&mut self, user: &[u8], password: Option<&[u8]>, until_s: u32, now: Now) {
        self.learned.learn(user, password, until_s, now.unix_s);
    }

    /// Nobody could say anything of the user that asks: they may ask again (500, RFC 8489 section 14.8).
    pub fn not_learned(&self, packet: &[u8], reply: &mut Vec<u8>) {
        if let Ok(message) = Message::parse(packet) {
            Answer::to(&message, None, reply).error(requests::code::SERVER_ERROR);
        }
    }

    /// A client's stream has ended, and with it what was allocated over it.
    pub fn client_left(&mut self, client: &Client, now: Now, sockets: &mut impl Sockets) {
        self.free(client, Ending::Left, now, sockets);
    }

    /// Ends what has not been kept alive. To be called about once a second.
    pub fn sweep(&mut self, now: Now, sockets: &mut impl Sockets) {
        let ended: Vec<Client> = self
            .allocations
            .iter()
            .filter(|(_, it)| it.until_s <= now.s())
            .map(|(client, _)| *client)
            .collect();
        for client in ended {
            self.free(&client, Ending::Expired, now, sockets);
        }
        self.learned.forget(now.unix_s);
        self.sweep_ports(now, sockets);
        self.sweep_connections(now, sockets);
    }

    /// Exchanges who may use the relay and whom they may reach. What is allocated stays; what is relayed is asked about anew.
    pub fn set_access(&mut self, access: Access) {
        self.access = access;
    }

    /// Turns newcomers away from now on, or no longer.
    pub fn set_drain(&mut self, drain: Option<Drain>) {
        self.drain = drain;
    }

    /// The allocations that there are.
    pub fn allocations(&self) -> impl ExactSizeIterator<Item = (&Client, &Allocation)> {
        self.allocations.iter().map(|(client, it)| (client, &**it))
    }

    /// Whether a client has an allocation.
    #[must_use]
    pub fn has_allocation(&self, client: &Client) -> bool {
        self.allocations.contains_key(client)
    }

    /// Takes the allocation with this relayed address away from its client, if there is one.
    pub fn end(
        &mut self,
        relayed: SocketAddr,
        now: Now,
        sockets: &mut impl Sockets,
    ) -> Option<Client> {
        let socket = self.socket_at(relayed)?;
        let client = self.owners.get(socket.0 as usize).copied().flatten()?;
        self.free(&client, Ending::Taken, now, sockets);
        Some(client)
    }

    /// What has happened so far.
    #[must_use]
    pub const fn tally(&self) -> &Tally {
        &self.tally
    }

    /// The socket of an allocation of this relay.
    #[must_use]
    pub fn socket_at(&self, relayed: SocketAddr) -> Option<RelaySocket> {
        let place = self.place_of(relayed)?;
        (place.thread == self.config.thread).then_some(place.socket)
    }

    /// Where the allocation with this relayed address is, on this server.
    fn place_of(&self, relayed: SocketAddr) -> Option<Place> {
        place_of(&self.families, &self.shared, relayed)
    }
}

fn place_of(families: &[Option<Family>; 2], shared: &Shared, relayed: SocketAddr) -> Option<Place> {
    let family = family_of(relayed);
    let is_ours = families[family].as_ref()?.is_at(relayed.ip());
    is_ours.then(|| shared.places.at(family, relayed.port()))?
}
