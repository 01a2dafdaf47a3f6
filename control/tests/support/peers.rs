//! Programs from elsewhere that talk to the server: where `.ci/setup` puts them, and what happens without them.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::announce;
use super::lines::Lines;

/// Longest that a scenario of the JavaScript client may take; they take a few seconds.
const SCENARIO_TIMEOUT: Duration = Duration::from_secs(120);

/// A program that a test cannot do without.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Peer {
    /// Node with the published JavaScript client.
    Centrifuge,
    /// Autobahn's fuzzing client.
    Autobahn,
    /// The command-line HTTP client that people copy commands for.
    Curl,
}

impl Peer {
    fn name(self) -> &'static str {
        match self {
            Self::Centrifuge => "Node with the package centrifuge",
            Self::Autobahn => "Autobahn",
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
            Self::Autobahn => autobahn().join("bin/wstest").is_file(),
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
pub(crate) fn javascript() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/js")
}

/// The folder Autobahn is installed in.
pub(crate) fn autobahn() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/autobahn")
}

fn runs(program: &str) -> bool {
    Command::new(program)
        .arg("--version")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Runs a scenario of the JavaScript client with its argument, doing what it asks for on the way, and panics
/// with its log unless its verdict is good. Returns what it reports.
pub(crate) fn play(script: &str, argument: &Value, mut asked: impl FnMut(&str)) -> Value {
    let mut node = Node::start(script, argument);
    let deadline = Instant::now() + SCENARIO_TIMEOUT;
    loop {
        let line = node.lines.next_before(deadline);
        let line = line.unwrap_or_else(|| panic!("{script} ended, or hung, without a verdict"));
        let mut said: Value =
            serde_json::from_str(&line).unwrap_or_else(|_| panic!("{script} printed {line:?}"));
        if let Some(what) = said["ask"].as_str() {
            asked(what);
            node.answer();
            continue;
        }
        if said["verdict"] == "ok" {
            announce(&format!("{script}: {} checks passed", said["checks"]));
            return said["report"].take();
        }
        let log: Vec<&str> = said["log"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        panic!(
            "{script}: {}\n\n{}",
            said["why"].as_str().unwrap_or(&line),
            log.join("\n")
        );
    }
}

/// A running scenario.
struct Node {
    child: Child,
    lines: Lines,
}

impl Node {
    fn start(script: &str, argument: &Value) -> Self {
        let mut child = Command::new("node")
            .arg(script)
            .arg(argument.to_string())
            .current_dir(javascript())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("node was there a moment ago");
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

impl Drop for Node {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
