//! However a stream is cut, the WebSocket decoder says the same about it, and never keeps more than the limits allow.
//!
//! The first byte of the input chooses the role and the size of the pieces.

#![no_main]

use fanfare_wire::ws::{Decoder, Error, Event, Limits, Role};
use libfuzzer_sys::fuzz_target;

const LIMITS: Limits = Limits {
    message_bytes_max: 4096,
    fragments_max: 8,
};

fuzz_target!(|data: &[u8]| {
    let [choice, stream @ ..] = data else {
        return;
    };
    let role = if choice & 1 == 0 {
        Role::Server
    } else {
        Role::Client
    };
    let piece_bytes = usize::from(choice >> 1) + 1;
    let whole = decode(role, stream.chunks(stream.len().max(1)));
    let cut = decode(role, stream.chunks(piece_bytes));
    assert_eq!(whole, cut);
});

/// What was seen, in order, as kind and content, and the error that ended it.
type Seen = (Vec<(u8, Vec<u8>)>, Option<Error>);

fn decode<'a>(role: Role, pieces: impl Iterator<Item = &'a [u8]>) -> Seen {
    let mut decoder = Decoder::new(role);
    let mut seen = Vec::new();
    for piece in pieces {
        let mut input = piece.to_vec();
        let mut consumed = 0;
        loop {
            match decoder.next(&mut input[consumed..], &LIMITS) {
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

fn content(event: Event<'_>) -> (u8, Vec<u8>) {
    match event {
        Event::Text(text) => (1, text.as_bytes().to_vec()),
        Event::Binary(bytes) => (2, bytes.to_vec()),
        Event::Ping(bytes) => (9, bytes.to_vec()),
        Event::Pong(bytes) => (10, bytes.to_vec()),
        Event::Close(None) => (8, Vec::new()),
        Event::Close(Some(close)) => {
            let content = [&close.code.to_be_bytes(), close.reason.as_bytes()].concat();
            (8, content)
        }
    }
}
