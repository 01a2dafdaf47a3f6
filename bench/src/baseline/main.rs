//! `fanfare-baseline`: the same WebSocket fan-out server on three runtimes, to compare Fanfare with.
//!
//! Each is what a good engineer writes with that runtime: two tasks and a bounded queue per connection, a publication
//! encoded once and shared, everything queued for a connection written at once. All that does not touch a socket is the
//! same code, so a difference between two of them is a difference between their runtimes.
//!
//! | file | what it is |
//! |---|---|
//! | [`protocol`] | bytes in and out: the opening handshake, client frames, publications from the ingest connection |
//! | [`hub`] | rooms and their members; a publication goes into every member's queue |
//! | [`outbox`] | the bounded queue of one connection |
//! | [`listeners`] | the two listening sockets |
//! | [`tokio`], [`tokio_uring`], [`glommio`] | accept, read and write with that runtime, one thread each |

#![deny(unsafe_code)]

mod glommio;
mod hub;
mod listeners;
mod outbox;
mod protocol;
mod tokio;
mod tokio_uring;

use std::io;
use std::net::SocketAddr;
use std::process::{ExitCode, exit};
use std::thread;

use clap::{Parser, ValueEnum};

use crate::hub::Hub;
use crate::listeners::Listeners;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Runs until its standard input ends or a signal stops it.
#[derive(Debug, Parser)]
struct Args {
    runtime: Runtime,
    /// Where WebSocket clients connect; the last segment of the path is their room.
    #[arg(long, default_value = "127.0.0.1:0")]
    clients: SocketAddr,
    /// Where the publisher connects.
    #[arg(long, default_value = "127.0.0.1:0")]
    ingest: SocketAddr,
    /// Frames that may wait for one connection; then the publisher waits for it.
    #[arg(long, default_value_t = 1024)]
    queue: usize,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Runtime {
    Tokio,
    TokioUring,
    Glommio,
}

fn main() -> ExitCode {
    let args = Args::parse();
    match serve(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("fanfare-baseline: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve(args: &Args) -> io::Result<()> {
    fanfare_engine::ring::raise_nofile()?;
    let listeners = Listeners::bind(args.clients, args.ingest)?;
    thread::spawn(end_with_input);
    let hub = Hub::new(args.queue);
    match args.runtime {
        Runtime::Tokio => tokio::run(listeners, hub),
        Runtime::TokioUring => tokio_uring::run(listeners, hub),
        Runtime::Glommio => glommio::run(listeners, hub),
    }
}

/// Whoever started the server holds its input open; nothing is left behind when they are gone.
fn end_with_input() {
    let ended = io::copy(&mut io::stdin(), &mut io::sink());
    exit(i32::from(ended.is_err()));
}
