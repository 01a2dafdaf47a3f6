//! The first 2 to 14 bytes of a frame, RFC 6455 section 5.2.

use super::{decoder::Role, error::Error};

/// Most bytes a control frame carries (RFC 6455 section 5.5).
pub const CONTROL_BYTES_MAX: usize = 125;

/// Longest frame header: 2 bytes, a 64-bit length, a masking key.
pub(super) const HEADER_BYTES_MAX: usize = 14;

const FIN: u8 = 0x80;
const RESERVED: u8 = 0x70;
/// The message is compressed (RFC 7692 section 6).
pub(super) const RSV1: u8 = 0x40;
const MASKED: u8 = 0x80;
const LENGTH_IS_U16: u8 = 126;
const LENGTH_IS_U64: u8 = 127;

/// What a frame is (RFC 6455 section 5.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Opcode {
    /// More of a fragmented message.
    Continuation = 0,
    /// UTF-8 text.
    Text = 1,
    /// Bytes.
    Binary = 2,
    /// The closing handshake.
    Close = 8,
    /// Asks for a Pong with the same payload.
    Ping = 9,
    /// Answers a Ping, or a heartbeat of its own.
    Pong = 10,
}

impl Opcode {
    /// Close, Ping and Pong may stand between the fragments of a message and carry at most [`CONTROL_BYTES_MAX`] bytes.
    pub const fn is_control(self) -> bool {
        self as u8 >= 8
    }

    const fn parse(bits: u8) -> Result<Self, Error> {
        Ok(match bits {
            0 => Self::Continuation,
            1 => Self::Text,
            2 => Self::Binary,
            8 => Self::Close,
            9 => Self::Ping,
            10 => Self::Pong,
            reserved => return Err(Error::ReservedOpcode(reserved)),
        })
    }
}

/// A frame header whose bytes were all there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) opcode: Opcode,
    pub(super) is_final: bool,
    /// Begins a compressed message (RFC 7692 section 6).
    pub(super) is_deflated: bool,
    /// All zero on an unmasked frame.
    pub(super) mask: [u8; 4],
    /// Declared length of the payload, below 2^63.
    pub(super) payload_bytes: u64,
    /// Length of the header itself.
    pub(super) header_bytes: usize,
}

impl Header {
    /// Reads a header from the start of `input`; `None` asks for more bytes. RSV1 is taken if `may_be_deflated`.
    ///
    /// Checks run in the order of the bytes they need, so a broken header is refused at its first wrong byte and with the
    /// same error however the input was cut.
    #[inline]
    pub(super) fn parse(
        input: &[u8],
        role: Role,
        may_be_deflated: bool,
    ) -> Result<Option<Self>, Error> {
        let Some(&first) = input.first() else {
            return Ok(None);
        };
        let is_final = first & FIN != 0;
        let reserved_bits = first & RESERVED;
        let is_deflated = reserved_bits == RSV1 && may_be_deflated;
        if reserved_bits != 0 && !is_deflated {
            return Err(Error::ReservedBits);
        }
        let opcode = Opcode::parse(first & 0x0F)?;
        if is_deflated && !matches!(opcode, Opcode::Text | Opcode::Binary) {
            return Err(Error::ReservedBits);
        }
        if opcode.is_control() && !is_final {
            return Err(Error::ControlFragmented);
        }

        let Some(&second) = input.get(1) else {
            return Ok(None);
        };
        let is_masked = second & MASKED != 0;
        match role {
            Role::Server if !is_masked => return Err(Error::Unmasked),
            Role::Client if is_masked => return Err(Error::Masked),
            Role::Server | Role::Client => {}
        }
        let short_length = second & !MASKED;
        if opcode.is_control() && usize::from(short_length) > CONTROL_BYTES_MAX {
            return Err(Error::ControlTooLong);
        }

        let rest = &input[2..];
        let (payload_bytes, rest) = match short_length {
            LENGTH_IS_U16 => {
                let Some((length, rest)) = rest.split_first_chunk::<2>() else {
                    return Ok(None);
                };
                let length = u64::from(u16::from_be_bytes(*length));
                if length < u64::from(LENGTH_IS_U16) {
                    return Err(Error::LengthNotMinimal);
                }
                (length, rest)
            }
            LENGTH_IS_U64 => {
                let Some((length, rest)) = rest.split_first_chunk::<8>() else {
                    return Ok(None);
                };
                let length = u64::from_be_bytes(*length);
                if length <= u64::from(u16::MAX) {
                    return Err(Error::LengthNotMinimal);
                }
                if length >> 63 != 0 {
                    return Err(Error::LengthTopBit);
                }
                (length, rest)
            }
            short => (u64::from(short), rest),
        };

        let (mask, rest) = if is_masked {
            let Some((mask, rest)) = rest.split_first_chunk::<4>() else {
                return Ok(None);
            };
            (*mask, rest)
        } else {
            ([0; 4], rest)
        };
        Ok(Some(Self {
            opcode,
            is_final,
            is_deflated,
            mask,
            payload_bytes,
            header_bytes: input.len() - rest.len(),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_all_three_forms() {
        let cases: [(&[u8], u64, usize); 6] = [
            (&[0x82, 0x00], 0, 2),
            (&[0x82, 125], 125, 2),
            (&[0x82, 126, 0, 126], 126, 4),
            (&[0x82, 126, 0xFF, 0xFF], 65_535, 4),
            (&[0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0], 65_536, 10),
            (
                &[0x82, 127, 0x7F, 255, 255, 255, 255, 255, 255, 255],
                (1 << 63) - 1,
                10,
            ),
        ];
        for (bytes, payload_bytes, header_bytes) in cases {
            let header = Header::parse(bytes, Role::Client, false)
                .expect("valid")
                .expect("complete");
            assert_eq!(header.payload_bytes, payload_bytes);
            assert_eq!(header.header_bytes, header_bytes);
            for cut in 0..bytes.len() {
                assert_eq!(Header::parse(&bytes[..cut], Role::Client, false), Ok(None));
            }
        }
    }

    #[test]
    fn rsv1_alone_on_the_first_frame_of_data_marks_a_compressed_message() {
        for first in 0..=u8::MAX {
            let without = Header::parse(&[first & !RESERVED, 0], Role::Client, true);
            let expected = match (first & RESERVED, first & 0x0F, without) {
                (0, _, without) => without,
                (RSV1, 1 | 2, Ok(Some(header))) => Ok(Some(Header {
                    is_deflated: true,
                    ..header
                })),
                (RSV1, 3..=7 | 11..=15, without) => without,
                _ => Err(Error::ReservedBits),
            };
            let header = Header::parse(&[first, 0], Role::Client, true);
            assert_eq!(header, expected, "{first:02x}");
        }
    }

    #[test]
    fn first_wrong_byte_is_enough() {
        let refused: [(&[u8], Role, Error); 12] = [
            (&[0xC1], Role::Server, Error::ReservedBits),
            (&[0xA1], Role::Server, Error::ReservedBits),
            (&[0x91], Role::Server, Error::ReservedBits),
            (&[0x83], Role::Server, Error::ReservedOpcode(3)),
            (&[0x8F], Role::Server, Error::ReservedOpcode(15)),
            (&[0x09], Role::Server, Error::ControlFragmented),
            (&[0x81, 0x01], Role::Server, Error::Unmasked),
            (&[0x81, 0x81], Role::Client, Error::Masked),
            (&[0x89, 0xFE], Role::Server, Error::ControlTooLong),
            (&[0x81, 0xFE, 0, 125], Role::Server, Error::LengthNotMinimal),
            (
                &[0x81, 0xFF, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF],
                Role::Server,
                Error::LengthNotMinimal,
            ),
            (
                &[0x81, 0xFF, 0x80, 0, 0, 0, 0, 0, 0, 0],
                Role::Server,
                Error::LengthTopBit,
            ),
        ];
        for (bytes, role, error) in refused {
            assert_eq!(
                Header::parse(bytes, role, false),
                Err(error),
                "{bytes:02x?}"
            );
            assert_eq!(
                Header::parse(&bytes[..bytes.len() - 1], role, false),
                Ok(None),
                "{bytes:02x?}"
            );
        }
    }
}
