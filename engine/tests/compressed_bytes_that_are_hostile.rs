//! Compressed messages that no client would send end their connection, with the code that says why, and touch nobody
//! else's: everyone on a shard is inflated for by the same inflater.
#![allow(clippy::unwrap_used)]

mod support;

use std::net::SocketAddr;

use fanfare_engine::{Engine, EngineConfig, Limits};
use serde_json::json;
use support::{
    BINARY, COMPRESSED, Deflating, LAST, OFFER, TEXT, bomb, brisk, client_frame, deflated, flood,
    fragments, open_config, push, start, stop, total,
};

const JSON: &str = "/connection/websocket";

/// One shard, so that all share an inflater.
fn bounded() -> EngineConfig {
    EngineConfig {
        compression: true,
        limits: Limits {
            message_bytes_max: 8192,
            fragments_max: 16,
            ..brisk()
        },
        ..open_config(1)
    }
}

/// Members who hear and are heard, compressed and not, whatever others do.
struct Bystanders([Deflating; 2], u32);

impl Bystanders {
    fn new(addr: SocketAddr) -> Self {
        let member = |offer| Deflating::member(addr, JSON, offer, "news");
        Self([member(Some(OFFER)), member(None)], 0)
    }

    fn are_undisturbed(&mut self, engine: &Engine) {
        self.1 += 1;
        let text = format!("{} {}", self.1, "still here ".repeat(30));
        push(engine, "news", &json!(text).to_string());
        for member in &mut self.0 {
            let frame = member.frame().unwrap();
            assert_eq!(frame.is_compressed(), member.agreed.is_some());
            assert_eq!(member.read(&frame)["push"]["pub"]["data"], text);
            let reply = member.ask(&json!({ "id": self.1 + 100, "ping": {} }));
            assert_eq!(reply["id"], self.1 + 100);
        }
    }
}

/// A whole compressed text.
fn compressed(payload: &[u8]) -> Vec<u8> {
    client_frame(TEXT | COMPRESSED, payload)
}

/// What is wrong, the frames, and the code that they are answered with.
fn wrongs() -> Vec<(&'static str, Vec<u8>, u16)> {
    let ping = br#"{"id":7,"ping":{}}"#;
    let good = deflated(ping);
    let first = |payload: &[u8]| client_frame((TEXT & !LAST) | COMPRESSED, payload);
    let with = |more: &[u8]| compressed(&[&good[..], more].concat());
    let mut unmasked = vec![TEXT | COMPRESSED, u8::try_from(good.len()).unwrap()];
    unmasked.extend(&good);
    // The header of a block with codes of its own, and nonsense.
    let noise: Vec<u8> = (0..200_u8)
        .map(|n| n.wrapping_mul(n).wrapping_add(4))
        .collect();
    vec![
        // Not a stream that ends where the message does.
        ("cut off", compressed(&good[..good.len() / 2]), 1007),
        (
            "cut off by a byte",
            compressed(&good[..good.len() - 1]),
            1007,
        ),
        ("nothing at all", compressed(b""), 1007),
        ("block type 3", compressed(b"\x06\x00"), 1007),
        ("garbage", compressed(&noise), 1007),
        ("all ones", compressed(&[0xff; 100]), 1007),
        (
            "a length that is not its complement",
            compressed(b"\x00\x05\x00\xfa\xfeHello\x00"),
            1007,
        ),
        (
            "reaches back before the message",
            compressed(b"\xf2\x00\x11\x00\x00"),
            1007,
        ),
        (
            "with the header of zlib",
            compressed(b"\x78\x9c\xf3\x48\xcd\xc9\xc9\x07\x00\x05\x8c\x01\xf5"),
            1007,
        ),
        ("more behind its end", with(b"{}"), 1007),
        ("its own tail", with(b"\x00\x00\xff\xff"), 1007),
        ("plain text that is marked", compressed(ping), 1007),
        (
            "text that is not UTF-8",
            compressed(&deflated(b"\"\xff\"")),
            1007,
        ),
        (
            "cut off, in fragments",
            fragments(TEXT | COMPRESSED, &good[..good.len() - 2], 4).concat(),
            1007,
        ),
        // Bits where they mean nothing.
        (
            "a compressed ping",
            client_frame(0x89 | COMPRESSED, b""),
            1002,
        ),
        (
            "a compressed pong",
            client_frame(0x8a | COMPRESSED, &good),
            1002,
        ),
        (
            "a compressed close",
            client_frame(0x88 | COMPRESSED, b"\x03\xe8"),
            1002,
        ),
        ("RSV2", client_frame(TEXT | 0x20, ping), 1002),
        ("RSV3", client_frame(TEXT | 0x10, ping), 1002),
        ("all three", client_frame(TEXT | 0x70, &good), 1002),
        (
            "each fragment is marked",
            [
                first(&good[..4]),
                client_frame(LAST | COMPRESSED, &good[4..]),
            ]
            .concat(),
            1002,
        ),
        (
            "the second fragment is marked",
            [
                client_frame(TEXT & !LAST, b"{"),
                client_frame(COMPRESSED, &good),
            ]
            .concat(),
            1002,
        ),
        (
            "nothing to continue",
            client_frame(LAST | COMPRESSED, &good),
            1002,
        ),
        (
            "another message within one",
            [first(&good[..4]), compressed(&good)].concat(),
            1002,
        ),
        (
            "a reserved opcode",
            client_frame(0x83 | COMPRESSED, &good),
            1002,
        ),
        ("unmasked", unmasked, 1002),
        // Too large, before and after it is inflated.
        ("a bomb", compressed(&bomb(4)), 1009),
        (
            "a bomb in fragments",
            fragments(TEXT | COMPRESSED, &bomb(4), 500).concat(),
            1009,
        ),
        (
            "a byte too many once inflated",
            compressed(&deflated(&[b' '; 8193])),
            1009,
        ),
        (
            "declared as a byte too many",
            [&[TEXT | COMPRESSED, 0xfe, 0x20, 0x01][..], &[0; 5]].concat(),
            1009,
        ),
        (
            "2^63 - 1 and a byte",
            [
                &[TEXT | COMPRESSED, 0xff, 0x7f][..],
                &[0xff; 7],
                &[0, 0, 0, 0, 7],
            ]
            .concat(),
            1009,
        ),
        // Wrong in what it says.
        (
            "binary to a client of texts",
            client_frame(BINARY | COMPRESSED, &good),
            3506,
        ),
        ("not JSON", compressed(&deflated(b"{")), 3501),
    ]
}

#[test]
fn what_is_wrong_ends_its_connection_and_no_other() {
    let engine = start(bounded());
    let addr = engine.client_addrs()[0];
    let mut bystanders = Bystanders::new(addr);
    let mut refused = 0;
    for (what, bytes, code) in wrongs() {
        for is_known in [false, true] {
            let mut client = Deflating::open(addr, JSON, Some(OFFER));
            if is_known {
                client.greet();
            }
            client.send(&bytes);
            assert_eq!(client.closed_with(), code, "{what}, known: {is_known}");
            refused += 1;
            bystanders.are_undisturbed(&engine);
        }
    }
    assert_eq!(total(&engine, |it| it.protocol_errors), refused);
    stop(engine);
}

#[test]
fn who_agreed_to_nothing_compresses_nothing() {
    let engine = start(bounded());
    let addr = engine.client_addrs()[0];
    let mut bystanders = Bystanders::new(addr);
    let good = deflated(br#"{"id":7,"ping":{}}"#);
    for offer in [None, Some("permessage-deflate; server_max_window_bits=9")] {
        for bytes in [
            compressed(&good),
            fragments(TEXT | COMPRESSED, &good, 4).concat(),
            compressed(&bomb(4)),
        ] {
            let mut client = Deflating::open(addr, JSON, offer);
            assert_eq!(client.agreed, None);
            client.greet();
            client.send(&bytes);
            assert_eq!(client.closed_with(), 1002);
        }
    }
    bystanders.are_undisturbed(&engine);
    stop(engine);
}

/// Half a message can be kept for long, and the inflater is needed by others meanwhile.
#[test]
fn messages_in_pieces_do_not_mix() {
    let engine = start(bounded());
    let addr = engine.client_addrs()[0];
    let mut bystanders = Bystanders::new(addr);
    let mut clients: Vec<_> = (0..20)
        .map(|n| {
            let command = json!({ "id": n + 50, "publish": { "channel": "own", "data": n } });
            let payload = deflated(command.to_string().as_bytes());
            let mut pieces = fragments(TEXT | COMPRESSED, &payload, 8);
            pieces.reverse();
            (Deflating::connect(addr, JSON, Some(OFFER)), pieces)
        })
        .collect();
    while clients.iter().any(|(_, pieces)| !pieces.is_empty()) {
        for (client, pieces) in &mut clients {
            if let Some(piece) = pieces.pop() {
                client.send(&piece);
            }
        }
        bystanders.are_undisturbed(&engine);
    }
    for (n, (client, _)) in clients.iter_mut().enumerate() {
        let reply = client.reply();
        assert_eq!(
            (&reply["id"], reply["publish"].is_object()),
            (&json!(n + 50), true)
        );
    }
    stop(engine);
}

#[test]
fn empty_messages_are_what_they_are_uncompressed() {
    let engine = start(bounded());
    let addr = engine.client_addrs()[0];
    let mut bystanders = Bystanders::new(addr);
    let mut ends = Vec::new();
    // An empty block, so begun (RFC 7692 section 7.2.3.6), and the same in fragments.
    let empties = [
        client_frame(TEXT, b""),
        compressed(b"\x00"),
        [
            client_frame((TEXT & !LAST) | COMPRESSED, b""),
            client_frame(LAST, b"\x00"),
        ]
        .concat(),
    ];
    for empty in empties {
        let mut client = Deflating::connect(addr, JSON, Some(OFFER));
        client.send(&empty);
        ends.push(client.closed_with());
    }
    assert_eq!(ends, [ends[0]; 3]);
    bystanders.are_undisturbed(&engine);
    stop(engine);
}

#[test]
fn a_million_tiny_fragments_end_at_the_limit() {
    let engine = start(bounded());
    let addr = engine.client_addrs()[0];
    let mut bystanders = Bystanders::new(addr);
    for piece in [&b""[..], b"\x00"] {
        let first = client_frame((TEXT & !LAST) | COMPRESSED, piece);
        let next = client_frame(0, piece);

        // As many as allowed: the last one may be the 16th.
        let mut client = Deflating::connect(addr, JSON, Some(OFFER));
        let payload = deflated(br#"{"id":9,"ping":{}}"#);
        let mut bytes = client_frame((TEXT & !LAST) | COMPRESSED, &payload);
        bytes.extend(client_frame(0, b"").repeat(14));
        bytes.extend(client_frame(LAST, b""));
        client.send(&bytes);
        assert_eq!(client.reply()["id"], 9);

        client.send(&first);
        let writer = flood(&client.stream, &next, 1_000_000);
        assert_eq!(client.closed_with(), 1008);
        bystanders.are_undisturbed(&engine);
        drop(client);
        // What comes after the end is read for as long as a close may take, and not looked at.
        writer.join().unwrap();
    }
    assert_eq!(total(&engine, |it| it.protocol_errors), 2);
    stop(engine);
}
