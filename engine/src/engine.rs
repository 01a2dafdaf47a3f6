//! Starting an engine: listeners, shards, threads.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Barrier};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::authority::Authority;
use crate::backend::Backend;
use crate::config::EngineConfig;
use crate::core::{Now, millis};
use crate::counters::Gauges;
use crate::handle::Handle;
use crate::ids::ShardId;
use crate::ring::{
    self, KernelRing, ListenError, Peer, RingConfig, RingSetupError, listen_per_shard, local_addr,
    raise_nofile,
};
use crate::shard::Shard;
use crate::shared::Shared;

/// Operations that fit in one submission; a batch of sends is as large. While the kernel is at one, nobody else runs on that
/// processor (unless it preempts itself, `preempt=full`): 128 sends take a third of a millisecond, and cost per send no more
/// than 512 do. With 64 it is a tenth more.
const SUBMISSION_ENTRIES: u32 = 128;

/// Completions that fit before the kernel has to keep an overflow: eight batches in which every send fell short.
const COMPLETION_ENTRIES: u32 = 4096;

/// How often a drained shard looks whether the others are drained too.
const DRAIN_POLL: Duration = Duration::from_millis(10);

/// A running engine.
#[derive(Debug)]
pub struct Engine {
    handle: Handle,
    client_addrs: Vec<SocketAddr>,
    threads: Vec<JoinHandle<()>>,
}

/// Why an engine could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration cannot be.
    #[error("{0}")]
    Config(&'static str),
    /// The kernel does not give us a ring.
    #[error(transparent)]
    Ring(#[from] RingSetupError),
    /// An address cannot be listened on.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The operating system refused something else.
    #[error("cannot start: {what}: {source}")]
    Os {
        /// What was tried.
        what: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
}

impl Engine {
    /// Starts all shards and listens.
    ///
    /// # Errors
    /// What failed, why, and what to do about it. Nothing is left running.
    pub fn start(config: EngineConfig, authority: Arc<dyn Authority>) -> Result<Self, StartError> {
        Self::start_with(config, authority, None)
    }

    /// The same, and asks a backend about what only it knows.
    ///
    /// # Errors
    /// See [`start`](Self::start).
    pub fn start_with(
        config: EngineConfig,
        authority: Arc<dyn Authority>,
        backend: Option<Arc<dyn Backend>>,
    ) -> Result<Self, StartError> {
        check(&config)?;
        ring::probe()?;
        // Only memory depends on it.
        if let Err(error) = ring::disable_huge_pages() {
            tracing::warn!(%error, "cannot do without transparent huge pages");
        }
        raise_nofile().map_err(|source| StartError::Os {
            what: "raising the limit of open files",
            source,
        })?;
        let (mut listeners, client_addrs) = listen(&config)?;
        let seed = getrandom::u64()
            .map_err(|_| StartError::Config("the system has no source of randomness"))?;
        let shards = config.shards;
        let mut shared = Shared::new(config, authority, seed);
        shared.backend = backend;
        let gauges: Arc<[Arc<Gauges>]> = (0..shards).map(|_| Arc::default()).collect();
        let started = Instant::now();
        let cpus = if shared.config.pin_threads {
            ring::allowed_cpus()
        } else {
            Vec::new()
        };

        let undrained = Arc::new(AtomicUsize::new(usize::from(shards)));
        let running = Arc::new(AtomicUsize::new(usize::from(shards)));
        let (ready, readiness) = channel();
        let mut threads = Vec::with_capacity(usize::from(shards));
        let mut peers_to = Vec::with_capacity(usize::from(shards));
        for id in 0..shards {
            let (peers_sender, peers) = channel();
            peers_to.push(peers_sender);
            let start = ShardStart {
                id: ShardId(id),
                shared: shared.clone(),
                gauges: Arc::clone(&gauges[usize::from(id)]),
                listeners: std::mem::take(&mut listeners[usize::from(id)]),
                started,
                cpu: cpus.get(usize::from(id) % cpus.len().max(1)).copied(),
                undrained: Arc::clone(&undrained),
                running: Arc::clone(&running),
                ready: ready.clone(),
                peers,
            };
            let thread = std::thread::Builder::new()
                .name(format!("shard-{id}"))
                .spawn(move || start.run());
            threads.push(thread.map_err(|source| StartError::Os {
                what: "starting a thread",
                source,
            })?);
        }
        drop(ready);
        let mut peers: Vec<Option<Peer>> = vec![None; usize::from(shards)];
        for (shard, ring) in readiness.iter().take(usize::from(shards)) {
            // The other shards end when their peers do not come.
            peers[usize::from(shard)] = Some(ring?);
        }
        let peers: Vec<Peer> = peers.into_iter().flatten().collect();
        let all_set = Arc::new(Barrier::new(usize::from(shards) + 1));
        for sender in peers_to {
            // A shard that has gone has said why above.
            let _ = sender.send((peers.clone(), Arc::clone(&all_set)));
        }
        all_set.wait();
        Ok(Self {
            handle: Handle {
                shared,
                gauges,
                started,
            },
            client_addrs,
            threads,
        })
    }

    /// A way to ask things of it.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Where it listens, with the ports it got.
    #[must_use]
    pub fn client_addrs(&self) -> &[SocketAddr] {
        &self.client_addrs
    }

    /// After [`Handle::begin_drain`]: waits until all shards have stopped, at most so long.
    ///
    /// # Errors
    /// How many connections are still open; they end with the process.
    pub fn wait(self, at_most: Duration) -> Result<(), u64> {
        let deadline = Instant::now() + at_most;
        for thread in self.threads {
            while !thread.is_finished() {
                if Instant::now() >= deadline {
                    return Err(self
                        .handle
                        .counters()
                        .iter()
                        .map(|shard| shard.connections)
                        .sum());
                }
                std::thread::sleep(Duration::from_millis(5));
            }
            let _ = thread.join();
        }
        Ok(())
    }
}

fn check(config: &EngineConfig) -> Result<(), StartError> {
    if config.shards == 0 {
        return Err(StartError::Config(
            "at least one shard is needed: set engine.shards to 1 or more",
        ));
    }
    if config.client_addrs.is_empty() {
        return Err(StartError::Config(
            "nowhere to listen: name at least one client address",
        ));
    }
    if config.inbox_entries == 0 {
        return Err(StartError::Config("an inbox needs at least one entry"));
    }
    let limits = &config.limits;
    if limits.pong_timeout >= limits.ping_interval {
        return Err(StartError::Config(
            "limits.pong_timeout must be shorter than limits.ping_interval",
        ));
    }
    let rooms = config.namespaces.named.iter().map(|(_, options)| options);
    for options in rooms.chain([&config.namespaces.default]) {
        // A frame carries the message and its envelope; a lane that cannot hold two has no tail to skip to.
        if options.lane_bytes_max / 2 < limits.message_bytes_max {
            return Err(StartError::Config(
                "lane_bytes_max must be at least twice limits.message_bytes_max",
            ));
        }
    }
    Ok(())
}

type ListenersPerShard = Vec<Vec<OwnedFd>>;

fn listen(config: &EngineConfig) -> Result<(ListenersPerShard, Vec<SocketAddr>), StartError> {
    let mut per_shard: ListenersPerShard = (0..config.shards).map(|_| Vec::new()).collect();
    let mut addrs = Vec::new();
    for &addr in &config.client_addrs {
        let listeners = listen_per_shard(addr, config.shards, config.limits.unsent_bytes_max)?;
        let bound = listeners.first().map_or(Ok(addr), local_addr);
        addrs.push(bound.map_err(|source| StartError::Os {
            what: "reading a listener's address",
            source,
        })?);
        for (shard, listener) in per_shard.iter_mut().zip(listeners) {
            shard.push(listener.into());
        }
    }
    Ok((per_shard, addrs))
}

/// What a shard's thread begins with.
struct ShardStart {
    id: ShardId,
    shared: Shared,
    gauges: Arc<Gauges>,
    listeners: Vec<OwnedFd>,
    started: Instant,
    cpu: Option<usize>,
    undrained: Arc<AtomicUsize>,
    running: Arc<AtomicUsize>,
    ready: Sender<(u16, Result<Peer, RingSetupError>)>,
    peers: Receiver<(Vec<Peer>, Arc<Barrier>)>,
}

impl ShardStart {
    fn run(self) {
        if let Some(cpu) = self.cpu {
            // Only its speed depends on it, and the processor may have been taken away since it was listed.
            if let Err(error) = ring::pin_to_cpu(cpu) {
                tracing::warn!(shard = self.id.0, cpu, %error, "cannot keep the shard on its processor");
            }
        }
        let config = &self.shared.config;
        let slots = config
            .connections_per_shard_max
            .map_or(u32::MAX, |max| max.saturating_add(1024));
        let sizes = RingConfig {
            slots,
            submission_entries: SUBMISSION_ENTRIES,
            completion_entries: COMPLETION_ENTRIES,
            buffers: config.receive_buffers,
            buffer_bytes: config.receive_buffer_bytes,
        };
        let listeners = self.listeners.len();
        let mut ring = match KernelRing::new(sizes, self.listeners) {
            Ok(ring) => ring,
            Err(error) => {
                let _ = self.ready.send((self.id.0, Err(error)));
                return;
            }
        };
        let waker = ring.waker();
        self.shared.inboxes[self.id.ix()].set_wake(Box::new(move || waker.wake()));
        let _ = self.ready.send((self.id.0, Ok(ring.peer())));
        drop(self.ready);
        // No peers: another shard could not be started.
        let Ok((peers, all_set)) = self.peers.recv() else {
            return;
        };
        ring.set_peers(peers);
        let mut shard = Shard::new(
            self.id,
            self.shared.clone(),
            ring,
            listeners,
            self.gauges,
            now(self.started),
        );
        all_set.wait();

        let mut is_counted = false;
        loop {
            let wait = if is_counted {
                DRAIN_POLL
            } else {
                Duration::MAX
            };
            let is_drained = match shard.turn(now(self.started), wait) {
                Ok(is_drained) => is_drained,
                Err(error) => {
                    // Without its ring a shard can neither serve nor close anything.
                    tracing::error!(shard = self.id.0, %error, "the ring has become unusable, the process ends");
                    std::process::abort();
                }
            };
            if is_drained && !is_counted {
                is_counted = true;
                self.undrained.fetch_sub(1, Ordering::AcqRel);
            }
            if is_counted && self.undrained.load(Ordering::Acquire) == 0 {
                break;
            }
        }
        self.shared.inboxes[self.id.ix()].close();
        shard.refuse_the_rest();
        if self.running.fetch_sub(1, Ordering::AcqRel) == 1 {
            // What shards said to each other last, after one of them had looked for the last time.
            for inbox in &*self.shared.inboxes {
                inbox.refuse_the_rest();
            }
        }
    }
}

fn now(started: Instant) -> Now {
    let unix = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    Now {
        ms: millis(started.elapsed()),
        unix,
    }
}
