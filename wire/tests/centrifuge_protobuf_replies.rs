//! Replies and pushes in protobuf: byte for byte what `prost` makes of the same messages.

#![allow(clippy::unwrap_used)]

mod centrifuge_support;

use centrifuge_support as proto;
use centrifuge_support::hex;
use fanfare_wire::centrifuge::codes::{DisconnectCode, ErrorCode, UnsubscribeCode};
use fanfare_wire::centrifuge::{
    ClientInfo, ConnectResult, ConnectSubResult, Data, Publication, RefreshResult,
    SubRefreshResult, SubscribePush, SubscribeResult, protobuf,
};
use prost::Message;

/// What is written comes after what was there.
fn written(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = b"before".to_vec();
    write(&mut out);
    assert_eq!(&out[..6], b"before");
    out.split_off(6)
}

fn same(reply: proto::Reply, write: impl FnOnce(&mut Vec<u8>)) {
    let bytes = written(write);
    assert_eq!(
        proto::Reply::decode_length_delimited(&bytes[..]),
        Ok(reply.clone())
    );
    assert_eq!(bytes, reply.encode_length_delimited_to_vec());
}

fn push(push: proto::Push) -> proto::Reply {
    proto::Reply {
        push: Some(push),
        ..Default::default()
    }
}

const ANN: ClientInfo<'_> = ClientInfo {
    user: "ann",
    client: "0a0b",
    connection_info: b"\xff{",
    channel_info: b"",
};

fn ann() -> proto::ClientInfo {
    proto::ClientInfo {
        user: "ann".into(),
        client: "0a0b".into(),
        conn_info: b"\xff{".into(),
        chan_info: vec![],
    }
}

fn tags() -> [(Box<str>, Box<str>); 2] {
    [("a".into(), "1".into()), ("b".into(), "ü".into())]
}

fn publication(tags: &[(Box<str>, Box<str>)]) -> Publication<'_> {
    Publication {
        data: Data::Binary(b"\x00\xff"),
        info: Some(ANN),
        offset: u64::MAX,
        tags,
        delta: true,
        time_unix_ms: 1_700_000_000_000,
    }
}

fn proto_publication() -> proto::Publication {
    proto::Publication {
        data: b"\x00\xff".into(),
        info: Some(ann()),
        offset: u64::MAX,
        tags: [("a".into(), "1".into()), ("b".into(), "ü".into())].into(),
        delta: true,
        time: 1_700_000_000_000,
    }
}

#[test]
fn literal_bytes() {
    let publication = Publication {
        data: Data::Json(b"{}"),
        info: Some(ClientInfo {
            user: "u",
            client: "c",
            connection_info: b"1",
            channel_info: b"2",
        }),
        offset: 300,
        tags: &[("k".into(), "".into())],
        delta: true,
        time_unix_ms: 1,
    };
    assert_eq!(
        written(|out| protobuf::write_publication_push(out, "room", &publication)),
        hex(concat!(
            "2a 22 28",                          // length; push: {
            "12 04 726f6f6d",                    // channel
            "22 20",                             // pub: {
            "22 02 7b7d",                        // data
            "2a 0c 0a0175 120163 1a0131 220132", // info
            "30 ac 02",                          // offset
            "3a 05 0a 01 6b 12 00",              // tags
            "40 01",                             // delta
            "48 01",                             // time
        ))
    );
    assert_eq!(
        written(|out| protobuf::write_subscribe(
            out,
            2,
            &SubscribeResult {
                recoverable: true,
                epoch: 7,
                offset: 1,
                delta: true,
                ..SubscribeResult::default()
            },
            [Publication {
                data: Data::Text(b"x"),
                offset: 1,
                ..Publication::default()
            }]
        )),
        hex("14 08 02 32 10 18 01 32 01 37 3a 05 22 01 78 30 01 48 01 68 01")
    );
    assert_eq!(
        written(|out| protobuf::write_error(out, 128, ErrorCode::INTERNAL, "", true)),
        hex("09 08 80 01 12 04 08 64 18 01")
    );
    assert_eq!(
        protobuf::PING,
        proto::Reply::default().encode_length_delimited_to_vec()
    );
}

#[test]
fn connect() {
    same(
        proto::Reply {
            id: 1,
            connect: Some(proto::ConnectResult::default()),
            ..Default::default()
        },
        |out| protobuf::write_connect(out, 1, &ConnectResult::default(), []),
    );

    let tags = tags();
    let publications = [publication(&tags); 3];
    let result = SubscribeResult {
        recoverable: true,
        epoch: 7,
        offset: 3,
        recovered: true,
        ..SubscribeResult::default()
    };
    let full = ConnectResult {
        client: "0a0b",
        version: "fanfare 0.1",
        expires: true,
        ttl_s: 3600,
        data: b"\xfe",
        ping_s: 25,
        pong: true,
        session: "s",
        node: "n",
        time_unix_ms: 1_700_000_000_000,
    };
    let subs = [
        ConnectSubResult {
            channel: "a",
            result,
            publications: &publications,
        },
        ConnectSubResult {
            channel: "b",
            result: SubscribeResult {
                expires: true,
                ..SubscribeResult::default()
            },
            publications: &[],
        },
    ];
    let proto_subs = [
        (
            "a".to_owned(),
            proto::SubscribeResult {
                recoverable: true,
                epoch: "7".into(),
                offset: 3,
                recovered: true,
                publications: vec![proto_publication(); 3],
                ..Default::default()
            },
        ),
        (
            "b".to_owned(),
            proto::SubscribeResult {
                expires: true,
                ..Default::default()
            },
        ),
    ];
    same(
        proto::Reply {
            id: u32::MAX,
            connect: Some(proto::ConnectResult {
                client: "0a0b".into(),
                version: "fanfare 0.1".into(),
                expires: true,
                ttl: 3600,
                data: b"\xfe".into(),
                subs: proto_subs.into(),
                ping: 25,
                pong: true,
                session: "s".into(),
                node: "n".into(),
                time: 1_700_000_000_000,
            }),
            ..Default::default()
        },
        |out| protobuf::write_connect(out, u32::MAX, &full, subs),
    );
}

#[test]
fn a_map_entry_has_its_value_even_when_nothing_is_in_it() {
    let subs = [ConnectSubResult {
        channel: "c",
        result: SubscribeResult::default(),
        publications: &[],
    }];
    assert_eq!(
        written(|out| protobuf::write_connect(out, 1, &ConnectResult::default(), subs)),
        hex("0b 08 01 2a 07 32 05 0a 01 63 12 00")
    );
    assert_eq!(
        written(|out| protobuf::write_presence(out, 1, [ClientInfo::default()])),
        hex("0a 08 01 4a 06 0a 04 0a 00 12 00")
    );
}

#[test]
fn subscribe() {
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
        delta: true,
    };
    let mut expected = proto::SubscribeResult {
        expires: true,
        ttl: 60,
        recoverable: true,
        epoch: u64::MAX.to_string(),
        publications: vec![],
        recovered: true,
        offset: 5,
        positioned: true,
        data: b"[1]".into(),
        was_recovering: true,
        delta: true,
    };
    let tags = tags();
    for count in [0, 1, 2, 300] {
        expected.publications = vec![proto_publication(); count];
        same(
            proto::Reply {
                id: 2,
                subscribe: Some(expected.clone()),
                ..Default::default()
            },
            |out| {
                // An iterator that gives every publication once, and cannot be started again.
                let mut left = count;
                let publications = std::iter::from_fn(|| {
                    left = left.checked_sub(1)?;
                    Some(publication(&tags))
                });
                protobuf::write_subscribe(out, 2, &result, publications);
            },
        );
    }
}

#[test]
fn empty_results_are_still_there() {
    assert_eq!(
        written(|out| protobuf::write_unsubscribe(out, 3)),
        hex("04 08 03 3a 00")
    );
    assert_eq!(
        written(|out| protobuf::write_publish(out, 4)),
        hex("04 08 04 42 00")
    );
    assert_eq!(
        written(|out| protobuf::write_pong(out, 5)),
        hex("04 08 05 62 00")
    );
    assert_eq!(
        written(|out| protobuf::write_refresh(out, 6, &RefreshResult::default())),
        hex("04 08 06 72 00")
    );
    assert_eq!(
        written(|out| protobuf::write_presence(out, 5, [])),
        hex("04 08 05 4a 00")
    );
    assert_eq!(
        written(|out| protobuf::write_presence_stats(out, 5, 0, 0)),
        hex("04 08 05 52 00")
    );
    assert_eq!(
        written(|out| protobuf::write_history(out, 5, 0, 0, [])),
        hex("04 08 05 5a 00")
    );
    assert_eq!(
        written(|out| protobuf::write_rpc(out, 5, Data::Binary(b""))),
        hex("04 08 05 6a 00")
    );
}

#[test]
fn the_other_replies() {
    let bob = ClientInfo {
        user: "bob",
        client: "0c0d",
        connection_info: b"",
        channel_info: b"\x01",
    };
    let proto_bob = proto::ClientInfo {
        user: "bob".into(),
        client: "0c0d".into(),
        conn_info: vec![],
        chan_info: vec![1],
    };
    same(
        proto::Reply {
            id: 5,
            presence: Some(proto::PresenceResult {
                presence: [("0a0b".into(), ann()), ("0c0d".into(), proto_bob)].into(),
            }),
            ..Default::default()
        },
        |out| protobuf::write_presence(out, 5, [ANN, bob]),
    );
    same(
        proto::Reply {
            id: 5,
            presence_stats: Some(proto::PresenceStatsResult {
                num_clients: 70_000,
                num_users: 1,
            }),
            ..Default::default()
        },
        |out| protobuf::write_presence_stats(out, 5, 70_000, 1),
    );
    let tags = tags();
    same(
        proto::Reply {
            id: 6,
            history: Some(proto::HistoryResult {
                publications: vec![proto_publication(); 2],
                epoch: "10".into(),
                offset: 9,
            }),
            ..Default::default()
        },
        |out| protobuf::write_history(out, 6, 10, 9, [publication(&tags); 2]),
    );
    let code = ErrorCode::PERMISSION_DENIED;
    same(
        proto::Reply {
            id: 2,
            error: Some(proto::ErrorResult {
                code: 103,
                message: "permission denied".into(),
                temporary: false,
            }),
            ..Default::default()
        },
        |out| protobuf::write_error(out, 2, code, code.message(), code.is_temporary()),
    );
    same(
        proto::Reply {
            id: 8,
            rpc: Some(proto::Data {
                data: b"\x00\xff".into(),
            }),
            ..Default::default()
        },
        |out| protobuf::write_rpc(out, 8, Data::Binary(b"\x00\xff")),
    );
    same(
        proto::Reply {
            id: 9,
            refresh: Some(proto::RefreshResult {
                client: "c".into(),
                version: "v".into(),
                expires: true,
                ttl: 60,
            }),
            ..Default::default()
        },
        |out| {
            let result = RefreshResult {
                client: "c",
                version: "v",
                expires: true,
                ttl_s: 60,
            };
            protobuf::write_refresh(out, 9, &result);
        },
    );
    same(
        proto::Reply {
            id: 7,
            sub_refresh: Some(proto::SubRefreshResult {
                expires: true,
                ttl: 9,
            }),
            ..Default::default()
        },
        |out| {
            let result = SubRefreshResult {
                expires: true,
                ttl_s: 9,
            };
            protobuf::write_sub_refresh(out, 7, &result);
        },
    );
}

#[test]
fn pushes() {
    let tags = tags();
    same(
        push(proto::Push {
            channel: "news".into(),
            publication: Some(proto_publication()),
            ..Default::default()
        }),
        |out| protobuf::write_publication_push(out, "news", &publication(&tags)),
    );
    let nothing = Publication {
        data: Data::Json(b""),
        time_unix_ms: -1,
        ..Publication::default()
    };
    same(
        push(proto::Push {
            publication: Some(proto::Publication::default()),
            ..Default::default()
        }),
        |out| protobuf::write_publication_push(out, "", &nothing),
    );
    let member = || Some(proto::Member { info: Some(ann()) });
    same(
        push(proto::Push {
            channel: "news".into(),
            join: member(),
            ..Default::default()
        }),
        |out| protobuf::write_join_push(out, "news", &ANN),
    );
    same(
        push(proto::Push {
            channel: "news".into(),
            leave: member(),
            ..Default::default()
        }),
        |out| protobuf::write_leave_push(out, "news", &ANN),
    );
    let code = UnsubscribeCode::INSUFFICIENT_STATE;
    same(
        push(proto::Push {
            channel: "news".into(),
            unsubscribe: Some(proto::Unsubscribe {
                code: 2500,
                reason: "insufficient state".into(),
            }),
            ..Default::default()
        }),
        |out| protobuf::write_unsubscribe_push(out, "news", code, code.reason()),
    );
    same(
        push(proto::Push {
            channel: "news".into(),
            subscribe: Some(proto::Subscribe {
                recoverable: true,
                epoch: "7".into(),
                offset: 1,
                positioned: true,
                data: b"\xff".into(),
            }),
            ..Default::default()
        }),
        |out| {
            let subscription = SubscribePush {
                recoverable: true,
                epoch: 7,
                offset: 1,
                positioned: true,
                data: b"\xff",
            };
            protobuf::write_subscribe_push(out, "news", &subscription);
        },
    );
    same(
        push(proto::Push {
            message: Some(proto::Data {
                data: b"\xff".into(),
            }),
            ..Default::default()
        }),
        |out| protobuf::write_message_push(out, Data::Binary(b"\xff")),
    );
    let code = DisconnectCode::SHUTDOWN;
    same(
        push(proto::Push {
            disconnect: Some(proto::Disconnect {
                code: 3001,
                reason: "shutdown".into(),
                reconnect: true,
            }),
            ..Default::default()
        }),
        |out| protobuf::write_disconnect_push(out, code, code.reason(), true),
    );
}

#[test]
fn a_payload_is_its_bytes_whatever_it_is() {
    for data in [Data::Json(b"{}"), Data::Binary(b"{}"), Data::Text(b"{}")] {
        assert_eq!(
            written(|out| protobuf::write_message_push(out, data)),
            hex("08 22 06 42 04 0a 02 7b7d")
        );
    }
}

#[test]
fn lengths_of_every_size() {
    for size in [0, 1, 100, 120, 127, 128, 16_000, 16_383, 16_384, 3_000_000] {
        let data = vec![0xAB; size];
        same(
            push(proto::Push {
                channel: "news".into(),
                publication: Some(proto::Publication {
                    data: data.clone(),
                    ..Default::default()
                }),
                ..Default::default()
            }),
            |out| {
                let publication = Publication {
                    data: Data::Binary(&data),
                    ..Publication::default()
                };
                protobuf::write_publication_push(out, "news", &publication);
            },
        );
    }
}
