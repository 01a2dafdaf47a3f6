//! What clients ask for.

use bytes::Bytes;
use fanfare_wire::centrifuge::codes::{DisconnectCode, ErrorCode};
use fanfare_wire::centrifuge::{
    self as wire, Command, Data, Epoch, History, Method, RefreshResult, SubRefreshResult,
};

use super::replies::{encoding, say};
use super::{codec, greeting};
use crate::api::{HistoryQuery, Payload, Position};
use crate::authority::Denied;
use crate::conn::{PackedRights, Phase};
use crate::core::Core;
use crate::encoding::{Codec, centrifuge_data};
use crate::membership::Subscribe;
use crate::message::{Post, ReplyTo, Request, listing_weight};
use crate::rights::Right;
use crate::session::{Ending, error_reply, grant, questions, reply_to};

/// Publications a client gets with one history request; it asks on from the last one.
const HISTORY_PUBLICATIONS_MAX: u32 = 300;

/// The way of telling differences that clients ask for by this name.
const FOSSIL: &str = "fossil";

pub(super) fn handle(core: &mut Core, slot: u32, command: &Command<'_>) -> Result<(), Ending> {
    let id = command.id;
    let is_open = core
        .conns
        .get(slot)
        .is_some_and(|conn| conn.phase == Phase::Open);
    if let Method::Connect(connect) = &command.method {
        if is_open || id == 0 {
            return Err(DisconnectCode::BAD_REQUEST.into());
        }
        return greeting::greet(core, slot, id, connect);
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
            say!(core, slot, write_pong(id));
            Ok(())
        }
        // Maps and shared polls are other kinds of subscription, which this server does not have.
        Method::Subscribe(wish) if wish.kind != 0 => Err(ErrorCode::NOT_AVAILABLE),
        Method::Publish(message) if message.kind != 0 => Err(ErrorCode::NOT_AVAILABLE),
        Method::Subscribe(wish) => subscribe(core, slot, id, wish),
        Method::Unsubscribe { channel } => {
            // Centrifugo answers the same whether or not the client was in the channel.
            core.unsubscribe(slot, channel);
            say!(core, slot, write_unsubscribe(id));
            Ok(())
        }
        Method::Publish(message) => publish(core, slot, id, &message.channel, &message.data),
        Method::Presence { channel } => {
            ask(core, slot, id, channel, Right::Presence, |room, reply| {
                let reply = as_reply(reply);
                Request::Presence { room, reply }
            })
        }
        Method::PresenceStats { channel } => {
            ask(core, slot, id, channel, Right::Presence, |room, reply| {
                let reply = as_reply(reply);
                Request::PresenceStats { room, reply }
            })
        }
        Method::History(query) => history(core, slot, id, query),
        Method::Refresh { token } => refresh(core, slot, id, token)?,
        Method::SubRefresh { channel, token } => sub_refresh(core, slot, id, channel, token)?,
        Method::Rpc { method, data } => call(core, slot, id, method, data),
        Method::Send { data } => return questions::send(core, slot, data),
        Method::Unknown => Err(ErrorCode::METHOD_NOT_FOUND),
        Method::Connect(_) => return Err(DisconnectCode::BAD_REQUEST.into()),
    };
    if let Err(code) = result {
        error_reply(core, slot, id, code);
    }
    Ok(())
}

fn subscribe(
    core: &mut Core,
    slot: u32,
    id: u32,
    wish: &wire::Subscribe<'_>,
) -> Result<(), ErrorCode> {
    let filter = match &wish.filter {
        Some(Err(error)) => return Err(error.code()),
        // SDKs refuse the two together: a difference from what was filtered out is of no use.
        Some(Ok(_)) if !wish.delta.is_empty() => return Err(ErrorCode::BAD_REQUEST),
        Some(Ok(filter)) => Some(filter),
        None => None,
    };
    let recover = wish.recover.then(|| position(wish.epoch, wish.offset));
    let subscribe = Subscribe {
        request: id,
        token: &wish.token,
        recover,
        rejects_unrecovered: wish.rejects_unrecovered(),
        wants_delta: wish.delta == FOSSIL,
        filter,
        ..Subscribe::by_client(&wish.channel)
    };
    let (_, options) = core.check_room(&wish.channel)?;
    if wish.token.is_empty() && options.backend.subscribe {
        return questions::join(core, slot, &subscribe, &wish.data);
    }
    core.subscribe(slot, subscribe)
}

fn publish(
    core: &mut Core,
    slot: u32,
    id: u32,
    channel: &str,
    data: &[u8],
) -> Result<(), ErrorCode> {
    let payload = Payload {
        bytes: Bytes::copy_from_slice(data),
        // The parser has seen that it is one JSON value, and a command ends at a line break.
        is_json: encoding(core, slot).codec == Codec::CentrifugeJson,
    };
    let (_, options) = core.check_room(channel)?;
    if options.backend.publish {
        return questions::publish(core, slot, id, channel, payload);
    }
    check(core, slot, channel, Right::Publish)?;
    let post = Post {
        payload,
        publisher: core.publisher(slot, channel),
        extras: None,
    };
    core.publish(channel, post, reply_to(core, slot, id));
    Ok(())
}

fn call(core: &mut Core, slot: u32, id: u32, method: &str, data: &[u8]) -> Result<(), ErrorCode> {
    questions::call(core, slot, method, data, move |core, slot, answer| {
        let data = match answer {
            Ok(data) => data,
            Err(refused) => return questions::refuse(core, slot, id, refused),
        };
        let codec = codec(core, slot);
        let told = |data| centrifuge_data(codec, data, None);
        let data = data.as_ref().map_or(Data::Json(b""), told);
        say!(core, slot, write_rpc(id, data));
    })
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
                reply: as_reply((conn, request)),
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

const fn as_reply<T>((conn, request): (crate::ids::ConnRef, u32)) -> ReplyTo<T> {
    ReplyTo::Conn { conn, request }
}

pub(super) fn check(core: &Core, slot: u32, channel: &str, right: Right) -> Result<(), ErrorCode> {
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
    if token.is_empty() {
        // It would grant what anyone has, without an end.
        return Ok(Err(ErrorCode::BAD_REQUEST));
    }
    let grant = grant(core, token).map_err(|denied| match denied {
        // An error reply would be the end for SDKs; upon this they come back with another token.
        Denied::Expired => DisconnectCode::EXPIRED,
        Denied::Invalid | Denied::NotPermitted => DisconnectCode::INVALID_TOKEN,
    })?;
    let Some(conn) = core.conns.get_mut(slot) else {
        return Ok(Ok(()));
    };
    let rooms = conn
        .some_more()
        .map_or(&[][..], |more| &more.rooms_by_token);
    let has_other_rooms = rooms != grant.rooms;
    let Some(identity) = conn.identity.as_mut() else {
        return Ok(Ok(()));
    };
    if identity.user != grant.user {
        return Err(DisconnectCode::INVALID_TOKEN.into());
    }
    if has_other_rooms {
        // It comes back, and into the rooms that the new token names.
        return Err(DisconnectCode::INSUFFICIENT_STATE.into());
    }
    let expires_at = grant.expires_at;
    identity.refresh(grant);
    let client = core.conns.client_id(slot).to_string();
    let (expires, ttl_s) = ttl(core, expires_at);
    let result = RefreshResult {
        client: &client,
        version: super::VERSION,
        expires,
        ttl_s,
    };
    say!(core, slot, write_refresh(id, &result));
    Ok(Ok(()))
}

fn sub_refresh(
    core: &mut Core,
    slot: u32,
    id: u32,
    channel: &str,
    token: &str,
) -> Result<Result<(), ErrorCode>, Ending> {
    let Some(key) = core.rooms.find(channel) else {
        return Ok(Err(ErrorCode::BAD_REQUEST));
    };
    let Some(conn) = core.conns.get(slot) else {
        return Ok(Err(ErrorCode::INTERNAL));
    };
    let user = conn.identity.as_ref().map_or("", |identity| &identity.user);
    if conn.membership(key).is_none() {
        return Ok(Err(ErrorCode::BAD_REQUEST));
    }
    let authority = &core.shared.authority;
    let grant = match authority.subscribe(token, user, channel, core.now.unix) {
        Ok(grant) => grant,
        Err(Denied::Expired) => return Ok(Err(ErrorCode::EXPIRED)),
        Err(Denied::Invalid | Denied::NotPermitted) => {
            return Err(DisconnectCode::INVALID_TOKEN.into());
        }
    };
    if let Some(membership) = core
        .conns
        .get_mut(slot)
        .and_then(|conn| conn.membership_mut(key))
    {
        membership.expires_at = grant
            .expires_at
            .map_or(0, |at| u32::try_from(at).unwrap_or(u32::MAX));
        membership.rights = PackedRights::new(grant.rights, membership.rights.is_by_server());
    }
    let (expires, ttl_s) = ttl(core, grant.expires_at);
    say!(
        core,
        slot,
        write_sub_refresh(id, &SubRefreshResult { expires, ttl_s })
    );
    Ok(Ok(()))
}

/// Whether something expires, and in how many seconds.
pub(super) fn ttl(core: &Core, expires_at: Option<u64>) -> (bool, u32) {
    expires_at.map_or((false, 0), |at| {
        (
            true,
            u32::try_from(at.saturating_sub(core.now.unix))
                .unwrap_or(u32::MAX)
                .max(1),
        )
    })
}

pub(super) fn position(epoch: Epoch, offset: u64) -> Position {
    let epoch = match epoch {
        Epoch::Known(epoch) => epoch,
        // History takes it for any epoch; nothing can be recovered from it.
        Epoch::Any => 0,
        Epoch::Foreign => Position::FOREIGN_EPOCH,
    };
    Position { epoch, offset }
}
