//! The STUN/TURN relay, as it is configured and asked for.

mod addresses;
mod api;
mod check;
mod command;
mod relay;
mod tls;

pub(crate) use api::{AllocationsAnswer, CredentialsAnswer, EndedAnswer};
pub(crate) use check::{Url, run as check};
pub(crate) use command::run;
pub(crate) use relay::{Minted, Relay, TurnError};
