//! UDP sockets.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use socket2::{Domain, Protocol, Socket, Type};

/// How a socket is made.
#[derive(Debug, Clone, Copy, Default)]
pub struct UdpOptions {
    /// Several sockets have the address, and each sender always reaches the same one.
    pub is_shared: bool,
    /// Trains are received as such.
    pub has_trains: bool,
    /// Errors of the network are kept, to be [received](crate::ring::KernelRing::receive_errors).
    pub has_errors: bool,
    /// Bytes that may wait to be received; 0: the system's default. Without `CAP_NET_ADMIN` no more than
    /// `net.core.rmem_max`.
    pub receive_bytes: u32,
    /// Bytes that may wait to be sent, likewise.
    pub send_bytes: u32,
}

/// Opens a socket at this address. Its datagrams may be fragmented on their way (RFC 8656 section 14).
///
/// # Errors
/// The system's.
pub fn bind_udp(addr: SocketAddr, options: &UdpOptions) -> io::Result<OwnedFd> {
    let socket = Socket::new(
        Domain::for_address(addr),
        Type::DGRAM.nonblocking().cloexec(),
        Some(Protocol::UDP),
    )?;
    let fd = socket.as_raw_fd();
    let is_v6 = addr.is_ipv6();
    if is_v6 {
        socket.set_only_v6(true)?;
        set(
            fd,
            libc::SOL_IPV6,
            libc::IPV6_MTU_DISCOVER,
            libc::IPV6_PMTUDISC_DONT,
        )?;
    } else {
        set(
            fd,
            libc::SOL_IP,
            libc::IP_MTU_DISCOVER,
            libc::IP_PMTUDISC_DONT,
        )?;
    }
    if options.is_shared {
        socket.set_reuse_port(true)?;
    }
    if options.has_trains {
        set(fd, libc::SOL_UDP, libc::UDP_GRO, 1)?;
    }
    if options.has_errors {
        let (level, option) = if is_v6 {
            (libc::SOL_IPV6, libc::IPV6_RECVERR)
        } else {
            (libc::SOL_IP, libc::IP_RECVERR)
        };
        set(fd, level, option, 1)?;
    }
    if options.receive_bytes > 0 {
        set_receive_bytes(socket.as_fd(), options.receive_bytes)?;
    }
    if options.send_bytes > 0 {
        set_buffer(
            fd,
            libc::SO_SNDBUFFORCE,
            libc::SO_SNDBUF,
            options.send_bytes,
        )?;
    }
    socket.bind(&addr.into())?;
    Ok(socket.into())
}

/// Says how many bytes may wait to be received, as [`UdpOptions::receive_bytes`] does.
///
/// # Errors
/// The system's.
pub fn set_receive_bytes(socket: BorrowedFd<'_>, bytes: u32) -> io::Result<()> {
    let fd = socket.as_raw_fd();
    set_buffer(fd, libc::SO_RCVBUFFORCE, libc::SO_RCVBUF, bytes)
}

/// As many bytes as asked for, or as the system allows to those without privileges.
fn set_buffer(fd: RawFd, force: i32, ask: i32, bytes: u32) -> io::Result<()> {
    let bytes = i32::try_from(bytes).unwrap_or(i32::MAX);
    set(fd, libc::SOL_SOCKET, force, bytes).or_else(|_| set(fd, libc::SOL_SOCKET, ask, bytes))
}

fn set(fd: RawFd, level: i32, option: i32, value: i32) -> io::Result<()> {
    // SAFETY: the value is an int that outlives the call, and its length is that of an int.
    let result = unsafe {
        libc::setsockopt(
            fd,
            level,
            option,
            std::ptr::from_ref(&value).cast(),
            libc::socklen_t::try_from(size_of::<i32>()).unwrap_or(4),
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
