//! The STUN/TURN relay of Fanfare, so that WebRTC calls need no second server to operate.
//!
//! Nothing but [`server`] does any I/O or asks for the time:
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
//! | [`server`] | the threads that carry them |
#![forbid(unsafe_code)]

pub mod budget;
pub mod credentials;
pub mod framing;
pub mod nonce;
pub mod peers;
pub mod policy;
pub mod ports;
pub mod relay;
pub mod server;
pub mod stun;
