//! A room that is pushed to while something else is measured.

use std::ffi::OsString;

use tempfile::TempDir;

use super::process::Process;
use super::{Spec, StartError};

/// Longer than anything is measured; it is ended before.
const SECONDS: u32 = 100_000;

/// What the room is like, and where it runs.
#[derive(Debug, Clone, Copy)]
pub struct SweepSpec {
    /// Members.
    pub members: u32,
    /// Publications a second.
    pub rate: u32,
    /// CPU of the server.
    pub server_cpu: usize,
    /// CPU of the members; `None`: the same.
    pub client_cpu: Option<usize>,
}

/// `fanfare-bench fanout` at work, with a server of its own. Dropping it ends both.
#[derive(Debug)]
pub struct Sweep {
    process: Process,
    _directory: TempDir,
}

impl Sweep {
    /// Connects the members, and waits until publications are verified.
    ///
    /// # Errors
    /// It does not come to that.
    pub fn start(sweep: &SweepSpec) -> Result<Self, StartError> {
        let failed = |source| StartError::Start {
            name: NAME.to_owned(),
            source,
        };
        let program = std::env::current_exe().map_err(failed)?;
        let directory = TempDir::new().map_err(failed)?;
        let client_cpu = sweep.client_cpu.unwrap_or(sweep.server_cpu);
        let options = [
            ("--connections", sweep.members.to_string()),
            ("--rate", sweep.rate.to_string()),
            ("--seconds", SECONDS.to_string()),
            ("--shards", 1.to_string()),
            ("--server-cpus", sweep.server_cpu.to_string()),
            ("--client-cpus", client_cpu.to_string()),
        ];
        let mut arguments: Vec<OsString> = vec!["fanout".into(), "--allow-busy-client".into()];
        arguments.extend(
            options
                .iter()
                .flat_map(|(name, value)| [name.into(), value.into()]),
        );
        let arguments: Vec<_> = arguments.iter().map(OsString::as_os_str).collect();
        let spec = Spec {
            // It sees to that itself.
            cpus: Vec::new(),
            members: sweep.members,
            rooms: 1,
            shards: Some(1),
            directory: directory.path().to_owned(),
            payload_bytes: 0,
        };
        let mut process = Process::start(NAME, &program, &arguments, &spec)?;
        process.wait_for_output(|text| progress(text).map(drop))?;
        Ok(Self {
            process,
            _directory: directory,
        })
    }

    /// Ends it; what it said of itself at last.
    ///
    /// # Errors
    /// It had ended before.
    pub fn end(mut self) -> Result<String, StartError> {
        self.process
            .wait_for_output(|text| progress(text).map(str::to_owned))
    }
}

const NAME: &str = "fanfare-bench fanout";

/// The last line that says what is delivered.
fn progress(text: &str) -> Option<&str> {
    let measuring = |line: &&str| line.contains("measure") && line.contains("deliveries/s");
    let line = text.lines().rev().find(measuring)?;
    line.split_once("  ").map(|(_, said)| said.trim())
}
