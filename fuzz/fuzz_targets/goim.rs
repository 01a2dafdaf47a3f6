//! goim, every way in: nothing panics, what is borrowed lies inside of the input, what is read is written to the same bytes,
//! and joining batches keeps every frame or changes nothing.

#![no_main]

use fanfare_wire::goim::{self, BATCH_BYTES_MAX, BODY_BYTES_MAX, HEADER_BYTES, Operation};
use fanfare_wire::ws::{Opcode, write_frame};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    frames(input);
    auth(input);
    json(input);
    batches(input);
});

fn frames(mut input: &[u8]) {
    while let Ok(Some((frame, used))) = goim::decode(input, BODY_BYTES_MAX) {
        let message = &input[..used];
        assert_eq!(goim::decode_message(message, BODY_BYTES_MAX), Ok(frame));
        assert!(goim::decode_message(&message[..used - 1], BODY_BYTES_MAX).is_err());
        let mut out = Vec::new();
        goim::write_frame(
            &mut out,
            frame.version,
            frame.operation,
            frame.seq,
            frame.body,
        );
        assert_eq!(out, message);
        auth(frame.body);
        input = &input[used..];
    }
    if let Ok(frame) = goim::decode_message(input, BODY_BYTES_MAX) {
        assert_eq!(HEADER_BYTES + frame.body.len(), input.len());
    }
}

fn auth(body: &[u8]) {
    let _ = goim::parse_auth_v1(body);
    if let Ok(auth) = goim::parse_auth(body) {
        assert_eq!(goim::generation(body), goim::Generation::V2);
        assert!(auth.accepts.len() <= goim::ACCEPTS_MAX && auth.rooms.len() <= goim::ROOMS_MAX);
        assert!(auth.key.len() <= goim::KEY_BYTES_MAX);
    }
    if let Some(operations) = goim::parse_operations(body) {
        assert!(operations.count() <= goim::OPERATIONS_MAX);
    }
}

fn json(input: &[u8]) {
    if let Ok(frame) = goim::decode_v1_json(input, BODY_BYTES_MAX) {
        assert_eq!(goim::message_form(input), Some(goim::MessageForm::Json));
        auth(frame.body);
    }
    let mut out = Vec::new();
    goim::write_v1_json(&mut out, 1, Operation::SEND_REPLY, 7, input);
    let object = &out[1..out.len() - 1];
    let frame = goim::decode_v1_json(object, u32::MAX).expect("what was written is JSON");
    assert_eq!(
        (frame.version, frame.operation, frame.seq),
        (1, Operation::SEND_REPLY, 7)
    );
}

/// The input as two messages, and as what is in two batches.
fn batches(input: &[u8]) {
    let (first, second) = input.split_at(input.len() / 2);
    let mut log = first.to_vec();
    if !goim::extend_batch(&mut log, 0, second) {
        assert_eq!(log, first);
    }

    let written = |parts: &[&[u8]]| {
        let mut payload = Vec::new();
        goim::write_batch(&mut payload, 1, |out| {
            for part in parts {
                goim::write_push(out, 1, Operation(1000), part);
            }
        });
        let mut out = Vec::new();
        write_frame(&mut out, Opcode::Binary, &payload);
        (out, payload.len())
    };
    let (both, payload_bytes) = written(&[first, second]);
    let mut log = written(&[first]).0;
    let is_joined = goim::extend_batch(&mut log, 0, &written(&[second]).0);
    assert_eq!(is_joined, payload_bytes <= BATCH_BYTES_MAX);
    if is_joined {
        assert_eq!(log, both);
    }
}
