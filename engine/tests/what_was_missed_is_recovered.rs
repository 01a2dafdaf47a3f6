//! Histories: what is kept, what is given back, and what is said when it is not all there.
#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use fanfare_engine::api::{ApiError, History, HistoryQuery, Position, Publish};
use fanfare_engine::{Engine, RoomOptions};
use serde_json::json;
use support::{
    Centrifuge, Client, Frame, ask, eventually, open_config, open_rooms, publish, push, start,
    stop, total,
};

fn with_history(history_size: u32) -> Engine {
    let mut config = open_config(3);
    let kept = RoomOptions {
        history_size,
        ..open_rooms()
    };
    config.namespaces.named = vec![
        (
            "small".into(),
            RoomOptions {
                history_bytes_max: 3000,
                ..kept
            },
        ),
        (
            "short".into(),
            RoomOptions {
                history_ttl: Duration::from_millis(400),
                ..kept
            },
        ),
        ("none".into(), open_rooms()),
    ];
    config.namespaces.default = kept;
    start(config)
}

fn history(
    engine: &Engine,
    room: &str,
    limit: Option<u32>,
    since: Option<Position>,
    reverse: bool,
) -> Result<History, ApiError> {
    let query = HistoryQuery {
        room: room.into(),
        limit,
        since,
        reverse,
    };
    ask(|reply| engine.handle().history(query, reply))
}

fn offsets(history: &History) -> Vec<u64> {
    history.publications.iter().map(|it| it.offset).collect()
}

fn send(engine: &Engine, publish: Publish) -> fanfare_engine::api::Published {
    ask(|reply| engine.handle().publish(publish, reply)).expect("published")
}

#[test]
fn a_history_is_read_from_either_end_and_from_a_position() {
    let engine = with_history(10);
    let empty = history(&engine, "log", None, None, false).unwrap();
    assert_eq!(empty.position, Position::default(), "asking makes no room");
    assert!(offsets(&empty).is_empty());
    let mut position = Position::default();
    for n in 1..=12 {
        let mut publish = publish("log", &format!("entry {n}"));
        publish.tags = vec![("n".into(), n.to_string().into())];
        position = send(&engine, publish).position;
    }
    let since = |offset| {
        Some(Position {
            epoch: position.epoch,
            offset,
        })
    };
    for (limit, since, reverse, expected) in [
        (None, None, false, (3..=12).collect::<Vec<_>>()),
        (Some(0), None, false, vec![]),
        (Some(2), None, false, vec![3, 4]),
        (Some(2), None, true, vec![12, 11]),
        (None, since(9), false, vec![10, 11, 12]),
        (Some(1), since(9), false, vec![10]),
        (None, since(5), true, vec![4, 3]),
        (None, since(12), false, vec![]),
        (None, since(0), false, (3..=12).collect()),
        (
            Some(2),
            Some(Position {
                epoch: 0,
                offset: 4,
            }),
            false,
            vec![5, 6],
        ),
    ] {
        let read = history(&engine, "log", limit, since, reverse).unwrap();
        assert_eq!(offsets(&read), expected, "{limit:?} {since:?} {reverse}");
        assert_eq!(read.position, position);
        for it in &read.publications {
            assert_eq!(it.payload.bytes, format!("entry {}", it.offset));
            assert_eq!(it.tags, [("n".into(), it.offset.to_string().into())]);
        }
    }
    let foreign = Some(Position {
        epoch: position.epoch ^ 1,
        offset: 5,
    });
    assert_eq!(
        history(&engine, "log", None, foreign, false).map(|_| ()),
        Err(ApiError::UnrecoverablePosition)
    );
    stop(engine);
}

#[test]
fn what_is_kept_is_bounded_in_number_bytes_and_age() {
    let engine = with_history(50);
    for _ in 0..60 {
        push(&engine, "log", "x");
        push(&engine, "small:log", &"x".repeat(500));
    }
    let log = history(&engine, "log", None, None, false).unwrap();
    assert_eq!(offsets(&log), (11..=60).collect::<Vec<_>>());
    let small = history(&engine, "small:log", None, None, false).unwrap();
    assert!((3..=6).contains(&small.publications.len()));
    assert_eq!(small.publications.last().map(|it| it.offset), Some(60));
    // One that is too large by itself is delivered, and not kept.
    let large = push(&engine, "small:log", &"x".repeat(5000));
    let small = history(&engine, "small:log", None, None, false).unwrap();
    assert_eq!((small.position, offsets(&small)), (large.position, vec![]));

    let position = push(&engine, "short:log", "x").position;
    eventually("it has gone", || {
        let short = history(&engine, "short:log", None, None, false).unwrap();
        assert_eq!(short.position, position, "the numbering goes on");
        short.publications.is_empty()
    });
    assert_eq!(push(&engine, "short:log", "x").position.offset, 2);
    let short = history(&engine, "short:log", None, None, false).unwrap();
    assert_eq!(offsets(&short), [2]);
    stop(engine);
}

#[test]
fn a_room_without_history_says_so() {
    let engine = with_history(5);
    let handle = engine.handle();
    assert_eq!(
        history(&engine, "none:a", None, None, false).map(|_| ()),
        Err(ApiError::NotAvailable)
    );
    push(&engine, "none:a", "x");
    assert_eq!(
        ask(|reply| handle.history_remove("none:a", reply)),
        Err(ApiError::NotAvailable)
    );
    let mut client = Centrifuge::connect(engine.client_addrs()[0], "");
    assert_eq!(
        client.code_of("history", json!({ "channel": "none:a" })),
        108
    );
    let subscribed = client.subscribe("none:a");
    assert_eq!(subscribed.get("recoverable"), None, "{subscribed}");
    stop(engine);
}

/// Asks to recover; whether it is granted, and what is given.
fn recover(engine: &Engine, room: &str, position: Position) -> (bool, u64, Vec<u64>) {
    let mut client = Client::connect(engine.client_addrs()[0], "");
    client.subscribe(1, room, Some((position.epoch, position.offset)));
    let Frame::Subscribed {
        was_recovering: true,
        recovered,
        ..
    } = client.next()
    else {
        panic!("not subscribed")
    };
    // All that was missed comes before what is new.
    let new = push(engine, room, "new").position.offset;
    let mut given = Vec::new();
    loop {
        let (offset, data) = client.publication();
        if offset == new {
            assert_eq!(data, b"new");
            assert!(client.has_nothing_to_read());
            return (recovered, offset, given);
        }
        given.push(offset);
    }
}

#[test]
fn recovery_is_whole_or_refused() {
    let engine = with_history(10);
    let mut epoch = 0;
    for n in 1..=20 {
        epoch = push(&engine, "log", &n.to_string()).position.epoch;
    }
    let at = |offset| Position { epoch, offset };
    let mut top = 20;
    for (offset, is_granted) in [(20, true), (13, true), (12, true), (10, false), (0, false)] {
        let (recovered, last, given) = recover(&engine, "log", at(offset));
        assert_eq!(recovered, is_granted, "from {offset}");
        let expected: Vec<u64> = if is_granted {
            (offset + 1..=top).collect()
        } else {
            Vec::new()
        };
        assert_eq!(given, expected, "from {offset}");
        top += 1;
        assert_eq!(last, top);
    }
    for position in [
        at(top + 1),
        at(u64::MAX),
        Position {
            epoch: epoch ^ 1,
            offset: top,
        },
        Position {
            epoch: 0,
            offset: top,
        },
    ] {
        let (recovered, _, given) = recover(&engine, "log", position);
        assert_eq!((recovered, given), (false, vec![]), "{position:?}");
    }
    assert_eq!(total(&engine, |it| it.recovered), 3);
    assert_eq!(total(&engine, |it| it.unrecovered), 6);
    stop(engine);
}

#[test]
fn a_history_that_is_removed_is_gone_and_its_numbering_is_not() {
    let engine = with_history(10);
    let handle = engine.handle();
    let position = push(&engine, "log", "1").position;
    push(&engine, "log", "2");
    assert_eq!(ask(|reply| handle.history_remove("log", reply)), Ok(()));
    let emptied = history(&engine, "log", None, None, false).unwrap();
    assert_eq!(emptied.position.epoch, position.epoch);
    assert_eq!((emptied.position.offset, offsets(&emptied)), (2, vec![]));
    // Who has it all has missed nothing; who has not, has.
    assert_eq!(recover(&engine, "log", emptied.position), (true, 3, vec![]));
    assert_eq!(recover(&engine, "log", position), (false, 4, vec![]));
    // And of a room that never was, there is nothing to remove.
    assert_eq!(ask(|reply| handle.history_remove("other", reply)), Ok(()));
    stop(engine);
}

#[test]
fn a_repeat_is_answered_and_not_published() {
    let engine = with_history(10);
    let mut client = Client::connect(engine.client_addrs()[0], "");
    client.join("log");
    let with_key = |room: &str, key: &str, data: &str| Publish {
        idempotency_key: Some(key.into()),
        ..publish(room, data)
    };
    let first = send(&engine, with_key("log", "k", "1"));
    let other = send(&engine, with_key("log", "l", "2"));
    let elsewhere = send(&engine, with_key("other", "k", "3"));
    for _ in 0..3 {
        let repeat = send(&engine, with_key("log", "k", "4"));
        assert!(repeat.is_duplicate);
        assert_eq!(repeat.position, first.position);
        assert_eq!(repeat.reached.total(), 0);
    }
    assert!(!first.is_duplicate && !other.is_duplicate && !elsewhere.is_duplicate);
    assert_eq!(client.publication(), (1, b"1".to_vec()));
    assert_eq!(client.publication(), (2, b"2".to_vec()));
    assert!(client.has_nothing_to_read());
    assert_eq!(total(&engine, |it| it.publications_duplicate), 3);
    let log = history(&engine, "log", None, None, false).unwrap();
    assert_eq!(offsets(&log), [1, 2]);
    stop(engine);
}

#[test]
fn what_is_not_to_be_kept_is_heard_and_leaves_no_hole() {
    let engine = with_history(10);
    let addr = engine.client_addrs()[0];
    let mut client = Client::connect(addr, "");
    let (_, epoch, _) = client.join("log");
    let mut json = Centrifuge::connect(addr, "");
    json.subscribe("log");
    let fleeting = || Publish {
        skip_history: true,
        ..publish("log", "fleeting")
    };
    push(&engine, "log", "1");
    assert_eq!(send(&engine, fleeting()).position.offset, 1);
    push(&engine, "log", "2");
    assert_eq!(client.publication(), (1, b"1".to_vec()));
    assert_eq!(client.publication(), (0, b"fleeting".to_vec()));
    assert_eq!(client.publication(), (2, b"2".to_vec()));
    assert_eq!(json.push()["pub"]["offset"], 1);
    assert_eq!(json.push()["pub"].get("offset"), None);
    assert_eq!(json.push()["pub"]["offset"], 2);
    let start = Position { epoch, offset: 0 };
    assert_eq!(recover(&engine, "log", start), (true, 3, vec![1, 2]));
    stop(engine);
}

#[test]
fn centrifuge_reads_and_recovers_alike() {
    let engine = with_history(400);
    let addr = engine.client_addrs()[0];
    let mut client = Centrifuge::connect(addr, "ann");
    let subscribed = client.subscribe("log");
    assert_eq!(subscribed["recoverable"], true);
    let epoch = subscribed["epoch"].clone();
    for n in 1..=350 {
        push(&engine, "log", &json!({ "n": n }).to_string());
        assert_eq!(client.push()["pub"]["offset"], n);
    }
    let ask_history = |client: &mut Centrifuge, query: serde_json::Value| {
        let answer = client.ask("history", query);
        assert_eq!(answer["offset"], 350, "{answer}");
        assert_eq!(answer["epoch"], epoch);
        let publications = answer["publications"].as_array().cloned();
        publications
            .unwrap_or_default()
            .iter()
            .map(|it| {
                assert_eq!(it["data"]["n"], it["offset"]);
                it["offset"].as_u64().unwrap()
            })
            .collect::<Vec<_>>()
    };
    // At most so many at once; on from there.
    let all = ask_history(&mut client, json!({ "channel": "log", "limit": -1 }));
    assert_eq!(all, (1..=300).collect::<Vec<_>>());
    let since = json!({ "offset": 300, "epoch": epoch });
    let rest = ask_history(
        &mut client,
        json!({ "channel": "log", "limit": 1000, "since": since }),
    );
    assert_eq!(rest, (301..=350).collect::<Vec<_>>());
    let newest = json!({ "channel": "log", "limit": 2, "reverse": true });
    assert_eq!(ask_history(&mut client, newest), [350, 349]);
    assert!(ask_history(&mut client, json!({ "channel": "log" })).is_empty());
    let foreign = json!({ "channel": "log", "since": { "offset": 1, "epoch": "no epoch" } });
    let _ = client.code_of("history", foreign);

    let recover = |epoch: &serde_json::Value, offset: u64, flag: u32| {
        let mut client = Centrifuge::connect(addr, "ann");
        client.ask(
            "subscribe",
            json!({ "channel": "log", "recover": true, "epoch": epoch, "offset": offset, "flag": flag }),
        )
    };
    let recovered = recover(&epoch, 347, 0);
    assert_eq!(recovered["recovered"], true);
    let given = recovered["publications"].as_array().unwrap();
    let given: Vec<_> = given
        .iter()
        .map(|it| it["offset"].as_u64().unwrap())
        .collect();
    assert_eq!(given, [348, 349, 350]);
    // Not the same numbering: said so, or refused by who would rather not.
    let lost = recover(&json!("12345"), 347, 0);
    assert_eq!(lost["was_recovering"], true);
    assert_eq!(lost.get("recovered"), None, "{lost}");
    assert_eq!(lost.get("publications"), None, "{lost}");
    assert_eq!(recover(&json!("12345"), 347, 2)["code"], 112);
    assert_eq!(recover(&epoch, 350, 2)["recovered"], true);
    eventually("only the first is left", || {
        total(&engine, |it| it.members) == 1
    });
    stop(engine);
}
