//! `fanfare-bench`: measures Fanfare, alone and against others.
//!
//! | part | what it is |
//! |---|---|
//! | [`cases`] | the subcommands |
//! | [`floor`] | bare loops that do nothing but write, as servers of their own |
//! | `fanfare_bench` | the library: load generator, servers, observation, results |

#![deny(unsafe_code)]

mod cases;
#[expect(
    unsafe_code,
    reason = "a ring with nothing around it is what this measures"
)]
mod floor;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use cases::Failure;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Measures Fanfare, alone and against others.
///
/// Every subcommand starts the servers it needs (build them first: cargo build --release --workspace --features
/// fanfare-bench/baselines), keeps them and the load generator on CPUs of their own, verifies every delivery, and prints a
/// table. docs/benchmarks.md says how to read it, and how not to fool yourself.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 120)]
struct Cli {
    #[command(subcommand)]
    case: Case,
}

#[derive(Debug, Subcommand)]
enum Case {
    Fanout(cases::fanout::Fanout),
    Latency(cases::latency::Latency),
    Idle(cases::idle::Idle),
    Connect(cases::connect::Connect),
    Publish(cases::publish::Publish),
    Floor(cases::floor::Floor),
    Compare(cases::compare::Compare),
    Turn(cases::turn::Turn),
    #[command(hide = true)]
    ServeFloor(floor::ServeFloor),
    #[command(hide = true)]
    ServeRelayFloor(floor::relay::ServeRelayFloor),
    #[command(hide = true)]
    ServeRelayMmsg(floor::relay_mmsg::ServeRelayMmsg),
}

fn main() -> ExitCode {
    match run(&Cli::parse().case) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("fanfare-bench: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run(case: &Case) -> Result<(), Failure> {
    match case {
        Case::Fanout(args) => cases::fanout::run(args),
        Case::Latency(args) => cases::latency::run(args),
        Case::Idle(args) => cases::idle::run(args),
        Case::Connect(args) => cases::connect::run(args),
        Case::Publish(args) => cases::publish::run(args),
        Case::Floor(args) => cases::floor::run(args),
        Case::Compare(args) => cases::compare::run(args),
        Case::Turn(args) => cases::turn::run(args),
        Case::ServeRelayFloor(args) => floor::relay::serve(args).map_err(Failure::Floor),
        Case::ServeRelayMmsg(args) => floor::relay_mmsg::serve(args).map_err(Failure::Floor),
        Case::ServeFloor(args) => floor::serve(args).map_err(Failure::Floor),
    }
}
