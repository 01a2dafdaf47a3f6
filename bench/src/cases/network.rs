//! Where large runs have their network: in a namespace of their own, with room for their connections.
//!
//! Every connection of a run has both ends on this machine, and is found in the kernel's table of connections for every
//! segment. By default that has 262,144 entries on 24 GB, in which a million connections form chains of seven: 15 to 19 % of
//! the time of the core that sends (34 instead of 40 million deliveries a second). A host that is to hold a million connections
//! gets a larger table with `thash_entries=` at boot; a network namespace can have one without that.

use std::env;
use std::fs::{self, OpenOptions};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::ValueEnum;

use super::Failure;

/// What enters the namespace; a shell runs it.
const SCRIPT: &str = include_str!("own-network.sh");

/// Set for the program that runs in it.
const ENTERED: &str = "FANFARE_BENCH_OWN_NETWORK";

/// Connections from which on a run gets a network of its own, where the choice is not made.
const CONNECTIONS_MIN: u32 = 200_000;

/// The kernel's limit (`net.ipv4.tcp_child_ehash_entries`).
const ENTRIES_MAX: u32 = 16 << 20;

const TCP_MEM: &str = "/proc/sys/net/ipv4/tcp_mem";
const CHILD_ENTRIES: &str = "/proc/sys/net/ipv4/tcp_child_ehash_entries";

/// Whose network a run uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Network {
    /// A namespace of its own with a larger table of connections, and net.ipv4.tcp_mem raised meanwhile; needs root
    Own,
    /// That in which the program was started
    Host,
}

/// Goes on in the network that a run with so many connections needs. Does not return when that is another one: this process
/// then becomes another that has it.
///
/// # Errors
/// When the one that was asked for cannot be had.
pub(crate) fn settle(
    chosen: Option<Network>,
    is_elsewhere: bool,
    connections: u32,
) -> Result<(), Failure> {
    let wants = chosen == Some(Network::Own);
    if is_elsewhere && wants {
        let why = "--network own is for servers that are started here, not for --target";
        return Err(Failure::Usage(why.to_owned()));
    }
    if is_elsewhere || env::var_os(ENTERED).is_some() {
        return Ok(());
    }
    if chosen.is_none() && connections >= CONNECTIONS_MIN || wants {
        match obstacle() {
            None => return Err(enter(connections)),
            Some(obstacle) if wants => {
                return Err(Failure::Usage(format!(
                    "--network own is not possible here: {obstacle}"
                )));
            }
            Some(obstacle) => {
                eprintln!("This runs in the host's network, not in one of its own: {obstacle}.");
            }
        }
    }
    if let Some(needed) = tcp_memory().and_then(|present| missing_memory(present, connections)) {
        eprintln!(
            "net.ipv4.tcp_mem may be too small for both ends of {connections} connections, past which everything crawls: \
             sysctl -w net.ipv4.tcp_mem=\"{needed}\""
        );
    }
    Ok(())
}

/// What a result should say of the network it was measured in.
pub(crate) fn note() -> Option<String> {
    let text = env::var(ENTERED).ok()?;
    Some(format!("In a network namespace of its own: {text}."))
}

/// What keeps a network of its own from being made.
fn obstacle() -> Option<String> {
    for program in ["sh", "unshare", "setpriv", "flock", "ip"] {
        if in_path(program).is_none() {
            return Some(format!("there is no `{program}`"));
        }
    }
    for file in [CHILD_ENTRIES, TCP_MEM] {
        if let Err(error) = OpenOptions::new().write(true).open(file) {
            return Some(format!("{file}: {error}"));
        }
    }
    let made = Command::new("unshare").args(["--net", "true"]).output();
    match made {
        Ok(made) if made.status.success() => None,
        Ok(made) => Some(String::from_utf8_lossy(&made.stderr).trim().to_owned()),
        Err(error) => Some(format!("unshare: {error}")),
    }
}

fn in_path(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}

/// Becomes the script, which runs this program again. Returns why it could not.
fn enter(connections: u32) -> Failure {
    let memory = tcp_memory().and_then(|present| missing_memory(present, connections));
    let program = match env::current_exe() {
        Ok(program) => program,
        Err(error) => return Failure::Usage(format!("cannot find this program: {error}")),
    };
    let error = Command::new("sh")
        .args(["-c", SCRIPT, "own-network.sh"])
        .arg(entries(connections).to_string())
        .arg(memory.as_deref().unwrap_or_default())
        .arg(program)
        .args(env::args_os().skip(1))
        .env(ENTERED, description(connections, memory.as_deref()))
        .exec();
    Failure::Usage(format!("cannot run a shell: {error}"))
}

fn description(connections: u32, memory: Option<&str>) -> String {
    let entries = entries(connections);
    match memory {
        Some(memory) => {
            format!("a table of {entries} TCP connections, and net.ipv4.tcp_mem raised to {memory}")
        }
        None => format!("a table of {entries} TCP connections"),
    }
}

/// Entries of a table in which chains are short: two ends of each connection, and as many free.
fn entries(connections: u32) -> u32 {
    connections
        .saturating_mul(4)
        .checked_next_power_of_two()
        .unwrap_or(ENTRIES_MAX)
        .min(ENTRIES_MAX)
}

fn tcp_memory() -> Option<[u64; 3]> {
    parse(&fs::read_to_string(Path::new(TCP_MEM)).ok()?)
}

fn parse(text: &str) -> Option<[u64; 3]> {
    let pages: Vec<u64> = text
        .split_whitespace()
        .map(str::parse)
        .collect::<Result<_, _>>()
        .ok()?;
    pages.try_into().ok()
}

/// What `net.ipv4.tcp_mem` has to be for both ends of so many connections, if it is less. Pages: an end may be charged with one
/// while little is on its way; at 0.8 the kernel drops, at 0.65 it begins to save.
fn missing_memory(present: [u64; 3], connections: u32) -> Option<String> {
    let ends = u64::from(connections) * 2;
    let needed = [ends / 2, ends * 13 / 20, ends * 4 / 5];
    (present[2] < needed[2]).then(|| needed.map(|pages| pages.to_string()).join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_million_connections_need_more_than_24_gigabytes_give_by_default() {
        let default = parse("287901\t383868\t575802\n").expect("three numbers");
        let needed = missing_memory(default, 1_000_000).expect("more");
        assert_eq!(needed, "1000000 1300000 1600000");
        assert_eq!(missing_memory(default, 300_000), None);
        let raised = parse(&needed).expect("three numbers");
        assert_eq!(missing_memory(raised, 1_000_000), None);
        assert_eq!(parse("1 2"), None);
    }

    #[test]
    fn tables_are_powers_of_two_within_the_kernels_limit() {
        assert_eq!(entries(1_000_000), 4 << 20);
        assert_eq!(entries(u32::MAX), ENTRIES_MAX);
    }
}
