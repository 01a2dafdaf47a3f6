//! `floor`: what a write costs the engine, against loops that do nothing but write.

use std::ffi::OsStr;
use std::time::Instant;

use clap::Args;
use fanfare_bench::report::{Spread, markdown};
use fanfare_bench::servers::{Contestant, Missing, Running, Spec, StartError, start_program};
use fanfare_bench::swarm::Language;

use super::Failure;
use super::line::Line;
use super::options::above_zero;
use super::output::OutputArgs;
use super::server::{DialectArg, Load, Server, ServerArgs, begin};
use crate::floor::Mode;

/// Measures the server's CPU time per write against a bare send(2) loop's and a bare io_uring loop's, in alternating turns
#[derive(Debug, Clone, Args)]
pub(crate) struct Floor {
    /// Members of each
    #[arg(long, short = 'n', value_name = "N", default_value_t = 15_000, value_parser = above_zero::<u32>)]
    connections: u32,
    /// Rounds; in each, every contestant has a turn
    #[arg(long, value_name = "N", default_value_t = 9, value_parser = above_zero::<u32>)]
    rounds: u32,
    /// Publications of a turn, one at a time
    #[arg(long, value_name = "N", default_value_t = 12, value_parser = above_zero::<u64>)]
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
    // Those of the engine and of both loops are there at a time.
    args.server.settle(args.connections.saturating_mul(3))?;
    let began = Instant::now();
    let cpus = args.server.cpus();
    let mut progress = args.output.progress();
    let load = Load {
        members: args.connections,
        rooms: 1,
        payload_bytes: args.payload,
        shards: Some(args.server.shards(&cpus, args.connections)),
    };
    progress.phase("start the engine");
    let server = Server::ready(&args.server, &cpus, load)?;
    let mut result = begin("floor", &server, load);
    let mut engine = Line::up(server, load, &mut progress)?;
    let mut bare = Vec::new();
    for mode in [Mode::Ring, Mode::Send] {
        progress.phase(&format!("start the bare {} loop", mode.name()));
        let server = Server::start(&BareLoop(mode), &cpus, load, DialectArg::Native)?;
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
    args.output.publish(&result, &markdown(&result))
}

/// This program once more, as a server with nothing in it but the sends.
#[derive(Debug)]
struct BareLoop(Mode);

impl Contestant for BareLoop {
    fn name(&self) -> &str {
        match self.0 {
            Mode::Send => "bare-send-loop",
            Mode::Ring => "bare-ring-loop",
        }
    }

    fn find(&self) -> Result<String, Missing> {
        Ok(env!("CARGO_PKG_VERSION").to_owned())
    }

    fn start(&self, spec: &Spec) -> Result<Running, StartError> {
        let name = self.name();
        let program = std::env::current_exe().map_err(|source| StartError::Start {
            name: name.to_owned(),
            source,
        })?;
        let members = spec.members.to_string();
        let arguments = ["serve-floor", self.0.name(), &members].map(OsStr::new);
        start_program(name, &program, &arguments, Language::Native, spec)
    }
}
