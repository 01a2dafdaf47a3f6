//! A sweep: who of a lane's members gets how much in a batch.

use crate::conn::{Flow, NOWHERE, Source};
use crate::encoding::Encoding;
use crate::lane::{Lane, Sweep};
use crate::output::{Output, Planned, What};
use crate::room::Room;
use crate::slab::Key;

/// Whether something was put into the batch.
pub(crate) enum Fit {
    Yes,
    /// There is nothing to send.
    Nothing,
    /// The batch is full, or has a send for this socket already.
    No,
}

/// How far a lane got in planning.
pub(crate) enum Progress {
    /// Everyone it could send to is in the batch.
    Done,
    /// The batch is full.
    More,
    /// The batch has a send for one of its members already.
    Conflict,
}

/// Goes through a lane's members.
pub(crate) struct Planner<'a> {
    pub(crate) conns: &'a mut crate::conn::Conns,
    pub(crate) output: &'a mut Output,
    pub(crate) counters: &'a crate::counters::Counters,
    pub(crate) everyone: Key<Room>,
    pub(crate) key: Key<Room>,
    pub(crate) encoding: Encoding,
    /// Which of the lanes of the batch it is.
    pub(crate) lane_index: usize,
    /// The frames that a cursor lacks, remembered: most members have the same one.
    pub(crate) frames: (u64, u64),
}

impl Planner<'_> {
    pub(crate) fn lane(&mut self, lane: &mut Lane) -> Progress {
        while let Some(&slot) = lane.returning.last() {
            if let Some(place) = self.place_of(slot)
                && let Fit::No = self.member(lane, place)
            {
                return self.stopped();
            }
            lane.returning.pop();
        }
        if lane.sweep.is_none() && !lane.begin_sweep() {
            return Progress::Done;
        }
        while let Some(Sweep { next, .. }) = lane.sweep {
            if next >= lane.len() {
                // What was appended meanwhile is for another pass, after the other lanes have had their turn.
                lane.end_sweep();
                if lane.is_swept() && lane.returning.is_empty() {
                    return Progress::Done;
                }
                return Progress::More;
            }
            if let Fit::No = self.member(lane, next) {
                return self.stopped();
            }
            lane.sweep_on();
        }
        Progress::More
    }

    fn stopped(&self) -> Progress {
        if self.output.is_batch_full() {
            Progress::More
        } else {
            Progress::Conflict
        }
    }

    fn member(&mut self, lane: &mut Lane, place: u32) -> Fit {
        let from = lane.cursor(place);
        let head = lane.head();
        if from == head {
            return Fit::Nothing;
        }
        let slot = lane.slot(place);
        let Some(conn) = self.conns.get_mut(slot) else {
            return Fit::Nothing;
        };
        let is_resuming = conn.flow == Flow::Resuming(Source::Lane(self.key));
        debug_assert!(conn.is_open(), "who is told to go leaves its lanes first");
        if !conn.is_open() || conn.flow != Flow::Clear && !is_resuming {
            lane.has_laggards = true;
            if conn.flow == Flow::Held {
                self.output.held.push(slot);
            }
            return Fit::Nothing;
        }
        if conn.batch == self.output.batch || self.output.is_batch_full() {
            return Fit::No;
        }
        conn.batch = self.output.batch;
        if is_resuming {
            self.output.resumed.push(slot);
        }
        let (to, frames) = if self.encoding.is_sent_singly() {
            let to = lane.boundary(from + 1).at;
            // None, where it is the rest of a frame: that counted when its beginning left.
            (to, lane.frames_since(from) - lane.frames_since(to))
        } else {
            if self.frames.0 != from {
                self.frames = (from, lane.frames_since(from));
            }
            (head, self.frames.1)
        };
        if to < head {
            lane.returning.push(slot);
        }
        lane.set_cursor(place, to);
        let what = What::Lane {
            lane: self.lane_index,
            place,
            from,
            to,
        };
        self.output.plan.push(Planned { slot, what });
        self.counters.sends.inc();
        self.counters.deliveries.add(frames);
        self.counters.bytes_sent.add(to - from);
        Fit::Yes
    }

    fn place_of(&self, slot: u32) -> Option<u32> {
        let conn = self.conns.get(slot)?;
        let place = if self.key == self.everyone {
            conn.everyone
        } else {
            conn.membership(self.key)
                .map_or(NOWHERE, crate::conn::Membership::place)
        };
        (place != NOWHERE).then_some(place)
    }
}
