//! The built server as a child process: started on free ports, stopped by a signal, started again on the same.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use super::banner::Banner;
use super::http;

/// Longest from the start to `/ready`, and from SIGTERM to the end.
const PATIENCE: Duration = Duration::from_secs(30);

/// How a server is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// SIGTERM, and exit code 0 is expected.
    Terminate,
    /// SIGKILL.
    Kill,
}

/// A server with a data directory of its own, killed when dropped.
#[derive(Debug)]
pub(crate) struct Server {
    folder: TempDir,
    config: String,
    running: Option<Child>,
    clients: SocketAddr,
    control: SocketAddr,
}

impl Server {
    /// Starts a server with this TOML besides its addresses, and waits until it is ready.
    pub(crate) fn start(config: &str) -> Self {
        let mut server = Self {
            folder: tempfile::tempdir().expect("a temporary folder"),
            config: config.to_owned(),
            running: None,
            clients: SocketAddr::from(([127, 0, 0, 1], 0)),
            control: SocketAddr::from(([127, 0, 0, 1], 0)),
        };
        server.start_again();
        server
    }

    /// Starts it again after [`stop`](Self::stop): same ports, same data directory.
    pub(crate) fn start_again(&mut self) {
        assert!(self.running.is_none(), "the server runs already");
        self.write_config();
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log_file());
        let mut child = self
            .command()
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log.expect("the temporary folder is ours"))
            .spawn()
            .expect("the server was built with this test");
        let stdout = child.stdout.take().expect("stdout is piped");
        self.running = Some(child);
        let banner = Banner::read(stdout).expect("the server prints its banner");
        self.clients = banner.clients;
        self.control = banner.control;
        // Now with the ports, so that its own commands find it, and so that it has them when it starts again.
        self.write_config();
        self.wait_until_ready();
    }

    /// Stops it and waits for its end.
    pub(crate) fn stop(&mut self, how: Stop) {
        let mut child = self.running.take().expect("the server runs");
        match how {
            Stop::Kill => child.kill().expect("our own child"),
            Stop::Terminate => terminate(&child),
        }
        let status = wait(&mut child);
        if how == Stop::Terminate {
            assert!(
                status.is_some_and(|status| status.success()),
                "after SIGTERM the server ended with {status:?}"
            );
        }
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.running.as_ref().expect("the server runs").id()
    }

    /// Where clients connect.
    pub(crate) fn clients(&self) -> SocketAddr {
        self.clients
    }

    /// Where the control API listens.
    pub(crate) fn control(&self) -> SocketAddr {
        self.control
    }

    /// Whether it says that it is ready.
    pub(crate) fn is_ready(&self) -> bool {
        http::request(self.control, "GET", "/ready", &[], "")
            .is_ok_and(|answer| answer.status == 200)
    }

    /// The API key that it made at its first start.
    pub(crate) fn api_key(&self) -> String {
        let file = self.data_dir().join("secrets.toml");
        let text =
            fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let secrets: toml::Table = text.parse().expect("the server's own file");
        secrets["api_key"].as_str().expect("a string").to_owned()
    }

    /// A token for the user, made by the server's own command.
    pub(crate) fn token(&self, user: &str) -> String {
        let output = self
            .command()
            .args(["token", "--user", user])
            .output()
            .expect("the server was built");
        assert!(
            output.status.success(),
            "fanfare token: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout)
            .expect("tokens are ASCII")
            .trim()
            .to_owned()
    }

    /// Calls the control API: the result, or the whole answer in a panic.
    pub(crate) fn api(&self, method: &str, body: &Value) -> Value {
        let headers = [
            ("X-API-Key", &*self.api_key()),
            ("Content-Type", "application/json"),
        ];
        let answer = http::request(
            self.control,
            "POST",
            &format!("/api/{method}"),
            &headers,
            &body.to_string(),
        )
        .unwrap_or_else(|error| panic!("api {method}: {error}"));
        let mut said: Value = serde_json::from_str(&answer.body).unwrap_or_default();
        assert!(
            answer.status == 200 && said["result"].is_object(),
            "api {method}: {answer:?}"
        );
        said["result"].take()
    }

    /// The program with this server's configuration and data directory, and nothing of our own environment.
    pub(crate) fn command(&self) -> Command {
        let mut command = program();
        command
            .arg("--config")
            .arg(self.config_file())
            .arg("--data-dir")
            .arg(self.data_dir());
        command.current_dir(self.folder.path());
        command
    }

    fn write_config(&self) {
        let addresses = format!(
            "client.addresses = [\"{}\"]\napi.address = \"{}\"\n",
            self.clients, self.control
        );
        fs::write(self.config_file(), addresses + &self.config)
            .expect("the temporary folder is ours");
    }

    fn wait_until_ready(&self) {
        let deadline = Instant::now() + PATIENCE;
        while !self.is_ready() {
            assert!(Instant::now() < deadline, "not ready after {PATIENCE:?}");
            thread::sleep(Duration::from_millis(10));
        }
    }

    fn config_file(&self) -> PathBuf {
        self.folder.path().join("fanfare.toml")
    }

    fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn log_file(&self) -> PathBuf {
        self.folder.path().join("server.log")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut child) = self.running.take() {
            // Both fail only when it has ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
        if thread::panicking() {
            let log = fs::read_to_string(self.log_file()).unwrap_or_default();
            eprintln!("the server's log:\n{}", last_lines(&log, 60));
        }
    }
}

/// The program, without the settings that a person may have in the environment.
pub(crate) fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fanfare"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("FANFARE") {
            command.env_remove(name);
        }
    }
    command
}

/// Asks the process to end.
pub(crate) fn terminate(child: &Child) {
    // The shell's own `kill`: there is no signal in std, and no need for a crate.
    let sent = Command::new("sh")
        .args(["-c", &format!("kill -TERM {}", child.id())])
        .status();
    assert!(
        sent.is_ok_and(|status| status.success()),
        "SIGTERM could not be sent"
    );
}

/// Waits for the end of the process; kills it when that takes too long.
pub(crate) fn wait(child: &mut Child) -> Option<ExitStatus> {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        if let Some(status) = child.try_wait().expect("our own child") {
            return Some(status);
        }
        thread::sleep(Duration::from_millis(10));
    }
    child.kill().expect("our own child");
    child.wait().expect("our own child");
    None
}

pub(crate) fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}
