//! Streams to peers (RFC 6062).
//!
//! An allocation of TCP has a port that peers connect to, and from which its client has connections made to peers. Either way
//! a connection gets a number, with which the client opens a connection of its own to the server: what one of the two says,
//! the other hears from then on. Who carries the bytes is not the relay's business; who may, is.

use std::net::SocketAddr;

use super::allocation::family_of;
use super::answer::{Answer, Envelope};
use super::authentication::Known;
use super::requests::{code, peer_address};
use super::{Action, Client, Now, Relay, RelaySocket, Sockets};
use crate::policy::canonical_socket;
use crate::stun::{AttributeType, Class, Message, Method, Writer};

/// How long a client may take to ask for a connection that there is, and a peer to answer, in seconds (RFC 6062 sections 5.2
/// and 5.3: 30).
pub const CONNECTION_S: u32 = 30;

/// A connection to a peer. Hard to guess: who knows it and the user's password may listen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(pub u32);

#[derive(Debug)]
pub(super) struct Connection {
    /// Whose it is: the connection that the allocation was made over.
    client: Client,
    peer: SocketAddr,
    state: State,
    /// Until when it is to be in the next state.
    until_s: u32,
}

#[derive(Debug)]
enum State {
    /// The peer has not answered yet, nor has the client been.
    Connecting(Box<Envelope>),
    /// The client has not asked for it yet.
    Waiting,
    Bound,
}

/// Why there is no connection to a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotConnected;

impl Relay {
    /// A client asks for a connection to a peer.
    pub(super) fn connect(
        &mut self,
        client: &Client,
        message: &Message<'_>,
        now: Now,
        sockets: &mut impl Sockets,
        answer: Answer<'_>,
    ) -> Action<'static> {
        match self.begin_to_connect(client, message, now, sockets) {
            Ok((id, peer)) => {
                let connection = Connection {
                    client: *client,
                    peer,
                    state: State::Connecting(Box::new(answer.later())),
                    until_s: now.s().saturating_add(CONNECTION_S),
                };
                self.insert(id, connection);
                Action::Wait
            }
            Err(code) => {
                if code == code::FORBIDDEN {
                    self.tally.peers_forbidden += 1;
                }
                answer.error(code);
                Action::Reply
            }
        }
    }

    fn begin_to_connect(
        &mut self,
        client: &Client,
        message: &Message<'_>,
        now: Now,
        sockets: &mut impl Sockets,
    ) -> Result<(ConnectionId, SocketAddr), u16> {
        let value = message
            .first(AttributeType::XOR_PEER_ADDRESS)
            .ok_or(code::BAD_REQUEST)?;
        let peer = peer_address(message, value)?;
        self.check_peer(client, peer)?;
        if peer.port() == 0
            || self.access.policy.check_socket(peer).is_err()
            || self.is_another_service(peer)
        {
            return Err(code::FORBIDDEN);
        }
        let allocation = self
            .allocations
            .get_mut(client)
            .filter(|it| it.is_tcp)
            .ok_or(code::BAD_REQUEST)?;
        let is_to_peer = |id| self.connections.get(id).is_some_and(|it| it.peer == peer);
        if allocation.connections.iter().any(is_to_peer) {
            return Err(code::CONNECTION_EXISTS);
        }
        let relayed = allocation.sockets[family_of(peer)].ok_or(code::PEER_FAMILY_MISMATCH)?;
        // Who asks for many peers is looking for something, over TCP as well.
        let limits = self.config.peers;
        allocation
            .peers
            .permit(&[peer.ip()], &limits, now.s())
            .map_err(super::requests::code_of)?;
        let id = self.new_connection(client)?;
        sockets
            .connect(id, relayed.socket, peer)
            .map_err(|_| code::CONNECTION_FAILED)?;
        Ok((id, peer))
    }

    /// Whether something of this host is there that is not relayed.
    fn is_another_service(&self, peer: SocketAddr) -> bool {
        self.access.policy.is_host(peer.ip()) && !self.place_of(peer).is_some_and(|it| it.is_tcp)
    }

    /// Draws a number, if the allocation may have another connection.
    fn new_connection(&self, client: &Client) -> Result<ConnectionId, u16> {
        let allocation = self
            .allocations
            .get(client)
            .ok_or(code::ALLOCATION_MISMATCH)?;
        if allocation.connections.len() >= self.config.connections_max {
            return Err(code::INSUFFICIENT_CAPACITY);
        }
        loop {
            let id = ConnectionId(getrandom::u32().map_err(|_| code::SERVER_ERROR)?);
            if !self.connections.contains_key(&id) {
                return Ok(id);
            }
        }
    }

    fn insert(&mut self, id: ConnectionId, connection: Connection) {
        if let Some(allocation) = self.allocations.get_mut(&connection.client) {
            allocation.connections.push(id);
        }
        self.connections.insert(id, connection);
    }

    fn remove(&mut self, id: ConnectionId) {
        if let Some(connection) = self.connections.remove(&id)
            && let Some(allocation) = self.allocations.get_mut(&connection.client)
        {
            allocation.connections.retain(|it| *it != id);
        }
    }

    /// A peer has answered, or has not. What its client is to be told is appended to `reply`; `None` if there is nobody to be
    /// told any more, and the connection is to be closed.
    pub fn connected(
        &mut self,
        id: ConnectionId,
        result: Result<(), NotConnected>,
        now: Now,
        reply: &mut Vec<u8>,
    ) -> Option<Client> {
        let connection = self.connections.get_mut(&id)?;
        let client = connection.client;
        let State::Connecting(envelope) = std::mem::replace(&mut connection.state, State::Waiting)
        else {
            debug_assert!(false, "connected twice");
            return None;
        };
        connection.until_s = now.s().saturating_add(CONNECTION_S);
        let answer = envelope.answer(reply);
        match result {
            Ok(()) => answer.success(|writer| {
                writer.attribute(AttributeType::CONNECTION_ID, &id.0.to_be_bytes());
            }),
            Err(NotConnected) => {
                self.remove(id);
                answer.error(code::CONNECTION_FAILED);
            }
        }
        Some(client)
    }

    /// A peer has connected to this socket. Its connection's number, and whose it is, who is to be told what was appended to
    /// `reply`; `None` if the connection is to be closed.
    pub fn accepted(
        &mut self,
        socket: RelaySocket,
        peer: SocketAddr,
        now: Now,
        reply: &mut Vec<u8>,
    ) -> Option<(ConnectionId, Client)> {
        let peer = canonical_socket(peer);
        let client = self.owners.get(socket.0 as usize).copied().flatten()?;
        let allocation = self
            .allocations
            .get(&client)
            .filter(|it| it.is_tcp && now.s() < it.until_s)?;
        if !allocation.peers.are_permitted(peer.ip(), now.s())
            || self.access.policy.check_socket(peer).is_err()
            || self.is_another_service(peer)
        {
            return None;
        }
        let id = self.new_connection(&client).ok()?;
        let connection = Connection {
            client,
            peer,
            state: State::Waiting,
            until_s: now.s().saturating_add(CONNECTION_S),
        };
        self.insert(id, connection);
        Writer::new(
            reply,
            Class::Indication,
            Method::CONNECTION_ATTEMPT,
            self.transactions.next(),
        )
        .attribute(AttributeType::CONNECTION_ID, &id.0.to_be_bytes())
        .xor_address(AttributeType::XOR_PEER_ADDRESS, peer);
        Some((id, client))
    }

    /// A client that has come over a connection of its own asks for one to a peer.
    pub(super) fn bind_connection(
        &mut self,
        client: &Client,
        message: &Message<'_>,
        known: &Known<'_>,
        now: Now,
        answer: Answer<'_>,
    ) -> Action<'static> {
        let Some(id) = id_in(message) else {
            answer.error(code::BAD_REQUEST);
            return Action::Reply;
        };
        let is_theirs = |it: &Connection| {
            let owner = self.allocations.get(&it.client);
            owner.is_some_and(|owner| *owner.user == *known.user)
        };
        let connection = self.connections.get(&id).filter(|it| is_theirs(it));
        let is_there =
            connection.is_some_and(|it| matches!(it.state, State::Waiting) && now.s() < it.until_s);
        // The connection that something was allocated over is for messages.
        if !is_there || client.is_udp() || self.allocations.contains_key(client) {
            answer.error(code::BAD_REQUEST);
            return Action::Reply;
        }
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.state = State::Bound;
        }
        answer.success(|_| {});
        Action::Join(id)
    }

    /// Where the client is that the connection belongs to which is asked for, if it is the same host that asks.
    pub(super) fn allocation_of_bind(
        &self,
        client: &Client,
        message: &Message<'_>,
    ) -> Option<(&Client, SocketAddr)> {
        if message.method() != Method::CONNECTION_BIND {
            return None;
        }
        let owner = &self.connections.get(&id_in(message)?)?.client;
        (owner.remote.ip() == client.remote.ip()).then_some((owner, owner.remote))
    }

    /// So many bytes were carried over a connection, by the client or by the peer. They count as a packet of its allocation;
    /// false if there were so many that whoever sent them is not to be heard [until](Self::may_carry) it may send more. Unlike
    /// packets, bytes of a connection are not lost.
    pub fn carried(&mut self, id: ConnectionId, by_client: bool, bytes: usize, now: Now) -> bool {
        let Some(connection) = self.connections.get(&id) else {
            return true;
        };
        let Some(allocation) = self.allocations.get_mut(&connection.client) else {
            return true;
        };
        allocation.carried(usize::from(!by_client), bytes, now, &self.config)
    }

    /// Whether whoever had to wait at this connection is heard again.
    #[must_use]
    pub fn may_carry(&self, id: ConnectionId, now: Now) -> bool {
        let connection = self.connections.get(&id);
        let allocation = connection.and_then(|it| self.allocations.get(&it.client));
        allocation.is_none_or(|it| it.may_carry(now, &self.config))
    }

    /// One of its ends has closed it.
    pub fn disconnected(&mut self, id: ConnectionId) {
        self.remove(id);
    }

    /// Ends the connections that nobody has asked for. Those whose peers do not answer are ended by whoever waits for the
    /// answer.
    pub(super) fn sweep_connections(&mut self, now: Now, sockets: &mut impl Sockets) {
        let is_over = |it: &Connection| matches!(it.state, State::Waiting) && it.until_s <= now.s();
        let over = self.connections.iter().filter(|(_, it)| is_over(it));
        let over: Vec<ConnectionId> = over.map(|(id, _)| *id).collect();
        for id in over {
            self.remove(id);
            sockets.disconnect(id);
        }
    }

    /// Connections to peers that there are, or are to be.
    #[must_use]
    pub fn connection_count(&self) -> usize {
        self.connections.len()
    }
}

/// The connection that a message is about.
fn id_in(message: &Message<'_>) -> Option<ConnectionId> {
    let value = message.first(AttributeType::CONNECTION_ID)?;
    let id = value.try_into().ok()?;
    Some(ConnectionId(u32::from_be_bytes(id)))
}
