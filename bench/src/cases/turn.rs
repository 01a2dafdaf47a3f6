//! `turn`: what relaying costs, against coturn and against a loop that does nothing else.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant, SystemTime};

use clap::{Args, ValueEnum};
use fanfare_bench::observe::{CpuMeter, Machine, Usage};
use fanfare_bench::progress::Progress;
use fanfare_bench::relay::{Carried, Churn, Client, Flow, Load, RelayError, Traffic};
use fanfare_bench::report::{SCHEMA, Spread, rfc3339_utc};
use fanfare_bench::servers::{Relay, RunningRelay, Spec, Sweep, SweepSpec};
use fanfare_engine::ring::{allowed_cpus, pin_to_cpu, prefer_latency, raise_nofile};
use serde::Serialize;
use tempfile::TempDir;

use super::Failure;
use super::options::{above_zero, seconds};
use super::output::OutputArgs;
use crate::floor::relay::ASK;

/// The channel of every flow.
const CHANNEL: u16 = 0x4000;

/// Requests to a relay that were not answered are sent again so often.
const ASKS_MAX: u32 = 20;

/// Measures relayed packets, CPU time per packet, latency, and allocations, of several relays in alternating turns
#[derive(Debug, Clone, Args)]
pub(crate) struct Turn {
    /// Only these scenarios
    #[arg(long, value_enum, value_name = "NAMES", value_delimiter = ',')]
    scenarios: Vec<Scenario>,
    /// Only these relays
    #[arg(long, value_enum, value_name = "NAMES", value_delimiter = ',')]
    relays: Vec<RelayArg>,
    /// Bytes of a packet's data
    #[arg(
        long,
        value_name = "BYTES",
        value_delimiter = ',',
        default_value = "120,400,1200"
    )]
    sizes: Vec<u32>,
    /// Flows, where there are many
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = above_zero::<u32>)]
    flows: u32,
    /// Packets under way, all flows together
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = above_zero::<u32>)]
    window: u32,
    /// Packets of a train
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = above_zero::<u32>)]
    train: u32,
    /// Packets a second when latency is measured
    #[arg(long, value_name = "N", default_value_t = 5_000, value_parser = above_zero::<u32>)]
    rate: u32,
    /// Allocations that are held when their memory is measured
    #[arg(long, value_name = "N", default_value_t = 5_000, value_parser = above_zero::<u32>)]
    allocations: u32,
    /// Rounds; in each, every relay has a turn
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = above_zero::<u32>)]
    rounds: u32,
    /// Seconds of a turn
    #[arg(long, value_name = "S", default_value = "1", value_parser = seconds)]
    seconds: Duration,
    /// Members of a room that a Fanfare beside the relay pushes to meanwhile, on the same CPU; their clients are where the
    /// relay's are
    #[arg(long, value_name = "MEMBERS", value_parser = above_zero::<u32>)]
    beside: Option<u32>,
    /// Publications a second in that room
    #[arg(long, value_name = "N", default_value_t = 400, value_parser = above_zero::<u32>)]
    beside_rate: u32,
    /// CPU of the relay; clients and peers have another one [default: the first]
    #[arg(long, value_name = "CPU")]
    server_cpu: Option<usize>,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Scenario {
    /// Many clients to a peer each, single packets
    ToPeers,
    /// Many peers to a client each, single packets
    ToClients,
    /// Many clients to each other, over two allocations of the same server
    Hairpin,
    /// One client to one peer, in trains
    Train,
    /// One client to one peer, single packets
    OneFlow,
    /// Clients to peers at a low rate: how long a packet takes
    Latency,
    /// Allocations made and given back
    Allocations,
    /// Memory of allocations that are held
    Memory,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum RelayArg {
    Fanfare,
    Coturn,
    /// Fanfare's state machine over recvmmsg and sendmmsg
    Mmsg,
    BareLoop,
    BareRing,
}

/// All that was measured.
#[derive(Debug, Serialize)]
struct Report {
    schema: u32,
    case: &'static str,
    started_at: String,
    seconds_total: f64,
    rounds: u32,
    flows: u32,
    window: u32,
    train: u32,
    rows: Vec<Row>,
    notes: Vec<String>,
    machine: Machine,
}

/// One relay in one scenario.
#[derive(Debug, Default, Serialize)]
struct Row {
    scenario: String,
    payload_bytes: Option<u32>,
    relay: String,
    version: String,
    /// Packets, or allocations, a second.
    per_s: Option<Spread>,
    bytes_per_s: Option<f64>,
    /// CPU time of the relay for each.
    cpu_ns: Option<Spread>,
    /// Its CPU time over those of the bare loops, and coturn's over its: of ratios within a round.
    to_bare_loop: Option<Spread>,
    to_bare_ring: Option<Spread>,
    coturn_to_this: Option<Spread>,
    sent: u64,
    lost: u64,
    disordered: u64,
    corrupted: u64,
    latency_us: Option<(f64, f64, f64)>,
    /// What of it the relay adds to the way without one, measured just before.
    latency_added_us: Option<(f64, f64, f64)>,
    user_bytes_each: Option<f64>,
}

/// What a turn of one relay gave.
#[derive(Debug, Default)]
struct Sample {
    cpu_ns: f64,
    per_s: f64,
    sent: u64,
    lost: u64,
    disordered: u64,
    corrupted: u64,
    latency_us: Option<(f64, f64, f64)>,
    latency_direct_us: Option<(f64, f64, f64)>,
    user_bytes_each: Option<f64>,
}

pub(crate) fn run(args: &Turn) -> Result<(), Failure> {
    raise_nofile().map_err(Failure::Observe)?;
    let began = Instant::now();
    let started = SystemTime::now();
    let mut progress = args.output.progress();
    let cpus = allowed_cpus();
    let server_cpu = args.server_cpu.or(cpus.first().copied()).unwrap_or(0);
    let mut notes = Vec::new();
    match cpus.iter().find(|cpu| **cpu != server_cpu) {
        Some(other) => {
            pin_to_cpu(*other).map_err(Failure::Observe)?;
            notes.push(format!(
                "The relay ran on CPU {server_cpu}, clients and peers on CPU {other}."
            ));
        }
        None => notes.push("Relay, clients and peers shared one CPU.".to_owned()),
    }
    match prefer_latency() {
        Ok(true) => {}
        Ok(false) | Err(_) => notes.push(
            "The clients could not be given priority over other threads: latencies are also theirs."
                .to_owned(),
        ),
    }
    let sweep = match args.beside {
        Some(members) => {
            progress.phase("members of the room beside");
            let sweep = Sweep::start(&SweepSpec {
                members,
                rate: args.beside_rate,
                server_cpu,
                client_cpu: cpus.iter().copied().find(|cpu| *cpu != server_cpu),
            })?;
            notes.push(format!(
                "Meanwhile {members} members of a room heard {} publications a second from a Fanfare on CPU {server_cpu}; \
                 their clients were where the relay's were.",
                args.beside_rate
            ));
            Some(sweep)
        }
        None => None,
    };
    let mut rows = Vec::new();
    for scenario in args.scenarios() {
        for size in args.sizes_of(scenario) {
            rows.extend(measure(args, scenario, size, server_cpu, &mut progress)?);
        }
    }
    progress.done();
    if let Some(sweep) = sweep {
        notes.push(format!("The room, at last: {}.", sweep.end()?));
    }
    let report = Report {
        schema: SCHEMA,
        case: "turn",
        started_at: rfc3339_utc(started),
        seconds_total: began.elapsed().as_secs_f64(),
        rounds: args.rounds,
        flows: args.flows,
        window: args.window,
        train: args.train,
        rows,
        notes,
        machine: Machine::describe(),
    };
    args.output.publish(&report, &report.markdown())
}

impl Turn {
    fn scenarios(&self) -> Vec<Scenario> {
        if self.scenarios.is_empty() {
            return Scenario::value_variants().to_vec();
        }
        self.scenarios.clone()
    }

    fn sizes_of(&self, scenario: Scenario) -> Vec<Option<u32>> {
        match scenario {
            Scenario::Allocations | Scenario::Memory => vec![None],
            Scenario::Latency => self.sizes.iter().take(1).copied().map(Some).collect(),
            _ => self.sizes.iter().copied().map(Some).collect(),
        }
    }

    fn relays_of(&self, scenario: Scenario) -> Vec<Relay> {
        let has_floor = matches!(
            scenario,
            Scenario::ToPeers | Scenario::ToClients | Scenario::OneFlow | Scenario::Latency
        );
        let all = [
            (RelayArg::Fanfare, Relay::Fanfare),
            (RelayArg::Coturn, Relay::Coturn),
            (RelayArg::Mmsg, Relay::Mmsg),
            (RelayArg::BareLoop, Relay::BareLoop),
            (RelayArg::BareRing, Relay::BareRing),
        ];
        all.into_iter()
            .filter(|(arg, _)| self.relays.is_empty() || self.relays.contains(arg))
            .map(|(_, relay)| relay)
            .filter(|relay| has_floor || !matches!(relay, Relay::BareLoop | Relay::BareRing))
            .filter(|relay| scenario != Scenario::Memory || *relay != Relay::Mmsg)
            .collect()
    }
}

/// One scenario, with every relay in every round.
fn measure(
    args: &Turn,
    scenario: Scenario,
    size: Option<u32>,
    cpu: usize,
    progress: &mut Progress,
) -> Result<Vec<Row>, Failure> {
    let relays = args.relays_of(scenario);
    let mut lines = Vec::new();
    for relay in &relays {
        lines.push((relay.find()?, Line::up(*relay, args, scenario, size, cpu)?));
    }
    let name = scenario
        .to_possible_value()
        .map_or_else(String::new, |it| it.get_name().to_owned());
    let what = size.map_or_else(|| name.clone(), |size| format!("{name}, {size} bytes"));
    progress.phase(&what);
    let mut samples: Vec<Vec<Sample>> = relays.iter().map(|_| Vec::new()).collect();
    for round in 0..args.rounds as usize {
        progress.update(|| format!("round {} of {}", round + 1, args.rounds));
        // Who goes first changes, so that a machine that slows down or speeds up favours nobody.
        for turn in 0..lines.len() {
            let at = (turn + round) % lines.len();
            samples[at].push(lines[at].1.turn(args, scenario)?);
        }
    }
    let cpu_of = |relay: Relay| -> Option<Vec<f64>> {
        let at = relays.iter().position(|it| *it == relay)?;
        Some(samples[at].iter().map(|it| it.cpu_ns).collect())
    };
    let ratio = |of: &[f64], to: Option<Vec<f64>>| -> Option<Spread> {
        let ratios: Vec<f64> = of.iter().zip(to?).map(|(of, to)| of / to).collect();
        Spread::of(&ratios)
    };
    let rows = relays
        .iter()
        .zip(&lines)
        .zip(&samples)
        .map(|((relay, (version, _)), samples)| {
            let each = |of: fn(&Sample) -> f64| samples.iter().map(of).collect::<Vec<_>>();
            let sum = |of: fn(&Sample) -> u64| samples.iter().map(of).sum();
            let cpu_ns = each(|it| it.cpu_ns);
            let per_s = Spread::of(&each(|it| it.per_s));
            let last = samples.last();
            Row {
                scenario: name.clone(),
                payload_bytes: size,
                relay: relay.name().to_owned(),
                version: version.clone(),
                bytes_per_s: per_s
                    .as_ref()
                    .zip(size)
                    .map(|(per_s, size)| per_s.median * f64::from(size)),
                per_s,
                to_bare_loop: ratio(&cpu_ns, cpu_of(Relay::BareLoop)),
                to_bare_ring: ratio(&cpu_ns, cpu_of(Relay::BareRing)),
                coturn_to_this: cpu_of(Relay::Coturn)
                    .and_then(|coturn| ratio(&coturn, Some(cpu_ns.clone()))),
                cpu_ns: Spread::of(&cpu_ns),
                sent: sum(|it| it.sent),
                lost: sum(|it| it.lost),
                disordered: sum(|it| it.disordered),
                corrupted: sum(|it| it.corrupted),
                latency_us: median_of(samples, |it| it.latency_us),
                latency_added_us: median_of(samples, |it| {
                    let (through, direct) = it.latency_us.zip(it.latency_direct_us)?;
                    Some((
                        through.0 - direct.0,
                        through.1 - direct.1,
                        through.2 - direct.2,
                    ))
                }),
                user_bytes_each: last.and_then(|it| it.user_bytes_each),
            }
        });
    Ok(rows.collect())
}

/// The median of each over the rounds.
fn median_of(
    samples: &[Sample],
    of: impl Fn(&Sample) -> Option<(f64, f64, f64)>,
) -> Option<(f64, f64, f64)> {
    let all: Vec<_> = samples.iter().filter_map(of).collect();
    let median = |at: fn(&(f64, f64, f64)) -> f64| {
        let values: Vec<f64> = all.iter().map(at).collect();
        Spread::of(&values).map(|it| it.median)
    };
    Some((median(|it| it.0)?, median(|it| it.1)?, median(|it| it.2)?))
}

/// A relay with its clients and peers.
struct Line {
    relay: RunningRelay,
    traffic: Option<Traffic>,
    /// The same flows without a relay, where latency is measured.
    direct: Option<Traffic>,
    churn: Option<Churn>,
    /// Held open.
    _held: Vec<Client>,
    memory: Option<f64>,
    _directory: TempDir,
}

impl Line {
    fn up(
        relay: Relay,
        args: &Turn,
        scenario: Scenario,
        size: Option<u32>,
        cpu: usize,
    ) -> Result<Self, Failure> {
        let directory = TempDir::new().map_err(Failure::Directory)?;
        let relay = relay.start(&Spec {
            cpus: vec![cpu],
            members: args.allocations.max(args.flows),
            rooms: 1,
            shards: Some(1),
            directory: directory.path().to_owned(),
            payload_bytes: size.unwrap_or(0),
        })?;
        let mut line = Self {
            relay,
            traffic: None,
            direct: None,
            churn: None,
            _held: Vec::new(),
            memory: None,
            _directory: directory,
        };
        match scenario {
            Scenario::Allocations => line.churn = Some(line.churners(args.flows as usize)?),
            Scenario::Memory => line.hold(args.allocations)?,
            _ => {
                let flows = match scenario {
                    Scenario::Train | Scenario::OneFlow => 1,
                    _ => args.flows as usize,
                };
                let size = size.unwrap_or(0) as usize;
                line.traffic = Some(line.traffic(scenario, flows, size)?);
                if scenario == Scenario::Latency {
                    line.direct = Some(direct(flows, size)?);
                }
            }
        }
        Ok(line)
    }

    fn churners(&self, clients: usize) -> Result<Churn, Failure> {
        let user = self
            .relay
            .user
            .as_ref()
            .ok_or(Failure::Relay(RelayError::Silent))?;
        Ok(Churn::new(self.relay.address, user, clients)?)
    }

    /// Makes allocations and keeps them.
    fn hold(&mut self, count: u32) -> Result<(), Failure> {
        let observe = |pids: &[u32]| Usage::of_all(pids).map_err(Failure::Observe);
        // What the first one needs, they all use.
        let first = self.client()?;
        let before = observe(&self.relay.pids)?;
        let mut held = vec![first];
        for _ in 0..count {
            held.push(self.client()?);
        }
        let after = observe(&self.relay.pids)?;
        let grown = after.user_bytes.saturating_sub(before.user_bytes);
        self.memory = Some(grown as f64 / f64::from(count));
        self._held = held;
        Ok(())
    }

    fn client(&self) -> Result<Client, Failure> {
        let user = self
            .relay
            .user
            .as_ref()
            .ok_or(Failure::Relay(RelayError::Silent))?;
        let mut client = Client::connect(self.relay.address, user)?;
        client.allocate()?;
        Ok(client)
    }

    /// Sockets of clients and peers, with everything asked for that has to be.
    fn traffic(&self, scenario: Scenario, flows: usize, size: usize) -> Result<Traffic, Failure> {
        let mut sockets = Vec::new();
        let mut all = Vec::new();
        for _ in 0..flows {
            let at = sockets.len();
            if scenario == Scenario::Hairpin {
                let (one, other) = self.pair()?;
                let to = self.relay.address;
                let flow = |sender| Flow {
                    sender,
                    to,
                    channel: Some(CHANNEL),
                };
                all.extend([flow(at), flow(at + 1)]);
                sockets.extend([one, other]);
                continue;
            }
            let peer = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).map_err(RelayError::Io)?;
            let peer_at = peer.local_addr().map_err(RelayError::Io)?;
            let (client, relayed) = self.with_peer(peer_at)?;
            all.push(match scenario {
                Scenario::ToClients => Flow {
                    sender: at + 1,
                    to: relayed,
                    channel: None,
                },
                _ => Flow {
                    sender: at,
                    to: self.relay.address,
                    channel: Some(CHANNEL),
                },
            });
            sockets.extend([client, peer]);
        }
        for socket in &sockets {
            widen(socket);
        }
        Ok(Traffic::new(&sockets, all, size)?)
    }

    /// A client that has bound the peer, and its relayed address.
    fn with_peer(&self, peer: SocketAddr) -> Result<(UdpSocket, SocketAddr), Failure> {
        let Some(user) = &self.relay.user else {
            return Ok(ask_bare_loop(self.relay.address, peer)?);
        };
        let mut client = Client::connect(self.relay.address, user)?;
        let relayed = client.allocate()?;
        client.bind(CHANNEL, peer)?;
        Ok((client.into_socket(), relayed))
    }

    /// Two clients that have bound each other.
    fn pair(&self) -> Result<(UdpSocket, UdpSocket), Failure> {
        let user = self
            .relay
            .user
            .as_ref()
            .ok_or(Failure::Relay(RelayError::Silent))?;
        let connect = || Client::connect(self.relay.address, user);
        let (mut one, mut other) = (connect()?, connect()?);
        let (of_one, of_other) = (one.allocate()?, other.allocate()?);
        one.bind(CHANNEL, of_other)?;
        other.bind(CHANNEL, of_one)?;
        Ok((one.into_socket(), other.into_socket()))
    }

    fn turn(&mut self, args: &Turn, scenario: Scenario) -> Result<Sample, Failure> {
        if let Some(churn) = &mut self.churn {
            let meter = CpuMeter::start(&self.relay.pids).map_err(Failure::Observe)?;
            let churned = churn.run(args.seconds)?;
            let used = meter.elapsed().map_err(Failure::Observe)?;
            let cycles = churned.cycles.max(1) as f64;
            return Ok(Sample {
                cpu_ns: used.cpu.as_nanos() as f64 / cycles,
                per_s: cycles / churned.elapsed.as_secs_f64(),
                sent: churned.cycles,
                ..Sample::default()
            });
        }
        let Some(traffic) = &mut self.traffic else {
            return Ok(Sample {
                user_bytes_each: self.memory,
                ..Sample::default()
            });
        };
        let load = Load {
            how_long: args.seconds,
            window: args.window.into(),
            rate: (scenario == Scenario::Latency).then_some(args.rate.into()),
            train: if scenario == Scenario::Train {
                args.train as usize
            } else {
                1
            },
        };
        let direct = match &mut self.direct {
            Some(direct) => Some(direct.run(&load)?),
            None => None,
        };
        let meter = CpuMeter::start(&self.relay.pids).map_err(Failure::Observe)?;
        let carried = traffic.run(&load)?;
        let used = meter.elapsed().map_err(Failure::Observe)?;
        Ok(Sample {
            latency_direct_us: direct.map(|it| quantiles(&it)),
            ..Sample::of(&carried, used.cpu.as_nanos() as f64)
        })
    }
}

/// Clients that send straight to their peers.
fn direct(flows: usize, size: usize) -> Result<Traffic, Failure> {
    let mut sockets = Vec::new();
    let mut all = Vec::new();
    for _ in 0..flows {
        let [client, peer] = [(); 2].map(|()| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)));
        let (client, peer) = (
            client.map_err(RelayError::Io)?,
            peer.map_err(RelayError::Io)?,
        );
        all.push(Flow {
            sender: sockets.len(),
            to: peer.local_addr().map_err(RelayError::Io)?,
            channel: None,
        });
        sockets.extend([client, peer]);
    }
    Ok(Traffic::new(&sockets, all, size)?)
}

/// Half of the packets, 99 and 99.9 percent of them took so many microseconds at most.
fn quantiles(carried: &Carried) -> (f64, f64, f64) {
    let at = |quantile| carried.latency.value_at_quantile(quantile) as f64 / 1e3;
    (at(0.5), at(0.99), at(0.999))
}

impl Sample {
    fn of(carried: &Carried, cpu_ns: f64) -> Self {
        Self {
            cpu_ns: cpu_ns / carried.received.max(1) as f64,
            per_s: carried.rate(),
            sent: carried.sent,
            lost: carried.lost(),
            disordered: carried.disordered,
            corrupted: carried.corrupted,
            latency_us: Some(quantiles(carried)),
            latency_direct_us: None,
            user_bytes_each: None,
        }
    }
}

/// As many bytes as the system gives: what waits at clients and peers is not the relay's to lose.
fn widen(socket: &UdpSocket) {
    let socket = socket2::SockRef::from(socket);
    let _ = socket.set_recv_buffer_size(4 << 20);
    let _ = socket.set_send_buffer_size(4 << 20);
}

/// A client of the bare loop, and its relayed address.
fn ask_bare_loop(
    relay: SocketAddr,
    peer: SocketAddr,
) -> Result<(UdpSocket, SocketAddr), RelayError> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    socket.connect(relay)?;
    socket.set_read_timeout(Some(Duration::from_millis(500)))?;
    let request = [ASK, peer.to_string().as_bytes()].concat();
    let mut answer = [0; 64];
    for _ in 0..ASKS_MAX {
        socket.send(&request)?;
        if let Ok(length) = socket.recv(&mut answer) {
            let relayed = std::str::from_utf8(&answer[..length]).ok();
            let relayed = relayed.and_then(|it| it.parse().ok());
            return Ok((socket, relayed.ok_or(RelayError::Answer("no address"))?));
        }
    }
    Err(RelayError::Silent)
}

impl Report {
    fn markdown(&self) -> String {
        use std::fmt::Write as _;
        let mut text = String::from(
            "| scenario | bytes | relay | per second | CPU each | to the bare loop | to the bare ring | coturn to it | lost | latency p50/p99/p99.9 | added by the relay | memory each |\n\
             |---|---|---|---|---|---|---|---|---|---|---|---|\n",
        );
        let ratio = |it: &Option<Spread>| {
            it.as_ref().map_or_else(String::new, |it| {
                format!("{:.2} ({:.2} to {:.2})", it.median, it.min, it.max)
            })
        };
        let latency = |it: Option<(f64, f64, f64)>| {
            it.map_or_else(String::new, |(half, most, nearly_all)| {
                format!("{half:.0} / {most:.0} / {nearly_all:.0} µs")
            })
        };
        for row in &self.rows {
            let faults = row.lost + row.disordered + row.corrupted;
            let lost = match (row.sent, faults) {
                (0, _) => String::new(),
                (sent, 0) => format!("0 of {sent}"),
                (sent, _) => format!(
                    "{} of {sent}, {} out of order, {} wrong",
                    row.lost, row.disordered, row.corrupted
                ),
            };
            // Writing to a string does not fail.
            let _ = writeln!(
                text,
                "| {} | {} | {} {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
                row.scenario,
                row.payload_bytes
                    .map_or_else(String::new, |it| it.to_string()),
                row.relay,
                row.version,
                row.per_s
                    .as_ref()
                    .filter(|it| it.median > 0.0)
                    .map_or_else(String::new, |it| format!("{:.0}", it.median)),
                row.cpu_ns
                    .as_ref()
                    .filter(|it| it.median > 0.0)
                    .map_or_else(String::new, |it| format!("{:.2} µs", it.median / 1e3)),
                ratio(&row.to_bare_loop),
                ratio(&row.to_bare_ring),
                ratio(&row.coturn_to_this),
                lost,
                latency(row.latency_us),
                latency(row.latency_added_us),
                row.user_bytes_each
                    .map_or_else(String::new, |it| format!("{it:.0} B")),
            );
        }
        for note in &self.notes {
            let _ = writeln!(text, "\n{note}");
        }
        text
    }
}
