//! Tens of thousands of clients in one process, each of which checks what it hears.
//!
//! A swarm is made of [`Group`]s of like members. A group runs on one or more *crews*: threads with a ring, which hold
//! their members as direct descriptors, so that a process is not bounded by `RLIMIT_NOFILE`, only each of its rings is.
//! A member connects, is welcomed, subscribes to its room, and listens as its [`Behaviour`] says. Its [`Ledger`] holds
//! what it heard against what it should have heard.
//!
//! Counts of all members are read while the swarm runs ([`Swarm::counts`]); the account of each one is handed out at its
//! end ([`Swarm::finish`]).

mod centrifuge;
mod counts;
mod crew;
mod dialect;
mod goim;
mod goim_websocket;
mod ledger;
mod member;
pub(crate) mod mqtt;
mod native;
mod native_websocket;
mod nats;
mod partial;
mod schedule;
mod socket;
mod transcript;
mod upgraded;
mod websocket;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use fanfare_engine::ring::{RingSetupError, raise_nofile};
use hdrhistogram::Histogram;
use thiserror::Error;

use counts::Gauges;
use crew::{OPENING_MAX, Plan};

pub use counts::Counts;
pub use dialect::{Dialect, Event, ProtocolError};
pub use ledger::Ledger;
pub use member::{Ending, Report, Stage};
pub use schedule::Schedule;

/// Members of one crew. Below the file tables that the hard limit of an ordinary system allows, and few enough that a
/// crew does not become a bottleneck before there are as many crews as cores.
const CREW_MEMBERS_MAX: u32 = 16_000;

/// More crews than this share few cores, and are as patient as [`PATIENCE_OF_MANY`] at least: waking up 63 threads for each of
/// 50,000 sends a second took a tenth of the core that sends. Latency is then recorded with 10 ms more at most.
const CREWS_PROMPT_MAX: u32 = 8;
const PATIENCE_OF_MANY: u32 = 32;

/// Longest latency that is told apart from longer ones.
const LATENCY_MAX_US: u64 = 100_000_000;

/// Members of one crew that are on their way into their rooms at a time, at least and at most.
const OPENING_MIN: u32 = 16;
const OPENING_EACH_MAX: u32 = 512;

/// How often a wait looks at the counts.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// How often goim has its clients beat (`heartbeat` in `cmd/logic/logic-example.toml`), and Fanfare too, as it comes.
const HEARTBEAT: Duration = Duration::from_mins(4);

/// Members that are alike.
#[derive(Clone)]
pub struct Group {
    /// How many.
    pub members: u32,
    /// What they speak.
    pub language: Language,
    /// How they read.
    pub behaviour: Behaviour,
    /// Who each of them is, by its number in the group.
    pub identity: Arc<dyn Fn(u32) -> Identity + Send + Sync>,
    /// `SO_RCVBUF`, in bytes; the kernel doubles it. `None`: its default, tuned as data flows.
    pub receive_buffer_bytes: Option<usize>,
    /// Number of the last publication there will be, where that is known. Who has come so far, or will not because
    /// it was taken out of its room or its connection has ended, is [settled](Counts::settled).
    pub last_number: Option<u64>,
    /// When publications are due, if latency is to be recorded.
    pub schedule: Option<Arc<Schedule>>,
    /// How often they say that they live, from when each is in its room, in dialects where that is not the server's to ask for.
    pub heartbeat: Duration,
    /// How many connections have to have heard something to end a crew's wait before 10 ms have passed. With 1 a crew that has
    /// nothing to do is woken up by every send, at the cost of the sender: in a virtual machine, a quarter of the send. Latency
    /// asks for 1.
    pub patience: u32,
}

impl Group {
    /// Members that read all that is published in one room, without a token.
    #[must_use]
    pub fn anonymous(members: u32, language: Language, room: &str) -> Self {
        let identity = Identity {
            token: String::new(),
            room: room.into(),
        };
        Self {
            members,
            language,
            behaviour: Behaviour::Reads,
            identity: Arc::new(move |_| identity.clone()),
            receive_buffer_bytes: None,
            last_number: None,
            schedule: None,
            heartbeat: HEARTBEAT,
            patience: 1,
        }
    }
}

impl fmt::Debug for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Group")
            .field("members", &self.members)
            .field("language", &self.language)
            .field("behaviour", &self.behaviour)
            .finish_non_exhaustive()
    }
}

/// Who a member is and where it wants to be.
#[derive(Debug, Clone)]
pub struct Identity {
    /// Its connection token, where the dialect has tokens; empty for none.
    pub token: String,
    /// Its room. Of letters, digits, `-` and `_`, where the same name is to do in every dialect.
    pub room: Arc<str>,
}

/// The dialects that members speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// Native frames over TCP.
    Native,
    /// Native frames over WebSocket.
    NativeWebSocket,
    /// The Centrifuge protocol, JSON over WebSocket.
    CentrifugeJson,
    /// goim's second version over TCP.
    Goim,
    /// goim's second version over WebSocket.
    GoimWebSocket,
    /// WebSocket without a protocol: the path is this and the room's name, and a message is a payload.
    WebSocket {
        /// What stands before the room's name, such as `/sub/`.
        prefix: &'static str,
    },
    /// The NATS client protocol over TCP; a room is a subject.
    Nats,
    /// MQTT 3.1.1 over TCP with `QoS` 0; a room is a topic.
    Mqtt,
}

/// How a member reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behaviour {
    /// As fast as it can.
    Reads,
    /// Not at all once it is in its room: no receive is armed, so the kernel's buffers fill. [`Swarm::wake_sleepers`]
    /// makes it read after all, so that what it would have been told can be looked at.
    NeverReads,
    /// One byte per receive. A receive takes about a microsecond, so this is some 100 KB/s for each of ten members.
    OneByteAtATime,
}

/// A running swarm. Dropping it closes every connection.
#[derive(Debug)]
pub struct Swarm {
    groups: Vec<Group>,
    crews: Vec<Crew>,
    signals: Arc<Signals>,
    patience_min: u32,
}

#[derive(Debug)]
struct Crew {
    group: usize,
    gauges: Arc<Gauges>,
    thread: Option<JoinHandle<Result<Part, SwarmError>>>,
}

/// What a crew has to say at its end.
#[derive(Debug)]
struct Part {
    members: Vec<Report>,
    latency_us: Histogram<u64>,
}

/// What a swarm has to say at its end.
#[derive(Debug)]
pub struct Outcome {
    /// The reports of each group's members, in their order.
    pub groups: Vec<Vec<Report>>,
    /// Of the publications and members that the [`Schedule`] names, in microseconds.
    pub latency_us: Histogram<u64>,
}

/// What crews are told.
#[derive(Debug, Default)]
struct Signals {
    is_awake: AtomicBool,
    is_over: AtomicBool,
}

/// Why a swarm cannot go on.
#[derive(Debug, Error)]
pub enum SwarmError {
    /// A ring could not be made.
    #[error("cannot make a ring for the swarm: {0}")]
    Ring(#[from] RingSetupError),
    /// The ring is no longer usable.
    #[error("the swarm's ring has failed: {0}")]
    Turn(io::Error),
    /// A connection could not be made.
    #[error("cannot connect to {target}: {source}")]
    Connect {
        /// Where to.
        target: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// A thread could not be started.
    #[error("cannot start a thread of the swarm: {0}")]
    Thread(io::Error),
    /// A crew's thread has panicked.
    #[error("a thread of the swarm has panicked")]
    Panicked,
    /// What was waited for has not come to be.
    #[error("waited {after:?} for {what}: {counts:?}")]
    TimedOut {
        /// What.
        what: String,
        /// How long.
        after: Duration,
        /// How things stand.
        counts: Box<Counts>,
    },
    /// A crew has stopped by itself; [`Swarm::finish`] says why.
    #[error("a crew has stopped while waiting for {what}: {counts:?}")]
    Stopped {
        /// What was waited for.
        what: String,
        /// How things stand.
        counts: Box<Counts>,
    },
}

impl Swarm {
    /// Starts the crews, which connect their members to `target` at once.
    ///
    /// # Errors
    /// When the system refuses threads. What happens to crews later is told by [`wait_until`](Self::wait_until) and
    /// [`finish`](Self::finish).
    pub fn start(target: SocketAddr, groups: Vec<Group>) -> Result<Self, SwarmError> {
        Self::start_from(0, target, groups)
    }

    /// As [`start`](Self::start), with the source addresses that follow those of so many connections: the ports of
    /// connections that have been closed are not free for a minute.
    ///
    /// # Errors
    /// As there.
    pub fn start_from(
        connections: u32,
        target: SocketAddr,
        groups: Vec<Group>,
    ) -> Result<Self, SwarmError> {
        raise_nofile().map_err(SwarmError::Thread)?;
        let signals = Arc::new(Signals::default());
        let mut crews = Vec::new();
        let mut connection = connections;
        let count: u32 = groups
            .iter()
            .map(|group| group.members.div_ceil(CREW_MEMBERS_MAX))
            .sum();
        let opening_max = (OPENING_MAX / count.max(1)).clamp(OPENING_MIN, OPENING_EACH_MAX);
        let patience_min = if count > CREWS_PROMPT_MAX {
            PATIENCE_OF_MANY
        } else {
            1
        };
        for (number, group) in groups.iter().enumerate() {
            let mut first = 0;
            while first < group.members {
                let members = (group.members - first).min(CREW_MEMBERS_MAX);
                let gauges = Arc::new(Gauges::default());
                let plan = Plan {
                    target,
                    group: group.clone(),
                    first_member: first,
                    members,
                    first_connection: connection,
                    opening_max,
                    patience: group.patience.max(patience_min),
                    gauges: Arc::clone(&gauges),
                    signals: Arc::clone(&signals),
                };
                let thread = thread::Builder::new()
                    .name(format!("crew-{}", crews.len()))
                    .spawn(move || plan.run())
                    .map_err(SwarmError::Thread)?;
                crews.push(Crew {
                    group: number,
                    gauges,
                    thread: Some(thread),
                });
                first += members;
                connection += members;
            }
        }
        Ok(Self {
            groups,
            crews,
            signals,
            patience_min,
        })
    }

    /// The most that a crew of it waits for (see [`Group::patience`]).
    #[must_use]
    pub fn patience(&self) -> u32 {
        let groups = self.groups.iter().map(|group| group.patience);
        groups.fold(self.patience_min, u32::max)
    }

    /// The groups it was started with.
    #[must_use]
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// Counts over the groups with this behaviour.
    #[must_use]
    pub fn counts(&self, behaviour: Behaviour) -> Counts {
        self.sum(|group| group.behaviour == behaviour)
    }

    /// Counts over all members.
    #[must_use]
    pub fn total(&self) -> Counts {
        self.sum(|_| true)
    }

    fn sum(&self, is_counted: impl Fn(&Group) -> bool) -> Counts {
        self.crews
            .iter()
            .filter(|crew| is_counted(&self.groups[crew.group]))
            .map(|crew| crew.gauges.read())
            .sum()
    }

    /// Waits until this holds.
    ///
    /// # Errors
    /// When it does not within `at_most`, or when a crew has stopped by itself.
    pub fn wait_until(
        &self,
        what: &str,
        at_most: Duration,
        holds: impl Fn(&Self) -> bool,
    ) -> Result<(), SwarmError> {
        let started = Instant::now();
        loop {
            // Before it is looked at: what a crew did last counts.
            let has_stopped = self
                .crews
                .iter()
                .any(|crew| crew.thread.as_ref().is_none_or(JoinHandle::is_finished));
            if holds(self) {
                return Ok(());
            }
            let (what, counts) = (what.to_owned(), Box::new(self.total()));
            if has_stopped {
                return Err(SwarmError::Stopped { what, counts });
            }
            let after = started.elapsed();
            if after > at_most {
                return Err(SwarmError::TimedOut {
                    what,
                    after,
                    counts,
                });
            }
            thread::sleep(LOOK_EVERY);
        }
    }

    /// Makes those read who never do.
    pub fn wake_sleepers(&self) {
        self.signals.is_awake.store(true, Ordering::Relaxed);
    }

    /// Ends the swarm, and hands out its accounts.
    ///
    /// # Errors
    /// The first reason for which a crew has stopped by itself.
    pub fn finish(mut self) -> Result<Outcome, SwarmError> {
        self.signals.is_over.store(true, Ordering::Relaxed);
        let mut groups: Vec<Vec<Report>> = self.groups.iter().map(|_| Vec::new()).collect();
        let mut latency_us = latencies();
        for crew in &mut self.crews {
            if let Some(thread) = crew.thread.take() {
                let part = thread.join().map_err(|_| SwarmError::Panicked)??;
                groups[crew.group].extend(part.members);
                latency_us += part.latency_us;
            }
        }
        Ok(Outcome { groups, latency_us })
    }
}

/// Of latencies in microseconds: 3 digits, and what is above 100 s counts as that.
fn latencies() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATENCY_MAX_US, 3)
        .unwrap_or_else(|_| unreachable!("valid bounds"))
}

impl Drop for Swarm {
    fn drop(&mut self) {
        self.signals.is_over.store(true, Ordering::Relaxed);
        for crew in &mut self.crews {
            if let Some(thread) = crew.thread.take() {
                // Its reports, or its failure, are of no interest any more.
                let _ = thread.join();
            }
        }
    }
}
