//! `floor`: what a write costs the engine, against loops that do nothing but write.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use clap::Args;
use fanfare_bench::progress::Progress;
use fanfare_bench::report::Spread;
use fanfare_bench::servers::{PublishError, Publisher};
use fanfare_bench::swarm::Language;

use super::Failure;
use super::line::Line;
use super::stage::{Cpus, Load, OutputArgs, Server, ServerArgs, begin};
use crate::floor::Mode;

/// Measures the server's CPU time per write against a bare send(2) loop's and a bare io_uring loop's, in alternating turns
#[derive(Debug, Clone, Args)]
pub(crate) struct Floor {
    /// Members of each
    #[arg(long, short = 'n', value_name = "N", default_value_t = 15_000)]
    connections: u32,
    /// Rounds; in each, every contestant has a turn
    #[arg(long, value_name = "N", default_value_t = 9)]
    rounds: u32,
    /// Publications of a turn, one at a time
    #[arg(long, value_name = "N", default_value_t = 12)]
    publications: u64,
    /// Bytes of a payload; 10 is {"test":1}
    #[arg(long, value_name = "BYTES", default_value_t = 10)]
    payload: u32,
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    output: OutputArgs,
}

pub(crate) fn run(args: &Floor) -> Result<(), Failure> {
    let began = Instant::now();
    let cpus = Cpus::take(&args.server);
    let mut progress = Progress::new(args.output.quiet);
    let load = Load {
        members: args.connections,
        rooms: 1,
        payload_bytes: args.payload,
        shards: Some(super::fanout::shards(&args.server, &cpus, args.connections)),
    };
    progress.phase("start the engine");
    let server = Server::ready(&args.server, &cpus, load)?;
    let mut result = begin("floor", &server, load);
    let mut engine = Line::up(server, load, &mut progress)?;
    let mut bare = Vec::new();
    for mode in [Mode::Ring, Mode::Send] {
        progress.phase(&format!("start the bare {} loop", mode.name()));
        let server = bare_loop(mode, &cpus, load).map_err(Failure::Floor)?;
        bare.push(Line::up(server, load, &mut progress)?);
    }

    progress.phase("measure");
    let (mut own, mut ring, mut send) = (Vec::new(), Vec::new(), Vec::new());
    let mut coalesced = false;
    for round in 0..args.rounds {
        progress.update(|| format!("round {} of {}", round + 1, args.rounds));
        // Who goes first changes, so that a machine that slows down or speeds up favours nobody.
        for turn in 0..3 {
            let (line, samples) = match (turn + round) % 3 {
                0 => (&mut engine, &mut own),
                1 => (&mut bare[0], &mut ring),
                _ => (&mut bare[1], &mut send),
            };
            let turn = line.one_by_one(args.publications)?;
            samples.push(turn.cpu_ns_per_delivery());
            coalesced |= turn.writes.is_some_and(|writes| writes < turn.deliveries);
        }
    }
    let mut faults = engine.down()?;
    for line in bare {
        faults += line.down()?;
    }
    progress.done();
    if faults > 0 {
        return Err(Failure::Unfaithful { faults });
    }

    let ratios = |floor: &[f64]| -> Option<Spread> {
        Spread::of(
            &own.iter()
                .zip(floor)
                .map(|(own, floor)| own / floor)
                .collect::<Vec<_>>(),
        )
    };
    let median = |samples: &[f64]| Spread::of(samples).map(|spread| spread.median);
    result.cpu_ns_per_write = median(&own);
    result.cpu_ns_per_delivery = result.cpu_ns_per_write;
    result.floor.cpu_ns_per_write = median(&ring);
    result.floor.send_cpu_ns_per_write = median(&send);
    // Of ratios within a round, and not of medians of different rounds.
    let (to_ring, to_send) = (ratios(&ring), ratios(&send));
    for (spread, to) in [(&to_ring, "io_uring"), (&to_send, "send(2)")] {
        if let Some(spread) = spread {
            result.notes.push(format!(
                "Ratio to the bare {to} loop over {} rounds: {:.3} ({:.3} to {:.3}).",
                args.rounds, spread.median, spread.min, spread.max
            ));
        }
    }
    if coalesced {
        result
            .notes
            .push("Some writes carried more than one delivery.".to_owned());
    }
    result.ratio_to_floor = to_ring.map(|spread| spread.median);
    result.ratio_to_send = to_send.map(|spread| spread.median);
    result.lost = Some(0);
    result.duplicated = Some(0);
    result.reordered = Some(0);
    result.seconds_total = began.elapsed().as_secs_f64();
    args.output.publish(&result)
}

/// Starts this program once more, as a bare loop.
fn bare_loop(mode: Mode, cpus: &Cpus, load: Load) -> std::io::Result<Server> {
    let list: Vec<String> = cpus.server.iter().map(ToString::to_string).collect();
    let mut child = Command::new("taskset")
        .args(["-c", &list.join(",")])
        .arg(std::env::current_exe()?)
        .args(["serve-floor", mode.name(), &load.members.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut line = String::new();
    if let Some(stdout) = child.stdout.take() {
        BufReader::new(stdout).read_line(&mut line)?;
    }
    let address = |name: &str| -> Option<SocketAddr> {
        line.split_whitespace()
            .find_map(|word| word.strip_prefix(name)?.parse().ok())
    };
    let (Some(clients), Some(ingest)) = (address("clients="), address("ingest=")) else {
        return Err(std::io::Error::other(format!("it said {line:?}")));
    };
    let stream = TcpStream::connect(ingest)?;
    stream.set_nodelay(true)?;
    Ok(Server::of(
        format!("bare {} loop", mode.name()),
        clients,
        Language::Native,
        vec![child.id()],
        Box::new(BarePublisher {
            stream,
            published: 0,
            _child: EndsWithInput(child),
        }),
    ))
}

/// The loop ends when its input does.
struct EndsWithInput(Child);

impl Drop for EndsWithInput {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        // It has ended, or will at once.
        let _ = self.0.wait();
    }
}

struct BarePublisher {
    stream: TcpStream,
    published: u64,
    _child: EndsWithInput,
}

impl Publisher for BarePublisher {
    fn publish(&mut self, room: &str, payloads: &[Vec<u8>]) -> Result<(), PublishError> {
        let mut out = Vec::new();
        for part in payloads
            .iter()
            .flat_map(|payload| [room.as_bytes(), payload])
        {
            let bytes = u32::try_from(part.len()).unwrap_or(u32::MAX);
            out.extend_from_slice(&bytes.to_le_bytes());
            out.extend_from_slice(part);
        }
        self.stream.write_all(&out)?;
        self.published += payloads.len() as u64;
        let mut answer = [0; 8];
        while u64::from_le_bytes(answer) < self.published {
            self.stream.read_exact(&mut answer)?;
        }
        Ok(())
    }
}
