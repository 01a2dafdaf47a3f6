//! Protobuf: who speaks it, what becomes of payloads between it and JSON, and of bytes that are none of it.
#![allow(clippy::unwrap_used)]

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use fanfare_engine::{EngineConfig, RoomOptions};
use fanfare_wire::ws::{self, Opcode};
use serde_json::json;
use support::{
    Chunk, End, Event, Http, Sdk, Transport, WebSocket, eventually, open_config, open_rooms,
    request, start_scripted, stop, total, upgrade_request,
};

/// Opens a WebSocket, and returns the head of the answer with it.
fn upgrade(addr: SocketAddr, target: &str, lines: &str) -> (WebSocket, String) {
    let mut stream = TcpStream::connect(addr).unwrap();
    let request = upgrade_request(target) + lines + "\r\n";
    stream.write_all(request.as_bytes()).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    // Looked at, and left for the client to read.
    let mut head = [0; 1024];
    let head = loop {
        let length = stream.peek(&mut head).unwrap();
        let text = str::from_utf8(&head[..length]).unwrap();
        if text.contains("\r\n\r\n") {
            break text.to_owned();
        }
    };
    (WebSocket::accepted(stream), head)
}

#[test]
fn a_client_says_what_it_speaks_and_is_told_only_what_it_offered() {
    let engine = start_scripted(open_config(1));
    let addr = engine.client_addrs()[0];
    let path = "/connection/websocket";
    let by_parameter = "/connection/websocket?cf_protocol=protobuf";
    let offers = |names: &str| format!("Sec-WebSocket-Protocol: {names}\r\n");
    let name = "centrifuge-protobuf";
    let cases = [
        (path, offers(name), true, true),
        (path, offers("chat, centrifuge-protobuf"), true, true),
        (path, offers("chat") + &offers(name), true, true),
        (by_parameter, String::new(), true, false),
        (by_parameter, offers(name), true, true),
        (by_parameter, offers("chat"), true, false),
        (path, String::new(), false, false),
        (path, offers("chat"), false, false),
        (path, offers("centrifuge-protobuf2"), false, false),
        (path, offers("Centrifuge-Protobuf"), false, false),
        (
            "/connection/websocket?cf_protocol=json",
            String::new(),
            false,
            false,
        ),
        (
            "/connection/websocket?x_cf_protocol=protobuf",
            String::new(),
            false,
            false,
        ),
    ];
    for (target, lines, is_protobuf, is_echoed) in cases {
        let (mut ws, head) = upgrade(addr, target, &lines);
        let echo = format!("\r\nSec-WebSocket-Protocol: {name}\r\n");
        assert_eq!(head.contains(&echo), is_echoed, "{target} {lines}: {head}");
        assert_eq!(head.contains("Sec-WebSocket-Protocol"), is_echoed, "{head}");
        let transport = if is_protobuf {
            Transport::WebSocketProtobuf
        } else {
            Transport::WebSocket
        };
        let connect = transport.message(&[json!({ "id": 1, "connect": { "token": "ann" } })]);
        let opcode = if is_protobuf {
            Opcode::Binary
        } else {
            Opcode::Text
        };
        ws.send(opcode, &connect);
        match ws.next() {
            Event::Binary(_) => assert!(is_protobuf),
            Event::Text(_) => assert!(!is_protobuf),
            other => panic!("{other:?}"),
        }
        // The other type of message is not understood, even if it says the same.
        let other = if is_protobuf {
            Opcode::Text
        } else {
            Opcode::Binary
        };
        ws.send(other, b"{}");
        assert_eq!(ws.closed_with(), Some(3506));
    }
    stop(engine);
}

#[test]
fn http_streams_go_by_the_content_type() {
    let engine = start_scripted(open_config(1));
    let addr = engine.client_addrs()[0];
    let connect = json!({ "id": 1, "connect": { "token": "ann" } });
    let cases = [
        ("application/octet-stream", true),
        ("Application/Octet-Stream", true),
        ("application/octet-stream; charset=binary", true),
        ("application/json", false),
        ("text/plain;charset=UTF-8", false),
        ("", false),
    ];
    for (content_type, is_protobuf) in cases {
        let transport = if is_protobuf {
            Transport::HttpStreamProtobuf
        } else {
            Transport::HttpStream
        };
        let lines = format!("Content-Type: {content_type}\r\n");
        let body = transport.message(std::slice::from_ref(&connect));
        let mut http = Http::open(addr);
        http.send(&request("POST", transport.path(), &lines, &body));
        let head = http.head();
        assert_eq!(head.status, 200);
        let binary = head.header("Content-Type") == Some("application/octet-stream");
        assert_eq!(binary, is_protobuf, "{content_type}");
        let Chunk::Data(welcome) = http.chunk() else {
            panic!("no welcome")
        };
        assert_eq!(welcome.ends_with(b"\n"), !is_protobuf);
    }
    stop(engine);
}

/// Bytes that are no JSON reach those who speak protobuf as they are, and others as base64.
#[test]
fn any_bytes_are_a_payload() {
    let mut config = open_config(3);
    config.namespaces.default = RoomOptions {
        history_size: 10,
        ..open_rooms()
    };
    let engine = start_scripted(config);
    let addr = engine.client_addrs()[0];
    let payload: Vec<u8> = (0..=255).collect();
    // As long as what takes its place, with its quotes.
    let placeholder = "x".repeat(254);
    let publish = json!({ "id": 2, "publish": { "channel": "news", "data": placeholder } });
    for publisher in [Transport::WebSocketProtobuf, Transport::HttpStreamProtobuf] {
        let mut text: Vec<Sdk> = [Transport::WebSocket, Transport::Sse, Transport::HttpStream]
            .into_iter()
            .map(|transport| Sdk::connect(addr, transport, "ann room=news"))
            .collect();
        let connect = json!({ "id": 1, "connect": { "token": "bob room=news" } });
        let transport = Transport::HttpStreamProtobuf;
        let mut binary = Http::open(addr);
        binary.send(&transport.opening(&transport.message(&[connect])));
        assert_eq!(binary.head().status, 200);
        assert!(matches!(binary.chunk(), Chunk::Data(_)), "the welcome");

        let mut client = Sdk::connect(addr, publisher, "cid");
        let mut message = publisher.message(std::slice::from_ref(&publish));
        let at = message.len() - payload.len();
        message[at..].copy_from_slice(&payload);
        client.send_message(&message);
        assert!(client.reply(2)["publish"].is_object());

        for client in &mut text {
            let data = client.push()["pub"]["data"].clone();
            let data = data.as_str().unwrap();
            assert!(
                data.starts_with("AAECAwQFBgcICQoL") && data.len() == 344,
                "{data}"
            );
        }
        let Chunk::Data(push) = binary.chunk() else {
            panic!("no push")
        };
        assert!(push.windows(256).any(|it| it == payload));
    }
    stop(engine);
}

/// However it is cut, and also when several commands come in one message.
#[test]
fn commands_are_found_wherever_they_begin() {
    for receive_buffer_bytes in [1, 5, 4096] {
        let engine = start_scripted(EngineConfig {
            receive_buffer_bytes,
            ..open_config(1)
        });
        let addr = engine.client_addrs()[0];
        for transport in [Transport::WebSocketProtobuf, Transport::HttpStreamProtobuf] {
            let mut commands = vec![
                json!({ "id": 1, "connect": { "token": "ann" } }),
                json!({ "id": 2, "subscribe": { "channel": "news", "flag": 1 } }),
            ];
            commands.extend((3..50).map(|id| json!({ "id": id, "ping": {} })));
            let message = transport.message(&commands);
            let mut client = Sdk::open(addr, transport, &message).greeted();
            let mut ids: Vec<u64> = (2..50)
                .map(|_| client.line().unwrap()["id"].as_u64().unwrap())
                .collect();
            ids.sort_unstable();
            assert!(ids.into_iter().eq(2..50), "{transport:?}");
        }
        stop(engine);
    }
}

#[test]
fn errors_have_texts_that_clients_can_read() {
    let engine = start_scripted(open_config(1));
    let addr = engine.client_addrs()[0];
    let mut client = Sdk::connect(addr, Transport::HttpStreamProtobuf, "ann");
    let asked = [
        ("subscribe", json!({ "channel": "unknown:x" }), 102),
        ("subscribe", json!({ "channel": "x".repeat(256) }), 107),
        ("history", json!({ "channel": "news" }), 108),
        ("presence", json!({ "channel": "news" }), 108),
        ("rpc", json!({ "method": "x", "data": 1 }), 108),
        (
            "sub_refresh",
            json!({ "channel": "news", "token": "x" }),
            107,
        ),
    ];
    for (method, body, code) in asked {
        let reply = client.ask(method, &body);
        assert_eq!(reply["error"]["code"], code, "{method}: {reply}");
        assert!(
            reply["error"]["message"]
                .as_str()
                .is_some_and(|it| !it.is_empty()),
            "{reply}"
        );
    }
    stop(engine);
}

/// Lengths that lie, numbers that do not end, fields that nobody has: answered or refused, and never believed.
#[test]
fn what_is_malformed_is_refused_before_it_takes_memory() {
    let engine = start_scripted(open_config(1));
    let addr = engine.client_addrs()[0];
    let huge = b"\xff\xff\xff\xff\xff\xff\xff\xff\x7f";
    let malformed: [&[u8]; 12] = [
        huge,
        b"\x0a\x08\x02\x2a",
        b"\x04\x08\x02\x2a\x05",
        b"\x04\x08\x02\x2a\xff",
        b"\x02\x08\x80",
        b"\x0b\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        b"\x02\x0b\x0c",
        b"\x02\x0e\x00",
        b"\x02\x00\x00",
        b"\x06\x08\x02\x2a\x02\x0a\xff",
        b"\x07\x08\x02\x2a\x03\x0a\x01\xff",
        b"\x02\x08\x02\xff",
    ];
    for transport in [Transport::WebSocketProtobuf, Transport::HttpStreamProtobuf] {
        for message in malformed {
            let mut client = Sdk::connect(addr, transport, "ann");
            client.send_message(message);
            let (lines, code) = client.closed_with();
            assert_eq!(code, 3501, "{transport:?}, {message:?}: {lines:?}");
        }
        // Fields of a later version are passed over: {id: 2, 100: "x", ping: {101: 7}}.
        let mut client = Sdk::connect(addr, transport, "ann");
        client.send_message(b"\x0b\x08\x02\xa2\x06\x01x\x5a\x03\xa8\x06\x07");
        assert!(client.reply(2)["ping"].is_object());
    }
    // A frame that announces more than may come is refused by its head.
    let (mut ws, _) = upgrade(addr, "/connection/websocket?cf_protocol=protobuf", "");
    let mut frame = Vec::new();
    ws::write_masked_frame(&mut frame, Opcode::Binary, &[0; 70_000], [0; 4]);
    ws.send_bytes(&frame[..14]);
    assert_eq!(ws.closed_with(), Some(1009));
    // And bodies whose length in protobuf is not theirs.
    let mut http = Http::open(addr);
    for body in [
        &b"\x0a\xff\xff\xff\xff\x0f"[..],
        b"\x0a\x05x",
        b"\x08\x01",
        b"\xff",
        b"\x1a\x80",
    ] {
        let lines = "Content-Type: application/octet-stream\r\n";
        let answer = http.ask(&request("POST", "/emulation", lines, body));
        assert_eq!(answer.status, 400, "{body:?}: {answer:?}");
    }
    drop(ws);
    drop(http);
    eventually("all are closed", || {
        total(&engine, |it| it.connections) == 0
    });
    stop(engine);
}

/// A ping is one zero byte, and so is its answer.
#[test]
fn a_ping_is_an_empty_reply() {
    let mut config = open_config(1);
    config.limits.ping_interval = Duration::from_millis(1000);
    config.limits.pong_timeout = Duration::from_millis(900);
    let engine = start_scripted(config);
    let addr = engine.client_addrs()[0];
    let transport = Transport::HttpStreamProtobuf;
    let connect = transport.message(&[json!({ "id": 1, "connect": { "token": "ann" } })]);
    let mut http = Http::open(addr);
    http.send(&transport.opening(&connect));
    http.head();
    assert!(matches!(http.chunk(), Chunk::Data(_)), "the welcome");
    assert_eq!(http.chunk(), Chunk::Data(vec![0]));
    let mut ws = Sdk::connect(addr, Transport::WebSocketProtobuf, "ann");
    ws.stop_after_pings = Some(2);
    assert_eq!(ws.line(), Err(End::Asked));
    // It has answered one at least, with what it was sent.
    assert_eq!(transport.message(&[json!({})]), [0]);
    let mut rest = Vec::new();
    drop(ws);
    let _ = http.stream.read_to_end(&mut rest);
    let text = String::from_utf8_lossy(&rest);
    assert!(
        text.contains("no pong") && text.ends_with("\r\n0\r\n\r\n"),
        "{text:?}"
    );
    stop(engine);
}
