//! What the network says about datagrams that were sent (`IP_RECVERR`): ICMP messages, in a queue of their own.

use std::net::SocketAddr;

use super::{Head, NAME_BYTES, OUT_BYTES, control, control_space, socket_address};

/// `sock_extended_err` and the address of who complains.
const CONTROL_BYTES: usize = control_space(size_of::<libc::sock_extended_err>() + NAME_BYTES);

/// As [`datagrams_header`](super::datagrams_header), for errors.
pub(in crate::ring) fn errors_header() -> libc::msghdr {
    super::sends::empty_header(NAME_BYTES, CONTROL_BYTES)
}

/// An ICMP message about a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SocketError {
    /// Where the datagram was sent to.
    pub to: SocketAddr,
    /// Type and code, of ICMP or, if it was sent to an IPv6 address, of ICMPv6.
    pub icmp: (u8, u8),
    /// What comes with it: the MTU of the path, if the datagram was too long for it.
    pub info: u32,
}

/// Reads what the completion of a receive of errors has brought; `None` if that is not the network's word, but our own host's.
#[must_use]
pub fn read_error(buffer: &[u8]) -> Option<SocketError> {
    let head = Head::read(buffer)?;
    let name = OUT_BYTES..OUT_BYTES + NAME_BYTES;
    let to = socket_address(buffer.get(name.clone())?)?;
    let controls = buffer.get(name.end..name.end + CONTROL_BYTES.min(head.control_bytes))?;
    let (level, kind, origin) = match to {
        SocketAddr::V4(_) => (libc::SOL_IP, libc::IP_RECVERR, libc::SO_EE_ORIGIN_ICMP),
        SocketAddr::V6(_) => (libc::SOL_IPV6, libc::IPV6_RECVERR, libc::SO_EE_ORIGIN_ICMP6),
    };
    // sock_extended_err: errno, origin, type, code, a byte of padding, info, data.
    let error = control(controls, level, kind)?;
    let &[_, _, _, _, from, kind, code, _, i0, i1, i2, i3, ..] = error else {
        return None;
    };
    (from == origin).then_some(SocketError {
        to,
        icmp: (kind, code),
        info: u32::from_ne_bytes([i0, i1, i2, i3]),
    })
}
