//! What shards say to each other.
//!
//! Two classes, two queues, and that is what keeps full queues from locking up: handling a [`Request`] sends
//! deliveries, handling a [`Delivery`] never waits for anyone. So a shard always takes deliveries, and takes
//! requests only while what it has to deliver finds room.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::api::{
    ApiError, ClientId, HistoryQuery, Message, Payload, Position, PresenceEntry, PresenceStats,
    Publish, Published, Publisher, Reply, RoomInfo, StoredPublication, UserConnections,
};
use crate::encoding::Encoding;
use crate::home::Home;
use crate::hooks::Resume;
use crate::ids::{ConnRef, ShardId};
use crate::room::Room;
use crate::session::SessionName;
use crate::slab::Key;

/// To the home of a room or of a user.
pub(crate) enum Request {
    /// A connection becomes a member of the room.
    Join(Box<Join>),
    /// A member has gone.
    Leave {
        home: Key<Home>,
        encoding: Encoding,
        conn: ConnRef,
    },
    /// A publication to be ordered.
    Publish {
        room: Box<str>,
        post: Post,
        reply: ReplyTo<Published>,
    },
    /// Publications of a service, to be ordered in this order.
    PublishAll {
        posts: Vec<NumberedPost>,
        reply: Reply<Vec<NumberedAnswer>>,
    },
    Presence {
        room: Box<str>,
        reply: ReplyTo<Vec<PresenceEntry>>,
    },
    PresenceStats {
        room: Box<str>,
        reply: ReplyTo<PresenceStats>,
    },
    History {
        query: HistoryQuery,
        reply: ReplyTo<crate::api::History>,
    },
    HistoryRemove {
        room: Box<str>,
        reply: Reply<()>,
    },
    /// The rooms that this shard is home of. The first shard to get it asks the others too.
    Rooms {
        pattern: Option<Arc<str>>,
        reply: Reply<Vec<RoomInfo>>,
        is_forwarded: bool,
    },
    /// Commands of a client whose answers go out on another connection.
    Upstream {
        session: SessionName,
        data: Bytes,
    },
    /// A connection of goim has a key. Other connections may have the same.
    BindKey {
        key: Box<str>,
        conn: ConnRef,
    },
    UnbindKey {
        key: Box<str>,
        conn: ConnRef,
    },
    /// How many are in the room of a client of goim, which has sent a heartbeat with this version and sequence.
    Online {
        room: Box<str>,
        conn: ConnRef,
        version: i16,
        seq: i32,
    },
    /// How many are in each of these rooms, which have a home here, with their numbers among those asked for.
    Members {
        rooms: Vec<(u32, Box<str>)>,
        reply: Reply<Vec<(u32, u32)>>,
    },
    /// A message to all connections of several users, or to those with several keys; answers how many it was sent on to.
    PushTo {
        whom: Whom,
        names: Vec<Box<str>>,
        message: Arc<Message>,
        reply: Reply<u32>,
    },
    /// The backend has answered a question about this connection.
    Resume {
        conn: ConnRef,
        then: Resume,
    },
    /// A request of this connection comes for what a session has to say, and waits so long.
    Poll {
        session: SessionName,
        conn: ConnRef,
        wait: Duration,
    },
    /// A request of this connection, one of the Comet calls, comes to a session.
    Comet {
        session: SessionName,
        conn: ConnRef,
        call: CometCall,
    },
    /// What a session has said has come to its request, and this of it, all or nothing, found it gone.
    Polled {
        session: ConnRef,
        unheard: Bytes,
    },
    /// The user has a new connection.
    Bind {
        user: Box<str>,
        conn: ConnRef,
    },
    /// The user has one connection less.
    Unbind {
        user: Box<str>,
        conn: ConnRef,
    },
    /// Something to be done with connections of a user; answers how many it was sent on to.
    User {
        who: Box<UserConnections>,
        command: Command,
        reply: Reply<u32>,
    },
    /// Something to be done with one connection here.
    Client {
        client: ClientId,
        command: Command,
        reply: Reply<u32>,
    },
    /// A message to every connection of this shard; answers how many there are. The first shard to get it forwards it.
    PushAll {
        message: Arc<Message>,
        reply: Reply<u32>,
        is_forwarded: bool,
    },
}

// A shard allocates `inbox_entries` of each at start.
const _: () = assert!(size_of::<Request>() <= 96 && size_of::<Delivery>() <= 80);

impl Request {
    /// Answers a request that is not carried out. What shards ask of each other is never refused.
    pub(crate) fn refuse(self, error: ApiError) {
        match self {
            Self::Publish {
                reply: ReplyTo::Service(reply),
                ..
            } => reply(Err(error)),
            Self::PublishAll { posts, reply } => {
                let refused = |(number, ..): NumberedPost| (number, Err(error));
                reply(Ok(posts.into_iter().map(refused).collect()));
            }
            Self::Presence {
                reply: ReplyTo::Service(reply),
                ..
            } => reply(Err(error)),
            Self::PresenceStats {
                reply: ReplyTo::Service(reply),
                ..
            } => reply(Err(error)),
            Self::History {
                reply: ReplyTo::Service(reply),
                ..
            } => reply(Err(error)),
            Self::HistoryRemove { reply, .. } => reply(Err(error)),
            Self::Rooms { reply, .. } => reply(Err(error)),
            Self::Members { reply, .. } => reply(Err(error)),
            Self::User { reply, .. }
            | Self::Client { reply, .. }
            | Self::PushTo { reply, .. }
            | Self::PushAll { reply, .. } => reply(Err(error)),
            Self::Publish { .. }
            | Self::Presence { .. }
            | Self::PresenceStats { .. }
            | Self::History { .. }
            | Self::Join(_)
            | Self::Leave { .. }
            | Self::Upstream { .. }
            | Self::BindKey { .. }
            | Self::UnbindKey { .. }
            | Self::Online { .. }
            | Self::Resume { .. }
            | Self::Poll { .. }
            | Self::Comet { .. }
            | Self::Polled { .. }
            | Self::Bind { .. }
            | Self::Unbind { .. } => {}
        }
    }
}

/// A publication, but for its room.
pub(crate) struct Post {
    pub(crate) payload: Payload,
    /// The client that publishes it, if one does.
    pub(crate) publisher: Option<Box<Publisher>>,
    /// What few publications have.
    pub(crate) extras: Option<Box<Extras>>,
}

/// What services may say of a publication.
#[derive(Default, PartialEq, Eq)]
pub(crate) struct Extras {
    pub(crate) tags: Vec<(Box<str>, Box<str>)>,
    pub(crate) skip_history: bool,
    pub(crate) idempotency_key: Option<Box<str>>,
}

/// One of several publications: its number among them, its room, and itself.
pub(crate) type NumberedPost = (u32, Box<str>, Post);

/// What became of the publication with this number.
pub(crate) type NumberedAnswer = (u32, Result<Published, ApiError>);

impl Post {
    /// Of a service: the room, and the rest.
    pub(crate) fn of_service(publish: Publish) -> (Box<str>, Self) {
        let extras = Extras {
            tags: publish.tags,
            skip_history: publish.skip_history,
            idempotency_key: publish.idempotency_key,
        };
        let post = Self {
            payload: publish.payload,
            publisher: None,
            extras: (extras != Extras::default()).then(|| Box::new(extras)),
        };
        (publish.room, post)
    }
}

/// A connection asks to become a member.
pub(crate) struct Join {
    pub(crate) conn: ConnRef,
    /// Tells this join from others of the same connection.
    pub(crate) number: u32,
    /// The connection's own number for this request.
    pub(crate) request: u32,
    /// The room as the connection's shard knows it.
    pub(crate) local: Key<Room>,
    pub(crate) name: Arc<str>,
    pub(crate) encoding: Encoding,
    /// Where the client left off.
    pub(crate) recover: Option<Position>,
    /// Rather not a member than one that has missed something.
    pub(crate) rejects_unrecovered: bool,
    /// Who it is, when the room keeps presence or tells of joins.
    pub(crate) presence: Option<PresenceEntry>,
}

/// The answer to a request that came to a session.
pub(crate) struct Polled {
    pub(crate) status: u16,
    pub(crate) media: Media,
    pub(crate) body: Bytes,
    /// The session that the body goes back to when the request does not live to hear it.
    pub(crate) session: Option<ConnRef>,
}

/// What an answer is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Media {
    /// Lines of JSON, or of text.
    Lines,
    /// One JSON value.
    Json,
}

impl Media {
    pub(crate) const fn content_type(self) -> &'static str {
        match self {
            Self::Lines => "application/x-ndjson",
            Self::Json => "application/json",
        }
    }
}

/// What a request of the Comet calls wants of a session.
pub(crate) enum CometCall {
    /// A message, and waits so long for one.
    Hear(Duration),
    /// To publish this.
    Say(Bytes),
}

/// What names stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whom {
    Users,
    Keys,
}

/// To the shard of a connection.
pub(crate) enum Delivery {
    /// A frame for the members of a room.
    Frame(Frame),
    Joined(Box<Joined>),
    NotJoined(NotJoined),
    /// The answer to a request of a connection.
    Answer {
        conn: ConnRef,
        request: u32,
        answer: Answer,
    },
    /// The answer to a request that came to a session.
    Polled {
        conn: ConnRef,
        polled: Polled,
    },
    /// The answer to a heartbeat.
    Online {
        conn: ConnRef,
        version: i16,
        seq: i32,
        members: u32,
    },
    /// A service, or the user's home, wants something done.
    Command {
        conn: ConnRef,
        command: Command,
    },
}

/// One encoded frame for one lane.
pub(crate) struct Frame {
    pub(crate) room: Key<Room>,
    pub(crate) encoding: Encoding,
    /// Offset of the room's last publication, this frame included.
    pub(crate) top: u64,
    pub(crate) bytes: Bytes,
    pub(crate) extra: Option<Box<FrameExtra>>,
}

impl Frame {
    /// What it takes of a lane at most.
    pub(crate) fn bytes_max(&self) -> usize {
        let whole = self.extra.as_ref().and_then(|extra| extra.whole.as_ref());
        self.bytes.len().max(whole.map_or(0, Bytes::len))
    }

    /// The same for another lane.
    pub(crate) fn of(&self, encoding: Encoding) -> Self {
        Self {
            encoding,
            bytes: self.bytes.clone(),
            extra: self.extra.clone(),
            ..*self
        }
    }
}

/// What few frames have.
#[derive(Default, Clone)]
pub(crate) struct FrameExtra {
    /// The same whole, when the frame is a difference, for those who have not heard what it is from.
    pub(crate) whole: Option<Bytes>,
    /// The tags that members' filters look at.
    pub(crate) tags: Vec<(Box<str>, Box<str>)>,
}

/// The home has counted the member; what is published from now on reaches it.
pub(crate) struct Joined {
    pub(crate) conn: ConnRef,
    pub(crate) join: u32,
    pub(crate) request: u32,
    pub(crate) local: Key<Room>,
    pub(crate) home: Key<Home>,
    pub(crate) home_shard: ShardId,
    /// The room's number in native publications.
    pub(crate) number: u32,
    pub(crate) encoding: Encoding,
    pub(crate) position: Position,
    /// What was missed: `None` when nothing was asked for or it is no longer there.
    pub(crate) recovered: Option<Vec<StoredPublication>>,
    pub(crate) was_recovering: bool,
}

/// The home could not count the member.
pub(crate) struct NotJoined {
    pub(crate) conn: ConnRef,
    pub(crate) join: u32,
    pub(crate) request: u32,
    pub(crate) local: Key<Room>,
    pub(crate) error: ApiError,
}

/// How many requests a question counts for whose answer is a list: a short one can have a megabyte for an answer, so
/// only a few may be under way.
pub(crate) fn listing_weight(requests_in_flight_max: u16) -> u16 {
    (requests_in_flight_max / 8).max(1)
}

/// Answers to requests of connections.
pub(crate) enum Answer {
    Published(Result<Published, ApiError>),
    Presence(Result<Vec<PresenceEntry>, ApiError>),
    PresenceStats(Result<PresenceStats, ApiError>),
    History(Result<crate::api::History, ApiError>),
}

/// What services do with connections.
#[derive(Debug, Clone)]
pub(crate) enum Command {
    Subscribe { room: Arc<str> },
    Unsubscribe { room: Arc<str> },
    Disconnect { code: u16, reason: Arc<str> },
    Push { message: Arc<Message> },
}

/// Who waits for an answer.
pub(crate) enum ReplyTo<T> {
    Nobody,
    Conn { conn: ConnRef, request: u32 },
    Service(Reply<T>),
}
