//! What goes over transports that go only one way, and the ways up that stand beside them: the connect in a body or a
//! parameter, and emulation requests.

#![allow(clippy::unwrap_used)]

use std::borrow::Cow;

use fanfare_wire::centrifuge::codes::{DisconnectCode, UnsubscribeCode};
use fanfare_wire::centrifuge::{
    CONNECT_HEADERS_MAX, CONNECT_SUBS_MAX, ClientInfo, CommandError, Connect, ConnectResult,
    ConnectSubResult, Data, EmulationError, Epoch, Method, Publication, RefreshPush, SubscribePush,
    SubscribeResult, json, unidirectional,
};

fn written(write: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut out = b"before\n".to_vec();
    write(&mut out);
    String::from_utf8(out)
        .unwrap()
        .strip_prefix("before\n")
        .unwrap()
        .to_owned()
}

const ANN: ClientInfo<'_> = ClientInfo {
    user: "ann",
    client: "0a0b",
    connection_info: b"",
    channel_info: b"",
};

#[test]
fn pushes_stand_alone() {
    let result = ConnectResult {
        client: "0a0b",
        version: "fanfare 0.1",
        expires: true,
        ttl_s: 60,
        data: b"{}",
        ping_s: 25,
        session: "s",
        node: "n",
        ..ConnectResult::default()
    };
    let publications = [Publication {
        data: Data::Json(b"1"),
        offset: 3,
        ..Publication::default()
    }];
    let subs = [ConnectSubResult {
        channel: "news",
        result: SubscribeResult {
            recoverable: true,
            epoch: 7,
            offset: 3,
            ..SubscribeResult::default()
        },
        publications: &publications,
    }];
    assert_eq!(
        written(|out| unidirectional::write_connect_push(out, &result, subs)),
        concat!(
            r#"{"connect":{"client":"0a0b","version":"fanfare 0.1","expires":true,"ttl":60,"data":{},"#,
            r#""subs":{"news":{"recoverable":true,"epoch":"7","publications":[{"data":1,"offset":3}],"offset":3}},"#,
            r#""ping":25,"session":"s","node":"n"}}"#
        )
    );
    let publication = Publication {
        data: Data::Json(br#"{"a":1}"#),
        offset: 42,
        ..Publication::default()
    };
    assert_eq!(
        written(|out| unidirectional::write_publication_push(out, "news", &publication)),
        r#"{"channel":"news","pub":{"data":{"a":1},"offset":42}}"#
    );
    assert_eq!(
        written(|out| unidirectional::write_join_push(out, "news", &ANN)),
        r#"{"channel":"news","join":{"info":{"user":"ann","client":"0a0b"}}}"#
    );
    assert_eq!(
        written(|out| unidirectional::write_leave_push(out, "news", &ANN)),
        r#"{"channel":"news","leave":{"info":{"user":"ann","client":"0a0b"}}}"#
    );
    let code = UnsubscribeCode::SERVER;
    assert_eq!(
        written(|out| unidirectional::write_unsubscribe_push(out, "news", code, code.reason())),
        r#"{"channel":"news","unsubscribe":{"code":2000,"reason":"server unsubscribe"}}"#
    );
    let subscription = SubscribePush {
        recoverable: true,
        epoch: 7,
        offset: 1,
        positioned: true,
        data: b"[]",
    };
    assert_eq!(
        written(|out| unidirectional::write_subscribe_push(out, "news", &subscription)),
        r#"{"channel":"news","subscribe":{"recoverable":true,"epoch":"7","offset":1,"positioned":true,"data":[]}}"#
    );
    assert_eq!(
        written(|out| unidirectional::write_message_push(out, Data::Json(b"[]"))),
        r#"{"message":{"data":[]}}"#
    );
    let code = DisconnectCode::EXPIRED;
    assert_eq!(
        written(|out| unidirectional::write_disconnect_push(out, code, code.reason(), true)),
        r#"{"disconnect":{"code":3005,"reason":"connection expired","reconnect":true}}"#
    );
    let refresh = RefreshPush {
        expires: true,
        ttl_s: 9,
    };
    assert_eq!(
        written(|out| unidirectional::write_refresh_push(out, &refresh)),
        r#"{"refresh":{"expires":true,"ttl":9}}"#
    );
    assert_eq!(unidirectional::PING, b"{}");
}

#[test]
fn a_connect_may_span_lines() {
    let body = b"{\r\n  \"token\": \"a.b\",\n  \"data\": {\n\"a\":\r\n1},\n  \"subs\": {\"news\": {\"recover\": true, \"offset\": 3, \"epoch\": \"7\"}}\n}\n";
    let connect = unidirectional::connect(body).unwrap();
    assert_eq!(connect.token, "a.b");
    assert_eq!(*connect.data, *b"{ \"a\":  1}");
    assert_eq!(connect.subs.len(), 1);
    assert_eq!(connect.subs[0].position.epoch, Epoch::Known(7));
    assert!(matches!(connect.token, Cow::Borrowed(_)));
}

#[test]
fn a_connect_with_nothing() {
    for body in [&b"{}"[..], b" null ", b"{\"flag\":1,\"future\":[]}"] {
        assert_eq!(unidirectional::connect(body), Ok(Connect::default()));
    }
}

#[test]
fn what_is_no_connect_is_refused() {
    for body in [
        &b""[..],
        b" ",
        b"[]",
        b"1",
        b"{",
        b"{}{}",
        b"{\"token\":1}",
        b"{\"token\":\"\xff\"}",
        b"\xff",
        b"{\"subs\":[\"a\"]}",
    ] {
        assert!(
            matches!(
                unidirectional::connect(body),
                Err(CommandError::Malformed { .. })
            ),
            "{}",
            body.escape_ascii()
        );
    }
    let deep = b"[".repeat(1_000_000);
    assert_eq!(unidirectional::connect(&deep), Err(CommandError::TooDeep));
}

#[test]
fn a_connect_is_bounded() {
    for (name, entry, max) in [
        ("subs", r#""":{}"#, CONNECT_SUBS_MAX),
        ("headers", r#""":"""#, CONNECT_HEADERS_MAX),
    ] {
        let connect = |entries: usize| {
            let entries = vec![entry; entries].join(",");
            format!(r#"{{"{name}":{{{entries}}}}}"#)
        };
        assert!(unidirectional::connect(connect(max).as_bytes()).is_ok());
        for entries in [max + 1, max + 100_000] {
            let text = connect(entries);
            assert_eq!(
                unidirectional::connect(text.as_bytes()),
                Err(CommandError::TooManyEntries)
            );
            let command = format!(r#"{{"id":1,"connect":{text}}}"#);
            assert_eq!(
                json::commands(&command).next(),
                Some(Err(CommandError::TooManyEntries))
            );
        }
    }
}

#[test]
fn emulation_requests() {
    let body = br#"{"session":"s","node":"n","data":"{\"id\":2,\"ping\":{}}\n{}","x":[]}"#;
    let emulation = json::emulation(body).unwrap();
    assert_eq!((&*emulation.session, &*emulation.node), ("s", "n"));
    let text = std::str::from_utf8(&emulation.data).unwrap();
    let methods: Vec<_> = json::commands(text)
        .map(|command| command.unwrap().method)
        .collect();
    assert_eq!(methods, [Method::Ping, Method::Pong]);

    let plain = json::emulation(br#" {"session":"s","data":"{}"} "#).unwrap();
    assert!(matches!(plain.data, Cow::Borrowed(b"{}")));
    assert_eq!(plain.node, "");
    assert_eq!(json::emulation(b"{}"), Ok(Default::default()));
}

#[test]
fn what_is_no_emulation_request_is_refused() {
    for body in [
        &b""[..],
        b"null",
        b"[]",
        b"{",
        b"{}{}",
        br#"{"session":1}"#,
        br#"{"data":{}}"#,
        br#"{"data":["{}"]}"#,
        b"{\"data\":\"\n\"}",
        b"{\"data\":\"\xff\"}",
        br#"{"data":"\ud800"}"#,
        b"\x0a\x01n\x12\x01s",
    ] {
        assert!(
            matches!(json::emulation(body), Err(EmulationError::Malformed { .. })),
            "{}",
            body.escape_ascii()
        );
    }
    let deep = [&b"{\"x\":"[..], &b"[".repeat(1_000_000)].concat();
    assert_eq!(json::emulation(&deep), Err(EmulationError::TooDeep));
}
