//! Sending datagrams, and trains of them.

use std::mem;
use std::net::SocketAddr;
use std::ptr;

use io_uring::types::Fixed;
use io_uring::{opcode, squeue};

use super::control_space;
use crate::ring::operations::{KIND_OPTION, KIND_SEND};
use crate::ring::{Slot, Token};

/// Datagrams that a train may have (the kernel's `UDP_MAX_SEGMENTS` before 6.9).
pub const TRAIN_CARS_MAX: usize = 64;

/// Bytes that a train may have: the largest payload of UDP over IPv4.
pub const TRAIN_BYTES_MAX: usize = 65_507;

/// Pieces that a send may be put together from.
const PIECES_MAX: usize = 2 * TRAIN_CARS_MAX;

/// It never waits in the kernel, and there is no `SIGPIPE` in UDP.
const SEND_FLAGS: i32 = libc::MSG_DONTWAIT;

/// A datagram to be sent, or a train of them.
#[derive(Debug)]
pub struct Datagram<P> {
    /// From which socket.
    pub slot: Slot,
    /// Where to.
    pub to: SocketAddr,
    /// The bytes, in pieces that are put together: up to twice [`TRAIN_CARS_MAX`].
    pub pieces: P,
    /// It is to be cut into datagrams of so many bytes, of which the last may have fewer.
    pub car_bytes: Option<u16>,
    /// It is to arrive whole or not at all.
    pub is_whole: bool,
}

/// What is said to the socket before and after a datagram that is not to be cut on its way: DF, whatever is believed of the
/// path, or for IPv6 no fragments from here. Linux has no way to say it of one datagram that both versions know.
pub(in crate::ring) fn set_whole(slot: Slot, to: SocketAddr, is_whole: bool) -> squeue::Entry {
    static PROBE: i32 = libc::IP_PMTUDISC_PROBE;
    static CUT: i32 = libc::IP_PMTUDISC_DONT;
    static YES: i32 = 1;
    static NO: i32 = 0;
    let (level, option, value) = match (to, is_whole) {
        (SocketAddr::V4(_), true) => (libc::SOL_IP, libc::IP_MTU_DISCOVER, &PROBE),
        (SocketAddr::V4(_), false) => (libc::SOL_IP, libc::IP_MTU_DISCOVER, &CUT),
        (SocketAddr::V6(_), true) => (libc::SOL_IPV6, libc::IPV6_DONTFRAG, &YES),
        (SocketAddr::V6(_), false) => (libc::SOL_IPV6, libc::IPV6_DONTFRAG, &NO),
    };
    opcode::SetSockOpt::new(
        Fixed(slot.0),
        level.cast_unsigned(),
        option.cast_unsigned(),
        ptr::from_ref(value).cast(),
        u32::try_from(size_of::<i32>()).unwrap_or_default(),
    )
    .build()
    .flags(squeue::Flags::SKIP_SUCCESS)
    .user_data(Token::new(KIND_OPTION, 0, 0).0)
}

/// What the kernel reads while sends are submitted. Each has a place of its own until it has consumed them.
pub(in crate::ring) struct SendSpace {
    places: Box<[Place]>,
    pieces: Box<[libc::iovec]>,
    places_used: usize,
    pieces_used: usize,
}

struct Place {
    name: Name,
    header: libc::msghdr,
    control: Control,
}

/// Either form of a socket address.
#[derive(Clone, Copy)]
union Name {
    v4: libc::sockaddr_in,
    v6: libc::sockaddr_in6,
}

/// `cmsghdr` of `UDP_SEGMENT`, with its value.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Control([u8; CONTROL_BYTES]);

const CONTROL_BYTES: usize = control_space(size_of::<u16>());

impl SendSpace {
    /// For so many sends in one submission.
    pub(in crate::ring) fn new(sends: usize) -> Self {
        let empty = || Place {
            name: Name { v6: no_v6() },
            header: empty_header(0, 0),
            control: Control([0; CONTROL_BYTES]),
        };
        let no_piece = libc::iovec {
            iov_base: ptr::null_mut(),
            iov_len: 0,
        };
        Self {
            places: (0..sends).map(|_| empty()).collect(),
            pieces: vec![no_piece; sends.max(PIECES_MAX) * 2].into(),
            places_used: 0,
            pieces_used: 0,
        }
    }

    /// Everything that was submitted has been consumed.
    pub(in crate::ring) fn clear(&mut self) {
        (self.places_used, self.pieces_used) = (0, 0);
    }

    /// There is room for another send, whatever it is.
    pub(in crate::ring) fn has_room(&self) -> bool {
        self.places_used < self.places.len() && self.pieces_used + PIECES_MAX <= self.pieces.len()
    }

    /// The entry that sends this. It points into this space and to the pieces, which both have to stay as they are until it
    /// has been consumed; [`has_room`](Self::has_room) was asked before.
    pub(in crate::ring) fn entry<'d>(
        &mut self,
        datagram: Datagram<impl Iterator<Item = &'d [u8]>>,
        index: u32,
    ) -> squeue::Entry {
        let place = &mut self.places[self.places_used];
        self.places_used += 1;
        let (name, name_bytes) = name_of(datagram.to);
        place.name = name;
        let name = ptr::from_mut(&mut place.name);

        let first = self.pieces_used;
        for piece in datagram.pieces.take(PIECES_MAX) {
            self.pieces[self.pieces_used] = libc::iovec {
                iov_base: piece.as_ptr().cast_mut().cast(),
                iov_len: piece.len(),
            };
            self.pieces_used += 1;
        }
        let pieces = &mut self.pieces[first..self.pieces_used];
        let target = Fixed(datagram.slot.0);
        let entry = if let ([piece], None) = (&*pieces, datagram.car_bytes) {
            let bytes = u32::try_from(piece.iov_len).unwrap_or(u32::MAX);
            opcode::Send::new(target, piece.iov_base.cast_const().cast(), bytes)
                .flags(SEND_FLAGS)
                .dest_addr(name.cast_const().cast())
                .dest_addr_len(name_bytes)
                .build()
        } else {
            let header = &mut place.header;
            header.msg_name = name.cast();
            header.msg_namelen = name_bytes;
            header.msg_iov = pieces.as_mut_ptr();
            header.msg_iovlen = pieces.len();
            (header.msg_control, header.msg_controllen) = (ptr::null_mut(), 0);
            if let Some(bytes) = datagram.car_bytes {
                place.control = Control::segment(bytes);
                header.msg_control = ptr::from_mut(&mut place.control).cast();
                header.msg_controllen = CONTROL_BYTES;
            }
            opcode::SendMsg::new(target, ptr::from_ref(header))
                .flags(SEND_FLAGS.cast_unsigned())
                .build()
        };
        entry
            .flags(squeue::Flags::SKIP_SUCCESS)
            .user_data(Token::new(KIND_SEND, 0, index).0)
    }
}

impl Control {
    /// How the kernel is told to cut a train.
    fn segment(bytes: u16) -> Self {
        const LENGTH: usize = super::CONTROL_HEAD_BYTES + size_of::<u16>();
        let mut control = [0; CONTROL_BYTES];
        control[..8].copy_from_slice(&LENGTH.to_ne_bytes());
        control[8..12].copy_from_slice(&libc::SOL_UDP.to_ne_bytes());
        control[12..16].copy_from_slice(&libc::UDP_SEGMENT.to_ne_bytes());
        control[16..18].copy_from_slice(&bytes.to_ne_bytes());
        Self(control)
    }
}

fn name_of(to: SocketAddr) -> (Name, libc::socklen_t) {
    match to {
        SocketAddr::V4(to) => {
            let v4 = libc::sockaddr_in {
                sin_family: family(libc::AF_INET),
                sin_port: to.port().to_be(),
                sin_addr: libc::in_addr {
                    s_addr: u32::from_ne_bytes(to.ip().octets()),
                },
                sin_zero: [0; 8],
            };
            (Name { v4 }, length_of::<libc::sockaddr_in>())
        }
        SocketAddr::V6(to) => {
            let v6 = libc::sockaddr_in6 {
                sin6_port: to.port().to_be(),
                sin6_addr: libc::in6_addr {
                    s6_addr: to.ip().octets(),
                },
                sin6_scope_id: to.scope_id(),
                ..no_v6()
            };
            (Name { v6 }, length_of::<libc::sockaddr_in6>())
        }
    }
}

fn no_v6() -> libc::sockaddr_in6 {
    libc::sockaddr_in6 {
        sin6_family: family(libc::AF_INET6),
        sin6_port: 0,
        sin6_flowinfo: 0,
        sin6_addr: libc::in6_addr { s6_addr: [0; 16] },
        sin6_scope_id: 0,
    }
}

fn family(family: i32) -> libc::sa_family_t {
    libc::sa_family_t::try_from(family).unwrap_or_default()
}

fn length_of<T>() -> libc::socklen_t {
    libc::socklen_t::try_from(size_of::<T>()).unwrap_or_default()
}

/// A header that names nothing, with room for a name and for control messages of so many bytes where the kernel puts them
/// itself.
pub(super) fn empty_header(name_bytes: usize, control_bytes: usize) -> libc::msghdr {
    // SAFETY: all of its fields are numbers and pointers, for which zero is a value.
    let mut header: libc::msghdr = unsafe { mem::zeroed() };
    header.msg_namelen = libc::socklen_t::try_from(name_bytes).unwrap_or_default();
    header.msg_controllen = control_bytes;
    header
}
