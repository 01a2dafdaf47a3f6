//! A lane: one room, one encoding, one shard. A log of encoded frames, and members that are cursors into it.
//!
//! Publishing appends a frame once, however many members there are. What a member has still to be sent is
//! always one contiguous slice, from its cursor to the head, so ten messages behind costs one send.
//!
//! Cursors and marks are positions in bytes since the lane was made; they never wrap (2^64 bytes).

use std::collections::VecDeque;

/// A log's allocation is given back when the lane runs empty and has grown beyond this. Below it, a room that
/// is published to now and then does not allocate each time.
const KEPT_BYTES: usize = 4096;

/// Members that may be noted as fresh more often than there are.
const FRESH_SLACK: usize = 64;

/// Where a frame begins, and what came before it.
#[derive(Debug, Clone, Copy)]
struct Mark {
    start: u64,
    /// Offset of the last publication before this frame.
    top_before: u64,
}

/// Where a cursor stands among the frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Boundary {
    /// The first start of a frame at or after the cursor.
    pub(crate) at: u64,
    /// Offset of the last publication before it.
    pub(crate) top_before: u64,
}

/// A log of encoded frames and the members that read it.
#[derive(Debug)]
pub(crate) struct Lane {
    log: Vec<u8>,
    /// Position of `log[dead]`; what lies before is trimmed but not yet moved away.
    base: u64,
    dead: usize,
    marks: VecDeque<Mark>,
    /// Offset of the last publication in the log or before it.
    top: u64,
    bytes_max: usize,
    slots: Vec<u32>,
    cursors: Vec<u64>,
    /// The next member that the sweep under way visits; `None` between sweeps.
    pub(crate) sweep: Option<Sweep>,
    /// Slots of members to visit out of turn: they come back from a stall.
    pub(crate) returning: Vec<u32>,
    /// It stands in the shard's queue of dirty lanes.
    pub(crate) is_queued: bool,
    /// Members that have joined since the last frame, and heard nothing that a difference could be from.
    fresh: Vec<u32>,
    /// Somebody did not get everything in the pass under way or the last one.
    pub(crate) has_laggards: bool,
    /// Where the head was when the last complete pass began.
    swept_to: u64,
    /// Log length at which the next search for the slowest cursor is worth its scan.
    scan_at: usize,
}

/// A pass over the members.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sweep {
    /// The next member to visit.
    pub(crate) next: u32,
    /// Where the head was when the pass began: when it ends, everyone not stalled has at least this.
    pub(crate) goal: u64,
}

impl Lane {
    /// A lane without members for a room whose last publication has offset `top`.
    pub(crate) fn new(top: u64, bytes_max: u32) -> Self {
        Self {
            log: Vec::new(),
            base: 0,
            dead: 0,
            marks: VecDeque::new(),
            top,
            bytes_max: bytes_max as usize,
            slots: Vec::new(),
            cursors: Vec::new(),
            sweep: None,
            returning: Vec::new(),
            fresh: Vec::new(),
            is_queued: false,
            has_laggards: false,
            swept_to: 0,
            scan_at: KEPT_BYTES,
        }
    }

    /// Adds a member that has everything up to now; returns its place.
    pub(crate) fn join(&mut self, slot: u32) -> u32 {
        self.slots.push(slot);
        self.cursors.push(self.head());
        self.len() - 1
    }

    /// The same, in a lane of differences.
    pub(crate) fn join_fresh(&mut self, slot: u32) -> u32 {
        // Who comes and goes while nothing is published is here more than once.
        if self.fresh.len() >= 2 * self.slots.len() + FRESH_SLACK {
            self.fresh.sort_unstable();
            self.fresh.dedup();
        }
        self.fresh.push(slot);
        self.join(slot)
    }

    /// The members that have joined since the last time, each once; some may have left.
    pub(crate) fn take_fresh(&mut self) -> Vec<u32> {
        let mut fresh = std::mem::take(&mut self.fresh);
        fresh.sort_unstable();
        fresh.dedup();
        fresh
    }

    /// A publication that its members are not told.
    pub(crate) const fn pass_over(&mut self, top: u64) {
        self.top = top;
    }

    /// Removes a member. The last one takes its place: returns that one's slot, if there was another.
    pub(crate) fn leave(&mut self, member: u32) -> Option<u32> {
        self.slots.swap_remove(member as usize);
        self.cursors.swap_remove(member as usize);
        let moved = self.slots.get(member as usize).copied()?;
        // The pass has gone by this place, but not yet by the one the member came from.
        if self
            .sweep
            .is_some_and(|sweep| member < sweep.next && sweep.next <= self.len())
        {
            self.returning.push(moved);
        }
        Some(moved)
    }

    /// Whether a frame of this length can be appended within the lane's cap.
    fn has_room(&self, frame_bytes: usize) -> bool {
        self.log_bytes() + frame_bytes <= self.bytes_max || self.log_bytes() == 0
    }

    /// The same, once what everyone has been sent is forgotten.
    pub(crate) fn makes_room(&mut self, frame_bytes: usize) -> bool {
        if !self.has_room(frame_bytes) {
            self.trim_to_slowest();
        }
        self.has_room(frame_bytes)
    }

    /// Appends one encoded frame, after which the last publication is `top`.
    pub(crate) fn append(&mut self, frame: &[u8], top: u64) {
        self.marks.push_back(Mark {
            start: self.head(),
            top_before: self.top,
        });
        self.log.extend_from_slice(frame);
        self.top = top;
    }

    /// Begins a pass over the members, unless the last one left nothing to send.
    pub(crate) fn begin_sweep(&mut self) -> bool {
        if self.is_swept() {
            return false;
        }
        self.sweep = Some(Sweep {
            next: 0,
            goal: self.head(),
        });
        self.has_laggards = false;
        true
    }

    /// The member that the pass stands at has been dealt with.
    pub(crate) const fn sweep_on(&mut self) {
        if let Some(sweep) = &mut self.sweep {
            sweep.next += 1;
        }
    }

    /// The pass has been by all members.
    pub(crate) fn end_sweep(&mut self) {
        if let Some(sweep) = self.sweep.take() {
            self.swept_to = sweep.goal;
        }
    }

    /// Nothing was appended since the last complete pass began.
    pub(crate) fn is_swept(&self) -> bool {
        self.swept_to == self.head()
    }

    /// A send ended here, before the head.
    pub(crate) fn fell_short(&mut self, place: u32, cursor: u64) {
        self.set_cursor(place, cursor);
        self.has_laggards = true;
    }

    /// Forgets the frames that every member has, if that is known or finding out is worth it.
    pub(crate) fn trim_after_sends(&mut self) {
        if self.sweep.is_none() && !self.has_laggards && self.returning.is_empty() {
            // Everyone has at least what there was when the last pass began.
            self.trim_to(self.swept_to);
            return;
        }
        // A lane at rest keeps no more than its slowest member needs; a busy one looks when it has doubled.
        let is_at_rest = self.sweep.is_none() && self.is_swept() && self.returning.is_empty();
        if self.log_bytes() >= self.scan_at || is_at_rest && self.log_bytes() > KEPT_BYTES {
            self.trim_to_slowest();
        }
    }

    /// Forgets the frames that every member has.
    pub(crate) fn trim_to_slowest(&mut self) {
        let slowest = self
            .cursors
            .iter()
            .copied()
            .min()
            .unwrap_or_else(|| self.head());
        self.trim_to(slowest);
        self.scan_at = (self.log_bytes() * 2).max(KEPT_BYTES);
    }

    /// Forgets the frames that end at or before a position.
    fn trim_to(&mut self, position: u64) {
        debug_assert!(position <= self.head());
        if position <= self.base {
            return;
        }
        // A frame is kept whole while a member is inside it.
        while self.marks.get(1).is_some_and(|next| next.start <= position) {
            self.marks.pop_front();
        }
        if position == self.head() {
            self.base = position;
            self.marks.clear();
            self.log.clear();
            self.dead = 0;
            if self.log.capacity() > KEPT_BYTES {
                self.log = Vec::new();
                self.marks = VecDeque::new();
            }
            return;
        }
        let keep_from = self
            .marks
            .front()
            .map_or(position, |mark| mark.start.max(self.base));
        self.dead += usize_of(keep_from - self.base);
        self.base = keep_from;
        // Moving costs what is kept, so it waits until as much was trimmed: amortised, one copy per byte.
        if self.dead >= self.log.len() - self.dead {
            self.log.copy_within(self.dead.., 0);
            self.log.truncate(self.log.len() - self.dead);
            self.dead = 0;
        }
    }

    /// What lies between a cursor and the head.
    pub(crate) fn since(&self, cursor: u64) -> &[u8] {
        &self.log[self.dead + usize_of(cursor - self.base)..]
    }

    /// How many frames begin at or after the cursor.
    pub(crate) fn frames_since(&self, cursor: u64) -> u64 {
        (self.marks.len() - self.marks.partition_point(|mark| mark.start < cursor)) as u64
    }

    /// The bytes from a cursor to a later position.
    pub(crate) fn between(&self, cursor: u64, end: u64) -> &[u8] {
        &self.since(cursor)[..usize_of(end - cursor)]
    }

    /// The first boundary between frames at or after the cursor.
    pub(crate) fn boundary(&self, cursor: u64) -> Boundary {
        let at = self.marks.partition_point(|mark| mark.start < cursor);
        match self.marks.get(at) {
            Some(mark) => Boundary {
                at: mark.start,
                top_before: mark.top_before,
            },
            None => Boundary {
                at: self.head(),
                top_before: self.top,
            },
        }
    }

    /// Where the log has to begin for a member with this cursor: a frame it is inside is kept whole.
    pub(crate) fn kept_for(&self, cursor: u64) -> u64 {
        if cursor == self.head() {
            return cursor;
        }
        let after = self.marks.partition_point(|mark| mark.start <= cursor);
        let frame = after.checked_sub(1).and_then(|at| self.marks.get(at));
        frame.map_or(cursor, |mark| mark.start)
    }

    /// The position behind the last frame.
    pub(crate) fn head(&self) -> u64 {
        self.base + (self.log.len() - self.dead) as u64
    }

    /// Offset of the last publication appended, or that the lane was made with.
    pub(crate) const fn top(&self) -> u64 {
        self.top
    }

    pub(crate) fn len(&self) -> u32 {
        u32::try_from(self.slots.len()).unwrap_or(u32::MAX)
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Bytes that members may still need.
    pub(crate) const fn log_bytes(&self) -> usize {
        self.log.len() - self.dead
    }

    pub(crate) fn slot(&self, member: u32) -> u32 {
        self.slots[member as usize]
    }

    pub(crate) fn cursor(&self, member: u32) -> u64 {
        self.cursors[member as usize]
    }

    pub(crate) fn set_cursor(&mut self, member: u32, cursor: u64) {
        debug_assert!(cursor >= self.base && cursor <= self.head());
        self.cursors[member as usize] = cursor;
    }

    /// Breaks the rule that a member joins at the head, if the log holds a frame to go back to.
    pub(crate) fn rewind_for_sabotage(&mut self, member: u32) {
        if let Some(last) = self.marks.back() {
            self.cursors[member as usize] = last.start;
        }
    }

    /// Members and their cursors, in the order of a pass.
    pub(crate) fn members(&self) -> impl Iterator<Item = (u32, u64)> {
        self.slots.iter().copied().zip(self.cursors.iter().copied())
    }

    /// Holds more than it may: only ever one frame that is larger than the cap by itself.
    #[cfg(feature = "sim")]
    pub(crate) fn is_over_cap(&self) -> bool {
        self.log_bytes() > self.bytes_max && self.marks.len() > 1
    }
}

/// Distances inside a log fit in memory.
fn usize_of(distance: u64) -> usize {
    usize::try_from(distance).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_behind_gets_one_slice() {
        let mut lane = Lane::new(0, 1024);
        let member = lane.join(7);
        lane.append(b"one", 1);
        lane.append(b"two", 2);
        assert_eq!(lane.since(lane.cursor(member)), b"onetwo");
        assert_eq!(
            lane.boundary(1),
            Boundary {
                at: 3,
                top_before: 1
            }
        );
        assert_eq!(
            lane.boundary(3),
            Boundary {
                at: 3,
                top_before: 1
            }
        );
        assert_eq!(
            lane.boundary(4),
            Boundary {
                at: 6,
                top_before: 2
            }
        );
    }

    #[test]
    fn a_frame_is_kept_while_a_member_is_inside() {
        let mut lane = Lane::new(10, 1024);
        let member = lane.join(0);
        lane.append(b"first", 11);
        lane.append(b"second", 12);
        lane.set_cursor(member, 7);
        lane.trim_to_slowest();
        assert_eq!(lane.log_bytes(), 6, "`second` stays, `first` goes");
        assert_eq!(lane.since(7), b"cond");
        assert_eq!(
            lane.boundary(7),
            Boundary {
                at: 11,
                top_before: 12
            }
        );
        lane.set_cursor(member, 11);
        lane.trim_to_slowest();
        assert_eq!((lane.log_bytes(), lane.head()), (0, 11));
    }

    #[test]
    fn leaving_during_a_pass_forgets_nobody() {
        let mut lane = Lane::new(0, 1024);
        for slot in 0..4 {
            lane.join(slot);
        }
        lane.append(b"x", 1);
        lane.sweep = Some(Sweep {
            next: 2,
            goal: lane.head(),
        });
        assert_eq!(lane.leave(0), Some(3), "the last takes the place");
        assert_eq!(lane.returning, [3], "which the pass has gone by");
        lane.sweep = Some(Sweep {
            next: 2,
            goal: lane.head(),
        });
        assert_eq!(lane.leave(2), None);
    }

    /// Against a model that keeps every byte: slices, boundaries and caps agree under any sequence.
    #[test]
    fn agrees_with_a_log_that_keeps_everything() {
        for seed in 0..if cfg!(miri) { 3 } else { 200 } {
            let mut rng = fastrand::Rng::with_seed(seed);
            let mut lane = Lane::new(0, 4096);
            let mut all: Vec<u8> = Vec::new();
            let mut starts: Vec<(u64, u64)> = Vec::new();
            let mut top = 0;
            for slot in 0..5 {
                lane.join(slot);
            }
            for _ in 0..300 {
                let frame: Vec<u8> = (0..rng.usize(1..60)).map(|_| rng.u8(..)).collect();
                if lane.has_room(frame.len()) {
                    starts.push((all.len() as u64, top));
                    top += rng.u64(..2);
                    all.extend_from_slice(&frame);
                    lane.append(&frame, top);
                }
                let member = rng.u32(..5);
                let cursor = rng.u64(lane.cursor(member)..=lane.head());
                lane.set_cursor(member, cursor);
                if rng.u32(..3) == 0 {
                    lane.trim_to_slowest();
                }
                assert_eq!(lane.head(), all.len() as u64, "seed {seed}");
                assert!(lane.log_bytes() <= 4096, "seed {seed}");
                for (_, cursor) in lane.members() {
                    assert_eq!(lane.since(cursor), &all[usize_of(cursor)..], "seed {seed}");
                    let expected = starts.iter().find(|(start, _)| *start >= cursor).copied();
                    let (at, top_before) = expected.unwrap_or((all.len() as u64, top));
                    assert_eq!(
                        lane.boundary(cursor),
                        Boundary { at, top_before },
                        "seed {seed}"
                    );
                }
            }
        }
    }
}
