//! The keys of the configuration and their defaults. Bounds are in `check`, the reasons in
//! `docs/configuration.md`; defaults of the engine are the engine's own.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use fanfare_engine::{Access, EngineConfig, Limits, RecoveryMode, RoomOptions, SlowPolicy};
use serde::{Deserialize, Serialize};

use super::backend::BackendSettings;
use super::goim::GoimSettings;
use super::turn::TurnSettings;
use super::values::{Auto, Period, Secret, secrets};

/// The whole configuration.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Settings {
    pub(crate) data_dir: PathBuf,
    pub(crate) client: ClientSettings,
    pub(crate) api: ApiSettings,
    pub(crate) token: TokenSettings,
    pub(crate) goim: GoimSettings,
    pub(crate) backend: BackendSettings,
    pub(crate) turn: TurnSettings,
    pub(crate) engine: EngineSettings,
    pub(crate) limits: LimitSettings,
    /// Rooms whose name has no `:`.
    pub(crate) rooms: RoomSettings,
    /// Rooms named `namespace:…`.
    pub(crate) namespaces: BTreeMap<String, RoomSettings>,
    pub(crate) shutdown: ShutdownSettings,
    pub(crate) log: LogSettings,
}

/// Where clients connect.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ClientSettings {
    pub(crate) addresses: Vec<SocketAddr>,
    pub(crate) allowed_origins: Vec<String>,
    pub(crate) allow_anonymous: bool,
    pub(crate) compression: bool,
}

/// The control API.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ApiSettings {
    pub(crate) address: SocketAddr,
    #[serde(deserialize_with = "secrets")]
    pub(crate) keys: Vec<Secret>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) key_file: Option<PathBuf>,
    pub(crate) connections_max: u32,
    pub(crate) body_bytes_max: u32,
    pub(crate) payload_bytes_max: u32,
    pub(crate) operations_per_request_max: u32,
    pub(crate) listing_entries_max: u32,
    pub(crate) answer_bytes_max: u32,
    pub(crate) head_timeout: Period,
    pub(crate) request_timeout: Period,
    pub(crate) answer_timeout: Period,
}

/// Which tokens are believed.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct TokenSettings {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) hmac_secret: Option<Secret>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) hmac_secret_file: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rsa_public_key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rsa_public_key_file: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ecdsa_public_key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ecdsa_public_key_file: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ed25519_public_key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ed25519_public_key_file: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) audience: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) issuer: Option<String>,
    pub(crate) leeway: Period,
    pub(crate) require_expiry: bool,
}

impl TokenSettings {
    /// Whether a public key of any kind is configured.
    pub(crate) fn has_public_key(&self) -> bool {
        let inline = [
            &self.rsa_public_key,
            &self.ecdsa_public_key,
            &self.ed25519_public_key,
        ];
        let files = [
            &self.rsa_public_key_file,
            &self.ecdsa_public_key_file,
            &self.ed25519_public_key_file,
        ];
        inline.iter().any(|key| key.is_some()) || files.iter().any(|file| file.is_some())
    }
}

/// How the engine uses the machine.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct EngineSettings {
    pub(crate) shards: Auto<u16>,
    pub(crate) connections_per_shard_max: Auto<u32>,
    pub(crate) pin_threads: bool,
    pub(crate) receive_buffers: u16,
    pub(crate) receive_buffer_bytes: u32,
    pub(crate) inbox_entries: u32,
}

/// Bounds on what one client may do.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct LimitSettings {
    pub(crate) message_bytes_max: u32,
    pub(crate) fragments_max: u32,
    pub(crate) handshake_timeout: Period,
    pub(crate) ping_interval: Period,
    pub(crate) pong_timeout: Period,
    pub(crate) close_timeout: Period,
    pub(crate) message_timeout: Period,
    pub(crate) rooms_per_connection_max: u32,
    pub(crate) room_name_bytes_max: u32,
    pub(crate) user_name_bytes_max: u32,
    pub(crate) connections_per_user_max: u32,
    pub(crate) rooms_per_shard_max: u32,
    pub(crate) direct_bytes_max: u32,
    pub(crate) direct_bytes_per_shard_max: u32,
    pub(crate) request_bytes_per_shard_max: u32,
    pub(crate) polls_per_shard_max: u32,
    pub(crate) poll_timeout: Period,
    pub(crate) requests_in_flight_max: u16,
    pub(crate) unsent_bytes_max: u32,
}

/// Options of the rooms of a namespace.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RoomSettings {
    pub(crate) history_size: u32,
    pub(crate) history_ttl: Period,
    pub(crate) history_bytes_max: u64,
    pub(crate) presence: bool,
    pub(crate) join_leave: bool,
    #[serde(with = "AccessWord")]
    pub(crate) subscribe: Access,
    #[serde(with = "AccessWord")]
    pub(crate) publish: Access,
    #[serde(with = "AccessWord")]
    pub(crate) presence_access: Access,
    #[serde(with = "AccessWord")]
    pub(crate) history_access: Access,
    #[serde(with = "SlowPolicyWord")]
    pub(crate) slow_policy: SlowPolicy,
    #[serde(with = "RecoveryModeWord")]
    pub(crate) recovery_mode: RecoveryMode,
    pub(crate) delta: bool,
    pub(crate) tags_filter: bool,
    pub(crate) lane_bytes_max: u32,
    pub(crate) backend_subscribe: bool,
    pub(crate) backend_publish: bool,
    pub(crate) backend_sub_refresh: bool,
}

/// How the server stops.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ShutdownSettings {
    pub(crate) drain_window: Period,
    pub(crate) relay_window: Period,
}

/// What the server logs, and how.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct LogSettings {
    pub(crate) format: LogFormat,
    pub(crate) level: String,
}

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    Auto,
    Text,
    Json,
}

/// How [`Access`] is written.
#[derive(Serialize, Deserialize)]
#[serde(remote = "Access", rename_all = "lowercase")]
enum AccessWord {
    Grant,
    Members,
    Users,
    Everyone,
}

/// How [`RecoveryMode`] is written.
#[derive(Serialize, Deserialize)]
#[serde(remote = "RecoveryMode", rename_all = "lowercase")]
enum RecoveryModeWord {
    Stream,
    Cache,
}

/// How [`SlowPolicy`] is written.
#[derive(Serialize, Deserialize)]
#[serde(remote = "SlowPolicy", rename_all = "lowercase")]
enum SlowPolicyWord {
    Disconnect,
    Skip,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            data_dir: PathBuf::from("./fanfare-data"),
            client: ClientSettings::default(),
            api: ApiSettings::default(),
            token: TokenSettings::default(),
            goim: GoimSettings::default(),
            backend: BackendSettings::default(),
            turn: TurnSettings::default(),
            engine: EngineSettings::default(),
            limits: LimitSettings::default(),
            rooms: RoomSettings::default(),
            namespaces: BTreeMap::new(),
            shutdown: ShutdownSettings::default(),
            log: LogSettings::default(),
        }
    }
}

impl Default for ClientSettings {
    fn default() -> Self {
        let engine = EngineConfig::default();
        Self {
            addresses: engine.client_addrs,
            allowed_origins: engine
                .allowed_origins
                .iter()
                .map(ToString::to_string)
                .collect(),
            allow_anonymous: engine.allow_anonymous,
            compression: engine.compression,
        }
    }
}

impl Default for ApiSettings {
    fn default() -> Self {
        Self {
            address: SocketAddr::from(([127, 0, 0, 1], 8001)),
            keys: Vec::new(),
            key_file: None,
            connections_max: 1_024,
            body_bytes_max: 4 << 20,
            payload_bytes_max: 65_536,
            operations_per_request_max: 10_000,
            listing_entries_max: 10_000,
            answer_bytes_max: 16 << 20,
            head_timeout: Period::seconds(10),
            request_timeout: Period::seconds(30),
            answer_timeout: Period::seconds(5),
        }
    }
}

impl Default for TokenSettings {
    fn default() -> Self {
        Self {
            hmac_secret: None,
            hmac_secret_file: None,
            rsa_public_key: None,
            rsa_public_key_file: None,
            ecdsa_public_key: None,
            ecdsa_public_key_file: None,
            ed25519_public_key: None,
            ed25519_public_key_file: None,
            audience: None,
            issuer: None,
            leeway: Period::seconds(5),
            require_expiry: true,
        }
    }
}

impl Default for EngineSettings {
    fn default() -> Self {
        let engine = EngineConfig::default();
        Self {
            shards: Auto::AUTO,
            connections_per_shard_max: Auto::AUTO,
            pin_threads: engine.pin_threads,
            receive_buffers: engine.receive_buffers,
            receive_buffer_bytes: engine.receive_buffer_bytes,
            inbox_entries: u32::try_from(engine.inbox_entries).unwrap_or(u32::MAX),
        }
    }
}

impl Default for LimitSettings {
    fn default() -> Self {
        let limits = Limits::default();
        Self {
            message_bytes_max: limits.message_bytes_max,
            fragments_max: limits.fragments_max,
            handshake_timeout: Period(limits.handshake_timeout),
            ping_interval: Period(limits.ping_interval),
            pong_timeout: Period(limits.pong_timeout),
            close_timeout: Period(limits.close_timeout),
            message_timeout: Period(limits.message_timeout),
            rooms_per_connection_max: limits.rooms_per_connection_max,
            room_name_bytes_max: limits.room_name_bytes_max,
            user_name_bytes_max: limits.user_name_bytes_max,
            connections_per_user_max: limits.connections_per_user_max,
            rooms_per_shard_max: limits.rooms_per_shard_max,
            direct_bytes_max: limits.direct_bytes_max,
            direct_bytes_per_shard_max: limits.direct_bytes_per_shard_max,
            request_bytes_per_shard_max: limits.request_bytes_per_shard_max,
            polls_per_shard_max: limits.polls_per_shard_max,
            poll_timeout: Period(limits.poll_timeout),
            requests_in_flight_max: limits.requests_in_flight_max,
            unsent_bytes_max: limits.unsent_bytes_max,
        }
    }
}

impl Default for RoomSettings {
    fn default() -> Self {
        let options = RoomOptions::default();
        Self {
            history_size: options.history_size,
            // Nothing is kept by default, and to keep something takes both a size and a time.
            history_ttl: Period::seconds(0),
            history_bytes_max: options.history_bytes_max,
            presence: options.presence,
            join_leave: options.join_leave,
            subscribe: options.subscribe,
            publish: options.publish,
            presence_access: options.presence_access,
            history_access: options.history_access,
            slow_policy: options.slow_policy,
            recovery_mode: options.recovery_mode,
            delta: options.delta,
            tags_filter: options.tags_filter,
            lane_bytes_max: options.lane_bytes_max,
            backend_subscribe: options.backend.subscribe,
            backend_publish: options.backend.publish,
            backend_sub_refresh: options.backend.sub_refresh,
        }
    }
}

impl Default for ShutdownSettings {
    fn default() -> Self {
        Self {
            drain_window: Period::seconds(10),
            relay_window: Period::seconds(30),
        }
    }
}

impl Default for LogSettings {
    fn default() -> Self {
        Self {
            format: LogFormat::Auto,
            level: "info".to_owned(),
        }
    }
}
