//! goim's conversations byte for byte, as its documents and sources give them. Every frame is read from the bytes and written
//! to the same bytes, for version 2 and 1, TCP and WebSocket.

use fanfare_wire::goim::{
    self, Auth, AuthV1, BODY_BYTES_MAX, Frame, Generation, MessageForm, Operation, PUSH_VERSION,
    V1_BODY_BYTES_MAX, V1_PUSH_VERSION,
};
use fanfare_wire::ws::{self, Opcode, write_frame_with, write_masked_frame};

/// Bytes from hexadecimal digits; everything else between them is for people.
fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text
        .bytes()
        .filter(|byte| !matches!(byte, b' ' | b'|' | b'\n'))
        .map(|byte| {
            let digit = char::from(byte).to_digit(16).expect("a hexadecimal digit");
            u8::try_from(digit).expect("below 16")
        })
        .collect();
    assert!(digits.len().is_multiple_of(2), "whole bytes");
    digits
        .chunks(2)
        .map(|pair| pair[0] << 4 | pair[1])
        .collect()
}

fn written(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut out);
    out
}

/// Reads one frame as a stream and as a message: both are to give the same.
fn read(bytes: &[u8]) -> Frame<'_> {
    let (frame, used) = goim::decode(bytes, BODY_BYTES_MAX)
        .expect("a frame")
        .expect("a whole one");
    assert_eq!(used, bytes.len());
    assert_eq!(goim::decode_message(bytes, BODY_BYTES_MAX), Ok(frame));
    frame
}

/// `bytes` is the frame and the frame is `bytes`.
fn golden(bytes: &str, version: i16, operation: Operation, seq: i32, body: &[u8]) -> Vec<u8> {
    let bytes = hex(bytes);
    let frame = Frame {
        version,
        operation,
        seq,
        body,
    };
    assert_eq!(read(&bytes), frame);
    let out = written(|out| goim::write_frame(out, version, operation, seq, body));
    assert_eq!(out, bytes);
    bytes
}

const AUTH_BODY: &[u8] =
    br#"{"mid":123,"key":"","room_id":"live://1000","platform":"web","accepts":[1000,1001,1002]}"#;

const PUSH: &str = "0000001a 0010 0001 000003e8 00000000 7b2274657374223a317d";
const PUSH_2: &str = "0000001a 0010 0001 000003e8 00000000 7b2274657374223a327d";

#[test]
fn auth_of_version_2() {
    assert_eq!(AUTH_BODY.len(), 88);
    let body: String = AUTH_BODY.iter().map(|byte| format!("{byte:02x}")).collect();
    let bytes = golden(
        &format!("00000068 0010 0001 00000007 00000001 {body}"),
        1,
        Operation::AUTH,
        1,
        AUTH_BODY,
    );
    let frame = read(&bytes);
    assert_eq!(goim::generation(frame.body), Generation::V2);
    let auth = goim::parse_auth(frame.body).expect("an auth body");
    let expected = Auth {
        mid: 123,
        room_id: "live://1000".into(),
        platform: "web".into(),
        accepts: vec![1000, 1001, 1002],
        ..Auth::default()
    };
    assert_eq!(auth, expected);

    let reply = golden(
        "00000010 0010 0001 00000008 00000001",
        1,
        Operation::AUTH_REPLY,
        1,
        b"",
    );
    assert_eq!(written(|out| goim::write_auth_reply(out, 1, 1)), reply);
}

/// What the JavaScript client of the original sends: spaces, no key.
#[test]
fn auth_of_the_javascript_client() {
    let body =
        br#"{"mid":123, "room_id":"live://1000", "platform":"web", "accepts":[1000,1001,1002]}"#;
    assert_eq!(
        goim::parse_auth(body),
        goim::parse_auth(AUTH_BODY),
        "a missing key is an empty one"
    );
}

/// The original's benchmark client starts with sequence 0, and leaves the version of its heartbeats 0.
#[test]
fn the_benchmark_client() {
    let body =
        br#"{"mid":7,"key":"","room_id":"test://1","platform":"ios","accepts":[1000,1001,1002]}"#;
    let request = written(|out| goim::write_frame(out, 1, Operation::AUTH, 0, body));
    assert_eq!(&request[..16], hex("00000063 0010 0001 00000007 00000000"));
    let auth = goim::parse_auth(read(&request).body).expect("an auth body");
    assert_eq!((auth.mid, &*auth.room_id), (7, "test://1"));

    let heartbeat = golden(
        "00000010 0010 0000 00000002 00000001",
        0,
        Operation::HEARTBEAT,
        1,
        b"",
    );
    let frame = read(&heartbeat);
    assert_eq!(
        written(|out| goim::write_heartbeat_reply(out, frame.version, frame.seq, 1)),
        hex("00000014 0010 0000 00000003 00000001 00000001")
    );
}

#[test]
fn heartbeat_of_version_2() {
    golden(
        "00000010 0010 0001 00000002 00000002",
        1,
        Operation::HEARTBEAT,
        2,
        b"",
    );
    let reply = golden(
        "00000014 0010 0001 00000003 00000002 00000007",
        1,
        Operation::HEARTBEAT_REPLY,
        2,
        &[0, 0, 0, 7],
    );
    assert_eq!(
        written(|out| goim::write_heartbeat_reply(out, 1, 2, 7)),
        reply
    );
    let crowd = written(|out| goim::write_heartbeat_reply(out, 1, 2, u32::MAX));
    assert_eq!(&crowd[16..], hex("7fffffff"), "the count is signed");
}

#[test]
fn push_on_tcp() {
    let push = golden(PUSH, 1, Operation(1000), 0, br#"{"test":1}"#);
    assert_eq!(push.len(), 26);
    let out = written(|out| {
        goim::write_push(out, PUSH_VERSION, Operation(1000), br#"{"test":1}"#);
    });
    assert_eq!(out, push);
}

#[test]
fn several_pushes_on_tcp_are_several_frames() {
    let stream = hex(&format!("{PUSH}{PUSH_2}"));
    let (first, used) = goim::decode(&stream, BODY_BYTES_MAX)
        .expect("a frame")
        .expect("whole");
    let (second, rest) = goim::decode(&stream[used..], BODY_BYTES_MAX)
        .expect("a frame")
        .expect("whole");
    assert_eq!(used + rest, stream.len());
    assert_eq!(first.body, br#"{"test":1}"#);
    assert_eq!(second.body, br#"{"test":2}"#);
}

fn websocket_batch(bodies: &[&[u8]]) -> Vec<u8> {
    written(|out| {
        write_frame_with(out, Opcode::Binary, |out| {
            goim::write_batch(out, PUSH_VERSION, |out| {
                for body in bodies {
                    goim::write_push(out, PUSH_VERSION, Operation(1000), body);
                }
            });
        });
    })
}

#[test]
fn push_on_websocket() {
    let bytes = hex(&format!(
        "82 2a | 0000002a 0010 0001 00000009 00000000 | {PUSH}"
    ));
    assert_eq!(websocket_batch(&[br#"{"test":1}"#]), bytes);

    let batch = read(&bytes[2..]);
    assert_eq!(batch.operation, Operation::RAW);
    assert_eq!(read(batch.body).body, br#"{"test":1}"#);
}

#[test]
fn batch_of_two_on_websocket() {
    let bytes = hex(&format!(
        "82 44 | 00000044 0010 0001 00000009 00000000 | {PUSH}{PUSH_2}"
    ));
    assert_eq!(
        websocket_batch(&[br#"{"test":1}"#, br#"{"test":2}"#]),
        bytes
    );

    assert_eq!(read(&bytes[2..]).body, hex(&format!("{PUSH}{PUSH_2}")));
}

#[test]
fn change_room() {
    let request = golden(
        "0000001b 0010 0001 0000000c 00000003 6c6976653a2f2f32303030",
        1,
        Operation::CHANGE_ROOM,
        3,
        b"live://2000",
    );
    let frame = read(&request);
    let reply = golden(
        "0000001b 0010 0001 0000000d 00000003 6c6976653a2f2f32303030",
        1,
        Operation::CHANGE_ROOM_REPLY,
        3,
        b"live://2000",
    );
    assert_eq!(
        written(|out| goim::write_change_room_reply(out, frame.version, frame.seq, frame.body)),
        reply
    );
}

#[test]
fn sub_and_unsub() {
    let request = golden(
        "00000019 0010 0001 0000000e 00000004 313030332c31303034",
        1,
        Operation::SUB,
        4,
        b"1003,1004",
    );
    let frame = read(&request);
    let operations: Vec<i32> = goim::parse_operations(frame.body)
        .expect("a list")
        .collect();
    assert_eq!(operations, [1003, 1004]);
    assert_eq!(
        written(|out| goim::write_sub_reply(out, frame.version, frame.seq, frame.body)),
        hex("00000019 0010 0001 0000000f 00000004 313030332c31303034")
    );

    golden(
        "00000014 0010 0001 00000010 00000005 31303033",
        1,
        Operation::UNSUB,
        5,
        b"1003",
    );
    assert_eq!(
        written(|out| goim::write_unsub_reply(out, 1, 5, b"1003")),
        hex("00000014 0010 0001 00000011 00000005 31303033")
    );
}

#[test]
fn a_business_operation_comes_back_without_its_body() {
    let request = golden(
        "00000012 0010 0001 000003ea 00000006 6869",
        1,
        Operation(1002),
        6,
        b"hi",
    );
    let frame = read(&request);
    assert_eq!(
        written(|out| goim::write_receipt(out, frame.version, frame.operation, frame.seq)),
        hex("00000010 0010 0001 000003ea 00000006")
    );
}

#[test]
fn masked_heartbeat_of_a_websocket_client() {
    let bytes = hex("82 90 01020304 010203 14 01120305 01020306 01020306");
    let heartbeat = hex("00000010 0010 0001 00000002 00000002");
    let out = written(|out| write_masked_frame(out, Opcode::Binary, &heartbeat, [1, 2, 3, 4]));
    assert_eq!(out, bytes);

    let limits = ws::Limits {
        message_bytes_max: 8192,
        fragments_max: 1,
    };
    let mut decoder = ws::Decoder::new(ws::Role::Server);
    let mut received = bytes;
    let (_, event) = decoder.next(&mut received, &limits).expect("a frame");
    let Some(ws::Event::Binary(message)) = event else {
        panic!("not the message that was sent: {event:?}");
    };
    assert_eq!(goim::message_form(message), Some(MessageForm::Frame));
    let frame = read(message);
    assert_eq!((frame.operation, frame.seq), (Operation::HEARTBEAT, 2));
}

#[test]
fn version_1_on_tcp() {
    let auth = golden(
        "0000001a 0010 0001 00000007 00000001 31323334352c31313032",
        1,
        Operation::AUTH,
        1,
        b"12345,1102",
    );
    let frame = read(&auth);
    assert_eq!(goim::generation(frame.body), Generation::V1);
    let user = AuthV1::User {
        uid: 12345,
        number: Some(1102),
    };
    assert_eq!(goim::parse_auth_v1(frame.body), Ok(user));
    assert_eq!(
        goim::parse_auth_v1(b"12345"),
        Ok(AuthV1::User {
            uid: 12345,
            number: None
        })
    );

    assert_eq!(
        written(|out| goim::write_v1_heartbeat_reply(out, 1, 2)),
        hex("00000010 0010 0001 00000003 00000002")
    );
    assert_eq!(
        written(|out| goim::write_push(out, V1_PUSH_VERSION, Operation::SEND_REPLY, b"{}")),
        hex("00000012 0010 0000 00000005 00000000 7b7d")
    );
    golden(
        "00000010 0010 0001 000000fe 00000003",
        1,
        Operation::V1_TEST,
        3,
        b"",
    );
    assert_eq!(
        written(|out| goim::write_v1_test_reply(out, 1, 3)),
        hex("00000022 0010 0001 000000ff 00000003 7b2274657374223a22636f6d65206f6e227d")
    );
}

/// The messages of the original's JavaScript client for version 1, and what it is answered.
#[test]
fn version_1_on_websocket() {
    let auth = br#"{"ver":1,"op":7,"seq":1,"body":{"data":{}}}"#;
    assert_eq!(goim::message_form(auth), Some(MessageForm::Json));
    let frame = goim::decode_v1_json(auth, V1_BODY_BYTES_MAX).expect("a frame");
    let expected = Frame {
        version: 1,
        operation: Operation::AUTH,
        seq: 1,
        body: br#"{"data":{}}"#,
    };
    assert_eq!(frame, expected);
    assert_eq!(goim::parse_auth(frame.body), Ok(Auth::default()));

    let heartbeat = br#"{"ver":1,"op":2,"seq":2,"body":{}}"#;
    let frame = goim::decode_v1_json(heartbeat, V1_BODY_BYTES_MAX).expect("a frame");
    assert_eq!((frame.operation, frame.seq), (Operation::HEARTBEAT, 2));

    let replies = [
        (
            1,
            Operation::AUTH_REPLY,
            1,
            &b""[..],
            &br#"[{"ver":1,"op":8,"seq":1,"body":{}}]"#[..],
        ),
        (
            1,
            Operation::HEARTBEAT_REPLY,
            2,
            b"",
            br#"[{"ver":1,"op":3,"seq":2,"body":{}}]"#,
        ),
        (
            1,
            Operation::V1_TEST_REPLY,
            3,
            goim::V1_TEST_BODY,
            br#"[{"ver":1,"op":255,"seq":3,"body":{"test":"come on"}}]"#,
        ),
        (
            V1_PUSH_VERSION,
            Operation::SEND_REPLY,
            0,
            br#"{"test":1}"#,
            br#"[{"ver":0,"op":5,"seq":0,"body":{"test":1}}]"#,
        ),
    ];
    for (version, operation, seq, body, message) in replies {
        let out = written(|out| goim::write_v1_json(out, version, operation, seq, body));
        assert_eq!(out, message);
    }
}
