//! RFC 6455 by the case list of the Autobahn testsuite, sections 1-7, 9 and 10, each case in three ways of cutting the input.
//!
//! Sections 12 and 13 are about permessage-deflate: `rfc7692.rs` and `ws_deflate_negotiation.rs`.

#![allow(clippy::unwrap_used)]

mod ws_support;

use fanfare_wire::ws::{Error, Limits, Role};
use ws_support::*;

fn accepts(frames: &[TestFrame], expected: &[Seen]) {
    assert_eq!(serve(frames), (expected.to_vec(), Ok(())));
}

fn refuses(frames: &[TestFrame], before: &[Seen], error: Error) {
    assert_eq!(serve(frames), (before.to_vec(), Err(error)));
}

fn saw_text(text: &str) -> Seen {
    Seen::Text(text.to_owned())
}

// -- 1: framing ----------------------------------------------------------------------------------------------------

#[test]
fn section_1_payloads_of_every_length_form() {
    let long = if cfg!(miri) { 300 } else { 65_535 };
    for size in [0, 1, 125, 126, 127, 128, long, long + 1] {
        accepts(&[text("*".repeat(size))], &[saw_text(&"*".repeat(size))]);
        let bytes = vec![0xFE; size];
        accepts(&[binary(&bytes)], &[Seen::Binary(bytes)]);
    }
}

// -- 2: pings and pongs --------------------------------------------------------------------------------------------

#[test]
fn section_2_pings_carry_up_to_125_bytes() {
    let full = [0xFE; 125];
    for payload in [
        &b""[..],
        b"Hello, world!",
        b"\x00\xFF\xFE\xFD\xFC\xFB\x00\xFF",
        &full,
    ] {
        accepts(&[ping(payload)], &[Seen::Ping(payload.to_vec())]);
    }
    refuses(&[ping([0xFE; 126])], &[], Error::ControlTooLong);
}

#[test]
fn section_2_unsolicited_pongs_and_many_pings() {
    accepts(
        &[pong(b""), pong(b"unsolicited"), ping(b"payload")],
        &[
            Seen::Pong(Vec::new()),
            Seen::Pong(b"unsolicited".to_vec()),
            Seen::Ping(b"payload".to_vec()),
        ],
    );
    let (frames, seen): (Vec<_>, Vec<_>) = (0..10)
        .map(|i| format!("payload-{i}"))
        .map(|payload| (ping(&payload), Seen::Ping(payload.into_bytes())))
        .unzip();
    accepts(&frames, &seen);
}

// -- 3 and 4: reserved bits and opcodes ------------------------------------------------------------------------------

#[test]
fn section_3_reserved_bits() {
    for bits in 1..=7 {
        let hello = || text("Hello");
        let before = [saw_text("Hello")];
        refuses(
            &[hello(), hello().rsv(bits), ping(b"")],
            &before,
            Error::ReservedBits,
        );
        refuses(
            &[hello(), ping(b"").rsv(bits)],
            &before,
            Error::ReservedBits,
        );
        refuses(&[close(1000, b"").rsv(bits)], &[], Error::ReservedBits);
    }
}

#[test]
fn section_4_reserved_opcodes() {
    for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
        let error = Error::ReservedOpcode(opcode);
        refuses(&[frame(opcode, b"")], &[], error);
        refuses(
            &[text("Hello"), frame(opcode, b"reserved"), ping(b"")],
            &[saw_text("Hello")],
            error,
        );
        assert_eq!(error.close_code(), 1002);
    }
}

// -- 5: fragmentation ------------------------------------------------------------------------------------------------

#[test]
fn section_5_control_frames_cannot_be_fragmented() {
    refuses(
        &[ping(b"frag").more(), continuation(b"ment")],
        &[],
        Error::ControlFragmented,
    );
    refuses(
        &[pong(b"frag").more(), continuation(b"ment")],
        &[],
        Error::ControlFragmented,
    );
}

#[test]
fn section_5_two_fragments_with_and_without_a_ping_between() {
    let whole = saw_text("fragment1fragment2");
    accepts(
        &[text("fragment1").more(), continuation("fragment2")],
        std::slice::from_ref(&whole),
    );
    accepts(
        &[
            text("fragment1").more(),
            ping(b"between"),
            continuation("fragment2"),
        ],
        &[Seen::Ping(b"between".to_vec()), whole],
    );
}

#[test]
fn section_5_nothing_to_continue() {
    for fin in [true, false] {
        let mut stray = continuation("non-continuation payload");
        stray.fin = fin;
        refuses(
            &[stray, text("Hello, world!")],
            &[],
            Error::NothingToContinue,
        );
    }
    refuses(
        &[
            text("a").more(),
            continuation("b"),
            continuation("c").more(),
            text("d"),
        ],
        &[saw_text("ab")],
        Error::NothingToContinue,
    );
}

#[test]
fn section_5_new_message_inside_a_fragmented_one() {
    for second in [
        text("fragment2"),
        binary("fragment2"),
        text("fragment2").more(),
    ] {
        refuses(
            &[text("fragment1").more(), second],
            &[],
            Error::MessageUnfinished,
        );
    }
}

#[test]
fn section_5_five_fragments_two_pings() {
    accepts(
        &[
            text("fragment1").more(),
            continuation("fragment2").more(),
            ping(b"pongme 1!"),
            continuation("fragment3").more(),
            continuation("fragment4").more(),
            ping(b"pongme 2!"),
            continuation("fragment5"),
        ],
        &[
            Seen::Ping(b"pongme 1!".to_vec()),
            Seen::Ping(b"pongme 2!".to_vec()),
            saw_text("fragment1fragment2fragment3fragment4fragment5"),
        ],
    );
}

#[test]
fn close_between_fragments_ends_everything() {
    accepts(
        &[
            text("fragment1").more(),
            close(1000, "enough"),
            continuation("fragment2"),
        ],
        &[Seen::Close(Some((1000, "enough".to_owned())))],
    );
}

// -- 6: UTF-8 ----------------------------------------------------------------------------------------------------------

const GREEK: &str = "Hello-µ@ßöäüàá-UTF-8!!";

#[test]
fn section_6_1_zero_length_text() {
    accepts(&[text("")], &[saw_text("")]);
    accepts(
        &[text("").more(), continuation("").more(), continuation("")],
        &[saw_text("")],
    );
    accepts(
        &[
            text("").more(),
            continuation("middle frame payload").more(),
            continuation(""),
        ],
        &[saw_text("middle frame payload")],
    );
}

#[test]
fn section_6_2_characters_cut_by_fragments() {
    for size in 1..GREEK.len() {
        accepts(&fragments(1, GREEK.as_bytes(), size), &[saw_text(GREEK)]);
    }
}

#[test]
fn section_6_3_invalid_text_whole_and_by_the_byte() {
    let invalid = b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited";
    refuses(&[text(invalid)], &[], Error::InvalidUtf8);
    refuses(&fragments(1, invalid, 1), &[], Error::InvalidUtf8);
    assert_eq!(Error::InvalidUtf8.close_code(), 1007);
}

#[test]
fn section_6_4_fails_at_the_first_impossible_byte() {
    // 6.4.1 and 6.4.2: in fragments, the error comes before the message ends.
    let start = b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5";
    refuses(
        &[text(start).more(), continuation(b"\xf4\x90\x80\x80").more()],
        &[],
        Error::InvalidUtf8,
    );
    refuses(
        &[
            text([start, &b"\xf4"[..]].concat()).more(),
            continuation(b"\x90").more(),
        ],
        &[],
        Error::InvalidUtf8,
    );
    // 6.4.3 and 6.4.4: inside one frame of which the rest has not come.
    let payload = [start, &b"\xf4\x90\x80\x80edited"[..]].concat();
    let bytes = text(&payload).bytes();
    let header_bytes = bytes.len() - payload.len();
    let valid = header_bytes + start.len() + 1;
    let so_far = decode_every_way(Role::Server, &ROOMY, &bytes[..valid]);
    assert_eq!(so_far, (Vec::new(), Ok(())));
    let too_far = decode_every_way(Role::Server, &ROOMY, &bytes[..=valid]);
    assert_eq!(too_far, (Vec::new(), Err(Error::InvalidUtf8)));
}

#[test]
fn sections_6_5_to_6_23_sequences() {
    let valid: [&[u8]; 16] = [
        b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5",
        b"\x00",
        b"\x7f",
        b"\xc2\x80",
        b"\xdf\xbf",
        b"\xe0\xa0\x80",
        b"\xef\xbf\xbf",
        b"\xf0\x90\x80\x80",
        b"\xf4\x8f\xbf\xbf",
        b"\xed\x9f\xbf",
        b"\xee\x80\x80",
        b"\xef\xbf\xbd",
        b"\xef\xbf\xbe",
        b"\xf0\x9f\xbf\xbf",
        b"\xf3\xbf\xbf\xbe",
        b"\xf0\xaf\xbf\xbf",
    ];
    for bytes in valid {
        let expected = saw_text(str::from_utf8(bytes).unwrap());
        accepts(&[text(bytes)], std::slice::from_ref(&expected));
        accepts(&fragments(1, bytes, 1), &[expected]);
    }
    let invalid: [&[u8]; 36] = [
        b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce",
        b"\xf8\x88\x80\x80\x80",
        b"\xfc\x84\x80\x80\x80\x80",
        b"\xf7\xbf\xbf\xbf",
        b"\xfb\xbf\xbf\xbf\xbf",
        b"\xfd\xbf\xbf\xbf\xbf\xbf",
        b"\xf4\x90\x80\x80",
        b"\x80",
        b"\xbf",
        b"\x80\xbf",
        b"\x80\xbf\x80",
        b"\x80\xbf\x80\xbf\x80\xbf",
        b"\xc0 \xc1 \xc2 ",
        b"\xe0 \xe1 ",
        b"\xf0 \xf1 ",
        b"\xc0",
        b"\xe0\x80",
        b"\xf0\x80\x80",
        b"\xdf",
        b"\xef\xbf",
        b"\xf7\xbf\xbf",
        b"\xfe",
        b"\xff",
        b"\xfe\xfe\xff\xff",
        b"\xc0\xaf",
        b"\xe0\x80\xaf",
        b"\xf0\x80\x80\xaf",
        b"\xc1\xbf",
        b"\xe0\x9f\xbf",
        b"\xf0\x8f\xbf\xbf",
        b"\xc0\x80",
        b"\xe0\x80\x80",
        b"\xed\xa0\x80",
        b"\xed\xad\xbf",
        b"\xed\xa0\x80\xed\xb0\x80",
        b"\xed\xaf\xbf\xed\xbf\xbf",
    ];
    for bytes in invalid {
        refuses(&[text(bytes)], &[], Error::InvalidUtf8);
        refuses(&fragments(1, bytes, 1), &[], Error::InvalidUtf8);
        let padded = [&[b'a'; 64][..], bytes].concat();
        refuses(&[text(padded)], &[], Error::InvalidUtf8);
    }
}

#[test]
fn binary_messages_are_not_text() {
    let bytes = b"\xff\xfe\x80".to_vec();
    accepts(&fragments(2, &bytes, 1), &[Seen::Binary(bytes)]);
}

// -- 7: closing --------------------------------------------------------------------------------------------------------

#[test]
fn section_7_1_nothing_is_read_after_close() {
    let closed = Seen::Close(Some((1000, String::new())));
    let hello = saw_text("Hello");
    for after in [
        text("more"),
        ping(b""),
        close(1000, b""),
        frame(15, b"").rsv(7),
    ] {
        accepts(
            &[text("Hello"), close(1000, b""), after],
            &[hello.clone(), closed.clone()],
        );
    }
}

#[test]
fn section_7_3_payload_lengths() {
    accepts(&[frame(8, b"")], &[Seen::Close(None)]);
    refuses(&[frame(8, b"a")], &[], Error::CloseTruncated);
    for reason in ["", "Hello World!", &"*".repeat(123)] {
        accepts(
            &[close(1000, reason)],
            &[Seen::Close(Some((1000, reason.to_owned())))],
        );
    }
    refuses(&[close(1000, [b'*'; 124])], &[], Error::ControlTooLong);
}

#[test]
fn section_7_5_reason_is_utf8() {
    let reason = b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited";
    refuses(&[close(1000, reason)], &[], Error::InvalidUtf8);
}

#[test]
fn sections_7_7_and_7_9_codes() {
    let valid = [
        1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000,
        4999,
    ];
    for code in valid {
        accepts(
            &[close(code, "")],
            &[Seen::Close(Some((code, String::new())))],
        );
    }
    let invalid = [
        0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535,
    ];
    for code in invalid {
        refuses(&[close(code, "")], &[], Error::CloseCode(code));
        refuses(&[close(code, "reason")], &[], Error::CloseCode(code));
    }
}

// -- 9 and 10: large messages ------------------------------------------------------------------------------------------

#[test]
fn section_9_large_messages_whole_fragmented_and_chopped() {
    if cfg!(miri) {
        return; // megabytes take too long to interpret
    }
    let unit = "κόσμε-0123456789";
    let big_text = unit.repeat((4 << 20) / unit.len());
    let expected = (vec![saw_text(&big_text)], Ok(()));
    let as_text = text(&big_text).bytes();
    for pieces in [64, 1460, 65_536, as_text.len()] {
        let got = decode(Role::Server, &ROOMY, as_text.chunks(pieces));
        assert!(got == expected, "pieces of {pieces}");
    }
    for size in [64, 1024, 65_536, 1 << 20] {
        let bytes = stream(&fragments(1, big_text.as_bytes(), size));
        let got = decode(Role::Server, &ROOMY, bytes.chunks(4096));
        assert!(got == expected, "fragments of {size}");
    }
    let big_binary = vec![0xFE; 16 << 20];
    let bytes = binary(&big_binary).bytes();
    let got = decode(Role::Server, &ROOMY, bytes.chunks(16_384));
    assert!(got == (vec![Seen::Binary(big_binary)], Ok(())));
}

#[test]
fn section_10_one_message_in_frames_of_1300_bytes() {
    let size = if cfg!(miri) { 4_000 } else { 65_536 };
    let message = "*".repeat(size);
    accepts(
        &fragments(1, message.as_bytes(), 1300),
        &[saw_text(&message)],
    );
}

// -- masking and lengths, which Autobahn leaves out ----------------------------------------------------------------------

#[test]
fn each_side_insists_on_the_masking_it_must_see() {
    let mut unmasked = text("Hello");
    unmasked.mask = None;
    refuses(
        &[text("Hello"), unmasked.clone()],
        &[saw_text("Hello")],
        Error::Unmasked,
    );

    let client = |frame: &TestFrame| decode_every_way(Role::Client, &ROOMY, &frame.bytes());
    assert_eq!(client(&unmasked), (vec![saw_text("Hello")], Ok(())));
    assert_eq!(client(&text("Hello")), (Vec::new(), Err(Error::Masked)));
}

#[test]
fn lengths_in_a_longer_form_than_needed() {
    let streams: [&[u8]; 4] = [
        b"\x82\xFE\x00\x00\x00\x00\x00\x00",
        b"\x82\xFE\x00\x7D\x00\x00\x00\x00",
        b"\x82\xFF\x00\x00\x00\x00\x00\x00\x00\x7E\x00\x00\x00\x00",
        b"\x82\xFF\x00\x00\x00\x00\x00\x00\xFF\xFF\x00\x00\x00\x00",
    ];
    for bytes in streams {
        let outcome = decode_every_way(Role::Server, &ROOMY, bytes);
        assert_eq!(outcome, (Vec::new(), Err(Error::LengthNotMinimal)));
    }
    let top_bit = b"\x82\xFF\x80\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00";
    let outcome = decode_every_way(Role::Server, &ROOMY, top_bit);
    assert_eq!(outcome, (Vec::new(), Err(Error::LengthTopBit)));
}

// -- limits --------------------------------------------------------------------------------------------------------------

const TIGHT: Limits = Limits {
    message_bytes_max: 10,
    fragments_max: 3,
};

fn serve_tightly(frames: &[TestFrame]) -> Outcome {
    decode_every_way(Role::Server, &TIGHT, &stream(frames))
}

#[test]
fn declared_length_is_refused_before_the_payload_comes() {
    let too_big = Error::MessageTooBig { max_bytes: 10 };
    assert_eq!(too_big.close_code(), 1009);
    assert_eq!(serve_tightly(&[binary([0; 10])]).1, Ok(()));
    assert_eq!(
        serve_tightly(&[binary([0; 11])]),
        (Vec::new(), Err(too_big))
    );

    let header_only = &binary([0; 11]).bytes()[..6];
    let outcome = decode_every_way(Role::Server, &TIGHT, header_only);
    assert_eq!(outcome, (Vec::new(), Err(too_big)));
    let largest = b"\x82\xFF\x7F\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x00\x00\x00\x00\x00";
    let outcome = decode_every_way(Role::Server, &TIGHT, largest);
    assert_eq!(outcome, (Vec::new(), Err(too_big)));
}

#[test]
fn fragments_count_together() {
    let too_big = Error::MessageTooBig { max_bytes: 10 };
    let six = || binary([1; 6]).more();
    assert_eq!(serve_tightly(&[six(), continuation([2; 4])]).1, Ok(()));
    assert_eq!(
        serve_tightly(&[six(), continuation([2; 5])]).1,
        Err(too_big)
    );
    // Control frames are not part of the message.
    let (seen, end) = serve_tightly(&[six(), ping([3; 100]), continuation([2; 4])]);
    assert_eq!((seen.len(), end), (2, Ok(())));
}

#[test]
fn empty_fragments_are_counted() {
    let too_many = Error::TooManyFragments { max: 3 };
    assert_eq!(too_many.close_code(), 1008);
    let empty = || continuation(b"").more();
    let last = || continuation(b"");
    let first = || text(b"").more();
    assert_eq!(serve_tightly(&[first(), empty(), last()]).1, Ok(()));
    assert_eq!(
        serve_tightly(&[first(), empty(), empty(), last()]).1,
        Err(too_many)
    );
    // The count is per message.
    let twice = [first(), empty(), last(), first(), empty(), last()];
    assert_eq!(serve_tightly(&twice).0.len(), 2);
}

#[test]
fn fragmentation_can_be_refused_altogether() {
    for fragments_max in [0, 1] {
        let limits = Limits {
            message_bytes_max: 100,
            fragments_max,
        };
        let error = Error::TooManyFragments { max: fragments_max };
        let fragmented = stream(&[text("a").more(), continuation("b")]);
        let outcome = decode_every_way(Role::Server, &limits, &fragmented);
        assert_eq!(outcome, (Vec::new(), Err(error)));
        let whole = decode_every_way(Role::Server, &limits, &text("ab").bytes());
        assert_eq!(whole, (vec![saw_text("ab")], Ok(())));
    }
}
