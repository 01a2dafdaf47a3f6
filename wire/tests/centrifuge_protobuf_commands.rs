//! Commands in protobuf, as SDKs send them and as nobody should.

#![allow(clippy::unwrap_used)]

mod centrifuge_support;

use std::borrow::Cow;

use centrifuge_support as proto;
use centrifuge_support::{hex, message};
use fanfare_wire::centrifuge::codes::DisconnectCode;
use fanfare_wire::centrifuge::protobuf::{self, CommandError};
use fanfare_wire::centrifuge::{
    COMMANDS_MAX, CONNECT_HEADERS_MAX, CONNECT_SUBS_MAX, Command, Connect, ConnectSub,
    EmulationError, Epoch, FILTER_DEPTH_MAX, FilterError, FilterNode, History, Method, Publish,
    StreamPosition, Subscribe, TagTest,
};
use prost::Message;

fn all(bytes: &[u8]) -> Vec<Command<'_>> {
    protobuf::commands(bytes).collect::<Result<_, _>>().unwrap()
}

fn one(bytes: &[u8]) -> Method<'_> {
    let mut commands = all(bytes);
    assert_eq!(commands.len(), 1);
    commands.remove(0).method
}

fn error(bytes: &[u8]) -> CommandError {
    protobuf::commands(bytes)
        .find_map(Result::err)
        .unwrap_or_else(|| panic!("taken as commands: {}", bytes.escape_ascii()))
}

/// A command of these bytes.
fn command(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    prost::encode_length_delimiter(bytes.len(), &mut out).unwrap();
    out.extend_from_slice(bytes);
    out
}

/// A field of wire type 2.
fn field(number: u32, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    prost::encoding::encode_varint(u64::from(number) << 3 | 2, &mut out);
    out.extend(command(bytes));
    out
}

#[test]
fn a_connect_with_everything() {
    let sub = proto::SubscribeRequest {
        recover: true,
        offset: 12,
        epoch: "77".into(),
        ..Default::default()
    };
    let bytes = message(&[proto::Command {
        id: 1,
        connect: Some(proto::ConnectRequest {
            token: "a.b.c".into(),
            data: b"\xff\x00".into(),
            subs: [("personal:ann".to_owned(), sub)].into(),
            name: "js".into(),
            version: "5.8.0".into(),
            headers: [("X-Trace".to_owned(), "1".to_owned())].into(),
            flag: -1,
            dict: "d".into(),
            profile: "p".into(),
        }),
        ..Default::default()
    }]);
    let expected = Connect {
        token: "a.b.c".into(),
        data: b"\xff\x00".into(),
        subs: vec![ConnectSub {
            channel: "personal:ann".into(),
            recover: true,
            position: StreamPosition {
                offset: 12,
                epoch: Epoch::Known(77),
            },
        }],
        name: "js".into(),
        version: "5.8.0".into(),
        headers: vec![("X-Trace".into(), "1".into())],
    };
    assert_eq!(
        all(&bytes),
        [Command {
            id: 1,
            method: Method::Connect(Box::new(expected))
        }]
    );
}

#[test]
fn a_subscribe_with_everything() {
    let bytes = hex(concat!(
        "53 08 02 2a 4f",                     // length, id: 2, subscribe: {
        "0a 04 6e657773",                     // channel: "news"
        "12 03 742e6b",                       // token: "t.k"
        "18 01",                              // recover: true
        "32 02 3737",                         // epoch: "77"
        "38 80 08",                           // offset: 1024
        "42 02 ff00",                         // data
        "48 01 50 01 58 01",                  // positioned, recoverable, join_leave
        "62 06 666f7373696c",                 // delta: "fossil"
        "6a 1c 0a 03 616e64",                 // tf: {op: "and",
        "32 0a 12 01 61 1a 02 6571 22 01 62", // nodes: {key: "a", cmp: "eq", val: "b"},
        "32 09 12 01 63 1a 02 6578 22 00",    // nodes: {key: "c", cmp: "ex", val: ""}}
        "70 03",                              // flag: 3
        "78 04",                              // type: 4
        "80 01 01",                           // phase: 1
        "8a 01 01 63",                        // cursor: "c"
    ));
    let leaf = |key: &str, test| FilterNode::Tag {
        key: key.into(),
        test,
    };
    let filter = FilterNode::And(
        [
            leaf("a", TagTest::Is("b".into())),
            leaf("c", TagTest::Exists),
        ]
        .into(),
    );
    let expected = Subscribe {
        channel: "news".into(),
        token: "t.k".into(),
        recover: true,
        epoch: Epoch::Known(77),
        offset: 1024,
        data: b"\xff\x00".into(),
        positioned: true,
        recoverable: true,
        join_leave: true,
        delta: "fossil".into(),
        filter: Some(Ok(filter)),
        flags: 3,
        kind: 4,
    };
    assert_eq!(
        all(&bytes),
        [Command {
            id: 2,
            method: Method::Subscribe(expected)
        }]
    );
}

#[test]
fn the_other_methods() {
    let channel: Cow<'_, str> = "news".into();
    // What follows the head `id: 3`.
    let cases: Vec<(&str, Method<'_>)> = vec![
        ("22 00", Method::Connect(Box::default())),
        (
            "32 06 0a 04 6e657773",
            Method::Unsubscribe {
                channel: channel.clone(),
            },
        ),
        (
            "3a 0a 0a 04 6e657773 12 02 fffe",
            Method::Publish(Publish {
                channel: channel.clone(),
                data: b"\xff\xfe".into(),
                kind: 0,
            }),
        ),
        (
            "3a 0b 0a 04 6e657773 18 01 22 01 6b",
            Method::Publish(Publish {
                channel: channel.clone(),
                data: b"".into(),
                kind: 1,
            }),
        ),
        (
            "42 06 0a 04 6e657773",
            Method::Presence {
                channel: channel.clone(),
            },
        ),
        (
            "4a 06 0a 04 6e657773",
            Method::PresenceStats {
                channel: channel.clone(),
            },
        ),
        (
            "52 11 0a 04 6e657773 38 64 42 05 08 0a 12 01 37 48 01",
            Method::History(History {
                channel: channel.clone(),
                limit: 100,
                since: Some(StreamPosition {
                    offset: 10,
                    epoch: Epoch::Known(7),
                }),
                reverse: true,
            }),
        ),
        (
            "52 11 0a 04 6e657773 38 ff ff ff ff ff ff ff ff ff 01",
            Method::History(History {
                channel: channel.clone(),
                limit: -1,
                since: None,
                reverse: false,
            }),
        ),
        ("5a 00", Method::Ping),
        (
            "62 04 0a 02 fffe",
            Method::Send {
                data: b"\xff\xfe".into(),
            },
        ),
        (
            "6a 08 0a 01 ff 12 03 616464",
            Method::Rpc {
                method: "add".into(),
                data: b"\xff".into(),
            },
        ),
        (
            "72 05 0a 03 6e2e77",
            Method::Refresh {
                token: "n.w".into(),
            },
        ),
        (
            "7a 0b 0a 04 6e657773 12 03 6e2e77",
            Method::SubRefresh {
                channel,
                token: "n.w".into(),
            },
        ),
        ("", Method::Unknown),
    ];
    for (method, expected) in cases {
        let bytes = command(&hex(&format!("08 03 {method}")));
        let expected = Command {
            id: 3,
            method: expected,
        };
        assert_eq!(all(&bytes), [expected], "{method}");
    }
}

#[test]
fn an_empty_command_is_a_pong() {
    let pong = Command {
        id: 0,
        method: Method::Pong,
    };
    assert_eq!(all(&[0]), std::slice::from_ref(&pong));
    assert_eq!(all(&[0, 0]), [pong.clone(), pong]);
    assert_eq!(protobuf::PING, [0]);
}

#[test]
fn of_several_methods_the_first_in_the_protocols_order_counts() {
    let channel = proto::Channel {
        channel: "c".into(),
    };
    let several = proto::Command {
        id: 1,
        presence: Some(channel.clone()),
        unsubscribe: Some(channel),
        ping: Some(proto::Empty {}),
        ..Default::default()
    };
    assert_eq!(one(&message(&[several])), Method::Ping);
}

#[test]
fn commands_before_an_error_count_and_none_after_it() {
    let ping = hex("04 08 01 5a 00");
    let bytes = [&ping[..], &hex("02 0b 0c"), &ping[..]].concat();
    let results: Vec<_> = protobuf::commands(&bytes).collect();
    assert_eq!(results.len(), 2);
    assert!(results[0].is_ok());
    assert_eq!(results[1], Err(CommandError::Malformed { column: 0 }));
}

#[test]
fn a_message_cut_anywhere_gives_the_commands_before_the_cut() {
    let channel = || proto::Channel {
        channel: "ein Kanal".into(),
    };
    let commands = [
        proto::Command {
            id: 300,
            subscribe: Some(proto::SubscribeRequest {
                channel: "news".into(),
                tf: Some(proto::FilterNode {
                    key: "k".into(),
                    cmp: "eq".into(),
                    val: "v".into(),
                    ..Default::default()
                }),
                ..Default::default()
            }),
            ..Default::default()
        },
        proto::Command::default(),
        proto::Command {
            id: 301,
            history: Some(proto::HistoryRequest {
                channel: "news".into(),
                limit: -1,
                since: Some(proto::StreamPosition {
                    offset: u64::MAX,
                    epoch: "5".into(),
                }),
                reverse: true,
            }),
            ..Default::default()
        },
        proto::Command {
            id: 302,
            presence: Some(channel()),
            ..Default::default()
        },
    ];
    let bytes = message(&commands);
    let whole = all(&bytes);
    let mut ends = vec![0];
    for command in &commands {
        ends.push(ends[ends.len() - 1] + command.encode_length_delimited_to_vec().len());
    }
    for cut in 0..bytes.len() {
        let results: Vec<_> = protobuf::commands(&bytes[..cut]).collect();
        let complete = ends.iter().filter(|&&end| end > 0 && end <= cut).count();
        let decoded: Vec<_> = results.iter().flatten().cloned().collect();
        assert_eq!(decoded, whole[..complete], "cut at {cut}");
        let is_clean = cut > 0 && ends.contains(&cut);
        assert_eq!(results.len() - complete, usize::from(!is_clean));
    }
}

#[test]
fn fields_of_the_future_are_skipped() {
    let future = [
        hex("10 05"),               // 2, varint
        hex("19 0102030405060708"), // 3, eight bytes
        field(16, b"\xff\xff\xff"), // not a message
        hex("85 01 01020304"),      // 16, four bytes
        hex("f8 ff ff ff 0f 01"),   // the highest number
    ]
    .concat();
    let subscribe = [field(1, b"c"), field(99, b"x"), hex("20 07")].concat();
    let bytes = command(&[future, hex("08 01"), field(5, &subscribe)].concat());
    let expected = Subscribe {
        channel: "c".into(),
        ..Subscribe::default()
    };
    assert_eq!(one(&bytes), Method::Subscribe(expected));
}

#[test]
fn fields_that_come_twice_are_merged() {
    let position = |bytes: &[u8]| field(8, bytes);
    let history = [
        field(1, b"a"),
        position(&hex("08 05")),
        field(1, b"b"),
        position(&hex("12 01 37")),
    ]
    .concat();
    let (first, second) = (hex("38 01"), history);
    let bytes = command(
        &[
            hex("08 01"),
            field(10, &first),
            hex("08 02"),
            field(10, &second),
        ]
        .concat(),
    );
    let expected = History {
        channel: "b".into(),
        limit: 1,
        since: Some(StreamPosition {
            offset: 5,
            epoch: Epoch::Known(7),
        }),
        reverse: false,
    };
    assert_eq!(
        all(&bytes),
        [Command {
            id: 2,
            method: Method::History(expected)
        }]
    );
    let decoded = proto::Command::decode_length_delimited(&bytes[..]).unwrap();
    assert_eq!((decoded.id, decoded.history.unwrap().limit), (2, 1));
}

#[test]
fn a_map_entry_may_lack_its_key_or_value() {
    let connect = [field(3, b""), field(6, b""), field(6, &field(2, b"v"))].concat();
    let bytes = command(&[hex("08 01"), field(4, &connect)].concat());
    let Method::Connect(connect) = one(&bytes) else {
        panic!("not a connect")
    };
    assert_eq!(connect.subs.len(), 1);
    assert_eq!(
        connect.headers,
        [("".into(), "".into()), ("".into(), "v".into())]
    );
}

#[test]
fn text_and_payloads_are_borrowed() {
    let publish = [field(1, "größe".as_bytes()), field(2, b"\x00\xff")].concat();
    let bytes = command(&[hex("08 01"), field(7, &publish)].concat());
    let Method::Publish(publish) = one(&bytes) else {
        panic!("not a publish")
    };
    assert!(matches!(publish.channel, Cow::Borrowed("größe")));
    assert!(matches!(publish.data, Cow::Borrowed(b"\x00\xff")));
}

#[test]
fn what_is_answered_has_an_id_and_a_channel() {
    for number in [5_u32, 6, 7, 8, 9, 10, 15] {
        let method = field(number, b"");
        let with_id = command(&[hex("08 01"), method].concat());
        assert_eq!(error(&with_id), CommandError::MissingChannel, "{number}");
        let without_id = command(&field(number, &field(1, b"c")));
        assert_eq!(error(&without_id), CommandError::MissingId, "{number}");
    }
    for number in [4_u32, 11, 13, 14] {
        assert_eq!(
            error(&command(&field(number, b""))),
            CommandError::MissingId
        );
    }
    let send = command(&field(12, b""));
    assert_eq!(one(&send), Method::Send { data: b"".into() });
}

#[test]
fn malformed_bytes_are_refused() {
    let inside = |bytes: &str| command(&hex(bytes));
    let malformed = [
        ("no commands", vec![]),
        ("a length without its last byte", hex("80")),
        ("a length beyond the message", hex("02 08")),
        (
            "a length of 2^64 - 1",
            hex("ff ff ff ff ff ff ff ff ff 01 08"),
        ),
        ("a length of 2^63", hex("80 80 80 80 80 80 80 80 80 01 08")),
        (
            "a length past 64 bits",
            hex("80 80 80 80 80 80 80 80 80 02"),
        ),
        (
            "a length of eleven bytes",
            hex("80 80 80 80 80 80 80 80 80 80 00"),
        ),
        (
            "a key of eleven bytes",
            inside("88 80 80 80 80 80 80 80 80 80 00 01"),
        ),
        (
            "a value of eleven bytes",
            inside("08 81 80 80 80 80 80 80 80 80 80 00"),
        ),
        (
            "a value past 64 bits",
            inside("10 ff ff ff ff ff ff ff ff ff 7f"),
        ),
        ("a value without its last byte", inside("08 81")),
        ("a key without a value", inside("08")),
        ("field number 0", inside("00 01")),
        ("a field number of 30 bits", inside("80 80 80 80 10 01")),
        ("an id past 32 bits", inside("08 80 80 80 80 10")),
        ("a group", inside("0b 0c")),
        ("an unknown group", inside("93 01 94 01")),
        ("the end of a group", inside("0c")),
        ("wire type 6", inside("0e 00")),
        ("wire type 7", inside("0f 00")),
        ("four bytes of which three are there", inside("15 01 02 03")),
        (
            "eight bytes of which seven are there",
            inside("11 01 02 03 04 05 06 07"),
        ),
        (
            "a method longer than the command",
            inside("08 01 3a 05 0a 01 63"),
        ),
        (
            "a channel longer than its method",
            inside("08 01 3a 03 0a 02 63"),
        ),
        (
            "a channel that is not UTF-8",
            inside("08 01 3a 03 0a 01 ff"),
        ),
        (
            "a channel with half a character",
            inside("08 01 3a 03 0a 01 c3"),
        ),
        ("a token that is not UTF-8", inside("08 01 72 03 0a 01 ff")),
        (
            "an epoch that is not UTF-8",
            inside("08 01 2a 06 0a 01 63 32 01 ff"),
        ),
        (
            "a type past 32 bits",
            inside("08 01 3a 08 0a 01 63 18 80 80 80 80 08"),
        ),
        ("garbage in a ping", inside("08 01 5a 01 08")),
        (
            "garbage in a method that does not count",
            inside("08 01 5a 00 3a 01 08"),
        ),
    ];
    for (what, bytes) in malformed {
        let error = error(&bytes);
        assert!(
            matches!(error, CommandError::Malformed { .. }),
            "{what}: {error}"
        );
        assert_eq!(error.code(), DisconnectCode::BAD_REQUEST);
        assert!(
            proto::Command::decode_length_delimited(&bytes[..]).is_err()
                || [
                    "an id past 32 bits",
                    "a type past 32 bits",
                    "an unknown group"
                ]
                .contains(&what)
                || bytes.is_empty(),
            "{what}: prost takes it"
        );
    }
}

#[test]
fn a_known_field_has_its_own_wire_type() {
    let values = [
        (0_u64, hex("01")),
        (1, vec![1; 8]),
        (2, hex("01 00")),
        (5, vec![1; 4]),
    ];
    // Numbers of fields that are numbers, and of fields that are bytes, by the command's field around them.
    let fields: [(Option<u32>, &[u64], &[u64]); 11] = [
        (None, &[1], &[4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]),
        (Some(4), &[], &[1, 2, 3, 4, 5, 6]),
        (Some(5), &[3, 7, 9, 10, 11, 14, 15], &[1, 2, 6, 8, 12, 13]),
        (Some(6), &[], &[1]),
        (Some(7), &[3], &[1, 2]),
        (Some(8), &[], &[1]),
        (Some(10), &[7, 9], &[1, 8]),
        (Some(12), &[], &[1]),
        (Some(13), &[], &[1, 2]),
        (Some(14), &[], &[1]),
        (Some(15), &[], &[1, 2]),
    ];
    for (around, numbers, bytes) in fields {
        let numbers = numbers.iter().map(|&number| (number, 0));
        let bytes = bytes.iter().map(|&number| (number, 2));
        for (number, own_type) in numbers.chain(bytes) {
            for (wire_type, value) in &values {
                if *wire_type == own_type {
                    continue;
                }
                let mut inside = Vec::new();
                prost::encoding::encode_varint(number << 3 | wire_type, &mut inside);
                inside.extend_from_slice(value);
                let bytes = match around {
                    Some(around) => command(&field(around, &inside)),
                    None => command(&inside),
                };
                assert!(
                    matches!(error(&bytes), CommandError::Malformed { .. }),
                    "{around:?} {number} as {wire_type}"
                );
            }
        }
    }
}

#[test]
fn an_error_names_the_place_in_the_command() {
    let ping = hex("04 08 01 5a 00");
    let bytes = [&ping[..], &command(&hex("08 01 3a 03 0a 01 ff"))].concat();
    assert_eq!(error(&bytes), CommandError::Malformed { column: 4 });
}

#[test]
fn numbers_may_be_longer_than_they_need_to_be() {
    let bytes = hex("8b 80 00 08 81 80 80 00 92 00 00 5a 80 00");
    assert_eq!(
        all(&bytes),
        [Command {
            id: 1,
            method: Method::Ping
        }]
    );
}

#[test]
fn a_batch_is_bounded() {
    assert_eq!(all(&vec![0; COMMANDS_MAX]).len(), COMMANDS_MAX);
    let results: Vec<_> = protobuf::commands(&[0; 100_000]).collect();
    assert_eq!(results.len(), COMMANDS_MAX + 1);
    assert_eq!(results[COMMANDS_MAX], Err(CommandError::TooMany));
}

#[test]
fn a_connect_is_bounded() {
    for (number, max) in [(3, CONNECT_SUBS_MAX), (6, CONNECT_HEADERS_MAX)] {
        let connect = |entries: usize| {
            let connect = field(number, b"").repeat(entries);
            command(&[hex("08 01"), field(4, &connect)].concat())
        };
        assert!(matches!(one(&connect(max)), Method::Connect(_)));
        assert_eq!(error(&connect(max + 1)), CommandError::TooManyEntries);
        assert_eq!(error(&connect(100_000)), CommandError::TooManyEntries);
    }
}

#[test]
fn a_filter_that_is_none_does_not_end_the_connection() {
    let subscribe = |filter: &[u8]| {
        let subscribe = [field(13, filter), field(1, b"c")].concat();
        command(&[hex("08 01"), field(5, &subscribe)].concat())
    };
    let filter_of = |bytes: &[u8]| {
        let Method::Subscribe(subscribe) = one(bytes) else {
            panic!("not a subscribe")
        };
        assert_eq!(subscribe.channel, "c");
        subscribe.filter.unwrap()
    };
    assert_eq!(
        filter_of(&subscribe(b"")),
        Err(FilterError::UnknownComparison)
    );

    let nested = |levels: usize| {
        let leaf = [field(2, b"k"), field(3, b"ex")].concat();
        (1..levels).fold(leaf, |inner, _| {
            [field(1, b"not"), field(6, &inner)].concat()
        })
    };
    assert!(filter_of(&subscribe(&nested(FILTER_DEPTH_MAX))).is_ok());
    for levels in [FILTER_DEPTH_MAX + 1, 2_000] {
        assert_eq!(
            filter_of(&subscribe(&nested(levels))),
            Err(FilterError::TooDeep)
        );
    }
    assert!(matches!(
        error(&subscribe(&hex("0a 01 ff"))),
        CommandError::Malformed { .. }
    ));
}

#[test]
fn emulation_requests() {
    let request = proto::EmulationRequest {
        node: "n".into(),
        session: "s".into(),
        data: b"\x04\x08\x01\x5a\x00".into(),
    };
    let body = request.encode_to_vec();
    let emulation = protobuf::emulation(&body).unwrap();
    assert_eq!((&*emulation.node, &*emulation.session), ("n", "s"));
    assert!(matches!(emulation.data, Cow::Borrowed(_)));
    assert_eq!(one(&emulation.data), Method::Ping);

    assert_eq!(protobuf::emulation(b""), Ok(Default::default()));
    for cut in [1, 2, 4, 5, 7, 10] {
        assert!(
            matches!(
                protobuf::emulation(&body[..cut]),
                Err(EmulationError::Malformed { .. })
            ),
            "{cut}"
        );
    }
    assert!(protobuf::emulation(&hex("0a 01 ff")).is_err());
    assert!(protobuf::emulation(&hex("08 01")).is_err());
}
