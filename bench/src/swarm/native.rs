//! The native protocol over TCP.

use fanfare_wire::native::{self, ServerFrame};

use super::dialect::{Dialect, Event, ProtocolError};

/// Longest frame that is taken from a server.
const ARCHIVE_BYTES_MAX: u32 = 1 << 20;

/// Requests are counted per connection, and a member makes one.
const SUBSCRIBE: u32 = 1;

/// A native connection: the beginning of a frame, while there is only that.
#[derive(Debug, Default)]
pub(super) struct Native {
    partial: Option<Box<Vec<u8>>>,
}

impl Dialect for Native {
    type Shared = ();

    fn open(out: &mut Vec<u8>, token: &str) -> Self {
        let client_name = "swarm";
        native::write_hello(out, &native::Hello { token, client_name });
        Self::default()
    }

    fn subscribe(&mut self, out: &mut Vec<u8>, room: &str) {
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

    fn pong(&mut self, out: &mut Vec<u8>) {
        native::write_client_pong(out);
    }

    fn feed(
        &mut self,
        (): &mut (),
        input: &mut [u8],
        _: &mut Vec<u8>,
        on_event: &mut impl FnMut(Event<'_>),
    ) -> Result<(), ProtocolError> {
        let Some(mut partial) = self.partial.take() else {
            let taken = frames(input, on_event)?;
            if taken < input.len() {
                self.partial = Some(Box::new(input[taken..].to_vec()));
            }
            return Ok(());
        };
        partial.extend_from_slice(input);
        let taken = frames(&partial, on_event)?;
        if taken < partial.len() {
            partial.drain(..taken);
            self.partial = Some(partial);
        }
        Ok(())
    }
}

/// Reads the whole frames at the start of `input`; returns how many bytes they took.
fn frames(input: &[u8], on_event: &mut impl FnMut(Event<'_>)) -> Result<usize, ProtocolError> {
    let mut taken = 0;
    while let Some((frame, bytes)) = native::decode_server(&input[taken..], ARCHIVE_BYTES_MAX)? {
        if let Some(event) = event(frame) {
            on_event(event);
        }
        taken += bytes;
    }
    Ok(taken)
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

    #[test]
    fn events_do_not_depend_on_how_the_bytes_are_cut() {
        let mut stream = Vec::new();
        native::write_publication(&mut stream, 1, 7, b"seven");
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
            for piece in stream.clone().chunks_mut(step) {
                member
                    .feed(&mut (), piece, &mut Vec::new(), &mut |event| {
                        events.push(format!("{event:?}"));
                    })
                    .expect("the protocol");
            }
            let expected = [
                Event::Publication {
                    offset: Some(7),
                    data: b"seven",
                },
                Event::Gap { from: 8, to: 9 },
                Event::Ping,
            ];
            assert_eq!(
                events,
                expected.map(|event| format!("{event:?}")),
                "by {step}"
            );
            assert!(member.partial.is_none());
        }
    }
}
