//! CPU, memory and threads of a process.
//!
//! # CPU
//! The process's own clock, `clock_getcpuclockid(3)`: nanoseconds, ended threads included, and the kernel brings the sum
//! of a thread that runs elsewhere up to date when it is read. `/proc` was tried and is wrong over short spans: `stat`
//! counts ticks of 10 ms, `task/*/schedstat` forgets a thread when it ends, and both lag by up to a tick behind a thread
//! that runs, so that a server which had just done a thousand sends was seen to have done nothing.
//!
//! # User bytes
//! `Pss_Anon + Pss_Shmem + SwapPss` of `smaps_rollup`: pages that the process filled (heap, stacks, written data
//! segments, shared zones such as those of nginx), each divided by the processes that map it, so that the sum over a
//! server's processes counts a page once. `Private_Dirty` was tried and is wrong here: io_uring's rings are kernel pages
//! mapped into the process, and the half of them that has been written appears there (8 rings of 16,384 entries: 8 MB).
//! They are counted with the kernel's memory instead.

use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::time::clock_getcpuclockid;
use nix::unistd::Pid;

use super::procfs::{kib_field, malformed, read};

/// What a process has used and holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// CPU time of all threads since the process began, in user space and in its system calls; see the
    /// [module](self).
    pub cpu: Duration,
    /// Resident bytes, shared pages and the executable included.
    pub rss_bytes: u64,
    /// Bytes that the process itself filled, shared pages divided; see the [module](self).
    pub user_bytes: u64,
    /// Threads that run now; io_uring's workers are among them.
    pub threads: u32,
}

impl Usage {
    /// Reads `/proc/PID`. Takes some milliseconds for a process of gigabytes, whose page tables the kernel walks.
    ///
    /// # Errors
    /// `NotFound` when there is no such process, `PermissionDenied` when it belongs to someone else, `InvalidData` when
    /// the kernel is older than 5.4 and does not say what is anonymous.
    pub fn of(pid: u32) -> io::Result<Self> {
        let path = file(pid, "smaps_rollup");
        let memory = Memory::parse(&read(&path)?).ok_or_else(|| malformed(&path, "Pss_Anon"))?;
        Ok(Self {
            cpu: cpu_of(pid)?,
            rss_bytes: memory.rss_bytes,
            user_bytes: memory.user_bytes,
            threads: threads_of(pid)?,
        })
    }

    /// The sum over the processes of one server.
    ///
    /// # Errors
    /// Those of [`Usage::of`]; a process that has ended is an error and not zero.
    pub fn of_all(pids: &[u32]) -> io::Result<Self> {
        pids.iter().try_fold(Self::default(), |sum, pid| {
            let one = Self::of(*pid)?;
            Ok(Self {
                cpu: sum.cpu + one.cpu,
                rss_bytes: sum.rss_bytes + one.rss_bytes,
                user_bytes: sum.user_bytes + one.user_bytes,
                threads: sum.threads + one.threads,
            })
        })
    }

    /// This process.
    ///
    /// # Errors
    /// Those of [`Usage::of`].
    pub fn own() -> io::Result<Self> {
        Self::of(std::process::id())
    }
}

/// The CPU time of processes between two moments.
#[derive(Debug, Clone)]
pub struct CpuMeter {
    began_at: Instant,
    began: Vec<(u32, Duration)>,
}

/// What a [`CpuMeter`] has seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CpuUse {
    /// CPU time of the processes, all threads.
    pub cpu: Duration,
    /// Time that passed.
    pub wall: Duration,
}

impl CpuMeter {
    /// Begins to count, for the processes with these ids. Children that they start later are not counted.
    ///
    /// # Errors
    /// `NotFound` when one of them does not exist.
    pub fn start(pids: &[u32]) -> io::Result<Self> {
        let began_at = Instant::now();
        let began = pids
            .iter()
            .map(|pid| Ok((*pid, cpu_of(*pid)?)))
            .collect::<io::Result<_>>()?;
        Ok(Self { began_at, began })
    }

    /// What was used since the start. The meter goes on.
    ///
    /// # Errors
    /// `NotFound` when one of the processes has ended.
    pub fn elapsed(&self) -> io::Result<CpuUse> {
        let wall = self.began_at.elapsed();
        let cpu = self
            .began
            .iter()
            .try_fold(Duration::ZERO, |sum, (pid, then)| {
                Ok::<_, io::Error>(sum + cpu_of(*pid)?.saturating_sub(*then))
            })?;
        Ok(CpuUse { cpu, wall })
    }
}

impl CpuUse {
    /// Cores that were busy on average; 0 when no time has passed.
    #[must_use]
    pub fn cores(&self) -> f64 {
        if self.wall.is_zero() {
            return 0.0;
        }
        self.cpu.as_secs_f64() / self.wall.as_secs_f64()
    }
}

/// CPU time of a process; see the [module](self).
fn cpu_of(pid: u32) -> io::Result<Duration> {
    let gone =
        |why: Errno| io::Error::new(io::ErrorKind::NotFound, format!("process {pid}: {why}"));
    // Of 0, the call would give the clock of its caller.
    let id = i32::try_from(pid).ok().filter(|id| *id > 0);
    let id = id.ok_or_else(|| gone(Errno::ESRCH))?;
    let clock = clock_getcpuclockid(Pid::from_raw(id)).map_err(gone)?;
    Ok(clock.now().map_err(gone)?.into())
}

fn threads_of(pid: u32) -> io::Result<u32> {
    let path = file(pid, "stat");
    parse_threads(&read(&path)?).ok_or_else(|| malformed(&path, "number of threads"))
}

fn file(pid: u32, name: &str) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}/{name}"))
}

/// `num_threads` of `/proc/PID/stat`, proc_pid_stat(5).
fn parse_threads(text: &str) -> Option<u32> {
    // The name may hold spaces and parentheses, so it ends at the last one. num_threads is field 20; the state, field 3,
    // is the first after the name.
    let (_, after) = text.rsplit_once(')')?;
    after.split_ascii_whitespace().nth(17)?.parse().ok()
}

/// What is used of `/proc/PID/smaps_rollup`.
#[derive(Debug, PartialEq, Eq)]
struct Memory {
    rss_bytes: u64,
    user_bytes: u64,
}

impl Memory {
    fn parse(text: &str) -> Option<Self> {
        let user = ["Pss_Anon", "Pss_Shmem", "SwapPss"]
            .into_iter()
            .try_fold(0_u64, |sum, name| sum.checked_add(kib_field(text, name)?))?;
        Some(Self {
            rss_bytes: kib_field(text, "Rss")?,
            user_bytes: user,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Linux 6.18, a server with two threads; the name is the worst that `prctl(PR_SET_NAME)` allows.
    const STAT: &str = "27420 (a) b (c d) R 27415 27415 24576 0 -1 4194304 103 0 0 0 1234 566 0 0 20 0 2 0 1192284 \
        3133440 375 18446744073709551615 94015081091072 94015081110953 140721043498480 0 0 0 0 0 0 0 0 0 17 0 0 0 0\n";

    const ROLLUP: &str =
        "55819782f000-7ffc2bcf7000 ---p 00000000 00:00 0                          [rollup]
Rss:               19020 kB
Pss:               17578 kB
Pss_Dirty:          9276 kB
Pss_Anon:            136 kB
Pss_File:          17442 kB
Pss_Shmem:            64 kB
Private_Clean:      8160 kB
Private_Dirty:      9272 kB
Anonymous:           136 kB
Swap:                 12 kB
SwapPss:               8 kB
Locked:                0 kB
";

    #[test]
    fn threads_are_found_whatever_the_name() {
        assert_eq!(parse_threads(STAT), Some(2));
    }

    #[test]
    fn cut_or_foreign_stat_lines_are_refused() {
        let after_name = STAT.rfind(')').expect("the name");
        for text in [
            "",
            "27420",
            "27420 (cat",
            &STAT[..=after_name],
            &STAT[..after_name + 20],
            &STAT.replace(" 2 0 1192284", " x 0 1192284"),
        ] {
            assert_eq!(parse_threads(text), None, "{text}");
        }
    }

    #[test]
    fn rings_are_not_user_bytes() {
        let memory = Memory::parse(ROLLUP).expect("a whole file");
        assert_eq!(memory.rss_bytes, 19_020 * 1024);
        assert_eq!(memory.user_bytes, (136 + 64 + 8) * 1024);
    }

    #[test]
    fn a_rollup_without_what_is_needed_is_refused() {
        for name in ["Rss", "Pss_Anon", "Pss_Shmem", "SwapPss"] {
            let text: String = ROLLUP
                .lines()
                .filter(|line| !line.starts_with(&format!("{name}:")))
                .map(|line| format!("{line}\n"))
                .collect();
            assert_eq!(Memory::parse(&text), None, "{name}");
        }
        assert_eq!(Memory::parse(""), None);
    }
}
