//! Code that breaks the contract of the ring panics.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::*;

fn panic_of(broken: impl FnOnce()) -> String {
    let payload = catch_unwind(AssertUnwindSafe(broken)).expect_err("the contract was broken");
    payload
        .downcast::<String>()
        .map_or_else(|_| "not a message".into(), |message| *message)
}

#[test]
fn broken_contracts_panic() {
    type Break = fn(&SimNet, &mut SimRing, Slot);
    let cases: [(&str, Break); 15] = [
        ("receive is under way", |_, ring, slot| {
            ring.receive(slot, token(RECEIVE, 0));
            ring.close(slot, token(CLOSE, 0));
            turn(ring);
        }),
        ("an accept is armed", |_, ring, _| {
            ring.accept(0, token(ACCEPT, 0));
        }),
        ("an accept is armed", |_, ring, _| ring.stop_listening(0)),
        ("it was stopped", |_, ring, _| {
            ring.cancel(token(ACCEPT, 0));
            turn(ring);
            ring.stop_listening(0);
            ring.stop_listening(0);
        }),
        ("another receive is armed", |_, ring, slot| {
            ring.receive(slot, token(RECEIVE, 0));
            ring.receive(slot, token(RECEIVE, 1));
        }),
        ("another receive is armed", |_, ring, slot| {
            ring.receive(slot, token(RECEIVE, 0));
            ring.cancel(token(RECEIVE, 0));
            ring.receive(slot, token(RECEIVE, 1));
        }),
        ("another poll is armed", |_, ring, slot| {
            ring.poll_writable(slot, token(POLL, 0));
            ring.poll_writable(slot, token(POLL, 0));
        }),
        ("close on slot", |_, ring, slot| {
            ring.close(slot, token(CLOSE, 0));
            ring.close(slot, token(CLOSE, 0));
        }),
        ("send on slot", |_, ring, slot| {
            ring.close(slot, token(CLOSE, 0));
            send(ring, slot, b"x").ok();
        }),
        ("already has a send", |_, ring, slot| {
            ring.send_all(
                [(slot, &b"a"[..]), (slot, &b"b"[..])].into_iter(),
                &mut Vec::new(),
            );
        }),
        ("no such slot", |_, ring, _| {
            ring.shutdown(Slot(1 << 20), token(CLOSE, 0))
        }),
        ("no such listener", |_, ring, _| {
            ring.accept(9, token(ACCEPT, 9))
        }),
        ("wakes shard 0", |_, ring, _| ring.wake(0)),
        ("leaks the slots", |net, _, _| net.assert_idle(0)),
        ("leaks 1 of 8 buffers", |net, ring, slot| {
            let mut late = net.connect(0, 0).expect("the backlog has space");
            let other = Slot(turn(ring)[0].result.unsigned_abs());
            ring.receive(other, token(RECEIVE, 0));
            late.send(b"x").expect("connected");
            let leased = turn(ring);
            ring.cancel(token(RECEIVE, 0));
            ring.close(other, token(CLOSE, 0));
            ring.close(slot, token(CLOSE, 0));
            turn(ring);
            std::mem::forget(leased);
            net.assert_idle(0);
        }),
    ];
    for (expected, broken) in cases {
        let (net, mut ring, client, slot) = simple();
        let message = panic_of(|| broken(&net, &mut ring, slot));
        assert!(message.starts_with("ring contract: "), "{message}");
        assert!(
            message.contains(expected),
            "{message:?} says nothing of {expected:?}"
        );
        drop(client);
    }
}
