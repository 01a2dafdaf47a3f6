//! What a shard does for its members: takes frames, answers and commands from homes.

use bytes::Bytes;
use fanfare_wire::centrifuge::codes::UnsubscribeCode;

use crate::api::{ClientId, Payload};
use crate::conn::{Conn, MembershipState};
use crate::core::Core;
use crate::encoding::Encoding;
use crate::ids::ConnRef;
use crate::membership::Subscribe;
use crate::message::{Answer, Command, Delivery, Frame, NotJoined, listing_weight};
use crate::sabotage::Sabotage;
use crate::session;

impl Core {
    /// Handles one delivery. A frame whose lane is full comes back: what the lane holds is to be sent first,
    /// and then the frame is given to [`append_at_any_cost`](Self::append_at_any_cost).
    #[must_use]
    pub(crate) fn handle_delivery(&mut self, delivery: Delivery) -> Option<Frame> {
        match delivery {
            Delivery::Frame(frame) => return self.append(frame),
            Delivery::Joined(joined) => self.joined(*joined),
            Delivery::NotJoined(refused) => self.not_joined(&refused),
            Delivery::Answer {
                conn,
                request,
                answer,
            } => {
                if let Some(slot) = self.conns.slot_of(conn)
                    && let Some(conn) = self.conns.get_mut(slot)
                {
                    // Publications are not counted: full inboxes hold them back.
                    if !matches!(answer, Answer::Published(_)) {
                        let limit = self.shared.config.limits.requests_in_flight_max;
                        conn.requests = conn.requests.saturating_sub(listing_weight(limit));
                    }
                    session::answer(self, slot, request, answer);
                }
            }
            Delivery::Command { conn, command } => {
                if let Some(slot) = self.conns.slot_of(conn) {
                    self.command(slot, command);
                }
            }
        }
        None
    }

    /// Appends a frame to its lane, or gives it back because the lane is full.
    fn append(&mut self, frame: Frame) -> Option<Frame> {
        if self.is_sabotaged(Sabotage::DropDeliveries) && frame.top % 7 == 3 {
            return None;
        }
        let lane = self.rooms.lane_mut(frame.room, frame.encoding);
        // Without a lane nobody here reads this any more.
        let lane = lane?;
        if !lane.has_room(frame.bytes.len()) {
            lane.trim_to_slowest();
            if !lane.has_room(frame.bytes.len()) {
                return Some(frame);
            }
        }
        lane.append(&frame.bytes, frame.top);
        self.gauges.counters.frames_appended.inc();
        self.mark_dirty(frame.room, frame.encoding);
        None
    }

    /// Appends a frame to a lane that was full, everyone who takes output having been sent what it held: whoever is
    /// too far behind is dealt with as the room's policy says.
    pub(crate) fn append_at_any_cost(&mut self, frame: Frame) {
        self.evict(frame.room, frame.encoding, frame.bytes.len());
        let Some(lane) = self.rooms.lane_mut(frame.room, frame.encoding) else {
            return;
        };
        lane.append(&frame.bytes, frame.top);
        self.gauges.counters.frames_appended.inc();
        self.mark_dirty(frame.room, frame.encoding);
    }

    fn not_joined(&mut self, refused: &NotJoined) {
        if let Some(room) = self.rooms.slab.get_mut(refused.local) {
            room.joins_pending -= 1;
        }
        if let Some(slot) = self.conns.slot_of(refused.conn)
            && let Some(conn) = self.conns.get_mut(slot)
        {
            conn.requests = conn.requests.saturating_sub(1);
            // It may have left in between, and be joining anew.
            let state = MembershipState::Joining { join: refused.join };
            conn.rooms
                .retain(|it| it.room != refused.local || it.state != state);
            session::failed(self, slot, refused.request, refused.error);
        }
        self.rooms.remove_unused(refused.local);
    }

    fn command(&mut self, slot: u32, command: Command) {
        if !self.conns.get(slot).is_some_and(Conn::is_open) {
            return;
        }
        match command {
            Command::Subscribe { room } => {
                let subscribe = Subscribe {
                    request: 0,
                    room: &room,
                    token: "",
                    recover: None,
                    rejects_unrecovered: false,
                };
                if self.subscribe(slot, subscribe).is_err() {
                    // A member already, or in as many rooms as it may be: counted, as the caller is not waiting.
                    self.gauges.counters.client_errors.inc();
                }
            }
            Command::Unsubscribe { room } => {
                if let Some(key) = self.rooms.find(&room)
                    && self
                        .conns
                        .get(slot)
                        .is_some_and(|conn| conn.membership(key).is_some())
                {
                    self.unsubscribe_with(slot, key, UnsubscribeCode::SERVER);
                }
            }
            Command::Disconnect { code, reason } => {
                session::disconnect(self, slot, code, &reason);
                self.finish(slot);
            }
            Command::Push { payload } => session::push(self, slot, &payload),
        }
    }

    /// Does something with one connection of this shard. Returns how many there were: 0 or 1.
    pub(crate) fn command_client(&mut self, client: ClientId, command: Command) -> u32 {
        let Some(slot) = self.conns.slot_of(client.conn()) else {
            return 0;
        };
        let is_it = |conn: &Conn| {
            conn.identity
                .as_ref()
                .is_some_and(|identity| identity.nonce == client.nonce())
        };
        if !self.conns.get(slot).is_some_and(is_it) {
            return 0;
        }
        self.command(slot, command);
        1
    }

    /// Sends a message to everyone who is authenticated here: one frame per encoding in the lanes of the room of
    /// everyone. Returns how many there are.
    pub(crate) fn push_all(&mut self, payload: &Payload) -> u32 {
        let mut reached = 0;
        for encoding in Encoding::ALL {
            let members = self
                .rooms
                .lane(self.everyone, encoding)
                .map_or(0, |lane| lane.len());
            if members == 0 {
                continue;
            }
            reached += members;
            let mut bytes = Vec::new();
            session::write_message(&mut bytes, encoding, payload);
            let frame = Frame {
                room: self.everyone,
                encoding,
                top: 0,
                bytes: Bytes::from(bytes),
            };
            self.local.push_back(Delivery::Frame(frame));
        }
        reached
    }

    /// The connection's name, for requests of it.
    pub(crate) fn conn_ref(&self, slot: u32) -> ConnRef {
        self.conns.name(slot)
    }
}
