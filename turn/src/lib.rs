//! The STUN/TURN relay of Fanfare, so that WebRTC calls need no second server to operate.
//!
//! What is here so far are the parts that decide, none of which does any I/O or asks for the time:
//!
//! | | |
//! |---|---|
//! | [`stun`] | messages, and who has signed them |
//! | [`framing`] | where messages end, and the data of channels |
//! | [`nonce`], [`credentials`] | who may use the relay; nothing is kept of who may not |
//! | [`policy`] | which peers may be reached at all |
//! | [`peers`] | permissions and channels of an allocation |
//! | [`ports`] | which ports are given away |
//! | [`budget`] | how much there may be in a time |
//! | [`relay`] | all of that put together: allocations, and where packets go |
//!
//! The threads that carry packets on rings of their own are not here yet, nor are streams to peers (RFC 6062): nothing can be
//! started, and nothing pretends to relay.
#![forbid(unsafe_code)]

pub mod budget;
pub mod credentials;
pub mod framing;
pub mod nonce;
pub mod peers;
pub mod policy;
pub mod ports;
pub mod relay;
pub mod stun;
