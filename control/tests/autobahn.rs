//! Autobahn's fuzzing client against the WebSocket codec as it runs in the server: every case on framing, pings,
//! reserved bits, opcodes, fragmentation, UTF-8, closing and size (RFC 6455), three ways of receiving.
//!
//! Cases 12 and 13 are permessage-deflate (RFC 7692), of which one parameter is declined: see [`DECLINED`]. The echo
//! endpoint exists only in builds with the feature `echo`.
#![allow(missing_docs)]

mod support;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::announce;
use support::peers::{self, Peer};
use support::server::Server;

/// Cases outside 12 and 13, and in them, as the suite's release 25.10.1 counts them.
const CASES: usize = 301;
const COMPRESSED_CASES: usize = 216;

/// Of 12 and 13 what does not take long: 18 sizes of messages and of fragments each.
const SOME_COMPRESSED: [&str; 3] = ["12.1.*", "13.1.*", "13.3.*"];
const SOME_COMPRESSED_CASES: usize = 3 * 18;

/// Cases that offer compression only with a window of 2^9 bytes for what the server sends. All members share one
/// encoding, and so one window, which is larger: docs/decisions/006-shared-deflate.md. They go on uncompressed.
const DECLINED: [&str; 2] = ["13.3.", "13.5."];

/// Longest that one run may take; see the figures at the tests.
const RUN_TIMEOUT: Duration = Duration::from_secs(1800);

/// Room for cases 9: messages of 16 MiB; 4 MiB in fragments of 64 bytes, which are 65,536 and an empty last one; an
/// echo that waits whole for a client that does not read; lanes that hold two of the largest messages. An echo
/// connection never authenticates, and pings of our own would disturb the cases.
const LIMITS: &str = "
api.answer_bytes_max = 67108864

[limits]
message_bytes_max = 16777216
fragments_max = 65537
direct_bytes_max = 67108864
direct_bytes_per_shard_max = 268435456
handshake_timeout = \"5m\"
message_timeout = \"5m\"
ping_interval = \"1h\"

[rooms]
lane_bytes_max = 33554432
";

/// One run at a time: the client gives some answers ten seconds, for which two runs would compete.
static ALONE: Mutex<()> = Mutex::new(());

// The times below were measured on 2 cores of a shared virtual machine, at opt-level 1. No case is left out of the
// two slow ways: cases 9 send some 150 MiB, byte by byte in two and a half minutes.

/// 13 s.
#[test]
fn every_case_passes() {
    fuzz("as configured by default", "", Cases::Plain);
}

/// JSON of every size, a client that asks for no window and one that asks for a small one. 70 s.
#[test]
fn every_compressed_case_of_three_kinds_passes() {
    fuzz("compressed, in part", "", Cases::SomeCompressed);
}

/// Gigabytes, compressed and inflated: `.ci/deep` runs it. 8 min.
#[test]
#[ignore = "takes longer than all the others together; .ci/deep runs it"]
fn every_compressed_case_passes() {
    fuzz("compressed", "", Cases::Compressed);
}

/// 157 s.
#[test]
fn every_case_passes_one_byte_per_read() {
    fuzz(
        "one byte per read",
        "receive_buffer_bytes = 1",
        Cases::Plain,
    );
}

/// 25 s.
#[test]
fn every_case_passes_with_eight_buffers_of_sixteen_bytes() {
    fuzz(
        "8 buffers of 16 bytes",
        "receive_buffers = 8\nreceive_buffer_bytes = 16",
        Cases::Plain,
    );
}

/// Which cases of the suite.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cases {
    Plain,
    Compressed,
    SomeCompressed,
}

fn fuzz(way: &str, engine: &str, cases: Cases) {
    if !cfg!(feature = "echo") {
        return peers::skip("built without the feature `echo`; `.ci/test` builds with it");
    }
    if !peers::require(Peer::Autobahn) {
        return;
    }
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let server = Server::start(&format!(
        "client.compression = true\n{LIMITS}\n[engine]\n{engine}\n"
    ));
    let compressed = ["12.*", "13.*"];
    let (included, excluded, count) = match cases {
        Cases::Plain => (&["*"][..], &compressed[..], CASES),
        Cases::Compressed => (&compressed[..], &[][..], COMPRESSED_CASES),
        Cases::SomeCompressed => (&SOME_COMPRESSED[..], &[][..], SOME_COMPRESSED_CASES),
    };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let specification = json!({
        "outdir": "reports",
        "servers": [{"agent": "fanfare", "url": format!("ws://{}/echo", server.clients())}],
        "cases": included,
        "exclude-cases": excluded,
        "exclude-agent-cases": {},
    });
    fs::write(folder.path().join("fuzz.json"), specification.to_string())
        .expect("the temporary folder is ours");

    let started = Instant::now();
    run_client(folder.path());
    let took = started.elapsed();

    let verdicts = Verdicts::read(&folder.path().join("reports"));
    verdicts.assert_good(way, count);
    assert!(server.is_ready(), "{way}: the server is not ready any more");
    announce(&format!(
        "Autobahn, {way}: {}, in {:.1} s",
        verdicts.summary(),
        took.as_secs_f64()
    ));
}

/// Runs the fuzzing client to its end.
fn run_client(folder: &Path) {
    let log = folder.join("wstest.log");
    let out = File::create(&log).expect("the temporary folder is ours");
    let mut client = Command::new(peers::autobahn().join("bin/wstest"))
        .args(["-m", "fuzzingclient", "-s", "fuzz.json"])
        .env("PYTHONUSERBASE", peers::autobahn())
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(out.try_clone().expect("a second handle of an open file"))
        .stderr(out)
        .spawn()
        .expect("Autobahn was there a moment ago");
    let deadline = Instant::now() + RUN_TIMEOUT;
    let status = loop {
        if let Some(status) = client.try_wait().expect("our own child") {
            break Some(status);
        }
        if Instant::now() > deadline {
            client.kill().expect("our own child");
            client.wait().expect("our own child");
            break None;
        }
        thread::sleep(Duration::from_millis(50));
    };
    let said = fs::read_to_string(&log).unwrap_or_default();
    assert!(
        status.is_some_and(|status| status.success()),
        "the fuzzing client ended with {status:?} (none: after {RUN_TIMEOUT:?}), saying:\n{}",
        support::server::last_lines(&said, 40)
    );
}

/// What became of each case, and the suite's words for those that went wrong.
struct Verdicts {
    by_case: BTreeMap<String, [String; 2]>,
    explained: Vec<String>,
}

impl Verdicts {
    fn read(reports: &Path) -> Self {
        let index = read_json(&reports.join("index.json"));
        let cases = index["fanfare"]
            .as_object()
            .expect("the index lists the agent");
        let mut by_case = BTreeMap::new();
        let mut explained = Vec::new();
        for (case, outcome) in cases {
            let word = |key: &str| outcome[key].as_str().unwrap_or("none").to_owned();
            let verdict = [word("behavior"), word("behaviorClose")];
            let is_declined = DECLINED.iter().any(|cases| case.starts_with(cases));
            let is_as_expected = if is_declined {
                verdict[0] == "UNIMPLEMENTED"
            } else {
                verdict.iter().all(|word| is_good(word))
            };
            if !is_as_expected {
                let report = read_json(&reports.join(word("reportfile")));
                explained.push(format!(
                    "{case}: {verdict:?}: {} / {}",
                    report["result"], report["resultClose"]
                ));
            }
            by_case.insert(case.clone(), verdict);
        }
        Self { by_case, explained }
    }

    fn assert_good(&self, way: &str, count: usize) {
        assert!(
            self.explained.is_empty(),
            "{way}: {} of {} cases went wrong:\n{}",
            self.explained.len(),
            self.by_case.len(),
            self.explained.join("\n")
        );
        assert_eq!(self.by_case.len(), count, "{way}: number of cases run");
    }

    fn summary(&self) -> String {
        let count = |word: &str| {
            let verdicts = self.by_case.values();
            verdicts.filter(|verdict| verdict[0] == word).count()
        };
        format!(
            "{} cases: {} OK, {} informational, {} declined",
            self.by_case.len(),
            count("OK"),
            count("INFORMATIONAL"),
            count("UNIMPLEMENTED")
        )
    }
}

/// INFORMATIONAL is the suite's word where the RFC leaves the behaviour open; NON-STRICT is not good enough.
fn is_good(verdict: &str) -> bool {
    matches!(verdict, "OK" | "INFORMATIONAL")
}

fn read_json(path: &Path) -> Value {
    let text =
        fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
