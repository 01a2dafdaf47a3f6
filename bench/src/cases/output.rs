//! Where results go.

use std::path::{Path, PathBuf};

use clap::Args;
use fanfare_bench::progress::Progress;
use fanfare_bench::report::{self, Measurement};
use serde::Serialize;

use super::Failure;

/// What every case can do with its result.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Output")]
pub(crate) struct OutputArgs {
    /// Writes the result as JSON (docs/benchmark-results.schema.md)
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Writes the result as a Markdown table, which is also printed
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// Shows no progress
    #[arg(long, short)]
    quiet: bool,
}

/// The same for cases of which a load generator without a core left would spoil the figures, and that can be drawn.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Output")]
pub(crate) struct MeasuredArgs {
    #[command(flatten)]
    output: OutputArgs,
    /// Writes PREFIX-latency.svg and PREFIX-throughput.svg, those of them that there is something for
    #[arg(long, value_name = "PREFIX")]
    svg: Option<PathBuf>,
    /// Reports figures even though the load generator had no core time left, so that they may be its own limit
    #[arg(long)]
    allow_busy_client: bool,
}

impl OutputArgs {
    pub(crate) fn progress(&self) -> Progress {
        Progress::new(self.quiet)
    }

    /// Prints the text, and writes the files.
    pub(crate) fn publish(&self, result: &impl Serialize, text: &str) -> Result<(), Failure> {
        print!("{text}");
        if let Some(path) = &self.markdown {
            write_file(path, text)?;
        }
        if let Some(path) = &self.json {
            let json = serde_json::to_string_pretty(result).map_err(Failure::Json)?;
            write_file(path, &(json + "\n"))?;
        }
        Ok(())
    }
}

impl MeasuredArgs {
    pub(crate) fn progress(&self) -> Progress {
        self.output.progress()
    }

    /// Prints the result and writes the files.
    pub(crate) fn publish(&self, result: &Measurement) -> Result<(), Failure> {
        if result.client.saturated == Some(true) && !self.allow_busy_client {
            return Err(Failure::BusyClient {
                cores: result.client.cpu_cores.unwrap_or_default(),
            });
        }
        self.output.publish(result, &report::markdown(result))?;
        let Some(prefix) = &self.svg else {
            return Ok(());
        };
        if !result.latency_cdf.is_empty() {
            let plot = report::svg_latency(result)?;
            write_file(&suffixed(prefix, "-latency.svg"), &plot)?;
        }
        if !result.throughput.is_empty() {
            let plot = report::svg_throughput(result)?;
            write_file(&suffixed(prefix, "-throughput.svg"), &plot)?;
        }
        Ok(())
    }
}

fn suffixed(prefix: &Path, suffix: &str) -> PathBuf {
    let mut path = prefix.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}

fn write_file(path: &Path, text: &str) -> Result<(), Failure> {
    std::fs::write(path, text).map_err(|source| Failure::Write {
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use fanfare_bench::observe::Machine;
    use tempfile::TempDir;

    use super::*;

    fn busy() -> Measurement {
        let mut result = Measurement::new("fanout", SystemTime::now(), Machine::describe());
        result.client.cpu_cores = Some(0.99);
        result.client.saturated = Some(true);
        result
    }

    fn output(allow_busy_client: bool, json: &Path) -> MeasuredArgs {
        MeasuredArgs {
            output: OutputArgs {
                json: Some(json.to_owned()),
                markdown: None,
                quiet: true,
            },
            svg: None,
            allow_busy_client,
        }
    }

    #[test]
    fn a_figure_that_may_be_the_generators_own_limit_is_not_reported_unless_asked_for() {
        let directory = TempDir::new().expect("a folder");
        let json = directory.path().join("result.json");
        let refused = output(false, &json).publish(&busy());
        assert!(matches!(refused, Err(Failure::BusyClient { .. })));
        assert!(!json.exists());
        output(true, &json).publish(&busy()).expect("reported");
        assert!(json.exists());
    }
}
