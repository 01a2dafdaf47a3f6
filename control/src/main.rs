//! The `fanfare` server and its small tools: one binary, one file per concept.

#![forbid(unsafe_code)]

mod api;
mod api_keys;
mod backend;
mod banner;
mod cli;
mod config;
mod drain;
mod exit;
mod goim;
mod http_client;
mod logging;
mod metrics;
mod print_config;
mod probes;
mod process;
mod push;
mod secrets;
mod serve;
mod tail;
mod token;
mod tokens;
mod turn;

use std::process::ExitCode;

use cli::Command;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let (common, command) = match cli::parse() {
        Ok(parsed) => parsed,
        Err(code) => return code,
    };
    let outcome = match command {
        Command::Serve(args) => serve::run(&common, &args),
        Command::Push(args) => push::run(&common, &args),
        Command::Tail(args) => tail::run(&common, &args),
        Command::Token(args) => token::run(&common, &args),
        Command::TurnCredentials(args) => turn::run(&common, &args),
        Command::TurnCheck(args) => turn::check(&args),
        Command::CheckConfig => print_config::check(&common),
        Command::PrintConfig(args) => print_config::print(&common, &args),
    };
    exit::code(outcome)
}
