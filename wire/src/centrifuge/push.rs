//! What the server sends unasked.

/// Someone in a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ClientInfo<'a> {
    /// The user; empty for an anonymous one.
    pub user: &'a str,
    /// The connection's name.
    pub client: &'a str,
    /// Data of the connection token, in the connection's encoding; empty for none.
    pub connection_info: &'a [u8],
    /// Data of the subscription token, likewise.
    pub channel_info: &'a [u8],
}

/// A publication, live or out of a history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Publication<'a> {
    /// The payload.
    pub data: Data<'a>,
    /// The client that published it, if one did.
    pub info: Option<ClientInfo<'a>>,
    /// Its number in the channel; 0 when the channel does not number publications.
    pub offset: u64,
    /// Key-values that travel with it.
    pub tags: &'a [(Box<str>, Box<str>)],
    /// The payload is the difference from the publication before it. Only for those who were told so by
    /// [`SubscribeResult::delta`](super::SubscribeResult::delta).
    pub delta: bool,
    /// When it was published; 0 leaves it out.
    pub time_unix_ms: i64,
}

/// A payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Data<'a> {
    /// One JSON value without a line break; put where it goes as it is. [`normalise`](super::json::normalise) makes such.
    Json(&'a [u8]),
    /// Anything else: JSON connections get it as a base64 text.
    Binary(&'a [u8]),
    /// UTF-8 that JSON connections get as a text of exactly these bytes, as they do with deltas and with the whole
    /// payloads between them: SDKs apply a delta to the bytes of that text. JSON cannot carry what is not UTF-8, which is
    /// replaced by U+FFFD; a delta that cuts a character is of no use to them.
    Text(&'a [u8]),
}

impl Default for Data<'_> {
    fn default() -> Self {
        Self::Json(b"null")
    }
}

/// The server subscribed the client to a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SubscribePush<'a> {
    /// A later connect may ask to recover.
    pub recoverable: bool,
    /// The epoch of the channel's offsets; 0 leaves it out.
    pub epoch: u64,
    /// The offset of the last publication before the live ones.
    pub offset: u64,
    /// A loss would not go unnoticed.
    pub positioned: bool,
    /// Data for the client, in the connection's encoding; empty for none.
    pub data: &'a [u8],
}

/// The connection was extended without the client asking; only unidirectional clients are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RefreshPush {
    /// The connection ends unless extended again.
    pub expires: bool,
    /// It ends so soon.
    pub ttl_s: u32,
}
