//! CPU time of the whole machine, from `/proc/stat`.
//!
//! On a shared virtual machine another guest's work is seen here as stolen time, and here only: a process just runs
//! slower. What is busy beyond the server and the load generator belongs to kernel threads or to somebody else.

use std::io;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::procfs::{clock_tick, malformed, read};

const STAT: &str = "/proc/stat";

/// The CPU time of the machine from a moment on.
#[derive(Debug, Clone)]
pub struct HostMeter {
    began_at: Instant,
    began: Times,
}

/// How busy the machine was.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct HostLoad {
    /// Cores busy on average, with everything that ran, interrupts included and stolen time not.
    pub busy_cores: f64,
    /// Cores that the hypervisor gave to other guests while this one had work for them.
    pub stolen_cores: f64,
}

impl HostMeter {
    /// Begins to count.
    ///
    /// # Errors
    /// `InvalidData` when `/proc/stat` is not as proc_stat(5) says.
    pub fn start() -> io::Result<Self> {
        Ok(Self {
            began_at: Instant::now(),
            began: Times::now()?,
        })
    }

    /// The load since the start, in steps of 10 ms of CPU time. The meter goes on.
    ///
    /// # Errors
    /// Those of [`HostMeter::start`].
    pub fn elapsed(&self) -> io::Result<HostLoad> {
        let wall = self.began_at.elapsed().as_secs_f64();
        let now = Times::now()?;
        let tick = clock_tick();
        let cores = |ticks: u64| seconds(ticks, tick) / wall.max(f64::MIN_POSITIVE);
        Ok(HostLoad {
            busy_cores: cores(now.busy.saturating_sub(self.began.busy)),
            stolen_cores: cores(now.stolen.saturating_sub(self.began.stolen)),
        })
    }
}

/// Sums since the machine began, in ticks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Times {
    busy: u64,
    stolen: u64,
}

impl Times {
    fn now() -> io::Result<Self> {
        Self::parse(&read(STAT)?).ok_or_else(|| malformed(STAT, "CPU times"))
    }

    fn parse(text: &str) -> Option<Self> {
        let line = text.lines().find_map(|line| line.strip_prefix("cpu "))?;
        let times: Vec<u64> = line
            .split_ascii_whitespace()
            .map_while(|field| field.parse().ok())
            .collect();
        // user nice system idle iowait irq softirq steal; guest time, after these, is in user already.
        let [user, nice, system, _, _, irq, softirq, stolen] = *times.first_chunk()?;
        let busy = [nice, system, irq, softirq]
            .into_iter()
            .try_fold(user, u64::checked_add)?;
        Some(Self { busy, stolen })
    }
}

fn seconds(ticks: u64, tick: Duration) -> f64 {
    // Exact to 2^53 ticks: a machine of a thousand cores reaches that after thousands of years.
    ticks as f64 * tick.as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str =
        "cpu  1000 1 200 9000 50 3 40 7 5 0\ncpu0 500 0 100 4500 25 1 20 3 0 0\nctxt 12\n";

    #[test]
    fn idle_and_guest_time_are_not_busy() {
        let times = Times::parse(TEXT).expect("a whole file");
        assert_eq!((times.busy, times.stolen), (1000 + 1 + 200 + 3 + 40, 7));
    }

    #[test]
    fn malformed_times_are_refused() {
        for text in [
            "",
            "cpu ",
            "cpu0 1 2 3 4 5 6 7 8\n",
            "cpu  1 2 3 4 5 6 7\n",
            "cpu  1 2 3 x 5 6 7 8\n",
        ] {
            assert_eq!(Times::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_busy_thread_is_seen() {
        let meter = HostMeter::start().expect("/proc/stat");
        let end = Instant::now() + Duration::from_millis(300);
        while Instant::now() < end {
            std::hint::spin_loop();
        }
        let load = meter.elapsed().expect("/proc/stat");
        assert!(
            load.busy_cores + load.stolen_cores > 0.3,
            "one core was kept busy: {load:?}"
        );
    }
}
