//! Bounds of the settings. A value outside of them would only fail later and less clearly.

use std::fmt::Display;
use std::ops::RangeInclusive;

use tracing_subscriber::filter::{LevelFilter, Targets};

use super::goim::GoimSettings;
use super::load::Problem;
use super::origin::Origins;
use super::settings::{
    ApiSettings, EngineSettings, LimitSettings, RoomSettings, Settings, TokenSettings,
};
use super::values::Period;

const SECOND: u64 = 1;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;
/// Conformance suites have the server read byte by byte; for anyone else it would only be slow.
const RECEIVE_BUFFER_BYTES_MIN: u32 = if cfg!(feature = "echo") { 1 } else { 512 };

/// goim tells clients of at most five servers (`internal/logic/balancer.go`), each under several addresses.
const GOIM_NODES_MAX: usize = 32;
/// Of a domain name (RFC 1035 section 2.3.4), and so enough for any address.
const HOST_BYTES_MAX: usize = 253;
/// goim's own operations end here; above, they are the application's.
const GOIM_OPERATION_OWN_MAX: i32 = 17;
/// What goim's first version calls every push.
const GOIM_OPERATION_V1_PUSH: i32 = 5;

const KIB: u32 = 1 << 10;
const MIB: u32 = 1 << 20;

/// Everything that is wrong with the settings.
pub(super) fn problems(settings: &Settings, origins: &Origins) -> Vec<Problem> {
    let mut check = Check {
        origins,
        problems: Vec::new(),
    };
    if settings.client.addresses.is_empty() {
        check.refuse(
            "client.addresses",
            "is empty: clients need somewhere to connect",
        );
    }
    for origin in &settings.client.allowed_origins {
        if origin != "*"
            && !origin
                .split_once("://")
                .is_some_and(|(_, host)| !host.is_empty() && !host.contains('/'))
        {
            let message = format!(
                "holds {origin:?}, and an origin looks like \"https://example.org\", or is \"*\""
            );
            check.refuse("client.allowed_origins", &message);
        }
    }
    check.api(&settings.api);
    // One publication must fit: with base64 longer by a third, and with its tags and what is said of its publisher.
    let message_bytes_max = largest_message(settings);
    if settings.api.answer_bytes_max / 4 < message_bytes_max {
        let message = format!(
            "is {}, and must be at least four times the largest message ({message_bytes_max}: the larger of \
             api.payload_bytes_max and limits.message_bytes_max)",
            settings.api.answer_bytes_max
        );
        check.refuse("api.answer_bytes_max", &message);
    }
    check.token(&settings.token);
    check.goim(&settings.goim);
    check.engine(&settings.engine);
    check.limits(&settings.limits);
    check.backend(settings);
    check.turn(&settings.turn);
    check.room("rooms", &settings.rooms, settings);
    for (name, room) in &settings.namespaces {
        let key = format!("namespaces.{name}");
        if name.is_empty()
            || name.len() > 64
            || name.contains([':', '*'])
            || name.contains(char::is_control)
        {
            check.refuse(
                &key,
                "is not a name for a namespace: 1 to 64 bytes, no ':', '*' or control character",
            );
        }
        check.room(&key, room, settings);
    }
    let shutdown = &settings.shutdown;
    check.periods(&[
        ("shutdown.drain_window", shutdown.drain_window, 0, HOUR),
        ("shutdown.relay_window", shutdown.relay_window, 0, DAY),
    ]);
    if !is_log_filter(&settings.log.level) {
        let message = "is not a level (error, warn, info, debug, off), nor such as \"info,fanfare_engine=debug\"";
        check.refuse("log.level", message);
    }
    check.problems
}

/// Bytes of the largest message that a service or a client can send.
fn largest_message(settings: &Settings) -> u32 {
    settings
        .api
        .payload_bytes_max
        .max(settings.limits.message_bytes_max)
}

/// Whether clients could be told to connect there: a name or an address, with or without a port.
fn is_host(text: &str) -> bool {
    (1..=HOST_BYTES_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// A word alone would be taken for the name of a module, and a misspelt level would log everything.
fn is_log_filter(text: &str) -> bool {
    // `trace` is compiled out of release builds, and would say nothing.
    let is_level = |text: &str| {
        let level = text.parse::<LevelFilter>();
        level.is_ok_and(|level| level < LevelFilter::TRACE)
    };
    let has_level = |part: &str| is_level(part.rsplit('=').next().unwrap_or(part));
    text.split(',').all(has_level) && text.parse::<Targets>().is_ok()
}

/// Gathers what is wrong.
pub(super) struct Check<'a> {
    origins: &'a Origins,
    problems: Vec<Problem>,
}

impl Check<'_> {
    fn api(&mut self, api: &ApiSettings) {
        for key in &api.keys {
            if let Err(problem) = key.check_key() {
                self.refuse("api.keys", &problem.to_string());
            }
        }
        if !api.keys.is_empty() && api.key_file.is_some() {
            self.refuse("api.key_file", "is set besides api.keys: keep one of them");
        }
        self.numbers(&[
            ("api.connections_max", api.connections_max, 1..=65_536),
            ("api.body_bytes_max", api.body_bytes_max, KIB..=256 * MIB),
            ("api.payload_bytes_max", api.payload_bytes_max, 1..=16 * MIB),
            (
                "api.operations_per_request_max",
                api.operations_per_request_max,
                1..=1_000_000,
            ),
            (
                "api.listing_entries_max",
                api.listing_entries_max,
                1..=1_000_000,
            ),
            (
                "api.answer_bytes_max",
                api.answer_bytes_max,
                MIB..=1_024 * MIB,
            ),
        ]);
        self.periods(&[
            ("api.head_timeout", api.head_timeout, SECOND, 10 * MINUTE),
            (
                "api.request_timeout",
                api.request_timeout,
                SECOND,
                10 * MINUTE,
            ),
            (
                "api.answer_timeout",
                api.answer_timeout,
                SECOND,
                10 * MINUTE,
            ),
        ]);
        if api.payload_bytes_max > api.body_bytes_max {
            let message = format!(
                "is above api.body_bytes_max ({}), which would hide it",
                api.body_bytes_max
            );
            self.refuse("api.payload_bytes_max", &message);
        }
    }

    fn token(&mut self, token: &TokenSettings) {
        if let Some(secret) = &token.hmac_secret
            && let Err(problem) = secret.check_length()
        {
            self.refuse("token.hmac_secret", &problem.to_string());
        }
        let twice = [
            (
                "hmac_secret",
                token.hmac_secret.is_some() && token.hmac_secret_file.is_some(),
            ),
            (
                "rsa_public_key",
                token.rsa_public_key.is_some() && token.rsa_public_key_file.is_some(),
            ),
            (
                "ecdsa_public_key",
                token.ecdsa_public_key.is_some() && token.ecdsa_public_key_file.is_some(),
            ),
            (
                "ed25519_public_key",
                token.ed25519_public_key.is_some() && token.ed25519_public_key_file.is_some(),
            ),
        ];
        for (name, _) in twice.into_iter().filter(|(_, is_twice)| *is_twice) {
            self.refuse(
                &format!("token.{name}_file"),
                &format!("is set besides token.{name}: keep one of them"),
            );
        }
        self.periods(&[("token.leeway", token.leeway, SECOND, 5 * MINUTE)]);
    }

    fn goim(&mut self, goim: &GoimSettings) {
        let operation = goim.default_operation;
        if operation <= GOIM_OPERATION_OWN_MAX && operation != GOIM_OPERATION_V1_PUSH {
            let message = format!(
                "is {operation}, and must be above {GOIM_OPERATION_OWN_MAX}, for those are goim's own, or \
                 {GOIM_OPERATION_V1_PUSH}, which clients of its first version know as a push"
            );
            self.refuse("goim.default_operation", &message);
        }
        if !is_host(&goim.domain) && !goim.domain.is_empty() {
            self.refuse("goim.domain", "is not the name of a host");
        }
        if goim.nodes.len() > GOIM_NODES_MAX {
            let message = format!(
                "has {} entries, and may have {GOIM_NODES_MAX}",
                goim.nodes.len()
            );
            self.refuse("goim.nodes", &message);
        }
        for node in goim.nodes.iter().filter(|node| !is_host(node)) {
            let message = format!("holds {node:?}, which is not the name of a host");
            self.refuse("goim.nodes", &message);
        }
        self.numbers(&[
            (
                "goim.key_connections_max",
                goim.key_connections_max,
                1..=65_536,
            ),
            ("goim.heartbeat_max", goim.heartbeat_max, 1..=100),
        ]);
        let periods = [
            ("goim.heartbeat", goim.heartbeat, SECOND, HOUR),
            (
                "goim.backoff_base_delay",
                goim.backoff_base_delay,
                SECOND,
                HOUR,
            ),
            (
                "goim.backoff_max_delay",
                goim.backoff_max_delay,
                SECOND,
                DAY,
            ),
        ];
        self.periods(&periods);
        for (key, period, ..) in periods {
            if period.0.subsec_nanos() != 0 {
                let message = format!("is {period}, and clients are told whole seconds");
                self.refuse(key, &message);
            }
        }
        if goim.backoff_base_delay > goim.backoff_max_delay {
            let message = format!(
                "is {}, and must not be longer than goim.backoff_max_delay ({})",
                goim.backoff_base_delay, goim.backoff_max_delay
            );
            self.refuse("goim.backoff_base_delay", &message);
        }
        self.number("goim.backoff_factor", goim.backoff_factor, &(1.0..=100.0));
        self.number("goim.backoff_jitter", goim.backoff_jitter, &(0.0..=10.0));
    }

    fn engine(&mut self, engine: &EngineSettings) {
        if let Some(shards) = engine.shards.number() {
            self.number("engine.shards", shards, &(1..=1_024));
        }
        if let Some(connections) = engine.connections_per_shard_max.number() {
            self.number(
                "engine.connections_per_shard_max",
                connections,
                &(1..=1_048_576),
            );
        }
        self.number(
            "engine.receive_buffers",
            engine.receive_buffers,
            &(8..=32_768),
        );
        if !engine.receive_buffers.is_power_of_two() {
            let message = format!("is {}, and must be a power of two", engine.receive_buffers);
            self.refuse("engine.receive_buffers", &message);
        }
        self.numbers(&[
            (
                "engine.receive_buffer_bytes",
                engine.receive_buffer_bytes,
                RECEIVE_BUFFER_BYTES_MIN..=64 * KIB,
            ),
            ("engine.inbox_entries", engine.inbox_entries, 64..=1_048_576),
        ]);
    }

    fn limits(&mut self, limits: &LimitSettings) {
        self.numbers(&[
            (
                "limits.message_bytes_max",
                limits.message_bytes_max,
                KIB..=16 * MIB,
            ),
            ("limits.fragments_max", limits.fragments_max, 1..=1_048_576),
            (
                "limits.rooms_per_connection_max",
                limits.rooms_per_connection_max,
                1..=65_536,
            ),
            (
                "limits.room_name_bytes_max",
                limits.room_name_bytes_max,
                1..=1_024,
            ),
            (
                "limits.user_name_bytes_max",
                limits.user_name_bytes_max,
                1..=1_024,
            ),
            (
                "limits.connections_per_user_max",
                limits.connections_per_user_max,
                1..=1_000_000,
            ),
            (
                "limits.rooms_per_shard_max",
                limits.rooms_per_shard_max,
                1..=100_000_000,
            ),
            (
                "limits.direct_bytes_max",
                limits.direct_bytes_max,
                4 * KIB..=256 * MIB,
            ),
            (
                "limits.request_bytes_per_shard_max",
                limits.request_bytes_per_shard_max,
                MIB..=2_048 * MIB,
            ),
            (
                "limits.polls_per_shard_max",
                limits.polls_per_shard_max,
                0..=10_000_000,
            ),
            (
                "limits.direct_bytes_per_shard_max",
                limits.direct_bytes_per_shard_max,
                MIB..=2_048 * MIB,
            ),
            (
                "limits.unsent_bytes_max",
                limits.unsent_bytes_max,
                4 * KIB..=16 * MIB,
            ),
        ]);
        self.number(
            "limits.requests_in_flight_max",
            limits.requests_in_flight_max,
            &(1..=4_096),
        );
        self.periods(&[
            (
                "limits.handshake_timeout",
                limits.handshake_timeout,
                SECOND,
                5 * MINUTE,
            ),
            ("limits.ping_interval", limits.ping_interval, SECOND, HOUR),
            (
                "limits.pong_timeout",
                limits.pong_timeout,
                SECOND,
                5 * MINUTE,
            ),
            (
                "limits.close_timeout",
                limits.close_timeout,
                SECOND,
                5 * MINUTE,
            ),
            ("limits.poll_timeout", limits.poll_timeout, SECOND, HOUR),
            (
                "limits.message_timeout",
                limits.message_timeout,
                SECOND,
                HOUR,
            ),
        ]);
        if limits.pong_timeout >= limits.ping_interval {
            let message = format!(
                "is {}, and must be shorter than limits.ping_interval ({})",
                limits.pong_timeout, limits.ping_interval
            );
            self.refuse("limits.pong_timeout", &message);
        }
    }

    fn room(&mut self, section: &str, room: &RoomSettings, settings: &Settings) {
        let key = |name: &str| format!("{section}.{name}");
        self.number(&key("history_size"), room.history_size, &(0..=1_000_000));
        self.number(
            &key("history_bytes_max"),
            room.history_bytes_max,
            &(1_024..=1 << 40),
        );
        self.number(
            &key("lane_bytes_max"),
            room.lane_bytes_max,
            &(64 * KIB..=1 << 30),
        );
        self.periods(&[(&key("history_ttl"), room.history_ttl, 0, 365 * DAY)]);
        let has_ttl = room.history_ttl > Period::seconds(0);
        match (room.history_size > 0, has_ttl) {
            (true, false) => self.refuse(
                &key("history_size"),
                "is set, history_ttl is not: history needs both",
            ),
            (false, true) => self.refuse(
                &key("history_ttl"),
                "is set, history_size is not: history needs both",
            ),
            _ => {}
        }
        // Half, so that one message of the largest size does not overrun everybody who has not read the one
        // before.
        let message_bytes_max = largest_message(settings);
        if room.lane_bytes_max / 2 < message_bytes_max {
            let message = format!(
                "is {}, and must be at least twice the largest message ({message_bytes_max}: the larger of \
                 api.payload_bytes_max and limits.message_bytes_max)",
                room.lane_bytes_max
            );
            self.refuse(&key("lane_bytes_max"), &message);
        }
    }

    pub(super) fn numbers(&mut self, bounds: &[(&str, u32, RangeInclusive<u32>)]) {
        for (key, value, range) in bounds {
            self.number(key, *value, range);
        }
    }

    pub(super) fn number<T: PartialOrd + Display>(
        &mut self,
        key: &str,
        value: T,
        range: &RangeInclusive<T>,
    ) {
        if range.contains(&value) {
            return;
        }
        self.refuse(
            key,
            &format!(
                "is {value}, and must be from {} to {}",
                range.start(),
                range.end()
            ),
        );
    }

    /// Bounds in seconds.
    pub(super) fn periods(&mut self, bounds: &[(&str, Period, u64, u64)]) {
        for (key, value, min, max) in bounds {
            self.number(
                key,
                *value,
                &(Period::seconds(*min)..=Period::seconds(*max)),
            );
        }
    }

    pub(super) fn refuse(&mut self, key: &str, message: &str) {
        self.problems.push(Problem::new(
            self.origins.of(key),
            format!("{key} {message}"),
        ));
    }
}
