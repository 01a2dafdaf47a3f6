//! `fanout`: many members hear what is pushed at a rate.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use fanfare_bench::observe::KernelMemory;
use fanfare_bench::progress::Progress;
use fanfare_bench::report::Measurement;
use fanfare_bench::swarm::{Outcome, Schedule, Swarm, SwarmError};

use super::Failure;
use super::crowd::{await_joined, payloads, readers};
use super::meters::{Meters, Sampler, Spent, check_memory, enter_latency, enter_memory};
use super::options::{above_zero, seconds, seconds_or_none};
use super::output::MeasuredArgs;
use super::pusher::Pusher;
use super::server::{Cpus, Load, Server, ServerArgs, begin};

/// Longest that what was pushed may take to reach everyone.
const DRAIN_MAX: Duration = Duration::from_secs(60);

/// With connections gone, the drain is over when nobody has heard anything for so long.
const QUIET_AFTER: Duration = Duration::from_secs(2);

/// How often the run is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Connects members, pushes at a rate, verifies every delivery, and measures.
#[derive(Debug, Clone, Args)]
pub(crate) struct Fanout {
    /// A known case, from which the other options depart
    #[arg(long, value_enum)]
    case: Option<Case>,
    /// Members
    #[arg(
        long,
        short = 'n',
        value_name = "N",
        default_value_t = 10_000,
        default_value_if("case", "seed", "1000000"),
        value_parser = above_zero::<u32>
    )]
    connections: u32,
    /// Rooms, each member in one
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = above_zero::<u32>)]
    rooms: u32,
    /// Publications per second, over all rooms
    #[arg(long, value_name = "N", default_value_t = 40.0, value_parser = above_zero::<f64>)]
    rate: f64,
    /// Bytes of a payload; 10 is {"test":1}
    #[arg(long, value_name = "BYTES", default_value_t = 10)]
    payload: u32,
    /// Seconds that are measured
    #[arg(
        long,
        value_name = "S",
        default_value = "20",
        default_value_if("case", "seed", "60"),
        value_parser = seconds
    )]
    seconds: Duration,
    /// Seconds of pushing before that
    #[arg(
        long,
        value_name = "S",
        default_value = "3",
        default_value_if("case", "seed", "20"),
        value_parser = seconds_or_none
    )]
    warm_up: Duration,
    #[command(flatten)]
    server: ServerArgs,
    #[command(flatten)]
    output: MeasuredArgs,
}

/// Known cases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Case {
    /// goim's: 1,000,000 connections in one room, 40 messages of {"test":1} a second, 60 s
    Seed,
}

/// What is offered.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Workload {
    pub(crate) load: Load,
    pub(crate) rate: f64,
    pub(crate) warm_up: Duration,
    pub(crate) seconds: Duration,
    /// Every so-many-th member records latencies.
    pub(crate) record_every: u32,
}

pub(crate) fn run(args: &Fanout) -> Result<(), Failure> {
    args.server.settle(args.connections)?;
    let cpus = args.server.cpus();
    let load = Load {
        members: args.connections,
        rooms: args.rooms,
        payload_bytes: args.payload,
        shards: Some(args.server.shards(&cpus, args.connections)),
    };
    let workload = Workload {
        load,
        rate: args.rate,
        warm_up: args.warm_up,
        seconds: args.seconds,
        // Enough for any percentile, and nothing beside the deliveries.
        record_every: args.connections.div_ceil(20_000),
    };
    let mut progress = args.output.progress();
    let case = args.case.map_or("fanout", |Case::Seed| "seed");
    let result = measure(case, &args.server, &cpus, workload, &mut progress)?;
    progress.done();
    args.output.publish(&result)?;
    faithful(&result)
}

/// A figure with faults is shown, and is none.
pub(crate) fn faithful(result: &Measurement) -> Result<(), Failure> {
    let faults = [
        result.lost,
        result.duplicated,
        result.reordered,
        result.corrupted,
    ];
    match faults.into_iter().flatten().sum() {
        0 => Ok(()),
        faults => Err(Failure::Unfaithful { faults }),
    }
}

/// Runs a workload from start to end.
pub(crate) fn measure(
    case: &str,
    args: &ServerArgs,
    cpus: &Cpus,
    workload: Workload,
    progress: &mut Progress,
) -> Result<Measurement, Failure> {
    let Workload { load, rate, .. } = workload;
    let began = Instant::now();
    progress.phase("start");
    let mut server = Server::ready(args, cpus, load)?;
    let mut result = begin(case, &server, load);
    result.rate_per_s = Some(rate);
    let empty = (server.usage(), KernelMemory::now().ok());

    let schedule = Arc::new(Schedule::new(load.rooms, rate, workload.record_every));
    let group = readers(
        load.members,
        load.rooms,
        server.language,
        Some(Arc::clone(&schedule)),
    );
    let swarm = Swarm::start(server.clients, vec![group])?;
    let connecting = await_joined(&swarm, load.members, progress)?;
    result.connects_per_s = Some(f64::from(load.members) / connecting.as_secs_f64());
    enter_memory(&server, &empty, load.members, &mut result);

    let publisher = server.take_publisher()?;
    let payload = payloads(server.language, load.payload_bytes);
    let mut pusher = Pusher::begin(Arc::clone(&schedule), load.rooms, publisher, payload)?;
    progress.phase("warm up");
    look_on(
        &swarm,
        &mut pusher,
        load,
        workload.warm_up,
        progress,
        |_| (),
    )?;

    progress.phase("measure");
    schedule.record_from(schedule.due_by_now());
    let mut observed = Observed::of(&swarm, &mut pusher, &server, workload, progress)?;
    schedule.record_to(schedule.due_by_now());

    progress.phase("drain");
    let all = pusher.end()?;
    await_all(&swarm, all, load, progress)?;
    observed.sampler.look(&server);
    let patience = swarm.patience();
    let outcome = swarm.finish()?;

    observed.enter(cpus, &mut result);
    enter_outcome(&outcome, all, load, &mut result);
    if patience > 1 {
        result.notes.push(format!(
            "The load generator's threads wait for {patience} connections or 10 ms: latencies have up to 10 ms of that in them."
        ));
    }
    if workload.record_every > 1 {
        result.notes.push(format!(
            "Latency is that of every {}th member; every delivery of every member is verified.",
            workload.record_every
        ));
    }
    result.seconds_total = began.elapsed().as_secs_f64();
    Ok(result)
}

/// The measured part of a run.
struct Observed {
    spent: Spent,
    sampler: Sampler,
    pushed: u64,
    deliveries: u64,
    received_bytes: u64,
    /// Where the server counts them.
    writes: Option<u64>,
}

impl Observed {
    /// Looks on while the workload is offered.
    fn of(
        swarm: &Swarm,
        pusher: &mut Pusher,
        server: &Server,
        workload: Workload,
        progress: &mut Progress,
    ) -> Result<Self, Failure> {
        let before = swarm.total();
        let writes_before = server.writes();
        let pushed_before = pusher.pushed();
        let meters = Meters::start(server)?;
        let mut sampler = Sampler::start(before.publications, writes_before);
        let Workload { load, seconds, .. } = workload;
        look_on(swarm, pusher, load, seconds, progress, |deliveries| {
            if sampler.is_due() {
                sampler.sample(deliveries, server);
            }
        })?;
        let spent = meters.read()?;
        let after = swarm.total();
        let writes = server.writes();
        Ok(Self {
            spent,
            sampler,
            pushed: pusher.pushed() - pushed_before,
            deliveries: after.publications - before.publications,
            received_bytes: after.bytes - before.bytes,
            writes: writes.zip(writes_before).map(|(now, then)| now - then),
        })
    }

    fn enter(self, cpus: &Cpus, result: &mut Measurement) {
        let seconds = self.spent.client.wall.as_secs_f64();
        let per_s = |count: u64| count as f64 / seconds;
        result.seconds = Some(seconds);
        result.published = Some(self.pushed);
        result.publications_per_s = Some(per_s(self.pushed));
        result.deliveries = Some(self.deliveries);
        result.deliveries_per_s = Some(per_s(self.deliveries));
        result.writes_per_s = self.writes.map(per_s);
        result.received_bytes_per_s = Some(per_s(self.received_bytes));
        self.spent.enter(cpus, result);
        let cpu_per = |count: Option<u64>| {
            let count = count.filter(|&count| count > 0)?;
            Some(self.spent.server_ns()? / count as f64)
        };
        result.cpu_ns_per_delivery = cpu_per(Some(self.deliveries));
        result.cpu_ns_per_write = cpu_per(self.writes);
        result.server.rss_bytes = Some(self.sampler.rss_bytes).filter(|&bytes| bytes > 0);
        result.throughput = self.sampler.samples;
    }
}

/// Shows how it goes for so long.
fn look_on(
    swarm: &Swarm,
    pusher: &mut Pusher,
    load: Load,
    for_so_long: Duration,
    progress: &mut Progress,
    mut each: impl FnMut(u64),
) -> Result<(), Failure> {
    let began = Instant::now();
    let mut last = (began, swarm.total().publications);
    let mut speed = 0.0;
    while began.elapsed() < for_so_long {
        thread::sleep(LOOK_EVERY.min(for_so_long.saturating_sub(began.elapsed())));
        pusher.check()?;
        check_memory()?;
        let total = swarm.total();
        each(total.publications);
        let since = last.0.elapsed().as_secs_f64();
        if since >= 1.0 {
            speed = (total.publications - last.1) as f64 / since;
            last = (Instant::now(), total.publications);
        }
        progress.update(|| {
            let offered = pusher.pushed() as f64 / f64::from(load.rooms);
            let heard = total.publications as f64 / f64::from(load.members);
            format!(
                "{:.2} M deliveries/s, {:.0} messages behind, {} lost, {} connections ended",
                speed / 1e6,
                offered - heard,
                total.lost,
                total.ended
            )
        });
    }
    Ok(())
}

/// Waits until everyone has what was pushed.
fn await_all(swarm: &Swarm, all: u64, load: Load, progress: &mut Progress) -> Result<(), Failure> {
    let expected = expected_deliveries(all, load);
    let progress = std::cell::RefCell::new(progress);
    let moved = std::cell::Cell::new((0, Instant::now()));
    let waited = swarm.wait_until("everything to be heard", DRAIN_MAX, |swarm| {
        let total = swarm.total();
        let settled = total.publications + total.skipped;
        if settled != moved.get().0 {
            moved.set((settled, Instant::now()));
        }
        progress.borrow_mut().update(|| {
            format!(
                "{} of {expected} deliveries to come",
                expected.saturating_sub(total.publications)
            )
        });
        // Who is gone hears nothing more, and the others are waited for as long as they hear something.
        let is_over = total.ended > 0 && moved.get().1.elapsed() > QUIET_AFTER;
        settled >= expected || is_over || check_memory().is_err()
    });
    check_memory()?;
    // What is missing then counts as lost.
    match waited {
        Ok(()) | Err(SwarmError::TimedOut { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Deliveries that publications make, dealt to the rooms in turn.
fn expected_deliveries(publications: u64, load: Load) -> u64 {
    (0..load.rooms)
        .map(|room| members_of(room, load) * publications_of(room, publications, load))
        .sum()
}

fn members_of(room: u32, load: Load) -> u64 {
    u64::from(load.members / load.rooms + u32::from(room < load.members % load.rooms))
}

fn publications_of(room: u32, publications: u64, load: Load) -> u64 {
    let rooms = u64::from(load.rooms);
    publications / rooms + u64::from(u64::from(room) < publications % rooms)
}

/// Enters what the members say, each held against what was published in its room.
fn enter_outcome(outcome: &Outcome, all: u64, load: Load, result: &mut Measurement) {
    let (mut lost, mut duplicated, mut reordered, mut skipped, mut corrupted, mut ended) =
        (0, 0, 0, 0, 0, 0);
    for (room, report) in (0..load.rooms).cycle().zip(outcome.groups.iter().flatten()) {
        let ledger = &report.ledger;
        let told = publications_of(room, all, load);
        // What came out of order was heard, too; what came twice counts once.
        let heard = ledger.received - ledger.duplicated;
        lost += told.saturating_sub(heard + ledger.skipped).max(ledger.lost);
        duplicated += ledger.duplicated;
        reordered += ledger.reordered;
        skipped += ledger.skipped;
        corrupted += ledger.corrupted;
        ended += u64::from(report.ending.is_some());
    }
    result.lost = Some(lost);
    result.duplicated = Some(duplicated);
    result.reordered = Some(reordered);
    result.skipped = Some(skipped);
    result.corrupted = Some(corrupted);
    if ended > 0 {
        result.notes.push(format!(
            "{ended} connections ended during the run; what they did not hear is among the lost."
        ));
    }
    enter_latency(outcome, result);
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use fanfare_bench::observe::Machine;

    use super::*;

    #[test]
    fn a_run_with_any_fault_fails() {
        let mut result = Measurement::new("fanout", SystemTime::now(), Machine::default());
        assert!(faithful(&result).is_ok());
        (result.lost, result.duplicated, result.reordered) = (Some(0), Some(0), Some(0));
        assert!(faithful(&result).is_ok());
        result.reordered = Some(2);
        result.lost = Some(1);
        result.corrupted = Some(4);
        let failure = faithful(&result);
        assert!(matches!(failure, Err(Failure::Unfaithful { faults: 7 })));
    }
}
