//! Waking a waiting ring.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use fanfare_engine::ring::{KernelRing, Peer, Ring};

use crate::support::SMALL;

/// Longer than any test may take: who waits for this was not woken.
const FOREVER: Duration = Duration::from_secs(60);

/// Runs a ring on a thread that turns, and says so after each turn that had nothing to report.
fn sleeper(turns: u32) -> (Peer, mpsc::Receiver<usize>, std::thread::JoinHandle<()>) {
    let (send_peer, peer) = mpsc::channel();
    let (turned, turns_seen) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        let mut ring = KernelRing::new(SMALL, Vec::new()).unwrap();
        send_peer.send(ring.peer()).unwrap();
        for _ in 0..turns {
            let mut events = Vec::new();
            ring.turn(FOREVER, &mut events).unwrap();
            turned.send(events.len()).unwrap();
        }
    });
    (peer.recv().unwrap(), turns_seen, thread)
}

#[test]
fn a_thread_wakes_a_ring_through_its_eventfd() {
    let (peer, turned, thread) = sleeper(200);
    for _ in 0..200 {
        peer.waker().wake();
        assert_eq!(
            turned.recv_timeout(FOREVER / 2).unwrap(),
            0,
            "a wake-up is not reported"
        );
    }
    thread.join().unwrap();
}

#[test]
fn a_ring_wakes_a_ring_with_a_message() {
    let (peer, turned, thread) = sleeper(200);
    let mut ring = KernelRing::new(SMALL, Vec::new()).unwrap();
    ring.set_peers(vec![ring.peer(), peer]);
    for _ in 0..200 {
        ring.wake(1);
        ring.turn(Duration::ZERO, &mut Vec::new()).unwrap();
        assert_eq!(
            turned.recv_timeout(FOREVER / 2).unwrap(),
            0,
            "a wake-up is not reported"
        );
    }
    assert_eq!(ring.stats().wakes_sent, 200);
    assert_eq!(ring.wakes_rerouted(), 0);
    thread.join().unwrap();
}

#[test]
fn a_wake_up_before_the_wait_is_not_lost() {
    let mut ring = KernelRing::new(SMALL, Vec::new()).unwrap();
    let waker = ring.waker();
    for _ in 0..50 {
        std::thread::spawn({
            let waker = waker.clone();
            move || waker.wake()
        })
        .join()
        .unwrap();
        let started = Instant::now();
        ring.turn(FOREVER, &mut Vec::new()).unwrap();
        assert!(started.elapsed() < FOREVER / 2);
    }
}

#[test]
fn a_ring_wakes_itself() {
    let mut ring = KernelRing::new(SMALL, Vec::new()).unwrap();
    ring.set_peers(vec![ring.peer()]);
    ring.wake(0);
    let started = Instant::now();
    ring.turn(FOREVER, &mut Vec::new()).unwrap();
    assert!(started.elapsed() < FOREVER / 2);
}

#[test]
fn waking_a_ring_that_has_gone_is_harmless() {
    let (peer, turned, thread) = sleeper(1);
    peer.waker().wake();
    turned.recv().unwrap();
    thread.join().unwrap();
    let mut ring = KernelRing::new(SMALL, Vec::new()).unwrap();
    ring.set_peers(vec![peer.clone()]);
    for _ in 0..10 {
        ring.wake(0);
        let mut events = Vec::new();
        ring.turn(Duration::from_millis(1), &mut events).unwrap();
        assert!(events.is_empty());
    }
    peer.waker().wake();
}

#[test]
fn a_wait_ends_at_its_timeout() {
    let mut ring = KernelRing::new(SMALL, Vec::new()).unwrap();
    let started = Instant::now();
    ring.turn(Duration::from_millis(20), &mut Vec::new())
        .unwrap();
    assert!(started.elapsed() >= Duration::from_millis(20));
}
