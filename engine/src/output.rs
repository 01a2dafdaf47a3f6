//! What leaves a shard: direct output (replies, pings, closing words) and the content of lanes.
//!
//! Both go out in batches that the ring sends synchronously ([`Ring::send_all`](crate::ring::Ring::send_all)):
//! a batch is planned, sent, and settled. A batch holds at most one send per socket, because a second could follow
//! a first one that was short.

use std::collections::VecDeque;

use crate::conn::{Flow, NOWHERE, Phase, Source};
use crate::core::{Core, Op};
use crate::encoding::Encoding;
use crate::lane::Lane;
use crate::ring::Short;
use crate::room::Room;
use crate::sabotage::Sabotage;
use crate::slab::Key;
use crate::sweep::{Fit, Planner, Progress};

/// Sends in one batch: enough to make the cost of entering the kernel vanish, few enough that the completions of
/// a batch that all came up short fit the completion queue.
const BATCH_SENDS: usize = 512;

/// What is kept of the direct output's buffer between turns.
const KEPT_BYTES: usize = 1 << 20;

/// One planned send.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Planned {
    pub(crate) slot: u32,
    pub(crate) what: What,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum What {
    /// Direct output of this turn: a range of the shard's buffer.
    Piece { start: usize, end: usize },
    /// The connection's own unsent output.
    Unsent,
    /// All that lies between a member's old cursor and its new one, which is the head unless frames are sent singly.
    Lane {
        /// Which of the lanes of the batch.
        lane: usize,
        place: u32,
        from: u64,
        to: u64,
    },
}

#[derive(Debug, Clone, Copy)]
struct Piece {
    slot: u32,
    start: usize,
    end: usize,
}

/// Output on its way.
#[derive(Debug, Default)]
pub(crate) struct Output {
    /// Direct output of this turn, and whose it is.
    bytes: Vec<u8>,
    pieces: Vec<Piece>,
    next_piece: usize,
    /// Connections whose unsent output has the next send.
    pub(crate) resuming: Vec<u32>,
    /// Connections to be closed when their direct output has left.
    pub(crate) finishing: Vec<u32>,
    /// Connections whose output is held and that have been written to.
    pub(crate) held: Vec<u32>,
    /// Bytes of all unsent output.
    pub(crate) unsent_bytes: usize,
    /// Connections that let more replies wait than they may.
    overflowing: Vec<u32>,
    /// Lanes with something to send, in turn.
    dirty: VecDeque<(Key<Room>, Encoding)>,
    /// Lanes that the batch under way took from.
    touched: Vec<(Key<Room>, Encoding)>,
    /// Connections in the batch that were coming back from a stall.
    pub(crate) resumed: Vec<u32>,
    pub(crate) plan: Vec<Planned>,
    /// Smaller than [`BATCH_SENDS`] in simulations, where few connections are to fill many batches.
    pub(crate) batch_sends: usize,
    pub(crate) batch: u32,
    /// The batches under way at two times, up to [`Output::mark_recent`]'s interval and up to twice that ago.
    marks: [(u64, u32); 2],
}

impl Output {
    pub(crate) fn new() -> Self {
        Self {
            batch_sends: BATCH_SENDS,
            ..Self::default()
        }
    }

    pub(crate) fn has_dirty_lanes(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// Gives a lane that has something to send its turn.
    pub(crate) fn queue(&mut self, lane: &mut Lane, room: Key<Room>, encoding: Encoding) {
        if !lane.is_queued {
            lane.is_queued = true;
            self.dirty.push_back((room, encoding));
        }
    }

    /// Something is to be done for a connection alone.
    pub(crate) fn has_direct(&self) -> bool {
        !(self.pieces.is_empty()
            && self.resuming.is_empty()
            && self.finishing.is_empty()
            && self.overflowing.is_empty())
    }

    /// Direct output is better sent before more is written.
    pub(crate) fn holds_much(&self) -> bool {
        self.bytes.len() > KEPT_BYTES
    }

    /// Notes the time of a batch, if the last note is so old. To be called about as often.
    pub(crate) fn mark_recent(&mut self, now_ms: u64, interval_ms: u64) {
        if now_ms >= self.marks[0].0 + interval_ms {
            self.marks = [(now_ms, self.batch), self.marks[0]];
        }
    }

    /// Whether this batch left within the last one or two intervals of [`mark_recent`](Self::mark_recent).
    fn is_recent(&self, batch: u32) -> bool {
        self.batch.wrapping_sub(batch) < self.batch.wrapping_sub(self.marks[1].1)
    }

    pub(crate) fn is_batch_full(&self) -> bool {
        self.plan.len() >= self.batch_sends
    }

    /// Moves what was written for a connection in this turn, and has not been planned, to the end of `to`.
    pub(crate) fn take_pieces(&mut self, slot: u32, to: &mut Vec<u8>) {
        let (next, mut at) = (self.next_piece, 0);
        self.pieces.retain(|piece| {
            at += 1;
            let is_taken = at > next && piece.slot == slot;
            if is_taken {
                to.extend_from_slice(&self.bytes[piece.start..piece.end]);
            }
            !is_taken
        });
    }

    fn begin_batch(&mut self) {
        self.plan.clear();
        self.resumed.clear();
        self.touched.clear();
        self.batch = self.batch.wrapping_add(1);
    }
}

impl Core {
    /// Whether the connection was sent something a while ago at most (see [`Output::mark_recent`]), and took all of it.
    pub(crate) fn took_output_recently(&self, slot: u32) -> bool {
        self.conns
            .get(slot)
            .is_some_and(|conn| conn.flow == Flow::Clear && self.output.is_recent(conn.batch))
    }

    /// Writes direct output for a connection. It leaves with the next flush, after what was written before.
    pub(crate) fn write(&mut self, slot: u32, write: impl FnOnce(&mut Vec<u8>)) {
        // Whoever was told to go hears nothing more: nothing may follow the closing words.
        let Some(conn) = self
            .conns
            .get(slot)
            .filter(|conn| matches!(conn.phase, Phase::Handshake | Phase::Open))
        else {
            return;
        };
        let is_single = conn.encoding().is_some_and(Encoding::is_sent_singly);
        let output = &mut self.output;
        let start = output.bytes.len();
        write(&mut output.bytes);
        let end = output.bytes.len();
        // What follows in the same turn goes out with it, unless it is on its way already.
        match output.pieces[output.next_piece..].last_mut() {
            Some(last) if last.slot == slot && last.end == start && !is_single => last.end = end,
            _ => output.pieces.push(Piece { slot, start, end }),
        }
    }

    // -- direct output

    /// Plans the next batch of direct output. An empty plan: all of it is on its way.
    pub(crate) fn plan_direct(&mut self) {
        self.output.begin_batch();
        while let Some(&slot) = self.output.resuming.last() {
            match self.plan_unsent(slot) {
                Fit::No => return,
                Fit::Yes | Fit::Nothing => self.output.resuming.pop(),
            };
        }
        while let Some(&piece) = self.output.pieces.get(self.output.next_piece) {
            match self.plan_piece(piece) {
                Fit::No => return,
                Fit::Yes | Fit::Nothing => self.output.next_piece += 1,
            }
        }
    }

    fn plan_unsent(&mut self, slot: u32) -> Fit {
        let Some(conn) = self.conns.get_mut(slot) else {
            return Fit::Nothing;
        };
        if conn.flow != Flow::Resuming(Source::Direct) {
            return Fit::Nothing;
        }
        if conn.batch == self.output.batch || self.output.is_batch_full() {
            return Fit::No;
        }
        conn.batch = self.output.batch;
        conn.unsent.get_or_insert_default();
        let bytes = conn.unsent.as_ref().map_or(0, |unsent| unsent.len());
        self.output.resumed.push(slot);
        self.output.plan.push(Planned {
            slot,
            what: What::Unsent,
        });
        self.gauges.counters.sends_direct.inc();
        self.gauges.counters.bytes_sent.add(bytes as u64);
        Fit::Yes
    }

    fn plan_piece(&mut self, Piece { slot, start, end }: Piece) -> Fit {
        let Some(conn) = self.conns.get_mut(slot) else {
            return Fit::Nothing;
        };
        if matches!(conn.phase, Phase::Lingering | Phase::Closing) {
            return Fit::Nothing;
        }
        if conn.flow != Flow::Clear {
            let unsent = conn.unsent.get_or_insert_default();
            unsent.extend_from_slice(&self.output.bytes[start..end]);
            let is_over = unsent.len() > self.shared.config.limits.direct_bytes_max as usize;
            self.output.unsent_bytes += end - start;
            if conn.flow == Flow::Held {
                self.output.held.push(slot);
            }
            if is_over {
                self.output.overflowing.push(slot);
            }
            return Fit::Nothing;
        }
        if conn.batch == self.output.batch || self.output.is_batch_full() {
            return Fit::No;
        }
        conn.batch = self.output.batch;
        self.output.plan.push(Planned {
            slot,
            what: What::Piece { start, end },
        });
        self.gauges.counters.sends_direct.inc();
        self.gauges.counters.bytes_sent.add((end - start) as u64);
        Fit::Yes
    }

    /// More direct output waits for connections to read it than a shard keeps.
    fn is_over_budget(&self) -> bool {
        let limit = self.shared.config.limits.direct_bytes_per_shard_max;
        self.output.unsent_bytes > limit as usize
    }

    /// Closes the connections for which the most direct output waits, without closing words, until a quarter of the
    /// shard's budget is free again.
    fn shed_unsent(&mut self) {
        let keep = self.shared.config.limits.direct_bytes_per_shard_max as usize / 4 * 3;
        let unsent_of = |slot| Some((self.conns.get(slot)?.unsent.as_ref()?.len(), slot));
        let mut holders: Vec<(usize, u32)> = self.conns.slots().filter_map(unsent_of).collect();
        holders.sort_unstable();
        while self.output.unsent_bytes > keep
            && let Some((_, slot)) = holders.pop()
        {
            self.gauges.counters.slow_disconnected.inc();
            self.begin_close(slot);
        }
    }

    /// All direct output of the turn has been planned, sent and settled. Returns whether that made more of it.
    pub(crate) fn direct_flushed(&mut self) -> bool {
        let output = &mut self.output;
        output.bytes.clear();
        output.bytes.shrink_to(KEPT_BYTES);
        output.pieces.clear();
        output.next_piece = 0;
        let mut overflowing = std::mem::take(&mut self.output.overflowing);
        for slot in overflowing.drain(..) {
            self.slow(slot);
        }
        self.output.overflowing = overflowing;
        if self.is_over_budget() {
            self.shed_unsent();
        }
        let mut finishing = std::mem::take(&mut self.output.finishing);
        for slot in finishing.drain(..) {
            let is_done = |conn: &crate::conn::Conn| {
                conn.phase == Phase::Finishing && conn.flow == Flow::Clear
            };
            if self.conns.get(slot).is_some_and(is_done) {
                self.linger(slot);
            }
        }
        finishing.append(&mut self.output.finishing);
        self.output.finishing = finishing;
        !self.output.pieces.is_empty() || !self.output.resuming.is_empty()
    }

    // -- lanes

    /// The lane has something to send.
    pub(crate) fn mark_dirty(&mut self, room: Key<Room>, encoding: Encoding) {
        if let Some(lane) = self.rooms.lane_mut(room, encoding) {
            self.output.queue(lane, room, encoding);
        }
    }

    /// Plans the next batch from the dirty lanes, in turn. An empty plan: no lane has anything to send.
    pub(crate) fn plan_lanes(&mut self) {
        self.output.begin_batch();
        while let Some((room, encoding)) = self.output.dirty.pop_front() {
            match self.plan_lane(room, encoding) {
                Progress::Done => self.unqueue(room, encoding),
                Progress::More => {
                    // The others first.
                    self.output.dirty.push_back((room, encoding));
                    return;
                }
                Progress::Conflict => {
                    self.output.dirty.push_front((room, encoding));
                    return;
                }
            }
        }
    }

    /// Plans a batch from this lane alone, whose content must leave before more can be appended. Returns whether
    /// everyone who takes output is in it or has everything. The lane keeps its place in the queue.
    pub(crate) fn plan_only(&mut self, room: Key<Room>, encoding: Encoding) -> bool {
        self.output.begin_batch();
        matches!(self.plan_lane(room, encoding), Progress::Done)
    }

    fn unqueue(&mut self, room: Key<Room>, encoding: Encoding) {
        if let Some(lane) = self.rooms.lane_mut(room, encoding) {
            lane.is_queued = false;
        }
    }

    fn plan_lane(&mut self, key: Key<Room>, encoding: Encoding) -> Progress {
        let Some(lane) = self.rooms.lane_mut(key, encoding) else {
            return Progress::Done;
        };
        let touched = &mut self.output.touched;
        if touched.last() != Some(&(key, encoding)) {
            touched.push((key, encoding));
        }
        let lane_index = touched.len() - 1;
        let mut planner = Planner {
            conns: &mut self.conns,
            output: &mut self.output,
            counters: &self.gauges.counters,
            everyone: self.everyone,
            key,
            encoding,
            lane_index,
            frames: (u64::MAX, 0),
        };
        planner.lane(lane)
    }

    // -- sending and settling

    /// The sends of the batch: to whom, and what.
    pub(crate) fn planned_sends(&self) -> impl Iterator<Item = (u32, &[u8])> {
        // Most sends in a row are of one lane, which is found once for all of them.
        let mut last = None;
        self.output.plan.iter().map(move |planned| {
            let What::Lane { lane, from, to, .. } = planned.what else {
                return (planned.slot, self.planned_bytes(planned));
            };
            let lane = match last {
                Some((index, last)) if index == lane => last,
                _ => last.insert((lane, self.planned_lane(lane))).1,
            };
            (
                planned.slot,
                lane.map_or(&[][..], |lane| lane.between(from, to)),
            )
        })
    }

    fn planned_lane(&self, index: usize) -> Option<&Lane> {
        let (room, encoding) = self.output.touched[index];
        self.rooms.lane(room, encoding)
    }

    fn planned_bytes(&self, planned: &Planned) -> &[u8] {
        match planned.what {
            What::Piece { start, end } => &self.output.bytes[start..end],
            What::Unsent => self
                .conns
                .get(planned.slot)
                .and_then(|conn| conn.unsent.as_deref())
                .map_or(&[], Vec::as_slice),
            What::Lane { lane, from, to, .. } => self
                .planned_lane(lane)
                .map_or(&[], |lane| lane.between(from, to)),
        }
    }

    /// The batch has been sent; these of its sends fell short.
    pub(crate) fn settle(&mut self, short: &[Short]) {
        for short in short {
            let planned = self.output.plan[short.index as usize];
            match short.taken {
                Ok(taken) => self.settle_short(planned, taken),
                Err(_) => {
                    self.gauges.counters.sends_failed.inc();
                    self.uncount(&planned, 0);
                }
            }
        }
        // Only now: a connection that goes gives up its places in lanes, and places are what the plan knows.
        for short in short.iter().filter(|short| short.taken.is_err()) {
            self.begin_close(self.output.plan[short.index as usize].slot);
        }
        let mut resumed = std::mem::take(&mut self.output.resumed);
        for slot in resumed.drain(..) {
            let Some(conn) = self.conns.get_mut(slot) else {
                continue;
            };
            let Flow::Resuming(source) = conn.flow else {
                continue;
            };
            if source == Source::Direct {
                self.output.unsent_bytes -= conn.unsent.take().map_or(0, |unsent| unsent.len());
            }
            self.flow_cleared(slot);
        }
        self.output.resumed = resumed;
        let mut touched = std::mem::take(&mut self.output.touched);
        for (key, encoding) in touched.drain(..) {
            if let Some(lane) = self.rooms.lane_mut(key, encoding) {
                lane.trim_after_sends();
            }
        }
        self.output.touched = touched;
    }

    /// Takes back what was counted as sent when it was planned, but for the first `taken` bytes.
    fn uncount(&self, planned: &Planned, taken: u32) {
        let counters = &self.gauges.counters;
        let bytes = self.planned_bytes(planned).len() as u64;
        counters.bytes_sent.sub(bytes - u64::from(taken));
        if let What::Lane { lane, from, to, .. } = planned.what {
            let frames = self.planned_lane(lane).map_or(0, |lane| {
                lane.frames_since(from + u64::from(taken)) - lane.frames_since(to)
            });
            counters.deliveries.sub(frames);
        }
    }

    fn settle_short(&mut self, planned: Planned, taken: u32) {
        self.gauges.counters.sends_short.inc();
        self.uncount(&planned, taken);
        let Some(conn) = self.conns.get_mut(planned.slot) else {
            return;
        };
        let source = match planned.what {
            What::Piece { start, end } => {
                let rest = &self.output.bytes[start + taken as usize..end];
                conn.unsent = Some(Box::new(rest.to_vec()));
                self.output.unsent_bytes += rest.len();
                Source::Direct
            }
            What::Unsent => {
                if let Some(unsent) = &mut conn.unsent {
                    unsent.drain(..taken as usize);
                    self.output.unsent_bytes -= taken as usize;
                }
                Source::Direct
            }
            What::Lane {
                lane, place, from, ..
            } => {
                let (room, encoding) = self.output.touched[lane];
                let forgets = self.is_sabotaged(Sabotage::ForgetShortSends);
                let lane = self.rooms.lane_mut(room, encoding);
                if let Some(lane) = lane.filter(|_| !forgets) {
                    lane.fell_short(place, from + u64::from(taken));
                }
                Source::Lane(room)
            }
        };
        let Some(conn) = self.conns.get_mut(planned.slot) else {
            return;
        };
        conn.flow = Flow::Stalled(source);
        conn.in_ring.poll = true;
        self.gauges.counters.stalled.add(1);
        self.ops.push(Op::PollWritable(planned.slot));
    }

    /// The socket takes output again, or has failed, which the next send will tell.
    pub(crate) fn writable(&mut self, slot: u32) {
        let Some(conn) = self.conns.get_mut(slot) else {
            return;
        };
        let Flow::Stalled(source) = conn.flow else {
            return;
        };
        conn.flow = Flow::Resuming(source);
        self.gauges.counters.stalled.sub(1);
        match source {
            Source::Direct => self.output.resuming.push(slot),
            Source::Lane(room) => self.return_to_lane(slot, room),
        }
    }

    /// The connection takes output: what it has not got of this room is to be sent out of turn.
    fn return_to_lane(&mut self, slot: u32, room: Key<Room>) {
        let encoding = self.conns.get(slot).and_then(|conn| {
            match conn.membership(room) {
                Some(membership) => conn.encoding_in(membership),
                // The room of everyone.
                None => conn.encoding(),
            }
        });
        let Some(encoding) = encoding else {
            return;
        };
        let forgets = self.is_sabotaged(Sabotage::ForgetReturning);
        let Some(lane) = self.rooms.lane_mut(room, encoding) else {
            return;
        };
        if forgets {
            return;
        }
        lane.returning.push(slot);
        self.mark_dirty(room, encoding);
    }

    /// The same for all its rooms where it is behind.
    pub(crate) fn return_to_lanes(&mut self, slot: u32) {
        let Some(conn) = self.conns.get(slot) else {
            return;
        };
        let count = conn.rooms.len();
        for at in 0..=count {
            let Some(conn) = self.conns.get(slot) else {
                return;
            };
            let (room, place, encoding) = match conn.rooms.get(at) {
                Some(it) => (it.room, it.place(), conn.encoding_in(it)),
                None => (self.everyone, conn.everyone, conn.encoding()),
            };
            let Some(encoding) = encoding else {
                return;
            };
            let lane = self.rooms.lane(room, encoding);
            if place != NOWHERE && lane.is_some_and(|lane| lane.cursor(place) < lane.head()) {
                self.return_to_lane(slot, room);
            }
        }
    }
}
