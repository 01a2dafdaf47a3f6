//! Who a client of goim is, and the rooms that it wants to be in from the start.

use bytes::Bytes;
use fanfare_wire::centrifuge::codes::{DisconnectCode, ErrorCode};
use fanfare_wire::goim::{self, Auth, AuthV1, Frame, Generation, Operation};

use super::rooms::{AT_AUTH, Entered, ROOM_AT_AUTH, enter, name_of};
use super::{Rare, Style, Subscriber, now_s, reply, style, subscriber};
use crate::authority::{Denied, Grant};
use crate::backend::{ConnectAsk, Subscribed};
use crate::core::Core;
use crate::session::{Ending, Voice, denied, granted, questions, set_voice, subscribe_by_server};

pub(super) fn greet(core: &mut Core, slot: u32, frame: &Frame<'_>) -> Result<(), Ending> {
    if style(core, slot) == Style::Tcp && goim::generation(frame.body) == Generation::V1 {
        set_voice(core, slot, Voice::Goim(Style::V1Tcp));
    }
    let auth = auth(frame.body)?;
    if is_trusted(core, &auth) {
        let user = mid(&auth).unwrap_or_default();
        let grant = Grant {
            user,
            ..Grant::default()
        };
        return welcome(core, slot, frame, &auth, grant, &[]);
    }
    let grant = granted(core, &auth.token);
    let is_unknown = auth.token.is_empty() || grant == Err(Denied::Invalid);
    if is_unknown && core.asked().connect {
        return ask_who(core, slot, frame, &auth);
    }
    let grant = grant.map_err(|why| {
        core.gauges.counters.auth_failures.inc();
        denied(why)
    })?;
    welcome_known(core, slot, frame, &auth, grant, &[])
}

/// What a client says of itself. Its borrowed parts are of this body.
fn auth(body: &[u8]) -> Result<Auth<'_>, Ending> {
    // All of it: a reader of JSON does not look into the fields that it passes over.
    if str::from_utf8(body).is_err() {
        return Err(DisconnectCode::BAD_REQUEST.into());
    }
    if goim::generation(body) == Generation::V2 {
        return goim::parse_auth(body).map_err(|error| error.code().into());
    }
    Ok(
        match goim::parse_auth_v1(body).map_err(|error| error.code())? {
            AuthV1::User { uid, .. } => Auth {
                mid: uid,
                ..Auth::default()
            },
            AuthV1::Token(token) => Auth {
                token: token.into(),
                ..Auth::default()
            },
        },
    )
}

/// Its word is taken.
fn is_trusted(core: &Core, auth: &Auth<'_>) -> bool {
    auth.token.is_empty() && core.shared.config.goim.trust_clients
}

/// Asks the backend who the client is, which gets all that it says of itself.
fn ask_who(core: &mut Core, slot: u32, frame: &Frame<'_>, auth: &Auth<'_>) -> Result<(), Ending> {
    let body = Bytes::copy_from_slice(frame.body);
    let (version, operation, seq) = (frame.version, frame.operation, frame.seq);
    let rooms = auth.rooms.iter().chain(Some(&auth.room_id));
    let ask = ConnectAsk {
        data: body.clone(),
        token: Box::from(&*auth.token),
        rooms: rooms
            .filter(|room| !room.is_empty())
            .map(|room| Box::from(&**room))
            .collect(),
        ..ConnectAsk::default()
    };
    let asked = questions::who(core, slot, ask, move |core, slot, known| {
        let (grant, connected) = match known {
            Ok(known) => known,
            Err(refused) => {
                core.end_refused(slot, refused, DisconnectCode::SERVER_ERROR);
                return Ok(());
            }
        };
        let frame = Frame {
            version,
            operation,
            seq,
            body: &body,
        };
        let auth = self::auth(&body)?;
        welcome_known(core, slot, &frame, &auth, grant, &connected.subscriptions)
    });
    asked.map_err(|_| DisconnectCode::SERVER_ERROR.into())
}

/// Lets in whom a token or the backend knows, if that is who it says.
fn welcome_known(
    core: &mut Core,
    slot: u32,
    frame: &Frame<'_>,
    auth: &Auth<'_>,
    grant: Grant,
    by_backend: &[(Box<str>, Subscribed)],
) -> Result<(), Ending> {
    let is_other = mid(auth).is_some_and(|mid| mid != grant.user);
    if is_other || !(auth.key.is_empty() || is_own_key(&grant.user, &auth.key)) {
        core.gauges.counters.auth_failures.inc();
        return Err(DisconnectCode::INVALID_TOKEN.into());
    }
    welcome(core, slot, frame, auth, grant, by_backend)
}

/// The user that it says it is.
fn mid(auth: &Auth<'_>) -> Option<Box<str>> {
    (auth.mid != 0).then(|| auth.mid.to_string().into())
}

fn welcome(
    core: &mut Core,
    slot: u32,
    frame: &Frame<'_>,
    auth: &Auth<'_>,
    grant: Grant,
    by_backend: &[(Box<str>, Subscribed)],
) -> Result<(), Ending> {
    let is_trusted = is_trusted(core, auth);
    let rooms = grant.rooms.clone();
    let style = style(core, slot);
    if core.authenticated(slot, grant, style.encoding()).is_none() {
        return Ok(());
    }
    let key = (!auth.key.is_empty()).then(|| Box::<str>::from(&*auth.key));
    let beat_at_s = now_s(core);
    if let Some(conn) = core.conns.get_mut(slot) {
        conn.set_goim(Subscriber {
            room: None,
            rare: key.clone().map(|key| {
                Box::new(Rare {
                    key: Some(key),
                    ..Rare::default()
                })
            }),
            beat_at_s,
            keeps_room: false,
            is_trusted,
        });
    }
    subscribe_by_server(core, slot, &rooms, by_backend);
    enter_at_auth(core, slot, auth)?;
    // Only now: who may not be where it wants to be is closed without an answer, and takes nobody's key.
    if let Some(key) = key {
        core.bind_key(slot, key);
    }
    reply(core, slot, frame, Operation::AUTH_REPLY, b"");
    // Version 1 knows no operations: everyone gets everything.
    for operation in auth.accepts.iter().filter(|_| !style.is_v1()) {
        core.watch(slot, *operation);
    }
    Ok(())
}

/// The rooms that a client wants to be in from the start.
fn enter_at_auth(core: &mut Core, slot: u32, auth: &Auth<'_>) -> Result<(), Ending> {
    for room in &auth.rooms {
        enter(core, slot, AT_AUTH, room).map_err(ending)?;
    }
    if auth.room_id.is_empty() {
        return Ok(());
    }
    let entered = enter(core, slot, ROOM_AT_AUTH, &auth.room_id).map_err(ending)?;
    let room = name_of(core, &auth.room_id);
    if let Some(subscriber) = subscriber(core, slot) {
        subscriber.room = Some(room);
        subscriber.keeps_room = entered == Entered::Before;
        if entered == Entered::Now {
            subscriber.rare().joining = Some(ROOM_AT_AUTH);
        }
    }
    Ok(())
}

/// How a client goes that may not be where it wants to be from the start.
fn ending(error: ErrorCode) -> Ending {
    Ending::Disconnect(ending_code(error))
}

pub(super) const fn ending_code(error: ErrorCode) -> DisconnectCode {
    match error {
        ErrorCode::BAD_REQUEST => DisconnectCode::BAD_REQUEST,
        ErrorCode::LIMIT_EXCEEDED => DisconnectCode::CHANNEL_LIMIT,
        ErrorCode::INTERNAL => DisconnectCode::SERVER_ERROR,
        _ => DisconnectCode::PERMISSION_DENIED,
    }
}

/// A token says who the user is, and not which keys are theirs: the user's name is, and what begins with it and a
/// separator. `.`, `-` and `_` are none: names have them, and `ann` shall not have the key of `ann.b`.
fn is_own_key(user: &str, key: &str) -> bool {
    !user.is_empty()
        && key
            .strip_prefix(user)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with([':', '/', '#']))
}
