//! Whatever clients do: the ports that are open are those of live allocations and of reservations, and the quota counts
//! the allocations.
#![allow(missing_docs)]

mod support;

use std::collections::BTreeSet;
use std::net::SocketAddr;

use fanfare_turn::relay::{
    Action, Client, Config, ConnectionId, NotConnected, QuotaLimits, RelaySocket, Transport,
};
use fanfare_turn::stun::{AttributeType, Method};
use proptest::prelude::*;
use support::{Setup, User, World, udp};

#[derive(Debug, Clone)]
enum Step {
    /// By whom, and with which of the attributes below.
    Allocate(usize, usize),
    /// With the token that was given last.
    Redeem(usize),
    Refresh(usize, u32),
    /// One of two families.
    Drop(usize, u8),
    Leave(usize),
    Pass(u32),
    Sweep,
    /// Asks for a connection to a peer of this number.
    Connect(usize, u16),
    /// The peer that was asked first has answered, or has not.
    Connected(bool),
    /// A peer of this number connects to an address, the one of so many.
    Accept(usize, u16),
    /// Asks for the connection of so many, by a client that has none.
    Bind(usize, usize),
    /// The connection of so many has ended.
    Disconnect(usize),
    /// Somebody else on the host takes a port, or gives all back.
    Take(Option<u16>),
}

const USERS: usize = 6;

/// Over TCP every second one.
fn client(port: u16) -> Client {
    let transport = if port.is_multiple_of(2) {
        Transport::Tcp
    } else {
        Transport::Udp
    };
    Client {
        transport,
        ..udp(port)
    }
}

fn step() -> impl Strategy<Value = Step> {
    let who = 0..USERS;
    prop_oneof![
        7 => (who.clone(), 0..6_usize).prop_map(|(who, how)| Step::Allocate(who, how)),
        2 => who.clone().prop_map(Step::Redeem),
        2 => (who.clone(), prop_oneof![Just(0), Just(600), any::<u32>()]).prop_map(|(who, s)| Step::Refresh(who, s)),
        1 => (who.clone(), 1..=2_u8).prop_map(|(who, family)| Step::Drop(who, family)),
        1 => who.clone().prop_map(Step::Leave),
        4 => (0..3_usize, 1..4_u16).prop_map(|(who, peer)| Step::Connect(who, peer)),
        3 => any::<bool>().prop_map(Step::Connected),
        3 => (who.clone(), 1..4_u16).prop_map(|(of, peer)| Step::Accept(of, peer)),
        2 => (who, any::<usize>()).prop_map(|(who, of)| Step::Bind(who, of)),
        1 => any::<usize>().prop_map(Step::Disconnect),
        2 => prop_oneof![Just(1), Just(29), 0..700_u32].prop_map(Step::Pass),
        2 => Just(Step::Sweep),
        1 => prop::option::of(50_000..50_012_u16).prop_map(Step::Take),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn ports_in_use_are_those_of_live_allocations(steps in prop::collection::vec(step(), 1..80)) {
        let mut world = World::new(Setup {
            ports: 50_000..=50_011,
            limits: QuotaLimits { per_user: 3, total: 5 },
            config: Config { has_tcp: true, connections_max: 3, ..Config::default() },
            ..Setup::default()
        });
        let mut users: Vec<_> = (5_000..)
            .zip(["ann", "bob"].into_iter().cycle())
            .take(USERS)
            .map(|(port, name)| User::new(&mut world, client(port), name))
            .collect();
        let mut token = [0; 8];
        // Those that were asked to connect and have not answered, and those that have connected.
        let mut asked: Vec<ConnectionId> = Vec::new();
        let mut connected: Vec<ConnectionId> = Vec::new();
        let mut next_port = 20_000;
        for step in steps {
            match step {
                Step::Allocate(who, how) => {
                    let attribute = [
                        None,
                        Some((AttributeType::EVEN_PORT, &[0x80][..])),
                        Some((AttributeType::EVEN_PORT, &[0])),
                        Some((AttributeType::ADDITIONAL_ADDRESS_FAMILY, &[2, 0, 0, 0])),
                        Some((AttributeType::REQUESTED_ADDRESS_FAMILY, &[2, 0, 0, 0])),
                        None,
                    ][how];
                    let reply = if how == 5 {
                        let reply = users[who].ask(&mut world, Method::ALLOCATE, &[(AttributeType::REQUESTED_TRANSPORT, &[6, 0, 0, 0])], &[]);
                        users[who].permit(&mut world, &["192.0.2.1:1"]);
                        reply
                    } else {
                        users[who].allocate(&mut world, attribute.as_slice())
                    };
                    if let Some(given) = reply.of(AttributeType::RESERVATION_TOKEN) {
                        token = given.try_into().expect("eight bytes");
                    }
                }
                Step::Redeem(who) => {
                    users[who].allocate(&mut world, &[(AttributeType::RESERVATION_TOKEN, &token)]);
                }
                Step::Refresh(who, lifetime_s) => {
                    users[who].refresh(&mut world, lifetime_s);
                }
                Step::Drop(who, family) => {
                    let family = [family, 0, 0, 0];
                    let attributes = [
                        (AttributeType::REQUESTED_ADDRESS_FAMILY, &family[..]),
                        (AttributeType::LIFETIME, &[0; 4]),
                    ];
                    users[who].ask(&mut world, Method::REFRESH, &attributes, &[]);
                }
                Step::Leave(who) => {
                    world.relay.client_left(&users[who].client, world.now, &mut world.host);
                }
                Step::Pass(seconds) => world.pass(seconds),
                Step::Sweep => {
                    world.relay.sweep(world.now, &mut world.host);
                    // Nonces end, too.
                    for user in &mut users {
                        user.nonce = User::new(&mut world, user.client, "ann").nonce;
                    }
                }
                Step::Connect(who, peer) => {
                    let before = world.host.connections.len();
                    let transaction = world.transaction();
                    let peer = SocketAddr::from(([192, 0, 2, 1], peer));
                    let request = users[who].request(Method::CONNECT, transaction, &[], &[peer]);
                    if world.send(users[who].client, &request).0 == Action::Wait {
                        prop_assert_eq!(world.host.connections.len(), before + 1);
                        let is_new = |it: &&ConnectionId| !asked.contains(it) && !connected.contains(it);
                        let id = *world.host.connections.keys().find(is_new).expect("a connection");
                        asked.push(id);
                    }
                }
                Step::Connected(is_so) => {
                    if !asked.is_empty() {
                        let id = asked.remove(0);
                        let result = if is_so { Ok(()) } else { Err(NotConnected) };
                        let told = world.relay.connected(id, result, world.now, &mut Vec::new());
                        if is_so && told.is_some() {
                            connected.push(id);
                        } else {
                            world.host.connections.remove(&id);
                        }
                    }
                }
                Step::Accept(of, peer) => {
                    let open: Vec<_> = world.host.open.keys().copied().collect();
                    if let Some(socket) = open.get(of) {
                        let peer = SocketAddr::from(([192, 0, 2, 1], peer));
                        let taken = world.relay.accepted(RelaySocket(*socket), peer, world.now, &mut Vec::new());
                        if let Some((id, _)) = taken {
                            world.host.connections.insert(id, peer);
                            connected.push(id);
                        }
                    }
                }
                Step::Bind(who, of) => {
                    next_port += 1;
                    let data = User::new(&mut world, client(next_port), if who % 2 == 0 { "ann" } else { "bob" });
                    if let Some(id) = connected.get(of % connected.len().max(1)) {
                        let number = id.0.to_be_bytes();
                        let transaction = world.transaction();
                        let wanted = [(AttributeType::CONNECTION_ID, &number[..])];
                        let request = data.request(Method::CONNECTION_BIND, transaction, &wanted, &[]);
                        world.send(data.client, &request);
                    }
                }
                Step::Disconnect(of) => {
                    if !connected.is_empty() {
                        let id = connected.remove(of % connected.len());
                        world.relay.disconnected(id);
                        world.host.connections.remove(&id);
                    }
                }
                Step::Take(port) => match port {
                    Some(port) => world.host.taken.push(port),
                    None => world.host.taken.clear(),
                },
            }
            // The relay has ended some of them.
            asked.retain(|it| world.host.connections.contains_key(it));
            connected.retain(|it| world.host.connections.contains_key(it));
            prop_assert_eq!(world.relay.connection_count(), world.host.connections.len());
            let allocated: BTreeSet<_> = world.relay.allocations().flat_map(|(_, it)| it.addresses()).collect();
            let open: BTreeSet<_> = world.host.open.values().copied().collect();
            prop_assert_eq!(&open, &allocated);
            prop_assert_eq!(world.host.kept.len(), world.shared.reserved_count());
            prop_assert_eq!(world.shared.allocation_count() as usize, world.relay.allocations().len());
        }
        world.pass(4_000);
        world.relay.sweep(world.now, &mut world.host);
        prop_assert_eq!((world.host.open.len(), world.host.kept.len(), world.shared.allocation_count()), (0, 0, 0));
        prop_assert_eq!((world.relay.connection_count(), world.host.connections.len()), (0, 0));
    }
}
