//! How streams end: the client is told why in the last push, the body is complete, and then the connection closes. On a
//! WebSocket the same code is in the close frame.
#![allow(clippy::unwrap_used)]

mod support;

use std::io::Write;
use std::net::Shutdown;
use std::time::Duration;

use fanfare_engine::api::UserConnections;
use fanfare_engine::{EngineConfig, Limits, RoomOptions, SlowPolicy};
use serde_json::json;
use support::{
    Client, End, Http, Sdk, Transport, ask, brisk, eventually, open_config, open_rooms, push,
    start_scripted, stop, total,
};

/// All transports, those of listeners too.
fn all() -> impl Iterator<Item = Transport> {
    Transport::BOTH_WAYS.into_iter().chain(Transport::UNI)
}

fn connect_message(transport: Transport, token: &str) -> Vec<u8> {
    let connect = json!({ "token": token });
    if transport.is_uni() {
        return connect.to_string().into_bytes();
    }
    transport.message(&[json!({ "id": 1, "connect": connect })])
}

#[test]
fn a_forged_token_is_told_in_the_answer_itself() {
    let engine = start_scripted(EngineConfig {
        allow_anonymous: false,
        ..open_config(2)
    });
    let addr = engine.client_addrs()[0];
    for transport in all() {
        for token in ["invalid", ""] {
            let message = connect_message(transport, token);
            let mut client = Sdk::open(addr, transport, &message);
            assert_eq!(
                client.closed_with(),
                (vec![], 3500),
                "{transport:?}, {token:?}"
            );
        }
    }
    assert_eq!(total(&engine, |it| it.auth_failures), 16);
    assert_eq!(total(&engine, |it| it.authenticated), 0);
    eventually("all are closed", || {
        total(&engine, |it| it.connections) == 0
    });
    stop(engine);
}

#[test]
fn an_expired_token_is_an_error_for_who_can_ask_for_another() {
    let engine = start_scripted(open_config(2));
    let addr = engine.client_addrs()[0];
    for transport in all() {
        let message = connect_message(transport, "expired");
        let mut client = Sdk::open(addr, transport, &message);
        if transport.is_uni() {
            assert_eq!(client.closed_with(), (vec![], 3005), "{transport:?}");
            continue;
        }
        let line = client.line().unwrap();
        assert_eq!(
            (&line["id"], &line["error"]["code"]),
            (&json!(1), &json!(109))
        );
    }
    stop(engine);
}

#[test]
fn what_is_no_connect_ends_in_a_disconnect_too() {
    let engine = start_scripted(open_config(2));
    let addr = engine.client_addrs()[0];
    let odd: [&[u8]; 6] = [
        br#"{"id":1,"subscribe":{"channel":"news"}}"#,
        br#"{"connect":{}}"#,
        b"{}",
        b"[1]",
        b"\"text\"",
        b" ",
    ];
    for transport in [Transport::WebSocket, Transport::Sse, Transport::HttpStream] {
        for message in odd {
            let mut client = Sdk::open(addr, transport, message);
            let text = String::from_utf8_lossy(message);
            assert_eq!(
                client.closed_with(),
                (vec![], 3501),
                "{transport:?}, {text}"
            );
        }
    }
    for transport in Transport::UNI {
        for message in [&b"[1]"[..], b"no JSON", b"{"] {
            let mut client = Sdk::open(addr, transport, message);
            assert_eq!(client.closed_with(), (vec![], 3501), "{transport:?}");
        }
    }
    for transport in [Transport::WebSocketProtobuf, Transport::HttpStreamProtobuf] {
        for message in [
            &b"\xff"[..],
            b"\x05\x08",
            b"\x02\x08\x01",
            b"\x00",
            b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01",
        ] {
            let mut client = Sdk::open(addr, transport, message);
            assert_eq!(
                client.closed_with(),
                (vec![], 3501),
                "{transport:?}, {message:?}"
            );
        }
    }
    assert_eq!(total(&engine, |it| it.authenticated), 0);
    eventually("all are closed", || {
        total(&engine, |it| it.connections) == 0
    });
    stop(engine);
}

#[test]
fn who_is_disconnected_is_told_why() {
    let engine = start_scripted(open_config(3));
    let addr = engine.client_addrs()[0];
    for (code, reason) in [
        (3000, "come back"),
        (4999, "go \"away\"\r\nnow\u{1f600}"),
        (3503, "x"),
    ] {
        let mut clients: Vec<Sdk> = all()
            .map(|transport| Sdk::connect(addr, transport, "ann room=news"))
            .collect();
        push(&engine, "news", "7");
        for client in &mut clients {
            assert_eq!(client.push()["pub"]["data"], 7);
        }
        let user = UserConnections {
            user: "ann".into(),
            client: None,
            except: Vec::new(),
        };
        ask(|reply| engine.handle().disconnect(user, code, reason, reply)).unwrap();
        for client in &mut clients {
            let end = (vec![], u64::from(code));
            assert_eq!(client.closed_with(), end, "{:?}", client.transport);
        }
    }
    stop(engine);
}

#[test]
fn who_answers_pings_stays_and_who_does_not_is_told_so() {
    let engine = start_scripted(EngineConfig {
        limits: Limits {
            ping_interval: Duration::from_millis(1000),
            pong_timeout: Duration::from_millis(900),
            ..brisk()
        },
        ..open_config(2)
    });
    let addr = engine.client_addrs()[0];
    std::thread::scope(|scope| {
        for transport in all() {
            scope.spawn(move || {
                let mut client = Sdk::connect(addr, transport, "ann");
                let answers = !transport.is_uni();
                assert_eq!(client.welcome["pong"].as_bool().unwrap_or(false), answers);
                // Longer than anyone stays who does not answer.
                let until = if transport.is_uni() { 4 } else { 3 };
                client.stop_after_pings = Some(until);
                assert_eq!(client.line(), Err(End::Asked), "{transport:?}");
                client.stop_after_pings = None;
                if answers {
                    client.answers_pings = false;
                    assert_eq!(client.closed_with(), (vec![], 3012), "{transport:?}");
                }
            });
        }
    });
    assert_eq!(total(&engine, |it| it.pong_timeouts), 5);
    stop(engine);
}

#[test]
fn who_reads_too_slowly_hears_whole_messages_and_then_so() {
    let mut config = EngineConfig {
        limits: Limits {
            message_bytes_max: 16_384,
            unsent_bytes_max: 4096,
            close_timeout: Duration::from_secs(20),
            ..Limits::default()
        },
        ..open_config(2)
    };
    config.namespaces.default = RoomOptions {
        slow_policy: SlowPolicy::Disconnect,
        lane_bytes_max: 65_536,
        history_size: 10,
        ..open_rooms()
    };
    let engine = start_scripted(config);
    let addr = engine.client_addrs()[0];
    let mut slow: Vec<Sdk> = all()
        .map(|transport| {
            let stream = Client::open_narrow(addr).stream;
            let message = connect_message(transport, "ann room=news");
            Sdk::on(stream, transport, &message).greeted()
        })
        .collect();
    let mut quick = Sdk::connect(addr, Transport::Sse, "bob room=news");
    let text = "x".repeat(4000);
    let mut published = 0;
    while total(&engine, |it| it.slow_disconnected) < slow.len() as u64 {
        published += 1;
        assert!(published < 5000, "nobody was ever too slow");
        push(
            &engine,
            "news",
            &json!({ "n": published, "text": text }).to_string(),
        );
        assert_eq!(quick.push()["pub"]["data"]["n"], published);
    }
    for client in &mut slow {
        let is_uni = client.transport.is_uni();
        let (lines, code) = client.closed_with();
        assert_eq!(code, 3008, "{:?}", client.transport);
        for (line, n) in lines.iter().zip(1..) {
            let push = if is_uni { line } else { &line["push"] };
            assert_eq!(
                (&push["pub"]["offset"], &push["pub"]["data"]["n"]),
                (&json!(n), &json!(n))
            );
        }
        assert!(!lines.is_empty() && (lines.len() as u64) < published);
    }
    drop((slow, quick));
    eventually("none is left", || {
        total(&engine, |it| it.connections + it.stalled) == 0
    });
    stop(engine);
}

#[test]
fn everyone_is_told_that_the_server_stops() {
    let engine = start_scripted(open_config(3));
    let addr = engine.client_addrs()[0];
    let mut clients: Vec<Sdk> = all()
        .map(|transport| Sdk::connect(addr, transport, "ann room=news"))
        .collect();
    // Streams that are not let in yet, and connections on which commands have come.
    let mut opening: Vec<Sdk> = Transport::EMULATED
        .into_iter()
        .map(|transport| {
            let message = connect_message(transport, "expired");
            let mut client = Sdk::open(addr, transport, &message);
            client.line().unwrap();
            client
        })
        .collect();
    for client in &mut clients {
        if !client.transport.is_uni() {
            assert_eq!(client.ask("ping", &json!({})), json!({}));
        }
    }
    let handle = engine.handle();
    handle.begin_drain(Duration::from_millis(300));
    for client in clients.iter_mut().chain(&mut opening) {
        assert_eq!(
            client.closed_with(),
            (vec![], 3001),
            "{:?}",
            client.transport
        );
    }
    drop((clients, opening));
    assert_eq!(engine.wait(Duration::from_secs(20)), Ok(()));
}

/// Servers take the end of what a client says for its end: who only listens keeps its side open, too.
#[test]
fn a_client_that_says_no_more_is_let_go() {
    let engine = start_scripted(open_config(2));
    let addr = engine.client_addrs()[0];
    for transport in Transport::STREAMS {
        let mut client = Sdk::connect(addr, transport, "ann room=news");
        eventually("it is a member", || total(&engine, |it| it.members) == 1);
        client.stream().shutdown(Shutdown::Write).unwrap();
        let mut end = client.line();
        while end.is_ok() {
            end = client.line();
        }
        assert_eq!(end, Err(End::Cut), "{transport:?}");
        eventually("nothing is left of it", || {
            total(&engine, |it| it.members + it.connections) == 0
        });
    }
    // Before it has been answered, too: the answer is for who asked.
    for transport in Transport::STREAMS {
        let mut http = Http::open(addr);
        http.stream
            .write_all(&transport.opening(&connect_message(transport, "ann")))
            .unwrap();
        http.say_no_more();
        assert_eq!(http.head().status, 200);
        assert!(!http.rest().is_empty(), "the welcome");
    }
    eventually("all are closed", || {
        total(&engine, |it| it.connections) == 0
    });
    stop(engine);
}

/// Clients that go without a word leave nothing, whatever was on its way to them.
#[test]
fn streams_that_are_cut_leave_nothing() {
    let engine = start_scripted(open_config(3));
    let addr = engine.client_addrs()[0];
    for round in 0..30 {
        let clients: Vec<Sdk> = all()
            .map(|transport| {
                let message = connect_message(transport, "ann room=news room=more");
                Sdk::open(addr, transport, &message)
            })
            .collect();
        push(&engine, "news", &round.to_string());
        if round % 2 == 0 {
            let opened = (round + 1) * 8;
            eventually("all are let in", || {
                total(&engine, |it| it.authenticated) >= opened / 2
            });
        }
        drop(clients);
    }
    eventually("nothing is left", || {
        total(&engine, |it| {
            it.members + it.connections + it.unsent_bytes + it.stalled + it.users_home
        }) == 0
    });
    stop(engine);
}
