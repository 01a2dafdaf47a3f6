//! Small queues under many connections: nothing is lost, nothing is counted twice.

use std::collections::HashMap;

use fanfare_engine::ring::{Ring, RingConfig, Slot, Token};

use crate::support::{RECEIVE, Rig, SMALL, WRITABLE, read_exactly, write};

const CONNECTIONS: u32 = 200;

/// Sixteen completions for hundreds of connections that all speak at once.
const CRAMPED: RingConfig = RingConfig {
    slots: 512,
    submission_entries: 8,
    completion_entries: 16,
    buffers: 256,
    buffer_bytes: 64,
};

#[test]
fn an_overflowing_completion_queue_loses_nothing() {
    let mut rig = Rig::new(CRAMPED);
    rig.accept();
    let mut pairs: Vec<_> = (0..CONNECTIONS).map(|_| rig.pair()).collect();
    for (_, slot) in &pairs {
        rig.receive(*slot);
    }
    rig.turn();
    let mut heard: HashMap<u32, Vec<u8>> = HashMap::new();
    for round in 0..20_u8 {
        for (client, _) in &mut pairs {
            write(client, &[round; 8]);
        }
        for (_, slot) in &pairs {
            rig.ring
                .poll_writable(*slot, Token::new(WRITABLE, 0, slot.0));
        }
        let mut bytes = 0;
        while bytes < 8 * CONNECTIONS {
            let event = rig.next(RECEIVE);
            match event.buffer {
                Some(buffer) => {
                    bytes += buffer.len() as u32;
                    heard
                        .entry(event.token.index())
                        .or_default()
                        .extend_from_slice(&buffer);
                }
                None => assert_eq!(event.result, -libc::ENOBUFS),
            }
            if !event.more {
                rig.receive(Slot(event.token.index()));
            }
        }
        for _ in 0..CONNECTIONS {
            assert!(rig.next(WRITABLE).result > 0);
        }
    }
    let expected: Vec<u8> = (0..20_u8).flat_map(|round| [round; 8]).collect();
    assert_eq!(heard.len(), CONNECTIONS as usize);
    assert!(heard.values().all(|bytes| *bytes == expected));
    assert!(
        rig.ring.stats().completion_overflows > 0,
        "the test never overflowed the queue"
    );
    assert_eq!(rig.buffers_free(), 256);
}

#[test]
fn short_sends_are_all_known_when_the_completion_queue_overflows() {
    let mut rig = Rig::new(CRAMPED);
    let mut peers = Vec::new();
    let mut slots = Vec::new();
    for index in 0..CONNECTIONS {
        let (peer, slot) = rig.socketpair();
        slots.push(slot);
        if index % 2 == 0 {
            peers.push(peer); // the odd ones are gone, so sends to them fail
        }
    }
    for round in 0..10_u8 {
        let frame = [round; 32];
        let mut short = Vec::new();
        rig.ring
            .send_all(slots.iter().map(|slot| (*slot, &frame[..])), &mut short);
        assert_eq!(short.len() as u32, CONNECTIONS / 2);
        for (position, outcome) in (0..).zip(short) {
            assert_eq!(
                (outcome.index, outcome.taken),
                (2 * position + 1, Err(libc::EPIPE))
            );
        }
    }
    for peer in &mut peers {
        let expected: Vec<u8> = (0..10_u8).flat_map(|round| [round; 32]).collect();
        assert_eq!(read_exactly(peer, 320), expected);
    }
}

#[test]
fn every_operation_works_through_a_queue_of_two() {
    let mut rig = Rig::new(RingConfig {
        submission_entries: 2,
        completion_entries: 4,
        buffers: 32,
        ..SMALL
    });
    rig.accept();
    for _ in 0..5 {
        let mut pairs: Vec<_> = (0..20).map(|_| rig.pair()).collect();
        for (_, slot) in &pairs {
            rig.receive(*slot);
            rig.ring
                .poll_writable(*slot, Token::new(WRITABLE, 0, slot.0));
        }
        for (client, _) in &mut pairs {
            write(client, b"hello");
        }
        for _ in 0..20 {
            let event = rig.next(RECEIVE);
            let slot = Slot(event.token.index());
            let buffer = event.buffer.unwrap();
            assert_eq!(*buffer, *b"hello");
            assert!(rig.send(slot, &buffer).is_empty());
            if !event.more {
                rig.receive(slot); // the kernel ends a multishot operation that finds the queue full
            }
            assert!(rig.next(WRITABLE).result > 0);
        }
        for (client, slot) in &mut pairs {
            assert_eq!(read_exactly(client, 5), b"hello");
            rig.cancel_receive(*slot);
        }
        for _ in 0..20 {
            let event = rig.next(RECEIVE);
            assert_eq!((event.result, event.more), (-libc::ECANCELED, false));
            rig.close(Slot(event.token.index()));
        }
    }
    assert!(rig.rest().is_empty());
    assert_eq!(rig.buffers_free(), 32);
}
