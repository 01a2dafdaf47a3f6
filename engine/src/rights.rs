//! What the names of rooms say, and who may do what in them.

use std::sync::Arc;

use fanfare_wire::centrifuge::codes::ErrorCode;

use crate::api::Publisher;
use crate::authority::Rights;
use crate::config::{Access, RoomOptions};
use crate::conn::{Identity, Membership};
use crate::core::Core;

/// What a client wants to do in a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Right {
    Subscribe,
    Publish,
    Presence,
    History,
}

impl Core {
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

    /// The connection as the publisher of something in this room.
    pub(crate) fn publisher(&self, slot: u32, room: &str) -> Option<Box<Publisher>> {
        let conn = self.conns.get(slot)?;
        let identity = conn.identity.as_ref()?;
        let infos = conn.some_more().map_or(&[][..], |more| &more.channel_info);
        let channel_info = self.rooms.find(room).and_then(|room| {
            let (_, info) = infos.iter().find(|(of, _)| *of == room)?;
            Some(info.clone())
        });
        Some(Box::new(Publisher {
            client: self.conns.client_id(slot).to_string().into(),
            user: identity.user.clone(),
            connection_info: identity.info(),
            channel_info,
        }))
    }
}

/// Room names: not empty, at most so long, no control characters. Case and Unicode are taken as they are.
pub(crate) fn is_room_name(name: &str, bytes_max: u32) -> bool {
    !name.is_empty() && name.len() <= bytes_max as usize && !name.chars().any(char::is_control)
}

/// Begins the names of rooms that only a token lets into. The namespace is what follows it.
pub(crate) const PRIVATE_PREFIX: char = '$';

/// The users that a room's name ends in, after the last `#`, if it does.
fn users_of(room: &str) -> Option<impl Iterator<Item = &str>> {
    let (_, users) = room.rsplit_once('#')?;
    Some(users.split(','))
}

pub(crate) fn permits(
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
    // The way of Centrifugo: a token lets into `$...` and nothing else does, and `...#ann,bob` is for these users.
    let is_private = right == Right::Subscribe && room.starts_with(PRIVATE_PREFIX);
    let is_theirs = match (right, users_of(room)) {
        (Right::Subscribe, Some(mut users)) => {
            Some(!identity.user.is_empty() && users.any(|user| user == &*identity.user))
        }
        _ => None,
    };
    let is_open_to = match access {
        _ if is_private => false,
        _ if is_theirs.is_some() => is_theirs == Some(true),
        Access::Grant => false,
        Access::Members => membership.is_some(),
        Access::Users => membership.is_some() || !identity.user.is_empty(),
        Access::Everyone => true,
    };
    identity.is_service()
        || is_open_to
        || membership.is_some_and(|membership| has(membership.rights.into()))
        || has(identity.rights(room))
}
