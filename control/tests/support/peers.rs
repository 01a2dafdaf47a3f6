//! Programs from elsewhere that talk to the server: where `.ci/setup` puts them, and what happens without them.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::announce;
use super::lines::Lines;

/// Longest that a scenario of a published client may take; they take a few seconds, those in which tokens expire
/// some twenty.
const SCENARIO_TIMEOUT: Duration = Duration::from_secs(120);

/// A program that a test cannot do without.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Peer {
    /// Node with the published JavaScript client.
    Centrifuge,
    /// Python with the published Python client.
    CentrifugePython,
    /// Autobahn's fuzzing client.
    Autobahn,
    /// Python with the published WebRTC stack.
    Aiortc,
    /// The browser, and Node, which drives it.
    Chromium,
    /// The test clients that come with coturn.
    Coturn,
    /// The command-line HTTP client that people copy commands for.
    Curl,
}

impl Peer {
    fn name(self) -> &'static str {
        match self {
            Self::Centrifuge => "Node with the package centrifuge",
            Self::CentrifugePython => "Python with the package centrifuge-python",
            Self::Autobahn => "Autobahn",
            Self::Aiortc => "Python with the package aiortc",
            Self::Chromium => "Chromium with Node",
            Self::Coturn => "coturn",
            Self::Curl => "curl",
        }
    }

    fn is_there(self) -> bool {
        match self {
            Self::Centrifuge => {
                runs("node")
                    && javascript()
                        .join("node_modules/centrifuge/package.json")
                        .is_file()
            }
            Self::CentrifugePython => python().join("installed.txt").is_file(),
            Self::Autobahn => autobahn().join("bin/wstest").is_file(),
            Self::Aiortc => aiortc().join("installed.txt").is_file(),
            Self::Chromium => runs("node") && runs("chromium"),
            Self::Coturn => starts("turnutils_uclient") && starts("turnutils_stunclient"),
            Self::Curl => runs("curl"),
        }
    }
}

/// Whether the program is there; where it is not, the test is [skipped](skip).
#[must_use]
pub(crate) fn require(peer: Peer) -> bool {
    let is_there = peer.is_there();
    if !is_there {
        skip(&format!(
            "{} is not installed; `.ci/setup` installs it or says how",
            peer.name()
        ));
    }
    is_there
}

/// Tells a person loudly that the test did not run, and fails where `CI` is set.
pub(crate) fn skip(why: &str) {
    let is_ci = std::env::var_os("CI").is_some_and(|ci| !ci.is_empty());
    assert!(!is_ci, "{why}");
    let test = thread::current().name().unwrap_or("a test").to_owned();
    announce(&format!("\n  !!  SKIPPED {test}: {why}\n"));
}

/// The folder of the JavaScript scenarios.
fn javascript() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/js")
}

/// The virtual environment of the Python client.
fn python() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/centrifuge-python")
}

/// The folder Autobahn is installed in.
pub(crate) fn autobahn() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/autobahn")
}

/// The virtual environment of aiortc.
pub(crate) fn aiortc() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/aiortc")
}

fn runs(program: &str) -> bool {
    status(Command::new(program).arg("--version")).is_ok_and(|status| status.success())
}

/// For programs that have no version: without arguments they say how they are used, and fail.
fn starts(program: &str) -> bool {
    status(&mut Command::new(program)).is_ok()
}

fn status(command: &mut Command) -> io::Result<ExitStatus> {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
}

/// Plays a topic over a transport with a published client, doing what the scenario asks for on the way, and panics
/// with its log unless its verdict is good. Returns what it reports.
pub(crate) fn play(
    client: Peer,
    transport: &str,
    topic: &str,
    setup: &Value,
    mut asked: impl FnMut(&str),
) -> Value {
    let mut scenario = Scenario::start(client, transport, topic, setup);
    let deadline = Instant::now() + SCENARIO_TIMEOUT;
    loop {
        let line = scenario.lines.next_before(deadline);
        let line =
            line.unwrap_or_else(|| panic!("{transport} {topic} ended, or hung, without a verdict"));
        let mut said: Value = serde_json::from_str(&line)
            .unwrap_or_else(|_| panic!("{transport} {topic} printed {line:?}"));
        if let Some(what) = said["ask"].as_str() {
            asked(what);
            scenario.answer();
            continue;
        }
        if said["verdict"] == "ok" {
            announce(&format!(
                "{}, {transport}, {topic}: {} checks passed",
                client.name(),
                said["checks"]
            ));
            return said["report"].take();
        }
        let log: Vec<&str> = said["log"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        panic!(
            "{}, {transport}, {topic}: {}\n\n{}",
            client.name(),
            said["why"].as_str().unwrap_or(&line),
            log.join("\n")
        );
    }
}

/// A running scenario.
struct Scenario {
    child: Child,
    lines: Lines,
}

impl Scenario {
    fn start(client: Peer, transport: &str, topic: &str, setup: &Value) -> Self {
        let (mut command, script, folder) = match client {
            Peer::CentrifugePython => (
                Command::new(python().join("bin/python")),
                "run.py",
                Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/python"),
            ),
            _ => (Command::new("node"), "run.mjs", javascript()),
        };
        let mut child = command
            .args([script, "--transport", transport, "--setup"])
            .arg(setup.to_string())
            .arg(topic)
            .current_dir(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it was there a moment ago");
        let lines = Lines::of(child.stdout.take().expect("stdout is piped"));
        Self { child, lines }
    }

    fn answer(&mut self) {
        let stdin = self.child.stdin.as_mut().expect("stdin is piped");
        stdin
            .write_all(b"done\n")
            .expect("the scenario waits for the answer");
    }
}

impl Drop for Scenario {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
