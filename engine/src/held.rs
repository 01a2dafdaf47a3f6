//! Output that waits for a request: that of long polling, and of whoever waits for its backend.

use crate::conn::{Flow, NOWHERE, Source};
use crate::core::Core;
use crate::lane::Lane;
use crate::session;

impl Core {
    /// Holds back what a connection is sent from now on. Returns how many bytes of what was written before have not left
    /// either.
    pub(crate) fn hold(&mut self, slot: u32) -> usize {
        let Some(conn) = self.conns.get_mut(slot) else {
            return 0;
        };
        let unsent = conn.unsent.get_or_insert_default();
        let before = unsent.len();
        self.output.take_pieces(slot, unsent);
        self.output.unsent_bytes += unsent.len() - before;
        let place = unsent.len();
        if let Flow::Stalled(_) = conn.flow {
            self.gauges.counters.stalled.sub(1);
        }
        conn.flow = Flow::Held;
        place
    }

    /// Lets those be heard that requests have come for.
    pub(crate) fn answer_polls(&mut self) {
        let mut held = std::mem::take(&mut self.output.held);
        held.sort_unstable();
        held.dedup();
        for slot in held.drain(..) {
            session::poll::flush(self, slot);
        }
        held.append(&mut self.output.held);
        self.output.held = held;
    }

    /// Takes what is held of a connection's output: its own, and that of its lanes up to about so many bytes.
    pub(crate) fn take_held(&mut self, slot: u32, bytes_max: usize) -> Vec<u8> {
        let Some(conn) = self.conns.get_mut(slot) else {
            return Vec::new();
        };
        let mut taken = conn.unsent.take().map_or_else(Vec::new, |unsent| *unsent);
        self.output.unsent_bytes -= taken.len();
        for at in 0..=conn.rooms.len() {
            let Some((lane, place)) = self.held_lane(slot, at) else {
                continue;
            };
            if taken.len() >= bytes_max {
                break;
            }
            let (from, head) = (lane.cursor(place), lane.head());
            let most = from + (bytes_max - taken.len()) as u64;
            let to = if head <= most {
                head
            } else {
                lane.boundary(most).at
            };
            let frames = take_from(lane, place, to, &mut taken);
            self.gauges.counters.deliveries.add(frames);
        }
        taken
    }

    /// Takes one line of what is held of a connection whose messages are lines: of its own output, or else of its lanes,
    /// which take turns.
    pub(crate) fn take_held_line(&mut self, slot: u32) -> Vec<u8> {
        let Some(conn) = self.conns.get_mut(slot) else {
            return Vec::new();
        };
        if let Some(unsent) = conn.unsent.as_mut().filter(|unsent| !unsent.is_empty()) {
            let end = unsent.iter().position(|&byte| byte == b'\n');
            let line: Vec<u8> = unsent
                .drain(..end.map_or(unsent.len(), |end| end + 1))
                .collect();
            if unsent.is_empty() {
                conn.unsent = None;
            }
            self.output.unsent_bytes -= line.len();
            return line;
        }
        // What is for everyone is rare.
        let rooms = conn.rooms.len();
        let mut line = Vec::new();
        for at in std::iter::once(rooms).chain(0..rooms) {
            let Some((lane, place)) = self.held_lane(slot, at) else {
                continue;
            };
            let from = lane.cursor(place);
            if from == lane.head() {
                continue;
            }
            let to = lane.boundary(from + 1).at;
            let frames = take_from(lane, place, to, &mut line);
            self.gauges.counters.deliveries.add(frames);
            // The room that was heard of goes to the end.
            if at < rooms
                && let Some(conn) = self.conns.get_mut(slot)
            {
                conn.rooms[at..].rotate_left(1);
            }
            break;
        }
        line
    }

    /// The lane of the connection's room with this number, or after those that of everyone, and its place in it.
    fn held_lane(&mut self, slot: u32, at: usize) -> Option<(&mut Lane, u32)> {
        let conn = self.conns.get(slot)?;
        let (room, place, encoding) = match conn.rooms.get(at) {
            Some(it) => (it.room, it.place(), conn.encoding_in(it)),
            None => (self.everyone, conn.everyone, conn.encoding()),
        };
        let lane = self.rooms.lane_mut(room, encoding?)?;
        (place != NOWHERE).then_some((lane, place))
    }

    /// Puts back what was taken of a connection's output, before what has been written since.
    pub(crate) fn put_back(&mut self, slot: u32, bytes: &[u8]) {
        if let Some(conn) = self.conns.get_mut(slot) {
            let unsent = conn.unsent.get_or_insert_default();
            unsent.splice(..0, bytes.iter().copied());
            self.output.unsent_bytes += bytes.len();
        }
    }

    /// Lets go of a connection's output that was held, with these bytes at that place of it.
    pub(crate) fn release(&mut self, slot: u32, place: usize, bytes: &[u8]) {
        let has_socket = self.conns.has_socket(slot);
        let Some(conn) = self.conns.get_mut(slot) else {
            return;
        };
        debug_assert_eq!(conn.flow, Flow::Held);
        let unsent = conn.unsent.get_or_insert_default();
        // Closing words may have gone, and all before them.
        let place = place.min(unsent.len());
        unsent.splice(place..place, bytes.iter().copied());
        self.output.unsent_bytes += bytes.len();
        if !has_socket {
            // It is held anyway, for the next request.
            return self.output.held.push(slot);
        }
        conn.flow = Flow::Resuming(Source::Direct);
        self.output.resuming.push(slot);
    }
}

/// Takes what lies between a member's cursor and a position. Returns how many frames that is.
fn take_from(lane: &mut Lane, place: u32, to: u64, taken: &mut Vec<u8>) -> u64 {
    let from = lane.cursor(place);
    let frames = lane.frames_since(from) - lane.frames_since(to);
    taken.extend_from_slice(lane.between(from, to));
    lane.set_cursor(place, to);
    lane.trim_after_sends();
    frames
}
