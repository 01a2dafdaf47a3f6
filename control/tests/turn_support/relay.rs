//! The server with a relay on loopback, and what it tells of it.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::http;
use crate::support::server::Server;

/// What both sides make credentials with.
pub(crate) const SECRET: &str = "what coturn's clients and the relay both know";

/// Longest until what clients had has ended after them.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where clients come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Road {
    /// Over UDP.
    Udp,
    /// Over TCP.
    Tcp,
    /// Over TLS.
    Tls,
    /// Over UDP, to its address of IPv6.
    UdpV6,
}

impl Road {
    /// The address that belongs to it.
    pub(crate) const fn host(self) -> &'static str {
        match self {
            Self::UdpV6 => "::1",
            Self::Udp | Self::Tcp | Self::Tls => "127.0.0.1",
        }
    }
}

/// A server with a relay that reaches peers on loopback, and whose bounds no test comes near.
#[derive(Debug)]
pub(crate) struct Relay {
    server: Server,
    urls: Vec<String>,
}

impl Relay {
    /// Starts it with so many threads, and with ports of its own to give away.
    pub(crate) fn start(threads: usize, ports: RangeInclusive<u16>) -> Self {
        let (port_min, port_max) = ports.into_inner();
        let keys = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/keys");
        let (certificate, key) = (keys.join("backend.cert.pem"), keys.join("backend.pem"));
        // Old channels, since the client of coturn 4.6 draws from all that RFC 5766 had.
        let server = Server::start(&format!(
            r#"
[turn]
enabled = true
addresses = ["127.0.0.1:0", "[::1]:0"]
tls_addresses = ["127.0.0.1:0"]
certificate_file = {certificate:?}
key_file = {key:?}
threads = {threads}
port_min = {port_min}
port_max = {port_max}
secrets = [{SECRET:?}]
allowed_peers = ["127.0.0.0/8", "::1/128"]
legacy_channels = true
tcp_peers = true
allocations_per_user_max = 10000
new_peers_per_second = 1000
unauthenticated_per_second = 100000
bindings_per_second = 100000
"#
        ));
        // The kernel chose the ports, for UDP others than for TCP.
        let credentials = server.api("turn_credentials", &json!({"user": "anna"}));
        let urls = credentials["ice_servers"][0]["urls"].as_array();
        let urls = urls.into_iter().flatten().filter_map(Value::as_str);
        Self {
            urls: urls.map(str::to_owned).collect(),
            server,
        }
    }

    /// The port of this road.
    pub(crate) fn port(&self, road: Road) -> u16 {
        let (before, after) = match road {
            Road::Udp => ("turn:127.0.0.1:", "?transport=udp"),
            Road::Tcp => ("turn:127.0.0.1:", "?transport=tcp"),
            Road::Tls => ("turns:127.0.0.1:", "?transport=tcp"),
            Road::UdpV6 => ("turn:[::1]:", "?transport=udp"),
        };
        let port = self
            .urls
            .iter()
            .find_map(|url| url.strip_prefix(before)?.strip_suffix(after)?.parse().ok());
        port.unwrap_or_else(|| panic!("no {road:?} in {:?}", self.urls))
    }

    /// The relayed addresses of each allocation that is there.
    pub(crate) fn relayed(&self) -> Vec<Vec<String>> {
        let listed = self.server.api("turn_allocations", &json!({}));
        let relayed = |allocation: &Value| {
            let addresses = allocation["relayed"].as_array().into_iter().flatten();
            let addresses = addresses.filter_map(Value::as_str);
            addresses.map(str::to_owned).collect()
        };
        let allocations = listed["allocations"].as_array().into_iter().flatten();
        allocations.map(relayed).collect()
    }

    /// What its threads have counted together.
    pub(crate) fn counted(&self) -> Counted {
        let answer = http::request(self.server.control(), "GET", "/metrics", &[], "");
        let answer = answer.expect("the control API answers");
        assert_eq!(answer.status, 200, "{answer:?}");
        let mut sums = BTreeMap::new();
        for line in answer.body.lines() {
            if let Some(line) = line.strip_prefix("fanfare_turn_")
                && let Some((name, value)) = line.split_once(' ')
            {
                let name = name.split('{').next().unwrap_or(name);
                let value: u64 = value.parse().expect("counts are whole numbers");
                *sums.entry(name.to_owned()).or_default() += value;
            }
        }
        Counted(sums)
    }

    /// Waits until nothing of this is left: a thread shows what is there once a second.
    pub(crate) fn await_none(&self, name: &str) {
        let deadline = Instant::now() + PATIENCE;
        while self.counted().of(name) > 0 {
            assert!(Instant::now() < deadline, "{name}: {:?}", self.counted());
            thread::sleep(Duration::from_millis(20));
        }
    }
}

/// What is to stay at zero besides all that begins with `dropped_`.
const LOSSES: [&str; 12] = [
    "allocations_over_quota_total",
    "allocations_without_port_total",
    "auth_failures_total",
    "auth_malformed_total",
    "nonces_stale_total",
    "datagrams_truncated_total",
    "sends_full_total",
    "sends_failed_total",
    "accept_errors_total",
    "streams_refused_total",
    "streams_garbage_total",
    "stream_messages_dropped_total",
];

/// The metrics of the relay, by their names without `fanfare_turn_`.
#[derive(Debug)]
pub(crate) struct Counted(BTreeMap<String, u64>);

impl Counted {
    pub(crate) fn of(&self, name: &str) -> u64 {
        let value = self.0.get(name);
        *value.unwrap_or_else(|| panic!("no metric {name}: {self:?}"))
    }

    /// Fails unless nothing was dropped or lost, and nobody was sent away.
    pub(crate) fn assert_nothing_was_dropped(&self) {
        let dropped = self.0.keys().filter(|name| name.starts_with("dropped_"));
        let mut names: Vec<&str> = dropped.map(String::as_str).collect();
        assert!(!names.is_empty(), "{self:?}");
        names.extend(LOSSES);
        for name in names {
            assert_eq!(self.of(name), 0, "{name}: {self:?}");
        }
    }
}
