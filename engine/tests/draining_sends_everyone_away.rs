//! An engine that stops: everyone is told to go elsewhere, nobody is let in, and every question is answered.
#![allow(clippy::unwrap_used)]

mod support;

use std::io::Write as _;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::time::Duration;

use fanfare_engine::api::{ApiError, HistoryQuery, Payload, UserConnections};
use fanfare_engine::{ConnRef, EngineConfig, Limits, ShardId};
use support::{
    Centrifuge, Client, Frame, Frames, ask, brisk, eventually, open_config, publish, push, start,
    total,
};

#[test]
fn everyone_is_told_that_the_server_stops() {
    let engine = start(open_config(3));
    let addr = engine.client_addrs()[0];
    let mut native: Vec<Client> = (0..40).map(|_| Client::connect(addr, "")).collect();
    let mut framed = Frames::connect(addr, "");
    let mut json: Vec<Centrifuge> = (0..10).map(|_| Centrifuge::connect(addr, "")).collect();
    // Connected and not introduced yet: they too are to come back, to another server.
    let silent = TcpStream::connect(addr).unwrap();
    let mut opening = Centrifuge::open(addr);
    for client in &mut native {
        client.join("news");
    }
    for n in 0..5 {
        push(&engine, "news", &n.to_string());
    }
    eventually("all are accepted", || {
        total(&engine, |it| it.connections) == 53
    });

    let handle = engine.handle();
    assert!(!handle.is_draining());
    handle.begin_drain(Duration::from_millis(300));
    assert!(handle.is_draining());

    for client in &mut native {
        for n in 0..5 {
            assert_eq!(client.publication().1, n.to_string().as_bytes());
        }
        assert_eq!(client.rest(), [Frame::Disconnect { code: 3001 }]);
    }
    assert_eq!(framed.next(), Frame::Disconnect { code: 3001 });
    assert_eq!(framed.0.closed_with(), Some(3001));
    for client in &mut json {
        assert_eq!(client.closed_with(), Some(3001));
    }
    assert_eq!(opening.closed_with(), Some(3001));
    drop((native, framed, json, opening, silent));
    assert_eq!(engine.wait(Duration::from_secs(20)), Ok(()));
    let counters = handle.counters();
    let sum = |number: fn(&fanfare_engine::ShardSnapshot) -> u64| {
        counters.iter().map(number).sum::<u64>()
    };
    assert_eq!(
        (sum(|it| it.connections), sum(|it| it.connections_closed)),
        (0, 53)
    );
    assert_eq!(sum(|it| it.members), 0);
    assert_eq!(sum(|it| it.handshake_timeouts), 0, "they were in time");
}

#[test]
fn the_window_holds_for_who_introduces_itself_meanwhile() {
    let engine = start(EngineConfig {
        limits: Limits {
            ping_interval: Duration::from_secs(60),
            pong_timeout: Duration::from_secs(1),
            ..brisk()
        },
        ..open_config(2)
    });
    let addr = engine.client_addrs()[0];
    let mut late: Vec<Client> = (0..20).map(|_| Client::open(addr)).collect();
    eventually("all are accepted", || {
        total(&engine, |it| it.connections) == 20
    });
    engine.handle().begin_drain(Duration::from_secs(2));
    for client in &mut late {
        client.hello("");
    }
    for mut client in late {
        let said = client.rest();
        assert_eq!(said.last(), Some(&Frame::Disconnect { code: 3001 }));
    }
    assert_eq!(engine.wait(Duration::from_secs(20)), Ok(()));
}

#[test]
fn nobody_is_let_in_while_others_still_leave() {
    let engine = start(open_config(2));
    let addr = engine.client_addrs()[0];
    let mut staying = Client::connect(addr, "");
    engine.handle().begin_drain(Duration::from_secs(1));
    // Whoever the kernel still had in its queue is closed without a word.
    eventually("shards have heard of it", || {
        let is_closed = TcpStream::connect(addr).is_ok_and(|mut stream| {
            // As every client, it says something: a connection that the kernel makes while the listener closes may have
            // no other end, and whoever is silent never learns of that.
            let _ = stream.write_all(&[0]);
            Client::on(stream).next() == Frame::Closed
        });
        is_closed || total(&engine, |it| it.connections) == 0
    });
    assert_eq!(staying.rest(), [Frame::Disconnect { code: 3001 }]);
    drop(staying);
    let authenticated = total(&engine, |it| it.authenticated);
    assert_eq!(engine.wait(Duration::from_secs(20)), Ok(()));
    assert_eq!(authenticated, 1);
    let refused = TcpStream::connect(addr).map_err(|error| error.kind());
    assert_eq!(
        refused.err(),
        Some(std::io::ErrorKind::ConnectionRefused),
        "nobody listens any more"
    );
}

#[test]
fn who_does_not_leave_is_counted() {
    let engine = start(EngineConfig {
        limits: Limits {
            close_timeout: Duration::from_secs(30),
            ..brisk()
        },
        ..open_config(2)
    });
    let addr = engine.client_addrs()[0];
    let clients: Vec<Client> = (0..3).map(|_| Client::connect(addr, "")).collect();
    engine.handle().begin_drain(Duration::ZERO);
    assert_eq!(engine.wait(Duration::from_millis(500)), Err(3));
    drop(clients);
}

#[test]
fn an_engine_that_has_stopped_says_so() {
    let engine = start(open_config(2));
    let handle = engine.handle();
    support::stop(engine);
    let payload = || Payload {
        bytes: b"1".as_slice().into(),
        is_json: true,
    };
    let user = || UserConnections {
        user: "u".into(),
        client: None,
        except: Vec::new(),
    };
    let query = HistoryQuery {
        room: "r".into(),
        limit: None,
        since: None,
        reverse: false,
    };
    let client = ConnRef::new(ShardId(1), 0, 0).client_id(7);
    let stopping = ApiError::Stopping;
    assert_eq!(
        ask(|reply| handle.publish(publish("r", "1"), reply)),
        Err(stopping)
    );
    assert_eq!(ask(|reply| handle.presence("r", reply)), Err(stopping));
    assert_eq!(
        ask(|reply| handle.presence_stats("r", reply)),
        Err(stopping)
    );
    assert_eq!(
        ask(|reply| handle.history(query, reply)).map(|_| ()),
        Err(stopping)
    );
    assert_eq!(
        ask(|reply| handle.history_remove("r", reply)),
        Err(stopping)
    );
    assert_eq!(ask(|reply| handle.rooms(None, reply)), Err(stopping));
    assert_eq!(
        ask(|reply| handle.subscribe(user(), "r", reply)),
        Err(stopping)
    );
    assert_eq!(
        ask(|reply| handle.unsubscribe(user(), "r", reply)),
        Err(stopping)
    );
    assert_eq!(
        ask(|reply| handle.disconnect(user(), 3000, "", reply)),
        Err(stopping)
    );
    assert_eq!(
        ask(|reply| handle.push_user("u", payload(), reply)),
        Err(stopping)
    );
    assert_eq!(
        ask(|reply| handle.push_connection(client, payload(), reply)),
        Err(stopping)
    );
    assert_eq!(
        ask(|reply| handle.push_all(payload().into(), reply)),
        Err(stopping)
    );
}

#[test]
fn whatever_is_asked_while_an_engine_stops_is_answered() {
    for _ in 0..10 {
        let engine = start(open_config(3));
        let handle = engine.handle();
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let askers: Vec<_> = (0..2)
                .map(|_| {
                    scope.spawn(|| {
                        let (sender, answers) = channel();
                        let mut asked = 0_u64;
                        while !is_over.load(Ordering::Relaxed) {
                            asked += 2;
                            let published = sender.clone();
                            let room = format!("room {}", asked % 16);
                            let reply = Box::new(move |it: Result<_, _>| {
                                published.send(it.is_ok()).unwrap()
                            });
                            handle.publish(publish(&room, "1"), reply);
                            let listed = sender.clone();
                            let reply =
                                Box::new(move |it: Result<_, _>| listed.send(it.is_ok()).unwrap());
                            handle.rooms(None, reply);
                        }
                        drop(sender);
                        let answered = (0..asked)
                            .map_while(|_| answers.recv_timeout(Duration::from_secs(10)).ok());
                        (asked, answered.count() as u64)
                    })
                })
                .collect();
            std::thread::sleep(Duration::from_millis(20));
            handle.begin_drain(Duration::ZERO);
            assert_eq!(engine.wait(Duration::from_secs(20)), Ok(()));
            is_over.store(true, Ordering::Relaxed);
            for asker in askers {
                let (asked, answered) = asker.join().unwrap();
                assert_eq!(answered, asked);
            }
        });
    }
}
