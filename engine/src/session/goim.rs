//! The dialect of goim: frames over TCP or WebSocket, in its versions 2 and 1.

use fanfare_wire::centrifuge::codes::{DisconnectCode, ErrorCode};
use fanfare_wire::goim::{self, Auth, AuthV1, Frame, Generation, MessageForm, Operation};
use fanfare_wire::ws;

use super::{Ending, Incoming, Voice, grant, set_voice};
use crate::authority::{Denied, Grant};
use crate::conn::Phase;
use crate::core::Core;
use crate::encoding::{Carrier, Codec, Encoding};
use crate::membership::Subscribe;
use crate::message::{Joined, Request};

/// Where frames begin and end.
#[derive(Debug)]
pub(crate) enum Framing {
    /// On a stream: the beginning of a frame, while there is only that.
    Tcp { partial: Option<Box<Vec<u8>>> },
    /// A message is a frame.
    WebSocket(ws::Decoder),
}

impl Framing {
    pub(super) const fn tcp() -> Self {
        Self::Tcp { partial: None }
    }

    pub(super) const fn websocket() -> Self {
        Self::WebSocket(ws::Decoder::new(ws::Role::Server))
    }

    pub(super) fn is_partial(&self) -> bool {
        match self {
            Self::Tcp { partial } => partial.is_some(),
            Self::WebSocket(decoder) => !decoder.is_idle(),
        }
    }
}

/// How a client talks: its first message says, and until then it is taken for one of version 2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    Tcp,
    WebSocket,
    V1Tcp,
    V1WebSocket,
}

impl Style {
    const fn encoding(self) -> Encoding {
        match self {
            Self::Tcp => Encoding::new(Codec::Goim, Carrier::Bare),
            Self::WebSocket => Encoding::new(Codec::Goim, Carrier::WebSocket),
            Self::V1Tcp => Encoding::new(Codec::GoimV1, Carrier::Bare),
            Self::V1WebSocket => Encoding::new(Codec::GoimV1Json, Carrier::WebSocket),
        }
    }

    pub(crate) const fn is_websocket(self) -> bool {
        matches!(self, Self::WebSocket | Self::V1WebSocket)
    }

    const fn is_v1(self) -> bool {
        matches!(self, Self::V1Tcp | Self::V1WebSocket)
    }
}

/// What a connection of goim has beside a user.
#[derive(Debug)]
pub(crate) struct Subscriber {
    /// Its own name, for pushes to keys.
    pub(crate) key: Box<str>,
    /// The room that it has asked for last. That it is in it, its memberships tell: a join can fail, and the server can
    /// take it out, or have it in other rooms.
    room: Option<Box<str>>,
    /// It was in that room before it asked, and stays in it when it asks for another.
    keeps_room: bool,
    /// The change to that room, while it is not answered.
    change: Option<Change>,
    /// The change whose join is under way. Another join begins when it has ended: however fast a client changes rooms, it
    /// costs the homes one join at a time.
    joining: Option<u32>,
    /// Numbers changes.
    last_change: u32,
    /// It need not be granted the rooms that it asks for.
    is_trusted: bool,
    /// When its last heartbeat came, in seconds since the engine started.
    beat_at_s: u32,
}

/// A change of room that has not been answered.
#[derive(Debug, Clone, Copy)]
struct Change {
    request: u32,
    version: i16,
    seq: i32,
}

/// The request of the joins that auth asks for: none of them is answered.
const AT_AUTH: u32 = 1;

pub(super) fn receive(
    core: &mut Core,
    slot: u32,
    framing: &mut Framing,
    input: &mut [u8],
) -> Result<(), Ending> {
    match framing {
        Framing::Tcp { partial } => super::stream(core, slot, partial, input, frames),
        Framing::WebSocket(decoder) => super::messages(core, slot, decoder, input, message),
    }
}

/// Handles the whole frames at the start of `input`; returns how many bytes they took.
fn frames(core: &mut Core, slot: u32, input: &[u8]) -> Result<usize, Ending> {
    let mut at = 0;
    loop {
        match goim::decode(&input[at..], body_bytes_max(core, slot)) {
            Ok(Some((frame, consumed))) => {
                handle(core, slot, &frame)?;
                at += consumed;
            }
            Ok(None) => return Ok(at),
            Err(error) => return Err(error.code().into()),
        }
    }
}

fn message(core: &mut Core, slot: u32, message: Incoming<'_>) -> Result<(), Ending> {
    let (Incoming::Text(bytes) | Incoming::Binary(bytes)) = message;
    if !is_open(core, slot) && goim::message_form(bytes) == Some(MessageForm::Json) {
        set_voice(core, slot, Voice::Goim(Style::V1WebSocket));
    }
    let body_bytes_max = body_bytes_max(core, slot);
    let frame = if style(core, slot) == Style::V1WebSocket {
        goim::decode_v1_json(bytes, body_bytes_max).map_err(|error| error.code())?
    } else {
        goim::decode_message(bytes, body_bytes_max).map_err(|error| error.code())?
    };
    handle(core, slot, &frame)
}

fn handle(core: &mut Core, slot: u32, frame: &Frame<'_>) -> Result<(), Ending> {
    core.gauges.counters.messages_received.inc();
    if !is_open(core, slot) {
        return match frame.operation {
            Operation::AUTH => greet(core, slot, frame),
            _ => Err(DisconnectCode::BAD_REQUEST.into()),
        };
    }
    if style(core, slot).is_v1() {
        return handle_v1(core, slot, frame);
    }
    match frame.operation {
        Operation::AUTH => Err(DisconnectCode::BAD_REQUEST.into()),
        Operation::HEARTBEAT => heartbeat(core, slot, frame),
        Operation::CHANGE_ROOM => change_room(core, slot, frame),
        Operation::SUB => {
            for operation in goim::parse_operations(frame.body).into_iter().flatten() {
                core.watch(slot, operation);
            }
            reply(core, slot, frame, Operation::SUB_REPLY, frame.body);
            Ok(())
        }
        Operation::UNSUB => {
            for operation in goim::parse_operations(frame.body).into_iter().flatten() {
                core.unwatch(slot, operation);
            }
            reply(core, slot, frame, Operation::UNSUB_REPLY, frame.body);
            Ok(())
        }
        // What the application says. goim answers whether or not anybody listens.
        operation => {
            core.gauges.counters.goim_messages_unheard.inc();
            reply(core, slot, frame, operation, b"");
            Ok(())
        }
    }
}

fn handle_v1(core: &mut Core, slot: u32, frame: &Frame<'_>) -> Result<(), Ending> {
    match frame.operation {
        Operation::HEARTBEAT => {
            beat(core, slot);
            reply(core, slot, frame, Operation::HEARTBEAT_REPLY, b"");
        }
        Operation::SEND => {
            core.gauges.counters.goim_messages_unheard.inc();
            reply(core, slot, frame, Operation::SEND_REPLY, frame.body);
        }
        Operation::V1_TEST => {
            reply(
                core,
                slot,
                frame,
                Operation::V1_TEST_REPLY,
                goim::V1_TEST_BODY,
            );
        }
        _ => return Err(DisconnectCode::BAD_REQUEST.into()),
    }
    Ok(())
}

// -- who it is

fn greet(core: &mut Core, slot: u32, frame: &Frame<'_>) -> Result<(), Ending> {
    let is_json = style(core, slot) == Style::V1WebSocket;
    // All of it: a reader of JSON does not look into the fields that it passes over.
    if str::from_utf8(frame.body).is_err() {
        return Err(DisconnectCode::BAD_REQUEST.into());
    }
    let auth = match goim::generation(frame.body) {
        Generation::V2 => goim::parse_auth(frame.body).map_err(|error| error.code())?,
        Generation::V1 => {
            if !is_json && style(core, slot) == Style::Tcp {
                set_voice(core, slot, Voice::Goim(Style::V1Tcp));
            }
            match goim::parse_auth_v1(frame.body).map_err(|error| error.code())? {
                AuthV1::User { uid, .. } => Auth {
                    mid: uid,
                    ..Auth::default()
                },
                AuthV1::Token(token) => Auth {
                    token: token.into(),
                    ..Auth::default()
                },
            }
        }
    };
    let is_trusted = auth.token.is_empty() && core.shared.config.goim.trust_clients;
    let grant = authenticate(core, &auth)?;
    let rooms = grant.rooms.clone();
    let style = style(core, slot);
    let Some(client) = core.authenticated(slot, grant, style.encoding()) else {
        return Ok(());
    };
    let key: Box<str> = if auth.key.is_empty() {
        client.to_string().into()
    } else {
        Box::from(&*auth.key)
    };
    let beat_at_s = now_s(core);
    if let Some(conn) = core.conns.get_mut(slot) {
        conn.more().goim = Some(Subscriber {
            key: key.clone(),
            room: None,
            keeps_room: false,
            change: None,
            joining: None,
            last_change: AT_AUTH,
            is_trusted,
            beat_at_s,
        });
    }
    super::subscribe_by_server(core, slot, &rooms);
    enter_at_auth(core, slot, &auth)?;
    // Only now: who may not be where it wants to be is closed without an answer, and takes nobody's key.
    core.bind_key(slot, key);
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
        enter(core, slot, AT_AUTH, room).map_err(refused)?;
    }
    if auth.room_id.is_empty() {
        return Ok(());
    }
    let entered = enter(core, slot, AT_AUTH, &auth.room_id).map_err(refused)?;
    if let Some(subscriber) = subscriber(core, slot) {
        subscriber.room = Some(Box::from(&*auth.room_id));
        subscriber.keeps_room = entered == Entered::Before;
    }
    Ok(())
}

fn refused(error: ErrorCode) -> Ending {
    let code = match error {
        ErrorCode::BAD_REQUEST => DisconnectCode::BAD_REQUEST,
        ErrorCode::LIMIT_EXCEEDED => DisconnectCode::CHANNEL_LIMIT,
        _ => DisconnectCode::PERMISSION_DENIED,
    };
    code.into()
}

fn authenticate(core: &Core, auth: &Auth<'_>) -> Result<Grant, Ending> {
    let mid = (auth.mid != 0).then(|| Box::<str>::from(auth.mid.to_string()));
    if auth.token.is_empty() && core.shared.config.goim.trust_clients {
        return Ok(Grant {
            user: mid.unwrap_or_default(),
            ..Grant::default()
        });
    }
    let grant = grant(core, &auth.token).map_err(|denied| match denied {
        Denied::Expired => Ending::Disconnect(DisconnectCode::EXPIRED),
        Denied::Invalid | Denied::NotPermitted => Ending::Disconnect(DisconnectCode::INVALID_TOKEN),
    })?;
    let is_other = mid.is_some_and(|mid| mid != grant.user);
    if is_other || !(auth.key.is_empty() || is_own_key(&grant.user, &auth.key)) {
        core.gauges.counters.auth_failures.inc();
        return Err(DisconnectCode::INVALID_TOKEN.into());
    }
    Ok(grant)
}

/// A token says who the user is, and not which keys are theirs: the user's name is, and what begins with it and a
/// separator. `.`, `-` and `_` are none: names have them, and `ann` shall not have the key of `ann.b`.
fn is_own_key(user: &str, key: &str) -> bool {
    !user.is_empty()
        && key
            .strip_prefix(user)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with([':', '/', '#']))
}

// -- rooms

/// How a client has come into a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Entered {
    /// The home has been asked; its answer is to come.
    Now,
    /// It was in it.
    Before,
}

/// Joins a room because the client asks.
fn enter(core: &mut Core, slot: u32, request: u32, room: &str) -> Result<Entered, ErrorCode> {
    let is_trusted = subscriber(core, slot).is_some_and(|it| it.is_trusted);
    let subscribe = Subscribe {
        request,
        ..if is_trusted {
            Subscribe::by_server(room)
        } else {
            Subscribe::by_client(room)
        }
    };
    match core.subscribe(slot, subscribe) {
        Ok(()) => Ok(Entered::Now),
        Err(ErrorCode::ALREADY_SUBSCRIBED) => Ok(Entered::Before),
        Err(error) => {
            core.gauges.counters.client_errors.inc();
            Err(error)
        }
    }
}

/// Leaves the room that the client is in for another one; an empty name is none. The answer comes when it is there, or
/// when the next change comes before that, so answers keep their order. It repeats the name however it went, as goim's does.
fn change_room(core: &mut Core, slot: u32, frame: &Frame<'_>) -> Result<(), Ending> {
    let Ok(room) = str::from_utf8(frame.body) else {
        return Err(DisconnectCode::BAD_REQUEST.into());
    };
    let is_there = current_room(core, slot).is_some_and(|it| *it == *room);
    let before = answer_change(core, slot);
    let Some(subscriber) = subscriber(core, slot) else {
        return Ok(());
    };
    if !is_there
        && let Some(left) = subscriber.room.take()
        && !subscriber.keeps_room
    {
        core.unsubscribe(slot, &left);
    }
    if room.is_empty() || is_there && before.is_none() {
        reply(core, slot, frame, Operation::CHANGE_ROOM_REPLY, frame.body);
        return Ok(());
    }
    let Some(subscriber) = self::subscriber(core, slot) else {
        return Ok(());
    };
    let next = subscriber.last_change.wrapping_add(1).max(AT_AUTH + 1);
    let request = before.filter(|_| is_there).map_or(next, |it| it.request);
    subscriber.last_change = next;
    subscriber.change = Some(Change {
        request,
        version: frame.version,
        seq: frame.seq,
    });
    if !is_there {
        subscriber.room = Some(room.into());
        subscriber.keeps_room = false;
        go_on(core, slot);
    }
    Ok(())
}

/// Begins the join of the change that is not answered, unless one is under way.
fn go_on(core: &mut Core, slot: u32) {
    let Some(subscriber) = subscriber(core, slot) else {
        return;
    };
    let (Some(change), Some(room), None) = (
        subscriber.change,
        subscriber.room.clone(),
        subscriber.joining,
    ) else {
        return;
    };
    let entered = enter(core, slot, change.request, &room);
    let Some(subscriber) = self::subscriber(core, slot) else {
        return;
    };
    match entered {
        Ok(Entered::Now) => subscriber.joining = Some(change.request),
        Ok(Entered::Before) => {
            subscriber.keeps_room = true;
            answer_change(core, slot);
        }
        Err(_) => {
            answer_change(core, slot);
        }
    }
}

/// Answers the change that is not answered, and returns it.
fn answer_change(core: &mut Core, slot: u32) -> Option<Change> {
    let subscriber = subscriber(core, slot)?;
    let change = subscriber.change.take()?;
    let room = subscriber.room.clone().unwrap_or_default();
    let style = style(core, slot);
    let operation = Operation::CHANGE_ROOM_REPLY;
    let body = room.as_bytes();
    write(
        core,
        slot,
        style,
        change.version,
        operation,
        change.seq,
        body,
    );
    Some(change)
}

/// The room that the client has asked for, if it is in it or on its way.
fn current_room(core: &mut Core, slot: u32) -> Option<Box<str>> {
    let subscriber = subscriber(core, slot)?;
    let (room, is_on_its_way) = (subscriber.room.clone()?, subscriber.change.is_some());
    let membership = core
        .rooms
        .find(&room)
        .and_then(|key| core.conns.get(slot)?.membership(key));
    (is_on_its_way || membership.is_some()).then_some(room)
}

/// A join has come to its end, one way or the other.
fn ended(core: &mut Core, slot: u32, request: u32) {
    let Some(subscriber) = subscriber(core, slot) else {
        return;
    };
    if subscriber.joining != Some(request) {
        return;
    }
    subscriber.joining = None;
    if subscriber.change.is_some_and(|it| it.request == request) {
        answer_change(core, slot);
    } else {
        go_on(core, slot);
    }
}

pub(super) fn joined(core: &mut Core, slot: u32, joined: &Joined) {
    ended(core, slot, joined.request);
}

pub(super) fn error(core: &mut Core, slot: u32, request: u32) {
    ended(core, slot, request);
}

// -- heartbeats

fn heartbeat(core: &mut Core, slot: u32, frame: &Frame<'_>) -> Result<(), Ending> {
    beat(core, slot);
    let Some(room) = current_room(core, slot) else {
        reply(
            core,
            slot,
            frame,
            Operation::HEARTBEAT_REPLY,
            &0_i32.to_be_bytes(),
        );
        return Ok(());
    };
    let home = core.shared.home_of(&room);
    let conn = core.conn_ref(slot);
    let (version, seq) = (frame.version, frame.seq);
    let request = Request::Online {
        room,
        conn,
        version,
        seq,
    };
    core.request(home, request);
    Ok(())
}

/// How many are in the room of a client that has sent a heartbeat.
pub(crate) fn online(core: &mut Core, slot: u32, version: i16, seq: i32, members: u32) {
    let members = i32::try_from(members).unwrap_or(i32::MAX).to_be_bytes();
    let style = style(core, slot);
    let operation = Operation::HEARTBEAT_REPLY;
    write(core, slot, style, version, operation, seq, &members);
}

fn beat(core: &mut Core, slot: u32) {
    let now_s = now_s(core);
    if let Some(subscriber) = subscriber(core, slot) {
        subscriber.beat_at_s = now_s;
    }
}

/// The client has not been heard of for longer than it may: here the client beats, and the server listens.
pub(super) fn is_silent(core: &mut Core, slot: u32) -> bool {
    let timeout = core.shared.config.goim.heartbeat_timeout.as_secs();
    let now_s = now_s(core);
    subscriber(core, slot).is_some_and(|it| u64::from(now_s.saturating_sub(it.beat_at_s)) > timeout)
}

fn now_s(core: &Core) -> u32 {
    u32::try_from(core.now.ms / 1000).unwrap_or(u32::MAX)
}

// -- what is written

/// Tells a WebSocket client to go. Over TCP there is no word for it: the connection ends.
pub(super) fn disconnect(core: &mut Core, slot: u32, style: Style, code: u16, reason: &str) {
    if style.is_websocket() {
        core.write(slot, |out| ws::write_close(out, code, reason));
    }
}

fn reply(core: &mut Core, slot: u32, to: &Frame<'_>, operation: Operation, body: &[u8]) {
    let style = style(core, slot);
    write(core, slot, style, to.version, operation, to.seq, body);
}

fn write(
    core: &mut Core,
    slot: u32,
    style: Style,
    version: i16,
    operation: Operation,
    seq: i32,
    body: &[u8],
) {
    core.write(slot, |out| match style {
        Style::Tcp | Style::V1Tcp => goim::write_frame(out, version, operation, seq, body),
        Style::WebSocket => ws::write_frame_with(out, ws::Opcode::Binary, |out| {
            goim::write_frame(out, version, operation, seq, body);
        }),
        Style::V1WebSocket => ws::write_frame_with(out, ws::Opcode::Text, |out| {
            goim::write_v1_json(out, version, operation, seq, body);
        }),
    });
}

/// The longest body that the client may send now, in bytes. That of auth is as long in version 1: a token may be in it.
fn body_bytes_max(core: &Core, slot: u32) -> u32 {
    let body_bytes_max = if is_open(core, slot) && style(core, slot).is_v1() {
        goim::V1_BODY_BYTES_MAX
    } else {
        goim::BODY_BYTES_MAX
    };
    body_bytes_max.min(super::message_bytes_max(core, slot))
}

fn style(core: &Core, slot: u32) -> Style {
    match super::voice(core, slot) {
        Voice::Goim(style) => style,
        _ => Style::Tcp,
    }
}

fn is_open(core: &Core, slot: u32) -> bool {
    core.conns
        .get(slot)
        .is_some_and(|conn| conn.phase == Phase::Open)
}

fn subscriber(core: &mut Core, slot: u32) -> Option<&mut Subscriber> {
    core.conns.get_mut(slot)?.more.as_mut()?.goim.as_mut()
}
