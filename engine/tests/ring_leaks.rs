//! Ten thousand connections come and go through few slots: no slot and no descriptor stays behind.
//!
//! Alone in its binary, because it counts the process's descriptors.
#![allow(clippy::unwrap_used, clippy::cast_sign_loss, missing_docs)]

use std::net::{Ipv4Addr, TcpStream};
use std::os::fd::OwnedFd;
use std::time::Duration;

use fanfare_engine::ring::{KernelRing, Ring, RingConfig, Slot, Token, listen, local_addr};
use socket2::SockRef;

const ACCEPT: u8 = 1;
const RECEIVE: u8 = 2;
const CLOSE: u8 = 3;

const SLOTS: u32 = 16;
const CYCLES: u32 = 10_000;

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

#[test]
fn accept_and_close_leak_nothing() {
    let before_ring = descriptors();
    let listener = listen((Ipv4Addr::LOCALHOST, 0).into(), 16_384).unwrap();
    let addr = local_addr(&listener).unwrap();
    let config = RingConfig {
        slots: SLOTS,
        submission_entries: 8,
        completion_entries: 32,
        buffers: 4,
        buffer_bytes: 64,
    };
    let mut ring = KernelRing::new(config, vec![OwnedFd::from(listener)]).unwrap();
    ring.accept(0, Token::new(ACCEPT, 0, 0));
    let mut events = Vec::new();
    ring.turn(Duration::ZERO, &mut events).unwrap();
    let before = descriptors();

    let (mut accepted, mut closed) = (0, 0);
    for _ in 0..CYCLES / 8 {
        let clients: Vec<TcpStream> = (0..8).map(|_| TcpStream::connect(addr).unwrap()).collect();
        for client in &clients {
            // A reset leaves no TIME_WAIT behind, so the test does not run out of ports.
            SockRef::from(client)
                .set_linger(Some(Duration::ZERO))
                .unwrap();
        }
        let mut clients = Some(clients);
        let target = closed + 8;
        while closed < target {
            ring.turn(Duration::from_secs(5), &mut events).unwrap();
            for event in std::mem::take(&mut events) {
                match event.token.kind() {
                    ACCEPT => {
                        assert!(
                            event.result >= 0 && event.more,
                            "accept ended with {}",
                            event.result
                        );
                        accepted += 1;
                        let slot = Slot(event.result as u32);
                        ring.receive(slot, Token::new(RECEIVE, accepted, slot.0));
                        if accepted % 8 == 0 {
                            clients.take();
                        }
                    }
                    RECEIVE => {
                        assert!(!event.more && event.result <= 0);
                        let slot = Slot(event.token.index());
                        ring.close(slot, Token::new(CLOSE, 0, slot.0));
                    }
                    _ => {
                        assert_eq!(event.result, 0);
                        closed += 1;
                    }
                }
            }
        }
    }
    assert_eq!((accepted, closed), (CYCLES, CYCLES));
    assert_eq!(
        descriptors(),
        before,
        "direct descriptors take no numbers, and no socket stayed open"
    );
    assert_eq!(ring.stats().buffers_free, 4);

    // Every slot is free again.
    let clients: Vec<TcpStream> = (0..SLOTS)
        .map(|_| TcpStream::connect(addr).unwrap())
        .collect();
    let mut slots = Vec::new();
    while slots.len() < SLOTS as usize {
        ring.turn(Duration::from_secs(5), &mut events).unwrap();
        slots.extend(events.drain(..).map(|event| event.result));
    }
    slots.sort_unstable();
    assert!(slots.iter().copied().eq(0..16), "{slots:?}");

    drop(clients);
    drop(ring);
    assert_eq!(descriptors(), before_ring);
}
