//! The sockets of relayed addresses, on the ring of their thread: of datagrams, and those that peers connect to.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fanfare_engine::ring::{
    KernelRing, Ring, Slot, Token, UdpOptions, bind_udp, set_receive_bytes,
};

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use socket2::{Domain, Protocol, Socket, Type};

use super::kinds;
use super::streams::Streams;
use crate::relay::{ConnectionId, RelaySocket, ReservationToken, Sockets};

/// How the sockets of relayed addresses are made.
const OPTIONS: UdpOptions = UdpOptions {
    is_shared: false,
    has_trains: true,
    has_errors: true,
    receive_bytes: 1 << 20,
    send_bytes: 1 << 20,
};

/// Nobody reads from one that is kept: what comes until it is taken up needs no room. The kernel gives two kilobytes.
const KEPT_OPTIONS: UdpOptions = UdpOptions {
    receive_bytes: 1,
    ..OPTIONS
};

/// Sockets that are kept for whoever has their tokens, which may be a client of any thread.
#[derive(Debug, Clone, Default)]
pub(super) struct KeptSockets(Arc<Mutex<HashMap<ReservationToken, OwnedFd, RandomState>>>);

impl KeptSockets {
    fn lock(&self) -> MutexGuard<'_, HashMap<ReservationToken, OwnedFd, RandomState>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Connections of peers that wait for one turn of the thread.
const BACKLOG: i32 = 64;

/// Connections of peers that are taken in one turn.
const ACCEPTS_PER_TURN: usize = 16;

/// What is known of each slot that had a relay's socket.
#[derive(Debug, Default)]
pub(super) struct RelaySockets {
    slots: Vec<State>,
    open: u32,
    /// Their receives have ended, and are to begin again.
    silent: Vec<RelaySocket>,
    /// They could not accept, and are tried again later.
    rested: Vec<RelaySocket>,
    /// Those that peers connect to.
    listeners: HashMap<u32, TcpListener, RandomState>,
    kept: KeptSockets,
}

#[derive(Debug, Clone, Copy, Default)]
struct State {
    generation: u32,
    phase: Phase,
    /// Of the kind of its socket: [`kinds::RELAY`] or [`kinds::PEERS`].
    kind: u8,
    has_receive: bool,
    has_errors: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Phase {
    /// No socket of ours.
    #[default]
    None,
    Open,
    /// Closed for the relay; operations are still under way.
    Closing,
}

impl RelaySockets {
    pub(super) fn new(kept: KeptSockets) -> Self {
        Self {
            kept,
            ..Self::default()
        }
    }

    /// How many there are, those that are being closed included.
    pub(super) const fn open_count(&self) -> u32 {
        self.open
    }

    /// The socket that a completion is for; `None` if it was closed before.
    pub(super) fn of(&self, token: Token) -> Option<RelaySocket> {
        let state = self.slots.get(token.index() as usize)?;
        let is_it = state.phase == Phase::Open && state.generation == token.generation();
        is_it.then(|| RelaySocket(token.index()))
    }

    /// Whether this is one of them, and not closed.
    pub(super) fn is_open(&self, socket: RelaySocket) -> bool {
        let state = self.slots.get(socket.0 as usize);
        state.is_some_and(|state| state.phase == Phase::Open)
    }

    /// The receive under this token has ended. It begins again, after the errors that ended it were read.
    pub(super) fn receive_ended(&mut self, token: Token, result: i32, ring: &mut KernelRing) {
        let socket = RelaySocket(token.index());
        let Some(state) = self.slots.get_mut(token.index() as usize) else {
            return;
        };
        state.has_receive = false;
        match state.phase {
            Phase::Open => {
                if state.kind == kinds::RELAY && result < 0 && result != -libc::ENOBUFS {
                    self.read_errors(socket, ring);
                }
                self.silent.push(socket);
            }
            Phase::Closing => self.close_if_idle(socket, ring),
            Phase::None => {}
        }
    }

    /// Reads the errors that wait at a socket.
    pub(super) fn read_errors(&mut self, socket: RelaySocket, ring: &mut KernelRing) {
        let state = &mut self.slots[socket.0 as usize];
        if state.phase == Phase::Open && state.kind == kinds::RELAY && !state.has_errors {
            state.has_errors = true;
            let token = Token::new(kinds::ERRORS, state.generation, socket.0);
            ring.receive_errors(Slot(socket.0), token);
        }
    }

    /// There are no more errors.
    pub(super) fn errors_ended(&mut self, token: Token, ring: &mut KernelRing) {
        if let Some(state) = self.slots.get_mut(token.index() as usize) {
            state.has_errors = false;
            if state.phase == Phase::Closing {
                self.close_if_idle(RelaySocket(token.index()), ring);
            }
        }
    }

    /// Begins the receives again that have ended; how many.
    pub(super) fn listen_again(&mut self, ring: &mut KernelRing) -> usize {
        let mut begun = 0;
        for socket in std::mem::take(&mut self.silent) {
            let state = &mut self.slots[socket.0 as usize];
            if state.phase == Phase::Open && !state.has_receive {
                state.has_receive = true;
                begin(state, socket.0, ring);
                begun += 1;
            }
        }
        begun
    }

    /// Takes the connections that peers have made to a socket, some at a time.
    pub(super) fn accept(
        &mut self,
        token: Token,
        ring: &mut KernelRing,
    ) -> (Vec<(TcpStream, SocketAddr)>, u64) {
        let mut accepted = Vec::new();
        let mut failed = 0;
        if let Some(socket) = self.of(token)
            && let Some(listener) = self.listeners.get(&socket.0)
        {
            while accepted.len() < ACCEPTS_PER_TURN && failed == 0 {
                match listener.accept() {
                    Ok(it) => accepted.push(it),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    // The peer has gone before it was taken.
                    Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                    Err(_) => failed += 1,
                }
            }
        }
        self.receive_ended(token, 0, ring);
        if failed > 0 {
            // What is missing (descriptors, memory) is not there at once again.
            self.rested.extend(self.silent.pop());
        }
        (accepted, failed)
    }

    /// Those that could not accept try it again.
    pub(super) fn wake_rested(&mut self) {
        self.silent.append(&mut self.rested);
    }

    /// The address that peers connect to.
    fn local(&self, socket: RelaySocket) -> io::Result<SocketAddr> {
        let listener = self.listeners.get(&socket.0);
        listener.ok_or(io::ErrorKind::NotFound)?.local_addr()
    }

    /// A socket has been given this slot.
    fn opened(&mut self, slot: u32, kind: u8, ring: &mut KernelRing) -> RelaySocket {
        let at = slot as usize;
        if self.slots.len() <= at {
            self.slots.resize(at + 1, State::default());
        }
        self.forget(slot);
        let state = &mut self.slots[at];
        debug_assert_eq!(state.phase, Phase::None);
        (state.phase, state.kind, state.has_receive) = (Phase::Open, kind, true);
        begin(state, slot, ring);
        self.open += 1;
        RelaySocket(slot)
    }

    /// The socket under this token is closed. Its slot may have another one by now: the kernel gives a slot away before it
    /// says that it is free.
    pub(super) fn closed(&mut self, token: Token) {
        if let Some(state) = self.slots.get(token.index() as usize)
            && state.generation == token.generation()
        {
            self.forget(token.index());
        }
    }

    /// The slot has no socket of ours any more.
    fn forget(&mut self, slot: u32) {
        let state = &mut self.slots[slot as usize];
        if state.phase == Phase::Closing {
            state.phase = Phase::None;
            state.generation = state.generation.wrapping_add(1) & Token::GENERATION_MASK;
            self.open -= 1;
        }
    }

    fn close_if_idle(&mut self, socket: RelaySocket, ring: &mut KernelRing) {
        let state = &self.slots[socket.0 as usize];
        if !state.has_receive && !state.has_errors {
            let token = Token::new(kinds::CLOSE, state.generation, socket.0);
            ring.close(Slot(socket.0), token);
        }
    }
}

/// Begins to receive, or to wait for peers that connect.
fn begin(state: &State, slot: u32, ring: &mut KernelRing) {
    let token = Token::new(state.kind, state.generation, slot);
    if state.kind == kinds::PEERS {
        ring.poll_readable(Slot(slot), token);
    } else {
        ring.receive_datagrams(Slot(slot), token);
    }
}

/// Opens and closes them for the relay.
#[derive(Debug)]
pub(super) struct Opener<'t> {
    pub(super) ring: &'t mut KernelRing,
    pub(super) sockets: &'t mut RelaySockets,
    pub(super) streams: &'t mut Streams,
    pub(super) now_s: u32,
}

impl Sockets for Opener<'_> {
    fn open(&mut self, local: SocketAddr) -> io::Result<RelaySocket> {
        let Slot(slot) = self.ring.install(bind_udp(local, &OPTIONS)?)?;
        Ok(self.sockets.opened(slot, kinds::RELAY, self.ring))
    }

    fn listen(&mut self, local: SocketAddr) -> io::Result<RelaySocket> {
        let socket = Socket::new(
            Domain::for_address(local),
            Type::STREAM.nonblocking().cloexec(),
            Some(Protocol::TCP),
        )?;
        if local.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        // Connections to peers are made from the same port.
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(true)?;
        socket.bind(&local.into())?;
        socket.listen(BACKLOG)?;
        let Slot(slot) = self.ring.install(socket.try_clone()?.into())?;
        self.sockets.listeners.insert(slot, socket.into());
        Ok(self.sockets.opened(slot, kinds::PEERS, self.ring))
    }

    fn keep(&mut self, token: ReservationToken, local: SocketAddr) -> io::Result<()> {
        let socket = bind_udp(local, &KEPT_OPTIONS)?;
        self.sockets.kept.lock().insert(token, socket);
        Ok(())
    }

    fn take_up(&mut self, token: ReservationToken) -> io::Result<RelaySocket> {
        let socket = self.sockets.kept.lock().remove(&token);
        let socket = socket.ok_or(io::ErrorKind::NotFound)?;
        set_receive_bytes(socket.as_fd(), OPTIONS.receive_bytes)?;
        let Slot(slot) = self.ring.install(socket)?;
        Ok(self.sockets.opened(slot, kinds::RELAY, self.ring))
    }

    fn give_up(&mut self, token: ReservationToken) {
        let socket = self.sockets.kept.lock().remove(&token);
        debug_assert!(socket.is_some(), "given up twice");
    }

    fn close(&mut self, socket: RelaySocket) {
        let sockets = &mut *self.sockets;
        sockets.listeners.remove(&socket.0);
        let state = &mut sockets.slots[socket.0 as usize];
        state.phase = Phase::Closing;
        if state.has_receive {
            let token = Token::new(state.kind, state.generation, socket.0);
            self.ring.cancel(token);
        }
        sockets.close_if_idle(socket, self.ring);
    }

    fn connect(&mut self, id: ConnectionId, from: RelaySocket, to: SocketAddr) -> io::Result<()> {
        let from = self.sockets.local(from)?;
        self.streams.connect(id, from, to, self.now_s, self.ring)
    }

    fn disconnect(&mut self, id: ConnectionId) {
        self.streams.disconnect(id, self.ring);
    }
}
