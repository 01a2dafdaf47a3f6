//! What the tests with coturn's clients share: the server with its relay, and the clients as child processes.

pub(crate) mod clients;
pub(crate) mod relay;
