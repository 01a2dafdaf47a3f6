//! Several servers under the same load, in alternating rounds.
//!
//! A shared machine is faster in one minute than in the next, so times from different minutes do not compare. Every
//! round runs all servers one after the other, ratios are taken within the round, and what is reported is their median
//! with the smallest and the largest.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::SCHEMA;
use super::measurement::rfc3339_utc;
use crate::observe::Machine;

/// The result of a comparison.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// Version of these fields, [`SCHEMA`].
    pub schema: u32,
    /// When the run began, RFC 3339 in UTC.
    pub started_at: String,
    /// The whole run.
    pub seconds_total: f64,
    /// Rounds that were run, each with every server.
    pub rounds: u32,
    /// Connections to each server.
    pub connections: u64,
    /// Rooms that they were in, each in one.
    pub rooms: u64,
    /// Bytes of a publication's payload, without any framing.
    pub payload_bytes: u64,
    /// CPUs that each server was pinned to.
    pub server_cpus: Vec<usize>,
    /// The servers, the one that ratios are to first.
    pub rows: Vec<Row>,
    /// Servers that were looked for and not found.
    pub absent: Vec<Absent>,
    /// What a reader must know to judge the figures.
    pub notes: Vec<String>,
    /// What it was measured on.
    pub machine: Machine,
}

/// One server of a comparison.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// `fanfare`, or that of a baseline or peer.
    pub name: String,
    /// Its version, as it says it.
    pub version: Option<String>,
    /// The protocol that its clients spoke.
    pub dialect: Option<String>,
    /// CPU time of the server per delivery when each is a write of its own.
    pub cpu_ns_per_delivery_one_write: Option<Spread>,
    /// Its CPU time per delivery over that of the first row in the same round: above 1 the first row is better.
    pub ratio_one_write: Option<Spread>,
    /// Deliveries per second and busy core of the server when it may put several into a write.
    pub deliveries_per_core_second_coalesced: Option<Spread>,
    /// The first row's deliveries per core-second over its own in the same round: above 1 the first row is better.
    pub ratio_coalesced: Option<Spread>,
    /// Growth of the bytes that the server filled itself, over the connections.
    pub user_bytes_per_connection: Option<Spread>,
    /// Deliveries lost, duplicated, out of order or wrong, in all rounds. Figures with any are not comparable.
    pub faults: Option<u64>,
}

/// A server that was not found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Absent {
    /// Its name.
    pub name: String,
    /// What is missing, and how to get it.
    pub why: String,
}

/// A figure over the rounds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// The middle; of an even number, between the two in the middle.
    pub median: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
    /// All, in the order of the rounds.
    pub samples: Vec<f64>,
}

impl Comparison {
    /// A comparison without rows.
    #[must_use]
    pub fn new(started: SystemTime, machine: Machine) -> Self {
        Self {
            schema: SCHEMA,
            started_at: rfc3339_utc(started),
            machine,
            ..Self::default()
        }
    }

    /// Computes the ratios of every row to the first, round by round. A row that is missing rounds has none.
    #[must_use]
    pub fn with_ratios(mut self) -> Self {
        let Some(first) = self.rows.first().cloned() else {
            return self;
        };
        for row in &mut self.rows {
            row.ratio_one_write = Spread::of_ratios(
                row.cpu_ns_per_delivery_one_write.as_ref(),
                first.cpu_ns_per_delivery_one_write.as_ref(),
            );
            row.ratio_coalesced = Spread::of_ratios(
                first.deliveries_per_core_second_coalesced.as_ref(),
                row.deliveries_per_core_second_coalesced.as_ref(),
            );
        }
        self
    }
}

impl Spread {
    /// Of one figure per round; none when there are none or one is not a finite number.
    #[must_use]
    pub fn of(samples: &[f64]) -> Option<Self> {
        if samples.iter().any(|sample| !sample.is_finite()) {
            return None;
        }
        let mut sorted = samples.to_vec();
        sorted.sort_unstable_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let (lower, upper) = (sorted[(sorted.len() - 1) / 2], sorted[sorted.len() / 2]);
        Some(Self {
            median: f64::midpoint(lower, upper),
            min,
            max,
            samples: samples.to_vec(),
        })
    }

    /// Of the quotients round by round; none when either is missing or they have different rounds.
    fn of_ratios(of: Option<&Self>, to: Option<&Self>) -> Option<Self> {
        let (of, to) = (of?, to?);
        if of.samples.len() != to.samples.len() {
            return None;
        }
        let pairs = of.samples.iter().zip(&to.samples);
        Self::of(&pairs.map(|(of, to)| of / to).collect::<Vec<_>>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_of_any_order_and_number() {
        let three = Spread::of(&[3.0, 1.0, 2.0]).expect("three");
        assert_eq!((three.median, three.min, three.max), (2.0, 1.0, 3.0));
        assert_eq!(three.samples, [3.0, 1.0, 2.0]);
        assert_eq!(Spread::of(&[4.0, 1.0, 2.0, 9.0]).expect("four").median, 3.0);
        assert_eq!(Spread::of(&[7.0]).expect("one").median, 7.0);
        assert_eq!(Spread::of(&[]), None);
        assert_eq!(Spread::of(&[1.0, f64::NAN]), None);
    }

    #[test]
    fn ratios_are_within_rounds_and_above_one_when_the_first_is_better() {
        let row = |name: &str, cpu: &[f64], coalesced: &[f64]| Row {
            name: name.to_owned(),
            cpu_ns_per_delivery_one_write: Spread::of(cpu),
            deliveries_per_core_second_coalesced: Spread::of(coalesced),
            ..Row::default()
        };
        let comparison = Comparison {
            rows: vec![
                // The machine was half as fast in the second round.
                row("fanfare", &[5_000.0, 10_000.0], &[10e6, 5e6]),
                row("peer", &[7_500.0, 15_000.0], &[1e6, 0.5e6]),
                row("stopped early", &[7_500.0], &[0.0, 0.0]),
            ],
            ..Comparison::default()
        }
        .with_ratios();

        let [first, peer, early] = comparison.rows.as_slice() else {
            panic!("three rows");
        };
        assert_eq!(first.ratio_one_write, Spread::of(&[1.0, 1.0]));
        assert_eq!(peer.ratio_one_write, Spread::of(&[1.5, 1.5]));
        assert_eq!(peer.ratio_coalesced, Spread::of(&[10.0, 10.0]));
        assert_eq!(
            (&early.ratio_one_write, &early.ratio_coalesced),
            (&None, &None)
        );
    }
}
