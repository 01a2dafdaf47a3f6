//! What services ask of an engine of many shards, and whom it reaches.
#![allow(clippy::unwrap_used)]

mod support;

use fanfare_engine::api::{ApiError, ClientId, Payload, Reached, RoomInfo, UserConnections};
use fanfare_engine::{ConnRef, ShardId};
use serde_json::json;
use support::{
    Centrifuge, Client, Frame, Frames, ask, eventually, open_config, publish, push, start,
    start_scripted, stop, total,
};

fn payload(text: &'static str) -> Payload {
    Payload {
        bytes: text.as_bytes().into(),
        is_json: true,
    }
}

fn all_of(user: &str) -> UserConnections {
    UserConnections {
        user: user.into(),
        client: None,
        except: Vec::new(),
    }
}

#[test]
fn rooms_are_listed_from_all_shards_by_pattern() {
    let mut config = open_config(4);
    config.namespaces.named = vec![("chat".into(), support::open_rooms())];
    let engine = start(config);
    let addr = engine.client_addrs()[0];
    let list = |pattern: Option<&str>| {
        let mut rooms = ask(|reply| engine.handle().rooms(pattern, reply)).unwrap();
        rooms.sort_by(|a, b| a.name.cmp(&b.name));
        rooms
    };
    assert_eq!(list(None), []);
    let mut clients: Vec<Client> = (0..3).map(|_| Client::connect(addr, "")).collect();
    for (n, client) in clients.iter_mut().enumerate() {
        client.join("everyone");
        for room in 0..10 {
            client.join(&format!("chat:{n}-{room}"));
        }
    }
    push(&engine, "nobody", "is in it");
    let names = |pattern| {
        let list = list(pattern);
        list.iter()
            .map(|it| it.name.to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(names(None).len(), 31);
    assert_eq!(names(Some("*")).len(), 31);
    assert_eq!(names(Some("chat:*")).len(), 30);
    assert_eq!(names(Some("chat:1-*")).len(), 10);
    assert_eq!(names(Some("*-7")), ["chat:0-7", "chat:1-7", "chat:2-7"]);
    assert_eq!(names(Some("chat:*-*")).len(), 30);
    assert_eq!(names(Some("chat:0-1")), ["chat:0-1"]);
    assert_eq!(names(Some("chat:0-")), Vec::<String>::new());
    assert_eq!(
        list(Some("every*")),
        [RoomInfo {
            name: "everyone".into(),
            members: 3
        }]
    );
    drop(clients.remove(0));
    eventually("its rooms are gone", || {
        list(None).len() == 21 && list(Some("everyone"))[0].members == 2
    });
    stop(engine);
}

#[test]
fn publications_that_go_together_are_each_ordered_and_answered() {
    let engine = start(open_config(3));
    let mut member = Client::connect(engine.client_addrs()[0], "");
    member.join("r0");
    let together = |rooms: Vec<String>| {
        let publications = (0..)
            .zip(rooms)
            .map(|(n, room)| publish(&room, &format!("{n}")));
        ask(|reply| engine.handle().publish_all(publications.collect(), reply)).unwrap()
    };
    assert_eq!(together(Vec::new()), []);
    // Over all shards, and each room several times.
    let mut rooms: Vec<String> = (0..40).map(|n| format!("r{}", n % 8)).collect();
    rooms.insert(20, "nowhere:r".to_owned());
    let answers = together(rooms);
    assert_eq!(answers.len(), 41);
    for (n, answer) in answers.into_iter().enumerate() {
        let before = if n < 20 { n } else { n - 1 };
        match answer {
            Ok(published) => {
                assert_eq!(published.position.offset, before as u64 / 8 + 1, "{n}");
                assert_eq!(published.reached.total(), u32::from(before % 8 == 0));
            }
            Err(error) => assert_eq!((n, error), (20, ApiError::UnknownRoom)),
        }
    }
    for (expected, text) in (1..).zip(["0", "8", "16", "25", "33"]) {
        match member.next() {
            Frame::Publication { offset, data, .. } => {
                assert_eq!((offset, &*data), (expected, text.as_bytes()))
            }
            other => panic!("{other:?}"),
        }
    }
    stop(engine);
}

#[test]
fn what_a_service_does_not_want_to_hear_of_is_counted() {
    let engine = start_scripted(open_config(2));
    let mut service = Client::connect(engine.client_addrs()[0], "s service");
    for n in 0..10 {
        service.publish(0, &format!("nowhere:{n}"), b"1");
    }
    eventually("all are refused", || {
        total(&engine, |shard| shard.client_errors) == 10
    });
    service.publish(7, "nowhere:r", b"1");
    let answer = service.next();
    let refused = Frame::Error {
        request: 7,
        code: 102,
    };
    assert_eq!(answer, refused);
    stop(engine);
}

#[test]
fn one_push_reaches_everyone_in_their_own_dialect() {
    let engine = start(open_config(5));
    let addr = engine.client_addrs()[0];
    let handle = engine.handle();
    assert_eq!(
        ask(|reply| handle.push_all(payload("0").into(), reply)),
        Ok(0)
    );
    let mut native: Vec<Client> = (0..10).map(|_| Client::connect(addr, "")).collect();
    let mut framed: Vec<Frames> = (0..10).map(|_| Frames::connect(addr, "")).collect();
    let mut json: Vec<Centrifuge> = (0..10).map(|_| Centrifuge::connect(addr, "")).collect();
    // Whoever has not said who they are is not everyone.
    let mut stranger = Client::open(addr);
    for n in 1..=20 {
        let text = format!("{{\"n\":{n}}}");
        let all = Payload {
            bytes: text.clone().into(),
            is_json: true,
        };
        assert_eq!(ask(|reply| handle.push_all(all.into(), reply)), Ok(30));
        for client in &mut native {
            assert_eq!(client.next(), Frame::Message(text.clone().into_bytes()));
        }
        for client in &mut framed {
            assert_eq!(client.next(), Frame::Message(text.clone().into_bytes()));
        }
        for client in &mut json {
            assert_eq!(client.push(), json!({ "message": { "data": { "n": n } } }));
        }
    }
    // What is not JSON is carried as base64 where only JSON can be.
    let binary = Payload {
        bytes: vec![0, 255].into(),
        is_json: false,
    };
    assert_eq!(ask(|reply| handle.push_all(binary.into(), reply)), Ok(30));
    assert_eq!(native[0].next(), Frame::Message(vec![0, 255]));
    assert_eq!(json[0].push(), json!({ "message": { "data": "AP8=" } }));
    // And what is JSON, though nobody has said so, as JSON of one line.
    for (sent, read) in [
        ("{\"n\":1}", json!({ "n": 1 })),
        ("[1,\n 2]", json!([1, 2])),
    ] {
        let unknown = Payload {
            bytes: sent.into(),
            is_json: false,
        };
        assert_eq!(ask(|reply| handle.push_all(unknown.into(), reply)), Ok(30));
        assert_eq!(native[0].next(), Frame::Message(sent.into()));
        assert_eq!(json[0].push(), json!({ "message": { "data": read } }));
    }
    stranger.hello("");
    assert!(matches!(stranger.next(), Frame::Welcome { .. }));
    assert!(stranger.has_nothing_to_read());
    stop(engine);
}

#[test]
fn a_publication_counts_its_members_by_dialect() {
    let engine = start(open_config(3));
    let addr = engine.client_addrs()[0];
    let mut native: Vec<Client> = (0..3).map(|_| Client::connect(addr, "")).collect();
    for client in &mut native {
        client.join("news");
    }
    let mut json: Vec<Centrifuge> = (0..2).map(|_| Centrifuge::connect(addr, "")).collect();
    for client in &mut json {
        client.subscribe("news");
    }
    let mut framed = Frames::connect(addr, "");
    framed.send(|out| {
        let subscribe = fanfare_wire::native::Subscribe {
            request: 1,
            room: "news",
            token: "",
            recover: false,
            epoch: 0,
            offset: 0,
        };
        fanfare_wire::native::write_subscribe(out, &subscribe);
    });
    assert!(matches!(framed.next(), Frame::Subscribed { .. }));
    let expected = Reached {
        centrifuge_json: 2,
        native: 3,
        native_websocket: 1,
        ..Reached::default()
    };
    for data in ["{\"a\":1}", "not json", "\"\u{e9}\"", " [1,\n2] "] {
        assert_eq!(push(&engine, "news", data).reached, expected);
        for client in &mut native {
            let heard = client.publication().1;
            // Line breaks between tokens are no part of a JSON value.
            let same =
                heard == data.as_bytes() || heard == data.replace('\n', " ").trim().as_bytes();
            assert!(same, "{data:?} became {heard:?}");
        }
        assert!(matches!(framed.next(), Frame::Publication { .. }));
        for client in &mut json {
            let heard = client.push()["pub"]["data"].clone();
            let expected = serde_json::from_str(data).unwrap_or(json!("bm90IGpzb24="));
            assert_eq!(heard, expected);
        }
    }
    stop(engine);
}

#[test]
fn a_message_to_a_connection_reaches_it_and_no_other() {
    let engine = start(open_config(3));
    let addr = engine.client_addrs()[0];
    let handle = engine.handle();
    let to = |client: ClientId| ask(|reply| handle.push_connection(client, payload("1"), reply));
    let mut clients: Vec<Centrifuge> = (0..6).map(|_| Centrifuge::connect(addr, "ann")).collect();
    for client in &mut clients {
        assert_eq!(to(client.client.parse().unwrap()), Ok(1));
        assert_eq!(client.push(), json!({ "message": { "data": 1 } }));
    }
    for client in &mut clients {
        assert!(client.has_no_push());
    }
    // Whoever has gone, another with the same place, and places that never were.
    let gone: ClientId = clients.remove(0).client.parse().unwrap();
    eventually("it has gone", || to(gone) == Ok(0));
    let mut next: Vec<Client> = (0..20).map(|_| Client::connect(addr, "ann")).collect();
    assert_eq!(to(gone), Ok(0));
    let other_nonce = clients[0].client.parse::<ClientId>().unwrap().0 ^ 1;
    assert_eq!(to(ClientId(other_nonce)), Ok(0));
    for (shard, slot) in [(0, 5000), (2, 0xf_ffff), (3, 0), (u16::MAX, 0)] {
        assert_eq!(
            to(ConnRef::new(ShardId(shard), 0, slot).client_id(1)),
            Ok(0)
        );
    }
    assert_eq!(to(ClientId(u128::MAX)), Ok(0));
    for client in &mut next {
        assert!(client.has_nothing_to_read());
    }
    stop(engine);
}

#[test]
fn connections_of_a_user_are_picked_and_spared() {
    let engine = start(open_config(4));
    let addr = engine.client_addrs()[0];
    let handle = engine.handle();
    let mut clients: Vec<Centrifuge> = (0..4).map(|_| Centrifuge::connect(addr, "ann")).collect();
    let mut bob = Centrifuge::connect(addr, "bob");
    let ids: Vec<ClientId> = clients
        .iter()
        .map(|it| it.client.parse().unwrap())
        .collect();
    eventually("all are known", || {
        ask(|reply| handle.unsubscribe(all_of("ann"), "none", reply)) == Ok(4)
    });
    assert_eq!(
        ask(|reply| handle.push_user("ann", payload("1"), reply)),
        Ok(4)
    );
    assert_eq!(
        ask(|reply| handle.push_user("eve", payload("1"), reply)),
        Ok(0)
    );
    assert_eq!(
        ask(|reply| handle.push_user("", payload("1"), reply)),
        Err(ApiError::BadRequest)
    );
    for client in &mut clients {
        assert_eq!(client.push(), json!({ "message": { "data": 1 } }));
    }
    let only = UserConnections {
        client: Some(ids[1]),
        ..all_of("ann")
    };
    let not = UserConnections {
        except: vec![ids[0], ids[1], ids[2]],
        ..all_of("ann")
    };
    assert_eq!(
        ask(|reply| handle.subscribe(only.clone(), "one", reply)),
        Ok(1)
    );
    assert_eq!(ask(|reply| handle.subscribe(not, "one", reply)), Ok(1));
    for at in [1, 3] {
        let push = clients[at].push();
        assert_eq!(push["channel"], "one");
        assert!(push.get("subscribe").is_some(), "{push}");
    }
    assert_eq!(push(&engine, "one", "1").reached.total(), 2);
    // A second time changes nothing.
    assert_eq!(
        ask(|reply| handle.subscribe(only.clone(), "one", reply)),
        Ok(1)
    );
    for at in [1, 3] {
        assert_eq!(clients[at].push()["pub"]["data"], 1);
        assert!(clients[at].has_no_push());
    }
    assert_eq!(total(&engine, |it| it.members), 2);
    assert_eq!(
        ask(|reply| handle.unsubscribe(all_of("ann"), "one", reply)),
        Ok(4)
    );
    for at in [1, 3] {
        assert_eq!(clients[at].push()["unsubscribe"]["code"], 2000);
    }
    for room in ["", "a\n", "nope:x"] {
        assert!(ask(|reply| handle.subscribe(only.clone(), room, reply)).is_err());
        assert!(ask(|reply| handle.unsubscribe(only.clone(), room, reply)).is_err());
    }
    // Somebody else's connection is not hers.
    let foreign = UserConnections {
        client: Some(bob.client.parse().unwrap()),
        ..all_of("ann")
    };
    assert_eq!(
        ask(|reply| handle.disconnect(foreign, 3503, "", reply)),
        Ok(0)
    );
    let but_first = UserConnections {
        except: vec![ids[0]],
        ..all_of("ann")
    };
    assert_eq!(
        ask(|reply| handle.disconnect(but_first, 4321, "because", reply)),
        Ok(3)
    );
    for client in clients.iter_mut().skip(1) {
        assert_eq!(client.closed_with(), Some(4321));
    }
    assert!(clients[0].has_no_push());
    assert!(bob.has_no_push());
    stop(engine);
}

#[test]
fn what_a_service_does_quickly_one_after_the_other_comes_out_in_that_order() {
    let mut config = open_config(4);
    config.namespaces.default.presence = true;
    let engine = start(config);
    let addr = engine.client_addrs()[0];
    let handle = engine.handle();
    let mut client = Client::connect(addr, "ann");
    eventually("she is known", || {
        ask(|reply| handle.unsubscribe(all_of("ann"), "none", reply)) == Ok(1)
    });
    for n in 0..30 {
        let room = format!("room {n}");
        for _ in 0..3 {
            handle.subscribe(all_of("ann"), &room, Box::new(|_| {}));
            handle.unsubscribe(all_of("ann"), &room, Box::new(|_| {}));
        }
        assert_eq!(
            ask(|reply| handle.subscribe(all_of("ann"), &room, reply)),
            Ok(1)
        );
        // What goes to her the same way comes behind: from here on nothing but the last join can be under way.
        assert_eq!(
            ask(|reply| handle.push_user("ann", payload("\"fence\""), reply)),
            Ok(1)
        );
        loop {
            match client.next() {
                Frame::Message(data) if data == b"\"fence\"" => break,
                Frame::Subscribed { request: 0, .. } | Frame::Unsubscribed { request: 0, .. } => {}
                other => panic!("{other:?}"),
            }
        }
        eventually("she is a member", || {
            total(&engine, |it| it.members) == n + 1
        });
        let mut last = 0;
        eventually("she is counted once", || {
            let published = push(&engine, &room, "here");
            last = published.position.offset;
            published.reached.total() == 1
        });
        loop {
            match client.next() {
                Frame::Publication { offset, .. } if offset == last => break,
                Frame::Publication { .. }
                | Frame::Subscribed { request: 0, .. }
                | Frame::Unsubscribed { request: 0, .. } => {}
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(ask(|reply| handle.presence(&room, reply)).unwrap().len(), 1);
    }
    stop(engine);
}

#[test]
fn there_may_be_more_shards_than_cores() {
    let engine = start(open_config(9));
    let addr = engine.client_addrs()[0];
    let handle = engine.handle();
    let mut clients: Vec<Client> = (0..90).map(|_| Client::connect(addr, "ann")).collect();
    let rooms: Vec<String> = (0..20).map(|n| format!("room {n}")).collect();
    for client in &mut clients {
        for room in &rooms {
            client.join(room);
        }
    }
    let shards = handle.counters();
    assert_eq!(shards.len(), 9);
    assert!(shards.iter().filter(|it| it.connections > 0).count() > 4);
    assert!(shards.iter().filter(|it| it.rooms_home > 0).count() > 4);
    for n in 1..=5 {
        for room in &rooms {
            let answer = ask(|reply| handle.publish(publish(room, &n.to_string()), reply)).unwrap();
            assert_eq!((answer.position.offset, answer.reached.total()), (n, 90));
        }
    }
    std::thread::scope(|scope| {
        for clients in clients.chunks_mut(30) {
            scope.spawn(|| {
                for client in clients {
                    let mut heard = std::collections::HashMap::new();
                    for _ in 0..100 {
                        let Frame::Publication { room, offset, data } = client.next() else {
                            panic!("expected a publication")
                        };
                        let before: &mut u64 = heard.entry(room).or_default();
                        *before += 1;
                        assert_eq!(offset, *before);
                        assert_eq!(data, offset.to_string().as_bytes());
                    }
                    assert_eq!(heard.len(), 20);
                    assert!(client.has_nothing_to_read());
                }
            });
        }
    });
    eventually("all are known", || {
        ask(|reply| handle.push_user("ann", payload("1"), reply)) == Ok(90)
    });
    assert_eq!(
        ask(|reply| handle.push_all(payload("2").into(), reply)),
        Ok(90)
    );
    assert!(handle.ages().iter().all(|age| age.as_secs() < 20));
    stop(engine);
}
