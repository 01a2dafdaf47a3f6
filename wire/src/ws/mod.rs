//! WebSocket framing, RFC 6455, without extensions.
//!
//! [`Decoder`] turns received bytes into whole messages. It is 16 bytes when nothing is partial, because a million of them are
//! kept; a frame that lies whole in the receive buffer is unmasked there and lent out, with no copy and no allocation.
//! The `write_*` functions append frames to a buffer the caller owns. [`handshake`] holds both sides of the opening
//! handshake; the request itself is read by [`crate::http`].
//!
//! permessage-deflate (RFC 7692) is not negotiated, so every reserved bit is an error.

mod close;
mod decoder;
mod encode;
mod error;
pub mod handshake;
mod header;
mod mask;
mod partial;
mod utf8;

pub use close::{Close, REASON_BYTES_MAX, code, is_sendable};
pub use decoder::{Decoder, Event, Limits, Role};
pub use encode::{
    FrameHeader, frame_header, write_close, write_frame, write_frame_with, write_masked_frame,
};
pub use error::Error;
pub use header::{CONTROL_BYTES_MAX, Opcode};
