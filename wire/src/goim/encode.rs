//! Frames to bytes. Every function appends one whole frame to `out`.
//!
//! They panic when a body would be longer than [`BODY_BYTES_WRITTEN_MAX`]: what reaches an encoder has passed a limit that is
//! far below.

use super::Operation;
use super::decode::{HEADER_BYTES, HEADER_LENGTH};

/// No frame's body is longer, whatever the configured limits: 1 GiB, half of what the header can declare.
pub const BODY_BYTES_WRITTEN_MAX: usize = 1 << 30;

/// The version in a push to a client of version 2.
pub const PUSH_VERSION: i16 = 1;

/// The version in a push to a client of version 1.
pub const V1_PUSH_VERSION: i16 = 0;

/// The longest frame that every SDK of version 1 reads over TCP, if it is a write of its own: one `read` of 1,024 bytes is
/// one frame to them.
pub const V1_FRAME_BYTES_MAX: usize = 1023;

/// What [`Operation::V1_TEST`] is answered with.
pub const V1_TEST_BODY: &[u8] = br#"{"test":"come on"}"#;

/// Appends a frame.
pub fn write_frame(out: &mut Vec<u8>, version: i16, operation: Operation, seq: i32, body: &[u8]) {
    let header = header(version, operation, seq, HEADER_BYTES + body.len());
    out.reserve(header.len() + body.len());
    out.extend_from_slice(&header);
    out.extend_from_slice(body);
}

/// Appends a push. Nothing asked for it, so its sequence is 0.
pub fn write_push(out: &mut Vec<u8>, version: i16, operation: Operation, body: &[u8]) {
    write_frame(out, version, operation, 0, body);
}

/// Appends the answer to [`Operation::AUTH`].
pub fn write_auth_reply(out: &mut Vec<u8>, version: i16, seq: i32) {
    write_frame(out, version, Operation::AUTH_REPLY, seq, b"");
}

/// Appends the answer to [`Operation::HEARTBEAT`]: how many are in the connection's room, 0 without a room.
pub fn write_heartbeat_reply(out: &mut Vec<u8>, version: i16, seq: i32, members: u32) {
    let members = i32::try_from(members).unwrap_or(i32::MAX);
    write_frame(
        out,
        version,
        Operation::HEARTBEAT_REPLY,
        seq,
        &members.to_be_bytes(),
    );
}

/// Appends the answer to [`Operation::CHANGE_ROOM`], whose body was `room`.
pub fn write_change_room_reply(out: &mut Vec<u8>, version: i16, seq: i32, room: &[u8]) {
    write_frame(out, version, Operation::CHANGE_ROOM_REPLY, seq, room);
}

/// Appends the answer to [`Operation::SUB`], whose body was `operations`.
pub fn write_sub_reply(out: &mut Vec<u8>, version: i16, seq: i32, operations: &[u8]) {
    write_frame(out, version, Operation::SUB_REPLY, seq, operations);
}

/// Appends the answer to [`Operation::UNSUB`], whose body was `operations`.
pub fn write_unsub_reply(out: &mut Vec<u8>, version: i16, seq: i32, operations: &[u8]) {
    write_frame(out, version, Operation::UNSUB_REPLY, seq, operations);
}

/// Appends the answer to any other operation of a client of version 2: the same operation, without a body.
pub fn write_receipt(out: &mut Vec<u8>, version: i16, operation: Operation, seq: i32) {
    write_frame(out, version, operation, seq, b"");
}

/// Appends version 1's answer to [`Operation::HEARTBEAT`], which has no count.
pub fn write_v1_heartbeat_reply(out: &mut Vec<u8>, version: i16, seq: i32) {
    write_frame(out, version, Operation::HEARTBEAT_REPLY, seq, b"");
}

/// Appends the answer to [`Operation::V1_TEST`].
pub fn write_v1_test_reply(out: &mut Vec<u8>, version: i16, seq: i32) {
    write_frame(out, version, Operation::V1_TEST_REPLY, seq, V1_TEST_BODY);
}

/// The header of a frame of `frame_bytes`, itself included.
pub(super) fn header(
    version: i16,
    operation: Operation,
    seq: i32,
    frame_bytes: usize,
) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[..4].copy_from_slice(&package_length(frame_bytes));
    header[4..6].copy_from_slice(&HEADER_LENGTH.to_be_bytes());
    header[6..8].copy_from_slice(&version.to_be_bytes());
    header[8..12].copy_from_slice(&operation.0.to_be_bytes());
    header[12..].copy_from_slice(&seq.to_be_bytes());
    header
}

/// The first field of a header.
pub(super) fn package_length(frame_bytes: usize) -> [u8; 4] {
    assert!(
        frame_bytes <= HEADER_BYTES + BODY_BYTES_WRITTEN_MAX,
        "a frame of {frame_bytes} bytes has passed no limit"
    );
    #[expect(clippy::cast_possible_truncation, reason = "checked in the line above")]
    let frame_bytes = frame_bytes as u32;
    frame_bytes.to_be_bytes()
}
