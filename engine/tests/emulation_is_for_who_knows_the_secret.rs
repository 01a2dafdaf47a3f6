//! Commands in requests of their own: they act for the session whose secret they know, on whichever connection they come, and
//! for no other.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeSet;
use std::net::SocketAddr;

use fanfare_engine::{Engine, EngineConfig, RoomOptions};
use serde_json::{Value, json};
use support::{
    Centrifuge, Client, Http, Sdk, Transport, emulation, eventually, open_config, open_rooms, post,
    start_scripted, stop, total,
};

fn config(shards: u16) -> EngineConfig {
    let mut config = open_config(shards);
    config.namespaces.default = RoomOptions {
        history_size: 1000,
        presence: true,
        ..open_rooms()
    };
    config
}

fn engine_and_addr(shards: u16) -> (Engine, SocketAddr) {
    let engine = start_scripted(config(shards));
    let addr = engine.client_addrs()[0];
    (engine, addr)
}

/// The same name with one digit more, modulo 16, at a place.
fn with_other_digit(session: &str, at: usize) -> String {
    let digit = u32::from_str_radix(&session[at..=at], 16).unwrap();
    let other = char::from_digit((digit + 1) % 16, 16).unwrap();
    format!("{}{other}{}", &session[..at], &session[at + 1..])
}

#[test]
fn who_does_not_know_the_secret_does_nothing() {
    let (engine, addr) = engine_and_addr(3);
    let mut observer = Sdk::connect(addr, Transport::WebSocket, "eve");
    observer.ask("subscribe", &json!({ "channel": "news" }));
    for transport in Transport::EMULATED {
        let mut client = Sdk::connect(addr, transport, "ann");
        let session = client.session().to_owned();
        // Whose connection it is anyone knows who knows the client: it begins with the same digits.
        assert_eq!(client.client()[..16], session[..16]);
        let mut sessions: Vec<String> = (0..48).map(|at| with_other_digit(&session, at)).collect();
        sessions.extend([
            String::new(),
            session[..47].to_owned(),
            session.clone() + "0",
            format!("+{}", &session[1..]),
            format!(" {}", &session[1..]),
            session[..16].to_owned() + &"0".repeat(32),
            session[..16].to_owned() + &session[..32],
            client.client().to_owned(),
            "f".repeat(48),
            "x".repeat(48),
            "\u{e9}".repeat(24),
        ]);
        let evil = json!({ "id": 7, "publish": { "channel": "news", "data": "evil" } });
        let message = transport.message(&[evil]);
        let node = client.node().to_owned();
        let before = total(&engine, |it| it.client_errors);
        let mut http = Http::open(addr);
        for session in &sessions {
            let answer = http.ask(&emulation(transport, &node, session, &message));
            assert_eq!(
                (answer.status, answer.keeps_alive()),
                (204, true),
                "{session}"
            );
        }
        let guesses = sessions.len() as u64;
        eventually("each is counted", || {
            total(&engine, |it| it.client_errors) == before + guesses
        });
        // It has not noticed, and who knows the secret may still speak for it.
        assert!(client.has_no_push());
    }
    assert!(observer.has_no_push());
    stop(engine);
}

#[test]
fn sessions_of_other_kinds_take_no_requests() {
    let (engine, addr) = engine_and_addr(1);
    let stream = Sdk::connect(addr, Transport::HttpStream, "ann");
    let mut ws = Sdk::connect(addr, Transport::WebSocket, "ann");
    let mut binary = Sdk::connect(addr, Transport::WebSocketProtobuf, "ann");
    let native = Client::connect(addr, "ann");
    let fresh = Http::open(addr);
    eventually("all are there", || total(&engine, |it| it.connections) == 5);
    let before = total(&engine, |it| it.client_errors);
    let mut http = Http::open(addr);
    let mut asked = 0;
    for client in [&ws, &binary] {
        for secret in [
            "0".repeat(32),
            "f".repeat(32),
            stream.session()[16..].to_owned(),
        ] {
            let session = client.client()[..16].to_owned() + &secret;
            let unsubscribe = json!({ "id": 1, "unsubscribe": { "channel": "x" } });
            let message = client.transport.message(&[unsubscribe]);
            let request = emulation(client.transport, stream.node(), &session, &message);
            assert_eq!(http.ask(&request).status, 204);
            asked += 1;
        }
    }
    // Any slot, the one of the request among them.
    for slot in 0..16 {
        let session = format!("{slot:016x}{}", "0".repeat(32));
        let request = emulation(Transport::HttpStream, stream.node(), &session, b"{}");
        assert_eq!(http.ask(&request).status, 204);
        asked += 1;
    }
    eventually("each is counted", || {
        total(&engine, |it| it.client_errors) == before + asked
    });
    assert!(ws.has_no_push() && binary.has_no_push());
    drop((native, fresh));
    stop(engine);
}

#[test]
fn a_node_that_is_not_here_is_told_apart_from_a_session_that_is_over() {
    let (engine, addr) = engine_and_addr(2);
    let other = start_scripted(config(1));
    for transport in Transport::EMULATED {
        let client = Sdk::connect(addr, transport, "ann");
        let ping = transport.message(&[json!({ "id": 5, "ping": {} })]);
        let (node, session) = (client.node().to_owned(), client.session().to_owned());
        for elsewhere in [
            "",
            "x",
            &node[1..],
            &(node.clone() + "0"),
            &node.to_uppercase(),
        ] {
            if *elsewhere != *node {
                let answer = post(addr, &emulation(transport, elsewhere, &session, &ping));
                assert_eq!(answer.status, 404, "{elsewhere:?}");
            }
        }
        // As after a restart.
        let request = emulation(transport, &node, &session, &ping);
        assert_eq!(post(other.client_addrs()[0], &request).status, 404);
        drop(client);
        eventually("it is gone", || total(&engine, |it| it.connections) == 0);
        let before = total(&engine, |it| it.client_errors);
        assert_eq!(post(addr, &request).status, 204);
        eventually("it is counted", || {
            total(&engine, |it| it.client_errors) == before + 1
        });
        eventually("and gone", || total(&engine, |it| it.connections) == 0);
    }
    // Without a node, as SDKs do when they were told none.
    let body = br#"{"session":"x","data":"{}"}"#;
    let request = support::request("POST", "/emulation", "", body);
    assert_eq!(post(addr, &request).status, 404);
    stop(other);
    stop(engine);
}

/// A slot is used again, and the name of who had it before is not a name of who has it now.
#[test]
fn the_name_of_a_predecessor_opens_nothing() {
    let engine = start_scripted(EngineConfig {
        connections_per_shard_max: Some(2),
        ..config(1)
    });
    let addr = engine.client_addrs()[0];
    let slot = |session: &str| session[10..16].to_owned();
    let mut http = Http::open(addr);
    let mut old: Vec<String> = Vec::new();
    let mut reused = 0;
    while reused < 3 {
        assert!(old.len() < 5000, "no slot was used twice");
        let mut client = Sdk::connect(addr, Transport::Sse, "ann");
        let before = total(&engine, |it| it.client_errors);
        let mut asked = 0;
        for predecessor in old.iter().filter(|it| slot(it) == slot(client.session())) {
            let mixed = client.session()[..16].to_owned() + &predecessor[16..];
            for name in [predecessor, &mixed] {
                let request = emulation(Transport::Sse, client.node(), name, b"no command");
                assert_eq!(http.ask(&request).status, 204);
                asked += 1;
            }
            reused += 1;
        }
        eventually("each is counted", || {
            total(&engine, |it| it.client_errors) == before + asked
        });
        let ping = json!({ "id": 9, "ping": {} });
        let request = client.emulation(&client.transport.message(&[ping]));
        assert_eq!(http.ask(&request).status, 204);
        assert!(client.reply(9)["ping"].is_object());
        old.push(client.session().to_owned());
        drop(client);
        eventually("it is gone", || total(&engine, |it| it.connections) == 1);
    }
    let secrets: BTreeSet<&str> = old.iter().map(|it| &it[16..]).collect();
    assert_eq!(secrets.len(), old.len(), "secrets are all different");
    stop(engine);
}

#[test]
fn commands_come_on_any_connection_to_any_shard() {
    let (engine, addr) = engine_and_addr(4);
    for transport in Transport::EMULATED {
        let mut client = Sdk::connect(addr, transport, "ann");
        let room = format!("{transport:?}");
        client.ask("subscribe", &json!({ "channel": room }));
        let client_ref = &client;
        let room_ref = &room;
        std::thread::scope(|scope| {
            for poster in 0..20 {
                scope.spawn(move || {
                    let mut http = Http::open(addr);
                    for n in 0..10 {
                        let id = 1000 + poster * 10 + n;
                        let publish =
                            json!({ "id": id, "publish": { "channel": room_ref, "data": id } });
                        let message = transport.message(&[publish]);
                        assert_eq!(http.ask(&client_ref.emulation(&message)).status, 204);
                    }
                });
            }
        });
        let (mut replies, mut publications) = (BTreeSet::new(), Vec::new());
        while replies.len() < 200 || publications.len() < 200 {
            let line = client.line().unwrap();
            if line["push"].is_object() {
                let publication = &line["push"]["pub"];
                assert_eq!(publication["offset"], publications.len() + 1);
                assert_eq!(publication["info"]["user"], "ann");
                publications.push(publication["data"].as_u64().unwrap());
            } else {
                assert!(line["publish"].is_object(), "{line}");
                assert!(
                    replies.insert(line["id"].as_u64().unwrap()),
                    "twice: {line}"
                );
            }
        }
        assert!(replies.iter().copied().eq(1000..1200));
        // Of each connection in its order.
        for poster in 0..20 {
            let of_poster = publications.iter().filter(|it| (*it - 1000) / 10 == poster);
            assert!(of_poster.is_sorted());
        }
        assert!(client.has_no_push());
    }
    stop(engine);
}

#[test]
fn requests_on_one_connection_keep_their_order() {
    let (engine, addr) = engine_and_addr(3);
    for transport in Transport::EMULATED {
        let mut client = Sdk::connect(addr, transport, "ann");
        let room = format!("{transport:?}");
        client.ask("subscribe", &json!({ "channel": room }));
        let publish = |n: u64| json!({ "id": n, "publish": { "channel": room, "data": n } });
        // Pipelined, and several in one.
        let requests: Vec<u8> = (0..100)
            .flat_map(|n| {
                let commands: Vec<Value> = (0..3).map(|m| publish(1000 + n * 3 + m)).collect();
                client.emulation(&transport.message(&commands))
            })
            .collect();
        let mut http = Http::open(addr);
        http.send(&requests);
        for _ in 0..100 {
            assert_eq!(http.answer().status, 204);
        }
        for n in 1000..1300 {
            let data = loop {
                let line = client.line().unwrap();
                if line["push"].is_object() {
                    break line["push"]["pub"]["data"].clone();
                }
            };
            assert_eq!(data, n, "{transport:?}");
        }
    }
    stop(engine);
}

#[test]
fn each_session_speaks_for_itself() {
    let (engine, addr) = engine_and_addr(3);
    let mut clients: Vec<Sdk> = (0..30)
        .map(|n| Sdk::connect(addr, Transport::EMULATED[n % 3], &format!("user{n}")))
        .collect();
    let mut observer = Centrifuge::connect(addr, "observer");
    observer.subscribe("news");
    // All over one connection, as behind a proxy.
    let mut http = Http::open(addr);
    for round in 0..5 {
        for client in &clients {
            let publish = json!({ "id": 100 + round, "publish": { "channel": "news", "data": client.client() } });
            let message = client.transport.message(&[publish]);
            assert_eq!(http.ask(&client.emulation(&message)).status, 204);
        }
    }
    for _ in 0..150 {
        let push = observer.push();
        assert_eq!(push["pub"]["info"]["client"], push["pub"]["data"]);
    }
    for client in &mut clients {
        let mut ids: Vec<u64> = (0..5)
            .map(|_| client.line().unwrap()["id"].as_u64().unwrap())
            .collect();
        ids.sort_unstable();
        assert_eq!(ids, [100, 101, 102, 103, 104]);
        assert!(client.has_no_push());
    }
    stop(engine);
}

/// Whoever knows the secret can end the session with nonsense, as it could on a connection of its own; others are not touched.
#[test]
fn nonsense_ends_the_session_that_it_is_for() {
    let (engine, addr) = engine_and_addr(2);
    let mut bystander = Sdk::connect(addr, Transport::Sse, "bob");
    let json_nonsense: [&[u8]; 6] = [
        b"no JSON",
        b"",
        b"HTTP/1.1 200 OK\r\n\r\n",
        br#"{"id":1,"connect":{}}"#,
        br#"{"id":0,"publish":{"channel":"news","data":1}}"#,
        br#"{"send":{"data":1}}"#,
    ];
    let mut ended = 0;
    for transport in [Transport::Sse, Transport::HttpStream] {
        for (n, nonsense) in json_nonsense.iter().enumerate() {
            let mut client = Sdk::connect(addr, transport, "ann");
            let answer = post(addr, &client.emulation(nonsense));
            assert_eq!(answer.status, 204);
            let code = if n == 5 { 3508 } else { 3501 };
            let text = String::from_utf8_lossy(nonsense);
            assert_eq!(
                client.closed_with(),
                (vec![], code),
                "{transport:?}, {text}"
            );
            ended += 1;
        }
    }
    let deep = "[".repeat(200);
    let many = vec![b"\x00".as_slice(); 10_000].concat();
    let protobuf_nonsense: [&[u8]; 5] = [
        b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        b"\x02\x08",
        deep.as_bytes(),
        b"\x03\x08\x01\x7a",
        &many,
    ];
    for nonsense in protobuf_nonsense {
        let mut client = Sdk::connect(addr, Transport::HttpStreamProtobuf, "ann");
        let answer = post(addr, &client.emulation(nonsense));
        assert_eq!(answer.status, 204);
        let (lines, code) = client.closed_with();
        assert!(
            lines.is_empty() && matches!(code, 3501 | 3503),
            "{code}: {lines:?}"
        );
        ended += 1;
    }
    // In the other codec.
    let mut client = Sdk::connect(addr, Transport::HttpStreamProtobuf, "ann");
    let request = emulation(
        Transport::Sse,
        client.node(),
        client.session(),
        br#"{"id":2,"ping":{}}"#,
    );
    assert_eq!(post(addr, &request).status, 204);
    assert_eq!(client.closed_with(), (vec![], 3501));
    assert_eq!(total(&engine, |it| it.protocol_errors), ended + 1);
    assert!(bystander.has_no_push());
    stop(engine);
}
