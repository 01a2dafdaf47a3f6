//! Pages of other origins: which may ask, what browsers need to hear to let them, and that nothing they send can be made
//! into a line of an answer.
#![allow(clippy::unwrap_used)]

mod support;

use fanfare_engine::Engine;
use fanfare_engine::EngineConfig;
use serde_json::json;
use support::{Answer, Http, Transport, emulation, open_config, request, start, stop, total};

const FRIEND: &str = "https://friend.test";

fn engine_for(origins: &[&str]) -> Engine {
    start(EngineConfig {
        allowed_origins: origins.iter().map(|it| Box::from(*it)).collect(),
        ..open_config(1)
    })
}

/// The same request from a page of this origin.
fn from_page(request: &[u8], origin: &[u8]) -> Vec<u8> {
    let line_end = request.windows(2).position(|it| it == b"\r\n").unwrap();
    let (line, rest) = request.split_at(line_end);
    [line, b"\r\nOrigin: ", origin, rest].concat()
}

fn preflight(path: &str, names: &str) -> Vec<u8> {
    let lines = format!(
        "Access-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: {names}\r\n"
    );
    request("OPTIONS", path, &lines, b"")
}

fn assert_may_read(answer: &Answer, origin: &str) {
    assert_eq!(
        answer.header("Access-Control-Allow-Origin"),
        Some(origin),
        "{answer:?}"
    );
    assert_eq!(
        answer.header("Access-Control-Allow-Credentials"),
        Some("true")
    );
    assert_eq!(answer.header("Vary"), Some("Origin"));
}

fn opening(transport: Transport) -> Vec<u8> {
    let connect = if transport.is_uni() {
        b"{}".to_vec()
    } else {
        transport.message(&[json!({ "id": 1, "connect": {} })])
    };
    transport.opening(&connect)
}

/// The command of a session of this node, where it is not the stream's.
fn emulation_at(path: &str, node: &str) -> Vec<u8> {
    let body = json!({ "session": "", "node": node, "data": "{}" }).to_string();
    request("POST", path, "", body.as_bytes())
}

#[test]
fn pages_of_friends_may_ask_and_read() {
    let engine = engine_for(&[FRIEND]);
    let addr = engine.client_addrs()[0];
    for origin in [FRIEND, "http://fanfare.test", "https://Friend.Test"] {
        let mut http = Http::open(addr);
        let page = |request: &[u8]| from_page(request, origin.as_bytes());
        let answer = http.ask(&page(&preflight("/emulation", "content-type,x-token")));
        assert_eq!(answer.status, 204);
        assert_may_read(&answer, origin);
        let allowed = ("Access-Control-Allow-Headers", "content-type,x-token");
        assert_eq!(answer.header(allowed.0), Some(allowed.1));
        assert_eq!(answer.header("Access-Control-Allow-Methods"), Some("POST"));
        // Whatever the answer is, the page sees it.
        let elsewhere = emulation(Transport::Sse, "elsewhere", "", b"");
        let asked = [
            (elsewhere, 404),
            (request("POST", "/emulation", "", b"no JSON"), 400),
            (request("GET", "/emulation", "", b""), 405),
            (request("GET", "/connection/sse", "", b""), 400),
        ];
        for (request, status) in asked {
            let answer = http.ask(&page(&request));
            assert_eq!(answer.status, status);
            assert_may_read(&answer, origin);
        }
        let polls = [
            (
                request("POST", "/poll/connect", "", b"{\"id\":1,\"connect\":{}}"),
                200,
            ),
            (request("GET", "/poll/receive?session=0", "", b""), 404),
            (emulation_at("/poll/send", "elsewhere"), 404),
        ];
        for (request, status) in polls {
            let answer = http.ask(&page(&request));
            assert_eq!(answer.status, status, "{answer:?}");
            assert_may_read(&answer, origin);
        }
        for transport in Transport::STREAMS {
            let mut http = Http::open(addr);
            http.send(&page(&opening(transport)));
            let head = http.head();
            assert_eq!(head.status, 200);
            assert_may_read(&head, origin);
        }
    }
    // What does not come from a page is told nothing of it.
    let mut http = Http::open(addr);
    let answer = http.ask(&preflight("/emulation", "x"));
    assert_eq!(answer.header("Access-Control-Allow-Origin"), None);
    stop(engine);
}

#[test]
fn pages_of_strangers_are_not_listened_to() {
    let engine = engine_for(&[FRIEND]);
    let addr = engine.client_addrs()[0];
    let origins = [
        "https://evil.test",
        "null",
        "",
        "https://friend.test.evil.test",
        "https://friend.test:8443",
        "http://friend.test",
        "http://fanfare.test:81",
        "friend.test",
    ];
    let requests: Vec<Vec<u8>> = Transport::STREAMS
        .into_iter()
        .map(opening)
        .chain(Transport::STREAMS.map(|it| preflight(it.path(), "x")))
        .chain([
            preflight("/emulation", "x"),
            emulation(Transport::Sse, "elsewhere", "", b""),
            request("GET", "/emulation", "", b""),
            preflight("/poll/connect", "x"),
            request("POST", "/poll/connect", "", b"{\"id\":1,\"connect\":{}}"),
            request("GET", "/poll/receive?session=0", "", b""),
            emulation_at("/poll/send", "elsewhere"),
        ])
        .collect();
    for origin in origins {
        for request in &requests {
            let mut http = Http::open(addr);
            let answer = http.ask(&from_page(request, origin.as_bytes()));
            assert_eq!(
                (answer.status, answer.keeps_alive()),
                (403, false),
                "{origin}"
            );
            assert_eq!(answer.header("Access-Control-Allow-Origin"), None);
            assert!(http.is_closed());
        }
    }
    assert_eq!(total(&engine, |it| it.authenticated), 0);
    let refused = origins.len() * requests.len();
    assert_eq!(total(&engine, |it| it.protocol_errors), refused as u64);
    stop(engine);
}

/// With `*` any origin is said back, and any names of headers are: they are all that a stranger can put into an answer.
#[test]
fn nothing_said_back_can_end_its_line() {
    let engine = engine_for(&["*"]);
    let addr = engine.client_addrs()[0];
    let mut said_back = [0, 0];
    for byte in 0..=u8::MAX {
        for (which, said) in said_back.iter_mut().enumerate() {
            for injected in [vec![byte], vec![byte, b'\r', b'\n'], vec![b'\r', byte]] {
                let mut value = b"https://a".to_vec();
                if which == 1 {
                    value = b"x-a".to_vec();
                }
                value.extend_from_slice(&injected);
                // After a line break it is a header of the request, and must not become one of the answer.
                value.extend_from_slice(if injected.len() == 1 {
                    b"b"
                } else {
                    b"Set-Cookie: a=b"
                });
                let plain = preflight("/emulation", "MARK");
                let request = if which == 0 {
                    from_page(&plain, &value)
                } else {
                    let at = plain.windows(4).position(|it| it == b"MARK").unwrap();
                    let page = [&plain[..at], &value[..], &plain[at + 4..]].concat();
                    from_page(&page, b"https://a.test")
                };
                let mut http = Http::open(addr);
                // The head is read strictly: no control character in any line of it.
                let answer = http.ask(&request);
                assert_eq!(answer.header("Set-Cookie"), None, "{byte:#x}");
                let names = answer.header("Access-Control-Allow-Headers");
                let origin = answer.header("Access-Control-Allow-Origin");
                match answer.status {
                    204 => {}
                    400 | 403 => {
                        assert_eq!((origin, names), (None, None), "{byte:#x}");
                        continue;
                    }
                    other => panic!("{other} for {byte:#x}"),
                }
                let echo = [origin, names][which];
                if let Some(echo) = echo
                    && echo.as_bytes() == value
                {
                    assert!(byte == b'\t' || (0x20..0x7f).contains(&byte), "{byte:#x}");
                    *said += 1;
                }
            }
        }
    }
    // In an origin those that are visible; in a list of names those of names, a comma, and blanks.
    assert_eq!(said_back, [94, 62 + 15 + 3]);

    let ask = |origin: &str, names: &str| {
        let request = from_page(&preflight("/emulation", names), origin.as_bytes());
        Http::open(addr).ask(&request)
    };
    let long = |length: usize| "x".repeat(length);
    assert_may_read(&ask(&long(512), "x"), &long(512));
    assert_eq!(ask(&long(513), "x").status, 403);
    assert_eq!(ask("https://\u{e9}.test", "x").status, 403);
    assert_eq!(ask("https://a b", "x").status, 403);
    let names = |names: &str| {
        let answer = ask("https://a.test", names);
        assert_eq!(answer.status, 204);
        answer
            .header("Access-Control-Allow-Headers")
            .map(str::to_owned)
    };
    assert_eq!(names(&long(1024)), Some(long(1024)));
    assert_eq!(
        names("x-a, x-b,\tx-c!#$%&'*+-.^_`|~9"),
        Some("x-a, x-b,\tx-c!#$%&'*+-.^_`|~9".into())
    );
    for odd in [
        &long(1025)[..],
        "x: y",
        "x;y",
        "\u{85}",
        "x\u{e9}",
        "\"x\"",
        "<x>",
        "{x}",
    ] {
        assert_eq!(names(odd), None, "{odd}");
    }
    stop(engine);
}
