//! The way up beside a stream that only goes down: `POST /emulation`.
//!
//! A client of SSE or HTTP streaming gets a session and a node with the answer to its connect, and names both with every
//! batch of commands it sends afterwards. `Content-Type: application/octet-stream` says that the body is protobuf; any
//! other is JSON.

use std::borrow::Cow;

/// Commands that belong to a connection elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Emulation<'a> {
    /// The node that the connection is on, as the answer to connect named it.
    pub node: Cow<'a, str>,
    /// The connection's session, likewise. Who knows it speaks for the connection.
    pub session: Cow<'a, str>,
    /// A message of commands in the connection's encoding, for `commands` of [`json`](super::json) or
    /// [`protobuf`](super::protobuf).
    pub data: Cow<'a, [u8]>,
}

/// Why a body is not an emulation request. The answer is 400.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EmulationError {
    /// The body is not an `EmulationRequest` of client.proto, or its data, in JSON, not a text.
    #[error(
        "the body is not an emulation request, near byte {column} of its line: see client.proto"
    )]
    Malformed {
        /// How far it could be read.
        column: usize,
    },
    /// Arrays and objects nest deeper than [`DEPTH_MAX`](super::json::DEPTH_MAX).
    #[error("the body nests deeper than {} levels", super::json::DEPTH_MAX)]
    TooDeep,
}
