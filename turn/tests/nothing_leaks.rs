//! Whatever clients do: the ports that are open are those of live allocations and of reservations, and the quota counts
//! the allocations.
#![allow(missing_docs)]

mod support;

use std::collections::BTreeSet;

use fanfare_turn::relay::QuotaLimits;
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
    /// Somebody else on the host takes a port, or gives all back.
    Take(Option<u16>),
}

const USERS: usize = 6;

fn step() -> impl Strategy<Value = Step> {
    let who = 0..USERS;
    prop_oneof![
        5 => (who.clone(), 0..5_usize).prop_map(|(who, how)| Step::Allocate(who, how)),
        2 => who.clone().prop_map(Step::Redeem),
        2 => (who.clone(), prop_oneof![Just(0), Just(600), any::<u32>()]).prop_map(|(who, s)| Step::Refresh(who, s)),
        1 => (who.clone(), 1..=2_u8).prop_map(|(who, family)| Step::Drop(who, family)),
        1 => who.prop_map(Step::Leave),
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
            ..Setup::default()
        });
        let mut users: Vec<_> = (5_000..)
            .zip(["ann", "bob"].into_iter().cycle())
            .take(USERS)
            .map(|(port, name)| User::new(&mut world, udp(port), name))
            .collect();
        let mut token = [0; 8];
        for step in steps {
            match step {
                Step::Allocate(who, how) => {
                    let attribute = [
                        None,
                        Some((AttributeType::EVEN_PORT, &[0x80][..])),
                        Some((AttributeType::EVEN_PORT, &[0])),
                        Some((AttributeType::ADDITIONAL_ADDRESS_FAMILY, &[2, 0, 0, 0])),
                        Some((AttributeType::REQUESTED_ADDRESS_FAMILY, &[2, 0, 0, 0])),
                    ][how];
                    let reply = users[who].allocate(&mut world, attribute.as_slice());
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
                Step::Take(port) => match port {
                    Some(port) => world.host.taken.push(port),
                    None => world.host.taken.clear(),
                },
            }
            let allocated: BTreeSet<_> = world.relay.allocations().flat_map(|(_, it)| it.addresses()).collect();
            let open: BTreeSet<_> = world.host.open.values().copied().collect();
            prop_assert_eq!(&open, &allocated);
            prop_assert_eq!(world.host.kept.len(), world.shared.reserved_count());
            prop_assert_eq!(world.shared.allocation_count() as usize, world.relay.allocations().len());
        }
        world.pass(4_000);
        world.relay.sweep(world.now, &mut world.host);
        prop_assert_eq!((world.host.open.len(), world.host.kept.len(), world.shared.allocation_count()), (0, 0, 0));
    }
}
