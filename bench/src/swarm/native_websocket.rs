//! The native protocol over WebSocket.

use fanfare_wire::native::{self, HEADER_BYTES, ServerFrame};
use fanfare_wire::ws::Opcode;

use super::dialect::{Dialect, Event, ProtocolError};
use super::native::{ARCHIVE_BYTES_MAX, event, write_hello, write_subscribe};
use super::upgraded::{self, Message, Upgraded};
use super::{Identity, Language};

const PATH: &str = "/connection/native";

/// A publication that was read and checked in full, against which others are compared: members of one room hear the same
/// bytes, and most publications differ from the one before in their offset alone.
#[derive(Debug, Default)]
pub(super) struct Template {
    /// The frame; empty for none.
    frame: Vec<u8>,
    data_bytes: usize,
}

impl Template {
    /// The frame at the start of `input`, if it is the template but for its offset: its offset and its data.
    fn read<'i>(&self, input: &'i [u8]) -> Option<(u64, &'i [u8], usize)> {
        let bytes = self.frame.len();
        let frame = input.get(..bytes).filter(|frame| !frame.is_empty())?;
        let offset_at = HEADER_BYTES + self.data_bytes;
        let (before, rest) = frame.split_at(offset_at);
        let (offset, after) = rest.split_first_chunk::<8>()?;
        let is_same =
            *before == self.frame[..offset_at] && *after == self.frame[offset_at + offset.len()..];
        is_same.then(|| (u64::from_le_bytes(*offset), &before[HEADER_BYTES..], bytes))
    }

    /// Takes this publication's frame for the template.
    fn learn(&mut self, frame: &[u8], offset: u64, data: &[u8]) {
        self.frame.clear();
        let offset_at = HEADER_BYTES + data.len();
        // An archive that is laid out in another way is valid, and read in full each time.
        if frame.get(HEADER_BYTES..offset_at) == Some(data)
            && frame.get(offset_at..offset_at + 8) == Some(&offset.to_le_bytes())
        {
            self.frame.extend_from_slice(frame);
            self.data_bytes = data.len();
        }
    }
}

/// A native connection over WebSocket: messages of whole frames.
#[derive(Debug)]
pub(super) struct NativeWebSocket {
    connection: Upgraded,
    /// Its token, until that is sent.
    token: Box<str>,
}

impl Dialect for NativeWebSocket {
    type Shared = Template;

    fn open(out: &mut Vec<u8>, _: Language, identity: &Identity) -> Self {
        Self {
            connection: Upgraded::open(out, PATH),
            token: identity.token.as_str().into(),
        }
    }

    fn subscribe(&mut self, out: &mut Vec<u8>, room: &str) {
        write_message(out, |frames| write_subscribe(frames, room));
    }

    fn pong(&mut self, out: &mut Vec<u8>) {
        write_message(out, native::write_client_pong);
    }

    fn feed(
        &mut self,
        template: &mut Template,
        input: &mut [u8],
        out: &mut Vec<u8>,
        on_event: &mut impl FnMut(Event<'_>),
    ) -> Result<(), ProtocolError> {
        let Self { connection, token } = self;
        connection.feed(input, out, &mut |message, out| match message {
            Message::Opened => {
                let token = std::mem::take(token);
                write_message(out, |frames| write_hello(frames, &token));
                Ok(())
            }
            Message::Binary(mut frames) => {
                while !frames.is_empty() {
                    let taken = frame(template, frames, on_event)?;
                    frames = &frames[taken.ok_or(ProtocolError::Unfinished)?..];
                }
                Ok(())
            }
            Message::Close(code) => {
                on_event(Event::Disconnected { code });
                Ok(())
            }
            Message::Text(text) => Err(ProtocolError::Reply(text.to_owned())),
        })
    }
}

/// Reads the frame at the start of `input`; returns how many bytes it takes, or `None` when it is not complete.
fn frame(
    template: &mut Template,
    input: &[u8],
    on_event: &mut impl FnMut(Event<'_>),
) -> Result<Option<usize>, ProtocolError> {
    if let Some((offset, data, bytes)) = template.read(input) {
        let offset = Some(offset).filter(|&offset| offset > 0);
        on_event(Event::Publication { offset, data });
        return Ok(Some(bytes));
    }
    let Some((frame, bytes)) = native::decode_server(input, ARCHIVE_BYTES_MAX)? else {
        return Ok(None);
    };
    if let ServerFrame::Publication(publication) = frame {
        template.learn(&input[..bytes], publication.offset, publication.data);
    }
    if let Some(event) = event(frame) {
        on_event(event);
    }
    Ok(Some(bytes))
}

/// Appends a binary message of these frames.
fn write_message(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let mut frames = Vec::new();
    write(&mut frames);
    upgraded::write(out, Opcode::Binary, &frames);
}

#[cfg(test)]
mod tests {
    use fanfare_wire::ws;

    use super::super::dialect::hear;
    use super::*;

    fn opened() -> NativeWebSocket {
        NativeWebSocket {
            connection: Upgraded::opened(),
            token: Box::default(),
        }
    }

    fn frames() -> Vec<Vec<u8>> {
        let mut frames = vec![Vec::new(); 4];
        native::write_publication(&mut frames[0], 1, 7, b"seven");
        native::write_publication(&mut frames[1], 1, 8, b"seven");
        native::write_publication(&mut frames[2], 1, 9, &[9; 500]);
        native::write_server_ping(&mut frames[3]);
        frames
    }

    #[test]
    fn events_depend_neither_on_how_the_bytes_are_cut_nor_on_how_frames_are_put_into_messages() {
        let (mut together, mut apart) = (Vec::new(), Vec::new());
        ws::write_frame(&mut together, Opcode::Binary, &frames().concat());
        for frame in frames() {
            ws::write_frame(&mut apart, Opcode::Binary, &frame);
        }
        let publication = |offset, data| Event::Publication {
            offset: Some(offset),
            data,
        };
        let expected = [
            publication(7, b"seven"),
            publication(8, b"seven"),
            publication(9, &[9; 500]),
            Event::Ping,
        ]
        .map(|event| format!("{event:?}"));
        for stream in [together, apart] {
            for step in 1..=stream.len() {
                let mut template = Template::default();
                let (events, result) =
                    hear(&mut opened(), &mut template, &stream, step, &mut Vec::new());
                assert_eq!(
                    (events.as_slice(), result),
                    (&expected[..], Ok(())),
                    "by {step}"
                );
            }
        }
    }

    #[test]
    fn a_frame_does_not_span_messages() {
        let mut stream = Vec::new();
        ws::write_frame(&mut stream, Opcode::Binary, &frames()[0][..20]);
        let template = &mut Template::default();
        let result = opened().feed(template, &mut stream, &mut Vec::new(), &mut |_| {});
        assert_eq!(result, Err(ProtocolError::Unfinished));
    }
}
