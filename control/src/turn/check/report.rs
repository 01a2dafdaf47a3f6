//! What has been found, for people as it is found, and for programs.

use std::io::Write as _;
use std::time::Instant;

use serde::Serialize;

use super::url::Url;

#[derive(Debug, Serialize)]
pub(super) struct Report {
    url: String,
    ok: bool,
    steps: Vec<Step>,
    #[serde(skip)]
    is_shown: bool,
    #[serde(skip)]
    since: Instant,
}

#[derive(Debug, Serialize)]
struct Step {
    result: Outcome,
    what: String,
    milliseconds: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Outcome {
    Ok,
    Failed,
    Skipped,
}

impl Report {
    /// Of nothing yet. If it is shown, each step is as soon as it has been taken.
    pub(super) fn new(url: &Url, is_shown: bool) -> Self {
        if is_shown {
            show(&url.to_string());
        }
        Self {
            url: url.to_string(),
            ok: true,
            steps: Vec::new(),
            is_shown,
            since: Instant::now(),
        }
    }

    pub(super) fn ok(&mut self, what: &str) {
        self.add(Outcome::Ok, what);
    }

    pub(super) fn failed(&mut self, what: &str) {
        self.ok = false;
        self.add(Outcome::Failed, what);
    }

    pub(super) fn skipped(&mut self, what: &str) {
        self.add(Outcome::Skipped, what);
    }

    pub(super) const fn is_good(&self) -> bool {
        self.ok
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// Nothing follows.
    pub(super) fn close(&self) {
        if self.is_shown {
            show("");
        }
    }

    fn add(&mut self, result: Outcome, what: &str) {
        let milliseconds = u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.since = Instant::now();
        if self.is_shown {
            let word = match result {
                Outcome::Ok => "ok",
                Outcome::Failed => "FAILED",
                Outcome::Skipped => "skipped",
            };
            show(&format!("  {word:<8} {what} ({milliseconds} ms)"));
        }
        self.steps.push(Step {
            result,
            what: what.to_owned(),
            milliseconds,
        });
    }
}

/// Who reads it may have gone; the exit code is still for somebody.
fn show(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}
