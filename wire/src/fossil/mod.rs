//! Fossil deltas: a publication written as its difference from the publication before it.
//!
//! Clients of the Centrifuge protocol may ask for them by channel (`delta: "fossil"`); the SDKs carry a decoder each. The
//! format is Fossil's (<https://fossil-scm.org/home/doc/tip/www/delta_format.wiki>): the size of the target and a line feed,
//! then commands, then the checksum of the target.
//!
//! | command | meaning |
//! |---|---|
//! | `<bytes>@<offset>,` | copy from the source |
//! | `<bytes>:<literal>` | take the literal |
//! | `<checksum>;` | the end; the sum of the target's big-endian 32-bit words, the last one padded with zeros |
//!
//! Numbers have base 64 with the digits `0-9A-Z_a-z~`, the first digit the most significant.
//!
//! # Text
//!
//! On a JSON connection a delta travels as a JSON string, so it has to be UTF-8, while two texts may well begin to differ
//! inside a character. [`write_delta`] therefore ends every literal at a character's boundary: **the delta of a target that
//! is UTF-8 is UTF-8**. Everything else in a delta is ASCII, so nothing is asked of the source, and one delta serves JSON and
//! protobuf members alike.
//!
//! # Why not a crate
//!
//! The one there is, `fossil-delta` 0.2.0 of 2023, panics on malformed deltas, allocates for every delta, and splits
//! characters, as the reference encoders do.

mod apply;
mod checksum;
mod index;
mod number;
mod write;

pub use apply::{DeltaError, apply_delta};
pub use index::Scratch;
pub use write::write_delta;

/// Longest source and longest target a delta is made for: 1 MiB. It bounds the memory of a [`Scratch`] and the time of one
/// call; what is longer is sent whole.
pub const DOCUMENT_BYTES_MAX: usize = 1 << 20;
