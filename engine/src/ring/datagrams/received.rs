//! What a receive of datagrams brings.

use std::net::SocketAddr;
use std::ops::Range;

use super::{Head, NAME_BYTES, OUT_BYTES, control, control_space, socket_address};
use crate::ring::BufferLease;

/// How a train is cut: an `int`.
const CONTROL_BYTES: usize = control_space(size_of::<i32>());

/// Bytes in a buffer before the first datagram. What they say has been read when a [`Received`] is made, so that whoever
/// passes the datagram on may write there what is to go before it.
pub const HEAD_BYTES: usize = OUT_BYTES + NAME_BYTES + CONTROL_BYTES;

/// The header that the kernel is given: how much room there is for what comes before the datagrams.
pub(in crate::ring) fn datagrams_header() -> libc::msghdr {
    super::sends::empty_header(NAME_BYTES, CONTROL_BYTES)
}

/// One datagram or a train of them, from one sender, in a provided buffer.
#[derive(Debug)]
pub struct Received {
    buffer: BufferLease,
    from: SocketAddr,
    /// Bytes of a datagram, of which the last may have fewer.
    car_bytes: usize,
    is_truncated: bool,
}

impl Received {
    /// Reads what the completion of a receive of datagrams has brought; `None` if it brought something else.
    #[must_use]
    pub fn read(buffer: BufferLease) -> Option<Self> {
        let head = Head::read(&buffer)?;
        let name = OUT_BYTES..OUT_BYTES + NAME_BYTES;
        let from = socket_address(buffer.get(name.clone())?)?;
        let controls = CONTROL_BYTES.min(head.control_bytes);
        let total = buffer.len().checked_sub(HEAD_BYTES)?;
        let cut = control(
            buffer.get(name.end..name.end + controls)?,
            libc::SOL_UDP,
            libc::UDP_GRO,
        );
        let car_bytes = cut
            .and_then(|value| value.first_chunk())
            .and_then(|value| usize::try_from(i32::from_ne_bytes(*value)).ok())
            .filter(|bytes| *bytes > 0);
        Some(Self {
            buffer,
            from,
            car_bytes: car_bytes.unwrap_or(total.max(1)),
            is_truncated: head.flags & libc::MSG_TRUNC != 0,
        })
    }

    /// Who sent it.
    #[must_use]
    pub const fn from(&self) -> SocketAddr {
        self.from
    }

    /// It did not fit into the buffer, and its end is lost.
    #[must_use]
    pub const fn is_truncated(&self) -> bool {
        self.is_truncated
    }

    /// Where in the buffer the datagrams are: one at least, which may be empty.
    pub fn cars(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        let (end, car_bytes) = (self.buffer.len(), self.car_bytes);
        let mut start = HEAD_BYTES;
        let mut is_first = true;
        std::iter::from_fn(move || {
            if start >= end && !is_first {
                return None;
            }
            is_first = false;
            let car = start..(start + car_bytes).min(end);
            start = car.end;
            Some(car)
        })
    }

    /// The whole buffer.
    #[must_use]
    pub fn into_buffer(self) -> BufferLease {
        self.buffer
    }
}
