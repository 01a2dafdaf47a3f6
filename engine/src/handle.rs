//! How services reach a running engine, from any thread.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use crate::api::{
    ApiError, ClientId, History, HistoryQuery, Message, Payload, PresenceEntry, PresenceStats,
    Publish, Published, Reply, RoomInfo, UserConnections,
};
use crate::core::millis;
use crate::counters::{Gauges, ShardSnapshot};
use crate::gather::gather;
use crate::ids::ShardId;
use crate::message::{Command, NumberedAnswer, NumberedPost, Post, ReplyTo, Request, Whom};
use crate::rights::is_room_name;
use crate::shared::Shared;

/// A way to ask things of a running engine.
///
/// Nothing here waits: an answer comes through its [`Reply`], exactly once, on a shard's thread; or at once with
/// [`ApiError::Busy`] when the shard's inbox is full, and then nothing was done.
#[derive(Debug, Clone)]
pub struct Handle {
    pub(crate) shared: Shared,
    pub(crate) gauges: Arc<[Arc<Gauges>]>,
    pub(crate) started: Instant,
}

impl Handle {
    /// Publishes to a room.
    pub fn publish(&self, publish: Publish, reply: Reply<Published>) {
        let home = self.shared.home_of(&publish.room);
        let (room, post) = Post::of_service(publish);
        let reply = ReplyTo::Service(reply);
        self.submit(home, Request::Publish { room, post, reply });
    }

    /// Publishes several at once, each as if by itself, at the cost of one request per shard. Those of one room are
    /// ordered as they are given here; what became of each is answered in that order, too.
    ///
    /// A shard takes its part in one go, and what it has to deliver of it waits in memory for room in the inboxes of
    /// others: pass on at most some hundreds.
    pub fn publish_all(
        &self,
        publications: Vec<Publish>,
        reply: Reply<Vec<Result<Published, ApiError>>>,
    ) {
        let posts = (0..).zip(publications).map(|(number, publish)| {
            let (room, post) = Post::of_service(publish);
            (number, room, post)
        });
        let homes = self.by_home(posts.collect(), |(_, room, _): &NumberedPost| {
            self.shared.home_of(room)
        });
        if homes.is_empty() {
            return reply(Ok(Vec::new()));
        }
        let replies = gather(homes.len(), reply, |parts: Vec<Vec<NumberedAnswer>>| {
            let mut answers = parts.concat();
            answers.sort_unstable_by_key(|(number, _)| *number);
            answers.into_iter().map(|(_, answer)| answer).collect()
        });
        for ((home, posts), reply) in homes.into_iter().zip(replies) {
            self.submit(home, Request::PublishAll { posts, reply });
        }
    }

    /// Who is in a room.
    pub fn presence(&self, room: &str, reply: Reply<Vec<PresenceEntry>>) {
        let reply = ReplyTo::Service(reply);
        self.submit(
            self.shared.home_of(room),
            Request::Presence {
                room: room.into(),
                reply,
            },
        );
    }

    /// How many are in a room.
    pub fn presence_stats(&self, room: &str, reply: Reply<PresenceStats>) {
        let reply = ReplyTo::Service(reply);
        self.submit(
            self.shared.home_of(room),
            Request::PresenceStats {
                room: room.into(),
                reply,
            },
        );
    }

    /// A part of a room's history.
    pub fn history(&self, query: HistoryQuery, reply: Reply<History>) {
        let home = self.shared.home_of(&query.room);
        self.submit(
            home,
            Request::History {
                query,
                reply: ReplyTo::Service(reply),
            },
        );
    }

    /// Removes a room's history. Its numbering goes on.
    pub fn history_remove(&self, room: &str, reply: Reply<()>) {
        self.submit(
            self.shared.home_of(room),
            Request::HistoryRemove {
                room: room.into(),
                reply,
            },
        );
    }

    /// The rooms that have members, with names that match a pattern in which `*` stands for anything.
    pub fn rooms(&self, pattern: Option<&str>, reply: Reply<Vec<RoomInfo>>) {
        self.submit(
            ShardId(0),
            Request::Rooms {
                pattern: pattern.map(Into::into),
                reply,
                is_forwarded: false,
            },
        );
    }

    /// Makes connections of a user members of a room. Answers how many were addressed.
    pub fn subscribe(&self, who: UserConnections, room: &str, reply: Reply<u32>) {
        if let Err(error) = self.check_room(room) {
            return reply(Err(error));
        }
        self.command_user(who, Command::Subscribe { room: room.into() }, reply);
    }

    /// Takes connections of a user out of a room. Answers how many were addressed.
    pub fn unsubscribe(&self, who: UserConnections, room: &str, reply: Reply<u32>) {
        if let Err(error) = self.check_room(room) {
            return reply(Err(error));
        }
        self.command_user(who, Command::Unsubscribe { room: room.into() }, reply);
    }

    /// Disconnects connections of a user. Answers how many were addressed.
    pub fn disconnect(&self, who: UserConnections, code: u16, reason: &str, reply: Reply<u32>) {
        self.command_user(
            who,
            Command::Disconnect {
                code,
                reason: reason.into(),
            },
            reply,
        );
    }

    /// Sends a message to all connections of a user. Answers how many were addressed.
    pub fn push_user(&self, user: &str, payload: Payload, reply: Reply<u32>) {
        let who = UserConnections {
            user: user.into(),
            client: None,
            except: Vec::new(),
        };
        self.command_user(
            who,
            Command::Push {
                message: Arc::new(payload.into()),
            },
            reply,
        );
    }

    /// Sends a message to all connections of several users. Answers how many were addressed.
    pub fn push_users(&self, users: Vec<Box<str>>, message: Message, reply: Reply<u32>) {
        self.push_to(Whom::Users, users, message, reply);
    }

    /// Sends a message to all connections that have one of these keys of goim. Answers how many were addressed.
    pub fn push_keys(&self, keys: Vec<Box<str>>, message: Message, reply: Reply<u32>) {
        self.push_to(Whom::Keys, keys, message, reply);
    }

    fn push_to(&self, whom: Whom, names: Vec<Box<str>>, message: Message, reply: Reply<u32>) {
        let parts = self.by_home(names, |name| self.shared.home_of(name));
        if parts.is_empty() {
            return reply(Ok(0));
        }
        let replies = gather(parts.len(), reply, |parts: Vec<u32>| {
            parts.into_iter().sum()
        });
        let message = Arc::new(message);
        for ((home, names), reply) in parts.into_iter().zip(replies) {
            let message = Arc::clone(&message);
            self.submit(
                home,
                Request::PushTo {
                    whom,
                    names,
                    message,
                    reply,
                },
            );
        }
    }

    /// How many members each of these rooms has, in this order; 0 for one that there is not.
    pub fn room_members(&self, rooms: Vec<Box<str>>, reply: Reply<Vec<u32>>) {
        let numbered = (0..).zip(rooms).collect();
        let parts = self.by_home(numbered, |(_, room): &(u32, Box<str>)| {
            self.shared.home_of(room)
        });
        if parts.is_empty() {
            return reply(Ok(Vec::new()));
        }
        let replies = gather(parts.len(), reply, |parts: Vec<Vec<(u32, u32)>>| {
            let mut members = parts.concat();
            members.sort_unstable();
            members.into_iter().map(|(_, members)| members).collect()
        });
        for ((home, rooms), reply) in parts.into_iter().zip(replies) {
            self.submit(home, Request::Members { rooms, reply });
        }
    }

    /// Sorts items by their homes; only homes that have any are named.
    fn by_home<T>(&self, items: Vec<T>, home: impl Fn(&T) -> ShardId) -> Vec<(ShardId, Vec<T>)> {
        let mut parts: Vec<Vec<T>> = Vec::new();
        parts.resize_with(self.shared.inboxes.len(), Vec::new);
        for item in items {
            parts[home(&item).ix()].push(item);
        }
        let parts = (0..).map(ShardId).zip(parts);
        parts.filter(|(_, items)| !items.is_empty()).collect()
    }

    /// Sends a message to one connection. Answers 1, or 0 when there is no such connection.
    pub fn push_connection(&self, client: ClientId, payload: Payload, reply: Reply<u32>) {
        let shard = client.conn().shard();
        if shard.ix() >= self.shared.inboxes.len() {
            return reply(Ok(0));
        }
        self.submit(
            shard,
            Request::Client {
                client,
                command: Command::Push {
                    message: Arc::new(payload.into()),
                },
                reply,
            },
        );
    }

    /// Sends a message to every connection. Answers how many there are.
    /// Clients of goim get it if they accept its operation, or if it has none.
    pub fn push_all(&self, message: Message, reply: Reply<u32>) {
        self.submit(
            ShardId(0),
            Request::PushAll {
                message: Arc::new(message),
                reply,
                is_forwarded: false,
            },
        );
    }

    /// The counters of each shard.
    #[must_use]
    pub fn counters(&self) -> Vec<ShardSnapshot> {
        self.gauges
            .iter()
            .map(|gauges| gauges.counters.snapshot())
            .collect()
    }

    /// How long ago each shard's loop last turned.
    #[must_use]
    pub fn ages(&self) -> Vec<Duration> {
        let now_ms = millis(self.started.elapsed());
        let age = |turned_at_ms: u64| Duration::from_millis(now_ms.saturating_sub(turned_at_ms));
        self.gauges
            .iter()
            .map(|gauges| age(gauges.turned_at_ms.load(Relaxed)))
            .collect()
    }

    /// Stops accepting and disconnects everyone, each at a random moment within the window, with code 3001, upon
    /// which clients come back (to another server). The shards stop when everyone has gone.
    pub fn begin_drain(&self, window: Duration) {
        for inbox in &*self.shared.inboxes {
            inbox.begin_drain(millis(window));
        }
    }

    /// [`begin_drain`](Self::begin_drain) has been called.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.shared
            .inboxes
            .iter()
            .any(|inbox| inbox.drain_window_ms().is_some())
    }

    fn command_user(&self, who: UserConnections, command: Command, reply: Reply<u32>) {
        if who.user.is_empty() {
            return reply(Err(ApiError::BadRequest));
        }
        let home = self.shared.home_of(&who.user);
        self.submit(
            home,
            Request::User {
                who: Box::new(who),
                command,
                reply,
            },
        );
    }

    fn check_room(&self, room: &str) -> Result<(), ApiError> {
        if !is_room_name(room, self.shared.config.limits.room_name_bytes_max) {
            return Err(ApiError::BadRequest);
        }
        self.shared
            .options
            .of(room)
            .map(|_| ())
            .ok_or(ApiError::UnknownRoom)
    }

    fn submit(&self, shard: ShardId, request: Request) {
        let inbox = &self.shared.inboxes[shard.ix()];
        if inbox.is_closed() {
            request.refuse(ApiError::Stopping);
        } else if let Err(request) = inbox.submit(request) {
            request.refuse(ApiError::Busy);
        }
    }
}
