//! The files in `tests/golden/native/` are the specification of the native protocol: each message encodes to its file and
//! its file decodes to the message. `FANFARE_BLESS=1` writes them anew, which is only right together with a new version.

#![allow(clippy::unwrap_used)]

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use fanfare_wire::native::{
    self, Ack, ClientFrame, Disconnect, ErrorReply, Gap, HEADER_BYTES, Hello, Message, Publication,
    Publish, ServerFrame, Subscribe, Subscribed, Unsubscribe, Unsubscribed, Welcome,
};

const ARCHIVE_BYTES_MAX: u32 = 1 << 16;

const CLIENT_FRAMES: &[(&str, ClientFrame<'_>)] = &[
    (
        "client_hello",
        ClientFrame::Hello(Hello {
            token: "eyJhbGciOiJIUzI1NiJ9.e30.c2ln",
            client_name: "golden",
        }),
    ),
    (
        "client_hello_anonymous",
        ClientFrame::Hello(Hello {
            token: "",
            client_name: "",
        }),
    ),
    (
        "client_subscribe",
        ClientFrame::Subscribe(Subscribe {
            request: 1,
            room: "news",
            token: "",
            recover: false,
            epoch: 0,
            offset: 0,
        }),
    ),
    (
        "client_subscribe_recover",
        ClientFrame::Subscribe(Subscribe {
            request: 0x0102_0304,
            room: "football:Öster/42",
            token: "a.subscription.token",
            recover: true,
            epoch: 0x1122_3344_5566_7788,
            offset: 1000,
        }),
    ),
    (
        "client_unsubscribe",
        ClientFrame::Unsubscribe(Unsubscribe {
            request: 2,
            room: "news",
        }),
    ),
    (
        "client_publish",
        ClientFrame::Publish(Publish {
            request: 3,
            room: "news",
            data: br#"{"goal":1}"#,
        }),
    ),
    (
        "client_publish_empty",
        ClientFrame::Publish(Publish {
            request: 0,
            room: "12345678",
            data: b"",
        }),
    ),
    ("client_ping", ClientFrame::Ping),
    ("client_pong", ClientFrame::Pong),
];

const SERVER_FRAMES: &[(&str, ServerFrame<'_>)] = &[
    (
        "server_welcome",
        ServerFrame::Welcome(Welcome {
            client: "000102030405060708090a0b0c0d0e0f",
            ping_interval_ms: 25_000,
            pong_timeout_ms: 8_000,
            archive_bytes_max: 65_536,
        }),
    ),
    (
        "server_subscribed",
        ServerFrame::Subscribed(Subscribed {
            request: 1,
            room: 7,
            name: "",
            epoch: 0x1122_3344_5566_7788,
            offset: 41,
            recoverable: true,
            was_recovering: false,
            recovered: false,
        }),
    ),
    (
        "server_subscribed_by_server",
        ServerFrame::Subscribed(Subscribed {
            request: 0,
            room: 8,
            name: "personal:ann",
            epoch: 5,
            offset: 6,
            recoverable: true,
            was_recovering: true,
            recovered: true,
        }),
    ),
    (
        "server_unsubscribed",
        ServerFrame::Unsubscribed(Unsubscribed {
            request: 0,
            room: 7,
            code: 2500,
            reason: "insufficient state",
        }),
    ),
    (
        "server_publication",
        ServerFrame::Publication(Publication {
            offset: 42,
            room: 7,
            data: br#"{"goal":1}"#,
        }),
    ),
    (
        "server_publication_empty",
        ServerFrame::Publication(Publication {
            offset: u64::MAX,
            room: u32::MAX,
            data: b"",
        }),
    ),
    (
        "server_ack",
        ServerFrame::Ack(Ack {
            request: 3,
            epoch: 5,
            offset: 43,
            members: 1_000_000,
        }),
    ),
    (
        "server_error",
        ServerFrame::Error(ErrorReply {
            request: 1,
            code: 103,
            message: "permission denied",
        }),
    ),
    (
        "server_gap",
        ServerFrame::Gap(Gap {
            room: 7,
            from: 44,
            to: 50,
        }),
    ),
    (
        "server_message",
        ServerFrame::Message(Message {
            data: b"\x00\xff\x0a",
        }),
    ),
    (
        "server_disconnect",
        ServerFrame::Disconnect(Disconnect {
            code: 3001,
            reason: "shutdown",
        }),
    ),
    ("server_ping", ServerFrame::Ping),
    ("server_pong", ServerFrame::Pong),
];

fn encode_client(frame: &ClientFrame<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    match frame {
        ClientFrame::Hello(message) => native::write_hello(&mut out, message),
        ClientFrame::Subscribe(message) => native::write_subscribe(&mut out, message),
        ClientFrame::Unsubscribe(message) => native::write_unsubscribe(&mut out, message),
        ClientFrame::Publish(message) => native::write_publish(&mut out, message),
        ClientFrame::Ping => native::write_client_ping(&mut out),
        ClientFrame::Pong => native::write_client_pong(&mut out),
    }
    out
}

fn encode_server(frame: &ServerFrame<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    match frame {
        ServerFrame::Welcome(message) => native::write_welcome(&mut out, message),
        ServerFrame::Subscribed(message) => native::write_subscribed(&mut out, message),
        ServerFrame::Unsubscribed(message) => native::write_unsubscribed(&mut out, message),
        ServerFrame::Publication(message) => {
            native::write_publication(&mut out, message.room, message.offset, message.data);
        }
        ServerFrame::Ack(message) => native::write_ack(&mut out, message),
        ServerFrame::Error(message) => native::write_error(&mut out, message),
        ServerFrame::Gap(message) => native::write_gap(&mut out, message),
        ServerFrame::Message(message) => native::write_message(&mut out, message),
        ServerFrame::Disconnect(message) => native::write_disconnect(&mut out, message),
        ServerFrame::Ping => native::write_server_ping(&mut out),
        ServerFrame::Pong => native::write_server_pong(&mut out),
    }
    out
}

#[test]
fn every_message_is_its_golden_file() {
    let client = CLIENT_FRAMES
        .iter()
        .map(|(name, frame)| (*name, encode_client(frame)));
    let server = SERVER_FRAMES
        .iter()
        .map(|(name, frame)| (*name, encode_server(frame)));
    for (name, bytes) in client.chain(server) {
        if std::env::var_os("FANFARE_BLESS").is_some() {
            fs::create_dir_all(golden("")).unwrap();
            fs::write(golden(&format!("{name}.bin")), &bytes).unwrap();
            fs::write(golden(&format!("{name}.hex")), dump(&bytes)).unwrap();
        }
        assert_eq!(
            dump(&bytes),
            dump(&read(name)),
            "{name} encodes to other bytes than its golden file"
        );
        assert_eq!(
            fs::read_to_string(golden(&format!("{name}.hex"))).unwrap(),
            dump(&bytes),
            "{name}.hex"
        );
    }
}

#[test]
fn every_golden_file_is_its_message() {
    for (name, frame) in CLIENT_FRAMES {
        let bytes = read(name);
        assert_eq!(
            native::decode_client(&bytes, ARCHIVE_BYTES_MAX),
            Ok(Some((*frame, bytes.len()))),
            "{name}"
        );
    }
    for (name, frame) in SERVER_FRAMES {
        let bytes = read(name);
        assert_eq!(
            native::decode_server(&bytes, ARCHIVE_BYTES_MAX),
            Ok(Some((*frame, bytes.len()))),
            "{name}"
        );
    }
}

#[test]
fn no_golden_file_is_without_a_message() {
    let names: Vec<&str> = CLIENT_FRAMES
        .iter()
        .map(|(name, _)| *name)
        .chain(SERVER_FRAMES.iter().map(|(name, _)| *name))
        .collect();
    for entry in fs::read_dir(golden("")).unwrap() {
        let path = entry.unwrap().path();
        let stem = path.file_stem().unwrap().to_str().unwrap().to_owned();
        assert!(
            names.contains(&stem.as_str()),
            "{} tests nothing",
            path.display()
        );
    }
}

#[test]
fn a_publication_costs_26_bytes_besides_its_data() {
    assert_eq!(native::PUBLICATION_OVERHEAD_BYTES, 26);
    assert_eq!(
        read("server_publication").len(),
        26 + br#"{"goal":1}"#.len()
    );
}

#[test]
fn nothing_short_of_a_whole_frame_is_a_frame() {
    for (name, _) in CLIENT_FRAMES {
        let bytes = read(name);
        for length in 0..bytes.len() {
            assert_eq!(
                native::decode_client(&bytes[..length], ARCHIVE_BYTES_MAX),
                Ok(None),
                "{name} cut at {length}"
            );
        }
    }
    for (name, _) in SERVER_FRAMES {
        let bytes = read(name);
        for length in 0..bytes.len() {
            assert_eq!(
                native::decode_server(&bytes[..length], ARCHIVE_BYTES_MAX),
                Ok(None),
                "{name} cut at {length}"
            );
        }
    }
}

#[test]
fn a_frame_of_the_other_side_is_refused() {
    for (name, _) in SERVER_FRAMES {
        let bytes = read(name);
        assert_eq!(
            native::decode_client(&bytes, ARCHIVE_BYTES_MAX),
            Err(native::Error::Kind(bytes[5])),
            "{name}"
        );
    }
    for (name, _) in CLIENT_FRAMES {
        let bytes = read(name);
        assert_eq!(
            native::decode_server(&bytes, ARCHIVE_BYTES_MAX),
            Err(native::Error::Kind(bytes[5])),
            "{name}"
        );
    }
}

#[test]
fn the_specification_shows_these_very_bytes() {
    let specification = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/protocol-native.md");
    let specification = fs::read_to_string(specification).unwrap();
    for name in [
        "client_hello",
        "client_subscribe",
        "server_subscribed",
        "server_publication",
    ] {
        let bytes = read(name);
        let shown = dump(&bytes);
        assert!(bytes.len() > HEADER_BYTES);
        assert!(
            specification.contains(shown.trim_end()),
            "docs/protocol-native.md lacks {name}:\n{shown}"
        );
    }
}

fn golden(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden/native")
        .join(file)
}

fn read(name: &str) -> Vec<u8> {
    fs::read(golden(&format!("{name}.bin"))).unwrap()
}

/// Sixteen bytes a line.
fn dump(bytes: &[u8]) -> String {
    let mut text = String::new();
    for line in bytes.chunks(16) {
        for (index, byte) in line.iter().enumerate() {
            let separator = if index == 0 { "" } else { " " };
            write!(text, "{separator}{byte:02x}").unwrap();
        }
        text.push('\n');
    }
    text
}
