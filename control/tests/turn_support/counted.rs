//! What the relay has counted.

use std::collections::BTreeMap;

/// What is to stay at zero besides all that begins with `dropped_`.
const LOSSES: [&str; 12] = [
    "allocations_over_quota_total",
    "allocations_without_port_total",
    "auth_failures_total",
    "auth_malformed_total",
    "nonces_stale_total",
    "datagrams_truncated_total",
    "sends_full_total",
    "sends_failed_total",
    "accept_errors_total",
    "streams_refused_total",
    "streams_garbage_total",
    "stream_messages_dropped_total",
];

/// The metrics of the relay, each the sum of all threads, by their names without `fanfare_turn_`.
#[derive(Debug)]
pub(crate) struct Counted(BTreeMap<String, u64>);

impl Counted {
    /// Reads the text for Prometheus.
    pub(super) fn read(metrics: &str) -> Self {
        let mut sums = BTreeMap::new();
        for line in metrics.lines() {
            if let Some(line) = line.strip_prefix("fanfare_turn_")
                && let Some((name, value)) = line.split_once(' ')
            {
                let name = name.split('{').next().unwrap_or(name);
                let value: u64 = value.parse().expect("counts are whole numbers");
                *sums.entry(name.to_owned()).or_default() += value;
            }
        }
        Self(sums)
    }

    pub(crate) fn of(&self, name: &str) -> u64 {
        let value = self.0.get(name);
        *value.unwrap_or_else(|| panic!("no metric {name}: {self:?}"))
    }

    /// Fails unless nothing was dropped or lost, and nobody was sent away.
    pub(crate) fn assert_nothing_was_dropped(&self) {
        let dropped = self.0.keys().filter(|name| name.starts_with("dropped_"));
        let mut names: Vec<&str> = dropped.map(String::as_str).collect();
        assert!(!names.is_empty(), "{self:?}");
        names.extend(LOSSES);
        for name in names {
            assert_eq!(self.of(name), 0, "{name}: {self:?}");
        }
    }
}
