//! Starting the threads, and speaking to them.

use std::io;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use fanfare_engine::ring::{
    self, KernelRing, ListenError, Peer, RingConfig, RingSetupError, UdpOptions, Waker, bind_udp,
    listen_per_shard, local_addr, prefer_latency, raise_nofile, steer_by_source,
};

use super::command::Command;
use super::counters::{Counters, RelaySnapshot};
use super::directory::{Answers, Directory, Observer, Waiting};
use super::handover::{Desks, Handover};
use super::outbox::Outbox;
use super::sockets::{KeptSockets, RelaySockets};
use super::streams::{Acceptor, StreamLimits, Streams};
use super::thread::{Listener, RelayThread};
use crate::nonce::Nonces;
use crate::ports::Ports;
use crate::relay::{
    Access, AllocationInfo, Config, Drain, QuotaLimits, RELAYS_MAX, Relay, RelayAddress,
    SOCKETS_MAX, Shared, Transport,
};

/// Operations that fit in one submission; a batch of sends is as large.
const SUBMISSION_ENTRIES: u32 = 512;

/// Completions that fit before the kernel has to keep an overflow.
const COMPLETION_ENTRIES: u32 = 4_096;

/// Receive buffers of a thread. What they do not hold waits at the sockets.
const BUFFERS: u16 = 256;

/// Bytes of one: the longest train, behind what is said about it. Not a power of two, so that the beginnings of buffers, which
/// is all that most packets need, do not all share the same few places in the processor's caches.
const BUFFER_BYTES: u32 = (1 << 16) + 1_088;

/// Bytes that may wait at a socket that clients' datagrams come to, and as many to be sent.
const LISTENER_BYTES: u32 = 8 << 20;

/// Bytes that may wait at a connection before it is said to be full.
const UNSENT_BYTES_MAX: u32 = 128 << 10;

/// How long a thread may take to answer.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// What the threads are started with.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// How many; each has a ring, a listener of every address, and a slice of the ports.
    pub threads: u16,
    /// Where clients' datagrams come to. Not all addresses at once (`0.0.0.0`): an answer has to come from where the request
    /// was sent to.
    pub udp: Vec<SocketAddr>,
    /// Where clients connect to.
    pub tcp: Vec<SocketAddr>,
    /// Where clients connect to with TLS; with what, `tls_config` says.
    pub tls: Vec<SocketAddr>,
    /// Certificate and key.
    pub tls_config: Option<Arc<rustls::ServerConfig>>,
    /// The addresses of IPv4 and IPv6 that are given away ports of.
    pub relay: [Option<RelayAddress>; 2],
    /// The ports that are given away.
    pub ports: RangeInclusive<u16>,
    /// Bounds on allocations.
    pub config: Config,
    /// Bounds on how many there are.
    pub quota: QuotaLimits,
    /// Bounds on connections.
    pub streams: StreamLimits,
    /// Who may use the relay, and whom they may reach.
    pub access: Access,
    /// Who is asked about users that are not known here.
    pub directory: Option<Arc<dyn Directory>>,
    /// Who is told when allocations begin and end.
    pub observer: Option<Arc<dyn Observer>>,
    /// Direct descriptors of a thread: a socket for every relayed address, and connections.
    pub sockets_per_thread_max: u32,
}

/// Why the relay could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration cannot be.
    #[error("{0}")]
    Config(String),
    /// The kernel does not give us a ring.
    #[error(transparent)]
    Ring(#[from] RingSetupError),
    /// An address cannot be listened on.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The operating system refused something else.
    #[error("cannot start the relay: {what}: {source}")]
    Os {
        /// What was tried.
        what: String,
        /// What the system said.
        source: io::Error,
    },
}

/// A running relay. Dropping it leaves it running.
#[derive(Debug)]
pub struct Server {
    handle: ServerHandle,
    udp: Vec<SocketAddr>,
    tcp: Vec<SocketAddr>,
    tls: Vec<SocketAddr>,
    threads: Vec<JoinHandle<io::Result<()>>>,
}

/// A way to ask things of a running relay.
#[derive(Debug, Clone)]
pub struct ServerHandle {
    threads: Arc<[Thread]>,
    relays: Arc<Shared>,
}

#[derive(Debug)]
struct Thread {
    commands: Sender<Command>,
    waker: Waker,
    counters: Arc<Counters>,
}

impl Server {
    /// Listens, and starts the threads.
    ///
    /// # Errors
    /// What failed, why, and what to do about it. Nothing is left running.
    pub fn start(config: ServerConfig) -> Result<Self, StartError> {
        let mut config = config;
        check(&config)?;
        ring::probe()?;
        raise_nofile().map_err(os("raising the limit of open files"))?;
        let mut nonce_key = [0; 32];
        getrandom::fill(&mut nonce_key)
            .map_err(|error| StartError::Config(format!("no source of randomness: {error}")))?;

        let count = config.threads;
        let mut sockets: Vec<ThreadSockets> =
            (0..count).map(|_| ThreadSockets::default()).collect();
        for addr in &mut config.udp {
            // Another process that shares the address would get the datagrams of some clients.
            drop(listen_udp(*addr, false)?);
            for of_thread in &mut sockets {
                let socket;
                (socket, *addr) = listen_udp(*addr, true)?;
                of_thread.udp.push((socket, *addr));
            }
        }
        let streams = [
            (Transport::Tcp, &mut config.tcp),
            (Transport::Tls, &mut config.tls),
        ];
        for (transport, addrs) in streams {
            for addr in addrs {
                let listeners = listen_per_shard(*addr, count, UNSENT_BYTES_MAX)?;
                // A client's connections belong together: one may ask for what another has made (RFC 6062).
                if let Some(first) = listeners.first().filter(|_| count > 1) {
                    steer_by_source(first, count).map_err(os("steering connections"))?;
                }
                for (of_thread, listener) in sockets.iter_mut().zip(listeners) {
                    *addr = local_addr(&listener).map_err(os("reading a listener's address"))?;
                    of_thread.streams.push(Acceptor {
                        listener: listener.into(),
                        local: *addr,
                        transport,
                    });
                }
            }
        }
        let relays = Arc::new(Shared::new(config.quota, &config.ports));
        let (desks, kept) = (Desks::new(count), KeptSockets::default());
        let shared = Arc::new(config);
        let started = Instant::now();
        let mut server = Self {
            handle: ServerHandle {
                threads: Arc::new([]),
                relays: Arc::clone(&relays),
            },
            udp: shared.udp.clone(),
            tcp: shared.tcp.clone(),
            tls: shared.tls.clone(),
            threads: Vec::new(),
        };
        let mut handles = Vec::new();
        let mut rings = Vec::new();
        let mut starting = Vec::new();
        for (index, sockets) in (0..count).zip(sockets) {
            let (commands, inbox) = channel();
            let (ready, readiness) = channel();
            let (all_rings, peers) = channel();
            let counters = Arc::new(Counters::default());
            let start = ThreadStart {
                index,
                config: Arc::clone(&shared),
                relays: Arc::clone(&relays),
                handover: Handover::new(index, desks.clone()),
                kept: kept.clone(),
                nonces: Nonces::new(nonce_key),
                counters: Arc::clone(&counters),
                sockets,
                inbox,
                commands: commands.clone(),
                started,
            };
            let thread = std::thread::Builder::new()
                .name(format!("relay-{index}"))
                .spawn(move || start.run(&ready, &peers))
                .map_err(os("starting a thread"))?;
            server.threads.push(thread);
            // A thread that ends without a word has panicked, and said so. Those before it end when they hear that there is
            // nobody to tell them of the others.
            let ring = readiness
                .recv()
                .unwrap_or_else(|_| Err(StartError::Config("a relay thread ended".to_owned())))?;
            handles.push(Thread {
                commands,
                waker: ring.waker().clone(),
                counters,
            });
            rings.push(ring);
            starting.push(all_rings);
        }
        server.handle.threads = handles.into();
        for thread in starting {
            // It waits for this, whatever happens.
            let _ = thread.send(rings.clone());
        }
        Ok(server)
    }

    /// A way to ask things of it.
    #[must_use]
    pub fn handle(&self) -> ServerHandle {
        self.handle.clone()
    }

    /// Where it takes datagrams, with the ports that it got.
    #[must_use]
    pub fn udp(&self) -> &[SocketAddr] {
        &self.udp
    }

    /// Where it takes connections.
    #[must_use]
    pub fn tcp(&self) -> &[SocketAddr] {
        &self.tcp
    }

    /// Where it takes connections with TLS.
    #[must_use]
    pub fn tls(&self) -> &[SocketAddr] {
        &self.tls
    }

    /// Ends all allocations and the threads.
    pub fn stop(self) {
        self.handle.tell(|| Command::Stop);
        for thread in self.threads {
            // One that panicked has said so.
            let _ = thread.join();
        }
    }
}

impl ServerHandle {
    /// What each thread has counted.
    #[must_use]
    pub fn counters(&self) -> Vec<RelaySnapshot> {
        self.threads
            .iter()
            .map(|it| it.counters.snapshot())
            .collect()
    }

    /// Allocations that there are, the ones being made included.
    #[must_use]
    pub fn allocation_count(&self) -> u32 {
        self.relays.allocation_count()
    }

    /// All allocations; of a thread that does not answer within seconds, none.
    #[must_use]
    pub fn allocations(&self) -> Vec<AllocationInfo> {
        let (sender, answers) = channel();
        self.tell(|| Command::List(sender.clone()));
        drop(sender);
        let deadline = Instant::now() + ANSWER_MAX;
        let next = || {
            answers
                .recv_timeout(deadline.saturating_duration_since(Instant::now()))
                .ok()
        };
        std::iter::from_fn(next).flatten().collect()
    }

    /// Ends the allocation with this relayed address; whether there was one.
    #[must_use]
    pub fn end(&self, relayed: SocketAddr) -> bool {
        let (sender, answers) = channel();
        self.tell(|| Command::End(relayed, sender.clone()));
        drop(sender);
        let deadline = Instant::now() + ANSWER_MAX;
        let next = || {
            answers
                .recv_timeout(deadline.saturating_duration_since(Instant::now()))
                .ok()
        };
        std::iter::from_fn(next).any(|was_there| was_there)
    }

    /// Exchanges who may use the relay and whom they may reach.
    pub fn set_access(&self, access: &Access) {
        self.tell(|| Command::SetAccess(access.clone()));
    }

    /// Exchanges the certificate, for connections to come.
    pub fn set_tls(&self, tls: Option<&Arc<rustls::ServerConfig>>) {
        self.tell(|| Command::SetTls(tls.cloned()));
    }

    /// Turns newcomers away from now on, or no longer.
    pub fn set_drain(&self, drain: Option<Drain>) {
        self.tell(|| Command::SetDrain(drain));
    }

    fn tell(&self, command: impl Fn() -> Command) {
        for thread in &*self.threads {
            // A thread that has gone needs not be told.
            if thread.commands.send(command()).is_ok() {
                thread.waker.wake();
            }
        }
    }
}

/// What a thread takes over.
#[derive(Debug, Default)]
struct ThreadSockets {
    udp: Vec<(OwnedFd, SocketAddr)>,
    streams: Vec<Acceptor>,
}

struct ThreadStart {
    index: u16,
    config: Arc<ServerConfig>,
    relays: Arc<Shared>,
    handover: Handover,
    kept: KeptSockets,
    nonces: Nonces,
    counters: Arc<Counters>,
    sockets: ThreadSockets,
    inbox: Receiver<Command>,
    commands: Sender<Command>,
    started: Instant,
}

impl ThreadStart {
    fn run(
        self,
        ready: &Sender<Result<Peer, StartError>>,
        all_rings: &Receiver<Vec<Peer>>,
    ) -> io::Result<()> {
        match self.make() {
            Ok(mut thread) => {
                // The one who starts us waits for it.
                let _ = ready.send(Ok(thread.ring.peer()));
                match all_rings.recv() {
                    Ok(rings) => {
                        // A packet of a call is late after milliseconds; whoever shares the processor has more time.
                        if let Err(error) = prefer_latency() {
                            tracing::debug!(%error, "no short slices");
                        }
                        thread.ring.set_peers(rings);
                        thread.run()
                    }
                    // Another one could not be started.
                    Err(_) => Ok(()),
                }
            }
            Err(error) => {
                let _ = ready.send(Err(error));
                Ok(())
            }
        }
    }

    fn make(self) -> Result<RelayThread, StartError> {
        let config = &*self.config;
        let mut ring = KernelRing::new(
            RingConfig {
                slots: config.sockets_per_thread_max.min(SOCKETS_MAX),
                submission_entries: SUBMISSION_ENTRIES,
                completion_entries: COMPLETION_ENTRIES,
                buffers: BUFFERS,
                buffer_bytes: BUFFER_BYTES,
            },
            Vec::new(),
        )?;
        let thread_waker = ring.waker();
        let ports = slice(&config.ports, self.index, config.threads);
        let families = config
            .relay
            .map(|address| address.map(|address| (address, Ports::new(ports.clone()))));
        let seed = getrandom::u64()
            .map_err(|error| StartError::Config(format!("no source of randomness: {error}")))?;
        let mut listeners = Vec::new();
        for (socket, local) in self.sockets.udp {
            let slot = ring.install(socket).map_err(os("registering a socket"))?;
            listeners.push(Listener {
                slot,
                local,
                is_silent: true,
            });
        }
        let mut acceptors = Vec::new();
        for acceptor in self.sockets.streams {
            let socket = acceptor
                .listener
                .try_clone()
                .map_err(os("copying a socket"))?;
            let slot = ring
                .install(socket.into())
                .map_err(os("registering a socket"))?;
            acceptors.push((slot, acceptor));
        }
        let can_send_whole = listeners
            .first()
            .is_none_or(|it| ring.can_send_whole(it.slot, it.local));
        Ok(RelayThread {
            ring,
            relay: Relay::new(
                Config {
                    thread: self.index,
                    asks: config.directory.is_some(),
                    tells: config.observer.is_some(),
                    can_send_whole,
                    listeners: config.udp.clone(),
                    ..config.config.clone()
                },
                config.access.clone(),
                self.nonces,
                self.relays,
                families,
                seed,
            ),
            listeners,
            acceptors,
            sockets: RelaySockets::new(self.kept),
            handover: self.handover,
            streams: Streams::new(
                config.streams,
                config.config.peers.channels,
                config.tls_config.clone(),
                seed.rotate_left(16),
            ),
            outbox: Outbox::default(),
            commands: self.inbox,
            directory: config.directory.clone(),
            observer: config.observer.clone(),
            answers: Answers {
                commands: self.commands,
                waker: thread_waker,
            },
            waiting: Waiting::default(),
            counters: self.counters,
            started: self.started,
            swept_ns: 0,
            failed: Vec::new(),
            resting: Vec::new(),
            is_stopped: false,
        })
    }
}

fn check(config: &ServerConfig) -> Result<(), StartError> {
    let refuse = |why: &str| Err(StartError::Config(why.to_owned()));
    if config.threads == 0 {
        return refuse("at least one thread is needed");
    }
    if config.threads > RELAYS_MAX {
        return Err(StartError::Config(format!(
            "there may be {RELAYS_MAX} threads at most"
        )));
    }
    if let Some(addr) = config.udp.iter().find(|it| it.ip().is_unspecified()) {
        return Err(StartError::Config(format!(
            "{addr} stands for all addresses: name those that clients send to, for the answers have to come from there"
        )));
    }
    if !config.tls.is_empty() && config.tls_config.is_none() {
        return refuse("TLS needs a certificate and a key");
    }
    if config.relay.iter().all(Option::is_none) {
        return refuse("no address to relay from");
    }
    if config.ports.clone().count() < 2 * usize::from(config.threads) {
        return refuse("there are fewer ports than threads need: two each at least");
    }
    Ok(())
}

/// Listens at an address, whose port becomes the one that was got.
/// A socket for datagrams, and the address that it got.
fn listen_udp(addr: SocketAddr, is_shared: bool) -> Result<(OwnedFd, SocketAddr), StartError> {
    let options = UdpOptions {
        is_shared,
        has_trains: true,
        has_errors: false,
        receive_bytes: LISTENER_BYTES,
        send_bytes: LISTENER_BYTES,
    };
    let socket = bind_udp(addr, &options)
        .map_err(|source| ListenError::explain(addr, source))
        .map_err(StartError::Listen)?;
    let socket = std::net::UdpSocket::from(socket);
    let addr = socket
        .local_addr()
        .map_err(os("reading a listener's address"))?;
    Ok((socket.into(), addr))
}

/// The ports of a thread. Slices begin with even ports, so that no pair is cut.
fn slice(ports: &RangeInclusive<u16>, index: u16, threads: u16) -> RangeInclusive<u16> {
    let (first, last) = (u32::from(*ports.start()), u32::from(*ports.end()));
    let cut = |n: u16| {
        let at = first + (last + 1 - first) * u32::from(n) / u32::from(threads);
        if n == 0 || n == threads { at } else { at & !1 }
    };
    let port = |port: u32| u16::try_from(port).unwrap_or(u16::MAX);
    port(cut(index))..=port(cut(index + 1) - 1)
}

fn os(what: &'static str) -> impl Fn(io::Error) -> StartError {
    move |source| StartError::Os {
        what: what.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_are_all_ports_and_cut_no_pair() {
        for (range, threads) in [
            (49_152..=65_535, 3),
            (1_001..=1_009, 2),
            (50_000..=50_007, 4),
        ] {
            let slices: Vec<_> = (0..threads).map(|it| slice(&range, it, threads)).collect();
            let all: Vec<u16> = slices.iter().cloned().flatten().collect();
            assert_eq!(all, range.collect::<Vec<_>>());
            assert!(slices.iter().skip(1).all(|it| it.start().is_multiple_of(2)));
        }
    }
}
