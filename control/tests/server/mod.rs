//! Runs the real server for a test, on free ports and in a directory of its own.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "every test file uses a part of it"
)]

#[path = "../support/mod.rs"]
pub(crate) mod support;

use std::io::{BufRead, BufReader, Read};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use support::banner::Banner;
use support::http::{self, Answer};

const PATIENCE: Duration = Duration::from_secs(20);

/// A running server; killed when dropped.
pub struct Server {
    child: Child,
    pub dir: TempDir,
    pub banner: String,
    /// `host:port` of the control API.
    pub api: String,
    pub key: String,
}

impl Server {
    /// Starts with a configuration and waits for its banner.
    pub fn start(config: &str) -> Self {
        let dir = TempDir::new().expect("a directory");
        std::fs::write(dir.path().join("fanfare.toml"), config).expect("a file");
        let mut child = fanfare(dir.path())
            .env("FANFARE__CLIENT__ADDRESSES", "127.0.0.1:0")
            .env("FANFARE__API__ADDRESS", "127.0.0.1:0")
            .env("FANFARE__ENGINE__SHARDS", "2")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary runs");
        let Some(banner) = Banner::read(child.stdout.take().expect("piped")) else {
            let _ = child.kill();
            let mut log = String::new();
            let _ = child.stderr.take().expect("piped").read_to_string(&mut log);
            panic!("the server has no banner:\n{log}");
        };
        Self {
            api: banner.control.to_string(),
            key: between(&banner.text, "X-API-Key: ", "'").to_owned(),
            child,
            dir,
            banner: banner.text,
        }
    }

    /// The line of the banner that holds the text.
    pub fn banner_line(&self, text: &str) -> &str {
        self.banner
            .lines()
            .find(|line| line.contains(text))
            .expect("it is in the banner")
            .trim()
    }

    /// `host:port` of clients.
    pub fn clients(&self) -> &str {
        between(&self.banner, "ws://", "/connection/websocket")
    }

    /// A connection to the control API.
    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.api).expect("the API listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream
    }

    /// `POST /api/<method>` with the key.
    pub(crate) fn call(&self, method: &str, body: &str) -> Answer {
        self.http(
            "POST",
            &format!("/api/{method}"),
            &[("X-API-Key", &self.key)],
            body,
        )
    }

    /// Any request to the control API.
    pub(crate) fn http(
        &self,
        verb: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        let api = self.api.parse().expect("an address");
        http::request(api, verb, path, headers, body).unwrap_or_else(|error| panic!("{error}"))
    }

    /// A command of the same binary, in the server's directory, that finds its configuration and secrets.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = fanfare(self.dir.path());
        command
            .env("FANFARE__CLIENT__ADDRESSES", self.clients())
            .env("FANFARE__API__ADDRESS", &self.api)
            .args(arguments);
        command
    }

    /// Runs such a command to its end.
    pub fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("the binary runs")
    }

    /// Starts `fanfare tail` and waits until it has joined.
    pub fn tail(&self, arguments: &[&str]) -> Tail {
        let mut command = self.command(&["tail"]);
        command.args(arguments);
        Tail::start(command)
    }

    /// Sends a signal by name.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .args([&format!("-{name}"), &self.child.id().to_string()])
            .status();
        assert!(status.expect("kill runs").success());
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> ExitStatus {
        wait(&mut self.child)
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("a child").is_none()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A running `fanfare tail`.
pub struct Tail {
    child: Child,
    said: BufReader<std::process::ChildStderr>,
}

impl Tail {
    pub fn start(mut command: Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary runs");
        let said = BufReader::new(child.stderr.take().expect("piped"));
        let mut tail = Self { child, said };
        let line = tail.said();
        assert!(line.starts_with("joined "), "{line}");
        tail
    }

    /// The next line on its standard error.
    pub fn said(&mut self) -> String {
        let mut line = String::new();
        self.said.read_line(&mut line).expect("text");
        line.trim().to_owned()
    }

    /// Waits for its end; what it printed.
    pub fn finish(mut self) -> (Option<i32>, Vec<String>) {
        let status = wait(&mut self.child);
        let mut text = String::new();
        self.child
            .stdout
            .take()
            .expect("piped")
            .read_to_string(&mut text)
            .expect("text");
        (status.code(), text.lines().map(str::to_owned).collect())
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The binary, with nothing of this process's environment that it would take for configuration.
pub fn fanfare(dir: &Path) -> Command {
    let mut command = support::server::program();
    command.current_dir(dir);
    command
}

/// Until the condition holds; fails when it takes too long.
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "{what} took too long");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn wait(child: &mut Child) -> ExitStatus {
    let mut status = None;
    eventually("the end of a process", || {
        status = child.try_wait().expect("a child");
        status.is_some()
    });
    status.expect("it ended")
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> &'a str {
    let (_, rest) = text
        .split_once(before)
        .unwrap_or_else(|| panic!("no {before:?} in {text}"));
    rest.split_once(after)
        .unwrap_or_else(|| panic!("no {after:?} in {rest}"))
        .0
}
