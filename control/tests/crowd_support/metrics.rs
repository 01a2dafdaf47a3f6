//! The server's own counters.

use crate::support::http;
use crate::support::server::Server;

/// The sum over all shards of the metric with this name.
pub(crate) fn sum(server: &Server, name: &str) -> u64 {
    let answer = http::request(server.control(), "GET", "/metrics", &[], "");
    let answer = answer.expect("the control API answers");
    assert_eq!(answer.status, 200, "{answer:?}");
    let values: Vec<u64> = answer
        .body
        .lines()
        .filter(|line| line.split(['{', ' ']).next() == Some(name))
        .filter_map(|line| line.rsplit(' ').next())
        .map(|value| value.parse().expect("counts are whole numbers"))
        .collect();
    assert!(!values.is_empty(), "no metric {name}:\n{}", answer.body);
    values.iter().sum()
}
