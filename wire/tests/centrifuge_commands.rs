//! Commands as SDKs send them (the texts are what centrifuge-js 5 and centrifuge-go put on the wire), and as nobody should.

#![allow(clippy::unwrap_used)]

use std::borrow::Cow;

use fanfare_wire::centrifuge::codes::DisconnectCode;
use fanfare_wire::centrifuge::json::{self, COMMANDS_MAX, CommandError, DEPTH_MAX};
use fanfare_wire::centrifuge::{
    Command, Connect, ConnectSub, Epoch, FilterNode, History, Method, Publish, StreamPosition,
    Subscribe, TagTest,
};

fn all(text: &str) -> Vec<Command<'_>> {
    json::commands(text).collect::<Result<_, _>>().unwrap()
}

fn one(text: &str) -> Method<'_> {
    let mut commands = all(text);
    assert_eq!(commands.len(), 1);
    commands.remove(0).method
}

fn error(text: &str) -> CommandError {
    json::commands(text)
        .find_map(Result::err)
        .unwrap_or_else(|| panic!("taken as commands: {text}"))
}

#[test]
fn a_connect_with_everything() {
    let text = concat!(
        r#"{"connect":{"token":"a.b.c","data":{"device":"x"},"name":"js","version":"5.5.2","headers":{"X-Trace":"1"},"#,
        r#""subs":{"personal:ann":{"recover":true,"offset":12,"epoch":"77"},"news":{"recover":true}}},"id":1}"#
    );
    let expected = Connect {
        token: "a.b.c".into(),
        data: br#"{"device":"x"}"#.into(),
        subs: vec![
            ConnectSub {
                channel: "personal:ann".into(),
                recover: true,
                position: StreamPosition {
                    offset: 12,
                    epoch: Epoch::Known(77),
                },
            },
            ConnectSub {
                channel: "news".into(),
                recover: true,
                position: StreamPosition::default(),
            },
        ],
        name: "js".into(),
        version: "5.5.2".into(),
        headers: vec![("X-Trace".into(), "1".into())],
    };
    assert_eq!(
        all(text),
        [Command {
            id: 1,
            method: Method::Connect(Box::new(expected))
        }]
    );
}

#[test]
fn a_connect_with_nothing() {
    assert_eq!(
        one(r#"{"connect":{},"id":1}"#),
        Method::Connect(Box::default())
    );
}

#[test]
fn a_subscribe_that_recovers() {
    let text = concat!(
        r#"{"subscribe":{"channel":"news","token":"s.u.b","positioned":true,"recoverable":true,"join_leave":true,"#,
        r#""flag":3,"recover":true,"offset":1024,"epoch":"18446744073709551615","delta":"fossil","#,
        r#""tf":{"op":"and","nodes":[{"key":"a","cmp":"eq","val":"b"}]}},"id":2}"#
    );
    let Method::Subscribe(subscribe) = one(text) else {
        panic!("not a subscribe")
    };
    let expected = Subscribe {
        channel: "news".into(),
        token: "s.u.b".into(),
        recover: true,
        epoch: Epoch::Known(u64::MAX),
        offset: 1024,
        data: b"".into(),
        positioned: true,
        recoverable: true,
        join_leave: true,
        delta: "fossil".into(),
        filter: Some(Ok(FilterNode::And(
            [FilterNode::Tag {
                key: "a".into(),
                test: TagTest::Is("b".into()),
            }]
            .into(),
        ))),
        flags: 3,
        kind: 0,
    };
    assert_eq!(subscribe, expected);
    assert!(subscribe.rejects_unrecovered());
    assert_eq!(
        subscribe.position(),
        StreamPosition {
            offset: 1024,
            epoch: Epoch::Known(u64::MAX)
        }
    );
}

#[test]
fn the_epoch_by_which_js_asks_to_fail_recovery_matches_none() {
    let Method::Subscribe(subscribe) =
        one(r#"{"subscribe":{"channel":"news","recover":true,"epoch":"_"},"id":2}"#)
    else {
        panic!("not a subscribe")
    };
    assert_eq!(subscribe.epoch, Epoch::Foreign);
    assert!(!subscribe.epoch.matches(0) && !subscribe.epoch.matches(1));
}

#[test]
fn epochs() {
    assert_eq!(Epoch::parse(""), Epoch::Any);
    assert!(Epoch::parse("").matches(5));
    assert_eq!(Epoch::parse("5"), Epoch::Known(5));
    assert!(Epoch::parse("5").matches(5) && !Epoch::parse("5").matches(6));
    for foreign in [
        "0",
        "05",
        "+5",
        "-5",
        " 5",
        "5 ",
        "xyzw",
        "18446744073709551616",
        "٥",
    ] {
        assert_eq!(Epoch::parse(foreign), Epoch::Foreign, "{foreign}");
    }
}

#[test]
fn the_other_methods() {
    let channel: Cow<'_, str> = "news".into();
    assert_eq!(
        one(r#"{"unsubscribe":{"channel":"news"},"id":3}"#),
        Method::Unsubscribe {
            channel: channel.clone()
        }
    );
    assert_eq!(
        one(r#"{"presence":{"channel":"news"},"id":3}"#),
        Method::Presence {
            channel: channel.clone()
        }
    );
    assert_eq!(
        one(r#"{"presence_stats":{"channel":"news"},"id":3}"#),
        Method::PresenceStats {
            channel: channel.clone()
        }
    );
    assert_eq!(
        one(r#"{"publish":{"channel":"news","data":{"text":"hi"}},"id":4}"#),
        Method::Publish(Publish {
            channel: channel.clone(),
            data: br#"{"text":"hi"}"#.into(),
            kind: 0
        })
    );
    assert_eq!(
        one(r#"{"publish":{"channel":"news","type":1,"key":"k","removed":true},"id":4}"#),
        Method::Publish(Publish {
            channel: channel.clone(),
            data: b"".into(),
            kind: 1
        })
    );
    assert_eq!(
        one(
            r#"{"history":{"channel":"news","since":{"offset":10,"epoch":"7"},"limit":100,"reverse":true},"id":5}"#
        ),
        Method::History(History {
            channel: channel.clone(),
            limit: 100,
            since: Some(StreamPosition {
                offset: 10,
                epoch: Epoch::Known(7)
            }),
            reverse: true,
        })
    );
    assert_eq!(
        one(r#"{"history":{"channel":"news","limit":-1},"id":5}"#),
        Method::History(History {
            channel: channel.clone(),
            limit: -1,
            since: None,
            reverse: false
        })
    );
    assert_eq!(
        one(r#"{"rpc":{"method":"add","data":[1,2]},"id":6}"#),
        Method::Rpc {
            method: "add".into(),
            data: b"[1,2]".into()
        }
    );
    assert_eq!(
        one(r#"{"send":{"data":"fire"}}"#),
        Method::Send {
            data: br#""fire""#.into()
        }
    );
    assert_eq!(
        one(r#"{"refresh":{"token":"n.e.w"},"id":7}"#),
        Method::Refresh {
            token: "n.e.w".into()
        }
    );
    assert_eq!(
        one(r#"{"sub_refresh":{"channel":"news","token":"n.e.w"},"id":8}"#),
        Method::SubRefresh {
            channel,
            token: "n.e.w".into()
        }
    );
    assert_eq!(one(r#"{"ping":{},"id":9}"#), Method::Ping);
}

#[test]
fn an_empty_command_is_a_pong() {
    assert_eq!(
        all("{}"),
        [Command {
            id: 0,
            method: Method::Pong
        }]
    );
    assert_eq!(
        all("{}\n"),
        [Command {
            id: 0,
            method: Method::Pong
        }]
    );
    assert_eq!(one(r#"{"id":0}"#), Method::Pong);
    assert_eq!(one(r#" { } "#), Method::Pong);
}

#[test]
fn a_batch_is_one_command_a_line() {
    let text = concat!(
        r#"{"connect":{},"id":1}"#,
        "\n",
        r#"{"subscribe":{"channel":"a"},"id":2}"#,
        "\n",
        "{}",
        "\n",
        r#"{"subscribe":{"channel":"b"},"id":3}"#,
    );
    for text in [text.to_owned(), format!("{text}\n")] {
        let ids: Vec<u32> = all(&text).iter().map(|command| command.id).collect();
        assert_eq!(ids, [1, 2, 0, 3]);
    }
}

#[test]
fn commands_before_an_error_count_and_none_after_it() {
    let text = concat!(
        r#"{"subscribe":{"channel":"a"},"id":2}"#,
        "\n",
        "nonsense",
        "\n",
        r#"{"ping":{},"id":3}"#
    );
    let results: Vec<_> = json::commands(text).collect();
    assert_eq!(results.len(), 2);
    assert!(results[0].is_ok());
    assert_eq!(results[1], Err(CommandError::Malformed { column: 2 }));
}

#[test]
fn text_without_escapes_is_borrowed_and_with_escapes_decoded() {
    let Method::Subscribe(plain) = one(r#"{"subscribe":{"channel":"öffentlich:1"},"id":1}"#)
    else {
        panic!()
    };
    assert!(matches!(plain.channel, Cow::Borrowed("öffentlich:1")));
    let Method::Subscribe(escaped) =
        one(r#"{"subscribe":{"channel":"a\"b\\c\/d\u00e9\ud83d\ude00\n\u0000"},"id":1}"#)
    else {
        panic!()
    };
    assert_eq!(escaped.channel, "a\"b\\c/dé😀\n\0");
    let Method::Connect(connect) = one(r#"{"connect":{"headers":{"a\u0062":"\t"}},"id":1}"#) else {
        panic!()
    };
    assert_eq!(connect.headers, [("ab".into(), "\t".into())]);
}

#[test]
fn payloads_are_passed_on_as_they_stand() {
    let payloads = [
        r#"{"a":[1,2.50,-0,1e400,{"b":null}]}"#,
        r#""text with \n and \u00e9""#,
        "0",
        "-1.5e+3",
        "true",
        "null",
        "[]",
        "{}",
        r#"{"a":1,"a":2}"#,
        r#""\ud800""#,
        "9007199254740993123456789",
    ];
    for payload in payloads {
        let text = format!(r#"{{"publish":{{"data": {payload} ,"channel":"c"}},"id":1}}"#);
        let Method::Publish(publish) = one(&text) else {
            panic!()
        };
        assert_eq!(*publish.data, *payload.as_bytes());
    }
}

#[test]
fn a_carriage_return_between_tokens_of_a_payload_becomes_a_space() {
    let Method::Publish(publish) =
        one("{\"id\":1,\"publish\":{\"channel\":\"c\",\"data\":\r{\r\"a\":\"\\r\"\r}\r}}")
    else {
        panic!()
    };
    assert_eq!(*publish.data, *b"{ \"a\":\"\\r\" }");
}

#[test]
fn unknown_fields_are_skipped() {
    let text = r#"{"id":1,"future":{"deep":[[[{}]]]},"subscribe":{"channel":"c","new":"x","limit":5},"trace":"t"}"#;
    let Method::Subscribe(subscribe) = one(text) else {
        panic!()
    };
    assert_eq!(subscribe.channel, "c");
    assert_eq!(one(r#"{"teleport":{},"id":1}"#), Method::Unknown);
    assert_eq!(one(r#"{"id":1}"#), Method::Unknown);
}

#[test]
fn null_is_absent() {
    assert_eq!(one(r#"{"id":null,"connect":null}"#), Method::Pong);
    assert_eq!(
        one(r#"{"connect":{"token":null,"subs":null,"headers":null,"name":null},"id":1}"#),
        Method::Connect(Box::default())
    );
    let text = r#"{"subscribe":{"channel":"c","token":null,"recover":null,"epoch":null,"offset":null,"flag":null},"id":1}"#;
    assert_eq!(
        one(text),
        Method::Subscribe(Subscribe {
            channel: "c".into(),
            ..Subscribe::default()
        })
    );
    let Method::Connect(connect) = one(r#"{"connect":{"subs":{"a":null}},"id":1}"#) else {
        panic!()
    };
    assert_eq!(connect.subs.len(), 1);
}

#[test]
fn of_several_methods_the_first_in_the_protocols_order_counts() {
    assert!(matches!(
        one(r#"{"publish":{"channel":"c"},"connect":{},"id":1}"#),
        Method::Connect(_)
    ));
    assert!(matches!(
        one(r#"{"publish":{"channel":"c"},"subscribe":{"channel":"c"},"id":1}"#),
        Method::Subscribe(_)
    ));
}

#[test]
fn ids_fit_32_bits() {
    assert_eq!(all(r#"{"ping":{},"id":4294967295}"#)[0].id, u32::MAX);
    for id in [
        "4294967296",
        "-1",
        "1.5",
        "1e3",
        "99999999999999999999999999",
        r#""1""#,
        "true",
        "[1]",
    ] {
        let text = format!(r#"{{"ping":{{}},"id":{id}}}"#);
        assert!(
            matches!(error(&text), CommandError::Malformed { .. }),
            "{id}"
        );
    }
    let offset = r#"{"subscribe":{"channel":"c","offset":18446744073709551616},"id":1}"#;
    assert!(matches!(error(offset), CommandError::Malformed { .. }));
}

#[test]
fn what_is_answered_has_an_id_and_a_channel() {
    assert_eq!(
        error(r#"{"subscribe":{"channel":"c"}}"#),
        CommandError::MissingId
    );
    assert_eq!(error(r#"{"connect":{},"id":0}"#), CommandError::MissingId);
    for method in [
        "subscribe",
        "unsubscribe",
        "publish",
        "presence",
        "presence_stats",
        "history",
        "sub_refresh",
    ] {
        assert_eq!(
            error(&format!(r#"{{"{method}":{{}},"id":1}}"#)),
            CommandError::MissingChannel
        );
        assert_eq!(
            error(&format!(r#"{{"{method}":{{"channel":""}},"id":1}}"#)),
            CommandError::MissingChannel
        );
    }
}

#[test]
fn malformed_texts_are_refused() {
    let malformed = [
        "",
        "\n",
        "\n\n",
        "{}\n\n",
        "{}\n\n{}",
        "null",
        "1",
        "\"{}\"",
        "[",
        "{",
        "{}}",
        "{}{}",
        "{}\r{}",
        "{'id':1}",
        r#"{"id":1,"ping":1}"#,
        r#"{"id":1,"connect":"x"}"#,
        r#"{"id":1,"connect":[1]}"#,
        r#"{"id":1,"subscribe":["c"]}"#,
        r#"{"id":1,"ping":[]}"#,
        "[]",
        "[1]",
        r#"{"id":1,"history":{"channel":"c","since":[]}}"#,
        r#"{"id":1,"connect":{"subs":{"a":[true]}}}"#,
        r#"{"id":1,"subscribe":{"channel":7}}"#,
        r#"{"id":1,"subscribe":{"channel":["c"]}}"#,
        r#"{"id":1,"subscribe":{"channel":"\ud800"}}"#,
        r#"{"id":1,"subscribe":{"channel":"\x"}}"#,
        r#"{"id":1,"subscribe":{"channel":"c","recover":1}}"#,
        r#"{"id":1,"publish":{"channel":"c","data":}}"#,
        r#"{"id":1,"publish":{"channel":"c","data":{]}}}"#,
        r#"{"id":1,"publish":{"channel":"c","data":01}}"#,
        r#"{"id":1,"connect":{"headers":{"a":1}}}"#,
        r#"{"id":1,"connect":{"subs":["a"]}}"#,
        "{\"id\":1,\"subscribe\":{\"channel\":\"a\tb\"}}",
        r#"{"id":1,"id":2,"ping":{}}"#,
    ];
    for text in malformed {
        let error = error(text);
        assert!(
            matches!(error, CommandError::Malformed { .. }),
            "{text:?}: {error}"
        );
        assert_eq!(error.code(), DisconnectCode::BAD_REQUEST);
    }
}

#[test]
fn a_line_break_inside_of_a_payload_cuts_the_command() {
    assert!(matches!(
        error("{\"id\":1,\"publish\":{\"channel\":\"c\",\"data\":{\n}}}"),
        CommandError::Malformed { .. }
    ));
}

#[test]
fn nesting_is_bounded() {
    let nested = |levels: usize| {
        let payload = format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        format!(r#"{{"id":1,"publish":{{"channel":"c","data":{payload}}}}}"#)
    };
    assert!(matches!(one(&nested(DEPTH_MAX - 2)), Method::Publish(_)));
    assert_eq!(error(&nested(DEPTH_MAX - 1)), CommandError::TooDeep);
    assert_eq!(error(&nested(1_000_000)), CommandError::TooDeep);
    assert_eq!(error(&"{\"a\":".repeat(1_000_000)), CommandError::TooDeep);
    assert_eq!(
        error(&format!(
            r#"{{"unknown":{}1{}}}"#,
            "[".repeat(200),
            "]".repeat(200)
        )),
        CommandError::TooDeep
    );
    let in_text = format!(
        r#"{{"id":1,"publish":{{"channel":"c","data":"\"{}"}}}}"#,
        "[".repeat(1000)
    );
    assert!(matches!(one(&in_text), Method::Publish(_)));
}

#[test]
fn a_batch_is_bounded() {
    let text = "{}\n".repeat(COMMANDS_MAX);
    assert_eq!(all(&text).len(), COMMANDS_MAX);
    let text = "{}\n".repeat(COMMANDS_MAX + 1);
    let results: Vec<_> = json::commands(&text).collect();
    assert_eq!(results.len(), COMMANDS_MAX + 1);
    assert_eq!(results[COMMANDS_MAX], Err(CommandError::TooMany));
}
