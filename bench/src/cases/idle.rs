//! `idle`: what connections cost while nothing is said.

use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use fanfare_bench::observe::KernelMemory;
use fanfare_bench::swarm::Swarm;

use super::Failure;
use super::crowd::{await_joined, readers};
use super::meters::{Meters, enter_memory};
use super::options::{above_zero, seconds};
use super::output::MeasuredArgs;
use super::server::{Load, Server, ServerArgs, begin};

/// How often the run is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Holds idle connections that answer pings, or beat: memory per connection, user and kernel, and CPU time
#[derive(Debug, Clone, Args)]
pub(crate) struct Idle {
    /// Connections
    #[arg(long, short = 'n', value_name = "N", default_value_t = 10_000, value_parser = above_zero::<u32>)]
    connections: u32,
    /// Rooms, each connection in one
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = above_zero::<u32>)]
    rooms: u32,
    /// Seconds that are measured; pings come every 25, goim's members beat every 240
    #[arg(long, value_name = "S", default_value = "60", value_parser = seconds)]
    seconds: Duration,
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    output: MeasuredArgs,
}

pub(crate) fn run(args: &Idle) -> Result<(), Failure> {
    args.server.settle(args.connections)?;
    let began = Instant::now();
    let cpus = args.server.cpus();
    let mut progress = args.output.progress();
    let load = Load {
        members: args.connections,
        rooms: args.rooms,
        payload_bytes: 0,
        shards: Some(args.server.shards(&cpus, args.connections)),
    };
    progress.phase("start");
    let server = Server::ready(&args.server, &cpus, load)?;
    let mut result = begin("idle", &server, load);
    result.payload_bytes = None;
    let empty = (server.usage(), KernelMemory::now().ok());
    let swarm = Swarm::start(
        server.clients,
        vec![readers(load.members, load.rooms, server.language, None)],
    )?;
    let connecting = await_joined(&swarm, load.members, &mut progress)?;
    result.connects_per_s = Some(f64::from(load.members) / connecting.as_secs_f64());

    progress.phase("idle");
    let pongs = swarm.total().pongs;
    let meters = Meters::start(&server)?;
    let measuring = Instant::now();
    while measuring.elapsed() < args.seconds {
        let left = args.seconds.saturating_sub(measuring.elapsed());
        thread::sleep(LOOK_EVERY.min(left));
        let total = swarm.total();
        progress.update(|| {
            format!(
                "{} pings or heartbeats answered, {} connections ended",
                total.pongs - pongs,
                total.ended
            )
        });
    }
    let spent = meters.read()?;
    // At the end: what answering pings takes is counted, too.
    enter_memory(&server, &empty, load.members, &mut result);
    let total = swarm.total();
    result.notes.push(format!(
        "{} pings or heartbeats were answered meanwhile, {} connections ended.",
        total.pongs - pongs,
        total.ended
    ));
    result.seconds = Some(spent.client.wall.as_secs_f64());
    spent.enter(&cpus, &mut result);
    result.cpu_ns_per_connection_s = spent.server.as_ref().map(|used| {
        used.cpu.as_secs_f64() * 1e9 / used.wall.as_secs_f64() / f64::from(load.members)
    });
    result.server.rss_bytes = server.usage().map(|usage| usage.rss_bytes);
    swarm.finish()?;
    progress.done();
    result.seconds_total = began.elapsed().as_secs_f64();
    args.output.publish(&result)?;
    if total.ended > 0 {
        return Err(Failure::Ended(total.ended));
    }
    Ok(())
}
