//! The same command is the same in JSON and in protobuf, whatever is in it; the same reply carries the same in protobuf as
//! was put in; and no bytes make the decoder panic.

#![allow(clippy::unwrap_used)]

mod centrifuge_support;

use std::collections::BTreeMap;

use centrifuge_support as proto;
use fanfare_wire::centrifuge::{
    ClientInfo, Command, CommandError, Data, Method, Publication, SubscribeResult, json, protobuf,
};
use proptest::prelude::*;
use prost::Message;
use serde_json::{Map, Value, json};

type Commands<'a> = Vec<Result<Command<'a>, CommandError>>;

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => "[a-z:]{0,6}",
        1 => "\\PC{0,8}",
        1 => any::<String>(),
    ]
}

fn epoch() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(String::new()),
        any::<u64>().prop_map(|epoch| epoch.to_string()),
        text(),
    ]
}

/// A payload that both encodings can carry.
fn payload() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        Just(Value::Null),
        any::<i64>().prop_map(Value::from),
        text().prop_map(Value::from),
        prop::collection::vec(text(), 0..3).prop_map(Value::from),
        (text(), any::<bool>()).prop_map(|(name, value)| json!({ name: value })),
    ]
    .prop_map(|value| value.to_string().into_bytes())
}

fn word(words: &'static [&'static str]) -> impl Strategy<Value = String> {
    prop::sample::select(words).prop_map(str::to_owned)
}

/// Filters, of which many are none.
fn filter() -> impl Strategy<Value = proto::FilterNode> {
    let cmp = word(&[
        "", "eq", "neq", "in", "nin", "ex", "nex", "sw", "ew", "ct", "lt", "lte", "gt", "gte", "?",
    ]);
    let vals = prop::collection::vec(text(), 0..3);
    let leaf = (text(), cmp, word(&["", "v", "1.5"]), vals).prop_map(|(key, cmp, val, vals)| {
        proto::FilterNode {
            key,
            cmp,
            val,
            vals,
            ..Default::default()
        }
    });
    leaf.prop_recursive(4, 20, 3, |inner| {
        let op = word(&["and", "or", "not", "", "?"]);
        (op, prop::collection::vec(inner, 0..3)).prop_map(|(op, nodes)| proto::FilterNode {
            op,
            nodes,
            ..Default::default()
        })
    })
}

fn subscribe() -> impl Strategy<Value = proto::SubscribeRequest> {
    let position = (any::<bool>(), epoch(), any::<u64>());
    let flags = any::<[bool; 3]>();
    let rest = (
        text(),
        prop::option::of(filter()),
        any::<i64>(),
        any::<i32>(),
    );
    (
        text(),
        text(),
        position,
        prop::option::of(payload()),
        flags,
        rest,
    )
        .prop_map(
            |(channel, token, (recover, epoch, offset), data, flags, (delta, tf, flag, kind))| {
                let [positioned, recoverable, join_leave] = flags;
                proto::SubscribeRequest {
                    channel,
                    token,
                    recover,
                    epoch,
                    offset,
                    data: data.unwrap_or_default(),
                    positioned,
                    recoverable,
                    join_leave,
                    delta,
                    tf,
                    flag,
                    kind,
                    phase: 1,
                    cursor: "later".into(),
                }
            },
        )
}

fn connect() -> impl Strategy<Value = proto::ConnectRequest> {
    let subs = prop::collection::btree_map(text(), subscribe(), 0..3);
    let headers = prop::collection::btree_map(text(), text(), 0..3);
    (
        text(),
        prop::option::of(payload()),
        subs,
        text(),
        headers,
        any::<i64>(),
    )
        .prop_map(
            |(token, data, subs, name, headers, flag)| proto::ConnectRequest {
                token,
                data: data.unwrap_or_default(),
                subs,
                version: name.clone(),
                name,
                headers,
                flag,
                dict: String::new(),
                profile: "p".into(),
            },
        )
}

fn history() -> impl Strategy<Value = proto::HistoryRequest> {
    let since = prop::option::of((any::<u64>(), epoch()));
    (text(), any::<i32>(), since, any::<bool>()).prop_map(|(channel, limit, since, reverse)| {
        proto::HistoryRequest {
            channel,
            limit,
            since: since.map(|(offset, epoch)| proto::StreamPosition { offset, epoch }),
            reverse,
        }
    })
}

fn command() -> impl Strategy<Value = proto::Command> {
    let channel = || text().prop_map(|channel| proto::Channel { channel });
    let publish = (text(), prop::option::of(payload()), any::<i32>());
    let method = prop_oneof![
        Just(proto::Command::default()),
        Just(proto::Command {
            ping: Some(proto::Empty {}),
            ..Default::default()
        }),
        connect().prop_map(|connect| proto::Command {
            connect: Some(connect),
            ..Default::default()
        }),
        subscribe().prop_map(|subscribe| proto::Command {
            subscribe: Some(subscribe),
            ..Default::default()
        }),
        channel().prop_map(|channel| proto::Command {
            unsubscribe: Some(channel.clone()),
            presence: Some(channel),
            ..Default::default()
        }),
        channel().prop_map(|channel| proto::Command {
            presence: Some(channel),
            ..Default::default()
        }),
        channel().prop_map(|channel| proto::Command {
            presence_stats: Some(channel),
            ..Default::default()
        }),
        publish.prop_map(|(channel, data, kind)| proto::Command {
            publish: Some(proto::PublishRequest {
                channel,
                data: data.unwrap_or_default(),
                kind,
                key: String::new(),
            }),
            ..Default::default()
        }),
        history().prop_map(|history| proto::Command {
            history: Some(history),
            ..Default::default()
        }),
        payload().prop_map(|data| proto::Command {
            send: Some(proto::Data { data }),
            ..Default::default()
        }),
        (text(), payload()).prop_map(|(method, data)| proto::Command {
            rpc: Some(proto::RpcRequest { data, method }),
            ..Default::default()
        }),
        text().prop_map(|token| proto::Command {
            refresh: Some(proto::RefreshRequest { token }),
            ..Default::default()
        }),
        (text(), text()).prop_map(|(channel, token)| proto::Command {
            sub_refresh: Some(proto::SubRefreshRequest {
                channel,
                token,
                kind: 0,
            }),
            ..Default::default()
        }),
    ];
    let id = prop_oneof![1 => Just(0), 9 => any::<u32>()];
    (id, method).prop_map(|(id, command)| proto::Command { id, ..command })
}

// -- the same in JSON

fn put(object: &mut Map<String, Value>, name: &str, value: impl Into<Value>) {
    object.insert(name.to_owned(), value.into());
}

fn put_data(object: &mut Map<String, Value>, data: &[u8]) {
    if !data.is_empty() {
        put(
            object,
            "data",
            serde_json::from_slice::<Value>(data).unwrap(),
        );
    }
}

fn filter_json(filter: &proto::FilterNode) -> Value {
    let nodes: Vec<Value> = filter.nodes.iter().map(filter_json).collect();
    json!({
        "op": filter.op, "key": filter.key, "cmp": filter.cmp, "val": filter.val, "vals": filter.vals, "nodes": nodes,
    })
}

fn subscribe_json(request: &proto::SubscribeRequest) -> Value {
    let value = json!({
        "channel": request.channel, "token": request.token, "recover": request.recover, "epoch": request.epoch,
        "offset": request.offset, "positioned": request.positioned, "recoverable": request.recoverable,
        "join_leave": request.join_leave, "delta": request.delta, "tf": request.tf.as_ref().map(filter_json),
        "flag": request.flag, "type": request.kind, "phase": request.phase, "cursor": request.cursor,
    });
    let Value::Object(mut object) = value else {
        unreachable!("an object was made")
    };
    put_data(&mut object, &request.data);
    object.into()
}

fn connect_json(request: &proto::ConnectRequest) -> Value {
    let mut object = Map::new();
    put(&mut object, "token", &*request.token);
    put_data(&mut object, &request.data);
    let subs: Map<_, _> = request
        .subs
        .iter()
        .map(|(channel, sub)| (channel.clone(), subscribe_json(sub)))
        .collect();
    put(&mut object, "subs", subs);
    put(&mut object, "name", &*request.name);
    put(&mut object, "version", &*request.version);
    put(&mut object, "headers", json!(request.headers));
    put(&mut object, "flag", request.flag);
    put(&mut object, "profile", &*request.profile);
    object.into()
}

fn with_data(data: &[u8], name: &str, value: &str) -> Value {
    let mut object = Map::new();
    put(&mut object, name, value);
    put_data(&mut object, data);
    object.into()
}

fn command_json(command: &proto::Command) -> Value {
    let mut object = Map::new();
    put(&mut object, "id", command.id);
    if let Some(request) = &command.connect {
        put(&mut object, "connect", connect_json(request));
    }
    if let Some(request) = &command.subscribe {
        put(&mut object, "subscribe", subscribe_json(request));
    }
    for (name, request) in [
        ("unsubscribe", &command.unsubscribe),
        ("presence", &command.presence),
        ("presence_stats", &command.presence_stats),
    ] {
        if let Some(request) = request {
            put(&mut object, name, json!({ "channel": request.channel }));
        }
    }
    if let Some(request) = &command.publish {
        let mut value = with_data(&request.data, "channel", &request.channel);
        value["type"] = request.kind.into();
        put(&mut object, "publish", value);
    }
    if let Some(request) = &command.history {
        let since = request
            .since
            .as_ref()
            .map(|since| json!({ "offset": since.offset, "epoch": since.epoch }));
        let value = json!({
            "channel": request.channel, "limit": request.limit, "since": since, "reverse": request.reverse,
        });
        put(&mut object, "history", value);
    }
    if command.ping.is_some() {
        put(&mut object, "ping", json!({}));
    }
    if let Some(request) = &command.send {
        put(&mut object, "send", with_data(&request.data, "x", ""));
    }
    if let Some(request) = &command.rpc {
        let value = with_data(&request.data, "method", &request.method);
        put(&mut object, "rpc", value);
    }
    if let Some(request) = &command.refresh {
        put(&mut object, "refresh", json!({ "token": request.token }));
    }
    if let Some(request) = &command.sub_refresh {
        let value = json!({ "channel": request.channel, "token": request.token });
        put(&mut object, "sub_refresh", value);
    }
    object.into()
}

fn decode_hostile(bytes: &[u8]) {
    let mut is_over = false;
    for command in protobuf::commands(bytes) {
        assert!(!is_over, "nothing comes after an error");
        match command {
            Ok(command) => assert!(
                command.id > 0 || matches!(command.method, Method::Pong | Method::Send { .. })
            ),
            Err(error) => {
                assert!(!error.to_string().is_empty());
                is_over = true;
            }
        }
    }
    let _ = protobuf::emulation(bytes);
}

/// Without what prost reads in another way: it merges filters that come twice, and keeps one entry of a map for a key.
fn comparable(mut command: Command<'_>) -> Command<'_> {
    match &mut command.method {
        Method::Subscribe(subscribe) => subscribe.filter = None,
        Method::Connect(connect) => {
            let headers: BTreeMap<_, _> = connect.headers.drain(..).collect();
            connect.headers.extend(headers);
            let subs: BTreeMap<_, _> = connect
                .subs
                .drain(..)
                .map(|sub| (sub.channel.clone(), sub))
                .collect();
            connect.subs.extend(subs.into_values());
        }
        _ => {}
    }
    command
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn a_command_is_the_same_in_both(commands in prop::collection::vec(command(), 1..4)) {
        let bytes = proto::message(&commands);
        let lines: Vec<String> = commands.iter().map(|command| command_json(command).to_string()).collect();
        let lines = lines.join("\n");
        let from_protobuf: Commands<'_> = protobuf::commands(&bytes).collect();
        let from_json: Commands<'_> = json::commands(&lines).collect();
        prop_assert_eq!(from_protobuf, from_json);
    }

    #[test]
    fn no_bytes_do_harm(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        decode_hostile(&bytes);
        let mut framed = Vec::new();
        prost::encode_length_delimiter(bytes.len(), &mut framed).unwrap();
        framed.extend_from_slice(&bytes);
        decode_hostile(&framed);
    }

    #[test]
    fn damaged_commands_do_no_harm(
        commands in prop::collection::vec(command(), 1..3),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = proto::message(&commands);
        for (index, byte) in damage {
            let at = index.index(bytes.len());
            bytes[at] = byte;
        }
        decode_hostile(&bytes);
    }

    #[test]
    fn what_is_taken_is_what_prost_takes_it_for(
        command in command(), damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
    ) {
        let mut bytes = command.encode_length_delimited_to_vec();
        for (index, byte) in damage {
            let at = index.index(bytes.len());
            bytes[at] = byte;
        }
        // prost also checks fields that mean nothing here, and does not care whether an id is missing.
        let ours = protobuf::commands(&bytes).next().unwrap();
        if let (Ok(ours), Ok(theirs)) = (ours, proto::Command::decode_length_delimited(&bytes[..])) {
            let again = theirs.encode_length_delimited_to_vec();
            let theirs = protobuf::commands(&again).next().unwrap().unwrap();
            prop_assert_eq!(comparable(ours), comparable(theirs));
        }
    }

    #[test]
    fn publications_carry_what_was_put_in(
        channel in text(), data in prop::collection::vec(any::<u8>(), 0..300), offset in any::<u64>(), time in any::<i64>(),
        user in text(), info in prop::collection::vec(any::<u8>(), 0..20), has_info in any::<bool>(), delta in any::<bool>(),
        tags in prop::collection::btree_map(text(), text(), 0..4), id in any::<u32>(), count in 0_usize..4,
    ) {
        let tag_list: Vec<(Box<str>, Box<str>)> =
            tags.iter().map(|(key, value)| (key.as_str().into(), value.as_str().into())).collect();
        let client_info = ClientInfo { user: &user, client: "c", connection_info: &info, channel_info: &info };
        let publication = Publication {
            data: Data::Binary(&data),
            info: has_info.then_some(client_info),
            offset,
            tags: &tag_list,
            delta,
            time_unix_ms: time,
        };
        let expected_info = proto::ClientInfo { user: user.clone(), client: "c".into(), conn_info: info.clone(), chan_info: info.clone() };
        let expected = proto::Publication {
            data: data.clone(),
            info: has_info.then_some(expected_info),
            offset,
            tags: tags.clone(),
            delta,
            time: time.max(0),
        };

        let mut out = Vec::new();
        protobuf::write_publication_push(&mut out, &channel, &publication);
        let reply = proto::Reply {
            push: Some(proto::Push { channel: channel.clone(), publication: Some(expected.clone()), ..Default::default() }),
            ..Default::default()
        };
        prop_assert_eq!(proto::Reply::decode_length_delimited(&out[..]), Ok(reply.clone()));
        // prost leaves the empty half of a map's entry out.
        if tags.iter().all(|(key, value)| !key.is_empty() && !value.is_empty()) {
            prop_assert_eq!(&out, &reply.encode_length_delimited_to_vec());
        }

        out.clear();
        let result = SubscribeResult { epoch: offset, data: &info, delta, ..SubscribeResult::default() };
        protobuf::write_subscribe(&mut out, id, &result, std::iter::repeat_n(publication, count));
        let subscribe = proto::SubscribeResult {
            epoch: if offset == 0 { String::new() } else { offset.to_string() },
            publications: vec![expected; count],
            data: info.clone(),
            delta,
            ..Default::default()
        };
        let reply = proto::Reply { id, subscribe: Some(subscribe), ..Default::default() };
        prop_assert_eq!(proto::Reply::decode_length_delimited(&out[..]), Ok(reply));
    }
}

#[test]
fn the_headers_of_a_connect_keep_their_order_in_both() {
    let headers: BTreeMap<String, String> = [("a", "1"), ("b", "2")]
        .map(|(key, value)| (key.into(), value.into()))
        .into();
    let connect = proto::ConnectRequest {
        headers,
        ..Default::default()
    };
    let command = proto::Command {
        id: 1,
        connect: Some(connect),
        ..Default::default()
    };
    let bytes = proto::message(&[command]);
    let Some(Ok(command)) = protobuf::commands(&bytes).next() else {
        panic!("not a command")
    };
    let Method::Connect(connect) = command.method else {
        panic!("not a connect")
    };
    assert_eq!(
        connect.headers,
        [("a".into(), "1".into()), ("b".into(), "2".into())]
    );
}
