//! However a stream is cut, the decoder says the same about it; and what the encoder writes, it reads back.

#![allow(clippy::unwrap_used)]

mod ws_support;

use fanfare_wire::ws::{Limits, Opcode, Role, write_close, write_frame, write_masked_frame};
use proptest::{collection::vec, prelude::*, sample::Index};
use ws_support::*;

const CASES: u32 = if cfg!(miri) { 6 } else { 600 };

/// Small enough that generated streams meet both limits.
const LIMITS: Limits = Limits {
    message_bytes_max: 400,
    fragments_max: 4,
};

fn config() -> ProptestConfig {
    ProptestConfig {
        cases: CASES,
        // Miri isolates the file system.
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

fn payload() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => "\\PC{0,40}".prop_map(String::into_bytes),
        2 => vec(any::<u8>(), 0..20),
        1 => vec(any::<u8>(), 120..300),
    ]
}

/// Mostly valid frames in mostly valid order.
fn any_frame() -> impl Strategy<Value = TestFrame> {
    let opcode = prop_oneof![
        6 => Just(1_u8), 3 => Just(2), 6 => Just(0), 3 => Just(9), 2 => Just(10), 1 => Just(8), 1 => 0..16_u8,
    ];
    let mask = prop_oneof![30 => any::<[u8; 4]>().prop_map(Some), 1 => Just(None)];
    let rsv = prop_oneof![40 => Just(0_u8), 1 => 1..8_u8];
    (opcode, prop::bool::weighted(0.7), mask, rsv, payload()).prop_map(
        |(opcode, fin, mask, rsv, payload)| TestFrame {
            fin,
            rsv,
            opcode,
            mask,
            payload,
        },
    )
}

fn cut(bytes: &[u8], cuts: &[Index]) -> Vec<Vec<u8>> {
    let mut places: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    places.extend([0, bytes.len()]);
    places.sort_unstable();
    places
        .windows(2)
        .map(|pair| bytes[pair[0]..pair[1]].to_vec())
        .collect()
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn cuts_make_no_difference(
        frames in vec(any_frame(), 1..8),
        cuts in vec(any::<Index>(), 0..12),
        flips in vec((any::<Index>(), any::<u8>()), 0..2),
    ) {
        let mut bytes = stream(&frames);
        for (place, bits) in flips {
            let place = place.index(bytes.len());
            bytes[place] ^= bits;
        }
        let whole = decode_every_way(Role::Server, &LIMITS, &bytes);
        let pieces = cut(&bytes, &cuts);
        let cut = decode(Role::Server, &LIMITS, pieces.iter().map(Vec::as_slice));
        prop_assert_eq!(cut, whole);
    }

    #[test]
    fn noise_makes_no_difference_either(
        bytes in vec(any::<u8>(), 1..80),
        cuts in vec(any::<Index>(), 0..6),
    ) {
        for role in [Role::Server, Role::Client] {
            let whole = decode_every_way(role, &LIMITS, &bytes);
            let pieces = cut(&bytes, &cuts);
            let cut = decode(role, &LIMITS, pieces.iter().map(Vec::as_slice));
            prop_assert_eq!(cut, whole);
        }
    }

    #[test]
    fn what_is_written_is_read_back(
        text in "\\PC{0,200}",
        binary in vec(any::<u8>(), 0..300),
        control in vec(any::<u8>(), 0..=125),
        reason in "\\PC{0,80}",
        mask in any::<[u8; 4]>(),
        cuts in vec(any::<Index>(), 0..6),
    ) {
        let mut from_server = Vec::new();
        write_frame(&mut from_server, Opcode::Text, text.as_bytes());
        write_frame(&mut from_server, Opcode::Binary, &binary);
        write_frame(&mut from_server, Opcode::Ping, &control);
        write_close(&mut from_server, 3001, &reason);
        let mut kept = reason.clone();
        kept.truncate(reason.floor_char_boundary(123));
        let expected = vec![
            Seen::Text(text.clone()),
            Seen::Binary(binary.clone()),
            Seen::Ping(control.clone()),
            Seen::Close(Some((3001, kept))),
        ];
        let pieces = cut(&from_server, &cuts);
        let got = decode(Role::Client, &ROOMY, pieces.iter().map(Vec::as_slice));
        prop_assert_eq!(got, (expected, Ok(())));

        let mut from_client = Vec::new();
        write_masked_frame(&mut from_client, Opcode::Text, text.as_bytes(), mask);
        write_masked_frame(&mut from_client, Opcode::Binary, &binary, mask);
        write_masked_frame(&mut from_client, Opcode::Pong, &control, mask);
        let expected = vec![Seen::Text(text), Seen::Binary(binary), Seen::Pong(control)];
        let pieces = cut(&from_client, &cuts);
        let got = decode(Role::Server, &ROOMY, pieces.iter().map(Vec::as_slice));
        prop_assert_eq!(got, (expected, Ok(())));
    }
}
