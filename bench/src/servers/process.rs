//! A server's process: pinned, its output in a file, ended by its id.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use fanfare_engine::ring::raise_nofile;

use super::programs::in_path;
use super::{Missing, Spec, StartError};

/// Longest from the start of a server to its first connection.
const READY_WITHIN: Duration = Duration::from_secs(20);

/// Longest from SIGTERM to SIGKILL.
const END_WITHIN: Duration = Duration::from_secs(5);

/// How often something is looked at that is waited for.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Lines of a log that are shown in an error.
const LOG_LINES: usize = 20;

/// A running server.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Runs the program on the cores of the spec. It gets a SIGTERM when this thread ends before it, so not even a SIGKILL to
    /// this program leaves it behind. Its standard input is open as long as this is here: the bare loops end with it.
    pub(super) fn start(
        name: &str,
        program: &Path,
        arguments: &[&OsStr],
        spec: &Spec,
    ) -> Result<Self, StartError> {
        let start = |source| StartError::Start {
            name: name.to_owned(),
            source,
        };
        // Both become the program: the process is the same.
        let mut command = Command::new(util_linux("setpriv")?);
        command.args(["--pdeathsig", "TERM"]);
        if !spec.cpus.is_empty() {
            let cpus: Vec<String> = spec.cpus.iter().map(ToString::to_string).collect();
            command.arg(util_linux("taskset")?);
            command.arg("-c").arg(cpus.join(","));
        }
        command.arg(program);
        // Settings that a person may have for Fanfare are not those of a measurement.
        for (variable, _) in std::env::vars_os() {
            if variable.to_string_lossy().starts_with("FANFARE") {
                command.env_remove(variable);
            }
        }
        // It is inherited, and not every server raises it by itself.
        raise_nofile().map_err(start)?;
        let log = spec.directory.join(format!("{name}.log"));
        let output = File::create(&log).map_err(start)?;
        let errors = output.try_clone().map_err(start)?;
        let child = command
            .args(arguments)
            .current_dir(&spec.directory)
            .stdin(Stdio::piped())
            .stdout(output)
            .stderr(errors)
            .spawn()
            .map_err(start)?;
        Ok(Self {
            name: name.to_owned(),
            child,
            log,
        })
    }

    /// Waits until this is found in what the server has written.
    pub(super) fn wait_for_output<T>(
        &mut self,
        find: impl Fn(&str) -> Option<T>,
    ) -> Result<T, StartError> {
        let log = self.log.clone();
        self.wait_for(|| find(&fs::read_to_string(&log).unwrap_or_default()))
    }

    /// Waits until something listens there.
    pub(super) fn wait_for_listener(&mut self, address: SocketAddr) -> Result<(), StartError> {
        self.wait_for(|| TcpStream::connect(address).ok().map(drop))
    }

    fn wait_for<T>(&mut self, mut look: impl FnMut() -> Option<T>) -> Result<T, StartError> {
        let started = Instant::now();
        loop {
            if let Some(found) = look() {
                return Ok(found);
            }
            let name = self.name.clone();
            let ended = self.child.try_wait();
            let ended = ended.map_err(|source| StartError::Start {
                name: name.clone(),
                source,
            })?;
            if let Some(status) = ended {
                let log = self.log();
                return Err(StartError::Ended { name, status, log });
            }
            let after = started.elapsed();
            if after > READY_WITHIN {
                let log = self.log();
                return Err(StartError::NotReady { name, after, log });
            }
            thread::sleep(LOOK_EVERY);
        }
    }

    /// The process, and those that it has started.
    pub(super) fn pids(&self) -> Vec<u32> {
        let mut pids = vec![self.child.id()];
        pids.extend(children(self.child.id()).iter().map(|one| one.pid));
        pids
    }

    /// The last lines of its log.
    pub(super) fn log(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
    }

    /// Waits for its end and that of these. Returns whether that came in time.
    fn waits_for_end(&mut self, children: &[Started]) -> bool {
        let started = Instant::now();
        while !self.has_ended() || children.iter().any(Started::is_there) {
            if started.elapsed() > END_WITHIN {
                return false;
            }
            thread::sleep(LOOK_EVERY);
        }
        true
    }

    fn has_ended(&mut self) -> bool {
        // Without an answer there is nothing to wait for.
        !matches!(self.child.try_wait(), Ok(None))
    }
}

fn util_linux(name: &str) -> Result<PathBuf, Missing> {
    in_path(name).ok_or_else(|| Missing::debian(name, "util-linux"))
}

impl Drop for Process {
    fn drop(&mut self) {
        let children = children(self.child.id());
        if !self.has_ended() {
            signal("TERM", self.child.id());
        }
        if self.waits_for_end(&[]) {
            // Workers that their master has not ended with itself.
            children.iter().for_each(|child| child.signal("TERM"));
            if self.waits_for_end(&children) {
                return;
            }
        }
        // It fails only when it has ended after all.
        let _ = self.child.kill();
        children.iter().for_each(|child| child.signal("KILL"));
        self.waits_for_end(&children);
    }
}

/// A process that another one started: its id, and when it began, for ids are used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Started {
    pid: u32,
    /// In ticks since boot.
    at: u64,
}

impl Started {
    fn is_there(&self) -> bool {
        stat(self.pid).is_some_and(|(_, one)| one == *self)
    }

    fn signal(&self, name: &str) {
        if self.is_there() {
            signal(name, self.pid);
        }
    }
}

/// The processes whose parent this is. (`/proc/PID/task/TID/children` would say, but not every kernel has it.)
fn children(parent: u32) -> Vec<Started> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(stat)
        .filter_map(|(its_parent, one)| (its_parent == parent).then_some(one))
        .collect()
}

/// The parent of a process and when it began; `None` when it is not there any more, but for its exit status.
fn stat(pid: u32) -> Option<(u32, Started)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // After the name, which may hold anything: the state is field 3, the parent 4, the start 22 (proc_pid_stat(5)).
    let (_, after) = text.rsplit_once(')')?;
    let mut fields = after.split_ascii_whitespace();
    if fields.next()? == "Z" {
        return None;
    }
    let parent = fields.next()?.parse().ok()?;
    let at = fields.nth(17)?.parse().ok()?;
    Some((parent, Started { pid, at }))
}

/// Sends a signal, with the shell's own `kill`: std has none but SIGKILL.
fn signal(name: &str, pid: u32) {
    let sent = Command::new("sh")
        .arg("-c")
        .arg(format!("kill -{name} {pid}"))
        .stderr(Stdio::null())
        .status();
    // It fails when the process has just ended; who waits for that notices when it has not.
    let _ = sent;
}

/// An address of loopback that is free now, for servers that do not tell which one they took.
pub(super) fn free_address(name: &str) -> Result<SocketAddr, StartError> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    let address = listener.and_then(|listener| listener.local_addr());
    address.map_err(|source| StartError::Start {
        name: name.to_owned(),
        source,
    })
}

/// Writes a configuration into the spec's folder.
pub(super) fn write_file(
    name: &str,
    spec: &Spec,
    file: &str,
    text: &str,
) -> Result<PathBuf, StartError> {
    let path = spec.directory.join(file);
    fs::write(&path, text).map_err(|source| StartError::Start {
        name: name.to_owned(),
        source,
    })?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(directory: &Path) -> Spec {
        Spec {
            cpus: vec![0],
            members: 10,
            rooms: 1,
            shards: None,
            directory: directory.to_owned(),
            payload_bytes: 100,
        }
    }

    fn shell(script: &str, directory: &Path) -> Process {
        let arguments = ["-c", script].map(OsStr::new);
        let sh = Path::new("/bin/sh");
        Process::start("shell", sh, &arguments, &spec(directory)).expect("a shell")
    }

    #[test]
    fn a_process_ends_with_its_handle_and_so_do_those_that_it_started() {
        let folder = tempfile::tempdir().expect("a folder");
        // The shell does not pass the signal on.
        let mut process = shell("sleep 1000 & echo ready; wait", folder.path());
        process
            .wait_for_output(|text| text.contains("ready").then_some(()))
            .expect("it says so");
        let pids = process.pids();
        assert_eq!(pids.len(), 2);
        assert!(pids.iter().all(|&pid| stat(pid).is_some()));
        drop(process);
        assert!(pids.iter().all(|&pid| stat(pid).is_none()), "{pids:?}");
    }

    #[test]
    fn a_process_ends_with_who_started_it_even_without_a_word() {
        let folder = tempfile::tempdir().expect("a folder");
        let directory = folder.path().to_owned();
        let starter = thread::spawn(move || {
            let mut process = shell("echo ready; exec sleep 1000", &directory);
            process
                .wait_for_output(|text| text.contains("ready").then_some(()))
                .expect("it says so");
            let pid = process.child.id();
            // As after a SIGKILL: nothing is dropped.
            std::mem::forget(process);
            pid
        });
        let pid = starter.join().expect("a process");
        let deadline = Instant::now() + END_WITHIN;
        while stat(pid).is_some() {
            assert!(Instant::now() < deadline, "{pid} is still there");
            thread::sleep(LOOK_EVERY);
        }
    }

    #[test]
    fn one_that_ends_early_shows_its_log() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut process = shell("echo out of luck; exit 3", folder.path());
        let error = process
            .wait_for_output(|_| None::<()>)
            .expect_err("it ends");
        assert!(matches!(error, StartError::Ended { .. }), "{error}");
        assert!(error.to_string().contains("out of luck"), "{error}");
    }
}
