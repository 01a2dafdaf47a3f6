//! The ring trait on a simulated kernel, and the checks of its contract.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use super::buffer::SimBuffer;
use super::faults::Fault;
use super::flight::Operation;
use super::kernel::{Listener, View};
use super::socket::SendOutcome;
use super::trace::{Event, digest_of};
use super::world::World;
use crate::ring::{Completion, Ring, RingStats, Short, Slot, Token};

/// What a [`SimRing`] is made with.
#[derive(Debug, Clone)]
pub struct SimRingOptions {
    /// Direct descriptors.
    pub slots: u32,
    /// Listening sockets of the shard.
    pub listeners: u32,
    /// Connections that may wait to be accepted, per listener.
    pub backlog_max: usize,
    /// Provided receive buffers.
    pub buffers: u32,
    /// Size of one of them in bytes.
    pub buffer_bytes: usize,
}

impl Default for SimRingOptions {
    fn default() -> Self {
        Self {
            slots: 64,
            listeners: 1,
            backlog_max: 16,
            buffers: 8,
            buffer_bytes: 512,
        }
    }
}

/// A simulated ring; made by [`SimNet::ring`](super::SimNet::ring).
#[derive(Debug)]
pub struct SimRing {
    world: Rc<RefCell<World>>,
    shard: u16,
    /// The last `send_all` that sent to each slot.
    sent_in: Vec<u64>,
    send_calls: u64,
}

impl SimRing {
    pub(super) fn new(world: Rc<RefCell<World>>, shard: u16, slots: u32) -> Self {
        Self {
            world,
            shard,
            sent_in: vec![0; slots as usize],
            send_calls: 0,
        }
    }

    /// The shard this ring is of: its index among the rings of the world.
    #[must_use]
    pub const fn shard(&self) -> u16 {
        self.shard
    }

    fn queue(&self, name: &'static str, slot: Option<Slot>, token: Token, operation: Operation) {
        let mut world = self.world.borrow_mut();
        let event = Event::Queued {
            shard: self.shard,
            operation: name,
            slot: slot.map(|slot| slot.0),
            token: token.0,
        };
        world.chance.note(event);
        world.kernels[usize::from(self.shard)]
            .queued
            .push(operation);
        if world.chance.strikes(Fault::EarlySubmit) {
            world.submit(self.shard);
        }
    }

    /// The owner's view of a slot that it is about to use.
    fn with_open<T>(&self, name: &str, slot: Slot, change: impl FnOnce(&mut View) -> T) -> T {
        let mut world = self.world.borrow_mut();
        let view = world.kernels[usize::from(self.shard)]
            .views
            .get_mut(slot.0 as usize);
        match view {
            Some(view) if view.is_open => change(view),
            Some(_) => self.broken(name, slot, "the slot is not open"),
            None => self.broken(name, slot, "there is no such slot"),
        }
    }

    /// A listener that is open and has no accept under way.
    fn with_listener(&self, name: &str, listener: u32, change: impl FnOnce(&mut Listener)) {
        let mut world = self.world.borrow_mut();
        let why = match world.kernels[usize::from(self.shard)]
            .listeners
            .get_mut(listener as usize)
        {
            None => "there is no such listener",
            Some(listener) if !listener.is_open => "it was stopped",
            Some(listener) if listener.has_accept => "an accept is armed on it",
            Some(listener) => return change(listener),
        };
        panic!(
            "ring contract: {name} on listener {listener} of shard {}: {why}",
            self.shard
        )
    }

    fn broken(&self, name: &str, slot: Slot, why: &str) -> ! {
        panic!(
            "ring contract: {name} on slot {} of shard {}: {why}",
            slot.0, self.shard
        )
    }

    fn send(&self, slot: Slot, bytes: &[u8]) -> Result<u32, i32> {
        let mut world = self.world.borrow_mut();
        let World {
            chance,
            sockets,
            kernels,
        } = &mut *world;
        let socket = kernels[usize::from(self.shard)]
            .socket_of(slot.0)
            .expect("checked against the owner's view");
        let state = &mut sockets[socket as usize];
        let mut limit = bytes.len();
        if chance.strikes(Fault::SendError) {
            state.break_both();
        } else if chance.strikes(Fault::SendBlocked) {
            limit = 0;
        } else if bytes.len() > 1 && chance.strikes(Fault::ShortSend) {
            limit = chance.rng.usize(1..bytes.len());
        }
        let outcome = match state.server_send(bytes, limit) {
            SendOutcome::Taken(taken) => Ok(taken),
            SendOutcome::Error(errno) => Err(errno),
            SendOutcome::IntoTheVoid => {
                if !std::mem::replace(&mut state.reset_is_due, true) {
                    let due = chance.now + Duration::from_micros(chance.rng.u64(0..20_000));
                    chance.resets_due.insert((due, socket));
                }
                Ok(bytes.len())
            }
        };
        let taken = outcome.map_or_else(
            |errno| -i64::from(errno),
            |taken| i64::try_from(taken).unwrap_or(i64::MAX),
        );
        let digest = digest_of(bytes);
        chance.note(Event::Sent {
            shard: self.shard,
            slot: slot.0,
            offered: bytes.len(),
            taken,
            digest,
        });
        outcome.map(|taken| u32::try_from(taken).expect("pipes are far smaller than 4 GiB"))
    }
}

impl SimRing {
    fn queue_accept(&mut self, listener: u32, token: Token, is_single: bool) {
        self.with_listener("accept", listener, |listener| listener.has_accept = true);
        let accept = Operation::Accept {
            listener,
            token,
            is_single,
        };
        self.queue("accept", None, token, accept);
    }
}

impl Ring for SimRing {
    type Buffer = SimBuffer;

    fn slots(&self) -> u32 {
        self.world.borrow().kernels[usize::from(self.shard)].slots()
    }

    fn accept(&mut self, listener: u32, token: Token) {
        self.queue_accept(listener, token, false);
    }

    fn accept_one(&mut self, listener: u32, token: Token) {
        self.queue_accept(listener, token, true);
    }

    fn stop_listening(&mut self, listener: u32) {
        self.with_listener("stop_listening", listener, |_| ());
        let mut world = self.world.borrow_mut();
        let World {
            sockets, kernels, ..
        } = &mut *world;
        kernels[usize::from(self.shard)].listeners[listener as usize].close(sockets);
    }

    fn receive(&mut self, slot: Slot, token: Token) {
        let is_armed = self.with_open("receive", slot, |view| {
            view.receive.replace(View::QUEUED).is_some()
        });
        if is_armed {
            self.broken("receive", slot, "another receive is armed on it");
        }
        self.queue(
            "receive",
            Some(slot),
            token,
            Operation::Receive {
                slot: slot.0,
                token,
            },
        );
    }

    fn poll_writable(&mut self, slot: Slot, token: Token) {
        let is_armed = self.with_open("poll_writable", slot, |view| {
            view.poll.replace(View::QUEUED).is_some()
        });
        if is_armed {
            self.broken("poll_writable", slot, "another poll is armed on it");
        }
        self.queue(
            "poll_writable",
            Some(slot),
            token,
            Operation::PollWritable {
                slot: slot.0,
                token,
            },
        );
    }

    fn shutdown(&mut self, slot: Slot, token: Token) {
        self.with_open("shutdown", slot, |_| ());
        self.queue(
            "shutdown",
            Some(slot),
            token,
            Operation::Shutdown {
                slot: slot.0,
                token,
            },
        );
    }

    fn cancel(&mut self, token: Token) {
        self.queue("cancel", None, token, Operation::Cancel { token });
    }

    fn close(&mut self, slot: Slot, token: Token) {
        self.with_open("close", slot, |view| *view = View::default());
        self.queue(
            "close",
            Some(slot),
            token,
            Operation::Close {
                slot: slot.0,
                token,
            },
        );
    }

    fn send_all<'d, I>(&mut self, sends: I, short: &mut Vec<Short>)
    where
        I: Iterator<Item = (Slot, &'d [u8])>,
    {
        self.send_calls += 1;
        let mut world = self.world.borrow_mut();
        world.submit(self.shard);
        world.kernels[usize::from(self.shard)].stats.enters += 1;
        // The iterator is the caller's code: nothing may be borrowed while it runs.
        drop(world);
        for (index, (slot, bytes)) in (0..).zip(sends) {
            self.with_open("send", slot, |_| ());
            let last = std::mem::replace(&mut self.sent_in[slot.0 as usize], self.send_calls);
            if last == self.send_calls {
                self.broken("send", slot, "it already has a send in this call");
            }
            let taken = self.send(slot, bytes);
            if taken.map(|taken| taken as usize) != Ok(bytes.len()) {
                short.push(Short { index, taken });
            }
        }
    }

    fn wake(&mut self, shard: u16) {
        let mut world = self.world.borrow_mut();
        assert!(
            usize::from(shard) < world.kernels.len() && shard != self.shard,
            "ring contract: shard {} wakes shard {shard}",
            self.shard
        );
        world.kernels[usize::from(self.shard)].stats.wakes_sent += 1;
        drop(world);
        self.queue(
            "wake",
            None,
            Token(u64::from(shard)),
            Operation::Wake { shard },
        );
    }

    fn turn(
        &mut self,
        wait: Duration,
        completions: &mut Vec<Completion<Self::Buffer>>,
    ) -> io::Result<()> {
        let mut world = self.world.borrow_mut();
        world.submit(self.shard);
        let World {
            chance,
            sockets,
            kernels,
        } = &mut *world;
        let kernel = &mut kernels[usize::from(self.shard)];
        kernel.stats.enters += 1;
        let seen_before = completions.len();
        kernel.reap(chance, sockets, completions);
        let returns_at_once =
            std::mem::take(&mut kernel.is_woken) || completions.len() > seen_before;
        kernel.asleep_until = if returns_at_once {
            chance.now
        } else {
            chance.now.saturating_add(wait)
        };
        Ok(())
    }

    fn stats(&self) -> RingStats {
        let world = self.world.borrow();
        let kernel = &world.kernels[usize::from(self.shard)];
        RingStats {
            buffers_free: kernel.pool.borrow().free(),
            ..kernel.stats
        }
    }
}
