//! Frames inside of a frame: how version 2 puts publications into a WebSocket message.

use super::Operation;
use super::decode::HEADER_BYTES;
use super::encode::{header, package_length};

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
