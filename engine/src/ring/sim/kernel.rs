//! The kernel side of one simulated ring: fixed-file table, operations in flight, completion queue.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use super::buffer::{Pool, SimBuffer};
use super::completions::{CompletionQueue, Posted};
use super::faults::Fault;
use super::flight::{Flight, Kind, Operation};
use super::socket::{Read, Socket, SocketId};
use super::trace::{Event, digest_of};
use super::world::Chance;
use crate::ring::{Completion, RingStats, Token};

/// Slots among which the next one is drawn, if any of them is free.
const FRONT_SLOTS: u32 = 128;

/// The kernel side of one ring.
#[derive(Debug)]
pub(super) struct Kernel {
    shard: u16,
    pub(super) queued: Vec<Operation>,
    table: Vec<Option<SocketId>>,
    /// What the ring's owner knows of each slot; differs from the table until it has seen the completions.
    pub(super) views: Vec<View>,
    pub(super) listeners: Vec<Listener>,
    flights: BTreeMap<u64, Flight>,
    flight_next: u64,
    completions: CompletionQueue,
    pub(super) pool: Rc<RefCell<Pool>>,
    last_closed: Option<u32>,
    pub(super) is_woken: bool,
    /// Until when the owner sleeps, if nothing happens.
    pub(super) asleep_until: Duration,
    pub(super) stats: RingStats,
}

/// A listening socket of the ring's shard.
#[derive(Debug)]
pub(super) struct Listener {
    pub(super) backlog: VecDeque<SocketId>,
    pub(super) backlog_max: usize,
    pub(super) is_open: bool,
    /// The owner has an accept under way here, as far as it knows.
    pub(super) has_accept: bool,
}

impl Listener {
    /// Closes it: who waits to be accepted is reset.
    pub(super) fn close(&mut self, sockets: &mut [Socket]) {
        self.is_open = false;
        for socket in self.backlog.drain(..) {
            sockets[socket as usize].break_both();
        }
    }
}

/// What the owner of a ring knows of a slot.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct View {
    pub(super) is_open: bool,
    pub(super) receive: Option<u64>,
    pub(super) poll: Option<u64>,
}

impl View {
    /// Stands for an operation that is still in the submission queue.
    pub(super) const QUEUED: u64 = u64::MAX;
}

impl Kernel {
    pub(super) fn new(
        shard: u16,
        slots: u32,
        listeners: u32,
        backlog_max: usize,
        pool: Pool,
    ) -> Self {
        let listener = || Listener {
            backlog: VecDeque::new(),
            backlog_max,
            is_open: true,
            has_accept: false,
        };
        Self {
            shard,
            queued: Vec::new(),
            table: vec![None; slots as usize],
            views: vec![View::default(); slots as usize],
            listeners: (0..listeners).map(|_| listener()).collect(),
            flights: BTreeMap::new(),
            flight_next: 0,
            completions: CompletionQueue::default(),
            pool: Rc::new(RefCell::new(pool)),
            last_closed: None,
            is_woken: false,
            asleep_until: Duration::ZERO,
            stats: RingStats::default(),
        }
    }

    pub(super) fn slots(&self) -> u32 {
        u32::try_from(self.table.len()).expect("the table was made with a u32 of slots")
    }

    pub(super) fn slots_used(&self) -> Vec<u32> {
        (0..self.slots())
            .filter(|&slot| self.table[slot as usize].is_some())
            .collect()
    }

    pub(super) fn socket_of(&self, slot: u32) -> Option<SocketId> {
        self.table[slot as usize]
    }

    /// The operations in flight that belong to a connection, by name.
    pub(super) fn connection_flights(&self) -> Vec<(&'static str, Token)> {
        let of_connections = self
            .flights
            .values()
            .filter(|flight| flight.kind.socket().is_some());
        of_connections
            .map(|flight| (flight.kind.name(), flight.token))
            .collect()
    }

    pub(super) fn completions_unseen(&self) -> usize {
        self.completions.len()
    }

    pub(super) fn is_runnable(&self, now: Duration) -> bool {
        let has_completions = self.completions.visible_at().is_some_and(|at| at <= now);
        self.is_woken || self.asleep_until <= now || has_completions
    }

    pub(super) fn is_still(&self) -> bool {
        self.completions.len() == 0
            && self
                .flights
                .values()
                .all(|flight| flight.cancelled_at.is_none())
    }

    pub(super) fn next_event(&self) -> Option<Duration> {
        let cancelled = self
            .flights
            .values()
            .filter_map(|flight| flight.cancelled_at);
        cancelled
            .chain(self.completions.visible_at())
            .chain([self.asleep_until])
            .min()
    }

    pub(super) fn execute(
        &mut self,
        operation: Operation,
        chance: &mut Chance,
        sockets: &mut [Socket],
    ) {
        match operation {
            Operation::Accept {
                listener,
                token,
                is_single,
            } => {
                let kind = Kind::Accept {
                    listener,
                    is_single,
                };
                self.launch(token, kind, sockets);
            }
            Operation::Receive { slot, token } => {
                let flight = self.launch(
                    token,
                    Kind::Receive {
                        slot,
                        socket: self.open(slot),
                    },
                    sockets,
                );
                self.views[slot as usize].receive = Some(flight);
            }
            Operation::PollWritable { slot, token } => {
                let flight = self.launch(
                    token,
                    Kind::PollWritable {
                        slot,
                        socket: self.open(slot),
                    },
                    sockets,
                );
                self.views[slot as usize].poll = Some(flight);
            }
            Operation::Shutdown { slot, token } => {
                let result = sockets[self.open(slot) as usize].server_shutdown();
                self.post_inline(token, Kind::Shutdown, result, chance);
            }
            Operation::Cancel { token } => self.cancel(token, chance),
            Operation::Close { slot, token } => {
                let socket = self.open(slot);
                let is_forgotten = |flight: &&Flight| {
                    flight.kind.socket() == Some(socket) && flight.cancelled_at.is_none()
                };
                if let Some(flight) = self.flights.values().find(is_forgotten) {
                    let (shard, name) = (self.shard, flight.kind.name());
                    panic!(
                        "ring contract: close on slot {slot} of shard {shard}: {name} is under way and was not cancelled"
                    );
                }
                self.table[slot as usize] = None;
                self.last_closed = Some(slot);
                Self::release(socket, chance, sockets);
                self.post_inline(token, Kind::Close, 0, chance);
            }
            Operation::Wake { .. } => unreachable!("the world executes wake-ups"),
        }
    }

    fn open(&self, slot: u32) -> SocketId {
        self.table[slot as usize]
            .expect("operations are checked against the owner's view when they are queued")
    }

    fn launch(&mut self, token: Token, kind: Kind, sockets: &mut [Socket]) -> u64 {
        if let Some(socket) = kind.socket() {
            sockets[socket as usize].holds += 1;
        }
        let flight = self.flight_next;
        self.flight_next += 1;
        self.flights.insert(
            flight,
            Flight {
                token,
                kind,
                cancelled_at: None,
                is_new: true,
            },
        );
        flight
    }

    fn cancel(&mut self, token: Token, chance: &mut Chance) {
        for flight in self.flights.values_mut() {
            if flight.cancelled_at.is_some() || flight.token != token {
                continue;
            }
            let late = chance.strikes(Fault::Stale);
            let after = if late {
                Duration::from_micros(chance.rng.u64(1_000..200_000))
            } else {
                Duration::ZERO
            };
            flight.cancelled_at = Some(chance.now + after);
        }
    }

    /// Drops one hold on the socket; the last one closes it.
    fn release(socket: SocketId, chance: &mut Chance, sockets: &mut [Socket]) {
        let state = &mut sockets[socket as usize];
        state.holds -= 1;
        if state.holds == 0 {
            state.server_close(&mut chance.rng);
        }
    }

    pub(super) fn progress(&mut self, chance: &mut Chance, sockets: &mut [Socket]) {
        if self.flights.is_empty() {
            return;
        }
        // Who comes first when buffers or slots are short is nobody's to rely on.
        let mut ids: Vec<u64> = self.flights.keys().copied().collect();
        let first = chance.rng.usize(0..ids.len());
        ids.rotate_left(first);
        for id in ids {
            match self.flights[&id].kind {
                Kind::Accept {
                    listener,
                    is_single,
                } => self.progress_accept(id, listener, is_single, chance, sockets),
                Kind::Receive { socket, .. } => self.progress_receive(id, socket, chance, sockets),
                Kind::PollWritable { socket, .. } => {
                    self.progress_poll(id, socket, chance, sockets)
                }
                Kind::Shutdown | Kind::Close => {
                    unreachable!("these complete when they are submitted")
                }
            }
        }
    }

    fn progress_accept(
        &mut self,
        id: u64,
        listener: u32,
        is_single: bool,
        chance: &mut Chance,
        sockets: &mut [Socket],
    ) {
        if self.is_cancelled(id, chance) && !chance.strikes(Fault::CancelRace) {
            return self.finish(id, -libc::ECANCELED, None, chance, sockets);
        }
        while let Some(&socket) = self.listeners[listener as usize].backlog.front() {
            if chance.strikes(Fault::AcceptError) {
                let errno =
                    [libc::EMFILE, libc::ENFILE, libc::ECONNABORTED][chance.rng.usize(0..3)];
                if errno == libc::ECONNABORTED {
                    self.listeners[listener as usize].backlog.pop_front();
                    sockets[socket as usize].break_both();
                }
                return self.finish(id, -errno, None, chance, sockets);
            }
            self.listeners[listener as usize].backlog.pop_front();
            let Some(slot) = self.free_slot(chance) else {
                // io_fixed_fd_install: the connection was accepted, finds no slot, and is closed.
                sockets[socket as usize].server_close(&mut chance.rng);
                return self.finish(id, -libc::ENFILE, None, chance, sockets);
            };
            self.table[slot as usize] = Some(socket);
            sockets[socket as usize].holds += 1;
            let result = i32::try_from(slot).expect("tables are far smaller than 2^31");
            if is_single || self.completions.is_full() || chance.strikes(Fault::AcceptEndsEarly) {
                return self.finish(id, result, None, chance, sockets);
            }
            self.post(id, result, true, None, chance);
        }
        if self.is_cancelled(id, chance) {
            self.finish(id, -libc::ECANCELED, None, chance, sockets);
        }
    }

    /// Often the slot that was closed last, since that is where late completions hurt.
    fn free_slot(&self, chance: &mut Chance) -> Option<u32> {
        let is_free = |slot: u32| self.table[slot as usize].is_none();
        if let Some(slot) = self.last_closed.filter(|&slot| is_free(slot))
            && chance.rng.bool()
        {
            return Some(slot);
        }
        // Linux fills its tables from the front.
        let first = chance.rng.u32(0..self.slots().min(FRONT_SLOTS));
        (first..self.slots())
            .chain(0..first)
            .find(|&slot| is_free(slot))
    }

    fn progress_receive(
        &mut self,
        id: u64,
        socket: SocketId,
        chance: &mut Chance,
        sockets: &mut [Socket],
    ) {
        let is_new = std::mem::take(&mut self.flight(id).is_new);
        if self.is_cancelled(id, chance) && !chance.strikes(Fault::CancelRace) {
            return self.finish(id, -libc::ECANCELED, None, chance, sockets);
        }
        // io_recv selects a buffer before it looks at the socket, so a new receive may fail on a quiet one.
        let has_no_buffer = self.pool.borrow().free() == 0;
        if is_new && has_no_buffer && chance.rng.bool() {
            return self.finish(id, -libc::ENOBUFS, None, chance, sockets);
        }
        while sockets[socket as usize].server_is_readable() {
            let has_no_buffer = self.pool.borrow().free() == 0;
            if has_no_buffer || chance.strikes(Fault::NoBuffers) {
                return self.finish(id, -libc::ENOBUFS, None, chance, sockets);
            }
            let bytes_max = self.arrived(&sockets[socket as usize], chance);
            let bytes = match sockets[socket as usize].server_read(bytes_max) {
                Read::Data(bytes) => bytes,
                Read::Nothing => break,
                Read::End => return self.finish(id, 0, None, chance, sockets),
                Read::Error(errno) => return self.finish(id, -errno, None, chance, sockets),
            };
            let result = i32::try_from(bytes.len()).expect("a buffer is far smaller than 2^31");
            let buffer = SimBuffer::lease(&self.pool, &bytes);
            if self.completions.is_full() || chance.strikes(Fault::ReceiveEndsEarly) {
                return self.finish(id, result, buffer, chance, sockets);
            }
            self.post(id, result, true, buffer, chance);
            if chance.rng.u32(0..4) == 0 {
                break;
            }
        }
        if self.is_cancelled(id, chance) {
            self.finish(id, -libc::ECANCELED, None, chance, sockets);
        }
    }

    /// How many of the unread bytes one receive finds: often all, often a part, sometimes a single byte.
    fn arrived(&self, socket: &Socket, chance: &mut Chance) -> usize {
        let whole = socket
            .server_unread()
            .clamp(1, self.pool.borrow().buffer_bytes());
        match chance.rng.u32(0..8) {
            0 => 1,
            1..=3 => chance.rng.usize(1..=whole),
            _ => whole,
        }
    }

    fn progress_poll(
        &mut self,
        id: u64,
        socket: SocketId,
        chance: &mut Chance,
        sockets: &mut [Socket],
    ) {
        let is_cancelled = self.is_cancelled(id, chance);
        let mask = sockets[socket as usize].server_poll_mask();
        if mask != 0 && (!is_cancelled || chance.strikes(Fault::CancelRace)) {
            return self.finish(id, mask, None, chance, sockets);
        }
        if is_cancelled {
            return self.finish(id, -libc::ECANCELED, None, chance, sockets);
        }
        // Only a new poll: one that waits would else be struck again at every turn.
        if std::mem::take(&mut self.flight(id).is_new) && chance.strikes(Fault::SpuriousWritable) {
            self.finish(id, i32::from(libc::POLLOUT), None, chance, sockets);
        }
    }

    fn flight(&mut self, id: u64) -> &mut Flight {
        self.flights
            .get_mut(&id)
            .expect("only operations in flight make progress")
    }

    fn is_cancelled(&self, id: u64, chance: &Chance) -> bool {
        self.flights[&id]
            .cancelled_at
            .is_some_and(|at| at <= chance.now)
    }

    /// Posts the last completion of an operation, and lets go of its socket.
    fn finish(
        &mut self,
        id: u64,
        result: i32,
        buffer: Option<SimBuffer>,
        chance: &mut Chance,
        sockets: &mut [Socket],
    ) {
        self.post(id, result, false, buffer, chance);
        let flight = self
            .flights
            .remove(&id)
            .expect("only operations in flight finish");
        if let Some(socket) = flight.kind.socket() {
            Self::release(socket, chance, sockets);
        }
    }

    fn post(
        &mut self,
        id: u64,
        result: i32,
        more: bool,
        buffer: Option<SimBuffer>,
        chance: &mut Chance,
    ) {
        let Flight { token, kind, .. } = self.flights[&id];
        self.completions.push(
            id,
            kind,
            Completion {
                token,
                result,
                more,
                buffer,
            },
            chance,
        );
    }

    /// Posts the completion of an operation that never waits.
    fn post_inline(&mut self, token: Token, kind: Kind, result: i32, chance: &mut Chance) {
        let id = self.flight_next;
        self.flight_next += 1;
        self.completions.push(
            id,
            kind,
            Completion {
                token,
                result,
                more: false,
                buffer: None,
            },
            chance,
        );
    }

    /// One wait: everything that is visible, and at times an overflow that leaves some of it for the next.
    pub(super) fn reap(
        &mut self,
        chance: &mut Chance,
        sockets: &mut [Socket],
        seen: &mut Vec<Completion<SimBuffer>>,
    ) {
        self.completions.begin_turn(chance);
        self.progress(chance, sockets);
        let Self {
            completions,
            views,
            listeners,
            shard,
            ..
        } = self;
        let has_overflowed = completions.end_turn(chance, |posted, chance| {
            note_seen(*shard, views, listeners, &posted, chance);
            seen.push(posted.completion);
        });
        self.stats.completion_overflows += u64::from(has_overflowed);
    }
}

/// The owner of the ring now knows of this completion.
fn note_seen(
    shard: u16,
    views: &mut [View],
    listeners: &mut [Listener],
    posted: &Posted,
    chance: &mut Chance,
) {
    let Posted {
        flight,
        kind,
        completion,
        ..
    } = posted;
    let Completion {
        token: Token(token),
        result,
        more,
        ref buffer,
    } = *completion;
    let digest = buffer.as_deref().map_or(0, digest_of);
    chance.note(Event::Completed {
        shard,
        operation: kind.name(),
        token,
        result,
        more,
        digest,
    });
    if let Kind::Accept { listener, .. } = *kind {
        listeners[listener as usize].has_accept = more;
    }
    match *kind {
        Kind::Accept { .. } if result >= 0 => {
            views[result.unsigned_abs() as usize] = View {
                is_open: true,
                ..View::default()
            };
        }
        Kind::Receive { slot, .. } if !more && views[slot as usize].receive == Some(*flight) => {
            views[slot as usize].receive = None;
        }
        Kind::PollWritable { slot, .. } if views[slot as usize].poll == Some(*flight) => {
            views[slot as usize].poll = None;
        }
        _ => {}
    }
}
