//! `connect`: how fast connections come in, and what those who are there feel of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use fanfare_bench::swarm::{Group, Schedule, Swarm};

use super::Failure;
use super::crowd::{await_joined, payloads, readers};
use super::meters::{Meters, enter_latency};
use super::options::above_zero;
use super::output::MeasuredArgs;
use super::pusher::Pusher;
use super::server::{Load, Server, ServerArgs, begin};

/// Longest that what was pushed may take to be heard in the end.
const DRAIN_MAX: Duration = Duration::from_secs(30);

/// Opens connections as fast as they go, then cuts them all and lets them come back at once, while others listen
#[derive(Debug, Clone, Args)]
pub(crate) struct Connect {
    /// Connections that come, and come again
    #[arg(long, short = 'n', value_name = "N", default_value_t = 15_000, value_parser = above_zero::<u32>)]
    connections: u32,
    /// Members that are there all the time, and record how late they hear
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = above_zero::<u32>)]
    live: u32,
    /// Publications per second to them
    #[arg(long, value_name = "N", default_value_t = 20.0, value_parser = above_zero::<f64>)]
    rate: f64,
    /// Times that all connections are cut and come back
    #[arg(long, value_name = "N", default_value_t = 3)]
    storms: u32,
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    output: MeasuredArgs,
}

pub(crate) fn run(args: &Connect) -> Result<(), Failure> {
    let members = args.connections.saturating_add(args.live);
    args.server.settle(members)?;
    let began = Instant::now();
    let cpus = args.server.cpus();
    let mut progress = args.output.progress();
    let load = Load {
        members,
        rooms: 1,
        payload_bytes: 10,
        shards: Some(args.server.shards(&cpus, members)),
    };
    progress.phase("start");
    let mut server = Server::ready(&args.server, &cpus, load)?;
    let mut result = begin("connect", &server, load);
    result.rate_per_s = Some(args.rate);
    let schedule = Arc::new(Schedule::new(1, args.rate, 1));
    let live = Swarm::start(
        server.clients,
        vec![readers(
            args.live,
            1,
            server.language,
            Some(Arc::clone(&schedule)),
        )],
    )?;
    await_joined(&live, args.live, &mut progress)?;
    let payload = payloads(server.language, load.payload_bytes);
    let pusher = Pusher::begin(Arc::clone(&schedule), 1, server.take_publisher()?, payload)?;
    schedule.record_from(0);

    let meters = Meters::start(&server)?;
    let mut rates = Vec::new();
    for storm in 0..=args.storms {
        progress.phase(&match storm {
            0 => "first connections".to_owned(),
            _ => format!("storm {storm}"),
        });
        // From other addresses than before: the ports of cut connections are not free for a minute.
        let crowd = Swarm::start_from(
            args.live + storm * args.connections,
            server.clients,
            vec![elsewhere(args.connections, &server)],
        )?;
        let took = await_joined(&crowd, args.connections, &mut progress)?;
        rates.push(f64::from(args.connections) / took.as_secs_f64());
        // All of them are cut at once; the server sees to the remains while the next come.
        drop(crowd);
    }
    let spent = meters.read()?;
    let all = pusher.end()?;
    live.wait_until("the last publication to be heard", DRAIN_MAX, |live| {
        live.total().publications >= all * u64::from(args.live)
    })?;
    let outcome = live.finish()?;
    progress.done();

    let first = rates.first().copied();
    result.connects_per_s = first;
    if let [_, storms @ ..] = rates.as_slice()
        && !storms.is_empty()
    {
        let list: Vec<String> = storms.iter().map(|rate| format!("{rate:.0}")).collect();
        result.notes.push(format!(
            "Handshakes a second after all were cut at once: {}.",
            list.join(", ")
        ));
    }
    let faithful = outcome
        .groups
        .iter()
        .flatten()
        .filter(|report| report.ledger.is_faithful() && report.ledger.received == all)
        .count();
    result.notes.push(format!(
        "{faithful} of {} members that stayed heard all {all} publications once and in order; latencies are theirs.",
        args.live
    ));
    let handshakes = f64::from(args.connections) * f64::from(args.storms + 1);
    if let Some(ns) = spent.server_ns() {
        result.notes.push(format!(
            "CPU time of the server per connection opened, joined and closed: {:.1} us.",
            ns / handshakes / 1e3
        ));
    }
    enter_latency(&outcome, &mut result);
    result.seconds = Some(spent.client.wall.as_secs_f64());
    spent.enter(&cpus, &mut result);
    // Opening connections as fast as they go is meant to take all that the generator has.
    result.client.saturated = None;
    result.seconds_total = began.elapsed().as_secs_f64();
    args.output.publish(&result)?;
    if faithful < args.live as usize {
        return Err(Failure::Unfaithful {
            faults: u64::from(args.live) - faithful as u64,
        });
    }
    Ok(())
}

/// Members of a room in which nothing is said.
fn elsewhere(members: u32, server: &Server) -> Group {
    Group::anonymous(members, server.language, "bench-quiet")
}
