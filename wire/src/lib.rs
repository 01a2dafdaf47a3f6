//! Bytes to messages and back: everything Fanfare speaks on a client connection, as pure functions and small state machines.
//!
//! This crate opens no socket, reads no clock and holds no lock. Whoever owns a connection hands it the bytes that arrived
//! and gets events back, and hands it a message and gets bytes back. However the input is cut into pieces, the events are
//! the same; the tests of every decoder hold it to that.
//!
//! | module | bytes | source |
//! |---|---|---|
//! | [`sniff`] | the first bytes of a connection: which of the dialects below follows | |
//! | [`http`] | request heads, WebSocket upgrades, short answers | RFC 9112, RFC 6455 section 4 |
//! | [`ws`] | WebSocket frames and messages | RFC 6455, RFC 7692 |
//! | [`native`] | Fanfare's own framing of rkyv archives | `docs/protocol-native.md` |
//! | [`fossil`] | differences between publications | the format of Fossil |
//! | [`centrifuge`] | the client protocol of Centrifugo | its `client.proto` |
//! | [`comet`] | the long-polling calls of PHPWebIM | its `comet.js` and `CometServer` |
//! | [`goim`] | the client protocol of goim, versions 2 and 1 | `docs/protocol-goim.md` |
//!
//! Every decoder checks a declared length against a limit before it keeps a byte, and none allocates for input that arrives
//! whole, unless it is compressed.

#![forbid(unsafe_code)]

pub mod centrifuge;
pub mod comet;
pub mod fossil;
pub mod goim;
pub mod http;
mod json_fields;
pub mod native;
pub mod sniff;
pub mod ws;
