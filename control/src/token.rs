//! `fanfare token`: prints a connection token.

use std::io::Write as _;

use crate::cli::{Common, TokenArgs};
use crate::config::{self, Period};
use crate::exit::Failure;
use crate::tokens::{Minted, mint};

/// Signs a token with the secret that the server of this configuration uses.
pub(crate) fn run(common: &Common, args: &TokenArgs) -> Result<(), Failure> {
    if args.user.is_empty() {
        return Err(Failure::usage("--user is empty: a token names its user"));
    }
    if args.ttl < Period::seconds(1) {
        return Err(Failure::usage(
            "--ttl is below a second: the token would have expired already",
        ));
    }
    if let Some(room) = args
        .rooms
        .iter()
        .find(|room| room.strip_suffix('*').unwrap_or(room).contains('*'))
    {
        return Err(Failure::usage(format!(
            "--room {room}: a '*' stands only at the end of a name"
        )));
    }
    let settings = config::from_command_line(common)?.settings;
    let token = mint(
        &settings,
        &Minted {
            user: &args.user,
            ttl: args.ttl.0,
            rooms: &args.rooms,
            may_publish: args.publish,
        },
    )?;
    writeln!(std::io::stdout(), "{token}").or_else(|error| Failure::of_output(&error))
}
