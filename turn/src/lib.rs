//! The STUN/TURN relay of Fanfare, so that WebRTC calls need no second server to operate.
//!
//! Nothing is implemented yet, and nothing here pretends to be. The shape it will have: a sans-IO core for RFC 8489 and
//! RFC 8656 (messages and time in, actions out), and relay threads that run it on rings of their own
//! (`fanfare_engine::ring`), so that media never waits behind a fan-out. It depends on `fanfare-wire` and on the
//! engine's ring, and `fanfare-control` on it; nothing points back.
#![forbid(unsafe_code)]
