//! Relays that are measured: Fanfare's, on the ring and otherwise, coturn's, and a loop that does nothing but receive and send.

use std::ffi::OsStr;
use std::net::SocketAddr;

use super::process::{Process, free_address, write_file};
use super::programs::{ask, built, in_path};
use super::{Missing, Spec, StartError};
use crate::relay::User;

/// A relay that can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relay {
    /// `fanfare` beside this program, or `FANFARE_BIN`.
    Fanfare,
    /// Debian: `coturn`.
    Coturn,
    /// Fanfare's state machine in this program, over `recvmmsg` and `sendmmsg`.
    Mmsg,
    /// This program once more, with a system call for each packet on either side.
    BareLoop,
    /// The same on a ring.
    BareRing,
}

/// A relay at work. Dropping it ends it.
#[derive(Debug)]
pub struct RunningRelay {
    /// Its name.
    pub name: &'static str,
    /// All processes that do its work.
    pub pids: Vec<u32>,
    /// Where clients' datagrams come to.
    pub address: SocketAddr,
    /// Who may use it; a bare loop asks nobody.
    pub user: Option<User>,
    process: Process,
}

impl RunningRelay {
    /// What it has written to its log, the last lines.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.log()
    }
}

impl Relay {
    /// What it is called in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fanfare => "fanfare",
            Self::Coturn => "coturn",
            Self::Mmsg => "fanfare-over-mmsg",
            Self::BareLoop => "bare-loop",
            Self::BareRing => "bare-ring-loop",
        }
    }

    /// Its version.
    ///
    /// # Errors
    /// What is missing, and how to get it.
    pub fn find(self) -> Result<String, Missing> {
        match self {
            Self::Fanfare => {
                let said = fanfare()?;
                let said = ask(&said, &["--version"]).ok_or_else(no_fanfare)?;
                Ok(said.trim_start_matches("fanfare ").to_owned())
            }
            Self::Coturn => {
                in_path("turnserver").ok_or_else(no_coturn)?;
                let query = in_path("dpkg-query").ok_or_else(no_coturn)?;
                let version = ask(&query, &["--showformat=${Version}", "--show", "coturn"]);
                version.ok_or_else(no_coturn)
            }
            Self::Mmsg | Self::BareLoop | Self::BareRing => {
                Ok(env!("CARGO_PKG_VERSION").to_owned())
            }
        }
    }

    /// Starts it with one thread that relays, and waits until clients may come.
    ///
    /// # Errors
    /// It is not there, or does not come to listen.
    pub fn start(self, spec: &Spec) -> Result<RunningRelay, StartError> {
        let user = User {
            name: "bench".to_owned(),
            password: format!("{:032x}", fastrand::u128(..)),
        };
        let (process, address) = match self {
            Self::Fanfare => start_fanfare(spec, &user)?,
            Self::Coturn => start_coturn(spec, &user)?,
            Self::Mmsg => {
                let arguments = ["serve-relay-mmsg", &user.name, &user.password];
                start_ourselves(self, &arguments, spec)?
            }
            Self::BareLoop => start_ourselves(self, &["serve-relay-floor", "send"], spec)?,
            Self::BareRing => start_ourselves(self, &["serve-relay-floor", "ring"], spec)?,
        };
        Ok(RunningRelay {
            name: self.name(),
            pids: process.pids(),
            address,
            user: (!matches!(self, Self::BareLoop | Self::BareRing)).then_some(user),
            process,
        })
    }
}

fn fanfare() -> Result<std::path::PathBuf, Missing> {
    built("fanfare", "FANFARE_BIN").ok_or_else(no_fanfare)
}

fn no_fanfare() -> Missing {
    Missing {
        what: "fanfare".to_owned(),
        remedy: "cargo build -p fanfare-control with this profile, or FANFARE_BIN=its path"
            .to_owned(),
    }
}

fn no_coturn() -> Missing {
    Missing::debian("coturn", "coturn")
}

/// Without bounds on what a client may do: they are not what is measured, and coturn has none.
fn start_fanfare(spec: &Spec, user: &User) -> Result<(Process, SocketAddr), StartError> {
    let key = format!("{:032x}", fastrand::u128(..));
    let text = format!(
        r#"[client]
addresses = ["127.0.0.1:0"]
[api]
address = "127.0.0.1:0"
keys = ["{key}"]
[token]
hmac_secret = "{key}"
[engine]
shards = 1
[log]
level = "warn"
[turn]
enabled = true
addresses = ["127.0.0.1:0"]
threads = {threads}
users = {{ {name} = "{password}" }}
allowed_peers = ["127.0.0.0/8"]
allocations_max = 1000000
allocations_per_user_max = 1000000
packets_per_second = 100000000
bytes_per_second = 4294967295
unauthenticated_per_second = 1000000
port_min = 10000
[shutdown]
drain_window = "0s"
relay_window = "0s"
"#,
        threads = spec.threads(),
        name = user.name,
        password = user.password,
    );
    let program = fanfare()?;
    let file = write_file("fanfare-relay", spec, "fanfare.toml", &text)?;
    let arguments = [OsStr::new("--config"), file.as_os_str()];
    let mut process = Process::start("fanfare-relay", &program, &arguments, spec)?;
    let address = process.wait_for_output(|text| {
        let (_, rest) = text.split_once("turn:")?;
        rest.split_once('?')?.0.parse().ok()
    })?;
    Ok((process, address))
}

fn start_coturn(spec: &Spec, user: &User) -> Result<(Process, SocketAddr), StartError> {
    let program = in_path("turnserver").ok_or_else(no_coturn)?;
    let address = free_address("coturn")?;
    let credentials = format!("{}:{}", user.name, user.password);
    let (port, threads) = (address.port().to_string(), spec.threads().to_string());
    let pid = spec.directory.join("coturn.pid");
    let database = spec.directory.join("coturn.db");
    let mut arguments: Vec<&OsStr> = [
        "-n",
        "--lt-cred-mech",
        "--realm=fanfare",
        "--listening-ip=127.0.0.1",
        "--relay-ip=127.0.0.1",
        "--allow-loopback-peers",
        "--min-port=10000",
        "--max-port=65535",
        // None of these is part of relaying.
        "--no-cli",
        "--no-tls",
        "--no-dtls",
        "--no-stun-backward-compatibility",
        "--log-file=stdout",
        "--user",
        &credentials,
        "--listening-port",
        &port,
        "--relay-threads",
        &threads,
        "--pidfile",
    ]
    .map(OsStr::new)
    .into();
    arguments.push(pid.as_os_str());
    arguments.push(OsStr::new("--userdb"));
    arguments.push(database.as_os_str());
    let mut process = Process::start("coturn", &program, &arguments, spec)?;
    process.wait_for_listener(address)?;
    Ok((process, address))
}

/// Starts this program once more, as a relay.
fn start_ourselves(
    relay: Relay,
    arguments: &[&str],
    spec: &Spec,
) -> Result<(Process, SocketAddr), StartError> {
    let name = relay.name();
    let program = std::env::current_exe().map_err(|source| StartError::Start {
        name: name.to_owned(),
        source,
    })?;
    let arguments: Vec<&OsStr> = arguments.iter().map(OsStr::new).collect();
    let mut process = Process::start(name, &program, &arguments, spec)?;
    let address = process.wait_for_output(|text| {
        let ready = text.lines().find_map(|line| line.strip_prefix("ready "))?;
        ready.trim().parse().ok()
    })?;
    Ok((process, address))
}
