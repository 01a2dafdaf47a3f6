//! What the server prints at its start.

use std::io::Read;
use std::net::SocketAddr;
use std::time::Duration;

use super::lines::Lines;

/// Longest from the start of the process to its banner.
const TIME_LIMIT: Duration = Duration::from_secs(30);

/// The banner, read.
#[derive(Debug)]
pub(crate) struct Banner {
    /// The whole text.
    pub(crate) text: String,
    /// Where clients connect.
    pub(crate) clients: SocketAddr,
    /// Where the control API listens.
    pub(crate) control: SocketAddr,
}

impl Banner {
    /// Waits for the banner on the server's standard output; `None` if what came is no banner.
    pub(crate) fn read(output: impl Read + Send + 'static) -> Option<Self> {
        let lines = Lines::of(output).through(TIME_LIMIT, |line| line.contains("use --quiet"));
        let text = lines.join("\n");
        Some(Self {
            clients: between(&text, "ws://", "/connection/websocket")?
                .parse()
                .ok()?,
            control: between(&text, "http://", "/api/<method>")?.parse().ok()?,
            text,
        })
    }

    /// The command, as printed, that starts with these words; the program's path counts as `fanfare`.
    pub(crate) fn command(&self, words: &str) -> Option<&str> {
        let (program, rest) = words.split_once(' ').unwrap_or((words, ""));
        self.text
            .lines()
            .filter_map(|line| line.strip_prefix("  "))
            .find(|line| {
                line.split_once(' ').is_some_and(|(first, after)| {
                    first.ends_with(program) && after.starts_with(rest)
                })
            })
    }
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    let end = text.find(after)?;
    let start = text[..end].rfind(before)? + before.len();
    text.get(start..end)
}
