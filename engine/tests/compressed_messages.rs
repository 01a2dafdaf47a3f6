//! permessage-deflate (RFC 7692) where it was agreed to: members hear what all others hear, in frames that are made once,
//! and what they compress is understood.
#![allow(clippy::unwrap_used)]

mod support;

use std::net::SocketAddr;

use bytes::Bytes;
use fanfare_engine::api::{Payload, Publish};
use fanfare_engine::{Engine, EngineConfig, Limits, Namespaces, RoomOptions};
use serde_json::{Value, json};
use support::{
    COMPRESSED, Centrifuge, Deflating, LAST, OFFER, ServerFrame, TEXT, ask, brisk, client_frame,
    deflated, flushed, fragments, message, open_config, open_rooms, push, start, start_scripted,
    stop, total,
};

const JSON: &str = "/connection/websocket";
const PROTOBUF: &str = "/connection/websocket?cf_protocol=protobuf";
const UNI: &str = "/connection/uni_websocket";

fn compressing(shards: u16) -> EngineConfig {
    EngineConfig {
        compression: true,
        ..open_config(shards)
    }
}

/// On two shards, with rooms like these.
fn with_rooms(options: RoomOptions) -> EngineConfig {
    EngineConfig {
        namespaces: Namespaces {
            default: options,
            named: Vec::new(),
        },
        ..compressing(2)
    }
}

// -- what members hear

/// What members of all sizes hear: some too small to compress, some that shrink, some that cannot.
fn texts() -> Vec<String> {
    let mut random = fastrand::Rng::with_seed(7692);
    let lengths = (0..200).step_by(7).chain([1000, 4000, 16_000, 60_000]);
    let mut texts: Vec<String> = lengths
        .map(|length| {
            "all the news that fits, "
                .chars()
                .cycle()
                .take(length)
                .collect()
        })
        .collect();
    texts.extend((0..40).map(|n| {
        let word = |_| random.alphanumeric();
        format!("{n}: {}", (0..n * 25).map(word).collect::<String>())
    }));
    texts
}

/// Publishes a text as JSON.
fn publish_text(engine: &Engine, room: &str, text: &str) -> u64 {
    push(engine, room, &json!(text).to_string()).position.epoch
}

fn publish(engine: &Engine, room: &str, bytes: impl Into<Bytes>) {
    let publish = Publish {
        payload: Payload {
            bytes: bytes.into(),
            is_json: false,
        },
        ..support::publish(room, "")
    };
    ask(|reply| engine.handle().publish(publish, reply)).unwrap();
}

/// Members on both shards, those of each path compressed but for the first.
fn members(addr: SocketAddr, path: &str, room: &str) -> Vec<Deflating> {
    (0..5)
        .map(|n| Deflating::member(addr, path, (n > 0).then_some(OFFER), room))
        .collect()
}

/// Reads the next frame of each. They say the same, and those of members who agreed are the same.
fn hear(members: &mut [Deflating]) -> ServerFrame {
    let (plain, deflating) = members.split_first_mut().unwrap();
    let expected = plain.frame().unwrap();
    assert!(!expected.is_compressed());
    let frames: Vec<ServerFrame> = deflating.iter_mut().map(|it| it.frame().unwrap()).collect();
    for frame in &frames {
        assert_eq!(frame, &frames[0], "made once for all");
        assert_eq!(frame.first & !COMPRESSED, expected.first);
        // Each on its own: nothing of the messages before it is needed.
        assert_eq!(frame.plain(), expected.payload);
    }
    let frame = frames.into_iter().next().unwrap();
    if frame.is_compressed() {
        assert!(frame.payload.len() < expected.payload.len(), "it shrinks");
        assert!(
            expected.payload.len() >= 128,
            "short ones are sent as they are"
        );
    } else {
        assert_eq!(frame, expected);
    }
    frame
}

#[test]
fn members_who_agreed_hear_what_all_others_hear() {
    let engine = start(compressing(2));
    let addr = engine.client_addrs()[0];
    let mut json = members(addr, JSON, "news");
    let mut protobuf = members(addr, PROTOBUF, "news");
    let mut compressed = 0;
    for text in texts() {
        publish_text(&engine, "news", &text);
        let frame = hear(&mut json);
        let heard = json[0].read(&frame);
        assert_eq!(heard["push"]["pub"]["data"], text);
        assert_eq!(
            frame.is_compressed(),
            frame.plain().len() >= 128,
            "text shrinks: {} bytes",
            frame.plain().len()
        );
        compressed += u32::from(frame.is_compressed());
        let frame = hear(&mut protobuf);
        let heard = protobuf[0].read(&frame);
        assert_eq!(heard["push"]["pub"]["data"], text);
    }
    assert!(compressed > 40, "{compressed}");
    stop(engine);
}

#[test]
fn what_cannot_be_made_shorter_is_sent_as_it_is() {
    let engine = start(compressing(2));
    let addr = engine.client_addrs()[0];
    let mut members = members(addr, PROTOBUF, "news");
    let mut random = fastrand::Rng::with_seed(1);
    for length in [200, 1000, 60_000] {
        let noise: Vec<u8> = (0..length).map(|_| random.u8(..)).collect();
        publish(&engine, "news", noise.clone());
        let frame = hear(&mut members);
        assert!(!frame.is_compressed(), "{length} bytes");
        publish(&engine, "news", vec![7; length]);
        let frame = hear(&mut members);
        assert!(frame.is_compressed(), "{length} bytes");
    }
    stop(engine);
}

#[test]
fn a_stream_of_publications_keeps_its_order() {
    let engine = start(with_rooms(RoomOptions {
        lane_bytes_max: 8 << 20,
        ..open_rooms()
    }));
    let addr = engine.client_addrs()[0];
    let mut members = members(addr, JSON, "news");
    // Compressed and not by turns, published without waiting for each.
    let text = |n: usize| format!("{n} {}", "tick ".repeat(n % 60));
    for n in 0..1000 {
        let publish = support::publish("news", &json!(text(n)).to_string());
        engine.handle().publish(publish, Box::new(|_| {}));
    }
    let mut compressed = 0;
    for n in 0..1000 {
        let frame = hear(&mut members);
        let heard = members[0].read(&frame);
        assert_eq!(heard["push"]["pub"]["data"], text(n));
        compressed += usize::from(frame.is_compressed());
    }
    assert!((300..1000).contains(&compressed), "{compressed}");
    stop(engine);
}

#[test]
fn what_is_for_everyone_and_who_comes_and_goes_is_compressed_too() {
    let info: String = "a long story ".repeat(20);
    let engine = start_scripted(with_rooms(RoomOptions {
        presence: true,
        join_leave: true,
        ..open_rooms()
    }));
    let addr = engine.client_addrs()[0];
    let mut members = members(addr, JSON, "news");
    // Each has heard those who came after it.
    for at in 0..members.len() {
        for _ in at + 1..members.len() {
            let joined = members[at].reply();
            assert!(joined["push"]["join"].is_object(), "{joined}");
        }
    }
    let text = "to all ".repeat(100);
    let to_all = message(1, &json!(text).to_string());
    assert_eq!(ask(|reply| engine.handle().push_all(to_all, reply)), Ok(5));
    let frame = hear(&mut members);
    let heard = members[0].read(&frame);
    assert_eq!(heard["push"]["message"]["data"], text);
    assert!(frame.is_compressed());

    let token = format!(
        "ann info={}",
        Value::from(&*info).to_string().replace(' ', "_")
    );
    let mut ann = Centrifuge::connect(addr, &token);
    ann.subscribe("news");
    let frame = hear(&mut members);
    let joined = members[0].read(&frame);
    assert_eq!(joined["push"]["join"]["info"]["user"], "ann");
    assert!(frame.is_compressed());
    drop(ann);
    let frame = hear(&mut members);
    let left = members[0].read(&frame);
    assert_eq!(left["push"]["leave"]["info"]["user"], "ann");
    assert!(frame.is_compressed());
    stop(engine);
}

#[test]
fn differences_are_compressed_where_they_are_long_enough() {
    let engine = start(with_rooms(RoomOptions {
        delta: true,
        ..open_rooms()
    }));
    let addr = engine.client_addrs()[0];
    let mut members: Vec<Deflating> = (0..5)
        .map(|n| {
            let mut member = Deflating::connect(addr, JSON, (n > 0).then_some(OFFER));
            let subscribe = json!({ "channel": "news", "delta": "fossil" });
            let reply = member.ask(&json!({ "id": 2, "subscribe": subscribe }));
            assert_eq!(reply["subscribe"]["delta"], true, "{reply}");
            member
        })
        .collect();
    let (mut deltas, mut long_deltas) = (0, 0);
    let base = "the state of the table ".repeat(40);
    for n in 0..20 {
        let news: String = (0..10 * n).map(|it| format!("{} ", it * n * 7)).collect();
        publish_text(&engine, "news", &format!("{base}{news}"));
        let frame = hear(&mut members);
        let heard = members[0].read(&frame);
        if heard["push"]["pub"]["delta"] == true {
            deltas += 1;
            long_deltas += u32::from(frame.is_compressed());
        }
    }
    assert!(deltas > 15, "{deltas}");
    assert!(long_deltas > 0, "{long_deltas}");
    stop(engine);
}

#[test]
fn who_only_listens_hears_compressed_publications() {
    let engine = start_scripted(compressing(2));
    let addr = engine.client_addrs()[0];
    let text = "breaking news ".repeat(50);
    let mut client = Deflating::open(addr, UNI, Some(OFFER));
    let connect = json!({ "token": "ann room=news" }).to_string();
    client.send(&client_frame(
        TEXT | COMPRESSED,
        &deflated(connect.as_bytes()),
    ));
    let welcome = client.reply();
    assert!(welcome["connect"]["subs"]["news"].is_object(), "{welcome}");
    publish_text(&engine, "news", &text);
    let frame = client.frame().unwrap();
    assert!(frame.is_compressed());
    assert_eq!(client.read(&frame)["pub"]["data"], text);
    stop(engine);
}

#[test]
fn what_was_missed_comes_whole() {
    let engine = start(with_rooms(RoomOptions {
        history_size: 100,
        ..open_rooms()
    }));
    let addr = engine.client_addrs()[0];
    let missed: Vec<String> = (0..20).map(|n| format!("{n} ").repeat(200)).collect();
    let mut epoch = 0;
    for text in &missed {
        epoch = publish_text(&engine, "log", text);
    }
    let mut answers = Vec::new();
    for offer in [None, Some(OFFER)] {
        let mut client = Deflating::connect(addr, JSON, offer);
        let since = json!({ "recover": true, "epoch": epoch.to_string(), "offset": 0 });
        let mut subscribe = json!({ "id": 2, "subscribe": { "channel": "log" } });
        let fields = subscribe["subscribe"].as_object_mut().unwrap();
        fields.extend(since.as_object().unwrap().clone());
        let answer = client.ask(&subscribe)["subscribe"].take();
        assert_eq!(answer["recovered"], true);
        let publications = answer["publications"].as_array().unwrap();
        let data: Vec<&str> = publications
            .iter()
            .map(|it| it["data"].as_str().unwrap())
            .collect();
        assert_eq!(data, missed);
        answers.push(answer);
    }
    assert_eq!(answers[0], answers[1]);
    stop(engine);
}

// -- what they say

#[test]
fn compressed_commands_are_understood_however_they_come() {
    let engine = start(compressing(2));
    let addr = engine.client_addrs()[0];
    for path in [JSON, PROTOBUF] {
        let room = if path == JSON { "a" } else { "b" };
        let mut client = Deflating::member(addr, path, Some(OFFER), room);
        let mut plain = Centrifuge::connect(addr, "");
        plain.subscribe(room);
        let text = "fragment ".repeat(40);
        let mut id = 10;
        let mut publish = |cut: &dyn Fn(u8, &[u8]) -> Vec<u8>| {
            id += 1;
            let data = json!(format!("{id} {text}"));
            let command = json!({ "id": id, "publish": { "channel": room, "data": data } });
            let (first, message) = client.message(&command);
            client.send(&cut(first, &message));
            let mut heard = [client.reply(), client.reply()];
            heard.sort_by_key(|it| it.get("push").is_some());
            assert_eq!(heard[0]["id"], id);
            assert!(heard[0]["publish"].is_object(), "{heard:?}");
            assert_eq!(heard[1]["push"]["pub"]["data"], data);
            assert_eq!(plain.push()["pub"]["data"], data);
        };
        publish(&|first, message| client_frame(first | COMPRESSED, &deflated(message)));
        // Each message may be compressed or not.
        publish(&|first, message| client_frame(first, message));
        for size in [1, 7, 50] {
            publish(&|first, message| {
                fragments(first | COMPRESSED, &deflated(message), size).concat()
            });
        }
        // In two blocks, and one that is marked as the last (section 7.2.3.4 of the RFC).
        publish(&|first, message| {
            let (head, tail) = message.split_at(message.len() / 2);
            let payload = [flushed(head), deflated(tail)].concat();
            client_frame(first | COMPRESSED, &payload)
        });
        publish(&|first, message| {
            let mut payload = miniz_oxide::deflate::compress_to_vec(message, 9);
            payload.push(0);
            client_frame(first | COMPRESSED, &payload)
        });
        // Empty fragments around it.
        publish(&|first, message| {
            let empty = client_frame(0, b"");
            let begin = client_frame((first & !LAST) | COMPRESSED, b"");
            let last = client_frame(LAST, &deflated(message));
            [begin, empty.clone(), empty, last].concat()
        });
    }
    assert_eq!(total(&engine, |it| it.protocol_errors), 0);
    stop(engine);
}

#[test]
fn control_frames_stand_between_compressed_fragments() {
    let engine = start(compressing(1));
    let addr = engine.client_addrs()[0];
    let mut client = Deflating::connect(addr, JSON, Some(OFFER));
    let command = json!({ "id": 5, "ping": {} }).to_string();
    let mut bytes = Vec::new();
    for fragment in fragments(TEXT | COMPRESSED, &deflated(command.as_bytes()), 3) {
        bytes.extend(fragment);
        bytes.extend(client_frame(0x89, b"between"));
    }
    // Byte by byte, so that each is cut everywhere.
    for byte in bytes {
        client.send(&[byte]);
    }
    let mut pongs = 0;
    let reply = loop {
        let frame = client.frame().unwrap();
        if frame.first == 0x8a {
            assert_eq!(frame.payload, b"between");
            pongs += 1;
        } else {
            break client.read(&frame);
        }
    };
    assert!(pongs > 3, "{pongs}");
    assert_eq!(reply["id"], 5);
    stop(engine);
}

#[test]
fn a_message_may_inflate_to_the_limit_and_not_further() {
    let engine = start(EngineConfig {
        limits: Limits {
            message_bytes_max: 32_768,
            ..brisk()
        },
        ..compressing(1)
    });
    let addr = engine.client_addrs()[0];
    let envelope = r#"{"id":9,"publish":{"channel":"news","data":""}}"#.len();
    for (over, code) in [(0, None), (1, Some(1009))] {
        let mut client = Deflating::member(addr, JSON, Some(OFFER), "news");
        let text = "x".repeat(32_768 - envelope + over);
        let command = format!(r#"{{"id":9,"publish":{{"channel":"news","data":"{text}"}}}}"#);
        let payload = deflated(command.as_bytes());
        assert!(payload.len() < 200);
        client.send(&client_frame(TEXT | COMPRESSED, &payload));
        match code {
            None => {
                let heard = [client.reply(), client.reply()];
                assert!(heard.iter().any(|it| it["push"]["pub"]["data"] == text));
            }
            Some(code) => assert_eq!(client.closed_with(), code),
        }
    }
    stop(engine);
}
