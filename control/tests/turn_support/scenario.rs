//! What the scenarios in `peers/turn` do: they run foreign WebRTC stacks, and report what those have heard.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::relay::key_file;
use crate::support::lines::Lines;
use crate::support::server;

/// Longest that a scenario may take; they take a few seconds.
const TIME_LIMIT: Duration = Duration::from_secs(180);

/// Runs the scenario with its setup; the JSON that it prints, and its log in a panic if it prints none.
pub(crate) fn play(program: impl AsRef<OsStr>, scenario: &str, setup: &Value) -> Value {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/turn");
    // Also for what a scenario that is killed leaves.
    let temporary = tempfile::tempdir().expect("a temporary folder");
    let mut child = Command::new(program)
        .arg(folder.join(scenario))
        .arg(setup.to_string())
        // The authority that a client believes.
        .env("SSL_CERT_FILE", key_file("authority.cert.pem"))
        .env("TMPDIR", temporary.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it was there a moment ago");
    let said = Lines::of(child.stdout.take().expect("stdout is piped"));
    let log = Lines::of(child.stderr.take().expect("stderr is piped"));
    let said = said.next_before(Instant::now() + TIME_LIMIT);
    let status = server::wait(&mut child);
    let is_good = status.is_some_and(|status| status.success());
    let report = said.and_then(|line| serde_json::from_str(&line).ok());
    report.filter(|_| is_good).unwrap_or_else(|| {
        let log = log.through(Duration::from_secs(5), |_| false);
        panic!("{scenario} failed, or hung:\n{}", log.join("\n"))
    })
}

/// Numbers and sizes of the messages of these sizes, as scenarios report what they have heard.
pub(crate) fn numbered(sizes: &[usize]) -> Value {
    json!(sizes.iter().enumerate().collect::<Vec<_>>())
}
