//! Who may do what in which room, and for how long.
#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use fanfare_engine::{Access, EngineConfig, Limits, RoomOptions};
use serde_json::json;
use support::{
    Centrifuge, Client, Frame, Frames, brisk, eventually, open_config, push, start_scripted, stop,
    total,
};

/// A namespace for each level of access, in all four respects.
fn by_level() -> EngineConfig {
    let mut config = EngineConfig {
        limits: Limits {
            ping_interval: Duration::from_millis(2000),
            pong_timeout: Duration::from_millis(1900),
            ..brisk()
        },
        ..open_config(2)
    };
    let rooms = |access| RoomOptions {
        history_size: 10,
        presence: true,
        subscribe: access,
        publish: access,
        presence_access: access,
        history_access: access,
        ..RoomOptions::default()
    };
    config.namespaces.named = vec![
        ("grant".into(), rooms(Access::Grant)),
        ("members".into(), rooms(Access::Members)),
        ("users".into(), rooms(Access::Users)),
        ("everyone".into(), rooms(Access::Everyone)),
    ];
    config
}

const LEVELS: [&str; 4] = ["grant", "members", "users", "everyone"];

/// Which of publish, presence (both ways) and history the client is let do.
fn allowed(client: &mut Centrifuge, room: &str) -> String {
    let mut letters = String::new();
    for (letter, method, body) in [
        ("p", "publish", json!({ "channel": room, "data": 1 })),
        ("w", "presence", json!({ "channel": room })),
        ("W", "presence_stats", json!({ "channel": room })),
        ("h", "history", json!({ "channel": room })),
    ] {
        match client.code_of(method, body) {
            0 => letters += letter,
            103 => {}
            other => panic!("{method} in {room}: {other}"),
        }
    }
    letters
}

fn subscribe(client: &mut Centrifuge, room: &str, token: &str) -> u64 {
    client.code_of("subscribe", json!({ "channel": room, "token": token }))
}

#[test]
fn each_level_lets_in_whom_it_names() {
    let engine = start_scripted(by_level());
    let addr = engine.client_addrs()[0];
    // Of those who are not members: at grant, members, users, everyone.
    for (token, expected) in [
        ("", ["", "", "", "pwWh"]),
        ("ann", ["", "", "pwWh", "pwWh"]),
        ("bot service", ["pwWh", "pwWh", "pwWh", "pwWh"]),
    ] {
        let mut client = Centrifuge::connect(addr, token);
        for (level, expected) in LEVELS.into_iter().zip(expected) {
            let room = format!("{level}:a");
            assert_eq!(allowed(&mut client, &room), expected, "{token:?} in {room}");
        }
        for (level, expected) in LEVELS.into_iter().zip(expected) {
            let room = format!("{level}:b");
            let expected = if expected.is_empty() { 103 } else { 0 };
            assert_eq!(
                subscribe(&mut client, &room, ""),
                expected,
                "{token:?} to {room}"
            );
        }
    }
    // Of members, whom a token for the room or the server let in.
    for user in ["", "bob"] {
        let mut client = Centrifuge::connect(addr, &format!("{user} room=members:s room=grant:s"));
        let rooms: Vec<&String> = client.rooms.as_object().unwrap().keys().collect();
        assert_eq!(rooms, ["grant:s", "members:s"]);
        assert_eq!(allowed(&mut client, "grant:s"), "", "{user:?}");
        assert_eq!(allowed(&mut client, "members:s"), "pwWh", "{user:?}");
        for (level, expected) in LEVELS.into_iter().zip(["", "pwWh", "pwWh", "pwWh"]) {
            let room = format!("{level}:c");
            assert_eq!(subscribe(&mut client, &room, &format!("{user}@{room}")), 0);
            assert_eq!(allowed(&mut client, &room), expected, "{user:?} in {room}");
        }
        // Membership of one room is none of another, and ends.
        assert_eq!(allowed(&mut client, "members:d"), "");
        client.ask("unsubscribe", json!({ "channel": "members:c" }));
        assert_eq!(allowed(&mut client, "members:c"), "");
    }
    stop(engine);
}

#[test]
fn a_token_grants_what_it_names_where_it_names_it() {
    let engine = start_scripted(by_level());
    let addr = engine.client_addrs()[0];
    let token = "ann may=p@grant:p may=w@grant:w* may=h@* may=s@grant:one may=pw@grant:both";
    let mut client = Centrifuge::connect(addr, token);
    for (room, expected) in [
        ("grant:p", "ph"),
        ("grant:pp", "h"),
        ("grant:w", "wWh"),
        ("grant:www", "wWh"),
        ("grant:both", "pwWh"),
        ("grant:one", "h"),
        ("members:p", "h"),
    ] {
        assert_eq!(allowed(&mut client, room), expected, "in {room}");
    }
    assert_eq!(subscribe(&mut client, "grant:one", ""), 0);
    assert_eq!(subscribe(&mut client, "grant:ones", ""), 103);
    assert_eq!(subscribe(&mut client, "grant:p", ""), 103);
    // A star stands for anything only at the end.
    let mut odd = Centrifuge::connect(addr, "ann may=p@*:x may=p@grant:*:y");
    for room in ["grant:x", "grant:a:y", "grant:"] {
        assert_eq!(allowed(&mut odd, room), "", "in {room}");
    }
    // Rights of a subscription token are for its room, as long as the subscription lasts.
    let mut member = Centrifuge::connect(addr, "eve");
    assert_eq!(subscribe(&mut member, "grant:m", "eve@grant:m may=ph"), 0);
    assert_eq!(allowed(&mut member, "grant:m"), "ph");
    assert_eq!(allowed(&mut member, "grant:n"), "");
    member.ask("unsubscribe", json!({ "channel": "grant:m" }));
    assert_eq!(allowed(&mut member, "grant:m"), "");

    // The native dialect asks the same question.
    let mut native = Client::connect(addr, token);
    native.publish(1, "grant:p", b"1");
    assert!(matches!(native.next(), Frame::Ack { request: 1, .. }));
    native.publish(2, "grant:pp", b"1");
    assert_eq!(
        native.next(),
        Frame::Error {
            request: 2,
            code: 103
        }
    );
    // Without a request nobody is told, and nothing is published all the same.
    native.publish(0, "grant:pp", b"1");
    assert!(native.has_nothing_to_read());
    assert_eq!(push(&engine, "grant:pp", "1").position.offset, 1);
    stop(engine);
}

#[test]
fn a_subscription_token_is_for_its_user_and_room() {
    let engine = start_scripted(by_level());
    let addr = engine.client_addrs()[0];
    let mut json = Centrifuge::connect(addr, "ann");
    for (token, code) in [
        ("ann@grant:b", 103),
        ("bob@grant:a", 103),
        ("@grant:a", 103),
        ("invalid", 103),
        ("expired", 109),
        ("ann@grant:a", 0),
    ] {
        assert_eq!(subscribe(&mut json, "grant:a", token), code, "{token}");
    }
    // A bad token is not made up for by what its bearer may do without.
    assert_eq!(subscribe(&mut json, "everyone:a", "ann@grant:a"), 103);
    let mut native = Client::connect(addr, "ann");
    native.subscribe_with(1, "grant:a", "bob@grant:a", None);
    assert_eq!(
        native.next(),
        Frame::Error {
            request: 1,
            code: 103
        }
    );
    native.subscribe_with(2, "grant:a", "ann@grant:a", None);
    assert!(matches!(
        native.next(),
        Frame::Subscribed { request: 2, .. }
    ));
    stop(engine);
}

#[test]
fn who_is_not_known_is_not_let_in() {
    let engine = start_scripted(EngineConfig {
        allow_anonymous: false,
        ..by_level()
    });
    let addr = engine.client_addrs()[0];
    for (token, code) in [("", 3500), ("invalid", 3500), ("expired", 3005)] {
        let mut native = Client::open(addr);
        native.hello(token);
        assert_eq!(native.rest(), [Frame::Disconnect { code }], "{token:?}");
    }
    for token in ["", "invalid"] {
        let mut json = Centrifuge::open(addr);
        json.command("connect", &json!({ "token": token }));
        assert_eq!(json.closed_with(), Some(3500), "{token:?}");
    }
    // Who has an old token may try again with a new one.
    let mut json = Centrifuge::open(addr);
    assert_eq!(json.code_of("connect", json!({ "token": "expired" })), 109);
    json.greet("ann");
    assert_eq!(total(&engine, |it| it.auth_failures), 6);
    assert_eq!(total(&engine, |it| it.authenticated), 1);
    stop(engine);
}

#[test]
fn a_connection_ends_some_time_after_its_token() {
    let engine = start_scripted(by_level());
    let addr = engine.client_addrs()[0];
    // The time to get a new one is over as well.
    let mut native = Client::connect(addr, "ann expires=-26");
    let mut framed = Frames::connect(addr, "ann expires=-26");
    let mut json = Centrifuge::connect(addr, "ann expires=-26");
    let mut in_grace = Client::connect(addr, "ann expires=-1");
    let mut refreshed = Centrifuge::connect(addr, "ann expires=-26");
    let refresh = refreshed.ask(
        "refresh",
        json!({ "token": "ann expires=100 may=p@grant:new" }),
    );
    assert_eq!(refresh["expires"], true, "{refresh}");
    assert!((95..=100).contains(&refresh["ttl"].as_u64().unwrap()));
    assert_eq!(allowed(&mut refreshed, "grant:new"), "p");

    assert_eq!(native.rest(), [Frame::Disconnect { code: 3005 }]);
    assert_eq!(framed.next(), Frame::Disconnect { code: 3005 });
    assert_eq!(framed.0.closed_with(), Some(3005));
    assert_eq!(json.closed_with(), Some(3005));
    // Two pings later the others are still there. Both are listened to all the time, so that both answer theirs.
    let in_grace = std::thread::spawn(move || {
        in_grace.answers_pings = false;
        for _ in 0..2 {
            assert_eq!(in_grace.next(), Frame::Ping);
            in_grace.send(fanfare_wire::native::write_client_pong);
        }
    });
    while !in_grace.is_finished() {
        assert!(refreshed.has_no_push());
        std::thread::sleep(Duration::from_millis(20));
    }
    in_grace.join().expect("it was pinged twice");
    // A refresh is for the same user, and with a token that is one. SDKs come back upon 3005, with a new one.
    for (token, code) in [("expired", 3005), ("bob", 3500), ("invalid", 3500)] {
        let mut client = Centrifuge::connect(addr, "ann");
        client.command("refresh", &json!({ "token": token }));
        assert_eq!(client.closed_with(), Some(code), "{token}");
    }
    stop(engine);
}

#[test]
fn a_subscription_ends_with_its_token() {
    let engine = start_scripted(by_level());
    let addr = engine.client_addrs()[0];
    let mut native = Client::connect(addr, "ann");
    native.subscribe_with(1, "grant:a", "ann@grant:a expires=-26", None);
    assert!(matches!(native.next(), Frame::Subscribed { .. }));
    let mut json = Centrifuge::connect(addr, "ann");
    for room in ["grant:a", "grant:b"] {
        let token = format!("ann@{room} expires=-26");
        assert_eq!(subscribe(&mut json, room, &token), 0);
    }
    assert_eq!(subscribe(&mut json, "grant:c", "ann@grant:c"), 0);
    let refresh = |channel: &str, token: &str| json!({ "channel": channel, "token": token });
    let extended = json.ask("sub_refresh", refresh("grant:b", "ann@grant:b expires=90"));
    assert_eq!(extended["expires"], true, "{extended}");
    assert!((85..=90).contains(&extended["ttl"].as_u64().unwrap()));
    for (room, token, code) in [("grant:b", "expired", 110), ("grant:d", "ann@grant:d", 107)] {
        assert_eq!(json.code_of("sub_refresh", refresh(room, token)), code);
    }
    // What is no token for this subscription ends the connection.
    for token in ["ann@grant:c", "invalid"] {
        let mut client = Centrifuge::connect(addr, "ann");
        assert_eq!(subscribe(&mut client, "grant:b", "ann@grant:b"), 0);
        client.command("sub_refresh", &refresh("grant:b", token));
        assert_eq!(client.closed_with(), Some(3500), "{token}");
    }

    assert_eq!(
        native.next(),
        Frame::Unsubscribed {
            request: 0,
            code: 2501
        }
    );
    let ended = json.push();
    assert_eq!(ended["channel"], "grant:a");
    assert_eq!(ended["unsubscribe"]["code"], 2501);
    eventually("both have left", || {
        push(&engine, "grant:a", "1").reached.total() == 0
    });
    // The others go on.
    for room in ["grant:b", "grant:c"] {
        assert_eq!(push(&engine, room, "1").reached.total(), 1);
        assert_eq!(json.push()["channel"], room);
    }
    stop(engine);
}

#[test]
fn a_service_is_no_user() {
    let engine = start_scripted(by_level());
    let addr = engine.client_addrs()[0];
    let mut listener = Centrifuge::connect(addr, "ann info={\"nick\":\"a\"}");
    assert_eq!(subscribe(&mut listener, "everyone:a", ""), 0);
    let mut service = Client::connect(addr, "bot service");
    for n in 1..=3 {
        service.publish(n, "everyone:a", b"{}");
        assert!(matches!(service.next(), Frame::Ack { members: 1, .. }));
        assert!(listener.push()["pub"].get("info").is_none());
    }
    // While users are named.
    let said = json!({ "channel": "everyone:a", "data": 2 });
    assert_eq!(listener.code_of("publish", said), 0);
    let heard = listener.push();
    assert_eq!(heard["pub"]["info"]["user"], "ann");
    assert_eq!(heard["pub"]["info"]["client"], *listener.client);
    assert_eq!(heard["pub"]["info"]["conn_info"]["nick"], "a");
    assert_eq!(total(&engine, |it| it.users_home), 1);
    stop(engine);
}
