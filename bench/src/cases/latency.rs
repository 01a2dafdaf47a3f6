//! `latency`: how long a push takes while the server is busy to a part of what it can do.

use std::time::Duration;

use clap::Args;
use fanfare_bench::progress::Progress;
use fanfare_bench::swarm::Swarm;

use super::Failure;
use super::crowd::{await_joined, payloads, readers, room_name};
use super::fanout::{Workload, faithful, measure};
use super::meters::Meters;
use super::options::{above_zero, seconds};
use super::output::MeasuredArgs;
use super::server::{Cpus, Load, Server, ServerArgs};

/// Longest that one round of publications may take to be heard.
const HEAR_MAX: Duration = Duration::from_secs(30);

/// Finds the rate at which the server would be saturated, and measures latencies at a part of it: open-loop, from when
/// each push was due
#[derive(Debug, Clone, Args)]
pub(crate) struct Latency {
    /// Members
    #[arg(long, short = 'n', value_name = "N", default_value_t = 15_000, value_parser = above_zero::<u32>)]
    connections: u32,
    /// Members of each room
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = above_zero::<u32>)]
    room_size: u32,
    /// Part of saturation to run at
    #[arg(long, value_name = "PART", default_value_t = 0.5, value_parser = above_zero::<f64>)]
    load: f64,
    /// Publications per second, instead of looking for saturation
    #[arg(long, value_name = "N", conflicts_with = "load", value_parser = above_zero::<f64>)]
    rate: Option<f64>,
    /// Bytes of a payload; 10 is {"test":1}
    #[arg(long, value_name = "BYTES", default_value_t = 10)]
    payload: u32,
    /// Seconds that are measured
    #[arg(long, value_name = "S", default_value = "20", value_parser = seconds)]
    seconds: Duration,
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    output: MeasuredArgs,
}

pub(crate) fn run(args: &Latency) -> Result<(), Failure> {
    args.server.settle(args.connections)?;
    let cpus = args.server.cpus();
    let load = Load {
        members: args.connections,
        rooms: args.connections.div_ceil(args.room_size),
        payload_bytes: args.payload,
        shards: Some(args.server.shards(&cpus, args.connections)),
    };
    let mut progress = args.output.progress();
    let mut notes = Vec::new();
    let rate = match args.rate {
        Some(rate) => rate,
        None => {
            let saturation = saturation(&args.server, &cpus, load, &mut progress)?;
            notes.push(format!(
                "Saturation, one write per delivery: {saturation:.0} publications a second, at which the CPU time per \
                 delivery fills the server's {} core(s); measured at {:.0} % of it.",
                cpus.server.len(),
                args.load * 100.0
            ));
            saturation * args.load
        }
    };
    let workload = Workload {
        load,
        rate,
        warm_up: Duration::from_secs(3),
        seconds: args.seconds,
        record_every: 1,
    };
    let mut result = measure("latency", &args.server, &cpus, workload, &mut progress)?;
    progress.done();
    result.notes.extend(notes);
    args.output.publish(&result)?;
    faithful(&result)
}

/// Publications per second that would take all of the server's cores if every delivery is a write of its own.
fn saturation(
    args: &ServerArgs,
    cpus: &Cpus,
    load: Load,
    progress: &mut Progress,
) -> Result<f64, Failure> {
    progress.phase("start, to find saturation");
    let mut server = Server::ready(args, cpus, load)?;
    let swarm = Swarm::start(
        server.clients,
        vec![readers(load.members, load.rooms, server.language, None)],
    )?;
    await_joined(&swarm, load.members, progress)?;
    let mut publisher = server.take_publisher()?;
    let payload = payloads(server.language, load.payload_bytes);
    progress.phase("find saturation");
    let names: Vec<String> = (0..u64::from(load.rooms)).map(room_name).collect();
    // A round is a publication in every room, heard by all before the next: none is put into a write with another.
    let mut round = |number: u64| -> Result<(), Failure> {
        for name in &names {
            publisher.offer(name, &[payload(number)])?;
        }
        let expected = number * u64::from(load.members);
        swarm.wait_until("a round to be heard", HEAR_MAX, |swarm| {
            swarm.total().publications >= expected
        })?;
        Ok(())
    };
    const WARM_UP: u64 = 5;
    const ROUNDS: u64 = 40;
    for number in 1..=WARM_UP {
        round(number)?;
    }
    let meters = Meters::start(&server)?;
    for number in WARM_UP + 1..=WARM_UP + ROUNDS {
        round(number)?;
    }
    let spent = meters.read()?;
    let Some(used) = spent.server else {
        return Err(Failure::Usage(
            "saturation is found by the server's CPU time: name its process with --pid, or set --rate".to_owned(),
        ));
    };
    swarm.finish()?;
    let publications = ROUNDS as f64 * f64::from(load.rooms);
    Ok(publications / used.cpu.as_secs_f64() * cpus.server.len() as f64)
}
