//! Bytes in and out, the same for every runtime.

use std::io;
use std::ops::ControlFlow::{self, Break, Continue};
use std::rc::Rc;

use bytes::Bytes;
use fanfare_wire::http::{self, HeadError};
use fanfare_wire::ws::{self, Decoder, Event, Limits, Opcode, Role, handshake};

use crate::hub::{Hub, Membership};
use crate::outbox::Outbox;

/// Bytes of one read from a client. A request to open a WebSocket takes one or two, a pong needs 6 bytes.
pub(crate) const CLIENT_READ_BYTES: usize = 512;

/// Bytes of one read from the publisher: what it sends in one go is handed out before anything is written.
pub(crate) const INGEST_READ_BYTES: usize = 64 * 1024;

/// Clients have nothing to say here; their messages are read and forgotten.
const CLIENT_LIMITS: Limits = Limits {
    message_bytes_max: 64 * 1024,
    fragments_max: 16,
};

const ROOM_BYTES_MAX: usize = 1024;
const PAYLOAD_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A client's side of the conversation. Answers go through the connection's [`Outbox`], so they are never in the middle
/// of another frame. Dropped, it leaves its room.
#[derive(Debug)]
pub(crate) struct Session {
    hub: Rc<Hub>,
    outbox: Rc<Outbox>,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    /// What has come of the request head.
    Opening(Vec<u8>),
    Open {
        decoder: Decoder,
        _membership: Membership,
    },
}

impl Session {
    pub(crate) fn new(hub: Rc<Hub>, outbox: Rc<Outbox>) -> Self {
        Self {
            hub,
            outbox,
            stage: Stage::Opening(Vec::new()),
        }
    }

    /// Takes what has arrived. After a break nothing more is to be read: the rest of the queue is written, and then the
    /// connection ends.
    pub(crate) fn receive(&mut self, input: &mut [u8]) -> ControlFlow<()> {
        let head = match &mut self.stage {
            Stage::Open { decoder, .. } => return frames(decoder, &self.outbox, input),
            Stage::Opening(head) => head,
        };
        head.extend_from_slice(input);
        let mut response = Vec::new();
        let opened = open(head, &mut response);
        if !response.is_empty() {
            self.answer(response);
        }
        match opened {
            Ok(None) => Continue(()),
            Ok(Some((room, mut after))) => {
                let mut decoder = Decoder::new(Role::Server);
                let membership = self.hub.join(&room, &self.outbox);
                frames(&mut decoder, &self.outbox, &mut after)?;
                self.stage = Stage::Open {
                    decoder,
                    _membership: membership,
                };
                Continue(())
            }
            Err(_) => Break(()),
        }
    }

    fn answer(&self, bytes: Vec<u8>) {
        // The first frame of an empty queue always fits.
        let _ = self.outbox.push(bytes.into());
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.outbox.finish();
    }
}

/// Answers a request head once it is complete. Gives the room, the last segment of the path, and the bytes after the head.
fn open(head: &[u8], response: &mut Vec<u8>) -> Result<Option<(String, Vec<u8>)>, HeadError> {
    let opened = http::parse_head(head).and_then(|parsed| {
        let Some((request, bytes)) = parsed else {
            return Ok(None);
        };
        let upgrade = http::upgrade(&request)?;
        handshake::write_switching_protocols(response, upgrade.key, None, None);
        let room = request.path.rsplit('/').next().unwrap_or_default();
        Ok(Some((room.to_owned(), head[bytes..].to_vec())))
    });
    if let Err(error) = &opened {
        http::write_response(
            response,
            error.status(),
            http::Connection::Close,
            error.headers(),
            b"",
        );
    }
    opened
}

/// Answers pings and the close; a client that pings without reading gets no pong once its queue is full.
fn frames(decoder: &mut Decoder, outbox: &Outbox, mut input: &mut [u8]) -> ControlFlow<()> {
    loop {
        let mut answer = Vec::new();
        let consumed = match decoder.next(input, &CLIENT_LIMITS) {
            Ok((_, None)) => return Continue(()),
            Ok((consumed, Some(event))) => {
                match event {
                    Event::Ping(payload) => ws::write_frame(&mut answer, Opcode::Pong, payload),
                    Event::Close(Some(close)) => ws::write_close(&mut answer, close.code, ""),
                    Event::Close(None) => ws::write_frame(&mut answer, Opcode::Close, &[]),
                    Event::Text(_) | Event::Binary(_) | Event::Pong(_) => {}
                }
                let is_closed = matches!(event, Event::Close(_));
                if is_closed {
                    let _ = outbox.push(answer.into());
                    return Break(());
                }
                consumed
            }
            Err(error) => {
                ws::write_close(&mut answer, error.close_code(), "");
                let _ = outbox.push(answer.into());
                return Break(());
            }
        };
        if !answer.is_empty() {
            let _ = outbox.push(answer.into());
        }
        input = &mut input[consumed..];
    }
}

/// What the publisher sends, in order, without end: `u32` length of the room's name, the name, `u32` length of the
/// payload, the payload; numbers little endian. Each becomes one binary frame.
///
/// The answer is a `u64`, little endian: how many publications of this connection are in the queues of all members of
/// their rooms by now. It comes after every read that completed at least one, so that one answer covers many. The
/// publisher has to read it. One connection publishes at a time; the next is served when it has ended.
#[derive(Debug, Default)]
pub(crate) struct Ingest {
    received: Vec<u8>,
    taken_bytes: usize,
    taken: u64,
}

/// The publisher does not speak this protocol.
#[derive(Debug, thiserror::Error)]
#[error("publisher declares {bytes} bytes where {bytes_max} are the most")]
pub(crate) struct TooLong {
    bytes: usize,
    bytes_max: usize,
}

impl From<TooLong> for io::Error {
    fn from(error: TooLong) -> Self {
        Self::new(io::ErrorKind::InvalidData, error)
    }
}

impl Ingest {
    pub(crate) fn receive(&mut self, bytes: &[u8]) {
        self.received.drain(..self.taken_bytes);
        self.taken_bytes = 0;
        self.received.extend_from_slice(bytes);
    }

    /// Puts all publications that have come whole into the queues, waiting where one is full. Gives whether there were any.
    pub(crate) async fn hand_out(&mut self, hub: &Hub) -> Result<bool, TooLong> {
        let taken_before = self.taken;
        while let Some((room, frame)) = self.next_publication()? {
            hub.publish(room, frame).await;
        }
        Ok(self.taken > taken_before)
    }

    /// The answer, when all publications taken so far are in the queues.
    pub(crate) fn acknowledgement(&self) -> Bytes {
        Bytes::copy_from_slice(&self.taken.to_le_bytes())
    }

    /// A room, and the frame for its members.
    fn next_publication(&mut self) -> Result<Option<(&str, Bytes)>, TooLong> {
        let rest = &self.received[self.taken_bytes..];
        let Some((room, rest)) = split_field(rest, ROOM_BYTES_MAX)? else {
            return Ok(None);
        };
        let Some((payload, rest)) = split_field(rest, PAYLOAD_BYTES_MAX)? else {
            return Ok(None);
        };
        self.taken_bytes = self.received.len() - rest.len();
        self.taken += 1;
        // A name that is not UTF-8 is nobody's room.
        Ok(Some((
            str::from_utf8(room).unwrap_or_default(),
            frame(payload),
        )))
    }
}

/// A field, and what follows it.
type Split<'a> = (&'a [u8], &'a [u8]);

/// Takes a length and as many bytes from the start of `input`; `None` if they have not all come.
fn split_field(input: &[u8], bytes_max: usize) -> Result<Option<Split<'_>>, TooLong> {
    let Some((length, rest)) = input.split_first_chunk() else {
        return Ok(None);
    };
    let bytes = u32::from_le_bytes(*length) as usize;
    if bytes > bytes_max {
        return Err(TooLong { bytes, bytes_max });
    }
    Ok(rest.split_at_checked(bytes))
}

/// One frame for all members, encoded once.
fn frame(payload: &[u8]) -> Bytes {
    let mut frame = Vec::with_capacity(payload.len() + 10);
    ws::write_frame(&mut frame, Opcode::Binary, payload);
    frame.into()
}
