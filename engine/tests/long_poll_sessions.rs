//! Long polling: a session without a socket hears what everyone else in its rooms hears, whichever connections its
//! requests come on.
#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use fanfare_engine::{EngineConfig, Limits, RoomOptions};
use serde_json::{Value, json};
use support::{
    Client, Poller, answer_of, ask_alone, eventually, open_config, open_rooms, push, send_alone,
    start, stop, total,
};

fn config(shards: u16) -> EngineConfig {
    let mut config = open_config(shards);
    config.namespaces.default = RoomOptions {
        history_size: 10,
        ..open_rooms()
    };
    config
}

fn data(replies: &[Value]) -> Vec<u64> {
    replies
        .iter()
        .map(|reply| {
            reply["push"]["pub"]["data"]
                .as_u64()
                .expect("a publication")
        })
        .collect()
}

#[test]
fn requests_on_any_connection_reach_the_session() {
    let engine = start(config(4));
    let addr = engine.client_addrs()[0];
    let mut poller = Poller::connect(addr);
    poller.join("news");
    for number in 1..=3 {
        assert_eq!(
            push(&engine, "news", &number.to_string()).reached.long_poll,
            1
        );
    }
    let mut heard = Vec::new();
    while heard.len() < 3 {
        heard.extend(data(&poller.receive()));
    }
    assert_eq!(heard, [1, 2, 3]);
    // A request that is there before there is anything to say.
    let mut waiting = send_alone(addr, &poller.receive_line(60), "");
    eventually("it has come", || total(&engine, |it| it.http_requests) > 0);
    push(&engine, "news", "4");
    let (status, body) = answer_of(&mut waiting);
    assert_eq!(
        (status, body.contains(r#""data":4"#)),
        (200, true),
        "{body}"
    );
    // Nothing to say, and not for long.
    assert_eq!(
        ask_alone(addr, &poller.receive_line(0), ""),
        (200, String::new())
    );
    poller.command("publish", &json!({ "channel": "news", "data": 5 }));
    let mut replies = poller.receive();
    while replies.len() < 2 {
        replies.extend(poller.receive());
    }
    assert!(
        replies.iter().any(|it| it.get("publish").is_some()),
        "{replies:?}"
    );
    assert!(
        replies.iter().any(|it| it["push"]["pub"]["data"] == 5),
        "{replies:?}"
    );
    stop(engine);
}

#[test]
fn it_hears_all_in_order_as_others_do() {
    let engine = start(config(2));
    let addr = engine.client_addrs()[0];
    let mut native = Client::connect(addr, "");
    native.join("news");
    let mut pollers: Vec<Poller> = (0..4).map(|_| Poller::connect(addr)).collect();
    for poller in &mut pollers {
        poller.join("news");
    }
    let listeners: Vec<_> = pollers
        .into_iter()
        .map(|poller| {
            std::thread::spawn(move || {
                let mut heard = Vec::new();
                while heard.last() != Some(&2000) {
                    heard.extend(data(&poller.receive()));
                }
                heard
            })
        })
        .collect();
    for number in 1..=2000 {
        push(&engine, "news", &number.to_string());
    }
    let expected: Vec<u64> = (1..=2000).collect();
    for number in &expected {
        assert_eq!(native.publication().1, number.to_string().into_bytes());
    }
    for listener in listeners {
        assert_eq!(listener.join().unwrap(), expected);
    }
    stop(engine);
}

#[test]
fn who_does_not_know_the_secret_hears_nothing() {
    let engine = start(config(2));
    let addr = engine.client_addrs()[0];
    let mut poller = Poller::connect(addr);
    poller.join("news");
    push(&engine, "news", "1");
    let mut forged = poller.session.clone();
    let last = if forged.pop() == Some('0') { '1' } else { '0' };
    forged.push(last);
    for session in [&forged, "", "0", &"f".repeat(48)] {
        let line = format!("GET /poll/receive?session={session}&timeout=5");
        assert_eq!(ask_alone(addr, &line, "").0, 404, "{session}");
    }
    assert_eq!(data(&poller.receive()), [1]);
    stop(engine);
}

#[test]
fn one_request_waits_at_a_time() {
    let engine = start(config(2));
    let addr = engine.client_addrs()[0];
    let mut poller = Poller::connect(addr);
    poller.join("news");
    let before = total(&engine, |it| it.http_requests);
    let mut first = send_alone(addr, &poller.receive_line(60), "");
    eventually("the first has come", || {
        total(&engine, |it| it.http_requests) == before + 1
    });
    let mut second = send_alone(addr, &poller.receive_line(60), "");
    assert_eq!(answer_of(&mut first), (200, String::new()));
    push(&engine, "news", "1");
    assert!(answer_of(&mut second).1.contains(r#""data":1"#));
    stop(engine);
}

#[test]
fn what_a_request_does_not_live_to_hear_the_next_one_hears() {
    let engine = start(config(2));
    let addr = engine.client_addrs()[0];
    for number in 1..=20 {
        let room = format!("news {number}");
        let mut poller = Poller::connect(addr);
        poller.join(&room);
        let before = total(&engine, |it| it.http_requests);
        let waiting = send_alone(addr, &poller.receive_line(60), "");
        eventually("it has come", || {
            total(&engine, |it| it.http_requests) == before + 1
        });
        drop(waiting);
        eventually("it has gone", || total(&engine, |it| it.connections) == 0);
        push(&engine, &room, "1");
        push(&engine, &room, "2");
        let mut heard = data(&poller.receive());
        while heard.len() < 2 {
            heard.extend(data(&poller.receive()));
        }
        assert_eq!(heard, [1, 2]);
    }
    stop(engine);
}

#[test]
fn sessions_are_so_many_and_end_without_requests() {
    let engine = start(EngineConfig {
        limits: Limits {
            polls_per_shard_max: 3,
            poll_timeout: Duration::from_secs(1),
            ..support::brisk()
        },
        ..config(1)
    });
    let addr = engine.client_addrs()[0];
    for _ in 0..3 {
        Poller::connect(addr);
    }
    let (status, body) = ask_alone(addr, "POST /poll/connect", r#"{"id":1,"connect":{}}"#);
    assert_eq!(status, 503, "{body}");
    assert_eq!(total(&engine, |it| it.polls_refused_full), 1);
    eventually("they end", || total(&engine, |it| it.polls_timed_out) == 3);
    eventually("nothing is left of them", || {
        total(&engine, |it| it.polls_open) == 0
    });
    Poller::connect(addr);
    stop(engine);
}

#[test]
fn the_server_puts_it_into_rooms() {
    let engine = support::start_scripted(config(2));
    let addr = engine.client_addrs()[0];
    for number in 0..8 {
        let rooms = [format!("a{number}"), format!("b{number}")];
        let token = format!("ann room={} room={}", rooms[0], rooms[1]);
        let (reply, poller) = Poller::connect_with(addr, &token);
        for room in &rooms {
            assert!(reply["connect"]["subs"].get(room).is_some(), "{reply}");
            push(&engine, room, "1");
        }
        let mut heard = poller.receive();
        while heard.len() < 2 {
            heard.extend(poller.receive());
        }
        assert_eq!(data(&heard), [1, 1]);
    }
    assert_eq!(total(&engine, |it| it.polls_open), 8);
    stop(engine);
}

#[test]
fn it_ends_with_its_token() {
    let engine = support::start_scripted(EngineConfig {
        limits: Limits {
            ping_interval: Duration::from_secs(1),
            pong_timeout: Duration::from_millis(500),
            ..support::brisk()
        },
        ..config(2)
    });
    let addr = engine.client_addrs()[0];
    // Longer ago than what is allowed for getting a new one.
    let (_, poller) = Poller::connect_with(addr, "ann expires=-30");
    let replies = poller.receive();
    let last = replies.last().expect("closing words");
    assert_eq!(last["push"]["disconnect"]["code"], 3005, "{last}");
    assert_eq!(ask_alone(addr, &poller.receive_line(1), "").0, 404);
    stop(engine);
}

#[test]
fn a_slow_one_is_told_to_go() {
    let engine = start(EngineConfig {
        namespaces: fanfare_engine::Namespaces {
            default: RoomOptions {
                lane_bytes_max: 128 * 1024,
                ..open_rooms()
            },
            named: Vec::new(),
        },
        ..config(1)
    });
    let addr = engine.client_addrs()[0];
    let mut poller = Poller::connect(addr);
    poller.join("news");
    let text = format!("\"{}\"", "x".repeat(10_000));
    for _ in 0..40 {
        push(&engine, "news", &text);
    }
    assert_eq!(total(&engine, |it| it.slow_disconnected), 1);
    let replies = poller.receive();
    let last = replies.last().expect("closing words");
    assert_eq!(last["push"]["disconnect"]["code"], 3008, "{last}");
    eventually("it is over", || total(&engine, |it| it.polls_open) == 0);
    assert_eq!(ask_alone(addr, &poller.receive_line(1), "").0, 404);
    stop(engine);
}

#[test]
fn the_server_tells_it_that_it_stops() {
    let engine = start(config(2));
    let addr = engine.client_addrs()[0];
    let poller = Poller::connect(addr);
    let mut waiting = send_alone(addr, &poller.receive_line(60), "");
    eventually("it has come", || total(&engine, |it| it.http_requests) == 2);
    engine.handle().begin_drain(Duration::ZERO);
    let (status, body) = answer_of(&mut waiting);
    assert_eq!(status, 200);
    assert!(body.contains("3001"), "{body}");
    assert_eq!(engine.wait(Duration::from_secs(20)), Ok(()));
}

/// An expired token, and then a good one for a room of another shard: what was said before the greeting is not lost, and
/// the greeting comes before what the rooms say.
#[test]
fn it_is_greeted_before_its_rooms_speak() {
    let engine = support::start_scripted(config(4));
    let addr = engine.client_addrs()[0];
    for number in 0..24 {
        let room = format!("r{number}");
        push(&engine, &room, "1");
        let commands = [
            json!({ "id": 1, "connect": { "token": "expired" } }),
            json!({ "id": 2, "connect": { "token": format!("ann room={room}") } }),
        ];
        let body = commands.map(|it| it.to_string()).join("\n");
        let (status, told) = ask_alone(addr, "POST /poll/connect", &body);
        assert_eq!(status, 200, "{told}");
        let mut lines = told.lines();
        let error: Value = serde_json::from_str(lines.next().unwrap()).unwrap();
        assert_eq!(error["error"]["code"], 109, "{told}");
        let reply: Value = serde_json::from_str(lines.next().unwrap()).unwrap();
        assert!(reply["connect"]["subs"].get(&room).is_some(), "{told}");
    }
    stop(engine);
}

#[test]
fn strangers_do_not_keep_sessions() {
    let engine = support::start_scripted(EngineConfig {
        allow_anonymous: false,
        limits: Limits {
            polls_per_shard_max: 4,
            handshake_timeout: Duration::from_secs(1),
            ..support::brisk()
        },
        ..config(1)
    });
    let addr = engine.client_addrs()[0];
    let expired = r#"{"id":1,"connect":{"token":"expired"}}"#;
    for _ in 0..4 {
        assert_eq!(ask_alone(addr, "POST /poll/connect", expired).0, 200);
    }
    assert_eq!(ask_alone(addr, "POST /poll/connect", expired).0, 503);
    eventually("they are gone long before others would be", || {
        total(&engine, |it| it.polls_open) == 0
    });
    assert_eq!(total(&engine, |it| it.handshake_timeouts), 4);
    Poller::connect_with(addr, "ann");
    stop(engine);
}
