//! Commands out of text.

use serde::Deserialize;

use super::fields::{CommandFields, ConnectFields};
use super::read::Object;
use super::value::is_too_deep;
use crate::centrifuge::command_error::{COMMANDS_MAX, CommandError};
use crate::centrifuge::{Command, Connect};

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
    let fields: Option<CommandFields<'_>> = object(line)?;
    let fields = fields.ok_or(CommandError::Malformed { column: 0 })?;
    fields.parts()?.command()
}

/// A connect that stands alone, as unidirectional transports take it; `null` is one with nothing.
pub(super) fn connect(text: &str) -> Result<Connect<'_>, CommandError> {
    let fields: Option<ConnectFields<'_>> = object(text)?;
    fields.unwrap_or_default().checked()
}

fn object<'a, T: Deserialize<'a>>(text: &'a str) -> Result<Option<T>, CommandError> {
    if is_too_deep(text) {
        return Err(CommandError::TooDeep);
    }
    let Object(fields) = serde_json::from_str(text).map_err(|error| CommandError::Malformed {
        column: error.column(),
    })?;
    Ok(fields)
}
