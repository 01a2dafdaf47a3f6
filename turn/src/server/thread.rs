//! One thread of the relay: its ring, and what it carries from where to where.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use fanfare_engine::ring::{
    BufferLease, Completion, HEAD_BYTES, KernelRing, Received, Ring, Short, Slot, Token, read_error,
};

use super::command::Command;
use super::counters::Counters;
use super::directory::{Answers, Directory, Observer, Said, Wait, Waiting};
use super::handover::{Full, Handover, Letter, PARCELS_MAX};
use super::kinds;
use super::outbox::{Data, Outbox, Packet};
use super::sockets::{Opener, RelaySockets};
use super::streams::{Acceptor, Ended, Role, Streams, is_shortage};
use crate::relay::{
    Action, Client, ConnectionId, Dropped, FromPeer, NotConnected, Now, Relay, RelaySocket,
    Transport,
};

/// How often what has ended is looked for.
const SWEEP_EVERY_NS: u64 = 1_000_000_000;

/// Longest wait of a turn, so that what has ended is found.
const WAIT_MAX: Duration = Duration::from_millis(500);

/// Commands that are handled in one turn.
const COMMANDS_PER_TURN: usize = 16;

/// Parcels of other threads that are delivered in one turn: as many as may wait.
const PARCELS_PER_TURN: usize = PARCELS_MAX;

/// The longest message that a client may send on a stream: the longest ChannelData, with its padding.
const DATA_BYTES_MAX: usize = 4 + 65_536;

/// The same for who has nothing to be relayed, of whom there may be many.
const REQUEST_BYTES_MAX: usize = 2_048;

/// A thread of the relay.
#[derive(Debug)]
pub(super) struct RelayThread {
    pub(super) ring: KernelRing,
    pub(super) relay: Relay,
    pub(super) listeners: Vec<Listener>,
    pub(super) acceptors: Vec<(Slot, Acceptor)>,
    pub(super) sockets: RelaySockets,
    pub(super) streams: Streams,
    pub(super) outbox: Outbox,
    pub(super) handover: Handover,
    pub(super) commands: Receiver<Command>,
    pub(super) directory: Option<Arc<dyn Directory>>,
    pub(super) observer: Option<Arc<dyn Observer>>,
    pub(super) answers: Answers,
    /// Requests of users whom the directory is asked about.
    pub(super) waiting: Waiting,
    pub(super) counters: Arc<Counters>,
    pub(super) started: Instant,
    pub(super) swept_ns: u64,
    pub(super) failed: Vec<Short>,
    /// Acceptors that could not accept.
    pub(super) resting: Vec<usize>,
    pub(super) is_stopped: bool,
}

/// A socket that clients' datagrams come to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Listener {
    pub(super) slot: Slot,
    pub(super) local: SocketAddr,
    pub(super) is_silent: bool,
}

/// Bytes that a client has sent as one message.
#[derive(Debug, Clone)]
enum Message<'m> {
    /// In a packet; so many bytes before it may be written over.
    InPacket(Packet, Range<usize>, usize),
    /// Of a stream.
    OfStream(&'m [u8]),
}

impl RelayThread {
    /// Carries until it is told to stop.
    ///
    /// # Errors
    /// The ring has become unusable.
    pub(super) fn run(mut self) -> io::Result<()> {
        for index in 0..self.acceptors.len() {
            self.wait_for_connections(index);
        }
        let mut completions = Vec::with_capacity(256);
        while !self.is_stopped {
            self.listen_again();
            let wait = if self.handover.has_more() {
                Duration::ZERO
            } else {
                WAIT_MAX
            };
            self.ring.turn(wait, &mut completions)?;
            let now = self.now();
            for completion in completions.drain(..) {
                self.handle(completion, now);
            }
            self.receive_handed_over(now);
            self.handle_commands(now);
            self.hand_over();
            self.flush();
            if now.ns.saturating_sub(self.swept_ns) >= SWEEP_EVERY_NS {
                self.swept_ns = now.ns;
                self.sweep(now);
            }
            if let Some(observer) = &self.observer {
                self.relay.take_told().for_each(|it| observer.happened(it));
            }
        }
        Ok(())
    }

    fn now(&self) -> Now {
        let unix = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        Now {
            unix_s: u32::try_from(unix).unwrap_or(u32::MAX),
            ns: u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX),
        }
    }

    fn handle(&mut self, completion: Completion<BufferLease>, now: Now) {
        let Completion {
            token,
            result,
            more,
            buffer,
        } = completion;
        match token.kind() {
            kinds::LISTENER => {
                if let Some(received) = buffer.and_then(Received::read) {
                    self.handle_clients(token.index() as usize, received, now);
                }
                if !more {
                    self.listeners[token.index() as usize].is_silent = true;
                }
            }
            kinds::RELAY => {
                if let Some(socket) = self.sockets.of(token)
                    && let Some(received) = buffer.and_then(Received::read)
                {
                    self.handle_peer(socket, received, now);
                }
                if !more {
                    self.sockets.receive_ended(token, result, &mut self.ring);
                }
            }
            kinds::ERRORS => {
                if let Some(socket) = self.sockets.of(token)
                    && let Some(buffer) = buffer
                {
                    self.network_error(socket, &buffer, now);
                }
                if !more {
                    self.sockets.errors_ended(token, &mut self.ring);
                }
            }
            kinds::CLOSE => self.sockets.closed(token),
            kinds::ACCEPT => {
                let index = token.index() as usize;
                if self.accept(index, now) {
                    self.wait_for_connections(index);
                } else {
                    // What is missing (descriptors, memory) is not there at once again.
                    self.resting.push(index);
                }
            }
            kinds::PEERS => {
                let socket = RelaySocket(token.index());
                let (accepted, failed) = self.sockets.accept(token, &mut self.ring);
                self.counters.accept_errors.add(failed);
                for (stream, peer) in accepted {
                    self.peer_connected(socket, stream, peer, now);
                }
            }
            kinds::STREAM => {
                if let Some((slot, role)) = self.streams.of(token) {
                    let ended = match (buffer, role) {
                        // Nobody hears it any more.
                        (_, Role::Draining(..)) => Ok(()),
                        (Some(buffer), Role::Messages(client)) => {
                            let client = *client;
                            self.handle_stream(slot, client, &buffer, now)
                        }
                        (Some(buffer), _) => self.handle_pipe(slot, &buffer, now),
                        (None, _) if more || result == -libc::ECANCELED => Ok(()),
                        (None, _) if is_shortage(result) => Ok(()),
                        (None, _) => Err(Ended::Left),
                    };
                    if let Err(why) = ended {
                        self.end_stream(slot, why, now);
                    }
                }
                if !more {
                    self.streams.receive_ended(token, result, &mut self.ring);
                }
            }
            kinds::WRITABLE => {
                if let Some((id, result)) = self.streams.writable(token, &mut self.ring) {
                    self.peer_answered(id, result, now);
                }
            }
            kinds::STREAM_CLOSE => self.streams.closed(token),
            kind => debug_assert!(false, "a completion of kind {kind}"),
        }
    }

    /// Datagrams of one client.
    fn handle_clients(&mut self, listener: usize, received: Received, now: Now) {
        let client = Client {
            transport: Transport::Udp,
            local: self.listeners[listener].local,
            remote: received.from(),
        };
        if received.is_truncated() {
            return self.counters.datagrams_truncated.inc();
        }
        let cars = received.cars();
        let packet = self.outbox.keep(received.into_buffer());
        let mut room = HEAD_BYTES;
        for car in cars {
            let message = Message::InPacket(packet, car, std::mem::take(&mut room));
            self.handle_client(client, &message, now);
        }
    }

    /// One message of a client.
    fn handle_client(&mut self, client: Client, message: &Message<'_>, now: Now) {
        let counters = &*self.counters;
        counters.client_packets.inc();
        let (in_packet, bytes) = match message {
            Message::InPacket(packet, range, _) => {
                let (buffer, bytes) = self.outbox.packet(*packet);
                (&buffer[range.clone()], bytes)
            }
            Message::OfStream(message) => (*message, self.outbox.bytes()),
        };
        let mut opener = Opener {
            ring: &mut self.ring,
            sockets: &mut self.sockets,
            streams: &mut self.streams,
            now_s: now.s(),
        };
        let answer_at = bytes.len();
        let action = self
            .relay
            .handle_client(client, in_packet, now, &mut opener, bytes);
        match action {
            Action::Drop(why) => counters.count(why),
            Action::Reply => {
                counters.answers.inc();
                self.answer(&client, answer_at);
            }
            Action::Wait => {}
            Action::Ask(user) => {
                let wait = self.waiting.add(user, client, in_packet);
                match (wait, &self.directory) {
                    (Wait::Ask, Some(directory)) => {
                        counters.users_asked.inc();
                        directory.ask(user, self.answers.of(user));
                    }
                    (Wait::Ask | Wait::Asked, _) => {}
                    (Wait::Full, _) => counters.requests_not_kept.inc(),
                }
            }
            Action::Join(id) => {
                counters.answers.inc();
                self.answer(&client, answer_at);
                let slot = self.streams.slot_of(&client);
                let is_joined = slot.is_some_and(|it| self.streams.join(it, id, &mut self.ring));
                if !is_joined {
                    self.relay.disconnected(id);
                }
            }
            Action::Hairpin { from, to, data } => {
                let at = offset(in_packet, data)..offset(in_packet, data) + data.len();
                counters.bytes_to_peers.add(data.len() as u64);
                counters.packets_to_peers.inc();
                counters.packets_hairpin.inc();
                let data = self.place(message, at);
                self.deliver(to, from, &data, now);
            }
            Action::Handover {
                thread,
                from,
                to,
                data,
            } => {
                counters.bytes_to_peers.add(data.len() as u64);
                counters.packets_to_peers.inc();
                counters.packets_handed_over.inc();
                self.handover.put(thread, from, to, data);
                if self.handover.is_heavy(thread) {
                    self.hand_over_to(thread);
                }
            }
            Action::Relay {
                from,
                to,
                data,
                dont_fragment,
            } => {
                let at = offset(in_packet, data)..offset(in_packet, data) + data.len();
                counters.bytes_to_peers.add(data.len() as u64);
                counters.packets_to_peers.inc();
                let data = self.place(message, at);
                if dont_fragment {
                    self.outbox.send_whole(Slot(from.0), to, &data);
                } else {
                    self.outbox.send_data(Slot(from.0), to, &data);
                }
            }
        }
    }

    /// Where a part of a message is, to be sent from there: that of a stream is copied, for it does not stay.
    fn place(&mut self, message: &Message<'_>, part: Range<usize>) -> Data {
        match message {
            Message::InPacket(packet, range, room) => Data {
                packet: Some(*packet),
                range: range.start + part.start..range.start + part.end,
                room: room + part.start,
            },
            Message::OfStream(bytes) => {
                let at = self.outbox.bytes().len();
                self.outbox.bytes().extend_from_slice(&bytes[part]);
                Data {
                    packet: None,
                    range: at..self.outbox.bytes().len(),
                    room: 0,
                }
            }
        }
    }

    /// Sends the client what was appended to the outbox from there on.
    fn answer(&mut self, client: &Client, at: usize) {
        match client.transport {
            Transport::Udp => {
                if let Some(slot) = self.listener(client.local) {
                    self.outbox.send_answer(slot, client.remote, at);
                }
            }
            Transport::Tcp | Transport::Tls => {
                let is_taken = self
                    .streams
                    .write(client, [&self.outbox.bytes()[at..], &[], &[]]);
                if !is_taken {
                    self.counters.stream_messages_dropped.inc();
                }
                self.outbox.bytes().truncate(at);
            }
        }
    }

    /// Datagrams of one peer.
    fn handle_peer(&mut self, socket: RelaySocket, received: Received, now: Now) {
        if received.is_truncated() {
            return self.counters.datagrams_truncated.inc();
        }
        let (from, cars) = (received.from(), received.cars());
        let packet = self.outbox.keep(received.into_buffer());
        let mut room = HEAD_BYTES;
        for range in cars {
            let data = Data {
                packet: Some(packet),
                range,
                room: std::mem::take(&mut room),
            };
            self.deliver(socket, from, &data, now);
        }
    }

    /// Data of a peer for whoever has the socket.
    fn deliver(&mut self, socket: RelaySocket, from: SocketAddr, data: &Data, now: Now) {
        let bytes = self.outbox.bytes();
        let header_at = bytes.len();
        let result = self
            .relay
            .handle_peer(socket, from, data.range.len(), now, bytes);
        let (client, padding) = match result {
            FromPeer::Drop(why) => return self.counters.count(why),
            FromPeer::Relay { client, padding } => (client, padding),
        };
        match client.transport {
            Transport::Udp => {
                let Some(slot) = self.listener(client.local) else {
                    return;
                };
                self.outbox
                    .send_behind(slot, client.remote, header_at, data, padding);
            }
            Transport::Tcp | Transport::Tls => {
                let header = self.outbox.bytes_from(header_at);
                let padding = &[0; 3][..usize::from(padding)];
                let is_taken = self
                    .streams
                    .write(&client, [header, self.outbox.data(data), padding]);
                self.outbox.bytes().truncate(header_at);
                if !is_taken {
                    return self.counters.stream_messages_dropped.inc();
                }
            }
        }
        self.counters.packets_to_clients.inc();
        self.counters.bytes_to_clients.add(data.range.len() as u64);
    }

    /// Hands over what this turn has for other threads.
    fn hand_over(&mut self) {
        for thread in self.handover.receivers() {
            self.hand_over_to(thread);
        }
    }

    fn hand_over_to(&mut self, thread: u16) {
        match self.handover.hand_over(thread) {
            Ok(true) => self.ring.wake(thread),
            Ok(false) => {}
            Err(Full(lost)) => self.counters.packets_not_handed_over.add(lost as u64),
        }
    }

    /// Delivers what other threads have handed over.
    fn receive_handed_over(&mut self, now: Now) {
        self.handover.look();
        for _ in 0..PARCELS_PER_TURN {
            let Some(parcel) = self.handover.receive() else {
                return;
            };
            let packet = self.outbox.keep_parcel(parcel);
            let mut number = 0;
            while let Some(Letter { from, to, range }) = self.outbox.letter(packet, number) {
                number += 1;
                // The allocation may have ended on its way.
                let Some(socket) = self.relay.socket_at(to) else {
                    self.counters.count(Dropped::NoAllocation);
                    continue;
                };
                self.counters.packets_hairpin.inc();
                let data = Data {
                    packet: Some(packet),
                    range,
                    room: HEAD_BYTES,
                };
                self.deliver(socket, from, &data, now);
            }
        }
    }

    fn listener(&self, local: SocketAddr) -> Option<Slot> {
        self.listeners
            .iter()
            .find(|it| it.local == local)
            .map(|it| it.slot)
    }

    /// What the network says about a packet to a peer.
    fn network_error(&mut self, socket: RelaySocket, buffer: &[u8], now: Now) {
        self.counters.network_errors.inc();
        let Some(error) = read_error(buffer) else {
            return;
        };
        let at = self.outbox.bytes().len();
        let client = self.relay.handle_icmp(
            socket,
            error.to,
            error.icmp,
            error.info,
            now,
            self.outbox.bytes(),
        );
        if let Some(client) = client {
            self.answer(&client, at);
        }
    }

    fn handle_stream(
        &mut self,
        slot: u32,
        client: Client,
        bytes: &[u8],
        now: Now,
    ) -> Result<(), Ended> {
        let mut input = self.streams.received(slot, bytes)?;
        // Data is for those who have an allocation.
        let bytes_max = if self.relay.has_allocation(&client) {
            DATA_BYTES_MAX
        } else {
            REQUEST_BYTES_MAX
        };
        let mut at = 0;
        while let Some(length) = self.streams.next(&input[at..], bytes_max)? {
            let message = Message::OfStream(&input[at..at + length]);
            self.handle_client(client, &message, now);
            at += length;
            if self.streams.is_joined(slot) {
                self.streams.leave_strangers(slot);
                // What follows is for the peer.
                return self.pass_on(slot, &input[at..], now);
            }
            if at == input.len() {
                break;
            }
        }
        input.drain(..at);
        self.streams.put_back(slot, input);
        if at > 0 && self.relay.has_allocation(&client) {
            self.streams.leave_strangers(slot);
        }
        Ok(())
    }

    /// What one half of a pipe has said.
    fn handle_pipe(&mut self, slot: u32, bytes: &[u8], now: Now) -> Result<(), Ended> {
        let (passed, state) = self.streams.forward(slot, bytes);
        self.carried(slot, passed, now);
        state
    }

    fn pass_on(&mut self, slot: u32, said: &[u8], now: Now) -> Result<(), Ended> {
        let passed = self.streams.pass_on(slot, said)?;
        self.carried(slot, passed, now);
        Ok(())
    }

    /// Counts what one half of a pipe has said, against what its allocation may relay too.
    fn carried(&mut self, slot: u32, bytes: usize, now: Now) {
        self.counters.bytes_piped.add(bytes as u64);
        if let Some(half) = self.streams.half(slot)
            && bytes > 0
            && !self
                .relay
                .carried(half.id, half.client.is_some(), bytes, now)
        {
            self.counters.pipes_slowed.inc();
            self.streams.slow_down(slot);
        }
    }

    fn end_stream(&mut self, slot: u32, why: Ended, now: Now) {
        match why {
            Ended::Left => self.counters.streams_left.inc(),
            Ended::Garbage => self.counters.streams_garbage.inc(),
            Ended::Tls => self.counters.streams_tls_failed.inc(),
            Ended::Idle => self.counters.streams_idle.inc(),
        }
        if self.streams.end_pipe(slot, &mut self.ring) {
            return;
        }
        if let Some(client) = self.streams.client(slot) {
            let mut opener = Opener {
                ring: &mut self.ring,
                sockets: &mut self.sockets,
                streams: &mut self.streams,
                now_s: now.s(),
            };
            self.relay.client_left(&client, now, &mut opener);
        }
        self.streams.end(slot, &mut self.ring);
    }

    /// A peer has connected to a relayed address.
    fn peer_connected(
        &mut self,
        socket: RelaySocket,
        stream: TcpStream,
        peer: SocketAddr,
        now: Now,
    ) {
        let at = self.outbox.bytes().len();
        let accepted = self.relay.accepted(socket, peer, now, self.outbox.bytes());
        let Some((id, client)) = accepted else {
            return self.counters.connections_refused.inc();
        };
        if self.streams.adopt(id, stream, &mut self.ring).is_ok() {
            self.counters.connections_made.inc();
            self.answer(&client, at);
        } else {
            self.counters.connections_refused.inc();
            self.relay.disconnected(id);
            self.outbox.bytes().truncate(at);
        }
    }

    /// A peer has answered a client that wants to be connected, or it is known that it will not.
    fn peer_answered(&mut self, id: ConnectionId, result: Result<(), NotConnected>, now: Now) {
        let at = self.outbox.bytes().len();
        match result {
            Ok(()) => self.counters.connections_made.inc(),
            Err(NotConnected) => self.counters.connections_failed.inc(),
        }
        let client = self.relay.connected(id, result, now, self.outbox.bytes());
        if let Some(client) = client {
            self.answer(&client, at);
        }
        if client.is_none() || result.is_err() {
            self.streams.disconnect(id, &mut self.ring);
        }
    }

    /// Takes connections; false if the system refuses.
    fn accept(&mut self, index: usize, now: Now) -> bool {
        let (_, acceptor) = &self.acceptors[index];
        let accepted = self.streams.accept(acceptor, now, &mut self.ring);
        self.counters.streams_accepted.add(accepted.accepted);
        self.counters.streams_refused.add(accepted.refused);
        self.counters
            .tls_handshakes_refused
            .add(accepted.handshakes_refused);
        self.counters.accept_errors.add(accepted.failed);
        accepted.failed == 0
    }

    fn wait_for_connections(&mut self, index: usize) {
        let token = Token::new(kinds::ACCEPT, 0, u32::try_from(index).unwrap_or(u32::MAX));
        self.ring.poll_readable(self.acceptors[index].0, token);
    }

    /// Begins receives again that have ended for want of buffers, which are back now, or for an error.
    fn listen_again(&mut self) {
        // Streams first: with datagrams anybody can take all the buffers.
        let begun = self.streams.listen_again(&mut self.ring);
        self.counters.receives_begun.add(begun as u64);
        for (index, listener) in (0_u32..).zip(&mut self.listeners) {
            if std::mem::take(&mut listener.is_silent) {
                let token = Token::new(kinds::LISTENER, 0, index);
                self.ring.receive_datagrams(listener.slot, token);
                self.counters.receives_begun.inc();
            }
        }
        let begun = self.sockets.listen_again(&mut self.ring);
        self.counters.receives_begun.add(begun as u64);
    }

    /// Sends all that has been put in the outbox and into streams.
    fn flush(&mut self) {
        if !self.outbox.is_empty() {
            self.ring
                .send_datagrams(self.outbox.sends(), &mut self.failed);
            self.counters.datagrams_sent.add(self.outbox.datagrams());
            self.handle_failed();
            self.outbox.clear(&self.handover);
        }
        self.streams.flush(&mut self.ring);
        for id in self.streams.finished.drain(..) {
            self.relay.disconnected(id);
        }
    }

    /// Tries again what failed for a reason that has passed, or that sending it otherwise helps against.
    fn handle_failed(&mut self) {
        for failed in std::mem::take(&mut self.failed) {
            let Some(again) = self.outbox.again(failed.index) else {
                continue;
            };
            let Err(errno) = failed.taken else {
                // The socket is full: what it does not take is lost, as anywhere on the way.
                let lost = again.cars().count();
                self.counters.sends_full.add(lost as u64);
                continue;
            };
            // An error that waits at the socket is told to whoever sends next, whose datagram has nothing to do with it. And a
            // train that is too much for the device may go car by car.
            if again.is_train && matches!(errno, libc::EINVAL | libc::EIO | libc::EMSGSIZE) {
                self.outbox.refuse_cars_of(again.car_bytes);
            }
            let mut lost = Vec::new();
            self.ring.send_datagrams(again.cars(), &mut lost);
            self.counters.sends_again.inc();
            self.counters.sends_failed.add(lost.len() as u64);
            tracing::debug!(errno, to = %again.to, lost = lost.len(), "a send failed");
            let socket = RelaySocket(again.slot.0);
            if self.sockets.is_open(socket) {
                self.sockets.read_errors(socket, &mut self.ring);
            }
        }
    }

    fn handle_commands(&mut self, now: Now) {
        for _ in 0..COMMANDS_PER_TURN {
            let Ok(command) = self.commands.try_recv() else {
                return;
            };
            match command {
                Command::SetAccess(access) => self.relay.set_access(access),
                Command::SetDrain(drain) => self.relay.set_drain(drain),
                Command::SetTls(tls) => self.streams.set_tls(tls),
                Command::List(answer) => {
                    // Whoever asked may have gone.
                    let _ = answer.send(self.relay.describe(now));
                }
                Command::End(relayed, answer) => {
                    let mut opener = Opener {
                        ring: &mut self.ring,
                        sockets: &mut self.sockets,
                        streams: &mut self.streams,
                        now_s: now.s(),
                    };
                    let client = self.relay.end(relayed, now, &mut opener);
                    let _ = answer.send(client.is_some());
                }
                Command::Learn(user, said) => self.learn(&user, &said, now),
                Command::Stop => self.is_stopped = true,
            }
        }
    }

    /// A directory has answered: whoever has waited for that goes on.
    fn learn(&mut self, user: &[u8], said: &Said, now: Now) {
        let is_known = match said {
            Said::Password(password, until_s) => {
                self.relay.learn(user, Some(password), *until_s, now);
                true
            }
            Said::Nobody(until_s) => {
                self.relay.learn(user, None, *until_s, now);
                true
            }
            Said::Nothing => false,
        };
        for (client, request) in self.waiting.take(user) {
            // Its connection may have ended, or carry the bytes of a pipe.
            let is_here =
                client.transport == Transport::Udp || self.streams.has_messages_of(&client);
            if !is_here {
                continue;
            }
            if is_known {
                self.handle_client(client, &Message::OfStream(&request), now);
            } else {
                self.counters.users_not_told.inc();
                let at = self.outbox.bytes().len();
                self.relay.not_learned(&request, self.outbox.bytes());
                self.answer(&client, at);
            }
        }
    }

    fn sweep(&mut self, now: Now) {
        for index in std::mem::take(&mut self.resting) {
            self.wait_for_connections(index);
        }
        self.sockets.wake_rested();
        let mut opener = Opener {
            ring: &mut self.ring,
            sockets: &mut self.sockets,
            streams: &mut self.streams,
            now_s: now.s(),
        };
        self.relay.sweep(now, &mut opener);
        self.outbox.try_cars_again();
        let may_carry = |id| self.relay.may_carry(id, now);
        self.streams.speed_up(may_carry, &mut self.ring);
        let relay = &self.relay;
        for slot in self
            .streams
            .idle(now, |client| relay.has_allocation(client))
        {
            self.end_stream(slot, Ended::Idle, now);
        }
        for id in self.streams.silent_peers(now.s()) {
            self.peer_answered(id, Err(NotConnected), now);
        }
        let counters = &self.counters;
        counters
            .allocations
            .set(self.relay.allocations().len() as u64);
        counters
            .connections
            .set(self.relay.connection_count() as u64);
        counters.sockets.set(self.sockets.open_count().into());
        counters.streams.set(self.streams.count() as u64);
        counters.tally(self.relay.tally());
    }
}

/// Where a part of some bytes begins.
fn offset(whole: &[u8], part: &[u8]) -> usize {
    part.as_ptr().addr() - whole.as_ptr().addr()
}

impl Counters {
    fn count(&self, why: Dropped) {
        let counter = match why {
            Dropped::Unknown => &self.dropped_unknown,
            Dropped::Malformed(_) => &self.dropped_malformed,
            Dropped::Unexpected => &self.dropped_unexpected,
            Dropped::Source => &self.dropped_source,
            Dropped::Strangers => &self.dropped_strangers,
            Dropped::NoAllocation => &self.dropped_no_allocation,
            Dropped::NoChannel => &self.dropped_no_channel,
            Dropped::NoPermission => &self.dropped_no_permission,
            Dropped::Denied => &self.dropped_denied,
            Dropped::Rate => &self.dropped_rate,
            Dropped::Indication => &self.dropped_indication,
        };
        counter.inc();
    }
}
