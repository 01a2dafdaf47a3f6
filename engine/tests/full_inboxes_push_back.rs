//! Inboxes that hold one message: what does not fit waits or is refused, and nothing is lost, doubled or reordered.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::{BTreeMap, HashMap};
use std::sync::mpsc::channel;

use fanfare_engine::api::{ApiError, Published};
use fanfare_engine::{Engine, EngineConfig};
use support::{Client, Frame, ask, open_config, publish, start, stop, total};

fn tiny(shards: u16) -> EngineConfig {
    EngineConfig {
        inbox_entries: 1,
        ..open_config(shards)
    }
}

/// Publishes, again and again while there is no room for it.
fn push_at_last(engine: &Engine, room: &str, data: &str) -> Published {
    loop {
        let answer = ask(|reply| engine.handle().publish(publish(room, data), reply));
        if answer != Err(ApiError::Busy) {
            return answer.unwrap();
        }
    }
}

const ROOMS: u32 = 12;

fn room(n: u32) -> String {
    format!("room {}", n % ROOMS)
}

#[test]
fn what_is_acknowledged_is_delivered_once_and_what_is_refused_never_was() {
    let engine = start(tiny(4));
    let addr = engine.client_addrs()[0];
    let mut members: Vec<Client> = (0..8).map(|_| Client::connect(addr, "")).collect();
    let mut names = HashMap::new();
    for client in &mut members {
        for n in 0..ROOMS {
            names.insert(client.join(&room(n)).0, room(n));
        }
    }

    // Clients and services all publish at once.
    const EACH: u32 = 400;
    let (services, clients) = std::thread::scope(|scope| {
        let services: Vec<_> = (0..3_u32)
            .map(|service| {
                let handle = engine.handle();
                scope.spawn(move || {
                    let (sender, answers) = channel();
                    for n in 0..EACH * 4 {
                        let (name, data) = (room(n), format!("service {service} says {n}"));
                        let sender = sender.clone();
                        handle.publish(
                            publish(&name.clone(), &data.clone()),
                            Box::new(move |answer| sender.send((name, data, answer)).unwrap()),
                        );
                    }
                    drop(sender);
                    answers.iter().collect::<Vec<_>>()
                })
            })
            .collect();
        let clients: Vec<_> = (0..4_u32)
            .map(|client| {
                scope.spawn(move || {
                    let mut publisher = Client::connect(addr, "");
                    for n in 1..=EACH {
                        publisher.publish(
                            n,
                            &room(n),
                            format!("client {client} says {n}").as_bytes(),
                        );
                    }
                    (0..EACH)
                        .map(|_| match publisher.next() {
                            Frame::Ack {
                                request, offset, ..
                            } => (
                                room(request),
                                offset,
                                format!("client {client} says {request}"),
                            ),
                            other => panic!("{other:?}"),
                        })
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        let services: Vec<_> = services
            .into_iter()
            .flat_map(|it| it.join().unwrap())
            .collect();
        let clients: Vec<_> = clients
            .into_iter()
            .flat_map(|it| it.join().unwrap())
            .collect();
        (services, clients)
    });

    // The account: each acknowledged publication has its own place, and together they leave no hole.
    let mut places: HashMap<String, BTreeMap<u64, String>> = HashMap::new();
    let mut enter = |room: String, offset: u64, data: String| {
        let before = places.entry(room).or_default().insert(offset, data);
        assert_eq!(before, None, "a place given twice");
    };
    let (mut granted, mut refused) = (0, 0);
    for (room, data, answer) in services {
        match answer {
            Ok(Published { position, .. }) => {
                granted += 1;
                enter(room, position.offset, data);
            }
            Err(ApiError::Busy) => refused += 1,
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!(granted + refused, 3 * 4 * EACH);
    assert!(
        granted > 0 && refused > 0,
        "{granted} granted, {refused} refused"
    );
    assert_eq!(clients.len(), 4 * EACH as usize);
    for (room, offset, data) in clients {
        enter(room, offset, data);
    }
    let mut marks = 0;
    for n in 0..ROOMS {
        // Behind all that was granted, so that every member can be read to the same end.
        let last = push_at_last(&engine, &room(n), "end");
        assert_eq!(last.reached.total(), 8);
        enter(room(n), last.position.offset, "end".to_owned());
        marks += 1;
    }
    assert_eq!(marks, ROOMS);
    for (room, places) in &places {
        assert!(
            places.keys().copied().eq(1..=places.len() as u64),
            "a hole in {room}"
        );
    }
    let all: usize = places.values().map(BTreeMap::len).sum();
    assert_eq!(all as u64, total(&engine, |it| it.publications));

    for client in &mut members {
        let mut heard: HashMap<u32, u64> = HashMap::new();
        for _ in 0..all {
            let Frame::Publication { room, offset, data } = client.next() else {
                panic!("expected a publication")
            };
            let before = heard.entry(room).or_default();
            *before += 1;
            assert_eq!(offset, *before);
            assert_eq!(data, places[&names[&room]][&offset].as_bytes());
        }
        assert!(client.has_nothing_to_read());
    }
    assert!(total(&engine, |it| it.inbox_full) > 0);
    assert!(total(&engine, |it| it.inputs_deferred) > 0);
    stop(engine);
}

#[test]
fn joining_and_leaving_find_their_way_through_full_inboxes() {
    let engine = start(tiny(3));
    let addr = engine.client_addrs()[0];
    std::thread::scope(|scope| {
        for thread in 0..4_u32 {
            scope.spawn(move || {
                let mut client = Client::connect(addr, &format!("user {thread}"));
                for round in 0..40 {
                    // All of it goes out before any answer is read.
                    for n in 0..ROOMS {
                        client.subscribe(n + 1, &format!("{thread} {}", room(n)), None);
                    }
                    let mut joined = 0;
                    while joined < ROOMS {
                        match client.next() {
                            Frame::Subscribed { .. } => joined += 1,
                            Frame::Publication { .. } => {}
                            other => panic!("round {round}: {other:?}"),
                        }
                    }
                    for n in 0..ROOMS {
                        client.publish(0, &format!("{thread} {}", room(n)), b"x");
                        client.unsubscribe(n + 1, &format!("{thread} {}", room(n)));
                    }
                    let mut left = 0;
                    while left < ROOMS {
                        match client.next() {
                            Frame::Unsubscribed { code: 0, .. } => left += 1,
                            Frame::Publication { .. } => {}
                            other => panic!("round {round}: {other:?}"),
                        }
                    }
                }
                for n in 0..ROOMS {
                    client.join(&format!("{thread} {}", room(n)));
                }
                assert!(client.has_nothing_to_read());
            });
        }
    });
    support::eventually("no shard has a member any more", || {
        total(&engine, |it| it.members + it.rooms_local + it.users_home) == 0
    });
    // The last goodbyes may still wait for a place in the inboxes of the rooms' homes.
    support::eventually(
        "no home knows of a member any more",
        || matches!(ask(|reply| engine.handle().rooms(None, reply)), Ok(rooms) if rooms.is_empty()),
    );
    for thread in 0..4 {
        for n in 0..ROOMS {
            let name = format!("{thread} {}", room(n));
            let published = push_at_last(&engine, &name, "x");
            assert_eq!(published.reached.total(), 0, "{name}");
            assert_eq!(published.position.offset, 41, "{name}");
        }
    }
    assert!(total(&engine, |it| it.inbox_full) > 0);
    stop(engine);
}
