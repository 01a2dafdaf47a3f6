//! What `send_all` reports: nothing of a send taken whole, the count of a short one, the errno of a dead peer.

use std::io::{ErrorKind, Read};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use fanfare_engine::ring::{Ring, RingConfig, Short, Slot, Token};
use socket2::SockRef;

use crate::support::{RECEIVE, Rig, SHUTDOWN, SMALL, WRITABLE, read_exactly, write};

#[test]
fn echo_through_accept_receive_and_send() {
    let mut rig = Rig::new(SMALL);
    rig.accept();
    let (mut client, slot) = rig.pair();
    rig.receive(slot);
    for round in 0..100_u32 {
        let said = round.to_le_bytes();
        write(&mut client, &said);
        let event = rig.next(RECEIVE);
        assert_eq!((event.result, event.more), (4, true));
        let heard = event.buffer.unwrap();
        assert_eq!(*heard, said);
        assert!(rig.send(slot, &heard).is_empty());
        drop(heard);
        assert_eq!(read_exactly(&mut client, 4), said);
    }
    assert_eq!(rig.buffers_free(), 16);
}

/// The rule the whole send path stands on: a send taken whole posts nothing, a short one posts its count, one
/// that takes nothing posts `EAGAIN`, and all of that is known when `send_all` returns.
#[test]
fn whole_short_and_blocked_sends_are_told_apart_on_tcp() {
    let mut rig = Rig::new(SMALL);
    rig.accept();
    let (client, slot) = rig.pair();
    SockRef::from(&client).set_recv_buffer_size(4096).unwrap();
    let chunk: Vec<u8> = (0..=255_u8).cycle().take(64 * 1024).collect();
    assert_eq!(rig.send(slot, b"whole"), []);

    let (taken, shorts) = fill(&mut rig, slot, &chunk);
    assert!(
        shorts >= 1,
        "a send that meets a full socket half-way is short"
    );
    assert_eq!(
        rig.send(slot, &chunk),
        [Short {
            index: 0,
            taken: Ok(0)
        }],
        "a full socket takes nothing"
    );
    let events = rig.rest();
    assert!(events.is_empty(), "sends leave nothing behind: {events:?}");

    // What was reported as taken is what arrives, in order.
    let mut reader = client;
    assert_eq!(read_exactly(&mut reader, 5), b"whole");
    reader.set_nonblocking(true).unwrap();
    let mut heard = Vec::new();
    let mut space = vec![0; 65_536];
    while heard.len() < taken {
        match reader.read(&mut space) {
            Ok(n) => heard.extend_from_slice(&space[..n]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::yield_now(),
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(heard.len(), taken);
    reader.set_nonblocking(false).unwrap();
    assert_eq!(rig.send(slot, b"end"), []);
    assert_eq!(read_exactly(&mut reader, 3), b"end");
}

/// Sends `chunk` again and again, going on behind what a short send left, until the socket takes nothing.
/// Returns the bytes taken, which begin again with each chunk sent whole, and how many sends were short.
fn fill(rig: &mut Rig, slot: Slot, chunk: &[u8]) -> (usize, u32) {
    let (mut taken, mut shorts, mut offset) = (0, 0, 0);
    loop {
        let rest = &chunk[offset..];
        match rig.send(slot, rest)[..] {
            [] => {
                taken += rest.len();
                offset = 0;
            }
            [
                Short {
                    index: 0,
                    taken: Ok(0),
                },
            ] => return (taken, shorts),
            [
                Short {
                    index: 0,
                    taken: Ok(n),
                },
            ] => {
                assert!((n as usize) < rest.len());
                taken += n as usize;
                offset += n as usize;
                shorts += 1;
            }
            ref other => panic!("{other:?}"),
        }
    }
}

#[test]
fn whole_short_and_blocked_sends_are_told_apart_on_a_socket_pair() {
    let mut rig = Rig::new(SMALL);
    let (ours, theirs) = UnixStream::pair().unwrap();
    SockRef::from(&ours).set_send_buffer_size(8192).unwrap();
    let slot = rig.ring.install(ours.into()).unwrap();
    assert_eq!(rig.send(slot, &[1; 100]), []);
    let (taken, shorts) = fill(&mut rig, slot, &[2; 100_000]);
    assert!(taken > 0 && shorts >= 1);
    assert_eq!(
        rig.send(slot, &[3; 100]),
        [Short {
            index: 0,
            taken: Ok(0)
        }]
    );

    rig.ring.poll_writable(slot, Token::new(WRITABLE, 0, 0));
    rig.turn();
    assert!(
        rig.rest().is_empty(),
        "not writable while the peer does not read"
    );
    let mut reader = theirs;
    read_exactly(&mut reader, 100 + taken);
    let event = rig.next(WRITABLE);
    assert!(event.result & i32::from(libc::POLLOUT) != 0);
    assert!(!event.more);
    assert_eq!(rig.send(slot, &[4; 100]), []);
    assert_eq!(read_exactly(&mut reader, 100), [4; 100]);
}

#[test]
fn each_outcome_carries_its_index() {
    let mut rig = Rig::new(SMALL);
    let mut peers = Vec::new();
    let mut slots = Vec::new();
    for _ in 0..5 {
        let (peer, slot) = rig.socketpair();
        peers.push(peer);
        slots.push(slot);
    }
    fill(&mut rig, slots[1], &[0; 4096]);
    drop(peers.remove(3));
    let empty = Slot(63);
    slots.push(empty);

    let mut short = Vec::new();
    rig.ring
        .send_all(slots.iter().map(|slot| (*slot, &b"hello"[..])), &mut short);
    assert_eq!(
        short,
        [
            Short {
                index: 1,
                taken: Ok(0)
            },
            Short {
                index: 3,
                taken: Err(libc::EPIPE)
            },
            Short {
                index: 5,
                taken: Err(libc::EBADF)
            },
        ]
    );
    for peer in [0, 2, 3] {
        assert_eq!(read_exactly(&mut peers[peer], 5), b"hello");
    }
}

#[test]
fn a_reset_connection_reports_its_errno() {
    let mut rig = Rig::new(SMALL);
    rig.accept();
    let (client, slot) = rig.pair();
    SockRef::from(&client)
        .set_linger(Some(std::time::Duration::ZERO))
        .unwrap();
    drop(client);
    let [outcome] = rig.send(slot, b"anyone there?")[..] else {
        panic!("the send to a reset connection was taken");
    };
    assert!(
        matches!(outcome.taken, Err(libc::ECONNRESET | libc::EPIPE)),
        "{outcome:?}"
    );
}

#[test]
fn more_sends_than_the_queue_holds_go_out_in_order() {
    for submission_entries in [2, 4] {
        let mut rig = Rig::new(RingConfig {
            submission_entries,
            completion_entries: 8,
            buffers: 64,
            ..SMALL
        });
        rig.accept();
        let mut pairs: Vec<_> = (0..40).map(|_| rig.pair()).collect();
        for (_, slot) in &pairs {
            rig.receive(*slot);
        }
        for round in 0..50_u32 {
            let frame = round.to_le_bytes();
            let mut short = Vec::new();
            rig.ring.send_all(
                pairs.iter().map(|(_, slot)| (*slot, &frame[..])),
                &mut short,
            );
            assert_eq!(short, []);
        }
        for (client, _) in &mut pairs {
            for round in 0..50_u32 {
                assert_eq!(read_exactly(client, 4), round.to_le_bytes());
            }
            write(client, b"?");
        }
        for _ in 0..40 {
            assert_eq!(rig.next(RECEIVE).result, 1);
        }
    }
}

#[test]
fn completions_met_while_sending_wait_for_the_next_turn() {
    let mut rig = Rig::new(SMALL);
    rig.accept();
    let mut pairs: Vec<_> = (0..8).map(|_| rig.pair()).collect();
    for (_, slot) in &pairs {
        rig.receive(*slot);
    }
    rig.turn();
    for (client, _) in &mut pairs {
        write(client, b"ping");
    }
    // Closing completes inline, so its completion is met by the sends that follow.
    let (_, closing) = rig.pair();
    rig.ring
        .close(closing, Token::new(crate::support::CLOSE, 0, 0));
    for _ in 0..3 {
        let mut short = Vec::new();
        rig.ring.send_all(
            pairs.iter().map(|(_, slot)| (*slot, &b"pong"[..])),
            &mut short,
        );
        assert_eq!(short, []);
    }
    assert_eq!(rig.next(crate::support::CLOSE).result, 0);
    for _ in 0..8 {
        assert_eq!(*rig.next(RECEIVE).buffer.unwrap(), *b"ping");
    }
}

#[test]
fn shutdown_sends_fin_after_what_was_sent() {
    let mut rig = Rig::new(SMALL);
    rig.accept();
    let (mut client, slot) = rig.pair();
    assert_eq!(rig.send(slot, b"bye"), []);
    rig.ring.shutdown(slot, Token::new(SHUTDOWN, 0, slot.0));
    assert_eq!(rig.next(SHUTDOWN).result, 0);
    let mut heard = Vec::new();
    client.read_to_end(&mut heard).unwrap();
    assert_eq!(heard, b"bye");
    let [outcome] = rig.send(slot, b"more")[..] else {
        panic!("sent after shutdown");
    };
    assert_eq!(outcome.taken, Err(libc::EPIPE));
    client.shutdown(Shutdown::Both).unwrap();
}

#[test]
fn an_empty_send_is_whole() {
    let mut rig = Rig::new(SMALL);
    let (_peer, slot) = rig.socketpair();
    assert_eq!(rig.send(slot, b""), []);
}

#[test]
fn a_full_table_refuses_a_socket() {
    let mut rig = Rig::new(RingConfig { slots: 2, ..SMALL });
    let (first, second) = UnixStream::pair().unwrap();
    let (third, _fourth) = UnixStream::pair().unwrap();
    let first = rig.ring.install(OwnedFd::from(first)).unwrap();
    let second = rig.ring.install(OwnedFd::from(second)).unwrap();
    assert_ne!(first, second);
    let error = rig.ring.install(OwnedFd::from(third)).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::ENFILE));
    rig.close(first);
    let (fifth, _sixth) = UnixStream::pair().unwrap();
    assert_eq!(rig.ring.install(OwnedFd::from(fifth)).unwrap(), first);
}
