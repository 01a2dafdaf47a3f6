//! Output that waits for a request: that of long polling, and of whoever waits for its backend.

use crate::conn::{Flow, NOWHERE, Source};
use crate::core::Core;
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
        let count = conn.rooms.len();
        for at in 0..=count {
            let Some(conn) = self.conns.get(slot) else {
                break;
            };
            let (room, place, encoding) = match conn.rooms.get(at) {
                Some(it) => (it.room, it.place(), conn.encoding_in(it)),
                None => (self.everyone, conn.everyone, conn.encoding()),
            };
            let Some(lane) = encoding.and_then(|encoding| self.rooms.lane_mut(room, encoding))
            else {
                continue;
            };
            if place == NOWHERE || taken.len() >= bytes_max {
                continue;
            }
            let (from, head) = (lane.cursor(place), lane.head());
            let most = from + (bytes_max - taken.len()) as u64;
            let to = if head <= most {
                head
            } else {
                lane.boundary(most).at
            };
            let frames = lane.frames_since(from) - lane.frames_since(to);
            taken.extend_from_slice(lane.between(from, to));
            lane.set_cursor(place, to);
            lane.trim_after_sends();
            self.gauges.counters.deliveries.add(frames);
        }
        taken
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
        let Some(conn) = self.conns.get_mut(slot) else {
            return;
        };
        debug_assert_eq!(conn.flow, Flow::Held);
        let unsent = conn.unsent.get_or_insert_default();
        unsent.splice(place..place, bytes.iter().copied());
        conn.flow = Flow::Resuming(Source::Direct);
        self.output.unsent_bytes += bytes.len();
        self.output.resuming.push(slot);
    }
}
