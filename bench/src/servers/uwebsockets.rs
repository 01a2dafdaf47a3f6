//! uWebSockets: a library, so what runs is a program of whoever measures.
//!
//! It is to subscribe each WebSocket to the topic that its path names, publish what comes on the ingest connection, and has
//! the command line and the ingest protocol of the baselines, without a runtime's name. What it is asked with `--version` it
//! answers with the version of the library.

use std::path::PathBuf;

use super::programs::ask;
use super::{Contestant, Missing, Running, Spec, StartError, baseline};

/// The variable with the program's path.
const VARIABLE: &str = "FANFARE_BENCH_UWS";

const NAME: &str = "uwebsockets";

#[derive(Debug)]
pub(super) struct UWebSockets;

impl Contestant for UWebSockets {
    fn name(&self) -> &str {
        NAME
    }

    fn find(&self) -> Result<String, Missing> {
        ask(&program()?, &["--version"]).ok_or_else(missing)
    }

    fn start(&self, spec: &Spec) -> Result<Running, StartError> {
        baseline::start(NAME, &program()?, None, spec)
    }
}

fn program() -> Result<PathBuf, Missing> {
    std::env::var_os(VARIABLE)
        .map(PathBuf::from)
        .filter(|file| file.is_file())
        .ok_or_else(missing)
}

fn missing() -> Missing {
    Missing {
        what: "a program around uWebSockets".to_owned(),
        remedy: format!("{VARIABLE}=path of one with the command line of fanfare-baseline"),
    }
}
