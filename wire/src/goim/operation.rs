//! What a frame is for.

/// The number that says what a frame is for. The protocol's own are below 18 (and 254, 255); an application's begin at 1000
/// by custom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Operation(pub i32);

impl Operation {
    /// A key exchange that was never built.
    pub const HANDSHAKE: Self = Self(0);
    /// Would answer [`HANDSHAKE`](Self::HANDSHAKE).
    pub const HANDSHAKE_REPLY: Self = Self(1);
    /// The client is alive. The body means nothing.
    pub const HEARTBEAT: Self = Self(2);
    /// Answers [`HEARTBEAT`](Self::HEARTBEAT). Version 2: how many are in the connection's room, as an `i32`.
    pub const HEARTBEAT_REPLY: Self = Self(3);
    /// A message for the service. In version 2 it is answered by an empty frame with this same number.
    pub const SEND: Self = Self(4);
    /// Version 1: answers [`SEND`](Self::SEND), and is also every push.
    pub const SEND_REPLY: Self = Self(5);
    /// The server closes the connection. The original defines it and never sends it.
    pub const DISCONNECT_REPLY: Self = Self(6);
    /// Who the client is; the first frame.
    pub const AUTH: Self = Self(7);
    /// Answers [`AUTH`](Self::AUTH), before any push.
    pub const AUTH_REPLY: Self = Self(8);
    /// A batch: the body is frames. Clients see it on WebSocket only.
    pub const RAW: Self = Self(9);
    /// A mark inside of the original; on no wire.
    pub const PROTO_READY: Self = Self(10);
    /// A mark inside of the original; on no wire.
    pub const PROTO_FINISH: Self = Self(11);
    /// Go to another room: the body is its name, empty for none.
    pub const CHANGE_ROOM: Self = Self(12);
    /// Answers [`CHANGE_ROOM`](Self::CHANGE_ROOM) with its body.
    pub const CHANGE_ROOM_REPLY: Self = Self(13);
    /// Accept more operations: see [`parse_operations`].
    pub const SUB: Self = Self(14);
    /// Answers [`SUB`](Self::SUB) with its body.
    pub const SUB_REPLY: Self = Self(15);
    /// Accept these operations no longer: see [`parse_operations`].
    pub const UNSUB: Self = Self(16);
    /// Answers [`UNSUB`](Self::UNSUB) with its body.
    pub const UNSUB_REPLY: Self = Self(17);
    /// Version 1: a key exchange that was never built.
    pub const V1_HANDSHAKE_SID: Self = Self(9);
    /// Version 1: would answer [`V1_HANDSHAKE_SID`](Self::V1_HANDSHAKE_SID).
    pub const V1_HANDSHAKE_SID_REPLY: Self = Self(10);
    /// Version 1: a batch inside of the original; on no wire.
    pub const V1_RAW: Self = Self(11);
    /// Version 1: a mark inside of the original; on no wire.
    pub const V1_ROOM_READY: Self = Self(12);
    /// Version 1: a mark inside of the original; on no wire.
    pub const V1_PROTO_READY: Self = Self(13);
    /// Version 1: a mark inside of the original; on no wire.
    pub const V1_PROTO_FINISH: Self = Self(14);
    /// Version 1: asks for [`V1_TEST_REPLY`](Self::V1_TEST_REPLY).
    pub const V1_TEST: Self = Self(254);
    /// Version 1: answers [`V1_TEST`](Self::V1_TEST) with [`V1_TEST_BODY`](super::V1_TEST_BODY).
    pub const V1_TEST_REPLY: Self = Self(255);
}

/// Operations in one [`SUB`](Operation::SUB) or [`UNSUB`](Operation::UNSUB), at most. Clients name a handful; without a
/// bound 2,048 would fit into a body.
pub const OPERATIONS_MAX: usize = 256;

/// Reads the body of [`SUB`](Operation::SUB) and [`UNSUB`](Operation::UNSUB): decimal numbers with a comma between them, and
/// nothing else. An empty body is no number.
///
/// `None` when any of it is not that, or there are more than [`OPERATIONS_MAX`]: then nothing of it applies (and the reply
/// still echoes it, as the original's does).
#[must_use]
pub fn parse_operations(body: &[u8]) -> Option<impl Iterator<Item = i32> + Clone> {
    let text = str::from_utf8(body).ok()?;
    let items = text.split(',').take(OPERATIONS_MAX + 1);
    let is_list = items
        .clone()
        .enumerate()
        .all(|(index, item)| index < OPERATIONS_MAX && item.parse::<i32>().is_ok());
    if !text.is_empty() && !is_list {
        return None;
    }
    // The empty body has one item, the empty one, which is no number.
    Some(items.filter_map(|item| item.parse().ok()))
}
