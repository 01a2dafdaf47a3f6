//! What services ask of the engine, and what it answers. [`Handle`](crate::Handle) takes these.

use std::borrow::Cow;

use bytes::Bytes;

/// Where an answer goes: called once, on a shard's thread, so it must only pass the answer on.
pub type Reply<T> = Box<dyn FnOnce(Result<T, ApiError>) + Send>;

/// Why a request of a service failed. Codes are Centrifugo's where it has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ApiError {
    /// The room names a namespace that is not configured.
    #[error("unknown channel: its namespace is not configured")]
    UnknownRoom,
    /// A name or an option is out of bounds.
    #[error("bad request: a name is empty or longer than its limit")]
    BadRequest,
    /// The namespace has no history or presence.
    #[error("not available: the channel's namespace does not keep this")]
    NotAvailable,
    /// The position asked for is no longer in the history, or of another epoch.
    #[error("unrecoverable position")]
    UnrecoverablePosition,
    /// The shard is home of as many rooms as it may be.
    #[error("limit exceeded: as many channels exist as may, see limits.rooms_per_shard_max")]
    TooManyRooms,
    /// The answer would be larger than clients are given.
    #[error("limit exceeded: the answer is too large, ask for less or ask the control API")]
    TooMuch,
    /// The shard's inbox is full: nothing was done, try again.
    #[error("busy: a shard's inbox is full, nothing was done, try again")]
    Busy,
    /// The engine is stopping: nothing was done.
    #[error("stopping: nothing was done")]
    Stopping,
}

/// The payload of a publication.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payload {
    /// The bytes, passed on as they are.
    pub bytes: Bytes,
    /// Known to be one valid JSON value without a line break, so JSON dialects can carry it verbatim.
    /// When false they check, and carry what is not JSON as a base64 string.
    pub is_json: bool,
}

impl Payload {
    /// Finds out whether a payload of unknown kind is JSON, which JSON dialects carry as it is, or in the form that is
    /// returned. Others carry it as it was published, whoever else is there.
    pub(crate) fn find_json(&mut self) -> Option<Bytes> {
        if self.is_json {
            return None;
        }
        let json = fanfare_wire::centrifuge::json::normalise(&self.bytes)?;
        if matches!(json, Cow::Borrowed(same) if same.len() == self.bytes.len()) {
            self.is_json = true;
            return None;
        }
        Some(Bytes::copy_from_slice(&json))
    }
}

/// A publication to a room.
#[derive(Debug, Clone)]
pub struct Publish {
    /// The room's name.
    pub room: Box<str>,
    /// What its members receive.
    pub payload: Payload,
    /// Key-values that travel with it.
    pub tags: Vec<(Box<str>, Box<str>)>,
    /// Sends without storing.
    pub skip_history: bool,
    /// A repeat with the same key within [`IDEMPOTENCY_SECONDS`] publishes nothing and gets the first answer.
    pub idempotency_key: Option<Box<str>>,
}

/// How long an idempotency key is remembered.
pub const IDEMPOTENCY_SECONDS: u64 = 120;

/// Idempotency keys remembered per room; the oldest is forgotten first.
pub const IDEMPOTENCY_KEYS_MAX: usize = 4096;

/// A position in a room's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Position {
    /// Names one numbering; a new one begins when offsets could repeat.
    pub epoch: u64,
    /// The number of the last publication; the first is 1.
    pub offset: u64,
}

impl Position {
    /// An epoch that no room has: of a client that was somewhere else.
    pub(crate) const FOREIGN_EPOCH: u64 = u64::MAX;
}

/// A message outside any room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// What is received.
    pub payload: Payload,
    /// The operation that goim clients see. `None`: the configured one.
    pub operation: Option<i32>,
    /// The payload as JSON dialects carry it, where that differs.
    pub(crate) json: Option<Bytes>,
}

impl Message {
    /// Looks whether the payload is JSON, if that is not known: it is for the thread of the caller to find out.
    #[must_use]
    pub fn new(mut payload: Payload, operation: Option<i32>) -> Self {
        let json = payload.find_json();
        Self {
            payload,
            operation,
            json,
        }
    }
}

impl From<Payload> for Message {
    /// Of a service that knows nothing of goim.
    fn from(payload: Payload) -> Self {
        Self::new(payload, None)
    }
}

/// Members by the dialect that they speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reached {
    /// Centrifuge, JSON.
    pub centrifuge_json: u32,
    /// Centrifuge, protobuf.
    pub centrifuge_protobuf: u32,
    /// Centrifuge, listening only.
    pub unidirectional: u32,
    /// By long polling.
    pub long_poll: u32,
    /// Native over TCP.
    pub native: u32,
    /// Native over WebSocket.
    pub native_websocket: u32,
    /// goim, version 2.
    pub goim: u32,
    /// goim, version 1.
    pub goim_v1: u32,
}

impl Reached {
    /// Members of all dialects.
    #[must_use]
    pub const fn total(&self) -> u32 {
        self.centrifuge_json
            + self.centrifuge_protobuf
            + self.unidirectional
            + self.long_poll
            + self.native
            + self.native_websocket
            + self.goim
            + self.goim_v1
    }
}

/// What became of a publication: it is ordered, stored as its namespace asks, and on its way to the members.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Published {
    /// Where it stands in the room.
    pub position: Position,
    /// The members it was sent on to.
    pub reached: Reached,
    /// A repeat of an earlier idempotency key; the position is the first one's.
    pub is_duplicate: bool,
}

/// One connection in a room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PresenceEntry {
    /// The connection.
    pub client: ClientId,
    /// Its user.
    pub user: Box<str>,
    /// JSON from the connection token.
    pub connection_info: Option<Box<str>>,
    /// JSON from the subscription token.
    pub channel_info: Option<Box<str>>,
}

/// The client that published something, as others see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publisher {
    /// The text of its [`ClientId`].
    pub client: Box<str>,
    /// Its user.
    pub user: Box<str>,
    /// JSON from the connection token.
    pub connection_info: Option<Box<str>>,
    /// JSON from the subscription token.
    pub channel_info: Option<Box<str>>,
}

/// How many are in a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PresenceStats {
    /// Connections.
    pub clients: u32,
    /// Distinct users.
    pub users: u32,
}

/// Which part of a room's history.
#[derive(Debug, Clone)]
pub struct HistoryQuery {
    /// The room's name.
    pub room: Box<str>,
    /// At most so many publications; 0 asks for the position only, `None` for all.
    pub limit: Option<u32>,
    /// Only what came after this position (before it, when reversed).
    pub since: Option<Position>,
    /// Newest first.
    pub reverse: bool,
}

/// A stored publication.
#[derive(Debug, Clone)]
pub struct StoredPublication {
    /// Its number.
    pub offset: u64,
    /// Its payload, as it was published.
    pub payload: Payload,
    /// The payload as JSON dialects carry it, when it is JSON that they cannot carry verbatim: without line breaks.
    pub json: Option<Bytes>,
    /// The client that published it, if one did.
    pub publisher: Option<Box<Publisher>>,
    /// Its tags.
    pub tags: Vec<(Box<str>, Box<str>)>,
}

/// A part of a room's history.
#[derive(Debug, Clone)]
pub struct History {
    /// The room's newest position.
    pub position: Position,
    /// What was asked for.
    pub publications: Vec<StoredPublication>,
}

/// A room in a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoomInfo {
    /// Its name.
    pub name: Box<str>,
    /// Its members.
    pub members: u32,
}

/// The name of a connection: where it lives and 64 random bits, as 32 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClientId(pub u128);

/// Selects connections of a user.
#[derive(Debug, Clone)]
pub struct UserConnections {
    /// The user's name.
    pub user: Box<str>,
    /// Only this connection of theirs.
    pub client: Option<ClientId>,
    /// All but these.
    pub except: Vec<ClientId>,
}
