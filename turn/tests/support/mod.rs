//! A relay, and clients that speak to it in the same thread.
#![allow(dead_code, reason = "not every test uses all of it")]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use fanfare_turn::credentials::Credentials;
use fanfare_turn::nonce::Nonces;
use fanfare_turn::policy::PeerPolicy;
use fanfare_turn::ports::Ports;
use fanfare_turn::relay::{
    Access, Action, Client, Config, ConnectionId, Dropped, Now, QuotaLimits, Relay, RelayAddress,
    RelaySocket, ReservationToken, Shared, Sockets, Transport,
};
use fanfare_turn::stun::{
    AttributeType, Class, Integrity, Key, Message, Method, PasswordAlgorithm, TransactionId, Writer,
};

pub(crate) const REALM: &str = "example.org";
pub(crate) const UDP: [u8; 4] = [17, 0, 0, 0];

/// The sockets of a host on which nobody else has any.
#[derive(Debug, Default)]
pub(crate) struct Host {
    pub(crate) open: BTreeMap<u32, SocketAddr>,
    pub(crate) opened: u32,
    /// Ports that somebody else has.
    pub(crate) taken: Vec<u16>,
    /// No descriptors are left.
    pub(crate) is_full: bool,
    /// Connections to peers.
    pub(crate) connections: BTreeMap<ConnectionId, SocketAddr>,
    pub(crate) disconnected: Vec<ConnectionId>,
    /// Open, but nobody's yet.
    pub(crate) kept: BTreeMap<ReservationToken, SocketAddr>,
}

impl Host {
    fn is_free(&self, local: SocketAddr) -> std::io::Result<()> {
        if self.is_full {
            return Err(std::io::Error::from_raw_os_error(libc::EMFILE));
        }
        let mut all = self.open.values().chain(self.kept.values());
        if self.taken.contains(&local.port()) || all.any(|it| *it == local) {
            return Err(std::io::ErrorKind::AddrInUse.into());
        }
        Ok(())
    }

    fn add(&mut self, local: SocketAddr) -> RelaySocket {
        let number = (0..)
            .find(|it| !self.open.contains_key(it))
            .expect("a number");
        self.open.insert(number, local);
        self.opened += 1;
        RelaySocket(number)
    }
}

impl Sockets for Host {
    fn open(&mut self, local: SocketAddr) -> std::io::Result<RelaySocket> {
        self.is_free(local)?;
        Ok(self.add(local))
    }

    fn keep(&mut self, token: ReservationToken, local: SocketAddr) -> std::io::Result<()> {
        self.is_free(local)?;
        assert!(self.kept.insert(token, local).is_none(), "kept twice");
        Ok(())
    }

    fn take_up(&mut self, token: ReservationToken) -> std::io::Result<RelaySocket> {
        let local = self.kept.remove(&token).expect("it was kept");
        Ok(self.add(local))
    }

    fn give_up(&mut self, token: ReservationToken) {
        assert!(self.kept.remove(&token).is_some(), "given up twice");
    }

    fn listen(&mut self, local: SocketAddr) -> std::io::Result<RelaySocket> {
        self.open(local)
    }

    fn close(&mut self, socket: RelaySocket) {
        assert!(self.open.remove(&socket.0).is_some(), "closed twice");
    }

    fn connect(
        &mut self,
        id: ConnectionId,
        from: RelaySocket,
        to: SocketAddr,
    ) -> std::io::Result<()> {
        assert!(self.open.contains_key(&from.0));
        assert!(self.connections.insert(id, to).is_none(), "connected twice");
        Ok(())
    }

    fn disconnect(&mut self, id: ConnectionId) {
        self.disconnected.push(id);
        self.connections.remove(&id);
    }
}

/// A relay on such a host.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) relay: Relay,
    pub(crate) host: Host,
    pub(crate) shared: Arc<Shared>,
    pub(crate) now: Now,
    transaction: u64,
    /// No other relay has allocations of what is shared.
    is_alone: bool,
}

pub(crate) struct Setup {
    pub(crate) config: Config,
    pub(crate) limits: QuotaLimits,
    pub(crate) ports: std::ops::RangeInclusive<u16>,
    pub has_ipv6: bool,
    pub(crate) allow: Vec<&'static str>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            config: Config::default(),
            limits: QuotaLimits {
                per_user: 10,
                total: 1_000,
            },
            ports: 50_000..=50_099,
            has_ipv6: true,
            allow: vec!["192.0.2.0/24", "2001:db8::/32"],
        }
    }
}

pub(crate) fn access(allow: &[&str]) -> Access {
    let allow: Vec<_> = allow.iter().map(|it| it.parse().expect("a net")).collect();
    let own = vec!["198.51.100.1:3478".parse().expect("a socket")];
    let users = ["ann", "bob"].map(|it| (it.to_owned(), format!("{it}'s password")));
    Access {
        credentials: Arc::new(Credentials::new(REALM, [b"north".to_vec()], users)),
        policy: Arc::new(PeerPolicy::new(&allow, &[], own)),
    }
}

impl Default for World {
    fn default() -> Self {
        Self::new(Setup::default())
    }
}

impl World {
    pub(crate) fn new(setup: Setup) -> Self {
        let shared = Arc::new(Shared::new(setup.limits, &setup.ports));
        Self {
            is_alone: true,
            ..Self::beside(setup, shared)
        }
    }

    /// One of several relays of a server.
    pub(crate) fn beside(setup: Setup, shared: Arc<Shared>) -> Self {
        let family = |ip: &str| {
            let ip = ip.parse().expect("an address");
            let address = RelayAddress {
                local: ip,
                external: ip,
            };
            (address, Ports::new(setup.ports.clone()))
        };
        let families = [
            Some(family("198.51.100.1")),
            setup.has_ipv6.then(|| family("2001:db8:1::1")),
        ];
        Self {
            relay: Relay::new(
                Config {
                    listeners: vec!["198.51.100.1:3478".parse().expect("a socket")],
                    ..setup.config
                },
                access(&setup.allow),
                Nonces::new([9; 32]),
                Arc::clone(&shared),
                families,
                5,
            ),
            host: Host::default(),
            shared,
            now: Now {
                unix_s: 1_700_000_000,
                ns: 77_000_000_000,
            },
            transaction: 0,
            is_alone: false,
        }
    }

    pub(crate) fn pass(&mut self, seconds: u32) {
        self.now.unix_s += seconds;
        self.now.ns += u64::from(seconds) * 1_000_000_000;
    }

    pub(crate) fn transaction(&mut self) -> TransactionId {
        self.transaction += 1;
        let mut id = [0; 12];
        id[..8].copy_from_slice(&self.transaction.to_be_bytes());
        id
    }

    /// Hands in a packet; the reply, if there is one.
    pub(crate) fn send<'p>(&mut self, client: Client, packet: &'p [u8]) -> (Action<'p>, Vec<u8>) {
        let mut reply = Vec::new();
        let action = self
            .relay
            .handle_client(client, packet, self.now, &mut self.host, &mut reply);
        let is_answered = matches!(action, Action::Reply | Action::Join(_));
        assert_eq!(is_answered, !reply.is_empty());
        (action, reply)
    }

    /// Ports that are open, as many as there are relayed addresses: whatever has happened.
    pub(crate) fn check(&self) {
        let allocated: usize = self
            .relay
            .allocations()
            .map(|(_, it)| it.addresses().count())
            .sum();
        assert!(self.host.open.len() >= allocated);
        let in_all = self.shared.allocation_count() as usize;
        assert!(in_all >= self.relay.allocations().len());
        if self.is_alone {
            assert_eq!(in_all, self.relay.allocations().len());
        }
    }
}

pub(crate) fn udp(port: u16) -> Client {
    Client {
        transport: Transport::Udp,
        local: "198.51.100.1:3478".parse().expect("a socket"),
        remote: SocketAddr::from(([203, 0, 113, 7], port)),
    }
}

/// Somebody with a password, who has been given a nonce.
#[derive(Debug, Clone)]
pub(crate) struct User {
    pub(crate) client: Client,
    pub(crate) name: Vec<u8>,
    pub(crate) key: Key,
    pub(crate) integrity: Integrity,
    pub(crate) nonce: Vec<u8>,
}

impl User {
    /// A user who asks for a nonce first.
    pub(crate) fn new(world: &mut World, client: Client, name: &str) -> Self {
        let mut bare = Vec::new();
        let transaction = world.transaction();
        Writer::new(&mut bare, Class::Request, Method::ALLOCATE, transaction)
            .attribute(AttributeType::REQUESTED_TRANSPORT, &UDP);
        let (_, reply) = world.send(client, &bare);
        let reply = Reply::read(&reply);
        assert_eq!(reply.code, Some(401));
        let password = format!("{name}'s password");
        Self {
            client,
            name: name.into(),
            key: Key::long_term(
                PasswordAlgorithm::Md5,
                name.as_bytes(),
                REALM.as_bytes(),
                password.as_bytes(),
            ),
            integrity: Integrity::Sha1,
            nonce: reply.of(AttributeType::NONCE).expect("a nonce").to_vec(),
        }
    }

    /// A signed request.
    pub(crate) fn request(
        &self,
        method: Method,
        transaction: TransactionId,
        attributes: &[(AttributeType, &[u8])],
        peers: &[SocketAddr],
    ) -> Vec<u8> {
        let mut out = Vec::new();
        let mut writer = Writer::new(&mut out, Class::Request, method, transaction);
        for (kind, value) in attributes {
            writer.attribute(*kind, value);
        }
        for peer in peers {
            writer.xor_address(AttributeType::XOR_PEER_ADDRESS, *peer);
        }
        writer
            .attribute(AttributeType::USERNAME, &self.name)
            .attribute(AttributeType::REALM, REALM.as_bytes())
            .attribute(AttributeType::NONCE, &self.nonce)
            .integrity(self.integrity, &self.key);
        out
    }

    /// The same, sent; a signed answer.
    pub(crate) fn ask(
        &self,
        world: &mut World,
        method: Method,
        attributes: &[(AttributeType, &[u8])],
        peers: &[SocketAddr],
    ) -> Reply {
        let transaction = world.transaction();
        let request = self.request(method, transaction, attributes, peers);
        let (action, reply) = world.send(self.client, &request);
        assert_eq!(action, Action::Reply);
        world.check();
        let message = Message::parse(&reply).expect("a message");
        assert_eq!(
            (message.method(), message.transaction()),
            (method, transaction)
        );
        let reply = Reply::read(&reply);
        if !matches!(reply.code, Some(401 | 438)) && message.integrity().is_some() {
            assert!(message.is_signed_with(&self.key));
        }
        reply
    }

    pub(crate) fn allocate(
        &self,
        world: &mut World,
        attributes: &[(AttributeType, &[u8])],
    ) -> Reply {
        let mut all = vec![(AttributeType::REQUESTED_TRANSPORT, &UDP[..])];
        all.extend_from_slice(attributes);
        self.ask(world, Method::ALLOCATE, &all, &[])
    }

    pub(crate) fn permit(&self, world: &mut World, peers: &[&str]) -> Option<u16> {
        let peers: Vec<_> = peers
            .iter()
            .map(|it| it.parse().expect("a socket"))
            .collect();
        self.ask(world, Method::CREATE_PERMISSION, &[], &peers).code
    }

    pub(crate) fn bind(&self, world: &mut World, number: u16, peer: &str) -> Option<u16> {
        let [high, low] = number.to_be_bytes();
        let number = [high, low, 0, 0];
        let attributes = [(AttributeType::CHANNEL_NUMBER, &number[..])];
        let peer = peer.parse().expect("a socket");
        self.ask(world, Method::CHANNEL_BIND, &attributes, &[peer])
            .code
    }

    pub(crate) fn refresh(&self, world: &mut World, lifetime_s: u32) -> Reply {
        let lifetime = lifetime_s.to_be_bytes();
        self.ask(
            world,
            Method::REFRESH,
            &[(AttributeType::LIFETIME, &lifetime)],
            &[],
        )
    }
}

/// An answer, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) bytes: Vec<u8>,
    /// `None` when it was done.
    pub(crate) code: Option<u16>,
}

impl Reply {
    pub(crate) fn read(bytes: &[u8]) -> Self {
        let message = Message::parse(bytes).expect("a message");
        let code = message.first(AttributeType::ERROR_CODE).map(|value| {
            assert_eq!(message.class(), Class::Error);
            u16::from(value[2]) * 100 + u16::from(value[3])
        });
        assert_eq!(code.is_none(), message.class() == Class::Success);
        Self {
            bytes: bytes.to_vec(),
            code,
        }
    }

    pub(crate) fn of(&self, kind: AttributeType) -> Option<&[u8]> {
        Message::parse(&self.bytes).expect("a message").first(kind)
    }

    pub(crate) fn number(&self, kind: AttributeType) -> Option<u32> {
        Some(u32::from_be_bytes(
            self.of(kind)?.try_into().expect("four bytes"),
        ))
    }

    pub(crate) fn addresses(&self, kind: AttributeType) -> Vec<SocketAddr> {
        let message = Message::parse(&self.bytes).expect("a message");
        message
            .attributes()
            .filter(|it| it.kind == kind)
            .map(|it| message.address(it.value).expect("an address"))
            .collect()
    }
}

/// What was dropped, and why.
pub(crate) fn dropped(action: Action<'_>) -> Dropped {
    match action {
        Action::Drop(why) => why,
        other => panic!("it was not dropped: {other:?}"),
    }
}
