//! Commands out of bytes.

use super::fields;
use super::read::Message;
use crate::centrifuge::Command;
use crate::centrifuge::command_error::{COMMANDS_MAX, CommandError};

/// The commands in one message, each with its length before it. The iterator ends after the first error. No commands at all
/// are an error, as in JSON.
#[must_use]
pub const fn commands(message: &[u8]) -> Commands<'_> {
    Commands {
        rest: Some(Message::new(message)),
        count: 0,
    }
}

/// See [`commands`].
#[derive(Debug, Clone)]
pub struct Commands<'a> {
    rest: Option<Message<'a>>,
    count: usize,
}

impl<'a> Iterator for Commands<'a> {
    type Item = Result<Command<'a>, CommandError>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut rest = self.rest.take()?;
        if self.count == COMMANDS_MAX {
            return Some(Err(CommandError::TooMany));
        }
        self.count += 1;
        let command = command(&mut rest);
        if command.is_ok() {
            self.rest = Some(rest).filter(|rest| !rest.is_empty());
        }
        Some(command)
    }
}

fn command<'a>(rest: &mut Message<'a>) -> Result<Command<'a>, CommandError> {
    let bytes = rest.delimited()?.rest();
    fields::parts(Message::new(bytes))?.command()
}
