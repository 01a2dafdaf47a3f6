//! The first command, and its answer: who the client is, and the rooms that the server puts it into.

use std::sync::Arc;

use bytes::Bytes;
use fanfare_wire::centrifuge::codes::{DisconnectCode, ErrorCode};
use fanfare_wire::centrifuge::{
    Connect, ConnectResult, ConnectSubResult, Publication, SubscribeResult, unidirectional,
};

use super::codec;
use super::commands::{position, ttl};
use super::replies::{encode, encoding, subscription, take_data};
use crate::api::Position;
use crate::authority::{Denied, Grant};
use crate::backend::{ConnectAsk, Connected, Subscribed};
use crate::core::Core;
use crate::encoding::{Carrier, Codec, centrifuge_publication, data_in};
use crate::membership::Subscribe;
use crate::message::Joined;
use crate::room::Room;
use crate::session::{Ending, SessionName, error_reply, grant, questions};
use crate::slab::Key;

/// Expired tokens that a connection may try: each costs the check of a signature.
const EXPIRED_TOKENS_MAX: u16 = 3;

/// A greeting that waits for the rooms that the server puts the client into: the answer names their positions, and holds
/// what a returning client missed.
pub(crate) struct Greeting {
    /// The connect command's.
    id: u32,
    /// Data of the backend, as the connection's codec has it.
    data: Bytes,
    /// Its joins that have not been answered. The server may put it into other rooms meanwhile.
    missing: Vec<u32>,
    /// Where in the output that is held the greeting belongs.
    place: usize,
    joined: Vec<Joined>,
}

impl std::fmt::Debug for Greeting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Greeting({} missing)", self.missing.len())
    }
}

/// How a client comes back that has been here before: its rooms, and where it left off in them.
type LeftOff = Vec<(Box<str>, Position)>;

pub(super) fn greet(
    core: &mut Core,
    slot: u32,
    id: u32,
    connect: &Connect<'_>,
) -> Result<(), Ending> {
    let left_off = connect.subs.iter().filter(|sub| sub.recover);
    let left_off: LeftOff = left_off
        .map(|sub| {
            let at = position(sub.position.epoch, sub.position.offset);
            (Box::from(&*sub.channel), at)
        })
        .collect();
    if connect.token.is_empty() && core.asked().connect {
        ask_who(core, slot, id, connect, left_off);
        return Ok(());
    }
    let grant = match grant(core, &connect.token) {
        Ok(grant) => grant,
        // Who only listens hears no errors, and connects anew with a new token.
        Err(Denied::Expired) if encoding(core, slot).codec == Codec::Unidirectional => {
            return Err(DisconnectCode::EXPIRED.into());
        }
        Err(Denied::Expired) => {
            // The SDK gets a new token and tries again, on this connection; whoever has none has had its say.
            let Some(conn) = core.conns.get_mut(slot) else {
                return Ok(());
            };
            conn.requests += 1;
            if conn.requests > EXPIRED_TOKENS_MAX {
                return Err(DisconnectCode::TOO_MANY_ERRORS.into());
            }
            error_reply(core, slot, id, ErrorCode::TOKEN_EXPIRED);
            return Ok(());
        }
        Err(Denied::Invalid | Denied::NotPermitted) => {
            return Err(DisconnectCode::INVALID_TOKEN.into());
        }
    };
    if let Some(conn) = core.conns.get_mut(slot)
        && !grant.rooms.is_empty()
    {
        conn.more().rooms_by_token.clone_from(&grant.rooms);
    }
    welcome(core, slot, id, grant, Connected::default(), &left_off);
    Ok(())
}

/// Asks the backend who the client is. What it sends meanwhile waits.
fn ask_who(core: &mut Core, slot: u32, id: u32, connect: &Connect<'_>, left_off: LeftOff) {
    let ask = ConnectAsk {
        data: Bytes::copy_from_slice(&connect.data),
        token: Box::default(),
        name: Box::from(&*connect.name),
        version: Box::from(&*connect.version),
        rooms: connect
            .subs
            .iter()
            .map(|sub| Box::from(&*sub.channel))
            .collect(),
    };
    let wanted: Vec<Box<str>> = core
        .shared
        .backend
        .as_ref()
        .map_or_else(Vec::new, |it| it.emulated_header_names().to_vec());
    let headers = connect.headers.iter().filter_map(|(name, value)| {
        let name = name.to_ascii_lowercase();
        wanted
            .iter()
            .any(|wanted| **wanted == *name)
            .then(|| (name.into(), Box::from(&**value)))
    });
    let headers: Arc<[(Box<str>, Box<str>)]> = headers.collect();
    let Some(conn) = core.conns.get_mut(slot) else {
        return;
    };
    if !headers.is_empty() {
        conn.more().emulated_headers = headers;
    }
    let asked = questions::who(core, slot, ask, move |core, slot, known| {
        match known {
            Ok((grant, connected)) => welcome(core, slot, id, grant, connected, &left_off),
            // Who only listens hears no errors.
            Err(refused) if encoding(core, slot).codec == Codec::Unidirectional => {
                core.end_refused(slot, refused, DisconnectCode::SERVER_ERROR);
            }
            Err(refused) => questions::refuse(core, slot, id, refused),
        }
        Ok(())
    });
    if let Err(code) = asked {
        error_reply(core, slot, id, code);
    }
}

/// Lets the client in, and into the rooms that it is granted: where it left off in one, from there on.
fn welcome(
    core: &mut Core,
    slot: u32,
    id: u32,
    grant: Grant,
    connected: Connected,
    left_off: &LeftOff,
) {
    let encoding = encoding(core, slot);
    let rooms = grant.rooms.clone();
    let room_data = grant.room_data.clone();
    let rooms = rooms
        .into_iter()
        .map(|room| (false, room, Subscribed::default()))
        .chain(
            connected
                .subscriptions
                .into_iter()
                .map(|(room, on)| (true, room, on)),
        );
    if core.authenticated(slot, grant, encoding).is_none() {
        return;
    }
    let mut missing = Vec::new();
    for (is_by_backend, room, Subscribed { grant, data }) in rooms {
        let recover = left_off.iter().find(|(of, _)| *of == room);
        let subscribe = Subscribe {
            recover: recover.map(|(_, at)| *at),
            ..if is_by_backend {
                Subscribe::by_backend(&room, &grant)
            } else {
                Subscribe::by_server(&room)
            }
        };
        match core.subscribe(slot, subscribe) {
            Ok(()) => missing.push(core.joins),
            Err(_) => {
                core.gauges.counters.client_errors.inc();
                continue;
            }
        }
        let by_token = room_data.iter().find(|(of, _)| *of == room);
        if let Some(data) = data.as_ref().or(by_token.map(|(_, data)| data)) {
            questions::keep_data(core, slot, &room, data_in(encoding.codec, data));
        }
    }
    let data = connected.data.map(|data| data_in(encoding.codec, &data));
    let mut greeting = Greeting {
        id,
        data: data.unwrap_or_default(),
        missing,
        place: 0,
        joined: Vec::new(),
    };
    if greeting.missing.is_empty() {
        let hello = hello(core, slot, &greeting);
        return core.write(slot, |out| out.extend_from_slice(&hello));
    }
    // Until it has been greeted it is sent nothing: publications of rooms that answered first would come before.
    greeting.place = core.hold(slot);
    if let Some(conn) = core.conns.get_mut(slot) {
        conn.more().greeting = Some(greeting);
    }
}

/// Keeps what a room answers for the greeting. Gives it back when the client has been greeted.
pub(super) fn room_joined(core: &mut Core, slot: u32, joined: Joined) -> Option<Joined> {
    let is_its = |greeting: &&mut Greeting| greeting.missing.contains(&joined.join);
    let Some(greeting) = greeting(core, slot).filter(is_its) else {
        return Some(joined);
    };
    let join = joined.join;
    greeting.joined.push(joined);
    room_answered(core, slot, join);
    None
}

/// A join that the server began has come to its end, one way or the other.
pub(in crate::session) fn room_answered(core: &mut Core, slot: u32, join: u32) {
    let Some(greeting) = greeting(core, slot) else {
        return;
    };
    greeting.missing.retain(|it| *it != join);
    if !greeting.missing.is_empty() {
        return;
    }
    let more = core
        .conns
        .get_mut(slot)
        .and_then(|conn| conn.some_more_mut());
    let Some(greeting) = more.and_then(|more| more.greeting.take()) else {
        return;
    };
    let hello = hello(core, slot, &greeting);
    core.release(slot, greeting.place, &hello);
}

fn greeting(core: &mut Core, slot: u32) -> Option<&mut Greeting> {
    core.conns.get_mut(slot)?.some_more_mut()?.greeting.as_mut()
}

/// The answer to connect.
fn hello(core: &mut Core, slot: u32, greeting: &Greeting) -> Vec<u8> {
    let mut hello = Vec::new();
    let name = core.conns.name(slot);
    let room_data: Vec<(Key<Room>, Bytes)> = greeting
        .joined
        .iter()
        .map(|it| (it.local, take_data(core, slot, it.local)))
        .collect();
    let Some(conn) = core.conns.get(slot) else {
        return hello;
    };
    let Some(identity) = &conn.identity else {
        return hello;
    };
    let client = core.conns.client_id(slot).to_string();
    // A client that the backend refreshes need not do so itself, nor know of it.
    let is_refreshed = conn.is_refreshed_by_backend();
    let expires_at =
        (identity.expires_at != 0 && !is_refreshed).then_some(u64::from(identity.expires_at));
    let (session, node) = match conn.session.secret() {
        Some(secret) => {
            let session = SessionName { conn: name, secret };
            (session.to_string(), core.shared.node.to_string())
        }
        None => Default::default(),
    };
    let codec = codec(core, slot);
    // It may have been taken out of a room while the others answered.
    let joined: Vec<_> = greeting
        .joined
        .iter()
        .filter(|it| conn.membership(it.local).is_some())
        .filter_map(|it| {
            let room = core.rooms.slab.get(it.local)?;
            let publications: Vec<Publication<'_>> = it
                .recovered
                .iter()
                .flatten()
                .map(|publication| centrifuge_publication(publication, codec, true))
                .collect();
            let data = room_data.iter().find(|(of, _)| *of == it.local);
            let result = SubscribeResult {
                data: data.map_or(b"", |(_, data)| data),
                ..subscription(core, slot, it, room)
            };
            Some((Arc::clone(&room.name), result, publications))
        })
        .collect();
    let encoding = encoding(core, slot);
    let is_listener = encoding.codec == Codec::Unidirectional;
    let is_polled = encoding.carrier == Carrier::Lines;
    let (expires, ttl_s) = ttl(core, expires_at);
    let ping_s = core.shared.config.limits.ping_interval.as_secs();
    let result = ConnectResult {
        client: &client,
        version: super::VERSION,
        expires,
        ttl_s,
        data: &greeting.data,
        // Who comes for what there is to hear shows by that that it is there.
        ping_s: if is_polled {
            0
        } else {
            u32::try_from(ping_s).unwrap_or(u32::MAX).max(1)
        },
        pong: !is_listener && !is_polled,
        session: &session,
        node: &node,
        ..ConnectResult::default()
    };
    let subs = joined
        .iter()
        .map(|(name, result, publications)| ConnectSubResult {
            channel: name,
            result: *result,
            publications,
        });
    encoding.frame(&mut hello, |out| {
        if is_listener {
            unidirectional::write_connect_push(out, &result, subs);
        } else {
            encode!(
                encoding.codec,
                out,
                write_connect(greeting.id, &result, subs)
            );
        }
    });
    hello
}
