//! Bytes to frames, in place.

use super::Operation;
use crate::centrifuge::codes::DisconnectCode;

/// Bytes of a frame's header: `package: i32`, `header: i16`, `version: i16`, `operation: i32`, `sequence: i32`, big endian.
pub const HEADER_BYTES: usize = 16;

/// The longest body that version 2 takes from a client.
pub const BODY_BYTES_MAX: u32 = 4096;

/// The longest body that version 1 takes from a client.
pub const V1_BODY_BYTES_MAX: u32 = 1024;

/// What the header gives as its own length, always.
pub(super) const HEADER_LENGTH: i16 = 16;

/// A frame. The body is borrowed from the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Chosen by the client, echoed in the reply.
    pub version: i16,
    /// What the frame is for.
    pub operation: Operation,
    /// Chosen by the client, echoed in the reply; 0 in a push.
    pub seq: i32,
    /// What it carries.
    pub body: &'a [u8],
}

/// Why bytes are not a frame. The stream cannot be followed any further: close it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The header declares fewer bytes than it has itself, or a negative count. The original takes most of these for an
    /// empty body, and dies of -2^31.
    #[error("the frame declares {0} bytes, its header alone has {HEADER_BYTES}")]
    TooShort(i32),
    /// The header declares more than the limit.
    #[error(
        "the frame declares {package_bytes} bytes, a header and {body_bytes_max} are allowed: send less at once"
    )]
    TooLarge {
        /// What the header declares, itself included.
        package_bytes: i32,
        /// What the caller allows the body.
        body_bytes_max: u32,
    },
    /// The header gives another length for itself.
    #[error("the frame declares a header of {0} bytes, all headers have {HEADER_BYTES}")]
    HeaderLength(i16),
    /// A message ends inside of the header.
    #[error("the message has {0} bytes, a frame has {HEADER_BYTES} or more")]
    Headless(usize),
    /// A message is not exactly one frame. The original echoes what lies behind the message in memory.
    #[error(
        "the frame declares {package_bytes} bytes, its message has {message_bytes}: send one whole frame a message"
    )]
    NotTheMessage {
        /// What the header declares, itself included.
        package_bytes: i32,
        /// What was received.
        message_bytes: usize,
    },
}

impl Error {
    /// The code to disconnect with.
    #[must_use]
    pub const fn code(self) -> DisconnectCode {
        DisconnectCode::BAD_REQUEST
    }
}

/// Reads the frame at the start of `input`, a TCP stream: it and how many bytes it took, or `None` until all of it is there.
///
/// The declared length is held against `body_bytes_max` as soon as its four bytes are there, so a caller that keeps what is
/// incomplete keeps at most `HEADER_BYTES + body_bytes_max`.
///
/// # Errors
/// See [`Error`]; all are final.
pub fn decode(input: &[u8], body_bytes_max: u32) -> Result<Option<(Frame<'_>, usize)>, Error> {
    let Some(package_bytes) = package_bytes(input, body_bytes_max)? else {
        return Ok(None);
    };
    let Some((header, _)) = input.split_first_chunk::<HEADER_BYTES>() else {
        return Ok(None);
    };
    let &[_, _, _, _, _, _, v0, v1, o0, o1, o2, o3, s0, s1, s2, s3] = header;
    let Some(body) = input.get(HEADER_BYTES..package_bytes) else {
        return Ok(None);
    };
    let frame = Frame {
        version: i16::from_be_bytes([v0, v1]),
        operation: Operation(i32::from_be_bytes([o0, o1, o2, o3])),
        seq: i32::from_be_bytes([s0, s1, s2, s3]),
        body,
    };
    Ok(Some((frame, package_bytes)))
}

/// Reads a WebSocket message, which is exactly one frame. Every client of the original sends it so, and the original reads
/// no more than the first frame of a message.
///
/// # Errors
/// See [`Error`]; all are final.
pub fn decode_message(message: &[u8], body_bytes_max: u32) -> Result<Frame<'_>, Error> {
    let Some((&length, _)) = message
        .split_first_chunk::<4>()
        .filter(|_| message.len() >= HEADER_BYTES)
    else {
        return Err(Error::Headless(message.len()));
    };
    match decode(message, body_bytes_max)? {
        Some((frame, used)) if used == message.len() => Ok(frame),
        _ => Err(Error::NotTheMessage {
            package_bytes: i32::from_be_bytes(length),
            message_bytes: message.len(),
        }),
    }
}

/// The length of the whole frame, once the bytes that can be wrong about it are there and right.
///
/// Checks run in the order of the bytes they need, so a broken header is refused with the same error however the input was
/// cut.
fn package_bytes(input: &[u8], body_bytes_max: u32) -> Result<Option<usize>, Error> {
    let Some((&package_bytes, rest)) = input.split_first_chunk::<4>() else {
        return Ok(None);
    };
    let package_bytes = i32::from_be_bytes(package_bytes);
    let Some(body_bytes) = usize::try_from(package_bytes)
        .ok()
        .and_then(|bytes| bytes.checked_sub(HEADER_BYTES))
    else {
        return Err(Error::TooShort(package_bytes));
    };
    if body_bytes > body_bytes_max as usize {
        return Err(Error::TooLarge {
            package_bytes,
            body_bytes_max,
        });
    }

    let Some((&header_length, _)) = rest.split_first_chunk::<2>() else {
        return Ok(None);
    };
    let header_length = i16::from_be_bytes(header_length);
    if header_length != HEADER_LENGTH {
        return Err(Error::HeaderLength(header_length));
    }
    Ok(Some(HEADER_BYTES + body_bytes))
}
