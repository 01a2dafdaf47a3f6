//! The relay's own state machine over `recvmmsg(2)` and `sendmmsg(2)`: what the ring gives it, apart from everything else.
//!
//! Every decision is that of [`Relay`], as on the ring: credentials, permissions, policy, rates. Only how packets come and go
//! is another: `epoll_wait`, up to 64 packets of a socket at a time, and as many to clients in one call. It speaks UDP over
//! IPv4 and has no trains.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;
use std::process::exit;
use std::sync::Arc;
use std::thread;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use clap::Args;
use fanfare_turn::budget::Rate;
use fanfare_turn::credentials::Credentials;
use fanfare_turn::nonce::Nonces;
use fanfare_turn::policy::PeerPolicy;
use fanfare_turn::ports::Ports;
use fanfare_turn::relay::{
    Access, Action, Client, Config, ConnectionId, FromPeer, Now, QuotaLimits, Relay, RelayAddress,
    RelaySocket, ReservationToken, Shared, Sockets, Transport,
};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrIn, recvmmsg, sendmmsg};
use socket2::SockRef;
use std::io::{IoSlice, IoSliceMut};

use super::relay::BUFFER_BYTES;

/// Packets that are received and sent with one call.
const BATCH: usize = 64;

/// Room before each for what goes before data to clients: at most 36 bytes of a Data indication over IPv4.
const HEAD_BYTES: usize = 64;

/// The longest packet that is received.
const PACKET_BYTES: usize = 2_048;

/// The epoll key of the socket that clients' datagrams come to; others are those of their sockets.
const LISTENER: u64 = u64::MAX;

/// Runs the relay over recvmmsg and sendmmsg, for `turn` to measure.
#[derive(Debug, Args)]
pub(crate) struct ServeRelayMmsg {
    /// Who may use it
    user: String,
    /// Their password
    password: String,
}

/// Serves until its standard input ends.
pub(crate) fn serve(args: &ServeRelayMmsg) -> io::Result<()> {
    let listener = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    widen(&listener, BUFFER_BYTES);
    listener.set_nonblocking(true)?;
    let local = listener.local_addr()?;
    let epoll = Epoll::new(EpollCreateFlags::empty())?;
    epoll.add(&listener, EpollEvent::new(EpollFlags::EPOLLIN, LISTENER))?;
    println!("ready {local}");
    thread::spawn(|| {
        // Whoever started it holds its input open.
        let _ = io::copy(&mut io::stdin(), &mut io::sink());
        exit(0);
    });
    let relay = relay(args, local)?;
    Loop {
        listener,
        local,
        relay,
        host: Host {
            epoll,
            sockets: Vec::new(),
        },
        started: Instant::now(),
        inbox: Inbox::default(),
        outbox: Outbox::default(),
    }
    .run()
}

/// Set up like Fanfare when it is measured: without bounds on what a client may do.
fn relay(args: &ServeRelayMmsg, local: SocketAddr) -> io::Result<Relay> {
    const PORTS: std::ops::RangeInclusive<u16> = 10_000..=65_535;
    let unlimited = Rate::new(u32::MAX, u32::MAX);
    let random = |error: getrandom::Error| io::Error::other(error.to_string());
    let mut nonce_key = [0; 32];
    getrandom::fill(&mut nonce_key).map_err(random)?;
    let loopback = Ipv4Addr::LOCALHOST.into();
    let address = RelayAddress {
        local: loopback,
        external: loopback,
    };
    let limits = QuotaLimits {
        per_user: u32::MAX,
        total: u32::MAX,
    };
    let users = [(args.user.clone(), args.password.clone())];
    let allowed = [ipnet::IpNet::from(loopback)];
    Ok(Relay::new(
        Config {
            packets: unlimited,
            bytes: unlimited,
            strangers: unlimited,
            bindings: unlimited,
            listeners: vec![local],
            ..Config::default()
        },
        Access {
            credentials: Arc::new(Credentials::new("fanfare", [], users)),
            policy: Arc::new(PeerPolicy::new(&allowed, &[], vec![local])),
        },
        Nonces::new(nonce_key),
        Arc::new(Shared::new(limits, &PORTS)),
        [Some((address, Ports::new(PORTS))), None],
        getrandom::u64().map_err(random)?,
    ))
}

struct Loop {
    listener: UdpSocket,
    local: SocketAddr,
    relay: Relay,
    host: Host,
    started: Instant,
    inbox: Inbox,
    outbox: Outbox,
}

impl Loop {
    fn run(mut self) -> io::Result<()> {
        let mut events = vec![EpollEvent::empty(); 256];
        loop {
            let count = self.host.epoll.wait(&mut events, EpollTimeout::NONE)?;
            let now = self.now();
            for event in &events[..count] {
                if event.data() == LISTENER {
                    self.handle_clients(now);
                } else if let Ok(number) = u32::try_from(event.data()) {
                    self.handle_peers(RelaySocket(number), now);
                }
            }
            self.outbox.flush(&self.listener);
        }
    }

    fn now(&self) -> Now {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH);
        Now {
            unix_s: unix.map_or(0, |it| u32::try_from(it.as_secs()).unwrap_or(u32::MAX)),
            ns: u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX),
        }
    }

    fn handle_clients(&mut self, now: Now) {
        let count = self.inbox.receive(&self.listener);
        for at in 0..count {
            let (packet, remote) = self.inbox.packet(at);
            let client = Client {
                transport: Transport::Udp,
                local: self.local,
                remote: remote.into(),
            };
            let mut reply = Vec::new();
            let action = self
                .relay
                .handle_client(client, packet, now, &mut self.host, &mut reply);
            match action {
                Action::Reply => self.outbox.push(remote, &[&reply]),
                Action::Relay { from, to, data, .. } => {
                    // Each client has a socket of its own, so there is nothing to be sent with it. A full one loses packets.
                    if let Some(socket) = self.host.socket(from) {
                        let _ = socket.send_to(data, to);
                    }
                }
                Action::Hairpin { from, to, data } => {
                    deliver(&mut self.relay, to, from, data, now, &mut self.outbox);
                }
                Action::Drop(_)
                | Action::Wait
                | Action::Ask(_)
                | Action::Join(_)
                | Action::Handover { .. } => {}
            }
            if self.outbox.is_full() {
                self.outbox.flush(&self.listener);
            }
        }
    }

    fn handle_peers(&mut self, number: RelaySocket, now: Now) {
        let Some(socket) = self.host.socket(number) else {
            return;
        };
        let count = self.inbox.receive(socket);
        for at in 0..count {
            let (data, from) = self.inbox.packet(at);
            let outbox = &mut self.outbox;
            deliver(&mut self.relay, number, from.into(), data, now, outbox);
            if self.outbox.is_full() {
                self.outbox.flush(&self.listener);
            }
        }
    }
}

/// Hands data of a peer to whoever has the socket.
fn deliver(
    relay: &mut Relay,
    socket: RelaySocket,
    from: SocketAddr,
    data: &[u8],
    now: Now,
    outbox: &mut Outbox,
) {
    let mut header = Vec::with_capacity(HEAD_BYTES);
    if let FromPeer::Relay { client, padding } =
        relay.handle_peer(socket, from, data.len(), now, &mut header)
        && let SocketAddr::V4(client) = client.remote
    {
        outbox.push(client, &[&header, data, &[0; 3][..usize::from(padding)]]);
    }
}

/// What one call has received.
struct Inbox {
    buffers: Vec<[u8; PACKET_BYTES]>,
    headers: MultiHeaders<SockaddrIn>,
    received: Vec<(usize, SocketAddrV4)>,
}

impl Default for Inbox {
    fn default() -> Self {
        Self {
            buffers: vec![[0; PACKET_BYTES]; BATCH],
            headers: MultiHeaders::preallocate(BATCH, None),
            received: Vec::with_capacity(BATCH),
        }
    }
}

impl Inbox {
    /// Receives what there is, up to a batch; how many.
    fn receive(&mut self, socket: &UdpSocket) -> usize {
        self.received.clear();
        let slices = self.buffers.iter_mut().map(|it| [IoSliceMut::new(it)]);
        let mut slices: Vec<_> = slices.collect();
        let flags = MsgFlags::MSG_DONTWAIT;
        let fd = socket.as_raw_fd();
        // What ends the wait is found at the next turn, too: `EAGAIN`, and errors of the network.
        if let Ok(results) = recvmmsg(fd, &mut self.headers, slices.iter_mut(), flags, None) {
            let read = results.filter_map(|it| Some((it.bytes, SocketAddrV4::from(it.address?))));
            self.received.extend(read);
        }
        self.received.len()
    }

    fn packet(&self, at: usize) -> (&[u8], SocketAddrV4) {
        let (length, from) = self.received[at];
        (&self.buffers[at][..length], from)
    }
}

/// What leaves for clients with one call.
struct Outbox {
    buffers: Vec<[u8; PACKET_BYTES + HEAD_BYTES]>,
    lengths: Vec<usize>,
    to: Vec<Option<SockaddrIn>>,
    headers: MultiHeaders<SockaddrIn>,
}

impl Default for Outbox {
    fn default() -> Self {
        Self {
            buffers: vec![[0; PACKET_BYTES + HEAD_BYTES]; BATCH],
            lengths: Vec::with_capacity(BATCH),
            to: Vec::with_capacity(BATCH),
            headers: MultiHeaders::preallocate(BATCH, None),
        }
    }
}

impl Outbox {
    fn push(&mut self, to: SocketAddrV4, parts: &[&[u8]]) {
        let buffer = &mut self.buffers[self.lengths.len()];
        let mut length = 0;
        for part in parts {
            buffer[length..length + part.len()].copy_from_slice(part);
            length += part.len();
        }
        self.lengths.push(length);
        self.to.push(Some(to.into()));
    }

    fn is_full(&self) -> bool {
        self.lengths.len() == BATCH
    }

    fn flush(&mut self, listener: &UdpSocket) {
        let mut sent = 0;
        while sent < self.lengths.len() {
            let left = self.buffers.iter().zip(&self.lengths).skip(sent);
            let slices: Vec<_> = left
                .map(|(buffer, length)| [IoSlice::new(&buffer[..*length])])
                .collect();
            let flags = MsgFlags::MSG_DONTWAIT;
            let fd = listener.as_raw_fd();
            let to = &self.to[sent..];
            let taken = sendmmsg(fd, &mut self.headers, slices.iter(), to, [], flags);
            // The one that fails is lost.
            sent += taken.map_or(1, |it| it.count().max(1));
        }
        self.lengths.clear();
        self.to.clear();
    }
}

/// The sockets of relayed addresses.
struct Host {
    epoll: Epoll,
    sockets: Vec<Option<UdpSocket>>,
}

impl Host {
    fn socket(&self, number: RelaySocket) -> Option<&UdpSocket> {
        self.sockets.get(number.0 as usize)?.as_ref()
    }
}

impl Sockets for Host {
    fn open(&mut self, local: SocketAddr) -> io::Result<RelaySocket> {
        let socket = UdpSocket::bind(local)?;
        socket.set_nonblocking(true)?;
        widen(&socket, 1 << 20);
        let free = self.sockets.iter().position(Option::is_none);
        let at = free.unwrap_or(self.sockets.len());
        let number = u32::try_from(at).map_err(io::Error::other)?;
        self.epoll
            .add(&socket, EpollEvent::new(EpollFlags::EPOLLIN, number.into()))?;
        if at == self.sockets.len() {
            self.sockets.push(None);
        }
        self.sockets[at] = Some(socket);
        Ok(RelaySocket(number))
    }

    fn listen(&mut self, _: SocketAddr) -> io::Result<RelaySocket> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn keep(&mut self, _: ReservationToken, _: SocketAddr) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn take_up(&mut self, _: ReservationToken) -> io::Result<RelaySocket> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn give_up(&mut self, _: ReservationToken) {}

    fn close(&mut self, socket: RelaySocket) {
        // Closing it takes it out of the epoll.
        self.sockets[socket.0 as usize] = None;
    }

    fn connect(&mut self, _: ConnectionId, _: RelaySocket, _: SocketAddr) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn disconnect(&mut self, _: ConnectionId) {}
}

/// As many bytes as the system gives.
fn widen(socket: &UdpSocket, bytes: usize) {
    let socket = SockRef::from(socket);
    let _ = socket.set_recv_buffer_size(bytes);
    let _ = socket.set_send_buffer_size(bytes);
}
