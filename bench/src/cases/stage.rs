//! What cases have in common: a server, a crowd in its rooms, and what both use.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use clap::{Args, ValueEnum};
use fanfare_bench::observe::{
    CpuMeter, CpuUse, HostLoad, HostMeter, Machine, Usage, memory_available,
};
use fanfare_bench::progress::Progress;
use fanfare_bench::report::{self, Measurement, Sample};
use fanfare_bench::servers::{self, Contestant, Publisher, Running, Spec};
use fanfare_bench::swarm::{Group, Identity, Language, Schedule, Swarm};
use fanfare_engine::ring::{allowed_cpus, pin_to_cpu};
use tempfile::TempDir;

use super::Failure;
use super::network::{self, Network};

/// Longest that a million connections may take.
const CONNECT_MAX: Duration = Duration::from_secs(300);

/// Longest that an answer of the server's metrics may take.
const SCRAPE_MAX: Duration = Duration::from_secs(20);

/// Memory that has to be left. Members that read more slowly than they are sent to let the kernel fill it, and then it ends
/// whom it chooses.
const MEMORY_LEFT_MIN: u64 = 256 << 20;

/// The server under measurement, and where it runs.
#[derive(Debug, Clone, Args)]
pub(crate) struct ServerArgs {
    /// Attaches to a server that runs already, instead of starting one
    #[arg(long, value_name = "ADDR", help_heading = "Server")]
    pub(crate) target: Option<SocketAddr>,
    /// Key of the control API of the server at --target: whoever holds it may publish
    #[arg(long, value_name = "KEY", requires = "target", help_heading = "Server")]
    pub(crate) api_key: Option<String>,
    /// Control API of the server at --target, for its counters
    #[arg(
        long,
        value_name = "ADDR",
        requires = "target",
        help_heading = "Server"
    )]
    pub(crate) api: Option<SocketAddr>,
    /// Process id of the server at --target, for its CPU time and memory, if it runs on this machine
    #[arg(long, value_name = "PID", requires = "target", help_heading = "Server")]
    pub(crate) pid: Option<u32>,
    /// Server to start: `fanfare`, or another of those that `compare --list` shows
    #[arg(
        long,
        value_name = "NAME",
        default_value = "fanfare",
        help_heading = "Server"
    )]
    pub(crate) server: String,
    /// What the clients speak with Fanfare
    #[arg(long, value_enum, default_value = "native", help_heading = "Server")]
    pub(crate) dialect: DialectArg,
    /// Shards to start Fanfare with [default: as many as its cores, or as the connections need]
    #[arg(long, value_name = "N", help_heading = "Server")]
    pub(crate) shards: Option<u16>,
    /// CPUs of the server [default: the first half of those there are]
    #[arg(
        long,
        value_name = "LIST",
        value_delimiter = ',',
        help_heading = "Server"
    )]
    pub(crate) server_cpus: Vec<usize>,
    /// CPUs of the load generator [default: the others]
    #[arg(
        long,
        value_name = "LIST",
        value_delimiter = ',',
        help_heading = "Server"
    )]
    pub(crate) client_cpus: Vec<usize>,
    /// Whose network the run uses [default: its own from 200,000 connections on, where that is possible]
    #[arg(long, value_enum, value_name = "WHOSE", help_heading = "Server")]
    pub(crate) network: Option<Network>,
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
}

impl DialectArg {
    pub(crate) const fn language(self) -> Language {
        match self {
            Self::Native => Language::Native,
            Self::NativeWebsocket => Language::NativeWebSocket,
            Self::CentrifugeJson => Language::CentrifugeJson,
        }
    }

    /// As results name it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::NativeWebsocket => "native-websocket",
            Self::CentrifugeJson => "centrifuge-json",
        }
    }
}

impl ServerArgs {
    /// The defaults, on this CPU.
    pub(crate) fn of_cpu(cpu: Option<usize>) -> Self {
        Self {
            target: None,
            api_key: None,
            api: None,
            pid: None,
            server: String::new(),
            dialect: DialectArg::Native,
            shards: None,
            server_cpus: cpu.into_iter().collect(),
            client_cpus: Vec::new(),
            network: None,
        }
    }

    /// Goes on in a network with room for so many connections (see [`network::settle`]).
    pub(crate) fn settle(&self, connections: u32) -> Result<(), Failure> {
        network::settle(self.network, self.target.is_some(), connections)
    }
}

/// Where results go.
#[derive(Debug, Clone, Args)]
pub(crate) struct OutputArgs {
    /// Writes the result as JSON (docs/benchmark-results.schema.md)
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub(crate) json: Option<PathBuf>,
    /// Writes the result as a Markdown table, which is also printed
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub(crate) markdown: Option<PathBuf>,
    /// Writes PREFIX-latency.svg and PREFIX-throughput.svg, those of them that there is something for
    #[arg(long, value_name = "PREFIX", help_heading = "Output")]
    pub(crate) svg: Option<PathBuf>,
    /// Shows no progress
    #[arg(long, short, help_heading = "Output")]
    pub(crate) quiet: bool,
    /// Reports figures even though the load generator had no core time left, so that they may be its own limit
    #[arg(long, help_heading = "Output")]
    pub(crate) allow_busy_client: bool,
}

/// Part of its cores above which the load generator counts as the bottleneck.
const CLIENT_BUSY: f64 = 0.97;

impl OutputArgs {
    /// Prints the result and writes the files.
    pub(crate) fn publish(&self, result: &Measurement) -> Result<(), Failure> {
        if result.client.saturated == Some(true) && !self.allow_busy_client {
            return Err(Failure::BusyClient {
                cores: result.client.cpu_cores.unwrap_or_default(),
            });
        }
        let text = report::markdown(result);
        print!("{text}");
        if let Some(path) = &self.markdown {
            write_file(path, &text)?;
        }
        if let Some(path) = &self.json {
            let json = serde_json::to_string_pretty(result).map_err(Failure::Json)?;
            write_file(path, &(json + "\n"))?;
        }
        if let Some(prefix) = &self.svg {
            if !result.latency_cdf.is_empty() {
                write_file(
                    &suffixed(prefix, "-latency.svg"),
                    &report::svg_latency(result)?,
                )?;
            }
            if !result.throughput.is_empty() {
                write_file(
                    &suffixed(prefix, "-throughput.svg"),
                    &report::svg_throughput(result)?,
                )?;
            }
        }
        Ok(())
    }
}

impl OutputArgs {
    /// As [`publish`](Self::publish), for cases with several results; the JSON is an array.
    pub(crate) fn publish_all(&self, results: &[Measurement]) -> Result<(), Failure> {
        let texts: Vec<String> = results.iter().map(report::markdown).collect();
        let text = texts.join("\n");
        print!("{text}");
        if let Some(path) = &self.markdown {
            write_file(path, &text)?;
        }
        if let Some(path) = &self.json {
            let json = serde_json::to_string_pretty(results).map_err(Failure::Json)?;
            write_file(path, &(json + "\n"))?;
        }
        Ok(())
    }
}

fn suffixed(prefix: &std::path::Path, suffix: &str) -> PathBuf {
    let mut path = prefix.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}

pub(crate) fn write_file(path: &std::path::Path, text: &str) -> Result<(), Failure> {
    std::fs::write(path, text).map_err(|source| Failure::Write {
        path: path.to_owned(),
        source,
    })
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
    pub(crate) fn take(args: &ServerArgs) -> Self {
        let all = allowed_cpus();
        let (first, rest) = all.split_at(all.len().div_ceil(2));
        let or = |given: &[usize], default: &[usize]| match (given, default) {
            ([], []) => all.clone(),
            ([], default) => default.to_vec(),
            (given, _) => given.to_vec(),
        };
        let cpus = Self {
            server: or(&args.server_cpus, first),
            client: or(&args.client_cpus, rest),
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

    /// One that runs already, and ends with its publisher.
    pub(crate) fn of(
        name: String,
        clients: SocketAddr,
        language: Language,
        pids: Vec<u32>,
        publisher: Box<dyn Publisher>,
    ) -> Self {
        Self {
            name,
            version: None,
            clients,
            language,
            pids,
            api: None,
            publisher: Some(publisher),
            _running: None,
            _directory: None,
        }
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

/// The name of the `index`-th room.
pub(crate) fn room_name(index: u64) -> String {
    format!("bench-{index}")
}

/// Members that read, the `m`-th in room `m % rooms`.
pub(crate) fn readers(
    members: u32,
    rooms: u32,
    language: Language,
    schedule: Option<Arc<Schedule>>,
) -> Group {
    let names: Vec<Arc<str>> = (0..u64::from(rooms))
        .map(|room| room_name(room).into())
        .collect();
    Group {
        identity: Arc::new(move |member| Identity {
            token: String::new(),
            room: Arc::clone(&names[(member % rooms) as usize]),
        }),
        schedule,
        ..Group::anonymous(members, language, "")
    }
}

/// Waits until everyone is in their rooms.
pub(crate) fn await_joined(
    swarm: &Swarm,
    members: u32,
    progress: &mut Progress,
) -> Result<Duration, Failure> {
    progress.phase("connect");
    let began = Instant::now();
    let progress = std::cell::RefCell::new(progress);
    swarm.wait_until("everyone in their rooms", CONNECT_MAX, |swarm| {
        let total = swarm.total();
        progress.borrow_mut().update(|| {
            let each = began.elapsed().as_secs_f64().max(0.001);
            format!(
                "{} of {members} in their rooms, {:.0}/s",
                total.joined,
                total.joined as f64 / each
            )
        });
        total.joined + total.ended >= u64::from(members)
    })?;
    let joined = swarm.total().joined;
    if joined < u64::from(members) {
        return Err(Failure::NotAllJoined { joined, members });
    }
    Ok(began.elapsed())
}

/// Whether there is still memory for what members have not read yet.
///
/// # Errors
/// When there is too little.
pub(crate) fn check_memory() -> Result<(), Failure> {
    match memory_available() {
        Some(left) if left < MEMORY_LEFT_MIN => Err(Failure::OutOfMemory { left }),
        _ => Ok(()),
    }
}

/// CPU time of both sides and of the machine over a part of a run.
pub(crate) struct Meters {
    server: Option<CpuMeter>,
    client: CpuMeter,
    host: HostMeter,
}

/// What [`Meters`] saw.
pub(crate) struct Spent {
    pub(crate) server: Option<CpuUse>,
    pub(crate) client: CpuUse,
    pub(crate) host: HostLoad,
}

impl Meters {
    pub(crate) fn start(server: &Server) -> Result<Self, Failure> {
        let own = [std::process::id()];
        let server = match server.pids.as_slice() {
            [] => None,
            pids => Some(CpuMeter::start(pids).map_err(Failure::Observe)?),
        };
        Ok(Self {
            server,
            client: CpuMeter::start(&own).map_err(Failure::Observe)?,
            host: HostMeter::start().map_err(Failure::Observe)?,
        })
    }

    pub(crate) fn read(&self) -> Result<Spent, Failure> {
        let server = self.server.as_ref().map(CpuMeter::elapsed).transpose();
        Ok(Spent {
            server: server.map_err(Failure::Observe)?,
            client: self.client.elapsed().map_err(Failure::Observe)?,
            host: self.host.elapsed().map_err(Failure::Observe)?,
        })
    }
}

impl Spent {
    /// Enters the use of cores.
    pub(crate) fn enter(&self, cpus: &Cpus, result: &mut Measurement) {
        let cores = self.client.cores();
        result.server.cpu_cores = self.server.as_ref().map(CpuUse::cores);
        result.client.cpu_cores = Some(cores);
        result.client.saturated = Some(cores > CLIENT_BUSY * cpus.client.len() as f64);
        result.client.rss_bytes = Usage::own().ok().map(|usage| usage.rss_bytes);
        result.host = Some(self.host);
    }

    /// CPU time of the server, in ns.
    pub(crate) fn server_ns(&self) -> Option<f64> {
        self.server.map(|used| used.cpu.as_secs_f64() * 1e9)
    }
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
        Language::Native => DialectArg::Native.name(),
        Language::NativeWebSocket => DialectArg::NativeWebsocket.name(),
        Language::CentrifugeJson => DialectArg::CentrifugeJson.name(),
        Language::Nats => "nats",
        Language::Mqtt => "mqtt",
        Language::WebSocket { .. } => "websocket",
    }
}

/// Samples the throughput about once a second.
pub(crate) struct Sampler {
    began: Instant,
    last_at: f64,
    last_deliveries: u64,
    last_writes: Option<u64>,
    pub(crate) samples: Vec<Sample>,
    /// Largest resident size seen.
    pub(crate) rss_bytes: u64,
}

impl Sampler {
    pub(crate) fn start(deliveries: u64, writes: Option<u64>) -> Self {
        Self {
            began: Instant::now(),
            last_at: 0.0,
            last_deliveries: deliveries,
            last_writes: writes,
            samples: Vec::new(),
            rss_bytes: 0,
        }
    }

    pub(crate) fn is_due(&self) -> bool {
        self.began.elapsed().as_secs_f64() - self.last_at >= 1.0
    }

    pub(crate) fn sample(&mut self, deliveries: u64, server: &Server) {
        let writes = server.writes();
        let at_s = self.began.elapsed().as_secs_f64();
        let seconds = at_s - self.last_at;
        let per_s = |now: u64, before: u64| now.saturating_sub(before) as f64 / seconds;
        self.samples.push(Sample {
            at_s,
            deliveries_per_s: per_s(deliveries, self.last_deliveries),
            writes_per_s: writes
                .zip(self.last_writes)
                .map(|(now, before)| per_s(now, before)),
        });
        self.last_at = at_s;
        self.last_deliveries = deliveries;
        self.last_writes = writes;
        if let Some(usage) = server.usage() {
            self.rss_bytes = self.rss_bytes.max(usage.rss_bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn busy() -> Measurement {
        let mut result = Measurement::new("fanout", SystemTime::now(), Machine::describe());
        result.client.cpu_cores = Some(0.99);
        result.client.saturated = Some(true);
        result
    }

    fn output(allow_busy_client: bool, json: &std::path::Path) -> OutputArgs {
        OutputArgs {
            json: Some(json.to_owned()),
            markdown: None,
            svg: None,
            quiet: true,
            allow_busy_client,
        }
    }

    #[test]
    fn a_figure_that_may_be_the_generators_own_limit_is_not_reported_unless_asked_for() {
        let directory = TempDir::new().expect("a folder");
        let json = directory.path().join("result.json");
        let refused = output(false, &json).publish(&busy());
        assert!(matches!(refused, Err(Failure::BusyClient { .. })));
        assert!(!json.exists());
        output(true, &json).publish(&busy()).expect("reported");
        assert!(json.exists());
    }
}
