//! What holds for all texts and payloads: commands come out as they were put in, replies are one line of JSON with what was
//! put in, and no text makes the decoder panic.

#![allow(clippy::unwrap_used)]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fanfare_wire::centrifuge::codes::{DisconnectCode, ErrorCode, UnsubscribeCode};
use fanfare_wire::centrifuge::json::{self, CommandError};
use fanfare_wire::centrifuge::{
    ClientInfo, ConnectResult, ConnectSubResult, Data, Method, Publication, RefreshResult,
    SubscribePush, SubscribeResult,
};
use proptest::prelude::*;
use serde_json::{Value, json};

/// All that JSON escapes, all that it need not, and much that looks like JSON.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "\\PC{0,12}",
        "[\"\\\\/{}:,\u{0}-\u{1f}\u{7f}\u{2028}é😀a]{0,12}",
        any::<String>()
    ]
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        text().prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec((text(), inner), 0..6)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

type NamedWriter<'a> = (&'a str, &'a dyn Fn(&mut Vec<u8>));

fn parsed_line(out: &[u8]) -> Value {
    assert!(
        !out.iter().any(|byte| matches!(byte, b'\n' | b'\r')),
        "a reply is one line: {}",
        out.escape_ascii()
    );
    serde_json::from_slice(out).unwrap_or_else(|error| panic!("{error}: {}", out.escape_ascii()))
}

fn decode_hostile(text: &str) {
    let mut is_over = false;
    for command in json::commands(text) {
        assert!(!is_over, "nothing comes after an error");
        match command {
            Ok(command) => {
                assert!(
                    command.id > 0 || matches!(command.method, Method::Pong | Method::Send { .. })
                );
                if let Method::Publish(publish) = &command.method {
                    let line = json::normalise(&publish.data);
                    assert!(publish.data.is_empty() || line.as_deref() == Some(&*publish.data));
                }
            }
            Err(error) => {
                assert!(!error.to_string().is_empty());
                is_over = true;
            }
        }
    }
}

/// Texts in the shape of commands, with pieces repeated, dropped and damaged.
fn command_like() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "{",
        "}",
        "[",
        "]",
        ":",
        ",",
        "\n",
        "\"",
        "\\",
        " ",
        "null",
        "true",
        "1",
        "-1",
        "4294967296",
        "\"id\":1",
        "\"connect\":{",
        "\"subscribe\":{",
        "\"publish\":{",
        "\"channel\":\"c\"",
        "\"channel\":",
        "\"data\":",
        "\"data\":{}",
        "\"epoch\":\"_\"",
        "\"subs\":{",
        "\"headers\":{",
        "\"a\":\"b\"",
        "\"history\":{",
        "\"since\":{",
        "\"offset\":1",
        "\"limit\":-1",
        "\"send\":{",
        "\\ud800",
        "\\u0041",
        "é",
        "{\"id\":1,\"publish\":{\"channel\":\"c\",\"data\":[1]}}\n",
        "{}\n",
    ]);
    prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn commands_come_out_as_they_were_put_in(
        channel in text(), token in text(), data in value(), id in 1..=u32::MAX, offset in any::<u64>(), recover in any::<bool>(),
    ) {
        let subscribe = json!({"id": id, "subscribe": {"channel": channel, "token": token, "data": data, "recover": recover, "offset": offset}});
        let publish = json!({"publish": {"data": data, "channel": channel}, "id": id});
        let batch = format!("{subscribe}\n{{}}\n{publish}");
        let commands: Vec<_> = json::commands(&batch).collect();
        if channel.is_empty() {
            prop_assert_eq!(commands, [Err(CommandError::MissingChannel)]);
            return Ok(());
        }
        let commands: Vec<_> = commands.into_iter().collect::<Result<_, _>>().unwrap();
        prop_assert_eq!(commands.len(), 3);
        let Method::Subscribe(subscribe) = &commands[0].method else { panic!("not a subscribe") };
        prop_assert_eq!((&*subscribe.channel, &*subscribe.token), (&*channel, &*token));
        prop_assert_eq!((subscribe.recover, subscribe.offset, commands[0].id), (recover, offset, id));
        prop_assert_eq!(&serde_json::from_slice::<Value>(&subscribe.data).unwrap(), &data);
        prop_assert_eq!(&commands[1].method, &Method::Pong);
        let Method::Publish(publish) = &commands[2].method else { panic!("not a publish") };
        prop_assert_eq!(&*publish.channel, &*channel);
        prop_assert_eq!(&*publish.data, &data.to_string().into_bytes());
    }

    #[test]
    fn no_text_does_harm(text in prop_oneof![any::<String>(), command_like()]) {
        decode_hostile(&text);
    }

    #[test]
    fn damaged_commands_do_no_harm(channel in text(), data in value(), damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)) {
        let command = json!({"id": 1, "connect": {"subs": {channel.clone(): {"recover": true, "epoch": "3"}}, "data": data}, "publish": {"channel": channel}});
        let mut bytes = command.to_string().into_bytes();
        for (index, byte) in damage {
            let at = index.index(bytes.len());
            bytes[at] = byte;
        }
        decode_hostile(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn normalising_keeps_the_value_and_leaves_one_line(value in value(), is_pretty in any::<bool>()) {
        let text = if is_pretty { serde_json::to_string_pretty(&value).unwrap() } else { value.to_string() };
        let spaced = format!("\r\n {} \t\n", text.replace('\n', "\r\n"));
        for text in [text, spaced] {
            let line = json::normalise(text.as_bytes()).unwrap();
            prop_assert_eq!(parsed_line(&line), value.clone());
            let again = json::normalise(&line);
            prop_assert_eq!(again.as_deref(), Some(&*line));
        }
    }

    #[test]
    fn normalising_agrees_with_a_parser(bytes in prop_oneof![prop::collection::vec(any::<u8>(), 0..12), "[\\[\\]{}\",:0-9eE.+ \\n\\\\a-]{0,10}".prop_map(String::into_bytes)]) {
        let line = json::normalise(&bytes);
        // Numbers past f64 and lone surrogates are JSON, but not Values.
        if let Ok(value) = serde_json::from_slice::<Value>(&bytes) {
            prop_assert_eq!(parsed_line(&line.unwrap()), value);
        } else if let Some(line) = line {
            prop_assert!(serde_json::from_slice::<&serde_json::value::RawValue>(&line).is_ok());
        }
    }

    #[test]
    fn bytes_travel_as_base64(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
        let mut out = b"before".to_vec();
        json::write_data(&mut out, &bytes, false);
        let text: String = serde_json::from_slice(&out[6..]).unwrap();
        prop_assert_eq!(STANDARD.decode(text).unwrap(), bytes);
    }

    #[test]
    fn publications_carry_what_was_put_in(
        channel in text(), data in value(), offset in any::<u64>(), time in any::<i64>(), user in text(), client in text(),
        tags in prop::collection::btree_map(text(), text(), 0..4), has_info in any::<bool>(),
    ) {
        let json = data.to_string();
        let info_json = json!([user]).to_string();
        let tag_list: Vec<(Box<str>, Box<str>)> = tags.iter().map(|(key, value)| (key.as_str().into(), value.as_str().into())).collect();
        let info = ClientInfo { user: &user, client: &client, connection_info: info_json.as_bytes(), channel_info: b"" };
        let publication = Publication {
            data: Data::Json(json.as_bytes()),
            info: has_info.then_some(info),
            offset,
            tags: &tag_list,
            delta: false,
            time_unix_ms: time,
        };
        let mut out = Vec::new();
        json::write_publication_push(&mut out, &channel, &publication);
        let push = parsed_line(&out)["push"].take();
        prop_assert_eq!(push["channel"].as_str().unwrap_or_default(), &channel);
        let publication = &push["pub"];
        prop_assert_eq!(&publication["data"], &data);
        prop_assert_eq!(publication["offset"].as_u64().unwrap_or_default(), offset);
        prop_assert_eq!(publication["time"].as_i64().unwrap_or_default(), time.max(0));
        prop_assert_eq!(publication["tags"].as_object().map_or(0, serde_json::Map::len), tags.len());
        for (key, value) in &tags {
            prop_assert_eq!(publication["tags"][key].as_str(), Some(value.as_str()));
        }
        if has_info {
            prop_assert_eq!(&publication["info"], &json!({"user": user, "client": client, "conn_info": [user]}));
        }
    }

    #[test]
    fn every_reply_is_one_line_of_json(
        texts in prop::collection::vec(text(), 6), data in value(), id in 1..=u32::MAX, number in any::<u64>(), flags in any::<[bool; 5]>(),
    ) {
        let json = data.to_string();
        let [a, b, c, d, e, f] = &texts[..] else { unreachable!("six texts") };
        let small = u32::try_from(number % 1000).unwrap();
        let subscription = SubscribeResult {
            expires: flags[0], ttl_s: small, recoverable: flags[1], epoch: number, recovered: flags[2], offset: number,
            positioned: flags[3], data: json.as_bytes(), was_recovering: flags[4], delta: flags[0],
        };
        let connect = ConnectResult {
            client: a, version: b, expires: flags[0], ttl_s: small, data: json.as_bytes(), ping_s: small, pong: flags[1], session: c, node: d,
            time_unix_ms: i64::from(small),
        };
        let info = ClientInfo { user: e, client: f, connection_info: json.as_bytes(), channel_info: json.as_bytes() };
        let publications = [Publication { data: Data::Json(json.as_bytes()), info: Some(info), offset: number, ..Publication::default() }; 2];
        let subs = [ConnectSubResult { channel: a, result: subscription, publications: &publications }];
        let code = ErrorCode::BAD_REQUEST;

        let writers: [NamedWriter<'_>; 9] = [
            ("connect", &|out| json::write_connect(out, id, &connect, subs)),
            ("subscribe", &|out| json::write_subscribe(out, id, &subscription, publications)),
            ("history", &|out| json::write_history(out, id, number, number, publications)),
            ("presence", &|out| json::write_presence(out, id, [info])),
            ("presence_stats", &|out| json::write_presence_stats(out, id, small, small)),
            ("error", &|out| json::write_error(out, id, code, a, code.is_temporary())),
            ("refresh", &|out| json::write_refresh(out, id, &RefreshResult { client: a, version: b, expires: flags[0], ttl_s: small })),
            ("rpc", &|out| json::write_rpc(out, id, Data::Json(json.as_bytes()))),
            ("publish", &|out| json::write_publish(out, id)),
        ];
        for (name, write) in writers {
            let mut out = Vec::new();
            write(&mut out);
            let reply = parsed_line(&out);
            prop_assert_eq!(reply["id"].as_u64(), Some(u64::from(id)));
            prop_assert!(reply[name].is_object());
            prop_assert_eq!(reply.as_object().unwrap().len(), 2);
        }

        let push = SubscribePush { recoverable: flags[0], epoch: number, offset: number, positioned: flags[1], data: json.as_bytes() };
        let pushers: [NamedWriter<'_>; 6] = [
            ("join", &|out| json::write_join_push(out, a, &info)),
            ("leave", &|out| json::write_leave_push(out, a, &info)),
            ("unsubscribe", &|out| json::write_unsubscribe_push(out, a, UnsubscribeCode::SERVER, b)),
            ("subscribe", &|out| json::write_subscribe_push(out, a, &push)),
            ("message", &|out| json::write_message_push(out, Data::Json(json.as_bytes()))),
            ("disconnect", &|out| json::write_disconnect_push(out, DisconnectCode::SLOW, b, flags[0])),
        ];
        for (name, write) in pushers {
            let mut out = Vec::new();
            write(&mut out);
            let reply = parsed_line(&out);
            prop_assert!(reply["push"][name].is_object());
            prop_assert!(reply["id"].is_null());
        }
    }
}
