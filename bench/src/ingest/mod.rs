//! Services that publish as fast as the server takes it, and check every answer.
//!
//! A *link* is one connection: native with a window of publications on their way, or HTTP/1.1 kept alive with one request
//! at a time, which holds one publication or a batch. Links are spread over threads. Each has rooms of its own and
//! publishes to them in turn, so the position of every publication in its room is known before it is sent: an answer that
//! names another one, comes twice, or does not come at all is an error, and there is no figure then.
//!
//! What is measured shares the cores with it, so it is made to cost little: requests are encoded once and from then on
//! only their numbers are written over, and many leave with one write.

mod account;
mod connection;
mod http;
mod native;
mod script;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use thiserror::Error;

pub use account::Misplaced;

use account::Ledger;
use http::HttpLink;
use native::NativeLink;

/// Longest that an answer may take.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// Longest that all answers may take once nothing more is sent.
const SETTLE_MAX: Duration = Duration::from_secs(30);

/// How often it is looked at whether everything has been answered.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// How publications get to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Native frames; each link has up to so many publications without an answer.
    Native {
        /// At least 1.
        window: u32,
    },
    /// `POST /api/publish`, one request at a time on each link.
    Http,
    /// `POST /api/batch` with `parallel`, one request at a time on each link.
    HttpBatch {
        /// Publications in a request, at least 1.
        publications: u32,
    },
}

/// What is to be published, and where.
#[derive(Debug, Clone)]
pub struct Plan {
    /// How.
    pub way: Way,
    /// Where clients connect, or for HTTP where the control API listens.
    pub target: SocketAddr,
    /// A key of the control API, which is a native token too.
    pub key: String,
    /// Rooms; links share them out. Nobody else may publish there.
    pub rooms: Vec<Arc<str>>,
    /// Bytes of a payload. With 10 it is [`short`](crate::stamp::short), else [`payload`](crate::stamp::payload) with its
    /// least length, so that members can tell which publication they hold.
    pub payload_bytes: usize,
    /// Connections, at most as many as there are rooms.
    pub links: usize,
    /// Threads that work them.
    pub threads: usize,
}

/// Why there is no figure.
#[derive(Debug, Error)]
pub enum IngestError {
    /// A connection cannot be made, or is broken, or an answer takes longer than 10 s.
    #[error("the connection to {target} is broken: {source}")]
    Io {
        /// Where to.
        target: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The server has closed a connection, with the reason it gave.
    #[error("the server has closed the connection: {0}")]
    Closed(String),
    /// The server does not take a publication.
    #[error("the server refuses a publication: {0}")]
    Refused(String),
    /// An answer cannot be understood.
    #[error("not an answer to a publication: {0}")]
    Protocol(String),
    /// An answer is not the one that was due.
    #[error(transparent)]
    Misplaced(#[from] Misplaced),
    /// A thread cannot be started.
    #[error("cannot start a publisher's thread: {0}")]
    Thread(io::Error),
    /// A thread has panicked.
    #[error("a publisher's thread has panicked")]
    Panicked,
    /// Not everything that was sent has been answered.
    #[error("{missing} publications were not answered within {after:?}")]
    Unanswered {
        /// How many.
        missing: u64,
        /// How long they had.
        after: Duration,
    },
    /// The plan cannot be carried out.
    #[error("{0}")]
    Plan(&'static str),
}

impl From<crate::http::Failed> for IngestError {
    fn from(failed: crate::http::Failed) -> Self {
        match failed {
            crate::http::Failed::Refused(why) => Self::Refused(why),
            crate::http::Failed::Malformed(text) => Self::Protocol(text),
        }
    }
}

/// What was published, all of it answered exactly once and in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Publications.
    pub acknowledged: u64,
    /// Publications of each room of the plan.
    pub rooms: Vec<u64>,
    /// Members that the answers counted, over all publications.
    pub members_reached: u64,
}

/// Publishers at work. Dropping it breaks them off.
#[derive(Debug)]
pub struct Ingest {
    shared: Arc<Shared>,
    rooms: usize,
    threads: Vec<JoinHandle<Result<Vec<Part>, IngestError>>>,
}

#[derive(Debug, Default)]
struct Shared {
    /// Nothing more is to be sent.
    is_over: AtomicBool,
    /// Nothing more is to be waited for.
    is_cut: AtomicBool,
    sent: AtomicU64,
    acknowledged: AtomicU64,
}

/// What one link has to say at its end: for each of its rooms the place in the plan and the publications.
#[derive(Debug)]
struct Part {
    rooms: Vec<(usize, u64)>,
    members_reached: u64,
}

impl Part {
    /// Of a link to these rooms, each with its place in the plan.
    fn of(rooms: &[(usize, Arc<str>)], ledger: &Ledger, members_reached: u64) -> Self {
        let rooms = rooms.iter().enumerate();
        Self {
            rooms: rooms
                .map(|(index, (place, _))| (*place, ledger.sent_to(index)))
                .collect(),
            members_reached,
        }
    }
}

/// One connection that publishes.
trait Link: Sized {
    /// Sends what it may send now.
    fn fill(&mut self) -> Result<u64, IngestError>;

    /// Waits for answers and takes those that have come; returns how many publications they are for.
    fn take(&mut self) -> Result<u64, IngestError>;

    /// Publications without an answer.
    fn unanswered(&self) -> u64;

    fn finish(self) -> Part;
}

impl Ingest {
    /// Connects, and begins to publish at once.
    ///
    /// # Errors
    /// When a connection cannot be made or is not welcome, or a thread cannot be started.
    pub fn start(plan: &Plan) -> Result<Self, IngestError> {
        if plan.links == 0 || plan.threads == 0 || plan.links > plan.rooms.len() {
            return Err(IngestError::Plan(
                "there must be a thread, a connection, and a room for each connection",
            ));
        }
        let shared = Arc::new(Shared::default());
        // The rooms of a link: those that are `links` apart.
        let rooms_of = |link: usize| {
            let rooms = plan.rooms.iter().cloned().enumerate();
            rooms.skip(link).step_by(plan.links).collect::<Vec<_>>()
        };
        let mut threads = Vec::new();
        for thread in 0..plan.threads.min(plan.links) {
            let mine = (thread..plan.links).step_by(plan.threads).map(rooms_of);
            let state = Arc::clone(&shared);
            threads.push(match plan.way {
                Way::Native { window } => {
                    let links = mine.map(|rooms| NativeLink::open(plan, rooms, window));
                    spawn(thread, links.collect::<Result<Vec<_>, _>>()?, state)?
                }
                Way::Http => {
                    let links = mine.map(|rooms| HttpLink::open(plan, rooms, None));
                    spawn(thread, links.collect::<Result<Vec<_>, _>>()?, state)?
                }
                Way::HttpBatch { publications } => {
                    let links = mine.map(|rooms| HttpLink::open(plan, rooms, Some(publications)));
                    spawn(thread, links.collect::<Result<Vec<_>, _>>()?, state)?
                }
            });
        }
        Ok(Self {
            shared,
            rooms: plan.rooms.len(),
            threads,
        })
    }

    /// Publications that have been answered so far.
    #[must_use]
    pub fn acknowledged(&self) -> u64 {
        self.shared.acknowledged.load(Ordering::Relaxed)
    }

    /// Whether a publisher has stopped by itself; [`finish`](Self::finish) says why.
    #[must_use]
    pub fn has_stopped(&self) -> bool {
        self.threads.iter().any(JoinHandle::is_finished)
    }

    /// Sends nothing more, waits for the answers that are due, and hands out the account.
    ///
    /// # Errors
    /// The first thing that went wrong with any publication since the start.
    pub fn finish(mut self) -> Result<Account, IngestError> {
        self.shared.is_over.store(true, Ordering::Relaxed);
        let began = Instant::now();
        while !self.threads.iter().all(JoinHandle::is_finished) {
            if began.elapsed() > SETTLE_MAX {
                let missing = self.shared.sent.load(Ordering::Relaxed) - self.acknowledged();
                let after = SETTLE_MAX;
                return Err(IngestError::Unanswered { missing, after });
            }
            thread::sleep(LOOK_EVERY);
        }
        let mut account = Account {
            acknowledged: self.acknowledged(),
            rooms: vec![0; self.rooms],
            members_reached: 0,
        };
        for thread in self.threads.drain(..) {
            for part in thread.join().map_err(|_| IngestError::Panicked)?? {
                account.members_reached += part.members_reached;
                for (room, publications) in part.rooms {
                    account.rooms[room] += publications;
                }
            }
        }
        Ok(account)
    }
}

impl Drop for Ingest {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
        self.shared.is_cut.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // Its account, or its failure, is of no interest any more.
            let _ = thread.join();
        }
    }
}

fn spawn<L: Link + Send + 'static>(
    number: usize,
    links: Vec<L>,
    shared: Arc<Shared>,
) -> Result<JoinHandle<Result<Vec<Part>, IngestError>>, IngestError> {
    thread::Builder::new()
        .name(format!("ingest-{number}"))
        .spawn(move || work(links, &shared))
        .map_err(IngestError::Thread)
}

/// Keeps the links busy in turn until told to stop, and then until everything is answered.
fn work<L: Link>(mut links: Vec<L>, shared: &Shared) -> Result<Vec<Part>, IngestError> {
    loop {
        let is_over = shared.is_over.load(Ordering::Relaxed);
        let mut is_waiting = false;
        for link in &mut links {
            if link.unanswered() > 0 && !shared.is_cut.load(Ordering::Relaxed) {
                let taken = link.take()?;
                shared.acknowledged.fetch_add(taken, Ordering::Relaxed);
            }
            if !is_over {
                shared.sent.fetch_add(link.fill()?, Ordering::Relaxed);
            }
            is_waiting |= link.unanswered() > 0;
        }
        if is_over && (!is_waiting || shared.is_cut.load(Ordering::Relaxed)) {
            return Ok(links.into_iter().map(Link::finish).collect());
        }
    }
}
