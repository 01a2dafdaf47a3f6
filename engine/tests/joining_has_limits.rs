//! What a client may join and how much of it, and what it hears when it may not.
#![allow(clippy::unwrap_used)]

mod support;

use fanfare_engine::api::ApiError;
use fanfare_engine::{EngineConfig, Limits, Namespaces, RoomOptions};
use fanfare_wire::ws::Opcode;
use serde_json::json;
use support::{
    Centrifuge, Client, Frame, ask, brisk, eventually, open_config, open_rooms, publish, push,
    start, start_scripted, stop, total,
};

fn limited(shards: u16, limits: Limits) -> EngineConfig {
    EngineConfig {
        limits,
        ..open_config(shards)
    }
}

/// The code of the answer to a subscription; 0 when it is granted.
fn join(client: &mut Client, room: &str) -> u16 {
    client.subscribe(5, room, None);
    match client.next() {
        Frame::Subscribed { request: 5, .. } => 0,
        Frame::Error { request: 5, code } => code,
        other => panic!("{other:?}"),
    }
}

fn publish_to(client: &mut Client, room: &str) -> u16 {
    client.publish(6, room, b"x");
    match client.next() {
        Frame::Ack { request: 6, .. } => 0,
        Frame::Error { request: 6, code } => code,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_connection_is_in_so_many_rooms_and_no_more() {
    let limits = Limits {
        rooms_per_connection_max: 3,
        ..brisk()
    };
    let engine = start(limited(3, limits));
    let addr = engine.client_addrs()[0];
    let mut native = Client::connect(addr, "");
    for room in ["a", "b", "c"] {
        assert_eq!(join(&mut native, room), 0);
    }
    assert_eq!(join(&mut native, "d"), 106);
    native.unsubscribe(7, "b");
    assert_eq!(
        native.next(),
        Frame::Unsubscribed {
            request: 7,
            code: 0
        }
    );
    assert_eq!(join(&mut native, "d"), 0);
    assert_eq!(join(&mut native, "b"), 106);

    // All at once: it does not matter that none is granted yet.
    let mut json = Centrifuge::connect(addr, "");
    let commands: Vec<String> = (11..=20)
        .map(|id| format!(r#"{{"id":{id},"subscribe":{{"channel":"room {id}"}}}}"#))
        .collect();
    json.send(&commands.join("\n"));
    let mut refused = Vec::new();
    for _ in 11..=20 {
        let reply = json.line().unwrap();
        if let Some(error) = reply.get("error") {
            assert_eq!(error["code"], 106);
            refused.push(reply["id"].as_u64().unwrap());
        }
    }
    assert_eq!(refused, (14..=20).collect::<Vec<_>>());
    assert_eq!(total(&engine, |it| it.members), 6);
    stop(engine);
}

#[test]
fn names_are_short_and_printable() {
    let limits = Limits {
        room_name_bytes_max: 16,
        ..brisk()
    };
    let engine = start(limited(2, limits));
    let addr = engine.client_addrs()[0];
    let mut client = Client::connect(addr, "");
    let mut json = Centrifuge::connect(addr, "");
    let good = ["sixteen bytes ok", "a.>*", "ä{}\"\\", " ", "%2e", "日本語"];
    let bad = [
        "seventeen bytes!!",
        "a\nb",
        "a\0",
        "\u{7f}",
        "a\u{85}b",
        "\t",
        "ääääääääx",
    ];
    for room in good {
        assert_eq!(join(&mut client, room), 0, "{room:?}");
        assert_eq!(
            json.code_of("subscribe", json!({ "channel": room })),
            0,
            "{room:?}"
        );
        // Names are compared as they are.
        assert_eq!(push(&engine, room, "1").reached.total(), 2, "{room:?}");
        assert_eq!(client.publication().0, 1);
        assert_eq!(json.push()["channel"], room);
    }
    for room in bad.into_iter().chain([""]) {
        assert_eq!(join(&mut client, room), 107, "{room:?}");
        assert_eq!(publish_to(&mut client, room), 107, "{room:?}");
        assert_eq!(
            ask(|reply| engine.handle().publish(publish(room, "1"), reply)),
            Err(ApiError::BadRequest)
        );
        assert_eq!(
            ask(|reply| engine.handle().presence(room, reply)),
            Err(ApiError::BadRequest)
        );
    }
    for room in bad {
        for (method, body) in [
            ("subscribe", json!({ "channel": room })),
            ("publish", json!({ "channel": room, "data": 1 })),
            ("presence", json!({ "channel": room })),
            ("history", json!({ "channel": room })),
        ] {
            assert_eq!(json.code_of(method, body), 107, "{method} {room:?}");
        }
    }
    assert_eq!(total(&engine, |it| it.rooms_home), good.len() as u64);
    stop(engine);
}

#[test]
fn a_room_of_an_unknown_namespace_does_not_exist() {
    let mut config = open_config(2);
    config.namespaces.named = vec![("chat".into(), open_rooms())];
    let engine = start(config);
    let addr = engine.client_addrs()[0];
    let mut client = Client::connect(addr, "");
    assert_eq!(join(&mut client, "chat:1"), 0);
    assert_eq!(join(&mut client, "chat:1:2"), 0);
    for room in ["chats:1", "Chat:1", ":1", "cha:t"] {
        assert_eq!(join(&mut client, room), 102, "{room}");
        assert_eq!(publish_to(&mut client, room), 102, "{room}");
        let handle = engine.handle();
        assert_eq!(
            ask(|reply| handle.publish(publish(room, "1"), reply)),
            Err(ApiError::UnknownRoom)
        );
        assert_eq!(
            ask(|reply| handle.history_remove(room, reply)),
            Err(ApiError::UnknownRoom)
        );
    }
    stop(engine);
}

#[test]
fn nothing_is_allowed_unless_it_is_granted() {
    let mut config = open_config(2);
    config.namespaces = Namespaces::default();
    let engine = start(config);
    let addr = engine.client_addrs()[0];
    let mut client = Client::connect(addr, "ann");
    assert_eq!(join(&mut client, "news"), 103);
    assert_eq!(publish_to(&mut client, "news"), 103);
    let mut json = Centrifuge::connect(addr, "ann");
    for method in ["subscribe", "presence", "presence_stats", "history"] {
        assert_eq!(json.code_of(method, json!({ "channel": "news" })), 103);
    }
    assert_eq!(
        json.code_of("publish", json!({ "channel": "news", "data": 1 })),
        103
    );
    assert_eq!(total(&engine, |it| it.client_errors), 7);
    assert_eq!(total(&engine, |it| it.members + it.publications), 0);
    stop(engine);
}

#[test]
fn joining_twice_is_refused_and_harmless() {
    let engine = start(open_config(3));
    let addr = engine.client_addrs()[0];
    let mut client = Client::connect(addr, "");
    // The second is refused even while the first is under way.
    client.subscribe(1, "news", None);
    client.subscribe(2, "news", None);
    let mut answers = [client.next(), client.next()];
    answers.sort_by_key(|answer| matches!(answer, Frame::Error { .. }));
    assert!(matches!(answers[0], Frame::Subscribed { request: 1, .. }));
    assert_eq!(
        answers[1],
        Frame::Error {
            request: 2,
            code: 105
        }
    );
    assert_eq!(join(&mut client, "news"), 105);
    push(&engine, "news", "once");
    assert_eq!(client.publication(), (1, b"once".to_vec()));
    assert!(client.has_nothing_to_read());

    client.unsubscribe(3, "news");
    assert_eq!(
        client.next(),
        Frame::Unsubscribed {
            request: 3,
            code: 0
        }
    );
    client.unsubscribe(4, "news");
    assert_eq!(
        client.next(),
        Frame::Error {
            request: 4,
            code: 107
        }
    );
    // Centrifuge does not mind.
    let mut json = Centrifuge::connect(addr, "");
    assert_eq!(
        json.ask("unsubscribe", json!({ "channel": "news" })),
        json!({})
    );
    eventually("nobody is left in it", || {
        push(&engine, "news", "to nobody").reached.total() == 0
    });
    assert!(client.has_nothing_to_read());
    stop(engine);
}

#[test]
fn leaving_before_having_joined_leaves() {
    let engine = start(open_config(4));
    let addr = engine.client_addrs()[0];
    for n in 0..40_u64 {
        let room = format!("room {n}");
        let mut client = Client::connect(addr, "");
        client.subscribe(1, &room, None);
        client.unsubscribe(2, &room);
        let answers = [client.next(), client.next()];
        // In one of the two orders; the request to join is answered in either.
        let left = Frame::Unsubscribed {
            request: 2,
            code: 0,
        };
        assert!(answers.contains(&left), "{answers:?}");
        let joined_or_not = answers.iter().any(|answer| {
            matches!(
                answer,
                Frame::Subscribed { request: 1, .. }
                    | Frame::Error {
                        request: 1,
                        code: 100
                    }
            )
        });
        assert!(joined_or_not, "{answers:?}");
        let mut published = 0;
        eventually("it has left", || {
            published += 1;
            push(&engine, &room, "x").reached.total() == 0
        });
        // And it can come back.
        assert_eq!(join(&mut client, &room), 0);
        assert_eq!(push(&engine, &room, "back").reached.total(), 1);
        loop {
            let (offset, data) = client.publication();
            if data == b"back" {
                assert_eq!(offset, published + 1);
                break;
            }
        }
    }
    stop(engine);
}

#[test]
fn a_shard_is_home_of_so_many_rooms_and_no_more() {
    let limits = Limits {
        rooms_per_shard_max: 4,
        ..brisk()
    };
    let engine = start(limited(2, limits));
    let addr = engine.client_addrs()[0];
    let handle = engine.handle();
    let mut made = Vec::new();
    let mut refused = Vec::new();
    for n in 0..100 {
        let room = format!("room {n}");
        match ask(|reply| handle.publish(publish(&room, "1"), reply)) {
            Ok(_) => made.push(room),
            Err(error) => {
                assert_eq!(error, ApiError::TooManyRooms);
                refused.push(room);
            }
        }
    }
    assert_eq!((made.len(), refused.len()), (8, 92));
    assert_eq!(total(&engine, |it| it.rooms_home), 8);

    let mut client = Client::connect(addr, "");
    for room in &refused[..20] {
        assert_eq!(join(&mut client, room), 106, "{room}");
        assert_eq!(publish_to(&mut client, room), 106, "{room}");
    }
    // Those that exist are open. A connection's shard knows as many as it may be home of.
    for room in &made[..4] {
        assert_eq!(join(&mut client, room), 0, "{room}");
        assert_eq!(push(&engine, room, "1").reached.total(), 1);
        assert_eq!(client.publication().0, 2);
    }
    assert_eq!(join(&mut client, &made[4]), 106);
    assert_eq!(total(&engine, |it| it.members), 4);
    assert_eq!(total(&engine, |it| it.rooms_local), 4);
    stop(engine);
}

#[test]
fn a_user_has_so_many_connections_and_no_more() {
    let limits = Limits {
        connections_per_user_max: 3,
        user_name_bytes_max: 8,
        ..brisk()
    };
    let engine = start_scripted(limited(3, limits));
    let addr = engine.client_addrs()[0];
    let handle = engine.handle();
    let mut first: Vec<Client> = (0..3).map(|_| Client::connect(addr, "ann")).collect();
    let known = || {
        let who = fanfare_engine::api::UserConnections {
            user: "ann".into(),
            client: None,
            except: Vec::new(),
        };
        ask(|reply| handle.unsubscribe(who, "none", reply)).unwrap()
    };
    eventually("all three are known", || known() == 3);
    for _ in 0..5 {
        let mut fourth = Client::connect(addr, "ann");
        assert_eq!(fourth.rest(), [Frame::Disconnect { code: 3504 }]);
        let mut fourth = Centrifuge::connect(addr, "ann");
        assert_eq!(fourth.closed_with(), Some(3504));
    }
    assert_eq!(known(), 3);
    for client in &mut first {
        assert!(client.has_nothing_to_read());
    }
    // Others, the anonymous and services are not Ann.
    let mut others: Vec<Client> = ["bob", "", "", "", "", "ann service", "ann service"]
        .into_iter()
        .map(|token| Client::connect(addr, token))
        .collect();
    for client in &mut others {
        assert!(client.has_nothing_to_read());
    }
    assert_eq!(total(&engine, |it| it.users_home), 2);
    // One goes, one may come.
    drop(first.pop());
    eventually("it has gone", || known() == 2);
    let mut third = Client::connect(addr, "ann");
    eventually("it is known", || known() == 3);
    assert!(third.has_nothing_to_read());

    // A name that is too long is no user's.
    let mut long = Client::open(addr);
    long.hello("nine byte"[..9].replace(' ', "-").as_str());
    assert_eq!(long.rest(), [Frame::Disconnect { code: 3500 }]);
    Client::connect(addr, "8-bytes!");
    assert_eq!(total(&engine, |it| it.auth_failures), 1);
    stop(engine);
}

#[test]
fn so_many_requests_of_a_connection_are_under_way_and_no_more() {
    let limits = Limits {
        requests_in_flight_max: 4,
        ..brisk()
    };
    let mut config = limited(3, limits);
    config.namespaces.default = RoomOptions {
        presence: true,
        history_size: 1,
        ..open_rooms()
    };
    let engine = start(config);
    let addr = engine.client_addrs()[0];
    let mut client = Centrifuge::connect(addr, "ann");
    for round in 0..30_u64 {
        // Publications have their turn through full inboxes; they neither count nor free a place.
        let room = format!("room {round}");
        let mut commands: Vec<String> = (1..=6)
            .map(|id| {
                format!(
                    r#"{{"id":{},"publish":{{"channel":"{room}","data":1}}}}"#,
                    id + 100
                )
            })
            .collect();
        commands.extend((1..=9).map(|id| {
            let method = ["presence", "presence_stats", "history"][id % 3];
            format!(r#"{{"id":{},"{method}":{{"channel":"{room}"}}}}"#, id + 200)
        }));
        client.ws.send(Opcode::Text, commands.join("\n").as_bytes());
        let mut refused = 0;
        for _ in 0..15 {
            let reply = client.line().unwrap();
            if let Some(error) = reply.get("error") {
                assert_eq!(error["code"], 111, "{reply}");
                assert!(reply["id"].as_u64().unwrap() > 204, "{reply}");
                refused += 1;
            }
        }
        assert_eq!(refused, 5);
    }
    stop(engine);
}

#[test]
fn a_refusal_that_comes_too_late_is_not_told_twice_and_not_taken_for_another() {
    let mut config = open_config(4);
    config.namespaces.default.history_size = 1;
    let engine = start(config);
    let addr = engine.client_addrs()[0];
    let mut client = Centrifuge::connect(addr, "");
    for n in 0..40 {
        // The first is refused by the room's home, where there is nothing to recover from; it is left before.
        let room = format!("room {n}");
        client.send(&format!(
            "{{\"id\":101,\"subscribe\":{{\"channel\":\"{room}\",\"recover\":true,\"epoch\":\"1\",\"flag\":2}}}}\n\
             {{\"id\":102,\"unsubscribe\":{{\"channel\":\"{room}\"}}}}\n\
             {{\"id\":103,\"subscribe\":{{\"channel\":\"{room}\"}}}}"
        ));
        let mut replies = Vec::new();
        for _ in 0..3 {
            let line = client.line().unwrap();
            let id = line["id"].as_u64().unwrap();
            match id {
                101 => assert_eq!(line["error"]["code"], 112, "{line}"),
                102 => assert!(line.get("unsubscribe").is_some(), "{line}"),
                _ => assert!(line.get("subscribe").is_some(), "{line}"),
            }
            replies.push(id);
        }
        replies.sort_unstable();
        assert_eq!(replies, [101, 102, 103]);
        assert_eq!(push(&engine, &room, "1").reached.total(), 1);
        assert_eq!(client.push()["channel"], room);
        assert!(client.has_no_push());
    }
    stop(engine);
}
