//! The servers that are measured: each started as a process of its own, pinned to its cores, and ended with us.
//!
//! | file | server | members speak | needs |
//! |---|---|---|---|
//! | [`fanfare`](Fanfare) | Fanfare | native and goim over TCP or WebSocket, Centrifuge JSON | `fanfare` beside this program, or `FANFARE_BIN` |
//! | `baseline` | the same server on tokio, tokio-uring and glommio | WebSocket | `fanfare-baseline` beside this program (feature `baselines`), or `FANFARE_BASELINE_BIN` |
//! | `nchan` | nginx with nchan | WebSocket | Debian: `nginx libnginx-mod-nchan` |
//! | `nats` | nats-server | NATS over TCP | Debian: `nats-server` |
//! | `mosquitto` | mosquitto | MQTT over TCP | Debian: `mosquitto` |
//! | `centrifugo` | Centrifugo 6 | Centrifuge JSON | `centrifugo` in the path |
//! | `uwebsockets` | a program around uWebSockets, a library | WebSocket | `FANFARE_BENCH_UWS`, with the command line of `fanfare-baseline` |
//!
//! Relays of packets are in `relays`: Fanfare's, coturn's and a bare loop.
//!
//! goim is not among them: the swarm speaks its protocol, but it needs Kafka, Redis and a service registry beside it.
//!
//! Each gets the settings that suit one core and lose nothing, with the reason beside them; what a server keeps for
//! clients that are slow stays as it comes, unless it would drop what it was asked to deliver.

mod baseline;
mod centrifugo;
mod fanfare;
mod link;
mod mosquitto;
mod nats;
mod nchan;
mod pipeline;
mod process;
mod programs;
mod relays;
mod sweep;
mod uwebsockets;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use thiserror::Error;

use crate::http;
use crate::swarm::Language;
use process::Process;

pub use baseline::start_program;
pub use fanfare::{Fanfare, fanfare_publisher};
pub use relays::{Relay, RunningRelay};
pub use sweep::{Sweep, SweepSpec};

/// What a contestant is asked for.
#[derive(Debug, Clone)]
pub struct Spec {
    /// The cores it may run on; empty for all.
    pub cpus: Vec<usize>,
    /// Members that will connect.
    pub members: u32,
    /// Rooms that they will be in.
    pub rooms: u32,
    /// Threads that do the work, where a server can be told; `None`: one for each of its cores.
    pub shards: Option<u16>,
    /// An existing folder for its configuration and its log, of nobody else.
    pub directory: PathBuf,
    /// Longest payload that will be published, in bytes.
    pub payload_bytes: u32,
}

impl Spec {
    /// Threads that do the work.
    fn threads(&self) -> usize {
        match (self.shards, self.cpus.len()) {
            (Some(shards), _) => usize::from(shards),
            (None, 0) => std::thread::available_parallelism().map_or(1, usize::from),
            (None, cpus) => cpus,
        }
    }

    /// Open files that it needs: members, and what any server has open beside them.
    fn files(&self) -> u32 {
        self.members.saturating_add(1_024)
    }
}

/// A server that can be measured.
pub trait Contestant: Send + Sync {
    /// What it is called in reports.
    fn name(&self) -> &str;

    /// Its version.
    ///
    /// # Errors
    /// What is missing, and how to get it.
    fn find(&self) -> Result<String, Missing>;

    /// Starts it, and waits until members may connect.
    ///
    /// # Errors
    /// When it is not there, or does not come to listen.
    fn start(&self, spec: &Spec) -> Result<Running, StartError>;
}

/// All of them: Fanfare first, then the baselines, then the peers.
#[must_use]
pub fn contestants() -> Vec<Box<dyn Contestant>> {
    let mut all: Vec<Box<dyn Contestant>> = vec![
        Box::new(Fanfare::native()),
        Box::new(Fanfare::native_web_socket()),
        Box::new(Fanfare::centrifuge()),
    ];
    for runtime in baseline::RUNTIMES {
        all.push(Box::new(runtime));
    }
    all.push(Box::new(nchan::Nchan));
    all.push(Box::new(nats::NatsServer));
    all.push(Box::new(mosquitto::Mosquitto));
    all.push(Box::new(centrifugo::Centrifugo));
    all.push(Box::new(uwebsockets::UWebSockets));
    all
}

/// A server at work. Dropping it ends its processes: SIGTERM, and SIGKILL to what is left after 5 s.
pub struct Running {
    /// Its contestant's name.
    pub name: String,
    /// All processes that do its work.
    pub pids: Vec<u32>,
    /// Where members connect.
    pub clients: SocketAddr,
    /// What they speak there.
    pub language: Language,
    /// Its control API, where it is Fanfare.
    pub api: Option<Api>,
    connect: Box<dyn Fn() -> Result<Box<dyn Publisher>, PublishError> + Send + Sync>,
    process: Process,
}

impl Running {
    /// A server that is ready, with a way to make publishers.
    fn of(
        process: Process,
        clients: SocketAddr,
        language: Language,
        connect: impl Fn() -> Result<Box<dyn Publisher>, PublishError> + Send + Sync + 'static,
    ) -> Self {
        Self {
            name: process.name.clone(),
            pids: process.pids(),
            clients,
            language,
            api: None,
            connect: Box::new(connect),
            process,
        }
    }

    /// A new connection that publishes into its rooms.
    ///
    /// # Errors
    /// When the server does not accept it.
    pub fn publisher(&self) -> Result<Box<dyn Publisher>, PublishError> {
        (self.connect)()
    }

    /// What it has written to its log, the last lines.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.log()
    }
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running")
            .field("name", &self.name)
            .field("pids", &self.pids)
            .field("clients", &self.clients)
            .finish_non_exhaustive()
    }
}

/// Fanfare's control API.
#[derive(Debug, Clone)]
pub struct Api {
    /// Where it listens.
    pub address: SocketAddr,
    /// A key for it, good for native connections of services too.
    pub key: String,
}

/// A way to publish, as a service would.
pub trait Publisher: Send {
    /// Publishes these, in this order, into the room, pipelined as far as the protocol allows. Returns when the server has
    /// said that it has them all, and all that was offered before.
    ///
    /// # Errors
    /// When it cannot be asked, or refuses. How many it took is not known then.
    fn publish(&mut self, room: &str, payloads: &[Vec<u8>]) -> Result<(), PublishError>;

    /// The same, without waiting for the server's word, as long as not too much of it is outstanding.
    ///
    /// # Errors
    /// As [`publish`](Self::publish), about what was offered before, too.
    fn offer(&mut self, room: &str, payloads: &[Vec<u8>]) -> Result<(), PublishError> {
        self.publish(room, payloads)
    }

    /// Waits until the server has all that was offered.
    ///
    /// # Errors
    /// As [`publish`](Self::publish), about what was offered before.
    fn settle(&mut self) -> Result<(), PublishError> {
        Ok(())
    }
}

/// A server is not on this machine.
#[derive(Debug, Clone, Error)]
#[error("{what} is missing: {remedy}")]
pub struct Missing {
    /// What is.
    pub what: String,
    /// How to get it.
    pub remedy: String,
}

impl Missing {
    /// What these packages of Debian bring.
    fn debian(what: &str, packages: &str) -> Self {
        Self {
            what: what.to_owned(),
            remedy: format!("apt-get install {packages}"),
        }
    }
}

/// Why a server does not run.
#[derive(Debug, Error)]
pub enum StartError {
    /// It is not there.
    #[error(transparent)]
    Missing(#[from] Missing),
    /// Its files cannot be written, or its program cannot be executed.
    #[error("cannot start {name}: {source}")]
    Start {
        /// Its name.
        name: String,
        /// Why not.
        source: io::Error,
    },
    /// It ended before it listened.
    #[error("{name} ended with {status} before it was ready; its log:\n{log}")]
    Ended {
        /// Its name.
        name: String,
        /// How.
        status: ExitStatus,
        /// The last lines of its log.
        log: String,
    },
    /// It does not come to listen.
    #[error("{name} was not ready after {after:?}; its log:\n{log}")]
    NotReady {
        /// Its name.
        name: String,
        /// How long it had.
        after: Duration,
        /// The last lines of its log.
        log: String,
    },
}

/// Why something could not be published.
#[derive(Debug, Error)]
pub enum PublishError {
    /// The connection is broken, or an answer takes too long.
    #[error("the connection to the server is broken: {0}")]
    Io(#[from] io::Error),
    /// The server has closed the connection.
    #[error("the server has closed the connection")]
    Closed,
    /// The server does not want it.
    #[error("the server refuses: {0}")]
    Refused(String),
    /// The server's answer cannot be understood.
    #[error("not an answer to a publication: {0}")]
    Protocol(String),
}

impl From<http::Failed> for PublishError {
    fn from(failed: http::Failed) -> Self {
        match failed {
            http::Failed::Refused(why) => Self::Refused(why),
            http::Failed::Malformed(text) => Self::Protocol(text),
        }
    }
}
