//! `fanfare check-config` and `fanfare print-config`.

use std::io::Write as _;

use crate::cli::{Common, PrintConfigArgs};
use crate::config::{self, Settings};
use crate::exit::Failure;
use crate::serve::{configured_api_keys, configured_backend, configured_token_keys};

/// Does everything with the configuration that the server would, short of serving.
pub(crate) fn check(common: &Common) -> Result<(), Failure> {
    let loaded = config::from_command_line(common)?;
    configured_api_keys(&loaded.settings)?;
    configured_token_keys(&loaded)?;
    configured_backend(&loaded)?;
    let place = loaded.file.map_or_else(
        || "no file: defaults".to_owned(),
        |file| file.display().to_string(),
    );
    say(&format!("{place}: fine\n"))
}

/// Prints the settings as TOML, secrets hidden.
pub(crate) fn print(common: &Common, args: &PrintConfigArgs) -> Result<(), Failure> {
    let settings = match args.default {
        true => Settings::default(),
        false => config::from_command_line(common)?.settings,
    };
    let text = toml::to_string(&settings)
        .map_err(|error| Failure::internal(format!("cannot print the configuration: {error}")))?;
    say(&text)
}

fn say(text: &str) -> Result<(), Failure> {
    std::io::stdout()
        .write_all(text.as_bytes())
        .or_else(|error| Failure::of_output(&error))
}
