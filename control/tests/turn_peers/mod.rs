//! Foreign WebRTC stacks on our relay: the server under them, what they are told of it, and what they report.

#![allow(dead_code, reason = "every test file uses a part of it")]

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::support::http;
use crate::support::lines::Lines;
use crate::support::server::Server;

/// Longest that a scenario may take; they take a few seconds.
const TIME_LIMIT: Duration = Duration::from_secs(180);

/// Bytes of data that a packet of any of these programs carries at most: none of them sends more than Ethernet takes.
const PACKET_BYTES_MAX: u64 = 1_500;

/// A user whose password does not end, and what the test signs time-limited credentials with.
pub(crate) const USER: &str = "phone";
pub(crate) const PASSWORD: &str = "a password that only these tests know";
pub(crate) const SECRET: &str = "a secret that only these tests know, and nobody else";

/// How a client comes to the relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Road {
    Udp,
    Tcp,
    Tls,
}

impl Road {
    /// The name that the API, and the statistics of browsers, have for it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
        }
    }

    fn is_of(self, url: &str) -> bool {
        match self {
            Self::Udp => url.starts_with("turn:") && url.ends_with("?transport=udp"),
            Self::Tcp => url.starts_with("turn:") && url.ends_with("?transport=tcp"),
            Self::Tls => url.starts_with("turns:") && url.ends_with("?transport=tcp"),
        }
    }
}

/// A server with a relay on the loopback interface, whose peers are there, too.
pub(crate) struct Relay(Server);

impl Relay {
    pub(crate) fn start() -> Self {
        let (certificate, key) = (key_file("backend.cert.pem"), key_file("backend.pem"));
        // Two threads: what one of them has to hand to the other is relayed as well.
        Self(Server::start(&format!(
            r#"
[turn]
enabled = true
addresses = ["127.0.0.1:0"]
tls_addresses = ["127.0.0.1:0"]
certificate_file = {certificate:?}
key_file = {key:?}
threads = 2
secrets = [{SECRET:?}]
users = {{ {USER} = {PASSWORD:?} }}
allowed_peers = ["127.0.0.0/8", "::1/128"]
allocations_per_user_max = 1000
"#
        )))
    }

    /// What the API gives a page as `iceServers`, of which one road is left.
    pub(crate) fn ice_servers(&self, road: Road) -> Value {
        let made = self.0.api("turn_credentials", &json!({"user": "anna"}));
        let mut servers = made["ice_servers"].clone();
        assert_eq!(servers.as_array().map(Vec::len), Some(1), "{made}");
        let urls = servers[0]["urls"].as_array().expect("a list of URLs");
        let urls: Vec<String> = urls
            .iter()
            .filter_map(Value::as_str)
            .filter(|url| road.is_of(url))
            // Certificates are made out to names.
            .map(|url| url.replace("turns:127.0.0.1", "turns:localhost"))
            .collect();
        assert_eq!(urls.len(), 1, "{made}");
        servers[0]["urls"] = json!(urls);
        servers
    }

    /// The same, a moment after their credentials have ended.
    pub(crate) fn ice_servers_that_have_ended(&self, road: Road) -> Value {
        let made = json!({"user": "anna", "ttl": 1});
        let made = self.0.api("turn_credentials", &made);
        let [username, password] = ["username", "password"].map(|it| {
            let text = made[it].as_str();
            text.expect("text").to_owned()
        });
        let end = username.split(':').next().and_then(|end| end.parse().ok());
        let end = UNIX_EPOCH + Duration::from_secs(end.expect("a time"));
        // The clock of both sides counts whole seconds.
        let is_over = end + Duration::from_secs(2);
        while let Ok(left) = is_over.duration_since(SystemTime::now()) {
            thread::sleep(left);
        }
        self.ice_servers_for(road, &username, &password)
    }

    /// The same, for somebody else's credentials.
    pub(crate) fn ice_servers_for(&self, road: Road, username: &str, credential: &str) -> Value {
        let mut servers = self.ice_servers(road);
        servers[0]["username"] = json!(username);
        servers[0]["credential"] = json!(credential);
        servers
    }

    /// The sum over all threads of a metric of the relay.
    pub(crate) fn sum(&self, name: &str) -> u64 {
        let answer = http::request(self.0.control(), "GET", "/metrics", &[], "");
        let answer = answer.expect("the control API answers");
        let name = format!("fanfare_turn_{name}");
        let values: Vec<u64> = answer
            .body
            .lines()
            .filter(|line| line.split(['{', ' ']).next() == Some(&name))
            .filter_map(|line| line.rsplit(' ').next())
            .map(|value| value.parse().expect("counts are whole numbers"))
            .collect();
        assert!(!values.is_empty(), "no metric {name}:\n{}", answer.body);
        values.iter().sum()
    }

    /// Waits until the sum is as much as that, or more: a thread shows some of what it counts once a second.
    pub(crate) fn await_sum(&self, name: &str, least: u64) {
        let deadline = Instant::now() + TIME_LIMIT;
        loop {
            let sum = self.sum(name);
            if sum >= least {
                return;
            }
            assert!(Instant::now() < deadline, "{name}: {sum} < {least}");
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until the relay says that it has carried that much data in both directions.
    pub(crate) fn await_relayed(&self, bytes: usize) {
        let bytes = bytes as u64;
        for direction in ["to_peers", "to_clients"] {
            self.await_sum(&format!("bytes_{direction}_total"), bytes);
            self.await_sum(
                &format!("packets_{direction}_total"),
                bytes.div_ceil(PACKET_BYTES_MAX),
            );
        }
    }

    /// Waits until no allocation is left.
    pub(crate) fn await_empty(&self) {
        let deadline = Instant::now() + TIME_LIMIT;
        loop {
            let left = self.0.api("turn_allocations", &json!({}));
            if left["allocations"] == json!([]) {
                return;
            }
            assert!(Instant::now() < deadline, "still allocated: {left}");
            thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Numbers and sizes of the messages of these sizes, as scenarios report what they have heard.
pub(crate) fn numbered(sizes: &[usize]) -> Value {
    json!(sizes.iter().enumerate().collect::<Vec<_>>())
}

/// The folder of the scenarios.
pub(crate) fn scenarios() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/turn")
}

/// A file of the tests' keys: `backend` is for `localhost`, and signed by `authority`.
pub(crate) fn key_file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/keys")
        .join(name)
}

/// Runs the scenario with its setup; the JSON that it prints, and its log in a panic if it prints none.
pub(crate) fn play(program: impl AsRef<OsStr>, scenario: &str, setup: &Value) -> Value {
    let script = scenarios().join(scenario);
    // Also for what a scenario that is killed leaves.
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut child = Command::new(program)
        .arg(&script)
        .arg(setup.to_string())
        // The authority that a client believes.
        .env("SSL_CERT_FILE", key_file("authority.cert.pem"))
        .env("TMPDIR", folder.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it was there a moment ago");
    let said = Lines::of(child.stdout.take().expect("stdout is piped"));
    let log = Lines::of(child.stderr.take().expect("stderr is piped"));
    let deadline = Instant::now() + TIME_LIMIT;
    let said = said.next_before(deadline);
    let ended = end(&mut child, deadline);
    let report = said.and_then(|line| serde_json::from_str(&line).ok());
    report.filter(|_| ended).unwrap_or_else(|| {
        let log = log.through(Duration::from_secs(5), |_| false);
        panic!("{scenario} failed, or hung:\n{}", log.join("\n"))
    })
}

/// Waits for the end of the process; whether it ended well. One that does not end is killed.
fn end(child: &mut Child, deadline: Instant) -> bool {
    loop {
        if let Some(status) = child.try_wait().expect("our own child") {
            return status.success();
        }
        if Instant::now() >= deadline {
            // Fails only when it has ended already.
            let _ = child.kill();
            let _ = child.wait();
            return false;
        }
        thread::sleep(Duration::from_millis(10));
    }
}
