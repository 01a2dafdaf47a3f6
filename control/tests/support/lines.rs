//! Reading what a child process prints, with a time limit.

use std::io::{BufRead, BufReader, Read};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// The lines of a child's output, as they come.
#[derive(Debug)]
pub(crate) struct Lines(mpsc::Receiver<String>);

impl Lines {
    /// Reads on a thread of its own, to the end of the output.
    pub(crate) fn of(output: impl Read + Send + 'static) -> Self {
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self(lines)
    }

    /// The next line; `None` at the end of the output, and when the deadline passes first.
    pub(crate) fn next_before(&self, deadline: Instant) -> Option<String> {
        let left = deadline.saturating_duration_since(Instant::now());
        self.0.recv_timeout(left).ok()
    }

    /// Every line from here to the one that fits, which is the last of them. Shorter output and a passed time
    /// limit end it before.
    pub(crate) fn through(
        &self,
        time_limit: Duration,
        mut fits: impl FnMut(&str) -> bool,
    ) -> Vec<String> {
        let deadline = Instant::now() + time_limit;
        let mut lines = Vec::new();
        while let Some(line) = self.next_before(deadline) {
            let is_last = fits(&line);
            lines.push(line);
            if is_last {
                break;
            }
        }
        lines
    }
}
