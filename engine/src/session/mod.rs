//! Sessions: the dialects, as state machines. Bytes in become requests to the engine; what comes back becomes bytes
//! out.
//!
//! A session begins as [`Session::Sniffing`]; the first bytes, and for HTTP the head, decide what it becomes. Adding a
//! dialect adds a variant here, a file beside this one, and a [`Codec`](crate::encoding::Codec) if its frames differ.

mod centrifuge;
pub(crate) mod comet;
mod common;
#[cfg(feature = "echo")]
mod echo;
pub(crate) mod goim;
mod http;
pub(crate) mod native;
mod opening;
pub(crate) mod poll;
mod questions;
mod routes;
mod voice;

pub(crate) use centrifuge::Greeting;
pub(crate) use http::SessionName;
pub(crate) use questions::{Queued, refresh, refresh_membership};
pub(crate) use voice::{
    Pulse, Voice, answer, disconnect, gap, gave_up, gave_up_join, joined, not_joined, ping, pulse,
    push, unsubscribed,
};

use std::num::NonZeroU32;

use fanfare_wire::centrifuge::codes::DisconnectCode;
use fanfare_wire::ws;

use crate::conn::{Conn, Phase};
use crate::core::Core;
use common::{
    Incoming, denied, grant, granted, message_bytes_max, messages, stream, subscribe_by_server,
};
use http::{Http, Secret};
use voice::{error_code, error_reply, refuse, reply_to, set_voice, voice};

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
