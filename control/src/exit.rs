//! How the process ends: the codes of sysexits(3), and the one line that says why.

use std::fmt::Display;
use std::io::Write as _;
use std::process::ExitCode;

/// Why a command failed, for the shell and for the person.
#[derive(Debug)]
pub(crate) struct Failure {
    exit: Exit,
    message: String,
}

impl Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

/// Exit codes. They are part of the interface and listed in `fanfare --help`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// The command ran and did not succeed: a server was not reached, or refused.
    Runtime = 1,
    /// The command line is wrong (`EX_USAGE`).
    Usage = 64,
    /// Something that cannot happen did (`EX_SOFTWARE`).
    Internal = 70,
    /// The operating system said no: an address in use, a kernel without `io_uring` (`EX_OSERR`).
    Os = 71,
    /// A file, a key or a token does not permit it (`EX_NOPERM`).
    Permission = 77,
    /// The configuration is wrong or incomplete (`EX_CONFIG`).
    Config = 78,
}

impl Failure {
    pub(crate) fn new(exit: Exit, message: impl Display) -> Self {
        Self {
            exit,
            message: message.to_string(),
        }
    }

    pub(crate) fn runtime(message: impl Display) -> Self {
        Self::new(Exit::Runtime, message)
    }

    pub(crate) fn usage(message: impl Display) -> Self {
        Self::new(Exit::Usage, message)
    }

    pub(crate) fn internal(message: impl Display) -> Self {
        Self::new(Exit::Internal, message)
    }

    pub(crate) fn os(message: impl Display) -> Self {
        Self::new(Exit::Os, message)
    }

    pub(crate) fn permission(message: impl Display) -> Self {
        Self::new(Exit::Permission, message)
    }

    pub(crate) fn config(message: impl Display) -> Self {
        Self::new(Exit::Config, message)
    }

    /// What to do with an output stream that failed: a reader that went away (`fanfare tail | head`) is no
    /// failure.
    pub(crate) fn of_output(error: &std::io::Error) -> Result<(), Self> {
        if error.kind() == std::io::ErrorKind::BrokenPipe {
            return Ok(());
        }
        Err(Self::os(format!(
            "cannot write to standard output: {error}"
        )))
    }
}

/// Says something on standard error. Nobody may be listening there, which `eprintln!` would take for a bug.
pub(crate) fn say(text: std::fmt::Arguments<'_>) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Says why on standard error, and gives the code.
pub(crate) fn code(outcome: Result<(), Failure>) -> ExitCode {
    let Err(failure) = outcome else {
        return ExitCode::SUCCESS;
    };
    say(format_args!("fanfare: {}", failure.message));
    ExitCode::from(failure.exit as u8)
}
