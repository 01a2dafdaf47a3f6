//! The way into a WebSocket: what two readers could read in two ways is refused, and so are pages of strangers.
#![allow(clippy::unwrap_used)]

mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use fanfare_engine::EngineConfig;
use fanfare_wire::ws::{self, Opcode};
use serde_json::json;
use support::{
    Centrifuge, Event, WebSocket, eventually, open_config, start, stop, total, upgrade_request,
};

const PATH: &str = "/connection/websocket";

fn ask(addr: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(addr).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    stream.write_all(request).unwrap();
    let mut answer = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        match stream.read(&mut chunk) {
            Ok(0) => break,
            Ok(n) => answer.extend_from_slice(&chunk[..n]),
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) if error.kind() == ErrorKind::ConnectionReset => break,
            Err(error) => panic!("not closed: {error}"),
        }
        // A connection that was let in stays open.
        if answer.starts_with(b"HTTP/1.1 101 ") && answer.ends_with(b"\r\n\r\n") {
            break;
        }
    }
    String::from_utf8(answer).unwrap()
}

fn status(addr: SocketAddr, request: &[u8]) -> u16 {
    let answer = ask(addr, request);
    answer
        .strip_prefix("HTTP/1.1 ")
        .and_then(|rest| rest.get(..3))
        .unwrap_or_else(|| panic!("{answer:?} to {:?}", String::from_utf8_lossy(request)))
        .parse()
        .unwrap()
}

#[test]
fn what_could_be_read_in_two_ways_is_refused() {
    let engine = start(open_config(2));
    let addr = engine.client_addrs()[0];
    let with = |lines: &str| upgrade_request(PATH) + lines + "\r\n";
    let good = with("");
    let instead = |from: &str, to: &str| {
        assert!(good.contains(from));
        good.replacen(from, to, 1)
    };
    let many: String = (0..60).map(|n| format!("X-{n}: 1\r\n")).collect();
    let long = format!("X: {}\r\n", "x".repeat(17 * 1024));

    let cases: Vec<(&str, String, u16)> = vec![
        ("as it should be", good.clone(), 101),
        ("64 lines, not 65", with(&many[..many.len() - 9]), 101),
        (
            "in another case",
            instead("Upgrade: websocket", "uPGRADE: WebSocket"),
            101,
        ),
        (
            "in a list",
            instead("Connection: Upgrade", "Connection: keep-alive, Upgrade"),
            101,
        ),
        ("65 lines", with(&many), 431),
        ("17 KiB", with(&long), 431),
        ("a bare LF", instead("13\r\n", "13\n"), 400),
        ("a bare LF at the end", upgrade_request(PATH) + "\n", 400),
        ("NUL", with("X: a\0b\r\n"), 400),
        ("a folded line", with("X: a\r\n b\r\n"), 400),
        ("a blank before the colon", with("X : a\r\n"), 400),
        ("two hosts", with("Host: other\r\n"), 400),
        ("two hosts, the same", with("Host: fanfare.test\r\n"), 400),
        ("no host", instead("Host: fanfare.test\r\n", ""), 400),
        ("two upgrades", with("Upgrade: websocket\r\n"), 400),
        (
            "two keys",
            with("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"),
            400,
        ),
        (
            "two origins",
            with("Origin: http://a\r\nOrigin: http://b\r\n"),
            400,
        ),
        (
            "both lengths",
            with("Content-Length: 1\r\nTransfer-Encoding: chunked\r\n"),
            400,
        ),
        (
            "two lengths",
            with("Content-Length: 1\r\nContent-Length: 1\r\n"),
            400,
        ),
        ("a body", with("Content-Length: 1\r\n"), 400),
        ("chunks", with("Transfer-Encoding: chunked\r\n"), 400),
        ("odd chunks", with("Transfer-Encoding: xchunked\r\n"), 501),
        (
            "a short key",
            instead("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZQ=="),
            400,
        ),
        (
            "no key",
            instead("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", ""),
            400,
        ),
        (
            "another version of WebSocket",
            instead("Version: 13", "Version: 8"),
            426,
        ),
        ("no upgrade", instead("Upgrade: websocket\r\n", ""), 426),
        (
            "an upgrade to something else",
            instead("Upgrade: websocket", "Upgrade: h2c"),
            426,
        ),
        (
            "not in Connection",
            instead("Connection: Upgrade", "Connection: close"),
            426,
        ),
        ("POST", instead("GET", "POST"), 405),
        ("HTTP/2", instead("HTTP/1.1", "HTTP/2.0"), 505),
        ("HTTP/1.0", instead("HTTP/1.1", "HTTP/1.0"), 505),
        ("a target that is none", instead(PATH, "connection"), 400),
        ("another path", instead(PATH, "/"), 404),
        (
            "a longer path",
            instead(PATH, "/connection/websocket/"),
            404,
        ),
        (
            "a path with dots",
            instead(PATH, "/x/../connection/websocket"),
            404,
        ),
        (
            "an echo, which only tests have",
            instead(PATH, "/nothing"),
            404,
        ),
    ];
    let mut refused = 0;
    for (what, request, expected) in &cases {
        assert_eq!(status(addr, request.as_bytes()), *expected, "{what}");
        refused += u64::from(*expected != 101);
    }
    assert_eq!(total(&engine, |it| it.protocol_errors), refused);
    eventually("all are closed", || {
        total(&engine, |it| it.connections) == 0
    });
    stop(engine);
}

#[test]
fn a_refusal_says_what_would_have_been_right() {
    let engine = start(open_config(1));
    let addr = engine.client_addrs()[0];
    let plain = ask(
        addr,
        b"GET /connection/websocket HTTP/1.1\r\nHost: a\r\n\r\n",
    );
    assert!(plain.contains("\r\nUpgrade: websocket\r\n"), "{plain}");
    let old = upgrade_request(PATH).replace("13", "8") + "\r\n";
    let old = ask(addr, old.as_bytes());
    assert!(old.contains("\r\nSec-WebSocket-Version: 13\r\n"), "{old}");
    let home = ask(addr, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(home.contains("/connection/websocket"), "{home}");
    for answer in [plain, old, home] {
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let length = format!("Content-Length: {}", body.len());
        assert!(head.contains(&length), "{answer}");
        assert!(head.contains("Connection: close"), "{answer}");
    }
    stop(engine);
}

#[test]
fn pages_connect_to_where_they_come_from_and_to_where_they_are_let() {
    let listed: Vec<Box<str>> = vec!["https://friend.test".into(), "http://dev.test:3000".into()];
    let matrix = [
        (None, 101, 101),
        (Some("http://fanfare.test"), 101, 101),
        (Some("https://FANFARE.test"), 101, 101),
        (Some("https://friend.test"), 101, 403),
        (Some("HTTPS://Friend.Test"), 101, 403),
        (Some("http://friend.test"), 403, 403),
        (Some("https://friend.test:8443"), 403, 403),
        (Some("http://dev.test:3000"), 101, 403),
        (Some("http://dev.test"), 403, 403),
        (Some("http://fanfare.test:81"), 403, 403),
        (Some("http://evil.test"), 403, 403),
        (Some("http://fanfare.test.evil.test"), 403, 403),
        (Some("http://evil.test/fanfare.test"), 403, 403),
        (Some("http://evilfanfare.test"), 403, 403),
        (Some("fanfare.test"), 403, 403),
        (Some("null"), 403, 403),
        (Some(""), 403, 403),
    ];
    for (allowed_origins, column) in [(listed, 0), (Vec::new(), 1), (vec!["*".into()], 2)] {
        let engine = start(EngineConfig {
            allowed_origins,
            ..open_config(1)
        });
        let addr = engine.client_addrs()[0];
        for (origin, when_listed, by_default) in matrix {
            let line = origin.map_or(String::new(), |origin| format!("Origin: {origin}\r\n"));
            for path in [
                PATH,
                "/connection/uni_websocket",
                "/connection/native",
                "/sub",
            ] {
                let request = upgrade_request(path) + &line + "\r\n";
                assert_eq!(
                    status(addr, request.as_bytes()),
                    [when_listed, by_default, 101][column],
                    "{origin:?}, column {column}"
                );
            }
        }
        stop(engine);
    }
}

#[test]
fn what_follows_the_head_at_once_is_websocket() {
    let engine = start(open_config(2));
    let addr = engine.client_addrs()[0];
    let mut bytes = (upgrade_request(PATH) + "\r\n").into_bytes();
    let mut text = |text: &str| {
        ws::write_masked_frame(&mut bytes, Opcode::Text, text.as_bytes(), [5, 6, 7, 8]);
    };
    text(r#"{"id":1,"connect":{}}"#);
    text("{\"id\":2,\"subscribe\":{\"channel\":\"news\"}}\n{\"id\":3,\"ping\":{}}");
    let mut stream = TcpStream::connect(addr).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    stream.write_all(&bytes).unwrap();
    let mut client = Centrifuge::on(WebSocket::accepted(stream));
    assert!(client.line().unwrap()["connect"]["client"].is_string());
    let mut ids =
        [client.line().unwrap(), client.line().unwrap()].map(|reply| reply["id"].as_u64().unwrap());
    ids.sort_unstable();
    assert_eq!(ids, [2, 3]);

    // A second request instead is no frame: a proxy that believes the connection to be HTTP still gets nowhere.
    let request = upgrade_request(PATH) + "\r\n";
    let mut stream = TcpStream::connect(addr).unwrap();
    stream
        .write_all((request.clone() + &request).as_bytes())
        .unwrap();
    let mut socket = WebSocket::accepted(stream);
    assert_eq!(socket.next(), Event::Close(Some(1002)));
    stop(engine);
}

#[test]
fn a_subprotocol_is_not_claimed() {
    let engine = start(open_config(1));
    let addr = engine.client_addrs()[0];
    let request = upgrade_request(PATH)
        + "Sec-WebSocket-Protocol: chat\r\n"
        + "Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n";
    let answer = ask(addr, request.as_bytes());
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    assert!(!answer.to_lowercase().contains("sec-websocket-protocol"));
    assert!(!answer.to_lowercase().contains("sec-websocket-extensions"));
    let mut plain = Centrifuge::connect(addr, "");
    assert_eq!(plain.ask("ping", json!({})), json!({}));
    stop(engine);
}
