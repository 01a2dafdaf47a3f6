//! Sessions: the dialects, as state machines. Bytes in become requests to the engine; what comes back becomes bytes
//! out.
//!
//! A session begins as [`Session::Sniffing`]; the first bytes, and for HTTP the head, decide what it becomes. Adding a
//! dialect adds a variant here, a file beside this one, and an [`Encoding`] if its frames differ.

mod centrifuge;
#[cfg(feature = "echo")]
mod echo;
mod native;
mod opening;

use std::num::NonZeroU32;

use fanfare_wire::centrifuge::codes::{DisconnectCode, ErrorCode, UnsubscribeCode};
use fanfare_wire::ws;

use crate::api::{ApiError, Payload};
use crate::authority::{Denied, Grant};
use crate::conn::Phase;
use crate::core::Core;
use crate::encoding::{Encoding, centrifuge_data};
use crate::membership::Subscribe;
use crate::message::{Answer, Joined};
use crate::room::Room;
use crate::slab::Key;

/// What a connection speaks, and where in it it is. A buffer exists only while something is partial.
#[derive(Debug)]
pub(crate) enum Session {
    /// Too little has come to know the dialect, or the HTTP head is not complete.
    Sniffing(Option<Box<Vec<u8>>>),
    Centrifuge(ws::Decoder),
    Native(native::Framing),
    #[cfg(feature = "echo")]
    Echo(ws::Decoder),
    /// The connection has been told to go; what it sends is discarded.
    Over,
}

impl Default for Session {
    fn default() -> Self {
        Self::Sniffing(None)
    }
}

impl Session {
    /// Something has begun to come and is not complete.
    fn is_partial(&self) -> bool {
        match self {
            Self::Sniffing(head) => head.is_some(),
            Self::Centrifuge(decoder) => !decoder.is_idle(),
            Self::Native(framing) => framing.is_partial(),
            #[cfg(feature = "echo")]
            Self::Echo(decoder) => !decoder.is_idle(),
            Self::Over => false,
        }
    }
}

/// Why a session ends from this side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// With a code of the dialect.
    Disconnect(DisconnectCode),
    /// With a code of WebSocket alone: what came was not a message at all.
    WebSocket { code: u16 },
    /// All that was to be said has been written.
    Said,
    /// Without a word: what came is of no protocol we know.
    Silent,
}

impl From<DisconnectCode> for Ending {
    fn from(code: DisconnectCode) -> Self {
        Self::Disconnect(code)
    }
}

/// Feeds a session with what was received.
pub(crate) fn receive(core: &mut Core, slot: u32, input: &mut [u8]) {
    let Some(conn) = core.conns.get_mut(slot) else {
        return;
    };
    // Taken out while it works, since it works on the engine that it is part of.
    let mut session = std::mem::take(&mut conn.session);
    let messages_before = core.gauges.counters.messages_received.value();
    let result = step(core, slot, &mut session, input);
    let Some(conn) = core.conns.get_mut(slot) else {
        return;
    };
    if !matches!(conn.phase, Phase::Handshake | Phase::Open) {
        return;
    }
    // A stream of messages may end each receive within one; only one that does not get on is held against it.
    let has_progressed = core.gauges.counters.messages_received.value() != messages_before;
    if !session.is_partial() {
        conn.partial_since_s = None;
    } else if has_progressed || conn.partial_since_s.is_none() {
        let now_s = u32::try_from(core.now.ms / 1000).unwrap_or(u32::MAX);
        conn.partial_since_s = Some(NonZeroU32::MIN.saturating_add(now_s));
    }
    conn.session = session;
    if let Err(ending) = result {
        end(core, slot, ending);
    }
}

fn step(core: &mut Core, slot: u32, session: &mut Session, input: &mut [u8]) -> Result<(), Ending> {
    match session {
        Session::Sniffing(_) => opening::receive(core, slot, session, input),
        Session::Centrifuge(decoder) => centrifuge::receive(core, slot, decoder, input),
        Session::Native(framing) => native::receive(core, slot, framing, input),
        #[cfg(feature = "echo")]
        Session::Echo(decoder) => echo::receive(core, slot, decoder, input),
        Session::Over => Ok(()),
    }
}

fn end(core: &mut Core, slot: u32, ending: Ending) {
    match ending {
        Ending::Said => {}
        Ending::Disconnect(code) => {
            core.gauges.counters.protocol_errors.inc();
            disconnect(core, slot, code.number(), code.reason());
        }
        Ending::WebSocket { code } => {
            core.gauges.counters.protocol_errors.inc();
            core.write(slot, |out| ws::write_close(out, code, ""));
        }
        Ending::Silent => {
            core.gauges.counters.protocol_errors.inc();
            core.begin_close(slot);
            return;
        }
    }
    core.finish(slot);
}

/// Which dialect a connection speaks, as far as what it is told depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Voice {
    /// No dialect yet, or none that can be told anything.
    None,
    Centrifuge,
    Native(native::Carrier),
    #[cfg(feature = "echo")]
    WebSocket,
}

fn voice(core: &Core, slot: u32) -> Voice {
    core.conns.get(slot).map_or(Voice::None, |conn| conn.voice)
}

fn set_voice(core: &mut Core, slot: u32, voice: Voice) {
    if let Some(conn) = core.conns.get_mut(slot) {
        conn.voice = voice;
    }
}

/// Tells the client to go, with a code. The caller ends the connection.
pub(crate) fn disconnect(core: &mut Core, slot: u32, code: u16, reason: &str) {
    match voice(core, slot) {
        Voice::None => {}
        Voice::Centrifuge => core.write(slot, |out| ws::write_close(out, code, reason)),
        Voice::Native(carrier) => native::disconnect(core, slot, carrier, code, reason),
        #[cfg(feature = "echo")]
        Voice::WebSocket => core.write(slot, |out| ws::write_close(out, code, reason)),
    }
}

/// Asks the client whether it is there.
pub(crate) fn ping(core: &mut Core, slot: u32) {
    match voice(core, slot) {
        Voice::Centrifuge => centrifuge::ping(core, slot),
        Voice::Native(carrier) => native::ping(core, slot, carrier),
        _ => {}
    }
}

/// The client is a member now: answers its request, or tells it that the server did it.
pub(crate) fn joined(core: &mut Core, slot: u32, joined: &Joined) {
    match voice(core, slot) {
        Voice::Centrifuge => centrifuge::joined(core, slot, joined),
        Voice::Native(carrier) => native::joined(core, slot, carrier, joined),
        _ => {}
    }
}

/// A request that was under way between shards has failed.
pub(crate) fn failed(core: &mut Core, slot: u32, request: u32, error: ApiError) {
    error_reply(core, slot, request, error_code(error));
}

/// A request to join ends because the room was left before it was joined.
pub(crate) fn gave_up(core: &mut Core, slot: u32, request: u32) {
    // Temporary: an SDK that has subscribed again meanwhile must not take it for the end of that.
    error_reply(core, slot, request, ErrorCode::INTERNAL);
}

/// Answers a request with an error.
fn error_reply(core: &mut Core, slot: u32, request: u32, code: ErrorCode) {
    core.gauges.counters.client_errors.inc();
    if request == 0 {
        return;
    }
    match voice(core, slot) {
        Voice::Centrifuge => centrifuge::error(core, slot, request, code),
        Voice::Native(carrier) => native::error(core, slot, carrier, request, code),
        _ => {}
    }
}

/// The answer to a request that was under way between shards.
pub(crate) fn answer(core: &mut Core, slot: u32, request: u32, answer: Answer) {
    match voice(core, slot) {
        Voice::Centrifuge => centrifuge::answer(core, slot, request, answer),
        Voice::Native(carrier) => native::answer(core, slot, carrier, request, answer),
        _ => {}
    }
}

/// Tells the client that the server takes it out of a room.
pub(crate) fn unsubscribed(core: &mut Core, slot: u32, room: Key<Room>, code: UnsubscribeCode) {
    match voice(core, slot) {
        Voice::Centrifuge => centrifuge::unsubscribed(core, slot, room, code),
        Voice::Native(carrier) => native::unsubscribed(core, slot, carrier, room, code),
        _ => {}
    }
}

/// Tells a slow client what it lost. Centrifuge has no word for a gap within a subscription: the client is taken
/// out of the room with a code upon which it subscribes again and recovers.
pub(crate) fn gap(core: &mut Core, slot: u32, room: Key<Room>, from: u64, to: u64) {
    match voice(core, slot) {
        Voice::Centrifuge => core.unsubscribe_with(slot, room, UnsubscribeCode::INSUFFICIENT_STATE),
        Voice::Native(carrier) => native::gap(core, slot, carrier, room, from, to),
        _ => {}
    }
}

/// A message to this connection, outside any room.
pub(crate) fn push(core: &mut Core, slot: u32, payload: &Payload) {
    if let Some(encoding) = core.conns.get(slot).and_then(|conn| conn.encoding()) {
        core.write(slot, |out| write_message(out, encoding, payload));
    }
}

/// Appends a message outside any room as a frame of this encoding.
pub(crate) fn write_message(out: &mut Vec<u8>, encoding: Encoding, payload: &Payload) {
    use fanfare_wire::{centrifuge::json, native};
    let message = native::Message {
        data: &payload.bytes,
    };
    match encoding {
        Encoding::CentrifugeJson => {
            ws::write_frame_with(out, ws::Opcode::Text, |out| {
                json::write_message_push(out, centrifuge_data(payload))
            });
        }
        Encoding::Native => native::write_message(out, &message),
        Encoding::NativeWebSocket => {
            ws::write_frame_with(out, ws::Opcode::Binary, |out| {
                native::write_message(out, &message)
            });
        }
    }
}

const fn error_code(error: ApiError) -> ErrorCode {
    match error {
        ApiError::UnknownRoom => ErrorCode::UNKNOWN_CHANNEL,
        ApiError::BadRequest => ErrorCode::BAD_REQUEST,
        ApiError::NotAvailable => ErrorCode::NOT_AVAILABLE,
        ApiError::UnrecoverablePosition => ErrorCode::UNRECOVERABLE_POSITION,
        ApiError::TooManyRooms | ApiError::TooMuch => ErrorCode::LIMIT_EXCEEDED,
        ApiError::Busy => ErrorCode::TOO_MANY_REQUESTS,
        ApiError::Stopping => ErrorCode::INTERNAL,
    }
}

// -- what dialects share

/// Largest message of a connection that has not authenticated, in bytes: a token fits, and strangers cannot make us
/// keep more than an HTTP head would.
const HANDSHAKE_BYTES_MAX: u32 = 16 * 1024;

/// The largest message that the connection may send now.
fn message_bytes_max(core: &Core, slot: u32) -> u32 {
    let limit = core.shared.config.limits.message_bytes_max;
    if core
        .conns
        .get(slot)
        .is_some_and(|conn| conn.phase == Phase::Open)
    {
        limit
    } else {
        limit.min(HANDSHAKE_BYTES_MAX)
    }
}

fn ws_limits(core: &Core, slot: u32) -> ws::Limits {
    ws::Limits {
        message_bytes_max: message_bytes_max(core, slot),
        fragments_max: core.shared.config.limits.fragments_max,
    }
}

/// Handles pings, pongs and closes of WebSocket itself (RFC 6455 section 5.5).
fn control_event(core: &mut Core, slot: u32, event: ws::Event<'_>) -> Result<(), Ending> {
    match event {
        ws::Event::Ping(payload) => {
            core.write(slot, |out| ws::write_frame(out, ws::Opcode::Pong, payload));
            Ok(())
        }
        ws::Event::Pong(_) | ws::Event::Text(_) | ws::Event::Binary(_) => Ok(()),
        ws::Event::Close(close) => {
            core.write(slot, |out| match close {
                Some(close) => ws::write_close(out, close.code, ""),
                None => ws::write_frame(out, ws::Opcode::Close, &[]),
            });
            Err(Ending::Said)
        }
    }
}

/// What a connection token grants.
fn grant(core: &Core, token: &str) -> Result<Grant, Denied> {
    let grant = if token.is_empty() {
        if core.shared.config.allow_anonymous {
            Ok(Grant::default())
        } else {
            Err(Denied::Invalid)
        }
    } else {
        core.shared.authority.connect(token, core.now.unix)
    };
    let user_bytes_max = core.shared.config.limits.user_name_bytes_max as usize;
    let grant = grant.and_then(|grant| {
        if grant.user.len() > user_bytes_max {
            Err(Denied::Invalid)
        } else {
            Ok(grant)
        }
    });
    if grant.is_err() {
        core.gauges.counters.auth_failures.inc();
    }
    grant
}

/// Makes a new connection a member of the rooms that its token names.
fn subscribe_by_server(core: &mut Core, slot: u32, rooms: &[Box<str>]) {
    for room in rooms {
        let subscribe = Subscribe {
            request: 0,
            room,
            token: "",
            recover: None,
            rejects_unrecovered: false,
        };
        if core.subscribe(slot, subscribe).is_err() {
            core.gauges.counters.client_errors.inc();
        }
    }
}
