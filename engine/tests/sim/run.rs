//! One run: builds the world of a seed, lets everyone act at random, calms down, and checks what must hold.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fanfare_engine::harness::{Cluster, Sabotage};
use fanfare_engine::ring::sim::{Fault, Faults, SimNet, SimRing};
use fanfare_engine::{Authority, Denied, Grant, Handle, SubscriptionGrant};
use fastrand::Rng;

use super::client::{Client, Scene};
use super::ledger::{Ledger, Violation};
use super::scenario::Scenario;
use super::service::Service;
use super::stranger::Stranger;

/// How a run differs from what its seed says.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Options {
    pub(crate) sabotage: Option<Sabotage>,
    /// Prints every event.
    pub(crate) prints: bool,
}

/// What happened in a run, to see that the runs do reach what they are to test.
#[derive(Debug, Clone, Default)]
pub(crate) struct Report {
    pub(crate) digest: u64,
    pub(crate) views: u64,
    pub(crate) recoveries: u64,
    pub(crate) recoveries_failed: u64,
    pub(crate) gaps: u64,
    pub(crate) answers: u64,
    pub(crate) faults: [u64; Fault::ALL.len()],
    pub(crate) slow_disconnected: u64,
    pub(crate) inbox_full: u64,
}

impl Report {
    pub(crate) fn add(&mut self, other: &Self) {
        self.views += other.views;
        self.recoveries += other.recoveries;
        self.recoveries_failed += other.recoveries_failed;
        self.gaps += other.gaps;
        self.answers += other.answers;
        self.slow_disconnected += other.slow_disconnected;
        self.inbox_full += other.inbox_full;
        for (sum, count) in self.faults.iter_mut().zip(other.faults) {
            *sum += count;
        }
    }
}

/// Everyone's token is their name.
struct ByName;

impl Authority for ByName {
    fn connect(&self, token: &str, _now: u64) -> Result<Grant, Denied> {
        if token.is_empty() || token == "stranger" {
            return Err(Denied::Invalid);
        }
        Ok(Grant {
            user: token.into(),
            ..Grant::default()
        })
    }

    fn subscribe(&self, _: &str, _: &str, _: &str, _: u64) -> Result<SubscriptionGrant, Denied> {
        Err(Denied::Invalid)
    }
}

/// Runs the world of a seed.
pub(crate) fn run(seed: u64, options: Options) -> Result<Report, Violation> {
    // The engine's own draws (epochs, jitter) come from the thread's generator.
    fastrand::seed(seed);
    let mut world = World::new(seed, options);
    world.live()?;
    world.calm_down()?;
    world.check()?;
    world.end()?;
    Ok(world.report())
}

/// The world of a run.
pub(crate) struct World {
    pub(crate) net: SimNet,
    pub(crate) scenario: Scenario,
    pub(crate) cluster: Cluster<SimRing>,
    /// Set when the handle wants a shard woken.
    pub(crate) wakes: Vec<Arc<AtomicBool>>,
    pub(crate) drained: Vec<bool>,
    pub(crate) handle: Handle,
    pub(crate) clients: Vec<Client>,
    pub(crate) strangers: Vec<Stranger>,
    pub(crate) service: Service,
    pub(crate) ledger: Ledger,
    pub(crate) rng: Rng,
    pub(crate) is_winding_down: bool,
    pub(crate) is_draining: bool,
}

impl World {
    fn new(seed: u64, options: Options) -> Self {
        let mut rng = Rng::with_seed(seed);
        let scenario = Scenario::draw(&mut rng);
        let net = SimNet::new(rng.u64(..), scenario.faults.clone());
        if options.prints {
            eprintln!("{scenario:#?}");
            net.print_events();
        }
        let rings = (0..scenario.config.shards)
            .map(|_| net.ring(&scenario.ring))
            .collect();
        let mut cluster = Cluster::new(
            scenario.config.clone(),
            Arc::new(ByName),
            rings,
            1,
            rng.u64(..),
            0,
            UNIX_EPOCH_S,
        );
        cluster.set_batch_sends(scenario.batch_sends);
        cluster.sabotage(options.sabotage);
        let wakes: Vec<Arc<AtomicBool>> = (0..cluster.len()).map(|_| Arc::default()).collect();
        for (shard, wake) in wakes.iter().enumerate() {
            let wake = Arc::clone(wake);
            cluster.set_wake(shard, Box::new(move || wake.store(true, Ordering::Relaxed)));
        }
        let handle = cluster.handle();
        let drained = vec![false; cluster.len()];
        let named = scenario.clients.iter().enumerate();
        let clients = named
            .map(|(n, habits)| Client::new(format!("user{n}"), habits.clone(), rng.fork()))
            .collect();
        let strangers = (0..scenario.strangers)
            .map(|_| Stranger::new(rng.fork()))
            .collect();
        let service = Service::new(handle.clone(), rng.fork());
        let ledger = Ledger::default();
        Self {
            net,
            scenario,
            cluster,
            wakes,
            drained,
            handle,
            clients,
            strangers,
            service,
            ledger,
            rng,
            is_winding_down: false,
            is_draining: false,
        }
    }

    /// Everyone acts at random.
    fn live(&mut self) -> Result<(), Violation> {
        let (shards, clients) = (self.cluster.len(), self.clients.len());
        let actors = 2 * shards + clients + self.strangers.len() + 1;
        for step in 0..self.scenario.steps {
            match self.rng.usize(0..actors) {
                n if n < 2 * shards => {
                    // A shard that sleeps may wake without a reason, too.
                    let shard = n / 2;
                    if self.is_runnable(shard) || self.rng.u32(0..16) == 0 {
                        self.turn(shard);
                    }
                }
                n if n < 2 * shards + clients => self.step_client(n - 2 * shards)?,
                n if n < actors - 1 => self.strangers[n - 2 * shards - clients]
                    .step(&self.net, self.scenario.config.shards),
                _ => {
                    self.service
                        .step(&mut self.ledger, &self.scenario.rooms, &self.clients);
                    self.service.listen(&mut self.ledger)?;
                }
            }
            if step % STEPS_PER_LOOK == 0 {
                self.look()?;
            }
            let pause_us = if self.rng.u32(0..50) == 0 { 5_000 } else { 150 };
            self.net
                .advance(Duration::from_micros(self.rng.u64(0..pause_us)));
        }
        Ok(())
    }

    /// Nothing goes wrong any more and nobody begins anything, until everything that was begun is done. Then every
    /// room gets a last publication.
    fn calm_down(&mut self) -> Result<(), Violation> {
        self.net.set_faults(Faults::none());
        self.is_winding_down = true;
        for client in &mut self.clients {
            client.stop_stalling();
        }
        for stranger in &mut self.strangers {
            stranger.hang_up();
        }
        self.settle("what was begun is done")?;
        self.dismiss_the_queue()?;
        for room in self.scenario.rooms.clone() {
            let before = self.ledger.top(&room);
            while self.ledger.top(&room) == before {
                self.service.publish_last(&mut self.ledger, &room);
                self.settle("a last publication is answered")?;
            }
            self.service.ask_history(&room);
        }
        self.settle("everyone has everything")?;
        self.service.forget_presences();
        for room in self.scenario.rooms.clone() {
            self.service.ask_presence(&room);
            self.settle("who is present is known")?;
        }
        Ok(())
    }

    /// Only a shard that is nearly full may leave clients at the door for long.
    fn dismiss_the_queue(&mut self) -> Result<(), Violation> {
        let full = self
            .scenario
            .config
            .connections_per_shard_max
            .expect("every scenario has a limit");
        self.rounds_until("shards with room let everyone in", |world| {
            let mut doors = world.clients.iter().filter_map(Client::waits_at);
            doors.all(|shard| world.cluster.audit(usize::from(shard)).connections > full / 2)
        })?;
        for client in &mut self.clients {
            if client.waits_at().is_some() {
                client.hang_up(&mut self.ledger);
            }
        }
        self.settle("the queue has gone")
    }

    /// Everyone leaves or is sent away, and nothing is left behind.
    fn end(&mut self) -> Result<(), Violation> {
        if !self.scenario.drains {
            for client in &mut self.clients {
                client.hang_up(&mut self.ledger);
            }
            self.rounds_until("every connection has gone", |world| {
                (0..world.scenario.config.shards)
                    .all(|shard| world.net.slots_used(shard).is_empty())
            })?;
            self.settle("everything is quiet")?;
            self.check_empty()?;
            self.net.advance(FORGETTING);
            self.rounds_until("rooms that nobody uses are forgotten", |world| {
                (0..world.cluster.len()).all(|shard| world.cluster.audit(shard).homes.is_empty())
            })?;
        }
        self.is_draining = true;
        self.handle
            .begin_drain(Duration::from_millis(self.rng.u64(0..200)));
        self.rounds_until("every shard is drained", |world| {
            world.drained.iter().all(|&is_drained| is_drained)
        })?;
        self.rounds_until("everyone was sent away", |world| {
            world
                .clients
                .iter()
                .all(|client| client.connection.is_none())
        })?;
        // The completions of the last closes.
        (0..10).try_for_each(|_| self.round())?;
        self.check_empty()?;
        self.service.listen(&mut self.ledger)?;
        let unanswered = self.service.unanswered();
        if unanswered.is_empty() {
            Ok(())
        } else {
            Err(format!("a service never got an answer to {unanswered:?}"))
        }
    }

    fn report(&self) -> Report {
        let counters = self.handle.counters();
        Report {
            digest: self.net.digest(),
            views: self.ledger.views() as u64,
            recoveries: self.ledger.recoveries,
            recoveries_failed: self.ledger.recoveries_failed,
            gaps: self.ledger.gaps,
            answers: self.service.answered
                + self
                    .clients
                    .iter()
                    .map(|client| client.answered)
                    .sum::<u64>(),
            faults: Fault::ALL.map(|fault| self.net.fault_count(fault)),
            slow_disconnected: counters.iter().map(|shard| shard.slow_disconnected).sum(),
            inbox_full: counters.iter().map(|shard| shard.inbox_full).sum(),
        }
    }

    // -- moving on

    pub(crate) fn is_runnable(&self, shard: usize) -> bool {
        if self.wakes[shard].swap(false, Ordering::Relaxed) {
            self.net.wake(shard_id(shard));
        }
        self.net.is_runnable(shard_id(shard))
    }

    fn turn(&mut self, shard: usize) {
        let now = self.net.now();
        let now_ms = u64::try_from(now.as_millis()).expect("runs are short");
        let turned = self
            .cluster
            .turn(shard, now_ms, UNIX_EPOCH_S + now.as_secs());
        self.drained[shard] = turned.expect("a simulated ring does not fail");
    }

    /// Rounds until nobody has anything to do.
    fn settle(&mut self, goal: &str) -> Result<(), Violation> {
        let mut quiet_rounds = 0;
        for _ in 0..ROUNDS_MAX {
            self.round()?;
            quiet_rounds = if self.is_quiet() { quiet_rounds + 1 } else { 0 };
            if quiet_rounds == QUIET_ROUNDS {
                return Ok(());
            }
        }
        Err(format!(
            "after {ROUNDS_MAX} ms of calm it is not true that {goal}: {}",
            self.unrest()
        ))
    }

    fn rounds_until(
        &mut self,
        goal: &str,
        is_reached: impl Fn(&Self) -> bool,
    ) -> Result<(), Violation> {
        for _ in 0..ROUNDS_MAX {
            if is_reached(self) {
                return Ok(());
            }
            self.round()?;
        }
        Err(format!(
            "after {ROUNDS_MAX} ms it is not true that {goal}: {}",
            self.unrest()
        ))
    }

    /// One millisecond in which everyone has some turns.
    fn round(&mut self) -> Result<(), Violation> {
        self.look()?;
        for _ in 0..PASSES_PER_ROUND {
            let mut has_turned = false;
            for shard in 0..self.cluster.len() {
                if self.is_runnable(shard) {
                    self.turn(shard);
                    has_turned = true;
                }
            }
            (0..self.clients.len()).try_for_each(|client| self.step_client(client))?;
            if !has_turned {
                break;
            }
        }
        self.service.listen(&mut self.ledger)?;
        self.net.advance(Duration::from_millis(1));
        Ok(())
    }

    fn step_client(&mut self, client: usize) -> Result<(), Violation> {
        let mut scene = Scene {
            net: &self.net,
            ledger: &mut self.ledger,
            shards: self.scenario.config.shards,
            rooms: &self.scenario.rooms,
            is_winding_down: self.is_winding_down,
            is_draining: self.is_draining,
            padding_max: self.scenario.padding_max,
            kicked: &self.service.kicked,
        };
        self.clients[client].step(&mut scene)
    }

    fn is_quiet(&mut self) -> bool {
        let is_still = (0..self.cluster.len())
            .all(|shard| self.net.is_still(shard_id(shard)) && !self.is_runnable(shard));
        let has_answers = self.service.unanswered().is_empty()
            && self
                .clients
                .iter()
                .all(|client| client.unanswered().is_empty());
        let is_sent = self.clients.iter().all(Client::is_idle);
        has_answers && is_sent && is_still
    }

    fn unrest(&self) -> String {
        let clients: Vec<_> = self.clients.iter().flat_map(Client::unanswered).collect();
        let slots: Vec<_> = (0..self.scenario.config.shards)
            .map(|shard| self.net.slots_used(shard))
            .collect();
        format!(
            "unanswered: {clients:?} and {:?}, open: {slots:?}",
            self.service.unanswered()
        )
    }
}

/// Unix time when a run begins, in seconds.
const UNIX_EPOCH_S: u64 = 1_700_000_000;

fn shard_id(shard: usize) -> u16 {
    u16::try_from(shard).expect("there are few shards")
}

/// The engine remembers the numbering of a room that nobody uses for an hour.
const FORGETTING: Duration = Duration::from_secs(3_700);

/// Milliseconds in which a calm world must reach whatever it is waited for.
const ROUNDS_MAX: u32 = 3_000;

/// Rounds without anything to do after which nothing will follow: longer than any completion is late.
const QUIET_ROUNDS: u32 = 8;

/// Steps between two looks at what must hold at any moment.
const STEPS_PER_LOOK: usize = 8;

/// Turns of everyone in a round, if there is something to do.
const PASSES_PER_ROUND: u32 = 8;
