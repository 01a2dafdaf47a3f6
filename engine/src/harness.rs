//! For tests (feature `sim`): shards driven by hand over any ring, and a look inside them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::authority::Authority;
use crate::config::EngineConfig;
use crate::core::Now;
use crate::counters::Gauges;
use crate::handle::Handle;
use crate::ids::ShardId;
use crate::ring::Ring;
use crate::shard::Shard;
use crate::shared::Shared;

pub use crate::sabotage::Sabotage;

/// Shards without threads: each turns when it is told to, and time is what it is told.
#[derive(Debug)]
pub struct Cluster<R: Ring> {
    shards: Vec<Shard<R>>,
    handle: Handle,
}

/// What a shard holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Audit {
    /// Connections, also those that the ring has not let go of.
    pub connections: u32,
    /// Memberships of connections, pending ones included.
    pub memberships: usize,
    /// Rooms with members or pending joins.
    pub rooms_local: usize,
    /// Rooms at home here, with how many members each counts.
    pub homes: Vec<(Box<str>, u32)>,
    /// Users that have connections, counted here.
    pub users: usize,
    /// Lanes that hold more than their cap allows.
    pub lanes_over_cap: usize,
    /// Bytes that the lanes' logs hold.
    pub lane_bytes: usize,
    /// The most that one connection's unsent direct output takes.
    pub unsent_bytes_max: usize,
    /// Bytes of all unsent direct output, added up.
    pub unsent_bytes: usize,
    /// The same as the shard keeps count of it.
    pub unsent_bytes_counted: usize,
    /// Messages that wait for room in another inbox.
    pub outbox: usize,
    /// Messages in this shard's inbox.
    pub inbox: usize,
    /// Completions put off because of a jam.
    pub deferred: usize,
    /// Receives that wait for a buffer.
    pub starved: usize,
    /// Payload bytes that histories keep.
    pub history_bytes: u64,
}

impl<R: Ring> Cluster<R> {
    /// One shard per ring, with `listeners` listeners each. `seed` places the rooms.
    #[must_use]
    pub fn new(
        config: EngineConfig,
        authority: Arc<dyn Authority>,
        rings: Vec<R>,
        listeners: usize,
        seed: u64,
        now_ms: u64,
        unix: u64,
    ) -> Self {
        let shards = u16::try_from(rings.len()).unwrap_or(u16::MAX);
        let shared = Shared::new(EngineConfig { shards, ..config }, authority, seed);
        let gauges: Arc<[Arc<Gauges>]> = rings.iter().map(|_| Arc::default()).collect();
        let now = Now { ms: now_ms, unix };
        let shards = (0..).zip(rings).map(|(id, ring)| {
            Shard::new(
                ShardId(id),
                shared.clone(),
                ring,
                listeners,
                Arc::clone(&gauges[usize::from(id)]),
                now,
            )
        });
        let shards = shards.collect();
        Self {
            shards,
            handle: Handle {
                shared,
                gauges,
                started: Instant::now(),
            },
        }
    }

    /// One turn of one shard, which waits in the ring for as long as it likes (a simulated ring only takes note
    /// of it). Returns whether it has been drained.
    ///
    /// # Errors
    /// What the ring says.
    pub fn turn(&mut self, shard: usize, now_ms: u64, unix: u64) -> std::io::Result<bool> {
        self.shards[shard].turn(Now { ms: now_ms, unix }, Duration::MAX)
    }

    /// Lets a batch hold so many sends, so that few connections fill many.
    pub fn set_batch_sends(&mut self, batch_sends: usize) {
        for shard in &mut self.shards {
            shard.core.output.batch_sends = batch_sends;
        }
    }

    /// How the handle wakes this shard. To be set once.
    pub fn set_wake(&self, shard: usize, wake: Box<dyn Fn() + Send + Sync>) {
        self.shards[shard].core.mesh.inbox().set_wake(wake);
    }

    /// A way to ask things of the shards.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// How many shards there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shards.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.shards.is_empty()
    }

    /// The ring of a shard.
    pub fn ring(&self, shard: usize) -> &R {
        self.shards[shard].ring()
    }

    /// Breaks an invariant on all shards from now on.
    pub fn sabotage(&mut self, sabotage: Option<Sabotage>) {
        for shard in &mut self.shards {
            shard.core.set_sabotage(sabotage);
        }
    }

    /// What a shard holds now.
    #[must_use]
    pub fn audit(&self, shard: usize) -> Audit {
        let core = &self.shards[shard].core;
        let conns = || core.conns.slots().filter_map(|slot| core.conns.get(slot));
        let rooms = || core.rooms.slab.iter();
        let inbox = core.mesh.inbox();
        Audit {
            connections: core.conns.open_count(),
            memberships: conns().map(|conn| conn.rooms.len()).sum(),
            rooms_local: core.rooms.slab.len() - 1,
            homes: core
                .homes
                .slab
                .iter()
                .map(|home| ((&*home.name).into(), home.members()))
                .collect(),
            users: core.users.len(),
            lanes_over_cap: rooms()
                .flat_map(|room| room.lanes())
                .filter(|lane| lane.is_over_cap())
                .count(),
            lane_bytes: rooms()
                .flat_map(|room| room.lanes())
                .map(|lane| lane.log_bytes())
                .sum(),
            unsent_bytes_max: conns()
                .filter_map(|conn| conn.unsent.as_ref())
                .map(|unsent| unsent.len())
                .max()
                .unwrap_or(0),
            unsent_bytes: conns()
                .filter_map(|conn| conn.unsent.as_ref())
                .map(|unsent| unsent.len())
                .sum(),
            unsent_bytes_counted: core.output.unsent_bytes,
            outbox: core.mesh.waiting(),
            inbox: inbox.requests.len() + inbox.deliveries.len(),
            deferred: self.shards[shard].deferred_count(),
            starved: core.starved.len(),
            history_bytes: core
                .homes
                .slab
                .iter()
                .map(|home| home.history_bytes())
                .sum(),
        }
    }
}
