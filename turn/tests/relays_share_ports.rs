//! Two relays of one server: what is sent from one's client to the other's, and ports that go from one to the other.
#![allow(missing_docs)]

mod support;

use std::net::SocketAddr;
use std::sync::Arc;

use fanfare_turn::relay::{Action, Config, Dropped, FromPeer, QuotaLimits, Shared};
use fanfare_turn::stun::AttributeType;
use support::{Reply, Setup, User, World, udp};

const LIMITS: QuotaLimits = QuotaLimits {
    per_user: 10,
    total: 20,
};

/// Two relays, with half of the ports each, and the clients of both.
fn relays() -> (Arc<Shared>, [World; 2]) {
    let shared = Arc::new(Shared::new(LIMITS, &(50_000..=50_007)));
    let halves = [(0, 50_000..=50_003), (1, 50_004..=50_007)];
    let worlds = halves.map(|(thread, ports)| {
        let setup = Setup {
            config: Config {
                thread,
                ..Config::default()
            },
            ports,
            allow: vec!["198.51.100.1/32"],
            ..Setup::default()
        };
        World::beside(setup, Arc::clone(&shared))
    });
    (shared, worlds)
}

fn relayed(reply: &Reply) -> SocketAddr {
    reply.addresses(AttributeType::XOR_RELAYED_ADDRESS)[0]
}

/// What it keeps is the other's to give away: the sockets that are kept are the host's, not a relay's.
fn share_kept(from: usize, worlds: &mut [World; 2]) {
    let kept = std::mem::take(&mut worlds[from].host.kept);
    worlds[1 - from].host.kept.extend(kept);
}

#[test]
fn what_is_for_a_client_of_another_relay_is_handed_over() {
    let (_, mut worlds) = relays();
    let [one, other] = &mut worlds;
    let ann = User::new(one, udp(5_000), "ann");
    let bob = User::new(other, udp(5_001), "bob");
    let [of_ann, of_bob] = [
        relayed(&ann.allocate(one, &[])),
        relayed(&bob.allocate(other, &[])),
    ];
    assert_eq!(ann.bind(one, 0x4000, &of_bob.to_string()), None);
    let packet = [0x40, 0, 0, 2, b'h', b'i'];
    let handed_over = Action::Handover {
        thread: 1,
        from: of_ann,
        to: of_bob,
        data: b"hi",
    };
    assert_eq!(one.send(ann.client, &packet).0, handed_over);

    // Only the one who has the allocation says whose it is, and asks for the permission.
    assert_eq!(one.relay.socket_at(of_bob), None);
    let socket = other.relay.socket_at(of_bob).expect("a socket");
    let deliver = |world: &mut World| {
        world
            .relay
            .handle_peer(socket, of_ann, 2, world.now, &mut Vec::new())
    };
    assert_eq!(deliver(other), FromPeer::Drop(Dropped::NoPermission));
    assert_eq!(bob.permit(other, &[&of_ann.to_string()]), None);
    assert!(matches!(deliver(other), FromPeer::Relay { client, .. } if client == bob.client));

    // When it has ended, there is nobody to hand it to.
    bob.refresh(other, 0);
    assert_eq!(other.relay.socket_at(of_bob), None);
    assert!(matches!(
        one.send(ann.client, &packet).0,
        Action::Relay { to, .. } if to == of_bob
    ));
}

#[test]
fn a_reserved_port_goes_to_whoever_has_the_token_and_comes_back() {
    let (shared, mut worlds) = relays();
    let ann = User::new(&mut worlds[0], udp(5_000), "ann");
    let reply = ann.allocate(&mut worlds[0], &[(AttributeType::EVEN_PORT, &[0x80])]);
    let first = relayed(&reply);
    let token = reply.of(AttributeType::RESERVATION_TOKEN).expect("a token");
    assert_eq!((first.port() % 2, shared.reserved_count()), (0, 1));
    share_kept(0, &mut worlds);

    let [one, other] = &mut worlds;
    let again = User::new(other, udp(5_001), "ann");
    let reply = again.allocate(other, &[(AttributeType::RESERVATION_TOKEN, token)]);
    let second = relayed(&reply);
    assert_eq!(
        (second.port(), shared.reserved_count()),
        (first.port() + 1, 0)
    );
    assert_eq!(shared.allocation_count(), 2);
    assert!(other.relay.socket_at(second).is_some());

    // It rests with the relay that it came from, and may be had again.
    again.refresh(other, 0);
    ann.refresh(one, 0);
    for step in 0..2 {
        one.pass(121);
        one.relay.sweep(one.now, &mut one.host);
        other.pass(121);
        other.relay.sweep(other.now, &mut other.host);
        assert_eq!(
            (one.host.open.len(), other.host.open.len()),
            (0, 0),
            "{step}"
        );
    }
    one.pass(121);
    let users: Vec<_> = (6_000..6_004)
        .map(|port| User::new(one, udp(port), "bob"))
        .collect();
    let mut ports: Vec<u16> = users
        .iter()
        .map(|user| relayed(&user.allocate(one, &[])).port())
        .collect();
    ports.sort_unstable();
    assert_eq!(ports, [50_000, 50_001, 50_002, 50_003]);
}

#[test]
fn what_nobody_comes_for_is_given_up_by_the_relay_that_it_came_from() {
    let (shared, mut worlds) = relays();
    let ann = User::new(&mut worlds[0], udp(5_000), "ann");
    let _ = ann.allocate(&mut worlds[0], &[(AttributeType::EVEN_PORT, &[0x80])]);
    let [one, other] = &mut worlds;
    for world in [&mut *other, &mut *one] {
        world.pass(31);
        assert_eq!(shared.reserved_count(), 1);
        world.relay.sweep(world.now, &mut world.host);
    }
    assert_eq!((shared.reserved_count(), one.host.kept.len()), (0, 0));
}

#[test]
fn so_many_ports_are_kept_for_a_user() {
    let shared = Arc::new(Shared::new(
        QuotaLimits {
            per_user: 100,
            total: 100,
        },
        &(50_000..=50_099),
    ));
    let mut world = World::beside(Setup::default(), Arc::clone(&shared));
    let users: Vec<_> = (5_000..5_020)
        .map(|port| User::new(&mut world, udp(port), "ann"))
        .collect();
    let codes: Vec<_> = users
        .iter()
        .map(|user| {
            user.allocate(&mut world, &[(AttributeType::EVEN_PORT, &[0x80])])
                .code
        })
        .collect();
    assert_eq!(codes[..16], [None; 16]);
    assert_eq!(codes[16..], [Some(508); 4]);
    assert_eq!(
        (shared.reserved_count(), shared.allocation_count()),
        (16, 16)
    );
    // Another user is not in their way.
    let bob = User::new(&mut world, udp(6_000), "bob");
    let reply = bob.allocate(&mut world, &[(AttributeType::EVEN_PORT, &[0x80])]);
    assert_eq!((reply.code, shared.reserved_count()), (None, 17));
}

#[test]
fn a_pair_is_tried_again_when_its_second_port_is_somebody_elses() {
    let mut world = World::new(Setup {
        ports: 50_000..=50_003,
        ..Setup::default()
    });
    world.host.taken.push(50_001);
    let ann = User::new(&mut world, udp(5_000), "ann");
    let reply = ann.allocate(&mut world, &[(AttributeType::EVEN_PORT, &[0x80])]);
    assert_eq!((reply.code, relayed(&reply).port()), (None, 50_002));
}
