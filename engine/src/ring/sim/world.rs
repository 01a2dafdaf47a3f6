//! Everything of one run in one place: time, chance, sockets, and the kernel side of each ring.

use std::collections::BTreeSet;
use std::time::Duration;

use fastrand::Rng;

use super::faults::{Fault, FaultCounts, Faults};
use super::flight::Operation;
use super::kernel::Kernel;
use super::socket::{Socket, SocketId};
use super::trace::{Event, Trace};

/// A simulated world.
#[derive(Debug)]
pub(super) struct World {
    pub(super) chance: Chance,
    pub(super) sockets: Vec<Socket>,
    pub(super) kernels: Vec<Kernel>,
}

impl World {
    pub(super) fn new(seed: u64, faults: Faults) -> Self {
        Self {
            chance: Chance::new(seed, faults),
            sockets: Vec::new(),
            kernels: Vec::new(),
        }
    }

    /// Hands what the shard has queued to its kernel, in order.
    pub(super) fn submit(&mut self, shard: u16) {
        let queued = std::mem::take(&mut self.kernels[usize::from(shard)].queued);
        for operation in queued {
            if let Operation::Wake { shard: target } = operation {
                self.wake(target);
                continue;
            }
            self.kernels[usize::from(shard)].execute(
                operation,
                &mut self.chance,
                &mut self.sockets,
            );
        }
    }

    pub(super) fn wake(&mut self, shard: u16) {
        self.chance.note(Event::Woken { shard });
        self.kernels[usize::from(shard)].is_woken = true;
    }

    /// Lets the operations in flight on the shard's ring get as far as they can right now.
    pub(super) fn progress(&mut self, shard: u16) {
        self.kernels[usize::from(shard)].progress(&mut self.chance, &mut self.sockets);
    }

    pub(super) fn is_runnable(&mut self, shard: u16) -> bool {
        self.progress(shard);
        self.kernels[usize::from(shard)].is_runnable(self.chance.now)
    }

    /// When something will happen that nobody has to cause.
    pub(super) fn next_event(&self) -> Option<Duration> {
        let resets = self.chance.resets_due.first().map(|&(due, _)| due);
        self.kernels
            .iter()
            .filter_map(Kernel::next_event)
            .chain(resets)
            .min()
    }

    pub(super) fn advance_to(&mut self, now: Duration) {
        while let Some(&(due, socket)) = self.chance.resets_due.first() {
            if due > now {
                break;
            }
            self.chance.resets_due.pop_first();
            self.chance.now = self.chance.now.max(due);
            self.chance.note(Event::ResetArrived { socket });
            self.sockets[socket as usize].reset_server();
        }
        self.chance.now = self.chance.now.max(now);
    }
}

/// Time and chance of a run, and the record of both.
#[derive(Debug)]
pub(super) struct Chance {
    pub(super) now: Duration,
    pub(super) rng: Rng,
    pub(super) faults: Faults,
    pub(super) counts: FaultCounts,
    pub(super) trace: Trace,
    /// Resets on their way to a server's socket, soonest first.
    pub(super) resets_due: BTreeSet<(Duration, SocketId)>,
}

impl Chance {
    fn new(seed: u64, faults: Faults) -> Self {
        Self {
            now: Duration::ZERO,
            rng: Rng::with_seed(seed),
            faults,
            counts: FaultCounts::default(),
            trace: Trace::default(),
            resets_due: BTreeSet::new(),
        }
    }

    /// Whether the fault happens now; if so it is counted.
    pub(super) fn strikes(&mut self, fault: Fault) -> bool {
        let chance = self.faults.chance(fault);
        let strikes = chance > 0.0 && self.rng.f32() < chance;
        if strikes {
            self.counts.add(fault);
        }
        strikes
    }

    /// How late the next completion becomes visible.
    pub(super) fn delay(&mut self) -> Duration {
        if self.strikes(Fault::Delay) {
            return Duration::from_micros(self.rng.u64(1..5_000));
        }
        Duration::ZERO
    }

    pub(super) fn note(&mut self, event: Event) {
        self.trace.add(self.now, event);
    }
}
