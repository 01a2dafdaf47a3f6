//! Sessions: the dialects, as state machines. Bytes in become requests to the engine; what comes back becomes bytes
//! out.
//!
//! A session begins as [`Session::Sniffing`]; the first bytes, and for HTTP the head, decide what it becomes. Adding a
//! dialect adds a variant here, a file beside this one, and a [`Codec`](crate::encoding::Codec) if its frames differ.

mod centrifuge;
pub(crate) mod comet;
#[cfg(feature = "echo")]
mod echo;
pub(crate) mod goim;
mod http;
pub(crate) mod native;
mod opening;
pub(crate) mod poll;
mod questions;
mod routes;

pub(crate) use centrifuge::Greeting;
pub(crate) use questions::{Queued, refresh, refresh_membership};

use std::num::NonZeroU32;

use fanfare_wire::centrifuge::codes::{DisconnectCode, ErrorCode, UnsubscribeCode};
use fanfare_wire::ws;

use crate::api::{ApiError, Message};
use crate::authority::{Denied, Grant};
use crate::backend::Subscribed;
use crate::conn::{Conn, Phase};
use crate::core::Core;
use crate::encoding::{Codec, Encoding, write_message};
use crate::hooks::Refusal;
use crate::membership::Subscribe;
use crate::message::{Answer, Joined, ReplyTo};
use crate::room::Room;
use crate::slab::Key;
pub(crate) use http::SessionName;
use http::{Http, Secret};

/// What a connection speaks, and where in it it is. A buffer exists only while something is partial.
#[derive(Debug)]
pub(crate) enum Session {
    /// Too little has come to know the protocol.
    Sniffing(Option<Box<Vec<u8>>>),
    /// Requests, or the answer to one that goes on.
    Http(Http),
    Centrifuge(ws::Decoder),
    Native(native::Framing),
    Goim(goim::Framing),
    #[cfg(feature = "echo")]
    Echo(ws::Decoder),
    /// No socket: requests come for what it has to say.
    Poll(Box<poll::Poll>),
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
            Self::Sniffing(beginning) => beginning.is_some(),
            Self::Http(http) => http.is_partial(),
            Self::Centrifuge(decoder) => !decoder.is_idle(),
            Self::Native(framing) => framing.is_partial(),
            Self::Goim(framing) => framing.is_partial(),
            #[cfg(feature = "echo")]
            Self::Echo(decoder) => !decoder.is_idle(),
            Self::Poll(_) | Self::Over => false,
        }
    }

    /// Whose messages go out in the answer to a request.
    fn streaming(secret: Secret) -> Self {
        Self::Http(Http::Streaming(Box::new(secret)))
    }

    /// What proves that a request speaks for this session, if requests do.
    fn secret(&self) -> Option<Secret> {
        match self {
            Self::Http(Http::Streaming(secret)) => Some(**secret),
            Self::Poll(poll) => Some(poll.secret),
            _ => None,
        }
    }

    /// A request of this connection is answered from elsewhere.
    pub(crate) const fn awaits_answer(&self) -> bool {
        matches!(self, Self::Http(Http::Waiting(_)))
    }

    /// Its last request has been answered, and it is there for another one.
    pub(crate) const fn is_kept_alive(&self) -> bool {
        matches!(self, Self::Http(Http::Idle))
    }

    /// Bytes kept of requests.
    fn request_bytes(&self) -> usize {
        match self {
            Self::Http(http) => http.kept_bytes(),
            _ => 0,
        }
    }
}

impl Core {
    /// Takes the connection's session to work with it, since it works on the engine that it is part of.
    fn take_session(&mut self, slot: u32) -> Session {
        let Some(conn) = self.conns.get_mut(slot) else {
            return Session::Over;
        };
        let session = std::mem::take(&mut conn.session);
        self.request_bytes -= session.request_bytes();
        session
    }

    /// Gives the connection a session, in place of the one that it has.
    pub(crate) fn put_session(&mut self, slot: u32, session: Session) {
        let Some(conn) = self.conns.get_mut(slot) else {
            return;
        };
        self.request_bytes += session.request_bytes();
        let before = std::mem::replace(&mut conn.session, session);
        self.request_bytes -= before.request_bytes();
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
    let is_heard = |conn: &Conn| matches!(conn.phase, Phase::Handshake | Phase::Open);
    if !core.conns.get(slot).is_some_and(is_heard) {
        // Told to go. Its session is over, and must not begin anew with what it still sends.
        return;
    }
    // Over HTTP and in Centrifuge messages are kept as what they are.
    if matches!(voice(core, slot), Voice::Goim(_) | Voice::Native(_)) {
        match questions::queue(core, slot, input, 0) {
            Ok(true) => return,
            Ok(false) => {}
            Err(ending) => return end(core, slot, ending),
        }
    }
    let mut session = core.take_session(slot);
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
    core.put_session(slot, session);
    if let Err(ending) = result {
        end(core, slot, ending);
    }
}

/// Feeds a session with commands that have come on another connection.
pub(crate) fn upstream(core: &mut Core, session: &SessionName, data: &[u8]) {
    let Some(slot) = core.conns.slot_of(session.conn) else {
        core.gauges.counters.client_errors.inc();
        return;
    };
    let is_it = |conn: &Conn| {
        matches!(conn.phase, Phase::Handshake | Phase::Open)
            && matches!(conn.voice, Voice::Centrifuge(_))
            && conn.session.secret() == Some(session.secret)
    };
    if !core.conns.get(slot).is_some_and(is_it) {
        core.gauges.counters.client_errors.inc();
        return;
    }
    if let Err(ending) = centrifuge::take(core, slot, data) {
        end(core, slot, ending);
    }
}

fn step(core: &mut Core, slot: u32, session: &mut Session, input: &mut [u8]) -> Result<(), Ending> {
    match session {
        Session::Sniffing(_) => opening::receive(core, slot, session, input),
        Session::Http(_) => http::receive(core, slot, session, input),
        Session::Centrifuge(decoder) => centrifuge::receive(core, slot, decoder, input),
        Session::Native(framing) => native::receive(core, slot, framing, input),
        Session::Goim(framing) => goim::receive(core, slot, framing, input),
        #[cfg(feature = "echo")]
        Session::Echo(decoder) => echo::receive(core, slot, decoder, input),
        Session::Poll(_) | Session::Over => Ok(()),
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
    const fn is_never_authenticated(self) -> bool {
        matches!(self, Self::Echo)
    }

    #[cfg(not(feature = "echo"))]
    const fn is_never_authenticated(self) -> bool {
        false
    }
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

/// A request that was under way between shards has failed.
pub(crate) fn failed(core: &mut Core, slot: u32, request: u32, error: ApiError) {
    error_reply(core, slot, request, error_code(error));
}

/// A request to join ends because the room was left before it was joined.
pub(crate) fn gave_up(core: &mut Core, slot: u32, request: u32) {
    if let Voice::Goim(_) = voice(core, slot) {
        return goim::gave_up(core, slot, request);
    }
    // Temporary: an SDK that has subscribed again meanwhile must not take it for the end of that.
    error_reply(core, slot, request, ErrorCode::INTERNAL);
}

/// Whether a client that waits for the backend's word on a room still wants to be in it.
fn still_wants(core: &mut Core, slot: u32, request: u32) -> bool {
    match voice(core, slot) {
        Voice::Goim(_) => goim::still_wants(core, slot, request),
        _ => true,
    }
}

/// Answers a request with an error.
fn error_reply(core: &mut Core, slot: u32, request: u32, code: ErrorCode) {
    refuse(core, slot, request, &code.into());
}

fn refuse(core: &mut Core, slot: u32, request: u32, refusal: &Refusal) {
    core.gauges.counters.client_errors.inc();
    let voice = voice(core, slot);
    if voice == Voice::Comet {
        return comet::room_answered(core, slot, request, Err(refusal.code));
    }
    if request == 0 {
        // The server asked, not the client, or that wants no answer.
        return centrifuge::greeting_failed(core, slot);
    }
    match voice {
        Voice::Centrifuge(_) => centrifuge::refuse(core, slot, request, refusal),
        Voice::Native(carrier) => native::refuse(core, slot, carrier, request, refusal),
        Voice::Goim(_) => goim::refuse(core, slot, request, refusal),
        _ => {}
    }
}

/// Where the answer to a request goes; 0 wants none.
fn reply_to<T>(core: &Core, slot: u32, request: u32) -> ReplyTo<T> {
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
        .is_some_and(|conn| conn.phase == Phase::Open || conn.voice.is_never_authenticated())
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

/// A message of a WebSocket.
#[derive(Debug, Clone, Copy)]
enum Incoming<'a> {
    Text(&'a [u8]),
    Binary(&'a [u8]),
}

/// Feeds a WebSocket, and passes its messages on.
fn messages(
    core: &mut Core,
    slot: u32,
    decoder: &mut ws::Decoder,
    input: &mut [u8],
    mut take: impl FnMut(&mut Core, u32, Incoming<'_>) -> Result<(), Ending>,
) -> Result<(), Ending> {
    let mut at = 0;
    loop {
        // A client that has just authenticated may send more at once.
        let limits = ws_limits(core, slot);
        let (consumed, event) = decoder
            .next_inflating(&mut input[at..], &limits, &mut core.inflater)
            .map_err(|error| Ending::WebSocket {
                code: error.close_code(),
            })?;
        at += consumed;
        match event {
            Some(ws::Event::Text(text)) => take(core, slot, Incoming::Text(text.as_bytes()))?,
            Some(ws::Event::Binary(data)) => take(core, slot, Incoming::Binary(data))?,
            Some(event) => control_event(core, slot, event)?,
            None => return Ok(()),
        }
        if !matches!(voice(core, slot), Voice::Centrifuge(_))
            && questions::queue(core, slot, &input[at..], 0)?
        {
            return Ok(());
        }
    }
}

/// Feeds a stream of frames that know their length: `take` handles the whole ones at the start of what it is given, and
/// returns how many bytes they took.
fn stream(
    core: &mut Core,
    slot: u32,
    partial: &mut Option<Box<Vec<u8>>>,
    input: &[u8],
    take: impl Fn(&mut Core, u32, &[u8]) -> Result<usize, Ending>,
) -> Result<(), Ending> {
    let Some(mut buffer) = partial.take() else {
        let consumed = take(core, slot, input)?;
        if consumed < input.len() {
            *partial = Some(Box::new(input[consumed..].to_vec()));
        }
        return Ok(());
    };
    buffer.extend_from_slice(input);
    let consumed = take(core, slot, &buffer)?;
    if consumed < buffer.len() {
        buffer.drain(..consumed);
        *partial = Some(buffer);
    }
    Ok(())
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
    let grant = granted(core, token);
    if grant.is_err() {
        core.gauges.counters.auth_failures.inc();
    }
    grant
}

/// The same, when it is not the last word.
fn granted(core: &Core, token: &str) -> Result<Grant, Denied> {
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
    grant.and_then(|grant| {
        if grant.user.len() > user_bytes_max {
            Err(Denied::Invalid)
        } else {
            Ok(grant)
        }
    })
}

/// How a dialect ends that has no word for a token that is no good.
fn denied(denied: Denied) -> Ending {
    Ending::Disconnect(match denied {
        Denied::Expired => DisconnectCode::EXPIRED,
        Denied::Invalid | Denied::NotPermitted => DisconnectCode::INVALID_TOKEN,
    })
}

/// Makes a new connection a member of the rooms that its token names, and of those that the backend does.
fn subscribe_by_server(
    core: &mut Core,
    slot: u32,
    rooms: &[Box<str>],
    by_backend: &[(Box<str>, Subscribed)],
) {
    let by_token = rooms.iter().map(|room| Subscribe::by_server(room));
    let by_backend = by_backend
        .iter()
        .map(|(room, on)| Subscribe::by_backend(room, &on.grant));
    for subscribe in by_token.chain(by_backend) {
        if core.subscribe(slot, subscribe).is_err() {
            core.gauges.counters.client_errors.inc();
        }
    }
}
