//! The memory of another process, as `/proc` tells it (proc_pid_status(5)).

use std::fmt;
use std::fs;

/// Resident memory of a process, in bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Memory {
    /// All of it.
    pub(crate) resident: u64,
    /// The most it ever was.
    pub(crate) peak: u64,
    /// Heap, stacks, and everything else that is its own (`RssAnon`).
    pub(crate) anonymous: u64,
    /// Pages of its executable and libraries, which are shared and can be dropped (`RssFile`).
    pub(crate) file: u64,
    /// Shared memory (`RssShmem`).
    pub(crate) shared: u64,
    /// How much of it is in transparent huge pages, of which a single byte in use makes 2 MiB resident.
    pub(crate) huge: u64,
}

impl Memory {
    pub(crate) fn of(pid: u32) -> Self {
        let status = File::read(pid, "status");
        Self {
            resident: status.bytes("VmRSS"),
            peak: status.bytes("VmHWM"),
            anonymous: status.bytes("RssAnon"),
            file: status.bytes("RssFile"),
            shared: status.bytes("RssShmem"),
            huge: File::read(pid, "smaps_rollup").bytes("AnonHugePages"),
        }
    }
}

/// A file of `/proc` with lines such as `VmRSS:     1234 kB`.
struct File {
    path: String,
    text: String,
}

impl File {
    fn read(pid: u32, name: &str) -> Self {
        let path = format!("/proc/{pid}/{name}");
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        Self { path, text }
    }

    fn bytes(&self, name: &str) -> u64 {
        let line = self
            .text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        kilobytes.unwrap_or_else(|| panic!("{} has no {name}:\n{}", self.path, self.text)) * 1024
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "resident {} KiB (anonymous {}, of it {} in huge pages; file {}; shared {}), peak {}",
            self.resident / 1024,
            self.anonymous / 1024,
            self.huge / 1024,
            self.file / 1024,
            self.shared / 1024,
            self.peak / 1024
        )
    }
}
