//! What leaves a lane: members that go, and members that read too slowly.

use fanfare_wire::centrifuge::codes::DisconnectCode;

use crate::config::SlowPolicy;
use crate::conn::{Conn, Flow, Membership, MembershipState, NOWHERE, Phase, Source};
use crate::core::Core;
use crate::encoding::Encoding;
use crate::room::Room;
use crate::sabotage::Sabotage;
use crate::session;
use crate::slab::Key;

impl Core {
    /// Makes room for a frame in a full lane, everyone who takes output having been sent everything: members that
    /// keep more than half the cap, or what the frame needs, are dealt with as the room's policy says.
    pub(crate) fn evict(&mut self, key: Key<Room>, encoding: Encoding, frame_bytes: usize) {
        let Some(room) = self.rooms.slab.get_mut(key) else {
            return;
        };
        let policy = room.options.slow_policy;
        let bytes_max = u64::from(room.options.lane_bytes_max);
        let keep_bytes = (bytes_max / 2).min(bytes_max.saturating_sub(frame_bytes as u64));
        let Some(lane) = room.lane_mut(encoding) else {
            return;
        };
        let tail = lane.head().saturating_sub(keep_bytes);
        let slow: Vec<u32> = lane
            .members()
            .filter(|&(_, cursor)| lane.kept_for(cursor) < tail)
            .map(|(slot, _)| slot)
            .collect();
        for slot in slow {
            if policy == SlowPolicy::Disconnect || key == self.everyone {
                self.slow(slot);
            } else {
                self.skip(key, encoding, slot);
            }
        }
        if let Some(lane) = self.rooms.lane_mut(key, encoding) {
            lane.trim_to_slowest();
        }
    }

    /// Disconnects a client that reads too slowly.
    pub(crate) fn slow(&mut self, slot: u32) {
        // Also who has not said who it is: requests and pings are answered to anyone.
        let is_there = |conn: &Conn| matches!(conn.phase, Phase::Handshake | Phase::Open);
        if self.conns.get(slot).is_some_and(is_there) {
            self.gauges.counters.slow_disconnected.inc();
            self.disconnect(slot, DisconnectCode::SLOW);
        }
    }

    /// Moves a member to the tail and tells it what it lost.
    fn skip(&mut self, key: Key<Room>, encoding: Encoding, slot: u32) {
        let Some(place) = self
            .conns
            .get(slot)
            .and_then(|conn| conn.membership(key))
            .map(Membership::place)
        else {
            return;
        };
        if place == NOWHERE {
            return;
        }
        self.finish_frame(key, encoding, slot, place);
        let is_silent = self.is_sabotaged(Sabotage::SkipSilently);
        let Some(lane) = self.rooms.lane_mut(key, encoding) else {
            return;
        };
        let from = lane.boundary(lane.cursor(place)).top_before + 1;
        let to = lane.top();
        lane.set_cursor(place, lane.head());
        self.gauges.counters.slow_skipped.inc();
        if !is_silent {
            session::gap(self, slot, key, from, to);
        }
    }

    /// Gives up a place in a lane. What the socket took of a frame in part becomes direct output, so that the
    /// stream stays one of whole frames.
    pub(crate) fn leave_lane(&mut self, key: Key<Room>, encoding: Encoding, slot: u32, place: u32) {
        if place == NOWHERE {
            return;
        }
        self.finish_frame(key, encoding, slot, place);
        let Some(room) = self.rooms.slab.get_mut(key) else {
            return;
        };
        let Some(lane) = room.lane_mut(encoding) else {
            return;
        };
        let moved = lane.leave(place);
        lane.trim_after_sends();
        if !lane.returning.is_empty() && !lane.is_queued {
            self.mark_dirty(key, encoding);
        }
        if let Some(moved) = moved
            && let Some(conn) = self.conns.get_mut(moved)
        {
            if key == self.everyone {
                conn.everyone = place;
            } else if let Some(membership) = conn.membership_mut(key) {
                membership.state = MembershipState::Member { place };
            }
        }
        if let Some(room) = self.rooms.slab.get_mut(key) {
            room.drop_unused(encoding);
        }
    }

    /// Moves the rest of a frame that was sent in part from the lane to the connection's own output.
    fn finish_frame(&mut self, key: Key<Room>, encoding: Encoding, slot: u32, place: u32) {
        let Some(lane) = self.rooms.lane(key, encoding) else {
            return;
        };
        let Some(conn) = self.conns.get_mut(slot) else {
            return;
        };
        let (Flow::Stalled(source) | Flow::Resuming(source)) = conn.flow else {
            return;
        };
        if source != Source::Lane(key) {
            return;
        }
        let cursor = lane.cursor(place);
        let rest = lane.between(cursor, lane.boundary(cursor).at);
        let unsent = conn.unsent.get_or_insert_default();
        unsent.splice(..0, rest.iter().copied());
        self.output.unsent_bytes += rest.len();
        if let Flow::Stalled(_) = conn.flow {
            conn.flow = Flow::Stalled(Source::Direct);
        } else {
            conn.flow = Flow::Resuming(Source::Direct);
            self.output.resuming.push(slot);
        }
    }
}
