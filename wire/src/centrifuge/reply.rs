//! What the server answers.

use super::push::Publication;

/// The answer to connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ConnectResult<'a> {
    /// The connection's name.
    pub client: &'a str,
    /// The server's name and version.
    pub version: &'a str,
    /// The connection ends unless refreshed.
    pub expires: bool,
    /// It ends so soon.
    pub ttl_s: u32,
    /// Data of the connect webhook, in the connection's encoding; empty for none.
    pub data: &'a [u8],
    /// The server pings this often; 0 for never.
    pub ping_s: u32,
    /// The client must answer pings.
    pub pong: bool,
    /// The session, for transports that answer on another request; empty for none.
    pub session: &'a str,
    /// The node, likewise.
    pub node: &'a str,
    /// The server's clock; 0 leaves it out.
    pub time_unix_ms: i64,
}

/// The answer to subscribe; also an entry of the server-side subscriptions in the answer to connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SubscribeResult<'a> {
    /// The subscription ends unless refreshed.
    pub expires: bool,
    /// It ends so soon.
    pub ttl_s: u32,
    /// A later subscribe may ask to recover.
    pub recoverable: bool,
    /// The epoch of the channel's offsets; 0 leaves it out.
    pub epoch: u64,
    /// Everything missed is in the publications.
    pub recovered: bool,
    /// The offset of the last publication before the live ones.
    pub offset: u64,
    /// A loss would not go unnoticed.
    pub positioned: bool,
    /// Data of the subscribe webhook, in the connection's encoding; empty for none.
    pub data: &'a [u8],
    /// The command asked to recover.
    pub was_recovering: bool,
    /// Publications come as deltas, in the form that the command offered. On JSON connections their payloads, and those
    /// in this answer, are [`Data::Text`](super::Data::Text) from then on.
    pub delta: bool,
}

/// The answer to refresh.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RefreshResult<'a> {
    /// The connection's name.
    pub client: &'a str,
    /// The server's name and version.
    pub version: &'a str,
    /// The connection ends unless refreshed again.
    pub expires: bool,
    /// It ends so soon.
    pub ttl_s: u32,
}

/// The answer to sub_refresh.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SubRefreshResult {
    /// The subscription ends unless refreshed again.
    pub expires: bool,
    /// It ends so soon.
    pub ttl_s: u32,
}

/// A server-side subscription in the answer to connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectSubResult<'a> {
    /// The channel.
    pub channel: &'a str,
    /// As the answer to a subscribe.
    pub result: SubscribeResult<'a>,
    /// What was recovered.
    pub publications: &'a [Publication<'a>],
}
