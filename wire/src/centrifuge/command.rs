//! What clients ask.

use std::borrow::Cow;

use super::{Epoch, FilterError, FilterNode, StreamPosition};

/// The parameter of a request's target by which clients that can only `GET` send their first message. SSE carries a message
/// of commands in it (bidirectional) or a connect (unidirectional), both as JSON.
pub const CONNECT_PARAMETER: &str = "cf_connect";

/// A command of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command<'a> {
    /// Comes back in the reply. 0 for [`Method::Pong`] and [`Method::Send`], which have none, and for nothing else.
    pub id: u32,
    /// What is asked.
    pub method: Method<'a>,
}

/// What a command asks. When a client names several, the first in this order counts, as in Centrifugo.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Method<'a> {
    /// Introduces the client; the first command of a connection, and only that.
    Connect(Box<Connect<'a>>),
    /// Asks for an empty reply. In the protocol's definition, but no SDK sends it: the server pings.
    Ping,
    /// Joins a channel.
    Subscribe(Subscribe<'a>),
    /// Leaves a channel.
    Unsubscribe {
        /// The channel.
        channel: Cow<'a, str>,
    },
    /// Publishes to a channel.
    Publish(Publish<'a>),
    /// Asks who is in a channel.
    Presence {
        /// The channel.
        channel: Cow<'a, str>,
    },
    /// Asks how many are in a channel.
    PresenceStats {
        /// The channel.
        channel: Cow<'a, str>,
    },
    /// Asks for a channel's past publications.
    History(History<'a>),
    /// Calls the backend.
    Rpc {
        /// The procedure; may be empty.
        method: Cow<'a, str>,
        /// The arguments, in the connection's encoding; empty for none.
        data: Cow<'a, [u8]>,
    },
    /// Sends to the backend without a reply.
    Send {
        /// The message, in the connection's encoding; empty for none.
        data: Cow<'a, [u8]>,
    },
    /// Extends the connection.
    Refresh {
        /// A new connection token.
        token: Cow<'a, str>,
    },
    /// Extends a subscription.
    SubRefresh {
        /// The channel.
        channel: Cow<'a, str>,
        /// A new subscription token.
        token: Cow<'a, str>,
    },
    /// Answers the server's ping: the empty command.
    Pong,
    /// None of the above. Centrifugo disconnects with 3501.
    Unknown,
}

/// Introduces a client.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Connect<'a> {
    /// The connection token; empty for none.
    pub token: Cow<'a, str>,
    /// Data for the connect webhook, in the connection's encoding; empty for none.
    pub data: Cow<'a, [u8]>,
    /// The server-side subscriptions that a returning client wants recovered.
    pub subs: Vec<ConnectSub<'a>>,
    /// What the SDK calls itself.
    pub name: Cow<'a, str>,
    /// The version of the SDK or of the application.
    pub version: Cow<'a, str>,
    /// Headers that a browser could not set, for the connect webhook.
    pub headers: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

/// A server-side subscription of a returning client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectSub<'a> {
    /// The channel.
    pub channel: Cow<'a, str>,
    /// Asks for what was published since `position`.
    pub recover: bool,
    /// The last publication seen.
    pub position: StreamPosition,
}

/// Joins a channel.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Subscribe<'a> {
    /// The channel; never empty in a command that was decoded.
    pub channel: Cow<'a, str>,
    /// The subscription token; empty for none.
    pub token: Cow<'a, str>,
    /// Asks for what was published since `offset` in `epoch`.
    pub recover: bool,
    /// The numbering of `offset`.
    pub epoch: Epoch,
    /// The offset of the last publication seen.
    pub offset: u64,
    /// Data for the subscribe webhook, in the connection's encoding; empty for none.
    pub data: Cow<'a, [u8]>,
    /// Wants a disconnect rather than a silent loss.
    pub positioned: bool,
    /// Wants to recover later.
    pub recoverable: bool,
    /// Wants to hear who joins and leaves.
    pub join_leave: bool,
    /// The delta compression that the client offers; empty for none. A server that does not answer it sends no deltas.
    pub delta: Cow<'a, str>,
    /// Wants only publications whose tags match. A filter that is no filter does not end the connection: Centrifugo
    /// answers with [`FilterError::code`].
    pub filter: Option<Result<FilterNode, FilterError>>,
    /// Features that the client offers, as [`SUBSCRIBE_FLAG_REJECT_UNRECOVERED`] and bits to come.
    pub flags: i64,
    /// 0 for a channel of publications. Others (maps, shared polls) are not served here.
    pub kind: i32,
}

impl Subscribe<'_> {
    /// The last publication seen.
    #[must_use]
    pub const fn position(&self) -> StreamPosition {
        StreamPosition {
            offset: self.offset,
            epoch: self.epoch,
        }
    }

    /// Wants [`ErrorCode::UNRECOVERABLE_POSITION`](super::codes::ErrorCode::UNRECOVERABLE_POSITION) rather than a
    /// subscription that has lost something.
    #[must_use]
    pub const fn rejects_unrecovered(&self) -> bool {
        self.flags & SUBSCRIBE_FLAG_REJECT_UNRECOVERED != 0
    }
}

/// The client can take pushes that carry a number instead of the channel's name.
pub const SUBSCRIBE_FLAG_CHANNEL_COMPACTION: i64 = 1;

/// The client wants an error rather than a subscription that has lost something.
pub const SUBSCRIBE_FLAG_REJECT_UNRECOVERED: i64 = 2;

/// Publishes to a channel.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Publish<'a> {
    /// The channel; never empty in a command that was decoded.
    pub channel: Cow<'a, str>,
    /// The payload, in the connection's encoding: in JSON one value without a line break, in protobuf any bytes. Empty
    /// for none.
    pub data: Cow<'a, [u8]>,
    /// 0 for a publication. Others (maps) are not served here.
    pub kind: i32,
}

/// Asks for a channel's past publications.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct History<'a> {
    /// The channel.
    pub channel: Cow<'a, str>,
    /// At most so many; 0 asks for the position only, below 0 for as many as the server gives.
    pub limit: i32,
    /// Only what came after (before, when reversed).
    pub since: Option<StreamPosition>,
    /// Newest first.
    pub reverse: bool,
}
