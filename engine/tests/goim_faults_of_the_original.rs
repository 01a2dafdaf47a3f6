//! What goim is known to get wrong with its clients, and may not go wrong here. Faults that have a test elsewhere:
//!
//! | fault of the original | test |
//! |---|---|
//! | the late end of a replaced connection removes the new one's key | `goim_keys_have_a_policy.rs`, `the_late_end_of_the_old_connection_leaves_the_key_to_the_new_one` |
//! | closing a replaced connection that does not read freezes others | there, `an_old_connection_that_does_not_read_holds_up_nobody` |
//! | a key's mapping ends before its connection | `goim_heartbeats_keep_connections.rs`, `a_key_is_found_as_long_as_its_connection_lives` |
//! | a join that fails is answered as if it had not, and leaves things behind | `goim_clients_prove_who_they_are.rs`, `who_is_refused_leaves_nothing_behind` |
//! | anyone is any user with any key in any room | all of that file |
//! | a failed change of room, or one to the same room, ruins member lists | `goim_clients_change_rooms.rs`, `who_stays_hears_everything_while_others_come_and_go`, `the_same_room_again_is_no_change` |
//! | an accept that fails ends accepting | `a_full_table_makes_others_wait.rs`; with `EMFILE` and others, `simulation.rs`, `every_seed_keeps_its_promises` |
//! | a client that stalls before it is known keeps what it likes for as long as it likes | `http_requests_are_kept_within_bounds.rs`, `goim_bytes_that_are_hostile.rs`, `half_frames_that_never_end_do` |
//! | a package of -2^31 kills the process; a WebSocket package beyond its message echoes others' bytes | `goim_bytes_that_are_hostile.rs` |

mod support;

use std::collections::HashSet;
use std::io::Write;

use fanfare_engine::Engine;
use fanfare_wire::ws::Opcode;
use support::{
    Event, Form, Goim, Told, WebSocket, bytes_of, eventually, frame, masked, members, push_all,
    push_keys, push_room, push_users, start, stop, total, trusting_config,
};

fn known(engine: &Engine, keys: &[&str]) {
    let count = u32::try_from(keys.len()).expect("few");
    eventually("the keys are known", || {
        push_keys(engine, keys, 9, "") == count
    });
}

/// There the eleventh message that waited for a connection was dropped.
#[test]
fn a_full_queue_drops_nothing() {
    const COUNT: usize = 5_000;
    let engine = start(trusting_config(3));
    let addr = engine.client_addrs()[0];
    for form in [Form::Tcp, Form::WebSocket] {
        let body = r#"{"mid":7,"key":"k","room_id":"live://1","accepts":[1,2,3]}"#;
        let mut client = Goim::connect(addr, form, body);
        known(&engine, &["k"]);
        eventually("the user is known", || {
            push_users(&engine, &["7"], 9, "") == 1
        });
        for n in 0..COUNT {
            let text = n.to_string();
            assert_eq!(push_room(&engine, "live://1", 0, &text), 1);
            assert_eq!(push_all(&engine, 1, &text), 1);
            assert_eq!(push_keys(&engine, &["k"], 2, &text), 1);
            assert_eq!(push_users(&engine, &["7"], 3, &text), 1);
        }
        let mut next = [0; 4];
        for _ in 0..4 * COUNT {
            let (operation, text) = client.push();
            let next = &mut next[usize::try_from(operation).expect("of ours")];
            assert_eq!(text, next.to_string());
            *next += 1;
        }
        assert_eq!(next, [COUNT; 4]);
        drop(client);
        eventually("it has gone", || total(&engine, |it| it.connections) == 0);
        eventually("its key, too", || push_keys(&engine, &["k"], 9, "") == 0);
        eventually("its user, too", || push_users(&engine, &["7"], 9, "") == 0);
    }
    assert_eq!(total(&engine, |it| it.slow_disconnected), 0);
    stop(engine);
}

/// What does not fit ends the connection, and says so.
#[test]
fn what_is_dropped_is_counted_and_told() {
    let engine = start(trusting_config(2));
    let addr = engine.client_addrs()[0];
    for (form, body) in [
        (Form::WebSocket, r#"{"room_id":"live://1"}"#),
        (Form::Tcp, r#"{"room_id":"live://1"}"#),
    ] {
        let slow_before = total(&engine, |it| it.slow_disconnected);
        let mut client = Goim::connect(addr, form, body);
        assert_eq!(client.heartbeat(), 1);
        let text = "x".repeat(20_000);
        let mut pushed = 0;
        while total(&engine, |it| it.slow_disconnected) == slow_before {
            pushed += push_room(&engine, "live://1", 1, &text) as usize;
        }
        let mut heard = 0;
        let code = loop {
            match client.next() {
                Told::Frame(frame) => {
                    assert_eq!((frame.operation, frame.body.len()), (1, text.len()));
                    heard += 1;
                }
                Told::Closed(code) => break code,
            }
        };
        assert!(heard < pushed, "{heard} of {pushed}");
        // Whoever reads none of it is closed without a word in the end.
        assert!(code.is_none_or(|code| code == 3008), "{code:?}");
        eventually("it has gone", || members(&engine, "live://1") == 0);
    }
    stop(engine);
}

/// There a push to several keys ended at the first connection that was full.
#[test]
fn a_full_connection_does_not_skip_the_keys_after_it() {
    let engine = start(trusting_config(2));
    let addr = engine.client_addrs()[0];
    let keys: Vec<String> = (0..40).map(|n| format!("key {n}")).collect();
    let keys: Vec<&str> = keys.iter().map(|it| &**it).collect();
    let mut clients: Vec<Goim> = keys
        .iter()
        .map(|key| Goim::tcp(addr, &format!(r#"{{"key":"{key}","accepts":[7,8]}}"#)))
        .collect();
    known(&engine, &keys);
    // Every other one reads nothing, and has been sent more than its socket takes.
    let text = "x".repeat(60_000);
    let full: Vec<&str> = keys.iter().copied().step_by(2).collect();
    eventually("they are full", || {
        push_keys(&engine, &full, 7, &text);
        total(&engine, |it| it.stalled) + total(&engine, |it| it.slow_disconnected) >= 20
    });
    let all = push_keys(&engine, &keys, 8, "to all");
    assert!(all >= 20, "{all}");
    for client in clients.iter_mut().skip(1).step_by(2) {
        assert_eq!(client.push(), (8, "to all".to_owned()));
    }
    stop(engine);
}

/// There each room and each connection had several queues, taken from in turn.
#[test]
fn batches_of_a_room_and_pushes_to_a_key_do_not_swap() {
    const COUNT: usize = 3_000;
    let engine = start(trusting_config(4));
    let addr = engine.client_addrs()[0];
    let mut clients: Vec<Goim> = (0..8)
        .map(|n| {
            let form = [Form::Tcp, Form::WebSocket][n % 2];
            let body = format!(r#"{{"key":"{n}","room_id":"live://1","accepts":[2]}}"#);
            Goim::connect(addr, form, &body)
        })
        .collect();
    let keys = ["0", "1", "2", "3", "4", "5", "6", "7"];
    known(&engine, &keys);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for n in 0..COUNT {
                assert_eq!(push_room(&engine, "live://1", 1, &n.to_string()), 8);
            }
        });
        scope.spawn(|| {
            for n in 0..COUNT {
                assert_eq!(push_keys(&engine, &keys, 2, &n.to_string()), 8);
            }
        });
        for clients in clients.chunks_mut(2) {
            scope.spawn(|| {
                for client in clients {
                    let mut next = [0; 3];
                    for _ in 0..2 * COUNT {
                        let (operation, text) = client.push();
                        let next = &mut next[usize::try_from(operation).expect("of ours")];
                        assert_eq!(text, next.to_string());
                        *next += 1;
                    }
                }
            });
        }
    });
    stop(engine);
}

/// There a room could be dropped, as empty, by the one that left it after another had come.
#[test]
fn a_room_that_empties_and_fills_again_is_heard() {
    let engine = start(trusting_config(3));
    let addr = engine.client_addrs()[0];
    let mut clients = [Goim::tcp(addr, "{}"), Goim::websocket(addr, "{}")];
    for n in 0..500 {
        let (coming, going) = (n % 2, (n + 1) % 2);
        // At the same time.
        let left = clients[going].request(12, b"");
        let came = clients[coming].request(12, b"live://1");
        assert_eq!(clients[going].answer(13, left).body, b"");
        assert_eq!(clients[coming].answer(13, came).body, b"live://1");
        let text = n.to_string();
        let reached = push_room(&engine, "live://1", 1, &text);
        assert!(reached >= 1, "{n}: {reached}");
        assert_eq!(clients[coming].push(), (1, text));
        eventually("one is in it", || members(&engine, "live://1") == 1);
    }
    stop(engine);
}

/// There a server went on counting the members of rooms that had become empty.
#[test]
fn rooms_that_are_empty_count_nobody() {
    let engine = start(trusting_config(4));
    let addr = engine.client_addrs()[0];
    let rooms: Vec<String> = (0..30).map(|n| format!("live://{n}")).collect();
    for _ in 0..3 {
        let clients: Vec<Goim> = rooms
            .iter()
            .map(|room| Goim::tcp(addr, &format!(r#"{{"room_id":"{room}"}}"#)))
            .collect();
        for room in &rooms {
            eventually("one is counted", || members(&engine, room) == 1);
        }
        drop(clients);
        for room in &rooms {
            eventually("nobody is counted", || members(&engine, room) == 0);
        }
        let listing = support::ask(|reply| engine.handle().rooms(None, reply));
        assert_eq!(listing, Ok(Vec::new()));
    }
    stop(engine);
}

/// There the wrong connection was counted off when a key was replaced.
#[test]
fn a_replaced_connection_is_counted_off_once() {
    let engine = start(trusting_config(3));
    let addr = engine.client_addrs()[0];
    let bodies = [
        r#"{"mid":1,"key":"k","room_id":"live://1"}"#,
        r#"{"mid":2,"key":"k","room_id":"live://2"}"#,
    ];
    let mut current = Goim::tcp(addr, bodies[0]);
    known(&engine, &["k"]);
    for n in 1..40 {
        let next = Goim::tcp(addr, bodies[n % 2]);
        assert_eq!(current.closed(), None);
        current = next;
        let (room, other) = [("live://1", "live://2"), ("live://2", "live://1")][n % 2];
        eventually("it alone is counted", || {
            members(&engine, room) == 1 && members(&engine, other) == 0
        });
        eventually("one is connected", || {
            total(&engine, |it| it.connections) == 1
        });
    }
    let (user, other) = [("1", "2"), ("2", "1")][39 % 2];
    eventually("the other user is gone", || {
        push_users(&engine, &[other], 9, "") == 0
    });
    assert_eq!(push_users(&engine, &[user], 9, ""), 1);
    stop(engine);
}

/// There an answer's body lay in the buffer that the next request was read into.
#[test]
fn pipelined_answers_have_the_bodies_of_their_requests() {
    const COUNT: i32 = 3_000;
    let engine = start(trusting_config(3));
    let addr = engine.client_addrs()[0];
    for form in [Form::Tcp, Form::WebSocket] {
        let mut client = Goim::connect(addr, form, r#"{"rooms":["live://1"]}"#);
        // No list of operations, so that it is an echo and nothing else, and of every length.
        let body = |n: i32| {
            let length = usize::try_from(n).expect("positive") * 7 % 500;
            format!("{n}:{}", "abcdefghij".repeat(50).split_at(length).0)
        };
        let mut bytes = Vec::new();
        for n in 1..=COUNT {
            let operation = if n % 2 == 0 { 14 } else { 16 };
            bytes.extend(client.written(&frame(operation, n, body(n).as_bytes())));
        }
        let mut wire = support::Wire::on(client.wire.0.try_clone().expect("a second handle"));
        std::thread::scope(|scope| {
            scope.spawn(move || wire.send_bytes(&bytes));
            scope.spawn(|| {
                for n in 0..200 {
                    assert_eq!(push_room(&engine, "live://1", 1, &n.to_string()), 1);
                }
            });
            let (mut answered, mut pushed) = (0, 0);
            while answered < COUNT || pushed < 200 {
                let Told::Frame(came) = client.next() else {
                    panic!("closed after {answered}")
                };
                if came.seq == 0 {
                    assert_eq!(came.body, pushed.to_string().into_bytes());
                    pushed += 1;
                    continue;
                }
                answered += 1;
                let operation = if answered % 2 == 0 { 15 } else { 17 };
                assert_eq!(came, frame(operation, answered, body(answered).as_bytes()));
            }
        });
        drop(client);
        eventually("it has gone", || members(&engine, "live://1") == 0);
    }
    stop(engine);
}

/// There the reader of a connection wrote pongs into the buffer that its writer was filling.
#[test]
fn pongs_answers_and_pushes_do_not_run_into_each_other() {
    const COUNT: u32 = 3_000;
    let engine = start(trusting_config(2));
    let mut socket = WebSocket::open(engine.client_addrs()[0], "/sub");
    let auth = frame(7, 1, br#"{"room_id":"live://1"}"#);
    socket.send(Opcode::Binary, &bytes_of(&auth));
    assert_eq!(socket.next(), Event::Binary(bytes_of(&frame(8, 1, b""))));
    eventually("it is in the room", || members(&engine, "live://1") == 1);
    let mut writer = socket.stream.try_clone().expect("a second handle");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for n in 0..COUNT {
                assert_eq!(push_room(&engine, "live://1", 1000, &n.to_string()), 1);
            }
        });
        scope.spawn(move || {
            for n in 0..COUNT {
                let seq = i32::try_from(n).expect("few");
                let ping = masked(0x89, &n.to_be_bytes());
                let beat = masked(0x82, &bytes_of(&frame(2, seq, b"")));
                let bytes = [ping, beat].concat();
                writer.write_all(&bytes).expect("the server reads");
            }
        });
        let (mut pongs, mut pushes, mut beats) = (0, 0, HashSet::new());
        while pongs < COUNT || pushes < COUNT || beats.len() < COUNT as usize {
            let message = match socket.next() {
                Event::Pong(payload) => {
                    assert_eq!(payload, u32::to_be_bytes(pongs));
                    pongs += 1;
                    continue;
                }
                Event::Binary(message) => message,
                other => panic!("{other:?} after {pongs} pongs and {pushes} pushes"),
            };
            let operation = i32::from_be_bytes(message[8..12].try_into().expect("four"));
            if operation == 3 {
                let seq = i32::from_be_bytes(message[12..16].try_into().expect("four"));
                assert_eq!(message, bytes_of(&frame(3, seq, &1_i32.to_be_bytes())));
                assert!(beats.insert(seq), "{seq} was answered twice");
                continue;
            }
            // A batch of pushes.
            assert_eq!(operation, 9);
            let mut rest = &message[16..];
            while !rest.is_empty() {
                let expected = bytes_of(&frame(1000, 0, pushes.to_string().as_bytes()));
                assert_eq!(&rest[..expected.len()], expected);
                rest = &rest[expected.len()..];
                pushes += 1;
            }
        }
    });
    stop(engine);
}

/// There the ninth closed the connection.
#[test]
fn more_than_eight_requests_may_be_unanswered() {
    const COUNT: i32 = 200;
    let engine = start(trusting_config(3));
    let addr = engine.client_addrs()[0];
    for form in [Form::Tcp, Form::WebSocket] {
        let mut client = Goim::connect(addr, form, r#"{"room_id":"live://1"}"#);
        let requests = [
            (2, ""),
            (12, "live://1"),
            (12, "live://2"),
            (14, "1,2,3"),
            (16, "2"),
            (1000, "business"),
            (4, "message"),
        ];
        let mut bytes = Vec::new();
        for n in 1..=COUNT {
            for (at, (operation, body)) in (0..).zip(requests) {
                let seq = n * 10 + at;
                bytes.extend(client.written(&frame(operation, seq, body.as_bytes())));
            }
        }
        client.wire.send_bytes(&bytes);
        let mut answered = std::collections::BTreeSet::new();
        for _ in 0..COUNT * 7 {
            let Told::Frame(came) = client.next() else {
                panic!("closed after {}", answered.len())
            };
            let at = usize::try_from(came.seq % 10).expect("one of ours");
            let (operation, body) = requests[at];
            assert_eq!(
                came.operation,
                [3, 13, 13, 15, 17, 1000, 4][at],
                "{operation}"
            );
            if matches!(operation, 12 | 14 | 16) {
                assert_eq!(came.body, body.as_bytes());
            }
            assert!(answered.insert(came.seq), "{} was answered twice", came.seq);
        }
        client.change_room("live://1");
        assert_eq!(client.heartbeat(), 1);
        drop(client);
        eventually("it has gone", || members(&engine, "live://1") == 0);
    }
    stop(engine);
}

/// There one socket that took nothing kept its goroutines and held up the pushes to all others.
#[test]
fn a_client_that_never_reads_holds_up_nobody() {
    const COUNT: usize = 200;
    let engine = start(trusting_config(2));
    let addr = engine.client_addrs()[0];
    let body = r#"{"room_id":"live://1","accepts":[7]}"#;
    let never: Vec<Goim> = (0..6)
        .map(|n| Goim::connect(addr, [Form::Tcp, Form::WebSocket][n % 2], body))
        .collect();
    let mut reading: Vec<Goim> = (0..6)
        .map(|n| Goim::connect(addr, [Form::Tcp, Form::WebSocket][n % 2], body))
        .collect();
    assert_eq!(reading[5].heartbeat(), 12);
    let text = "x".repeat(30_000);
    for n in 0..COUNT {
        push_room(&engine, "live://1", 1, &format!("{n} {text}"));
        push_all(&engine, 7, &n.to_string());
        for client in &mut reading {
            // Two lanes, in either order.
            let mut heard = [client.push(), client.push()];
            heard.sort_by_key(|it| it.0);
            assert_eq!(heard[0], (1, format!("{n} {text}")));
            assert_eq!(heard[1], (7, n.to_string()));
        }
    }
    // 6 MB to each: those that read nothing are closed, and what they did not take is kept no longer.
    eventually("they are closed", || {
        total(&engine, |it| it.slow_disconnected) == 6 && members(&engine, "live://1") == 6
    });
    eventually("nothing waits", || {
        total(&engine, |it| it.unsent_bytes) == 0
    });
    drop(never);
    stop(engine);
}
