//! Headers of clients reach the backend where they are listed, and only as what they are.

use std::sync::Arc;

use axum::http::HeaderMap;
use fanfare_engine::backend::{Backend, Caller};

use super::support::{FakeBackend, Shard, caller};

type Pairs<'a> = &'a [(&'a str, &'a str)];

fn pairs(pairs: Pairs<'_>) -> Arc<[(Box<str>, Box<str>)]> {
    pairs
        .iter()
        .map(|(name, value)| ((*name).into(), (*value).into()))
        .collect()
}

/// The headers of a call from a client with these.
fn sent(more: &str, transport: Pairs<'_>, emulated: Pairs<'_>) -> HeaderMap {
    let backend = FakeBackend::saying(200, "{}");
    let shard = Shard::new(&backend.url(), more);
    let who = Caller {
        headers: pairs(transport),
        emulated_headers: pairs(emulated),
        ..caller()
    };
    shard.rpc_as(who, b"{}").expect("an answer");
    let seen = backend.seen();
    assert_eq!(seen.len(), 1, "one request, whatever was in the headers");
    seen[0].headers.clone()
}

fn all<'a>(headers: &'a HeaderMap, name: &str) -> Vec<&'a [u8]> {
    headers
        .get_all(name)
        .into_iter()
        .map(|value| value.as_bytes())
        .collect()
}

#[test]
fn only_what_is_listed_is_passed_on() {
    let headers = sent(
        "http_headers = ['Cookie', 'X-Real-IP']\n",
        &[
            ("cookie", "session=1"),
            ("x-real-ip", "192.0.2.1"),
            ("authorization", "Bearer secret"),
            ("x-internal", "1"),
        ],
        &[],
    );
    assert_eq!(headers["cookie"], "session=1");
    assert_eq!(headers["x-real-ip"], "192.0.2.1");
    assert_eq!(headers.get("authorization"), None);
    assert_eq!(headers.get("x-internal"), None);
    let headers = sent("", &[("cookie", "session=1")], &[]);
    assert_eq!(headers.get("cookie"), None);
}

#[test]
fn the_engine_is_told_what_to_keep() {
    let backend = FakeBackend::saying(200, "{}");
    let shard = Shard::new(
        &backend.url(),
        "http_headers = ['Cookie', 'origin', 'COOKIE']\nemulated_headers = ['Authorization']\n",
    );
    let names: Vec<&str> = shard.webhooks.header_names().iter().map(|n| &**n).collect();
    assert_eq!(names, ["cookie", "origin"]);
    let names = shard.webhooks.emulated_header_names();
    assert_eq!(names, ["authorization".into()] as [Box<str>; 1]);
}

#[test]
fn what_a_client_claims_is_not_what_its_transport_says() {
    let more =
        "http_headers = ['x-real-ip', 'authorization']\nemulated_headers = ['authorization']\n";
    let emulated: Pairs<'_> = &[("authorization", "emulated"), ("x-real-ip", "192.0.2.66")];
    let headers = sent(more, &[], emulated);
    assert_eq!(headers["authorization"], "emulated");
    assert_eq!(headers.get("x-real-ip"), None);
    let headers = sent(more, &[("authorization", "transport")], emulated);
    assert_eq!(all(&headers, "authorization"), [b"transport"]);
}

#[test]
fn fixed_headers_go_along_and_give_way() {
    let more = "http_headers = ['x-tenant']\n\
                static_headers = { X-Api-Key = 's3cret', X-Tenant = 'none', User-Agent = 'mine' }\n";
    let headers = sent(more, &[("x-api-key", "forged")], &[]);
    assert_eq!(all(&headers, "x-api-key"), [b"s3cret"]);
    assert_eq!(all(&headers, "x-tenant"), [b"none"]);
    assert_eq!(all(&headers, "user-agent"), [b"mine"]);
    let headers = sent(more, &[("x-tenant", "acme")], &[]);
    assert_eq!(all(&headers, "x-tenant"), [b"acme"]);
}

#[test]
fn a_header_that_comes_twice_goes_twice() {
    let headers = sent(
        "http_headers = ['cookie']\nstatic_headers = { cookie = 'c=3' }\n",
        &[("cookie", "a=1"), ("cookie", "b=2")],
        &[],
    );
    let cookies = all(&headers, "cookie");
    assert_eq!(cookies, [b"a=1".as_slice(), b"b=2"]);
}

#[test]
fn a_value_cannot_begin_a_header() {
    let evil = "1\r\nX-Admin: 1\r\n\r\nPOST /admin HTTP/1.1\r\nHost: h\r\n\r\n";
    for value in [evil, "1\nX-Admin: 1", "1\rX-Admin: 1", "1\0", "1\x7f"] {
        let headers = sent(
            "http_headers = ['x-note', 'x-other']\nemulated_headers = ['x-claim']\n",
            &[("x-note", value), ("x-other", "fine")],
            &[("x-claim", value)],
        );
        assert_eq!(headers.get("x-admin"), None, "{value:?}");
        assert_eq!(headers.get("x-note"), None, "{value:?}");
        assert_eq!(headers.get("x-claim"), None, "{value:?}");
        assert_eq!(headers["x-other"], "fine");
    }
}

#[test]
fn names_that_are_none_are_not_passed_on() {
    // Not as the engine gives them, and refused all the same.
    let headers = sent(
        "http_headers = ['x-note']\n",
        &[
            ("x-note\r\nx-admin", "1"),
            ("", "1"),
            ("X-NOTE", "upper case"),
            ("host", "elsewhere"),
            ("content-length", "0"),
            ("transfer-encoding", "chunked"),
        ],
        &[],
    );
    for name in ["x-admin", "x-note", "transfer-encoding"] {
        assert_eq!(headers.get(name), None, "{name}");
    }
    assert_ne!(headers["host"], "elsewhere");
    assert_ne!(headers["content-length"], "0");
}

#[test]
fn values_beyond_ascii_are_passed_on_as_they_are() {
    let headers = sent("http_headers = ['x-name']\n", &[("x-name", "Zoë")], &[]);
    assert_eq!(all(&headers, "x-name"), ["Zoë".as_bytes()]);
}
