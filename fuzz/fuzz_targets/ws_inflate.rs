//! On a connection that agreed to permessage-deflate: a stream says the same however it is cut, a compressed message of any bytes
//! stays within the limits, and what is compressed is read back.
//!
//! The first byte of the input chooses between the three and the size of the pieces.

#![no_main]

use fanfare_wire::ws::{
    Decoder, Deflater, Error, Event, Inflater, Limits, Opcode, Role, accept_deflate,
    write_deflated_frame, write_masked_frame,
};
use libfuzzer_sys::fuzz_target;

const LIMITS: Limits = Limits {
    message_bytes_max: 4096,
    fragments_max: 8,
};

const RSV1: u8 = 0x40;

fuzz_target!(|data: &[u8]| {
    let [choice, data @ ..] = data else {
        return;
    };
    let piece_bytes = usize::from(choice >> 2) + 1;
    match choice & 3 {
        0 => {
            seen_every_way(Role::Server, data, piece_bytes);
        }
        1 => {
            let mut frame = Vec::new();
            write_masked_frame(&mut frame, Opcode::Binary, data, [0; 4]);
            frame[0] |= RSV1;
            seen_every_way(Role::Server, &frame, piece_bytes);
        }
        2 => {
            let mut frame = Vec::new();
            write_deflated_frame(&mut frame, Opcode::Binary, data, &mut Deflater::new());
            let (seen, error) = seen_every_way(Role::Client, &frame, piece_bytes);
            let expected = data.len() <= LIMITS.message_bytes_max as usize;
            assert_eq!(error.is_none(), expected);
            assert!(!expected || seen == [data]);
        }
        _ => {
            if let Ok(offers) = str::from_utf8(data) {
                let one = accept_deflate([offers]);
                let two = accept_deflate(["", offers, ""]);
                assert_eq!(one, two);
            }
        }
    }
});

/// The messages and control frames in order, and the error that ended them.
type Seen = (Vec<Vec<u8>>, Option<Error>);

fn seen_every_way(role: Role, stream: &[u8], piece_bytes: usize) -> Seen {
    let whole = decode(role, stream.chunks(stream.len().max(1)));
    let cut = decode(role, stream.chunks(piece_bytes));
    assert_eq!(whole, cut);
    whole
}

fn decode<'a>(role: Role, pieces: impl Iterator<Item = &'a [u8]>) -> Seen {
    let mut decoder = Decoder::with_deflate(role);
    let mut inflater = Inflater::new();
    let mut seen = Vec::new();
    for piece in pieces {
        let mut input = piece.to_vec();
        let mut consumed = 0;
        loop {
            match decoder.next_inflating(&mut input[consumed..], &LIMITS, &mut inflater) {
                Ok((taken, Some(event))) => {
                    seen.push(content(event));
                    consumed += taken;
                }
                Ok((taken, None)) => {
                    assert_eq!(consumed + taken, input.len());
                    break;
                }
                Err(error) => return (seen, Some(error)),
            }
        }
        assert!(decoder.heap_bytes() <= 2 * LIMITS.message_bytes_max as usize);
    }
    (seen, None)
}

fn content(event: Event<'_>) -> Vec<u8> {
    let bytes = match event {
        Event::Text(text) => text.as_bytes(),
        Event::Binary(bytes) | Event::Ping(bytes) | Event::Pong(bytes) => bytes,
        Event::Close(close) => close.map_or("", |close| close.reason).as_bytes(),
    };
    assert!(bytes.len() <= LIMITS.message_bytes_max as usize);
    bytes.to_vec()
}
