//! The simulation: many worlds, each from a seed, in which random clients and a random service use an engine of
//! several shards over a network and a kernel that do everything they are allowed to do.

mod centrifuge;
mod checks;
mod client;
mod dialect;
mod hearing;
mod ledger;
mod native;
pub(crate) mod run;
mod scenario;
mod service;
mod socket;
mod stranger;
