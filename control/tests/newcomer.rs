//! A newcomer starts `fanfare` without a configuration and copies the two commands of its banner.
#![allow(missing_docs)]

mod support;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use support::banner::Banner;
use support::lines::Lines;
use support::peers::{self, Peer};
use support::{http, server};

/// Longest that any step may take.
const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn the_commands_of_the_banner_work_as_printed() {
    if !peers::require(Peer::Curl) {
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut fanfare = Started(
        server::program()
            // The default ports may be taken on this machine. Everything else is as it comes.
            .env("FANFARE__CLIENT__ADDRESSES", "0.0.0.0:0")
            .env("FANFARE__API__ADDRESS", "127.0.0.1:0")
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the server was built with this test"),
    );
    let banner = Banner::read(fanfare.0.stdout.take().expect("stdout is piped")).expect("a banner");
    let tail_command = banner
        .command("fanfare tail")
        .expect("a command that joins a room");
    let push_command = banner.command("curl").expect("a command that pushes");

    // A second terminal, somewhere else on the machine.
    let elsewhere = tempfile::tempdir().expect("a temporary folder");
    let mut tail = Started(shell(tail_command, elsewhere.path()));
    let heard = Lines::of(tail.0.stdout.take().expect("stdout is piped"));
    let counted = shell(&format!("{tail_command} --count 1"), elsewhere.path());
    wait_for_members(&banner, 2);

    // A third.
    let pushed = finish(shell(push_command, elsewhere.path()));
    let answer: Value = serde_json::from_slice(&pushed.stdout).unwrap_or_default();
    assert!(pushed.status.success(), "{push_command}: {pushed:?}");
    assert_eq!(
        answer["result"]["members"]["total"], 2,
        "{push_command}: {answer}"
    );

    let line = heard
        .next_before(Instant::now() + PATIENCE)
        .expect("the push arrives");
    assert_eq!(json(&line), json(r#"{"text": "hello"}"#), "{tail_command}");
    let counted = finish(counted);
    assert!(
        counted.status.success(),
        "{tail_command} --count 1: {counted:?}"
    );
    let lines = String::from_utf8(counted.stdout).expect("JSON is UTF-8");
    assert_eq!(
        lines.lines().map(json).collect::<Vec<_>>(),
        [json(r#"{"text": "hello"}"#)]
    );

    let secrets = folder.path().join("fanfare-data/secrets.toml");
    let mode = fs::metadata(&secrets).map(|metadata| metadata.permissions());
    assert_eq!(
        mode.expect("secrets were made").mode() & 0o777,
        Permissions::from_mode(0o600).mode()
    );

    // Those still there would be sent away one after the other, over ten seconds.
    drop(tail);
    server::terminate(&fanfare.0);
    let status = server::wait(&mut fanfare.0);
    assert!(
        status.is_some_and(|status| status.success()),
        "after SIGTERM: {status:?}"
    );
}

/// A child that does not outlive the test.
struct Started(Child);

impl Drop for Started {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs a command line as a shell does that it is pasted into.
fn shell(line: &str, folder: &Path) -> Child {
    Command::new("sh")
        // exec: so that a signal to the child reaches the program and not the shell alone.
        .args(["-c", &format!("exec {line}")])
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("there is a shell")
}

fn finish(mut child: Child) -> Output {
    // It prints a line or two, so the pipes cannot fill before it ends.
    let status = server::wait(&mut child);
    let output = child.wait_with_output().expect("our own child");
    assert!(status.is_some(), "did not end by itself: {output:?}");
    output
}

/// Waits until so many are in the banner's room.
fn wait_for_members(banner: &Banner, expected: u64) {
    let push = banner.command("curl").unwrap_or_default();
    let key = push
        .split("X-API-Key: ")
        .nth(1)
        .and_then(|rest| rest.split('\'').next())
        .expect("the banner's key");
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = http::request(
            banner.control,
            "POST",
            "/api/channels",
            &[("X-API-Key", key)],
            "{}",
        );
        let answer = answer.expect("the control API answers");
        if json(&answer.body)["result"]["channels"]["demo"]["num_clients"] == expected {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "waited {PATIENCE:?} for {expected} members: {answer:?}"
        );
        thread::sleep(Duration::from_millis(10));
    }
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| panic!("not JSON: {text}"))
}
