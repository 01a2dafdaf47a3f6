//! How a long run goes, on standard error.
//!
//! On a terminal one line is rewritten, and what it said last stays when the next phase begins. Anywhere else (a file, a
//! log of a build) a whole line is written now and then.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

/// Between two writes on a terminal: smooth to the eye, and nothing beside what is measured.
const REWRITE_EVERY: Duration = Duration::from_millis(200);
/// Between two lines in a log.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// A line of progress. Whatever cannot be written is dropped: progress never ends a run.
#[derive(Debug)]
pub struct Progress<W = io::Stderr> {
    out: W,
    style: Style,
    began_at: Instant,
    phase: String,
    phase_began_at: Instant,
    written_at: Option<Instant>,
}

/// Where it is written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Style {
    Quiet,
    Terminal,
    Log,
}

impl Progress {
    /// On standard error; says nothing when `quiet`.
    #[must_use]
    pub fn new(quiet: bool) -> Self {
        let style = match (quiet, io::stderr().is_terminal()) {
            (true, _) => Style::Quiet,
            (false, true) => Style::Terminal,
            (false, false) => Style::Log,
        };
        Self::to(io::stderr(), style)
    }
}

impl<W: Write> Progress<W> {
    fn to(out: W, style: Style) -> Self {
        let now = Instant::now();
        Self {
            out,
            style,
            began_at: now,
            phase: String::new(),
            phase_began_at: now,
            written_at: None,
        }
    }

    /// Begins a phase, such as `connect` or `measure`, and says so at once.
    pub fn phase(&mut self, name: &str) {
        self.end_line();
        name.clone_into(&mut self.phase);
        self.phase_began_at = Instant::now();
        self.write("");
    }

    /// Shows how the phase goes, if it is time to: 5 times a second on a terminal, every 5 s elsewhere. The text is made
    /// only then, so this may be called in a loop.
    pub fn update(&mut self, text: impl FnOnce() -> String) {
        let every = match self.style {
            Style::Quiet => return,
            Style::Terminal => REWRITE_EVERY,
            Style::Log => LINE_EVERY,
        };
        if self.written_at.is_some_and(|at| at.elapsed() < every) {
            return;
        }
        let text = text();
        self.write(&text);
    }

    /// Ends, and says how long it took.
    pub fn done(mut self) {
        self.end_line();
        if self.style != Style::Quiet {
            let took = seconds(self.began_at.elapsed());
            let _ = writeln!(self.out, "{took:>8}  done");
        }
    }

    fn write(&mut self, text: &str) {
        let elapsed = seconds(self.began_at.elapsed());
        let phase = &self.phase;
        let in_phase = seconds(self.phase_began_at.elapsed());
        let gap = if text.is_empty() { "" } else { "  " };
        let line = format!("{elapsed:>8}  {phase} {in_phase}{gap}{text}");
        let written = match self.style {
            Style::Quiet => return,
            // Wrapping is off while the line is written (DECAWM): the terminal cuts what is too long, and the next
            // return goes to the start of this very line.
            Style::Terminal => write!(self.out, "\r\x1b[2K\x1b[?7l{line}\x1b[?7h"),
            Style::Log => writeln!(self.out, "{line}"),
        };
        let _ = written.and_then(|()| self.out.flush());
        self.written_at = Some(Instant::now());
    }

    /// Leaves the line that is being rewritten.
    fn end_line(&mut self) {
        if self.style == Style::Terminal && self.written_at.take().is_some() {
            let _ = writeln!(self.out);
        }
    }
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text_of(style: Style, run: impl FnOnce(&mut Progress<&mut Vec<u8>>)) -> String {
        let mut out = Vec::new();
        let mut progress = Progress::to(&mut out, style);
        run(&mut progress);
        progress.done();
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn a_log_has_whole_lines_and_few() {
        let mut made = 0;
        let text = text_of(Style::Log, |progress| {
            progress.phase("connect");
            for _ in 0..1_000 {
                progress.update(|| {
                    made += 1;
                    "connections 5/10".to_owned()
                });
            }
            progress.phase("measure");
        });
        assert_eq!(made, 0, "the phase has just been written");
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        assert_eq!(
            lines,
            [
                "0.0 s  connect 0.0 s",
                "0.0 s  measure 0.0 s",
                "0.0 s  done"
            ]
        );
    }

    #[test]
    fn the_first_update_is_written_at_once() {
        let text = text_of(Style::Log, |progress| {
            progress.update(|| "connections 5/10".to_owned());
        });
        assert!(text.contains("connections 5/10\n"), "{text:?}");
    }

    #[test]
    fn a_terminal_rewrites_its_line() {
        let text = text_of(Style::Terminal, |progress| {
            progress.phase("connect");
            std::thread::sleep(REWRITE_EVERY);
            progress.update(|| "connections 10/10".to_owned());
            progress.phase("measure");
        });
        assert_eq!(text.matches('\r').count(), 3);
        assert_eq!(text.matches('\n').count(), 3, "two phases and the end");
        assert!(text.contains("connections 10/10\x1b[?7h\n"), "{text:?}");
        assert_eq!(
            text.matches("\x1b[?7l").count(),
            text.matches("\x1b[?7h").count()
        );
    }

    #[test]
    fn quiet_is_quiet() {
        let text = text_of(Style::Quiet, |progress| {
            progress.phase("connect");
            progress.update(|| unreachable!("nobody reads it"));
        });
        assert_eq!(text, "");
    }
}
