//! Joining and leaving rooms, and what happens to members that read too slowly.

use std::sync::Arc;

use fanfare_wire::centrifuge::codes::{DisconnectCode, ErrorCode, UnsubscribeCode};

use crate::api::{Position, PresenceEntry, Publisher};
use crate::authority::{Denied, Rights};
use crate::config::{Access, RoomOptions, SlowPolicy};
use crate::conn::{Conn, Flow, Identity, Membership, MembershipState, NOWHERE, Source};
use crate::core::Core;
use crate::deadlines::EXPIRY_GRACE_S;
use crate::encoding::Encoding;
use crate::ids::ConnRef;
use crate::message::{Join, Joined, Request};
use crate::room::Room;
use crate::sabotage::Sabotage;
use crate::session;
use crate::slab::Key;

/// What a client wants to do in a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Right {
    Subscribe,
    Publish,
    Presence,
    History,
}

/// A client's wish to become a member.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Subscribe<'a> {
    /// Its number for the request; 0 when the server does it.
    pub(crate) request: u32,
    pub(crate) room: &'a str,
    /// A subscription token, or nothing.
    pub(crate) token: &'a str,
    pub(crate) recover: Option<Position>,
    /// Rather not a member than one that has missed something.
    pub(crate) rejects_unrecovered: bool,
}

impl Core {
    /// Asks the room's home to make the connection a member. The answer comes as
    /// [`Joined`](crate::message::Joined).
    pub(crate) fn subscribe(
        &mut self,
        slot: u32,
        subscribe: Subscribe<'_>,
    ) -> Result<(), ErrorCode> {
        let (name, options) = self.check_room(subscribe.room)?;
        let limits = &self.shared.config.limits;
        let Some(conn) = self.conns.get(slot) else {
            return Err(ErrorCode::INTERNAL);
        };
        let Some(identity) = &conn.identity else {
            return Err(ErrorCode::UNAUTHORIZED);
        };
        if self
            .rooms
            .find(name)
            .is_some_and(|room| conn.membership(room).is_some())
        {
            return Err(ErrorCode::ALREADY_SUBSCRIBED);
        }
        if conn.rooms.len() >= limits.rooms_per_connection_max as usize {
            return Err(ErrorCode::LIMIT_EXCEEDED);
        }
        if conn.requests >= limits.requests_in_flight_max {
            return Err(ErrorCode::TOO_MANY_REQUESTS);
        }
        let mut expires_at = 0;
        let mut rights = Rights::default();
        let mut channel_info = None;
        if !subscribe.token.is_empty() {
            let grant = self
                .shared
                .authority
                .subscribe(subscribe.token, &identity.user, name, self.now.unix)
                .map_err(|denied| match denied {
                    Denied::Expired => ErrorCode::TOKEN_EXPIRED,
                    Denied::Invalid | Denied::NotPermitted => ErrorCode::PERMISSION_DENIED,
                })?;
            expires_at = grant
                .expires_at
                .map_or(0, |at| u32::try_from(at).unwrap_or(u32::MAX));
            rights = grant.rights;
            channel_info = grant.info;
        } else if subscribe.request != 0
            && !permits(identity, None, name, &options, Right::Subscribe)
        {
            return Err(ErrorCode::PERMISSION_DENIED);
        }
        let encoding = identity.encoding;
        let conn_ref = self.conns.name(slot);
        let presence = (options.presence || options.join_leave).then(|| PresenceEntry {
            client: conn_ref.client_id(identity.nonce),
            user: identity.user.clone(),
            connection_info: identity.info(),
            channel_info,
        });

        let key = self.local_room(name, options)?;
        let Some(room) = self.rooms.slab.get_mut(key) else {
            return Err(ErrorCode::INTERNAL);
        };
        room.joins_pending += 1;
        let (name, home) = (Arc::clone(&room.name), room.home_shard);
        let request = subscribe.request;
        self.joins = self.joins.wrapping_add(1);
        let recover = subscribe.recover.filter(|_| room.options.history_size > 0);
        let join = Join {
            conn: conn_ref,
            number: self.joins,
            request,
            local: key,
            name,
            encoding,
            recover,
            rejects_unrecovered: subscribe.rejects_unrecovered,
            presence,
        };
        if let Some(conn) = self.conns.get_mut(slot) {
            conn.requests += 1;
            conn.rooms
                .push(Membership::joining(&join, expires_at, rights));
        }
        self.request(home, Request::Join(Box::new(join)));
        Ok(())
    }

    /// The room's home has counted the connection in: it takes its place in the lane, exactly here.
    pub(crate) fn joined(&mut self, joined: Joined) {
        let key = joined.local;
        let Some(room) = self.rooms.slab.get_mut(key) else {
            debug_assert!(false, "a room stays while joins are pending");
            return;
        };
        room.joins_pending -= 1;
        room.home = Some(joined.home);
        room.number = joined.number;
        let slot = self.conns.slot_of(joined.conn);
        let is_expected = |conn: &Conn| {
            let waits = MembershipState::Joining { join: joined.join };
            conn.is_open()
                && conn
                    .membership(key)
                    .is_some_and(|membership| membership.state == waits)
        };
        let Some(slot) = slot.filter(|&slot| self.conns.get(slot).is_some_and(is_expected)) else {
            // It has gone, or changed its mind, while the home counted it in.
            let home_shard = joined.home_shard;
            if let Some(slot) = slot
                && let Some(conn) = self.conns.get_mut(slot)
            {
                conn.requests = conn.requests.saturating_sub(1);
                session::gave_up(self, slot, joined.request);
            }
            self.request(
                home_shard,
                Request::Leave {
                    home: joined.home,
                    encoding: joined.encoding,
                    conn: joined.conn,
                },
            );
            self.rooms.remove_unused(key);
            return;
        };
        let lane = room.lane_or_new(joined.encoding, joined.position.offset);
        debug_assert_eq!(
            lane.top(),
            joined.position.offset,
            "joins and publications come in one order"
        );
        let place = lane.join(slot);
        if self.sabotage_join_behind() {
            self.join_behind(key, joined.encoding, place);
        }
        if let Some(conn) = self.conns.get_mut(slot) {
            conn.requests = conn.requests.saturating_sub(1);
            if let Some(membership) = conn.membership_mut(key) {
                membership.state = MembershipState::Member { place };
            }
        }
        let counters = &self.gauges.counters;
        counters.members.add(1);
        if joined.was_recovering {
            if joined.recovered.is_some() {
                counters.recovered.inc()
            } else {
                counters.unrecovered.inc()
            }
        }
        session::joined(self, slot, &joined);
    }

    /// Takes the connection out of a room it asked to leave.
    pub(crate) fn unsubscribe(&mut self, slot: u32, room: &str) -> bool {
        let Some(key) = self.rooms.find(room) else {
            return false;
        };
        if self
            .conns
            .get(slot)
            .is_none_or(|conn| conn.membership(key).is_none())
        {
            return false;
        }
        self.leave_room(slot, key);
        true
    }

    /// Takes the connection out of a room and tells it so.
    pub(crate) fn unsubscribe_with(&mut self, slot: u32, key: Key<Room>, code: UnsubscribeCode) {
        // Who is not a member yet does not know the room by its number: its request fails instead.
        let is_member = self
            .conns
            .get(slot)
            .and_then(|conn| conn.membership(key))
            .is_some_and(|membership| membership.place() != NOWHERE);
        if is_member {
            session::unsubscribed(self, slot, key, code);
        }
        self.leave_room(slot, key);
    }

    pub(crate) fn leave_all_rooms(&mut self, slot: u32) {
        while let Some(membership) = self.conns.get(slot).and_then(|conn| conn.rooms.last()) {
            self.leave_room(slot, membership.room);
        }
    }

    fn leave_room(&mut self, slot: u32, key: Key<Room>) {
        let conn_ref = self.conns.name(slot);
        let Some(conn) = self.conns.get_mut(slot) else {
            return;
        };
        let Some(at) = conn
            .rooms
            .iter()
            .position(|membership| membership.room == key)
        else {
            return;
        };
        let Some(encoding) = conn.encoding() else {
            return;
        };
        let membership = conn.rooms.swap_remove(at);
        // While the join is pending, the home's answer will find nobody, and leave then.
        let MembershipState::Member { place } = membership.state else {
            return;
        };
        self.leave_lane(key, encoding, slot, place);
        self.gauges.counters.members.sub(1);
        if let Some(room) = self.rooms.slab.get(key)
            && let Some(home) = room.home
            && !self.is_sabotaged(Sabotage::ForgetLeave)
        {
            self.request(
                room.home_shard,
                Request::Leave {
                    home,
                    encoding,
                    conn: conn_ref,
                },
            );
        }
        self.rooms.remove_unused(key);
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

    // -- slow members

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
        if self.conns.get(slot).is_some_and(Conn::is_open) {
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

    /// Takes the connection out of the rooms for which its token has expired.
    pub(crate) fn expire_memberships(&mut self, slot: u32) {
        let now = self.now.unix.saturating_sub(EXPIRY_GRACE_S);
        let is_over = |membership: &&Membership| {
            membership.expires_at != 0 && u64::from(membership.expires_at) <= now
        };
        while let Some(room) = self
            .conns
            .get(slot)
            .and_then(|conn| conn.rooms.iter().find(is_over))
            .map(|m| m.room)
        {
            self.unsubscribe_with(slot, room, UnsubscribeCode::EXPIRED);
        }
    }

    // -- names and rights

    /// The room's options, if its name is one.
    pub(crate) fn check_room<'a>(
        &self,
        name: &'a str,
    ) -> Result<(&'a str, Arc<RoomOptions>), ErrorCode> {
        if !is_room_name(name, self.shared.config.limits.room_name_bytes_max) {
            return Err(ErrorCode::BAD_REQUEST);
        }
        self.shared
            .options
            .of(name)
            .map(|options| (name, Arc::clone(options)))
            .ok_or(ErrorCode::UNKNOWN_CHANNEL)
    }

    /// Whether the connection may do this in the room.
    pub(crate) fn may(&self, slot: u32, room: &str, options: &RoomOptions, right: Right) -> bool {
        let Some(conn) = self.conns.get(slot) else {
            return false;
        };
        let Some(identity) = &conn.identity else {
            return false;
        };
        let membership = self.rooms.find(room).and_then(|key| conn.membership(key));
        permits(identity, membership, room, options, right)
    }

    fn local_room(
        &mut self,
        name: &str,
        options: Arc<RoomOptions>,
    ) -> Result<Key<Room>, ErrorCode> {
        if let Some(key) = self.rooms.find(name) {
            return Ok(key);
        }
        if self.rooms.slab.len() > self.shared.config.limits.rooms_per_shard_max as usize {
            return Err(ErrorCode::LIMIT_EXCEEDED);
        }
        let home = self.shared.home_of(name);
        Ok(self.rooms.insert(Room::new(name.into(), options, home)))
    }

    fn sabotage_join_behind(&self) -> bool {
        self.is_sabotaged(Sabotage::JoinBehind)
    }

    fn join_behind(&mut self, key: Key<Room>, encoding: Encoding, place: u32) {
        if let Some(lane) = self.rooms.lane_mut(key, encoding) {
            lane.rewind_for_sabotage(place);
        }
    }
}

/// Room names: not empty, at most so long, no control characters. Case and Unicode are taken as they are.
pub(crate) fn is_room_name(name: &str, bytes_max: u32) -> bool {
    !name.is_empty() && name.len() <= bytes_max as usize && !name.chars().any(char::is_control)
}

fn permits(
    identity: &Identity,
    membership: Option<&Membership>,
    room: &str,
    options: &RoomOptions,
    right: Right,
) -> bool {
    let has = |rights: Rights| match right {
        Right::Subscribe => rights.subscribe,
        Right::Publish => rights.publish,
        Right::Presence => rights.presence,
        Right::History => rights.history,
    };
    let access = match right {
        Right::Subscribe => options.subscribe,
        Right::Publish => options.publish,
        Right::Presence => options.presence_access,
        Right::History => options.history_access,
    };
    let is_open_to = match access {
        Access::Grant => false,
        Access::Members => membership.is_some(),
        Access::Users => membership.is_some() || !identity.user.is_empty(),
        Access::Everyone => true,
    };
    identity.is_service
        || is_open_to
        || membership.is_some_and(|membership| has(membership.rights))
        || has(identity.rights(room))
}

/// A connection as the publisher of something.
pub(crate) fn publisher(conn: &Conn, name: ConnRef) -> Option<Box<Publisher>> {
    let identity = conn.identity.as_ref()?;
    Some(Box::new(Publisher {
        client: name.client_id(identity.nonce).to_string().into(),
        user: identity.user.clone(),
        connection_info: identity.info(),
    }))
}
