//! The server with a relay on the loopback interface.

use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::PATIENCE;
use super::counted::Counted;
use super::credentials::{PASSWORD, SECRET, USER};
use crate::support::http;
use crate::support::server::Server;

/// Pause between two looks at something that is waited for.
const PAUSE: Duration = Duration::from_millis(20);

/// A server with a relay that clients reach on every [road](super::road::Road), and that reaches peers on loopback.
#[derive(Debug)]
pub(crate) struct Relay {
    pub(super) server: Server,
}

impl Relay {
    /// Starts it with two threads, so that packets go from one of them to the other as well.
    pub(crate) fn start() -> Self {
        Self::start_with(2, "")
    }

    /// Starts it with so many threads, and with this in `[turn]` besides. The kernel chooses the ports that it listens on, for UDP
    /// others than for TCP.
    pub(crate) fn start_with(threads: usize, more: &str) -> Self {
        let (certificate, key) = (key_file("backend.cert.pem"), key_file("backend.pem"));
        let server = Server::start(&format!(
            r#"
[turn]
enabled = true
addresses = ["127.0.0.1:0", "[::1]:0"]
tls_addresses = ["127.0.0.1:0"]
certificate_file = {certificate:?}
key_file = {key:?}
threads = {threads}
secrets = [{SECRET:?}]
users = {{ {USER} = {PASSWORD:?} }}
allowed_peers = ["127.0.0.0/8", "::1/128"]
allocations_per_user_max = 10000
{more}
"#
        ));
        Self { server }
    }

    /// The relayed addresses of each allocation that is there.
    pub(crate) fn relayed(&self) -> Vec<Vec<String>> {
        let listed = self.server.api("turn_allocations", &json!({}));
        let relayed = |allocation: &Value| {
            let addresses = allocation["relayed"].as_array().into_iter().flatten();
            let addresses = addresses.filter_map(Value::as_str);
            addresses.map(str::to_owned).collect()
        };
        let allocations = listed["allocations"].as_array().expect("a list");
        allocations.iter().map(relayed).collect()
    }

    /// Waits until no allocation is left.
    pub(crate) fn await_empty(&self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = self.relayed();
            if left.is_empty() {
                return;
            }
            assert!(Instant::now() < deadline, "still allocated: {left:?}");
            thread::sleep(PAUSE);
        }
    }

    /// What its threads have counted together.
    pub(crate) fn counted(&self) -> Counted {
        let answer = http::request(self.server.control(), "GET", "/metrics", &[], "");
        let answer = answer.expect("the control API answers");
        assert_eq!(answer.status, 200, "{answer:?}");
        Counted::read(&answer.body)
    }

    /// Waits until it has counted so many of these, or more: a thread shows some of what it counts once a second.
    pub(crate) fn await_count(&self, name: &str, least: u64) {
        self.await_that(name, |count| count >= least);
    }

    /// Waits until none of these are there.
    pub(crate) fn await_none(&self, name: &str) {
        self.await_that(name, |count| count == 0);
    }

    /// Waits until it says that it has carried that much data in both directions.
    pub(crate) fn await_relayed(&self, bytes: usize) {
        /// Bytes of data in a packet at most: no client sends more than Ethernet takes.
        const PACKET_BYTES_MAX: u64 = 1_500;
        let bytes = bytes as u64;
        let packets = bytes.div_ceil(PACKET_BYTES_MAX);
        for direction in ["to_peers", "to_clients"] {
            self.await_count(&format!("bytes_{direction}_total"), bytes);
            self.await_count(&format!("packets_{direction}_total"), packets);
        }
    }

    fn await_that(&self, name: &str, is_so: impl Fn(u64) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let counted = self.counted();
            if is_so(counted.of(name)) {
                return;
            }
            assert!(Instant::now() < deadline, "{name}: {counted:?}");
            thread::sleep(PAUSE);
        }
    }
}

/// A file of the tests' keys: `backend` is for `localhost`, and signed by `authority`.
pub(crate) fn key_file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/keys")
        .join(name)
}
