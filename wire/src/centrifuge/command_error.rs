//! What commands may be, at most, and why input is not commands.

use super::codes::DisconnectCode;

/// Commands in one message, at most. An SDK that comes back sends a subscribe for every channel it was in as one message.
pub const COMMANDS_MAX: usize = 8192;

/// Server-side subscriptions that one connect may want recovered, at most: as many as a client can ask for by commands.
/// An entry takes a few bytes of input and about sixty of memory.
pub const CONNECT_SUBS_MAX: usize = 8192;

/// Headers in one connect, at most; a proxy in front of a backend refuses more.
pub const CONNECT_HEADERS_MAX: usize = 128;

/// Why a message is not commands. Centrifugo disconnects for all of them, as SDKs expect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// A command is not of the protocol's types, or not in its encoding at all.
    #[error(
        "the command is not of the protocol's types, near byte {column} of it: see client.proto"
    )]
    Malformed {
        /// How far it could be read: bytes of its line in JSON, of the command itself in protobuf.
        column: usize,
    },
    /// Arrays and objects nest deeper than [`DEPTH_MAX`](super::json::DEPTH_MAX).
    #[error("the command nests deeper than {} levels", super::json::DEPTH_MAX)]
    TooDeep,
    /// The message has more than [`COMMANDS_MAX`] commands.
    #[error("the message has more than {COMMANDS_MAX} commands: send them as several")]
    TooMany,
    /// A connect has more than [`CONNECT_SUBS_MAX`] subscriptions, or more than [`CONNECT_HEADERS_MAX`] headers.
    #[error(
        "the connect has more than {CONNECT_SUBS_MAX} subscriptions or {CONNECT_HEADERS_MAX} headers: send fewer"
    )]
    TooManyEntries,
    /// A command that has a reply has no id to match it with.
    #[error("the command has no id")]
    MissingId,
    /// A command on a channel names none.
    #[error("the command names no channel")]
    MissingChannel,
}

impl CommandError {
    /// The code to disconnect with.
    #[must_use]
    pub const fn code(self) -> DisconnectCode {
        DisconnectCode::BAD_REQUEST
    }
}
