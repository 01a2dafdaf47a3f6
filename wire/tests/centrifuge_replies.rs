//! Replies and pushes, as the texts that SDKs read.

#![allow(clippy::unwrap_used)]

use fanfare_wire::centrifuge::codes::{DisconnectCode, ErrorCode, UnsubscribeCode};
use fanfare_wire::centrifuge::{
    ClientInfo, ConnectResult, ConnectSubResult, Data, Publication, RefreshResult,
    SubRefreshResult, SubscribePush, SubscribeResult, json,
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
    connection_info: br#"{"name":"Ann"}"#,
    channel_info: b"",
};

#[test]
fn connect() {
    let minimal = ConnectResult {
        client: "0a0b",
        version: "fanfare 0.1",
        ping_s: 25,
        pong: true,
        ..ConnectResult::default()
    };
    assert_eq!(
        written(|out| json::write_connect(out, 1, &minimal, [])),
        r#"{"id":1,"connect":{"client":"0a0b","version":"fanfare 0.1","ping":25,"pong":true}}"#
    );

    let publications = [Publication {
        data: Data::Json(b"1"),
        offset: 3,
        ..Publication::default()
    }];
    let full = ConnectResult {
        expires: true,
        ttl_s: 3600,
        data: b"{}",
        session: "s",
        node: "n",
        time_unix_ms: 1_700_000_000_000,
        ..minimal
    };
    let result = SubscribeResult {
        recoverable: true,
        epoch: 7,
        offset: 3,
        recovered: true,
        ..SubscribeResult::default()
    };
    let subs = [
        ConnectSubResult {
            channel: "a\"b",
            result,
            publications: &publications,
        },
        ConnectSubResult {
            channel: "c",
            result: SubscribeResult::default(),
            publications: &[],
        },
    ];
    assert_eq!(
        written(|out| json::write_connect(out, 1, &full, subs)),
        concat!(
            r#"{"id":1,"connect":{"client":"0a0b","version":"fanfare 0.1","expires":true,"ttl":3600,"data":{},"subs":{"#,
            r#""a\"b":{"recoverable":true,"epoch":"7","publications":[{"data":1,"offset":3}],"recovered":true,"offset":3},"#,
            r#""c":{}},"ping":25,"pong":true,"session":"s","node":"n","time":1700000000000}}"#
        )
    );
}

#[test]
fn subscribe() {
    assert_eq!(
        written(|out| json::write_subscribe(out, 2, &SubscribeResult::default(), [])),
        r#"{"id":2,"subscribe":{}}"#
    );
    let result = SubscribeResult {
        expires: true,
        ttl_s: 60,
        recoverable: true,
        epoch: u64::MAX,
        recovered: true,
        offset: 5,
        positioned: true,
        data: b"[1]",
        was_recovering: true,
        delta: false,
    };
    let publications = [4, 5].map(|offset| Publication {
        data: Data::Json(b"{}"),
        offset,
        ..Publication::default()
    });
    assert_eq!(
        written(|out| json::write_subscribe(out, 2, &result, publications)),
        concat!(
            r#"{"id":2,"subscribe":{"expires":true,"ttl":60,"recoverable":true,"epoch":"18446744073709551615","#,
            r#""publications":[{"data":{},"offset":4},{"data":{},"offset":5}],"recovered":true,"offset":5,"#,
            r#""positioned":true,"data":[1],"was_recovering":true}}"#
        )
    );
}

#[test]
fn empty_results_are_still_there() {
    assert_eq!(
        written(|out| json::write_unsubscribe(out, 3)),
        r#"{"id":3,"unsubscribe":{}}"#
    );
    assert_eq!(
        written(|out| json::write_publish(out, 4)),
        r#"{"id":4,"publish":{}}"#
    );
    assert_eq!(
        written(|out| json::write_pong(out, 5)),
        r#"{"id":5,"ping":{}}"#
    );
    assert_eq!(
        written(|out| json::write_refresh(out, 6, &RefreshResult::default())),
        r#"{"id":6,"refresh":{}}"#
    );
    assert_eq!(
        written(|out| json::write_sub_refresh(
            out,
            7,
            &SubRefreshResult {
                expires: true,
                ttl_s: 9
            }
        )),
        r#"{"id":7,"sub_refresh":{"expires":true,"ttl":9}}"#
    );
}

#[test]
fn what_sdks_read_without_a_default_is_always_there() {
    assert_eq!(
        written(|out| json::write_presence_stats(out, 5, 0, 0)),
        r#"{"id":5,"presence_stats":{"num_clients":0,"num_users":0}}"#
    );
    assert_eq!(
        written(|out| json::write_presence(out, 5, [])),
        r#"{"id":5,"presence":{"presence":{}}}"#
    );
    assert_eq!(
        written(|out| json::write_history(out, 5, 0, 0, [])),
        r#"{"id":5,"history":{"publications":[],"epoch":"","offset":0}}"#
    );
    assert_eq!(
        written(|out| json::write_presence(out, 5, [ClientInfo::default()])),
        r#"{"id":5,"presence":{"presence":{"":{"user":"","client":""}}}}"#
    );
}

#[test]
fn presence_and_history() {
    let bob = ClientInfo {
        user: "bob",
        client: "0c0d",
        connection_info: b"",
        channel_info: b"1",
    };
    assert_eq!(
        written(|out| json::write_presence(out, 5, [ANN, bob])),
        concat!(
            r#"{"id":5,"presence":{"presence":{"0a0b":{"user":"ann","client":"0a0b","conn_info":{"name":"Ann"}},"#,
            r#""0c0d":{"user":"bob","client":"0c0d","chan_info":1}}}}"#
        )
    );
    let publication = Publication {
        data: Data::Json(b"1"),
        info: Some(ANN),
        offset: 9,
        time_unix_ms: 5,
        ..Publication::default()
    };
    assert_eq!(
        written(|out| json::write_history(out, 6, 7, 9, [publication])),
        concat!(
            r#"{"id":6,"history":{"publications":[{"data":1,"info":{"user":"ann","client":"0a0b","#,
            r#""conn_info":{"name":"Ann"}},"offset":9,"time":5}],"epoch":"7","offset":9}}"#
        )
    );
}

#[test]
fn errors() {
    let code = ErrorCode::PERMISSION_DENIED;
    assert_eq!(
        written(|out| json::write_error(out, 2, code, code.message(), code.is_temporary())),
        r#"{"id":2,"error":{"code":103,"message":"permission denied"}}"#
    );
    let code = ErrorCode::INTERNAL;
    assert_eq!(
        written(|out| json::write_error(out, 2, code, code.message(), code.is_temporary())),
        r#"{"id":2,"error":{"code":100,"message":"internal server error","temporary":true}}"#
    );
}

#[test]
fn pushes() {
    let tags = [("lang".into(), "de".into()), ("q\"".into(), "\n".into())];
    let publication = Publication {
        data: Data::Json(b"{\"a\":1}"),
        offset: 42,
        tags: &tags,
        ..Publication::default()
    };
    assert_eq!(
        written(|out| json::write_publication_push(out, "news", &publication)),
        r#"{"push":{"channel":"news","pub":{"data":{"a":1},"offset":42,"tags":{"lang":"de","q\"":"\n"}}}}"#
    );
    let unnumbered = Publication {
        data: Data::Binary(b"\xff\x00"),
        ..Publication::default()
    };
    assert_eq!(
        written(|out| json::write_publication_push(out, "new\\s", &unnumbered)),
        r#"{"push":{"channel":"new\\s","pub":{"data":"/wA="}}}"#
    );
    let nothing = Publication {
        data: Data::Json(b""),
        ..Publication::default()
    };
    assert_eq!(
        written(|out| json::write_publication_push(out, "n", &nothing)),
        r#"{"push":{"channel":"n","pub":{}}}"#
    );
    assert_eq!(
        written(|out| json::write_join_push(out, "news", &ANN)),
        r#"{"push":{"channel":"news","join":{"info":{"user":"ann","client":"0a0b","conn_info":{"name":"Ann"}}}}}"#
    );
    assert_eq!(
        written(|out| json::write_leave_push(
            out,
            "news",
            &ClientInfo {
                connection_info: b"",
                ..ANN
            }
        )),
        r#"{"push":{"channel":"news","leave":{"info":{"user":"ann","client":"0a0b"}}}}"#
    );
    let code = UnsubscribeCode::INSUFFICIENT_STATE;
    assert_eq!(
        written(|out| json::write_unsubscribe_push(out, "news", code, code.reason())),
        r#"{"push":{"channel":"news","unsubscribe":{"code":2500,"reason":"insufficient state"}}}"#
    );
    let subscription = SubscribePush {
        recoverable: true,
        epoch: 7,
        offset: 1,
        positioned: true,
        data: b"",
    };
    assert_eq!(
        written(|out| json::write_subscribe_push(out, "news", &subscription)),
        r#"{"push":{"channel":"news","subscribe":{"recoverable":true,"epoch":"7","offset":1,"positioned":true}}}"#
    );
    assert_eq!(
        written(|out| json::write_message_push(out, Data::Json(b"[]"))),
        r#"{"push":{"message":{"data":[]}}}"#
    );
    let code = DisconnectCode::SHUTDOWN;
    assert_eq!(
        written(|out| json::write_disconnect_push(
            out,
            code,
            code.reason(),
            code.asks_to_reconnect()
        )),
        r#"{"push":{"disconnect":{"code":3001,"reason":"shutdown","reconnect":true}}}"#
    );
    assert_eq!(json::PING, b"{}");
}

#[test]
fn deltas_are_texts_of_exactly_their_bytes() {
    let publication = |data: &'static [u8], delta| Publication {
        data: Data::Text(data),
        offset: 2,
        delta,
        ..Publication::default()
    };
    assert_eq!(
        written(|out| json::write_publication_push(
            out,
            "n",
            &publication(b"3\n3:a\"\\12,;", true)
        )),
        r#"{"push":{"channel":"n","pub":{"data":"3\n3:a\"\\12,;","offset":2,"delta":true}}}"#
    );
    let text: String = (0..0x250).filter_map(char::from_u32).collect();
    let push = written(|out| json::write_message_push(out, Data::Text(text.as_bytes())));
    let push: serde_json::Value = serde_json::from_str(&push).unwrap();
    assert_eq!(push["push"]["message"]["data"], text);
    assert_eq!(
        written(|out| json::write_message_push(out, Data::Text(b"\"a\xc3\"\xff\xfe\n"))),
        "{\"push\":{\"message\":{\"data\":\"\\\"a\u{fffd}\\\"\u{fffd}\u{fffd}\\n\"}}}"
    );
    assert_eq!(
        written(|out| json::write_message_push(out, Data::Text(b""))),
        r#"{"push":{"message":{"data":""}}}"#
    );

    let result = SubscribeResult {
        delta: true,
        ..SubscribeResult::default()
    };
    assert_eq!(
        written(|out| json::write_subscribe(out, 2, &result, [publication(b"{}", false)])),
        r#"{"id":2,"subscribe":{"publications":[{"data":"{}","offset":2}],"delta":true}}"#
    );
}

#[test]
fn rpc() {
    assert_eq!(
        written(|out| json::write_rpc(out, 8, Data::Json(b"{\"sum\":3}"))),
        r#"{"id":8,"rpc":{"data":{"sum":3}}}"#
    );
    assert_eq!(
        written(|out| json::write_rpc(out, 8, Data::Binary(b""))),
        r#"{"id":8,"rpc":{"data":""}}"#
    );
}

#[test]
fn payloads_become_lines() {
    let same = |json: &str| {
        assert_eq!(
            json::normalise(json.as_bytes()).as_deref(),
            Some(json.as_bytes()),
            "{json}"
        )
    };
    for json in [
        "{}",
        "0",
        "\"\\n\"",
        "null",
        "[1, 2]",
        "\"\u{2028}é\"",
        "{\"a\":\t1}",
    ] {
        same(json);
    }
    let becomes = |json: &str, line: &str| {
        assert_eq!(
            json::normalise(json.as_bytes()).as_deref(),
            Some(line.as_bytes()),
            "{json:?}"
        );
    };
    becomes(
        "{\n  \"a\": 1,\r\n  \"b\": [\n]\r}\n",
        "{   \"a\": 1,    \"b\": [ ] }",
    );
    becomes("\n\t 7 \r\n", "7");
    becomes("{\"a\":\"\\n\"\n}", "{\"a\":\"\\n\" }");
}

#[test]
fn what_is_not_one_json_value_is_not_a_payload() {
    for bytes in [
        &b""[..],
        b" ",
        b"{",
        b"{}{}",
        b"{} x",
        b"abc",
        b"'a'",
        b"\"\n\"",
        b"\"\xff\"",
        b"\xff",
        b"\xef\xbb\xbf{}",
        b"NaN",
        b"01",
        b"\"\\x\"",
        b"[1,]",
    ] {
        assert_eq!(json::normalise(bytes), None, "{}", bytes.escape_ascii());
    }
    let nested = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
    assert!(json::normalise(nested(json::DEPTH_MAX).as_bytes()).is_some());
    assert!(json::normalise(nested(json::DEPTH_MAX + 1).as_bytes()).is_none());
    assert!(json::normalise("[".repeat(10_000_000).as_bytes()).is_none());
}

#[test]
fn codes_have_texts_and_say_whether_to_come_back() {
    for number in 100..=112 {
        let code = [
            ErrorCode::INTERNAL,
            ErrorCode::UNAUTHORIZED,
            ErrorCode::UNKNOWN_CHANNEL,
            ErrorCode::PERMISSION_DENIED,
            ErrorCode::METHOD_NOT_FOUND,
            ErrorCode::ALREADY_SUBSCRIBED,
            ErrorCode::LIMIT_EXCEEDED,
            ErrorCode::BAD_REQUEST,
            ErrorCode::NOT_AVAILABLE,
            ErrorCode::TOKEN_EXPIRED,
            ErrorCode::EXPIRED,
            ErrorCode::TOO_MANY_REQUESTS,
            ErrorCode::UNRECOVERABLE_POSITION,
        ][usize::from(number - 100_u16)];
        assert_eq!(code.number(), number);
        assert!(!code.message().is_empty());
        assert_eq!(code.is_temporary(), number == 100 || number == 111);
    }
    assert!(DisconnectCode::SLOW.asks_to_reconnect());
    assert!(!DisconnectCode::INVALID_TOKEN.asks_to_reconnect());
    assert!(DisconnectCode::custom(4000).unwrap().asks_to_reconnect());
    assert!(!DisconnectCode::custom(4500).unwrap().asks_to_reconnect());
    assert_eq!(
        (DisconnectCode::custom(3999), DisconnectCode::custom(5000)),
        (None, None)
    );
    assert!(
        UnsubscribeCode::EXPIRED.asks_to_resubscribe()
            && !UnsubscribeCode::SERVER.asks_to_resubscribe()
    );
    assert_eq!(
        (
            ErrorCode::custom(399),
            ErrorCode::custom(2000),
            UnsubscribeCode::custom(2501)
        ),
        (None, None, None)
    );
}
