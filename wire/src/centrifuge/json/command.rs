//! Commands out of text.

use super::fields::CommandFields;
use super::read::Object;
use super::value::is_too_deep;
use crate::centrifuge::codes::DisconnectCode;
use crate::centrifuge::{Command, Method};

/// Commands in one message, at most. An SDK that comes back sends a subscribe for every channel it was in as one message.
pub const COMMANDS_MAX: usize = 8192;

/// Why a message is not commands. Centrifugo disconnects for all of them, as SDKs expect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// A line is not a JSON object of the protocol's types.
    #[error("the command is not JSON of the protocol's types, near byte {column} of its line")]
    Malformed {
        /// How far it could be read.
        column: usize,
    },
    /// Arrays and objects nest deeper than [`DEPTH_MAX`](super::DEPTH_MAX).
    #[error("the command nests deeper than {} levels", super::DEPTH_MAX)]
    TooDeep,
    /// The message has more than [`COMMANDS_MAX`] lines.
    #[error("the message has more than {COMMANDS_MAX} commands")]
    TooMany,
    /// A command that has a reply has no id to match it with.
    #[error("the command has no id")]
    MissingId,
    /// A command on a channel names none.
    #[error("the command names no channel")]
    MissingChannel,
}

impl CommandError {
    /// The code to disconnect with.
    #[must_use]
    pub const fn code(self) -> DisconnectCode {
        DisconnectCode::BAD_REQUEST
    }
}

/// The commands in one message, one a line; a line break at the end is allowed. The iterator ends after the first error.
#[must_use]
pub const fn commands(text: &str) -> Commands<'_> {
    Commands {
        rest: Some(text),
        count: 0,
    }
}

/// See [`commands`].
#[derive(Debug, Clone)]
pub struct Commands<'a> {
    rest: Option<&'a str>,
    count: usize,
}

impl<'a> Iterator for Commands<'a> {
    type Item = Result<Command<'a>, CommandError>;

    fn next(&mut self) -> Option<Self::Item> {
        let text = self.rest.take()?;
        if self.count == COMMANDS_MAX {
            return Some(Err(CommandError::TooMany));
        }
        self.count += 1;
        let (line, rest) = match text.split_once('\n') {
            Some((line, rest)) => (line, Some(rest).filter(|rest| !rest.is_empty())),
            None => (text, None),
        };
        let command = command(line);
        if command.is_ok() {
            self.rest = rest;
        }
        Some(command)
    }
}

fn command(line: &str) -> Result<Command<'_>, CommandError> {
    if is_too_deep(line) {
        return Err(CommandError::TooDeep);
    }
    let Object(fields) = serde_json::from_str(line).map_err(|error| CommandError::Malformed {
        column: error.column(),
    })?;
    let fields: CommandFields<'_> = fields.ok_or(CommandError::Malformed { column: 0 })?;
    let id = fields.id;
    let method = fields.method()?;
    match method {
        Method::Unknown if id == 0 => Ok(Command {
            id,
            method: Method::Pong,
        }),
        Method::Send { .. } => Ok(Command { id, method }),
        _ if id == 0 => Err(CommandError::MissingId),
        _ => Ok(Command { id, method }),
    }
}
