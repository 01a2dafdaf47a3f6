//! A simulated service: publishes, pushes and asks through the engine's handle, and counts the answers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use fanfare_engine::Handle;
use fanfare_engine::api::{
    ApiError, ClientId, History, HistoryQuery, Payload, PresenceEntry, Publish, Published, Reply,
    UserConnections,
};
use fastrand::Rng;

use super::client::Client;
use super::dialect::Position;
use super::ledger::{Ledger, PayloadId, Room, Violation};

/// The "room" of payloads that are pushed to connections.
pub(crate) const NO_ROOM: &str = "";

/// The code that users are sent away with.
pub(crate) const KICKED: u16 = 4001;

/// An answer on its way back to whoever asked.
#[derive(Debug)]
enum Answer {
    Published(Result<Published, ApiError>),
    PublishedAll(Result<Vec<Result<Published, ApiError>>, ApiError>),
    Count(Result<u32, ApiError>),
    History(Result<History, ApiError>),
    Presence(Result<Vec<PresenceEntry>, ApiError>),
    Other,
}

#[derive(Debug)]
enum Asked {
    Publish {
        id: PayloadId,
    },
    /// Several at once, and their rooms.
    PublishAll {
        posts: Vec<(PayloadId, Room)>,
    },
    /// A push to this socket's connection, and to it alone.
    PushConnection {
        id: PayloadId,
        socket: u32,
    },
    PushAll {
        id: PayloadId,
        sockets: Vec<u32>,
    },
    History {
        room: Room,
    },
    Presence {
        room: Room,
    },
    Other,
}

type Mailbox = Arc<Mutex<Vec<(u64, Answer)>>>;

/// A service and what it waits for.
pub(crate) struct Service {
    handle: Handle,
    mailbox: Mailbox,
    asked: BTreeMap<u64, Asked>,
    ticket_next: u64,
    rng: Rng,
    /// Pushes that these sockets must get if their connections last.
    promised: BTreeSet<(u32, PayloadId)>,
    pub(crate) kicked: BTreeMap<String, u16>,
    idempotency: Option<(Room, String, PayloadId, Vec<u8>)>,
    repeated: BTreeSet<PayloadId>,
    /// Who was in the rooms that tell, when last asked: names of connections.
    presences: BTreeMap<Room, BTreeSet<String>>,
    pub(crate) answered: u64,
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Service")
            .field("asked", &self.asked)
            .finish_non_exhaustive()
    }
}

impl Service {
    pub(crate) fn new(handle: Handle, rng: Rng) -> Self {
        Self {
            handle,
            mailbox: Mailbox::default(),
            asked: BTreeMap::new(),
            ticket_next: 0,
            rng,
            promised: BTreeSet::new(),
            kicked: BTreeMap::new(),
            idempotency: None,
            repeated: BTreeSet::new(),
            presences: BTreeMap::new(),
            answered: 0,
        }
    }

    /// Does something at random.
    pub(crate) fn step(&mut self, ledger: &mut Ledger, rooms: &[Room], clients: &[Client]) {
        let room = rooms[self.rng.usize(0..rooms.len())].clone();
        let client = &clients[self.rng.usize(0..clients.len())];
        match self.rng.u32(0..40) {
            0..16 => self.publish(ledger, &room),
            16..20 => self.publish_several(ledger, rooms),
            20..24 => self.publish_once(ledger, &room),
            24 | 25 => self.push_all(ledger, clients),
            26 | 27 => self.push_connection(ledger, client),
            28 => {
                let (_, bytes) = ledger.payload(&NO_ROOM.into(), 10);
                let reply = self.reply(Asked::Other, Answer::Count);
                self.handle.push_user(&client.user, payload(bytes), reply);
            }
            29 | 30 => {
                let reply = self.reply(Asked::Other, Answer::Count);
                self.handle.subscribe(user(client), &room, reply);
            }
            31 => {
                let reply = self.reply(Asked::Other, Answer::Count);
                self.handle.unsubscribe(user(client), &room, reply);
            }
            32 | 38 | 39 => {
                self.kicked.insert(client.user.clone(), KICKED);
                let reply = self.reply(Asked::Other, Answer::Count);
                self.handle
                    .disconnect(user(client), KICKED, "begone", reply);
            }
            33 | 34 => self.ask_history(&room),
            35 => {
                self.ask_presence(&room);
            }
            36 => {
                let reply = self.reply(Asked::Other, |_| Answer::Other);
                self.handle.presence_stats(&room, reply);
            }
            37 => {
                let reply = self.reply(Asked::Other, |_| Answer::Other);
                self.handle.rooms(None, reply);
            }
            _ => {}
        }
    }

    pub(crate) fn publish(&mut self, ledger: &mut Ledger, room: &Room) {
        let (id, bytes) = ledger.payload(room, self.rng.usize(0..100));
        let skip_history = room.starts_with("kept") && self.rng.u32(0..10) == 0;
        if skip_history {
            ledger.is_not_numbered(id);
        }
        self.send(id, room, bytes, skip_history, None);
    }

    /// Publishes to some rooms at once, to one of them perhaps more than once.
    fn publish_several(&mut self, ledger: &mut Ledger, rooms: &[Room]) {
        let (mut posts, mut publications) = (Vec::new(), Vec::new());
        for _ in 0..self.rng.usize(0..8) {
            let room = &rooms[self.rng.usize(0..rooms.len())];
            let (id, bytes) = ledger.payload(room, self.rng.usize(0..100));
            posts.push((id, room.clone()));
            publications.push(Publish {
                room: (&**room).into(),
                payload: payload(bytes),
                tags: Vec::new(),
                skip_history: false,
                idempotency_key: None,
            });
        }
        let reply = self.reply(Asked::PublishAll { posts }, Answer::PublishedAll);
        self.handle.publish_all(publications, reply);
    }

    /// The last word in a room.
    pub(crate) fn publish_last(&mut self, ledger: &mut Ledger, room: &Room) {
        let (id, bytes) = ledger.payload(room, 0);
        self.send(id, room, bytes, false, None);
    }

    /// Publishes the same under the same key twice, which is once.
    fn publish_once(&mut self, ledger: &mut Ledger, room: &Room) {
        let (room, key, id, bytes) = self.idempotency.take().unwrap_or_else(|| {
            let (id, bytes) = ledger.payload(room, 10);
            let once = (room.clone(), format!("key {id}"), id, bytes);
            self.idempotency = Some(once.clone());
            self.repeated.insert(id);
            once
        });
        self.send(id, &room, bytes, false, Some(key.into()));
    }

    fn send(
        &mut self,
        id: PayloadId,
        room: &Room,
        bytes: Vec<u8>,
        skip_history: bool,
        idempotency_key: Option<Box<str>>,
    ) {
        let publish = Publish {
            room: (&**room).into(),
            payload: payload(bytes),
            tags: Vec::new(),
            skip_history,
            idempotency_key,
        };
        let reply = self.reply(Asked::Publish { id }, Answer::Published);
        self.handle.publish(publish, reply);
    }

    fn push_all(&mut self, ledger: &mut Ledger, clients: &[Client]) {
        let (id, bytes) = ledger.payload(&NO_ROOM.into(), 10);
        let sockets = clients
            .iter()
            .filter(|client| client.is_open())
            .filter_map(Client::socket)
            .collect();
        let reply = self.reply(Asked::PushAll { id, sockets }, Answer::Count);
        self.handle.push_all(payload(bytes).into(), reply);
    }

    fn push_connection(&mut self, ledger: &mut Ledger, client: &Client) {
        let Some(name) = client
            .connection
            .as_ref()
            .and_then(|connection| connection.client.as_deref())
        else {
            return;
        };
        let (Ok(name), Some(socket)) = (name.parse::<ClientId>(), client.socket()) else {
            return;
        };
        let (id, bytes) = ledger.payload(&NO_ROOM.into(), 10);
        let reply = self.reply(Asked::PushConnection { id, socket }, Answer::Count);
        self.handle.push_connection(name, payload(bytes), reply);
    }

    pub(crate) fn ask_history(&mut self, room: &Room) {
        let query = HistoryQuery {
            room: (&**room).into(),
            limit: None,
            since: None,
            reverse: false,
        };
        let reply = self.reply(Asked::History { room: room.clone() }, Answer::History);
        self.handle.history(query, reply);
    }

    pub(crate) fn ask_presence(&mut self, room: &Room) {
        let reply = self.reply(Asked::Presence { room: room.clone() }, Answer::Presence);
        self.handle.presence(room, reply);
    }

    pub(crate) fn forget_presences(&mut self) {
        self.presences.clear();
    }

    fn reply<T: 'static>(
        &mut self,
        asked: Asked,
        answer: impl FnOnce(Result<T, ApiError>) -> Answer + Send + 'static,
    ) -> Reply<T> {
        let ticket = self.ticket_next;
        self.ticket_next += 1;
        self.asked.insert(ticket, asked);
        let mailbox = Arc::clone(&self.mailbox);
        Box::new(move |result| {
            mailbox
                .lock()
                .expect("nobody panics while holding it")
                .push((ticket, answer(result)))
        })
    }

    /// Takes in the answers that have come.
    pub(crate) fn listen(&mut self, ledger: &mut Ledger) -> Result<(), Violation> {
        let answers =
            std::mem::take(&mut *self.mailbox.lock().expect("nobody panics while holding it"));
        for (ticket, answer) in answers {
            self.answered += 1;
            let asked = self
                .asked
                .remove(&ticket)
                .ok_or("a service's request was answered twice")?;
            self.understand(asked, answer, ledger)?;
        }
        Ok(())
    }

    fn understand(
        &mut self,
        asked: Asked,
        answer: Answer,
        ledger: &mut Ledger,
    ) -> Result<(), Violation> {
        match (asked, answer) {
            (Asked::Publish { id }, Answer::Published(Ok(published))) => {
                let position = Position {
                    epoch: published.position.epoch,
                    offset: published.position.offset,
                };
                ledger.acked(id, Some(position))
            }
            (
                Asked::Publish { id },
                Answer::Published(Err(ApiError::Busy | ApiError::Stopping)),
            ) => {
                // Of two with one key, one may go well.
                if !self.repeated.contains(&id) {
                    ledger.failed(id);
                }
                Ok(())
            }
            (Asked::PublishAll { posts }, Answer::PublishedAll(Ok(results)))
                if results.len() == posts.len() =>
            {
                let mut newest = BTreeMap::new();
                for ((id, room), result) in posts.into_iter().zip(results) {
                    match result {
                        Ok(published) => {
                            let position = Position {
                                epoch: published.position.epoch,
                                offset: published.position.offset,
                            };
                            let before = newest.insert(room, position.offset);
                            if before.is_some_and(|before| before >= position.offset) {
                                return Err(format!("payload {id} overtook one before it"));
                            }
                            ledger.acked(id, Some(position))?;
                        }
                        Err(ApiError::Busy | ApiError::Stopping) => ledger.failed(id),
                        Err(error) => return Err(format!("payload {id} was refused: {error}")),
                    }
                }
                Ok(())
            }
            (Asked::PushConnection { id, socket }, Answer::Count(Ok(1))) => {
                self.promised.insert((socket, id));
                Ok(())
            }
            (Asked::PushAll { id, sockets }, Answer::Count(Ok(_))) => {
                self.promised
                    .extend(sockets.into_iter().map(|socket| (socket, id)));
                Ok(())
            }
            (Asked::History { room }, Answer::History(Ok(history))) => {
                history_is_right(ledger, &room, &history)
            }
            (Asked::Presence { room }, Answer::Presence(Ok(entries))) => {
                let names = entries.iter().map(|entry| entry.client.to_string());
                self.presences.insert(room, names.collect());
                Ok(())
            }
            (Asked::Publish { id }, answer) => Err(format!(
                "publishing payload {id} was answered with {answer:?}"
            )),
            (Asked::PublishAll { posts }, answer) => {
                Err(format!("publishing {posts:?} was answered with {answer:?}"))
            }
            _ => Ok(()),
        }
    }

    /// Requests that nobody has answered.
    pub(crate) fn unanswered(&self) -> Vec<String> {
        self.asked
            .values()
            .map(|asked| format!("{asked:?}"))
            .collect()
    }

    /// Rooms that tell who is in them tell the truth.
    pub(crate) fn check_presence(&self, clients: &[Client]) -> Result<(), Violation> {
        for (room, names) in &self.presences {
            let members = clients.iter().filter_map(|client| client.member_name(room));
            let members: BTreeSet<String> = members.map(str::to_owned).collect();
            if *names != members {
                return Err(format!(
                    "{room} names as present {names:?}, its members are {members:?}"
                ));
            }
        }
        Ok(())
    }

    /// Nobody got a push twice, and those who stayed got what they were promised.
    pub(crate) fn check_pushes(
        &self,
        ledger: &Ledger,
        clients: &[Client],
    ) -> Result<(), Violation> {
        for client in clients {
            let (Some(connection), Some(socket)) = (&client.connection, client.socket()) else {
                continue;
            };
            let mut got = BTreeSet::new();
            for message in &connection.messages {
                let id = ledger.recognise(&NO_ROOM.into(), message)?;
                if !got.insert(id) {
                    return Err(format!("{} got push {id} twice", client.user));
                }
            }
            let mut promised = self
                .promised
                .iter()
                .filter(|&&(to, _)| to == socket && client.is_open());
            if let Some((_, id)) = promised.find(|(_, id)| !got.contains(id)) {
                return Err(format!(
                    "{} (socket {socket}) never got push {id}",
                    client.user
                ));
            }
        }
        Ok(())
    }
}

fn history_is_right(ledger: &mut Ledger, room: &Room, history: &History) -> Result<(), Violation> {
    let epoch = history.position.epoch;
    for publication in &history.publications {
        let id = ledger.recognise(room, &publication.payload.bytes)?;
        ledger.stored(
            id,
            Position {
                epoch,
                offset: publication.offset,
            },
        )?;
    }
    let newest = history
        .publications
        .last()
        .map(|publication| publication.offset);
    let offsets = history
        .publications
        .iter()
        .map(|publication| publication.offset);
    let is_whole = offsets
        .clone()
        .zip(offsets.skip(1))
        .all(|(one, next)| one + 1 == next);
    if !is_whole || newest.is_some_and(|newest| newest != history.position.offset) {
        return Err(format!(
            "the history of {room} has holes, or ends before {}: {newest:?}",
            history.position.offset
        ));
    }
    Ok(())
}

fn payload(bytes: Vec<u8>) -> Payload {
    Payload {
        bytes: Bytes::from(bytes),
        is_json: true,
    }
}

fn user(client: &Client) -> UserConnections {
    UserConnections {
        user: client.user.as_str().into(),
        client: None,
        except: Vec::new(),
    }
}
