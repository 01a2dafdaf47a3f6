//! The state machine of a shard, without its ring: completions and messages in, operations and output out.
//!
//! Nothing here does I/O or reads a clock. [`Shard`](crate::shard::Shard) feeds it and carries out what it asks
//! for, so the same code runs over the kernel and over a simulated network.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use fanfare_wire::centrifuge::codes::DisconnectCode;
use fanfare_wire::ws;

use crate::api::ClientId;
use crate::authority::Grant;
use crate::broadcast::Scratch;
use crate::conn::{Conns, Flow, Identity, NOWHERE, Phase, Source};
use crate::counters::Gauges;
use crate::encoding::Encoding;
use crate::home::Deltas;
use crate::homes::Homes;
use crate::ids::{ConnRef, ShardId};
use crate::mesh::Mesh;
use crate::message::{Delivery, Request};
use crate::output::Output;
use crate::ring::{Slot, Token};
use crate::room::{Room, Rooms};
use crate::sabotage::Sabotage;
use crate::session;
use crate::shared::{Options, Shared};
use crate::slab::Key;
use crate::users::Users;
use crate::wheel::Wheel;

/// The time, as the caller read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Now {
    /// Milliseconds since the engine started.
    pub(crate) ms: u64,
    /// Unix time in seconds.
    pub(crate) unix: u64,
}

/// What a shard asks of its ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Op {
    Accept { listener: u32 },
    AcceptOne { listener: u32 },
    CancelAccept { listener: u32 },
    StopListening { listener: u32 },
    Receive(u32),
    PollWritable(u32),
    Shutdown(u32),
    Cancel(u32),
    Close(u32),
}

/// Operations, as tokens name them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OpKind {
    Accept = 1,
    Receive,
    PollWritable,
    Shutdown,
    Close,
}

impl OpKind {
    pub(crate) fn of(token: Token) -> Option<Self> {
        [
            Self::Accept,
            Self::Receive,
            Self::PollWritable,
            Self::Shutdown,
            Self::Close,
        ]
        .into_iter()
        .find(|kind| *kind as u8 == token.kind())
    }
}

/// How far a shard is on its way to the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Drain {
    /// Not yet told to stop.
    No,
    /// Disconnecting everyone.
    Draining,
}

/// The state of a shard.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) id: ShardId,
    pub(crate) shared: Shared,
    pub(crate) now: Now,
    pub(crate) conns: Conns,
    pub(crate) wheel: Wheel,
    pub(crate) rooms: Rooms,
    pub(crate) homes: Homes,
    pub(crate) users: Users,
    /// The keys of goim's connections, like users.
    pub(crate) keys: Users,
    pub(crate) mesh: Mesh,
    pub(crate) output: Output,
    /// Deliveries from this shard to itself, in order.
    pub(crate) local: VecDeque<Delivery>,
    /// The room of everyone who is authenticated on this shard; it has no home.
    pub(crate) everyone: Key<Room>,
    pub(crate) ops: Vec<Op>,
    pub(crate) drain: Drain,
    /// Bytes kept of requests that are not complete, of all connections.
    pub(crate) request_bytes: usize,
    pub(crate) accepting: Vec<Accepting>,
    /// There were as many connections as there may be, and not enough have gone since.
    is_full: bool,
    /// Connections may be open at once.
    pub(crate) connections_max: u32,
    /// The number of the last join, counted modulo 2^32: more than can be pending.
    pub(crate) joins: u32,
    /// Until then nobody is closed for being late.
    pub(crate) excused_until_ms: u64,
    /// Receives that ended for want of buffers.
    pub(crate) starved: Vec<u32>,
    pub(crate) gauges: Arc<Gauges>,
    /// Where encodings are put together.
    pub(crate) scratch: Scratch,
    pub(crate) deltas: Deltas,
    /// For compressed messages of clients.
    pub(crate) inflater: ws::Inflater,
    pub(crate) due: Vec<u32>,
    #[cfg(feature = "sim")]
    sabotage: Option<Sabotage>,
}

/// What a listener is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Accepting {
    /// A multishot accept is in flight.
    Armed,
    /// The accept of one connection is in flight.
    ArmedForOne,
    /// It was cancelled and has not ended yet.
    Stopping,
    /// Off, because the table is full, or for good.
    Stopped,
}

/// With fewer places left than this, connections are accepted one by one: a multishot accept takes all that wait
/// before we hear of the first, and those for which there is no place are lost. As long as the kernel lets a
/// backlog be by default (`net.core.somaxconn`).
const CROWD: u32 = 4096;

/// Connections below the maximum at which accepting begins again.
const RESUME_MARGIN: u32 = 16;

impl Core {
    pub(crate) fn new(
        id: ShardId,
        shared: Shared,
        slots: u32,
        listeners: usize,
        gauges: Arc<Gauges>,
        now: Now,
    ) -> Self {
        // Of its own: a count that all shards change is a cache line that all shards wait for.
        let shared = Shared {
            options: Arc::new(Options::new(&shared.config.namespaces)),
            ..shared
        };
        let config = &shared.config;
        // One multishot accept takes a whole backlog before we hear of the first: those need slots, too.
        let spare = (slots / 16).clamp(64, 1024);
        let connections_max = config
            .connections_per_shard_max
            .unwrap_or(u32::MAX)
            .min(slots.saturating_sub(spare).max(1));
        let mut rooms = Rooms::new();
        let options = Arc::clone(&shared.options.default);
        let everyone = rooms.slab.insert(Room::new("".into(), options, id));
        let mut core = Self {
            id,
            now,
            conns: Conns::new(id, slots),
            wheel: Wheel::new(slots, now.ms),
            rooms,
            homes: Homes::new(config.limits.rooms_per_shard_max),
            users: Users::default(),
            keys: Users::default(),
            mesh: Mesh::new(id, Arc::clone(&shared.inboxes)),
            output: Output::new(),
            local: VecDeque::new(),
            everyone,
            ops: Vec::new(),
            drain: Drain::No,
            request_bytes: 0,
            accepting: vec![Accepting::Stopped; listeners],
            is_full: false,
            connections_max,
            joins: 0,
            excused_until_ms: 0,
            starved: Vec::new(),
            gauges,
            scratch: Scratch::default(),
            deltas: Deltas::default(),
            inflater: ws::Inflater::new(),
            due: Vec::new(),
            #[cfg(feature = "sim")]
            sabotage: None,
            shared,
        };
        core.resume_accepting();
        core
    }

    #[cfg(feature = "sim")]
    pub(crate) const fn set_sabotage(&mut self, sabotage: Option<Sabotage>) {
        self.sabotage = sabotage;
    }

    /// Whether this invariant is to be broken on purpose, so that a test can see it caught.
    #[cfg(feature = "sim")]
    pub(crate) fn is_sabotaged(&self, sabotage: Sabotage) -> bool {
        self.sabotage == Some(sabotage)
    }

    /// No invariant is broken on purpose outside of tests.
    #[cfg(not(feature = "sim"))]
    #[expect(clippy::unused_self, reason = "the same signature as with the feature")]
    pub(crate) const fn is_sabotaged(&self, _: Sabotage) -> bool {
        false
    }

    // -- connections: from accept to close

    /// The kernel has accepted a connection into this slot.
    pub(crate) fn accepted(&mut self, slot: u32) {
        self.conns.open(slot);
        let counters = &self.gauges.counters;
        counters.connections_accepted.inc();
        counters.connections.set(u64::from(self.conns.open_count()));
        if self.drain != Drain::No {
            self.begin_close(slot);
            return;
        }
        self.receive(slot);
        self.schedule_in(slot, self.shared.config.limits.handshake_timeout);
        if self.conns.open_count() >= self.connections_max {
            self.gauges.counters.connections_refused_full.inc();
            self.is_full = true;
            self.stop_accepting();
        } else if self.places_left() <= CROWD {
            for (listener, state) in (0..).zip(&mut self.accepting) {
                if *state == Accepting::Armed {
                    *state = Accepting::Stopping;
                    self.ops.push(Op::CancelAccept { listener });
                }
            }
        }
    }

    fn places_left(&self) -> u32 {
        self.connections_max.saturating_sub(self.conns.open_count())
    }

    /// An accept has ended. One that failed is tried again with the next tick: what it lacks may be lacking for
    /// a while.
    pub(crate) fn accept_ended(&mut self, listener: u32, has_failed: bool) {
        self.accepting[listener as usize] = Accepting::Stopped;
        if self.drain != Drain::No {
            self.ops.push(Op::StopListening { listener });
        } else if !has_failed {
            self.resume_accepting();
        }
    }

    pub(crate) fn stop_accepting(&mut self) {
        for (listener, state) in (0..).zip(&mut self.accepting) {
            if matches!(state, Accepting::Armed | Accepting::ArmedForOne) {
                *state = Accepting::Stopping;
                self.ops.push(Op::CancelAccept { listener });
            }
        }
    }

    pub(crate) fn resume_accepting(&mut self) {
        let margin = RESUME_MARGIN.min(self.connections_max / 4).max(1);
        self.is_full &= self.conns.open_count() > self.connections_max - margin;
        if self.drain != Drain::No || self.is_full {
            return;
        }
        let is_roomy = self.places_left() > CROWD;
        for (listener, state) in (0..).zip(&mut self.accepting) {
            if *state == Accepting::Stopped {
                let op;
                (*state, op) = if is_roomy {
                    (Accepting::Armed, Op::Accept { listener })
                } else {
                    (Accepting::ArmedForOne, Op::AcceptOne { listener })
                };
                self.ops.push(op);
            }
        }
    }

    /// Arms the slot's receive.
    pub(crate) fn receive(&mut self, slot: u32) {
        if let Some(conn) = self.conns.get_mut(slot) {
            debug_assert!(!conn.in_ring.receive);
            conn.in_ring.receive = true;
            conn.in_ring.starved = false;
            self.ops.push(Op::Receive(slot));
        }
    }

    /// A connection without a socket, whose output is held until something comes for it. `None`: there are as many as may
    /// be.
    pub(crate) fn open_without_socket(&mut self) -> Option<ConnRef> {
        let limit = self.shared.config.limits.polls_per_shard_max;
        if self.drain != Drain::No || self.conns.without_socket_count() >= limit {
            return None;
        }
        let conn = self.conns.open_without_socket();
        if let Some(state) = self.conns.get_mut(conn.slot()) {
            state.flow = Flow::Held;
        }
        Some(conn)
    }

    /// The token's owner has been granted these rights: it is now a member of everyone, and of its user.
    pub(crate) fn authenticated(
        &mut self,
        slot: u32,
        grant: Grant,
        encoding: Encoding,
    ) -> Option<ClientId> {
        let ping_in = self.first_ping_in();
        // Once, and nobody who has been told to go.
        let is_new = |conn: &&mut crate::conn::Conn| conn.phase == Phase::Handshake;
        let conn = self.conns.get_mut(slot).filter(is_new)?;
        conn.phase = Phase::Open;
        conn.requests = 0;
        let (user, is_service) = (grant.user.clone(), grant.is_service);
        conn.identity = Some(Box::new(Identity::new(grant, encoding)));
        if let Some(room) = self.rooms.slab.get_mut(self.everyone) {
            conn.everyone = room.lane_or_new(encoding, 0).join(slot);
        }
        let name = self.conns.name(slot);
        if !user.is_empty() && !is_service {
            let home = self.shared.home_of(&user);
            self.request(home, Request::Bind { user, conn: name });
        }
        self.gauges.counters.authenticated.inc();
        if self.drain == Drain::No {
            self.schedule_in(slot, ping_in);
        }
        Some(self.conns.client_id(slot))
    }

    /// The connection is to be found by this key of goim.
    pub(crate) fn bind_key(&mut self, slot: u32, key: Box<str>) {
        let (home, conn) = (self.shared.home_of(&key), self.conns.name(slot));
        self.request(home, Request::BindKey { key, conn });
    }

    /// Ends the connection once what it was sent last has left: stops listening to it, takes it out of its rooms.
    pub(crate) fn finish(&mut self, slot: u32) {
        let has_socket = self.conns.has_socket(slot);
        let Some(conn) = self.conns.get_mut(slot) else {
            return;
        };
        if !matches!(conn.phase, Phase::Handshake | Phase::Open) {
            return;
        }
        conn.phase = Phase::Finishing;
        if !has_socket {
            // Its closing words are held, too, and its session stays for whoever comes for them.
            self.leave_everything(slot);
            self.schedule_in(slot, self.shared.config.limits.poll_timeout);
            self.output.held.push(slot);
            return;
        }
        let is_held = conn.flow == Flow::Held;
        self.put_session(slot, session::Session::Over);
        if is_held {
            self.release(slot, 0, &[]);
        }
        self.leave_everything(slot);
        self.schedule_in(slot, self.shared.config.limits.close_timeout);
        self.output.finishing.push(slot);
    }

    /// Tells the client to go, in its dialect, with this code.
    pub(crate) fn disconnect(&mut self, slot: u32, code: DisconnectCode) {
        session::disconnect(self, slot, code.number(), code.reason());
        self.finish(slot);
    }

    /// Everything has been sent: says so to the peer, and waits for it to say the same.
    pub(crate) fn linger(&mut self, slot: u32) {
        let Some(conn) = self.conns.get_mut(slot) else {
            return;
        };
        debug_assert_eq!(conn.phase, Phase::Finishing);
        if !conn.in_ring.receive && !conn.in_ring.starved {
            // The peer has said so already.
            self.begin_close(slot);
            return;
        }
        conn.phase = Phase::Lingering;
        conn.in_ring.shutdown = true;
        self.ops.push(Op::Shutdown(slot));
    }

    /// Closes the connection, as soon as the ring lets go of it.
    pub(crate) fn begin_close(&mut self, slot: u32) {
        session::poll::closing(self, slot);
        let Some(conn) = self.conns.get_mut(slot) else {
            return;
        };
        if conn.phase == Phase::Closing {
            return;
        }
        let was_connected = matches!(conn.phase, Phase::Handshake | Phase::Open);
        conn.phase = Phase::Closing;
        self.output.unsent_bytes -= conn.unsent.take().map_or(0, |unsent| unsent.len());
        let is_stalled = matches!(conn.flow, Flow::Stalled(_));
        conn.flow = Flow::Clear;
        let is_free = conn.in_ring.is_empty();
        self.put_session(slot, session::Session::Over);
        if is_stalled {
            self.gauges.counters.stalled.sub(1);
        }
        if was_connected {
            self.leave_everything(slot);
        }
        self.wheel.cancel(slot);
        if is_free {
            self.close(slot);
        } else {
            self.ops.push(Op::Cancel(slot));
        }
    }

    /// The ring holds nothing of it any more, or less than before.
    pub(crate) fn ring_let_go(&mut self, slot: u32) {
        if self
            .conns
            .get(slot)
            .is_some_and(|conn| conn.phase == Phase::Closing && conn.in_ring.is_empty())
        {
            self.close(slot);
        }
    }

    fn close(&mut self, slot: u32) {
        if !self.conns.has_socket(slot) {
            self.conns.close(slot);
            return;
        }
        self.ops.push(Op::Close(slot));
        self.conns.close(slot);
        let counters = &self.gauges.counters;
        counters.connections_closed.inc();
        counters.connections.set(u64::from(self.conns.open_count()));
        self.resume_accepting();
    }

    /// Out of all rooms, and no longer its user's.
    fn leave_everything(&mut self, slot: u32) {
        self.leave_all_rooms(slot);
        let Some(conn) = self.conns.get_mut(slot) else {
            return;
        };
        let Some(identity) = conn.identity.take() else {
            return;
        };
        let place = std::mem::replace(&mut conn.everyone, NOWHERE);
        let key = conn.goim().and_then(|it| it.take_key());
        let name = self.conns.name(slot);
        self.leave_lane(self.everyone, identity.encoding, slot, place);
        if let Some(key) = key {
            let home = self.shared.home_of(&key);
            self.request(home, Request::UnbindKey { key, conn: name });
        }
        if !identity.user.is_empty() && !identity.is_service() {
            let home = self.shared.home_of(&identity.user);
            self.request(
                home,
                Request::Unbind {
                    user: identity.user,
                    conn: name,
                },
            );
        }
    }

    // -- messages

    /// To the home of a room or a user: another shard's inbox, or at once when it is this one.
    pub(crate) fn request(&mut self, home: ShardId, request: Request) {
        if home == self.id {
            self.handle_request(request);
        } else {
            self.mesh.request(home, request);
        }
    }

    /// To the shard of a connection.
    pub(crate) fn deliver(&mut self, to: ShardId, delivery: Delivery) {
        if to == self.id {
            self.local.push_back(delivery);
        } else {
            self.mesh.deliver(to, delivery);
        }
    }

    /// Moves the flow of a connection on: its last source has reached the end of a frame.
    pub(crate) fn flow_cleared(&mut self, slot: u32) {
        let Some(conn) = self.conns.get_mut(slot) else {
            return;
        };
        conn.flow = Flow::Clear;
        if conn.unsent.is_some() {
            conn.flow = Flow::Resuming(Source::Direct);
            self.output.resuming.push(slot);
            return;
        }
        if conn.phase == Phase::Finishing {
            // Its closing words may still be among the direct output of this turn.
            self.output.finishing.push(slot);
            return;
        }
        self.return_to_lanes(slot);
    }
}

pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The slot as the ring names it.
pub(crate) const fn ring_slot(slot: u32) -> Slot {
    Slot(slot)
}
