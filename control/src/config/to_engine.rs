//! From settings to what the engine is started with.

use fanfare_engine::{BackendRights, EngineConfig, Goim, Limits, Namespaces, RoomOptions};

use super::goim::{GoimSettings, KeyPolicy};
use super::settings::{LimitSettings, RoomSettings, Settings};

impl Settings {
    /// The engine's part of the settings.
    pub(crate) fn to_engine(&self) -> EngineConfig {
        let defaults = EngineConfig::default();
        EngineConfig {
            client_addrs: self.client.addresses.clone(),
            shards: self.engine.shards.number().unwrap_or(defaults.shards),
            connections_per_shard_max: self.engine.connections_per_shard_max.number(),
            pin_threads: self.engine.pin_threads,
            receive_buffers: self.engine.receive_buffers,
            receive_buffer_bytes: self.engine.receive_buffer_bytes,
            inbox_entries: usize::try_from(self.engine.inbox_entries).unwrap_or(usize::MAX),
            limits: limits(&self.limits),
            namespaces: Namespaces {
                default: room_options(&self.rooms),
                named: self
                    .namespaces
                    .iter()
                    .map(|(name, room)| (name.as_str().into(), room_options(room)))
                    .collect(),
            },
            allowed_origins: self
                .client
                .allowed_origins
                .iter()
                .map(|origin| origin.as_str().into())
                .collect(),
            allow_anonymous: self.client.allow_anonymous,
            compression: self.client.compression,
            goim: goim(&self.goim),
        }
    }
}

fn limits(limits: &LimitSettings) -> Limits {
    Limits {
        message_bytes_max: limits.message_bytes_max,
        fragments_max: limits.fragments_max,
        handshake_timeout: limits.handshake_timeout.0,
        ping_interval: limits.ping_interval.0,
        pong_timeout: limits.pong_timeout.0,
        close_timeout: limits.close_timeout.0,
        message_timeout: limits.message_timeout.0,
        rooms_per_connection_max: limits.rooms_per_connection_max,
        room_name_bytes_max: limits.room_name_bytes_max,
        user_name_bytes_max: limits.user_name_bytes_max,
        connections_per_user_max: limits.connections_per_user_max,
        rooms_per_shard_max: limits.rooms_per_shard_max,
        direct_bytes_max: limits.direct_bytes_max,
        direct_bytes_per_shard_max: limits.direct_bytes_per_shard_max,
        request_bytes_per_shard_max: limits.request_bytes_per_shard_max,
        polls_per_shard_max: limits.polls_per_shard_max,
        poll_timeout: limits.poll_timeout.0,
        requests_in_flight_max: limits.requests_in_flight_max,
        unsent_bytes_max: limits.unsent_bytes_max,
    }
}

fn goim(goim: &GoimSettings) -> Goim {
    Goim {
        is_enabled: goim.enabled,
        default_operation: goim.default_operation,
        heartbeat_timeout: goim.heartbeat.0 * goim.heartbeat_max,
        trust_clients: goim.trust_clients,
        key_connections_max: goim.key_connections_max,
        key_policy: match goim.key_policy {
            KeyPolicy::CloseOldest => fanfare_engine::KeyPolicy::CloseOldest,
            KeyPolicy::RejectNewest => fanfare_engine::KeyPolicy::RejectNewest,
        },
    }
}

fn room_options(room: &RoomSettings) -> RoomOptions {
    RoomOptions {
        history_size: room.history_size,
        history_ttl: room.history_ttl.0,
        history_bytes_max: room.history_bytes_max,
        presence: room.presence,
        join_leave: room.join_leave,
        subscribe: room.subscribe,
        publish: room.publish,
        presence_access: room.presence_access,
        history_access: room.history_access,
        slow_policy: room.slow_policy,
        recovery_mode: room.recovery_mode,
        delta: room.delta,
        tags_filter: room.tags_filter,
        lane_bytes_max: room.lane_bytes_max,
        backend: BackendRights {
            subscribe: room.backend_subscribe,
            publish: room.backend_publish,
            sub_refresh: room.backend_sub_refresh,
        },
    }
}
