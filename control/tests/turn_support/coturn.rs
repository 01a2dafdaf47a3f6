//! coturn's clients, of Debian's package `coturn`, as child processes; what they print is read.

use std::fs::{self, File};
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::PATIENCE;
use super::credentials::SECRET;
use super::relay::Relay;
use super::road::Road;
use crate::support::server;

/// The address that coturn's STUN client is told it has when it comes from this one.
pub(crate) fn mapped_address(relay: &Relay, road: Road, from: &str) -> String {
    let port = relay.port(road).to_string();
    let (status, output) = run(
        "turnutils_stunclient",
        &["-p", &port, "-L", from, road.host()],
    );
    assert!(
        status.is_some_and(|it| it.success()),
        "{status:?}\n{output}"
    );
    let mapped = output
        .lines()
        .find_map(|line| line.split_once("UDP reflexive addr: "));
    let (_, mapped) = mapped.unwrap_or_else(|| panic!("no address:\n{output}"));
    let (ip, _port) = mapped.rsplit_once(':').expect("an address and a port");
    ip.to_owned()
}

/// A way to use `turnutils_uclient`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Usage {
    pub(crate) road: Road,
    pub(crate) options: &'static str,
    /// How the lines may begin that tell of errors and belong to this usage.
    pub(crate) errors: &'static [&'static str],
}

/// What one `turnutils_uclient` has said.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) sent: u64,
    pub(crate) received: u64,
    /// Relayed addresses in the order in which they were given, those of earlier tries included.
    pub(crate) relayed: Vec<SocketAddr>,
}

/// Bytes of each message.
pub(crate) const MESSAGE_BYTES: u64 = 101;

/// Runs it to its end, and fails unless all that it sent has come back.
pub(crate) fn exchange(relay: &Relay, usage: &Usage, more: &str) -> Report {
    let port = relay.port(usage.road).to_string();
    let bytes = MESSAGE_BYTES.to_string();
    let mut arguments = vec!["-v", "-W", SECRET, "-u", "anna", "-m", "1"];
    arguments.extend(["-p", &port, "-l", &bytes]);
    arguments.extend(usage.options.split_whitespace());
    arguments.extend(more.split_whitespace());
    arguments.push(usage.road.host());

    let mut relayed = Vec::new();
    for _ in 0..3 {
        let (status, output) = run("turnutils_uclient", &arguments);
        relayed.extend(relayed_addresses(&output));
        // It draws channels by chance, one of 16,384 times 0x7FFF, which RFC 5766 section 11 reserves and we refuse. It gives
        // up then; there is no other reason for this error.
        let is_unlucky = output.contains("channel bind: error 400");
        if is_unlucky && !status.is_some_and(|it| it.success()) {
            continue;
        }
        let (sent, received) = verdict(usage, status, &output);
        return Report {
            sent,
            received,
            relayed,
        };
    }
    panic!("{usage:?}: channels are refused each time");
}

/// How much was sent and received. It ends with 0 whatever was lost, so what it prints has to be read.
fn verdict(usage: &Usage, status: Option<ExitStatus>, output: &str) -> (u64, u64) {
    let why = |what: &str| {
        format!(
            "{usage:?}: {what}: {status:?}\n{}",
            server::last_lines(output, 80)
        )
    };
    assert!(status.is_some_and(|it| it.success()), "{}", why("failed"));
    for line in output.lines() {
        let text = line.split_once(": : ").map_or(line, |(_, text)| text);
        let small = text.to_ascii_lowercase();
        let is_bad = ["error", "wrong", "cannot", "unknown"]
            .iter()
            .any(|word| small.contains(word));
        let is_known = usage.errors.iter().any(|known| text.starts_with(known));
        assert!(!is_bad || is_known, "{}", why(line));
    }
    let last = |key: &str| {
        let (_, after) = output.rsplit_once(key)?;
        let digits = after.split(|it: char| !it.is_ascii_digit()).next();
        digits.and_then(|digits| digits.parse::<u64>().ok())
    };
    let lost = last("Total lost packets ");
    assert_eq!(lost, Some(0), "{}", why("lost some"));
    let dropped = last("total send dropped ");
    assert_eq!(dropped, Some(0), "{}", why("could not send some"));
    let both = last("tot_send_msgs=").zip(last("tot_recv_msgs="));
    both.unwrap_or_else(|| panic!("{}", why("no counts")))
}

fn relayed_addresses(output: &str) -> Vec<SocketAddr> {
    let given = output
        .lines()
        .filter_map(|line| line.split_once("Received relay addr: "));
    given
        .map(|(_, address)| {
            // IPv6 is printed without brackets.
            let (ip, port) = address.rsplit_once(':').expect("an address and a port");
            let ip = ip.parse().expect("an address");
            SocketAddr::new(ip, port.parse().expect("a port"))
        })
        .collect()
}

/// Runs one of them to its end. It has a directory of its own, since each names files after its process and the time,
/// and a file for its output, since a pipe that is read only at the end would be full before.
fn run(program: &str, arguments: &[&str]) -> (Option<ExitStatus>, String) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut child = spawn(program, arguments, folder.path());
    let status = server::wait(&mut child);
    let output = fs::read(folder.path().join("output")).expect("the temporary folder is ours");
    (status, String::from_utf8_lossy(&output).into_owned())
}

fn spawn(program: &str, arguments: &[&str], folder: &Path) -> Child {
    let output = File::create(folder.join("output")).expect("the temporary folder is ours");
    Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(output.try_clone().expect("a handle of it"))
        .stderr(output)
        .spawn()
        .expect("it was there a moment ago")
}

/// `turnutils_peer`: sends every datagram back.
#[derive(Debug)]
pub(crate) struct Echo {
    child: Child,
    pub(crate) port: u16,
    _folder: TempDir,
}

impl Echo {
    /// Starts it and waits until it answers.
    pub(crate) fn start() -> Self {
        // It cannot be told to have the kernel choose.
        let free = UdpSocket::bind(("127.0.0.1", 0)).and_then(|socket| socket.local_addr());
        let port = free.expect("a free port").port();
        let folder = tempfile::tempdir().expect("a temporary folder");
        let arguments = ["-L", "127.0.0.1", "-p", &port.to_string()];
        let echo = Self {
            child: spawn("turnutils_peer", &arguments, folder.path()),
            port,
            _folder: folder,
        };
        let socket = UdpSocket::bind(("127.0.0.1", 0)).expect("a socket");
        let pause = Some(Duration::from_millis(50));
        socket.set_read_timeout(pause).expect("a timeout");
        socket.connect(("127.0.0.1", port)).expect("an address");
        let deadline = Instant::now() + PATIENCE;
        loop {
            // Refused until it listens.
            let _ = socket.send(b"here?");
            let mut answer = [0; 16];
            if socket.recv(&mut answer).is_ok() {
                return echo;
            }
            assert!(Instant::now() < deadline, "turnutils_peer does not answer");
        }
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
