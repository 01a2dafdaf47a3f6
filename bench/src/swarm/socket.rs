//! Client sockets, from many addresses of loopback.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;

use socket2::{Domain, Protocol, Socket, Type};

/// Connections from one source address. There are 28,232 ephemeral ports (`net.ipv4.ip_local_port_range`), of which `bind`
/// looks at half, from a random one on; connections that were closed here hold theirs for a minute. While few of them are
/// taken the search is short: with 8,000 for each address it was most of the time that 40,000 connections took.
/// (`IP_BIND_ADDRESS_NO_PORT` would leave the choice to `connect`, which has all of them per server; `socket2` lacks it.)
const CONNECTIONS_PER_ADDRESS: u32 = 2_000;

/// The source of the swarm's `index`-th connection, when the server is on loopback: every address of 127.0.0.0/8 works.
/// The first is 127.0.1.1.
fn source(index: u32) -> Ipv4Addr {
    let address = Ipv4Addr::new(127, 0, 1, 1).to_bits() + index / CONNECTIONS_PER_ADDRESS;
    Ipv4Addr::from_bits(address)
}

/// Connects, and waits for it: on loopback the kernel does it within the call, unless the server's backlog is full.
pub(super) fn connect(
    target: SocketAddr,
    index: u32,
    receive_buffer_bytes: Option<usize>,
) -> io::Result<OwnedFd> {
    let socket = Socket::new(
        Domain::for_address(target),
        Type::STREAM.cloexec(),
        Some(Protocol::TCP),
    )?;
    if let IpAddr::V4(ip) = target.ip()
        && ip.is_loopback()
    {
        socket.bind(&SocketAddr::from((source(index), 0)).into())?;
    }
    if let Some(bytes) = receive_buffer_bytes {
        // Before the connection is made: its window scale depends on it.
        socket.set_recv_buffer_size(bytes)?;
    }
    socket.set_tcp_nodelay(true)?;
    socket.connect(&target.into())?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_million_connections_have_sources_enough() {
        assert_eq!(source(0), Ipv4Addr::new(127, 0, 1, 1));
        assert_eq!(source(1_999), source(0));
        assert_eq!(source(2_000), Ipv4Addr::new(127, 0, 1, 2));
        assert!(source(1_000_000).is_loopback());
    }
}
