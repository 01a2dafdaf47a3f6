//! CPU, memory and threads of a process.
//!
//! # CPU
//! Two sources, each with a fault: `/proc/PID/task/*/schedstat` counts nanoseconds but forgets a thread when it ends,
//! `/proc/PID/stat` keeps ended threads but counts ticks of 10 ms. Both come from the scheduler's `sum_exec_runtime`, so
//! the larger of the two is right to within a tick. The kernel brings the sum of a thread that runs elsewhere up to date
//! at its own tick only (1-10 ms), so a difference over seconds is good to 1 %, one over 100 ms is not.
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

use super::procfs::{clock_tick, kib_field, malformed, named, read};

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
        let stat = read_stat(pid)?;
        Ok(Self {
            cpu: cpu_of(pid)?,
            rss_bytes: memory.rss_bytes,
            user_bytes: memory.user_bytes,
            threads: stat.threads,
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

/// CPU time of one thread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ThreadCpu {
    /// Thread id.
    pub tid: u32,
    /// Name, at most 15 bytes.
    pub comm: String,
    /// Since the thread began.
    pub cpu: Duration,
}

/// CPU time of each thread of a process that runs now, by thread id.
///
/// # Errors
/// `NotFound` when there is no such process.
pub fn thread_cpus(pid: u32) -> io::Result<Vec<ThreadCpu>> {
    let tick = clock_tick();
    let directory = file(pid, "task");
    let entries = std::fs::read_dir(&directory).map_err(|why| named(&directory, &why))?;
    let mut threads = Vec::new();
    for entry in entries {
        let path = entry.map_err(|why| named(&directory, &why))?.path();
        let Some(tid) = path
            .file_name()
            .and_then(|name| name.to_str()?.parse().ok())
        else {
            continue;
        };
        let stat = match read(path.join("stat")) {
            Ok(text) => Stat::parse(&text).ok_or_else(|| malformed(path.join("stat"), "times"))?,
            // The thread ended since the directory was read.
            Err(why) if why.kind() == io::ErrorKind::NotFound => continue,
            Err(why) => return Err(why),
        };
        // The kernel may be built without schedstat; ticks are what is left then.
        let exact = read(path.join("schedstat")).ok();
        let cpu = exact
            .and_then(|text| parse_schedstat(&text))
            .unwrap_or_else(|| stat.cpu(tick));
        threads.push(ThreadCpu {
            tid,
            comm: stat.comm,
            cpu,
        });
    }
    threads.sort_unstable_by_key(|thread| thread.tid);
    Ok(threads)
}

/// CPU time of a process; see the [module](self) for why it is the larger of two.
fn cpu_of(pid: u32) -> io::Result<Duration> {
    let running = thread_cpus(pid)?.iter().map(|thread| thread.cpu).sum();
    Ok(read_stat(pid)?.cpu(clock_tick()).max(running))
}

fn read_stat(pid: u32) -> io::Result<Stat> {
    let path = file(pid, "stat");
    Stat::parse(&read(&path)?).ok_or_else(|| malformed(&path, "times"))
}

fn file(pid: u32, name: &str) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}/{name}"))
}

/// What is used of `/proc/PID/stat`, proc_pid_stat(5).
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    comm: String,
    ticks: u64,
    threads: u32,
}

impl Stat {
    fn parse(text: &str) -> Option<Self> {
        // The name may hold spaces and parentheses, so it ends at the last one. utime is field 14, stime 15,
        // num_threads 20; the state, field 3, is the first after the name.
        let (before, after) = text.rsplit_once(')')?;
        let (_, comm) = before.split_once('(')?;
        let fields: Vec<&str> = after.split_ascii_whitespace().collect();
        let user: u64 = fields.get(11)?.parse().ok()?;
        let system: u64 = fields.get(12)?.parse().ok()?;
        Some(Self {
            comm: comm.to_owned(),
            ticks: user.checked_add(system)?,
            threads: fields.get(17)?.parse().ok()?,
        })
    }

    fn cpu(&self, tick: Duration) -> Duration {
        Duration::from_nanos_u128(u128::from(self.ticks) * tick.as_nanos())
    }
}

/// The first field of `schedstat`, nanoseconds on a CPU (kernel documentation, scheduler/sched-stats).
fn parse_schedstat(text: &str) -> Option<Duration> {
    let nanos = text.split_ascii_whitespace().next()?.parse().ok()?;
    Some(Duration::from_nanos(nanos))
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
    fn a_stat_line_is_read_whatever_the_name() {
        let stat = Stat::parse(STAT).expect("a whole line");
        assert_eq!(stat.comm, "a) b (c d");
        assert_eq!((stat.ticks, stat.threads), (1800, 2));
        assert_eq!(stat.cpu(Duration::from_millis(10)), Duration::from_secs(18));
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
            &STAT.replace("1234", "x"),
            &STAT.replace("566", "-1"),
            &STAT.replace("1234", "18446744073709551615"),
        ] {
            assert_eq!(Stat::parse(text), None, "{text}");
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

    #[test]
    fn schedstat_is_nanoseconds() {
        assert_eq!(
            parse_schedstat("796116 157916 2\n"),
            Some(Duration::from_nanos(796_116))
        );
        for text in ["", "\n", "x 1 2", "-1 0 0"] {
            assert_eq!(parse_schedstat(text), None, "{text}");
        }
    }
}
