//! Allocate and Refresh (RFC 8656 sections 7 and 8).
#![allow(missing_docs)]

mod support;

use std::collections::BTreeSet;

use fanfare_turn::relay::{Action, Drain, QuotaLimits};
use fanfare_turn::stun::{AttributeType, Method};
use support::{Reply, Setup, UDP, User, World, udp};

const IPV4: [u8; 4] = [1, 0, 0, 0];
const IPV6: [u8; 4] = [2, 0, 0, 0];

#[test]
fn an_allocation_has_an_address_and_a_time() {
    let mut world = World::default();
    let ann = User::new(&mut world, udp(5_000), "ann");
    let reply = ann.allocate(&mut world, &[]);
    assert_eq!(reply.code, None);
    let [relayed] = reply.addresses(AttributeType::XOR_RELAYED_ADDRESS)[..] else {
        panic!("one address");
    };
    assert_eq!(relayed.ip().to_string(), "198.51.100.1");
    assert!((50_000..=50_099).contains(&relayed.port()));
    assert_eq!(
        reply.addresses(AttributeType::XOR_MAPPED_ADDRESS),
        [ann.client.remote]
    );
    assert_eq!(reply.number(AttributeType::LIFETIME), Some(600));
    assert_eq!(
        world.host.open.values().copied().collect::<Vec<_>>(),
        [relayed]
    );
    world.pass(599);
    world.relay.sweep(world.now, &mut world.host);
    assert_eq!(world.relay.allocations().len(), 1);
    world.pass(1);
    // Whether it was swept or not.
    assert_eq!(ann.refresh(&mut world, 600).code, Some(437));
    assert_eq!(
        (world.host.open.len(), world.shared.allocation_count()),
        (0, 0)
    );
    ann.allocate(&mut world, &[]);
    world.pass(600);
    world.relay.sweep(world.now, &mut world.host);
    assert_eq!(
        (world.host.open.len(), world.shared.allocation_count()),
        (0, 0)
    );
}

#[test]
fn the_same_request_has_the_same_answer_and_another_is_refused() {
    let mut world = World::default();
    let ann = User::new(&mut world, udp(5_000), "ann");
    let transaction = world.transaction();
    let attributes = [
        (AttributeType::REQUESTED_TRANSPORT, &UDP[..]),
        (AttributeType::EVEN_PORT, &[0x80]),
    ];
    let request = ann.request(Method::ALLOCATE, transaction, &attributes, &[]);
    let (_, first) = world.send(ann.client, &request);
    world.pass(3);
    let (_, second) = world.send(ann.client, &request);
    assert_eq!(Reply::read(&first).code, None);
    assert_eq!(first, second);
    assert_eq!((world.host.opened, world.host.kept.len()), (1, 1));
    assert_eq!(ann.allocate(&mut world, &[]).code, Some(437));
    // From elsewhere it is another client, whose nonce this is not.
    let (_, other) = world.send(udp(5_001), &request);
    assert_eq!(Reply::read(&other).code, Some(438));
    assert_eq!(world.relay.allocations().len(), 1);
}

#[test]
fn lifetimes_are_within_bounds() {
    for (asked, granted) in [
        (0_u32, 600),
        (1, 600),
        (600, 600),
        (1_000, 1_000),
        (3_600, 3_600),
        (3_601, 3_600),
        (u32::MAX, 3_600),
    ] {
        let mut world = World::default();
        let ann = User::new(&mut world, udp(5_000), "ann");
        let reply = ann.allocate(
            &mut world,
            &[(AttributeType::LIFETIME, &asked.to_be_bytes())],
        );
        assert_eq!(reply.number(AttributeType::LIFETIME), Some(granted));
        let refreshed = ann
            .refresh(&mut world, asked)
            .number(AttributeType::LIFETIME);
        assert_eq!(refreshed, Some(if asked == 0 { 0 } else { granted }));
        assert_eq!(world.relay.allocations().len(), usize::from(asked != 0));
    }
}

#[test]
fn who_gives_it_back_has_it_no_more() {
    let mut world = World::default();
    let ann = User::new(&mut world, udp(5_000), "ann");
    ann.allocate(&mut world, &[]);
    assert_eq!(
        ann.refresh(&mut world, 0).number(AttributeType::LIFETIME),
        Some(0)
    );
    assert_eq!(
        (world.host.open.len(), world.shared.allocation_count()),
        (0, 0)
    );
    assert_eq!(ann.refresh(&mut world, 0).code, Some(437));
    assert_eq!(ann.allocate(&mut world, &[]).code, None);
    world
        .relay
        .client_left(&ann.client, world.now, &mut world.host);
    world
        .relay
        .client_left(&ann.client, world.now, &mut world.host);
    assert_eq!(
        (world.host.open.len(), world.shared.allocation_count()),
        (0, 0)
    );
}

#[test]
fn what_makes_no_sense_is_refused() {
    use AttributeType as A;
    let mut world = World::default();
    let ann = User::new(&mut world, udp(5_000), "ann");
    assert_eq!(
        ann.ask(&mut world, Method::ALLOCATE, &[], &[]).code,
        Some(400)
    );
    for (transport, code) in [
        (&[17][..], 400),
        (&[17, 0, 0, 0, 0], 400),
        (&[6, 0, 0, 0], 442),
        (&[1, 0, 0, 0], 442),
    ] {
        let attributes = [(A::REQUESTED_TRANSPORT, transport)];
        let reply = ann.ask(&mut world, Method::ALLOCATE, &attributes, &[]);
        // One byte of UDP is a malformed attribute, not another transport.
        assert_eq!(reply.code, Some(code), "{transport:?}");
    }
    let token = [0; 8];
    for (attributes, code) in [
        (vec![(A::REQUESTED_ADDRESS_FAMILY, &[3, 0, 0, 0][..])], 440),
        (vec![(A::REQUESTED_ADDRESS_FAMILY, &[1])], 400),
        (
            vec![
                (A::REQUESTED_ADDRESS_FAMILY, &IPV4),
                (A::ADDITIONAL_ADDRESS_FAMILY, &IPV6),
            ],
            400,
        ),
        (vec![(A::ADDITIONAL_ADDRESS_FAMILY, &IPV4)], 400),
        (
            vec![
                (A::ADDITIONAL_ADDRESS_FAMILY, &IPV6),
                (A::EVEN_PORT, &[0x80]),
            ],
            400,
        ),
        (
            vec![
                (A::ADDITIONAL_ADDRESS_FAMILY, &IPV6),
                (A::RESERVATION_TOKEN, &token),
            ],
            400,
        ),
        (
            vec![(A::RESERVATION_TOKEN, &token), (A::EVEN_PORT, &[0])],
            400,
        ),
        (
            vec![
                (A::RESERVATION_TOKEN, &token),
                (A::REQUESTED_ADDRESS_FAMILY, &IPV4),
            ],
            400,
        ),
        (vec![(A::RESERVATION_TOKEN, &token[..7])], 400),
        (vec![(A::RESERVATION_TOKEN, &token)], 508),
        (vec![(A::EVEN_PORT, &[0x80, 0])], 400),
        (vec![(A::LIFETIME, &[0, 0])], 400),
    ] {
        assert_eq!(
            ann.allocate(&mut world, &attributes).code,
            Some(code),
            "{attributes:?}"
        );
    }
    let reply = ann.allocate(
        &mut world,
        &[(A(0x7f01), &[1]), (A(0x8f01), &[1]), (A(0x7f02), &[])],
    );
    assert_eq!(reply.code, Some(420));
    assert_eq!(
        reply.of(A::UNKNOWN_ATTRIBUTES),
        Some(&[0x7f, 1, 0x7f, 2][..])
    );
    assert_eq!((world.host.opened, world.shared.allocation_count()), (0, 0));
}

#[test]
fn addresses_are_of_the_families_that_are_asked_for() {
    use AttributeType as A;
    let mut world = World::default();
    let ann = User::new(&mut world, udp(5_000), "ann");
    let reply = ann.allocate(&mut world, &[(A::REQUESTED_ADDRESS_FAMILY, &IPV6)]);
    let relayed = reply.addresses(A::XOR_RELAYED_ADDRESS);
    assert!(relayed.len() == 1 && relayed[0].is_ipv6());
    assert_eq!(ann.permit(&mut world, &["192.0.2.1:1"]), Some(443));
    assert_eq!(ann.permit(&mut world, &["[2001:db8::1]:1"]), None);
    let refresh = ann.ask(
        &mut world,
        Method::REFRESH,
        &[(A::REQUESTED_ADDRESS_FAMILY, &IPV4)],
        &[],
    );
    assert_eq!(refresh.code, Some(443));

    let bob = User::new(&mut world, udp(5_001), "bob");
    let reply = bob.allocate(&mut world, &[(A::ADDITIONAL_ADDRESS_FAMILY, &IPV6)]);
    let families: Vec<_> = reply
        .addresses(A::XOR_RELAYED_ADDRESS)
        .iter()
        .map(|it| it.is_ipv6())
        .collect();
    assert_eq!(families, [false, true]);
    assert_eq!(
        bob.permit(&mut world, &["192.0.2.1:1", "[2001:db8::1]:1"]),
        None
    );
    // One is given back, then the other.
    let drop_ipv4 = [
        (A::REQUESTED_ADDRESS_FAMILY, &IPV4[..]),
        (A::LIFETIME, &[0; 4]),
    ];
    assert_eq!(
        bob.ask(&mut world, Method::REFRESH, &drop_ipv4, &[]).code,
        None
    );
    assert_eq!(
        (world.host.open.len(), world.shared.allocation_count()),
        (2, 2)
    );
    assert_eq!(
        bob.ask(&mut world, Method::REFRESH, &drop_ipv4, &[]).code,
        Some(443)
    );
    assert_eq!(bob.refresh(&mut world, 0).code, None);
    assert_eq!(
        (world.host.open.len(), world.shared.allocation_count()),
        (1, 1)
    );

    // A relay without IPv6 says so, and gives what it has.
    let mut world = World::new(Setup {
        has_ipv6: false,
        ..Setup::default()
    });
    let ann = User::new(&mut world, udp(5_000), "ann");
    assert_eq!(
        ann.allocate(&mut world, &[(A::REQUESTED_ADDRESS_FAMILY, &IPV6)])
            .code,
        Some(440)
    );
    let reply = ann.allocate(&mut world, &[(A::ADDITIONAL_ADDRESS_FAMILY, &IPV6)]);
    assert_eq!(reply.of(A::ADDRESS_ERROR_CODE), Some(&[2, 0, 4, 40][..]));
    assert_eq!(reply.addresses(A::XOR_RELAYED_ADDRESS).len(), 1);
}

#[test]
fn a_pair_is_for_whoever_has_the_token() {
    use AttributeType as A;
    let mut world = World::default();
    let ann = User::new(&mut world, udp(5_000), "ann");
    let reply = ann.allocate(&mut world, &[(A::EVEN_PORT, &[0x80])]);
    let first = reply.addresses(A::XOR_RELAYED_ADDRESS)[0].port();
    let token = reply.of(A::RESERVATION_TOKEN).expect("a token").to_vec();
    assert_eq!(
        (
            first % 2,
            world.host.open.len(),
            world.host.kept.len(),
            world.shared.allocation_count()
        ),
        (0, 1, 1, 1)
    );
    // Not for others, and once.
    let bob = User::new(&mut world, udp(5_001), "bob");
    assert_eq!(
        bob.allocate(&mut world, &[(A::RESERVATION_TOKEN, &token)])
            .code,
        Some(508)
    );
    let again = User::new(&mut world, udp(5_002), "ann");
    let reply = again.allocate(&mut world, &[(A::RESERVATION_TOKEN, &token)]);
    assert_eq!(reply.addresses(A::XOR_RELAYED_ADDRESS)[0].port(), first + 1);
    let third = User::new(&mut world, udp(5_003), "ann");
    assert_eq!(
        third
            .allocate(&mut world, &[(A::RESERVATION_TOKEN, &token)])
            .code,
        Some(508)
    );
    assert_eq!(
        (world.host.open.len(), world.shared.allocation_count()),
        (2, 2)
    );
    // What nobody comes for is given up after 30 seconds, and nothing is left of it.
    let reply = third.allocate(&mut world, &[(A::EVEN_PORT, &[0x80])]);
    let token = reply.of(A::RESERVATION_TOKEN).expect("a token").to_vec();
    assert_eq!(world.host.open.len() + world.host.kept.len(), 4);
    world.pass(30);
    world.relay.sweep(world.now, &mut world.host);
    assert_eq!(world.host.open.len(), 3);
    assert_eq!(
        bob.allocate(&mut world, &[(A::RESERVATION_TOKEN, &token)])
            .code,
        Some(508)
    );
    // Even, and no more.
    let reply = bob.allocate(&mut world, &[(A::EVEN_PORT, &[0])]);
    assert_eq!(reply.addresses(A::XOR_RELAYED_ADDRESS)[0].port() % 2, 0);
    assert_eq!(reply.of(A::RESERVATION_TOKEN), None);
    world.pass(600);
    world.relay.sweep(world.now, &mut world.host);
    assert_eq!(
        (world.host.open.len(), world.shared.allocation_count()),
        (0, 0)
    );
}

#[test]
fn there_are_so_many_for_each_user_and_in_all() {
    let mut world = World::new(Setup {
        limits: QuotaLimits {
            per_user: 2,
            total: 3,
        },
        ..Setup::default()
    });
    let anns: Vec<_> = (0..3)
        .map(|port| User::new(&mut world, udp(5_000 + port), "ann"))
        .collect();
    let codes: Vec<_> = anns
        .iter()
        .map(|ann| ann.allocate(&mut world, &[]).code)
        .collect();
    assert_eq!(codes, [None, None, Some(486)]);
    let bobs: Vec<_> = (0..2)
        .map(|port| User::new(&mut world, udp(6_000 + port), "bob"))
        .collect();
    let codes: Vec<_> = bobs
        .iter()
        .map(|bob| bob.allocate(&mut world, &[]).code)
        .collect();
    assert_eq!(codes, [None, Some(486)]);
    anns[0].refresh(&mut world, 0);
    assert_eq!(bobs[1].allocate(&mut world, &[]).code, None);
}

#[test]
fn when_the_ports_are_gone_it_is_said_and_nothing_leaks() {
    let mut world = World::new(Setup {
        ports: 50_000..=50_003,
        ..Setup::default()
    });
    world.host.taken = vec![50_001];
    let users: Vec<_> = (0..5)
        .map(|port| User::new(&mut world, udp(5_000 + port), "ann"))
        .collect();
    let codes: Vec<_> = users
        .iter()
        .map(|it| it.allocate(&mut world, &[]).code)
        .collect();
    assert_eq!(codes, [None, None, None, Some(508), Some(508)]);
    let open: BTreeSet<_> = world.host.open.values().map(|it| it.port()).collect();
    assert_eq!(open, BTreeSet::from([50_000, 50_002, 50_003]));
    assert_eq!(world.shared.allocation_count(), 3);
    // A pair whose second port is somebody else's is none, and the first is not kept.
    for it in &users[..3] {
        it.refresh(&mut world, 0);
    }
    world.pass(120);
    world.host.taken = vec![50_001, 50_003];
    let pair = users[0].allocate(&mut world, &[(AttributeType::EVEN_PORT, &[0x80])]);
    // Only when the nonce is too old, which it is not yet.
    assert_eq!(pair.code, Some(508));
    assert_eq!(
        (world.host.open.len(), world.shared.allocation_count()),
        (0, 0)
    );
}

#[test]
fn a_host_without_descriptors_wears_no_ports_out() {
    let mut world = World::new(Setup {
        ports: 50_000..=50_003,
        ..Setup::default()
    });
    let ann = User::new(&mut world, udp(5_000), "ann");
    world.host.is_full = true;
    for _ in 0..10 {
        assert_eq!(ann.allocate(&mut world, &[]).code, Some(508));
        let pair = ann.allocate(&mut world, &[(AttributeType::EVEN_PORT, &[0x80])]);
        assert_eq!(pair.code, Some(508));
    }
    assert_eq!(world.shared.allocation_count(), 0);
    world.host.is_full = false;
    for port in 0..4 {
        let user = User::new(&mut world, udp(6_000 + port), "ann");
        assert_eq!(user.allocate(&mut world, &[]).code, None);
    }
}

#[test]
fn a_relay_that_is_drained_keeps_what_it_has() {
    let mut world = World::default();
    let ann = User::new(&mut world, udp(5_000), "ann");
    let bob = User::new(&mut world, udp(5_001), "bob");
    ann.allocate(&mut world, &[]);
    let alternate = "198.51.100.2:3478".parse().expect("a socket");
    world.relay.set_drain(Some(Drain {
        alternate: [Some(alternate), None],
    }));
    let reply = bob.allocate(&mut world, &[]);
    assert_eq!(reply.code, Some(300));
    assert_eq!(
        reply.of(AttributeType::ALTERNATE_SERVER),
        Some(&[0, 1, 0x0d, 0x96, 198, 51, 100, 2][..])
    );
    assert_eq!(ann.refresh(&mut world, 600).code, None);
    world.relay.set_drain(Some(Drain {
        alternate: [None, None],
    }));
    assert_eq!(bob.allocate(&mut world, &[]).code, Some(508));
    world.relay.set_drain(None);
    assert_eq!(bob.allocate(&mut world, &[]).code, None);
    assert!(matches!(world.send(udp(5_009), b"").0, Action::Drop(_)));
}
