//! Listening sockets. Options that connections need are set on the listener: Linux copies them to the sockets
//! it accepts, which saves a system call per connection.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};
use thiserror::Error;

/// Connections that may wait to be accepted. The kernel lowers it to `net.core.somaxconn`.
const BACKLOG: i32 = 65_535;

/// How long sent bytes may stay unacknowledged, or a peer's window closed, before the kernel gives the peer up. The
/// default is a quarter of an hour. Longer than a ping and its answer take, so that who does not read is closed by us,
/// with a code and a counter.
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(60);

/// Keepalive finds a silently lost peer of a connection that sends nothing, after 120 s and a probe or more 15 s apart.
/// Pings find it sooner where a dialect has them.
const KEEPALIVE: TcpKeepalive = TcpKeepalive::new()
    .with_time(Duration::from_secs(120))
    .with_interval(Duration::from_secs(15))
    .with_retries(4);

/// Why an address cannot be listened on, and what to do about it.
#[derive(Debug, Error)]
pub enum ListenError {
    /// `EADDRINUSE`: another process has it, or another listener of this one.
    #[error(
        "{addr} is in use, by another process (`ss -lntup` names it) or by an address listed before it; stop that or listen on another port"
    )]
    InUse {
        /// What was to be bound.
        addr: SocketAddr,
    },

    /// `EACCES` or `EPERM`: ports below `net.ipv4.ip_unprivileged_port_start` need a capability.
    #[error(
        "not allowed to listen on {addr}; grant CAP_NET_BIND_SERVICE (`AmbientCapabilities=` in systemd) or use a port from 1024 up"
    )]
    NotAllowed {
        /// What was to be bound.
        addr: SocketAddr,
    },

    /// `EADDRNOTAVAIL`: no interface has it.
    #[error(
        "no interface of this host has the address {addr}; listen on one that `ip address` lists, or on 0.0.0.0 or [::]"
    )]
    NotOurs {
        /// What was to be bound.
        addr: SocketAddr,
    },

    /// `EAFNOSUPPORT`: the host runs without that version of IP.
    #[error(
        "this host cannot listen on {addr}: it has no such version of IP; listen on an address of the other one"
    )]
    NoSuchProtocol {
        /// What was to be bound.
        addr: SocketAddr,
    },

    /// Anything else.
    #[error("cannot listen on {addr}: {source}")]
    Other {
        /// What was to be bound.
        addr: SocketAddr,
        /// What the kernel said.
        source: io::Error,
    },
}

impl ListenError {
    /// What it means that this address could not be bound.
    #[must_use]
    pub fn explain(addr: SocketAddr, source: io::Error) -> Self {
        match source.raw_os_error() {
            Some(libc::EADDRINUSE) => Self::InUse { addr },
            Some(libc::EACCES | libc::EPERM) => Self::NotAllowed { addr },
            Some(libc::EADDRNOTAVAIL) => Self::NotOurs { addr },
            Some(libc::EAFNOSUPPORT) => Self::NoSuchProtocol { addr },
            _ => Self::Other { addr, source },
        }
    }
}

/// Listens on `addr` once per shard, so that the kernel spreads connections over them (`SO_REUSEPORT`). Port 0
/// takes a free one, the same for all. Another process that shares the address in the same way would get a part of them, so
/// the address has to be free.
///
/// # Errors
/// See [`ListenError`].
pub fn listen_per_shard(
    addr: SocketAddr,
    shards: u16,
    unsent_bytes_max: u32,
) -> Result<Vec<Socket>, ListenError> {
    let alone = open(addr, unsent_bytes_max, false);
    drop(alone.map_err(|source| ListenError::explain(addr, source))?);
    let mut addr = addr;
    let mut listeners = Vec::with_capacity(usize::from(shards));
    for _ in 0..shards {
        let listener = listen(addr, unsent_bytes_max)?;
        addr = local_addr(&listener).map_err(|source| ListenError::Other { addr, source })?;
        listeners.push(listener);
    }
    Ok(listeners)
}

/// Listens on `addr`, beside others that share it. Accepted sockets have Nagle off, count as full with
/// `unsent_bytes_max` bytes unsent, and notice lost peers.
///
/// An IPv6 address takes IPv6 only, so that `[::]` and `0.0.0.0` can be listened on side by side.
///
/// # Errors
/// See [`ListenError`].
pub fn listen(addr: SocketAddr, unsent_bytes_max: u32) -> Result<Socket, ListenError> {
    open(addr, unsent_bytes_max, true).map_err(|source| ListenError::explain(addr, source))
}

/// Has the kernel choose among the listeners of an address by where a connection comes from: all those of one address go to
/// the same one. By default it chooses by port as well.
///
/// Has to be asked of one of them, after all are bound.
///
/// # Errors
/// The system's.
pub fn steer_by_source(listener: &Socket, listeners: u16) -> io::Result<()> {
    // From the header of IP: the address of IPv4, or the last word of that of IPv6 and the two that name its network.
    const NET: u32 = libc::SKF_NET_OFF.cast_unsigned();
    let is_v6 = local_addr(listener)?.is_ipv6();
    let load = |at: u32| {
        instruction(
            libc::BPF_LD | libc::BPF_W | libc::BPF_ABS,
            NET.wrapping_add(at),
        )
    };
    let mut program = Vec::new();
    if is_v6 {
        // Bytes 8 to 16 of the header: the /64, which is one client for all that is counted here.
        program.push(load(8));
        program.push(instruction(libc::BPF_MISC | libc::BPF_TAX, 0));
        program.push(load(12));
        program.push(instruction(libc::BPF_ALU | libc::BPF_XOR | libc::BPF_X, 0));
    } else {
        program.push(load(12));
    }
    // Neighbours should not all come to the same one, nor in turn: Fibonacci hashing, then the high bits.
    program.push(instruction(
        libc::BPF_ALU | libc::BPF_MUL | libc::BPF_K,
        0x9e37_79b1,
    ));
    program.push(instruction(libc::BPF_ALU | libc::BPF_RSH | libc::BPF_K, 16));
    program.push(instruction(
        libc::BPF_ALU | libc::BPF_MOD | libc::BPF_K,
        u32::from(listeners.max(1)),
    ));
    program.push(instruction(libc::BPF_RET | libc::BPF_A, 0));
    let filter = libc::sock_fprog {
        len: u16::try_from(program.len()).unwrap_or(u16::MAX),
        filter: program.as_mut_ptr(),
    };
    // SAFETY: the program is read during the call, and both outlive it.
    let result = unsafe {
        libc::setsockopt(
            listener.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_REUSEPORT_CBPF,
            std::ptr::from_ref(&filter).cast(),
            libc::socklen_t::try_from(size_of::<libc::sock_fprog>()).unwrap_or_default(),
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// One instruction of classic BPF.
fn instruction(code: u32, k: u32) -> libc::sock_filter {
    libc::sock_filter {
        code: u16::try_from(code).unwrap_or_default(),
        jt: 0,
        jf: 0,
        k,
    }
}

fn open(addr: SocketAddr, unsent_bytes_max: u32, is_shared: bool) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(addr),
        Type::STREAM.nonblocking().cloexec(),
        Some(Protocol::TCP),
    )?;
    if addr.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(is_shared)?;
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_notsent_lowat(unsent_bytes_max)?;
    socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED_MAX))?;
    socket.set_tcp_keepalive(&KEEPALIVE)?;
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}

/// The address a socket is bound to, with the port that it got.
///
/// # Errors
/// When the socket is not bound to an IP address.
pub fn local_addr(socket: &Socket) -> io::Result<SocketAddr> {
    socket
        .local_addr()?
        .as_socket()
        .ok_or_else(|| io::Error::from(io::ErrorKind::AddrNotAvailable))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::net::TcpStream;

    use super::*;

    const LOCAL: SocketAddr =
        SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

    #[test]
    fn accepted_sockets_inherit_the_options() {
        let listener = listen(LOCAL, 12_345).unwrap();
        let _client = TcpStream::connect(local_addr(&listener).unwrap()).unwrap();
        listener.set_nonblocking(false).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        assert!(accepted.tcp_nodelay().unwrap());
        assert_eq!(accepted.tcp_notsent_lowat().unwrap(), 12_345);
        assert_eq!(
            accepted.tcp_user_timeout().unwrap(),
            Some(UNACKNOWLEDGED_MAX)
        );
        assert!(accepted.keepalive().unwrap());
        assert_eq!(
            accepted.tcp_keepalive_time().unwrap(),
            Duration::from_secs(120)
        );
        assert_eq!(
            accepted.tcp_keepalive_interval().unwrap(),
            Duration::from_secs(15)
        );
        assert_eq!(accepted.tcp_keepalive_retries().unwrap(), 4);
    }

    #[test]
    fn shards_share_one_free_port() {
        let listeners = listen_per_shard(LOCAL, 3, 16_384).unwrap();
        let ports: Vec<u16> = listeners
            .iter()
            .map(|listener| local_addr(listener).unwrap().port())
            .collect();
        assert_ne!(ports[0], 0);
        assert_eq!(ports, [ports[0]; 3]);
    }

    #[test]
    fn errors_name_the_address_and_the_remedy() {
        let taken = std::net::TcpListener::bind(LOCAL).unwrap();
        let addr = taken.local_addr().unwrap();
        let error = listen(addr, 16_384).unwrap_err();
        assert!(matches!(error, ListenError::InUse { .. }), "{error:?}");
        assert!(error.to_string().contains(&addr.to_string()));

        // One that shares it is another server.
        let shared = listen(LOCAL, 16_384).unwrap();
        let error = listen_per_shard(local_addr(&shared).unwrap(), 2, 16_384).unwrap_err();
        assert!(matches!(error, ListenError::InUse { .. }), "{error:?}");

        let foreign = SocketAddr::from(([192, 0, 2, 1], 0));
        let error = listen(foreign, 16_384).unwrap_err();
        assert!(matches!(error, ListenError::NotOurs { .. }), "{error:?}");
    }

    #[test]
    fn who_connects_again_comes_to_the_same_listener() {
        for local in ["127.0.0.1:0", "[::1]:0"] {
            let listeners = listen_per_shard(local.parse().unwrap(), 4, 16_384).unwrap();
            steer_by_source(&listeners[0], 4).unwrap();
            let addr = local_addr(&listeners[0]).unwrap();
            let at = |_| {
                let _client = TcpStream::connect(addr).unwrap();
                let has_one = |it: &Socket| it.accept().is_ok();
                listeners.iter().position(has_one).unwrap()
            };
            let places: std::collections::BTreeSet<usize> = (0..20).map(at).collect();
            assert_eq!(places.len(), 1, "{local}");
        }
        // And others to others.
        let listeners = listen_per_shard(LOCAL, 4, 16_384).unwrap();
        steer_by_source(&listeners[0], 4).unwrap();
        let addr = local_addr(&listeners[0]).unwrap();
        let from = |last: u8| {
            let client = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            let local = SocketAddr::from(([127, 0, 0, last], 0));
            client.bind(&local.into()).unwrap();
            client.connect(&addr.into()).unwrap();
            let has_one = |it: &Socket| it.accept().is_ok();
            listeners.iter().position(has_one).unwrap()
        };
        let places: std::collections::BTreeSet<usize> = (1..=64).map(from).collect();
        assert_eq!(places.len(), 4);
    }

    #[test]
    fn both_versions_of_ip_share_a_port() {
        // Below the ephemeral ports, which others hold and leave in TIME_WAIT. Of many, one is free in both.
        let both = (10_000..10_100).any(|port| {
            let Ok(six) = listen(SocketAddr::from(([0_u16; 8], port)), 16_384) else {
                return false;
            };
            assert!(six.only_v6().unwrap());
            listen(SocketAddr::from(([0, 0, 0, 0], port)), 16_384).is_ok()
        });
        let has_six = listen(SocketAddr::from(([0_u16; 8], 0)), 16_384).is_ok();
        let both = both || !has_six;
        assert!(both);
    }
}
