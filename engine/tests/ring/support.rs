//! A ring with a listener, and what the tests do with it.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use fanfare_engine::ring::{
    BufferLease, Completion, KernelRing, Ring, RingConfig, Short, Slot, Token, listen, local_addr,
};

pub(crate) const ACCEPT: u8 = 1;
pub(crate) const RECEIVE: u8 = 2;
pub(crate) const WRITABLE: u8 = 3;
pub(crate) const SHUTDOWN: u8 = 4;
pub(crate) const CLOSE: u8 = 5;

/// Longest that a test waits for something that has to happen.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) const SMALL: RingConfig = RingConfig {
    slots: 64,
    submission_entries: 32,
    completion_entries: 128,
    buffers: 16,
    buffer_bytes: 256,
};

pub(crate) type Event = Completion<BufferLease>;

pub(crate) struct Rig {
    pub(crate) ring: KernelRing,
    pub(crate) addr: SocketAddr,
    events: Vec<Event>,
}

impl Rig {
    /// A ring with one listener on loopback, nothing armed.
    pub(crate) fn new(config: RingConfig) -> Self {
        let listener = listen((Ipv4Addr::LOCALHOST, 0).into(), 16_384).unwrap();
        let addr = local_addr(&listener).unwrap();
        let ring = KernelRing::new(config, vec![OwnedFd::from(listener)]).unwrap();
        Self {
            ring,
            addr,
            events: Vec::new(),
        }
    }

    pub(crate) fn accept(&mut self) {
        self.ring.accept(0, Token::new(ACCEPT, 0, 0));
    }

    pub(crate) fn receive(&mut self, slot: Slot) {
        self.ring.receive(slot, Token::new(RECEIVE, 0, slot.0));
    }

    /// Cancels that.
    pub(crate) fn cancel_receive(&mut self, slot: Slot) {
        self.ring.cancel(Token::new(RECEIVE, 0, slot.0));
    }

    /// Turns once without waiting.
    pub(crate) fn turn(&mut self) {
        self.ring.turn(Duration::ZERO, &mut self.events).unwrap();
    }

    /// The first event of the kind, once there is one; other kinds stay for later.
    pub(crate) fn next(&mut self, kind: u8) -> Event {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = self
                .events
                .iter()
                .position(|event| event.token.kind() == kind)
            {
                return self.events.remove(found);
            }
            assert!(
                Instant::now() < deadline,
                "no event of kind {kind}: {:?}",
                self.events
            );
            self.ring
                .turn(Duration::from_millis(100), &mut self.events)
                .unwrap();
        }
    }

    /// What has come, after turning until something has.
    pub(crate) fn events_within(&mut self, patience: Duration) -> Vec<Event> {
        let deadline = Instant::now() + patience;
        while self.events.is_empty() {
            assert!(Instant::now() < deadline, "nothing happens any more");
            self.ring
                .turn(Duration::from_millis(100), &mut self.events)
                .unwrap();
        }
        std::mem::take(&mut self.events)
    }

    /// Events that have come and were not asked for, after turning until none comes for a while.
    pub(crate) fn rest(&mut self) -> Vec<Event> {
        loop {
            let before = self.events.len();
            self.ring
                .turn(Duration::from_millis(30), &mut self.events)
                .unwrap();
            if self.events.len() == before {
                return std::mem::take(&mut self.events);
            }
        }
    }

    pub(crate) fn connect(&self) -> TcpStream {
        TcpStream::connect(self.addr).unwrap()
    }

    /// Connects and accepts; the accept must be armed.
    pub(crate) fn pair(&mut self) -> (TcpStream, Slot) {
        let client = self.connect();
        let event = self.next(ACCEPT);
        let slot = u32::try_from(event.result).expect("accepting failed");
        (client, Slot(slot))
    }

    /// One end of a socket pair in a slot, the other for the test.
    pub(crate) fn socketpair(&mut self) -> (UnixStream, Slot) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let slot = self.ring.install(ours.into()).unwrap();
        (theirs, slot)
    }

    pub(crate) fn send(&mut self, slot: Slot, bytes: &[u8]) -> Vec<Short> {
        let mut short = Vec::new();
        self.ring
            .send_all(std::iter::once((slot, bytes)), &mut short);
        short
    }

    pub(crate) fn close(&mut self, slot: Slot) {
        self.ring.close(slot, Token::new(CLOSE, 0, slot.0));
        assert_eq!(self.next(CLOSE).result, 0);
    }

    pub(crate) fn buffers_free(&self) -> u32 {
        self.ring.stats().buffers_free
    }
}

pub(crate) fn read_exactly(from: &mut impl Read, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    from.read_exact(&mut bytes).unwrap();
    bytes
}

pub(crate) fn write(to: &mut impl Write, bytes: &[u8]) {
    to.write_all(bytes).unwrap();
}
