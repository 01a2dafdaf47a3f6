//! The Centrifuge client protocol, JSON over WebSocket.

use bytes::Bytes;
use fanfare_wire::centrifuge::codes::{DisconnectCode, ErrorCode, UnsubscribeCode};
use fanfare_wire::centrifuge::{
    Command, Connect, ConnectResult, Epoch, History, Method, RefreshResult, SubRefreshResult,
    SubscribePush, SubscribeResult, json,
};
use fanfare_wire::ws;

use super::{Ending, control_event, error_code, ws_limits};
use crate::api::{HistoryQuery, Payload, Position};
use crate::authority::Denied;
use crate::conn::Phase;
use crate::core::Core;
use crate::encoding::{Encoding, centrifuge_publication, client_info};
use crate::membership::{Right, Subscribe, publisher};
use crate::message::{Answer, Joined, Post, ReplyTo, Request, listing_weight};
use crate::room::Room;
use crate::slab::Key;

/// Expired tokens that a connection may try: each costs the check of a signature.
const EXPIRED_TOKENS_MAX: u16 = 3;

/// Publications a client gets with one history request; it asks on from the last one.
const HISTORY_PUBLICATIONS_MAX: u32 = 300;

pub(super) fn receive(
    core: &mut Core,
    slot: u32,
    decoder: &mut ws::Decoder,
    input: &mut [u8],
) -> Result<(), Ending> {
    let mut at = 0;
    loop {
        // A client that has just authenticated may send more at once.
        let limits = ws_limits(core, slot);
        let (consumed, event) =
            decoder
                .next(&mut input[at..], &limits)
                .map_err(|error| Ending::WebSocket {
                    code: error.close_code(),
                })?;
        at += consumed;
        match event {
            Some(ws::Event::Text(text)) => commands(core, slot, text)?,
            Some(ws::Event::Binary(_)) => return Err(DisconnectCode::INAPPROPRIATE_PROTOCOL.into()),
            Some(event) => control_event(core, slot, event)?,
            None => return Ok(()),
        }
    }
}

fn commands(core: &mut Core, slot: u32, text: &str) -> Result<(), Ending> {
    for command in json::commands(text) {
        let command = command.map_err(|error| Ending::Disconnect(error.code()))?;
        core.gauges.counters.messages_received.inc();
        handle(core, slot, &command)?;
    }
    Ok(())
}

fn handle(core: &mut Core, slot: u32, command: &Command<'_>) -> Result<(), Ending> {
    let id = command.id;
    let is_open = core
        .conns
        .get(slot)
        .is_some_and(|conn| conn.phase == Phase::Open);
    if let Method::Connect(connect) = &command.method {
        if is_open || id == 0 {
            return Err(DisconnectCode::BAD_REQUEST.into());
        }
        return greet(core, slot, id, connect);
    }
    if !is_open {
        return Err(DisconnectCode::BAD_REQUEST.into());
    }
    let result = match &command.method {
        Method::Pong => {
            core.pong(slot);
            return Ok(());
        }
        // Without an id nothing can be answered, and these ask for an answer.
        method if id == 0 && !matches!(method, Method::Send { .. }) => {
            return Err(DisconnectCode::BAD_REQUEST.into());
        }
        Method::Ping => {
            reply(core, slot, |out| json::write_pong(out, id));
            Ok(())
        }
        // Maps and shared polls are other kinds of subscription, which this server does not have.
        Method::Subscribe(wish) if wish.kind != 0 => Err(ErrorCode::NOT_AVAILABLE),
        Method::Publish(message) if message.kind != 0 => Err(ErrorCode::NOT_AVAILABLE),
        Method::Subscribe(wish) => {
            let recover = wish.recover.then(|| position(wish.epoch, wish.offset));
            core.subscribe(
                slot,
                Subscribe {
                    request: id,
                    room: &wish.channel,
                    token: &wish.token,
                    recover,
                    rejects_unrecovered: wish.rejects_unrecovered(),
                },
            )
        }
        Method::Unsubscribe { channel } => {
            // Centrifugo answers the same whether or not the client was in the channel.
            core.unsubscribe(slot, channel);
            reply(core, slot, |out| json::write_unsubscribe(out, id));
            Ok(())
        }
        Method::Publish(message) => publish(core, slot, id, &message.channel, &message.data),
        Method::Presence { channel } => {
            ask(core, slot, id, channel, Right::Presence, |room, reply| {
                let reply = reply_to(reply);
                Request::Presence { room, reply }
            })
        }
        Method::PresenceStats { channel } => {
            ask(core, slot, id, channel, Right::Presence, |room, reply| {
                let reply = reply_to(reply);
                Request::PresenceStats { room, reply }
            })
        }
        Method::History(query) => history(core, slot, id, query),
        Method::Refresh { token } => refresh(core, slot, id, token)?,
        Method::SubRefresh { channel, token } => sub_refresh(core, slot, id, channel, token),
        Method::Rpc { .. } => Err(ErrorCode::NOT_AVAILABLE),
        Method::Send { .. } => return Err(DisconnectCode::NOT_AVAILABLE.into()),
        Method::Unknown => Err(ErrorCode::METHOD_NOT_FOUND),
        Method::Connect(_) => return Err(DisconnectCode::BAD_REQUEST.into()),
    };
    if let Err(code) = result {
        core.gauges.counters.client_errors.inc();
        error(core, slot, id, code);
    }
    Ok(())
}

fn greet(core: &mut Core, slot: u32, id: u32, connect: &Connect<'_>) -> Result<(), Ending> {
    let grant = match super::grant(core, &connect.token) {
        Ok(grant) => grant,
        Err(Denied::Expired) => {
            // The SDK gets a new token and tries again, on this connection; whoever has none has had its say.
            let Some(conn) = core.conns.get_mut(slot) else {
                return Ok(());
            };
            conn.requests += 1;
            if conn.requests > EXPIRED_TOKENS_MAX {
                return Err(DisconnectCode::TOO_MANY_ERRORS.into());
            }
            error(core, slot, id, ErrorCode::TOKEN_EXPIRED);
            return Ok(());
        }
        Err(Denied::Invalid | Denied::NotPermitted) => {
            return Err(DisconnectCode::INVALID_TOKEN.into());
        }
    };
    let (expires_at, rooms) = (grant.expires_at, grant.rooms.clone());
    let Some(client) = core.authenticated(slot, grant, Encoding::CentrifugeJson) else {
        return Ok(());
    };
    let client = client.to_string();
    let (expires, ttl_s) = ttl(core, expires_at);
    let ping_s = core.shared.config.limits.ping_interval.as_secs();
    let result = ConnectResult {
        client: &client,
        version: concat!("fanfare ", env!("CARGO_PKG_VERSION")),
        expires,
        ttl_s,
        ping_s: u32::try_from(ping_s).unwrap_or(u32::MAX).max(1),
        pong: true,
        ..ConnectResult::default()
    };
    reply(core, slot, |out| json::write_connect(out, id, &result, []));
    super::subscribe_by_server(core, slot, &rooms);
    Ok(())
}

fn publish(
    core: &mut Core,
    slot: u32,
    id: u32,
    channel: &str,
    data: &str,
) -> Result<(), ErrorCode> {
    check(core, slot, channel, Right::Publish)?;
    let conn = core.conn_ref(slot);
    let publisher = core.conns.get(slot).and_then(|it| publisher(it, conn));
    // The parser has seen that it is one JSON value, and a command ends at a line break.
    let payload = Payload {
        bytes: Bytes::copy_from_slice(data.as_bytes()),
        is_json: true,
    };
    let post = Post {
        payload,
        publisher,
        extras: None,
    };
    core.publish(channel, post, ReplyTo::Conn { conn, request: id });
    Ok(())
}

fn history(core: &mut Core, slot: u32, id: u32, query: &History<'_>) -> Result<(), ErrorCode> {
    // Negative: as many as there may be; 0: the position alone.
    let limit = u32::try_from(query.limit).map_or(HISTORY_PUBLICATIONS_MAX, |limit| {
        limit.min(HISTORY_PUBLICATIONS_MAX)
    });
    let since = query.since.map(|since| position(since.epoch, since.offset));
    ask(
        core,
        slot,
        id,
        &query.channel,
        Right::History,
        |room, (conn, request)| {
            let query = HistoryQuery {
                room,
                limit: Some(limit),
                since,
                reverse: query.reverse,
            };
            Request::History {
                query,
                reply: reply_to((conn, request)),
            }
        },
    )
}

/// Sends a question to the room's home, whose answer comes back under this id.
fn ask(
    core: &mut Core,
    slot: u32,
    id: u32,
    channel: &str,
    right: Right,
    request: impl FnOnce(Box<str>, (crate::ids::ConnRef, u32)) -> Request,
) -> Result<(), ErrorCode> {
    check(core, slot, channel, right)?;
    let limit = core.shared.config.limits.requests_in_flight_max;
    let weight = listing_weight(limit);
    let Some(conn) = core.conns.get_mut(slot) else {
        return Ok(());
    };
    if conn.requests + weight > limit {
        return Err(ErrorCode::TOO_MANY_REQUESTS);
    }
    conn.requests += weight;
    let home = core.shared.home_of(channel);
    let request = request(channel.into(), (core.conn_ref(slot), id));
    core.request(home, request);
    Ok(())
}

const fn reply_to<T>((conn, request): (crate::ids::ConnRef, u32)) -> ReplyTo<T> {
    ReplyTo::Conn { conn, request }
}

fn check(core: &Core, slot: u32, channel: &str, right: Right) -> Result<(), ErrorCode> {
    let (room, options) = core.check_room(channel)?;
    if core.may(slot, room, &options, right) {
        Ok(())
    } else {
        Err(ErrorCode::PERMISSION_DENIED)
    }
}

fn refresh(
    core: &mut Core,
    slot: u32,
    id: u32,
    token: &str,
) -> Result<Result<(), ErrorCode>, Ending> {
    let grant = match super::grant(core, token) {
        Ok(grant) => grant,
        Err(Denied::Expired) => return Ok(Err(ErrorCode::TOKEN_EXPIRED)),
        Err(Denied::Invalid | Denied::NotPermitted) => {
            return Err(DisconnectCode::INVALID_TOKEN.into());
        }
    };
    let name = core.conn_ref(slot);
    let Some(identity) = core
        .conns
        .get_mut(slot)
        .and_then(|conn| conn.identity.as_mut())
    else {
        return Ok(Ok(()));
    };
    if identity.user != grant.user {
        return Err(DisconnectCode::INVALID_TOKEN.into());
    }
    let expires_at = grant.expires_at;
    identity.refresh(grant);
    let client = name.client_id(identity.nonce).to_string();
    let (expires, ttl_s) = ttl(core, expires_at);
    let result = RefreshResult {
        client: &client,
        version: concat!("fanfare ", env!("CARGO_PKG_VERSION")),
        expires,
        ttl_s,
    };
    reply(core, slot, |out| json::write_refresh(out, id, &result));
    Ok(Ok(()))
}

fn sub_refresh(
    core: &mut Core,
    slot: u32,
    id: u32,
    channel: &str,
    token: &str,
) -> Result<(), ErrorCode> {
    let key = core.rooms.find(channel).ok_or(ErrorCode::BAD_REQUEST)?;
    let conn = core.conns.get(slot).ok_or(ErrorCode::INTERNAL)?;
    let user = conn.identity.as_ref().map_or("", |identity| &identity.user);
    if conn.membership(key).is_none() {
        return Err(ErrorCode::BAD_REQUEST);
    }
    let grant = core
        .shared
        .authority
        .subscribe(token, user, channel, core.now.unix)
        .map_err(|denied| match denied {
            Denied::Expired => ErrorCode::TOKEN_EXPIRED,
            Denied::Invalid | Denied::NotPermitted => ErrorCode::PERMISSION_DENIED,
        })?;
    if let Some(membership) = core
        .conns
        .get_mut(slot)
        .and_then(|conn| conn.membership_mut(key))
    {
        membership.expires_at = grant
            .expires_at
            .map_or(0, |at| u32::try_from(at).unwrap_or(u32::MAX));
        membership.rights = grant.rights;
    }
    let (expires, ttl_s) = ttl(core, grant.expires_at);
    reply(core, slot, |out| {
        json::write_sub_refresh(out, id, &SubRefreshResult { expires, ttl_s })
    });
    Ok(())
}

/// Whether something expires, and in how many seconds.
fn ttl(core: &Core, expires_at: Option<u64>) -> (bool, u32) {
    expires_at.map_or((false, 0), |at| {
        (
            true,
            u32::try_from(at.saturating_sub(core.now.unix))
                .unwrap_or(u32::MAX)
                .max(1),
        )
    })
}

fn position(epoch: Epoch, offset: u64) -> Position {
    let epoch = match epoch {
        Epoch::Known(epoch) => epoch,
        // History takes it for any epoch; nothing can be recovered from it.
        Epoch::Any => 0,
        Epoch::Foreign => Position::FOREIGN_EPOCH,
    };
    Position { epoch, offset }
}

// -- what the engine tells the client

pub(super) fn error(core: &mut Core, slot: u32, id: u32, code: ErrorCode) {
    reply(core, slot, |out| {
        json::write_error(out, id, code, code.message())
    });
}

pub(super) fn ping(core: &mut Core, slot: u32) {
    core.write(slot, |out| {
        ws::write_frame(out, ws::Opcode::Text, json::PING)
    });
}

pub(super) fn unsubscribed(core: &mut Core, slot: u32, room: Key<Room>, code: UnsubscribeCode) {
    let Some(name) = core
        .rooms
        .slab
        .get(room)
        .map(|room| std::sync::Arc::clone(&room.name))
    else {
        return;
    };
    reply(core, slot, |out| {
        json::write_unsubscribe_push(out, &name, code, code.reason())
    });
}

pub(super) fn joined(core: &mut Core, slot: u32, joined: &Joined) {
    let Some(room) = core.rooms.slab.get(joined.local) else {
        return;
    };
    let is_recoverable = room.options.history_size > 0;
    let (epoch, offset) = if is_recoverable {
        (joined.position.epoch, joined.position.offset)
    } else {
        (0, 0)
    };
    if joined.request == 0 {
        let name = std::sync::Arc::clone(&room.name);
        // Not recoverable: a reconnecting client cannot be given what it missed of these rooms, and must not be
        // left to think that it has been.
        let push = SubscribePush {
            recoverable: false,
            positioned: false,
            epoch,
            offset,
            data: "",
        };
        reply(core, slot, |out| {
            json::write_subscribe_push(out, &name, &push)
        });
        return;
    }
    let expires_at = core
        .conns
        .get(slot)
        .and_then(|conn| conn.membership(joined.local))
        .map_or(0, |it| it.expires_at);
    let (expires, ttl_s) = ttl(core, (expires_at != 0).then_some(u64::from(expires_at)));
    let result = SubscribeResult {
        expires,
        ttl_s,
        recoverable: is_recoverable,
        positioned: is_recoverable,
        epoch,
        offset,
        recovered: joined.recovered.is_some(),
        was_recovering: joined.was_recovering,
        data: "",
    };
    let publications = joined
        .recovered
        .iter()
        .flatten()
        .map(|publication| centrifuge_publication(publication, true));
    reply(core, slot, |out| {
        json::write_subscribe(out, joined.request, &result, publications)
    });
}

pub(super) fn answer(core: &mut Core, slot: u32, id: u32, answer: Answer) {
    let failed = match answer {
        Answer::Published(Ok(_)) => return reply(core, slot, |out| json::write_publish(out, id)),
        Answer::Presence(Ok(entries)) => {
            let clients: Vec<String> = entries
                .iter()
                .map(|entry| entry.client.to_string())
                .collect();
            let infos = entries
                .iter()
                .zip(&clients)
                .map(|(entry, client)| client_info(entry, client));
            return reply(core, slot, |out| json::write_presence(out, id, infos));
        }
        Answer::PresenceStats(Ok(stats)) => {
            return reply(core, slot, |out| {
                json::write_presence_stats(out, id, stats.clients, stats.users)
            });
        }
        Answer::History(Ok(history)) => {
            let publications = history
                .publications
                .iter()
                .map(|publication| centrifuge_publication(publication, true));
            let (epoch, offset) = (history.position.epoch, history.position.offset);
            return reply(core, slot, |out| {
                json::write_history(out, id, epoch, offset, publications)
            });
        }
        Answer::Published(Err(failed))
        | Answer::Presence(Err(failed))
        | Answer::PresenceStats(Err(failed))
        | Answer::History(Err(failed)) => failed,
    };
    core.gauges.counters.client_errors.inc();
    error(core, slot, id, error_code(failed));
}

/// Writes one reply or push, as a message of its own.
fn reply(core: &mut Core, slot: u32, write: impl FnOnce(&mut Vec<u8>)) {
    core.write(slot, |out| {
        ws::write_frame_with(out, ws::Opcode::Text, write)
    });
}
