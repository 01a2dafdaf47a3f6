//! A client hears the same over every transport: the answer to every command, and what is pushed to it.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::HashMap;
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use fanfare_engine::api::{HistoryQuery, Message, Payload};
use fanfare_engine::{EngineConfig, RoomOptions};
use fanfare_wire::ws::{self, Opcode};
use serde_json::{Value, json};
use support::{
    Centrifuge, Sdk, Transport, WebSocket, ask, open_config, open_rooms, publish, push, start,
    start_scripted, stop, upgrade_request,
};

fn config(shards: u16) -> EngineConfig {
    let mut config = open_config(shards);
    config.namespaces.default = RoomOptions {
        history_size: 100,
        presence: true,
        join_leave: true,
        ..open_rooms()
    };
    config
}

/// Without what differs from run to run by its nature, and what encoders may leave out or not.
fn plain(mut value: Value) -> Value {
    fn strip(value: &mut Value) {
        match value {
            Value::Object(fields) => {
                for name in ["client", "epoch", "version", "session", "node"] {
                    if let Some(field) = fields.get_mut(name) {
                        assert!(
                            field.as_str().is_some_and(|it| !it.is_empty()),
                            "{name}: {field}"
                        );
                        *field = json!("some");
                    }
                }
                // Keys of a presence are clients, in any order.
                if let Some(Value::Object(presence)) = fields.get_mut("presence") {
                    let infos = std::mem::take(presence).into_iter();
                    *presence = infos
                        .map(|(_, info)| (info["user"].to_string(), info))
                        .collect();
                }
                for (name, value) in fields.iter_mut() {
                    if name != "data" {
                        strip(value);
                    }
                }
                fields.retain(|_, value| {
                    *value != json!(false)
                        && *value != json!(0)
                        && *value != json!("")
                        && *value != json!({})
                });
            }
            Value::Array(items) => items.iter_mut().for_each(strip),
            _ => {}
        }
    }
    strip(&mut value);
    value
}

/// Says everything that a client can say, and returns what it hears.
fn conversation(addr: SocketAddr, transport: Transport, room: &str) -> Vec<(String, Value)> {
    let mut heard: Vec<(String, Value)> = Vec::new();
    let mut client = Sdk::connect(addr, transport, "ann expires=1000 info={\"age\":7}");
    let mut welcome = client.welcome.clone();
    if transport.is_stream() {
        assert_eq!(client.session().len(), 48);
        assert!(!client.node().is_empty());
    }
    let welcome_fields = welcome.as_object_mut().unwrap();
    assert_eq!(
        welcome_fields.remove("session").is_some(),
        transport.is_stream()
    );
    assert_eq!(
        welcome_fields.remove("node").is_some(),
        transport.is_stream()
    );
    heard.push(("welcome".into(), welcome));

    let channel = json!({ "channel": room });
    let mut other = Sdk::connect(addr, transport, "bob");
    let answer = other.ask("subscribe", &channel);
    assert!(answer["error"].is_null(), "{answer}");

    let commands = [
        ("ping", json!({})),
        ("subscribe", channel.clone()),
        ("subscribe", channel.clone()),
        (
            "publish",
            json!({ "channel": room, "data": { "text": "äöü\u{1f600}\u{2028}\r\n", "n": [1, 2.5, null] } }),
        ),
        (
            "publish",
            json!({ "channel": room, "data": "x".repeat(20_000) }),
        ),
        ("presence", channel.clone()),
        ("presence_stats", channel.clone()),
        ("history", json!({ "channel": room, "limit": -1 })),
        (
            "history",
            json!({ "channel": room, "limit": 1, "reverse": true }),
        ),
        (
            "history",
            json!({ "channel": room, "limit": 5, "since": { "offset": 1, "epoch": "" } }),
        ),
        ("rpc", json!({ "method": "none", "data": 1 })),
        ("refresh", json!({ "token": "ann expires=2000" })),
        (
            "sub_refresh",
            json!({ "channel": room, "token": format!("ann@{room} expires=500") }),
        ),
        ("sub_refresh", json!({ "channel": "another", "token": "x" })),
        ("unsubscribe", channel.clone()),
        ("unsubscribe", channel.clone()),
        (
            "subscribe",
            json!({ "channel": room, "recover": true, "offset": 0, "epoch": "foreign" }),
        ),
        ("subscribe", json!({ "channel": "unknown:room" })),
        ("publish", json!({ "channel": "unknown:room", "data": 1 })),
        ("history", json!({ "channel": "unknown:room" })),
    ];
    for (method, body) in &commands {
        let answer = client.ask(method, body);
        heard.push(((*method).into(), answer));
    }
    // What has been pushed meanwhile is in the order of what happened.
    let pushes = [
        (&mut client, &["pub", "pub"][..]),
        (&mut other, &["join", "pub", "pub", "leave", "join"]),
    ];
    for (client, kinds) in pushes {
        for kind in kinds {
            let line = client.push();
            assert_eq!(line["channel"], room);
            assert!(line[kind].is_object(), "expected {kind}: {line}");
            heard.push((format!("push of {kind}"), line));
        }
        assert!(client.has_no_push());
    }
    heard
}

#[test]
fn every_command_has_the_same_answer_over_every_transport() {
    let engine = start_scripted(config(3));
    let addr = engine.client_addrs()[0];
    let mut expected = None;
    for transport in Transport::BOTH_WAYS {
        let room = format!("a-room-of-its-own-{transport:?}");
        let heard: Vec<(String, Value)> = conversation(addr, transport, &room)
            .into_iter()
            .map(|(what, value)| {
                let text = value.to_string().replace(&room, "room");
                (what, plain(serde_json::from_str(&text).unwrap()))
            })
            .collect();
        let expected = expected.get_or_insert_with(|| heard.clone());
        for (heard, expected) in heard.iter().zip(expected.iter()) {
            assert_eq!(heard, expected, "over {transport:?}");
        }
        assert_eq!(heard.len(), expected.len());
    }
    // So that the comparison compares something.
    let expected = expected.unwrap();
    let find = |what: &str| &expected.iter().find(|(it, _)| it == what).unwrap().1;
    assert_eq!(find("rpc")["error"]["code"], 108);
    assert_eq!(find("history")["publications"].as_array().unwrap().len(), 2);
    assert_eq!(
        find("presence_stats"),
        &json!({ "num_clients": 2, "num_users": 2 })
    );
    assert_eq!(find("refresh")["ttl"], 2000);
    stop(engine);
}

#[test]
fn everyone_hears_what_is_pushed_in_the_same_order() {
    let engine = start_scripted(config(2));
    let addr = engine.client_addrs()[0];
    let mut clients: Vec<Sdk> = Transport::BOTH_WAYS
        .into_iter()
        .map(|transport| Sdk::connect(addr, transport, "ann"))
        .collect();
    for client in &mut clients {
        let answer = client.ask("subscribe", &json!({ "channel": "news" }));
        assert_eq!(answer["recoverable"], true, "{answer}");
    }
    let mut uni: Vec<Sdk> = Transport::UNI
        .into_iter()
        .map(|transport| Sdk::connect(addr, transport, "ann room=news"))
        .collect();
    // The same JSON in two ways: line breaks between its tokens belong to carriers, not to it.
    for n in 0..200 {
        push(
            &engine,
            "news",
            &format!("{{\"n\":\r\n\r{n},\n\"ü\":\"\\r\\n\"}}"),
        );
    }
    let payload = Payload {
        bytes: b"{\"to\":\"you\"}".as_slice().into(),
        is_json: true,
    };
    let reached = ask(|reply| {
        let message = Message::from(payload);
        engine
            .handle()
            .push_users(vec!["ann".into()], message, reply)
    });
    assert_eq!(reached, Ok(8));
    for client in clients.iter_mut().chain(&mut uni) {
        let transport = client.transport;
        let (mut next, mut messages) = (0, 0);
        while next < 200 || messages < 1 {
            let line = client.push();
            // What is for the client alone may overtake what is for the room.
            if !line["message"].is_null() {
                let data = &line["message"]["data"];
                assert_eq!(*data, json!({ "to": "you" }), "{transport:?}");
                messages += 1;
            } else if line["join"].is_null() {
                let data = json!({ "n": next, "ü": "\r\n" });
                let publication = &line["pub"];
                assert_eq!(publication["data"], data, "{transport:?}: {line}");
                assert_eq!(publication["offset"], next + 1);
                next += 1;
            }
        }
    }
    stop(engine);
}

/// White space that a client puts into its JSON must not end a line for others.
#[test]
fn no_client_can_break_the_lines_of_others() {
    let engine = start(config(2));
    let addr = engine.client_addrs()[0];
    let mut clients: Vec<Sdk> = Transport::BOTH_WAYS
        .into_iter()
        .map(|transport| Sdk::connect(addr, transport, "ann"))
        .collect();
    // Names are not a way either.
    for room in ["a\nb", "a\rb", "a\0b", "a\u{7f}b"] {
        let refused = clients[0].ask("subscribe", &json!({ "channel": room }));
        assert_eq!(refused["error"]["code"], 107, "{room:?}");
    }
    let room = "a data {}\u{2028}b";
    for client in &mut clients {
        let answer = client.ask("subscribe", &json!({ "channel": room }));
        assert!(answer["error"].is_null(), "{answer}");
    }
    let evil = format!(
        "{{\"id\":99,\"publish\":\r{{\"channel\":{},\r\"data\":\r{{\r\"a\"\r:\r1\t}}\r}}\r}}\r",
        json!(room)
    );
    for client in &mut clients {
        if client.transport.is_protobuf() {
            // As long as what takes its place.
            let data = b"{\r\"a\"\n:\r\n1}";
            let command = json!({ "id": 99, "publish": { "channel": room, "data": "012345678" } });
            let mut message = client.transport.message(&[command]);
            let place = message.len() - data.len();
            message[place..].copy_from_slice(data);
            client.send_message(&message);
        } else {
            client.send_message(evil.as_bytes());
        }
        assert!(client.reply(99)["publish"].is_object());
    }
    for client in &mut clients {
        let mut publications = 0;
        while publications < 5 {
            let line = client.push();
            assert_eq!(line["channel"], room);
            if line["pub"].is_object() {
                assert_eq!(line["pub"]["data"], json!({ "a": 1 }));
                publications += 1;
            }
        }
    }
    stop(engine);
}

/// The rooms that the server puts a client into are in the answer to connect, and so is what it missed in them; nothing of
/// them comes before.
#[test]
fn rooms_of_the_server_come_with_the_welcome() {
    let mut config = config(3);
    config.namespaces.default.join_leave = false;
    let engine = start_scripted(config);
    let addr = engine.client_addrs()[0];
    let rooms: Vec<String> = (0..12).map(|n| format!("room{n}")).collect();
    let token = rooms
        .iter()
        .fold("ann".to_owned(), |token, room| token + " room=" + room);
    for room in &rooms {
        for n in 1..=3 {
            push(&engine, room, &n.to_string());
        }
    }
    let position = |room: &str| {
        let query = HistoryQuery {
            room: room.into(),
            limit: Some(0),
            since: None,
            reverse: false,
        };
        ask(|reply| engine.handle().history(query, reply))
            .unwrap()
            .position
    };
    let handle = engine.handle();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut n = 3;
            while !is_over.load(Relaxed) {
                n += 1;
                for room in &rooms {
                    ask(|reply| handle.publish(publish(room, &n.to_string()), reply)).unwrap();
                }
            }
        });
        // Also when an assertion fails.
        let _over = Over(&is_over);
        for transport in Transport::BOTH_WAYS.into_iter().chain(Transport::UNI) {
            for round in 0..6 {
                // Known rooms are recovered, and those that the client does not name begin where they are.
                let known: serde_json::Map<String, Value> = rooms
                    .iter()
                    .step_by(2)
                    .map(|room| {
                        let offset = round % 3;
                        let epoch =
                            Sdk::connect(addr, Transport::WebSocket, &format!("bob room={room}"))
                                .welcome["subs"][room]["epoch"]
                                .clone();
                        (
                            room.clone(),
                            json!({ "recover": true, "offset": offset, "epoch": epoch }),
                        )
                    })
                    .collect();
                let connect = json!({ "token": token, "subs": known });
                let mut client = Sdk::connect_with(addr, transport, &connect);
                let subs = client.welcome["subs"].as_object().unwrap().clone();
                assert_eq!(subs.len(), 12, "{transport:?}");
                let mut next = HashMap::new();
                for room in &rooms {
                    let sub = &subs[room];
                    let at = sub["offset"].as_u64().unwrap();
                    let missed: Vec<u64> =
                        sub["publications"].as_array().map_or(Vec::new(), |missed| {
                            missed
                                .iter()
                                .map(|it| it["offset"].as_u64().unwrap())
                                .collect()
                        });
                    assert_eq!(sub["recoverable"], true);
                    if known.contains_key(room) {
                        // The room keeps 100: as long as it has had no more, everything is there.
                        assert_eq!(sub["was_recovering"], true, "{sub}");
                        if sub["recovered"] == true {
                            assert!(
                                missed.iter().copied().eq(round % 3 + 1..=at),
                                "{missed:?} up to {at}"
                            );
                        } else {
                            assert!(at > 100, "{sub}");
                        }
                    } else {
                        assert!(missed.is_empty());
                    }
                    next.insert(room.clone(), at + 1);
                }
                for _ in 0..60 {
                    let line = client.push();
                    let room = line["channel"].as_str().unwrap();
                    let expected = next.get_mut(room).unwrap();
                    assert_eq!(line["pub"]["offset"], *expected, "{room}, {transport:?}");
                    *expected += 1;
                }
            }
        }
    });
    assert!(position("room0").offset > 3);
    stop(engine);
}

/// The welcome waits for rooms, and what was written before it does not come after it: not even when the upgrade and the
/// connect come together.
#[test]
fn the_welcome_follows_the_answer_to_the_upgrade() {
    let engine = start_scripted(config(3));
    let addr = engine.client_addrs()[0];
    for round in 0..20 {
        let mut bytes = (upgrade_request("/connection/websocket") + "\r\n").into_bytes();
        let rooms: String = (0..5).map(|n| format!(" room=r{round}-{n}")).collect();
        let connect = json!({ "id": 1, "connect": { "token": format!("ann{rooms}") } });
        let ping = json!({ "id": 2, "ping": {} });
        for command in [connect, ping] {
            let text = command.to_string();
            ws::write_masked_frame(&mut bytes, Opcode::Text, text.as_bytes(), [5, 6, 7, 8]);
        }
        let mut stream = TcpStream::connect(addr).unwrap();
        let timeout = Some(Duration::from_secs(20));
        stream.set_read_timeout(timeout).unwrap();
        stream.write_all(&bytes).unwrap();
        let mut client = Centrifuge::on(WebSocket::accepted(stream));
        let welcome = client.line().unwrap();
        assert_eq!(welcome["connect"]["subs"].as_object().unwrap().len(), 5);
        assert_eq!(client.line().unwrap()["id"], 2);
    }
    stop(engine);
}

struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}
