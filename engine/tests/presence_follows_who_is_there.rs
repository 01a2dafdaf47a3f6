//! Who is in a room: asked for, counted, and told as it changes.
#![allow(clippy::unwrap_used)]

mod support;

use fanfare_engine::api::{ApiError, PresenceStats};
use fanfare_engine::{Engine, EngineConfig, RoomOptions};
use serde_json::{Value, json};
use support::{
    Centrifuge, Client, Frame, ask, eventually, open_config, open_rooms, start_scripted, stop,
    total,
};

fn with_presence(shards: u16) -> EngineConfig {
    let mut config = open_config(shards);
    config.namespaces.default = RoomOptions {
        presence: true,
        ..open_rooms()
    };
    config.namespaces.named = vec![
        (
            "told".into(),
            RoomOptions {
                presence: true,
                join_leave: true,
                ..open_rooms()
            },
        ),
        (
            "only-told".into(),
            RoomOptions {
                join_leave: true,
                ..open_rooms()
            },
        ),
        ("none".into(), open_rooms()),
    ];
    config
}

fn stats(engine: &Engine, room: &str) -> (u32, u32) {
    let PresenceStats { clients, users } =
        ask(|reply| engine.handle().presence_stats(room, reply)).unwrap();
    (clients, users)
}

#[test]
fn everyone_in_a_room_is_named_with_what_their_tokens_say() {
    let engine = start_scripted(with_presence(3));
    let addr = engine.client_addrs()[0];
    assert_eq!(stats(&engine, "lobby"), (0, 0));
    let mut ann = Centrifuge::connect(addr, "ann info={\"age\":7}");
    let token = "ann@lobby info={\"seat\":1}";
    ann.ask("subscribe", json!({ "channel": "lobby", "token": token }));
    let mut ann_too = Centrifuge::connect(addr, "ann");
    ann_too.subscribe("lobby");
    let mut bob = Client::connect(addr, "bob");
    bob.join("lobby");
    let mut nobody = Centrifuge::connect(addr, "");
    nobody.subscribe("lobby");
    assert_eq!(stats(&engine, "lobby"), (4, 3));
    assert_eq!(stats(&engine, "another"), (0, 0));
    let entries = |room| ask(|reply| engine.handle().presence(room, reply)).unwrap();
    assert_eq!(entries("another"), []);
    let mut users: Vec<_> = entries("lobby").into_iter().map(|it| it.user).collect();
    users.sort();
    assert_eq!(users, ["", "ann", "ann", "bob"].map(Into::into));

    let answer = nobody.ask("presence", json!({ "channel": "lobby" }));
    let presence = answer["presence"].as_object().unwrap();
    assert_eq!(presence.len(), 4);
    for (client, info) in presence {
        assert_eq!(info["client"], **client);
    }
    assert_eq!(
        presence[&ann.client],
        json!({ "user": "ann", "client": ann.client, "conn_info": { "age": 7 }, "chan_info": { "seat": 1 } })
    );
    assert_eq!(
        presence[&nobody.client],
        json!({ "user": "", "client": nobody.client })
    );
    let answer = ann.ask("presence_stats", json!({ "channel": "lobby" }));
    assert_eq!(answer, json!({ "num_clients": 4, "num_users": 3 }));

    // Each way to go is noticed.
    ann.ask("unsubscribe", json!({ "channel": "lobby" }));
    eventually("she has left", || stats(&engine, "lobby") == (3, 3));
    drop(ann_too);
    eventually("she has gone", || stats(&engine, "lobby") == (2, 2));
    bob.hello("again");
    assert_eq!(bob.rest(), [Frame::Disconnect { code: 3501 }]);
    eventually("he was sent away", || stats(&engine, "lobby") == (1, 1));
    stop(engine);
}

#[test]
fn where_it_is_not_kept_it_cannot_be_asked_for() {
    let engine = start_scripted(with_presence(2));
    let handle = engine.handle();
    let mut client = Centrifuge::connect(engine.client_addrs()[0], "ann");
    for room in ["none:a", "only-told:a"] {
        client.subscribe(room);
        assert_eq!(
            ask(|reply| handle.presence(room, reply)),
            Err(ApiError::NotAvailable)
        );
        assert_eq!(
            ask(|reply| handle.presence_stats(room, reply)),
            Err(ApiError::NotAvailable)
        );
        for method in ["presence", "presence_stats"] {
            assert_eq!(client.code_of(method, json!({ "channel": room })), 108);
        }
    }
    stop(engine);
}

/// What a push says: `join` or `leave`, and who.
fn news(push: &Value) -> (String, String) {
    for kind in ["join", "leave"] {
        if let Some(who) = push.get(kind) {
            let client = who["info"]["client"].as_str().unwrap();
            return (kind.to_owned(), client.to_owned());
        }
    }
    panic!("neither join nor leave: {push}")
}

#[test]
fn members_are_told_who_comes_and_goes() {
    let engine = start_scripted(with_presence(3));
    let addr = engine.client_addrs()[0];
    for room in ["told:a", "only-told:a"] {
        let mut watcher = Centrifuge::connect(addr, "watcher");
        watcher.subscribe(room);
        let mut silent = Client::connect(addr, "native");
        silent.join(room);
        let joined = watcher.push();
        assert_eq!(joined["channel"], room);
        assert_eq!(joined["join"]["info"]["user"], "native");
        let mut coming: Vec<Centrifuge> = (0..5)
            .map(|n| Centrifuge::connect(addr, &format!("user-{n} info={n}")))
            .collect();
        for (n, client) in coming.iter_mut().enumerate() {
            client.subscribe(room);
            let push = watcher.push();
            assert_eq!(
                news(&push),
                ("join".to_owned(), client.client.clone()),
                "in {room}"
            );
            assert_eq!(push["join"]["info"]["user"], format!("user-{n}"));
            assert_eq!(push["join"]["info"]["conn_info"], n);
        }
        // Those before it are told of each too, and nobody of itself.
        for at in 0..coming.len() {
            for later in at + 1..coming.len() {
                let expected = ("join".to_owned(), coming[later].client.clone());
                assert_eq!(news(&coming[at].push()), expected);
            }
            assert!(coming[at].has_no_push());
        }
        for client in coming {
            let name = client.client.clone();
            drop(client);
            assert_eq!(news(&watcher.push()), ("leave".to_owned(), name));
        }
        drop(silent);
        assert_eq!(watcher.push()["leave"]["info"]["user"], "native");
        assert!(watcher.has_no_push());
    }
    stop(engine);
}

#[test]
fn who_leaves_and_comes_back_at_once_is_there() {
    let engine = start_scripted(with_presence(4));
    let addr = engine.client_addrs()[0];
    for n in 0..40 {
        let room = format!("told:{n}");
        let mut watcher = Centrifuge::connect(addr, "watcher");
        watcher.subscribe(&room);
        let mut client = Centrifuge::connect(addr, "ann");
        // In one message, so that the second joining overtakes the answer to the first where the room is elsewhere.
        client.send(&format!(
            "{{\"id\":101,\"subscribe\":{{\"channel\":\"{room}\"}}}}\n\
             {{\"id\":102,\"unsubscribe\":{{\"channel\":\"{room}\"}}}}\n\
             {{\"id\":103,\"subscribe\":{{\"channel\":\"{room}\"}}}}"
        ));
        let mut replies = Vec::new();
        while replies.len() < 3 {
            let line = client.line().unwrap();
            if let Some(id) = line.get("id") {
                assert!(*id != 103 || line.get("subscribe").is_some(), "{line}");
                replies.push(id.as_u64().unwrap());
            }
        }
        replies.sort_unstable();
        assert_eq!(replies, [101, 102, 103]);
        // The watcher hears as many come as go, but for one.
        let mut here = 0;
        let handle = engine.handle();
        let mark = || support::publish(&room, "1");
        ask(|reply| handle.publish(mark(), reply)).unwrap();
        eventually("all has settled", || {
            // A publication reaches both members exactly once each.
            ask(|reply| handle.publish(mark(), reply))
                .unwrap()
                .reached
                .total()
                == 2
        });
        loop {
            let push = watcher.push();
            if push.get("pub").is_some() {
                break;
            }
            let (kind, name) = news(&push);
            assert_eq!(name, client.client);
            here += if kind == "join" { 1 } else { -1 };
        }
        eventually("the last news has come", || {
            ask(|reply| handle.publish(mark(), reply)).unwrap();
            loop {
                let push = watcher.push();
                if push.get("pub").is_some() {
                    return here == 1;
                }
                here += if news(&push).0 == "join" { 1 } else { -1 };
            }
        });
        assert_eq!(stats(&engine, &room), (2, 2), "in {room}");
    }
    drop(engine.handle());
    eventually("all have gone", || total(&engine, |it| it.members) == 0);
    for n in 0..40 {
        assert_eq!(stats(&engine, &format!("told:{n}")), (0, 0));
    }
    stop(engine);
}

#[test]
fn who_picks_messages_by_their_tags_is_told_who_comes_and_goes() {
    let mut config = with_presence(2);
    config.namespaces.named[0].1.tags_filter = true;
    let engine = start_scripted(config);
    let addr = engine.client_addrs()[0];
    let mut ann = Centrifuge::connect(addr, "ann");
    let filter = json!({ "key": "k", "cmp": "eq", "val": "v" });
    ann.ask("subscribe", json!({ "channel": "told:a", "tf": filter }));
    let mut bob = Centrifuge::connect(addr, "bob");
    bob.subscribe("told:a");
    let joined = ann.push();
    assert_eq!(joined["join"]["info"]["user"], "bob", "{joined}");
    support::push(&engine, "told:a", "1");
    bob.ask("unsubscribe", json!({ "channel": "told:a" }));
    let left = ann.push();
    assert_eq!(
        left["leave"]["info"]["user"], "bob",
        "and no message: {left}"
    );
    stop(engine);
}
