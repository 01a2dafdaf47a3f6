//! What the tests of the relay share: a server with one on the loopback interface, what it gives clients, what it counts, and
//! programs from elsewhere that call through it.

#![allow(dead_code, reason = "every test file uses a part of it")]

pub(crate) mod coturn;
pub(crate) mod counted;
pub(crate) mod credentials;
pub(crate) mod relay;
pub(crate) mod road;
pub(crate) mod scenario;

use std::time::Duration;

/// Longest that anything is waited for that takes a second or two.
const PATIENCE: Duration = Duration::from_secs(30);
