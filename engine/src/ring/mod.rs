//! The ring layer: the only place of the engine that talks to the kernel, and the only one with `unsafe`.
//!
//! [`Ring`] is what a shard needs of io_uring, as safe operations on *slots* (direct descriptors). Three rules
//! make it safe without a lifetime or a reference count reaching the code above:
//!
//! 1. Sends are synchronous. [`Ring::send_all`] returns when the kernel has copied what it will take; after it
//!    returns the kernel holds no pointer into the caller's memory.
//! 2. Receives land in the ring's own provided buffers. A completion carries its buffer as a lease
//!    ([`Ring::Buffer`]), and dropping the lease gives the buffer back, exactly once, whatever became of the
//!    connection.
//! 3. Every other operation carries numbers only.

use std::ops::DerefMut;
use std::time::Duration;

mod buffers;
mod cpu;
mod datagrams;
mod diagnosis;
mod kernel;
mod limits;
mod listener;
mod operations;
mod receives;
mod setup;
#[cfg(feature = "sim")]
pub mod sim;
mod token;
mod wake;

pub use buffers::BufferLease;
pub use cpu::{allowed_cpus, pin_to_cpu, prefer_latency};
pub use datagrams::{
    Datagram, HEAD_BYTES, Received, SocketError, TRAIN_BYTES_MAX, TRAIN_CARS_MAX, UdpOptions,
    bind_udp, read_error, set_receive_bytes,
};
pub use diagnosis::{KernelVersion, RingSetupError, SetupStep};
pub use kernel::KernelRing;
pub use limits::{ResourceLimits, disable_huge_pages, raise_nofile};
pub use listener::{ListenError, listen, listen_per_shard, local_addr, steer_by_source};
pub use setup::{RingConfig, probe};
pub use token::{Slot, Token};
pub use wake::{Peer, Waker};

/// What a shard asks of its ring. Implemented by the kernel's ring and by a simulated one.
///
/// Operations are queued and reach the kernel with the next [`turn`](Ring::turn) or
/// [`send_all`](Ring::send_all), in the order in which they were queued. A full submission queue is flushed
/// inside; no operation is ever refused.
pub trait Ring {
    /// A lease on one provided buffer, exactly as long as the bytes received. Its `Drop` gives it back.
    type Buffer: DerefMut<Target = [u8]>;

    /// How many direct descriptors the table has. Slots are `0..slots()`.
    fn slots(&self) -> u32;

    /// Accepts connections from the listener with this index into free slots until it ends
    /// (`more == false`). Each completion's result is the slot, or `-errno`.
    ///
    /// With no slot free it ends with `-ENFILE`, and the connection that found none has been closed: who wants
    /// to keep connections waiting in the backlog instead cancels the accept while slots are left.
    fn accept(&mut self, listener: u32, token: Token);

    /// Accepts one connection, and ends (`more == false`): the others wait in the backlog.
    fn accept_one(&mut self, listener: u32, token: Token);

    /// Closes the listener, whose accept has ended, before the ring closes: connections that nobody will accept
    /// are then refused, or go to another process that listens on the same port.
    fn stop_listening(&mut self, listener: u32) {
        let _ = listener;
    }

    /// Receives into provided buffers until it ends (`more == false`): end of stream (result 0), an error. With all buffers
    /// leased it waits for one, or ends with `-ENOBUFS`. One receive at a time has a token of this index.
    fn receive(&mut self, slot: Slot, token: Token);

    /// Completes once when the socket can take bytes again, or has failed.
    fn poll_writable(&mut self, slot: Slot, token: Token);

    /// Sends FIN after what was sent before (`shutdown(SHUT_WR)`).
    fn shutdown(&mut self, slot: Slot, token: Token);

    /// Cancels the operation in flight under this token. It still completes under the token (with `-ECANCELED`
    /// or with what it had reached) and `more == false`; the cancellation itself completes with nothing.
    ///
    /// By token and not by slot, for the kernel finds a token in a hash table, and a descriptor by a walk over all
    /// that is in flight: measured, a ring of 18,000 armed receives spent its core on closing connections.
    fn cancel(&mut self, token: Token);

    /// Frees the slot. The socket is closed once the operations in flight on it have completed, so they are
    /// to be cancelled and awaited first.
    fn close(&mut self, slot: Slot, token: Token);

    /// Sends each slice to its slot, in order, without blocking, and returns when the kernel holds no
    /// pointer into any of them. A send that was not taken whole is appended to `short`; all the others were.
    ///
    /// At most one send per slot in one call: the second could follow a short first one.
    fn send_all<'d, I>(&mut self, sends: I, short: &mut Vec<Short>)
    where
        I: Iterator<Item = (Slot, &'d [u8])>;

    /// Wakes the ring of another shard: its [`turn`](Ring::turn) returns.
    fn wake(&mut self, shard: u16);

    /// Submits what is queued, waits for a completion or a wake-up for at most `wait` (zero: does not wait),
    /// and appends what has completed to `completions`. Wake-ups are not reported.
    ///
    /// # Errors
    /// Only what leaves the ring unusable; shortages that pass (`EINTR`, `EAGAIN`, `EBUSY`) are retried.
    fn turn(
        &mut self,
        wait: Duration,
        completions: &mut Vec<Completion<Self::Buffer>>,
    ) -> std::io::Result<()>;

    /// What happened below the interface since the ring was made.
    fn stats(&self) -> RingStats;
}

/// A send of [`Ring::send_all`] that the kernel did not take whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Short {
    /// Which of the sends of that call, counted from 0.
    pub index: u32,
    /// How many bytes were taken, or the errno that ended the connection.
    pub taken: Result<u32, i32>,
}

/// One completion, copied out of the completion queue.
#[derive(Debug)]
pub struct Completion<B> {
    /// The token the operation was queued with.
    pub token: Token,
    /// Non-negative: slot, byte count or poll mask, as the operation says. Negative: `-errno`.
    pub result: i32,
    /// More completions of the same operation will follow. An accept or a receive can end with any result, a good
    /// one too.
    pub more: bool,
    /// What was received, when the operation received something.
    pub buffer: Option<B>,
}

/// Events below the [`Ring`] interface, counted since the ring was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RingStats {
    /// `io_uring_enter` calls.
    pub enters: u64,
    /// Times the completion queue overflowed and was flushed (nothing is lost: the kernel keeps the overflow).
    pub completion_overflows: u64,
    /// Wake-ups that this ring sent to others.
    pub wakes_sent: u64,
    /// Provided buffers that are not leased right now.
    pub buffers_free: u32,
    /// The last turn ended because few buffers were left, and there may be more to hear at once.
    pub was_cut_short: bool,
}
