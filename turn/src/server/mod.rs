//! The threads that carry packets, each with a ring, a [`Relay`](crate::relay::Relay) and a slice of the ports of its own.
//!
//! ```text
//!             listener (one each thread, SO_REUSEPORT)          sockets of relayed addresses
//! client ──────────────▶ datagrams ──▶ Relay ──▶ outbox ──────────────▶ peer
//! client ◀────────────── outbox ◀──── Relay ◀── datagrams ◀──────────── peer
//! ```
//!
//! The kernel always hands a client's datagrams to the same thread, so an allocation belongs to one thread. What clients of two
//! threads send each other is handed over in memory; beyond that nothing is shared but the quotas and who has which port. A turn of a thread receives what there is, decides what becomes of it, and sends it: from the
//! buffers that it was received in, with what has to go before it written in front of it.

mod command;
mod counters;
mod directory;
mod handover;
mod outbox;
mod pipes;
mod sockets;
mod start;
mod streams;
mod thread;

pub use counters::RelaySnapshot;
pub use directory::{Answerer, Directory, Observer, Said};
pub use start::{Server, ServerConfig, ServerHandle, StartError};
pub use streams::StreamLimits;

/// Kinds of operations on the ring of a thread.
mod kinds {
    /// Receives clients' datagrams. Index: the listener.
    pub(super) const LISTENER: u8 = 1;
    /// Receives peers' datagrams. Index: the slot.
    pub(super) const RELAY: u8 = 2;
    /// Receives what the network says about datagrams to peers. Index: the slot.
    pub(super) const ERRORS: u8 = 3;
    /// Closes the socket of a relayed address. Index: the slot.
    pub(super) const CLOSE: u8 = 4;
    /// Waits for connections. Index: the acceptor.
    pub(super) const ACCEPT: u8 = 5;
    /// Receives from a connection. Index: the slot.
    pub(super) const STREAM: u8 = 6;
    /// Waits for a connection to take bytes again. Index: the slot.
    pub(super) const WRITABLE: u8 = 7;
    /// Closes a connection. Index: the slot.
    pub(super) const STREAM_CLOSE: u8 = 8;
    /// Waits for peers to connect. Index: the slot.
    pub(super) const PEERS: u8 = 9;
}
