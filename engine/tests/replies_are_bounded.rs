//! What is said to one connection alone: all of it arrives, unless the connection lets too much of it wait.
#![allow(clippy::unwrap_used)]

mod support;

use std::io::{ErrorKind, Write};
use std::time::Duration;

use fanfare_engine::api::{Payload, UserConnections};
use fanfare_engine::{EngineConfig, Limits, RoomOptions};
use fanfare_wire::native;
use fanfare_wire::ws::{self, Opcode};
use serde_json::json;
use support::{
    Centrifuge, Client, Event, Frame, ask, brisk, eventually, open_config, open_rooms, push, start,
    stop, total,
};

fn small() -> EngineConfig {
    EngineConfig {
        limits: Limits {
            direct_bytes_max: 65_536,
            unsent_bytes_max: 4096,
            ..brisk()
        },
        ..open_config(2)
    }
}

fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

/// Writes as much as the server takes, until it does not take any more for a while or has closed.
fn flood(client: &Client, bytes: &[u8], times: usize) {
    client
        .stream
        .set_write_timeout(Some(Duration::from_millis(200)))
        .unwrap();
    for _ in 0..times {
        match (&client.stream).write_all(bytes) {
            Ok(()) => {}
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) =>
            {
                return;
            }
            Err(error) => {
                assert!(
                    matches!(
                        error.kind(),
                        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe
                    ),
                    "{error}"
                );
                return;
            }
        }
    }
}

#[test]
fn who_asks_thousands_of_things_and_reads_no_answer_is_disconnected() {
    let engine = start(small());
    let addr = engine.client_addrs()[0];
    let mut pings = Vec::new();
    while pings.len() < 60_000 {
        native::write_client_ping(&mut pings);
    }
    for _ in 0..5 {
        let client = Client::open_narrow(addr).greet("");
        flood(&client, &pings, 1000);
    }
    eventually("all are disconnected", || {
        total(&engine, |it| it.slow_disconnected) == 5
    });
    eventually("and closed", || total(&engine, |it| it.connections) == 0);
    assert_eq!(total(&engine, |it| it.stalled), 0);
    // Who reads can ask as much.
    let mut client = Client::connect(addr, "");
    for _ in 0..20 {
        client.send_bytes(&pings).unwrap();
        for _ in 0..pings.len() / 6 {
            assert_eq!(client.next(), Frame::Pong);
        }
    }
    stop(engine);
}

#[test]
fn short_questions_with_long_answers_take_little_memory() {
    let engine = start(EngineConfig {
        limits: Limits {
            requests_in_flight_max: 10_000,
            ..brisk()
        },
        namespaces: fanfare_engine::Namespaces {
            default: RoomOptions {
                history_size: 300,
                ..open_rooms()
            },
            named: Vec::new(),
        },
        ..open_config(1)
    });
    let addr = engine.client_addrs()[0];
    let text = json!("x".repeat(3000)).to_string();
    for _ in 0..300 {
        push(&engine, "log", &text);
    }
    let mut client = Centrifuge::connect(addr, "");
    let whole = client.ask("history", json!({ "channel": "log", "limit": -1 }));
    assert_eq!(whole["publications"].as_array().unwrap().len(), 300);

    let before = resident_bytes();
    // Each of these asks for 900 KB, and all of them are with the server before it has answered one.
    let mut questions = Vec::new();
    for id in 1..=2000 {
        let question = format!(r#"{{"id":{id},"history":{{"channel":"log","limit":-1}}}}"#);
        ws::write_masked_frame(&mut questions, Opcode::Text, question.as_bytes(), [0; 4]);
    }
    let peak = std::thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let mut peak = 0;
            while total(&engine, |it| it.slow_disconnected) == 0 {
                peak = peak.max(resident_bytes());
                std::thread::sleep(Duration::from_millis(1));
            }
            peak.max(resident_bytes())
        });
        let _ = client.ws.stream.write_all(&questions);
        watch.join().unwrap()
    });
    let grown = peak.saturating_sub(before);
    assert!(grown < 100 << 20, "{grown} bytes");
    drop(client);
    eventually("it is closed", || total(&engine, |it| it.connections) == 0);
    stop(engine);
}

#[test]
fn a_long_answer_reaches_a_slow_reader_whole() {
    let mut config = small();
    config.limits.direct_bytes_max = 1000;
    config.namespaces.default = RoomOptions {
        history_size: 200,
        ..open_rooms()
    };
    let engine = start(config);
    let addr = engine.client_addrs()[0];
    let mut epoch = 0;
    for n in 1..=200 {
        epoch = push(&engine, "log", &format!("{n}:{}", "x".repeat(4000)))
            .position
            .epoch;
    }
    let mut slow = Client::open_narrow(addr).greet("");
    slow.subscribe(1, "log", Some((epoch, 0)));
    eventually("it does not fit", || total(&engine, |it| it.stalled) == 1);
    slow.read_bytes_max = 1000;
    assert!(matches!(
        slow.next(),
        Frame::Subscribed {
            recovered: true,
            offset: 200,
            ..
        }
    ));
    // What is published meanwhile follows.
    push(&engine, "log", "201");
    for n in 1..=200 {
        let (offset, data) = slow.publication();
        assert_eq!(offset, n);
        assert!(data.starts_with(format!("{n}:x").as_bytes()));
        assert_eq!(data.len(), 4001 + n.to_string().len());
    }
    assert_eq!(slow.publication(), (201, b"201".to_vec()));
    assert_eq!(total(&engine, |it| it.slow_disconnected), 0);
    stop(engine);
}

#[test]
fn messages_to_a_user_who_does_not_read_are_bounded_too() {
    let engine = start(small());
    let addr = engine.client_addrs()[0];
    let handle = engine.handle();
    let mut reads = Client::connect(addr, "ann");
    let mut stalls = Client::open_narrow(addr).greet("ann");
    let mut elsewhere = Client::connect(addr, "bob");
    let payload = || Payload {
        bytes: vec![b'1'; 5000].into(),
        is_json: true,
    };
    eventually("both are known", || {
        let who = UserConnections {
            user: "ann".into(),
            client: None,
            except: Vec::new(),
        };
        ask(|reply| handle.unsubscribe(who, "none", reply)) == Ok(2)
    });
    let mut sent = 0;
    while total(&engine, |it| it.slow_disconnected) == 0 {
        sent += 1;
        assert!(sent < 10_000, "it was never too slow");
        assert!(ask(|reply| handle.push_user("ann", payload(), reply)).is_ok());
        assert_eq!(reads.next(), Frame::Message(vec![b'1'; 5000]));
    }
    let heard = stalls.rest();
    let (last, messages) = heard.split_last().unwrap();
    assert_eq!(*last, Frame::Disconnect { code: 3008 });
    assert!((1..=sent).contains(&messages.len()));
    for message in messages {
        assert_eq!(*message, Frame::Message(vec![b'1'; 5000]));
    }
    assert!(elsewhere.has_nothing_to_read());
    stop(engine);
}

#[test]
fn pings_of_websocket_are_answered_with_what_they_carry() {
    let engine = start(small());
    let addr = engine.client_addrs()[0];
    let mut client = Centrifuge::connect(addr, "");
    for n in 0..200_usize {
        let payload = vec![u8::try_from(n).unwrap(); n % 126];
        client.ws.send(Opcode::Ping, &payload);
        assert_eq!(client.ws.next(), Event::Pong(payload));
    }
    stop(engine);
}

#[test]
fn what_waits_for_all_connections_together_is_bounded() {
    let mut config = small();
    config.shards = 1;
    config.limits.direct_bytes_max = 10 << 20;
    config.limits.direct_bytes_per_shard_max = 4 << 20;
    let engine = start(config);
    let addr = engine.client_addrs()[0];
    let handle = engine.handle();
    let mut reads = Client::connect(addr, "ann");
    let stalls: Vec<Client> = (0..20)
        .map(|_| Client::open_narrow(addr).greet("ann"))
        .collect();
    let who = UserConnections {
        user: "ann".into(),
        client: None,
        except: Vec::new(),
    };
    eventually("all are known", || {
        ask(|reply| handle.unsubscribe(who.clone(), "none", reply)) == Ok(21)
    });
    // Each may keep 10 MiB, and all of them 4.
    let mut sent = 0;
    while total(&engine, |it| it.slow_disconnected) < 10 {
        sent += 1;
        assert!(sent < 10_000, "nobody was ever too slow");
        let payload = Payload {
            bytes: vec![b'1'; 20_000].into(),
            is_json: true,
        };
        assert!(ask(|reply| handle.push_user("ann", payload, reply)).is_ok());
        assert_eq!(reads.next(), Frame::Message(vec![b'1'; 20_000]));
    }
    assert!(sent * 20_000 < 10 << 20, "each was within its own limit");
    assert!(reads.has_nothing_to_read());
    drop(stalls);
    eventually("they have gone", || {
        total(&engine, |it| it.connections) == 1 && total(&engine, |it| it.stalled) == 0
    });
    stop(engine);
}
