//! What goim tells of its servers: `/goim/nodes/weighted` to clients, `/goim/nodes/instances` to operators.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde::Serialize;

use super::go_json::Float;
use crate::config::{Auto, GoimSettings};

/// The name under which goim's servers for clients register (`cmd/comet/main.go`).
const APP_ID: &str = "goim.comet";

/// The weight of goim's quick start. With one server, any is right.
const WEIGHT: &str = "10";

/// Where clients are sent, and how they shall behave.
#[derive(Debug)]
pub(crate) struct Nodes {
    weighted: Weighted,
    host: String,
    /// Requests so far: each begins with another node, so that the load spreads.
    turn: AtomicUsize,
}

/// goim's `NodesReply` (`api/logic/logic.pb.go`): what is zero is left out.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Weighted {
    #[serde(skip_serializing_if = "String::is_empty")]
    domain: String,
    #[serde(skip_serializing_if = "is_zero")]
    tcp_port: u32,
    #[serde(skip_serializing_if = "is_zero")]
    ws_port: u32,
    #[serde(skip_serializing_if = "is_zero")]
    wss_port: u32,
    /// Seconds.
    heartbeat: u64,
    nodes: Vec<String>,
    backoff: Backoff,
    heartbeat_max: u32,
}

#[derive(Debug, Clone, Serialize)]
struct Backoff {
    /// Seconds, as the next.
    max_delay: u64,
    base_delay: u64,
    factor: Float,
    #[serde(skip_serializing_if = "Float::is_zero")]
    jitter: Float,
}

/// The `Instance` of goim's discovery service.
#[derive(Debug, Serialize)]
pub(super) struct Instance {
    region: &'static str,
    zone: &'static str,
    env: &'static str,
    appid: &'static str,
    hostname: String,
    addrs: Vec<String>,
    version: &'static str,
    /// Nanoseconds since 1970.
    latest_timestamp: u64,
    metadata: BTreeMap<&'static str, String>,
}

impl Nodes {
    /// `host` and `port` are where this server is, for what the settings leave to it.
    pub(crate) fn new(settings: &GoimSettings, host: &str, port: u16) -> Self {
        let domain = match &*settings.domain {
            "" => host,
            domain => domain,
        };
        let nodes = match &*settings.nodes {
            [] => vec![domain.to_owned()],
            nodes => nodes.to_vec(),
        };
        let port_of = |setting: Auto<u16>| u32::from(setting.number().unwrap_or(port));
        Self {
            weighted: Weighted {
                domain: domain.to_owned(),
                tcp_port: port_of(settings.tcp_port),
                ws_port: port_of(settings.ws_port),
                wss_port: port_of(settings.wss_port),
                heartbeat: settings.heartbeat.0.as_secs(),
                nodes,
                backoff: Backoff {
                    max_delay: settings.backoff_max_delay.0.as_secs(),
                    base_delay: settings.backoff_base_delay.0.as_secs(),
                    factor: Float(settings.backoff_factor),
                    jitter: Float(settings.backoff_jitter),
                },
                heartbeat_max: settings.heartbeat_max,
            },
            host: host.to_owned(),
            turn: AtomicUsize::new(0),
        }
    }

    /// The servers, another one first each time.
    pub(super) fn weighted(&self) -> Weighted {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let mut weighted = self.weighted.clone();
        let first = turn % weighted.nodes.len().max(1);
        weighted.nodes.rotate_left(first);
        weighted
    }

    /// This process, as one of goim's servers for clients.
    pub(super) fn instance(&self, connections: u64, ips: u64, now_ns: u64) -> Instance {
        let weighted = &self.weighted;
        Instance {
            region: "",
            zone: "",
            env: "",
            appid: APP_ID,
            hostname: self.host.clone(),
            addrs: (weighted.tcp_port != 0)
                .then(|| format!("tcp://{}:{}", weighted.domain, weighted.tcp_port))
                .into_iter()
                .collect(),
            version: "",
            latest_timestamp: now_ns,
            metadata: BTreeMap::from([
                ("addrs", weighted.nodes.join(",")),
                ("conn_count", connections.to_string()),
                ("ip_count", ips.to_string()),
                ("offline", "false".to_owned()),
                ("weight", WEIGHT.to_owned()),
            ]),
        }
    }
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl Float {
    fn is_zero(&self) -> bool {
        self.0 == 0.0
    }
}
