//! What one case measured against one server.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::SCHEMA;
use crate::observe::{HostLoad, KernelMemory, Machine};

/// The result of a case. What the case does not measure is `None`, in JSON null.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Measurement {
    /// Version of these fields, [`SCHEMA`].
    pub schema: u32,
    /// What was run: `fanout`, `seed`, `latency`, `idle`, `connect`, `publish`, `floor`.
    pub case: String,
    /// The protocol that the clients spoke.
    pub dialect: Option<String>,
    /// When the run began, RFC 3339 in UTC.
    pub started_at: String,
    /// The whole run: starting, connecting, warming up, measuring, draining.
    pub seconds_total: f64,
    /// What was measured of it; rates and CPU are of this part.
    pub seconds: Option<f64>,

    /// Connections that were open while it was measured.
    pub connections: Option<u64>,
    /// Rooms that they were in, each in one.
    pub rooms: Option<u64>,
    /// Bytes of a publication's payload, without any framing.
    pub payload_bytes: Option<u64>,
    /// Publications offered per second, all rooms together.
    pub rate_per_s: Option<f64>,

    /// Publications that the server took.
    pub published: Option<u64>,
    /// Publications taken per second.
    pub publications_per_s: Option<f64>,
    /// Publications heard, each client's counted.
    pub deliveries: Option<u64>,
    /// Publications heard per second.
    pub deliveries_per_s: Option<f64>,
    /// Sends of the server per second; a send may carry several deliveries.
    pub writes_per_s: Option<f64>,
    /// Bytes that clients received per second, framing included, headers of TCP not.
    pub received_bytes_per_s: Option<f64>,
    /// Handshakes completed per second.
    pub connects_per_s: Option<f64>,

    /// Deliveries that were due and never came.
    pub lost: Option<u64>,
    /// Deliveries that came again.
    pub duplicated: Option<u64>,
    /// Deliveries that came after a later one.
    pub reordered: Option<u64>,
    /// Deliveries with other bytes than they should have, and announced gaps that are none.
    pub corrupted: Option<u64>,
    /// Deliveries that the server said it left out.
    pub skipped: Option<u64>,

    /// From the moment a publication was due to be pushed until a client held it.
    pub latency_ms: LatencyMs,
    /// The server under measurement.
    pub server: Server,
    /// The load generator.
    pub client: Client,
    /// The machine as a whole while it was measured.
    pub host: Option<HostLoad>,
    /// What the kernel's memory grew by from before the first connection until all were idle, both ends.
    pub kernel_growth: Option<KernelMemory>,

    /// CPU time of the server per send.
    pub cpu_ns_per_write: Option<f64>,
    /// CPU time of the server per delivery.
    pub cpu_ns_per_delivery: Option<f64>,
    /// CPU time of the server per connection and second; for idle connections.
    pub cpu_ns_per_connection_s: Option<f64>,
    /// The same sends without an engine, in the same run.
    pub floor: Floor,
    /// The server's CPU time per write over that of the loop on io_uring: the median of the rounds.
    pub ratio_to_floor: Option<f64>,
    /// The same over that of the loop of send(2).
    pub ratio_to_send: Option<f64>,

    /// How it went over time.
    pub throughput: Vec<Sample>,
    /// Milliseconds and the fraction of deliveries that took no longer, both ascending.
    pub latency_cdf: Vec<(f64, f64)>,
    /// What a reader must know to judge the figures.
    pub notes: Vec<String>,
    /// What it was measured on.
    pub machine: Machine,
}

/// Latencies in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct LatencyMs {
    /// Half were no longer.
    pub p50: Option<f64>,
    /// 90 %.
    pub p90: Option<f64>,
    /// 99 %.
    pub p99: Option<f64>,
    /// 99.9 %.
    pub p999: Option<f64>,
    /// 99.99 %.
    pub p9999: Option<f64>,
    /// The longest.
    pub max: Option<f64>,
}

/// The server under measurement.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Server {
    /// `fanfare`, or that of a baseline or peer.
    pub name: Option<String>,
    /// Its version, as it says it.
    pub version: Option<String>,
    /// Shards, workers or threads that it was told to use.
    pub shards: Option<u32>,
    /// Cores busy on average, its system calls included.
    pub cpu_cores: Option<f64>,
    /// Resident bytes at the largest of what was sampled.
    pub rss_bytes: Option<u64>,
    /// Growth of the bytes that it filled itself, over the connections. `observe::process` says what is counted.
    pub user_bytes_per_connection: Option<f64>,
    /// Growth of the kernel's memory over the connections, one end. `notes` says how the clients' end was taken off.
    pub kernel_bytes_per_connection: Option<f64>,
}

/// The load generator.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Client {
    /// Cores busy on average, its system calls included.
    pub cpu_cores: Option<f64>,
    /// Whether it had no core time left, so that the figures are its limit and not the server's.
    pub saturated: Option<bool>,
    /// Resident bytes at the end.
    pub rss_bytes: Option<u64>,
}

/// Bare loops that send the same bytes to the same sockets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Floor {
    /// CPU time per write of a loop on io_uring.
    pub cpu_ns_per_write: Option<f64>,
    /// CPU time per write of a loop of send(2).
    pub send_cpu_ns_per_write: Option<f64>,
}

/// A part of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// Seconds since the measured part began, at the end of this part.
    pub at_s: f64,
    /// Deliveries per second since the sample before.
    pub deliveries_per_s: f64,
    /// Sends per second since the sample before.
    pub writes_per_s: Option<f64>,
}

impl Measurement {
    /// A result in which nothing is measured yet.
    #[must_use]
    pub fn new(case: &str, started: SystemTime, machine: Machine) -> Self {
        Self {
            schema: SCHEMA,
            case: case.to_owned(),
            started_at: rfc3339_utc(started),
            machine,
            ..Self::default()
        }
    }
}

impl LatencyMs {
    /// Of a histogram whose values count this unit; all none when it is empty.
    #[must_use]
    pub fn of(histogram: &Histogram<u64>, unit: Duration) -> Self {
        if histogram.is_empty() {
            return Self::default();
        }
        let at = |quantile| Some(to_ms(histogram.value_at_quantile(quantile), unit));
        Self {
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            p9999: at(0.9999),
            max: Some(to_ms(histogram.max(), unit)),
        }
    }
}

/// The distribution of a histogram whose values count this unit, some hundred points at most, densest in the tail.
#[must_use]
pub fn latency_cdf(histogram: &Histogram<u64>, unit: Duration) -> Vec<(f64, f64)> {
    /// Points until half of the values, then as many until half of what is left, and so on.
    const POINTS_PER_HALF: u32 = 10;
    let mut points: Vec<(f64, f64)> = histogram
        .iter_quantiles(POINTS_PER_HALF)
        .map(|step| {
            let highest = step.value_iterated_to().min(histogram.max());
            (to_ms(highest, unit), step.quantile())
        })
        .collect();
    points.dedup();
    points
}

fn to_ms(value: u64, unit: Duration) -> f64 {
    // Latencies are far below 2^53 of any unit, so the conversion is exact.
    value as f64 * unit.as_secs_f64() * 1e3
}

/// A time as RFC 3339 writes it, in UTC and whole seconds: `2026-03-01T12:00:00Z`. Times before 1970 are 1970.
#[must_use]
pub fn rfc3339_utc(time: SystemTime) -> String {
    let seconds = time
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // The Gregorian calendar repeats every 400 years, 146,097 days. Years begin in March here, so that the leap day is
    // the last of its year; 719,468 days lie between 0000-03-01 and 1970-01-01.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month_from_march = (5 * day + 2) / 153;
    let day = day - (153 * month_from_march + 2) / 5 + 1;
    let (month, later) = match month_from_march {
        0..=9 => (month_from_march + 3, 0),
        _ => (month_from_march - 9, 1),
    };
    let year = era * 400 + year + later;
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_rfc_3339() {
        // date -u -d @N +%FT%TZ
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (951_868_800, "2000-03-01T00:00:00Z"),
            (1_767_225_599, "2025-12-31T23:59:59Z"),
            (1_767_225_600, "2026-01-01T00:00:00Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(rfc3339_utc(UNIX_EPOCH + Duration::from_secs(seconds)), text);
        }
        assert_eq!(
            rfc3339_utc(UNIX_EPOCH - Duration::from_secs(1)),
            "1970-01-01T00:00:00Z"
        );
    }

    #[test]
    fn percentiles_are_in_milliseconds_of_any_unit() {
        let mut histogram = Histogram::<u64>::new(3).expect("three digits");
        for value in 1..=10_000 {
            histogram.record(value).expect("it grows");
        }
        let latency = LatencyMs::of(&histogram, Duration::from_micros(1));
        let close = |value: Option<f64>, wanted: f64| {
            let value = value.expect("it is measured");
            assert!((value / wanted - 1.0).abs() < 0.002, "{value} for {wanted}");
        };
        close(latency.p50, 5.0);
        close(latency.p99, 9.9);
        close(latency.p9999, 10.0);
        close(latency.max, 10.0);
        close(
            LatencyMs::of(&histogram, Duration::from_millis(1)).p50,
            5_000.0,
        );
    }

    #[test]
    fn the_distribution_ascends_to_the_maximum() {
        let mut histogram = Histogram::<u64>::new(3).expect("three digits");
        for value in 1..=1_000_000_u64 {
            histogram.record(value % 7_919 + 10).expect("it grows");
        }
        let points = latency_cdf(&histogram, Duration::from_micros(1));
        assert!(points.len() > 50 && points.len() < 400, "{}", points.len());
        assert!(
            points
                .windows(2)
                .all(|pair| pair[0].0 <= pair[1].0 && pair[0].1 <= pair[1].1)
        );
        let (ms, fraction) = points[points.len() - 1];
        assert_eq!(fraction, 1.0);
        assert_eq!(
            Some(ms),
            LatencyMs::of(&histogram, Duration::from_micros(1)).max
        );
    }

    #[test]
    fn an_empty_histogram_measures_nothing() {
        let histogram = Histogram::<u64>::new(3).expect("three digits");
        assert_eq!(
            LatencyMs::of(&histogram, Duration::from_nanos(1)),
            LatencyMs::default()
        );
        assert_eq!(latency_cdf(&histogram, Duration::from_nanos(1)), []);
    }
}
