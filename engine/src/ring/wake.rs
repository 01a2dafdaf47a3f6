//! Waking a ring: from threads without one through an eventfd, from other rings through `MSG_RING`.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::Arc;

/// Makes the [`turn`](super::Ring::turn) of one ring return. Usable from any thread, and after the ring has
/// gone, when it does nothing.
#[derive(Debug, Clone)]
pub struct Waker {
    eventfd: Arc<File>,
}

impl Waker {
    pub(super) fn new() -> io::Result<Self> {
        // SAFETY: takes no memory.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the call above has just made this descriptor, and nothing else owns it.
        let eventfd = unsafe { File::from_raw_fd(fd) };
        Ok(Self {
            eventfd: Arc::new(eventfd),
        })
    }

    /// Wakes the ring, or makes its next wait return at once. Wake-ups that the ring has not seen yet merge.
    pub fn wake(&self) {
        // Nobody reads the counter: the ring's multishot poll fires on each write, whatever the sum. The only
        // failure would be a full counter (2^64 - 2 writes), with which the ring is woken already.
        let _ = (&*self.eventfd).write(&1_u64.to_ne_bytes());
    }

    pub(super) fn raw_fd(&self) -> RawFd {
        self.eventfd.as_raw_fd()
    }
}

/// What other shards need to wake a ring.
///
/// It holds the ring open: a wake-up in flight can therefore never reach a stranger's descriptor, in whichever
/// order shards stop. The ring's memory goes when the last of its peers has dropped this.
#[derive(Debug, Clone)]
pub struct Peer {
    ring: Arc<OwnedFd>,
    waker: Waker,
}

impl Peer {
    pub(super) fn new(ring: BorrowedFd<'_>, waker: Waker) -> io::Result<Self> {
        let ring = Arc::new(ring.try_clone_to_owned()?);
        Ok(Self { ring, waker })
    }

    /// The waker of the ring, for threads that have none.
    #[must_use]
    pub fn waker(&self) -> &Waker {
        &self.waker
    }

    pub(super) fn ring_fd(&self) -> RawFd {
        self.ring.as_raw_fd()
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::os::fd::AsFd;
    use std::time::{Duration, Instant};

    use super::super::{KernelRing, Ring, RingConfig};
    use super::*;

    #[test]
    fn a_ring_that_takes_no_messages_is_woken_through_its_eventfd() {
        let config = RingConfig {
            slots: 8,
            ..RingConfig::default()
        };
        let mut ours = KernelRing::new(config, Vec::new()).unwrap();
        let mut theirs = KernelRing::new(config, Vec::new()).unwrap();
        let not_a_ring = File::open("/dev/null").unwrap();
        ours.set_peers(vec![Peer::new(not_a_ring.as_fd(), theirs.waker()).unwrap()]);

        ours.wake(0);
        ours.turn(Duration::ZERO, &mut Vec::new()).unwrap();
        assert_eq!(ours.wakes_rerouted(), 1);
        let started = Instant::now();
        theirs
            .turn(Duration::from_secs(60), &mut Vec::new())
            .unwrap();
        assert!(started.elapsed() < Duration::from_secs(30));
    }
}
