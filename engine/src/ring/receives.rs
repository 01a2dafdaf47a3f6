//! Receives that hold little of the kernel's memory while nothing comes.
//!
//! A multishot receive keeps a message header (512 bytes) and a poll entry (96) beside its request for as long as it is armed:
//! 608 of the 4,850 bytes that the kernel had for an idle connection (6.18, slab). A multishot poll is a request and nothing
//! else. So that is what is armed, and each time it fires, a receive that does not wait is submitted: one more entry, a
//! fraction of a microsecond, for each batch of bytes.
//!
//! To the ring's owner it is one operation under one token. It ends when its poll has: once nothing of it is left in the
//! kernel, the slot can be closed.

use io_uring::squeue;

use super::operations::{cancel_one, poll_readable};
use super::{Slot, Token};

/// What a poll tells of besides bytes: that nothing follows those that are there. It tells once, and a receive that finds bytes
/// does not say it.
const OVER: i32 = (libc::POLLERR | libc::POLLHUP) as i32;

/// The receives under way, by the index of their tokens.
#[derive(Debug)]
pub(super) struct Receives(Vec<Option<Receive>>);

/// 20 bytes for each connection.
#[derive(Debug, Clone, Copy)]
struct Receive {
    /// Kind and generation of its token.
    name: u32,
    slot: Slot,
    poll: Poll,
    /// A receive for what the poll told of is in the kernel.
    is_receiving: bool,
    /// When that has brought something, another one is to look for what follows.
    is_over: bool,
    /// What it ends with, as soon as nothing of it is in the kernel.
    end: Option<i32>,
}

/// How a receive's poll stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Poll {
    /// In the kernel.
    Armed,
    /// In the kernel, and its cancellation too.
    Cancelled,
    Gone,
}

/// What follows from a completion.
#[derive(Debug)]
pub(super) enum Next {
    Nothing,
    /// To be submitted before anything else that concerns this receive.
    Submit(squeue::Entry),
    /// There is something to receive from this slot, when there is a buffer for it.
    Receive(Slot),
    /// The receive has ended, with this result.
    End(i32),
}

impl Receives {
    /// Room for so many. It takes memory as it is used.
    pub(super) fn new(slots: u32) -> Self {
        Self(Vec::with_capacity(slots as usize))
    }

    /// A receive begins: its poll is to be submitted, which fires at once if there is something already.
    pub(super) fn begin(&mut self, slot: Slot, token: Token) -> squeue::Entry {
        let at = token.index() as usize;
        if at >= self.0.len() {
            self.0.resize(at + 1, None);
        }
        debug_assert!(
            self.0[at].is_none_or(|before| before.end.is_some()),
            "{token:?} has a receive under way"
        );
        self.0[at] = Some(Receive {
            name: token.name(),
            slot,
            poll: Poll::Armed,
            is_receiving: false,
            is_over: false,
            end: None,
        });
        poll_readable(slot, token.of_poll())
    }

    /// Whether the token is that of a receive under way.
    pub(super) fn has(&self, token: Token) -> bool {
        let receive = self.0.get(token.index() as usize);
        receive.is_some_and(|it| it.is_some_and(|it| it.name == token.name()))
    }

    /// It is to end.
    pub(super) fn cancel(&mut self, token: Token) -> Next {
        self.step(token, |receive| {
            receive.end.get_or_insert(-libc::ECANCELED);
            false
        })
        .unwrap_or(Next::Nothing)
    }

    /// All are to end; their polls are being cancelled.
    pub(super) fn all_cancelled(&mut self) {
        for receive in self.0.iter_mut().flatten() {
            receive.end.get_or_insert(-libc::ECANCELED);
            if receive.poll == Poll::Armed {
                receive.poll = Poll::Cancelled;
            }
        }
    }

    /// Its poll has completed.
    pub(super) fn polled(&mut self, token: Token, result: i32, more: bool) -> Next {
        self.step(token, |receive| {
            if !more {
                receive.poll = Poll::Gone;
            }
            if result < 0 {
                receive.end.get_or_insert(result);
            } else {
                receive.is_over |= result & OVER != 0;
            }
            true
        })
        // Its slot was closed without waiting for it, and its index has another one.
        .unwrap_or(if more {
            Next::Nothing
        } else {
            Next::End(result)
        })
    }

    /// A receive has completed, and the socket may hold more.
    pub(super) fn received(&mut self, token: Token, result: i32, holds_more: bool) -> Next {
        self.step(token, |receive| {
            receive.is_receiving = false;
            let goes_on = result > 0 || result == -libc::EAGAIN || result == -libc::EINTR;
            if !goes_on {
                receive.end.get_or_insert(result);
            }
            // A poll that is to be armed again finds out by itself.
            let is_over = std::mem::take(&mut receive.is_over) && result > 0;
            receive.poll == Poll::Armed && (holds_more || is_over || result == -libc::EINTR)
        })
        .unwrap_or(Next::Nothing)
    }

    /// Applies what has happened, which says whether there is something to receive, and finds out what follows. `None` when
    /// the token is not that of a receive under way.
    fn step(&mut self, token: Token, happened: impl FnOnce(&mut Receive) -> bool) -> Option<Next> {
        let place = self.0.get_mut(token.index() as usize)?;
        let receive = place
            .as_mut()
            .filter(|receive| receive.name == token.name())?;
        let is_readable = happened(receive);
        let slot = receive.slot;
        Some(match (receive.end, receive.poll) {
            // One receive at a time: it sees all bytes that have come by the time it is made.
            (None, _) if is_readable && !receive.is_receiving => {
                receive.is_receiving = true;
                Next::Receive(slot)
            }
            (None, Poll::Gone) if !receive.is_receiving => {
                receive.poll = Poll::Armed;
                Next::Submit(poll_readable(slot, token.of_poll()))
            }
            (Some(_), Poll::Armed) => {
                receive.poll = Poll::Cancelled;
                Next::Submit(cancel_one(token.of_poll()))
            }
            (Some(end), Poll::Gone) if !receive.is_receiving => {
                *place = None;
                Next::End(end)
            }
            _ => Next::Nothing,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLOT: Slot = Slot(7);

    fn token(generation: u32) -> Token {
        Token::new(2, generation, 3)
    }

    fn begun() -> Receives {
        let mut receives = Receives::new(8);
        receives.begin(SLOT, token(1));
        receives
    }

    /// What follows, by the token of what is to be submitted.
    fn text(next: &Next) -> String {
        match next {
            Next::Nothing => "nothing".to_owned(),
            Next::Submit(entry) => match entry.get_user_data() {
                it if it == token(1).of_poll().0 => "poll".to_owned(),
                _ => "cancel".to_owned(),
            },
            Next::Receive(slot) => {
                assert_eq!(*slot, SLOT);
                "receive".to_owned()
            }
            Next::End(result) => format!("end {result}"),
        }
    }

    #[test]
    fn one_takes_no_more_than_it_says() {
        assert_eq!(size_of::<Option<Receive>>(), 20);
    }

    #[test]
    fn each_time_the_poll_fires_something_is_received() {
        let mut receives = begun();
        for _ in 0..2 {
            assert_eq!(text(&receives.polled(token(1), 1, true)), "receive");
            assert_eq!(text(&receives.received(token(1), 10, true)), "receive");
            assert_eq!(text(&receives.received(token(1), 10, false)), "nothing");
        }
        assert_eq!(text(&receives.polled(token(1), 1, true)), "receive");
        assert_eq!(
            text(&receives.received(token(1), -libc::EAGAIN, false)),
            "nothing"
        );
        assert!(receives.has(token(1)));
    }

    #[test]
    fn a_reset_behind_bytes_is_looked_for() {
        let reset = libc::POLLIN | libc::POLLERR | libc::POLLHUP;
        let mut receives = begun();
        assert_eq!(text(&receives.polled(token(1), 1, true)), "receive");
        let again = receives.polled(token(1), i32::from(reset), true);
        assert_eq!(text(&again), "nothing", "one receive at a time");
        assert_eq!(text(&receives.received(token(1), 10, false)), "receive");
        let end = receives.received(token(1), -libc::ECONNRESET, false);
        assert_eq!(text(&end), "cancel");
    }

    #[test]
    fn a_poll_that_the_kernel_ends_is_armed_again_after_what_it_told_of() {
        for result in [10, -libc::EAGAIN] {
            let mut receives = begun();
            assert_eq!(text(&receives.polled(token(1), 1, false)), "receive");
            assert_eq!(text(&receives.received(token(1), result, true)), "poll");
            assert_eq!(text(&receives.polled(token(1), 1, true)), "receive");
        }
    }

    #[test]
    fn the_end_of_the_stream_is_told_when_the_poll_is_gone() {
        for result in [0, -libc::ECONNRESET, -libc::ENOBUFS] {
            let mut receives = begun();
            assert_eq!(text(&receives.polled(token(1), 1, true)), "receive");
            assert_eq!(text(&receives.received(token(1), result, false)), "cancel");
            assert_eq!(text(&receives.polled(token(1), 1, true)), "nothing");
            assert_eq!(text(&receives.cancel(token(1))), "nothing");
            let end = receives.polled(token(1), -libc::ECANCELED, false);
            assert_eq!(text(&end), format!("end {result}"));
            assert!(!receives.has(token(1)));

            let mut receives = begun();
            assert_eq!(text(&receives.polled(token(1), 1, false)), "receive");
            let end = receives.received(token(1), result, false);
            assert_eq!(text(&end), format!("end {result}"));
            assert!(!receives.has(token(1)));
        }
    }

    #[test]
    fn a_cancelled_receive_ends_once_and_when_nothing_of_it_is_under_way() {
        let cancelled = format!("end {}", -libc::ECANCELED);
        let mut receives = begun();
        assert_eq!(text(&receives.cancel(token(1))), "cancel");
        assert_eq!(text(&receives.cancel(token(1))), "nothing");
        assert_eq!(text(&receives.polled(token(1), 1, true)), "nothing");
        let end = receives.polled(token(1), -libc::ECANCELED, false);
        assert_eq!(text(&end), cancelled);

        // The receive completes last.
        let mut receives = begun();
        assert_eq!(text(&receives.polled(token(1), 1, true)), "receive");
        assert_eq!(text(&receives.cancel(token(1))), "cancel");
        let polled = receives.polled(token(1), -libc::ECANCELED, false);
        assert_eq!(text(&polled), "nothing");
        assert_eq!(text(&receives.received(token(1), 10, true)), cancelled);

        // The poll does.
        let mut receives = begun();
        assert_eq!(text(&receives.polled(token(1), 1, true)), "receive");
        assert_eq!(text(&receives.cancel(token(1))), "cancel");
        assert_eq!(text(&receives.received(token(1), 10, true)), "nothing");
        assert_eq!(text(&receives.polled(token(1), 1, false)), cancelled);

        // There is no poll.
        let mut receives = begun();
        assert_eq!(text(&receives.polled(token(1), 1, false)), "receive");
        assert_eq!(text(&receives.cancel(token(1))), "nothing");
        assert_eq!(text(&receives.received(token(1), 10, false)), cancelled);
        assert!(!receives.has(token(1)));
    }

    #[test]
    fn a_poll_that_fires_twice_before_the_receive_makes_one_receive() {
        let mut receives = begun();
        assert_eq!(text(&receives.polled(token(1), 1, true)), "receive");
        assert_eq!(text(&receives.polled(token(1), 1, true)), "nothing");
        assert_eq!(text(&receives.received(token(1), 10, false)), "nothing");
        assert_eq!(text(&receives.polled(token(1), 1, true)), "receive");
    }

    #[test]
    fn an_operation_that_cannot_begin_ends_with_the_reason() {
        let mut receives = begun();
        let end = receives.polled(token(1), -libc::EBADF, false);
        assert_eq!(text(&end), format!("end {}", -libc::EBADF));
    }

    #[test]
    fn one_that_was_left_behind_ends_beside_its_successor() {
        let mut receives = begun();
        receives.cancel(token(1));
        receives.begin(SLOT, token(2));
        let end = receives.polled(token(1), -libc::ECANCELED, false);
        assert_eq!(text(&end), format!("end {}", -libc::ECANCELED));
        assert!(receives.has(token(2)));
    }
}
