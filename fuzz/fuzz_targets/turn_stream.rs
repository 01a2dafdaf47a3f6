//! Messages on a stream: however they are split, the same ones are read, and as soon as they are there.

#![no_main]

use fanfare_turn::framing::{Channels, Next, next_of_stream};
use libfuzzer_sys::fuzz_target;

const BYTES_MAX: usize = 70_000;

fuzz_target!(|input: (u8, Vec<u8>)| {
    let (step, bytes) = input;
    let whole = read(&bytes, bytes.len().max(1));
    let split = read(&bytes, usize::from(step).max(1));
    assert_eq!(whole, split);
});

/// Where messages end, and whether the stream ends with garbage, when so many bytes come at a time.
fn read(bytes: &[u8], step: usize) -> (Vec<usize>, bool) {
    let (mut held, mut ends, mut at) = (Vec::new(), Vec::new(), 0);
    for part in bytes.chunks(step) {
        held.extend_from_slice(part);
        loop {
            match next_of_stream(&held, BYTES_MAX, Channels::RFC_8656) {
                Ok(Next::Whole(length)) => {
                    assert!(length > 0 && length <= held.len());
                    held.drain(..length);
                    at += length;
                    ends.push(at);
                    if held.is_empty() {
                        break;
                    }
                }
                Ok(Next::Partial(wanted)) => {
                    assert!(wanted > held.len());
                    break;
                }
                Err(_) => return (ends, true),
            }
        }
    }
    (ends, false)
}
