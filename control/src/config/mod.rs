//! What the server is configured with: defaults, then a TOML file, then the environment.
//!
//! Nothing is guessed: a key nobody knows and a value out of bounds are refused, by file and line or by the
//! name of the variable. `docs/configuration.md` describes every key.

mod backend;
mod check;
mod environment;
mod goim;
#[cfg(test)]
mod goim_tests;
mod load;
mod origin;
mod settings;
mod to_engine;
mod turn;
mod values;

pub(crate) use backend::BackendSettings;
pub(crate) use goim::GoimSettings;
pub(crate) use load::Loaded;
use load::{ConfigError, load};
pub(crate) use settings::{LogFormat, Settings, ShutdownSettings, TokenSettings};
pub(crate) use turn::TurnSettings;
pub(crate) use values::{Auto, Period, Secret, WeakSecret};

use crate::cli::Common;
use crate::exit::Failure;

/// Loads what the command line asks for, with this process's environment.
pub(crate) fn from_command_line(common: &Common) -> Result<Loaded, Failure> {
    let mut loaded =
        load(common.config.as_deref(), std::env::vars_os()).map_err(|error| match error {
            ConfigError::Read { .. } if error.is_permission() => Failure::permission(error),
            ConfigError::Read { .. } | ConfigError::Refused { .. } => Failure::config(error),
        })?;
    if let Some(data_dir) = &common.data_dir {
        loaded.settings.data_dir.clone_from(data_dir);
    }
    Ok(loaded)
}
