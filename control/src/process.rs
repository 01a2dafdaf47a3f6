//! What the kernel says of this process, from /proc.

use std::fs;
use std::time::{Duration, UNIX_EPOCH};

/// Each number is absent when the kernel does not tell it.
#[derive(Debug, Default)]
pub(crate) struct Numbers {
    pub(crate) resident_bytes: Option<u64>,
    pub(crate) virtual_bytes: Option<u64>,
    pub(crate) open_fds: Option<u64>,
    pub(crate) max_fds: Option<u64>,
    pub(crate) threads: Option<u64>,
    pub(crate) started_at: Option<u64>,
    pub(crate) cpu_seconds: Option<f64>,
}

/// Clock ticks per second in /proc: always 100 towards user space (`USER_HZ`).
const TICKS_PER_SECOND: u64 = 100;

pub(crate) fn read() -> Numbers {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The second field is the name in parentheses and may hold anything; the third follows the last ')'.
    let stat: Vec<&str> = stat
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .collect();
    let ticks = |field: usize| {
        stat.get(field - 3)
            .and_then(|text| text.parse::<u64>().ok())
    };
    Numbers {
        resident_bytes: kibibytes(&status, "VmRSS:"),
        virtual_bytes: kibibytes(&status, "VmSize:"),
        open_fds: fs::read_dir("/proc/self/fd")
            .ok()
            .map(|entries| u64::try_from(entries.count()).unwrap_or(0)),
        max_fds: limits.lines().find_map(|line| {
            line.strip_prefix("Max open files")?
                .split_whitespace()
                .next()?
                .parse()
                .ok()
        }),
        threads: status
            .lines()
            .find_map(|line| line.strip_prefix("Threads:")?.trim().parse().ok()),
        started_at: ticks(22).and_then(|ticks| Some(boot_time()? + ticks / TICKS_PER_SECOND)),
        cpu_seconds: ticks(14).zip(ticks(15)).map(|(user, system)| {
            Duration::from_millis((user + system) * (1_000 / TICKS_PER_SECOND)).as_secs_f64()
        }),
    }
}

fn kibibytes(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1_024)
}

fn boot_time() -> Option<u64> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    let seconds: u64 = stat
        .lines()
        .find_map(|line| line.strip_prefix("btime ")?.trim().parse().ok())?;
    // A clock that was set back would give nonsense; then there is no answer.
    let now = UNIX_EPOCH.elapsed().ok()?.as_secs();
    (seconds <= now).then_some(seconds)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_kernel_tells_every_number() {
        let numbers = super::read();
        assert!(
            numbers.resident_bytes.is_some_and(|bytes| bytes > 100_000),
            "{numbers:?}"
        );
        assert!(numbers.virtual_bytes >= numbers.resident_bytes);
        assert!(numbers.open_fds.is_some_and(|count| count >= 3));
        assert!(numbers.max_fds >= numbers.open_fds);
        assert!(numbers.threads.is_some_and(|count| count >= 1));
        assert!(numbers.started_at.is_some_and(|at| at > 1_500_000_000));
        assert!(
            numbers
                .cpu_seconds
                .is_some_and(|seconds| seconds < 10_000.0)
        );
    }
}
