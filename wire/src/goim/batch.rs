//! Frames inside of a frame: how version 2 puts publications into a WebSocket message.

use super::Operation;
use super::decode::{HEADER_BYTES, decode_message};
use super::encode::{header, package_length};
use crate::ws::{Opcode, frame_header};

/// The longest payload of a WebSocket message that [`extend_batch`] makes.
///
/// A receiver sees nothing of a message before its last byte, so batches have an end. Here a message costs its 20 bytes only
/// once in 64 KiB, and its WebSocket header grows but once, when it is still short: from 2 to 4 bytes.
pub const BATCH_BYTES_MAX: usize = u16::MAX as usize;

/// Bytes of the three forms of an unmasked WebSocket header (RFC 6455 section 5.2).
const WEBSOCKET_HEADERS_BYTES: [usize; 3] = [2, 4, 10];

/// Appends a frame with [`Operation::RAW`] whose body is the frames that `inner` appends. It is the payload of a binary
/// WebSocket message.
///
/// # Panics
///
/// As [`write_frame`](super::write_frame), and if `inner` removes bytes it did not write.
pub fn write_batch(out: &mut Vec<u8>, version: i16, inner: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&header(version, Operation::RAW, 0, HEADER_BYTES));
    let frames_at = out.len();
    inner(out);
    assert!(
        out.len() >= frames_at,
        "the writer of the frames only appends"
    );
    let frame_bytes = out.len() - start;
    out[start..start + 4].copy_from_slice(&package_length(frame_bytes));
}

/// Moves the frames of the batch `next` to the end of the batch that is the last in `log`, so that one message carries both.
///
/// Both are whole WebSocket messages, as [`ws::write_frame_with`](crate::ws::write_frame_with) and [`write_batch`] make them;
/// the first reaches from `frame_start` to the end of `log`. Nothing of it may have been sent.
///
/// Returns whether it was done. When not, nothing has changed: the two would be longer than [`BATCH_BYTES_MAX`], one of them
/// is no batch, or they differ in version or sequence.
pub fn extend_batch(log: &mut Vec<u8>, frame_start: usize, next: &[u8]) -> bool {
    let Some(first) = log.get(frame_start..).and_then(Batch::read) else {
        return false;
    };
    let Some(next) = Batch::read(next) else {
        return false;
    };
    let payload_bytes = first.payload_bytes + next.frames.len();
    if !first.is_like(&next) || payload_bytes > BATCH_BYTES_MAX {
        return false;
    }

    let old_header = frame_start..frame_start + first.websocket_header_bytes;
    let header = frame_header(Opcode::Binary, payload_bytes);
    let header = header.as_ref();
    log.reserve(header.len() - old_header.len() + next.frames.len());
    if header.len() == old_header.len() {
        log[old_header].copy_from_slice(header);
    } else {
        log.splice(old_header, header.iter().copied());
    }
    log.extend_from_slice(next.frames);
    let frame_at = frame_start + header.len();
    log[frame_at..frame_at + 4].copy_from_slice(&package_length(payload_bytes));
    true
}

/// A batch in a WebSocket message, taken apart.
struct Batch<'a> {
    websocket_header_bytes: usize,
    /// The frame around the batch and all in it.
    payload_bytes: usize,
    version: i16,
    seq: i32,
    frames: &'a [u8],
}

impl<'a> Batch<'a> {
    /// `None` unless `message` is one whole message and that is a batch.
    fn read(message: &'a [u8]) -> Option<Self> {
        // The length of the payload is what the header leaves, so of the three forms only the right one comes out as it is.
        let (header, payload) = WEBSOCKET_HEADERS_BYTES
            .into_iter()
            .filter_map(|header_bytes| message.split_at_checked(header_bytes))
            .find(|(header, payload)| {
                frame_header(Opcode::Binary, payload.len()).as_ref() == *header
            })?;
        let frame = decode_message(payload, u32::MAX).ok()?;
        if frame.operation != Operation::RAW {
            return None;
        }
        Some(Self {
            websocket_header_bytes: header.len(),
            payload_bytes: HEADER_BYTES + frame.body.len(),
            version: frame.version,
            seq: frame.seq,
            frames: frame.body,
        })
    }

    const fn is_like(&self, other: &Self) -> bool {
        self.version == other.version && self.seq == other.seq
    }
}
