//! The user's backend by HTTP, in the format of Centrifugo's proxy: every question is a POST of JSON to the endpoint of its
//! event, and `docs/webhooks.md` says what both sides send.
//!
//! Questions leave from a thread of their own: a backend that is slow, or whose TLS is expensive, takes no time from shards
//! or from the control API. What it may hold is bounded: so many questions are under way, with so long an answer each, and
//! what is beyond is refused at once.

mod answer;
mod client;
mod complaints;
mod counters;
pub(crate) mod endpoint;
mod event;
pub(crate) mod headers;
mod plan;
pub(crate) mod refusal;
mod request;
#[cfg(test)]
mod tests;
mod turn;
mod webhooks;

pub(crate) use client::{Roots, tls};
pub(crate) use counters::{Counters, Outcome};
pub(crate) use event::Event;
pub(crate) use plan::Plan;
pub(crate) use webhooks::Webhooks;
