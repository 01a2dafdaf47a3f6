//! Requests that never end, end badly or never stop coming: what a shard keeps of them is bounded, counted, and given back.
#![allow(clippy::unwrap_used)]

mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use fanfare_engine::{Engine, EngineConfig, Limits};
use serde_json::json;
use socket2::SockRef;
use support::{
    Client, Http, Sdk, Transport, brisk, emulation, eventually, open_config, request, start,
    start_scripted, stop, total, upgrade_request,
};

fn engine_with(limits: Limits) -> (Engine, SocketAddr) {
    let engine = start(EngineConfig {
        limits,
        ..open_config(1)
    });
    let addr = engine.client_addrs()[0];
    (engine, addr)
}

fn kept(engine: &Engine) -> u64 {
    total(engine, |it| it.request_bytes)
}

/// A request whose body is not all there: the beginning, and the rest.
fn in_two(target: &str, body: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let whole = request("POST", target, "", body);
    let (beginning, rest) = whole.split_at(whole.len() - 1);
    (beginning.to_vec(), rest.to_vec())
}

/// Waits until the engine keeps this many bytes or more.
fn has_begun(engine: &Engine) {
    eventually("something is kept", || kept(engine) > 0);
}

/// However a connection ends that had begun a request, or the request does.
#[test]
fn what_is_kept_is_given_back_at_every_end() {
    let (engine, addr) = engine_with(Limits {
        handshake_timeout: Duration::from_secs(1),
        message_bytes_max: 10_000,
        ..brisk()
    });
    let elsewhere = br#"{"node":"elsewhere","session":"","data":""}"#;
    type End = fn(Http, Vec<u8>) -> Option<Http>;
    let ends: [(&str, &str, &[u8], End); 9] = [
        ("the client closes", "/emulation", elsewhere, |_, _| None),
        ("it resets", "/emulation", elsewhere, |http, _| {
            SockRef::from(&http.stream)
                .set_linger(Some(Duration::ZERO))
                .unwrap();
            None
        }),
        ("it says no more", "/emulation", elsewhere, |mut http, _| {
            http.say_no_more();
            assert!(http.is_closed());
            None
        }),
        ("it is too late", "/emulation", elsewhere, |mut http, _| {
            assert!(http.is_closed());
            None
        }),
        (
            "it is answered",
            "/emulation",
            elsewhere,
            |mut http, rest| {
                assert_eq!(http.ask(&rest).status, 404);
                Some(http)
            },
        ),
        (
            "the next one is malformed",
            "/emulation",
            elsewhere,
            |mut http, rest| {
                http.send(&[&rest[..], b"\r\n\r\n"].concat());
                assert_eq!(http.answer().status, 404);
                assert_eq!(http.answer().status, 400);
                Some(http)
            },
        ),
        (
            "a stream opens",
            "/connection/http_stream",
            br#"{"id":1,"connect":{}}"#,
            |mut http, rest| {
                http.send(&rest);
                assert_eq!(http.head().status, 200);
                Some(http)
            },
        ),
        (
            "a stream is refused",
            "/connection/http_stream",
            br#"{"id":1,"nothing":{}}"#,
            |mut http, rest| {
                http.send(&rest);
                assert_eq!(http.head().status, 200);
                Some(http)
            },
        ),
        (
            "it is not a route",
            "/nowhere",
            elsewhere,
            |mut http, rest| {
                assert_eq!(http.ask(&rest).status, 404);
                assert!(http.is_closed());
                None
            },
        ),
    ];
    for (what, target, body, end) in ends {
        let (beginning, rest) = in_two(target, body);
        let mut http = Http::open(addr);
        http.send(&beginning);
        has_begun(&engine);
        assert!(kept(&engine) >= beginning.len() as u64);
        let still_open = end(http, rest);
        eventually(what, || kept(&engine) == 0);
        drop(still_open);
    }
    // A head that becomes a WebSocket, one that becomes too large, and one whose body would be.
    let upgrade = upgrade_request("/connection/websocket") + "\r\n";
    let large = format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(16_384));
    let announced = String::from_utf8(request("POST", "/emulation", "", &[b'x'; 10_001])).unwrap();
    for (whole, answer) in [(upgrade, 101), (large, 431), (announced, 413)] {
        let mut http = Http::open(addr);
        let (head, rest) = whole.as_bytes().split_at(20);
        http.send(head);
        has_begun(&engine);
        http.send(rest);
        assert_eq!(http.head().status, answer);
        eventually("given back", || kept(&engine) == 0);
    }
    // The engine stops.
    let mut http = Http::open(addr);
    http.send(&in_two("/emulation", elsewhere).0);
    has_begun(&engine);
    let handle = engine.handle();
    handle.begin_drain(Duration::ZERO);
    assert!(http.is_closed());
    assert_eq!(engine.wait(Duration::from_secs(20)), Ok(()));
    assert_eq!(
        handle
            .counters()
            .iter()
            .map(|it| it.request_bytes)
            .sum::<u64>(),
        0
    );
}

#[test]
fn a_shard_keeps_so_much_and_no_more() {
    let limit = 200_000;
    let (engine, addr) = engine_with(Limits {
        request_bytes_per_shard_max: limit,
        handshake_timeout: Duration::from_secs(600),
        ..brisk()
    });
    let body = vec![b'x'; 60_000];
    let begun = request("POST", "/emulation", "", &body)[..10_000].to_vec();
    let mut clients = Vec::new();
    while total(&engine, |it| it.requests_refused_full) == 0 {
        let mut http = Http::open(addr);
        http.send(&begun);
        clients.push(http);
        assert!(clients.len() < 100, "nobody was ever refused");
        let sent = clients.len() as u64 * 10_000;
        eventually("it is read", || {
            total(&engine, |it| it.bytes_received) == sent
                || total(&engine, |it| it.requests_refused_full) > 0
        });
        assert!(kept(&engine) <= limit.into());
    }
    assert!(clients.len() > 5, "they fit in part");
    eventually("the refused one is closed", || {
        total(&engine, |it| it.connections) == clients.len() as u64 - 1
    });
    assert!(clients.last_mut().unwrap().is_closed());
    // Who keeps the shard waiting does not keep others from being served: what comes whole need not be kept.
    let mut whole = Sdk::connect(addr, Transport::Sse, "");
    assert_eq!(whole.ask("ping", &json!({})), json!({}));
    let native = Client::connect(addr, "");
    drop((clients, whole, native));
    eventually("all is given back", || {
        kept(&engine) == 0 && total(&engine, |it| it.connections) == 0
    });
    // And there is room again.
    let (beginning, rest) = in_two("/emulation", &body);
    let mut http = Http::open(addr);
    http.send(&beginning);
    has_begun(&engine);
    assert_eq!(http.ask(&rest).status, 400);
    stop(engine);
}

/// Resident memory of this process, in bytes.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = statm.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}

/// Streams whose connect never comes, bodies that never end, heads that never end.
#[test]
fn ten_thousand_half_open_sessions_take_a_bounded_amount_of_memory() {
    let limit = 8 << 20;
    let engine = start_scripted(EngineConfig {
        limits: Limits {
            request_bytes_per_shard_max: limit,
            handshake_timeout: Duration::from_secs(600),
            ..brisk()
        },
        ..open_config(2)
    });
    let addr = engine.client_addrs()[0];
    let body = request("POST", "/emulation", "", &[b'x'; 60_000])[..6_000].to_vec();
    let head = format!("GET /connection/sse HTTP/1.1\r\nX: {}", "x".repeat(6_000)).into_bytes();
    let connect =
        Transport::HttpStream.message(&[json!({ "id": 1, "connect": { "token": "expired" } })]);
    let stream = Transport::HttpStream.opening(&connect);
    let before = resident();
    let mut clients = Vec::new();
    for n in 0..10_000 {
        let mut client = TcpStream::connect(addr).unwrap();
        let _ = client.write_all([&body, &head, &stream][n % 3]);
        clients.push(client);
    }
    let accounted = || {
        let counters = engine.handle().counters();
        let sum = |number: fn(&fanfare_engine::ShardSnapshot) -> u64| {
            counters.iter().map(number).sum::<u64>()
        };
        // Each shard has read from all that it has not closed.
        sum(|it| it.connections_accepted) == 10_000 && sum(|it| it.auth_failures) == 3_333
    };
    eventually("all have come", accounted);
    eventually("the bounds are reached", || {
        let full = total(&engine, |it| it.requests_refused_full);
        full > 0 && total(&engine, |it| it.connections) + full == 10_000
    });
    assert!(kept(&engine) <= 2 * u64::from(limit));
    // Without the bound it would be 40 MB of requests; the rest is what connections cost.
    let grown = resident().saturating_sub(before);
    assert!(
        grown < 2 * u64::from(limit) + 10_000 * 2048,
        "{grown} bytes"
    );
    // Others are served.
    for transport in Transport::BOTH_WAYS {
        let mut client = Sdk::connect(addr, transport, "ann");
        assert_eq!(client.ask("ping", &json!({})), json!({}));
    }
    drop(clients);
    eventually("all is given back", || {
        kept(&engine) + total(&engine, |it| it.connections) == 0
    });
    stop(engine);
}

/// In the time that a connection has to say who it is.
#[test]
fn half_open_sessions_end() {
    let engine = start_scripted(EngineConfig {
        limits: Limits {
            handshake_timeout: Duration::from_secs(1),
            ..brisk()
        },
        ..open_config(2)
    });
    let addr = engine.client_addrs()[0];
    let expired = json!({ "id": 1, "connect": { "token": "expired" } });
    let mut streams: Vec<Sdk> = Transport::EMULATED
        .into_iter()
        .map(|transport| {
            Sdk::open(
                addr,
                transport,
                &transport.message(std::slice::from_ref(&expired)),
            )
        })
        .collect();
    let (beginning, _) = in_two("/emulation", b"{}");
    let mut bodies: Vec<Http> = (0..20).map(|_| Http::open(addr)).collect();
    for http in &mut bodies {
        http.send(&beginning);
    }
    // An answered request does not make a client known either; its end is no fault.
    let mut idle = Http::open(addr);
    assert_eq!(
        idle.ask(&request("OPTIONS", "/emulation", "", b"")).status,
        204
    );
    for stream in &mut streams {
        let (lines, code) = stream.closed_with();
        assert_eq!(
            (lines[0]["error"]["code"].clone(), code),
            (json!(109), 3502)
        );
    }
    for http in bodies.iter_mut().chain([&mut idle]) {
        assert!(http.is_closed());
    }
    assert_eq!(total(&engine, |it| it.handshake_timeouts), 23);
    drop((streams, bodies, idle));
    eventually("none is left", || total(&engine, |it| it.connections) == 0);
    stop(engine);
}

#[test]
fn heads_are_bounded_whatever_they_are_made_of() {
    let (engine, addr) = engine_with(brisk());
    let bombs = [
        (
            "one line",
            "GET / HTTP/1.1\r\nX: ".to_owned(),
            "x".repeat(1 << 20),
        ),
        (
            "many lines",
            "GET / HTTP/1.1\r\n".into(),
            "X: y\r\n".repeat(100_000),
        ),
        (
            "many names",
            "GET / HTTP/1.1\r\n".into(),
            (0..50_000).map(|n| format!("X-{n}: y\r\n")).collect(),
        ),
        ("a target", "GET /".into(), "a/".repeat(1 << 19)),
        (
            "parameters",
            "GET /connection/sse?".into(),
            "cf_connect=%7B&".repeat(50_000),
        ),
        ("a method", "G".into(), "ET".repeat(1 << 19)),
        ("blanks", "GET / HTTP/1.1\r\nX:".into(), " ".repeat(1 << 20)),
    ];
    for (what, beginning, rest) in bombs {
        let mut http = Http::open(addr);
        let sent = beginning + &rest;
        // The server may close before it has taken all.
        let _ = http.stream.write_all(sent.as_bytes());
        let answer = http.rest();
        let answer = String::from_utf8_lossy(&answer);
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 431 "),
            "{what}: {answer}"
        );
        assert!(kept(&engine) <= 40 * 1024, "{what}");
    }
    eventually("none is left", || total(&engine, |it| it.connections) == 0);
    assert_eq!(
        (total(&engine, |it| it.protocol_errors), kept(&engine)),
        (7, 0)
    );

    // Small, and much work for who reads it carelessly.
    let mut http = Http::open(addr);
    let deep = "[".repeat(60_000);
    let nested = format!("{{\"session\":{deep}");
    let many = format!("{{{}\"node\":\"\"}}", "\"a\":1,".repeat(9_000));
    let escaped = format!("{{\"node\":\"{}\"}}", "\\u0041".repeat(10_000));
    let commands = format!("{{\"node\":\"x\",\"data\":\"{}\"}}", "{}\\n".repeat(10_000));
    for body in [
        &deep,
        &nested,
        &many,
        &escaped,
        &commands,
        "",
        "null",
        "\"\"",
        "[]",
        "\u{feff}{}",
    ] {
        let answer = http.ask(&request("POST", "/emulation", "", body.as_bytes()));
        assert!(matches!(answer.status, 400 | 404), "{answer:?}");
    }
    stop(engine);
}

const TINY: &[u8] = b"OPTIONS /emulation HTTP/1.1\r\nHost: a\r\n\r\n";

#[test]
fn a_hundred_thousand_pipelined_requests_have_as_many_answers() {
    // This client may be slower than the server.
    let (engine, addr) = engine_with(Limits {
        direct_bytes_max: 64 << 20,
        ..brisk()
    });
    let mut http = Http::open(addr);
    let mut writer = http.stream.try_clone().unwrap();
    let writer = std::thread::spawn(move || {
        for _ in 0..100 {
            writer.write_all(&TINY.repeat(1000)).unwrap();
        }
    });
    for n in 0..100_000 {
        assert_eq!(http.answer().status, 204, "{n}");
    }
    writer.join().unwrap();
    assert!(http.has_nothing_to_read());
    assert_eq!(total(&engine, |it| it.http_requests), 100_000);
    assert_eq!(total(&engine, |it| it.slow_disconnected), 0);
    drop(http);
    eventually("nothing is kept", || {
        kept(&engine) + total(&engine, |it| it.unsent_bytes) == 0
    });
    stop(engine);
}

#[test]
fn who_asks_without_reading_is_closed() {
    let (engine, addr) = engine_with(Limits {
        direct_bytes_max: 100_000,
        ..brisk()
    });
    let mut stream = Client::open_narrow(addr).stream;
    stream
        .set_write_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    let many = TINY.repeat(1000);
    let mut asked = 0;
    let error = loop {
        if let Err(error) = stream.write_all(&many) {
            break error;
        }
        asked += 1000;
        // The limit, and what one turn adds to it: all receive buffers full of requests, whose answers are up to five
        // times as long.
        assert!(total(&engine, |it| it.unsent_bytes) < 100_000 + 256 * 4096 * 5);
        assert!(asked < 50_000_000, "it was never closed");
    };
    assert!(
        matches!(
            error.kind(),
            ErrorKind::ConnectionReset | ErrorKind::BrokenPipe
        ),
        "{error}"
    );
    assert_eq!(total(&engine, |it| it.slow_disconnected), 1);
    eventually("it is gone", || {
        total(&engine, |it| it.connections) + total(&engine, |it| it.unsent_bytes) == 0
    });
    stop(engine);
}

/// Who asks again and again is let do so, and yet goes when everyone has to.
#[test]
fn a_client_that_never_stops_asking_does_not_keep_an_engine_from_stopping() {
    let engine = start(EngineConfig {
        limits: Limits {
            handshake_timeout: Duration::from_secs(1),
            close_timeout: Duration::from_millis(200),
            ..Limits::default()
        },
        ..open_config(2)
    });
    let addr = engine.client_addrs()[0];
    let mut clients: Vec<Http> = (0..6).map(|_| Http::open(addr)).collect();
    // For longer than one request may take, of each kind: whole, in two parts, and late.
    let (beginning, rest) = in_two("/emulation", b"{}");
    for _ in 0..4 {
        std::thread::sleep(Duration::from_millis(400));
        for (n, http) in clients.iter_mut().enumerate() {
            let answer = if n % 2 == 0 {
                http.ask(TINY)
            } else {
                http.send(&beginning);
                http.ask(&rest)
            };
            assert!(answer.keeps_alive());
        }
    }
    assert_eq!(total(&engine, |it| it.handshake_timeouts), 0);
    let handle = engine.handle();
    handle.begin_drain(Duration::from_secs(1));
    let said = std::thread::scope(|scope| {
        let askers: Vec<_> = clients
            .iter_mut()
            .map(|http| {
                scope.spawn(|| {
                    // As long as it is let.
                    let mut answers = Vec::new();
                    let mut chunk = [0; 4096];
                    while http.stream.write_all(TINY).is_ok() {
                        match http.stream.read(&mut chunk) {
                            Ok(n) if n > 0 => answers.extend_from_slice(&chunk[..n]),
                            _ => break,
                        }
                    }
                    String::from_utf8(answers).unwrap()
                })
            })
            .collect();
        askers
            .into_iter()
            .map(|it| it.join().unwrap())
            .collect::<Vec<_>>()
    });
    for said in said {
        // Told with the last answer, unless it came with none.
        let last = said.trim_end().rsplit("\r\n\r\n").next().unwrap();
        assert!(
            last.is_empty() || last.contains("Connection: close"),
            "{last}"
        );
        assert!(said.matches("Connection: close").count() <= 1);
    }
    assert_eq!(engine.wait(Duration::from_secs(20)), Ok(()));
}

/// An emulation request for nobody costs nothing that stays.
#[test]
fn requests_for_nobody_leave_nothing() {
    let (engine, addr) = engine_with(brisk());
    let client = Sdk::connect(addr, Transport::Sse, "");
    let mut http = Http::open(addr);
    for n in 0..1000_u32 {
        let session = format!("{n:048x}");
        let post = emulation(Transport::Sse, client.node(), &session, b"{}");
        assert_eq!(http.ask(&post).status, 204);
    }
    eventually("each is counted", || {
        total(&engine, |it| it.client_errors) == 1000
    });
    assert_eq!(kept(&engine), 0);
    stop(engine);
}
