//! What the backend is asked on behalf of a client, whichever dialect it speaks, and what becomes of its answers.

use bytes::Bytes;
use fanfare_wire::centrifuge::FilterNode;
use fanfare_wire::centrifuge::codes::{DisconnectCode, ErrorCode, UnsubscribeCode};

use super::{Ending, Voice, end, error_reply, gave_up, grant, reply_to, voice};
use crate::api::{Payload, Position};
use crate::authority::Grant;
use crate::backend::{
    ConnectAsk, Connected, Extension, PublishAsk, Question, Refreshed, Refused, RpcAsk, SendAsk,
    SubRefreshAsk, SubscribeAsk, Subscribed,
};
use crate::conn::{Conn, Phase, unix_or_never};
use crate::core::Core;
use crate::encoding::data_in;
use crate::membership::Subscribe;
use crate::message::{Extras, Post};
use crate::room::Room;
use crate::slab::Key;

// -- who a client is

/// Bytes that a client may have waiting while the backend is asked who it is, with what it costs to keep them.
const QUEUED_BYTES_MAX: usize = 64 * 1024;

/// What a message costs to keep besides its bytes, in bytes: its place in the list, which doubles, and the allocator's.
const MESSAGE_BYTES: usize = 64;

/// What a client has sent while the backend is asked who it is: messages, and how many commands of each are done with.
#[derive(Debug, Default)]
pub(crate) struct Queued {
    messages: Vec<(Box<[u8]>, usize)>,
    bytes: usize,
}

/// Keeps what a client has sent that the backend is being asked about. Returns whether that is so.
pub(super) fn queue(
    core: &mut Core,
    slot: u32,
    message: &[u8],
    commands_done: usize,
) -> Result<bool, Ending> {
    let queued = core
        .conns
        .get_mut(slot)
        .and_then(|conn| conn.some_more_mut())
        .and_then(|more| more.queued.as_mut());
    let Some(queued) = queued else {
        return Ok(false);
    };
    if message.is_empty() {
        return Ok(true);
    }
    queued.bytes += message.len() + MESSAGE_BYTES;
    if queued.bytes > QUEUED_BYTES_MAX {
        return Err(DisconnectCode::TOO_MANY_REQUESTS.into());
    }
    queued.messages.push((message.into(), commands_done));
    Ok(true)
}

/// The backend is asked who the client is.
pub(super) fn is_asking(core: &Core, slot: u32) -> bool {
    let more = core.conns.get(slot).and_then(|conn| conn.some_more());
    more.is_some_and(|more| more.queued.is_some())
}

/// Asks the backend who a client is. What that sends meanwhile waits until `then` has let it in, or not: it gets what the
/// client is granted, and what else the backend says.
pub(super) fn who(
    core: &mut Core,
    slot: u32,
    ask: ConnectAsk,
    then: impl FnOnce(&mut Core, u32, Result<(Grant, Connected), Refused>) -> Result<(), Ending>
    + Send
    + 'static,
) -> Result<(), ErrorCode> {
    let Some(conn) = core.conns.get_mut(slot) else {
        return Ok(());
    };
    conn.more().queued = Some(Queued::default());
    let asked = core.ask(
        slot,
        |caller, answerer| Question::Connect(caller, ask, answerer),
        move |core, slot, answer| {
            let queued = core
                .conns
                .get_mut(slot)
                .and_then(|conn| conn.some_more_mut()?.queued.take());
            let known = match answer {
                Ok(connected) => known(core, slot, connected).map(Ok),
                Err(refused) => Ok(Err(refused)),
            };
            if let Err(ending) = known.and_then(|known| then(core, slot, known)) {
                return end(core, slot, ending);
            }
            for (mut message, commands_done) in queued.into_iter().flat_map(|it| it.messages) {
                if let Err(ending) = go_on(core, slot, &mut message, commands_done) {
                    return end(core, slot, ending);
                }
            }
        },
    );
    if asked.is_err()
        && let Some(conn) = core.conns.get_mut(slot)
    {
        conn.more().queued = None;
    }
    asked
}

/// The backend knows the client, or leaves open who it is.
fn known(
    core: &mut Core,
    slot: u32,
    mut connected: Connected,
) -> Result<(Grant, Connected), Ending> {
    let grant = match connected.grant.take() {
        Some(grant) => grant,
        None => grant(core, "").map_err(|_| DisconnectCode::INVALID_TOKEN)?,
    };
    // Otherwise it is for the client to bring a token.
    let is_refreshed = grant.expires_at.is_some() && core.asked().refresh;
    if let Some(conn) = core.conns.get_mut(slot) {
        let more = conn.more();
        more.meta = connected.meta.take();
        more.is_refreshed_by_backend = is_refreshed;
    }
    Ok((grant, connected))
}

/// Takes what a client has sent while the backend was asked who it is. What came before it may have ended the connection,
/// or asked anew.
fn go_on(
    core: &mut Core,
    slot: u32,
    message: &mut [u8],
    commands_done: usize,
) -> Result<(), Ending> {
    let is_heard = |conn: &Conn| matches!(conn.phase, Phase::Handshake | Phase::Open);
    let is_heard = core.conns.get(slot).is_some_and(is_heard);
    if !is_heard || queue(core, slot, message, commands_done)? {
        return Ok(());
    }
    if matches!(voice(core, slot), Voice::Centrifuge(_)) {
        return super::centrifuge::take_from(core, slot, message, commands_done);
    }
    super::receive(core, slot, message);
    Ok(())
}

/// Asks whether a connection whose time is up may stay.
pub(crate) fn refresh(core: &mut Core, slot: u32) {
    let Some(conn) = core.conns.get_mut(slot) else {
        return;
    };
    if std::mem::replace(&mut conn.more().is_refreshing, true) {
        return;
    }
    let asked = core.ask_about(slot, Question::Refresh, refreshed);
    if asked.is_err()
        && let Some(conn) = core.conns.get_mut(slot)
    {
        conn.more().is_refreshing = false;
    }
}

/// How long goes on what the backend could not be asked about, in seconds, as in Centrifugo.
const UNREACHABLE_GRACE_S: u64 = 60;

fn refreshed(core: &mut Core, slot: u32, answer: Result<Refreshed, Refused>) {
    let unreachable_until = core.now.unix + UNREACHABLE_GRACE_S;
    let Some(conn) = core.conns.get_mut(slot) else {
        return;
    };
    conn.more().is_refreshing = false;
    match answer {
        Ok(Refreshed::Extended(extension)) => {
            if let Some(meta) = extension.meta {
                conn.more().meta = Some(meta);
            }
            if let Some(identity) = conn.identity.as_mut() {
                identity.extend(extension.expires_at, extension.info, extension.capabilities);
            }
        }
        Err(Refused::Unreachable) => {
            if let Some(identity) = conn.identity.as_mut() {
                identity.extend(Some(unreachable_until), None, None);
            }
        }
        Err(refused @ Refused::Disconnect { .. }) => {
            core.end_refused(slot, refused, DisconnectCode::EXPIRED);
        }
        Ok(Refreshed::Expired) | Err(Refused::Error { .. }) => {
            core.disconnect(slot, DisconnectCode::EXPIRED);
        }
    }
}

// -- rooms

/// Asks whether a client may join a room, and on what terms. It need not have the right otherwise.
pub(super) fn join(
    core: &mut Core,
    slot: u32,
    subscribe: &Subscribe<'_>,
    data: &[u8],
) -> Result<(), ErrorCode> {
    if core.is_in(slot, subscribe.room) || core.is_asked_into(slot, subscribe.room) {
        return Err(ErrorCode::ALREADY_SUBSCRIBED);
    }
    let ask = SubscribeAsk {
        room: subscribe.room.into(),
        token: Box::default(),
        data: Bytes::copy_from_slice(data),
    };
    let wish = Wish {
        request: subscribe.request,
        room: subscribe.room.into(),
        recover: subscribe.recover,
        rejects_unrecovered: subscribe.rejects_unrecovered,
        wants_delta: subscribe.wants_delta,
        filter: subscribe.filter.cloned(),
    };
    core.ask(
        slot,
        |caller, answerer| Question::Subscribe(caller, ask, answerer),
        move |core, slot, answer| match answer {
            _ if !core.no_longer_asked_into(slot, &wish.room, Some(wish.request)) => {
                gave_up(core, slot, wish.request);
            }
            Ok(subscribed) => wish.come_true(core, slot, subscribed),
            Err(answer) => refuse(core, slot, wish.request, answer),
        },
    )?;
    if let Some(conn) = core.conns.get_mut(slot) {
        let asked_into = &mut conn.more().asked_into;
        asked_into.push((subscribe.room.into(), subscribe.request));
    }
    Ok(())
}

/// A subscribe that the backend decides about.
struct Wish {
    request: u32,
    room: Box<str>,
    recover: Option<Position>,
    rejects_unrecovered: bool,
    wants_delta: bool,
    filter: Option<FilterNode>,
}

impl Wish {
    fn come_true(&self, core: &mut Core, slot: u32, subscribed: Subscribed) {
        let Subscribed { grant, data } = subscribed;
        let subscribe = Subscribe {
            request: self.request,
            recover: self.recover,
            rejects_unrecovered: self.rejects_unrecovered,
            wants_delta: self.wants_delta,
            filter: self.filter.as_ref(),
            ..Subscribe::by_backend(&self.room, &grant)
        };
        if let Err(code) = core.subscribe(slot, subscribe) {
            return error_reply(core, slot, self.request, code);
        }
        if let Some(data) = data
            && let Voice::Centrifuge(encoding) = voice(core, slot)
        {
            keep_data(core, slot, &self.room, data_in(encoding.codec, &data));
        }
    }
}

/// Keeps data of the backend for when the client is told that it has joined. The room's answer is yet to come.
pub(super) fn keep_data(core: &mut Core, slot: u32, room: &str, data: Bytes) {
    if let Some(room) = core.rooms.find(room)
        && let Some(conn) = core.conns.get_mut(slot)
    {
        conn.more().room_data.push((room, data));
    }
}

/// Asks whether a subscription whose time is up may go on. Until there is an answer it does.
pub(crate) fn refresh_membership(core: &mut Core, slot: u32, room: Key<Room>) {
    let ask_again_at = core.now.unix + UNREACHABLE_GRACE_S;
    let Some(name) = core.rooms.slab.get(room).map(|room| room.name.clone()) else {
        return;
    };
    if let Some(membership) = membership(core, slot, room) {
        membership.expires_at = unix_or_never(Some(ask_again_at));
    }
    let ask = SubRefreshAsk {
        room: Box::from(&*name),
    };
    let asked = core.ask_about(
        slot,
        |caller, answerer| Question::SubRefresh(caller, ask, answerer),
        move |core, slot, answer| membership_refreshed(core, slot, room, answer),
    );
    debug_assert!(asked.is_ok(), "a backend has let it in");
}

fn membership_refreshed(
    core: &mut Core,
    slot: u32,
    room: Key<Room>,
    answer: Result<Refreshed, Refused>,
) {
    // It may have left meanwhile, and come back on other terms.
    let Some(membership) =
        membership(core, slot, room).filter(|membership| membership.is_refreshed_by_backend)
    else {
        return;
    };
    match answer {
        Ok(Refreshed::Extended(Extension {
            expires_at, info, ..
        })) => {
            membership.expires_at = unix_or_never(expires_at);
            if let Some(info) = info
                && let Some(conn) = core.conns.get_mut(slot)
            {
                let channel_info = &mut conn.more().channel_info;
                channel_info.retain(|(of, _)| *of != room);
                channel_info.push((room, info));
            }
        }
        Err(Refused::Unreachable) => {}
        Err(refused @ Refused::Disconnect { .. }) => {
            core.refused(slot, refused);
        }
        Ok(Refreshed::Expired) | Err(Refused::Error { .. }) => {
            core.unsubscribe_with(slot, room, UnsubscribeCode::EXPIRED);
        }
    }
}

fn membership(core: &mut Core, slot: u32, room: Key<Room>) -> Option<&mut crate::conn::Membership> {
    core.conns.get_mut(slot)?.membership_mut(room)
}

/// Asks whether a client may publish this, and what exactly. It need not have the right otherwise.
pub(super) fn publish(
    core: &mut Core,
    slot: u32,
    request: u32,
    room: &str,
    payload: Payload,
) -> Result<(), ErrorCode> {
    let room: Box<str> = room.into();
    let ask = PublishAsk {
        room: room.clone(),
        data: payload.bytes.clone(),
    };
    core.ask(
        slot,
        |caller, answerer| Question::Publish(caller, ask, answerer),
        move |core, slot, answer| match answer {
            Ok(decision) => {
                let extras = Extras {
                    tags: decision.tags,
                    skip_history: decision.skip_history,
                    idempotency_key: decision.idempotency_key,
                };
                let post = Post {
                    payload: decision.data.unwrap_or(payload),
                    publisher: core.publisher(slot, &room),
                    extras: (extras != Extras::default()).then(|| Box::new(extras)),
                };
                let reply = reply_to(core, slot, request);
                core.publish(&room, post, reply);
            }
            Err(answer) => refuse(core, slot, request, answer),
        },
    )
}

// -- what a client has to say to the backend

/// Asks for the answer to a call.
pub(super) fn call(
    core: &mut Core,
    slot: u32,
    method: &str,
    data: &[u8],
    then: impl FnOnce(&mut Core, u32, Result<Option<Payload>, Refused>) + Send + 'static,
) -> Result<(), ErrorCode> {
    if !core.asked().rpc {
        return Err(ErrorCode::NOT_AVAILABLE);
    }
    let ask = RpcAsk {
        method: method.into(),
        data: Bytes::copy_from_slice(data),
    };
    core.ask(
        slot,
        |caller, answerer| Question::Rpc(caller, ask, answerer),
        then,
    )
}

/// Passes on a message that has no answer. Without anyone to take it, the client is told by the end of the connection.
pub(super) fn send(core: &mut Core, slot: u32, data: &[u8]) -> Result<(), Ending> {
    if !core.asked().send {
        return Err(DisconnectCode::NOT_AVAILABLE.into());
    }
    let ask = SendAsk {
        data: Bytes::copy_from_slice(data),
    };
    let asked = core.ask(
        slot,
        |caller, answerer| Question::Send(caller, ask, answerer),
        |core, slot, answer| {
            if let Err(answer) = answer {
                unheard(core, slot, answer);
            }
        },
    );
    asked.map_err(|_| DisconnectCode::TOO_MANY_REQUESTS.into())
}

/// The backend does not want what a client has to say, which is nobody to tell it to.
pub(super) fn unheard(core: &mut Core, slot: u32, refused: Refused) {
    if core.refused(slot, refused).is_some() {
        core.gauges.counters.messages_refused.inc();
    }
}

/// Answers a request with what the backend refuses, in the way it wants.
pub(super) fn refuse(core: &mut Core, slot: u32, request: u32, refused: Refused) {
    if let Some(refusal) = core.refused(slot, refused) {
        super::refuse(core, slot, request, &refusal);
    }
}
