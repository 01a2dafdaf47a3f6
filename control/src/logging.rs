//! Logs: to standard error, as text for people and as JSON for machines.

use std::io::IsTerminal;

use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt;
use tracing_subscriber::prelude::*;

use crate::config::{LogFormat, Settings};
use crate::exit::Failure;

/// Logs from here on. Nothing is logged per message, and never a token or a payload.
pub(crate) fn start(settings: &Settings) -> Result<(), Failure> {
    let filter: Targets = settings
        .log
        .level
        .parse()
        .map_err(|error| Failure::config(format!("log.level is not a level: {error}")))?;
    let is_json = match settings.log.format {
        LogFormat::Auto => !std::io::stderr().is_terminal(),
        LogFormat::Text => false,
        LogFormat::Json => true,
    };
    let registry = tracing_subscriber::registry().with(filter);
    let layer = fmt::layer().with_writer(std::io::stderr);
    let started = match is_json {
        true => registry.with(layer.json().flatten_event(true)).try_init(),
        false => registry
            .with(layer.with_ansi(std::io::stderr().is_terminal()))
            .try_init(),
    };
    started.map_err(|error| Failure::internal(format!("cannot start logging: {error}")))
}
