//! What a shard does as the home of rooms and users.

use std::sync::Arc;

use fanfare_wire::centrifuge::codes::DisconnectCode;

use crate::api::{ApiError, History, Message, Position, PresenceStats, Published, Reply, RoomInfo};
use crate::broadcast::News;
use crate::config::{KeyPolicy, RoomOptions};
use crate::conn::Phase;
use crate::core::Core;
use crate::encoding::Encoding;
use crate::gather::gather;
use crate::home::Home;
use crate::ids::{ConnRef, ShardId};
use crate::message::{Answer, Command, Delivery, Join, NotJoined, Post, ReplyTo, Request, Whom};
use crate::rights::is_room_name;
use crate::session;
use crate::slab::Key;

/// Members of a room whose presence clients may ask for: with more, one short question would have megabytes for an
/// answer. Its statistics, and the control API, have no such bound.
const PRESENCE_ENTRIES_MAX: u32 = 10_000;

impl Core {
    /// Handles one request of a client's shard, a service or another home.
    pub(crate) fn handle_request(&mut self, request: Request) {
        match request {
            Request::Publish { room, post, reply } => self.publish_here(&room, post, reply),
            Request::PublishAll { posts, reply } => {
                let published = posts
                    .into_iter()
                    .map(|(number, room, post)| (number, self.order(&room, post)));
                let published = published.collect();
                reply(Ok(published));
            }
            Request::Join(join) => self.join(&join),
            Request::Leave {
                home,
                encoding,
                conn,
            } => self.leave(home, encoding, conn),
            Request::Upstream { session, data } => session::upstream(self, &session, &data),
            Request::BindKey { key, conn } => self.bind_key_here(key, conn),
            Request::UnbindKey { key, conn } => self.keys.unbind(&key, conn),
            Request::Online {
                room,
                conn,
                version,
                seq,
            } => {
                let online = Delivery::Online {
                    conn,
                    version,
                    seq,
                    members: self.members_of(&room),
                };
                self.deliver(conn.shard(), online);
            }
            Request::Members { rooms, reply } => {
                let members = rooms
                    .into_iter()
                    .map(|(number, room)| (number, self.members_of(&room)));
                let members = members.collect();
                reply(Ok(members));
            }
            Request::PushTo {
                whom,
                names,
                message,
                reply,
            } => reply(Ok(self.push_to(whom, &names, &message))),
            Request::Resume { conn, then } => {
                if let Some(slot) = self.conns.slot_of(conn)
                    && let Some(state) = self.conns.get_mut(slot)
                {
                    state.requests = state.requests.saturating_sub(1);
                    if matches!(state.phase, Phase::Handshake | Phase::Open) {
                        then(self, slot);
                    }
                }
            }
            Request::Poll {
                session,
                conn,
                wait,
            } => session::poll::poll(self, &session, conn, wait),
            Request::Comet {
                session,
                conn,
                call,
            } => session::comet::take(self, &session, conn, call),
            Request::Polled { session, unheard } => session::poll::taken(self, session, &unheard),
            Request::Bind { user, conn } => {
                let at_most = self.shared.config.limits.connections_per_user_max;
                if !self.users.bind(user, conn, at_most) {
                    self.disconnect_elsewhere(conn, DisconnectCode::CONNECTION_LIMIT);
                }
            }
            Request::Unbind { user, conn } => self.users.unbind(&user, conn),
            Request::Presence { room, reply } => {
                let is_for_client = matches!(reply, ReplyTo::Conn { .. });
                let ask = |home: &mut Home| {
                    if is_for_client && home.members() > PRESENCE_ENTRIES_MAX {
                        return Err(ApiError::TooMuch);
                    }
                    home.presence()
                };
                let result = self.known_home(&room, ask, has_presence, Vec::new());
                self.answer(reply, result, Answer::Presence);
            }
            Request::PresenceStats { room, reply } => {
                let ask = |home: &mut Home| home.presence_stats();
                let result = self.known_home(&room, ask, has_presence, PresenceStats::default());
                self.answer(reply, result, Answer::PresenceStats);
            }
            Request::History { query, reply } => {
                let now_ms = self.now.ms;
                let ask =
                    |home: &mut Home| home.history(query.limit, query.since, query.reverse, now_ms);
                // Whoever asks does not make the room: its position is of no epoch yet.
                let nothing = History {
                    position: Position::default(),
                    publications: Vec::new(),
                };
                let result = self.known_home(&query.room, ask, has_history, nothing);
                self.answer(reply, result, Answer::History);
            }
            Request::HistoryRemove { room, reply } => {
                reply(self.known_home(&room, Home::history_remove, has_history, ()))
            }
            Request::Rooms {
                pattern,
                reply,
                is_forwarded: true,
            } => {
                reply(Ok(self.rooms_matching(pattern.as_deref())));
            }
            Request::Rooms {
                pattern,
                reply,
                is_forwarded: false,
            } => {
                let replies = gather(
                    usize::from(self.mesh.shards()),
                    reply,
                    |parts: Vec<Vec<RoomInfo>>| parts.concat(),
                );
                self.request_all(replies, |reply| {
                    let pattern = pattern.clone();
                    Request::Rooms {
                        pattern,
                        reply,
                        is_forwarded: true,
                    }
                });
            }
            Request::User {
                who,
                command,
                reply,
            } => {
                let conns = self.users.connections(&who.user);
                let is_meant = |conn: &&ConnRef| {
                    who.client.is_none_or(|client| client.conn() == **conn)
                        && !who.except.iter().any(|client| client.conn() == **conn)
                };
                let meant: Vec<ConnRef> = conns.iter().filter(is_meant).copied().collect();
                for &conn in &meant {
                    self.deliver(
                        conn.shard(),
                        Delivery::Command {
                            conn,
                            command: command.clone(),
                        },
                    );
                }
                reply(Ok(u32::try_from(meant.len()).unwrap_or(u32::MAX)));
            }
            Request::Client {
                client,
                command,
                reply,
            } => reply(Ok(self.command_client(client, command))),
            Request::PushAll {
                message,
                reply,
                is_forwarded: true,
            } => reply(Ok(self.push_all(&message))),
            Request::PushAll {
                message,
                reply,
                is_forwarded: false,
            } => {
                let replies = gather(usize::from(self.mesh.shards()), reply, |parts: Vec<u32>| {
                    parts.into_iter().sum()
                });
                self.request_all(replies, |reply| {
                    let message = Arc::clone(&message);
                    Request::PushAll {
                        message,
                        reply,
                        is_forwarded: true,
                    }
                });
            }
        }
    }

    /// A connection has a key of goim. Who is one too many, or makes one so, has to go.
    fn bind_key_here(&mut self, key: Box<str>, conn: ConnRef) {
        let goim = &self.shared.config.goim;
        let (at_most, policy) = (goim.key_connections_max, goim.key_policy);
        let oldest = (policy == KeyPolicy::CloseOldest)
            .then(|| self.keys.connections(&key))
            .filter(|connections| connections.len() >= at_most as usize)
            .and_then(|connections| connections.first().copied());
        if let Some(oldest) = oldest {
            self.keys.unbind(&key, oldest);
            self.disconnect_elsewhere(oldest, DisconnectCode::CONNECTION_LIMIT);
        }
        if !self.keys.bind(key, conn, at_most) {
            self.disconnect_elsewhere(conn, DisconnectCode::CONNECTION_LIMIT);
        }
    }

    fn disconnect_elsewhere(&mut self, conn: ConnRef, code: DisconnectCode) {
        let command = Command::Disconnect {
            code: code.number(),
            reason: code.reason().into(),
        };
        self.deliver(conn.shard(), Delivery::Command { conn, command });
    }

    fn members_of(&self, room: &str) -> u32 {
        let home = self.homes.find(room);
        home.and_then(|key| self.homes.slab.get(key))
            .map_or(0, Home::members)
    }

    fn push_to(&mut self, whom: Whom, names: &[Box<str>], message: &Arc<Message>) -> u32 {
        let directory = match whom {
            Whom::Users => &self.users,
            Whom::Keys => &self.keys,
        };
        let conns: Vec<ConnRef> = names
            .iter()
            .flat_map(|name| directory.connections(name))
            .copied()
            .collect();
        for &conn in &conns {
            let message = Arc::clone(message);
            let command = Command::Push { message };
            self.deliver(conn.shard(), Delivery::Command { conn, command });
        }
        u32::try_from(conns.len()).unwrap_or(u32::MAX)
    }

    /// Asks all shards the same.
    fn request_all<T>(&mut self, replies: Vec<Reply<T>>, request: impl Fn(Reply<T>) -> Request) {
        for (shard, reply) in (0..).zip(replies) {
            self.request(ShardId(shard), request(reply));
        }
    }

    /// Publishes to a room: at once when its home is this shard, and then without a copy of its name.
    pub(crate) fn publish(&mut self, room: &str, post: Post, reply: ReplyTo<Published>) {
        let home = self.shared.home_of(room);
        if home == self.id {
            self.publish_here(room, post, reply);
        } else {
            let room = room.into();
            self.mesh
                .request(home, Request::Publish { room, post, reply });
        }
    }

    fn publish_here(&mut self, room: &str, post: Post, reply: ReplyTo<Published>) {
        let result = self.order(room, post);
        self.answer(reply, result, Answer::Published);
    }

    fn order(&mut self, room: &str, post: Post) -> Result<Published, ApiError> {
        let key = self.home(room)?;
        let home = self.homes.slab.get_mut(key).ok_or(ApiError::NotAvailable)?;
        let ordered = home.order(post, self.now.ms);
        let Some(publication) = ordered.publication else {
            self.gauges.counters.publications_duplicate.inc();
            return Ok(ordered.published);
        };
        self.gauges.counters.publications.inc();
        let delta = home.delta(&publication, &mut self.deltas);
        self.broadcast(key, News::Publication(&publication, delta.as_deref()));
        // Last, so that it need not be shared.
        if let Some(home) = self.homes.slab.get_mut(key) {
            home.keep(publication, self.now.ms);
        }
        Ok(ordered.published)
    }

    fn join(&mut self, join: &Join) {
        let now_ms = self.now.ms;
        let found = self.home(&join.name).and_then(|key| {
            let home = self.homes.slab.get_mut(key).ok_or(ApiError::NotAvailable)?;
            let is_refused = join.rejects_unrecovered
                && join
                    .recover
                    .is_some_and(|since| !home.can_recover(since, now_ms));
            if is_refused {
                return Err(ApiError::UnrecoverablePosition);
            }
            Ok(key)
        });
        let key = match found {
            Ok(key) => key,
            Err(error) => {
                let refused = NotJoined {
                    conn: join.conn,
                    join: join.number,
                    request: join.request,
                    local: join.local,
                    error,
                };
                self.deliver(join.conn.shard(), Delivery::NotJoined(refused));
                return;
            }
        };
        let id = self.id;
        let Some(home) = self.homes.slab.get_mut(key) else {
            return;
        };
        let tells = home.options.join_leave && !home.is_present(join.conn);
        let joined = home.join(key, id, join, now_ms);
        if tells && let Some(entry) = &join.presence {
            // Before the newcomer's own answer, with which it takes its place: nobody hears of itself.
            self.broadcast(key, News::Presence(entry, true));
        }
        self.deliver(join.conn.shard(), Delivery::Joined(Box::new(joined)));
    }

    fn leave(&mut self, key: Key<Home>, encoding: Encoding, conn: ConnRef) {
        let now_ms = self.now.ms;
        let Some(home) = self.homes.slab.get_mut(key) else {
            return;
        };
        let entry = home.leave(conn, encoding, now_ms);
        if home.options.join_leave
            && let Some(entry) = entry
        {
            self.broadcast(key, News::Presence(&entry, false));
        }
    }

    /// The home of a room, which begins to exist if it is a name that may be one.
    fn home(&mut self, room: &str) -> Result<Key<Home>, ApiError> {
        if let Some(key) = self.homes.find(room) {
            return Ok(key);
        }
        if !is_room_name(room, self.shared.config.limits.room_name_bytes_max) {
            return Err(ApiError::BadRequest);
        }
        let options = Arc::clone(self.shared.options.of(room).ok_or(ApiError::UnknownRoom)?);
        let (id, shards, now_ms) = (self.id, self.mesh.shards(), self.now.ms);
        self.homes
            .find_or_insert(&room.into(), &options, id, shards, now_ms)
            .ok_or(ApiError::TooManyRooms)
    }

    /// Asks a room that may not exist, which then answers `nothing`, if its namespace keeps what is asked for.
    fn known_home<T>(
        &mut self,
        room: &str,
        ask: impl FnOnce(&mut Home) -> Result<T, ApiError>,
        is_kept: fn(&RoomOptions) -> bool,
        nothing: T,
    ) -> Result<T, ApiError> {
        if let Some(home) = self
            .homes
            .find(room)
            .and_then(|key| self.homes.slab.get_mut(key))
        {
            return ask(home);
        }
        if !is_room_name(room, self.shared.config.limits.room_name_bytes_max) {
            return Err(ApiError::BadRequest);
        }
        match self.shared.options.of(room) {
            None => Err(ApiError::UnknownRoom),
            Some(options) if !is_kept(options) => Err(ApiError::NotAvailable),
            Some(_) => Ok(nothing),
        }
    }

    fn rooms_matching(&self, pattern: Option<&str>) -> Vec<RoomInfo> {
        let homes = self.homes.slab.iter().filter(|home| home.members() > 0);
        let named = homes.filter(|home| pattern.is_none_or(|pattern| glob(pattern, &home.name)));
        named
            .map(|home| RoomInfo {
                name: (&*home.name).into(),
                members: home.members(),
            })
            .collect()
    }

    fn answer<T>(
        &mut self,
        reply: ReplyTo<T>,
        result: Result<T, ApiError>,
        answer: fn(Result<T, ApiError>) -> Answer,
    ) {
        match reply {
            ReplyTo::Nobody if result.is_err() => self.gauges.counters.client_errors.inc(),
            ReplyTo::Nobody => {}
            ReplyTo::Service(reply) => reply(result),
            ReplyTo::Conn { conn, request } => {
                self.deliver(
                    conn.shard(),
                    Delivery::Answer {
                        conn,
                        request,
                        answer: answer(result),
                    },
                );
            }
        }
    }
}

fn has_presence(options: &RoomOptions) -> bool {
    options.presence
}

fn has_history(options: &RoomOptions) -> bool {
    options.history_size > 0
}

/// Whether a name matches a pattern in which `*` stands for any number of characters.
fn glob(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or("");
    let Some(mut rest) = name.strip_prefix(first) else {
        return false;
    };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        let Some(at) = rest.find(part) else {
            return false;
        };
        rest = &rest[at + part.len()..];
    }
    true
}

#[cfg(test)]
mod tests {
    use super::glob;

    #[test]
    fn globs() {
        for (pattern, name, expected) in [
            ("a", "a", true),
            ("a", "ab", false),
            ("*", "", true),
            ("*", "anything", true),
            ("chat:*", "chat:1", true),
            ("chat:*", "cha", false),
            ("*:1", "chat:1", true),
            ("a*b*c", "a1b2c", true),
            ("a*b*c", "acb", false),
            ("a*a", "a", false),
        ] {
            assert_eq!(glob(pattern, name), expected, "{pattern} on {name}");
        }
    }
}
