//! Drives [`Webhooks`](super::Webhooks) as a shard would, against real HTTP servers in the place of the user's backend.

mod answers;
mod failures;
mod foreign_server;
mod headers;
mod limits;
mod metrics;
mod questions;
mod support;
