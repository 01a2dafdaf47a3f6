//! A client's WebSocket: the upgrade, then messages.

use fanfare_wire::ws::{self, Decoder, Limits, Opcode, Role, handshake};

use super::dialect::ProtocolError;

/// What is taken from a server in one message.
const LIMITS: Limits = Limits {
    message_bytes_max: 1 << 20,
    fragments_max: 64,
};

/// Servers ask for nothing but that there is a host.
const HOST: &str = "localhost";

/// One end of a WebSocket.
#[derive(Debug)]
pub(super) enum Upgraded {
    /// The answer to the upgrade is not complete.
    Opening(Box<Opening>),
    Open(Decoder),
}

/// What is kept until the WebSocket is open.
#[derive(Debug)]
pub(super) struct Opening {
    key: String,
    head: Vec<u8>,
}

/// What a WebSocket brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Message<'a> {
    /// Nothing yet, but it is open.
    Opened,
    Text(&'a str),
    Binary(&'a [u8]),
    /// The server closes it, with this code if it gave one.
    Close(Option<u16>),
}

impl Upgraded {
    /// Appends the request for a WebSocket at this path, which is of characters that a URL may hold.
    pub(super) fn open(out: &mut Vec<u8>, path: &str) -> Self {
        let key = handshake::client_key(fastrand::u128(..).to_le_bytes());
        handshake::write_client_handshake(out, HOST, path, &key, None);
        let head = Vec::new();
        Self::Opening(Box::new(Opening { key, head }))
    }

    /// Whether the next byte received begins a message.
    pub(super) fn is_between_messages(&self) -> bool {
        matches!(self, Self::Open(decoder) if decoder.is_idle())
    }

    /// Reads up to the end of a message, and returns how many bytes of what was received that took. For protocols that may
    /// know the next message without reading it; all others [`feed`](Self::feed).
    pub(super) fn step(
        &mut self,
        input: &mut [u8],
        out: &mut Vec<u8>,
        on_message: &mut impl FnMut(Message<'_>, &mut Vec<u8>) -> Result<(), ProtocolError>,
    ) -> Result<usize, ProtocolError> {
        if let Self::Open(decoder) = self {
            return step(decoder, input, out, on_message);
        }
        self.feed(input, out, on_message)?;
        Ok(input.len())
    }

    /// Reads what was received. Pings are answered here.
    pub(super) fn feed(
        &mut self,
        input: &mut [u8],
        out: &mut Vec<u8>,
        on_message: &mut impl FnMut(Message<'_>, &mut Vec<u8>) -> Result<(), ProtocolError>,
    ) -> Result<(), ProtocolError> {
        match self {
            Self::Open(decoder) => messages(decoder, input, out, on_message),
            Self::Opening(opening) => {
                opening.head.extend_from_slice(input);
                let checked = handshake::check_response(&opening.head, &opening.key, None)
                    .map_err(|error| ProtocolError::Handshake(error.to_string()))?;
                let Some(head_bytes) = checked else {
                    return Ok(());
                };
                let mut rest = opening.head.split_off(head_bytes);
                on_message(Message::Opened, out)?;
                let mut decoder = Decoder::new(Role::Client);
                let result = messages(&mut decoder, &mut rest, out, on_message);
                *self = Self::Open(decoder);
                result
            }
        }
    }

    /// One that is open already.
    #[cfg(test)]
    pub(super) fn opened() -> Self {
        Self::Open(Decoder::new(Role::Client))
    }
}

/// Appends a message of a client.
pub(super) fn write(out: &mut Vec<u8>, opcode: Opcode, payload: &[u8]) {
    let mask = fastrand::u32(..).to_le_bytes();
    ws::write_masked_frame(out, opcode, payload, mask);
}

fn messages(
    decoder: &mut Decoder,
    mut input: &mut [u8],
    out: &mut Vec<u8>,
    on_message: &mut impl FnMut(Message<'_>, &mut Vec<u8>) -> Result<(), ProtocolError>,
) -> Result<(), ProtocolError> {
    while !input.is_empty() {
        let taken = step(decoder, input, out, on_message)?;
        input = &mut input[taken..];
    }
    Ok(())
}

fn step(
    decoder: &mut Decoder,
    input: &mut [u8],
    out: &mut Vec<u8>,
    on_message: &mut impl FnMut(Message<'_>, &mut Vec<u8>) -> Result<(), ProtocolError>,
) -> Result<usize, ProtocolError> {
    let (taken, event) = decoder.next(input, &LIMITS)?;
    match event {
        Some(ws::Event::Text(text)) => on_message(Message::Text(text), out)?,
        Some(ws::Event::Binary(bytes)) => on_message(Message::Binary(bytes), out)?,
        Some(ws::Event::Ping(payload)) => write(out, Opcode::Pong, payload),
        Some(ws::Event::Close(close)) => {
            on_message(Message::Close(close.map(|close| close.code)), out)?;
        }
        Some(ws::Event::Pong(_)) | None => {}
    }
    Ok(taken)
}
