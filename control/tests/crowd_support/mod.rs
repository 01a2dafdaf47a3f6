//! What the tests with tens of thousands of connections share.

#![allow(dead_code, reason = "every test file uses a part of it")]

pub(crate) mod memory;
pub(crate) mod metrics;
pub(crate) mod publisher;
