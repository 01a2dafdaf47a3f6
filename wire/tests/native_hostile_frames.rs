//! Frames that a hostile peer lays out by hand, each against one rule of the archive.

use fanfare_wire::centrifuge::codes::DisconnectCode;
use fanfare_wire::native::{self, ClientFrame, Error, Publish, decode_client, decode_server};

const MAX: u32 = 1 << 16;

/// A publish to `room` (given by its eight bytes) with a pointer to its data, behind `body`.
fn publish(body: &[u8], room: [u8; 8], data_pointer: i32, data_bytes: u32) -> Vec<u8> {
    let mut archive = body.to_vec();
    archive.extend_from_slice(&1_u32.to_le_bytes());
    archive.extend_from_slice(&room);
    archive.extend_from_slice(&data_pointer.to_le_bytes());
    archive.extend_from_slice(&data_bytes.to_le_bytes());
    frame(4, &archive)
}

fn frame(kind: u8, archive: &[u8]) -> Vec<u8> {
    let length = u32::try_from(archive.len()).expect("a test's archive is short");
    [&length.to_le_bytes()[..], &[native::VERSION, kind], archive].concat()
}

const ROOM: [u8; 8] = *b"news\xff\xff\xff\xff";

#[test]
fn the_hand_laid_frame_is_one() {
    let frame = publish(b"data", ROOM, -16, 4);
    let expected = ClientFrame::Publish(Publish {
        request: 1,
        room: "news",
        data: b"data",
    });
    assert_eq!(
        decode_client(&frame, MAX),
        Ok(Some((expected, frame.len())))
    );
}

#[test]
fn pointers_stay_inside_the_archive() {
    let outside = [
        (-17, 4),
        (-16, 17),
        (-16, u32::MAX),
        (0, 1 << 31),
        (8, 1),
        (1000, 1),
        (-1000, 1),
        (i32::MIN, 1),
        (i32::MAX, 1),
        (i32::MIN, u32::MAX),
        (-16, 24),
    ];
    for (pointer, bytes) in outside {
        let frame = publish(b"data", ROOM, pointer, bytes);
        assert_eq!(
            decode_client(&frame, MAX),
            Err(Error::Archive(4)),
            "pointer {pointer}, {bytes} bytes"
        );
    }
}

#[test]
fn data_may_not_lie_over_the_root() {
    for pointer in -11..4 {
        let frame = publish(b"data", ROOM, pointer, 4);
        assert_eq!(
            decode_client(&frame, MAX),
            Err(Error::Archive(4)),
            "pointer {pointer}"
        );
    }
}

#[test]
fn text_is_utf8() {
    let in_place = publish(b"data", *b"n\xc3\xffws\xff\xff\xff", -16, 4);
    assert_eq!(decode_client(&in_place, MAX), Err(Error::Archive(4)));

    // Nine bytes, so behind a pointer: request (4), then the length with its mark and the pointer.
    let mut archive = b"news \xc3( xx".to_vec();
    assert_eq!(archive.len(), 10);
    archive.extend_from_slice(&1_u32.to_le_bytes());
    archive.extend_from_slice(&[0x80 | 9, 0, 0, 0]);
    archive.extend_from_slice(&(-14_i32).to_le_bytes());
    assert_eq!(
        decode_client(&frame(3, &archive), MAX),
        Err(Error::Archive(3))
    );
}

#[test]
fn text_lengths_stay_inside_the_archive() {
    for length in [
        [0xBF, 0xFF, 0xFF, 0xFF],
        [0x80 | 15, 0, 0, 0],
        [0x80, 1, 0, 0],
        [0xBF, 0, 0, 0x80],
    ] {
        let mut archive = b"0123456789".to_vec();
        archive.extend_from_slice(&1_u32.to_le_bytes());
        archive.extend_from_slice(&length);
        archive.extend_from_slice(&(-14_i32).to_le_bytes());
        assert_eq!(
            decode_client(&frame(3, &archive), MAX),
            Err(Error::Archive(3)),
            "{length:?}"
        );
    }
}

#[test]
fn flags_are_0_or_1() {
    let mut out = Vec::new();
    let message = native::Subscribe {
        request: 1,
        room: "news",
        token: "",
        recover: true,
        epoch: 0,
        offset: 0,
    };
    native::write_subscribe(&mut out, &message);
    let recover_at = out.len() - 17;
    assert_eq!(out[recover_at], 1);
    for value in 2..=u8::MAX {
        out[recover_at] = value;
        assert_eq!(decode_client(&out, MAX), Err(Error::Archive(2)));
    }
}

#[test]
fn an_archive_is_at_least_its_root() {
    for kind in [1, 2, 3, 4] {
        assert_eq!(
            decode_client(&frame(kind, b"short"), MAX),
            Err(Error::Archive(kind))
        );
        assert_eq!(
            decode_client(&frame(kind, b""), MAX),
            Err(Error::Archive(kind))
        );
    }
    for kind in [0x81, 0x82, 0x83, 0x84, 0x87, 0x88, 0x89, 0x8A, 0x8B] {
        assert_eq!(
            decode_server(&frame(kind, b"short"), MAX),
            Err(Error::Archive(kind))
        );
        assert_eq!(
            decode_server(&frame(kind, b""), MAX),
            Err(Error::Archive(kind))
        );
    }
}

#[test]
fn pings_and_pongs_carry_nothing() {
    for kind in [5, 6] {
        assert_eq!(
            decode_client(&frame(kind, b"\0"), MAX),
            Err(Error::Archive(kind))
        );
        assert_eq!(
            decode_server(&frame(0x80 | kind, b"\0"), MAX),
            Err(Error::Archive(0x80 | kind))
        );
    }
}

#[test]
fn an_error_needs_the_header_only() {
    assert_eq!(decode_client(&[0, 0, 0, 0, 1], MAX), Ok(None));
    assert_eq!(
        decode_client(&[9, 0, 0, 0, 2, 1], MAX),
        Err(Error::Version(2))
    );
    assert_eq!(decode_client(&[9, 0, 0, 0, 1, 0], MAX), Err(Error::Kind(0)));
    assert_eq!(decode_client(&[9, 0, 0, 0, 1, 7], MAX), Err(Error::Kind(7)));
    let too_large = Error::TooLarge {
        archive_bytes: MAX + 1,
        archive_bytes_max: MAX,
    };
    assert_eq!(decode_client(&[1, 0, 1, 0, 1, 1], MAX), Err(too_large));
    assert_eq!(decode_client(&[0, 0, 1, 0, 1, 1], MAX), Ok(None));
}

#[test]
fn errors_have_terminal_codes() {
    let malformed = [
        Error::Kind(9),
        Error::Archive(4),
        Error::TooLarge {
            archive_bytes: 2,
            archive_bytes_max: 1,
        },
    ];
    for error in malformed {
        assert_eq!(error.code(), DisconnectCode::BAD_REQUEST);
    }
    assert_eq!(
        Error::Version(2).code(),
        DisconnectCode::INAPPROPRIATE_PROTOCOL
    );
    assert!(!Error::Version(2).code().asks_to_reconnect());
}

/// The low six bits of a length, then the rest above the mark: every length around the seam comes back.
#[test]
fn long_text_comes_back() {
    for length in (0..300).chain([16_383, 16_384, 16_385, 60_000]) {
        let name = "n".repeat(length);
        let mut out = Vec::new();
        native::write_unsubscribe(
            &mut out,
            &native::Unsubscribe {
                request: 1,
                room: &name,
            },
        );
        let expected = ClientFrame::Unsubscribe(native::Unsubscribe {
            request: 1,
            room: &name,
        });
        assert_eq!(
            decode_client(&out, MAX),
            Ok(Some((expected, out.len()))),
            "{length} bytes"
        );
    }
}
