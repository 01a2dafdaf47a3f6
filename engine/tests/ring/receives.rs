//! Buffers and endings of receives.

use std::net::TcpStream;
use std::time::Duration;

use fanfare_engine::ring::{BufferLease, Ring, RingConfig, Slot, Token};

use crate::support::{RECEIVE, Rig, SMALL, write};

const TWO_BUFFERS: RingConfig = RingConfig {
    buffers: 2,
    ..SMALL
};

/// A connection that has said more while all buffers are leased.
fn starved() -> (Rig, TcpStream, Slot, Vec<BufferLease>) {
    let mut rig = Rig::new(TWO_BUFFERS);
    rig.accept();
    let (mut client, slot) = rig.pair();
    rig.receive(slot);
    rig.turn();
    let mut leases = Vec::new();
    for _ in 0..2 {
        write(&mut client, &[7; 256]);
        leases.push(rig.next(RECEIVE).buffer.unwrap());
    }
    assert_eq!(rig.buffers_free(), 0);
    write(&mut client, b"starved");
    assert!(rig.rest().is_empty(), "nothing can be heard");
    (rig, client, slot, leases)
}

#[test]
fn who_finds_no_buffer_is_heard_when_one_comes_back() {
    let (mut rig, _client, _, mut leases) = starved();
    assert!(rig.ring.stats().was_cut_short);

    assert!(leases.iter().all(|lease| **lease == [7; 256]));
    leases.clear();
    assert_eq!(rig.buffers_free(), 2);
    let event = rig.next(RECEIVE);
    assert_eq!(*event.buffer.unwrap(), *b"starved");
    assert!(event.more);
    assert_eq!(rig.buffers_free(), 2);
}

#[test]
fn a_receive_that_waits_for_a_buffer_can_be_cancelled() {
    let (mut rig, _client, slot, mut leases) = starved();
    rig.cancel_receive(slot);
    assert!(rig.rest().is_empty(), "it waits for a buffer to end with");
    leases.clear();
    loop {
        let event = rig.next(RECEIVE);
        if !event.more {
            assert_eq!(event.result, -libc::ECANCELED);
            break;
        }
    }
    assert_eq!(rig.buffers_free(), 2);
}

#[test]
fn a_reset_that_comes_with_bytes_is_noticed() {
    for _ in 0..50 {
        let mut rig = Rig::new(SMALL);
        rig.accept();
        let (mut client, slot) = rig.pair();
        rig.receive(slot);
        write(&mut client, b"last words");
        socket2::SockRef::from(&client)
            .set_linger(Some(Duration::ZERO))
            .unwrap();
        drop(client);
        loop {
            let event = rig.next(RECEIVE);
            if !event.more {
                assert_eq!(event.result, -libc::ECONNRESET);
                break;
            }
        }
    }
}

#[test]
fn the_end_of_the_stream_ends_the_receive() {
    let mut rig = Rig::new(SMALL);
    rig.accept();
    let (client, slot) = rig.pair();
    rig.receive(slot);
    drop(client);
    let event = rig.next(RECEIVE);
    assert_eq!((event.result, event.more), (0, false));
    assert!(event.buffer.is_none());
    assert_eq!(rig.buffers_free(), 16);
}

#[test]
fn cancelled_receives_complete_and_keep_no_buffer() {
    let mut rig = Rig::new(TWO_BUFFERS);
    rig.accept();
    let (mut client, slot) = rig.pair();
    for generation in 0..20 {
        let token = Token::new(RECEIVE, generation, slot.0);
        rig.ring.receive(slot, token);
        // Bytes race with the cancellation: they come with the operation that took them, or with the next.
        write(&mut client, b"x");
        rig.ring.cancel(token);
        loop {
            let event = rig.next(RECEIVE);
            assert_eq!(event.token, token);
            if !event.more {
                assert_eq!(event.result, -libc::ECANCELED);
                break;
            }
        }
    }
    assert_eq!(rig.buffers_free(), 2);
    rig.ring.cancel(Token::new(RECEIVE, 19, slot.0));
    assert!(
        rig.rest().is_empty(),
        "a cancellation that finds nothing is not reported"
    );
}

#[test]
fn late_completions_carry_the_token_they_were_queued_with() {
    let mut rig = Rig::new(SMALL);
    rig.accept();
    let (_client, slot) = rig.pair();
    let (old, new) = (
        Token::new(RECEIVE, 1, slot.0),
        Token::new(RECEIVE, 2, slot.0),
    );
    rig.ring.receive(slot, old);
    rig.turn();
    rig.ring.cancel(old);
    rig.close(slot);
    // The slot goes to the next connection before the old receive's ending was read.
    let (mut client, again) = rig.pair();
    assert_eq!(again, slot);
    rig.ring.receive(slot, new);
    write(&mut client, b"new");
    let mut seen = Vec::new();
    for _ in 0..2 {
        let event = rig.next(RECEIVE);
        seen.push((event.token, event.result));
    }
    seen.sort_by_key(|(token, _)| token.generation());
    assert_eq!(seen, [(old, -libc::ECANCELED), (new, 3)]);
}

#[test]
fn receiving_on_an_empty_slot_fails() {
    let mut rig = Rig::new(SMALL);
    rig.receive(Slot(5));
    let event = rig.next(RECEIVE);
    assert_eq!((event.result, event.more), (-libc::EBADF, false));
}

#[test]
fn leases_stay_readable_after_the_ring_has_gone() {
    let mut rig = Rig::new(SMALL);
    rig.accept();
    let (mut client, slot) = rig.pair();
    rig.receive(slot);
    write(&mut client, b"remember");
    let mut lease = rig.next(RECEIVE).buffer.unwrap();
    drop(rig);
    assert_eq!(*lease, *b"remember");
    lease.fill(0);
}

#[test]
fn dropping_a_ring_with_operations_in_flight_closes_its_sockets() {
    let mut rig = Rig::new(SMALL);
    rig.accept();
    let pairs: Vec<_> = (0..20).map(|_| rig.pair()).collect();
    for (_, slot) in &pairs {
        rig.receive(*slot);
    }
    rig.turn();
    let peer = rig.ring.peer();
    let started = std::time::Instant::now();
    drop(rig);
    assert!(
        started.elapsed() < Duration::from_secs(2),
        "everything was cancelled, nothing timed out"
    );
    for (mut client, _) in pairs {
        client
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        let ended = std::io::Read::read(&mut client, &mut [0]);
        assert!(matches!(ended, Ok(0)), "{ended:?}");
    }
    drop(peer);
}

#[test]
fn one_turn_hears_everyone_who_has_spoken() {
    // Many times as many as the kernel handles in an entry that waits for nothing.
    const SPEAKERS: usize = 200;
    let mut rig = Rig::new(RingConfig {
        slots: 256,
        completion_entries: 512,
        buffers: 256,
        ..SMALL
    });
    rig.accept();
    let mut clients = Vec::new();
    for _ in 0..SPEAKERS {
        let (client, slot) = rig.pair();
        rig.receive(slot);
        clients.push(client);
    }
    rig.turn();
    for client in &mut clients {
        write(client, b"pong");
    }
    let mut heard = Vec::new();
    rig.ring.turn(Duration::ZERO, &mut heard).unwrap();
    let heard = heard.iter().filter(|event| event.buffer.is_some()).count();
    assert_eq!(heard, SPEAKERS);
}
