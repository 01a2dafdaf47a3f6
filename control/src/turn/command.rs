//! `fanfare turn-credentials`: prints a user name and a password for the relay.

use std::io::Write as _;

use serde::Serialize;

use super::relay::{credentials_of, mint};
use crate::cli::{Common, TurnCredentialsArgs};
use crate::config;
use crate::exit::Failure;

#[derive(Serialize)]
struct Printed<'a> {
    username: &'a str,
    password: &'a str,
    ttl: u64,
}

/// Makes credentials with the secret that the server of this configuration uses; the server is not asked.
pub(crate) fn run(common: &Common, args: &TurnCredentialsArgs) -> Result<(), Failure> {
    let settings = config::from_command_line(common)?.settings;
    let ttl = args.ttl.unwrap_or(settings.turn.credential_ttl).0;
    if ttl.as_secs() == 0 {
        return Err(Failure::usage(
            "--ttl is below a second: the credentials would have expired already",
        ));
    }
    let credentials = credentials_of(&settings)?;
    let (username, password) = mint(&credentials, &args.user, ttl).map_err(Failure::config)?;
    let text = if args.json {
        let printed = Printed {
            username: &username,
            password: &password,
            ttl: ttl.as_secs(),
        };
        serde_json::to_string(&printed).map_err(Failure::internal)?
    } else {
        format!("username  {username}\npassword  {password}")
    };
    writeln!(std::io::stdout(), "{text}").or_else(|error| Failure::of_output(&error))
}
