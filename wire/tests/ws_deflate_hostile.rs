//! Compressed messages that are meant to hurt: bombs, streams that are cut off or go on, work without output.

// Megabytes take too long to interpret; `rfc7692.rs` shows Miri the paths.
#![cfg(not(miri))]
#![allow(clippy::unwrap_used)]

mod ws_support;

use fanfare_wire::ws::{Decoder, Error, Inflater, Limits, Role};
use ws_support::*;
use zlib_rs::{Deflate, DeflateFlush};

const LIMITS: Limits = Limits {
    message_bytes_max: 65_536,
    fragments_max: 128,
};

const TOO_BIG: Error = Error::MessageTooBig { max_bytes: 65_536 };

fn serve_limited(frames: &[TestFrame]) -> Outcome {
    inflate(Role::Server, &LIMITS, [stream(frames).as_slice()])
}

fn end_of(payload: &[u8]) -> Result<(), Error> {
    let one = serve_limited(&[binary(payload).deflated()]);
    let (head, tail) = payload.split_at(payload.len() / 2);
    let two = serve_limited(&[binary(head).more().deflated(), continuation(tail)]);
    assert_eq!(one, two);
    one.1
}

/// As a flush leaves it, its last four bytes included, so that more may follow.
fn flushed(plain: &[u8]) -> Vec<u8> {
    let mut out = vec![0; plain.len() + 64];
    let mut deflate = Deflate::new(9, false, 15);
    deflate
        .compress(plain, &mut out, DeflateFlush::SyncFlush)
        .unwrap();
    assert_eq!(deflate.total_in(), plain.len() as u64);
    out.truncate(usize::try_from(deflate.total_out()).unwrap());
    out
}

fn deflated(plain: &[u8]) -> Vec<u8> {
    let mut out = flushed(plain);
    out.truncate(out.len() - 4);
    out
}

/// Bits as DEFLATE packs them: the lowest of a byte first (RFC 1951 section 3.1.1).
#[derive(Default)]
struct Bits {
    bytes: Vec<u8>,
    count: usize,
}

impl Bits {
    fn put(&mut self, value: u32, bits: u32) -> &mut Self {
        for bit in 0..bits {
            if self.count.is_multiple_of(8) {
                self.bytes.push(0);
            }
            let is_set = value >> bit & 1 != 0;
            *self.bytes.last_mut().unwrap() |= u8::from(is_set) << (self.count % 8);
            self.count += 1;
        }
        self
    }
}

#[test]
fn the_limit_is_on_what_a_message_inflates_to() {
    let seen = serve_limited(&[binary(deflated(&[7; 65_536])).deflated()]);
    assert_eq!(seen, (vec![Seen::Binary(vec![7; 65_536])], Ok(())));
    assert_eq!(end_of(&deflated(&[7; 65_537])), Err(TOO_BIG));
    assert_eq!(TOO_BIG.close_code(), 1009);

    let none = Limits {
        message_bytes_max: 1,
        fragments_max: 2,
    };
    let empty = inflate(Role::Server, &none, [&binary([0]).deflated().bytes()[..]]);
    assert_eq!(empty, (vec![Seen::Binary(Vec::new())], Ok(())));
}

#[test]
fn the_limit_is_on_what_is_received_too() {
    let mut header = binary(vec![0; 65_537]).deflated().bytes();
    header.truncate(14);
    let seen = inflate_every_way(Role::Server, &LIMITS, &header);
    assert_eq!(seen, (Vec::new(), Err(TOO_BIG)));
    let half = || vec![0; 40_000];
    let fragments = [binary(half()).more().deflated(), continuation(half())];
    assert_eq!(serve_limited(&fragments).1, Err(TOO_BIG));
}

#[test]
fn bombs_are_refused() {
    // 1 KB for 1 MB: as much as DEFLATE can do.
    let bomb = deflated(&vec![0; 1 << 20]);
    assert!(bomb.len() < 1100, "{}", bomb.len());
    assert_eq!(end_of(&bomb), Err(TOO_BIG));

    // 1 MB for 1 GB, in a window of zeros or each block on its own.
    let megabyte = flushed(&vec![0; 1 << 20]);
    let bomb = [megabyte.repeat(1023), deflated(&vec![0; 1 << 20])].concat();
    let generous = Limits {
        message_bytes_max: 2 << 20,
        fragments_max: 2,
    };
    assert!(bomb.len() < 2 << 20, "{}", bomb.len());
    let seen = inflate(
        Role::Server,
        &generous,
        [&binary(bomb).deflated().bytes()[..]],
    );
    let too_big = Error::MessageTooBig { max_bytes: 2 << 20 };
    assert_eq!(seen, (Vec::new(), Err(too_big)));
}

#[test]
fn an_inflater_serves_on_after_what_it_refused() {
    let mut inflater = Inflater::new();
    let hello = text(deflated(b"Hello")).deflated().bytes();
    let bomb = text(deflated(&[b'x'; 70_000])).deflated().bytes();
    let noise = text([0xFF; 100]).deflated().bytes();
    let cut = text(&deflated(&[b'x'; 1000])[..5]).deflated().bytes();
    for (mut wrong, error) in [
        (bomb, TOO_BIG),
        (noise, Error::InvalidDeflate),
        (cut, Error::InvalidDeflate),
    ] {
        let mut decoder = Decoder::with_deflate(Role::Server);
        let refused = decoder.next_inflating(&mut wrong, &LIMITS, &mut inflater);
        assert_eq!(refused, Err(error));
        assert_eq!(decoder.heap_bytes(), 0);

        let mut decoder = Decoder::with_deflate(Role::Server);
        let mut hello = hello.clone();
        let (_, event) = decoder
            .next_inflating(&mut hello, &LIMITS, &mut inflater)
            .unwrap();
        assert_eq!(event.map(Seen::from), Some(Seen::Text("Hello".to_owned())));
    }
}

#[test]
fn a_stream_that_is_cut_off_is_refused_wherever_it_is_cut() {
    let json = br#"{"push":{"channel":"news","pub":{"data":{"n":1,"of":[1,1,1,1,1,1]}}}}"#;
    let stored = [&[0, 5, 0, 0xFA, 0xFF][..], b"Hello", &[0]].concat();
    for payload in [
        deflated(json),
        deflated(&json.repeat(50)),
        deflated(&(0..=255).collect::<Vec<u8>>()),
        stored,
    ] {
        assert_eq!(end_of(&payload), Ok(()));
        for cut in 0..payload.len() {
            let outcome = end_of(&payload[..cut]);
            if payload[..cut] == [0] {
                assert_eq!(
                    outcome,
                    Ok(()),
                    "this much of a stored block is an empty message"
                );
                continue;
            }
            let expected = Err(Error::InvalidDeflate);
            assert_eq!(outcome, expected, "{cut} bytes of {payload:02x?}");
        }
    }
    assert_eq!(Error::InvalidDeflate.close_code(), 1007);
}

#[test]
fn what_follows_the_end_is_refused() {
    let hello = deflated(b"Hello");
    let last = b"\xf3\x48\xcd\xc9\xc9\x07\x00".to_vec();
    for after in [
        &b"\x00"[..],
        b"\x00\x00",
        b"\xde\xad\xbe\xef",
        b"\x00\x00\xff\xff",
        b"\xff",
        b"Hello",
    ] {
        let unmarked = [&hello, after].concat();
        assert_eq!(
            end_of(&unmarked),
            Err(Error::InvalidDeflate),
            "{after:02x?}"
        );
    }
    // Behind a block marked as the last there is the one empty block of which the message holds a byte.
    assert_eq!(end_of(&last), Err(Error::InvalidDeflate));
    assert_eq!(end_of(&[&last[..], b"\x00"].concat()), Ok(()));
    for after in [&b"\x00\x00"[..], b"\xde\xad\xbe\xef", b"\xff", b"Hello"] {
        let marked = [&last, after].concat();
        assert_eq!(end_of(&marked), Err(Error::InvalidDeflate), "{after:02x?}");
    }
}

#[test]
fn streams_that_are_wrong_in_themselves_are_refused() {
    for payload in [
        &b"\x06\x00"[..],                                        // block type 3
        b"\x00\x05\x00\xfa\xfeHello\x00", // a length and its complement that differ
        b"\xf2\x00\x11\x00\x00",          // reaches back before the message
        b"\x04\xff\xff\xff\xff\xff\xff\xff", // codes that are none
        b"\x78\x9c\xf3\x48\xcd\xc9\xc9\x07\x00\x05\x8c\x01\xf5", // with the header of zlib
        b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\xf3\x48\xcd\xc9\xc9\x07\x00", // of gzip
    ] {
        assert_eq!(
            end_of(payload),
            Err(Error::InvalidDeflate),
            "{payload:02x?}"
        );
    }
}

#[test]
fn blocks_without_output_end_with_the_message() {
    // 10 bits each, with the codes of the standard: 52,000 of them.
    let mut fixed = Bits::default();
    while fixed.count < 65_000 * 8 {
        fixed.put(0b010, 3).put(0, 7);
    }
    // The block of which a message holds the beginning.
    fixed.put(0, 3);
    assert_eq!(end_of(&fixed.bytes), Ok(()));

    // 65,535 bytes of empty stored blocks, and of streams that end at once.
    let stored = [b"\x00\x00\x00\xff\xff".repeat(13_106), vec![0]].concat();
    assert_eq!(end_of(&stored), Ok(()));
    let ended = [b"\x03\x00".repeat(32_760), vec![0]].concat();
    assert_eq!(end_of(&ended), Ok(()));

    // Codes of their own for each, of which none is used but the end: the most work there is.
    let mut own = Bits::default();
    while own.count < 65_000 * 8 {
        put_empty_block_with_codes_of_its_own(&mut own);
    }
    own.put(0, 3);
    assert_eq!(end_of(&own.bytes), Ok(()));
}

/// RFC 1951 section 3.2.7: code lengths 18, 1 and 0 are used, for a code with the end of block alone and one distance.
fn put_empty_block_with_codes_of_its_own(bits: &mut Bits) {
    bits.put(0, 1).put(2, 2).put(0, 5).put(0, 5).put(14, 4);
    for symbol in [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1] {
        let length = match symbol {
            18 => 1,
            0 | 1 => 2,
            _ => 0,
        };
        bits.put(length, 3);
    }
    // 256 literals without a code, then the end of block and a distance with one of a bit each.
    bits.put(0, 1).put(138 - 11, 7);
    bits.put(0, 1).put(118 - 11, 7);
    bits.put(0b11, 2).put(0b11, 2);
    bits.put(0, 1);
}

#[test]
fn empty_fragments_are_counted_in_compressed_messages() {
    let hello = deflated(b"Hello");
    let fragments = |count| {
        let mut frames = vec![text("").more().deflated()];
        frames.extend((0..count).map(|_| continuation("").more()));
        frames.push(continuation(&hello));
        frames
    };
    let expected = (vec![Seen::Text("Hello".to_owned())], Ok(()));
    assert_eq!(serve_limited(&fragments(126)), expected);
    let too_many = Error::TooManyFragments { max: 128 };
    assert_eq!(serve_limited(&fragments(127)).1, Err(too_many));
    assert_eq!(serve_limited(&fragments(65_536)).1, Err(too_many));
    let all = stream(&fragments(65_536));
    assert_eq!(inflate(Role::Server, &ROOMY, [&all[..]]), expected);
}

#[test]
fn text_that_is_not_utf_8_is_refused_before_it_is_lent() {
    let invalid = deflated(&[&[b'a'; 5000][..], b"\xed\xa0\x80"].concat());
    let seen = serve_limited(&[text(&invalid).deflated()]);
    assert_eq!(seen, (Vec::new(), Err(Error::InvalidUtf8)));
    let cut_character = deflated("aé".as_bytes().split_last().unwrap().1);
    let seen = serve_limited(&[text(&cut_character).deflated()]);
    assert_eq!(seen, (Vec::new(), Err(Error::InvalidUtf8)));
}
