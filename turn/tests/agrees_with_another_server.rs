//! The same sequence of requests and packets through this relay and through `turn-server-proto`: both say and carry the same.
//!
//! What they differ in, and which of them is right, is at [`Bound::is_known_to_differ`].
#![allow(missing_docs)]

mod support;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::SocketAddr;

use fanfare_turn::budget::Rate;
use fanfare_turn::framing::{Channels, channel_header};
use fanfare_turn::peers::{CHANNEL_REST_S, CHANNEL_S, PeerLimits};
use fanfare_turn::relay::{Action, Client, Config, FromPeer, RelaySocket};
use fanfare_turn::stun::{AttributeType, Class, Message, Method, TransactionId, Writer};
use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};
use support::{REALM, Setup, UDP, User, World, udp};
use turn_server_proto::api::{Transmit, TurnServerApi, TurnServerPollRet};
use turn_server_proto::server::TurnServer;
use turn_server_proto::types::{Instant, TransportType};

const CLIENTS: usize = 3;
const PEERS: [&str; 3] = ["192.0.2.1:7000", "192.0.2.1:7001", "192.0.2.2:7000"];
/// The last two are no numbers of channels.
const CHANNELS: [u16; 5] = [0x4000, 0x4001, 0x7000, 0x3FFF, 0x8000];

#[derive(Debug, Clone, Copy)]
enum Step {
    Allocate(usize, Option<u32>),
    Refresh(usize, u32),
    Permit(usize, usize),
    /// With a number and a peer.
    Bind(usize, usize, usize),
    /// As a user whose allocation it is not.
    Intrude(usize),
    Send(usize, usize),
    SendOnChannel(usize, usize),
    /// By a peer, to the address that a client was given last.
    Answer(usize, usize),
    Pass(u32),
}

fn step() -> impl Strategy<Value = Step> {
    let who = 0..CLIENTS;
    let lifetime = prop_oneof![
        Just(None),
        Just(Some(60)),
        Just(Some(700)),
        Just(Some(9_000))
    ];
    let rest = prop_oneof![Just(0), Just(60), Just(600), Just(1_000), Just(9_000)];
    prop_oneof![
        4 => (who.clone(), lifetime).prop_map(|(who, s)| Step::Allocate(who, s)),
        2 => (who.clone(), rest).prop_map(|(who, s)| Step::Refresh(who, s)),
        4 => (who.clone(), 0..PEERS.len()).prop_map(|(who, peer)| Step::Permit(who, peer)),
        4 => (who.clone(), 0..CHANNELS.len(), 0..PEERS.len())
            .prop_map(|(who, number, peer)| Step::Bind(who, number, peer)),
        1 => who.clone().prop_map(Step::Intrude),
        4 => (who.clone(), 0..PEERS.len()).prop_map(|(who, peer)| Step::Send(who, peer)),
        4 => (who.clone(), 0..CHANNELS.len()).prop_map(|(who, number)| Step::SendOnChannel(who, number)),
        6 => (who, 0..PEERS.len()).prop_map(|(who, peer)| Step::Answer(who, peer)),
        3 => prop_oneof![Just(7), Just(113), Just(307), Just(613)].prop_map(Step::Pass),
    ]
}

/// What comes of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Outcome {
    Done {
        lifetime_s: Option<u32>,
    },
    Refused(u16),
    ToPeer(SocketAddr, Vec<u8>),
    /// On a channel, or as an indication.
    ToClient(SocketAddr, Option<u16>, Vec<u8>),
    Nothing,
}

/// A server: it has clients, each with a nonce and an address that it was given.
trait Relaying {
    /// A datagram of a client.
    fn hear(&mut self, client: Client, packet: &[u8]) -> Heard;
    /// A datagram of a peer.
    fn hear_peer(&mut self, relayed: SocketAddr, peer: SocketAddr, data: &[u8]) -> Outcome;
    fn pass(&mut self, seconds: u32);
}

/// What comes of a datagram of a client.
enum Heard {
    Reply(Vec<u8>),
    ToPeer(SocketAddr, Vec<u8>),
    Nothing,
}

struct Ours(World);

impl Relaying for Ours {
    fn hear(&mut self, client: Client, packet: &[u8]) -> Heard {
        match self.0.send(client, packet) {
            (Action::Reply, reply) => Heard::Reply(reply),
            (Action::Relay { to, data, .. }, _) => Heard::ToPeer(to, data.to_vec()),
            (Action::Drop(_), _) => Heard::Nothing,
            (other, _) => panic!("nobody asked for {other:?}"),
        }
    }

    fn hear_peer(&mut self, relayed: SocketAddr, peer: SocketAddr, data: &[u8]) -> Outcome {
        let open = &self.0.host.open;
        let Some((number, _)) = open.iter().find(|(_, it)| **it == relayed) else {
            return Outcome::Nothing;
        };
        let mut packet = Vec::new();
        let socket = RelaySocket(*number);
        let now = self.0.now;
        match self
            .0
            .relay
            .handle_peer(socket, peer, data.len(), now, &mut packet)
        {
            FromPeer::Drop(_) => Outcome::Nothing,
            FromPeer::Relay { client, padding } => {
                packet.extend_from_slice(data);
                packet.resize(packet.len() + usize::from(padding), 0);
                to_client(client.remote, &packet)
            }
        }
    }

    fn pass(&mut self, seconds: u32) {
        self.0.pass(seconds);
        self.0.relay.sweep(self.0.now, &mut self.0.host);
    }
}

struct Theirs {
    server: TurnServer,
    seconds: u32,
    /// Times that it was asked for the time.
    instants: i64,
    next_port: u16,
}

impl Theirs {
    fn new() -> Self {
        let listener = udp(0).local;
        let mut server = TurnServer::new(TransportType::Udp, listener, REALM.to_owned());
        for name in ["ann", "bob"] {
            server.add_user(name.to_owned(), format!("{name}'s password"));
        }
        Self {
            server,
            seconds: 0,
            instants: 0,
            next_port: 50_000,
        }
    }

    /// A little later each time: whether something that lasts a minute is over at its last instant is of no interest.
    fn now(&mut self) -> Instant {
        self.instants += 1;
        Instant::from_nanos(i64::from(self.seconds) * 1_000_000_000 + self.instants)
    }

    /// Does what it waits for, until it waits for nothing.
    fn settle(&mut self) {
        let now = self.now();
        loop {
            match self.server.poll(now) {
                TurnServerPollRet::WaitUntil(_) => return,
                TurnServerPollRet::AllocateSocket {
                    transport,
                    listen_addr,
                    client_addr,
                    allocation_transport,
                    family,
                } => {
                    let relayed = SocketAddr::new(listen_addr.ip(), self.next_port);
                    self.next_port += 1;
                    self.server.allocated_socket(
                        transport,
                        listen_addr,
                        client_addr,
                        allocation_transport,
                        family,
                        Ok(relayed),
                        now,
                    );
                }
                TurnServerPollRet::SocketClose { .. } => {}
                other => panic!("nobody asked for {other:?}"),
            }
        }
    }
}

impl Relaying for Theirs {
    fn hear(&mut self, client: Client, packet: &[u8]) -> Heard {
        self.settle();
        let now = self.now();
        let received = Transmit::new(
            packet.to_vec(),
            TransportType::Udp,
            client.remote,
            client.local,
        );
        let sent = self.server.recv(received, now).map(|it| it.build());
        self.settle();
        let Some(sent) = sent.or_else(|| self.server.poll_transmit(now)) else {
            return Heard::Nothing;
        };
        if sent.to == client.remote {
            Heard::Reply(sent.data)
        } else {
            Heard::ToPeer(sent.to, sent.data)
        }
    }

    fn hear_peer(&mut self, relayed: SocketAddr, peer: SocketAddr, data: &[u8]) -> Outcome {
        self.settle();
        let now = self.now();
        let received = Transmit::new(data.to_vec(), TransportType::Udp, peer, relayed);
        let sent = self.server.recv(received, now).map(|it| it.build());
        sent.map_or(Outcome::Nothing, |it| to_client(it.to, &it.data))
    }

    fn pass(&mut self, seconds: u32) {
        self.seconds += seconds;
        self.settle();
    }
}

/// Takes apart what a client is sent.
fn to_client(client: SocketAddr, packet: &[u8]) -> Outcome {
    if let Some(message) = Message::parse(packet).ok().filter(|_| packet[0] < 0x40) {
        assert_eq!(
            (message.class(), message.method()),
            (Class::Indication, Method::DATA)
        );
        let data = message.first(AttributeType::DATA).expect("data");
        return Outcome::ToClient(client, None, data.to_vec());
    }
    let number = u16::from_be_bytes([packet[0], packet[1]]);
    let length = usize::from(u16::from_be_bytes([packet[2], packet[3]]));
    Outcome::ToClient(client, Some(number), packet[4..4 + length].to_vec())
}

/// The clients of one server.
struct Clients<R> {
    relay: R,
    users: Vec<User>,
    relayed: BTreeMap<usize, SocketAddr>,
    transaction: u64,
}

impl<R: Relaying> Clients<R> {
    fn new(relay: R, users: &[User]) -> Self {
        Self {
            relay,
            users: users.to_vec(),
            relayed: BTreeMap::new(),
            transaction: 0,
        }
    }

    fn transaction(&mut self) -> TransactionId {
        self.transaction += 1;
        let mut id = [3; 12];
        id[..8].copy_from_slice(&self.transaction.to_be_bytes());
        id
    }

    /// Asks with the nonce that there is, and again if there is a new one.
    fn ask(
        &mut self,
        who: usize,
        as_user: Option<&User>,
        method: Method,
        attributes: &[(AttributeType, &[u8])],
        peers: &[SocketAddr],
    ) -> Outcome {
        for _ in 0..2 {
            let transaction = self.transaction();
            let user = User {
                client: self.users[who].client,
                nonce: self.users[who].nonce.clone(),
                ..as_user.unwrap_or(&self.users[who]).clone()
            };
            let request = user.request(method, transaction, attributes, peers);
            let Heard::Reply(reply) = self.relay.hear(user.client, &request) else {
                return Outcome::Nothing;
            };
            let reply = Message::parse(&reply).expect("a message");
            assert_eq!((reply.method(), reply.transaction()), (method, transaction));
            let Some(code) = reply.first(AttributeType::ERROR_CODE) else {
                assert!(reply.is_signed_with(&user.key));
                if let Some(relayed) = reply.first(AttributeType::XOR_RELAYED_ADDRESS) {
                    let relayed = reply.address(relayed).expect("an address");
                    self.relayed.insert(who, relayed);
                }
                let lifetime = reply.first(AttributeType::LIFETIME);
                return Outcome::Done {
                    lifetime_s: lifetime
                        .map(|it| u32::from_be_bytes(it.try_into().expect("four bytes"))),
                };
            };
            let code = u16::from(code[2]) * 100 + u16::from(code[3]);
            if !matches!(code, 401 | 438) {
                return Outcome::Refused(code);
            }
            let nonce = reply.first(AttributeType::NONCE).expect("a nonce");
            self.users[who].nonce = nonce.to_vec();
        }
        panic!("no nonce is good");
    }

    fn hear(&mut self, who: usize, packet: &[u8]) -> Outcome {
        match self.relay.hear(self.users[who].client, packet) {
            Heard::ToPeer(peer, data) => Outcome::ToPeer(peer, data),
            Heard::Nothing => Outcome::Nothing,
            Heard::Reply(reply) => panic!("{reply:?} was not asked for"),
        }
    }

    fn take(&mut self, step: Step, number: usize) -> Outcome {
        use AttributeType as A;
        let data = format!("packet {number}").into_bytes();
        let peer = |at: usize| -> SocketAddr { PEERS[at].parse().expect("a socket") };
        match step {
            Step::Allocate(who, lifetime_s) => {
                let lifetime = lifetime_s.unwrap_or(0).to_be_bytes();
                let mut attributes = vec![(A::REQUESTED_TRANSPORT, &UDP[..])];
                if lifetime_s.is_some() {
                    attributes.push((A::LIFETIME, &lifetime));
                }
                self.ask(who, None, Method::ALLOCATE, &attributes, &[])
            }
            Step::Refresh(who, lifetime_s) => {
                let lifetime = [(A::LIFETIME, &lifetime_s.to_be_bytes()[..])];
                self.ask(who, None, Method::REFRESH, &lifetime, &[])
            }
            Step::Permit(who, at) => {
                self.ask(who, None, Method::CREATE_PERMISSION, &[], &[peer(at)])
            }
            Step::Bind(who, number, at) => {
                let [high, low] = CHANNELS[number].to_be_bytes();
                let number = [(A::CHANNEL_NUMBER, &[high, low, 0, 0][..])];
                self.ask(who, None, Method::CHANNEL_BIND, &number, &[peer(at)])
            }
            Step::Intrude(who) => {
                let other = self.users[(who + 1) % CLIENTS].clone();
                self.ask(who, Some(&other), Method::REFRESH, &[], &[])
            }
            Step::Send(who, at) => {
                let mut packet = Vec::new();
                Writer::new(
                    &mut packet,
                    Class::Indication,
                    Method::SEND,
                    self.transaction(),
                )
                .xor_address(A::XOR_PEER_ADDRESS, peer(at))
                .attribute(A::DATA, &data);
                self.hear(who, &packet)
            }
            Step::SendOnChannel(who, number) => {
                let header = channel_header(CHANNELS[number], data.len()).expect("it fits");
                let mut packet = header.to_vec();
                packet.extend_from_slice(&data);
                self.hear(who, &packet)
            }
            Step::Answer(who, at) => {
                let Some(&relayed) = self.relayed.get(&who) else {
                    return Outcome::Nothing;
                };
                let said = self.relay.hear_peer(relayed, peer(at), &data);
                // Its port may have been given to another one since.
                let is_others = |to: SocketAddr| {
                    let mut others = self.users.iter().enumerate();
                    let other = others.find(|(_, it)| it.client.remote == to);
                    other.is_some_and(|(of, _)| of != who && self.relayed[&of] == relayed)
                };
                match said {
                    Outcome::ToClient(to, ..) if is_others(to) => Outcome::Nothing,
                    said => said,
                }
            }
            Step::Pass(seconds) => {
                self.relay.pass(seconds);
                Outcome::Nothing
            }
        }
    }
}

/// The channels that have been bound, by number and peer.
#[derive(Default)]
struct Bound {
    channels: Vec<Channel>,
    now_s: u32,
}

struct Channel {
    who: usize,
    number: usize,
    peer: usize,
    until_s: u32,
}

impl Bound {
    /// The other server looks at a peer's channels alone, and forgets them when they end. So it binds a number that is bound to
    /// somebody else, which RFC 8656 section 12.2 has answered with 400; and at once what section 12 says not to bind
    /// otherwise for five minutes after its end, so that what is late on its way does not come to somebody else.
    fn is_known_to_differ(&self, step: Step) -> bool {
        let Step::Bind(who, number, peer) = step else {
            return false;
        };
        let of_client = self.channels.iter().filter(|it| it.who == who);
        let mut still = of_client.filter(|it| self.now_s < it.until_s + CHANNEL_REST_S);
        number < 3
            && still.any(|it| {
                let rests = it.until_s <= self.now_s;
                (it.number == number && it.peer != peer)
                    || (rests && it.peer == peer && it.number != number)
            })
    }

    fn learn(&mut self, step: Step, said: &Outcome) {
        match (step, said) {
            (Step::Pass(seconds), _) => self.now_s += seconds,
            (Step::Bind(who, number, peer), Outcome::Done { .. }) => {
                let is_it = |it: &Channel| (it.who, it.number, it.peer) == (who, number, peer);
                self.channels.retain(|it| !is_it(it));
                self.channels.push(Channel {
                    who,
                    number,
                    peer,
                    until_s: self.now_s + CHANNEL_S,
                });
            }
            (Step::Allocate(who, _), Outcome::Done { .. }) => {
                self.channels.retain(|it| it.who != who);
            }
            _ => {}
        }
    }
}

impl Outcome {
    /// The kind of it, to count.
    fn kind(&self) -> String {
        match self {
            Self::Done { .. } => "done".to_owned(),
            Self::Refused(code) => code.to_string(),
            Self::ToPeer(..) => "to a peer".to_owned(),
            Self::ToClient(_, None, _) => "to a client".to_owned(),
            Self::ToClient(_, Some(_), _) => "to a client on a channel".to_owned(),
            Self::Nothing => "nothing".to_owned(),
        }
    }
}

/// Counts what has come of the steps.
fn run(steps: &[Step], seen: &RefCell<BTreeMap<String, u32>>) -> Result<(), TestCaseError> {
    let often = Rate::new(1_000_000, 1_000_000);
    let mut world = World::new(Setup {
        config: Config {
            strangers: often,
            peers: PeerLimits {
                new_peers: often,
                // Both of RFC 5766's.
                channels: Channels::RFC_5766,
                ..PeerLimits::default()
            },
            ..Config::default()
        },
        ..Setup::default()
    });
    let users: Vec<_> = (5_000..)
        .zip(["ann", "bob", "ann"])
        .map(|(port, name)| User::new(&mut world, udp(port), name))
        .collect();
    let mut ours = Clients::new(Ours(world), &users);
    let mut theirs = Clients::new(Theirs::new(), &users);
    let mut bound = Bound::default();
    for (number, &step) in steps.iter().enumerate() {
        let said_here = ours.take(step, number);
        if bound.is_known_to_differ(step) && said_here != Outcome::Refused(437) {
            prop_assert_eq!(
                said_here,
                Outcome::Refused(400),
                "step {}, {:?}",
                number,
                step
            );
            continue;
        }
        bound.learn(step, &said_here);
        let said_there = theirs.take(step, number);
        *seen.borrow_mut().entry(said_here.kind()).or_default() += 1;
        prop_assert_eq!(said_here, said_there, "step {}, {:?}", number, step);
    }
    Ok(())
}

#[test]
fn two_servers_say_and_carry_the_same() {
    let cases =
        std::env::var("FANFARE_TURN_CASES").map_or(10_000, |it| it.parse().expect("a number"));
    let config = ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let chance = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let seen = RefCell::default();
    let mut runner = TestRunner::new_with_rng(config, chance);
    let steps = prop::collection::vec(step(), 1..60);
    runner
        .run(&steps, |steps| run(&steps, &seen))
        .unwrap_or_else(|failed| panic!("{failed}"));
    // It has come to all that there is.
    let seen = seen.into_inner();
    println!("{seen:?}");
    for kind in [
        "done",
        "400",
        "437",
        "441",
        "to a peer",
        "to a client",
        "to a client on a channel",
    ] {
        assert!(seen.get(kind).is_some_and(|it| *it >= cases / 10), "{kind}");
    }
}
