//! What the simulated ring promises: Linux's semantics here, its contract's checks in `contract`, every fault
//! and the same run for the same seed in `echo`.

mod contract;
mod echo;

use std::time::Duration;

use super::{
    ConnectionRefused, Fault, Faults, Received, SimBuffer, SimClient, SimNet, SimRing,
    SimRingOptions,
};
use crate::ring::{Completion, Ring, Short, Slot, Token};

const ACCEPT: u8 = 1;
const RECEIVE: u8 = 2;
const POLL: u8 = 3;
const CLOSE: u8 = 4;

fn token(kind: u8, index: u32) -> Token {
    Token::new(kind, 0, index)
}

/// A ring with one accept under way.
fn listening(net: &SimNet, options: &SimRingOptions) -> SimRing {
    let mut ring = net.ring(options);
    ring.accept(0, token(ACCEPT, 0));
    assert!(turn(&mut ring).is_empty(), "nobody has connected");
    ring
}

fn turn(ring: &mut SimRing) -> Vec<Completion<SimBuffer>> {
    let mut completions = Vec::new();
    ring.turn(Duration::ZERO, &mut completions)
        .expect("a simulated ring does not fail");
    completions
}

fn send(ring: &mut SimRing, slot: Slot, bytes: &[u8]) -> Result<u32, i32> {
    let mut short = Vec::new();
    ring.send_all([(slot, bytes)].into_iter(), &mut short);
    short
        .first()
        .map_or(Ok(u32::try_from(bytes.len()).expect("small")), |short| {
            short.taken
        })
}

/// A client and the slot it was accepted into.
fn connected(net: &SimNet, ring: &mut SimRing) -> (SimClient, Slot) {
    let client = net.connect(ring.shard(), 0).expect("the backlog has space");
    let accepted = turn(ring);
    assert_eq!(accepted.len(), 1);
    assert_eq!(accepted[0].token, token(ACCEPT, 0));
    assert!(accepted[0].more);
    (client, Slot(accepted[0].result.unsigned_abs()))
}

fn simple() -> (SimNet, SimRing, SimClient, Slot) {
    let net = SimNet::new(1, Faults::none());
    let mut ring = listening(&net, &SimRingOptions::default());
    let (client, slot) = connected(&net, &mut ring);
    (net, ring, client, slot)
}

fn received(client: &mut SimClient) -> Vec<u8> {
    let mut all = Vec::new();
    while let Received::Data(bytes) = client.receive(100) {
        all.extend(bytes);
    }
    all
}

#[test]
fn bytes_pass_in_order_both_ways() {
    let (_net, mut ring, mut client, slot) = simple();
    ring.receive(slot, token(RECEIVE, 0));
    assert_eq!(client.send(b"hello"), Ok(5));
    let mut seen = Vec::new();
    while seen.len() < 5 {
        for completion in turn(&mut ring) {
            assert!(completion.more);
            let buffer = completion.buffer.expect("data comes in a buffer");
            assert_eq!(completion.result.unsigned_abs() as usize, buffer.len());
            seen.extend_from_slice(&buffer);
        }
    }
    assert_eq!(seen, b"hello");
    assert_eq!(send(&mut ring, slot, b"welcome"), Ok(7));
    assert_eq!(received(&mut client), b"welcome");
    assert_eq!(client.receive(100), Received::Nothing);
}

#[test]
fn a_full_pipe_takes_a_part_and_then_nothing() {
    let (_net, mut ring, mut client, slot) = simple();
    let large = vec![7; 1 << 20];
    let taken = send(&mut ring, slot, &large).expect("still connected");
    assert!(taken > 0 && (taken as usize) < large.len());
    assert_eq!(send(&mut ring, slot, &large), Ok(0));
    ring.poll_writable(slot, token(POLL, 0));
    assert!(turn(&mut ring).is_empty(), "not writable while full");
    assert_eq!(received(&mut client).len(), taken as usize);
    let writable = turn(&mut ring);
    assert_eq!(writable[0].token, token(POLL, 0));
    assert_eq!(
        writable[0].result & i32::from(libc::POLLOUT),
        i32::from(libc::POLLOUT)
    );
    assert!(!writable[0].more);
}

#[test]
fn end_of_stream_ends_the_receive_with_zero() {
    let (_net, mut ring, mut client, slot) = simple();
    ring.receive(slot, token(RECEIVE, 0));
    client.shutdown();
    let end = turn(&mut ring);
    assert_eq!((end[0].result, end[0].more), (0, false));
    assert_eq!(send(&mut ring, slot, b"still open"), Ok(10));
    assert_eq!(received(&mut client), b"still open");
}

#[test]
fn a_reset_ends_the_receive_after_the_data_and_fails_sends() {
    let (_net, mut ring, mut client, slot) = simple();
    assert_eq!(client.send(b"last words"), Ok(10));
    client.reset();
    ring.receive(slot, token(RECEIVE, 0));
    let mut results = Vec::new();
    while results.last().is_none_or(|&result| result > 0) {
        results.extend(turn(&mut ring).iter().map(|completion| completion.result));
    }
    let end = results.pop();
    assert_eq!(results.iter().sum::<i32>(), 10);
    assert_eq!(end, Some(-libc::ECONNRESET));
    assert_eq!(
        send(&mut ring, slot, b"x"),
        Err(libc::EPIPE),
        "the error itself was reported once"
    );
}

#[test]
fn sends_to_a_client_that_left_vanish_until_its_reset_arrives() {
    let (net, mut ring, mut client, slot) = simple();
    client.close();
    assert_eq!(send(&mut ring, slot, b"into the void"), Ok(13));
    net.advance(Duration::from_secs(1));
    assert_eq!(send(&mut ring, slot, b"x"), Err(libc::EPIPE));
}

#[test]
fn shutdown_lets_the_client_read_to_the_end() {
    let (_net, mut ring, mut client, slot) = simple();
    assert_eq!(send(&mut ring, slot, b"bye"), Ok(3));
    ring.shutdown(slot, token(CLOSE, 0));
    assert_eq!(turn(&mut ring)[0].result, 0);
    assert_eq!(client.receive(100), Received::Data(b"bye".to_vec()));
    assert_eq!(client.receive(100), Received::End);
    assert_eq!(send(&mut ring, slot, b"more"), Err(libc::EPIPE));
}

#[test]
fn closing_with_unread_input_resets_the_client() {
    let (_net, mut ring, mut client, slot) = simple();
    assert_eq!(client.send(b"nobody reads this"), Ok(17));
    ring.close(slot, token(CLOSE, 0));
    turn(&mut ring);
    assert_eq!(client.receive(100), Received::Reset);
}

#[test]
fn an_operation_in_flight_holds_the_socket_open() {
    let net = SimNet::new(6, Faults::none().with(Fault::Stale, 1.0));
    let mut ring = listening(&net, &SimRingOptions::default());
    let (mut client, slot) = connected(&net, &mut ring);
    ring.receive(slot, token(RECEIVE, 0));
    ring.cancel(token(RECEIVE, 0));
    ring.close(slot, token(CLOSE, 0));
    assert_eq!(turn(&mut ring)[0].token, token(CLOSE, 0));
    assert!(
        net.slots_used(0).is_empty(),
        "the slot itself is free at once"
    );
    assert_eq!(
        client.receive(100),
        Received::Nothing,
        "the receive still holds the socket"
    );
    net.advance(Duration::from_secs(1));
    assert_eq!(turn(&mut ring)[0].token, token(RECEIVE, 0));
    assert_eq!(client.receive(100), Received::End);
}

#[test]
fn a_cancelled_operation_completes_under_its_own_token() {
    let (net, mut ring, _client, slot) = simple();
    ring.receive(slot, token(RECEIVE, 7));
    ring.cancel(token(RECEIVE, 7));
    let cancelled = turn(&mut ring);
    assert_eq!(
        cancelled.len(),
        1,
        "the cancellation itself reports nothing"
    );
    assert_eq!(
        (cancelled[0].token, cancelled[0].result),
        (token(RECEIVE, 7), -libc::ECANCELED)
    );
    ring.cancel(token(ACCEPT, 0));
    let cancelled = turn(&mut ring);
    assert_eq!(
        (cancelled[0].token, cancelled[0].more),
        (token(ACCEPT, 0), false)
    );
    ring.close(slot, token(CLOSE, 0));
    turn(&mut ring);
    net.assert_idle(0);
}

#[test]
fn a_stale_completion_comes_after_its_slot_was_given_away() {
    let net = SimNet::new(5, Faults::none().with(Fault::Stale, 1.0));
    let mut ring = listening(
        &net,
        &SimRingOptions {
            slots: 1,
            ..SimRingOptions::default()
        },
    );
    let (_first, slot) = connected(&net, &mut ring);
    ring.receive(slot, token(RECEIVE, 1));
    ring.cancel(token(RECEIVE, 1));
    ring.close(slot, token(CLOSE, 1));
    assert_eq!(turn(&mut ring)[0].token, token(CLOSE, 1));
    let (_second, again) = connected(&net, &mut ring);
    assert_eq!(again, slot);
    ring.receive(again, token(RECEIVE, 2));
    net.advance(Duration::from_secs(1));
    let late = turn(&mut ring);
    assert_eq!(
        (late[0].token, late[0].result),
        (token(RECEIVE, 1), -libc::ECANCELED)
    );
}

#[test]
fn receive_ends_when_every_buffer_is_leased() {
    let net = SimNet::new(2, Faults::none());
    let mut ring = listening(
        &net,
        &SimRingOptions {
            buffers: 1,
            ..SimRingOptions::default()
        },
    );
    let (mut client, slot) = connected(&net, &mut ring);
    ring.receive(slot, token(RECEIVE, 0));
    assert_eq!(client.send(b"a"), Ok(1));
    let leased = turn(&mut ring);
    assert_eq!(net.pool_free(0), 0);
    assert_eq!(client.send(b"b"), Ok(1));
    let starved = turn(&mut ring);
    assert_eq!(
        (starved[0].result, starved[0].more),
        (-libc::ENOBUFS, false)
    );
    drop(leased);
    assert_eq!(ring.stats().buffers_free, 1);
    ring.receive(slot, token(RECEIVE, 0));
    assert_eq!(turn(&mut ring)[0].buffer.as_deref(), Some(&b"b"[..]));
}

#[test]
fn a_full_table_turns_the_connection_away_and_ends_the_accept() {
    let net = SimNet::new(3, Faults::none());
    let mut ring = listening(
        &net,
        &SimRingOptions {
            slots: 1,
            backlog_max: 2,
            ..SimRingOptions::default()
        },
    );
    let (_inside, _) = connected(&net, &mut ring);
    let mut outside = net.connect(0, 0).expect("the backlog has space");
    let full = turn(&mut ring);
    assert_eq!((full[0].result, full[0].more), (-libc::ENFILE, false));
    assert_eq!(outside.receive(100), Received::End);
    let _waiting = [net.connect(0, 0), net.connect(0, 0)];
    assert_eq!(net.connect(0, 0).err(), Some(ConnectionRefused));
}

#[test]
fn a_stopped_listener_refuses_and_resets_who_waits() {
    let net = SimNet::new(3, Faults::none());
    let mut ring = net.ring(&SimRingOptions::default());
    let mut waiting = net.connect(0, 0).expect("the backlog has space");
    ring.stop_listening(0);
    assert_eq!(waiting.receive(1), Received::Reset);
    assert_eq!(net.connect(0, 0).err(), Some(ConnectionRefused));
}

#[test]
fn a_closed_listener_refuses_and_resets_who_waits() {
    let net = SimNet::new(3, Faults::none());
    let _ring = net.ring(&SimRingOptions::default());
    let mut waiting = net.connect(0, 0).expect("the backlog has space");
    net.close_listener(0, 0);
    assert_eq!(waiting.receive(1), Received::Reset);
    assert_eq!(net.connect(0, 0).err(), Some(ConnectionRefused));
}

#[test]
fn a_shard_sleeps_until_its_time_a_completion_or_a_wake_up() {
    let net = SimNet::new(4, Faults::none());
    let mut sleeper = listening(&net, &SimRingOptions::default());
    let mut waker = net.ring(&SimRingOptions::default());
    let mut seen = Vec::new();
    let mut sleep = |ring: &mut SimRing| {
        ring.turn(Duration::from_millis(5), &mut seen)
            .expect("does not fail")
    };
    sleep(&mut sleeper);
    assert!(!net.is_runnable(0));
    assert_eq!(
        net.next_event(),
        Some(Duration::ZERO),
        "the other shard has not run yet"
    );
    waker.wake(0);
    assert!(
        !net.is_runnable(0),
        "the wake-up leaves with the waker's next turn"
    );
    sleep(&mut waker);
    assert!(net.is_runnable(0));
    sleep(&mut sleeper);
    sleep(&mut sleeper);
    assert!(!net.is_runnable(0));
    assert_eq!(net.next_event(), Some(Duration::from_millis(5)));
    net.advance(Duration::from_millis(5));
    assert!(net.is_runnable(0));
    sleep(&mut sleeper);
    let _client = net.connect(0, 0).expect("the backlog has space");
    assert!(net.is_runnable(0));
    assert_eq!(waker.stats().wakes_sent, 1);
}
