//! Clients and peers of a TURN relay, to load one and to check that it carries everything.
//!
//! A [`Client`] makes an allocation as any client would. A [`Traffic`] sends through many of them at once and looks at all that
//! arrives: every packet has the number of its flow, its own number and the time it was sent at.

mod churn;
mod client;
mod traffic;

pub use churn::{Churn, Churned};
pub use client::{Client, RelayError, User};
pub use traffic::{Carried, Flow, Load, PAYLOAD_BYTES_MIN, Traffic};
