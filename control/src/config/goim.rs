//! The keys of `[goim]`: what clients and services of goim find here.

use serde::{Deserialize, Serialize};

use super::values::{Auto, Period};

/// The dialects of goim's clients and its HTTP API. Defaults are goim's own (`cmd/logic/logic-example.toml`).
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct GoimSettings {
    /// The client dialects and the HTTP API.
    pub(crate) enabled: bool,
    pub(crate) http_api_without_key: bool,
    pub(crate) trust_clients: bool,
    /// The operation that clients see of a publication that has none.
    pub(crate) default_operation: i32,
    /// Connections with the same key.
    pub(crate) key_connections_max: u32,
    pub(crate) key_policy: KeyPolicy,
    /// A connection is closed after `heartbeat_max` of these without one.
    pub(crate) heartbeat: Period,
    pub(crate) heartbeat_max: u32,
    /// Empty: the name of the machine.
    pub(crate) domain: String,
    /// `auto`: the port of the first client address; 0: not offered. So are the next two.
    pub(crate) tcp_port: Auto<u16>,
    pub(crate) ws_port: Auto<u16>,
    pub(crate) wss_port: Auto<u16>,
    /// Empty: `domain`.
    pub(crate) nodes: Vec<String>,
    pub(crate) backoff_base_delay: Period,
    pub(crate) backoff_max_delay: Period,
    pub(crate) backoff_factor: f64,
    pub(crate) backoff_jitter: f64,
}

/// What happens when one connection more than allowed comes with a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum KeyPolicy {
    /// The oldest makes room, as in goim.
    CloseOldest,
    /// The new one is refused.
    RejectNewest,
}

impl Default for GoimSettings {
    fn default() -> Self {
        Self {
            enabled: true,
            http_api_without_key: false,
            trust_clients: false,
            default_operation: 1_000,
            key_connections_max: 1,
            key_policy: KeyPolicy::CloseOldest,
            heartbeat: Period::seconds(240),
            heartbeat_max: 2,
            domain: String::new(),
            tcp_port: Auto::AUTO,
            ws_port: Auto::AUTO,
            wss_port: Auto::Number(0),
            nodes: Vec::new(),
            backoff_base_delay: Period::seconds(3),
            backoff_max_delay: Period::seconds(300),
            backoff_factor: 1.8,
            backoff_jitter: 0.3,
        }
    }
}
