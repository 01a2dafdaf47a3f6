//! What the behaviour tests share: the built server as a child process, a small HTTP client, foreign programs.

#![allow(
    dead_code,
    unused_imports,
    unused_macros,
    reason = "every test file uses a part of it"
)]

pub(crate) mod banner;
pub(crate) mod http;
pub(crate) mod lines;
pub(crate) mod peers;
pub(crate) mod sdk;
pub(crate) mod server;

use std::io::Write;

/// Says something to the person at the terminal, also from a test that passes: the test runner captures only
/// what the print macros write.
pub(crate) fn announce(text: &str) {
    let mut out = std::io::stderr().lock();
    // A closed terminal is no reason to fail a test.
    let _ = writeln!(out, "{text}");
    let _ = out.flush();
}
