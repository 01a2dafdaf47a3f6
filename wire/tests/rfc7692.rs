//! permessage-deflate, RFC 7692: the examples of section 7.2.3, what reserved bits may say, and what other implementations send.

#![allow(clippy::unwrap_used)]

mod ws_support;

use fanfare_wire::ws::{Decoder, Error, Inflater, Opcode, Role, write_frame};
use ws_support::*;

const HELLO: &[u8] = b"\xf2\x48\xcd\xc9\xc9\x07\x00";

fn serve_inflating(frames: &[TestFrame]) -> Outcome {
    inflate_every_way(Role::Server, &ROOMY, &stream(frames))
}

fn accepts(frames: &[TestFrame], expected: &[Seen]) {
    assert_eq!(serve_inflating(frames), (expected.to_vec(), Ok(())));
}

fn refuses(frames: &[TestFrame], error: Error) {
    let (seen, end) = serve_inflating(frames);
    assert_eq!((seen.len(), end), (0, Err(error)));
}

fn hello() -> Seen {
    Seen::Text("Hello".to_owned())
}

// -- section 7.2.3, as the frames of a server ------------------------------------------------------------------------------

fn client_sees(bytes: &[u8]) -> Outcome {
    inflate_every_way(Role::Client, &ROOMY, bytes)
}

#[test]
fn section_7_2_3_1_one_compressed_block_in_one_frame_and_two() {
    let whole = b"\xc1\x07\xf2\x48\xcd\xc9\xc9\x07\x00";
    assert_eq!(client_sees(whole), (vec![hello()], Ok(())));
    let fragments = b"\x41\x03\xf2\x48\xcd\x80\x04\xc9\xc9\x07\x00";
    assert_eq!(client_sees(fragments), (vec![hello()], Ok(())));
}

#[test]
fn section_7_2_3_2_a_window_shared_between_messages_is_not_taken_over() {
    let two = b"\xc1\x07\xf2\x48\xcd\xc9\xc9\x07\x00\xc1\x05\xf2\x00\x11\x00\x00";
    assert_eq!(
        client_sees(two),
        (vec![hello()], Err(Error::InvalidDeflate))
    );
    let apart = b"\xc1\x07\xf2\x48\xcd\xc9\xc9\x07\x00".repeat(2);
    assert_eq!(client_sees(&apart), (vec![hello(), hello()], Ok(())));
}

#[test]
fn section_7_2_3_3_a_block_without_compression() {
    let stored = b"\xc1\x0b\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00";
    assert_eq!(client_sees(stored), (vec![hello()], Ok(())));
}

#[test]
fn section_7_2_3_4_a_block_marked_as_the_last() {
    let last = b"\xc1\x08\xf3\x48\xcd\xc9\xc9\x07\x00\x00";
    assert_eq!(client_sees(last), (vec![hello()], Ok(())));
    // Section 7.2.1: others may follow it, from the next byte on.
    let twice = b"\xc1\x0f\xf3\x48\xcd\xc9\xc9\x07\x00\xf3\x48\xcd\xc9\xc9\x07\x00\x00";
    let expected = Seen::Text("HelloHello".to_owned());
    assert_eq!(client_sees(twice), (vec![expected], Ok(())));
}

#[test]
fn section_7_2_3_5_two_blocks() {
    let two = b"\xc1\x0d\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00";
    assert_eq!(client_sees(two), (vec![hello()], Ok(())));
}

#[test]
fn section_7_2_3_6_an_empty_message() {
    let empty = Seen::Text(String::new());
    assert_eq!(client_sees(b"\xc1\x01\x00"), (vec![empty], Ok(())));
    // Without the byte there is no stream to speak of.
    assert_eq!(client_sees(b"\xc1\x00").1, Err(Error::InvalidDeflate));
}

// -- section 6: what may be marked as compressed ---------------------------------------------------------------------------

#[test]
fn each_message_may_be_compressed_or_not() {
    accepts(
        &[
            text(HELLO).deflated(),
            text("Hello"),
            ping(b"between"),
            binary(HELLO).deflated(),
            binary(HELLO),
        ],
        &[
            hello(),
            hello(),
            Seen::Ping(b"between".to_vec()),
            Seen::Binary(b"Hello".to_vec()),
            Seen::Binary(HELLO.to_vec()),
        ],
    );
}

#[test]
fn control_frames_stand_between_compressed_fragments() {
    accepts(
        &[
            text(&HELLO[..2]).more().deflated(),
            ping(b"1"),
            continuation(&HELLO[2..5]).more(),
            pong(b"2"),
            continuation(&HELLO[5..]),
            text("plain").more(),
            continuation(""),
        ],
        &[
            Seen::Ping(b"1".to_vec()),
            Seen::Pong(b"2".to_vec()),
            hello(),
            Seen::Text("plain".to_owned()),
        ],
    );
}

#[test]
fn control_frames_are_never_compressed() {
    for control in [frame(8, HELLO), ping(HELLO), pong(HELLO), ping(b"")] {
        refuses(&[control.deflated()], Error::ReservedBits);
    }
    assert_eq!(Error::ReservedBits.close_code(), 1002);
}

#[test]
fn only_the_first_fragment_says_that_a_message_is_compressed() {
    for last in [true, false] {
        let mut second = continuation(&HELLO[3..]).deflated();
        second.fin = last;
        refuses(
            &[text(&HELLO[..3]).more().deflated(), second.clone()],
            Error::ReservedBits,
        );
        refuses(&[text("plain").more(), second.clone()], Error::ReservedBits);
        refuses(&[second], Error::ReservedBits);
    }
}

#[test]
fn the_other_reserved_bits_stay_without_a_meaning() {
    for bits in [1, 2, 3, 5, 6, 7] {
        refuses(&[text(HELLO).rsv(bits)], Error::ReservedBits);
        refuses(&[binary("").rsv(bits)], Error::ReservedBits);
    }
}

#[test]
fn nothing_is_compressed_unless_that_was_agreed() {
    let frames = [text(HELLO).deflated()];
    assert_eq!(serve(&frames), (Vec::new(), Err(Error::ReservedBits)));

    let mut plain = Decoder::new(Role::Server);
    assert!(!plain.is_deflate_negotiated());
    let mut input = stream(&frames);
    let outcome = plain.next_inflating(&mut input, &ROOMY, &mut Inflater::new());
    assert_eq!(outcome, Err(Error::ReservedBits));

    // A caller who passes no inflater takes nothing compressed, whatever was agreed and wherever a message stands.
    let mut agreed = Decoder::with_deflate(Role::Server);
    assert!(agreed.is_deflate_negotiated());
    assert_eq!(
        agreed.next(&mut stream(&frames), &ROOMY),
        Err(Error::ReservedBits)
    );
    let mut agreed = Decoder::with_deflate(Role::Server);
    let mut first = text(&HELLO[..3]).more().deflated().bytes();
    let first = agreed.next_inflating(&mut first, &ROOMY, &mut Inflater::new());
    assert!(matches!(first, Ok((_, None))));
    let mut second = continuation(&HELLO[3..]).bytes();
    assert_eq!(agreed.next(&mut second, &ROOMY), Err(Error::ReservedBits));
}

#[test]
fn text_is_utf_8_once_inflated() {
    let stored = |bytes: &[u8]| {
        let length = u16::try_from(bytes.len()).unwrap();
        let head = [length.to_le_bytes(), (!length).to_le_bytes()].concat();
        [&[0], &head[..], bytes, &[0]].concat()
    };
    let valid = stored("κόσμε".as_bytes());
    accepts(
        &[text(&valid).deflated()],
        &[Seen::Text("κόσμε".to_owned())],
    );
    let invalid = stored(b"\xce\xba\xed\xa0\x80");
    refuses(&[text(&invalid).deflated()], Error::InvalidUtf8);
    refuses(
        &[
            text(&invalid[..4]).more().deflated(),
            continuation(&invalid[4..]),
        ],
        Error::InvalidUtf8,
    );
    accepts(
        &[binary(&invalid).deflated()],
        &[Seen::Binary(b"\xce\xba\xed\xa0\x80".to_vec())],
    );
}

// -- other implementations -------------------------------------------------------------------------------------------------

/// Everything a client sent after it was answered with no context takeover on either side, its masks included.
fn recorded(hex: &str) -> Vec<u8> {
    let digits = hex.as_bytes().chunks(2);
    digits
        .map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

fn saw_text(text: &str) -> Seen {
    Seen::Text(text.to_owned())
}

fn normal_close() -> Seen {
    Seen::Close(Some((1000, String::new())))
}

/// The Python package `websockets` 17.4. The last message is written in three parts, each of which it flushes.
const FROM_PYTHON_WEBSOCKETS: &str = "c1871c49aa79ee0167b0d54eaac187ec9c309a1ed4fd53259b30c1b3b04e127e1a18d832e1fc20aae104dcb17b055f50e1fc\
     b8289a87dd307d1da02cfa025828621fd8357c03170cba64594c42bd8614db4f12c193bbd47a6981639115742d9c1ac01a17\
     3c83e3b0cd3fdd7ac2891afd37ba789d53a29f7e3fb81ac181bbdf31d0bbc19699fbb5a1753a84a099fbb56339213ece93c4\
     15a199fbb5212efa41a3232a0f0f897c25276ee0c623ed7abda57560c147efe144c272985dc568072059f12b0f0f23d5f000\
     937908b2022b42fb2e300c40cc94326d71c711b20279f74d0090a4a1b1fc9e165620f2a4b5af0d17a7fca4a14e038081e58d\
     0382e588823881486f3b69";

#[test]
fn messages_of_python_websockets() {
    let seen = inflate_every_way(Role::Server, &ROOMY, &recorded(FROM_PYTHON_WEBSOCKETS));
    let expected = vec![
        hello(),
        hello(),
        saw_text(r#"{"id":1,"connect":{"token":"abc","name":"python"}}"#),
        saw_text(&"κόσμε ".repeat(30)),
        Seen::Binary([0, 1].repeat(200)),
        saw_text(""),
        saw_text(&"x".repeat(5000)),
        saw_text(r#"{"publish":{"channel":"news","data":"κόσμε κόσμε"}}"#),
        normal_close(),
    ];
    assert_eq!(seen, (expected, Ok(())));
}

/// The npm package `ws` 8.23, told to compress whatever it sends.
const FROM_NODE_WS: &str = "c1873c64fa65ce2c37acf563fac187e6dd9481149559482fda94c1afba7362bebeb253acba636ebe7bcc3e136b9555fab0ff\
     4a1a898d0c496868f0ad00ae2fbd03b7fc58b2d648b795b872785bce6dc1931272407828c5ab04dd8ba60b69bc2d2d2a458a\
     dc967b40c181a8ff3675a8c2867e52efe41c368d827f5288827b59e87978b1";

/// The same, a message in two fragments and a ping between them.
const FRAGMENTS_FROM_NODE_WS: &str = "4199c34a6b9b896121d70c07a6b08a073a538e6745d58f05be9ac34a6b643c89810539e644758086dee6a9708cae6a60dde6\
     888259fbf95a5a13";

#[test]
fn messages_of_node_ws() {
    let seen = inflate_every_way(Role::Server, &ROOMY, &recorded(FROM_NODE_WS));
    let expected = vec![
        hello(),
        hello(),
        saw_text(r#"{"id":1,"connect":{"token":"abc","name":"js"}}"#),
        saw_text(&"κόσμε ".repeat(30)),
        saw_text(""),
        Seen::Binary(vec![1, 2, 3, 4]),
        normal_close(),
    ];
    assert_eq!(seen, (expected, Ok(())));

    let seen = inflate_every_way(Role::Server, &ROOMY, &recorded(FRAGMENTS_FROM_NODE_WS));
    let expected = vec![
        Seen::Ping(b"p".to_vec()),
        saw_text("fragmented message, fragmented message"),
        normal_close(),
    ];
    assert_eq!(seen, (expected, Ok(())));
}

#[test]
fn a_server_that_does_not_compress_is_understood_all_the_same() {
    let mut plain = Vec::new();
    write_frame(&mut plain, Opcode::Text, b"Hello");
    assert_eq!(client_sees(&plain), (vec![hello()], Ok(())));
}
