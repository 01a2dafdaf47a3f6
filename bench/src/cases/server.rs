//! The server of a case: which one, where it runs, and what it is to hold.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, SystemTime};

use clap::{Args, ValueEnum};
use fanfare_bench::observe::{Machine, Usage};
use fanfare_bench::report::Measurement;
use fanfare_bench::servers::{self, Contestant, Publisher, Running, Spec};
use fanfare_bench::swarm::Language;
use fanfare_engine::ring::{allowed_cpus, pin_to_cpu, raise_nofile};
use tempfile::TempDir;

use super::Failure;
use super::network::{self, Network};

/// Longest that an answer of the server's metrics may take.
const SCRAPE_MAX: Duration = Duration::from_secs(20);

/// The server under measurement, and where it runs.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Server")]
pub(crate) struct ServerArgs {
    /// Attaches to a server that runs already, instead of starting one
    #[arg(long, value_name = "ADDR")]
    target: Option<SocketAddr>,
    /// Key of the control API of the server at --target: whoever holds it may publish
    #[arg(long, value_name = "KEY", requires = "target")]
    api_key: Option<String>,
    /// Control API of the server at --target, for its counters
    #[arg(long, value_name = "ADDR", requires = "target")]
    api: Option<SocketAddr>,
    /// Process id of the server at --target, for its CPU time and memory, if it runs on this machine
    #[arg(long, value_name = "PID", requires = "target")]
    pid: Option<u32>,
    /// Server to start: `fanfare`, or another of those that `compare --list` shows
    #[arg(long, value_name = "NAME", default_value = "fanfare")]
    server: String,
    /// What the clients speak with Fanfare
    #[arg(long, value_enum, default_value = "native")]
    dialect: DialectArg,
    /// Shards to start Fanfare with [default: as many as its cores, or as the connections need]
    #[arg(long, value_name = "N")]
    shards: Option<u16>,
    /// CPUs of the server [default: the first half of those there are]
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    server_cpus: Vec<usize>,
    /// CPUs of the load generator [default: the others]
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    client_cpus: Vec<usize>,
    /// Whose network the run uses [default: its own from 200,000 connections on, where that is possible]
    #[arg(long, value_enum, value_name = "WHOSE")]
    network: Option<Network>,
}

impl ServerArgs {
    /// Goes on in a network with room for so many connections (see [`network::settle`]).
    pub(crate) fn settle(&self, connections: u32) -> Result<(), Failure> {
        network::settle(self.network, self.target.is_some(), connections)
    }

    /// The CPUs of both sides.
    pub(crate) fn cpus(&self) -> Cpus {
        Cpus::take(&self.server_cpus, &self.client_cpus)
    }

    /// As many as told; else one for each CPU, or as many as the connections need rings.
    pub(crate) fn shards(&self, cpus: &Cpus, connections: u32) -> u16 {
        self.shards.unwrap_or_else(|| {
            let for_connections = connections.div_ceil(members_per_shard());
            let for_cpus = u32::try_from(cpus.server.len()).unwrap_or(1);
            u16::try_from(for_connections.max(for_cpus)).unwrap_or(u16::MAX)
        })
    }
}

/// Members that a shard of the server is given. A ring holds at most `RLIMIT_NOFILE`, of which a shard keeps up to 1,024
/// for connections on their way; and the kernel deals connections to shards by a hash, so the fullest of many has more
/// than the average: by 350 of 17,700, where the limit is 20,000.
fn members_per_shard() -> u32 {
    let limit = raise_nofile().map_or(1_024, |limits| limits.soft);
    let limit = u32::try_from(limit).unwrap_or(u32::MAX);
    let taken = limit - (limit / 16).clamp(64, 1_024).min(limit);
    (taken - taken / 15).max(1)
}

/// Dialects of Fanfare's members.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum DialectArg {
    /// Native frames over TCP
    Native,
    /// Native frames over WebSocket
    NativeWebsocket,
    /// The Centrifuge protocol, JSON over WebSocket
    CentrifugeJson,
    /// goim's second version over TCP
    Goim,
    /// goim's second version over WebSocket
    GoimWebsocket,
}

impl DialectArg {
    pub(crate) const fn language(self) -> Language {
        match self {
            Self::Native => Language::Native,
            Self::NativeWebsocket => Language::NativeWebSocket,
            Self::CentrifugeJson => Language::CentrifugeJson,
            Self::Goim => Language::Goim,
            Self::GoimWebsocket => Language::GoimWebSocket,
        }
    }
}

/// CPUs of both sides.
#[derive(Debug, Clone)]
pub(crate) struct Cpus {
    pub(crate) server: Vec<usize>,
    pub(crate) client: Vec<usize>,
}

impl Cpus {
    /// As told, else the first half of what there is for the server. Keeps the calling thread, and those it will start, on
    /// the clients' ones, when it is one.
    pub(crate) fn take(server: &[usize], client: &[usize]) -> Self {
        let all = allowed_cpus();
        let (first, rest) = all.split_at(all.len().div_ceil(2));
        let or = |given: &[usize], default: &[usize]| match (given, default) {
            ([], []) => all.clone(),
            ([], default) => default.to_vec(),
            (given, _) => given.to_vec(),
        };
        let cpus = Self {
            server: or(server, first),
            client: or(client, rest),
        };
        if let [only] = *cpus.client {
            // Without it the generator is only less well separated, which the CPU figures show.
            let _ = pin_to_cpu(only);
        }
        cpus
    }
}

/// A server under measurement.
pub(crate) struct Server {
    pub(crate) name: String,
    pub(crate) version: Option<String>,
    pub(crate) clients: SocketAddr,
    pub(crate) language: Language,
    pub(crate) pids: Vec<u32>,
    pub(crate) api: Option<SocketAddr>,
    publisher: Option<Box<dyn Publisher>>,
    /// Ends what was started.
    _running: Option<Running>,
    _directory: Option<TempDir>,
}

/// What a server is to hold.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    pub(crate) members: u32,
    pub(crate) rooms: u32,
    pub(crate) payload_bytes: u32,
    pub(crate) shards: Option<u16>,
}

impl Server {
    /// Starts a server, or attaches to one.
    pub(crate) fn ready(args: &ServerArgs, cpus: &Cpus, load: Load) -> Result<Self, Failure> {
        if let Some(target) = args.target {
            return Self::attach(args, target);
        }
        let contestant = servers::contestants()
            .into_iter()
            .find(|contestant| contestant.name() == args.server)
            .ok_or_else(|| Failure::UnknownServer(args.server.clone()))?;
        Self::start(&*contestant, cpus, load, args.dialect)
    }

    fn attach(args: &ServerArgs, target: SocketAddr) -> Result<Self, Failure> {
        let key = args.api_key.as_deref().unwrap_or_default();
        Ok(Self {
            name: "fanfare".to_owned(),
            version: None,
            clients: target,
            language: args.dialect.language(),
            pids: args.pid.into_iter().collect(),
            api: args.api,
            publisher: Some(servers::fanfare_publisher(target, key)?),
            _running: None,
            _directory: None,
        })
    }

    /// Starts this one.
    pub(crate) fn start(
        contestant: &dyn Contestant,
        cpus: &Cpus,
        load: Load,
        dialect: DialectArg,
    ) -> Result<Self, Failure> {
        let version = contestant.find()?;
        let directory = TempDir::with_prefix("fanfare-bench-").map_err(Failure::Directory)?;
        let running = contestant.start(&Spec {
            cpus: cpus.server.clone(),
            members: load.members,
            rooms: load.rooms,
            shards: load.shards,
            directory: directory.path().to_owned(),
            payload_bytes: load.payload_bytes,
        })?;
        let publisher = running.publisher()?;
        let language = match running.language {
            // Its port takes every dialect.
            Language::Native => dialect.language(),
            language => language,
        };
        Ok(Self {
            name: running.name.clone(),
            version: Some(version),
            clients: running.clients,
            language,
            pids: running.pids.clone(),
            api: running.api.as_ref().map(|api| api.address),
            publisher: Some(publisher),
            _running: Some(running),
            _directory: Some(directory),
        })
    }

    /// The publisher; there is one.
    pub(crate) fn take_publisher(&mut self) -> Result<Box<dyn Publisher>, Failure> {
        self.publisher
            .take()
            .ok_or_else(|| Failure::Pusher("another one has the connection".to_owned()))
    }

    pub(crate) fn usage(&self) -> Option<Usage> {
        (!self.pids.is_empty())
            .then(|| Usage::of_all(&self.pids).ok())
            .flatten()
    }

    /// Sends so far, of lanes and direct ones, if the server counts them.
    pub(crate) fn writes(&self) -> Option<u64> {
        scrape(self.api?, &["fanfare_sends_total"]).ok()
    }
}

/// The sum of some counters over all shards.
fn scrape(api: SocketAddr, names: &[&str]) -> std::io::Result<u64> {
    let mut stream = TcpStream::connect_timeout(&api, SCRAPE_MAX)?;
    stream.set_read_timeout(Some(SCRAPE_MAX))?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: bench\r\nconnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let text = String::from_utf8_lossy(&answer);
    let mut sum = 0;
    for line in text.lines() {
        let Some((series, value)) = line.split_once(' ') else {
            continue;
        };
        let name = series.split('{').next().unwrap_or_default();
        if names.contains(&name) {
            sum += value.parse::<u64>().unwrap_or(0);
        }
    }
    Ok(sum)
}

/// A result of this case against this server.
pub(crate) fn begin(case: &str, server: &Server, load: Load) -> Measurement {
    let mut result = Measurement::new(case, SystemTime::now(), Machine::describe());
    result.server.name = Some(server.name.clone());
    result.server.version.clone_from(&server.version);
    result.notes.extend(network::note());
    result.server.shards = load.shards.map(u32::from);
    result.dialect = Some(dialect_name(server.language).to_owned());
    result.connections = Some(u64::from(load.members));
    result.rooms = Some(u64::from(load.rooms));
    result.payload_bytes = Some(u64::from(load.payload_bytes));
    result
}

pub(crate) fn dialect_name(language: Language) -> &'static str {
    match language {
        Language::Native => "native",
        Language::NativeWebSocket => "native-websocket",
        Language::CentrifugeJson => "centrifuge-json",
        Language::Goim => "goim",
        Language::GoimWebSocket => "goim-websocket",
        Language::Nats => "nats",
        Language::Mqtt => "mqtt",
        Language::WebSocket { .. } => "websocket",
    }
}
