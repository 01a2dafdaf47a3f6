//! What no client would send ends its connection, with the code of its protocol, and touches nobody else's.
#![allow(clippy::unwrap_used)]

mod support;

use std::io::Read;

use fanfare_engine::{EngineConfig, Limits};
use fanfare_wire::native::{self, Hello};
use fanfare_wire::ws::{self, Opcode};
use support::{
    Bystander, Centrifuge, Client, Event, Frame, Frames, WebSocket, brisk, eventually, open_config,
    push, start, stop, total,
};

fn bounded() -> EngineConfig {
    EngineConfig {
        limits: Limits {
            message_bytes_max: 4096,
            fragments_max: 8,
            ..brisk()
        },
        ..open_config(2)
    }
}

fn frame(length: u32, version: u8, kind: u8, archive: &[u8]) -> Vec<u8> {
    let mut frame = length.to_le_bytes().to_vec();
    frame.extend([version, kind]);
    frame.extend_from_slice(archive);
    frame
}

fn disconnected(code: u16) -> Vec<Frame> {
    vec![Frame::Disconnect { code }]
}

#[test]
fn native_frames_that_are_none() {
    let engine = start(bounded());
    let addr = engine.client_addrs()[0];
    let mut bystander = Bystander::new(addr);

    let before_hello = |bytes: &[u8]| {
        let mut client = Client::open(addr);
        client.send_bytes(bytes).unwrap();
        client.rest()
    };
    let after_hello = |bytes: &[u8]| {
        let mut client = Client::connect(addr, "");
        client.send_bytes(bytes).unwrap();
        client.rest()
    };
    // No protocol at all, or one that is not served here, is answered by nothing.
    for bytes in [
        &b"\xff\xff\xff\xff"[..],
        &frame(16, 2, 1, &[0; 16]),
        &frame(65_536, 1, 1, &[0; 16]),
        b"\0\0\0\0\x01\x01",
        b"\x16\x03\x01\x02\0\x01\0",
        b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n",
        b"hello, server\r\n",
    ] {
        assert_eq!(before_hello(bytes), [], "{bytes:?}");
    }
    bystander.is_undisturbed(&engine);

    // A first frame that is not a Hello, or not an archive.
    let mut publish = Vec::new();
    let message = native::Publish {
        request: 1,
        room: "news",
        data: b"forged",
    };
    native::write_publish(&mut publish, &message);
    assert_eq!(before_hello(&publish), disconnected(3501));
    assert_eq!(before_hello(&frame(1, 1, 5, &[0])), disconnected(3501));
    assert_eq!(
        before_hello(&frame(16, 1, 1, &[0x80; 16])),
        disconnected(3501)
    );
    assert_eq!(before_hello(&frame(5000, 1, 1, &[])), disconnected(3501));

    let mut hello = Vec::new();
    let again = Hello {
        token: "again",
        client_name: "",
    };
    native::write_hello(&mut hello, &again);
    assert_eq!(after_hello(&hello), disconnected(3501));
    // As soon as the header is there, nothing is waited for.
    assert_eq!(after_hello(&frame(u32::MAX, 1, 4, b"")), disconnected(3501));
    assert_eq!(after_hello(&frame(4097, 1, 4, b"")), disconnected(3501));
    assert_eq!(after_hello(&frame(0, 2, 5, b"")), disconnected(3506));
    assert_eq!(after_hello(&frame(0, 1, 0x7f, b"")), disconnected(3501));
    assert_eq!(after_hello(&frame(0, 1, 0x81, b"")), disconnected(3501));
    // 0 and 1 would be whole archives: of a request 0, and of one for a room of control characters.
    for byte in 2..=255 {
        assert_eq!(
            after_hello(&frame(37, 1, 2, &[byte; 37])),
            disconnected(3501),
            "an archive of {byte}"
        );
    }
    bystander.is_undisturbed(&engine);

    // Request 0 wants no answer, and who subscribes needs one.
    let mut subscribes = Client::connect(addr, "");
    subscribes.subscribe(0, "news", None);
    assert_eq!(subscribes.rest(), disconnected(3501));
    // What came before the fault counts, what comes after it does not.
    let mut client = Client::connect(addr, "");
    let mut all = Vec::new();
    native::write_client_ping(&mut all);
    all.extend(frame(0, 1, 0x7f, b""));
    all.extend(&publish);
    client.send_bytes(&all).unwrap();
    assert_eq!(
        client.rest(),
        [Frame::Pong, Frame::Disconnect { code: 3501 }]
    );
    bystander.is_undisturbed(&engine);
    assert_eq!(total(&engine, |it| it.protocol_errors), 7 + 4 + 6 + 254 + 2);
    drop(bystander);
    eventually("all are closed", || {
        total(&engine, |it| it.connections) == 0
    });
    stop(engine);
}

#[test]
fn native_frames_in_websocket_messages_that_are_none() {
    let engine = start(bounded());
    let addr = engine.client_addrs()[0];
    let mut bystander = Bystander::new(addr);
    let mut hello = Vec::new();
    let greeting = Hello {
        token: "",
        client_name: "",
    };
    native::write_hello(&mut hello, &greeting);

    let ends = |opcode, payload: &[u8], code| {
        let mut client = Frames::connect(addr, "");
        client.0.send(opcode, payload);
        assert_eq!(client.next(), Frame::Disconnect { code });
        assert_eq!(client.0.closed_with(), Some(code), "{payload:?}");
    };
    ends(Opcode::Text, b"{}", 3506);
    ends(Opcode::Binary, &hello, 3501);
    // A frame may not go on in the next message, and not begin after rubbish.
    ends(Opcode::Binary, &frame(4, 1, 4, &[0; 3]), 3501);
    ends(Opcode::Binary, &[0; 3], 3501);
    ends(Opcode::Binary, &frame(u32::MAX, 1, 4, b""), 3501);
    bystander.is_undisturbed(&engine);

    // Several whole ones are one message's right.
    let mut client = Frames::connect(addr, "");
    let mut two = Vec::new();
    native::write_client_ping(&mut two);
    native::write_client_ping(&mut two);
    client.0.send(Opcode::Binary, &two);
    assert_eq!([client.next(), client.next()], [Frame::Pong, Frame::Pong]);
    // And an empty message holds none.
    client.0.send(Opcode::Binary, b"");
    client.send(native::write_client_ping);
    assert_eq!(client.next(), Frame::Pong);
    stop(engine);
}

fn header(first: u8, second: u8, rest: &[u8]) -> Vec<u8> {
    let mut frame = vec![first, second];
    frame.extend_from_slice(rest);
    frame
}

#[test]
fn websocket_frames_that_are_none() {
    let engine = start(bounded());
    let addr = engine.client_addrs()[0];
    let mut bystander = Bystander::new(addr);
    let mask = [0; 4];
    let masked = |first, payload: &[u8]| {
        let mut frame = header(first, 0x80 | u8::try_from(payload.len()).unwrap(), &mask);
        frame.extend_from_slice(payload);
        frame
    };
    let cases: &[(&str, Vec<u8>, u16)] = &[
        ("unmasked", b"\x81\x02{}".to_vec(), 1002),
        ("reserved bit", masked(0xc1, b"{}"), 1002),
        ("reserved opcode", masked(0x83, b"{}"), 1002),
        ("reserved control opcode", masked(0x8b, b""), 1002),
        ("fragmented ping", masked(0x09, b""), 1002),
        ("long ping", header(0x89, 0xfe, &[0, 126]), 1002),
        ("nothing to continue", masked(0x80, b"{}"), 1002),
        ("length not minimal", header(0x81, 0xfe, &[0, 125]), 1002),
        (
            "length of 2^63",
            header(0x81, 0xff, &[0x80, 0, 0, 0, 0, 0, 0, 0]),
            1002,
        ),
        ("close of one byte", masked(0x88, b"\x03"), 1002),
        ("close code 1005", masked(0x88, b"\x03\xed"), 1002),
        ("close code 999", masked(0x88, b"\x03\xe7"), 1002),
        ("text that is not UTF-8", masked(0x81, b"\xc0\x80"), 1007),
        (
            "close reason not UTF-8",
            masked(0x88, b"\x03\xe8\xff"),
            1007,
        ),
        // Nothing but the header and a byte comes, and nothing more is waited for.
        (
            "length of 2^63 - 1",
            header(
                0x82,
                0xff,
                &[0x7f, 255, 255, 255, 255, 255, 255, 255, 0, 0, 0, 0, 7],
            ),
            1009,
        ),
        (
            "a byte too many",
            header(0x81, 0xfe, &[0x10, 0x01, 0, 0, 0, 0, b'x']),
            1009,
        ),
        ("binary", masked(0x82, b"{}"), 3506),
        ("not JSON", masked(0x81, b"{"), 3501),
        ("not a command", masked(0x81, br#"{"id":1}"#), 3501),
        (
            "before connect",
            masked(0x81, br#"{"id":1,"subscribe":{"channel":"a"}}"#),
            3501,
        ),
    ];
    for (what, bytes, code) in cases {
        let mut socket = WebSocket::open(addr, "/connection/websocket");
        socket.send_bytes(bytes);
        let Event::Close(closed) = socket.next() else {
            panic!("{what}: not closed")
        };
        assert_eq!(closed, Some(*code), "{what}");
        assert_eq!(socket.next(), Event::End, "{what}");
    }
    bystander.is_undisturbed(&engine);
    assert_eq!(total(&engine, |it| it.protocol_errors), cases.len() as u64);
    stop(engine);
}

/// The same below every dialect, and with the code of WebSocket itself.
#[test]
fn frames_are_judged_alike_below_every_dialect() {
    let engine = start(bounded());
    let addr = engine.client_addrs()[0];
    let mut bystander = Bystander::new(addr);
    let masked = |first, payload: &[u8]| {
        let mut frame = header(first, 0x80 | u8::try_from(payload.len()).unwrap(), &[0; 4]);
        frame.extend_from_slice(payload);
        frame
    };
    let begun = |then: &[u8]| [&masked(0x02, b"x"), then].concat();
    let cases = [
        ("unmasked text", b"\x81\x02{}".to_vec(), 1002),
        ("unmasked binary", b"\x82\x01x".to_vec(), 1002),
        ("unmasked ping", b"\x89\x00".to_vec(), 1002),
        ("RSV1", masked(0xc2, b"x"), 1002),
        ("RSV2", masked(0xa2, b"x"), 1002),
        ("RSV3", masked(0x92, b"x"), 1002),
        ("RSV1 on a ping", masked(0xc9, b""), 1002),
        ("RSV1 on a close", masked(0xc8, b""), 1002),
        ("RSV1 on a continuation", begun(&masked(0xc0, b"")), 1002),
        ("opcode 3", masked(0x83, b""), 1002),
        ("opcode 7", masked(0x87, b""), 1002),
        ("opcode 11", masked(0x8b, b""), 1002),
        ("opcode 15", masked(0x8f, b""), 1002),
        ("a ping in fragments", masked(0x09, b""), 1002),
        ("a close in fragments", masked(0x08, b""), 1002),
        ("a long ping", header(0x89, 0xfe, &[0, 126]), 1002),
        ("a long close", header(0x88, 0xfe, &[0, 126]), 1002),
        ("nothing to continue", masked(0x80, b""), 1002),
        ("a message within another", begun(&masked(0x82, b"")), 1002),
        ("16 bits for 125", header(0x82, 0xfe, &[0, 125]), 1002),
        (
            "64 bits for 65,535",
            header(0x82, 0xff, &[0, 0, 0, 0, 0, 0, 255, 255]),
            1002,
        ),
        (
            "the top bit of a length",
            header(0x82, 0xff, &[0x80, 0, 0, 0, 0, 0, 0, 0]),
            1002,
        ),
        ("a close of a byte", masked(0x88, b"\x03"), 1002),
        ("close code 1006", masked(0x88, b"\x03\xee"), 1002),
        (
            "a reason that is not UTF-8",
            masked(0x88, b"\x03\xe8\xff"),
            1007,
        ),
        (
            "text that is not UTF-8",
            masked(0x81, b"\xed\xa0\x80"),
            1007,
        ),
        // The rest of the frame is not waited for.
        (
            "text that cannot become UTF-8",
            header(0x81, 0xfe, &[3, 0, 0, 0, 0, 0, b'a', 0xff]),
            1007,
        ),
        (
            "text cut within a character",
            [masked(0x01, b"\xf0\x9f"), masked(0x80, b"x")].concat(),
            1007,
        ),
    ];
    let paths = [
        "/connection/websocket",
        "/connection/websocket?cf_protocol=protobuf",
        "/connection/uni_websocket",
        "/connection/native",
        "/sub",
    ];
    for path in paths {
        for (what, bytes, code) in &cases {
            let mut socket = WebSocket::open(addr, path);
            socket.send_bytes(bytes);
            assert_eq!(socket.closed_with(), Some(*code), "{what} to {path}");
        }
        bystander.is_undisturbed(&engine);
    }
    let refused = paths.len() * cases.len();
    assert_eq!(total(&engine, |it| it.protocol_errors), refused as u64);
    stop(engine);
}

#[test]
fn messages_have_their_limits_and_reach_them() {
    let engine = start(bounded());
    let addr = engine.client_addrs()[0];
    let mut client = Centrifuge::connect(addr, "");
    client.subscribe("news");

    // As long as allowed, to the byte.
    let envelope = r#"{"id":9,"publish":{"channel":"news","data":""}}"#.len();
    let text = "x".repeat(4096 - envelope);
    client.send(&format!(
        r#"{{"id":9,"publish":{{"channel":"news","data":"{text}"}}}}"#
    ));
    client.reply(9);
    assert_eq!(client.push()["pub"]["data"], text);

    // In as many fragments as allowed, an empty one and a ping among them.
    let fragment = |first: u8, payload: &[u8]| {
        let mut frame = header(first, 0x80 | u8::try_from(payload.len()).unwrap(), &[0; 4]);
        frame.extend_from_slice(payload);
        frame
    };
    let command = br#"{"id":10,"ping":{}}"#;
    let mut bytes = fragment(0x01, &command[..2]);
    bytes.extend(fragment(0x00, b""));
    bytes.extend(fragment(0x89, b"between"));
    for at in 2..7 {
        bytes.extend(fragment(0x00, &command[at..=at]));
    }
    bytes.extend(fragment(0x80, &command[7..]));
    client.ws.send_bytes(&bytes);
    assert_eq!(client.ws.next(), Event::Pong(b"between".to_vec()));
    client.reply(10);

    // Fragments without end, and empty: 8 are allowed, so the 8th that leaves the message open is one too many.
    let mut endless = Centrifuge::connect(addr, "");
    endless.ws.send_bytes(&fragment(0x01, b""));
    for _ in 0..7 {
        endless.ws.send_bytes(&fragment(0x00, b""));
    }
    assert_eq!(endless.closed_with(), Some(1008));

    // Many fragments that are too long together.
    let mut long = Centrifuge::connect(addr, "");
    let mut bytes = header(0x01, 0xfe, &[0x08, 0x00, 0, 0, 0, 0]);
    bytes.extend([b'x'; 0x800]);
    bytes.extend(header(0x80, 0xfe, &[0x08, 0x01, 0, 0, 0, 0]));
    long.ws.send_bytes(&bytes);
    assert_eq!(long.closed_with(), Some(1009));

    // Native: as long as allowed, and a byte more.
    let mut native = Client::connect(addr, "");
    native.join("other");
    let room = "other";
    let data = vec![7; 4096 - 20];
    native.publish(1, room, &data);
    assert!(matches!(native.next(), Frame::Ack { offset: 1, .. }));
    assert_eq!(native.publication(), (1, data.clone()));
    native.publish(2, room, &vec![7; data.len() + 1]);
    assert_eq!(native.rest(), disconnected(3501));
    stop(engine);
}

#[test]
fn closing_is_answered_in_kind() {
    let engine = start(bounded());
    let addr = engine.client_addrs()[0];
    for (payload, answer) in [
        (&b""[..], None),
        (b"\x03\xe8", Some(1000)),
        (b"\x0b\xb8bye", Some(3000)),
    ] {
        for path in ["/connection/websocket", "/connection/native"] {
            let mut socket = WebSocket::open(addr, path);
            socket.send(Opcode::Close, payload);
            // Nothing that follows a close is looked at.
            socket.send(Opcode::Ping, b"late");
            assert_eq!(socket.closed_with(), answer);
        }
    }
    assert_eq!(total(&engine, |it| it.protocol_errors), 0);
    stop(engine);
}

#[test]
fn what_is_declared_and_not_sent_takes_no_memory() {
    let engine = start(EngineConfig {
        limits: Limits {
            message_bytes_max: 1 << 19,
            ..brisk()
        },
        ..open_config(2)
    });
    let addr = engine.client_addrs()[0];
    let before = resident_bytes();
    let mut clients = Vec::new();
    for n in 0..400 {
        if n % 2 == 0 {
            let mut client = Client::connect(addr, "");
            client.send_bytes(&frame(1 << 19, 1, 4, &[0])).unwrap();
            clients.push(client.stream);
        } else {
            let mut client = Centrifuge::connect(addr, "");
            let declared = header(0x81, 0xff, &[0, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, b'x']);
            client.ws.send_bytes(&declared);
            clients.push(client.ws.stream);
        }
    }
    eventually("all has arrived", || {
        total(&engine, |it| it.authenticated) == 400
    });
    push(&engine, "news", "a turn later");
    // 400 × 512 KiB would be 200 MiB.
    let grown = resident_bytes().saturating_sub(before);
    assert!(grown < 32 << 20, "{grown} bytes");
    assert_eq!(total(&engine, |it| it.connections), 400);
    drop(clients);
    stop(engine);
}

fn resident_bytes() -> u64 {
    let mut statm = String::new();
    std::fs::File::open("/proc/self/statm")
        .unwrap()
        .read_to_string(&mut statm)
        .unwrap();
    statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

#[test]
fn masks_are_taken_off_wherever_a_read_ends() {
    let engine = start(EngineConfig {
        receive_buffer_bytes: 7,
        ..open_config(1)
    });
    let addr = engine.client_addrs()[0];
    let mut client = Centrifuge::connect(addr, "");
    client.subscribe("news");
    for n in 1..40_u8 {
        let text = "ä".repeat(usize::from(n) * 3);
        let mut bytes = Vec::new();
        let command = format!(r#"{{"id":{n},"publish":{{"channel":"news","data":"{text}"}}}}"#);
        let mask = [n, 0x80, 0xff, 0x55];
        ws::write_masked_frame(&mut bytes, Opcode::Text, command.as_bytes(), mask);
        client.ws.send_bytes(&bytes);
        client.reply(u32::from(n));
        assert_eq!(client.push()["pub"]["data"], text);
    }
    stop(engine);
}
