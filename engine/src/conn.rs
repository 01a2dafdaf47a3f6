//! A connection: what is kept for each of a million. Every byte here is a megabyte there.

use std::hash::BuildHasher;
use std::num::NonZeroU32;
use std::sync::Arc;

use bytes::Bytes;
use foldhash::fast::FixedState;
use smallvec::SmallVec;

use crate::api::ClientId;
use crate::authority::{Capability, Grant, Rights};
use crate::encoding::Encoding;
use crate::ids::{ConnRef, ShardId};
use crate::message::Join;
use crate::ring::Token;
use crate::room::Room;
use crate::session::goim::Subscriber;
use crate::session::{Greeting, Queued, Session, Voice};
use crate::slab::Key;

/// One client connection.
#[derive(Debug)]
pub(crate) struct Conn {
    pub(crate) phase: Phase,
    pub(crate) flow: Flow,
    /// The batch of sends it was last part of: one send per socket and batch.
    pub(crate) batch: u32,
    /// Operations of the ring that will still complete for it.
    pub(crate) in_ring: InRing,
    pub(crate) session: Session,
    pub(crate) voice: Voice,
    /// Set once it is authenticated.
    pub(crate) identity: Option<Box<Identity>>,
    /// Its place in the lane of everyone; `NOWHERE` before it is authenticated.
    pub(crate) everyone: u32,
    /// Most connections are in one room: that one lies inside.
    pub(crate) rooms: SmallVec<[Membership; 1]>,
    /// Output for it alone that the socket did not take. `None` when all is sent.
    pub(crate) unsent: Option<Box<Vec<u8>>>,
    /// Requests between shards that it waits for.
    pub(crate) requests: u16,
    pub(crate) awaits_pong: bool,
    /// What not every connection has.
    extra: Option<Box<Extra>>,
    /// When the message that is partial made its last progress, in seconds since the engine started.
    pub(crate) partial_since_s: Option<NonZeroU32>,
}

/// What not every connection has.
#[derive(Debug, Default)]
struct Extra {
    /// What connections of goim have, of which there may be a million as well.
    goim: Option<Subscriber>,
    more: Option<Box<More>>,
}

/// What few connections have.
#[derive(Debug, Default)]
pub(crate) struct More {
    /// It has not been told that it is let in.
    pub(crate) greeting: Option<Greeting>,
    /// Headers of the opening request, and of the connect command, that the backend wants to see.
    pub(crate) headers: Arc<[(Box<str>, Box<str>)]>,
    pub(crate) emulated_headers: Arc<[(Box<str>, Box<str>)]>,
    /// What the backend noted about it.
    pub(crate) meta: Option<Arc<str>>,
    /// What it has sent while the backend is asked who it is.
    pub(crate) queued: Option<Queued>,
    /// Data for it, by room, for when it has joined.
    pub(crate) room_data: Vec<(Key<Room>, Bytes)>,
    /// Rooms that the backend is asked about, and with which request.
    pub(crate) asked_into: Vec<(Box<str>, u32)>,
    /// What its subscription tokens say of it, by room.
    pub(crate) channel_info: Vec<(Key<Room>, Box<str>)>,
    /// The rooms that its token put it into.
    pub(crate) rooms_by_token: Vec<Box<str>>,
    /// The backend says how long it may stay, not a token.
    pub(crate) is_refreshed_by_backend: bool,
    /// The backend is being asked whether it may stay.
    pub(crate) is_refreshing: bool,
}

/// No place in a lane.
pub(crate) const NOWHERE: u32 = u32::MAX;

/// The life of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// It has until its timer to authenticate.
    Handshake,
    /// Authenticated.
    Open,
    /// It was told to go: input is discarded, output is still flushed.
    Finishing,
    /// All is sent and FIN too: waiting for the peer's, until the timer.
    Lingering,
    /// Waiting for the ring to let go of it.
    Closing,
}

/// Operations in flight on a connection's slot.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct InRing {
    pub(crate) receive: bool,
    pub(crate) poll: bool,
    pub(crate) shutdown: bool,
    /// Its receive ended for want of buffers, and will be armed again when there are some.
    pub(crate) starved: bool,
}

impl InRing {
    pub(crate) const fn is_empty(self) -> bool {
        !self.receive && !self.poll && !self.shutdown
    }
}

/// Whether a socket takes output, and from where it has to go on if it did not take a send whole: no other
/// source may write before that one has reached the end of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flow {
    Clear,
    /// Kept until whatever holds it lets go of it.
    Held,
    /// Waiting for the socket to become writable.
    Stalled(Source),
    /// It is; the source has the next send.
    Resuming(Source),
}

/// Where output comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// Its own unsent output.
    Direct,
    /// The lane of a room.
    Lane(Key<Room>),
}

/// A connection's place in a room.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Membership {
    pub(crate) room: Key<Room>,
    pub(crate) state: MembershipState,
    /// Unix seconds at which a subscription token ends; 0: it does not.
    pub(crate) expires_at: u32,
    /// Rights granted by a subscription token, and by whom it was wanted.
    pub(crate) rights: PackedRights,
    /// It is told publications as differences from the ones before.
    pub(crate) is_delta: bool,
    /// The backend says how long it goes on, not a token.
    pub(crate) is_refreshed_by_backend: bool,
    /// The filter that publications have to pass, by its number in the room; 0 for none.
    pub(crate) filter: u8,
}

/// A set of rights, and whether the server has put the client there, in a byte: each of a million connections has one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct PackedRights(u8);

impl PackedRights {
    pub(crate) fn new(rights: Rights, is_by_server: bool) -> Self {
        let bit = |is_set: bool, at: u8| u8::from(is_set) << at;
        Self(
            bit(rights.subscribe, 0)
                | bit(rights.publish, 1)
                | bit(rights.presence, 2)
                | bit(rights.history, 3)
                | bit(is_by_server, 4),
        )
    }

    pub(crate) const fn is_by_server(self) -> bool {
        self.0 >> 4 & 1 == 1
    }
}

impl From<PackedRights> for Rights {
    fn from(PackedRights(bits): PackedRights) -> Self {
        let is_set = |at: u8| bits >> at & 1 == 1;
        Self {
            subscribe: is_set(0),
            publish: is_set(1),
            presence: is_set(2),
            history: is_set(3),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MembershipState {
    /// Asked of the home under this number, which the shard gives out: a client may repeat its own.
    Joining { join: u32 },
    /// The place in the lane.
    Member { place: u32 },
}

/// When something ends, in Unix seconds; 0 for never.
pub(crate) fn unix_or_never(at: Option<u64>) -> u32 {
    at.map_or(0, |at| u32::try_from(at).unwrap_or(u32::MAX))
}

/// Who a connection is.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) user: Box<str>,
    /// What few tokens bring, apart, so that the others do not pay for it.
    extras: Option<Box<Extras>>,
    /// Unix seconds; 0: never.
    pub(crate) expires_at: u32,
    pub(crate) encoding: Encoding,
}

#[derive(Debug)]
struct Extras {
    info: Option<Box<str>>,
    capabilities: Box<[Capability]>,
    is_service: bool,
}

impl Identity {
    /// What a token grants to a client of this encoding.
    pub(crate) fn new(grant: Grant, encoding: Encoding) -> Self {
        let mut identity = Self {
            user: grant.user,
            extras: None,
            expires_at: 0,
            encoding,
        };
        identity.set_extras(grant.info, grant.capabilities, grant.is_service);
        identity.set_expiry(grant.expires_at);
        identity
    }

    /// Takes over what a newer token of the same user grants.
    pub(crate) fn refresh(&mut self, grant: Grant) {
        // Whether it is bound to its user has been decided.
        let is_service = self.is_service();
        self.set_extras(grant.info, grant.capabilities, is_service);
        self.set_expiry(grant.expires_at);
    }

    /// Goes on until then, with what is new.
    pub(crate) fn extend(
        &mut self,
        expires_at: Option<u64>,
        info: Option<Box<str>>,
        capabilities: Option<Vec<Capability>>,
    ) {
        if info.is_some() || capabilities.is_some() {
            let is_service = self.is_service();
            let (old_info, old) = match self.extras.take() {
                Some(extras) => (extras.info, extras.capabilities.into_vec()),
                None => (None, Vec::new()),
            };
            self.set_extras(info.or(old_info), capabilities.unwrap_or(old), is_service);
        }
        self.set_expiry(expires_at);
    }

    fn set_extras(
        &mut self,
        info: Option<Box<str>>,
        capabilities: Vec<Capability>,
        is_service: bool,
    ) {
        let capabilities = capabilities.into_boxed_slice();
        let has_any = info.is_some() || !capabilities.is_empty() || is_service;
        self.extras = has_any.then(|| {
            Box::new(Extras {
                info,
                capabilities,
                is_service,
            })
        });
    }

    /// It may do everything.
    pub(crate) fn is_service(&self) -> bool {
        self.extras.as_ref().is_some_and(|extras| extras.is_service)
    }

    fn set_expiry(&mut self, at: Option<u64>) {
        self.expires_at = unix_or_never(at);
    }

    /// JSON from its token.
    pub(crate) fn info(&self) -> Option<Box<str>> {
        self.extras.as_ref()?.info.clone()
    }

    /// What its token grants by name in this room.
    pub(crate) fn rights(&self, room: &str) -> Rights {
        let mut rights = Rights::default();
        for capability in self.extras.iter().flat_map(|extras| &extras.capabilities) {
            if capability
                .rooms
                .iter()
                .any(|pattern| matches(pattern, room))
            {
                rights = rights.and_also(capability.rights);
            }
        }
        rights
    }
}

impl Rights {
    /// The union of both sets.
    #[must_use]
    pub const fn and_also(self, other: Self) -> Self {
        Self {
            subscribe: self.subscribe || other.subscribe,
            publish: self.publish || other.publish,
            presence: self.presence || other.presence,
            history: self.history || other.history,
        }
    }
}

/// A name, or a beginning of names when it ends in `*`.
fn matches(pattern: &str, room: &str) -> bool {
    pattern
        .strip_suffix('*')
        .map_or(pattern == room, |prefix| room.starts_with(prefix))
}

impl Conn {
    fn new() -> Self {
        Self {
            phase: Phase::Handshake,
            flow: Flow::Clear,
            batch: 0,
            in_ring: InRing::default(),
            session: Session::default(),
            voice: Voice::None,
            identity: None,
            everyone: NOWHERE,
            rooms: SmallVec::new(),
            unsent: None,
            requests: 0,
            awaits_pong: false,
            extra: None,
            partial_since_s: None,
        }
    }

    /// What few connections have.
    pub(crate) fn more(&mut self) -> &mut More {
        let extra = self.extra.get_or_insert_default();
        extra.more.get_or_insert_default()
    }

    /// The same, if it has any of it.
    pub(crate) fn some_more(&self) -> Option<&More> {
        self.extra.as_ref()?.more.as_deref()
    }

    pub(crate) fn some_more_mut(&mut self) -> Option<&mut More> {
        self.extra.as_mut()?.more.as_deref_mut()
    }

    /// Forgets what it has of a room.
    pub(crate) fn forget_room(&mut self, room: Key<Room>) {
        if let Some(more) = self.some_more_mut() {
            more.channel_info.retain(|(of, _)| *of != room);
            more.room_data.retain(|(of, _)| *of != room);
        }
    }

    /// It is one of goim.
    pub(crate) fn set_goim(&mut self, subscriber: Subscriber) {
        self.extra.get_or_insert_default().goim = Some(subscriber);
    }

    pub(crate) fn is_of_goim(&self) -> bool {
        self.extra
            .as_ref()
            .is_some_and(|extra| extra.goim.is_some())
    }

    pub(crate) fn goim(&mut self) -> Option<&mut Subscriber> {
        self.extra.as_mut()?.goim.as_mut()
    }

    /// The backend says how long it may stay, and not a token.
    pub(crate) fn is_refreshed_by_backend(&self) -> bool {
        self.some_more()
            .is_some_and(|more| more.is_refreshed_by_backend)
    }

    pub(crate) fn encoding(&self) -> Option<Encoding> {
        self.identity.as_ref().map(|identity| identity.encoding)
    }

    /// The encoding of what it is sent of a room.
    pub(crate) fn encoding_in(&self, membership: &Membership) -> Option<Encoding> {
        Some(Encoding {
            is_delta: membership.is_delta,
            filter: membership.filter,
            ..self.encoding()?
        })
    }

    pub(crate) fn is_service(&self) -> bool {
        self.identity
            .as_ref()
            .is_some_and(|identity| identity.is_service())
    }

    pub(crate) fn membership(&self, room: Key<Room>) -> Option<&Membership> {
        self.rooms.iter().find(|membership| membership.room == room)
    }

    pub(crate) fn membership_mut(&mut self, room: Key<Room>) -> Option<&mut Membership> {
        self.rooms
            .iter_mut()
            .find(|membership| membership.room == room)
    }

    /// Takes output: it is authenticated and has not been told to go.
    pub(crate) fn is_open(&self) -> bool {
        self.phase == Phase::Open
    }
}

impl Membership {
    /// The place in the lane, or `NOWHERE` while it is joining.
    pub(crate) const fn place(&self) -> u32 {
        match self.state {
            MembershipState::Member { place } => place,
            MembershipState::Joining { .. } => NOWHERE,
        }
    }

    pub(crate) fn member(room: Key<Room>, place: u32) -> Self {
        Self {
            room,
            state: MembershipState::Member { place },
            expires_at: 0,
            rights: PackedRights::default(),
            is_delta: false,
            is_refreshed_by_backend: false,
            filter: 0,
        }
    }

    pub(crate) fn joining(join: &Join, filter: u8, expires_at: u32) -> Self {
        Self {
            room: join.local,
            state: MembershipState::Joining { join: join.number },
            expires_at,
            rights: PackedRights::default(),
            is_delta: join.encoding.is_delta,
            is_refreshed_by_backend: false,
            filter,
        }
    }
}

#[derive(Debug)]
struct Entry {
    /// How many connections have been in the slot before.
    opened: u32,
    conn: Option<Conn>,
}

impl Entry {
    /// The same, as far as tokens of the ring have room for it.
    const fn generation(&self) -> u32 {
        self.opened & Token::GENERATION_MASK
    }
}

/// The connections of a shard, by slot.
#[derive(Debug)]
pub(crate) struct Conns {
    shard: ShardId,
    /// What makes the second half of client ids, another in each process. Nobody has to keep theirs.
    client_ids: FixedState,
    entries: Vec<Entry>,
    open: u32,
    /// Slots from here on have no socket.
    sockets: u32,
    /// Slots without a socket that are free, and how many there have been at once.
    free: Vec<u32>,
    without_socket: u32,
}

impl Conns {
    /// Room for `slots` connections; memory is touched as slots are used.
    pub(crate) fn new(shard: ShardId, slots: u32) -> Self {
        Self {
            shard,
            client_ids: FixedState::with_seed(fastrand::u64(..)),
            entries: Vec::with_capacity(slots as usize),
            open: 0,
            sockets: slots,
            free: Vec::new(),
            without_socket: 0,
        }
    }

    /// Whether the slot is one that the kernel knows.
    pub(crate) const fn has_socket(&self, slot: u32) -> bool {
        slot < self.sockets
    }

    /// A new connection without a socket.
    pub(crate) fn open_without_socket(&mut self) -> ConnRef {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.without_socket += 1;
            self.sockets + self.without_socket - 1
        });
        let conn = self.open(slot);
        self.open -= 1;
        conn
    }

    /// How many connections there are without a socket.
    pub(crate) fn without_socket_count(&self) -> u32 {
        self.without_socket - u32::try_from(self.free.len()).unwrap_or(0)
    }

    /// A new connection in this slot.
    pub(crate) fn open(&mut self, slot: u32) -> ConnRef {
        while self.entries.len() <= slot as usize {
            self.entries.push(Entry {
                opened: 0,
                conn: None,
            });
        }
        let entry = &mut self.entries[slot as usize];
        assert!(
            entry.conn.is_none(),
            "the kernel gave out slot {slot}, which is in use"
        );
        entry.conn = Some(Conn::new());
        self.open += 1;
        self.name(slot)
    }

    /// Forgets the connection; its generation is over.
    pub(crate) fn close(&mut self, slot: u32) {
        let entry = &mut self.entries[slot as usize];
        if entry.conn.take().is_some() {
            entry.opened = entry.opened.wrapping_add(1);
            if slot < self.sockets {
                self.open -= 1;
            } else {
                self.free.push(slot);
            }
        }
    }

    pub(crate) fn get(&self, slot: u32) -> Option<&Conn> {
        self.entries.get(slot as usize)?.conn.as_ref()
    }

    pub(crate) fn get_mut(&mut self, slot: u32) -> Option<&mut Conn> {
        self.entries.get_mut(slot as usize)?.conn.as_mut()
    }

    /// The slot's connection if it is of this generation.
    pub(crate) fn is_current(&self, slot: u32, generation: u32) -> bool {
        self.entries
            .get(slot as usize)
            .is_some_and(|entry| entry.conn.is_some() && entry.generation() == generation)
    }

    /// The generation of whoever is in the slot, or was last.
    pub(crate) fn generation(&self, slot: u32) -> u32 {
        self.entries.get(slot as usize).map_or(0, Entry::generation)
    }

    /// The slot of this connection, if it still lives.
    pub(crate) fn slot_of(&self, conn: ConnRef) -> Option<u32> {
        (conn.shard() == self.shard && self.is_current(conn.slot(), conn.generation()))
            .then_some(conn.slot())
    }

    /// The name of the slot's connection.
    pub(crate) fn name(&self, slot: u32) -> ConnRef {
        ConnRef::new(self.shard, self.entries[slot as usize].generation(), slot)
    }

    /// The public name of the slot's connection. It is no secret, and opens nothing.
    pub(crate) fn client_id(&self, slot: u32) -> ClientId {
        // Names of connections repeat after 2^24 of them in a slot, client ids do not.
        let which = (slot, self.entries[slot as usize].opened);
        self.name(slot).client_id(self.client_ids.hash_one(which))
    }

    pub(crate) const fn open_count(&self) -> u32 {
        self.open
    }

    pub(crate) fn slots(&self) -> impl Iterator<Item = u32> + use<> {
        0..u32::try_from(self.entries.len()).unwrap_or(u32::MAX)
    }
}

const _: () = assert!(
    size_of::<Entry>() <= 128 && size_of::<Identity>() <= 32 && size_of::<Extra>() <= 40,
    "bytes per connection are the product: docs/architecture.md"
);
