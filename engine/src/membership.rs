//! Joining and leaving rooms, and what happens to members that read too slowly.

use std::sync::Arc;

use fanfare_wire::centrifuge::FilterNode;
use fanfare_wire::centrifuge::codes::{ErrorCode, UnsubscribeCode};

use crate::api::{Position, PresenceEntry};
use crate::authority::{Denied, Rights, SubscriptionGrant};
use crate::config::RoomOptions;
use crate::conn::{
    Conn, Identity, Membership, MembershipState, NOWHERE, PackedRights, unix_or_never,
};
use crate::core::Core;
use crate::deadlines::EXPIRY_GRACE_S;
use crate::encoding::Encoding;
use crate::message::{Join, Joined, Request};
use crate::rights::{Right, permits};
use crate::room::Room;
use crate::sabotage::Sabotage;
use crate::session;
use crate::slab::Key;

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
    /// What it is granted, and so need have neither a token nor the right to.
    pub(crate) granted: Option<&'a SubscriptionGrant>,
    /// It is the backend that grants it.
    pub(crate) is_by_backend: bool,
    /// The client can do with the differences between publications.
    pub(crate) wants_delta: bool,
    /// Only publications with such tags.
    pub(crate) filter: Option<&'a FilterNode>,
}

/// What the server grants where it says nothing else.
const NOTHING: SubscriptionGrant = SubscriptionGrant {
    expires_at: None,
    info: None,
    rights: Rights {
        subscribe: false,
        publish: false,
        presence: false,
        history: false,
    },
};

impl<'a> Subscribe<'a> {
    /// A client asks, and for no more than the room.
    pub(crate) const fn by_client(room: &'a str) -> Self {
        Self {
            granted: None,
            ..Self::by_server(room)
        }
    }

    /// The backend puts the client into a room, on its terms.
    pub(crate) const fn by_backend(room: &'a str, granted: &'a SubscriptionGrant) -> Self {
        Self {
            granted: Some(granted),
            is_by_backend: true,
            ..Self::by_server(room)
        }
    }

    /// The server puts the client into a room.
    pub(crate) const fn by_server(room: &'a str) -> Self {
        Self {
            request: 0,
            room,
            token: "",
            recover: None,
            rejects_unrecovered: false,
            granted: Some(&NOTHING),
            is_by_backend: false,
            wants_delta: false,
            filter: None,
        }
    }
}

impl Core {
    /// The connection is a member of the room, or about to be.
    pub(crate) fn is_in(&self, slot: u32, room: &str) -> bool {
        let membership = |room| self.conns.get(slot)?.membership(room);
        self.rooms.find(room).and_then(membership).is_some()
    }

    /// The server has made the connection a member.
    pub(crate) fn is_in_by_server(&self, slot: u32, room: Key<Room>) -> bool {
        let conn = self.conns.get(slot);
        conn.and_then(|conn| conn.membership(room))
            .is_some_and(|membership| membership.rights.is_by_server())
    }

    /// The backend is being asked whether the connection may join the room.
    pub(crate) fn is_asked_into(&self, slot: u32, room: &str) -> bool {
        let more = self.conns.get(slot).and_then(Conn::some_more);
        more.is_some_and(|more| more.asked_into.iter().any(|(of, _)| **of == *room))
    }

    /// The backend has answered this request, or does not matter any more where there is none. Returns whether it did.
    pub(crate) fn no_longer_asked_into(
        &mut self,
        slot: u32,
        room: &str,
        request: Option<u32>,
    ) -> bool {
        let more = self.conns.get_mut(slot).and_then(Conn::some_more_mut);
        let Some(asked_into) = more.map(|more| &mut more.asked_into) else {
            return false;
        };
        let before = asked_into.len();
        asked_into.retain(|(of, by)| **of != *room || request.is_some_and(|it| it != *by));
        asked_into.len() < before
    }

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
        if self.is_in(slot, name) {
            return Err(ErrorCode::ALREADY_SUBSCRIBED);
        }
        // What a client of goim watches lies among its rooms, and takes none of their places.
        let rooms = conn.rooms.len() - self.operations_of(conn);
        if rooms >= limits.rooms_per_connection_max as usize {
            return Err(ErrorCode::LIMIT_EXCEEDED);
        }
        if conn.requests >= limits.requests_in_flight_max {
            return Err(ErrorCode::TOO_MANY_REQUESTS);
        }
        let granted = self.granted(identity, name, &options, &subscribe)?;
        let expires_at = unix_or_never(granted.expires_at);
        let is_refreshed_by_backend =
            subscribe.is_by_backend && options.backend.sub_refresh && expires_at != 0;
        let (rights, channel_info) = (granted.rights, granted.info);
        let info = channel_info.clone();
        if subscribe.filter.is_some() && !options.tags_filter {
            return Err(ErrorCode::BAD_REQUEST);
        }
        let mut encoding = identity.encoding;
        encoding.is_delta = subscribe.wants_delta && options.delta && encoding.codec.has_deltas();
        let conn_ref = self.conns.name(slot);
        let presence = (options.presence || options.join_leave).then(|| PresenceEntry {
            client: self.conns.client_id(slot),
            user: identity.user.clone(),
            connection_info: identity.info(),
            channel_info,
        });

        let key = self.local_room(name, options)?;
        let Some(room) = self.rooms.slab.get_mut(key) else {
            return Err(ErrorCode::INTERNAL);
        };
        let filter = match subscribe.filter {
            Some(filter) => room.filter(filter).ok_or(ErrorCode::LIMIT_EXCEEDED)?,
            None => 0,
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
            if let Some(info) = info {
                conn.more().channel_info.push((key, info));
            }
            conn.requests += 1;
            conn.rooms.push(Membership {
                rights: PackedRights::new(rights, request == 0),
                is_refreshed_by_backend,
                ..Membership::joining(&join, filter, expires_at)
            });
        }
        self.request(home, Request::Join(Box::new(join)));
        Ok(())
    }

    /// What lets a client into a room: what it was granted by name, a token, or the options of the room.
    fn granted(
        &self,
        identity: &Identity,
        room: &str,
        options: &RoomOptions,
        subscribe: &Subscribe<'_>,
    ) -> Result<SubscriptionGrant, ErrorCode> {
        if let Some(granted) = subscribe.granted {
            return Ok(granted.clone());
        }
        if !subscribe.token.is_empty() {
            let authority = &self.shared.authority;
            return authority
                .subscribe(subscribe.token, &identity.user, room, self.now.unix)
                .map_err(|denied| match denied {
                    Denied::Expired => ErrorCode::TOKEN_EXPIRED,
                    Denied::Invalid | Denied::NotPermitted => ErrorCode::PERMISSION_DENIED,
                });
        }
        if permits(identity, None, room, options, Right::Subscribe) {
            Ok(NOTHING)
        } else {
            Err(ErrorCode::PERMISSION_DENIED)
        }
    }

    /// The room's home has counted the connection in: it takes its place in the lane, exactly here.
    pub(crate) fn joined(&mut self, mut joined: Joined) {
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
                session::gave_up_join(self, slot, joined.request, joined.join);
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
        let filter = self
            .conns
            .get(slot)
            .and_then(|conn| conn.membership(key))
            .map_or(0, |membership| membership.filter);
        let encoding = Encoding {
            filter,
            ..joined.encoding
        };
        if let Some(filter) = room.filter_at(filter)
            && let Some(recovered) = &mut joined.recovered
        {
            recovered.retain(|publication| filter.matches(&publication.tags));
        }
        let lane = room.lane_or_new(encoding, joined.position.offset);
        debug_assert_eq!(
            lane.top(),
            joined.position.offset,
            "joins and publications come in one order"
        );
        let place = if encoding.is_delta {
            lane.join_fresh(slot)
        } else {
            lane.join(slot)
        };
        if self.sabotage_join_behind() {
            self.join_behind(key, encoding, place);
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
        session::joined(self, slot, joined);
    }

    /// Takes the connection out of a room it asked to leave.
    pub(crate) fn unsubscribe(&mut self, slot: u32, room: &str) -> bool {
        if self.no_longer_asked_into(slot, room, None) {
            return true;
        }
        let Some(key) = self.rooms.find(room).filter(|_| self.is_in(slot, room)) else {
            return false;
        };
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
        let Some(encoding) = conn.encoding_in(&conn.rooms[at]) else {
            return;
        };
        let membership = conn.rooms.swap_remove(at);
        conn.forget_room(key);
        if let Some(room) = self.rooms.slab.get_mut(key) {
            room.drop_filter(membership.filter);
        }
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
                    encoding: encoding.unfiltered(),
                    conn: conn_ref,
                },
            );
        }
        self.rooms.remove_unused(key);
    }

    /// Takes the connection out of the rooms for which its token has expired, and asks the backend about those that it
    /// has let it into.
    pub(crate) fn expire_memberships(&mut self, slot: u32) {
        let now = self.now.unix;
        let is_over = |membership: &&Membership| {
            let grace_s = if membership.is_refreshed_by_backend {
                0
            } else {
                EXPIRY_GRACE_S
            };
            membership.expires_at != 0 && u64::from(membership.expires_at) + grace_s <= now
        };
        while let Some((room, is_refreshed)) = self
            .conns
            .get(slot)
            .and_then(|conn| conn.rooms.iter().find(is_over))
            .map(|it| (it.room, it.is_refreshed_by_backend))
        {
            if is_refreshed {
                session::refresh_membership(self, slot, room);
            } else {
                self.unsubscribe_with(slot, room, UnsubscribeCode::EXPIRED);
            }
        }
    }

    pub(crate) fn local_room(
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
