//! The native protocol over TCP.

use fanfare_wire::native::{self, ServerFrame};

use super::dialect::{Dialect, Event, ProtocolError};
use super::partial::Partial;
use super::transcript::Transcript;
use super::{Identity, Language};
use crate::stamp;

/// Longest frame that is taken from a server.
pub(super) const ARCHIVE_BYTES_MAX: u32 = 1 << 20;

/// Requests are counted per connection, and a member makes one.
const SUBSCRIBE: u32 = 1;

/// A native connection over TCP.
#[derive(Debug, Default)]
pub(super) struct Native {
    partial: Partial,
}

impl Dialect for Native {
    type Shared = Transcript;

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
        transcript: &mut Transcript,
        input: &mut [u8],
        _: &mut Vec<u8>,
        on_event: &mut impl FnMut(Event<'_>),
    ) -> Result<(), ProtocolError> {
        self.partial
            .feed(input, |bytes| frames(transcript, bytes, on_event))
    }
}

/// Reads the frame at the start of `input`, and as many after it as are known to the transcript; returns how many bytes they
/// take, or `None` when the first is not complete.
fn frames(
    transcript: &mut Transcript,
    input: &[u8],
    on_event: &mut impl FnMut(Event<'_>),
) -> Result<Option<usize>, ProtocolError> {
    let Some((frame, bytes)) = native::decode_server(input, ARCHIVE_BYTES_MAX)? else {
        return Ok(None);
    };
    if let Some(event) = event(frame) {
        on_event(event);
    }
    let ServerFrame::Publication(publication) = frame else {
        return Ok(Some(bytes));
    };
    let (room, offset) = (u64::from(publication.room), publication.offset);
    if transcript.contradicts(room, offset, &input[..bytes]) {
        on_event(Event::Contradicted);
    }
    let same = transcript.follow(room, offset, &input[bytes..]);
    if same.publications > 0 {
        on_event(Event::Publications {
            first: offset + 1,
            count: same.publications,
        });
    } else if offset > 0 && stamp::agrees(publication.data, offset) {
        transcript.learn(room, offset, &input[..bytes]);
    }
    Ok(Some(bytes + same.bytes))
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

/// What a frame means to a member.
pub(super) fn event(frame: ServerFrame<'_>) -> Option<Event<'_>> {
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

    /// Publications of rooms 1 and 2 with different lengths, a gap, and a ping.
    fn stream() -> Vec<u8> {
        let mut stream = Vec::new();
        for (room, offset, data) in [
            (1, 6, "fifth"),
            (1, 7, "fifth"),
            (1, 8, "eighth"),
            (2, 9, "eighth"),
            (2, 10, "seventh"),
        ] {
            native::write_publication(&mut stream, room, offset, data.as_bytes());
        }
        let gap = native::Gap {
            room: 1,
            from: 8,
            to: 9,
        };
        native::write_gap(&mut stream, &gap);
        native::write_server_ping(&mut stream);
        stream
    }

    /// What a member hears when the stream comes in pieces of so many bytes, and in how many events.
    fn hear(transcript: &mut Transcript, stream: &[u8], step: usize) -> (Vec<String>, usize) {
        let (mut heard, mut events) = (Vec::new(), 0);
        let mut member = Native::default();
        for piece in stream.to_vec().chunks_mut(step) {
            member
                .feed(transcript, piece, &mut Vec::new(), &mut |event| {
                    events += 1;
                    match event {
                        Event::Publication { offset, .. } => heard.extend(offset.map(publication)),
                        Event::Publications { first, count } => {
                            heard.extend((first..first + count).map(publication));
                        }
                        other => heard.push(format!("{other:?}")),
                    }
                })
                .expect("the protocol");
        }
        assert!(member.partial.is_empty());
        (heard, events)
    }

    fn publication(offset: u64) -> String {
        format!("publication {offset}")
    }

    #[test]
    fn what_is_heard_does_not_depend_on_how_the_bytes_are_cut_or_on_who_heard_it_before() {
        let stream = stream();
        let mut expected: Vec<String> = (6..=10).map(publication).collect();
        expected.push(format!("{:?}", Event::Gap { from: 8, to: 9 }));
        expected.push(format!("{:?}", Event::Ping));
        for step in 1..=stream.len() {
            let mut transcript = Transcript::default();
            for member in 0..3 {
                let (heard, _) = hear(&mut transcript, &stream, step);
                assert_eq!(heard, expected, "member {member}, by {step}");
            }
        }
    }

    #[test]
    fn the_second_member_hears_many_at_once_unless_they_are_not_the_same() {
        let stream_of = |data: &str| {
            let mut stream = Vec::new();
            for offset in 1..=100 {
                native::write_publication(&mut stream, 1, offset, data.as_bytes());
            }
            stream
        };
        let (mut transcript, stream) = (Transcript::default(), stream_of("hello"));
        let (heard, events) = hear(&mut transcript, &stream, stream.len());
        assert_eq!((heard.len(), events), (100, 100));
        let (heard, events) = hear(&mut transcript, &stream, stream.len());
        assert_eq!((heard.len(), events), (100, 2));
        let other = stream_of("hallo");
        let (heard, _) = hear(&mut transcript, &other, other.len());
        let contradicted = format!("{:?}", Event::Contradicted);
        let faults = heard.iter().filter(|event| **event == contradicted);
        assert_eq!((faults.count(), heard.len()), (100, 200));
    }

    #[test]
    fn a_payload_of_another_number_is_not_what_others_are_held_against() {
        let mut stream = Vec::new();
        native::write_publication(&mut stream, 1, 1, stamp::payload(1, 64).as_bytes());
        native::write_publication(&mut stream, 1, 2, stamp::payload(3, 64).as_bytes());
        let mut transcript = Transcript::default();
        for _ in 0..2 {
            let (heard, events) = hear(&mut transcript, &stream, stream.len());
            assert_eq!((heard.len(), events), (2, 2));
        }
    }
}
