//! What `fanfare-bench` does: a file for each subcommand, and what they share.
//!
//! | shared part | what it is |
//! |---|---|
//! | [`options`], [`output`] | what options may be, and where results go |
//! | [`server`], [`network`] | the server of a case, and the network that both sides run in |
//! | [`crowd`], [`pusher`] | the members, and who publishes to them on time |
//! | [`meters`] | what it costs |
//! | [`line`] | all of that for servers that are measured in turns |

pub(crate) mod compare;
pub(crate) mod connect;
mod crowd;
pub(crate) mod fanout;
pub(crate) mod floor;
pub(crate) mod idle;
pub(crate) mod latency;
mod line;
mod meters;
mod network;
mod options;
mod output;
pub(crate) mod publish;
mod pusher;
mod server;
pub(crate) mod turn;

use std::io;
use std::path::PathBuf;

use fanfare_bench::relay::RelayError;
use fanfare_bench::report::PlotError;
use fanfare_bench::servers::{Missing, PublishError, StartError};
use fanfare_bench::swarm::SwarmError;
use thiserror::Error;

/// Why there is no result.
#[derive(Debug, Error)]
pub(crate) enum Failure {
    #[error("there is no server called {0}; `fanfare-bench compare --list` shows which there are")]
    UnknownServer(String),
    #[error(transparent)]
    Missing(#[from] Missing),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error(transparent)]
    Publish(#[from] PublishError),
    #[error(transparent)]
    Relay(#[from] RelayError),
    #[error(transparent)]
    Swarm(#[from] SwarmError),
    #[error(
        "{joined} of {members} members are in their rooms; the server refused or closed the others"
    )]
    NotAllJoined { joined: u64, members: u32 },
    #[error("the publisher has stopped: {0}")]
    Pusher(String),
    #[error(
        "{faults} deliveries were lost, doubled, out of order or wrong; figures with any mean nothing"
    )]
    Unfaithful { faults: u64 },
    #[error("{0} connections ended while they were idle")]
    Ended(u64),
    #[error(
        "the load generator used {cores:.2} cores, all it has, so the figures may be its limit and not the server's; \
         give it more with --client-cpus, or report them all the same with --allow-busy-client"
    )]
    BusyClient { cores: f64 },
    #[error(
        "only {} MB of memory are left on this machine, and the kernel ends processes when there is none. Connections take it \
         (5 KB, both ends), and what members have not read yet: have fewer, offer less, or give the load generator more cores",
        left >> 20
    )]
    OutOfMemory { left: u64 },
    #[error("the process under measurement cannot be observed: {0}")]
    Observe(io::Error),
    #[error("no directory for the server's files: {0}")]
    Directory(io::Error),
    #[error("cannot write {path}: {source}")]
    Write { path: PathBuf, source: io::Error },
    #[error("the result cannot be written as JSON: {0}")]
    Json(serde_json::Error),
    #[error("the result cannot be drawn: {0}")]
    Plot(#[from] PlotError),
    #[error("the bare loop cannot be run: {0}")]
    Floor(io::Error),
    #[error(transparent)]
    Ingest(#[from] publish::Error),
    #[error("{0}")]
    Usage(String),
}
