//! A key names a connection, or as many as are configured; who comes back with it takes it over, and whose time was over
//! before does not take it away again.

mod support;

use std::io::Write;

use fanfare_engine::{Engine, EngineConfig, KeyPolicy};
use support::{
    Form, Goim, Told, Wire, bytes_of, eventually, frame, members, push_keys, push_room, push_users,
    start, stop, total, trusting_config,
};

const CONNECTION_LIMIT: u16 = 3504;

fn config(connections_max: u32, policy: KeyPolicy) -> EngineConfig {
    let mut config = trusting_config(3);
    config.goim.key_connections_max = connections_max;
    config.goim.key_policy = policy;
    config
}

const BODY: &str = r#"{"key":"k","room_id":"live://1","accepts":[7]}"#;

fn is_known(engine: &Engine, connections: u32) {
    eventually("the key is known", || {
        push_keys(engine, &["k"], 9, "unwanted") == connections
    });
}

#[test]
fn the_oldest_makes_room() {
    let engine = start(config(1, KeyPolicy::CloseOldest));
    let addr = engine.client_addrs()[0];
    let mut first = Goim::websocket(addr, BODY);
    is_known(&engine, 1);
    for n in 0..50 {
        let form = [Form::WebSocket, Form::Tcp][n % 2];
        let mut second = Goim::connect(addr, form, BODY);
        // Over TCP there is no word for why.
        let code = (n == 0 || n % 2 == 1).then_some(CONNECTION_LIMIT);
        assert_eq!(first.closed(), code, "{n}");
        is_known(&engine, 1);
        assert_eq!(push_keys(&engine, &["k"], 7, "to the newest"), 1);
        assert_eq!(second.push(), (7, "to the newest".to_owned()));
        first = second;
    }
    eventually("the others have gone", || {
        total(&engine, |it| it.connections) == 1
    });
    assert_eq!(members(&engine, "live://1"), 1);
    assert_eq!(push_room(&engine, "live://1", 1, "room"), 1);
    assert_eq!(first.push(), (1, "room".to_owned()));
    stop(engine);
}

#[test]
fn the_newest_is_rejected() {
    let engine = start(config(1, KeyPolicy::RejectNewest));
    let addr = engine.client_addrs()[0];
    let mut first = Goim::websocket(addr, BODY);
    is_known(&engine, 1);
    for _ in 0..20 {
        let mut second = Goim::open(addr, Form::WebSocket);
        // The key's home is asked while it is let in.
        let told = second.try_auth(BODY);
        assert!(
            matches!(&told, Told::Frame(frame) if frame.operation == 8),
            "{told:?}"
        );
        assert_eq!(second.closed(), Some(CONNECTION_LIMIT));
        assert_eq!(push_keys(&engine, &["k"], 7, "to the first"), 1);
        assert_eq!(first.push(), (7, "to the first".to_owned()));
    }
    // When it has gone, another may come.
    drop(first);
    eventually("it is gone", || push_keys(&engine, &["k"], 9, "") == 0);
    let mut second = Goim::tcp(addr, BODY);
    is_known(&engine, 1);
    assert_eq!(push_keys(&engine, &["k"], 7, "to the second"), 1);
    assert_eq!(second.push(), (7, "to the second".to_owned()));
    stop(engine);
}

#[test]
fn several_have_the_same_key_where_they_may() {
    for policy in [KeyPolicy::CloseOldest, KeyPolicy::RejectNewest] {
        let engine = start(config(3, policy));
        let addr = engine.client_addrs()[0];
        let mut clients: Vec<Goim> = Vec::new();
        for n in 1..=3 {
            clients.push(Goim::websocket(addr, BODY));
            is_known(&engine, n);
        }
        assert_eq!(push_keys(&engine, &["k"], 7, "all three"), 3);
        for client in &mut clients {
            assert_eq!(client.push(), (7, "all three".to_owned()));
        }
        let fourth = Goim::websocket(addr, BODY);
        let mut closed = match policy {
            KeyPolicy::CloseOldest => {
                clients.push(fourth);
                clients.remove(0)
            }
            KeyPolicy::RejectNewest => fourth,
        };
        assert_eq!(closed.closed(), Some(CONNECTION_LIMIT));
        is_known(&engine, 3);
        assert_eq!(push_keys(&engine, &["k", "k"], 7, "twice"), 6);
        for client in &mut clients {
            assert_eq!(client.push(), (7, "twice".to_owned()));
            assert_eq!(client.push(), (7, "twice".to_owned()));
            assert!(client.has_no_push());
        }
        stop(engine);
    }
}

#[test]
fn whoever_has_no_key_is_given_one_of_its_own() {
    let engine = start(config(1, KeyPolicy::CloseOldest));
    let addr = engine.client_addrs()[0];
    let mut clients: Vec<Goim> = (0..30).map(|_| Goim::tcp(addr, r#"{"key":""}"#)).collect();
    for client in &mut clients {
        assert_eq!(client.heartbeat(), 0);
    }
    assert_eq!(push_keys(&engine, &[""], 7, "nobody"), 0);
    assert_eq!(total(&engine, |it| it.connections), 30);
    stop(engine);
}

#[test]
fn the_late_end_of_the_old_connection_leaves_the_key_to_the_new_one() {
    let engine = start(config(1, KeyPolicy::CloseOldest));
    let addr = engine.client_addrs()[0];
    let mut current = Goim::tcp(addr, BODY);
    is_known(&engine, 1);
    let mut old = Vec::new();
    for _ in 0..20 {
        let new = Goim::tcp(addr, BODY);
        // The old one says nothing of its going, or goes at the same time.
        old.push(std::mem::replace(&mut current, new));
        if old.len() > 2 {
            old.remove(0);
        }
    }
    drop(old);
    eventually("the old ones have ended", || {
        total(&engine, |it| it.connections) == 1
    });
    for n in 0..10 {
        assert_eq!(push_keys(&engine, &["k"], 7, &n.to_string()), 1);
        assert_eq!(current.push(), (7, n.to_string()));
    }
    stop(engine);
}

#[test]
fn who_comes_back_with_the_same_key_is_found() {
    let engine = start(config(1, KeyPolicy::CloseOldest));
    let addr = engine.client_addrs()[0];
    let body = r#"{"mid":5,"key":"k","accepts":[7]}"#;
    for n in 0..60 {
        let form = [Form::Tcp, Form::WebSocket][n % 2];
        let mut client = Goim::connect(addr, form, body);
        eventually("it is found", || {
            push_keys(&engine, &["k"], 7, "key") == 1 && push_users(&engine, &["5"], 7, "user") > 0
        });
        assert_eq!(client.push(), (7, "key".to_owned()));
        // Gone with a reset, with a FIN, or in the middle of a frame.
        match n % 3 {
            0 => drop(client),
            1 => {
                client.say_no_more();
                while client.next() != Told::Closed(None) {}
            }
            _ => client.wire.0.write_all(&[0, 0]).expect("connected"),
        }
    }
    eventually("all have gone", || total(&engine, |it| it.connections) == 0);
    assert_eq!(push_keys(&engine, &["k"], 7, ""), 0);
    stop(engine);
}

/// In the original it kept a thirty-second of all users waiting.
#[test]
fn an_old_connection_that_does_not_read_holds_up_nobody() {
    let engine = start(config(1, KeyPolicy::CloseOldest));
    let addr = engine.client_addrs()[0];
    let mut others: Vec<Goim> = (0..20)
        .map(|n| Goim::tcp(addr, &format!(r#"{{"key":"other {n}","accepts":[7]}}"#)))
        .collect();
    let old = Goim::tcp(addr, BODY);
    is_known(&engine, 1);
    // Until its socket takes no more.
    let text = "x".repeat(10_000);
    eventually("it is stalled", || {
        push_keys(&engine, &["k"], 7, &text);
        total(&engine, |it| it.stalled) > 0 || total(&engine, |it| it.slow_disconnected) > 0
    });
    let mut new = Goim::tcp(addr, BODY);
    is_known(&engine, 1);
    eventually("the new one has the key", || {
        push_keys(&engine, &["k"], 7, "new") == 1
    });
    loop {
        if new.push() == (7, "new".to_owned()) {
            break;
        }
    }
    for (n, client) in others.iter_mut().enumerate() {
        assert_eq!(push_keys(&engine, &[&format!("other {n}")], 7, "here"), 1);
        assert_eq!(client.push(), (7, "here".to_owned()));
    }
    drop(old);
    stop(engine);
}

/// A pipelined auth, and the end right behind it.
#[test]
fn who_leaves_while_it_comes_has_left() {
    let engine = start(config(1, KeyPolicy::CloseOldest));
    let addr = engine.client_addrs()[0];
    let auth = bytes_of(&frame(7, 1, BODY.as_bytes()));
    for _ in 0..100 {
        let mut wire = Wire::tcp(addr);
        wire.send_bytes(&auth);
    }
    eventually("all were let in and are gone", || {
        total(&engine, |it| it.connections_accepted) == 100
            && total(&engine, |it| it.connections) == 0
    });
    eventually("no key is left", || push_keys(&engine, &["k"], 7, "") == 0);
    eventually("no member is left", || members(&engine, "live://1") == 0);
    stop(engine);
}
