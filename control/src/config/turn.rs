//! The keys of `[turn]`: the STUN/TURN relay.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::check::Check;
use super::values::{Auto, Period, Secret, secrets};

/// Where TURN and STUN are looked for (RFC 8656 section 19, RFC 8489 section 18.6).
const PORT: u16 = 3478;

/// The relay.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct TurnSettings {
    pub(crate) enabled: bool,
    pub(crate) addresses: Vec<SocketAddr>,
    pub(crate) tls_addresses: Vec<SocketAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) certificate_file: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) key_file: Option<PathBuf>,
    pub(crate) threads: Auto<u16>,
    pub(crate) realm: String,
    #[serde(deserialize_with = "secrets")]
    pub(crate) secrets: Vec<Secret>,
    pub(crate) users: BTreeMap<String, Secret>,
    pub(crate) credential_ttl: Period,
    pub(crate) credential_ttl_max: Period,
    pub(crate) urls: Vec<String>,
    pub(crate) relay_addresses: Vec<IpAddr>,
    pub(crate) external_addresses: Vec<IpAddr>,
    pub(crate) port_min: u16,
    pub(crate) port_max: u16,
    pub(crate) allowed_peers: Vec<IpNet>,
    pub(crate) denied_peers: Vec<IpNet>,
    pub(crate) allocations_max: u32,
    pub(crate) allocations_per_user_max: u32,
    pub(crate) allocation_lifetime: Period,
    pub(crate) allocation_lifetime_max: Period,
    pub(crate) permissions_max: u32,
    pub(crate) channels_max: u32,
    pub(crate) legacy_channels: bool,
    pub(crate) tcp_peers: bool,
    pub(crate) connections_max: u32,
    pub(crate) new_peers_per_second: u32,
    pub(crate) packets_per_second: u32,
    pub(crate) bytes_per_second: u32,
    pub(crate) unauthenticated_per_second: u32,
    pub(crate) bindings_per_second: u32,
    pub(crate) streams_max: u32,
    pub(crate) streams_unauthenticated_max: u32,
    pub(crate) streams_unauthenticated_per_source_max: u32,
    pub(crate) stream_idle_timeout: Period,
    pub(crate) stream_unsent_bytes_max: u32,
    pub(crate) alternate_servers: Vec<SocketAddr>,
}

impl Default for TurnSettings {
    fn default() -> Self {
        Self {
            enabled: false,
            addresses: vec![
                (Ipv4Addr::UNSPECIFIED, PORT).into(),
                (Ipv6Addr::UNSPECIFIED, PORT).into(),
            ],
            tls_addresses: Vec::new(),
            certificate_file: None,
            key_file: None,
            threads: Auto::AUTO,
            realm: "fanfare".to_owned(),
            secrets: Vec::new(),
            users: BTreeMap::new(),
            credential_ttl: Period::seconds(3_600),
            credential_ttl_max: Period::seconds(86_400),
            urls: Vec::new(),
            relay_addresses: Vec::new(),
            external_addresses: Vec::new(),
            port_min: 49_152,
            port_max: 65_535,
            allowed_peers: Vec::new(),
            denied_peers: Vec::new(),
            allocations_max: 10_000,
            allocations_per_user_max: 10,
            allocation_lifetime: Period::seconds(600),
            allocation_lifetime_max: Period::seconds(3_600),
            permissions_max: 64,
            channels_max: 64,
            legacy_channels: false,
            tcp_peers: false,
            connections_max: 16,
            new_peers_per_second: 5,
            packets_per_second: 10_000,
            bytes_per_second: 12_500_000,
            unauthenticated_per_second: 50,
            bindings_per_second: 50,
            streams_max: 10_000,
            streams_unauthenticated_max: 1_000,
            streams_unauthenticated_per_source_max: 100,
            stream_idle_timeout: Period::seconds(30),
            stream_unsent_bytes_max: 512 << 10,
            alternate_servers: Vec::new(),
        }
    }
}

impl Check<'_> {
    pub(super) fn turn(&mut self, turn: &TurnSettings) {
        const MILLION: u32 = 1_000_000;
        const DAY: u64 = 86_400;
        if turn.enabled && turn.addresses.is_empty() && turn.tls_addresses.is_empty() {
            self.refuse(
                "turn.addresses",
                "is empty: clients need somewhere to connect",
            );
        }
        match (&turn.certificate_file, &turn.key_file) {
            (Some(_), None) => self.refuse("turn.certificate_file", "needs turn.key_file besides"),
            (None, Some(_)) => self.refuse("turn.key_file", "needs turn.certificate_file besides"),
            (None, None) if !turn.tls_addresses.is_empty() => self.refuse(
                "turn.tls_addresses",
                "needs turn.certificate_file and turn.key_file",
            ),
            _ => {}
        }
        if turn.realm.is_empty() || turn.realm.len() > 127 || turn.realm.contains('"') {
            self.refuse(
                "turn.realm",
                "must be 1 to 127 bytes without a quotation mark",
            );
        }
        for secret in &turn.secrets {
            if let Err(weak) = secret.check_length() {
                self.refuse("turn.secrets", &format!("holds one that {weak}"));
            }
        }
        for user in turn.users.keys() {
            if user.is_empty() || user.len() > fanfare_turn::credentials::USER_BYTES_MAX {
                self.refuse("turn.users", "holds a name that is empty or too long");
            }
        }
        for (key, addresses) in [
            ("turn.relay_addresses", &turn.relay_addresses),
            ("turn.external_addresses", &turn.external_addresses),
        ] {
            let of_v4 = addresses.iter().filter(|it| it.is_ipv4()).count();
            if of_v4 > 1 || addresses.len() - of_v4 > 1 {
                self.refuse(key, "holds more than one address of IPv4 or of IPv6");
            }
            if addresses.iter().any(IpAddr::is_unspecified) {
                self.refuse(key, "must name an address: clients are told it");
            }
        }
        if turn.port_min > turn.port_max || turn.port_min < 1_024 {
            self.refuse(
                "turn.port_min",
                &format!(
                    "is {}, and must be from 1024 to turn.port_max ({})",
                    turn.port_min, turn.port_max
                ),
            );
        }
        if let Auto::Number(threads) = turn.threads {
            self.number("turn.threads", threads, &(1..=256));
        }
        self.numbers(&[
            ("turn.allocations_max", turn.allocations_max, 1..=MILLION),
            (
                "turn.allocations_per_user_max",
                turn.allocations_per_user_max,
                1..=MILLION,
            ),
            ("turn.permissions_max", turn.permissions_max, 1..=1_024),
            ("turn.channels_max", turn.channels_max, 1..=1_024),
            ("turn.connections_max", turn.connections_max, 1..=1_024),
            (
                "turn.new_peers_per_second",
                turn.new_peers_per_second,
                1..=1_000,
            ),
            (
                "turn.packets_per_second",
                turn.packets_per_second,
                1..=100 * MILLION,
            ),
            (
                "turn.bytes_per_second",
                turn.bytes_per_second,
                1_000..=u32::MAX,
            ),
            (
                "turn.unauthenticated_per_second",
                turn.unauthenticated_per_second,
                1..=MILLION,
            ),
            (
                "turn.bindings_per_second",
                turn.bindings_per_second,
                1..=MILLION,
            ),
            ("turn.streams_max", turn.streams_max, 1..=MILLION),
            (
                "turn.streams_unauthenticated_max",
                turn.streams_unauthenticated_max,
                1..=MILLION,
            ),
            (
                "turn.streams_unauthenticated_per_source_max",
                turn.streams_unauthenticated_per_source_max,
                1..=MILLION,
            ),
            (
                "turn.stream_unsent_bytes_max",
                turn.stream_unsent_bytes_max,
                131_072..=1 << 28,
            ),
        ]);
        self.periods(&[
            ("turn.credential_ttl", turn.credential_ttl, 1, 30 * DAY),
            (
                "turn.credential_ttl_max",
                turn.credential_ttl_max,
                1,
                30 * DAY,
            ),
            (
                "turn.allocation_lifetime",
                turn.allocation_lifetime,
                60,
                3_600,
            ),
            (
                "turn.allocation_lifetime_max",
                turn.allocation_lifetime_max,
                600,
                DAY,
            ),
            (
                "turn.stream_idle_timeout",
                turn.stream_idle_timeout,
                1,
                3_600,
            ),
        ]);
        if turn.credential_ttl > turn.credential_ttl_max {
            self.refuse(
                "turn.credential_ttl",
                "is longer than turn.credential_ttl_max",
            );
        }
        if turn.allocation_lifetime > turn.allocation_lifetime_max {
            self.refuse(
                "turn.allocation_lifetime",
                "is longer than turn.allocation_lifetime_max",
            );
        }
    }
}
