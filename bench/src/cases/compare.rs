//! `compare`: Fanfare, the same server on other runtimes, and the peers that are installed, under one load, taking turns.

use std::time::{Duration, Instant, SystemTime};

use clap::Args;
use fanfare_bench::observe::Machine;
use fanfare_bench::progress::Progress;
use fanfare_bench::report::{Absent, Comparison, Row, Spread, markdown_comparison};
use fanfare_bench::servers::{self, Contestant};

use super::Failure;
use super::line::Line;
use super::options::above_zero;
use super::output::OutputArgs;
use super::server::{Cpus, DialectArg, Load, Server, dialect_name};

/// How long a coalesced turn goes on.
const COALESCED_TURN: Duration = Duration::from_secs(2);

/// Publications that are handed over at once, and how many may be on their way: the best of these is a server's figure.
/// The bounded queues of the baselines hold 1,024.
const BURSTS: [(u64, u64); 4] = [(10, 20), (50, 200), (250, 1_000), (1_000, 4_000)];

/// A server that takes longer than this for a turn with one of them is not asked to take more at once.
const BURST_MAX: Duration = Duration::from_secs(6);

/// Compares servers on one core: CPU time per delivery, deliveries per core-second, memory per connection
#[derive(Debug, Clone, Args)]
pub(crate) struct Compare {
    /// Shows which servers there are, and how to get those that are missing
    #[arg(long)]
    list: bool,
    /// Only these, by name; the first is what the others are compared with
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    only: Vec<String>,
    /// Members of each
    #[arg(long, short = 'n', value_name = "N", default_value_t = 10_000, value_parser = above_zero::<u32>)]
    connections: u32,
    /// Rounds; in each, every server has a turn
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = above_zero::<u32>)]
    rounds: u32,
    /// Publications of a turn with one write per delivery
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = above_zero::<u64>)]
    publications: u64,
    /// Bytes of a payload; 10 is {"test":1}
    #[arg(long, value_name = "BYTES", default_value_t = 10)]
    payload: u32,
    /// CPU of the server under measurement [default: the first]
    #[arg(long, value_name = "CPU")]
    server_cpu: Option<usize>,
    #[command(flatten)]
    output: OutputArgs,
}

/// A server, and what its turns gave.
struct Entry {
    row: Row,
    line: Line,
    one_write: Vec<f64>,
    coalesced: Vec<f64>,
    /// The one of [`BURSTS`] that served it best.
    burst: (u64, u64),
}

pub(crate) fn run(args: &Compare) -> Result<(), Failure> {
    if args.list {
        return list();
    }
    let (began, started) = (Instant::now(), SystemTime::now());
    let mut cpus = Cpus::take(args.server_cpu.as_slice(), &[]);
    cpus.server.truncate(1);
    let mut progress = args.output.progress();
    let load = Load {
        members: args.connections,
        rooms: 1,
        payload_bytes: args.payload,
        shards: Some(1),
    };
    let mut comparison = Comparison::new(started, Machine::describe());
    comparison.rounds = args.rounds;
    comparison.connections = u64::from(args.connections);
    comparison.rooms = 1;
    comparison.payload_bytes = u64::from(args.payload);
    comparison.server_cpus.clone_from(&cpus.server);

    let mut entries = Vec::new();
    for contestant in chosen(&args.only)? {
        match contestant.find() {
            Ok(_) => {
                progress.phase(&format!("start {}", contestant.name()));
                entries.push(Entry::up(&*contestant, &cpus, load, &mut progress)?);
            }
            Err(missing) => comparison.absent.push(Absent {
                name: contestant.name().to_owned(),
                why: missing.to_string(),
            }),
        }
    }
    if entries.is_empty() {
        return Err(Failure::Usage("none of the servers was found".to_owned()));
    }

    progress.phase("look for the best burst of each");
    for entry in &mut entries {
        progress.update(|| entry.row.name.clone());
        entry.choose_burst()?;
    }
    progress.phase("measure");
    for round in 0..args.rounds {
        for turn in 0..entries.len() {
            // Who goes first changes from round to round.
            let at = (turn + round as usize) % entries.len();
            let entry = &mut entries[at];
            progress
                .update(|| format!("round {} of {}: {}", round + 1, args.rounds, entry.row.name));
            let one = entry.line.one_by_one(args.publications)?;
            entry.one_write.push(one.cpu_ns_per_delivery());
            let (burst, ahead) = entry.burst;
            let many = entry.line.all_at_once(COALESCED_TURN, burst, ahead)?;
            entry.coalesced.push(many.deliveries_per_core_second());
        }
    }
    progress.phase("verify");
    for entry in entries {
        comparison.rows.push(entry.down()?);
    }
    progress.done();
    comparison.notes.push(format!(
        "Servers run one at a time on CPU {:?} and the clients on {:?}. Coalesced: the best of {BURSTS:?} (publications at \
         once, on their way at most), found before the rounds; a server that needs more than {BURST_MAX:?} for a turn is not \
         asked to take more.",
        cpus.server, cpus.client
    ));
    comparison.seconds_total = began.elapsed().as_secs_f64();
    let comparison = comparison.with_ratios();
    args.output
        .publish(&comparison, &markdown_comparison(&comparison))?;
    let faults: u64 = comparison.rows.iter().filter_map(|row| row.faults).sum();
    if faults > 0 {
        return Err(Failure::Unfaithful { faults });
    }
    Ok(())
}

fn list() -> Result<(), Failure> {
    for contestant in servers::contestants() {
        match contestant.find() {
            Ok(version) => println!("{:<24} {version}", contestant.name()),
            Err(missing) => println!("{:<24} not here: {missing}", contestant.name()),
        }
    }
    Ok(())
}

/// Those that were asked for, in that order; else all.
fn chosen(only: &[String]) -> Result<Vec<Box<dyn Contestant>>, Failure> {
    let mut all = servers::contestants();
    if only.is_empty() {
        return Ok(all);
    }
    only.iter()
        .map(|name| {
            let at = all.iter().position(|contestant| contestant.name() == name);
            at.map(|at| all.swap_remove(at))
                .ok_or_else(|| Failure::UnknownServer(name.clone()))
        })
        .collect()
}

impl Entry {
    fn up(
        contestant: &dyn Contestant,
        cpus: &Cpus,
        load: Load,
        progress: &mut Progress,
    ) -> Result<Self, Failure> {
        let server = Server::start(contestant, cpus, load, DialectArg::Native)?;
        let mut row = Row {
            name: server.name.clone(),
            version: server.version.clone(),
            dialect: Some(dialect_name(server.language).to_owned()),
            ..Row::default()
        };
        let line = Line::up(server, load, progress)?;
        row.user_bytes_per_connection = line
            .user_bytes_per_connection
            .and_then(|it| Spread::of(&[it]));
        Ok(Self {
            row,
            line,
            one_write: Vec::new(),
            coalesced: Vec::new(),
            burst: BURSTS[0],
        })
    }

    fn choose_burst(&mut self) -> Result<(), Failure> {
        let mut best = 0.0;
        for (burst, ahead) in BURSTS {
            let began = Instant::now();
            let turn = self.line.all_at_once(COALESCED_TURN, burst, ahead)?;
            if turn.deliveries_per_core_second() > best {
                best = turn.deliveries_per_core_second();
                self.burst = (burst, ahead);
            }
            if began.elapsed() > BURST_MAX {
                break;
            }
        }
        Ok(())
    }

    fn down(mut self) -> Result<Row, Failure> {
        self.row.cpu_ns_per_delivery_one_write = Spread::of(&self.one_write);
        self.row.deliveries_per_core_second_coalesced = Spread::of(&self.coalesced);
        self.row.faults = Some(self.line.down()?);
        Ok(self.row)
    }
}
