//! The STUN/TURN relay of Fanfare, so that WebRTC calls need no second server to operate.
//!
//! What is here so far are the parts that decide: messages ([`stun`]), nonces that nobody has to remember ([`nonce`]), who
//! may use the relay ([`credentials`]), and which peers it may reach ([`policy`]). The allocations, and the threads that
//! carry packets on rings of their own, are not, and nothing here pretends to relay.
#![forbid(unsafe_code)]

pub mod budget;
pub mod credentials;
pub mod framing;
pub mod nonce;
pub mod policy;
pub mod ports;
pub mod stun;
