//! The native protocol over TCP.

use fanfare_wire::native::{self, HEADER_BYTES, ServerFrame};

use super::dialect::{Dialect, Event, ProtocolError};
use super::partial::Partial;
use super::{Identity, Language};

/// Longest frame that is taken from a server.
const ARCHIVE_BYTES_MAX: u32 = 1 << 20;

/// Requests are counted per connection, and a member makes one.
const SUBSCRIBE: u32 = 1;

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

/// A native connection over TCP.
#[derive(Debug, Default)]
pub(super) struct Native {
    partial: Partial,
}

impl Dialect for Native {
    type Shared = Template;

    fn open(out: &mut Vec<u8>, _: Language, identity: &Identity) -> Self {
        write_hello(out, &identity.token);
        Self::default()
    }

    fn subscribe(&mut self, out: &mut Vec<u8>, room: &str) {
        write_subscribe(out, room);
    }

    fn pong(&mut self, out: &mut Vec<u8>) {
        native::write_client_pong(out);
    }

    fn feed(
        &mut self,
        template: &mut Template,
        input: &mut [u8],
        _: &mut Vec<u8>,
        on_event: &mut impl FnMut(Event<'_>),
    ) -> Result<(), ProtocolError> {
        self.partial
            .feed(input, |bytes| frame(template, bytes, on_event))
    }
}

pub(super) fn write_hello(out: &mut Vec<u8>, token: &str) {
    let client_name = "swarm";
    native::write_hello(out, &native::Hello { token, client_name });
}

pub(super) fn write_subscribe(out: &mut Vec<u8>, room: &str) {
    let subscribe = native::Subscribe {
        request: SUBSCRIBE,
        room,
        token: "",
        recover: false,
        epoch: 0,
        offset: 0,
    };
    native::write_subscribe(out, &subscribe);
}

/// Reads the frame at the start of `input`; returns how many bytes it takes, or `None` when it is not complete.
pub(super) fn frame(
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

fn event(frame: ServerFrame<'_>) -> Option<Event<'_>> {
    Some(match frame {
        ServerFrame::Publication(publication) => Event::Publication {
            offset: Some(publication.offset).filter(|&offset| offset > 0),
            data: publication.data,
        },
        ServerFrame::Welcome(_) => Event::Welcomed,
        ServerFrame::Subscribed(subscribed) => Event::Subscribed {
            offset: Some(subscribed.offset).filter(|_| subscribed.epoch > 0),
        },
        ServerFrame::Unsubscribed(unsubscribed) => Event::Unsubscribed {
            code: unsubscribed.code,
        },
        ServerFrame::Gap(gap) => Event::Gap {
            from: gap.from,
            to: gap.to,
        },
        ServerFrame::Ping => Event::Ping,
        ServerFrame::Error(error) => Event::Refused { code: error.code },
        ServerFrame::Disconnect(disconnect) => Event::Disconnected {
            code: Some(disconnect.code),
        },
        // Answers to what a member never asks, and pushes outside of rooms.
        ServerFrame::Ack(_) | ServerFrame::Pong | ServerFrame::Message(_) => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn publication(offset: u64, data: &[u8]) -> Event<'_> {
        Event::Publication {
            offset: Some(offset),
            data,
        }
    }

    #[test]
    fn events_do_not_depend_on_how_the_bytes_are_cut() {
        let mut stream = Vec::new();
        // The template of the second is the first; the fourth has another room, the fifth another length.
        for (room, offset, data) in [
            (1, 6, "fifth"),
            (1, 7, "fifth"),
            (1, 8, "sixth"),
            (2, 9, "sixth"),
            (2, 10, "seventh"),
        ] {
            native::write_publication(&mut stream, room, offset, data.as_bytes());
        }
        native::write_gap(
            &mut stream,
            &native::Gap {
                room: 1,
                from: 8,
                to: 9,
            },
        );
        native::write_server_ping(&mut stream);
        for step in 1..=stream.len() {
            let mut events = Vec::new();
            let mut member = Native::default();
            let mut template = Template::default();
            for piece in stream.clone().chunks_mut(step) {
                member
                    .feed(&mut template, piece, &mut Vec::new(), &mut |event| {
                        events.push(format!("{event:?}"));
                    })
                    .expect("the protocol");
            }
            let expected = [
                publication(6, b"fifth"),
                publication(7, b"fifth"),
                publication(8, b"sixth"),
                publication(9, b"sixth"),
                publication(10, b"seventh"),
                Event::Gap { from: 8, to: 9 },
                Event::Ping,
            ];
            assert_eq!(
                events,
                expected.map(|event| format!("{event:?}")),
                "by {step}"
            );
            assert!(member.partial.is_empty());
        }
    }
}
