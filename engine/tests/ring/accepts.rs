//! Accepting into slots, and what happens when there are none.

use fanfare_engine::ring::{Ring, RingConfig, Slot, Token};

use crate::support::{ACCEPT, Rig, SMALL, read_exactly};

#[test]
fn a_full_table_ends_the_accept_and_a_close_makes_room() {
    let mut rig = Rig::new(RingConfig { slots: 3, ..SMALL });
    assert_eq!(rig.ring.slots(), 3);
    rig.accept();
    let pairs: Vec<_> = (0..3).map(|_| rig.pair()).collect();
    let _refused = rig.connect();
    let event = rig.next(ACCEPT);
    assert_eq!((event.result, event.more), (-libc::ENFILE, false));

    rig.close(pairs[1].1);
    rig.accept();
    let (mut client, slot) = rig.pair();
    assert_eq!(slot, pairs[1].1);
    assert_eq!(rig.send(slot, b"welcome"), []);
    assert_eq!(read_exactly(&mut client, 7), b"welcome");
}

#[test]
fn a_cancelled_accept_ends_under_its_token() {
    let mut rig = Rig::new(SMALL);
    let token = Token::new(ACCEPT, 9, 3);
    rig.ring.accept(0, token);
    rig.turn();
    rig.ring.cancel(token);
    let event = rig.next(ACCEPT);
    assert_eq!(
        (event.token, event.result, event.more),
        (token, -libc::ECANCELED, false)
    );
}

#[test]
fn a_listener_that_does_not_exist_fails() {
    let mut rig = Rig::new(SMALL);
    rig.ring.accept(7, Token::new(ACCEPT, 0, 7));
    let event = rig.next(ACCEPT);
    assert_eq!((event.result, event.more), (-libc::EBADF, false));
}

#[test]
fn the_table_is_never_larger_than_the_limits_allow() {
    let config = RingConfig {
        slots: u32::MAX,
        ..SMALL
    };
    let rig = Rig::new(config);
    assert!(rig.ring.slots() <= 1 << 20);
    assert!(rig.ring.slots() >= 64);
    assert_eq!(rig.ring.slots(), config.slots_allowed());
}

#[test]
fn accepted_and_installed_sockets_share_one_table() {
    let mut rig = Rig::new(SMALL);
    rig.accept();
    let mut slots = Vec::new();
    let mut ends = Vec::new();
    for _ in 0..10 {
        let (client, slot) = rig.pair();
        slots.push(slot);
        let (peer, other) = rig.socketpair();
        slots.push(other);
        ends.push((client, peer));
    }
    slots.sort();
    assert_eq!(slots, (0..20).map(Slot).collect::<Vec<_>>());
}
