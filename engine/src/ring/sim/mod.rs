//! The ring trait over a simulated network: the same shard code, no kernel, no threads, no clock.
//!
//! A [`SimNet`] is one world: its time, its sockets, and the kernel side of every [`SimRing`] in it. Everything
//! random in it comes from one seed, so a run is repeated exactly by repeating its seed; [`SimNet::digest`]
//! tells whether two runs were the same.
//!
//! What it simulates is what Linux guarantees, and nothing it does not: completions of different operations
//! come in any order and late, a multishot operation may end with a valid result, a closed slot is given to
//! the next connection at once, and operations in flight hold a socket open after its slot was closed.
//! Each such event is a [`Fault`] with a probability in [`Faults`].
//!
//! Code that breaks the contract of [`Ring`](super::Ring) panics with a message that begins
//! `ring contract:`.

mod buffer;
mod client;
mod completions;
mod faults;
mod flight;
mod kernel;
mod net;
mod ring;
mod socket;
mod trace;
mod world;

#[cfg(test)]
mod tests;

pub use buffer::SimBuffer;
pub use client::{Received, SendError, SimClient};
pub use faults::{Fault, Faults};
pub use net::{ConnectionRefused, SimNet};
pub use ring::{SimRing, SimRingOptions};
