//! What the engine tells the client.

use std::sync::Arc;

use bytes::Bytes;
use fanfare_wire::centrifuge::codes::{DisconnectCode, UnsubscribeCode};
use fanfare_wire::centrifuge::{
    Data, SubscribePush, SubscribeResult, json, protobuf, unidirectional,
};
use fanfare_wire::{http, ws};

use super::codec;
use super::commands::ttl;
use super::greeting;
use crate::conn::Conn;
use crate::core::Core;
use crate::encoding::{Carrier, Codec, Encoding, centrifuge_publication, client_info, whole};
use crate::hooks::Refusal;
use crate::message::{Answer, Joined};
use crate::room::Room;
use crate::session::{Voice, error_code, error_reply};
use crate::slab::Key;

/// Calls the writer of this name of a codec.
macro_rules! encode {
    ($codec:expr, $out:expr, $writer:ident($($argument:expr),* $(,)?)) => {
        match $codec {
            $crate::encoding::Codec::CentrifugeProtobuf => {
                fanfare_wire::centrifuge::protobuf::$writer($out, $($argument),*)
            }
            _ => fanfare_wire::centrifuge::json::$writer($out, $($argument),*),
        }
    };
}
pub(super) use encode;

/// Writes one reply or push, as a message of its own.
macro_rules! say {
    ($core:expr, $slot:expr, $writer:ident($($argument:expr),* $(,)?)) => {{
        let encoding = $crate::session::centrifuge::replies::encoding($core, $slot);
        $core.write($slot, |out| {
            encoding.frame(out, |out| {
                $crate::session::centrifuge::replies::encode!(encoding.codec, out, $writer($($argument),*))
            })
        })
    }};
}
pub(super) use say;

/// Writes one push, which clients get who only listen, too.
macro_rules! tell {
    ($core:expr, $slot:expr, $writer:ident($($argument:expr),* $(,)?)) => {{
        let encoding = encoding($core, $slot);
        $core.write($slot, |out| {
            encoding.frame(out, |out| match encoding.codec {
                Codec::CentrifugeProtobuf => protobuf::$writer(out, $($argument),*),
                Codec::Unidirectional => unidirectional::$writer(out, $($argument),*),
                _ => json::$writer(out, $($argument),*),
            })
        })
    }};
}

/// In what the connection speaks; before it is known, nothing is said.
pub(super) fn encoding(core: &Core, slot: u32) -> Encoding {
    match core.conns.get(slot).map(|conn| conn.voice) {
        Some(Voice::Centrifuge(encoding)) => encoding,
        _ => Encoding::CENTRIFUGE_JSON,
    }
}

/// Answers a command with a refusal.
pub(in crate::session) fn refuse(core: &mut Core, slot: u32, id: u32, refusal: &Refusal) {
    say!(
        core,
        slot,
        write_error(id, refusal.code, &refusal.message, refusal.is_temporary)
    );
}

pub(in crate::session) fn ping(core: &mut Core, slot: u32) {
    let encoding = encoding(core, slot);
    core.write(slot, |out| {
        encoding.frame(out, |out| {
            out.extend_from_slice(match encoding.codec {
                Codec::CentrifugeProtobuf => protobuf::PING,
                Codec::Unidirectional => unidirectional::PING,
                _ => json::PING,
            })
        })
    });
}

pub(in crate::session) fn unsubscribed(
    core: &mut Core,
    slot: u32,
    room: Key<Room>,
    code: UnsubscribeCode,
) {
    let Some(name) = core.rooms.slab.get(room).map(|room| Arc::clone(&room.name)) else {
        return;
    };
    tell!(
        core,
        slot,
        write_unsubscribe_push(&name, code, code.reason())
    );
}

/// The client has its place in a room: answers its subscribe, or tells it that the server put it there.
pub(in crate::session) fn joined(core: &mut Core, slot: u32, joined: Joined) {
    if joined.request != 0 {
        return subscribed(core, slot, &joined);
    }
    let Some(joined) = greeting::room_joined(core, slot, joined) else {
        return;
    };
    let Some(room) = core.rooms.slab.get(joined.local) else {
        return;
    };
    let name = Arc::clone(&room.name);
    let SubscribeResult {
        recoverable,
        positioned,
        epoch,
        offset,
        ..
    } = subscription(core, slot, &joined, room);
    let push = SubscribePush {
        recoverable,
        positioned,
        epoch,
        offset,
        ..SubscribePush::default()
    };
    tell!(core, slot, write_subscribe_push(&name, &push));
}

fn subscribed(core: &mut Core, slot: u32, joined: &Joined) {
    let data = take_data(core, slot, joined.local);
    let Some(room) = core.rooms.slab.get(joined.local) else {
        return;
    };
    let result = SubscribeResult {
        data: &data,
        ..subscription(core, slot, joined, room)
    };
    let codec = joined.encoding.codec;
    let texts: Vec<_> = joined
        .recovered
        .iter()
        .flatten()
        .filter(|_| joined.encoding.is_delta)
        .map(|publication| whole(codec, &centrifuge_publication(publication, codec, true)))
        .collect();
    let publications = joined.recovered.iter().flatten().enumerate();
    let publications = publications.map(|(at, publication)| {
        let mut told = centrifuge_publication(publication, codec, true);
        if let Some(text) = texts.get(at) {
            told.data = Data::Text(text);
        }
        told
    });
    say!(
        core,
        slot,
        write_subscribe(joined.request, &result, publications)
    );
}

/// What the backend has for a client that joins this room.
pub(super) fn take_data(core: &mut Core, slot: u32, room: Key<Room>) -> Bytes {
    let more = core.conns.get_mut(slot).and_then(Conn::some_more_mut);
    let Some(room_data) = more.map(|more| &mut more.room_data) else {
        return Bytes::new();
    };
    let Some(at) = room_data.iter().position(|(of, _)| *of == room) else {
        return Bytes::new();
    };
    room_data.swap_remove(at).1
}

/// A membership, as the client is told of it.
pub(super) fn subscription(
    core: &Core,
    slot: u32,
    joined: &Joined,
    room: &Room,
) -> SubscribeResult<'static> {
    let is_recoverable = room.options.history_size > 0;
    let (epoch, offset) = if is_recoverable {
        (joined.position.epoch, joined.position.offset)
    } else {
        (0, 0)
    };
    // Of what the backend refreshes the client need not know.
    let expires_at = core
        .conns
        .get(slot)
        .and_then(|conn| conn.membership(joined.local))
        .filter(|it| !it.is_refreshed_by_backend)
        .map_or(0, |it| it.expires_at);
    let (expires, ttl_s) = ttl(core, (expires_at != 0).then_some(u64::from(expires_at)));
    SubscribeResult {
        expires,
        ttl_s,
        recoverable: is_recoverable,
        positioned: is_recoverable,
        epoch,
        offset,
        recovered: joined.recovered.is_some(),
        was_recovering: joined.was_recovering,
        delta: joined.encoding.is_delta,
        ..SubscribeResult::default()
    }
}

pub(in crate::session) fn answer(core: &mut Core, slot: u32, id: u32, answer: Answer) {
    let failed = match answer {
        Answer::Published(Ok(_)) => return say!(core, slot, write_publish(id)),
        Answer::Presence(Ok(entries)) => {
            let clients: Vec<String> = entries
                .iter()
                .map(|entry| entry.client.to_string())
                .collect();
            let infos = entries
                .iter()
                .zip(&clients)
                .map(|(entry, client)| client_info(entry, client));
            return say!(core, slot, write_presence(id, infos));
        }
        Answer::PresenceStats(Ok(stats)) => {
            return say!(
                core,
                slot,
                write_presence_stats(id, stats.clients, stats.users)
            );
        }
        Answer::History(Ok(history)) => {
            let codec = codec(core, slot);
            let publications = history
                .publications
                .iter()
                .map(|publication| centrifuge_publication(publication, codec, true));
            let (epoch, offset) = (history.position.epoch, history.position.offset);
            return say!(core, slot, write_history(id, epoch, offset, publications));
        }
        Answer::Published(Err(failed))
        | Answer::Presence(Err(failed))
        | Answer::PresenceStats(Err(failed))
        | Answer::History(Err(failed)) => failed,
    };
    error_reply(core, slot, id, error_code(failed));
}

/// Tells the client to go.
pub(in crate::session) fn disconnect(core: &mut Core, slot: u32, code: u16, reason: &str) {
    let encoding = encoding(core, slot);
    match encoding.carrier {
        Carrier::Bare | Carrier::WebSocket | Carrier::DeflatedWebSocket => {
            core.write(slot, |out| ws::write_close(out, code, reason));
        }
        Carrier::Lines => {
            let code = DisconnectCode::numbered(code);
            let reconnects = code.asks_to_reconnect();
            tell!(core, slot, write_disconnect_push(code, reason, reconnects));
        }
        Carrier::EventStream | Carrier::HttpStream => {
            let code = DisconnectCode::numbered(code);
            let reconnects = code.asks_to_reconnect();
            tell!(core, slot, write_disconnect_push(code, reason, reconnects));
            core.write(slot, |out| out.extend_from_slice(http::LAST_CHUNK));
        }
    }
}
