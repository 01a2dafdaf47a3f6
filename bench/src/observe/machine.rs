//! What a result was measured on.
//!
//! What identifies a machine or a user is left out (host name, addresses, paths), because results are published. What a
//! kernel does not say is absent, so describing never fails.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use serde::{Deserialize, Serialize};

use super::procfs::{kib_field, read};

/// Sysctls that decide how many connections fit and what a write costs.
const SYSCTLS: [&str; 13] = [
    "fs.file-max",
    "fs.nr_open",
    "kernel.io_uring_disabled",
    "net.core.netdev_max_backlog",
    "net.core.somaxconn",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.tcp_congestion_control",
    "net.ipv4.tcp_ehash_entries",
    "net.ipv4.tcp_max_syn_backlog",
    "net.ipv4.tcp_mem",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
    "net.netfilter.nf_conntrack_max",
];

/// A machine, its kernel and limits, and the source that was built.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// Model of the processor.
    pub cpu: Option<String>,
    /// CPUs online, each hardware thread one.
    pub cores: u32,
    /// Hardware threads that share a core.
    pub threads_per_core: Option<u32>,
    /// Whether a hypervisor lies underneath: then times are shared with guests that one does not see.
    pub is_virtual: bool,
    /// Frequency governor of the first CPU; guests have none.
    pub governor: Option<String>,
    /// Memory that the kernel manages.
    pub memory_bytes: u64,
    /// `always`, `madvise` or `never`: decides how much of a heap is resident.
    pub transparent_huge_pages: Option<String>,
    /// Release of the kernel.
    pub kernel: Option<String>,
    /// Name and version of the distribution.
    pub distribution: Option<String>,
    /// Resource limits of this process; a server started by it has the same.
    pub limits: Limits,
    /// Sysctls by name; those that this kernel does not have are left out.
    pub sysctls: BTreeMap<String, String>,
    /// The compiler on the path, which is the one that built this unless someone changed it since.
    pub rustc: Option<String>,
    /// `release` or `debug`: a debug build measures nothing.
    pub profile: String,
    /// Commit of the source that this was built from, `-dirty` when files under version control differ from it; absent
    /// when the source is not there any more or is no work tree.
    pub commit: Option<String>,
}

/// Resource limits, getrlimit(2). `null` is unlimited.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Open files. Also how many files one ring registers.
    pub nofile_soft: Option<u64>,
    /// As high as the soft limit may be raised.
    pub nofile_hard: Option<u64>,
    /// Bytes that may be locked in memory.
    pub memlock_soft_bytes: Option<u64>,
}

impl Machine {
    /// Describes this machine. Runs `rustc` and `git` when they are installed.
    #[must_use]
    pub fn describe() -> Self {
        let cpuinfo = read("/proc/cpuinfo").unwrap_or_default();
        let meminfo = read("/proc/meminfo").unwrap_or_default();
        Self {
            cpu: cpuinfo_field(&cpuinfo, "model name").map(str::to_owned),
            cores: cores(&cpuinfo),
            threads_per_core: threads_per_core(&cpuinfo),
            is_virtual: is_virtual(&cpuinfo),
            governor: line_of("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
            memory_bytes: kib_field(&meminfo, "MemTotal").unwrap_or(0),
            transparent_huge_pages: line_of("/sys/kernel/mm/transparent_hugepage/enabled")
                .and_then(|line| chosen(&line).map(str::to_owned)),
            kernel: line_of("/proc/sys/kernel/osrelease"),
            distribution: read("/etc/os-release")
                .ok()
                .and_then(|text| pretty_name(&text)),
            limits: Limits::parse(&read("/proc/self/limits").unwrap_or_default()),
            sysctls: SYSCTLS
                .into_iter()
                .filter_map(|name| Some((name.to_owned(), sysctl(name)?)))
                .collect(),
            rustc: output(Command::new("rustc").arg("--version")),
            profile: if cfg!(debug_assertions) {
                "debug"
            } else {
                "release"
            }
            .to_owned(),
            commit: commit(Path::new(env!("CARGO_MANIFEST_DIR"))),
        }
    }
}

/// Bytes of memory that can be had without swapping (`MemAvailable`).
#[must_use]
pub fn memory_available() -> Option<u64> {
    kib_field(&read("/proc/meminfo").ok()?, "MemAvailable")
}

impl Limits {
    fn parse(text: &str) -> Self {
        let (nofile_soft, nofile_hard) = limit(text, "Max open files");
        let (memlock_soft_bytes, _) = limit(text, "Max locked memory");
        Self {
            nofile_soft,
            nofile_hard,
            memlock_soft_bytes,
        }
    }
}

/// Soft and hard limit in a line of `/proc/self/limits`; `unlimited` is none, as is a line that is not there.
fn limit(text: &str, name: &str) -> (Option<u64>, Option<u64>) {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let mut values = line
        .unwrap_or_default()
        .split_ascii_whitespace()
        .map(|word| word.parse().ok());
    (values.next().flatten(), values.next().flatten())
}

/// The first value of a field in `/proc/cpuinfo`.
fn cpuinfo_field<'a>(cpuinfo: &'a str, name: &str) -> Option<&'a str> {
    cpuinfo.lines().find_map(|line| {
        let (field, value) = line.split_once(':')?;
        (field.trim_end() == name && !value.trim().is_empty()).then(|| value.trim())
    })
}

fn cores(cpuinfo: &str) -> u32 {
    let listed = cpuinfo
        .lines()
        .filter(|line| line.starts_with("processor"))
        .count();
    u32::try_from(listed).unwrap_or(u32::MAX)
}

/// How many hardware threads share a core: what the package lists over what it has. Not said on ARM.
fn threads_per_core(cpuinfo: &str) -> Option<u32> {
    let threads: u32 = cpuinfo_field(cpuinfo, "siblings")?.parse().ok()?;
    let cores: u32 = cpuinfo_field(cpuinfo, "cpu cores")?.parse().ok()?;
    threads.checked_div(cores)
}

fn is_virtual(cpuinfo: &str) -> bool {
    cpuinfo_field(cpuinfo, "flags").is_some_and(|flags| {
        flags
            .split_ascii_whitespace()
            .any(|flag| flag == "hypervisor")
    })
}

/// The choice in brackets of a file such as `always [madvise] never`.
fn chosen(line: &str) -> Option<&str> {
    line.split_once('[')?
        .1
        .split_once(']')
        .map(|(word, _)| word)
}

fn pretty_name(os_release: &str) -> Option<String> {
    let value = os_release
        .lines()
        .find_map(|line| line.strip_prefix("PRETTY_NAME="))?;
    let name = value.trim().trim_matches('"');
    (!name.is_empty()).then(|| name.to_owned())
}

/// A sysctl's value, one space between its words.
fn sysctl(name: &str) -> Option<String> {
    let line = line_of(&format!("/proc/sys/{}", name.replace('.', "/")))?;
    Some(line.split_ascii_whitespace().collect::<Vec<_>>().join(" "))
}

fn line_of(path: &str) -> Option<String> {
    let text = read(path).ok()?;
    let line = text.lines().next()?.trim();
    (!line.is_empty()).then(|| line.to_owned())
}

/// The commit of a folder's work tree. Files that are not under version control are not looked at: results are written
/// beside the source.
fn commit(source: &Path) -> Option<String> {
    output(Command::new("git").arg("-C").arg(source).args([
        "describe",
        "--always",
        "--dirty",
        "--abbrev=12",
        "--exclude=*",
    ]))
}

/// What a command prints, when it succeeds.
fn output(command: &mut Command) -> Option<String> {
    let output = command
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    let text = String::from_utf8(output.stdout).ok()?;
    let line = text.trim();
    (!line.is_empty()).then(|| line.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const CPUINFO: &str = "processor\t: 0\nmodel name\t: AMD EPYC\nsiblings\t: 4\ncpu cores\t: 2\nflags\t\t: fpu hypervisor lm\n\nprocessor\t: 1\nmodel name\t: AMD EPYC\n";
    const LIMITS: &str =
        "Limit                     Soft Limit           Hard Limit           Units     
Max open files            20000                1048576              files     
Max locked memory         8388608              unlimited            bytes     
";

    #[test]
    fn the_processor_is_described() {
        assert_eq!(cpuinfo_field(CPUINFO, "model name"), Some("AMD EPYC"));
        assert_eq!((cores(CPUINFO), threads_per_core(CPUINFO)), (2, Some(2)));
        assert!(is_virtual(CPUINFO));
        for text in [
            "",
            "flags : fpu lm\n",
            "siblings : 4\ncpu cores : 0\n",
            "siblings : x\n",
        ] {
            assert_eq!(threads_per_core(text), None, "{text}");
            assert!(!is_virtual(text), "{text}");
        }
    }

    #[test]
    fn limits_are_read_and_unlimited_is_none() {
        let limits = Limits::parse(LIMITS);
        assert_eq!(limits.nofile_soft, Some(20_000));
        assert_eq!(limits.nofile_hard, Some(1_048_576));
        assert_eq!(limits.memlock_soft_bytes, Some(8 << 20));
        assert_eq!(limit(LIMITS, "Max locked memory").1, None);
        assert_eq!(Limits::parse("Max open files"), Limits::default());
    }

    #[test]
    fn words_in_brackets_and_quotes() {
        assert_eq!(chosen("always [madvise] never"), Some("madvise"));
        assert_eq!(chosen("always madvise never"), None);
        assert_eq!(chosen("always [madvise"), None);
        let text = "NAME=\"Debian\"\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n";
        assert_eq!(
            pretty_name(text).as_deref(),
            Some("Debian GNU/Linux 12 (bookworm)")
        );
        assert_eq!(pretty_name("PRETTY_NAME=\"\"\n"), None);
    }

    #[test]
    fn a_folder_without_a_work_tree_has_no_commit() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        assert_eq!(commit(folder.path()), None);
        assert_eq!(commit(&folder.path().join("gone")), None);
    }

    #[test]
    fn this_machine_is_described() {
        let machine = Machine::describe();
        assert!(machine.cores > 0 && machine.memory_bytes > 0);
        assert!(machine.kernel.is_some());
        assert!(machine.sysctls.contains_key("net.core.somaxconn"));
        assert!(
            machine.sysctls.values().all(|value| !value.contains('\t')),
            "{:?}",
            machine.sysctls
        );
    }
}
