//! What a shard does for its members: takes frames, answers and commands from homes.

use bytes::Bytes;
use fanfare_wire::centrifuge::codes::UnsubscribeCode;

use crate::api::{ClientId, Message};
use crate::conn::{Conn, MembershipState, NOWHERE};
use crate::core::Core;
use crate::encoding::{Codec, Encoding, write_message};
use crate::ids::ConnRef;
use crate::membership::Subscribe;
use crate::message::{Answer, Command, Delivery, Frame, NotJoined, listing_weight};
use crate::operations::operation_room;
use crate::room::Room;
use crate::sabotage::Sabotage;
use crate::session;
use crate::slab::Key;

/// Bytes that the members of a lane of differences are sent whole that have joined since the last publication. With
/// more, everyone is.
const FRESH_BYTES_MAX: usize = 1 << 20;

impl Core {
    /// Handles one delivery. Frames whose lanes are full come back: what a lane holds is to be sent first,
    /// and then the frame is given to [`append_at_any_cost`](Self::append_at_any_cost).
    #[must_use]
    pub(crate) fn handle_delivery(&mut self, delivery: Delivery) -> Vec<Frame> {
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
            Delivery::Polled { conn, polled } => session::poll::polled(self, conn, polled),
            Delivery::Online {
                conn,
                version,
                seq,
                members,
            } => {
                if let Some(slot) = self.conns.slot_of(conn) {
                    session::goim::online(self, slot, version, seq, members);
                }
            }
            Delivery::Command { conn, command } => {
                if let Some(slot) = self.conns.slot_of(conn) {
                    self.command(slot, command);
                }
            }
        }
        Vec::new()
    }

    /// Appends a frame to its lane, and to those of members with filters that let it pass. Gives it back for lanes that
    /// are full.
    fn append(&mut self, frame: Frame) -> Vec<Frame> {
        let mut full = Vec::new();
        if self.is_sabotaged(Sabotage::DropDeliveries) && frame.top % 7 == 3 {
            return full;
        }
        // Without a lane nobody here reads this any more.
        let Some(room) = self.rooms.slab.get_mut(frame.room) else {
            return full;
        };
        // Most frames: nobody picks from them, and there are no differences in them.
        if !room.has_filters() && !frame.encoding.is_delta {
            let Some(lane) = room.lane_mut(frame.encoding) else {
                return full;
            };
            if lane.makes_room(frame.bytes.len()) {
                lane.append(&frame.bytes, frame.top);
                self.gauges.counters.frames_appended.inc();
                self.output.queue(lane, frame.room, frame.encoding);
            } else {
                full.push(frame);
            }
            return full;
        }
        for encoding in room.lanes_of(frame.encoding) {
            if !self.passes(&frame, encoding) {
                continue;
            }
            let Some(lane) = self.rooms.lane_mut(frame.room, encoding) else {
                continue;
            };
            if lane.makes_room(frame.bytes_max()) {
                self.append_to(&frame, encoding);
            } else {
                full.push(frame.of(encoding));
            }
        }
        full
    }

    /// Whether the filter of a lane lets a frame pass.
    fn passes(&mut self, frame: &Frame, encoding: Encoding) -> bool {
        if encoding.filter == 0 {
            return true;
        }
        let Some(room) = self.rooms.slab.get_mut(frame.room) else {
            return false;
        };
        // Who comes and goes is for all.
        let Some(extra) = &frame.extra else {
            return true;
        };
        let tags = &extra.tags;
        let passes = room
            .filter_at(encoding.filter)
            .is_some_and(|filter| filter.matches(tags));
        if !passes && let Some(lane) = room.lane_mut(encoding) {
            lane.pass_over(frame.top);
        }
        passes
    }

    /// Appends a frame to a lane that was full, everyone who takes output having been sent what it held: whoever is
    /// too far behind is dealt with as the room's policy says.
    pub(crate) fn append_at_any_cost(&mut self, frame: &Frame) {
        self.evict(frame.room, frame.encoding, frame.bytes_max());
        self.append_to(frame, frame.encoding);
    }

    fn append_to(&mut self, frame: &Frame, encoding: Encoding) {
        let Some(lane) = self.rooms.lane_mut(frame.room, encoding) else {
            return;
        };
        let fresh = lane.take_fresh();
        let whole = frame.extra.as_ref().and_then(|extra| extra.whole.as_ref());
        // A difference is of use to who has heard what it is from. When that is too few, all hear the whole.
        let whole_for_all =
            whole.filter(|whole| whole.len().saturating_mul(fresh.len()) > FRESH_BYTES_MAX);
        lane.append(whole_for_all.unwrap_or(&frame.bytes), frame.top);
        let head = lane.head();
        if let Some(whole) = whole
            && whole_for_all.is_none()
        {
            for slot in fresh {
                self.tell_whole(slot, frame.room, encoding, head, whole);
            }
        }
        self.gauges.counters.frames_appended.inc();
        self.mark_dirty(frame.room, encoding);
    }

    /// Sends a fresh member the whole in place of the difference.
    fn tell_whole(
        &mut self,
        slot: u32,
        room: Key<Room>,
        encoding: Encoding,
        head: u64,
        whole: &[u8],
    ) {
        let place = self
            .conns
            .get(slot)
            .and_then(|conn| {
                let membership = conn.membership(room)?;
                (conn.encoding_in(membership) == Some(encoding)).then(|| membership.place())
            })
            .filter(|&place| place != NOWHERE);
        if let Some(place) = place
            && let Some(lane) = self.rooms.lane_mut(room, encoding)
        {
            lane.set_cursor(place, head);
            self.gauges.counters.deliveries.inc();
            self.write(slot, |out| out.extend_from_slice(whole));
        }
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
            let mut filter = 0;
            conn.rooms.retain(|it| {
                let stays = it.room != refused.local || it.state != state;
                if !stays {
                    filter = it.filter;
                }
                stays
            });
            conn.forget_room(refused.local);
            if let Some(room) = self.rooms.slab.get_mut(refused.local) {
                room.drop_filter(filter);
            }
            session::not_joined(self, slot, refused.request, refused.join, refused.error);
        }
        self.rooms.remove_unused(refused.local);
    }

    fn command(&mut self, slot: u32, command: Command) {
        if !self.conns.get(slot).is_some_and(Conn::is_open) {
            return;
        }
        match command {
            Command::Subscribe { room } => {
                if self.subscribe(slot, Subscribe::by_server(&room)).is_err() {
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
            Command::Push { message } => session::push(self, slot, &message),
        }
    }

    /// Does something with one connection of this shard. Returns how many there were: 0 or 1.
    pub(crate) fn command_client(&mut self, client: ClientId, command: Command) -> u32 {
        let Some(slot) = self.conns.slot_of(client.conn()) else {
            return 0;
        };
        let is_it = |conn: &Conn| conn.identity.is_some() && self.conns.client_id(slot) == client;
        if !self.conns.get(slot).is_some_and(is_it) {
            return 0;
        }
        self.command(slot, command);
        1
    }

    /// Sends a message to everyone who is authenticated here: one frame per encoding in the lanes of the room of
    /// everyone. Returns how many there are.
    pub(crate) fn push_all(&mut self, message: &Message) -> u32 {
        // goim's clients name the operations that they want to see.
        let watchers = message
            .operation
            .map(|operation| self.rooms.find(&operation_room(operation)));
        let mut lanes: Vec<(Key<Room>, Encoding, u32)> = Vec::new();
        for room in [Some(self.everyone), watchers.flatten()]
            .into_iter()
            .flatten()
        {
            let members = self
                .rooms
                .slab
                .get(room)
                .into_iter()
                .flat_map(Room::members);
            let is_meant = |encoding: Encoding| {
                encoding.codec != Codec::Goim || watchers.is_none() || room != self.everyone
            };
            lanes.extend(
                members
                    .filter(|(encoding, _)| is_meant(*encoding))
                    .map(|(encoding, members)| (room, encoding, members)),
            );
        }
        let default = self.shared.config.goim.default_operation;
        let mut reached = 0;
        for (room, encoding, members) in lanes {
            reached += members;
            let mut bytes = Vec::new();
            encoding.frame_for_many(&mut bytes, &mut self.scratch.deflater, |out| {
                write_message(out, encoding.codec, message, default)
            });
            let frame = Frame {
                room,
                encoding,
                top: 0,
                bytes: Bytes::from(bytes),
                extra: None,
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
