//! A client's end of a WebSocket.

use fanfare_wire::ws::{self, Decoder, Event as Frame, Limits, Opcode, Role, handshake};
use fastrand::Rng;

use super::dialect::Event;

/// The bit of a frame's first byte that says that the message ends with it.
const FIN: u8 = 0x80;

const LIMITS: Limits = Limits {
    message_bytes_max: 1 << 24,
    fragments_max: 64,
};

/// A WebSocket from its handshake on.
#[derive(Debug)]
pub(crate) struct WebSocket {
    path: &'static str,
    key: String,
    is_open: bool,
    has_ended: bool,
    decoder: Decoder,
    /// Pings of the server that are to be answered.
    pings: Vec<Vec<u8>>,
    rng: Rng,
}

impl WebSocket {
    pub(crate) fn new(path: &'static str, seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let key = handshake::client_key(std::array::from_fn(|_| rng.u8(..)));
        Self {
            path,
            key,
            is_open: false,
            has_ended: false,
            decoder: Decoder::new(Role::Client),
            pings: Vec::new(),
            rng,
        }
    }

    pub(crate) fn open(&self, out: &mut Vec<u8>) {
        handshake::write_client_handshake(out, "sim", self.path, &self.key, None);
    }

    pub(crate) fn write(&mut self, out: &mut Vec<u8>, opcode: Opcode, message: &[u8]) {
        for ping in self.pings.drain(..) {
            ws::write_masked_frame(out, Opcode::Pong, &ping, self.rng.u32(..).to_le_bytes());
        }
        if self.rng.u32(0..8) > 0 {
            return ws::write_masked_frame(out, opcode, message, self.rng.u32(..).to_le_bytes());
        }
        // In two fragments, with a ping between them.
        let (first, second) = message.split_at(self.rng.usize(0..=message.len()));
        let start = out.len();
        ws::write_masked_frame(out, opcode, first, self.rng.u32(..).to_le_bytes());
        out[start] &= !FIN;
        ws::write_masked_frame(
            out,
            Opcode::Ping,
            b"between",
            self.rng.u32(..).to_le_bytes(),
        );
        ws::write_masked_frame(
            out,
            Opcode::Continuation,
            second,
            self.rng.u32(..).to_le_bytes(),
        );
    }

    /// Takes what is whole off the front of `input` and hands each message to `message`.
    pub(crate) fn read(
        &mut self,
        input: &mut Vec<u8>,
        events: &mut Vec<Event>,
        mut message: impl FnMut(&[u8], &mut Vec<Event>) -> Result<(), String>,
    ) -> Result<(), String> {
        if !self.is_open {
            match handshake::check_response(input, &self.key, None)
                .map_err(|error| error.to_string())?
            {
                None => return Ok(()),
                Some(head) => input.drain(..head),
            };
            self.is_open = true;
        }
        let mut bytes = std::mem::take(input);
        let mut rest = &mut bytes[..];
        while !rest.is_empty() {
            if self.has_ended {
                return Err("bytes after a close frame".into());
            }
            let (taken, frame) = self
                .decoder
                .next(rest, &LIMITS)
                .map_err(|error| error.to_string())?;
            match frame {
                None => {}
                Some(Frame::Text(text)) => message(text.as_bytes(), events)?,
                Some(Frame::Binary(data)) => message(data, events)?,
                Some(Frame::Ping(data)) => self.pings.push(data.to_vec()),
                Some(Frame::Pong(_)) => {}
                Some(Frame::Close(close)) => {
                    self.has_ended = true;
                    events.push(Event::Disconnected {
                        code: close.map_or(1005, |close| close.code),
                    });
                }
            }
            rest = &mut rest[taken..];
        }
        Ok(())
    }
}
