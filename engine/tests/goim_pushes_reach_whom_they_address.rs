//! What services push to goim's clients: to keys, users, rooms and everyone, and which operations a client wants to see.
//! How many are reached is what the engine answers; nothing here waits for something not to come.

mod support;

use fanfare_engine::Engine;
use support::{
    Centrifuge, Client, Form, Frame, Goim, eventually, goim_config, push, push_all, push_keys,
    push_room, push_users, start, stop, total, trusting_config,
};

fn unwanted(engine: &Engine) -> u64 {
    total(engine, |it| it.goim_pushes_unwanted)
}

#[test]
fn pushes_to_everyone_reach_who_accepts_their_operation() {
    let engine = start(trusting_config(3));
    let addr = engine.client_addrs()[0];
    let mut both = Goim::tcp(addr, r#"{"accepts":[1000,1001]}"#);
    let mut one = Goim::websocket(addr, r#"{"accepts":[1001,1001]}"#);
    let mut none = Goim::tcp(addr, "{}");
    assert_eq!(push_all(&engine, 1000, "a"), 1);
    assert_eq!(push_all(&engine, 1001, "b"), 2);
    assert_eq!(push_all(&engine, 1002, "c"), 0);
    none.sub("1001,-5,1002");
    assert_eq!(push_all(&engine, 1001, "d"), 3);
    assert_eq!(push_all(&engine, -5, "e"), 1);
    both.unsub("1001");
    one.unsub("1001,9999");
    assert_eq!(push_all(&engine, 1001, "f"), 1);
    // Fewer twice, and more twice.
    one.unsub("1001");
    one.sub("1003");
    one.sub("1003,1004");
    assert_eq!(push_all(&engine, 1003, "g"), 1);

    let texts = |client: &mut Goim, count: usize| -> Vec<String> {
        let mut texts: Vec<String> = (0..count).map(|_| client.push().1).collect();
        assert!(client.has_no_push());
        // Each operation has its own order.
        texts.sort();
        texts
    };
    assert_eq!(texts(&mut both, 3), ["a", "b", "d"]);
    assert_eq!(texts(&mut one, 3), ["b", "d", "g"]);
    assert_eq!(texts(&mut none, 3), ["d", "e", "f"]);
    stop(engine);
}

#[test]
fn a_list_of_operations_that_is_none_changes_nothing() {
    let engine = start(trusting_config(2));
    let mut client = Goim::tcp(engine.client_addrs()[0], r#"{"accepts":[1000]}"#);
    let many: Vec<String> = (0..257).map(|n| n.to_string()).collect();
    let lists = [
        "",
        ",",
        "1001,",
        "1001, 1002",
        "1001,x",
        "0x3e9",
        "2147483648",
        "1001;1002",
    ];
    for list in lists.into_iter().chain([&*many.join(",")]) {
        client.sub(list);
        client.unsub(&list.replace("1001", "1000"));
        for operation in [0, 256, 1001, 1002] {
            assert_eq!(push_all(&engine, operation, "x"), 0, "{list}");
        }
        assert_eq!(push_all(&engine, 1000, list), 1, "{list}");
        assert_eq!(client.push(), (1000, list.to_owned()));
    }
    stop(engine);
}

#[test]
fn as_many_operations_as_fit_are_accepted() {
    let engine = start(trusting_config(1));
    let list = |range: std::ops::Range<i32>| {
        let numbers: Vec<String> = range.map(|it| it.to_string()).collect();
        numbers.join(",")
    };
    let body = format!(
        r#"{{"accepts":[{}],"room_id":"live://1"}}"#,
        list(1000..1256)
    );
    let mut client = Goim::tcp(engine.client_addrs()[0], &body);
    assert_eq!(client.heartbeat(), 1);
    assert_eq!(push_all(&engine, 1000, "first"), 1);
    assert_eq!(push_all(&engine, 1255, "last"), 1);
    let mut heard = [client.push(), client.push()];
    heard.sort();
    assert_eq!(
        heard,
        [(1000, "first".to_owned()), (1255, "last".to_owned())]
    );
    // More cannot be claimed than what is documented for auth; each list is as long at most.
    let body = format!(r#"{{"accepts":[{}]}}"#, list(1000..1257));
    let mut greedy = Goim::open(engine.client_addrs()[0], Form::WebSocket);
    assert_eq!(greedy.try_auth(&body), support::Told::Closed(Some(3501)));
    // What a connection watches is bounded however often it asks, and what it is told is counted.
    let errors = total(&engine, |it| it.client_errors);
    for n in 0..4 {
        client.sub(&list(2000 + n * 200..2200 + n * 200));
    }
    assert!(total(&engine, |it| it.members) <= 128 + 256);
    assert!(total(&engine, |it| it.client_errors) > errors);
    assert_eq!(push_all(&engine, 2799, "beyond"), 0);
    stop(engine);
}

#[test]
fn pushes_to_users_and_keys_are_filtered_by_operation() {
    let engine = start(trusting_config(3));
    let addr = engine.client_addrs()[0];
    let mut a = Goim::tcp(addr, r#"{"mid":7,"key":"a","accepts":[1000]}"#);
    let mut b = Goim::websocket(addr, r#"{"mid":7,"key":"b","accepts":[1001]}"#);
    let mut c = Goim::tcp(addr, r#"{"mid":8,"key":"c"}"#);
    let mut before = 0;
    let mut is_known = |push: &dyn Fn() -> u32, all: u32, of_version_2: u32| {
        eventually("all are known", || {
            let reached = push();
            before += u64::from(reached.min(of_version_2));
            reached == all
        });
    };
    is_known(&|| push_keys(&engine, &["a", "b", "c"], 1, "0"), 3, 3);
    is_known(&|| push_users(&engine, &["8"], 1, "0"), 1, 1);
    is_known(&|| push_users(&engine, &["7"], 1, "0"), 2, 2);
    // Version 1 has no operations: it gets everything.
    let mut old = Goim::tcp(addr, "7");
    is_known(&|| push_users(&engine, &["7"], 1, "0"), 3, 2);

    assert_eq!(push_users(&engine, &["7"], 1000, "u1000"), 3);
    assert_eq!(push_users(&engine, &["7", "8", "9"], 1001, "u1001"), 4);
    assert_eq!(
        push_keys(&engine, &["a", "b", "c", "nobody"], 1000, "k1000"),
        3
    );
    assert_eq!(push_keys(&engine, &["c"], 1001, "k1001"), 1);
    assert_eq!(push_keys(&engine, &["nobody", ""], 1000, "x"), 0);
    eventually("what nobody wants is counted", || {
        unwanted(&engine) >= before + 6
    });
    c.sub("1001");
    assert_eq!(push_keys(&engine, &["c"], 1001, "wanted"), 1);

    for text in ["u1000", "k1000"] {
        assert_eq!(a.push(), (1000, text.to_owned()));
    }
    assert_eq!(b.push(), (1001, "u1001".to_owned()));
    assert_eq!(c.push(), (1001, "wanted".to_owned()));
    let mut heard = old.push();
    while heard.1 == "0" {
        heard = old.push();
    }
    assert_eq!(heard, (5, "u1000".to_owned()));
    assert_eq!(old.push(), (5, "u1001".to_owned()));
    for client in [&mut a, &mut b, &mut c, &mut old] {
        assert!(client.has_no_push());
    }
    stop(engine);
}

#[test]
fn a_room_is_heard_whatever_is_accepted() {
    let engine = start(goim_config(3));
    let addr = engine.client_addrs()[0];
    let mut picky = Goim::tcp(addr, r#"{"room_id":"live://1","accepts":[1001]}"#);
    let mut plain = Goim::websocket(addr, r#"{"room_id":"live://1"}"#);
    for (operation, text) in [(1000, "a"), (1001, "b"), (5000, "c"), (-1, "d")] {
        assert_eq!(push_room(&engine, "live://1", operation, text), 2);
        assert_eq!(picky.push(), (operation, text.to_owned()));
        assert_eq!(plain.push(), (operation, text.to_owned()));
    }
    // Without an operation, or with one that is no number, it is the configured one.
    push(&engine, "live://1", "e");
    assert_eq!(picky.push(), (1000, "e".to_owned()));
    assert_eq!(plain.push(), (1000, "e".to_owned()));
    stop(engine);
}

#[test]
fn what_has_no_operation_reaches_everyone_with_the_configured_one() {
    let mut config = goim_config(2);
    config.goim.default_operation = 4321;
    let engine = start(config);
    let addr = engine.client_addrs()[0];
    let mut clients = [
        Goim::tcp(addr, r#"{"accepts":[1]}"#),
        Goim::websocket(addr, "{}"),
        Goim::tcp(addr, ""),
        Goim::connect(addr, Form::Json, "{}"),
    ];
    let handle = engine.handle();
    let mut native = Client::connect(addr, "");
    let payload = fanfare_engine::api::Payload {
        bytes: b"{}".as_slice().into(),
        is_json: true,
    };
    let reached = support::ask(|reply| handle.push_all(payload.into(), reply));
    assert_eq!(reached, Ok(5));
    for (client, operation) in clients.iter_mut().zip([4321, 4321, 5, 5]) {
        assert_eq!(client.push(), (operation, "{}".to_owned()));
        assert!(client.has_no_push());
    }
    assert_eq!(native.next(), Frame::Message(b"{}".to_vec()));
    stop(engine);
}

#[test]
fn version_1_gets_everything_once() {
    let engine = start(trusting_config(3));
    let addr = engine.client_addrs()[0];
    let mut clients = [
        Goim::tcp(addr, "7"),
        Goim::connect(addr, Form::Json, "7"),
        // An auth object of version 2, operations and all.
        Goim::connect(addr, Form::Json, r#"{"mid":7,"accepts":[1000,1001]}"#),
    ];
    eventually("all are known", || {
        push_users(&engine, &["7"], 9, "\"known\"") == 3
    });
    assert_eq!(push_all(&engine, 1000, "1"), 3);
    assert_eq!(push_all(&engine, 2000, "2"), 3);
    for client in &mut clients {
        let mut heard = client.push();
        while heard.1 == "\"known\"" {
            heard = client.push();
        }
        assert_eq!(heard, (5, "1".to_owned()));
        assert_eq!(client.push(), (5, "2".to_owned()));
        assert!(client.has_no_push());
    }
    stop(engine);
}

#[test]
fn members_of_all_dialects_hear_the_same_room_in_the_same_order() {
    const COUNT: usize = 2_000;
    let engine = start(goim_config(3));
    let addr = engine.client_addrs()[0];
    let body = r#"{"room_id":"live://1"}"#;
    let mut tcp = Goim::tcp(addr, body);
    let mut websocket = Goim::websocket(addr, body);
    let mut v1 = Goim::connect(addr, Form::Json, body);
    let mut native = Client::connect(addr, "");
    native.join("live://1");
    let mut json = Centrifuge::connect(addr, "");
    json.subscribe("live://1");
    assert_eq!(tcp.heartbeat(), 5);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for n in 0..COUNT {
                assert_eq!(push_room(&engine, "live://1", 1000, &n.to_string()), 5);
            }
        });
        for (client, operation) in [(&mut tcp, 1000), (&mut websocket, 1000), (&mut v1, 5)] {
            scope.spawn(move || {
                for n in 0..COUNT {
                    assert_eq!(client.push(), (operation, n.to_string()));
                }
            });
        }
        scope.spawn(|| {
            for n in 0..COUNT {
                assert_eq!(native.publication().1, n.to_string().into_bytes());
            }
        });
        for n in 0..COUNT {
            assert_eq!(json.push()["pub"]["data"], n);
        }
    });
    stop(engine);
}

/// Services push from many threads; what one of them pushes to a key, a room or everyone stays in its order.
#[test]
fn pushes_keep_their_order() {
    const COUNT: usize = 1_000;
    let engine = start(trusting_config(4));
    let addr = engine.client_addrs()[0];
    let body = r#"{"mid":7,"key":"k","room_id":"live://1","accepts":[1,2,3]}"#;
    let mut client = Goim::tcp(addr, body);
    eventually("it is known", || {
        push_keys(&engine, &["k"], 9, "") == 1 && push_users(&engine, &["7"], 9, "") == 1
    });
    std::thread::scope(|scope| {
        let engine = &engine;
        let pushes: [fn(&Engine, i32, &str) -> u32; 4] = [
            |engine, _, text| push_room(engine, "live://1", 0, text),
            push_all,
            |engine, operation, text| push_keys(engine, &["k"], operation, text),
            |engine, operation, text| push_users(engine, &["7"], operation, text),
        ];
        for (operation, push) in (0..).zip(pushes) {
            scope.spawn(move || {
                for n in 0..COUNT {
                    assert_eq!(push(engine, operation, &n.to_string()), 1);
                }
            });
        }
        let mut next = [0_usize; 4];
        for _ in 0..4 * COUNT {
            let (operation, text) = client.push();
            let next = &mut next[usize::try_from(operation).expect("of ours")];
            assert_eq!(text, next.to_string());
            *next += 1;
        }
    });
    assert!(client.waiting_is_empty());
    stop(engine);
}

#[test]
fn what_comes_at_once_is_written_at_once_but_not_to_version_1() {
    const COUNT: usize = 300;
    let mut config = goim_config(1);
    // The publications of one request reach the lanes in one turn.
    config.shards = 1;
    let engine = start(config);
    let addr = engine.client_addrs()[0];
    let body = r#"{"rooms":["live://1"]}"#;
    let sends_of = |client: &mut Goim, operation: i32| {
        let before = total(&engine, |it| it.sends);
        let delivered = total(&engine, |it| it.deliveries);
        let publications = (0..COUNT).map(|n| support::publish("live://1", &n.to_string()));
        let publications = publications.collect();
        let answers = support::ask(|reply| engine.handle().publish_all(publications, reply));
        assert_eq!(answers.map(|it| it.len()), Ok(COUNT));
        for n in 0..COUNT {
            assert_eq!(client.push(), (operation, n.to_string()));
        }
        // What is counted is counted before it is sent.
        assert_eq!(total(&engine, |it| it.deliveries) - delivered, COUNT as u64);
        total(&engine, |it| it.sends) - before
    };
    let mut tcp = Goim::tcp(addr, body);
    tcp.change_room("live://1");
    let sends = sends_of(&mut tcp, 1000);
    assert!(sends < COUNT as u64 / 2, "{sends} sends");
    drop(tcp);
    eventually("it has gone", || support::members(&engine, "live://1") == 0);

    // Version 1 has no word for rooms: over TCP its clients are put into them.
    let mut old = Goim::tcp(addr, "ann");
    support::put_into(&engine, "ann", "live://1");
    assert_eq!(sends_of(&mut old, 5), COUNT as u64);
    stop(engine);
}

/// Its SDKs over TCP take what one read gives them for one frame.
#[test]
fn answers_and_pushes_to_version_1_are_written_one_by_one() {
    const COUNT: usize = 200;
    let engine = start(trusting_config(1));
    let addr = engine.client_addrs()[0];
    let mut old = Goim::tcp(addr, "7");
    eventually("it is known", || {
        push_users(&engine, &["7"], 1, "known") == 1
    });
    assert_eq!(old.push().1, "known");
    let before = total(&engine, |it| it.sends_direct);
    let mut bytes = Vec::new();
    for seq in 0..COUNT {
        let seq = i32::try_from(seq).expect("few");
        bytes.extend(old.written(&support::frame(2, seq, b"")));
    }
    old.wire.send_bytes(&bytes);
    for _ in 0..COUNT {
        assert!(matches!(old.next(), support::Told::Frame(it) if it.operation == 3));
    }
    assert_eq!(total(&engine, |it| it.sends_direct) - before, COUNT as u64);
    assert_eq!(push_users(&engine, &["7", "7", "7"], 1, "thrice"), 3);
    for _ in 0..3 {
        assert_eq!(old.push().1, "thrice");
    }
    assert_eq!(
        total(&engine, |it| it.sends_direct) - before,
        COUNT as u64 + 3
    );
    stop(engine);
}

#[test]
fn operations_take_no_places_of_rooms() {
    let engine = start(trusting_config(2));
    let numbers: Vec<String> = (1000..1256).map(|it| it.to_string()).collect();
    let body = format!(
        r#"{{"accepts":[{}],"room_id":"live://1"}}"#,
        numbers.join(",")
    );
    let mut client = Goim::tcp(engine.client_addrs()[0], &body);
    client.change_room("live://2");
    assert_eq!(client.heartbeat(), 1);
    assert_eq!(push_room(&engine, "live://2", 1, "here"), 1);
    assert_eq!(client.push(), (1, "here".to_owned()));
    stop(engine);
}
