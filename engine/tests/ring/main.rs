//! Behaviour of the kernel's ring, against this machine's kernel and loopback.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, missing_docs)]

mod accepts;
mod pressure;
mod receives;
mod sends;
mod stress;
mod support;
mod wakes;
