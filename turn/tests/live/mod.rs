//! A server on loopback, and clients that speak to it over sockets.
#![allow(dead_code, reason = "not every test uses all of it")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use fanfare_turn::credentials::Credentials;
use fanfare_turn::framing::{Channels, Next, next_of_stream};
use fanfare_turn::policy::PeerPolicy;
use fanfare_turn::relay::{Access, Config, QuotaLimits, RelayAddress};
use fanfare_turn::server::{RelaySnapshot, Server, ServerConfig, StreamLimits};
use fanfare_turn::stun::{
    AttributeType, Class, Integrity, Key, Message, Method, PasswordAlgorithm, Writer,
};

pub(crate) const REALM: &str = "example.org";

/// A guard against waiting for ever; nothing is decided by it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Without bounds that tests would run into by accident.
pub(crate) fn config() -> ServerConfig {
    let loopback = |text: &str| {
        let ip = text.parse().expect("an address");
        RelayAddress {
            local: ip,
            external: ip,
        }
    };
    let users = [("ann".to_owned(), "secret".to_owned())];
    let allowed = ["127.0.0.0/8", "::1/128"].map(|it| it.parse().expect("a net"));
    ServerConfig {
        threads: 1,
        udp: vec!["127.0.0.1:0".parse().expect("a socket")],
        tcp: vec!["127.0.0.1:0".parse().expect("a socket")],
        tls: Vec::new(),
        tls_config: None,
        relay: [Some(loopback("127.0.0.1")), Some(loopback("::1"))],
        // Those that Linux gives to nobody else.
        ports: 10_000..=30_000,
        config: Config {
            strangers: fanfare_turn::budget::Rate::new(1_000_000, 1_000_000),
            bindings: fanfare_turn::budget::Rate::new(1_000_000, 1_000_000),
            packets: fanfare_turn::budget::Rate::new(1_000_000, 1_000_000),
            bytes: fanfare_turn::budget::Rate::new(u32::MAX, u32::MAX),
            ..Config::default()
        },
        quota: QuotaLimits {
            per_user: 1_000,
            total: 1_000,
        },
        streams: StreamLimits::default(),
        access: Access {
            credentials: Arc::new(Credentials::new(REALM, [], users)),
            policy: Arc::new(PeerPolicy::new(&allowed, &[], Vec::new())),
        },
        directory: None,
        observer: None,
        sockets_per_thread_max: 4_096,
    }
}

pub(crate) fn start(config: ServerConfig) -> Server {
    Server::start(config).expect("a server")
}

/// The numbers of all threads together, as soon as they are so.
pub(crate) fn counted(server: &Server, is_so: impl Fn(&RelaySnapshot) -> bool) -> RelaySnapshot {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let all = server.handle().counters();
        let mut sum = RelaySnapshot::default();
        // Those that tests ask about.
        for of in &all {
            sum.allocations += of.allocations;
            sum.sockets += of.sockets;
            sum.streams += of.streams;
            sum.connections += of.connections;
            sum.connections_refused += of.connections_refused;
            sum.client_packets += of.client_packets;
            sum.packets_to_peers += of.packets_to_peers;
            sum.packets_to_clients += of.packets_to_clients;
            sum.packets_hairpin += of.packets_hairpin;
            sum.stream_messages_dropped += of.stream_messages_dropped;
            sum.pipes_slowed += of.pipes_slowed;
            sum.tls_handshakes_refused += of.tls_handshakes_refused;
            sum.streams_left += of.streams_left;
            sum.packets_handed_over += of.packets_handed_over;
            sum.packets_not_handed_over += of.packets_not_handed_over;
            sum.dropped_no_permission += of.dropped_no_permission;
            sum.datagrams_sent += of.datagrams_sent;
            sum.challenges += of.challenges;
            sum.network_errors += of.network_errors;
            sum.streams_garbage += of.streams_garbage;
            sum.streams_idle += of.streams_idle;
            sum.streams_refused += of.streams_refused;
            sum.receives_begun += of.receives_begun;
            sum.bytes_piped += of.bytes_piped;
            sum.answers += of.answers;
            sum.dropped_malformed += of.dropped_malformed;
            sum.dropped_unknown += of.dropped_unknown;
            sum.sends_failed += of.sends_failed;
            sum.sends_full += of.sends_full;
            sum.sends_again += of.sends_again;
        }
        if is_so(&sum) {
            return sum;
        }
        assert!(
            Instant::now() < deadline,
            "it did not come to that: {sum:?}"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// How a client reaches the server.
#[derive(Debug)]
pub(crate) enum Wire {
    Udp(UdpSocket),
    /// With what was received and is not a whole message yet.
    Tcp(TcpStream, Vec<u8>),
}

/// A client.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) wire: Wire,
    nonce: Vec<u8>,
    key: Key,
    next: u64,
}

impl Client {
    pub(crate) fn udp(server: &Server) -> Self {
        let socket = udp_socket("127.0.0.1:0");
        socket.connect(server.udp()[0]).expect("a route");
        Self::at(socket)
    }

    /// One with this socket, which is connected to a server.
    pub(crate) fn at(socket: UdpSocket) -> Self {
        Self::new(Wire::Udp(socket))
    }

    pub(crate) fn tcp(server: &Server) -> Self {
        Self::new(Wire::Tcp(tcp_stream(server), Vec::new()))
    }

    fn new(wire: Wire) -> Self {
        Self {
            wire,
            nonce: Vec::new(),
            key: Key::long_term(PasswordAlgorithm::Md5, b"ann", REALM.as_bytes(), b"secret"),
            next: fastrand_seed(),
        }
    }

    /// Sends bytes as they are.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        match &mut self.wire {
            Wire::Udp(socket) => assert_eq!(socket.send(bytes).expect("sent"), bytes.len()),
            Wire::Tcp(stream, _) => stream.write_all(bytes).expect("sent"),
        }
    }

    /// The next message or ChannelData with its padding.
    pub(crate) fn receive(&mut self) -> Vec<u8> {
        let mut buffer = vec![0; 1 << 16];
        match &mut self.wire {
            Wire::Udp(socket) => {
                let length = patiently(|| socket.recv(&mut buffer));
                buffer.truncate(length);
                buffer
            }
            Wire::Tcp(stream, input) => loop {
                let next = next_of_stream(input, 70_000, Channels::RFC_8656);
                if let Next::Whole(length) = next.expect("no garbage") {
                    return input.drain(..length).collect();
                }
                let length = patiently(|| stream.read(&mut buffer));
                assert_ne!(length, 0, "the connection has ended");
                input.extend_from_slice(&buffer[..length]);
            },
        }
    }

    /// A request, signed once there is a nonce.
    pub(crate) fn request(
        &mut self,
        method: Method,
        write: impl FnOnce(&mut Writer<'_>),
    ) -> Vec<u8> {
        self.next += 1;
        let mut transaction = [5; 12];
        transaction[..8].copy_from_slice(&self.next.to_be_bytes());
        let mut out = Vec::new();
        let mut writer = Writer::new(&mut out, Class::Request, method, transaction);
        write(&mut writer);
        if !self.nonce.is_empty() {
            writer
                .attribute(AttributeType::USERNAME, b"ann")
                .attribute(AttributeType::REALM, REALM.as_bytes())
                .attribute(AttributeType::NONCE, &self.nonce)
                .integrity(Integrity::Sha1, &self.key);
        }
        out
    }

    /// Asks, and gives the answer, with its error if it is one.
    pub(crate) fn ask(
        &mut self,
        method: Method,
        write: impl Fn(&mut Writer<'_>),
    ) -> (Option<u16>, Vec<u8>) {
        loop {
            let request = self.request(method, &write);
            self.send(&request);
            let answer = self.receive();
            let message = Message::parse(&answer).expect("a message");
            let code = message
                .first(AttributeType::ERROR_CODE)
                .map(|it| u16::from(it[2]) * 100 + u16::from(it[3]));
            if matches!(code, Some(401 | 438)) {
                let nonce = message.first(AttributeType::NONCE).expect("a nonce");
                if self.nonce.is_empty() || code == Some(438) {
                    self.nonce = nonce.to_vec();
                    continue;
                }
            }
            return (code, answer);
        }
    }

    /// Gets a nonce, with which requests are signed from then on.
    pub(crate) fn take_nonce(&mut self) {
        let request = self.request(Method::REFRESH, |_| {});
        self.send(&request);
        let answer = self.receive();
        let message = Message::parse(&answer).expect("a message");
        let nonce = message.first(AttributeType::NONCE).expect("a nonce");
        self.nonce = nonce.to_vec();
    }

    pub(crate) fn allocate(&mut self) -> SocketAddr {
        self.allocate_with(&[]).0
    }

    /// With these attributes; the relayed address, and the whole answer.
    pub(crate) fn allocate_with(
        &mut self,
        attributes: &[(AttributeType, &[u8])],
    ) -> (SocketAddr, Vec<u8>) {
        let (code, answer) = self.ask(Method::ALLOCATE, |writer| {
            writer.attribute(AttributeType::REQUESTED_TRANSPORT, &[17, 0, 0, 0]);
            for (kind, value) in attributes {
                writer.attribute(*kind, value);
            }
        });
        assert_eq!(code, None);
        let message = Message::parse(&answer).expect("a message");
        let relayed = message.first(AttributeType::XOR_RELAYED_ADDRESS);
        let relayed = message.address(relayed.expect("an address"));
        (relayed.expect("an address"), answer)
    }

    pub(crate) fn bind(&mut self, channel: u16, peer: SocketAddr) -> Option<u16> {
        let [high, low] = channel.to_be_bytes();
        let (code, _) = self.ask(Method::CHANNEL_BIND, |writer| {
            writer
                .attribute(AttributeType::CHANNEL_NUMBER, &[high, low, 0, 0])
                .xor_address(AttributeType::XOR_PEER_ADDRESS, peer);
        });
        code
    }

    pub(crate) fn permit(&mut self, peer: SocketAddr) -> Option<u16> {
        let (code, _) = self.ask(Method::CREATE_PERMISSION, |writer| {
            writer.xor_address(AttributeType::XOR_PEER_ADDRESS, peer);
        });
        code
    }

    pub(crate) fn refresh(&mut self, seconds: u32) -> Option<u16> {
        let (code, _) = self.ask(Method::REFRESH, |writer| {
            writer.attribute(AttributeType::LIFETIME, &seconds.to_be_bytes());
        });
        code
    }
}

/// The end of a ring interrupts the thread that had it, whatever that waits for by then.
fn patiently<T>(mut receive: impl FnMut() -> std::io::Result<T>) -> T {
    loop {
        match receive() {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            received => return received.expect("something in time"),
        }
    }
}

/// Another first transaction for every client.
fn fastrand_seed() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1 << 32, Ordering::Relaxed)
}

pub(crate) fn udp_socket(local: &str) -> UdpSocket {
    let socket = UdpSocket::bind(local).expect("a socket");
    socket
        .set_read_timeout(Some(PATIENCE))
        .expect("a socket option");
    socket
}

pub(crate) fn tcp_stream(server: &Server) -> TcpStream {
    let stream = TcpStream::connect(server.tcp()[0]).expect("a connection");
    stream
        .set_read_timeout(Some(PATIENCE))
        .expect("a socket option");
    stream.set_nodelay(true).expect("a socket option");
    stream
}

/// ChannelData, padded to so many bytes.
pub(crate) fn channel_data(channel: u16, data: &[u8], multiple_of: usize) -> Vec<u8> {
    let header = fanfare_turn::framing::channel_header(channel, data.len()).expect("it fits");
    let mut bytes = header.to_vec();
    bytes.extend_from_slice(data);
    bytes.resize(bytes.len().next_multiple_of(multiple_of), 0);
    bytes
}

/// A datagram, and who has sent it.
pub(crate) fn receive_from(socket: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut buffer = vec![0; 1 << 16];
    let (length, from) = patiently(|| socket.recv_from(&mut buffer));
    buffer.truncate(length);
    (buffer, from)
}
