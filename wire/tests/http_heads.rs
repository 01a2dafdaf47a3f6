//! Request heads: what is read, what is refused with which status, and that cuts make no difference.

#![allow(clippy::unwrap_used)]

use fanfare_wire::http::{
    Body, Connection, HEAD_BYTES_MAX, HEADERS_MAX, Head, HeadError, parse_head, upgrade,
    write_response,
};
use proptest::{collection::vec, prelude::*};

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

fn read(text: &str) -> Head<'_> {
    let (head, length) = parse_head(text.as_bytes()).unwrap().unwrap();
    assert_eq!(length, text.len());
    head
}

/// A request with these lines after `Host`.
fn request(lines: &[&str]) -> String {
    let mut text = String::from("GET /x HTTP/1.1\r\nHost: a\r\n");
    for line in lines {
        text.push_str(line);
        text.push_str("\r\n");
    }
    text + "\r\n"
}

fn refused(text: &str) -> HeadError {
    let whole = parse_head(text.as_bytes()).map(|head| head.is_some());
    let error = whole.expect_err(text);
    for cut in 0..text.len() {
        match parse_head(&text.as_bytes()[..cut]) {
            Ok(None) => {}
            early => assert_eq!(early.map(|_| ()), Err(error), "{text:?} cut at {cut}"),
        }
    }
    error
}

fn upgrade_request() -> String {
    request(&[
        "Upgrade: websocket",
        "Connection: keep-alive, Upgrade",
        "Sec-WebSocket-Version: 13",
        &format!("Sec-WebSocket-Key: {KEY}"),
        "Sec-WebSocket-Protocol: centrifuge-json, native",
        "sec-websocket-protocol: goim",
        "Origin: https://example.org",
    ])
}

fn upgrade_refused(was: &str, is: &str) -> HeadError {
    let text = upgrade_request();
    assert!(text.contains(was), "{was}");
    let text = text.replacen(was, is, 1);
    let (head, _) = parse_head(text.as_bytes()).unwrap().unwrap();
    upgrade(&head).map(|_| ()).expect_err(is)
}

#[test]
fn method_path_query_and_headers() {
    let head = read(
        "POST /poll/send?room=a&x=%20 HTTP/1.1\r\nHost: example.org\r\ncontent-length: 12\r\nAccept:  a \r\nAccept: b\r\n\r\n",
    );
    assert_eq!((head.method, head.path), ("POST", "/poll/send"));
    assert_eq!(head.query, Some("room=a&x=%20"));
    assert_eq!(head.header("HOST"), Some("example.org"));
    assert_eq!(head.header("accept"), Some("a"));
    assert!(head.headers_named("Accept").eq(["a", "b"]));
    assert_eq!(head.header("Cookie"), None);
    assert_eq!(head.body, Body::Bytes(12));
    assert!(head.keeps_alive());
}

#[test]
fn what_follows_the_head_is_left_alone() {
    let text = upgrade_request();
    let with_frames = [text.as_bytes(), b"\x81\x80\n\n\0\0"].concat();
    let (_, length) = parse_head(&with_frames).unwrap().unwrap();
    assert_eq!(length, text.len());
    for cut in 0..text.len() {
        assert_eq!(parse_head(&text.as_bytes()[..cut]), Ok(None));
    }
}

#[test]
fn request_targets() {
    let path = |target: &str| {
        let text = format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n");
        let head = parse_head(text.as_bytes())?.unwrap().0;
        Ok((head.path.to_owned(), head.query.map(str::to_owned)))
    };
    let origin = |path: &str, query: Option<&str>| Ok((path.to_owned(), query.map(str::to_owned)));
    assert_eq!(path("/"), origin("/", None));
    assert_eq!(path("/a?b?c"), origin("/a", Some("b?c")));
    assert_eq!(path("/a?"), origin("/a", Some("")));
    assert_eq!(path("/a?u=http://b/"), origin("/a", Some("u=http://b/")));
    assert_eq!(path("http://example.org/a?b"), origin("/a", Some("b")));
    for target in [
        "a",
        "*",
        "?a",
        "http://a",
        "ftp://a/b",
        "a:80",
        "/a#b",
        "/ä",
    ] {
        assert_eq!(path(target), Err(HeadError::Target), "{target}");
    }
    let star = "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n";
    assert_eq!(read(star).path, "*");
}

#[test]
fn keep_alive_by_version_and_option() {
    let keeps = |version: &str, line: &str| {
        let text = format!("GET / HTTP/{version}\r\nHost: a\r\n{line}\r\n");
        read(&text).keeps_alive()
    };
    assert!(keeps("1.1", ""));
    assert!(!keeps("1.1", "Connection: x, CLOSE\r\n"));
    assert!(!keeps("1.0", ""));
    assert!(keeps("1.0", "Connection: keep-alive\r\n"));
    assert!(!keeps(
        "1.0",
        "Connection: close\r\nConnection: keep-alive\r\n"
    ));
}

#[test]
fn smuggling_is_refused_with_400() {
    let cases = [
        ("GET / HTTP/1.1\nHost: a\n\n", HeadError::BareLineFeed),
        ("GET / HTTP/1.1\r\nHost: a\n\r\n", HeadError::BareLineFeed),
        ("GET / HTTP/1.1\r\nHost: a\r\n\n", HeadError::BareLineFeed),
        (
            "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
            HeadError::RequestLine,
        ),
        (" GET / HTTP/1.1\r\nHost: a\r\n\r\n", HeadError::RequestLine),
        ("GET  / HTTP/1.1\r\nHost: a\r\n\r\n", HeadError::RequestLine),
        ("G\0T / HTTP/1.1\r\nHost: a\r\n\r\n", HeadError::RequestLine),
        ("GET / HTTP/1.1\r\n\r\n", HeadError::HostMissing),
    ];
    for (text, error) in cases {
        assert_eq!(refused(text), error, "{text:?}");
        assert_eq!(error.status(), 400);
    }
    let lines: [(&[&str], HeadError); 22] = [
        (&["A: b\r\n folded"], HeadError::Header),
        (&["A: b\r\n\tfolded"], HeadError::Header),
        (&["A: b\0c"], HeadError::Header),
        (&["A: b\x07c"], HeadError::Header),
        (&["A: b\rc"], HeadError::Header),
        (&["A : b"], HeadError::Header),
        (&["A b"], HeadError::Header),
        (&[": b"], HeadError::Header),
        (&["host: b"], HeadError::Duplicate("Host")),
        (
            &["Upgrade: a", "Upgrade: a"],
            HeadError::Duplicate("Upgrade"),
        ),
        (&["Origin: a", "ORIGIN: a"], HeadError::Duplicate("Origin")),
        (
            &["Sec-WebSocket-Key: a", "Sec-WebSocket-Key: a"],
            HeadError::Duplicate("Sec-WebSocket-Key"),
        ),
        (
            &["Content-Length: 1", "Content-Length: 1"],
            HeadError::Duplicate("Content-Length"),
        ),
        (
            &["Transfer-Encoding: chunked", "Transfer-Encoding: identity"],
            HeadError::Duplicate("Transfer-Encoding"),
        ),
        (
            &["Content-Length: 3", "Transfer-Encoding: chunked"],
            HeadError::BodyAmbiguous,
        ),
        (&["Content-Length: +3"], HeadError::ContentLength),
        (&["Content-Length: -3"], HeadError::ContentLength),
        (&["Content-Length: 3, 3"], HeadError::ContentLength),
        (&["Content-Length: 0x3"], HeadError::ContentLength),
        (&["Content-Length: "], HeadError::ContentLength),
        (
            &["Content-Length: 18446744073709551616"],
            HeadError::ContentLength,
        ),
        (&["Content-Length: 1 1"], HeadError::ContentLength),
    ];
    for (lines, error) in lines {
        assert_eq!(refused(&request(lines)), error, "{lines:?}");
        assert_eq!(error.status(), 400);
    }
    let not_utf8 = [&b"GET / HTTP/1.1\r\nHost: a\r\nOrigin: \xFF\r\n\r\n"[..]].concat();
    assert_eq!(parse_head(&not_utf8), Err(HeadError::Header));
}

#[test]
fn transfer_encodings() {
    let chunked = request(&["Transfer-Encoding: Chunked"]);
    assert_eq!(read(&chunked).body, Body::Chunked);
    for obfuscated in [
        "xchunked",
        "chunked, identity",
        "gzip, chunked",
        "chunked;a",
        "\u{b}chunked",
    ] {
        let status = refused(&request(&[&format!("Transfer-Encoding: {obfuscated}")])).status();
        assert!(matches!(status, 400 | 501), "{obfuscated}: {status}");
    }
    let old = "GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(refused(old), HeadError::BodyAmbiguous);
}

#[test]
fn versions() {
    assert!(!read("GET / HTTP/1.0\r\n\r\n").is_http_11);
    for version in ["HTTP/2.0", "HTTP/1.2", "HTTP/0.9", "HTTP/11", "http/1.1"] {
        let error = refused(&format!("GET / {version}\r\nHost: a\r\n\r\n"));
        assert_eq!(error.status(), 505, "{version}");
    }
    assert_eq!(refused("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").status(), 505);
}

#[test]
fn size_limits_hold_to_the_byte() {
    let bare = request(&["A: "]).len();
    let filled =
        |extra: usize| request(&[&format!("A: {}", "x".repeat(HEAD_BYTES_MAX - bare + extra))]);
    assert_eq!(filled(0).len(), HEAD_BYTES_MAX);
    assert!(parse_head(filled(0).as_bytes()).unwrap().is_some());
    let too_large = filled(1);
    assert_eq!(parse_head(too_large.as_bytes()), Err(HeadError::TooLarge));
    assert_eq!(
        parse_head(&too_large.as_bytes()[..HEAD_BYTES_MAX]),
        Err(HeadError::TooLarge)
    );
    assert_eq!(
        parse_head(&too_large.as_bytes()[..HEAD_BYTES_MAX - 1]),
        Ok(None)
    );

    // `Host` is one of them.
    let lines = vec!["A: b"; HEADERS_MAX - 1];
    assert!(parse_head(request(&lines).as_bytes()).unwrap().is_some());
    let lines = vec!["A: b"; HEADERS_MAX];
    let error = refused(&request(&lines));
    assert_eq!(error, HeadError::TooManyHeaders);
    assert_eq!((error.status(), HeadError::TooLarge.status()), (431, 431));
}

#[test]
fn upgrade_gives_key_protocols_and_origin() {
    let text = upgrade_request();
    let head = read(&text);
    let upgrade = upgrade(&head).unwrap();
    assert_eq!(upgrade.key, KEY);
    assert_eq!(upgrade.origin, Some("https://example.org"));
    assert!(
        upgrade
            .protocols()
            .eq(["centrifuge-json", "native", "goim"])
    );
}

#[test]
fn upgrades_are_refused_for_one_wrong_line() {
    let cases = [
        ("GET", "POST", HeadError::UpgradeMethod, 405),
        ("HTTP/1.1", "HTTP/1.0", HeadError::Version, 505),
        (": websocket", ": h2c", HeadError::UpgradeMissing, 426),
        (
            "keep-alive, Upgrade",
            "keep-alive",
            HeadError::UpgradeMissing,
            426,
        ),
        (
            "keep-alive, Upgrade",
            "xUpgrade",
            HeadError::UpgradeMissing,
            426,
        ),
        (
            "Version: 13",
            "Version: 8",
            HeadError::WebSocketVersion,
            426,
        ),
        (
            "Sec-WebSocket-Version: 13",
            "A: b",
            HeadError::WebSocketVersion,
            426,
        ),
        (
            "Origin:",
            "Content-Length: 5\r\nOrigin:",
            HeadError::UpgradeBody,
            400,
        ),
        (
            "Origin:",
            "Transfer-Encoding: chunked\r\nOrigin:",
            HeadError::UpgradeBody,
            400,
        ),
        ("Sec-WebSocket-Key:", "A:", HeadError::WebSocketKey, 400),
        (KEY, "dGhlIHNhbXBsZSBub25jZQ=", HeadError::WebSocketKey, 400),
        (
            KEY,
            "dGhlIHNhbXBsZSBub25jZS4=",
            HeadError::WebSocketKey,
            400,
        ),
        (
            KEY,
            "dGhlIHNhbXBsZSBub25j!Q==",
            HeadError::WebSocketKey,
            400,
        ),
        (
            KEY,
            "dGhlIHNhbXBsZSBub25jZS4u",
            HeadError::WebSocketKey,
            400,
        ),
    ];
    for (was, is, error, status) in cases {
        assert_eq!(upgrade_refused(was, is), error, "{was} -> {is}");
        assert_eq!(error.status(), status);
    }
    assert!(
        HeadError::WebSocketVersion
            .headers()
            .contains(&("Sec-WebSocket-Version", "13"))
    );
}

#[test]
fn answers_are_complete_responses() {
    let mut out = Vec::new();
    write_response(
        &mut out,
        503,
        Connection::Close,
        &[("Retry-After", "5")],
        b"busy",
    );
    assert_eq!(
        str::from_utf8(&out).unwrap(),
        "HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Length: 4\r\nRetry-After: 5\r\n\r\nbusy"
    );
}

fn any_line() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => "[A-Za-z-]{1,12}: [ -~]{0,20}",
        1 => Just("Content-Length: 5".to_owned()),
        1 => Just("Transfer-Encoding: chunked".to_owned()),
        1 => "[ -~\\t\\r\\n]{0,12}",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 6 } else { 1000 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn a_prefix_is_incomplete_or_gives_the_same(
        lines in vec(any_line(), 0..6),
        tail in "[ -~\\r\\n]{0,8}",
    ) {
        let lines: Vec<_> = lines.iter().map(String::as_str).collect();
        let text = request(&lines) + &tail;
        let whole = parse_head(text.as_bytes());
        prop_assert_ne!(&whole, &Ok(None), "there is an empty line");
        for cut in 0..text.len() {
            let prefix = parse_head(&text.as_bytes()[..cut]);
            prop_assert!(prefix == Ok(None) || prefix == whole, "cut at {}", cut);
        }
    }
}
