//! What is compressed is read back, however it is cut; and what anyone makes of it shrinks or stays.

#![allow(clippy::unwrap_used)]

mod ws_support;

use fanfare_wire::ws::{
    DEFLATE_BYTES_MIN, Deflater, Limits, Opcode, Role, WINDOW_BITS, write_deflated_frame,
    write_frame,
};
use proptest::{collection::vec, prelude::*, sample::Index};
use ws_support::*;

const FIN_AND_RSV1: u8 = 0xC0;

fn config() -> ProptestConfig {
    ProptestConfig {
        cases: if cfg!(miri) { 3 } else { 400 },
        // Miri isolates the file system.
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

/// Noise, repetition, and JSON as it is pushed.
fn payload() -> impl Strategy<Value = Vec<u8>> {
    let longest = if cfg!(miri) { 400 } else { 20_000 };
    prop_oneof![
        1 => vec(any::<u8>(), 0..longest / 10),
        2 => vec(0..4_u8, 0..longest),
        3 => vec("[a-z]{1,8}", 0..longest / 40).prop_map(|words| json(&words)),
    ]
}

fn json(words: &[String]) -> Vec<u8> {
    let messages: Vec<_> = words
        .iter()
        .enumerate()
        .map(|(index, word)| format!(r#"{{"id":{index},"text":"{word}"}}"#))
        .collect();
    format!("[{}]", messages.join(",")).into_bytes()
}

fn frame_of(payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    write_deflated_frame(&mut out, Opcode::Binary, payload, &mut Deflater::new());
    out
}

/// The payload of a server's frame, if it is compressed.
fn compressed_payload(frame: &[u8]) -> Option<&[u8]> {
    let header_bytes = match frame[1] {
        126 => 4,
        127 => 10,
        _ => 2,
    };
    (frame[0] & FIN_AND_RSV1 == FIN_AND_RSV1).then_some(&frame[header_bytes..])
}

/// `deflated` in fragments that end at `cuts`, as a client sends them.
fn fragmented(deflated: &[u8], cuts: &[Index]) -> Vec<TestFrame> {
    let mut places: Vec<_> = cuts
        .iter()
        .map(|cut| cut.index(deflated.len() + 1))
        .collect();
    places.extend([0, deflated.len()]);
    places.sort_unstable();
    let mut frames: Vec<_> = places
        .windows(2)
        .map(|pair| continuation(&deflated[pair[0]..pair[1]]).more())
        .collect();
    frames[0].opcode = 2;
    frames[0].rsv = 4;
    frames.last_mut().unwrap().fin = true;
    frames
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn whatever_is_sent_is_read_back(payloads in vec(payload(), 1..4), size in 1..3000_usize) {
        let mut deflater = Deflater::new();
        let mut stream = b"before".to_vec();
        let mut expected = Vec::new();
        for payload in payloads {
            let frame_at = stream.len();
            write_deflated_frame(&mut stream, Opcode::Binary, &payload, &mut deflater);
            // The same whatever was compressed before: it is sent to everyone.
            prop_assert_eq!(&stream[frame_at..], frame_of(&payload));
            expected.push(Seen::Binary(payload));
        }
        let got = inflate(Role::Client, &ROOMY, stream["before".len()..].chunks(size));
        prop_assert_eq!(got, (expected, Ok(())));
    }

    #[test]
    fn fragments_and_cuts_make_no_difference(
        payload in payload(),
        cuts in vec(any::<Index>(), 0..12),
        size in 1..500_usize,
    ) {
        let frame = frame_of(&payload);
        let Some(deflated) = compressed_payload(&frame) else {
            return Ok(());
        };
        let bytes = stream(&fragmented(deflated, &cuts));
        let got = inflate(Role::Server, &ROOMY, bytes.chunks(size));
        prop_assert_eq!(got, (vec![Seen::Binary(payload)], Ok(())));
    }

    #[test]
    fn a_frame_is_shorter_or_the_plain_one(payload in payload()) {
        let frame = frame_of(&payload);
        let mut plain = Vec::new();
        write_frame(&mut plain, Opcode::Binary, &payload);
        match compressed_payload(&frame) {
            Some(deflated) => {
                prop_assert!(payload.len() >= DEFLATE_BYTES_MIN);
                prop_assert!(deflated.len() < payload.len());
            }
            None => prop_assert_eq!(frame, plain),
        }
    }

    /// Every outcome is one of the few, the same however the input is cut, and within the limits.
    #[test]
    fn damage_makes_no_difference_between_cuts(
        payload in payload(),
        flips in vec((any::<Index>(), any::<u8>()), 0..4),
        size in 1..200_usize,
    ) {
        let limits = Limits { message_bytes_max: 10_000, fragments_max: 4 };
        let frame = frame_of(&payload);
        let mut deflated = compressed_payload(&frame).unwrap_or(&payload).to_vec();
        for (place, bits) in flips {
            if let Some(byte) = (!deflated.is_empty()).then(|| place.index(deflated.len())) {
                deflated[byte] ^= bits;
            }
        }
        let bytes = binary(&deflated).deflated().bytes();
        let whole = inflate(Role::Server, &limits, [bytes.as_slice()]);
        let cut = inflate(Role::Server, &limits, bytes.chunks(size));
        prop_assert_eq!(&cut, &whole);
        for seen in whole.0 {
            let is_within = matches!(&seen, Seen::Binary(bytes) if bytes.len() <= 10_000);
            prop_assert!(is_within);
        }
    }
}

#[test]
fn a_message_split_at_every_byte_and_in_every_two_fragments() {
    let payload = json(&vec!["split".to_owned(); 40]);
    let frame = frame_of(&payload);
    let deflated = compressed_payload(&frame).unwrap();
    let expected = (vec![Seen::Binary(payload)], Ok(()));
    let whole = binary(deflated).deflated().bytes();
    for cut in 0..=whole.len() {
        let (head, tail) = whole.split_at(cut);
        let got = inflate(Role::Server, &ROOMY, [head, tail]);
        assert_eq!(got, expected, "cut at {cut}");
    }
    for cut in 0..=deflated.len() {
        let (head, tail) = deflated.split_at(cut);
        let frames = [binary(head).more().deflated(), continuation(tail)];
        let got = inflate_every_way(Role::Server, &ROOMY, &stream(&frames));
        assert_eq!(got, expected, "fragments cut at {cut}");
    }
}

#[test]
fn short_payloads_are_not_compressed() {
    let short = vec![b'a'; DEFLATE_BYTES_MIN - 1];
    assert_eq!(compressed_payload(&frame_of(&short)), None);
    let enough = vec![b'a'; DEFLATE_BYTES_MIN];
    let frame = frame_of(&enough);
    assert!(compressed_payload(&frame).unwrap().len() < 10);
}

#[test]
fn lengths_of_all_three_forms_are_compressed_in_place() {
    if cfg!(miri) {
        return; // 200 KB of noise take too long to interpret
    }
    // Half of it shrinks to nothing, the other half not at all.
    for (half_bytes, length_byte) in [(75, 80..126), (300, 126..127), (100_000, 127..128)] {
        let mut payload = noise(half_bytes);
        payload.resize(2 * half_bytes, 0);
        let mut out = b"before".to_vec();
        write_deflated_frame(&mut out, Opcode::Text, &payload, &mut Deflater::new());
        assert_eq!(&out[..7], b"before\xc1");
        assert!(length_byte.contains(&out[7]), "{}", out[7]);
        let deflated = compressed_payload(&out[6..]).unwrap();
        let as_binary = binary(deflated).deflated().bytes();
        let got = inflate(Role::Server, &ROOMY, [as_binary.as_slice()]);
        assert!(got == (vec![Seen::Binary(payload)], Ok(())));
    }
}

/// The same bytes each time, none of which tells about the next.
fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_be_bytes()[3]
    };
    std::iter::repeat_with(next).take(bytes).collect()
}

/// Whoever was told a window of 2^13 bytes keeps no more of what it inflated.
#[test]
fn nothing_that_lies_further_back_than_the_window_is_referred_to() {
    let repeated = 1000;
    let frame_bytes = |distance: usize| {
        let mut payload = noise(distance);
        payload.extend_from_within(..repeated);
        // Something to shrink, or it is not compressed.
        payload.resize(payload.len() + 2 * repeated, 0);
        let frame = frame_of(&payload);
        compressed_payload(&frame).unwrap().len()
    };
    let window = 1 << WINDOW_BITS;
    for distance in [window + 1, window + 2, window + 300, 2 * window, 30_000] {
        let found = frame_bytes(distance) < distance + repeated;
        assert!(!found, "a repetition {distance} bytes back was found");
    }
    // What is further back than two matches and less than the window is.
    assert!(frame_bytes(window - 600) < window - 600 + repeated / 2);
}

#[test]
#[should_panic(expected = "Opcode::Text | Opcode::Binary")]
fn a_compressed_control_frame_is_a_bug_of_the_caller() {
    write_deflated_frame(
        &mut Vec::new(),
        Opcode::Ping,
        &[0; 125],
        &mut Deflater::new(),
    );
}
