//! Connections to peers, and what is carried between them and clients (RFC 6062).
//!
//! Two streams are joined to a pipe: what one of them says, the other is sent. Each is received from once at a time, and not
//! before the other has taken what it was sent and the allocation may relay more. So a pipe holds a bounded number of bytes,
//! and TCP does the rest.

use std::io;
use std::net::{SocketAddr, TcpStream};

use fanfare_engine::ring::{KernelRing, Ring, Token};
use socket2::{Domain, Protocol, Socket, Type};

use super::kinds;
use super::streams::{Ended, Joined, Role, Stream, Streams, decipher};
use crate::relay::{CONNECTION_S, ConnectionId};

/// With more bytes than these waiting for one half of a pipe, the other is not listened to. One receive may be added to them.
const PIPE_BYTES_MAX: usize = 64 << 10;

/// Bytes that a client may send ahead, before it is told that it is connected.
const BYTES_AHEAD_MAX: usize = 256 << 10;

impl Streams {
    /// Begins to connect to a peer, from an address that is listened on.
    pub(super) fn connect(
        &mut self,
        id: ConnectionId,
        from: SocketAddr,
        to: SocketAddr,
        now_s: u32,
        ring: &mut KernelRing,
    ) -> io::Result<()> {
        let socket = Socket::new(
            Domain::for_address(to),
            Type::STREAM.nonblocking().cloexec(),
            Some(Protocol::TCP),
        )?;
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(true)?;
        socket.set_tcp_nodelay(true)?;
        socket.bind(&from.into())?;
        match socket.connect(&to.into()) {
            Ok(()) => {}
            Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {}
            Err(error) => return Err(error),
        }
        // To be received from when there is something.
        socket.set_nonblocking(false)?;
        let slot = ring.install(socket.try_clone()?.into())?;
        let until_s = now_s.saturating_add(CONNECTION_S);
        let mut stream = Stream::new(Role::Connecting(id, socket), until_s);
        stream.is_stalled = true;
        self.place(slot, stream);
        self.peers.insert(id, slot.0);
        let generation = self.streams[slot.0 as usize].generation;
        ring.poll_writable(slot, Token::new(kinds::WRITABLE, generation, slot.0));
        Ok(())
    }

    /// Takes a connection that a peer has made.
    pub(super) fn adopt(
        &mut self,
        id: ConnectionId,
        socket: TcpStream,
        ring: &mut KernelRing,
    ) -> io::Result<()> {
        socket.set_nodelay(true)?;
        let slot = ring.install(socket.into())?;
        self.place(slot, Stream::new(Role::Peer(id), u32::MAX));
        self.peers.insert(id, slot.0);
        Ok(())
    }

    /// Joins a client's stream with a peer's; false if either is gone.
    pub(super) fn join(&mut self, client: u32, id: ConnectionId, ring: &mut KernelRing) -> bool {
        let Some(&peer) = self.peers.get(&id) else {
            return false;
        };
        let Some(stream) = self.stream(client) else {
            return false;
        };
        let Role::Messages(of) = stream.role else {
            return false;
        };
        let half = |other, client| {
            Role::Joined(Joined {
                id,
                client,
                other,
                is_slowed: false,
            })
        };
        stream.role = half(peer, Some(of));
        let has_receive = stream.has_receive;
        if has_receive {
            // It receives all that comes; the next one, once.
            let generation = self.streams[client as usize].generation;
            ring.cancel(Token::new(kinds::STREAM, generation, client));
        }
        if let Some(stream) = self.stream(peer) {
            stream.role = half(client, None);
        }
        self.begin_receive(peer, ring);
        self.begin_receive(client, ring);
        true
    }

    /// What is in this slot, if that is half of a pipe.
    pub(super) fn half(&self, slot: u32) -> Option<Joined> {
        match self.role(slot) {
            Some(&Role::Joined(half)) => Some(half),
            _ => None,
        }
    }

    /// Whether this half is to be listened to now.
    pub(super) fn is_to_be_heard(&self, half: &Joined) -> bool {
        let other = &self.streams[half.other as usize].stream;
        let has_taken = |it: &Stream| it.unsent_bytes() <= PIPE_BYTES_MAX;
        !half.is_slowed && other.as_deref().is_some_and(has_taken)
    }

    /// The allocation has relayed more than it may: this half has to wait.
    pub(super) fn slow_down(&mut self, slot: u32) {
        if let Some(stream) = self.stream(slot)
            && let Role::Joined(half) = &mut stream.role
            && !half.is_slowed
        {
            half.is_slowed = true;
            self.slowed.push(slot);
        }
    }

    /// Listens again to those that have waited long enough.
    pub(super) fn speed_up(
        &mut self,
        may_carry: impl Fn(ConnectionId) -> bool,
        ring: &mut KernelRing,
    ) {
        let mut slowed = std::mem::take(&mut self.slowed);
        slowed.retain(|&slot| {
            let Some(Role::Joined(half)) = self.stream(slot).map(|it| &mut it.role) else {
                return false;
            };
            half.is_slowed &= !may_carry(half.id);
            let waits = half.is_slowed;
            self.begin_receive(slot, ring);
            waits
        });
        self.slowed = slowed;
    }

    /// Passes on what one half of a pipe has said; how many bytes that were, and whether the half has ended with them.
    pub(super) fn forward(&mut self, slot: u32, bytes: &[u8]) -> (usize, Result<(), Ended>) {
        let place = self.streams.get_mut(slot as usize);
        let Some(stream) = place.and_then(|it| it.stream.as_mut()) else {
            return (0, Err(Ended::Left));
        };
        let mut plain = Vec::new();
        let (said, state) = match &mut stream.tls {
            None => (bytes, Ok(())),
            Some(tls) => {
                let state = decipher(tls, bytes, &mut plain, &mut stream.output, &mut self.plain);
                (&plain[..], state)
            }
        };
        self.mark_unsent(slot);
        // What was said before the end, and has come together with it, is passed on as well.
        match self.pass_on(slot, said) {
            Ok(passed) => (passed, state),
            Err(ended) => (0, Err(ended)),
        }
    }

    /// The same for what has been deciphered before.
    pub(super) fn pass_on(&mut self, slot: u32, said: &[u8]) -> Result<usize, Ended> {
        let Some(&Role::Joined(Joined { id, other, .. })) = self.stream(slot).map(|it| &it.role)
        else {
            return Err(Ended::Left);
        };
        let Some(to) = self.half_of(other, id) else {
            debug_assert!(false, "half of a pipe is joined with nothing");
            return Err(Ended::Left);
        };
        to.append([said, &[], &[]]);
        let is_too_much = to.unsent_bytes() > BYTES_AHEAD_MAX;
        self.mark_unsent(other);
        if is_too_much {
            return Err(Ended::Garbage);
        }
        Ok(said.len())
    }

    /// What is in this slot, if that is half of this pipe: slots are used again.
    fn half_of(&mut self, slot: u32, id: ConnectionId) -> Option<&mut Stream> {
        let is_it = |it: &&mut Stream| matches!(it.role, Role::Joined(half) if half.id == id);
        self.stream(slot)
            .filter(|it| it.end.is_none())
            .filter(is_it)
    }

    /// A stream was sent something: whoever waits for that goes on.
    pub(super) fn has_sent(&mut self, slot: u32, ring: &mut KernelRing) {
        let Some(stream) = self.stream(slot).filter(|it| it.end.is_none()) else {
            return;
        };
        let left = stream.unsent_bytes();
        match stream.role {
            Role::Draining(id, _) if left == 0 => {
                self.end(slot, ring);
                self.finished.push(id);
            }
            Role::Joined(Joined { other, .. }) => self.begin_receive(other, ring),
            _ => {}
        }
    }

    /// Ends a pipe, one half of which has ended: the other is sent what it has not been yet, and has as long for that as an
    /// idle connection. False if it is no pipe.
    pub(super) fn end_pipe(&mut self, slot: u32, ring: &mut KernelRing) -> bool {
        let (id, other) = match self.stream(slot).map(|it| &it.role) {
            Some(Role::Joined(half)) => (half.id, half.other),
            Some(&Role::Draining(id, _)) => {
                self.end(slot, ring);
                self.finished.push(id);
                return true;
            }
            _ => return false,
        };
        self.end(slot, ring);
        let until_s = self.drained_until_s();
        let Some(stream) = self.half_of(other, id) else {
            self.finished.push(id);
            return true;
        };
        let Role::Joined(half) = stream.role else {
            unreachable!("it is half of this pipe");
        };
        stream.role = Role::Draining(id, half.client);
        stream.until_s = until_s;
        stream.say_end();
        let left = stream.unsent_bytes();
        self.peers.insert(id, other);
        if left == 0 {
            self.end(other, ring);
            self.finished.push(id);
            return true;
        }
        // It is still received from, and forgotten: closing a socket at which something waits resets the connection, and what
        // is under way is lost.
        self.begin_receive(other, ring);
        self.mark_unsent(other);
        true
    }

    /// Ends the connection to a peer, and whatever it is joined with, whether they have taken everything or not: it is over
    /// for the relay.
    pub(super) fn disconnect(&mut self, id: ConnectionId, ring: &mut KernelRing) {
        let Some(&slot) = self.peers.get(&id) else {
            return;
        };
        let other = match self.stream(slot).map(|it| &it.role) {
            Some(Role::Joined(half)) => Some(half.other),
            _ => None,
        };
        self.end(slot, ring);
        if let Some(other) = other
            && let Some(stream) = self.half_of(other, id)
        {
            stream.say_end();
            self.end(other, ring);
        }
    }

    /// Peers that have not answered in time.
    pub(super) fn silent_peers(&mut self, now_s: u32) -> Vec<ConnectionId> {
        let is_late = |slot: u32| {
            let stream = self.streams[slot as usize].stream.as_ref();
            stream.is_some_and(|it| matches!(it.role, Role::Connecting(..)) && it.until_s <= now_s)
        };
        let late = self.peers.iter().filter(|(_, slot)| is_late(**slot));
        late.map(|(id, _)| *id).collect()
    }
}
