//! Clients that come over TCP, with or without TLS.
//!
//! What they send is taken apart here and handled like datagrams; what they are sent waits here, in bounds, until they take
//! it. Connections to peers are among them, for they are joined with clients': see `pipes`.

use std::io::{self, IoSlice, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use fanfare_engine::ring::{KernelRing, Ring, Short, Slot, Token};
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use hashbrown::hash_map::Entry;
use rustls::ServerConnection;

use super::kinds;
use crate::budget::{Rate, SourceBudget, source_of};
use crate::framing::{Channels, Next, StreamError, next_of_stream};
use crate::relay::{Client, ConnectionId, NotConnected, Now, Transport};

/// Connections that are accepted in one turn, so that a flood of them does not keep the others waiting.
const ACCEPTS_PER_TURN: usize = 64;

/// Plain bytes that are read from TLS at a time.
const PLAIN_BYTES: usize = 16_384;

/// Bounds on clients of streams.
#[derive(Debug, Clone, Copy)]
pub struct StreamLimits {
    /// Connections at a time, for each thread.
    pub streams_max: u32,
    /// Of these, connections without an allocation.
    pub strangers_max: u32,
    /// Of those, connections of one source: an IPv4 address, or an IPv6 network of 64 bits.
    pub strangers_per_source_max: u32,
    /// TLS handshakes, for each source.
    pub handshakes: Rate,
    /// Seconds within which the first message must be there, and within which an allocation must be made, made anew, or
    /// asked for.
    pub idle_s: u32,
    /// Bytes that wait for a client to take them; what is relayed beyond is dropped.
    pub unsent_bytes_max: usize,
}

impl Default for StreamLimits {
    fn default() -> Self {
        Self {
            streams_max: 10_000,
            strangers_max: 1_000,
            strangers_per_source_max: 100,
            handshakes: Rate::new(50, 200),
            idle_s: 30,
            unsent_bytes_max: 512 << 10,
        }
    }
}

/// A socket that connections come from.
#[derive(Debug)]
pub(super) struct Acceptor {
    pub(super) listener: TcpListener,
    pub(super) local: SocketAddr,
    pub(super) transport: Transport,
}

/// The connections of a thread.
#[derive(Debug)]
pub(super) struct Streams {
    limits: StreamLimits,
    channels: Channels,
    tls: Option<Arc<rustls::ServerConfig>>,
    /// By slot.
    pub(super) streams: Vec<Place>,
    slots: HashMap<Client, u32, RandomState>,
    /// Where a connection to a peer is: the peer, or the client if that is what is left of it.
    pub(super) peers: HashMap<ConnectionId, u32, RandomState>,
    strangers: u32,
    /// How many of them come from where.
    sources: HashMap<u64, u32, RandomState>,
    /// TLS handshakes, which cost more than anything else that a stranger can ask for.
    handshakes: SourceBudget,
    /// Memory that what was received last was taken apart in.
    spare: Vec<u8>,
    /// Slots with something to send that has not been tried yet.
    unsent: Vec<u32>,
    /// Halves of pipes that have to wait because of what their allocations may relay.
    pub(super) slowed: Vec<u32>,
    /// Those whose receives found no buffer, and are to begin again.
    silent: Vec<u32>,
    /// Connections to peers that have ended, both halves of them.
    pub(super) finished: Vec<ConnectionId>,
    /// When [`idle`](Self::idle) was last asked.
    swept_s: u32,
    short: Vec<Short>,
    pub(super) plain: Box<[u8]>,
}

#[derive(Debug, Default)]
pub(super) struct Place {
    pub(super) generation: u32,
    pub(super) stream: Option<Box<Stream>>,
}

#[derive(Debug)]
pub(super) struct Stream {
    pub(super) role: Role,
    pub(super) tls: Option<Box<ServerConnection>>,
    /// The beginning of a message.
    pub(super) input: Vec<u8>,
    /// What the other end is sent, from `sent` on.
    pub(super) output: Vec<u8>,
    pub(super) sent: usize,
    is_stranger: bool,
    pub(super) has_receive: bool,
    /// Its socket is full, and it is known when it no longer is.
    pub(super) is_stalled: bool,
    is_unsent: bool,
    /// It is to be closed.
    pub(super) end: Option<End>,
    pub(super) until_s: u32,
}

/// What a connection is for.
#[derive(Debug)]
pub(super) enum Role {
    /// A client's messages.
    Messages(Client),
    /// A peer that has not answered yet; its socket, to be asked how it went.
    Connecting(ConnectionId, socket2::Socket),
    /// A peer whose client has not come yet: what it says waits in its socket.
    Peer(ConnectionId),
    /// A client or a peer: what it says goes to the other one.
    Joined(Joined),
    /// One whose other half has ended: it is sent what it has not been yet, and nobody hears what it says.
    Draining(ConnectionId, Option<Client>),
}

/// One half of a pipe.
#[derive(Debug, Clone, Copy)]
pub(super) struct Joined {
    pub(super) id: ConnectionId,
    /// The client that it was before.
    pub(super) client: Option<Client>,
    /// The slot of the other half.
    pub(super) other: u32,
    /// Its allocation has relayed more than it may: nothing is received for now.
    pub(super) is_slowed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Cancelling,
    Closing,
}

/// Why a stream has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// The client has closed it, or the network has.
    Left,
    /// It sent what nobody can make sense of.
    Garbage,
    /// TLS failed.
    Tls,
    /// It said nothing that it may stay for.
    Idle,
}

/// What has become of accepting.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Accepted {
    pub(super) accepted: u64,
    pub(super) refused: u64,
    pub(super) handshakes_refused: u64,
    pub(super) failed: u64,
}

impl Streams {
    pub(super) fn new(
        limits: StreamLimits,
        channels: Channels,
        tls: Option<Arc<rustls::ServerConfig>>,
        seed: u64,
    ) -> Self {
        Self {
            handshakes: SourceBudget::new(limits.handshakes, seed),
            limits,
            channels,
            tls,
            streams: Vec::new(),
            slots: HashMap::default(),
            peers: HashMap::default(),
            strangers: 0,
            sources: HashMap::default(),
            spare: Vec::new(),
            unsent: Vec::new(),
            silent: Vec::new(),
            slowed: Vec::new(),
            finished: Vec::new(),
            swept_s: 0,
            short: Vec::new(),
            plain: vec![0; PLAIN_BYTES].into(),
        }
    }

    pub(super) fn count(&self) -> usize {
        self.slots.len()
    }

    /// Exchanges the certificate for connections to come.
    pub(super) fn set_tls(&mut self, tls: Option<Arc<rustls::ServerConfig>>) {
        self.tls = tls;
    }

    /// Takes the connections that wait at a listener, some at a time.
    pub(super) fn accept(
        &mut self,
        acceptor: &Acceptor,
        now: Now,
        ring: &mut KernelRing,
    ) -> Accepted {
        let mut result = Accepted::default();
        for _ in 0..ACCEPTS_PER_TURN {
            let (socket, remote) = match acceptor.listener.accept() {
                Ok(accepted) => accepted,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => {
                    result.failed += 1;
                    break;
                }
            };
            let from_there = self.sources.get(&source_of(remote.ip())).copied();
            if self.slots.len() >= self.limits.streams_max as usize
                || self.strangers >= self.limits.strangers_max
                || from_there.unwrap_or(0) >= self.limits.strangers_per_source_max
            {
                result.refused += 1;
                continue;
            }
            let is_tls = acceptor.transport == Transport::Tls;
            if is_tls && !self.handshakes.take(remote.ip(), now.ns) {
                result.handshakes_refused += 1;
                continue;
            }
            let client = Client {
                transport: acceptor.transport,
                local: acceptor.local,
                remote,
            };
            let tls = match (acceptor.transport, &self.tls) {
                (Transport::Tls, Some(config)) => {
                    ServerConnection::new(Arc::clone(config)).map(|it| Some(Box::new(it)))
                }
                // The certificate has been taken away.
                (Transport::Tls, None) => {
                    result.refused += 1;
                    continue;
                }
                _ => Ok(None),
            };
            let Ok(tls) = tls else {
                result.refused += 1;
                continue;
            };
            match ring.install(socket.into()) {
                Ok(slot) => {
                    self.begin(client, slot, tls, now.s(), ring);
                    result.accepted += 1;
                }
                Err(_) => result.refused += 1,
            }
        }
        result
    }

    fn begin(
        &mut self,
        client: Client,
        slot: Slot,
        tls: Option<Box<ServerConnection>>,
        now_s: u32,
        ring: &mut KernelRing,
    ) {
        let until_s = now_s.saturating_add(self.limits.idle_s);
        let stream = Stream {
            tls,
            is_stranger: true,
            ..Stream::new(Role::Messages(client), until_s)
        };
        self.place(slot, stream);
        self.slots.insert(client, slot.0);
        self.strangers += 1;
        *self
            .sources
            .entry(source_of(client.remote.ip()))
            .or_default() += 1;
        self.begin_receive(slot.0, ring);
    }

    /// Puts a stream into the slot that its socket has.
    pub(super) fn place(&mut self, slot: Slot, stream: Stream) {
        let at = slot.0 as usize;
        if self.streams.len() <= at {
            self.streams.resize_with(at + 1, Place::default);
        }
        let place = &mut self.streams[at];
        place.forget();
        place.stream = Some(Box::new(stream));
    }

    pub(super) fn begin_receive(&mut self, slot: u32, ring: &mut KernelRing) {
        let is_once = match self.role(slot) {
            Some(Role::Messages(_)) => false,
            Some(Role::Draining(..)) => true,
            Some(Role::Joined(half)) if self.is_to_be_heard(half) => true,
            _ => return,
        };
        let place = &mut self.streams[slot as usize];
        if let Some(stream) = place.stream.as_mut()
            && !stream.has_receive
            && stream.end.is_none()
        {
            stream.has_receive = true;
            let token = Token::new(kinds::STREAM, place.generation, slot);
            if is_once {
                ring.receive_once(Slot(slot), token);
            } else {
                ring.receive(Slot(slot), token);
            }
        }
    }

    pub(super) fn role(&self, slot: u32) -> Option<&Role> {
        Some(&self.streams.get(slot as usize)?.stream.as_ref()?.role)
    }

    pub(super) fn stream(&mut self, slot: u32) -> Option<&mut Stream> {
        self.streams.get_mut(slot as usize)?.stream.as_deref_mut()
    }

    /// What a completion is for; `None` if its stream has been ended.
    pub(super) fn of(&self, token: Token) -> Option<(u32, &Role)> {
        let place = self.streams.get(token.index() as usize)?;
        let stream = place.stream.as_ref()?;
        let is_it = place.generation == token.generation() && stream.end.is_none();
        is_it.then_some((token.index(), &stream.role))
    }

    /// Whose messages come over this stream, if any do.
    pub(super) fn client(&mut self, slot: u32) -> Option<Client> {
        match self.stream(slot)?.role {
            Role::Messages(client) => Some(client),
            _ => None,
        }
    }

    /// Whether this is half of a pipe.
    pub(super) fn is_joined(&mut self, slot: u32) -> bool {
        let stream = self.stream(slot);
        stream.is_some_and(|it| matches!(it.role, Role::Joined(_)))
    }

    /// Whether messages of this client still come over its stream.
    pub(super) fn has_messages_of(&mut self, client: &Client) -> bool {
        let slot = self.slot_of(client);
        slot.is_some_and(|slot| self.client(slot).is_some())
    }

    /// The slot of a client.
    pub(super) fn slot_of(&self, client: &Client) -> Option<u32> {
        self.slots.get(client).copied()
    }

    /// Takes what was received, which is deciphered if need be, and gives all that is there of messages now; what is left of
    /// it is to be [put back](Self::put_back).
    pub(super) fn received(&mut self, slot: u32, bytes: &[u8]) -> Result<Vec<u8>, Ended> {
        let Some(stream) = self.streams[slot as usize].stream.as_mut() else {
            return Err(Ended::Left);
        };
        let mut input = std::mem::take(&mut stream.input);
        if input.is_empty() {
            input = std::mem::take(&mut self.spare);
        }
        let result = match &mut stream.tls {
            None => {
                input.extend_from_slice(bytes);
                Ok(())
            }
            Some(tls) => decipher(tls, bytes, &mut input, &mut stream.output, &mut self.plain),
        };
        // Handshakes have answers, and so have failures.
        self.mark_unsent(slot);
        result.map(|()| input)
    }

    /// Where the next message of these bytes ends, if it is there whole; one may have so many bytes.
    pub(super) fn next(&self, bytes: &[u8], bytes_max: usize) -> Result<Option<usize>, Ended> {
        match next_of_stream(bytes, bytes_max, self.channels) {
            Ok(Next::Whole(length)) => Ok(Some(length)),
            Ok(Next::Partial(_)) => Ok(None),
            Err(StreamError::Unknown | StreamError::TooLong(_)) => Err(Ended::Garbage),
        }
    }

    /// Keeps the beginning of a message until its end is there.
    pub(super) fn put_back(&mut self, slot: u32, mut rest: Vec<u8>) {
        let Some(stream) = self.streams[slot as usize].stream.as_mut() else {
            return;
        };
        // A whole receive's worth of memory is not kept for a few bytes: there may be thousands of connections.
        if rest.is_empty() {
            self.spare = rest;
        } else if rest.len() < rest.capacity() / 4 {
            stream.input = rest.as_slice().to_vec();
            rest.clear();
            self.spare = rest;
        } else {
            stream.input = rest;
        }
    }

    /// It counts as a stranger no longer: it has an allocation, belongs to one, or ends.
    pub(super) fn leave_strangers(&mut self, slot: u32) {
        let Some(stream) = self.streams[slot as usize].stream.as_mut() else {
            return;
        };
        let remote = match stream.role {
            Role::Messages(client)
            | Role::Joined(Joined {
                client: Some(client),
                ..
            })
            | Role::Draining(_, Some(client)) => client.remote,
            _ => return,
        };
        if !std::mem::take(&mut stream.is_stranger) {
            return;
        }
        self.strangers -= 1;
        let source = source_of(remote.ip());
        if let Entry::Occupied(mut count) = self.sources.entry(source) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }

    /// Appends to what a client is sent; false if there is no such client, or it takes too little.
    pub(super) fn write(&mut self, client: &Client, parts: [&[u8]; 3]) -> bool {
        let Some(slot) = self.slot_of(client) else {
            return false;
        };
        let unsent_bytes_max = self.limits.unsent_bytes_max;
        let Some(stream) = self.stream(slot).filter(|it| it.end.is_none()) else {
            return false;
        };
        let bytes: usize = parts.iter().map(|part| part.len()).sum();
        if stream.unsent_bytes() + bytes > unsent_bytes_max {
            return false;
        }
        stream.append(parts);
        self.mark_unsent(slot);
        true
    }

    /// There is something to send, which was not tried yet.
    pub(super) fn mark_unsent(&mut self, slot: u32) {
        if let Some(stream) = self.streams[slot as usize].stream.as_mut()
            && !stream.is_unsent
            && stream.sent < stream.output.len()
        {
            stream.is_unsent = true;
            self.unsent.push(slot);
        }
    }

    /// Sends what there is to send, as far as it is taken.
    pub(super) fn flush(&mut self, ring: &mut KernelRing) {
        if self.unsent.is_empty() {
            return;
        }
        let mut unsent = std::mem::take(&mut self.unsent);
        unsent.retain(|slot| {
            let stream = self.streams[*slot as usize].stream.as_mut();
            stream.is_some_and(|stream| {
                stream.is_unsent = false;
                !stream.is_stalled && stream.end != Some(End::Closing)
            })
        });
        let streams = &self.streams;
        let slice = |slot: &u32| {
            let stream = streams[*slot as usize].stream.as_ref();
            stream.map_or(&[][..], |stream| &stream.output[stream.sent..])
        };
        ring.send_all(
            unsent.iter().map(|slot| (Slot(*slot), slice(slot))),
            &mut self.short,
        );
        let mut short = std::mem::take(&mut self.short);
        let mut at = 0;
        for (index, slot) in unsent.iter().enumerate() {
            let place = &mut self.streams[*slot as usize];
            let Some(stream) = place.stream.as_mut() else {
                continue;
            };
            let is_short = short.get(at).filter(|it| it.index as usize == index);
            match is_short {
                None => stream.all_sent(),
                Some(of) => {
                    at += 1;
                    match of.taken {
                        Ok(taken) => {
                            stream.sent += taken as usize;
                            stream.is_stalled = true;
                            let token = Token::new(kinds::WRITABLE, place.generation, *slot);
                            ring.poll_writable(Slot(*slot), token);
                        }
                        // Its receive tells that it has ended.
                        Err(_) => stream.all_sent(),
                    }
                }
            }
        }
        short.clear();
        self.short = short;
        for slot in &unsent {
            self.has_sent(*slot, ring);
        }
        unsent.clear();
        // What follows from it may have marked others.
        unsent.append(&mut self.unsent);
        self.unsent = unsent;
    }

    /// A stream takes bytes again, or a peer has answered; how, and which connection it is then.
    pub(super) fn writable(
        &mut self,
        token: Token,
        ring: &mut KernelRing,
    ) -> Option<(ConnectionId, Result<(), NotConnected>)> {
        let slot = token.index();
        let place = self.streams.get_mut(slot as usize)?;
        let stream = place.stream.as_mut()?;
        if place.generation != token.generation() {
            return None;
        }
        stream.is_stalled = false;
        if stream.end.is_some() {
            self.close_if_idle(slot, ring);
            return None;
        }
        if let Role::Connecting(id, socket) = &stream.role {
            let (id, failed) = (*id, socket.take_error());
            let result = match failed {
                Ok(None) => Ok(()),
                Ok(Some(_)) | Err(_) => Err(NotConnected),
            };
            stream.role = Role::Peer(id);
            return Some((id, result));
        }
        self.mark_unsent(slot);
        None
    }

    /// Ends a stream: nothing that still comes from it is looked at.
    pub(super) fn end(&mut self, slot: u32, ring: &mut KernelRing) {
        self.leave_strangers(slot);
        let place = &mut self.streams[slot as usize];
        let Some(stream) = place.stream.as_mut() else {
            return;
        };
        if stream.end.is_some() {
            return;
        }
        stream.end = Some(End::Cancelling);
        match &stream.role {
            Role::Messages(client) => {
                self.slots.remove(client);
            }
            Role::Connecting(id, _) | Role::Peer(id) => {
                self.peers.remove(id);
            }
            Role::Joined(half) => {
                match half.client {
                    Some(client) => self.slots.remove(&client),
                    None => self.peers.remove(&half.id),
                };
            }
            Role::Draining(id, client) => {
                self.peers.remove(id);
                if let Some(client) = client {
                    self.slots.remove(client);
                }
            }
        }
        if stream.has_receive {
            ring.cancel(Token::new(kinds::STREAM, place.generation, slot));
        }
        if stream.is_stalled {
            ring.cancel(Token::new(kinds::WRITABLE, place.generation, slot));
        }
        self.close_if_idle(slot, ring);
    }

    /// The receive of a stream has ended; if it found no buffer, it is to [begin again](Self::listen_again).
    pub(super) fn receive_ended(&mut self, token: Token, result: i32, ring: &mut KernelRing) {
        let slot = token.index();
        let place = &mut self.streams[slot as usize];
        if let Some(stream) = place.stream.as_mut()
            && place.generation == token.generation()
        {
            stream.has_receive = false;
            if stream.end.is_some() {
                self.close_if_idle(slot, ring);
            } else if is_shortage(result) {
                self.silent.push(slot);
            } else if result > 0 || result == -libc::ECANCELED {
                // One half of a pipe, which is received from once at a time.
                self.begin_receive(slot, ring);
            }
        }
    }

    /// Begins the receives again that found no buffer; how many.
    pub(super) fn listen_again(&mut self, ring: &mut KernelRing) -> usize {
        let silent = std::mem::take(&mut self.silent);
        for slot in &silent {
            self.begin_receive(*slot, ring);
        }
        silent.len()
    }

    fn close_if_idle(&mut self, slot: u32, ring: &mut KernelRing) {
        let place = &mut self.streams[slot as usize];
        if let Some(stream) = place.stream.as_mut()
            && stream.end == Some(End::Cancelling)
            && !stream.has_receive
            && !stream.is_stalled
        {
            stream.end = Some(End::Closing);
            ring.close(
                Slot(slot),
                Token::new(kinds::STREAM_CLOSE, place.generation, slot),
            );
        }
    }

    /// The stream under this token is closed. Its slot may have another one by now: the kernel gives a slot away before it
    /// says that it is free.
    pub(super) fn closed(&mut self, token: Token) {
        if let Some(place) = self.streams.get_mut(token.index() as usize)
            && place.generation == token.generation()
        {
            place.forget();
        }
    }

    /// The streams whose time is over, those aside that have a reason to stay. To be called once a second.
    pub(super) fn idle(&mut self, now: Now, has_reason: impl Fn(&Client) -> bool) -> Vec<u32> {
        self.swept_s = now.s();
        let mut idle = Vec::new();
        for (client, &slot) in &self.slots {
            let Some(stream) = self.streams[slot as usize].stream.as_mut() else {
                continue;
            };
            let stays = match &stream.role {
                Role::Joined(_) => true,
                Role::Draining(..) => false,
                _ => has_reason(client),
            };
            if stays {
                stream.until_s = self.swept_s.saturating_add(self.limits.idle_s);
            } else if stream.until_s <= self.swept_s {
                idle.push(slot);
            }
        }
        // What is left of clients was found among them.
        for &slot in self.peers.values() {
            if let Some(stream) = self.streams[slot as usize].stream.as_ref()
                && matches!(stream.role, Role::Draining(_, None))
                && stream.until_s <= self.swept_s
            {
                idle.push(slot);
            }
        }
        idle
    }

    /// Until when what is left of a pipe is to be taken.
    pub(super) const fn drained_until_s(&self) -> u32 {
        self.swept_s.saturating_add(self.limits.idle_s)
    }
}

/// There was no buffer, or no memory: not the connection's fault, and it passes.
pub(super) const fn is_shortage(result: i32) -> bool {
    result == -libc::ENOBUFS || result == -libc::ENOMEM
}

impl Place {
    fn forget(&mut self) {
        if self.stream.take().is_some() {
            self.generation = self.generation.wrapping_add(1) & Token::GENERATION_MASK;
        }
    }
}

impl Stream {
    pub(super) fn new(role: Role, until_s: u32) -> Self {
        Self {
            role,
            tls: None,
            input: Vec::new(),
            output: Vec::new(),
            sent: 0,
            is_stranger: false,
            has_receive: false,
            is_stalled: false,
            is_unsent: false,
            end: None,
            until_s,
        }
    }

    /// Bytes that the other end has not taken yet.
    pub(super) fn unsent_bytes(&self) -> usize {
        self.output.len() - self.sent
    }

    /// Appends to what the other end is sent. With TLS it becomes one record, if it fits into one: some clients take each
    /// for a message.
    pub(super) fn append(&mut self, parts: [&[u8]; 3]) {
        let Some(tls) = &mut self.tls else {
            return parts
                .iter()
                .for_each(|it| self.output.extend_from_slice(it));
        };
        let mut left: usize = parts.iter().map(|it| it.len()).sum();
        let mut parts = parts.map(IoSlice::new);
        let mut parts = &mut parts[..];
        // Into memory, which takes all of it; what it does not take now it does once that has been encrypted.
        while left > 0 {
            let taken = tls.writer().write_vectored(parts).unwrap_or(0);
            IoSlice::advance_slices(&mut parts, taken);
            left -= taken;
            while tls.wants_write() && tls.write_tls(&mut self.output).is_ok() {}
            if taken == 0 {
                break;
            }
        }
    }

    /// Appends the last that the other end is sent. With TLS an end has to be announced, or it might be an attacker's
    /// (RFC 8446 section 6.1).
    pub(super) fn say_end(&mut self) {
        let Some(tls) = &mut self.tls else {
            return;
        };
        tls.send_close_notify();
        while tls.wants_write() && tls.write_tls(&mut self.output).is_ok() {}
    }

    fn all_sent(&mut self) {
        self.sent = 0;
        self.output.clear();
        // What a burst took is given back.
        if self.output.capacity() > PLAIN_BYTES {
            self.output = Vec::new();
        }
    }
}

/// Hands bytes of the network to TLS: what they say is appended to `plain`, what is to be answered to `answer`.
pub(super) fn decipher(
    tls: &mut ServerConnection,
    bytes: &[u8],
    plain: &mut Vec<u8>,
    answer: &mut Vec<u8>,
    space: &mut [u8],
) -> Result<(), Ended> {
    let mut rest = bytes;
    while !rest.is_empty() {
        tls.read_tls(&mut rest).map_err(|_| Ended::Tls)?;
        let state = tls.process_new_packets();
        while tls.wants_write() {
            tls.write_tls(answer).map_err(|_| Ended::Tls)?;
        }
        let state = state.map_err(|_| Ended::Tls)?;
        for _ in 0..state.plaintext_bytes_to_read().div_ceil(space.len()) {
            let count = tls.reader().read(space).map_err(|_| Ended::Tls)?;
            plain.extend_from_slice(&space[..count]);
        }
        if state.peer_has_closed() {
            return Err(Ended::Left);
        }
    }
    Ok(())
}
