//! Members that read too slowly: the room's policy decides, they are told, and nobody else notices. Whatever a socket
//! takes and when, the stream stays one of whole frames.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::HashMap;

use fanfare_engine::{EngineConfig, Limits, Namespaces, RoomOptions, SlowPolicy};
use support::{
    Centrifuge, Client, Frame, WebSocket, brisk, eventually, open_config, open_rooms, push, start,
    stop, total,
};

/// Lanes hold little, and the kernel holds little for each connection.
fn tight(shards: u16, slow_policy: SlowPolicy) -> EngineConfig {
    EngineConfig {
        limits: Limits {
            message_bytes_max: 16_384,
            unsent_bytes_max: 4096,
            ..brisk()
        },
        namespaces: Namespaces {
            default: RoomOptions {
                slow_policy,
                lane_bytes_max: 65_536,
                ..open_rooms()
            },
            named: Vec::new(),
        },
        ..open_config(shards)
    }
}

/// Says which it is in every byte that counts, and is as long as it says.
fn content(n: u64, bytes: usize) -> String {
    let mut text = format!("{n}:");
    text.extend(std::iter::repeat_n(
        char::from(b'a' + u8::try_from(n % 26).unwrap()),
        bytes,
    ));
    text
}

fn check(offset: u64, data: &[u8], bytes: usize) {
    assert_eq!(data, content(offset, bytes).as_bytes(), "at {offset}");
}

#[test]
fn disconnect_tells_the_slow_one_and_spares_the_others() {
    let engine = start(tight(2, SlowPolicy::Disconnect));
    let addr = engine.client_addrs()[0];
    let mut quick: Vec<Client> = (0..4).map(|_| Client::connect(addr, "")).collect();
    for client in &mut quick {
        client.join("news");
    }
    let mut slow: Vec<Client> = (0..4)
        .map(|_| Client::open_narrow(addr).greet(""))
        .collect();
    for client in &mut slow {
        client.join("news");
    }
    let mut published = 0;
    while total(&engine, |it| it.slow_disconnected) < 4 {
        published += 1;
        assert!(published < 5000, "nobody was ever too slow");
        push(&engine, "news", &content(published, 4000));
        for client in &mut quick {
            let (offset, data) = client.publication();
            assert_eq!(offset, published);
            check(offset, &data, 4000);
        }
    }
    assert_eq!(push(&engine, "news", "to four").reached.total(), 4);
    // What the slow ones got is whole, in order, from the first on; and then they are told.
    for mut client in slow {
        let frames = client.rest();
        let (last, heard) = frames.split_last().unwrap();
        assert_eq!(*last, Frame::Disconnect { code: 3008 });
        for (frame, expected) in heard.iter().zip(1..) {
            let Frame::Publication { offset, data, .. } = frame else {
                panic!("expected publication {expected}: {frame:?}")
            };
            assert_eq!(*offset, expected);
            check(expected, data, 4000);
        }
        assert!((heard.len() as u64) < published);
    }
    assert_eq!(total(&engine, |it| it.slow_skipped), 0);
    drop(quick);
    eventually("all are closed", || {
        total(&engine, |it| it.connections + it.stalled + it.members) == 0
    });
    stop(engine);
}

#[test]
fn skip_announces_exactly_what_is_left_out_and_goes_on() {
    let engine = start(tight(3, SlowPolicy::Skip));
    let addr = engine.client_addrs()[0];
    let mut quick = Client::connect(addr, "");
    quick.join("news");
    let mut slow: Vec<Client> = (0..3)
        .map(|_| Client::open_narrow(addr).greet(""))
        .collect();
    let mut numbers = Vec::new();
    for client in &mut slow {
        numbers.push(client.join("news").0);
    }
    let mut published = 0;
    let mut publish_some = |at_least: u64| {
        let goal = total(&engine, |it| it.slow_skipped) + at_least;
        while total(&engine, |it| it.slow_skipped) < goal {
            published += 1;
            assert!(published < 5000, "nobody was ever too slow");
            let bytes = (published % 15_000) as usize;
            push(&engine, "news", &content(published, bytes));
            let (offset, data) = quick.publication();
            assert_eq!(offset, published);
            check(offset, &data, bytes);
        }
        published
    };
    // Each is overtaken several times.
    publish_some(12);
    let published = publish_some(6) + 3;
    for n in published - 2..=published {
        push(&engine, "news", &content(n, (n % 15_000) as usize));
    }

    let mut gaps = 0;
    for (client, number) in slow.iter_mut().zip(numbers) {
        client.widen();
        let mut next = 1;
        while next <= published {
            match client.next() {
                Frame::Publication { room, offset, data } => {
                    assert_eq!((room, offset), (number, next));
                    check(offset, &data, (offset % 15_000) as usize);
                    next += 1;
                }
                Frame::Gap { room, from, to } => {
                    assert_eq!((room, from), (number, next), "up to {to}");
                    assert!(to >= from && to <= published);
                    next = to + 1;
                    gaps += 1;
                }
                other => panic!("{other:?}"),
            }
        }
        assert!(client.has_nothing_to_read());
    }
    assert_eq!(gaps, total(&engine, |it| it.slow_skipped));
    assert_eq!(total(&engine, |it| it.slow_disconnected), 0);
    // They are members still.
    let last = push(&engine, "news", "last");
    assert_eq!(last.reached.total(), 4);
    for client in &mut slow {
        assert_eq!(
            client.publication(),
            (last.position.offset, b"last".to_vec())
        );
    }
    stop(engine);
}

#[test]
fn a_centrifuge_member_that_is_skipped_is_taken_out_and_can_recover() {
    let mut config = tight(2, SlowPolicy::Skip);
    config.namespaces.default.history_size = 10_000;
    config.namespaces.default.history_bytes_max = 64 << 20;
    let engine = start(config);
    let addr = engine.client_addrs()[0];
    let mut quick = Client::connect(addr, "");
    quick.join("news");
    let stream = Client::open_narrow(addr).stream;
    let mut slow = Centrifuge::on(WebSocket::upgrade(stream, "/connection/websocket"));
    slow.greet("");
    let epoch = slow.subscribe("news")["epoch"].clone();
    let mut other = Centrifuge::connect(addr, "");
    other.subscribe("news");

    let mut published = 0;
    while total(&engine, |it| it.slow_skipped) == 0 {
        published += 1;
        assert!(published < 5000, "nobody was ever too slow");
        let text = content(published, 3000);
        push(&engine, "news", &serde_json::json!(text).to_string());
        assert_eq!(quick.publication().0, published);
        assert_eq!(other.push()["pub"]["data"], text);
    }
    let mut next = 1;
    let unsubscribe = loop {
        let push = slow.push();
        assert_eq!(push["channel"], "news");
        if push.get("pub").is_none() {
            break push;
        }
        assert_eq!(push["pub"]["offset"], next);
        assert_eq!(push["pub"]["data"], content(next, 3000));
        next += 1;
    };
    assert_eq!(unsubscribe["unsubscribe"]["code"], 2500);
    assert!(next <= published);
    let recovered = slow.ask(
        "subscribe",
        serde_json::json!({ "channel": "news", "recover": true, "epoch": epoch, "offset": next - 1 }),
    );
    assert_eq!(recovered["recovered"], true, "{recovered}");
    for publication in recovered["publications"].as_array().unwrap() {
        assert_eq!(publication["offset"], next);
        assert_eq!(publication["data"], content(next, 3000));
        next += 1;
    }
    assert_eq!(next, published + 1);
    assert!(other.has_no_push());
    push(&engine, "news", "7");
    assert_eq!(slow.push()["pub"]["data"], 7);
    stop(engine);
}

#[test]
fn a_stall_in_the_middle_of_a_frame_never_tears_the_stream() {
    let mut config = tight(2, SlowPolicy::Disconnect);
    // Large enough for all that is published here.
    config.namespaces.default.lane_bytes_max = 64 << 20;
    let engine = start(config);
    let addr = engine.client_addrs()[0];
    let mut members: Vec<Client> = (0..6)
        .map(|_| Client::open_narrow(addr).greet(""))
        .collect();
    for (client, read_bytes_max) in members.iter_mut().zip([1, 7, 100, 1500, 5000, 65_536]) {
        client.join("news");
        client.read_bytes_max = read_bytes_max;
    }
    let sizes = |n: u64| (n * 7919 % 16_000) as usize;
    for n in 1..=60 {
        push(&engine, "news", &content(n, sizes(n)));
    }
    assert!(total(&engine, |it| it.sends_short) > 0, "nobody stalled");
    std::thread::scope(|scope| {
        for client in &mut members {
            scope.spawn(|| {
                client.widen();
                for n in 1..=60 {
                    let (offset, data) = client.publication();
                    assert_eq!(offset, n);
                    check(n, &data, sizes(n));
                }
                assert!(client.has_nothing_to_read());
            });
        }
    });
    assert_eq!(total(&engine, |it| it.slow_disconnected), 0);
    assert_eq!(total(&engine, |it| it.stalled), 0);
    stop(engine);
}

#[test]
fn one_connection_in_many_rooms_hears_each_in_order() {
    let mut config = tight(3, SlowPolicy::Disconnect);
    config.namespaces.default.lane_bytes_max = 64 << 20;
    let engine = start(config);
    let addr = engine.client_addrs()[0];
    let rooms: Vec<String> = (0..40).map(|n| format!("room {n}")).collect();
    let mut slow = Client::open_narrow(addr).greet("");
    let mut names = HashMap::new();
    for room in &rooms {
        let number = slow.join(room).0;
        assert!(names.insert(number, (room, 0)).is_none(), "a number twice");
    }
    for n in 1..=20 {
        for room in &rooms {
            assert_eq!(push(&engine, room, &content(n, 2500)).position.offset, n);
        }
        // Direct output goes between the lanes.
        slow.send(fanfare_wire::native::write_client_ping);
        slow.unsubscribe(u32::try_from(n).unwrap(), "a room it is not in");
    }
    assert!(total(&engine, |it| it.sends_short) > 0, "it never stalled");
    // Leaving a room in the middle of it all: what was begun is finished, and then nothing more comes of it.
    slow.unsubscribe(77, &rooms[3]);
    slow.read_bytes_max = 4000;
    slow.widen();

    let (mut pongs, mut refusals, mut left_at) = (0, 0, None);
    let is_done = |names: &HashMap<u32, (&String, u64)>, left_at: Option<u64>| {
        left_at.is_some()
            && names
                .values()
                .all(|(name, heard)| *heard == 20 || **name == rooms[3])
    };
    while pongs < 20 || refusals < 20 || !is_done(&names, left_at) {
        match slow.next() {
            Frame::Publication { room, offset, data } => {
                let (name, heard) = names.get_mut(&room).unwrap();
                assert!(left_at.is_none() || **name != rooms[3]);
                *heard += 1;
                assert_eq!(offset, *heard, "in {name}");
                check(offset, &data, 2500);
            }
            Frame::Pong => pongs += 1,
            Frame::Error { code: 107, .. } => refusals += 1,
            Frame::Unsubscribed {
                request: 77,
                code: 0,
            } => left_at = Some(0),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((pongs, refusals), (20, 20));
    assert!(slow.has_nothing_to_read());
    for room in &rooms {
        let reached = push(&engine, room, "last").reached.total();
        assert_eq!(reached, u32::from(*room != rooms[3]));
    }
    stop(engine);
}

#[test]
fn stalled_members_that_vanish_take_nothing_with_them() {
    let engine = start(tight(2, SlowPolicy::Skip));
    let addr = engine.client_addrs()[0];
    let mut quick = Client::connect(addr, "");
    quick.join("news");
    let mut published = 0;
    for round in 0..5 {
        let mut slow: Vec<Client> = (0..10)
            .map(|_| Client::open_narrow(addr).greet(""))
            .collect();
        for client in &mut slow {
            client.join("news");
        }
        while total(&engine, |it| it.stalled) < 10 {
            published += 1;
            push(&engine, "news", &content(published, 9000));
            assert_eq!(quick.publication().0, published);
        }
        for client in slow {
            if round % 2 == 0 {
                let socket = socket2::SockRef::from(&client.stream);
                socket.set_linger(Some(std::time::Duration::ZERO)).unwrap();
            }
            drop(client);
            published += 1;
            push(&engine, "news", &content(published, 9000));
            assert_eq!(quick.publication().0, published);
        }
        eventually("they have gone", || {
            total(&engine, |it| it.connections) == 1 && total(&engine, |it| it.stalled) == 0
        });
        assert_eq!(push(&engine, "news", "one").reached.total(), 1);
        published += 1;
        assert_eq!(quick.publication(), (published, b"one".to_vec()));
    }
    stop(engine);
}

#[test]
fn whom_the_server_has_put_there_comes_back_instead() {
    let engine = support::start_scripted(tight(1, SlowPolicy::Skip));
    let addr = engine.client_addrs()[0];
    for path in ["/connection/uni_sse", "/connection/sse"] {
        let connect = r#"{"token":"ann room=news"}"#;
        let body = if path.contains("uni") {
            connect.to_owned()
        } else {
            format!(r#"{{"id":1,"connect":{connect}}}"#)
        };
        let narrow = Client::open_narrow(addr).stream;
        let mut http = support::Http::on(narrow);
        http.send(&support::request("POST", path, "", body.as_bytes()));
        assert_eq!(http.head().status, 200);
        eventually("it is in", || total(&engine, |it| it.members) == 1);
        for n in 0..400 {
            push(&engine, "news", &format!("\"{}\"", content(n, 8000)));
        }
        eventually("it is out", || total(&engine, |it| it.members) == 0);
        let mut told = String::new();
        let last = loop {
            match http.chunk() {
                support::Chunk::Data(bytes) => told.push_str(&String::from_utf8_lossy(&bytes)),
                end => break end,
            }
        };
        assert!(
            told.contains(r#""code":3010"#),
            "{path}: {last:?} {}",
            told.len()
        );
        assert!(!told.contains("unsubscribe"), "{path}");
    }
    stop(engine);
}
