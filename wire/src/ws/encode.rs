use super::{
    close::REASON_BYTES_MAX,
    header::{CONTROL_BYTES_MAX, Opcode},
    mask,
};

const FIN: u8 = 0x80;
const MASKED: u8 = 0x80;
const LENGTH_IS_U16: u8 = 126;
const LENGTH_IS_U64: u8 = 127;

/// Header bytes of a frame of 126 to 65,535 bytes, for which [`write_frame_with`] leaves room.
const EXPECTED_HEADER_BYTES: usize = 4;

/// The 2 to 10 bytes before the payload of an unmasked, final frame.
#[derive(Debug, Clone, Copy)]
pub struct FrameHeader {
    bytes: [u8; 10],
    len: u8,
}

impl AsRef<[u8]> for FrameHeader {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

/// The header of a whole message or control frame with `payload_bytes` of payload.
///
/// # Panics
///
/// If a control frame is to carry more than [`CONTROL_BYTES_MAX`] bytes.
pub const fn frame_header(opcode: Opcode, payload_bytes: usize) -> FrameHeader {
    assert!(!opcode.is_control() || payload_bytes <= CONTROL_BYTES_MAX);
    let first = FIN | opcode as u8;
    let [a, b, c, d, e, f, g, h] = (payload_bytes as u64).to_be_bytes();
    if payload_bytes < LENGTH_IS_U16 as usize {
        return FrameHeader {
            bytes: [first, h, 0, 0, 0, 0, 0, 0, 0, 0],
            len: 2,
        };
    }
    if payload_bytes <= u16::MAX as usize {
        return FrameHeader {
            bytes: [first, LENGTH_IS_U16, g, h, 0, 0, 0, 0, 0, 0],
            len: 4,
        };
    }
    FrameHeader {
        bytes: [first, LENGTH_IS_U64, a, b, c, d, e, f, g, h],
        len: 10,
    }
}

/// Appends an unmasked frame, as a server sends it.
///
/// # Panics
///
/// As [`frame_header`].
pub fn write_frame(out: &mut Vec<u8>, opcode: Opcode, payload: &[u8]) {
    let header = frame_header(opcode, payload.len());
    out.reserve(header.as_ref().len() + payload.len());
    out.extend_from_slice(header.as_ref());
    out.extend_from_slice(payload);
}

/// Appends an unmasked frame whose payload `write_payload` appends to `out`, so a payload of unknown length needs no buffer
/// of its own. Most are 126 to 65,535 bytes and stay where they are written; shorter and longer ones are moved once.
///
/// # Panics
///
/// As [`frame_header`], and if `write_payload` removes bytes it did not write.
pub fn write_frame_with(
    out: &mut Vec<u8>,
    opcode: Opcode,
    write_payload: impl FnOnce(&mut Vec<u8>),
) {
    let frame_at = begin_frame(out);
    write_payload(out);
    end_frame(out, frame_at, opcode);
}

/// Leaves room for a header, after which the payload is to be appended. Gives what [`end_frame`] is to be told.
pub(super) fn begin_frame(out: &mut Vec<u8>) -> usize {
    let frame_at = out.len();
    out.extend_from_slice(&[0; EXPECTED_HEADER_BYTES]);
    frame_at
}

/// Writes the header of the frame that [`begin_frame`] began at `frame_at`.
pub(super) fn end_frame(out: &mut Vec<u8>, frame_at: usize, opcode: Opcode) {
    let payload_at = frame_at + EXPECTED_HEADER_BYTES;
    assert!(out.len() >= payload_at, "the payload writer only appends");
    let payload_bytes = out.len() - payload_at;
    let header = frame_header(opcode, payload_bytes);
    let header = header.as_ref();
    if header.len() == EXPECTED_HEADER_BYTES {
        out[frame_at..payload_at].copy_from_slice(header);
    } else {
        out.splice(frame_at..payload_at, header.iter().copied());
    }
}

/// Appends a Close frame with `code` and as much of `reason` as fits into [`REASON_BYTES_MAX`] without cutting a character.
///
/// The answer to a Close without a code is a Close without one: `write_frame(out, Opcode::Close, &[])`.
pub fn write_close(out: &mut Vec<u8>, code: u16, reason: &str) {
    let reason = &reason[..reason.floor_char_boundary(REASON_BYTES_MAX)];
    let header = frame_header(Opcode::Close, size_of::<u16>() + reason.len());
    out.extend_from_slice(header.as_ref());
    out.extend_from_slice(&code.to_be_bytes());
    out.extend_from_slice(reason.as_bytes());
}

/// Appends a masked frame, as a client sends it. `mask` is to be unpredictable for every frame (RFC 6455 section 10.3).
///
/// # Panics
///
/// As [`frame_header`].
pub fn write_masked_frame(out: &mut Vec<u8>, opcode: Opcode, payload: &[u8], mask: [u8; 4]) {
    let header = frame_header(opcode, payload.len());
    let header = header.as_ref();
    let second_at = out.len() + 1;
    out.reserve(header.len() + mask.len() + payload.len());
    out.extend_from_slice(header);
    out[second_at] |= MASKED;
    out.extend_from_slice(&mask);
    let payload_at = out.len();
    out.extend_from_slice(payload);
    mask::apply(&mut out[payload_at..], mask);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_takes_the_shortest_form() {
        let header = |payload_bytes| {
            frame_header(Opcode::Binary, payload_bytes)
                .as_ref()
                .to_vec()
        };
        assert_eq!(header(0), [0x82, 0]);
        assert_eq!(header(125), [0x82, 125]);
        assert_eq!(header(126), [0x82, 126, 0, 126]);
        assert_eq!(header(65_535), [0x82, 126, 0xFF, 0xFF]);
        assert_eq!(header(65_536), [0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
    }

    #[test]
    fn payload_written_in_place_gives_the_same_frame() {
        let lengths = [0, 1, 124, 125, 126, 127, 1000, 65_535, 65_536, 70_000];
        let longest = if cfg!(miri) { 1000 } else { usize::MAX };
        for payload_bytes in lengths.into_iter().filter(|&length| length <= longest) {
            let payload: Vec<u8> = (0..=255).cycle().take(payload_bytes).collect();
            let mut copied = b"before".to_vec();
            write_frame(&mut copied, Opcode::Text, &payload);
            let mut in_place = b"before".to_vec();
            write_frame_with(&mut in_place, Opcode::Text, |out| {
                out.extend_from_slice(&payload);
            });
            assert_eq!(copied, in_place, "{payload_bytes} bytes");
        }
    }

    #[test]
    fn close_reason_is_cut_between_characters() {
        let mut out = Vec::new();
        write_close(&mut out, 3008, "slow");
        assert_eq!(out, b"\x88\x06\x0b\xc0slow");
        for (reason, kept_bytes) in [
            ("x".repeat(123), 123),
            ("x".repeat(124), 123),
            ("é".repeat(70), 122),
            ("😀".repeat(40), 120),
        ] {
            out.clear();
            write_close(&mut out, 1000, &reason);
            assert_eq!(usize::from(out[1]), 2 + kept_bytes);
            assert_eq!(&out[4..], &reason.as_bytes()[..kept_bytes]);
        }
    }

    #[test]
    fn masked_frame_of_rfc_6455_section_5_7() {
        let mut out = Vec::new();
        write_masked_frame(&mut out, Opcode::Text, b"Hello", [0x37, 0xFA, 0x21, 0x3D]);
        assert_eq!(out, b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58");
    }

    #[test]
    #[should_panic(expected = "payload_bytes <= CONTROL_BYTES_MAX")]
    fn control_frame_past_125_bytes_is_a_bug_of_the_caller() {
        frame_header(Opcode::Ping, 126);
    }
}
