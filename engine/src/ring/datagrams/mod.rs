//! Datagrams: UDP sockets on a ring.
//!
//! A receive keeps going and puts each datagram into a provided buffer, behind where it came from and how it is cut. With
//! GRO the kernel joins datagrams of one sender into a *train*, which is received as one: equal cars, the last of which may be
//! shorter. With GSO a train is sent as one. Either way the network stack is walked once for all of it, and that walk is
//! what relaying costs.

mod errors;
mod received;
mod sends;
mod socket;

pub use errors::{SocketError, read_error};
pub use received::{HEAD_BYTES, Received};
pub use sends::{Datagram, TRAIN_BYTES_MAX, TRAIN_CARS_MAX};
pub(super) use sends::{SendSpace, set_whole};
pub use socket::{UdpOptions, bind_udp, set_receive_bytes};

pub(super) use errors::errors_header;
pub(super) use received::datagrams_header;

/// Bytes of the largest socket address that datagrams come from: `sockaddr_in6`.
const NAME_BYTES: usize = size_of::<libc::sockaddr_in6>();

/// Bytes of `io_uring_recvmsg_out`, which comes before all else in a buffer of a receive that keeps going.
const OUT_BYTES: usize = 16;

/// Bytes of `cmsghdr`.
const CONTROL_HEAD_BYTES: usize = size_of::<libc::cmsghdr>();

/// What a control message takes with its header and padding.
const fn control_space(bytes: usize) -> usize {
    CONTROL_HEAD_BYTES + bytes.next_multiple_of(size_of::<usize>())
}

/// What the head of a buffer says: the numbers of `io_uring_recvmsg_out`.
#[derive(Debug, Clone, Copy)]
struct Head {
    control_bytes: usize,
    flags: i32,
}

impl Head {
    fn read(buffer: &[u8]) -> Option<Self> {
        let word = |at: usize| {
            let bytes = buffer.get(at..at + 4)?;
            Some(u32::from_ne_bytes(bytes.try_into().ok()?))
        };
        Some(Self {
            control_bytes: word(4)? as usize,
            flags: word(12)?.cast_signed(),
        })
    }
}

/// A socket address as the kernel writes it.
fn socket_address(name: &[u8]) -> Option<std::net::SocketAddr> {
    let family = u16::from_ne_bytes(name.get(..2)?.try_into().ok()?);
    let port = u16::from_be_bytes(name.get(2..4)?.try_into().ok()?);
    match i32::from(family) {
        libc::AF_INET => {
            let ip: [u8; 4] = name.get(4..8)?.try_into().ok()?;
            Some((ip, port).into())
        }
        libc::AF_INET6 => {
            let ip: [u8; 16] = name.get(8..24)?.try_into().ok()?;
            Some((ip, port).into())
        }
        _ => None,
    }
}

/// The value of the control message of this kind, if there is one among them.
fn control(messages: &[u8], level: i32, kind: i32) -> Option<&[u8]> {
    let mut rest = messages;
    while let Some(head) = rest.get(..CONTROL_HEAD_BYTES) {
        let length = usize::from_ne_bytes(head[..8].try_into().ok()?);
        let of =
            |at: usize| i32::from_ne_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let value = rest.get(CONTROL_HEAD_BYTES..length)?;
        if (of(8), of(12)) == (level, kind) {
            return Some(value);
        }
        rest = rest.get(length.next_multiple_of(size_of::<usize>())..)?;
    }
    None
}
