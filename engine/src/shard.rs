//! A shard: the state machine of [`Core`] on a ring. One turn of its loop is [`Shard::turn`].

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::conn::Phase;
use crate::core::{Core, Now, Op, OpKind, ring_slot};
use crate::counters::Gauges;
use crate::encoding::Encoding;
use crate::ids::ShardId;
use crate::message::{Delivery, Frame};
use crate::ring::{Completion, Ring, Short, Slot, Token};
use crate::room::Room;
use crate::shared::Shared;
use crate::slab::Key;

/// Batches of lane content per turn: at 5 µs a send about 5 ms, after which pings, new connections and everyone's
/// replies have their turn again.
const SWEEP_BATCHES_PER_TURN: usize = 2;

/// Times in a turn that receives are armed again which had ended for want of buffers.
const STARVED_ROUNDS_PER_TURN: usize = 16;

/// Messages taken from each queue of the inbox per turn, for the same reason.
const INBOX_MESSAGES_PER_TURN: usize = 1024;

/// How long to wait before trying a full inbox of another shard again.
const JAM_RETRY: Duration = Duration::from_micros(200);

/// The loop turns at least this often, so that its heart can be heard beating.
const WAIT_MAX: Duration = Duration::from_millis(500);

/// One shard of the engine.
pub struct Shard<R: Ring> {
    pub(crate) core: Core,
    ring: R,
    completions: Vec<Completion<R::Buffer>>,
    /// Input that waits because another shard's inbox is full. Its buffers are not given back meanwhile, so the
    /// ring runs out of them, the sockets fill, and the jam reaches who causes it. At most as many as there are
    /// buffers, and the ends of their connections.
    deferred: VecDeque<Completion<R::Buffer>>,
    short: Vec<Short>,
    /// This turn has swept a whole lane out of turn. One such pass can take as long as everything else in a turn, so
    /// what else is to be delivered waits for the next one.
    has_swept_full_lane: bool,
}

impl<R: Ring> std::fmt::Debug for Shard<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Shard({})", self.core.id.0)
    }
}

impl<R: Ring> Shard<R> {
    pub(crate) fn new(
        id: ShardId,
        shared: Shared,
        ring: R,
        listeners: usize,
        gauges: Arc<Gauges>,
        now: Now,
    ) -> Self {
        let core = Core::new(id, shared, ring.slots(), listeners, gauges, now);
        Self {
            core,
            ring,
            completions: Vec::new(),
            deferred: VecDeque::new(),
            short: Vec::new(),
            has_swept_full_lane: false,
        }
    }

    /// One turn: handles what has completed and what has come in, sends what is to be sent, and then waits for
    /// more, at most so long. Returns whether the shard has been drained: it has nothing to do any more.
    ///
    /// # Errors
    /// The ring has become unusable.
    pub(crate) fn turn(&mut self, now: Now, wait_max: Duration) -> std::io::Result<bool> {
        self.core.mesh.inbox().awake();
        self.core.set_now(now);
        self.core.mesh.retry();
        self.has_swept_full_lane = false;
        self.deliver_local();
        self.take_input();
        self.take_starved_input()?;
        self.take_messages();
        self.core.tick();
        self.deliver_local();
        self.flush_direct();
        self.sweep();
        self.core.answer_polls();
        self.rearm_starved();
        self.queue_ops();
        self.count();
        let wait = self.wait().min(wait_max);
        self.ring.turn(wait, &mut self.completions)?;
        if self.ring.stats().was_cut_short {
            self.core.gauges.counters.buffers_exhausted.inc();
        }
        Ok(self.core.is_drained() && self.completions.is_empty())
    }

    #[cfg(feature = "sim")]
    pub(crate) const fn ring(&self) -> &R {
        &self.ring
    }

    #[cfg(feature = "sim")]
    pub(crate) fn deferred_count(&self) -> usize {
        self.deferred.len()
    }

    /// Answers what came too late: the shard stops.
    pub(crate) fn refuse_the_rest(&mut self) {
        self.core.mesh.refuse_waiting();
        self.core.mesh.inbox().refuse_the_rest();
    }

    // -- input

    fn take_input(&mut self) {
        let mut completions = std::mem::take(&mut self.completions);
        for completion in completions.drain(..) {
            // Only input asks anything of other shards; the rest, writable sockets above all, must go on.
            let is_input = OpKind::of(completion.token) == Some(OpKind::Receive);
            if is_input && (!self.deferred.is_empty() || self.is_backed_up()) {
                if completion.buffer.is_some() {
                    self.core.gauges.counters.inputs_deferred.inc();
                }
                self.deferred.push_back(completion);
            } else {
                self.complete(completion);
            }
        }
        self.completions = completions;
        // Not in one go with the above: completions of one connection keep their order.
        while !self.is_backed_up()
            && let Some(completion) = self.deferred.pop_front()
        {
            self.complete(completion);
        }
    }

    /// Lets those be heard for whom there was no buffer, as many as there are buffers at a time.
    ///
    /// A turn that sweeps may take as long as the turns of all shards on this core together, and what came meanwhile is
    /// more than there are buffers: 18,000 idle connections answer 740 pings a second. With one round a turn, answers came
    /// too late and connections were closed for it.
    fn take_starved_input(&mut self) -> std::io::Result<()> {
        for _ in 0..STARVED_ROUNDS_PER_TURN {
            let has_more = !self.core.starved.is_empty() || self.ring.stats().was_cut_short;
            if !has_more || self.is_backed_up() {
                break;
            }
            // The ring may give the slot of one that has gone to a new connection: nothing may wait for it by then.
            self.flush_direct();
            self.rearm_starved();
            self.queue_ops();
            self.ring.turn(Duration::ZERO, &mut self.completions)?;
            self.take_input();
        }
        Ok(())
    }

    /// What has been taken in has not all been passed on: take in no more.
    fn is_backed_up(&self) -> bool {
        self.core.mesh.is_jammed() || !self.core.local.is_empty()
    }

    fn complete(&mut self, mut completion: Completion<R::Buffer>) {
        let Completion {
            token,
            result,
            more,
            ..
        } = completion;
        let slot = token.index();
        match OpKind::of(token) {
            Some(OpKind::Accept) => self.accepted(token, result, more),
            Some(OpKind::Close) => {
                if result < 0 {
                    self.core.gauges.counters.ring_errors.inc();
                }
            }
            // The buffer of a connection that has gone goes back as the completion is dropped.
            Some(_) if !self.core.conns.is_current(slot, token.generation()) => {
                self.core.gauges.counters.completions_stale.inc();
            }
            Some(OpKind::Receive) => {
                let buffer = completion.buffer.as_deref_mut();
                self.core.received(slot, result, more, buffer);
                drop(completion);
                self.deliver_local();
            }
            Some(OpKind::PollWritable) => {
                self.core.poll_ended(slot);
            }
            Some(OpKind::Shutdown) => self.core.shutdown_ended(slot),
            None => self.core.gauges.counters.ring_errors.inc(),
        }
    }

    fn accepted(&mut self, token: Token, result: i32, more: bool) {
        let has_failed = result < 0 && result != -libc::ECANCELED;
        if let Ok(slot) = u32::try_from(result) {
            self.core.accepted(slot);
        } else if has_failed {
            self.core.gauges.counters.accept_errors.inc();
        }
        if !more {
            self.core.accept_ended(token.index(), has_failed);
        }
    }

    fn take_messages(&mut self) {
        for _ in 0..INBOX_MESSAGES_PER_TURN {
            if self.has_swept_full_lane {
                break;
            }
            let Some(delivery) = self.core.mesh.inbox().deliveries.pop() else {
                break;
            };
            self.core.gauges.counters.inbox_deliveries.inc();
            self.deliver(delivery);
        }
        self.deliver_local();
        for _ in 0..INBOX_MESSAGES_PER_TURN {
            // What a request makes has to find room before the next one is taken.
            if self.core.mesh.has_undelivered() || !self.core.local.is_empty() {
                break;
            }
            let Some(request) = self.core.mesh.inbox().requests.pop() else {
                break;
            };
            self.core.gauges.counters.inbox_requests.inc();
            self.core.handle_request(request);
            self.deliver_local();
        }
    }

    fn deliver_local(&mut self) {
        while !self.has_swept_full_lane
            && let Some(delivery) = self.core.local.pop_front()
        {
            self.deliver(delivery);
        }
    }

    fn deliver(&mut self, delivery: Delivery) {
        for frame in self.core.handle_delivery(delivery) {
            self.append_to_full_lane(&frame);
        }
        // An answer can be ten thousand times as long as its question, and a turn takes many questions.
        if self.core.output.holds_much() {
            self.flush_direct();
        }
    }

    /// A lane is full. Members that take output are not slow, they only wait for their turn: they get it now.
    fn append_to_full_lane(&mut self, frame: &Frame) {
        // Replies go before what follows them in the lane.
        self.flush_direct();
        self.sweep_lane(frame.room, frame.encoding);
        self.core.append_at_any_cost(frame);
        self.has_swept_full_lane = true;
    }

    // -- output

    fn flush_direct(&mut self) {
        while self.core.output.has_direct() {
            self.core.plan_direct();
            if !self.core.output.plan.is_empty() {
                self.send();
            } else if !self.core.direct_flushed() {
                return;
            }
        }
    }

    fn sweep(&mut self) {
        let mut sent = 0;
        while sent < SWEEP_BATCHES_PER_TURN * self.core.output.batch_sends
            && self.core.output.has_dirty_lanes()
        {
            self.core.plan_lanes();
            sent += self.core.output.plan.len();
            self.send();
        }
        // Whom the sweep set free may have direct output waiting.
        self.flush_direct();
    }

    fn sweep_lane(&mut self, room: Key<Room>, encoding: Encoding) {
        loop {
            let is_done = self.core.plan_only(room, encoding);
            if !self.core.output.plan.is_empty() {
                self.send();
            }
            if is_done {
                return;
            }
        }
    }

    /// Sends the batch that has been planned, and settles it.
    fn send(&mut self) {
        self.short.clear();
        let core = &self.core;
        let sends = core
            .planned_sends()
            .map(|(slot, bytes)| (Slot(slot), bytes));
        self.ring.send_all(sends, &mut self.short);
        self.core.settle(&self.short);
    }

    // -- the ring

    fn rearm_starved(&mut self) {
        let free = self.ring.stats().buffers_free as usize;
        let count = self.core.starved.len().min(free);
        // In no fixed order: one that always has more to say, and comes first, would take every buffer every time.
        fastrand::shuffle(&mut self.core.starved);
        for slot in self.core.starved.drain(..count).collect::<Vec<_>>() {
            if self
                .core
                .conns
                .get(slot)
                .is_some_and(|conn| conn.phase != Phase::Closing && !conn.in_ring.receive)
            {
                self.core.receive(slot);
            }
        }
    }

    fn queue_ops(&mut self) {
        let mut ops = std::mem::take(&mut self.core.ops);
        for op in ops.drain(..) {
            let token = |kind: OpKind, index| {
                Token::new(kind as u8, self.core.conns.generation(index), index)
            };
            match op {
                Op::Accept { listener } => self
                    .ring
                    .accept(listener, Token::new(OpKind::Accept as u8, 0, listener)),
                Op::AcceptOne { listener } => self
                    .ring
                    .accept_one(listener, Token::new(OpKind::Accept as u8, 0, listener)),
                Op::CancelAccept { listener } => {
                    self.ring
                        .cancel(Token::new(OpKind::Accept as u8, 0, listener));
                }
                Op::StopListening { listener } => self.ring.stop_listening(listener),
                Op::Receive(slot) => self
                    .ring
                    .receive(ring_slot(slot), token(OpKind::Receive, slot)),
                Op::PollWritable(slot) => self
                    .ring
                    .poll_writable(ring_slot(slot), token(OpKind::PollWritable, slot)),
                Op::Shutdown(slot) => self
                    .ring
                    .shutdown(ring_slot(slot), token(OpKind::Shutdown, slot)),
                Op::Cancel(slot) => {
                    let in_ring = self.core.conns.get(slot).map(|conn| conn.in_ring);
                    if in_ring.is_some_and(|it| it.receive) {
                        self.ring.cancel(token(OpKind::Receive, slot));
                    }
                    if in_ring.is_some_and(|it| it.poll) {
                        self.ring.cancel(token(OpKind::PollWritable, slot));
                    }
                }
                Op::Close(slot) => self.ring.close(ring_slot(slot), token(OpKind::Close, slot)),
            }
        }
        self.core.ops = ops;
        for shard in self.core.mesh.wakes() {
            self.ring.wake(shard.0);
        }
    }

    /// How long there is nothing to do.
    fn wait(&mut self) -> Duration {
        let core = &self.core;
        let is_busy = core.output.has_dirty_lanes()
            || (!core.starved.is_empty() && self.ring.stats().buffers_free > 0)
            || !core.local.is_empty()
            || (!self.deferred.is_empty() && !core.mesh.is_jammed())
            || !self.core.ops.is_empty();
        if is_busy {
            return Duration::ZERO;
        }
        if core.mesh.is_jammed() {
            return JAM_RETRY;
        }
        if !core.mesh.inbox().prepare_to_sleep() {
            return Duration::ZERO;
        }
        let next_tick = core.wheel.next_tick_ms().saturating_sub(core.now.ms);
        WAIT_MAX.min(Duration::from_millis(next_tick))
    }

    fn count(&self) {
        let core = &self.core;
        let counters = &core.gauges.counters;
        let stats = self.ring.stats();
        counters.turns.inc();
        counters
            .completion_overflows
            .set(stats.completion_overflows);
        counters.ring_enters.set(stats.enters);
        counters.wakes_sent.set(stats.wakes_sent);
        counters.inbox_full.set(core.mesh.inbox_full);
        counters.unsent_bytes.set(core.output.unsent_bytes as u64);
        counters
            .polls_open
            .set(u64::from(core.conns.without_socket_count()));
        counters.request_bytes.set(core.request_bytes as u64);
        counters.rooms_local.set(core.rooms.slab.len() as u64 - 1);
        counters.rooms_home.set(core.homes.slab.len() as u64);
        counters.users_home.set(core.users.len() as u64);
        core.gauges
            .turned_at_ms
            .store(core.now.ms, std::sync::atomic::Ordering::Relaxed);
    }
}

impl Core {
    /// Something was received, or the receive has ended.
    fn received(&mut self, slot: u32, result: i32, more: bool, buffer: Option<&mut [u8]>) {
        if let Some(conn) = self.conns.get_mut(slot)
            && !more
        {
            conn.in_ring.receive = false;
        }
        if let Some(input) = buffer {
            self.gauges.counters.bytes_received.add(input.len() as u64);
            crate::session::receive(self, slot, input);
        }
        if !more {
            self.receive_ended(slot, result);
        }
        self.ring_let_go(slot);
    }

    fn receive_ended(&mut self, slot: u32, result: i32) {
        let Some(conn) = self.conns.get(slot) else {
            return;
        };
        if conn.phase == Phase::Closing || conn.in_ring.receive {
            return;
        }
        match result {
            // A ring may end a receive after data, too.
            1.. => self.receive(slot),
            // Neither is the connection's fault, and both pass.
            _ if result == -libc::ENOBUFS || result == -libc::ENOMEM => {
                self.gauges.counters.buffers_exhausted.inc();
                self.starved.push(slot);
                if let Some(conn) = self.conns.get_mut(slot) {
                    conn.in_ring.starved = true;
                }
            }
            // It says no more, and may still read what it asked for.
            0 if matches!(conn.phase, Phase::Handshake | Phase::Open) => self.finish(slot),
            0 if conn.phase == Phase::Finishing => {}
            // The end of both streams, or an error.
            _ => self.begin_close(slot),
        }
    }

    fn poll_ended(&mut self, slot: u32) {
        if let Some(conn) = self.conns.get_mut(slot) {
            conn.in_ring.poll = false;
        }
        self.writable(slot);
        self.ring_let_go(slot);
    }

    fn shutdown_ended(&mut self, slot: u32) {
        if let Some(conn) = self.conns.get_mut(slot) {
            conn.in_ring.shutdown = false;
        }
        self.ring_let_go(slot);
    }
}
