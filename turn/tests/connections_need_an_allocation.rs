//! Connections to peers and from them (RFC 6062), without sockets.
#![allow(missing_docs)]

mod support;

use std::net::SocketAddr;
use std::sync::Arc;

use fanfare_turn::policy::PeerPolicy;
use fanfare_turn::relay::{Access, Action, Client, Config, ConnectionId, RelaySocket, Transport};
use fanfare_turn::stun::{AttributeType, Key, Method, PasswordAlgorithm};
use support::{REALM, Reply, Setup, User, World, access, udp};

const TCP: [u8; 4] = [6, 0, 0, 0];
const PEER: &str = "192.0.2.1:7000";

fn world() -> World {
    World::new(Setup {
        config: Config {
            has_tcp: true,
            ..Config::default()
        },
        ..Setup::default()
    })
}

fn tcp(port: u16) -> Client {
    Client {
        transport: Transport::Tcp,
        ..udp(port)
    }
}

fn socket(text: &str) -> SocketAddr {
    text.parse().expect("a socket")
}

/// A user with a relayed address that takes connections, and that address.
fn allocated(world: &mut World, port: u16, name: &str) -> (User, SocketAddr) {
    let user = User::new(world, tcp(port), name);
    let relayed = allocate(world, &user);
    (user, relayed)
}

fn allocate(world: &mut World, user: &User) -> SocketAddr {
    let wanted = [(AttributeType::REQUESTED_TRANSPORT, &TCP[..])];
    let reply = user.ask(world, Method::ALLOCATE, &wanted, &[]);
    assert_eq!(reply.code, None);
    reply.addresses(AttributeType::XOR_RELAYED_ADDRESS)[0]
}

/// Asks for a connection; the error, if it is refused at once.
fn connect(world: &mut World, user: &User, peer: &str) -> Option<u16> {
    let transaction = world.transaction();
    let request = user.request(Method::CONNECT, transaction, &[], &[socket(peer)]);
    match world.send(user.client, &request) {
        (Action::Wait, _) => None,
        (_, reply) => Reply::read(&reply).code,
    }
}

/// A peer connects to the first socket that was opened.
fn accepted(world: &mut World, peer: &str) -> Option<(ConnectionId, Client)> {
    let mut told = Vec::new();
    let taken = world
        .relay
        .accepted(RelaySocket(0), socket(peer), world.now, &mut told);
    assert_eq!(taken.is_some(), !told.is_empty());
    taken
}

#[test]
fn of_the_hosts_addresses_only_relayed_ports_are_connected() {
    let mut world = world();
    let nets = ["198.51.100.0/24", "203.0.113.0/24"].map(|it| it.parse().expect("a net"));
    let host = ["198.51.100.1", "203.0.113.9"].map(|it| it.parse().expect("an address"));
    world.relay.set_access(Access {
        policy: Arc::new(PeerPolicy::new(&nets, &[], Vec::new()).with_host(host, &nets)),
        ..access(&[])
    });
    let (ann, _) = allocated(&mut world, 5_000, "ann");
    let (_, of_bob) = allocated(&mut world, 5_001, "bob");
    let other = User::new(&mut world, udp(5_002), "bob");
    let datagrams_of_bob = other
        .allocate(&mut world, &[])
        .addresses(AttributeType::XOR_RELAYED_ADDRESS)[0];
    let of_bob = of_bob.to_string();
    let datagrams_of_bob = datagrams_of_bob.to_string();
    let allowed = ["203.0.113.10:22", &of_bob];
    let denied = ["198.51.100.1:22", "203.0.113.9:22", &datagrams_of_bob];
    assert_eq!(
        ann.permit(
            &mut world,
            &["198.51.100.1:1", "203.0.113.9:1", "203.0.113.10:1"]
        ),
        None
    );
    for peer in denied {
        assert_eq!(connect(&mut world, &ann, peer), Some(403), "{peer}");
        assert_eq!(accepted(&mut world, peer), None, "{peer}");
    }
    assert!(world.host.connections.is_empty());
    for peer in allowed {
        assert_eq!(connect(&mut world, &ann, peer), None, "{peer}");
        let taken = accepted(&mut world, peer);
        assert_eq!(taken.map(|it| it.1), Some(ann.client), "{peer}");
    }
}

#[test]
fn credentials_that_have_ended_still_bind_what_their_allocation_has() {
    let mut world = world();
    let until_s = u64::from(world.now.unix_s) + 100;
    let it = access(&[]).credentials.mint("eve", until_s);
    let it = it.expect("there is a secret");
    let user = |world: &mut World, client| User {
        name: it.user.clone().into_bytes(),
        key: Key::long_term(
            PasswordAlgorithm::Md5,
            it.user.as_bytes(),
            REALM.as_bytes(),
            it.password.as_bytes(),
        ),
        ..User::new(world, client, "eve")
    };
    let eve = user(&mut world, tcp(5_000));
    allocate(&mut world, &eve);
    eve.permit(&mut world, &[PEER]);
    world.pass(110);
    let (id, _) = accepted(&mut world, PEER).expect("a connection");
    let number = id.0.to_be_bytes();
    let wanted = [(AttributeType::CONNECTION_ID, &number[..])];
    // Not by somebody else with the number, and not from another address with a name that has ended.
    let ann = User::new(&mut world, tcp(5_001), "ann");
    let refused = ann.ask(&mut world, Method::CONNECTION_BIND, &wanted, &[]);
    assert_eq!(refused.code, Some(400));
    let elsewhere = Client {
        remote: socket("203.0.113.8:5001"),
        ..tcp(0)
    };
    let far = user(&mut world, elsewhere);
    let refused = far.ask(&mut world, Method::CONNECTION_BIND, &wanted, &[]);
    assert_eq!(refused.code, Some(401));
    let late = user(&mut world, tcp(5_002));
    let transaction = world.transaction();
    let request = late.request(Method::CONNECTION_BIND, transaction, &wanted, &[]);
    let (action, _) = world.send(late.client, &request);
    assert_eq!(action, Action::Join(id));
}

#[test]
fn what_is_connected_ends_with_its_allocation() {
    let mut world = world();
    for round in 0..3 {
        let (ann, _) = allocated(&mut world, 5_000 + round, "ann");
        ann.permit(&mut world, &[PEER]);
        assert_eq!(connect(&mut world, &ann, PEER), None);
        assert_eq!(connect(&mut world, &ann, PEER), Some(446));
        assert_eq!(connect(&mut world, &ann, "192.0.2.1:7001"), None);
        let (accepted_id, _) = accepted(&mut world, "192.0.2.1:9").expect("a connection");
        assert_eq!(world.relay.connection_count(), 3);
        if round == 0 {
            assert_eq!(ann.refresh(&mut world, 0).code, None);
        } else {
            world.pass(3_600);
        }
        world.relay.sweep(world.now, &mut world.host);
        assert_eq!(world.relay.connection_count(), 0);
        assert!(world.host.connections.is_empty());
        assert!(world.host.disconnected.contains(&accepted_id));
        assert!(world.host.open.is_empty());
        assert_eq!(world.shared.allocation_count(), 0);
    }
}
