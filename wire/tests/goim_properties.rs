//! What holds for every goim frame and batch: the cuts of a stream do not matter, no bytes make a reader panic or reach
//! outside of them, and batches hold what was put into them.

#![allow(clippy::unwrap_used)]

use fanfare_wire::goim::{
    self, BODY_BYTES_MAX, Error, Frame, HEADER_BYTES, Operation, PUSH_VERSION, decode,
    decode_message,
};
use fanfare_wire::ws::{Decoder, Event, Limits, Opcode, Role, write_frame_with};
use proptest::prelude::*;

#[derive(Debug, Clone)]
struct Owned {
    version: i16,
    operation: i32,
    seq: i32,
    body: Vec<u8>,
}

impl Owned {
    fn any() -> impl Strategy<Value = Self> {
        let fields = (any::<i16>(), any::<i32>(), any::<i32>(), bytes(0..200));
        fields.prop_map(|(version, operation, seq, body)| Self {
            version,
            operation,
            seq,
            body,
        })
    }

    fn write(&self, out: &mut Vec<u8>) {
        let operation = Operation(self.operation);
        goim::write_frame(out, self.version, operation, self.seq, &self.body);
    }

    fn as_frame(&self) -> Frame<'_> {
        Frame {
            version: self.version,
            operation: Operation(self.operation),
            seq: self.seq,
            body: &self.body,
        }
    }
}

fn bytes(count: std::ops::Range<usize>) -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), count)
}

/// Feeds a stream in pieces, as a connection does: what no frame has taken waits for the next piece.
fn frames_in_pieces(stream: &[u8], cuts: &[usize]) -> Vec<String> {
    let mut cuts: Vec<usize> = cuts
        .iter()
        .map(|cut| cut % (stream.len() + 1))
        .chain([0, stream.len()])
        .collect();
    cuts.sort_unstable();
    let mut frames = Vec::new();
    let mut waiting = Vec::new();
    for piece in cuts.windows(2) {
        waiting.extend_from_slice(&stream[piece[0]..piece[1]]);
        loop {
            match decode(&waiting, BODY_BYTES_MAX) {
                Ok(Some((frame, used))) => {
                    frames.push(format!("{frame:?}"));
                    waiting.drain(..used);
                }
                Ok(None) => break,
                Err(error) => {
                    frames.push(error.to_string());
                    return frames;
                }
            }
        }
        assert!(waiting.len() < HEADER_BYTES + BODY_BYTES_MAX as usize);
    }
    frames.push(format!("{} bytes wait", waiting.len()));
    frames
}

/// A batch as a WebSocket message.
fn batch(version: i16, bodies: &[Vec<u8>]) -> Vec<u8> {
    let mut out = Vec::new();
    write_frame_with(&mut out, Opcode::Binary, |out| {
        goim::write_batch(out, version, |out| {
            for body in bodies {
                goim::write_push(out, version, Operation(1000), body);
            }
        });
    });
    out
}

/// The payload of the one message that `bytes` are.
fn payload(bytes: &[u8]) -> Vec<u8> {
    let limits = Limits {
        message_bytes_max: 1 << 24,
        fragments_max: 1,
    };
    let mut bytes = bytes.to_vec();
    let mut decoder = Decoder::new(Role::Client);
    let (used, event) = decoder.next(&mut bytes, &limits).unwrap();
    let Some(Event::Binary(payload)) = event else {
        panic!("not a binary message: {event:?}");
    };
    let payload = payload.to_vec();
    assert_eq!(used, bytes.len());
    payload
}

/// As the JavaScript client of the original does it: from byte 16 on, each frame by its own two lengths.
fn walk_as_the_javascript_client(message: &[u8]) -> Vec<Vec<u8>> {
    let length_at = |at: usize| {
        let bytes = message[at..at + 4].try_into().unwrap();
        usize::try_from(i32::from_be_bytes(bytes)).unwrap()
    };
    assert_eq!(message[8..12], 9_i32.to_be_bytes());
    assert_eq!(length_at(0), message.len());
    let mut bodies = Vec::new();
    let mut offset = 16;
    while offset < message.len() {
        let package = length_at(offset);
        let header = i16::from_be_bytes(message[offset + 4..offset + 6].try_into().unwrap());
        let header = usize::try_from(header).unwrap();
        bodies.push(message[offset + header..offset + package].to_vec());
        offset += package;
    }
    assert_eq!(offset, message.len());
    bodies
}

/// Lengths of bodies around the places where a WebSocket header grows, and where a batch is full.
fn body() -> impl Strategy<Value = Vec<u8>> {
    let length = prop_oneof![
        6 => 0..120_usize,
        2 => 60..110_usize,
        1 => 32_000..33_000_usize,
        1 => 65_400..65_600_usize,
    ];
    (length, any::<u8>()).prop_map(|(length, byte)| vec![byte; length])
}

fn is_within(inner: &[u8], outer: &[u8]) -> bool {
    let (inner, outer) = (inner.as_ptr_range(), outer.as_ptr_range());
    outer.start <= inner.start && inner.end <= outer.end
}

/// Reads every way there is and looks at what comes out.
fn read_hostile(bytes: &[u8]) -> Result<(), TestCaseError> {
    if let Ok(Some((frame, used))) = decode(bytes, BODY_BYTES_MAX) {
        prop_assert!(is_within(frame.body, &bytes[..used]));
        prop_assert_eq!(used, HEADER_BYTES + frame.body.len());
        prop_assert_eq!(decode_message(&bytes[..used], BODY_BYTES_MAX), Ok(frame));
        let mut out = Vec::new();
        goim::write_frame(
            &mut out,
            frame.version,
            frame.operation,
            frame.seq,
            frame.body,
        );
        prop_assert_eq!(&out, &bytes[..used]);
    }
    if let Ok(frame) = decode_message(bytes, BODY_BYTES_MAX) {
        prop_assert_eq!(HEADER_BYTES + frame.body.len(), bytes.len());
    }
    if let Ok(frame) = goim::decode_v1_json(bytes, BODY_BYTES_MAX) {
        prop_assert!(frame.body.is_empty() || is_within(frame.body, bytes));
    }
    if let Ok(auth) = goim::parse_auth(bytes) {
        prop_assert!(
            auth.accepts.len() <= goim::ACCEPTS_MAX && auth.rooms.len() <= goim::ROOMS_MAX
        );
    }
    if let Some(operations) = goim::parse_operations(bytes) {
        prop_assert!(operations.count() <= goim::OPERATIONS_MAX);
    }
    let _ = goim::parse_auth_v1(bytes);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn frames_come_back_and_cuts_do_not_matter(
        frames in prop::collection::vec(Owned::any(), 0..8),
        tail in bytes(0..40),
        cuts in prop::collection::vec(any::<usize>(), 0..20),
    ) {
        let mut stream = Vec::new();
        for frame in &frames {
            frame.write(&mut stream);
        }
        stream.extend_from_slice(&tail);
        let whole = frames_in_pieces(&stream, &[]);
        prop_assert!(whole.len() > frames.len());
        for (read, written) in whole.iter().zip(&frames) {
            prop_assert_eq!(read, &format!("{:?}", written.as_frame()));
        }
        prop_assert_eq!(&frames_in_pieces(&stream, &cuts), &whole);
        let everywhere: Vec<usize> = (0..stream.len()).collect();
        prop_assert_eq!(&frames_in_pieces(&stream, &everywhere), &whole);
    }

    #[test]
    fn damaged_frames_do_no_harm(
        frame in Owned::any(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = Vec::new();
        frame.write(&mut bytes);
        for (index, byte) in damage {
            let at = index.index(bytes.len());
            bytes[at] = byte;
        }
        read_hostile(&bytes)?;
        read_hostile(&bytes[..cut.index(bytes.len())])?;
    }

    #[test]
    fn invented_bytes_do_no_harm(bytes in bytes(0..120)) {
        read_hostile(&bytes)?;
    }

    #[test]
    fn invented_json_does_no_harm(text in r#"\{("(ver|op|seq|body|mid|key|accepts|rooms)":([0-9]{1,3}|"[a-z\\"]{0,5}"|\[[0-9,]{0,5}\]|null|\{\}),?){0,5}\}?"#) {
        read_hostile(text.as_bytes())?;
    }

    #[test]
    fn every_header_is_judged_alike_by_both_readers(package in any::<i32>(), header in prop_oneof![Just(16_i16), any::<i16>()]) {
        let mut bytes = package.to_be_bytes().to_vec();
        bytes.extend_from_slice(&header.to_be_bytes());
        bytes.extend_from_slice(&[0; 10]);
        let expected = if package < 16 {
            Some(Error::TooShort(package))
        } else if package > 4112 {
            Some(Error::TooLarge { package_bytes: package, body_bytes_max: BODY_BYTES_MAX })
        } else if header != 16 {
            Some(Error::HeaderLength(header))
        } else {
            None
        };
        prop_assert_eq!(decode(&bytes, BODY_BYTES_MAX).err(), expected);
        let is_the_message = package == 16 && header == 16;
        prop_assert_eq!(decode_message(&bytes, BODY_BYTES_MAX).is_ok(), is_the_message);
    }

    /// What is pushed to a JSON client of version 1 is one array of one object, whatever it was.
    #[test]
    fn json_pushes_are_json(body in prop_oneof![bytes(0..60), "[\\[\\]{}\",:0-9a-z\\\\\n]{0,30}".prop_map(String::into_bytes)]) {
        let mut out = Vec::new();
        goim::write_v1_json(&mut out, 0, Operation::SEND_REPLY, 0, &body);
        let text = std::str::from_utf8(&out).unwrap();
        let object = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap();
        let frame = goim::decode_v1_json(object.as_bytes(), u32::MAX).unwrap();
        prop_assert_eq!((frame.version, frame.operation, frame.seq), (0, Operation::SEND_REPLY, 0));
        if !matches!(body.trim_ascii(), b"null") {
            prop_assert!(!frame.body.is_empty());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn batches_are_read_as_the_javascript_client_does(bodies in prop::collection::vec(body(), 1..12)) {
        let walked = walk_as_the_javascript_client(&payload(&batch(PUSH_VERSION, &bodies)));
        prop_assert_eq!(walked, bodies);
    }
}
