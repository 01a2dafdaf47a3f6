//! The Centrifuge client protocol: JSON or protobuf, over WebSocket or over an HTTP stream with commands in requests of
//! their own.

mod commands;
mod greeting;
mod replies;

pub(crate) use greeting::Greeting;
pub(super) use greeting::room_answered;
pub(super) use replies::{answer, disconnect, joined, ping, refuse, unsubscribed};

use fanfare_wire::centrifuge::codes::DisconnectCode;
use fanfare_wire::centrifuge::{
    Command, CommandError, Connect, Method, json, protobuf, unidirectional,
};
use fanfare_wire::ws;

use super::questions::{is_asking, queue};
use super::{Ending, Incoming};
use crate::conn::Conn;
use crate::core::Core;
use crate::encoding::Codec;

/// What the server calls itself.
const VERSION: &str = concat!("fanfare ", env!("CARGO_PKG_VERSION"));

pub(super) fn receive(
    core: &mut Core,
    slot: u32,
    decoder: &mut ws::Decoder,
    input: &mut [u8],
) -> Result<(), Ending> {
    super::messages(core, slot, decoder, input, |core, slot, message| {
        match (codec(core, slot), message) {
            (Codec::CentrifugeJson | Codec::Unidirectional, Incoming::Text(message))
            | (Codec::CentrifugeProtobuf, Incoming::Binary(message)) => take(core, slot, message),
            _ => Err(DisconnectCode::INAPPROPRIATE_PROTOCOL.into()),
        }
    })
}

/// Takes the commands of one message, in the connection's codec.
pub(super) fn take(core: &mut Core, slot: u32, message: &[u8]) -> Result<(), Ending> {
    if queue(core, slot, message, 0)? {
        return Ok(());
    }
    take_from(core, slot, message, 0)
}

/// The same, from the command with this number on.
pub(super) fn take_from(
    core: &mut Core,
    slot: u32,
    message: &[u8],
    first: usize,
) -> Result<(), Ending> {
    let done = match (codec(core, slot), str::from_utf8(message)) {
        (Codec::CentrifugeProtobuf, _) => {
            handle_all(core, slot, protobuf::commands(message), first)?
        }
        (Codec::Unidirectional, _) => return listen(core, slot, message),
        (_, Ok(text)) => handle_all(core, slot, json::commands(text), first)?,
        (_, Err(_)) => return Err(DisconnectCode::BAD_REQUEST.into()),
    };
    if let Some(done) = done {
        queue(core, slot, message, done)?;
    }
    Ok(())
}

/// The only message that a client sends who only listens. It may leave everything to the server, and say nothing.
fn listen(core: &mut Core, slot: u32, message: &[u8]) -> Result<(), Ending> {
    let is_open = core.conns.get(slot).is_some_and(Conn::is_open);
    if is_open {
        return Ok(());
    }
    let connect = if message.is_empty() {
        Connect::default()
    } else {
        unidirectional::connect(message).map_err(|error| error.code())?
    };
    core.gauges.counters.messages_received.inc();
    greeting::greet(core, slot, 0, &connect)
}

/// Handles commands from one on. Returns how many are done with when the rest has to wait for the backend.
fn handle_all<'a>(
    core: &mut Core,
    slot: u32,
    commands: impl Iterator<Item = Result<Command<'a>, CommandError>>,
    first: usize,
) -> Result<Option<usize>, Ending> {
    for (number, command) in commands.enumerate().skip(first) {
        let command = command.map_err(|error| Ending::Disconnect(error.code()))?;
        core.gauges.counters.messages_received.inc();
        commands::handle(core, slot, &command)?;
        let is_connect = matches!(command.method, Method::Connect(_));
        if is_connect && is_asking(core, slot) {
            return Ok(Some(number + 1));
        }
    }
    Ok(None)
}

fn codec(core: &Core, slot: u32) -> Codec {
    replies::encoding(core, slot).codec
}
