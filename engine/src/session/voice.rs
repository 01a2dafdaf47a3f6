//! What the engine has to say to a connection, in the dialect that it speaks.

use fanfare_wire::centrifuge::codes::{DisconnectCode, ErrorCode, UnsubscribeCode};
#[cfg(feature = "echo")]
use fanfare_wire::ws;

use super::{centrifuge, comet, goim, native};
use crate::api::{ApiError, Message};
use crate::core::Core;
use crate::encoding::{Codec, Encoding, write_message};
use crate::hooks::Refusal;
use crate::message::{Answer, Joined, ReplyTo};
use crate::room::Room;
use crate::slab::Key;

/// Which dialect a connection speaks, as far as what it is told depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Voice {
    /// No dialect yet, or none that can be told anything.
    None,
    Centrifuge(Encoding),
    Native(native::Carrier),
    Goim(goim::Style),
    Comet,
    #[cfg(feature = "echo")]
    Echo,
}

impl Voice {
    /// An echo, which only tests have.
    #[cfg(feature = "echo")]
    pub(super) const fn is_never_authenticated(self) -> bool {
        matches!(self, Self::Echo)
    }

    #[cfg(not(feature = "echo"))]
    pub(super) const fn is_never_authenticated(self) -> bool {
        false
    }
}

pub(super) fn voice(core: &Core, slot: u32) -> Voice {
    core.conns.get(slot).map_or(Voice::None, |conn| conn.voice)
}

pub(super) fn set_voice(core: &mut Core, slot: u32, voice: Voice) {
    if let Some(conn) = core.conns.get_mut(slot) {
        conn.voice = voice;
    }
}

/// Tells the client to go, with a code. The caller ends the connection.
pub(crate) fn disconnect(core: &mut Core, slot: u32, code: u16, reason: &str) {
    // Published SDKs fail on a reason without text.
    let reason = if reason.is_empty() {
        "disconnected by the server"
    } else {
        reason
    };
    match voice(core, slot) {
        Voice::None => {}
        Voice::Centrifuge(_) => centrifuge::disconnect(core, slot, code, reason),
        Voice::Native(carrier) => native::disconnect(core, slot, carrier, code, reason),
        Voice::Goim(style) => goim::disconnect(core, slot, style, code, reason),
        Voice::Comet => comet::tell(core, slot, reason),
        #[cfg(feature = "echo")]
        Voice::Echo => core.write(slot, |out| ws::write_close(out, code, reason)),
    }
}

/// How a client shows that it is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pulse {
    /// It answers pings.
    Answers,
    /// It answers pings, and is sent none while it takes publications.
    AnswersUnlessItHears,
    /// It is pinged, and never answers.
    Listens,
    /// It beats by itself, and has done so.
    Beats,
    /// It beats by itself, and has not done so for too long.
    Stopped,
}

pub(crate) fn pulse(core: &mut Core, slot: u32) -> Pulse {
    match voice(core, slot) {
        Voice::Centrifuge(encoding) if encoding.codec == Codec::Unidirectional => Pulse::Listens,
        Voice::Native(_) => Pulse::AnswersUnlessItHears,
        Voice::Goim(_) if goim::is_silent(core, slot) => Pulse::Stopped,
        Voice::Goim(_) => Pulse::Beats,
        _ => Pulse::Answers,
    }
}

/// Asks the client whether it is there.
pub(crate) fn ping(core: &mut Core, slot: u32) {
    match voice(core, slot) {
        Voice::Centrifuge(_) => centrifuge::ping(core, slot),
        Voice::Native(carrier) => native::ping(core, slot, carrier),
        _ => {}
    }
}

/// The client is a member now: answers its request, or tells it that the server did it.
pub(crate) fn joined(core: &mut Core, slot: u32, joined: Joined) {
    match voice(core, slot) {
        Voice::Centrifuge(_) => centrifuge::joined(core, slot, joined),
        Voice::Native(carrier) => native::joined(core, slot, carrier, &joined),
        Voice::Goim(_) => goim::joined(core, slot, &joined),
        Voice::Comet => comet::room_answered(core, slot, joined.request, Ok(())),
        _ => {}
    }
}

/// A join has failed. Those of the server have no request.
pub(crate) fn not_joined(core: &mut Core, slot: u32, request: u32, join: u32, error: ApiError) {
    error_reply(core, slot, request, error_code(error));
    centrifuge::room_answered(core, slot, join);
}

/// The same because the room was left before it was joined.
pub(crate) fn gave_up_join(core: &mut Core, slot: u32, request: u32, join: u32) {
    gave_up(core, slot, request);
    centrifuge::room_answered(core, slot, join);
}

/// A request to join ends because the room is not wanted any more.
pub(crate) fn gave_up(core: &mut Core, slot: u32, request: u32) {
    if let Voice::Goim(_) = voice(core, slot) {
        return goim::gave_up(core, slot, request);
    }
    // Temporary: an SDK that has subscribed again meanwhile must not take it for the end of that.
    error_reply(core, slot, request, ErrorCode::INTERNAL);
}

/// Answers a request with an error.
pub(super) fn error_reply(core: &mut Core, slot: u32, request: u32, code: ErrorCode) {
    refuse(core, slot, request, &code.into());
}

pub(super) fn refuse(core: &mut Core, slot: u32, request: u32, refusal: &Refusal) {
    core.gauges.counters.client_errors.inc();
    let voice = voice(core, slot);
    if voice == Voice::Comet {
        return comet::room_answered(core, slot, request, Err(refusal.code));
    }
    if request == 0 {
        // The server asked, not the client, or that wants no answer.
        return;
    }
    match voice {
        Voice::Centrifuge(_) => centrifuge::refuse(core, slot, request, refusal),
        Voice::Native(carrier) => native::refuse(core, slot, carrier, request, refusal),
        Voice::Goim(_) => goim::refuse(core, slot, request, refusal),
        _ => {}
    }
}

/// Where the answer to a request goes; 0 wants none.
pub(super) fn reply_to<T>(core: &Core, slot: u32, request: u32) -> ReplyTo<T> {
    if request == 0 {
        return ReplyTo::Nobody;
    }
    let conn = core.conn_ref(slot);
    ReplyTo::Conn { conn, request }
}

/// The answer to a request that was under way between shards.
pub(crate) fn answer(core: &mut Core, slot: u32, request: u32, answer: Answer) {
    match voice(core, slot) {
        Voice::Centrifuge(_) => centrifuge::answer(core, slot, request, answer),
        Voice::Native(carrier) => native::answer(core, slot, carrier, request, answer),
        // A request of the Comet calls is on a connection that has no dialect.
        Voice::None => {
            if let Answer::Published(result) = answer {
                comet::published(core, slot, result);
            }
        }
        _ => {}
    }
}

/// Tells the client that the server takes it out of a room.
pub(crate) fn unsubscribed(core: &mut Core, slot: u32, room: Key<Room>, code: UnsubscribeCode) {
    match voice(core, slot) {
        Voice::Centrifuge(_) => centrifuge::unsubscribed(core, slot, room, code),
        Voice::Native(carrier) => native::unsubscribed(core, slot, carrier, room, code),
        Voice::Comet => comet::tell(core, slot, code.reason()),
        _ => {}
    }
}

/// What a page is told that came too rarely for its messages.
const MESSAGES_LOST: &str = "messages were lost: too many waited";

/// Tells a slow client what it lost. Centrifuge has no word for a gap within a subscription: the client is taken
/// out of the room with a code upon which it subscribes again and recovers. goim has no word for it at all.
pub(crate) fn gap(core: &mut Core, slot: u32, room: Key<Room>, from: u64, to: u64) {
    match voice(core, slot) {
        Voice::Centrifuge(_) if core.is_in_by_server(slot, room) => {
            // Whom the server has put there cannot subscribe again: it comes back, and is put there again.
            core.disconnect(slot, DisconnectCode::INSUFFICIENT_STATE);
        }
        Voice::Centrifuge(_) => {
            core.unsubscribe_with(slot, room, UnsubscribeCode::INSUFFICIENT_STATE)
        }
        Voice::Native(carrier) => native::gap(core, slot, carrier, room, from, to),
        Voice::Goim(_) => core.slow(slot),
        Voice::Comet => comet::tell(core, slot, MESSAGES_LOST),
        _ => {}
    }
}

/// A message to this connection, outside any room.
pub(crate) fn push(core: &mut Core, slot: u32, message: &Message) {
    let Some(encoding) = core.conns.get(slot).and_then(|conn| conn.encoding()) else {
        return;
    };
    // goim's clients name the operations that they want to see.
    if encoding.codec == Codec::Goim
        && let Some(operation) = message.operation
        && !core.watches(slot, operation)
    {
        core.gauges.counters.goim_pushes_unwanted.inc();
        return;
    }
    let default = core.shared.config.goim.default_operation;
    core.write(slot, |out| {
        encoding.frame(out, |out| {
            write_message(out, encoding.codec, message, default)
        });
    });
}

pub(super) const fn error_code(error: ApiError) -> ErrorCode {
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
