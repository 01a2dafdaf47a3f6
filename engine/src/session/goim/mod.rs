//! The dialect of goim: frames over TCP or WebSocket, in its versions 2 and 1.

mod auth;
mod rooms;

use std::sync::Arc;

use fanfare_wire::centrifuge::codes::DisconnectCode;
use fanfare_wire::goim::{self, Frame, MessageForm, Operation};
use fanfare_wire::ws;

use self::rooms::{Change, change_room, current_room};
pub(super) use self::rooms::{gave_up, joined, refuse};
use super::{Ending, Incoming, Voice, questions, set_voice};
use crate::conn::Phase;
use crate::core::Core;
use crate::encoding::{Carrier, Codec, Encoding};
use crate::message::Request;

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

/// What a connection of goim has beside a user. There may be a million of them: no room's name is a copy of its own, and
/// what most have only while they join is apart.
#[derive(Debug)]
pub(crate) struct Subscriber {
    /// The room that it has asked for last. That it is in it, its memberships tell: a join can fail, and the server can
    /// take it out, or have it in other rooms.
    room: Option<Arc<str>>,
    rare: Option<Box<Rare>>,
    /// When its last heartbeat came, in seconds since the engine started.
    beat_at_s: u32,
    /// It was in that room before it asked, and stays in it when it asks for another.
    keeps_room: bool,
    /// It need not be granted the rooms that it asks for.
    is_trusted: bool,
}

#[derive(Debug, Default)]
struct Rare {
    /// Its own name, for pushes to keys, if it has given one.
    key: Option<Box<str>>,
    /// The change to its room, while it is not answered.
    change: Option<Change>,
    /// The change whose join is under way. Another join begins when it has ended: however fast a client changes rooms, it
    /// costs the homes one join at a time.
    joining: Option<u32>,
    /// Numbers changes, as long as one is under way.
    last_change: u32,
}

impl Subscriber {
    fn rare(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    fn change(&self) -> Option<&Change> {
        self.rare.as_ref()?.change.as_ref()
    }

    fn joining(&self) -> Option<u32> {
        self.rare.as_ref()?.joining
    }

    pub(crate) fn take_key(&mut self) -> Option<Box<str>> {
        self.rare.as_mut()?.key.take()
    }

    /// Forgets what it does not have any more.
    fn tidy(&mut self) {
        let is_used = |it: &Rare| it.key.is_some() || it.change.is_some() || it.joining.is_some();
        if !self.rare.as_deref().is_some_and(is_used) {
            self.rare = None;
        }
    }
}

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
                if questions::queue(core, slot, &input[at..], 0)? {
                    return Ok(input.len());
                }
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
            Operation::AUTH => auth::greet(core, slot, frame),
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
        operation => say(core, slot, frame, operation, b""),
    }
}

fn handle_v1(core: &mut Core, slot: u32, frame: &Frame<'_>) -> Result<(), Ending> {
    match frame.operation {
        Operation::HEARTBEAT => {
            beat(core, slot);
            reply(core, slot, frame, Operation::HEARTBEAT_REPLY, b"");
        }
        Operation::SEND => return say(core, slot, frame, Operation::SEND_REPLY, frame.body),
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

/// What the application says: a call to the backend, or else a message to it. goim answers whether or not anybody listens:
/// this is what the answer has when the backend says nothing.
fn say(
    core: &mut Core,
    slot: u32,
    frame: &Frame<'_>,
    operation: Operation,
    nothing: &[u8],
) -> Result<(), Ending> {
    let asked = core.asked();
    if !asked.rpc {
        if asked.send {
            questions::send(core, slot, frame.body)?;
        } else {
            core.gauges.counters.goim_messages_unheard.inc();
        }
        reply(core, slot, frame, operation, nothing);
        return Ok(());
    }
    let method = format!("goim.{}", frame.operation.0);
    let (version, seq) = (frame.version, frame.seq);
    let nothing = Box::<[u8]>::from(nothing);
    let called = questions::call(
        core,
        slot,
        &method,
        frame.body,
        move |core, slot, answer| {
            let data = match answer {
                Ok(data) => data,
                Err(refused) => {
                    questions::unheard(core, slot, refused);
                    None
                }
            };
            let style = style(core, slot);
            let body = data.as_ref().map_or(&*nothing, |data| &data.bytes);
            write(core, slot, style, version, operation, seq, body);
        },
    );
    called.map_err(|_| DisconnectCode::TOO_MANY_REQUESTS.into())
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
        room: Box::from(&*room),
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
    core.conns.get_mut(slot)?.goim()
}
