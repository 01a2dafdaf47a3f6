//! What an engine is started with. Every limit has a name, a default and a reason.

use std::net::SocketAddr;
use std::time::Duration;

/// Everything [`Engine::start`](crate::Engine::start) needs to know.
#[derive(Debug, Clone)]
pub struct EngineConfig {
    /// Where clients connect, every dialect on the same port. Port 0 takes a free one.
    pub client_addrs: Vec<SocketAddr>,
    /// How many shards (threads, rings) to run. May exceed the cores: a ring holds at most `RLIMIT_NOFILE`
    /// connections.
    pub shards: u16,
    /// Connections a shard accepts. Lowered to what its file table can hold; `None`: as many as that.
    pub connections_per_shard_max: Option<u32>,
    /// Pins shard `i` to the `i`-th core this process may run on, round robin.
    pub pin_threads: bool,
    /// Provided receive buffers per shard; a power of two, at most 32,768.
    pub receive_buffers: u16,
    /// Size of one receive buffer in bytes.
    pub receive_buffer_bytes: u32,
    /// Entries of a shard's inboxes (requests and deliveries each). A full one pushes back on its senders.
    pub inbox_entries: usize,
    /// Bounds on what one client may do.
    pub limits: Limits,
    /// Options of rooms, by namespace.
    pub namespaces: Namespaces,
    /// Origins of browser pages that may open WebSockets, beside the server's own; `*` for all. Requests
    /// without an `Origin` are not from browsers.
    pub allowed_origins: Vec<Box<str>>,
    /// Lets clients connect without a token, as the user with the empty name.
    pub allow_anonymous: bool,
    /// Compresses WebSocket messages for clients that offer it, each once for all that do (RFC 7692).
    pub compression: bool,
    /// The dialect of goim.
    pub goim: Goim,
}

/// The dialect of goim.
#[derive(Debug, Clone)]
pub struct Goim {
    /// Clients that speak it are let in.
    pub is_enabled: bool,
    /// The operation that clients see of what was published without one.
    pub default_operation: i32,
    /// After so long without a heartbeat of the client, its connection is closed.
    pub heartbeat_timeout: Duration,
    /// Takes the word of clients that bring no token: anyone can be any user, have any key and be in any room.
    pub trust_clients: bool,
    /// Connections that may have the same key.
    pub key_connections_max: u32,
    /// Which of them has to go when there is one too many.
    pub key_policy: KeyPolicy,
}

impl Default for Goim {
    fn default() -> Self {
        Self {
            is_enabled: true,
            default_operation: 1000,
            heartbeat_timeout: Duration::from_secs(480),
            trust_clients: false,
            key_connections_max: 1,
            key_policy: KeyPolicy::CloseOldest,
        }
    }
}

/// Which connection has to go when too many have the same key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KeyPolicy {
    /// The one that has been there longest.
    #[default]
    CloseOldest,
    /// The one that has just come.
    RejectNewest,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            client_addrs: vec![SocketAddr::from(([0, 0, 0, 0], 8000))],
            shards: std::thread::available_parallelism()
                .map_or(1, |n| u16::try_from(n.get()).unwrap_or(u16::MAX)),
            connections_per_shard_max: None,
            pin_threads: true,
            receive_buffers: 256,
            receive_buffer_bytes: 4096,
            inbox_entries: 4096,
            limits: Limits::default(),
            namespaces: Namespaces::default(),
            allowed_origins: Vec::new(),
            allow_anonymous: false,
            compression: false,
            goim: Goim::default(),
        }
    }
}

/// Bounds on what one client may do, and for how long.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Largest message (WebSocket message or native frame) a client may send, in bytes. Its declared length is
    /// checked before anything is buffered.
    pub message_bytes_max: u32,
    /// Fragments a WebSocket message may come in, empty ones included.
    pub fragments_max: u32,
    /// From accept to an authenticated connection.
    pub handshake_timeout: Duration,
    /// How often the server pings a connection.
    pub ping_interval: Duration,
    /// How long after a ping the answer may take.
    pub pong_timeout: Duration,
    /// How long a connection that was told to close may take to do so.
    pub close_timeout: Duration,
    /// How long a message may take from its first byte to its last.
    pub message_timeout: Duration,
    /// Rooms one connection may be a member of.
    pub rooms_per_connection_max: u32,
    /// Length of a room's name in bytes.
    pub room_name_bytes_max: u32,
    /// Length of a user's name in bytes.
    pub user_name_bytes_max: u32,
    /// Connections one user may have open.
    pub connections_per_user_max: u32,
    /// Rooms that one shard may be home of. What services and clients can create is bounded.
    pub rooms_per_shard_max: u32,
    /// Bytes of replies that may wait for one connection that does not read them when another is added; one alone may be
    /// longer.
    pub direct_bytes_max: u32,
    /// The same for all connections of a shard together: beyond it, who adds to it is disconnected.
    pub direct_bytes_per_shard_max: u32,
    /// Bytes that a shard keeps of HTTP requests that are not complete: beyond it, connections that add to it are closed.
    pub request_bytes_per_shard_max: u32,
    /// Long-poll sessions of a shard.
    pub polls_per_shard_max: u32,
    /// How long a long-poll session lives without a request.
    pub poll_timeout: Duration,
    /// Requests of one connection that may be under way between shards, publications aside.
    pub requests_in_flight_max: u16,
    /// Kernel send buffer left unsent before a socket counts as full (`TCP_NOTSENT_LOWAT`), in bytes. Keeps
    /// the backlog in the lane, where the room's policy can act on it.
    pub unsent_bytes_max: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message_bytes_max: 65_536,
            fragments_max: 128,
            handshake_timeout: Duration::from_secs(10),
            ping_interval: Duration::from_secs(25),
            pong_timeout: Duration::from_secs(10),
            close_timeout: Duration::from_secs(3),
            message_timeout: Duration::from_secs(30),
            rooms_per_connection_max: 128,
            room_name_bytes_max: 255,
            user_name_bytes_max: 255,
            connections_per_user_max: 1_000,
            rooms_per_shard_max: 1_000_000,
            direct_bytes_max: 1 << 20,
            direct_bytes_per_shard_max: 64 << 20,
            request_bytes_per_shard_max: 64 << 20,
            polls_per_shard_max: 10_000,
            poll_timeout: Duration::from_secs(60),
            requests_in_flight_max: 256,
            unsent_bytes_max: 16_384,
        }
    }
}

/// Options of rooms. A room's namespace is what stands before the first `:` of its name; a room without one
/// has the default options, and a room whose namespace is not listed does not exist.
#[derive(Debug, Clone, Default)]
pub struct Namespaces {
    /// Rooms whose name has no `:`.
    pub default: RoomOptions,
    /// Rooms named `name:…`.
    pub named: Vec<(Box<str>, RoomOptions)>,
}

impl Namespaces {
    /// The options of the room, or `None` when it names an unknown namespace.
    #[must_use]
    pub fn of(&self, room: &str) -> Option<&RoomOptions> {
        let room = room.strip_prefix('$').unwrap_or(room);
        let Some((namespace, _)) = room.split_once(':') else {
            return Some(&self.default);
        };
        self.named
            .iter()
            .find(|(name, _)| &**name == namespace)
            .map(|(_, options)| options)
    }
}

/// Options of the rooms of one namespace.
#[derive(Debug, Clone)]
pub struct RoomOptions {
    /// Publications kept for recovery; 0 keeps none, and the room is not recoverable.
    pub history_size: u32,
    /// How long a publication is kept.
    pub history_ttl: Duration,
    /// Bytes of payload kept per room.
    pub history_bytes_max: u64,
    /// Keeps who is in the room.
    pub presence: bool,
    /// Tells members who joins and leaves.
    pub join_leave: bool,
    /// Who may subscribe.
    pub subscribe: Access,
    /// Who may publish from a client connection.
    pub publish: Access,
    /// Who may read the presence.
    pub presence_access: Access,
    /// Who may read the history.
    pub history_access: Access,
    /// What happens to a member that reads too slowly.
    pub slow_policy: SlowPolicy,
    /// Bytes of encoded publications that a shard keeps for members that lag.
    pub lane_bytes_max: u32,
    /// What members are given that come back.
    pub recovery_mode: RecoveryMode,
    /// Members that want it are told publications as differences from the ones before, where that is shorter. Keeps the
    /// last one.
    pub delta: bool,
    /// Members may have publications filtered by their tags.
    pub tags_filter: bool,
    /// What the user's [backend](crate::backend) decides.
    pub backend: BackendRights,
}

impl Default for RoomOptions {
    fn default() -> Self {
        Self {
            history_size: 0,
            history_ttl: Duration::from_secs(300),
            history_bytes_max: 1 << 20,
            presence: false,
            join_leave: false,
            subscribe: Access::Grant,
            publish: Access::Grant,
            presence_access: Access::Grant,
            history_access: Access::Grant,
            slow_policy: SlowPolicy::Disconnect,
            lane_bytes_max: 1 << 20,
            recovery_mode: RecoveryMode::Stream,
            delta: false,
            tags_filter: false,
            backend: BackendRights::default(),
        }
    }
}

/// What the user's backend decides in the rooms of a namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BackendRights {
    /// Who may subscribe without a token.
    pub subscribe: bool,
    /// What clients may publish.
    pub publish: bool,
    /// Whether a subscription whose time is up may go on.
    pub sub_refresh: bool,
}

/// What members are given that come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RecoveryMode {
    /// All that they missed, or the word that it is no longer there.
    #[default]
    Stream,
    /// The newest publication: the room stands for a value, and only the last one counts.
    Cache,
}

/// Who may do something in a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Access {
    /// Only who was granted it by name in a token.
    #[default]
    Grant,
    /// Also the room's members.
    Members,
    /// Also every authenticated connection that is not anonymous.
    Users,
    /// Everyone, anonymous connections too.
    Everyone,
}

/// What happens to a member whose cursor the lane is about to overwrite.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SlowPolicy {
    /// The connection is closed with code 3008.
    #[default]
    Disconnect,
    /// The member jumps to the tail and is told of the gap, which it can recover.
    Skip,
}
