//! The baselines, and whatever else says where it is and is published to as they are.
//!
//! `PROGRAM [RUNTIME] --clients ADDRESS --ingest ADDRESS` prints `ready clients=ADDRESS ingest=ADDRESS`. Members open a
//! WebSocket at `/ROOM`, and messages are payloads. On an ingest connection publications come one after the other: the
//! length of the room's name and the name, the length of the payload and the payload (both lengths `u32`, little endian);
//! what goes back is how many it has handed to all of their members (`u64`, little endian), again whenever that grows.

use std::ffi::OsStr;
use std::net::SocketAddr;
use std::path::Path;

use super::link::Link;
use super::pipeline::{Protocol, publisher};
use super::process::Process;
use super::programs::built;
use super::{Contestant, Missing, PublishError, Running, Spec, StartError};
use crate::swarm::Language;

/// The variable with the program's path.
const VARIABLE: &str = "FANFARE_BASELINE_BIN";

/// The runtimes, each with one thread.
pub(super) const RUNTIMES: [Baseline; 3] = [
    Baseline {
        name: "baseline-tokio",
        runtime: "tokio",
    },
    Baseline {
        name: "baseline-tokio-uring",
        runtime: "tokio-uring",
    },
    Baseline {
        name: "baseline-glommio",
        runtime: "glommio",
    },
];

#[derive(Debug, Clone, Copy)]
pub(super) struct Baseline {
    name: &'static str,
    runtime: &'static str,
}

impl Contestant for Baseline {
    fn name(&self) -> &str {
        self.name
    }

    fn find(&self) -> Result<String, Missing> {
        built("fanfare-baseline", VARIABLE)
            .map(|_| env!("CARGO_PKG_VERSION").to_owned())
            .ok_or_else(missing)
    }

    fn start(&self, spec: &Spec) -> Result<Running, StartError> {
        let program = built("fanfare-baseline", VARIABLE).ok_or_else(missing)?;
        start(self.name, &program, Some(self.runtime), spec)
    }
}

fn missing() -> Missing {
    Missing {
        what: "fanfare-baseline".to_owned(),
        remedy: format!(
            "cargo build -p fanfare-bench --features baselines with this profile, or {VARIABLE}=its path"
        ),
    }
}

/// Starts a program with the baselines' command line.
pub(super) fn start(
    name: &str,
    program: &Path,
    runtime: Option<&str>,
    spec: &Spec,
) -> Result<Running, StartError> {
    const ADDRESSES: [&str; 4] = ["--clients", "127.0.0.1:0", "--ingest", "127.0.0.1:0"];
    let arguments: Vec<&OsStr> = runtime
        .into_iter()
        .chain(ADDRESSES)
        .map(OsStr::new)
        .collect();
    let language = Language::WebSocket { prefix: "/" };
    start_program(name, program, &arguments, language, spec)
}

/// Starts a program that prints `ready clients=ADDRESS ingest=ADDRESS`, takes publications as `fanfare-baseline` does, and
/// whose members speak this.
///
/// # Errors
/// When it cannot be executed, or does not say that it is ready.
pub fn start_program(
    name: &str,
    program: &Path,
    arguments: &[&OsStr],
    language: Language,
    spec: &Spec,
) -> Result<Running, StartError> {
    let mut process = Process::start(name, program, arguments, spec)?;
    let (clients, ingest) = process.wait_for_output(|text| {
        let ready = text.lines().find_map(|line| line.strip_prefix("ready "))?;
        let address = |key: &str| -> Option<SocketAddr> {
            ready
                .split_ascii_whitespace()
                .find_map(|word| word.strip_prefix(key)?.parse().ok())
        };
        Some((address("clients=")?, address("ingest=")?))
    })?;
    Ok(Running::of(process, clients, language, move || {
        publisher(ingest, Ingest::default())
    }))
}

/// The ingest connection.
#[derive(Default)]
struct Ingest {
    handed_out: u64,
}

impl Protocol for Ingest {
    const CHUNK: usize = 1_024;
    // Of 8 bytes each at most, for a count may answer many; and the queues of members hold as many.
    const UNANSWERED_MAX: u64 = 1_024;

    fn greet(&mut self, _: &mut Link) -> Result<(), PublishError> {
        // It counts anew on every connection.
        self.handed_out = 0;
        Ok(())
    }

    fn write(
        &mut self,
        out: &mut Vec<u8>,
        room: &str,
        payloads: &[Vec<u8>],
    ) -> Result<u64, PublishError> {
        for payload in payloads {
            for part in [room.as_bytes(), payload] {
                let bytes = u32::try_from(part.len())
                    .map_err(|_| PublishError::Refused("more than 4 GiB".to_owned()))?;
                out.extend_from_slice(&bytes.to_le_bytes());
                out.extend_from_slice(part);
            }
        }
        Ok(payloads.len() as u64)
    }

    fn read(
        &mut self,
        bytes: &[u8],
        _: &mut Vec<u8>,
    ) -> Result<Option<(u64, usize)>, PublishError> {
        let Some(count) = bytes.first_chunk::<8>() else {
            return Ok(None);
        };
        let handed_out = u64::from_le_bytes(*count);
        let more = handed_out.checked_sub(self.handed_out).ok_or_else(|| {
            PublishError::Protocol(format!("{handed_out} after {}", self.handed_out))
        })?;
        self.handed_out = handed_out;
        Ok(Some((more, count.len())))
    }
}
