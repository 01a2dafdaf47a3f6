//! `publish`: how many publications a second services get in, over each way that there is.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use clap::{Args, ValueEnum};
use fanfare_bench::ingest::{Account, Ingest, IngestError, Plan, Way};
use fanfare_bench::observe::{CpuMeter, CpuUse, Machine};
use fanfare_bench::progress::Progress;
use fanfare_bench::report::{self, Measurement};
use fanfare_bench::servers::{Contestant, Fanfare, Missing, Running, Spec, StartError};
use fanfare_bench::swarm::{Group, Identity, Language, Outcome as Heard, Swarm, SwarmError};
use fanfare_engine::ring::allowed_cpus;
use tempfile::TempDir;
use thiserror::Error;

use super::Failure;
use super::crowd::room_name;
use super::options::{above_zero, seconds, seconds_or_none};
use super::output::OutputArgs;

/// Longest that the members may take to join.
const JOIN_MAX: Duration = Duration::from_secs(20);

/// Longest that they may take to hear the last publication.
const HEAR_MAX: Duration = Duration::from_secs(30);

/// How often a run is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Publications kept in a room with history.
const HISTORY_SIZE: u32 = 100;

/// Publishes as fast as the server takes it, verifies every answer and delivery, and measures rates and CPU time
#[derive(Debug, Clone, Args)]
pub(crate) struct Publish {
    /// Only these scenarios
    #[arg(
        long,
        value_enum,
        value_name = "NAMES",
        value_delimiter = ',',
        default_value = "native,members,http,batch"
    )]
    scenarios: Vec<Scenario>,
    /// Bytes of a payload; 10 is as long as {"test":1}
    #[arg(long, value_name = "BYTES", default_value_t = 10)]
    payload: u32,
    /// Seconds that are measured
    #[arg(long, value_name = "S", default_value = "5", value_parser = seconds)]
    seconds: Duration,
    /// Seconds of publishing before that
    #[arg(long, value_name = "S", default_value = "1", value_parser = seconds_or_none)]
    warm_up: Duration,
    /// Rooms [default: 10 with members, 1,000 without]
    #[arg(long, value_name = "N", value_parser = above_zero::<u32>)]
    rooms: Option<u32>,
    /// Connections that publish [default: native 4, with members 2, HTTP 32, batch 4]
    #[arg(long, value_name = "N", value_parser = above_zero::<u32>)]
    publishers: Option<u32>,
    /// Threads that work these connections
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = above_zero::<u32>)]
    threads: u32,
    /// Publications on a native connection that may be unanswered
    #[arg(long, value_name = "N", default_value_t = 4_096, value_parser = above_zero::<u32>)]
    window: u32,
    /// Publications in a batch
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = above_zero::<u32>)]
    batch: u32,
    /// Shards of the server
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = above_zero::<u16>)]
    shards: u16,
    /// CPUs of the server [default: all, which it then shares with the publishers]
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    server_cpus: Vec<usize>,
    #[command(flatten)]
    output: OutputArgs,
}

/// Ways in, and what is there to receive it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Scenario {
    /// Native connections, into rooms with history and without members
    Native,
    /// Native connections, into rooms with one member each
    Members,
    /// HTTP, a publication in a request
    Http,
    /// HTTP, many publications in a request
    Batch,
}

/// What was measured in one scenario, every publication of it answered once and heard once by every member.
#[derive(Debug, Clone)]
struct Outcome {
    scenario: Scenario,
    rooms: u32,
    members: u32,
    publishers: u32,
    shards: u16,
    payload_bytes: u32,
    version: String,
    started: SystemTime,
    took: Duration,
    /// Answered while it was measured.
    published: u64,
    /// Answered in the whole run.
    acknowledged: u64,
    /// Heard in the whole run, over all members.
    heard: u64,
    server: CpuUse,
    client: CpuUse,
}

/// Why there is no outcome.
#[derive(Debug, Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Missing(#[from] Missing),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error("the server has not said where its control API listens")]
    NoApi,
    #[error(transparent)]
    Ingest(#[from] IngestError),
    #[error(transparent)]
    Swarm(#[from] SwarmError),
    #[error("the server cannot be observed, or has no folder: {0}")]
    Io(#[from] std::io::Error),
    #[error("room {room} had {published} publications, and its member {member}")]
    Unfaithful {
        room: usize,
        published: u64,
        member: String,
    },
}

/// Runs the scenarios one after the other, each with a server of its own.
pub(crate) fn run(args: &Publish) -> Result<(), Failure> {
    let mut progress = args.output.progress();
    let mut results = Vec::new();
    for &scenario in &args.scenarios {
        results.push(measure(args, scenario, &mut progress)?.measurement());
    }
    progress.done();
    let texts: Vec<String> = results.iter().map(report::markdown).collect();
    args.output.publish(&results, &texts.join("\n"))
}

impl Scenario {
    const fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Members => "native with members",
            Self::Http => "http",
            Self::Batch => "http batch",
        }
    }

    const fn rooms(self) -> u32 {
        match self {
            Self::Members => 10,
            Self::Native | Self::Http | Self::Batch => 1_000,
        }
    }

    /// Few of those that keep many publications on their way; of the others as many as keep the server from waiting.
    const fn publishers(self) -> u32 {
        match self {
            Self::Members => 2,
            Self::Native | Self::Batch => 4,
            Self::Http => 32,
        }
    }

    const fn way(self, options: &Publish) -> Way {
        match self {
            Self::Native | Self::Members => Way::Native {
                window: options.window,
            },
            Self::Http => Way::Http,
            Self::Batch => Way::HttpBatch {
                publications: options.batch,
            },
        }
    }

    /// Members are measured without history, and history without members.
    fn server(self) -> Fanfare {
        match self {
            Self::Members => Fanfare::native(),
            Self::Native | Self::Http | Self::Batch => Fanfare::native()
                .set("rooms.history_size", &HISTORY_SIZE.to_string())
                .set("rooms.history_ttl", r#""60s""#),
        }
    }
}

fn measure(
    options: &Publish,
    scenario: Scenario,
    progress: &mut Progress,
) -> Result<Outcome, Error> {
    let (started, began) = (SystemTime::now(), Instant::now());
    let rooms = options.rooms.unwrap_or_else(|| scenario.rooms());
    let publishers = options.publishers.unwrap_or_else(|| scenario.publishers());
    let members = if scenario == Scenario::Members {
        rooms
    } else {
        0
    };
    progress.phase(&format!("{}: start", scenario.name()));
    let contestant = scenario.server();
    let version = contestant.find()?;
    // After the server, so that it is removed when that has ended.
    let directory = TempDir::with_prefix("fanfare-bench-")?;
    let server = contestant.start(&Spec {
        cpus: match options.server_cpus.as_slice() {
            [] => allowed_cpus(),
            given => given.to_vec(),
        },
        members: members + publishers,
        rooms,
        shards: Some(options.shards),
        directory: directory.path().to_owned(),
        payload_bytes: options.payload,
    })?;
    let names: Vec<Arc<str>> = (0..u64::from(rooms))
        .map(|room| room_name(room).into())
        .collect();
    let swarm = match members {
        0 => None,
        _ => Some(join(server.clients, &names)?),
    };

    let ingest = Ingest::start(&plan(options, scenario, &server, names, publishers)?)?;
    watch(&ingest, options.warm_up, progress);
    progress.phase(&format!("{}: measure", scenario.name()));
    let before = ingest.acknowledged();
    let meters = (
        CpuMeter::start(&server.pids)?,
        CpuMeter::start(&[std::process::id()])?,
    );
    watch(&ingest, options.seconds, progress);
    let published = ingest.acknowledged() - before;
    let (server_use, client_use) = (meters.0.elapsed()?, meters.1.elapsed()?);
    let account = ingest.finish()?;
    let heard = match swarm {
        None => 0,
        Some(swarm) => verify(swarm, &account)?,
    };
    Ok(Outcome {
        scenario,
        rooms,
        members,
        publishers,
        shards: options.shards,
        payload_bytes: options.payload,
        version,
        started,
        took: began.elapsed(),
        published,
        acknowledged: account.acknowledged,
        heard,
        server: server_use,
        client: client_use,
    })
}

fn plan(
    options: &Publish,
    scenario: Scenario,
    server: &Running,
    rooms: Vec<Arc<str>>,
    publishers: u32,
) -> Result<Plan, Error> {
    let api = server.api.as_ref().ok_or(Error::NoApi)?;
    let size = |count: u32| usize::try_from(count).unwrap_or(usize::MAX);
    Ok(Plan {
        way: scenario.way(options),
        target: match scenario {
            Scenario::Native | Scenario::Members => server.clients,
            Scenario::Http | Scenario::Batch => api.address,
        },
        key: api.key.clone(),
        rooms,
        payload_bytes: size(options.payload),
        links: size(publishers),
        threads: size(options.threads),
    })
}

/// One member in each room.
fn join(clients: SocketAddr, rooms: &[Arc<str>]) -> Result<Swarm, SwarmError> {
    let members = u32::try_from(rooms.len()).unwrap_or(u32::MAX);
    let rooms = rooms.to_vec();
    let group = Group {
        identity: Arc::new(move |member| Identity {
            token: String::new(),
            room: Arc::clone(&rooms[member as usize]),
        }),
        ..Group::anonymous(members, Language::Native, "")
    };
    let swarm = Swarm::start(clients, vec![group])?;
    swarm.wait_until("everyone in their rooms", JOIN_MAX, |swarm| {
        swarm.total().joined == u64::from(members)
    })?;
    Ok(swarm)
}

/// Looks on for so long, or until a publisher has stopped, which [`Ingest::finish`] then explains.
fn watch(ingest: &Ingest, for_so_long: Duration, progress: &mut Progress) {
    let (began, before) = (Instant::now(), ingest.acknowledged());
    while began.elapsed() < for_so_long && !ingest.has_stopped() {
        progress.update(|| {
            let rate = (ingest.acknowledged() - before) as f64 / began.elapsed().as_secs_f64();
            format!("{rate:.0} publications/s")
        });
        thread::sleep(LOOK_EVERY);
    }
}

/// Waits until the members have heard everything, and holds what each has heard against what its room was sent.
fn verify(swarm: Swarm, account: &Account) -> Result<u64, Error> {
    swarm.wait_until("the last publication to be heard", HEAR_MAX, |swarm| {
        swarm.total().publications >= account.acknowledged
    })?;
    let Heard { groups, .. } = swarm.finish()?;
    let mut heard = 0;
    for (room, (report, published)) in groups.iter().flatten().zip(&account.rooms).enumerate() {
        heard += report.ledger.received;
        if !report.ledger.is_faithful() || report.ledger.received != *published {
            return Err(Error::Unfaithful {
                room,
                published: *published,
                member: format!("{:?}", report.ledger),
            });
        }
    }
    Ok(heard)
}

impl Outcome {
    /// Publications answered per second.
    fn publications_per_s(&self) -> f64 {
        self.published as f64 / self.server.wall.as_secs_f64()
    }

    /// CPU time of the server, its system calls included, for each publication.
    fn server_cpu_ns(&self) -> f64 {
        self.server.cpu.as_secs_f64() * 1e9 / self.published as f64
    }

    /// The same of the publishers, and of the members where there are any.
    fn client_cpu_ns(&self) -> f64 {
        self.client.cpu.as_secs_f64() * 1e9 / self.published as f64
    }

    /// As results are written.
    fn measurement(&self) -> Measurement {
        let seconds = self.server.wall.as_secs_f64();
        let mut result = Measurement::new("publish", self.started, Machine::describe());
        result.dialect = Some(self.scenario.name().to_owned());
        result.seconds_total = self.took.as_secs_f64();
        result.seconds = Some(seconds);
        result.connections = Some(u64::from(self.publishers + self.members));
        result.rooms = Some(u64::from(self.rooms));
        result.payload_bytes = Some(u64::from(self.payload_bytes));
        result.published = Some(self.published);
        result.publications_per_s = Some(self.publications_per_s());
        if self.members > 0 {
            // All were heard once and in order, or this would be an error.
            result.deliveries = Some(self.heard);
            (result.lost, result.duplicated, result.reordered) = (Some(0), Some(0), Some(0));
        }
        result.server.name = Some("fanfare".to_owned());
        result.server.version = Some(self.version.clone());
        result.server.shards = Some(u32::from(self.shards));
        result.server.cpu_cores = Some(self.server.cores());
        result.client.cpu_cores = Some(self.client.cores());
        result.notes = vec![
            format!(
                "CPU time per publication: server {:.0} ns, load generator {:.0} ns, on the same cores.",
                self.server_cpu_ns(),
                self.client_cpu_ns()
            ),
            format!(
                "All {} publications were answered once, with dense offsets in each room.",
                self.acknowledged
            ),
        ];
        result
    }
}
