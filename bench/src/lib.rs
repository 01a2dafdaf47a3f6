//! Instruments that measure Fanfare, and that tests of the server use as its crowd of clients.
//!
//! | part | what it is |
//! |---|---|
//! | [`swarm`] | tens of thousands of clients per process on io_uring, each of which checks what it hears |
//! | [`stamp`] | payloads with a number in them, so that a client can tell which publication it holds |
//! | `benches/` | criterion: codecs on bytes in memory |
//!
//! Nothing here is part of the server, and nothing here uses code of the server above [`fanfare_wire`] and
//! [`fanfare_engine::ring`]: what is measured does not measure itself.

#![forbid(unsafe_code)]

pub mod stamp;
pub mod swarm;
