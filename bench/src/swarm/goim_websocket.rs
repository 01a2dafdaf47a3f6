//! goim's second version over WebSocket: a message is a frame, and publications are frames inside of a batch.

use std::mem;

use fanfare_wire::goim::{self, Operation, PUSH_VERSION};
use fanfare_wire::ws::{self, Opcode};

use super::dialect::{Dialect, Event, ProtocolError};
use super::goim::{BODY_BYTES_MAX, Place, write_auth, write_first_heartbeat, write_heartbeat};
use super::transcript::Transcript;
use super::upgraded::{self, Message, Upgraded};
use super::{Identity, Language};

/// goim knows no other.
const PATH: &str = "/sub";

/// What the connections of a ring have heard.
#[derive(Debug, Default)]
pub(super) struct Heard {
    /// The frames of publications.
    frames: Transcript,
    /// The messages of those that came alone, as most do: who hears the same need not take it apart.
    messages: Transcript,
    /// The last of them.
    message: Vec<u8>,
}

/// A connection of goim over WebSocket.
#[derive(Debug)]
pub(super) struct GoimWebSocket {
    connection: Upgraded,
    place: Place,
    /// Its first frame, until that is sent.
    auth: Box<[u8]>,
}

impl Dialect for GoimWebSocket {
    type Shared = Heard;

    const BEATS: bool = true;

    fn open(out: &mut Vec<u8>, _: Language, identity: &Identity) -> Self {
        let mut auth = Vec::new();
        write_auth(&mut auth, identity);
        Self {
            connection: Upgraded::open(out, PATH),
            place: Place::in_room(&identity.room),
            auth: auth.into(),
        }
    }

    fn subscribe(&mut self, out: &mut Vec<u8>, _: &str) {
        write_message(out, write_first_heartbeat);
    }

    /// Pings are WebSocket's own, and are answered below.
    fn pong(&mut self, _: &mut Vec<u8>) {}

    fn beat(&mut self, out: &mut Vec<u8>) {
        write_message(out, write_heartbeat);
    }

    fn feed(
        &mut self,
        heard: &mut Heard,
        mut input: &mut [u8],
        out: &mut Vec<u8>,
        on_event: &mut impl FnMut(Event<'_>),
    ) -> Result<(), ProtocolError> {
        let Self {
            connection,
            place,
            auth,
        } = self;
        while !input.is_empty() {
            if connection.is_between_messages() {
                let known_bytes = place.known(&heard.messages, input, on_event);
                input = &mut input[known_bytes..];
            }
            let taken = connection.step(input, out, &mut |message, out| match message {
                Message::Opened => {
                    upgraded::write(out, Opcode::Binary, &mem::take(auth));
                    Ok(())
                }
                Message::Binary(message) => heard.read(place, message, on_event),
                Message::Close(code) => {
                    on_event(Event::Disconnected { code });
                    Ok(())
                }
                Message::Text(text) => Err(ProtocolError::Reply(text.to_owned())),
            })?;
            input = &mut input[taken..];
        }
        Ok(())
    }
}

impl Heard {
    /// Reads a message: the frames of a batch, or the one frame that it is.
    fn read(
        &mut self,
        place: &mut Place,
        message: &[u8],
        on_event: &mut impl FnMut(Event<'_>),
    ) -> Result<(), ProtocolError> {
        let frame = goim::decode_message(message, BODY_BYTES_MAX)?;
        let mut frames = match (frame.operation, frame.version, frame.seq) {
            (Operation::RAW, PUSH_VERSION, 0) => frame.body,
            _ => message,
        };
        let (before, mut publications, mut is_sound) = (place.last, 0, true);
        while !frames.is_empty() {
            let taken = place.frames(&mut self.frames, frames, &mut |event| {
                match event {
                    Event::Publication { .. } => publications += 1,
                    Event::Publications { count, .. } => publications += count,
                    Event::Contradicted => is_sound = false,
                    _ => {}
                }
                on_event(event);
            })?;
            frames = &frames[taken.ok_or(ProtocolError::Unfinished)?..];
        }
        if publications == 1 && is_sound && place.last == before + 1 {
            // It may have come in pieces. Servers do not mask, and write lengths in one way.
            self.message.clear();
            ws::write_frame(&mut self.message, Opcode::Binary, message);
            place.learn(&mut self.messages, &self.message);
        }
        Ok(())
    }
}

fn write_message(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let mut frame = Vec::new();
    write(&mut frame);
    upgraded::write(out, Opcode::Binary, &frame);
}

#[cfg(test)]
mod tests {
    use super::super::dialect::{account, hear};
    use super::*;
    use crate::stamp;

    fn opened() -> GoimWebSocket {
        GoimWebSocket {
            connection: Upgraded::opened(),
            place: Place::in_room("news"),
            auth: Box::default(),
        }
    }

    /// Appends a message whose batch has these publications.
    fn write_batch(stream: &mut Vec<u8>, numbers: impl IntoIterator<Item = u64>) {
        ws::write_frame_with(stream, Opcode::Binary, |out| {
            goim::write_batch(out, PUSH_VERSION, |out| {
                for number in numbers {
                    let data = stamp::short(number);
                    goim::write_push(out, PUSH_VERSION, Operation(1000), &data);
                }
            });
        });
    }

    fn write_answer(stream: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
        ws::write_frame_with(stream, Opcode::Binary, write);
    }

    /// The numbers of the publications and the other events.
    fn heard(shared: &mut Heard, stream: &[u8], step: usize) -> Vec<String> {
        let (mut member, mut heard, mut last) = (opened(), Vec::new(), 0);
        for piece in stream.to_vec().chunks_mut(step) {
            let result = member.feed(shared, piece, &mut Vec::new(), &mut |event| {
                let numbers = match event {
                    Event::Publication { data, .. } => {
                        let number = stamp::number_near(data, last + 1).expect("it has one");
                        number..number + 1
                    }
                    Event::Publications { first, count } => first..first + count,
                    other => return heard.push(format!("{other:?}")),
                };
                last = numbers.end - 1;
                heard.extend(numbers.map(|number| number.to_string()));
            });
            assert_eq!(result, Ok(()), "by {step}");
        }
        heard
    }

    #[test]
    fn what_is_heard_depends_neither_on_how_the_bytes_are_cut_nor_on_how_publications_are_put_into_batches()
     {
        let (mut together, mut apart) = (Vec::new(), Vec::new());
        for stream in [&mut together, &mut apart] {
            write_answer(stream, |out| goim::write_auth_reply(out, 1, 1));
            write_answer(stream, |out| goim::write_heartbeat_reply(out, 1, 2, 5));
        }
        write_batch(&mut together, 1..=5);
        write_batch(&mut together, 6..=6);
        (1..=6).for_each(|number| write_batch(&mut apart, [number]));
        for stream in [&mut together, &mut apart] {
            write_answer(stream, |out| goim::write_heartbeat_reply(out, 1, 3, 5));
            ws::write_close(stream, 3001, "shutdown");
        }
        let mut expected = vec![
            format!("{:?}", Event::Welcomed),
            format!("{:?}", Event::Subscribed { offset: None }),
        ];
        expected.extend((1..=6).map(|number: u64| number.to_string()));
        expected.push(format!("{:?}", Event::HeartbeatAnswered));
        expected.push(format!("{:?}", Event::Disconnected { code: Some(3001) }));
        for step in 1..=together.len().max(apart.len()) {
            let mut shared = Heard::default();
            for stream in [&together, &apart, &together] {
                assert_eq!(heard(&mut shared, stream, step), expected, "by {step}");
            }
        }
    }

    #[test]
    fn a_batch_is_heard_at_once_when_others_heard_it_before() {
        let mut stream = Vec::new();
        write_batch(&mut stream, 1..=100);
        write_batch(&mut stream, 101..=101);
        let mut shared = Heard::default();
        let mut events = || {
            let (mut member, size) = (opened(), stream.len());
            hear(&mut member, &mut shared, &stream, size, &mut Vec::new()).0
        };
        assert_eq!(events().len(), 101);
        // The first one, those with it, and the other batch.
        assert_eq!(events().len(), 3);
    }

    #[test]
    fn many_messages_are_heard_at_once_when_others_heard_them_before_in_whichever_pieces() {
        let mut stream = Vec::new();
        (1..=100).for_each(|number| write_batch(&mut stream, [number]));
        let mut shared = Heard::default();
        let mut events =
            |stream: &[u8], step| hear(&mut opened(), &mut shared, stream, step, &mut Vec::new()).0;
        assert_eq!(events(&stream, 30).len(), 100);
        assert_eq!(events(&stream, stream.len()).len(), 2);
    }

    #[test]
    fn no_byte_of_a_message_can_be_wrong() {
        let mut right = Vec::new();
        (1..=4).for_each(|number| write_batch(&mut right, [number]));
        let hear = |shared: &mut Heard, stream: &[u8]| {
            account(&mut opened(), shared, stream, stream.len()).0
        };
        // The last one may seem to be the beginning of a longer one.
        for at in 0..right.len() - 44 {
            let mut wrong = right.clone();
            wrong[at] ^= 1;
            let mut shared = Heard::default();
            hear(&mut shared, &right).expect("the protocol");
            let is_faithful = hear(&mut shared, &wrong)
                .is_ok_and(|ledger| ledger.is_faithful() && ledger.received == 4);
            assert!(!is_faithful, "byte {at}");
        }
    }

    #[test]
    fn what_is_not_a_frame_or_a_batch_of_frames_is_an_error() {
        let answers = |message: &[u8]| {
            let mut stream = Vec::new();
            ws::write_frame(&mut stream, Opcode::Binary, message);
            let mut shared = Heard::default();
            opened().feed(&mut shared, &mut stream, &mut Vec::new(), &mut |_| {})
        };
        let mut batch = Vec::new();
        goim::write_batch(&mut batch, PUSH_VERSION, |out| {
            let data = stamp::short(1);
            goim::write_push(out, PUSH_VERSION, Operation(1000), &data);
        });
        assert_eq!(answers(&batch), Ok(()));
        assert!(matches!(answers(b""), Err(ProtocolError::Goim(_))));
        let cut = &batch[..batch.len() - 1];
        assert!(matches!(answers(cut), Err(ProtocolError::Goim(_))));
        // The batch is as long as it says, the publication in it is not.
        let mut short = cut.to_vec();
        short[3] -= 1;
        assert_eq!(answers(&short), Err(ProtocolError::Unfinished));
        let mut nested = Vec::new();
        goim::write_batch(&mut nested, PUSH_VERSION, |out| {
            out.extend_from_slice(&batch);
        });
        let nested = answers(&nested);
        assert!(matches!(nested, Err(ProtocolError::GoimFrame { .. })));
    }
}
