//! A server with its crowd in one room, measured in short turns with others.

use std::time::{Duration, Instant};

use fanfare_bench::observe::{CpuMeter, Usage};
use fanfare_bench::progress::Progress;
use fanfare_bench::servers::Publisher;
use fanfare_bench::swarm::{Group, Swarm};

use super::Failure;
use super::crowd::{await_joined, payloads, readers, room_name};
use super::server::{Load, Server};

/// Longest that one turn's publications may take to be heard.
const HEAR_MAX: Duration = Duration::from_secs(120);

/// What is measured here is the server, which is not to pay for waking up the members' thread (see [`Group::patience`]).
const PATIENCE: u32 = 64;

/// A contestant, ready to be measured whenever its turn comes.
pub(crate) struct Line {
    pub(crate) server: Server,
    publisher: Box<dyn Publisher>,
    swarm: Swarm,
    members: u64,
    room: String,
    published: u64,
    payload: Box<dyn Fn(u64) -> Vec<u8>>,
    /// What the server filled for a connection.
    pub(crate) user_bytes_per_connection: Option<f64>,
}

/// What a turn came to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Turn {
    pub(crate) cpu: Duration,
    pub(crate) deliveries: u64,
    /// Sends that the server counted, if it does.
    pub(crate) writes: Option<u64>,
}

impl Turn {
    pub(crate) fn cpu_ns_per_delivery(self) -> f64 {
        self.cpu.as_secs_f64() * 1e9 / self.deliveries.max(1) as f64
    }

    pub(crate) fn deliveries_per_core_second(self) -> f64 {
        self.deliveries as f64 / self.cpu.as_secs_f64().max(1e-9)
    }
}

impl Line {
    /// Brings the crowd into the room.
    pub(crate) fn up(
        mut server: Server,
        load: Load,
        progress: &mut Progress,
    ) -> Result<Self, Failure> {
        if server.pids.is_empty() {
            return Err(Failure::Usage(
                "what is measured is the server's CPU time: name its process with --pid".to_owned(),
            ));
        }
        let publisher = server.take_publisher()?;
        let empty = server.usage();
        let group = Group {
            patience: PATIENCE,
            ..readers(load.members, 1, server.language, None)
        };
        let swarm = Swarm::start(server.clients, vec![group])?;
        await_joined(&swarm, load.members, progress)?;
        let grown = |usage: Usage| {
            let before = empty.as_ref().map_or(0, |usage| usage.user_bytes);
            usage.user_bytes.saturating_sub(before) as f64 / f64::from(load.members)
        };
        Ok(Self {
            user_bytes_per_connection: server.usage().map(grown),
            payload: Box::new(payloads(server.language, load.payload_bytes)),
            members: u64::from(load.members),
            room: room_name(0),
            published: 0,
            server,
            publisher,
            swarm,
        })
    }

    /// One publication at a time: the next one when everybody has it.
    pub(crate) fn one_by_one(&mut self, publications: u64) -> Result<Turn, Failure> {
        self.turn(|line| {
            for _ in 0..publications {
                line.publish(1)?;
                line.await_heard(line.published)?;
            }
            Ok(())
        })
    }

    /// As much as goes in for so long, `burst` at once and at most `ahead` beyond what everybody has.
    pub(crate) fn all_at_once(
        &mut self,
        for_so_long: Duration,
        burst: u64,
        ahead: u64,
    ) -> Result<Turn, Failure> {
        let began = Instant::now();
        self.turn(|line| {
            while began.elapsed() < for_so_long {
                line.publish(burst)?;
                line.await_heard(line.published.saturating_sub(ahead))?;
            }
            line.await_heard(line.published)
        })
    }

    /// Deliveries that were lost, doubled, out of order or wrong, in all turns.
    pub(crate) fn down(self) -> Result<u64, Failure> {
        let outcome = self.swarm.finish()?;
        let mut faults = 0;
        for report in outcome.groups.iter().flatten() {
            let ledger = &report.ledger;
            let missing = self.published.abs_diff(ledger.received);
            faults +=
                missing.max(ledger.lost + ledger.duplicated + ledger.reordered + ledger.corrupted);
        }
        Ok(faults)
    }

    fn turn(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<(), Failure>,
    ) -> Result<Turn, Failure> {
        let before = (self.swarm.total().publications, self.server.writes());
        let meter = CpuMeter::start(&self.server.pids).map_err(Failure::Observe)?;
        work(self)?;
        let cpu = meter.elapsed().map_err(Failure::Observe)?.cpu;
        let writes = self.server.writes();
        Ok(Turn {
            cpu,
            deliveries: self.swarm.total().publications - before.0,
            writes: writes.zip(before.1).map(|(now, then)| now - then),
        })
    }

    fn publish(&mut self, count: u64) -> Result<(), Failure> {
        let payloads: Vec<Vec<u8>> = (1..=count)
            .map(|number| (self.payload)(self.published + number))
            .collect();
        self.publisher.publish(&self.room, &payloads)?;
        self.published += count;
        Ok(())
    }

    /// Waits until everybody has so many publications.
    fn await_heard(&self, publications: u64) -> Result<(), Failure> {
        let expected = publications * self.members;
        self.swarm
            .wait_until("everybody to hear", HEAR_MAX, |swarm| {
                swarm.total().publications >= expected
            })?;
        Ok(())
    }
}
