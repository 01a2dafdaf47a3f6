//! What the tests share.

#![allow(dead_code, reason = "every test file uses a part of it")]

use std::io::Write as _;

/// Fields of every result, whatever it measured (`docs/benchmark-results.schema.md`). Others read these names: they stay.
pub(crate) const AGREED_FIELDS: [&str; 38] = [
    "/schema",
    "/case",
    "/dialect",
    "/connections",
    "/rooms",
    "/payload_bytes",
    "/rate_per_s",
    "/seconds",
    "/deliveries_per_s",
    "/writes_per_s",
    "/lost",
    "/duplicated",
    "/reordered",
    "/latency_ms/p50",
    "/latency_ms/p90",
    "/latency_ms/p99",
    "/latency_ms/p999",
    "/latency_ms/p9999",
    "/latency_ms/max",
    "/server/name",
    "/server/version",
    "/server/cpu_cores",
    "/server/rss_bytes",
    "/server/user_bytes_per_connection",
    "/server/kernel_bytes_per_connection",
    "/client/cpu_cores",
    "/client/saturated",
    "/cpu_ns_per_write",
    "/cpu_ns_per_delivery",
    "/floor/cpu_ns_per_write",
    "/ratio_to_floor",
    "/started_at",
    "/seconds_total",
    "/throughput",
    "/latency_cdf",
    "/notes",
    "/machine/kernel",
    "/machine/commit",
];

/// A test cannot run for want of what `.ci/setup` installs or the workspace has: tells a person so, and fails where `CI` is
/// set.
pub(crate) fn skip(what: &str, why: &str) {
    let is_ci = std::env::var_os("CI").is_some_and(|ci| !ci.is_empty());
    assert!(!is_ci, "{what}: {why}");
    skip_optional(what, why);
}

/// The same for want of what nobody has to have.
pub(crate) fn skip_optional(what: &str, why: &str) {
    announce(&format!("\n  !!  SKIPPED {what}: {why}\n"));
}

/// Writes past the test harness, which shows nothing of a test that passes.
pub(crate) fn announce(text: &str) {
    // Nobody may be listening.
    let _ = writeln!(std::io::stderr(), "{text}");
}
