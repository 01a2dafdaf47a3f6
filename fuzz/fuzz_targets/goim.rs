//! goim, every way in: nothing panics, what is borrowed lies inside of the input, and what is read is written to the same
//! bytes.

#![no_main]

use fanfare_wire::goim::{self, BODY_BYTES_MAX, HEADER_BYTES, Operation};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    frames(input);
    auth(input);
    json(input);
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
