//! The decoder against tungstenite, an independent implementation: on streams that are mostly valid both see the same messages
//! and refuse the same, save where this decoder is meant to be stricter or sooner.

// tungstenite needs system randomness and much time under Miri, and has nothing of ours in it.
#![cfg(not(miri))]
#![allow(clippy::unwrap_used)]

mod ws_support;

use fanfare_wire::ws::{
    Error, Limits, Opcode, Role, code, write_close, write_frame, write_masked_frame,
};
use proptest::{collection::vec, prelude::*, sample::Index};
use std::io::{self, Read, Write};
use tungstenite::{
    Message, WebSocket,
    protocol::{self, WebSocketConfig},
};
use ws_support::*;

const MESSAGE_BYTES_MAX: u32 = 500;

/// Gives prepared bytes in small reads, then blocks; swallows what is written.
struct Peer<'a>(&'a [u8]);

impl Read for Peer<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.0.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let count = self.0.len().min(buffer.len()).min(50);
        self.0.read(&mut buffer[..count])
    }
}

impl Write for Peer<'_> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        Ok(buffer.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn oracle(role: protocol::Role, stream: &[u8]) -> (Vec<Seen>, Result<(), String>) {
    let config = WebSocketConfig::default()
        .max_message_size(Some(MESSAGE_BYTES_MAX as usize))
        .max_frame_size(Some(MESSAGE_BYTES_MAX as usize));
    let mut socket = WebSocket::from_raw_socket(Peer(stream), role, Some(config));
    let mut seen = Vec::new();
    loop {
        match socket.read() {
            Ok(Message::Text(text)) => seen.push(Seen::Text(text.as_str().to_owned())),
            Ok(Message::Binary(bytes)) => seen.push(Seen::Binary(bytes.to_vec())),
            Ok(Message::Ping(bytes)) => seen.push(Seen::Ping(bytes.to_vec())),
            Ok(Message::Pong(bytes)) => seen.push(Seen::Pong(bytes.to_vec())),
            Ok(Message::Close(close)) => {
                let close =
                    close.map(|close| (close.code.into(), close.reason.as_str().to_owned()));
                seen.push(Seen::Close(close));
                return (seen, Ok(()));
            }
            Ok(Message::Frame(_)) => unreachable!("only given by raw reads"),
            Err(tungstenite::Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                return (seen, Ok(()));
            }
            Err(error) => return (seen, Err(error.to_string())),
        }
    }
}

/// Where this decoder refuses and tungstenite need not: it takes lengths that are not minimal, answers bad close codes
/// instead of failing, and checks text when a frame is complete, not as it comes.
fn may_be_stricter(error: Error) -> bool {
    matches!(
        error,
        Error::LengthNotMinimal
            | Error::CloseCode(_)
            | Error::CloseTruncated
            | Error::InvalidUtf8
            | Error::MessageTooBig { .. }
    )
}

fn any_frame() -> impl Strategy<Value = TestFrame> {
    let opcode = prop_oneof![
        30 => Just(1_u8), 12 => Just(2), 30 => Just(0), 12 => Just(9), 10 => Just(10), 3 => Just(8), 1 => 0..16_u8,
    ];
    let payload = prop_oneof![
        6 => "\\PC{0,30}".prop_map(String::into_bytes),
        1 => vec(any::<u8>(), 0..125),
        1 => "[a-z]{126,400}".prop_map(String::into_bytes),
    ];
    let codes = prop_oneof![
        Just(1000_u16),
        Just(1001),
        Just(3000),
        Just(4999),
        999..1020_u16
    ];
    let mask = prop_oneof![40 => any::<[u8; 4]>().prop_map(Some), 1 => Just(None)];
    let rsv = prop_oneof![60 => Just(0_u8), 1 => 1..8_u8];
    (opcode, prop::bool::weighted(0.6), mask, rsv, payload, codes).prop_map(
        |(opcode, fin, mask, rsv, mut payload, code)| {
            let mut fin = fin;
            if opcode == 8 {
                payload.splice(0..0, code.to_be_bytes());
            }
            if opcode >= 8 {
                fin = true;
                payload.truncate(125);
            }
            TestFrame {
                fin,
                rsv,
                opcode,
                mask,
                payload,
            }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn same_messages_and_same_refusals(
        frames in vec(any_frame(), 1..8),
        flip in prop::option::weighted(0.3, (any::<Index>(), any::<u8>())),
    ) {
        let limits = Limits {
            message_bytes_max: MESSAGE_BYTES_MAX,
            fragments_max: u32::MAX,
        };
        let mut bytes = stream(&frames);
        if let Some((place, bits)) = flip {
            let place = place.index(bytes.len());
            bytes[place] ^= bits;
        }
        let (ours, our_end) = decode(Role::Server, &limits, bytes.chunks(50));
        // Registered since, but refused there.
        prop_assume!(!ours.iter().any(|seen| matches!(seen, Seen::Close(Some((1014, _))))));
        let (theirs, their_end) = oracle(protocol::Role::Server, &bytes);

        prop_assert!(theirs.len() >= ours.len(), "{ours:?} but {theirs:?}, {their_end:?}");
        prop_assert_eq!(&ours[..], &theirs[..ours.len()]);
        match our_end {
            Ok(()) => {
                prop_assert_eq!(ours.len(), theirs.len());
                prop_assert_eq!(their_end, Ok(()));
            }
            Err(error) if may_be_stricter(error) => {}
            // It judges a frame when it is complete, which with a changed length it may never be.
            Err(_) if flip.is_some() => {}
            Err(error) => {
                prop_assert_eq!(ours.len(), theirs.len());
                prop_assert!(their_end.is_err(), "{error} is no error there");
            }
        }
    }

    #[test]
    fn it_reads_what_is_written_here(
        text in "\\PC{0,400}",
        binary in vec(any::<u8>(), 0..400),
        mask in any::<[u8; 4]>(),
        reason in "\\PC{0,40}",
    ) {
        let mut reason = reason;
        reason.truncate(reason.floor_char_boundary(123));
        let mut text = text;
        text.truncate(text.floor_char_boundary(500));
        let messages = vec![Seen::Text(text.clone()), Seen::Binary(binary.clone())];

        let mut from_client = Vec::new();
        write_masked_frame(&mut from_client, Opcode::Text, text.as_bytes(), mask);
        write_masked_frame(&mut from_client, Opcode::Binary, &binary, mask);
        let got = oracle(protocol::Role::Server, &from_client);
        prop_assert_eq!(got, (messages.clone(), Ok(())));

        let mut from_server = Vec::new();
        write_frame(&mut from_server, Opcode::Text, text.as_bytes());
        write_frame(&mut from_server, Opcode::Binary, &binary);
        write_close(&mut from_server, code::GOING_AWAY, &reason);
        let mut expected = messages;
        expected.push(Seen::Close(Some((1001, reason))));
        prop_assert_eq!(oracle(protocol::Role::Client, &from_server), (expected, Ok(())));
    }
}

#[test]
fn handshakes_fit_together() {
    use fanfare_wire::{http, ws::handshake};

    let key = tungstenite::handshake::client::generate_key();
    let accept = tungstenite::handshake::derive_accept_key(key.as_bytes());
    assert_eq!(handshake::accept_key(&key), accept.as_bytes());

    let mut request = Vec::new();
    handshake::write_client_handshake(&mut request, "example.org", "/chat", &key, None);
    let mut answered = Vec::new();
    let exchange = Exchange {
        input: &request,
        output: &mut answered,
    };
    assert!(tungstenite::accept(exchange).is_ok());
    let checked = handshake::check_response(&answered, &key, None);
    assert_eq!(checked, Ok(Some(answered.len())));

    let (head, _) = http::parse_head(&request).unwrap().unwrap();
    assert_eq!(http::upgrade(&head).unwrap().key, key);
}

struct Exchange<'a> {
    input: &'a [u8],
    output: &'a mut Vec<u8>,
}

impl Read for Exchange<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.input.read(buffer)
    }
}

impl Write for Exchange<'_> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.output.write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
