//! How the bytes of a conversation are cut into packets, and how many are read at a time, makes no difference.
#![allow(clippy::unwrap_used)]

mod support;

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use fanfare_engine::{EngineConfig, RoomOptions};
use fanfare_wire::native;
use fanfare_wire::ws::{self, Opcode};
use serde_json::{Value, json};
use support::{
    Client, Event, Frame, WebSocket, open_config, open_rooms, start, stop, upgrade_request,
};

/// What is sent at once, and how many answers it has.
type Step = (Vec<u8>, usize);

fn native_conversation(room: &str) -> Vec<Step> {
    let step = |answers, write: &dyn Fn(&mut Vec<u8>)| {
        let mut out = Vec::new();
        write(&mut out);
        (out, answers)
    };
    let hello = native::Hello {
        token: "ann, whose name is longer than eight bytes",
        client_name: "split",
    };
    let subscribe = native::Subscribe {
        request: 1,
        room,
        token: "",
        recover: true,
        epoch: 7,
        offset: 9,
    };
    let publish = |request: u32| {
        let data = vec![u8::try_from(request).unwrap(); 300 * request as usize];
        move |out: &mut Vec<u8>| {
            let publish = native::Publish {
                request,
                room,
                data: &data,
            };
            native::write_publish(out, &publish);
        }
    };
    let several = |out: &mut Vec<u8>| {
        native::write_client_ping(out);
        native::write_client_pong(out);
        publish(0)(out);
        publish(5)(out);
        native::write_unsubscribe(
            out,
            &native::Unsubscribe {
                request: 6,
                room: "another",
            },
        );
        native::write_client_ping(out);
    };
    vec![
        step(1, &|out| native::write_hello(out, &hello)),
        step(1, &|out| native::write_subscribe(out, &subscribe)),
        step(2, &publish(2)),
        step(2, &publish(3)),
        step(6, &several),
        step(1, &|out| {
            native::write_unsubscribe(out, &native::Unsubscribe { request: 7, room })
        }),
    ]
}

fn centrifuge_conversation(room: &str) -> Vec<Step> {
    let mut mask = 0_u8;
    let mut text = |answers, text: &str| {
        let mut out = Vec::new();
        mask = mask.wrapping_add(37);
        let mask = [mask, 1, 0xff, 0x80];
        ws::write_masked_frame(&mut out, Opcode::Text, text.as_bytes(), mask);
        (out, answers)
    };
    let mut steps = vec![
        text(
            1,
            &json!({ "id": 1, "connect": { "token": "ann" } }).to_string(),
        ),
        text(
            1,
            &json!({ "id": 2, "subscribe": { "channel": room } }).to_string(),
        ),
    ];
    for id in 3..7 {
        let data = "äöü\u{1f600}".repeat(id * 20);
        let command = json!({ "id": id, "publish": { "channel": room, "data": data } });
        steps.push(text(2, &command.to_string()));
    }
    let lines = [
        json!({ "id": 7, "history": { "channel": room, "limit": -1 } }),
        json!({ "id": 8, "presence_stats": { "channel": room } }),
        json!({ "id": 9, "unsubscribe": { "channel": room } }),
        json!({ "id": 10, "rpc": { "method": "none" } }),
    ];
    steps.push(text(4, &lines.map(|line| line.to_string()).join("\n")));
    let mut ping = Vec::new();
    ws::write_masked_frame(&mut ping, Opcode::Ping, b"ping", [0; 4]);
    steps.push((ping, 1));
    steps
}

/// Ways to cut bytes: lengths of the pieces, over and over.
const CUTS: [&[usize]; 6] = [&[usize::MAX], &[1], &[2, 1], &[7], &[64, 3, 1], &[1000, 1]];

fn send(mut stream: &TcpStream, bytes: &[u8], cut: &[usize]) {
    let mut rest = bytes;
    for &length in cut.iter().cycle() {
        if rest.is_empty() {
            return;
        }
        let (piece, after) = rest.split_at(length.min(rest.len()));
        stream.write_all(piece).unwrap();
        rest = after;
    }
}

fn config(receive_buffer_bytes: u32) -> EngineConfig {
    let mut config = EngineConfig {
        receive_buffer_bytes,
        ..open_config(1)
    };
    config.namespaces.default = RoomOptions {
        history_size: 10,
        presence: true,
        ..open_rooms()
    };
    config
}

/// What differs from run to run by its nature is left out.
fn without_names(frame: Frame) -> Frame {
    match frame {
        Frame::Welcome { .. } => Frame::Welcome {
            client: String::new(),
        },
        Frame::Subscribed {
            request,
            offset,
            was_recovering,
            recovered,
            ..
        } => Frame::Subscribed {
            request,
            room: 0,
            epoch: 0,
            offset,
            was_recovering,
            recovered,
        },
        Frame::Ack {
            request,
            offset,
            members,
            ..
        } => Frame::Ack {
            request,
            epoch: 0,
            offset,
            members,
        },
        Frame::Publication { offset, data, .. } => Frame::Publication {
            room: 0,
            offset,
            data,
        },
        other => other,
    }
}

#[test]
fn native() {
    let mut expected = None;
    for receive_buffer_bytes in [4096, 1, 3] {
        let engine = start(config(receive_buffer_bytes));
        let addr = engine.client_addrs()[0];
        for (n, cut) in CUTS.into_iter().enumerate() {
            let mut client = Client::open(addr);
            let mut heard = Vec::new();
            for (bytes, answers) in native_conversation(&format!("a room of its own, {n}")) {
                send(&client.stream, &bytes, cut);
                let mut answers: Vec<String> = (0..answers)
                    .map(|_| format!("{:?}", without_names(client.next())))
                    .collect();
                // Which of them goes first depends on what was read together.
                answers.sort();
                heard.push(answers);
            }
            assert!(client.has_nothing_to_read());
            let expected = expected.get_or_insert_with(|| heard.clone());
            assert!(
                heard == *expected,
                "cut {cut:?}, {receive_buffer_bytes} at a time"
            );
        }
        stop(engine);
    }
}

#[test]
fn centrifuge() {
    let mut expected = None;
    for receive_buffer_bytes in [4096, 1, 3] {
        let engine = start(config(receive_buffer_bytes));
        let addr = engine.client_addrs()[0];
        for (n, cut) in CUTS.into_iter().enumerate() {
            let room = format!("a room of its own, {n}");
            let stream = TcpStream::connect(addr).unwrap();
            stream.set_nodelay(true).unwrap();
            stream
                .set_read_timeout(Some(Duration::from_secs(20)))
                .unwrap();
            let request = upgrade_request("/connection/websocket") + "\r\n";
            send(&stream, request.as_bytes(), cut);
            let mut socket = WebSocket::accepted(stream);
            let mut heard = Vec::new();
            for (bytes, answers) in centrifuge_conversation(&room) {
                send(&socket.stream, &bytes, cut);
                let mut lines: Vec<String> = Vec::new();
                while lines.len() < answers {
                    match socket.next() {
                        Event::Text(text) => lines.extend(text.lines().map(|line| {
                            let mut line: Value = serde_json::from_str(line).unwrap();
                            forget_names(&mut line);
                            line.to_string().replace(&room, "room")
                        })),
                        other => lines.push(format!("{other:?}")),
                    }
                }
                lines.sort();
                heard.push(lines);
            }
            let expected = expected.get_or_insert_with(|| heard.clone());
            assert!(
                heard == *expected,
                "cut {cut:?}, {receive_buffer_bytes} at a time"
            );
        }
        stop(engine);
    }
}

fn forget_names(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.remove("client");
            fields.remove("epoch");
            fields.values_mut().for_each(forget_names);
        }
        Value::Array(items) => items.iter_mut().for_each(forget_names),
        _ => {}
    }
}
