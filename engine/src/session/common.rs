//! What dialects have in common: messages of WebSocket, frames of a stream, tokens.

use fanfare_wire::centrifuge::codes::DisconnectCode;
use fanfare_wire::ws;

use super::{Ending, Voice, questions, voice};
use crate::authority::{Denied, Grant};
use crate::backend::Subscribed;
use crate::conn::Phase;
use crate::core::Core;
use crate::membership::Subscribe;

/// Largest message of a connection that has not authenticated, in bytes: a token fits, and strangers cannot make us
/// keep more than an HTTP head would.
const HANDSHAKE_BYTES_MAX: u32 = 16 * 1024;

/// The largest message that the connection may send now.
pub(super) fn message_bytes_max(core: &Core, slot: u32) -> u32 {
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

pub(super) fn ws_limits(core: &Core, slot: u32) -> ws::Limits {
    ws::Limits {
        message_bytes_max: message_bytes_max(core, slot),
        fragments_max: core.shared.config.limits.fragments_max,
    }
}

/// A message of a WebSocket.
#[derive(Debug, Clone, Copy)]
pub(super) enum Incoming<'a> {
    Text(&'a [u8]),
    Binary(&'a [u8]),
}

/// Feeds a WebSocket, and passes its messages on.
pub(super) fn messages(
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
pub(super) fn stream(
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
pub(super) fn control_event(
    core: &mut Core,
    slot: u32,
    event: ws::Event<'_>,
) -> Result<(), Ending> {
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
pub(super) fn grant(core: &Core, token: &str) -> Result<Grant, Denied> {
    let grant = granted(core, token);
    if grant.is_err() {
        core.gauges.counters.auth_failures.inc();
    }
    grant
}

/// The same, when it is not the last word.
pub(super) fn granted(core: &Core, token: &str) -> Result<Grant, Denied> {
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
pub(super) fn denied(denied: Denied) -> Ending {
    Ending::Disconnect(match denied {
        Denied::Expired => DisconnectCode::EXPIRED,
        Denied::Invalid | Denied::NotPermitted => DisconnectCode::INVALID_TOKEN,
    })
}

/// Makes a new connection a member of the rooms that its token names, and of those that the backend does.
pub(super) fn subscribe_by_server(
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
