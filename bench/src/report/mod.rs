//! Results: what is written down, as JSON for programs and as Markdown and SVG for readers.
//!
//! | part | what it is |
//! |---|---|
//! | [`Measurement`] | one case against one server |
//! | [`Comparison`] | several servers in alternating rounds, with ratios taken within each round |
//! | [`markdown`], [`markdown_comparison`] | tables |
//! | [`svg_latency`], [`svg_throughput`] | plots |
//!
//! Every field of the JSON, with its unit and when it is null, is in `docs/benchmark-results.schema.md`, and
//! `tests/reports.rs` holds that page and these types to each other. The rules:
//!
//! - All fields are always there. What a case does not measure is null, and never zero.
//! - [`SCHEMA`] grows when a field changes its meaning or goes; it stays when one is added.

mod comparison;
mod markdown;
mod measurement;
mod numbers;
mod svg;

pub use comparison::{Absent, Comparison, Row, Spread};
pub use markdown::{markdown, markdown_comparison};
pub use measurement::rfc3339_utc;
pub use measurement::{Client, Floor, LatencyMs, Measurement, Sample, Server, latency_cdf};
pub use svg::{PlotError, svg_latency, svg_throughput};

/// Version of the JSON.
pub const SCHEMA: u32 = 1;
