//! What a case costs while it runs, and how that is entered in its result.

use std::time::{Duration, Instant};

use fanfare_bench::observe::{
    CpuMeter, CpuUse, HostLoad, HostMeter, KernelMemory, Usage, memory_available,
};
use fanfare_bench::report::{LatencyMs, Measurement, Sample, latency_cdf};
use fanfare_bench::swarm::Outcome;

use super::Failure;
use super::server::{Cpus, Server};

/// Memory that has to be left. Members that read more slowly than they are sent to let the kernel fill it, and then it ends
/// whom it chooses.
const MEMORY_LEFT_MIN: u64 = 256 << 20;

/// Part of its cores above which the load generator counts as the bottleneck.
const CLIENT_BUSY: f64 = 0.97;

/// CPU time of both sides and of the machine over a part of a run.
pub(crate) struct Meters {
    server: Option<CpuMeter>,
    client: CpuMeter,
    host: HostMeter,
}

/// What [`Meters`] saw.
pub(crate) struct Spent {
    pub(crate) server: Option<CpuUse>,
    pub(crate) client: CpuUse,
    pub(crate) host: HostLoad,
}

impl Meters {
    pub(crate) fn start(server: &Server) -> Result<Self, Failure> {
        let own = [std::process::id()];
        let server = match server.pids.as_slice() {
            [] => None,
            pids => Some(CpuMeter::start(pids).map_err(Failure::Observe)?),
        };
        Ok(Self {
            server,
            client: CpuMeter::start(&own).map_err(Failure::Observe)?,
            host: HostMeter::start().map_err(Failure::Observe)?,
        })
    }

    pub(crate) fn read(&self) -> Result<Spent, Failure> {
        let server = self.server.as_ref().map(CpuMeter::elapsed).transpose();
        Ok(Spent {
            server: server.map_err(Failure::Observe)?,
            client: self.client.elapsed().map_err(Failure::Observe)?,
            host: self.host.elapsed().map_err(Failure::Observe)?,
        })
    }
}

impl Spent {
    /// Enters the use of cores.
    pub(crate) fn enter(&self, cpus: &Cpus, result: &mut Measurement) {
        let cores = self.client.cores();
        result.server.cpu_cores = self.server.as_ref().map(CpuUse::cores);
        result.client.cpu_cores = Some(cores);
        result.client.saturated = Some(cores > CLIENT_BUSY * cpus.client.len() as f64);
        result.client.rss_bytes = Usage::own().ok().map(|usage| usage.rss_bytes);
        result.host = Some(self.host);
    }

    /// CPU time of the server, in ns.
    pub(crate) fn server_ns(&self) -> Option<f64> {
        self.server.map(|used| used.cpu.as_secs_f64() * 1e9)
    }
}

/// Samples the throughput about once a second.
pub(crate) struct Sampler {
    began: Instant,
    last_at: f64,
    last_deliveries: u64,
    last_writes: Option<u64>,
    pub(crate) samples: Vec<Sample>,
    /// Largest resident size seen.
    pub(crate) rss_bytes: u64,
}

impl Sampler {
    pub(crate) fn start(deliveries: u64, writes: Option<u64>) -> Self {
        Self {
            began: Instant::now(),
            last_at: 0.0,
            last_deliveries: deliveries,
            last_writes: writes,
            samples: Vec::new(),
            rss_bytes: 0,
        }
    }

    pub(crate) fn is_due(&self) -> bool {
        self.began.elapsed().as_secs_f64() - self.last_at >= 1.0
    }

    pub(crate) fn sample(&mut self, deliveries: u64, server: &Server) {
        let writes = server.writes();
        let at_s = self.began.elapsed().as_secs_f64();
        let seconds = at_s - self.last_at;
        let per_s = |now: u64, before: u64| now.saturating_sub(before) as f64 / seconds;
        self.samples.push(Sample {
            at_s,
            deliveries_per_s: per_s(deliveries, self.last_deliveries),
            writes_per_s: writes
                .zip(self.last_writes)
                .map(|(now, before)| per_s(now, before)),
        });
        self.last_at = at_s;
        self.last_deliveries = deliveries;
        self.last_writes = writes;
        self.look(server);
    }

    /// Looks at the resident size.
    pub(crate) fn look(&mut self, server: &Server) {
        if let Some(usage) = server.usage() {
            self.rss_bytes = self.rss_bytes.max(usage.rss_bytes);
        }
    }
}

/// Enters how late the members heard.
pub(crate) fn enter_latency(outcome: &Outcome, result: &mut Measurement) {
    let us = Duration::from_micros(1);
    result.latency_ms = LatencyMs::of(&outcome.latency_us, us);
    result.latency_cdf = latency_cdf(&outcome.latency_us, us);
}

/// Enters what connections cost in memory, all idle.
pub(crate) fn enter_memory(
    server: &Server,
    empty: &(Option<Usage>, Option<KernelMemory>),
    members: u32,
    result: &mut Measurement,
) {
    let members = u64::from(members);
    if let (Some(before), Some(now)) = (&empty.0, server.usage()) {
        let grown = now.user_bytes.saturating_sub(before.user_bytes);
        result.server.user_bytes_per_connection = Some(grown as f64 / members as f64);
    }
    if let (Some(before), Ok(now)) = (&empty.1, KernelMemory::now()) {
        let grown = now.since(before);
        result.server.kernel_bytes_per_connection =
            Some(grown.total_bytes() as f64 / members as f64 / 2.0);
        result.notes.push(
            "Both ends of every connection are on this machine, and the kernel keeps the same for either: its bytes per \
             connection are half of what its memory grew by."
                .to_owned(),
        );
        result.kernel_growth = Some(grown);
    }
}

/// Whether there is still memory for what members have not read yet.
///
/// # Errors
/// When there is too little.
pub(crate) fn check_memory() -> Result<(), Failure> {
    match memory_available() {
        Some(left) if left < MEMORY_LEFT_MIN => Err(Failure::OutOfMemory { left }),
        _ => Ok(()),
    }
}
