//! Requests on the client port: each has its own answer, however the bytes come, and none is made of another's body.
#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use fanfare_engine::api::{Message, Payload};
use fanfare_engine::{EngineConfig, Limits};
use support::{
    Http, Sdk, Transport, ask, brisk, eventually, open_config, request, start, stop, total,
};

const STREAM_PATHS: [(&str, &str); 4] = [
    ("/connection/sse", "GET, POST"),
    ("/connection/uni_sse", "GET, POST"),
    ("/connection/http_stream", "POST"),
    ("/connection/uni_http_stream", "POST"),
];
const WEBSOCKET_PATHS: [&str; 4] = [
    "/connection/websocket",
    "/connection/uni_websocket",
    "/connection/native",
    "/sub",
];

/// Requests of every kind that leave the connection open, and the status that each is answered with.
fn script() -> Vec<(Vec<u8>, u16)> {
    let elsewhere = br#"{"session":"s","node":"elsewhere","data":"{}"}"#;
    vec![
        (request("OPTIONS", "/emulation", "", b""), 204),
        (request("POST", "/emulation", "", elsewhere), 404),
        (request("GET", "/emulation", "", b""), 405),
        (request("HEAD", "/emulation", "", b""), 405),
        (
            request("POST", "/emulation", "", b"GET / HTTP/1.1\r\n\r\n"),
            400,
        ),
        (
            request("POST", "/emulation", "Upgrade: h2c\r\n", elsewhere),
            404,
        ),
        (request("GET", "/connection/sse", "", b""), 400),
        (request("DELETE", "/connection/sse", "", elsewhere), 405),
        (
            request("GET", "/connection/http_stream?x", "X: \t y\r\n", b""),
            405,
        ),
        (
            request("OPTIONS", "/connection/uni_sse", "", b"\r\n\r\n"),
            204,
        ),
    ]
}

/// What the server sends for these bytes, the last of which ask it to close.
fn transcript(http: &mut Http, bytes: &[u8], pieces: usize) -> Vec<u8> {
    for piece in bytes.chunks(pieces) {
        http.send(piece);
    }
    http.rest()
}

#[test]
fn however_requests_are_cut_they_are_answered_the_same() {
    let last = request("OPTIONS", "/emulation", "Connection: close\r\n", b"");
    let mut all: Vec<u8> = script()
        .into_iter()
        .flat_map(|(request, _)| request)
        .collect();
    all.extend_from_slice(&last);

    // One after the other.
    let engine = start(open_config(1));
    let addr = engine.client_addrs()[0];
    let mut http = Http::open(addr);
    for (request, status) in script() {
        http.send(&request);
        let is_head = request.starts_with(b"HEAD");
        let answer = if is_head { http.head() } else { http.answer() };
        assert_eq!((answer.status, answer.keeps_alive()), (status, true));
    }
    let closing = http.ask(&last);
    assert_eq!((closing.status, closing.keeps_alive()), (204, false));
    assert!(http.is_closed());
    assert_eq!(total(&engine, |it| it.http_requests), 11);

    // All at once, and in two parts wherever it is cut.
    let expected = transcript(&mut Http::open(addr), &all, all.len());
    let statuses = String::from_utf8(expected.clone()).unwrap();
    assert_eq!(statuses.matches("HTTP/1.1 ").count(), 11);
    for cut in 1..all.len() {
        let mut http = Http::open(addr);
        http.send(&all[..cut]);
        // The second part is a packet of its own, and read as one when the first has been.
        std::thread::yield_now();
        http.send(&all[cut..]);
        assert_eq!(http.rest(), expected, "cut at {cut}");
    }
    eventually("nothing is kept", || {
        total(&engine, |it| it.request_bytes) == 0
    });
    stop(engine);

    // So few bytes at a time that every place is cut for certain.
    for receive_buffer_bytes in [1, 2, 3, 7, 61] {
        let engine = start(EngineConfig {
            receive_buffer_bytes,
            ..open_config(1)
        });
        let addr = engine.client_addrs()[0];
        for pieces in [all.len(), 1, 5] {
            let heard = transcript(&mut Http::open(addr), &all, pieces);
            assert_eq!(heard, expected, "{receive_buffer_bytes} at a time");
        }
        assert_eq!(total(&engine, |it| it.http_requests), 33);
        stop(engine);
    }
}

#[test]
fn bodies_have_a_length_and_a_limit() {
    let engine = start(EngineConfig {
        limits: Limits {
            message_bytes_max: 1000,
            ..brisk()
        },
        ..open_config(1)
    });
    let addr = engine.client_addrs()[0];
    let mut body = br#"{"node":"elsewhere","session":"","data":""}"#.to_vec();
    body.resize(1000, b' ');
    assert_eq!(
        Http::open(addr)
            .ask(&request("POST", "/emulation", "", &body))
            .status,
        404
    );
    body.push(b' ');
    let too_long = request("POST", "/emulation", "", &body);

    let with = |line: &str| request("POST", "/emulation", line, b"");
    let cases = [
        ("one too many", too_long.clone(), 413),
        (
            "the head alone says so",
            too_long[..too_long.len() - 1001].to_vec(),
            413,
        ),
        ("2^63", with("Content-Length: 9223372036854775808\r\n"), 413),
        (
            "2^64 - 1",
            with("Content-Length: 18446744073709551615\r\n"),
            413,
        ),
        (
            "2^64",
            with("Content-Length: 18446744073709551616\r\n"),
            400,
        ),
        ("chunks", with("Transfer-Encoding: chunked\r\n"), 411),
        (
            "waiting to go on",
            with("Content-Length: 1001\r\nExpect: 100-continue\r\n"),
            413,
        ),
        (
            "chunks, waiting to go on",
            with("Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n"),
            411,
        ),
    ];
    for (what, request, status) in cases {
        let mut http = Http::open(addr);
        let answer = http.ask(&request);
        assert_eq!(
            (answer.status, answer.keeps_alive()),
            (status, false),
            "{what}"
        );
        assert!(http.is_closed(), "{what}");
    }
    assert_eq!(total(&engine, |it| it.protocol_errors), 8);
    assert_eq!(total(&engine, |it| it.http_requests), 1);
    stop(engine);
}

#[test]
fn a_body_that_is_held_back_is_asked_for_once() {
    let engine = start(open_config(1));
    let addr = engine.client_addrs()[0];
    let body = br#"{"node":"elsewhere","session":"","data":""}"#;
    let whole = request("POST", "/emulation", "eXpect: 100-Continue\r\n", body);
    let (head, _) = whole.split_at(whole.len() - body.len());
    let mut http = Http::open(addr);
    for _ in 0..3 {
        assert_eq!(http.ask(head).status, 100);
        for byte in body.chunks(7) {
            http.send(byte);
        }
        assert_eq!(http.answer().status, 404);
    }
    // It is here already, or HTTP/1.0, or something else is expected.
    assert_eq!(http.ask(&whole).status, 404);
    let old = String::from_utf8(whole.clone())
        .unwrap()
        .replace("/1.1", "/1.0");
    let other = request("POST", "/emulation", "Expect: nothing\r\n", body);
    for request in [old.into_bytes(), other] {
        let mut http = Http::open(addr);
        http.send(&request[..request.len() - 1]);
        eventually("its beginning has come", || {
            total(&engine, |it| it.request_bytes) > 0
        });
        http.send(&request[request.len() - 1..]);
        assert_eq!(http.answer().status, 404);
    }
    stop(engine);
}

#[test]
fn other_methods_are_told_which_to_use() {
    let engine = start(open_config(1));
    let addr = engine.client_addrs()[0];
    let mut http = Http::open(addr);
    for (path, methods) in STREAM_PATHS.into_iter().chain([("/emulation", "POST")]) {
        for method in ["GET", "POST", "PUT", "DELETE", "PATCH", "TRACE", "get", "X"] {
            if methods.split(", ").any(|it| it == method) {
                continue;
            }
            let answer = http.ask(&request(method, path, "", b""));
            assert_eq!(answer.status, 405, "{method} {path}");
            assert_eq!(answer.header("Allow"), Some(methods));
        }
        let answer = http.ask(&request("OPTIONS", path, "", b""));
        assert_eq!(answer.status, 204);
        assert_eq!(answer.header("Access-Control-Allow-Methods"), Some(methods));
        assert_eq!(answer.header("Access-Control-Max-Age"), Some("300"));
        assert_eq!(answer.header("Access-Control-Allow-Origin"), None);
    }
    for path in WEBSOCKET_PATHS {
        let mut http = Http::open(addr);
        let answer = http.ask(&request("POST", path, "Upgrade: websocket\r\n", b"body"));
        assert_eq!(
            (answer.status, answer.header("Allow")),
            (405, Some("GET")),
            "{path}"
        );
        assert!(http.is_closed());
    }
    stop(engine);
}

/// A body after the answer to HEAD would be taken for the answer to the next request.
#[test]
fn head_is_answered_without_a_body() {
    let engine = start(open_config(1));
    let addr = engine.client_addrs()[0];
    let next = request("OPTIONS", "/emulation", "", b"");
    let mut http = Http::open(addr);
    for (path, methods) in STREAM_PATHS.into_iter().chain([("/emulation", "POST")]) {
        http.send(&[request("HEAD", path, "", b""), next.clone()].concat());
        let head = http.head();
        assert_eq!((head.status, head.header("Allow")), (405, Some(methods)));
        assert_eq!(http.answer().status, 204);
    }
    for path in WEBSOCKET_PATHS.into_iter().chain(["/", "/unknown"]) {
        let mut http = Http::open(addr);
        http.send(&request("HEAD", path, "", b""));
        let head = http.head();
        assert!(matches!(head.status, 404 | 405), "{path}: {head:?}");
        assert!(http.is_closed(), "{path}");
    }
    let mut http = Http::open(addr);
    http.send(&request(
        "HEAD",
        "/emulation",
        "Origin: http://evil.test\r\n",
        b"",
    ));
    assert_eq!(http.head().status, 403);
    assert!(http.is_closed());
    stop(engine);
}

#[test]
fn http_1_0_is_answered_whole_or_not_at_all() {
    let engine = start(open_config(1));
    let addr = engine.client_addrs()[0];
    let mut http = Http::open(addr);
    let answer = http.ask(b"OPTIONS /emulation HTTP/1.0\r\n\r\n");
    assert_eq!((answer.status, answer.keeps_alive()), (204, false));
    assert!(http.is_closed());

    let mut http = Http::open(addr);
    for _ in 0..3 {
        let answer = http.ask(b"OPTIONS /emulation HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
        assert_eq!((answer.status, answer.keeps_alive()), (204, true));
    }
    // Chunks would be taken for content.
    for transport in Transport::STREAMS {
        let connect = transport.message(&[serde_json::json!({ "id": 1, "connect": {} })]);
        let opening = transport.opening(&connect);
        let at = opening.windows(8).position(|it| it == b"HTTP/1.1").unwrap();
        let mut old = opening.clone();
        old[at + 7] = b'0';
        let mut http = Http::open(addr);
        let answer = http.ask(&old);
        assert_eq!(
            (answer.status, answer.keeps_alive()),
            (505, false),
            "{transport:?}"
        );
        assert!(http.is_closed());
    }
    assert_eq!(total(&engine, |it| it.authenticated), 0);
    stop(engine);
}

/// What a proxy in front reads as one request is not read as two here, nor the other way round.
#[test]
fn no_request_hides_in_another() {
    let engine = start(open_config(1));
    let addr = engine.client_addrs()[0];
    let hidden = Transport::Sse.opening(br#"{"id":1,"connect":{}}"#);
    let post = |lines: &str| [request("POST", "/emulation", lines, b""), hidden.clone()].concat();
    let length = hidden.len();
    let cases = [
        (
            "both lengths",
            post(&format!(
                "Content-Length: {length}\r\nTransfer-Encoding: chunked\r\n"
            )),
            400,
        ),
        (
            "in the other order",
            post(&format!(
                "Transfer-Encoding: chunked\r\nContent-Length: {length}\r\n"
            )),
            400,
        ),
        (
            "two lengths",
            post(&format!(
                "Content-Length: 0\r\nContent-Length: {length}\r\n"
            )),
            400,
        ),
        ("a list of lengths", post("Content-Length: 0, 0\r\n"), 400),
        ("a sign", post("Content-Length: +0\r\n"), 400),
        ("below zero", post("Content-Length: -1\r\n"), 400),
        ("hexadecimal", post("Content-Length: 0x0\r\n"), 400),
        ("no number", post("Content-Length: \r\n"), 400),
        ("a blank within", post("Content-Length: 0 0\r\n"), 400),
        (
            "a blank before the colon",
            post("Content-Length : 0\r\n"),
            400,
        ),
        (
            "a vertical tab",
            post("Transfer-Encoding: \x0bchunked\r\n"),
            400,
        ),
        (
            "another coding",
            post("Transfer-Encoding: xchunked\r\n"),
            501,
        ),
        (
            "two codings",
            post("Transfer-Encoding: chunked, identity\r\n"),
            501,
        ),
        ("quoted", post("Transfer-Encoding: \"chunked\"\r\n"), 501),
        (
            "in another case",
            post("tRANSFER-eNCODING: CHUNKED\r\n"),
            411,
        ),
        (
            "blanks around",
            post("Transfer-Encoding:\t chunked \r\n"),
            411,
        ),
        (
            "a folded line",
            post("Transfer-Encoding:\r\n chunked\r\n"),
            400,
        ),
        ("a bare CR", post("X: a\rContent-Length: 3\r\n"), 400),
        ("a bare LF", post("X: a\nContent-Length: 3\r\n"), 400),
        ("NUL", post("X: a\0\r\n"), 400),
        ("an empty line in front", [b"\r\n", &hidden[..]].concat(), 0),
    ];
    for (what, bytes, status) in cases {
        let mut http = Http::open(addr);

        http.send(&bytes);
        if status == 0 {
            assert!(http.is_closed(), "{what}");
            continue;
        }
        let answer = http.answer();
        assert_eq!(
            (answer.status, answer.keeps_alive()),
            (status, false),
            "{what}"
        );
        assert!(http.is_closed(), "{what}");
    }
    assert_eq!(total(&engine, |it| it.http_requests), 0);

    // Bodies are bodies, also beside an upgrade that nobody asked for.
    let mut http = Http::open(addr);
    let uses = [
        "",
        "Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\n",
        "Upgrade: websocket\r\nConnection: Upgrade\r\n",
        "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
    ];
    for lines in uses {
        let answer = http.ask(&request("POST", "/emulation", lines, &hidden));
        assert_eq!(
            (answer.status, answer.keeps_alive()),
            (400, true),
            "{lines}"
        );
        assert!(http.has_nothing_to_read());
    }
    assert_eq!(total(&engine, |it| it.http_requests), 4);
    // A body that is longer than it says is a request of its own to every reader; as such it is none.
    let mut short = request("POST", "/emulation", "", b"{}");
    short.extend_from_slice(b"{}\r\n\r\n");
    http.send(&short);
    assert_eq!([http.answer().status, http.answer().status], [404, 400]);
    assert!(http.is_closed());
    assert_eq!(total(&engine, |it| it.authenticated), 0);
    stop(engine);
}

#[test]
fn what_follows_the_opening_of_a_stream_is_no_request() {
    let engine = start(open_config(1));
    let addr = engine.client_addrs()[0];
    let message = || {
        Message::from(Payload {
            bytes: b"7".as_slice().into(),
            is_json: true,
        })
    };
    for transport in Transport::STREAMS {
        let before = total(&engine, |it| it.http_requests);
        let connect = if transport.is_uni() {
            b"{}".to_vec()
        } else {
            transport.message(&[serde_json::json!({ "id": 1, "connect": {} })])
        };
        let mut client = Sdk::open(addr, transport, &connect).greeted();
        let mut more = client.stream().try_clone().unwrap();
        let opening = transport.opening(&connect);
        let received = total(&engine, |it| it.bytes_received) + opening.len() as u64 * 100;
        std::io::Write::write_all(&mut more, &opening.repeat(100)).unwrap();
        eventually("it has been read", || {
            total(&engine, |it| it.bytes_received) >= received
        });
        assert_eq!(total(&engine, |it| it.http_requests), before + 1);
        // The answer goes on.
        let everyone = ask(|reply| engine.handle().push_all(message(), reply));
        assert!(everyone.is_ok());
        let push = client.push();
        assert_eq!(push["message"]["data"], 7, "{transport:?}");
    }
    stop(engine);
}

/// A connection that was told to go does not begin anew, whatever it has been.
#[test]
fn what_follows_the_last_answer_is_no_request() {
    let engine = start(EngineConfig {
        limits: Limits {
            close_timeout: Duration::from_secs(600),
            ..Limits::default()
        },
        ..open_config(1)
    });
    let addr = engine.client_addrs()[0];
    let opening = Transport::HttpStream.opening(br#"{"id":1,"connect":{}}"#);
    let lasts = [
        request("OPTIONS", "/emulation", "Connection: close\r\n", b""),
        request("GET", "/unknown", "", b""),
        b"GET / HTTP/3.0\r\n\r\n".to_vec(),
        Transport::HttpStream.opening(b"no command"),
    ];
    for last in lasts {
        let mut http = Http::open(addr);
        http.send(&last);
        assert!(!http.is_closed(), "it is answered");
        let before = total(&engine, |it| it.http_requests);
        for _ in 0..5 {
            let received = total(&engine, |it| it.bytes_received) + opening.len() as u64;
            http.send(&opening);
            eventually("it has been read", || {
                total(&engine, |it| it.bytes_received) == received
            });
        }
        assert_eq!(total(&engine, |it| it.http_requests), before);
        assert!(http.is_closed(), "nothing more is said");
    }
    assert_eq!(total(&engine, |it| it.authenticated), 0);
    eventually("all are closed", || {
        total(&engine, |it| it.connections) == 0
    });
    stop(engine);
}
