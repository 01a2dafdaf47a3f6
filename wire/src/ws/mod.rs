//! WebSocket framing, RFC 6455, and permessage-deflate, RFC 7692.
//!
//! [`Decoder`] turns received bytes into whole messages. It is 16 bytes when nothing is partial, because a million of them are
//! kept; a frame that lies whole in the receive buffer is unmasked there and lent out, with no copy and no allocation.
//! The `write_*` functions append frames to a buffer the caller owns. [`handshake`] holds both sides of the opening
//! handshake; the request itself is read by [`crate::http`].
//!
//! A compressed frame is meant for everyone who agreed to compression: [`write_deflated_frame`] makes it once and no window
//! outlives a message, in either direction. [`accept_deflate`] answers a client's offers so. The [`Deflater`] and the
//! [`Inflater`] hold the memory that takes; one of each serves a thread. Why so, and what it costs:
//! `docs/decisions/006-shared-deflate.md`.

mod close;
mod decoder;
mod deflate;
mod encode;
mod error;
pub mod handshake;
mod header;
mod inflate;
mod mask;
mod negotiate;
mod partial;
mod utf8;

pub use close::{Close, REASON_BYTES_MAX, code, is_sendable};
pub use decoder::{Decoder, Event, Limits, Role};
pub use deflate::{DEFLATE_BYTES_MIN, Deflater, WINDOW_BITS, write_deflated_frame};
pub use encode::{
    FrameHeader, frame_header, write_close, write_frame, write_frame_with, write_masked_frame,
};
pub use error::Error;
pub use header::{CONTROL_BYTES_MAX, Opcode};
pub use inflate::Inflater;
pub use negotiate::{DeflateAnswer, ExtensionsError, accept_deflate};
