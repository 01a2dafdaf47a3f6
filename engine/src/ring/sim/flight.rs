//! Operations, from the submission queue to their last completion.

use std::time::Duration;

use super::socket::SocketId;
use crate::ring::Token;

/// What a ring can be asked for, as it stands in the submission queue.
#[derive(Debug, Clone, Copy)]
pub(super) enum Operation {
    Accept {
        listener: u32,
        token: Token,
        is_single: bool,
    },
    Receive {
        slot: u32,
        token: Token,
    },
    PollWritable {
        slot: u32,
        token: Token,
    },
    Shutdown {
        slot: u32,
        token: Token,
    },
    Cancel {
        token: Token,
    },
    Close {
        slot: u32,
        token: Token,
    },
    Wake {
        shard: u16,
    },
}

/// An operation in flight.
#[derive(Debug)]
pub(super) struct Flight {
    pub(super) token: Token,
    pub(super) kind: Kind,
    /// When a cancellation takes effect.
    pub(super) cancelled_at: Option<Duration>,
    /// It has not looked at its socket yet.
    pub(super) is_new: bool,
}

/// What an operation does, and to what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Accept { listener: u32, is_single: bool },
    Receive { slot: u32, socket: SocketId },
    PollWritable { slot: u32, socket: SocketId },
    Shutdown,
    Close,
}

impl Kind {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Accept { .. } => "accept",
            Self::Receive { .. } => "receive",
            Self::PollWritable { .. } => "poll_writable",
            Self::Shutdown => "shutdown",
            Self::Close => "close",
        }
    }

    /// The connection that the operation holds open.
    pub(super) const fn socket(self) -> Option<SocketId> {
        match self {
            Self::Receive { socket, .. } | Self::PollWritable { socket, .. } => Some(socket),
            Self::Accept { .. } | Self::Shutdown | Self::Close => None,
        }
    }
}
