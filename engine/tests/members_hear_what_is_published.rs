//! The main job: a service pushes, every member hears it, in order; and what services do beside.

mod support;

use std::time::Duration;

use fanfare_engine::api::{Payload, UserConnections};
use fanfare_engine::{EngineConfig, RoomOptions};
use support::{Client, Frame, ask, open_config, open_rooms, publish, start};

#[test]
fn a_push_reaches_every_member_in_order() {
    let engine = start(open_config(3));
    let addr = engine.client_addrs()[0];
    let mut clients: Vec<Client> = (0..12).map(|_| Client::connect(addr, "")).collect();
    for client in &mut clients {
        client.subscribe(1, "news", None);
        assert!(matches!(
            client.next(),
            Frame::Subscribed { request: 1, .. }
        ));
    }
    for n in 1..=100_u64 {
        let published = ask(|reply| {
            engine
                .handle()
                .publish(publish("news", &n.to_string()), reply)
        })
        .expect("published");
        assert_eq!(
            (published.position.offset, published.reached.native),
            (n, 12)
        );
    }
    for client in &mut clients {
        for n in 1..=100_u64 {
            match client.next() {
                Frame::Publication { offset, data, .. } => {
                    assert_eq!((offset, data), (n, n.to_string().into_bytes()))
                }
                other => panic!("expected publication {n}, got {other:?}"),
            }
        }
    }
    let clients_left = clients.split_off(6);
    drop(clients);
    drop(clients_left);
    engine.handle().begin_drain(Duration::ZERO);
    engine
        .wait(Duration::from_secs(10))
        .expect("all shards stop");
}

#[test]
fn a_client_publishes_and_recovers_what_it_missed() {
    let rooms = RoomOptions {
        history_size: 100,
        ..open_rooms()
    };
    let mut config = open_config(2);
    config.namespaces.default = rooms;
    let engine = start(config);
    let addr = engine.client_addrs()[0];

    let mut reader = Client::connect(addr, "reader");
    reader.subscribe(7, "log", None);
    let Frame::Subscribed { epoch, offset, .. } = reader.next() else {
        panic!("not subscribed")
    };
    assert_eq!(offset, 0);
    drop(reader);

    let mut writer = Client::connect(addr, "writer");
    for n in 1..=10_u32 {
        writer.publish(n, "log", format!("entry {n}").as_bytes());
        assert_eq!(
            writer.next(),
            Frame::Ack {
                request: n,
                epoch,
                offset: u64::from(n),
                members: 0
            }
        );
    }

    let mut reader = Client::connect(addr, "reader");
    reader.subscribe(8, "log", Some((epoch, 4)));
    let subscribed = reader.next();
    assert!(
        matches!(
            subscribed,
            Frame::Subscribed {
                request: 8,
                offset: 10,
                recovered: true,
                ..
            }
        ),
        "{subscribed:?}"
    );
    for n in 5..=10_u64 {
        let Frame::Publication { offset, data, .. } = reader.next() else {
            panic!("publication {n} is missing")
        };
        assert_eq!((offset, data), (n, format!("entry {n}").into_bytes()));
    }
    reader.subscribe(9, "log", None);
    assert_eq!(
        reader.next(),
        Frame::Error {
            request: 9,
            code: 105
        },
        "a member already"
    );
}

#[test]
fn services_reach_users_connections_and_everyone() {
    let engine = start(EngineConfig {
        shards: 2,
        ..open_config(2)
    });
    let addr = engine.client_addrs()[0];
    let handle = engine.handle();
    let mut ann = Client::connect(addr, "ann");
    let mut bob = Client::connect(addr, "bob");
    let payload = |text: &'static str| Payload {
        bytes: text.as_bytes().into(),
        is_json: true,
    };

    // The user's home may hear of a connection a moment after its client does.
    let reached =
        std::iter::repeat_with(|| ask(|reply| handle.push_user("ann", payload("1"), reply)))
            .take(1000)
            .find(|reached| *reached == Ok(1));
    assert_eq!(reached, Some(Ok(1)));
    assert_eq!(ann.next(), Frame::Message(b"1".to_vec()));

    assert_eq!(
        ask(|reply| handle.push_all(payload("2").into(), reply)),
        Ok(2)
    );
    assert_eq!(ann.next(), Frame::Message(b"2".to_vec()));
    assert_eq!(bob.next(), Frame::Message(b"2".to_vec()));

    let ann_only = || UserConnections {
        user: "ann".into(),
        client: None,
        except: Vec::new(),
    };
    assert_eq!(
        ask(|reply| handle.subscribe(ann_only(), "room", reply)),
        Ok(1)
    );
    assert!(matches!(ann.next(), Frame::Subscribed { request: 0, .. }));
    assert_eq!(
        ask(|reply| handle.unsubscribe(ann_only(), "room", reply)),
        Ok(1)
    );
    assert!(matches!(
        ann.next(),
        Frame::Unsubscribed {
            request: 0,
            code: 2000
        }
    ));
    assert_eq!(
        ask(|reply| handle.disconnect(ann_only(), 3503, "force disconnect", reply)),
        Ok(1)
    );
    assert_eq!(ann.next(), Frame::Disconnect { code: 3503 });
    assert_eq!(ann.next(), Frame::Closed);
}
