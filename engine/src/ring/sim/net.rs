//! The driver's view of a simulated world: its clock, its faults, who can run, and what is still held.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use super::buffer::Pool;
use super::client::SimClient;
use super::faults::{Fault, Faults};
use super::kernel::Kernel;
use super::ring::{SimRing, SimRingOptions};
use super::socket::{Socket, SocketId};
use super::trace::Event;
use super::world::World;

/// A simulated network, shared by the rings and clients of one run. Cloning it names the same world.
#[derive(Debug, Clone)]
pub struct SimNet {
    world: Rc<RefCell<World>>,
}

/// A connection was not made: nobody listens, or too many wait to be accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionRefused;

impl SimNet {
    /// A world at time 0 in which everything random follows from the seed.
    #[must_use]
    pub fn new(seed: u64, faults: Faults) -> Self {
        Self {
            world: Rc::new(RefCell::new(World::new(seed, faults))),
        }
    }

    /// Adds a ring; its shard is the number of rings before it.
    #[must_use]
    pub fn ring(&self, options: &SimRingOptions) -> SimRing {
        let mut world = self.world.borrow_mut();
        let shard = u16::try_from(world.kernels.len()).expect("a world has few rings");
        let pool = Pool::new(options.buffers, options.buffer_bytes);
        world.kernels.push(Kernel::new(
            shard,
            options.slots,
            options.listeners,
            options.backlog_max,
            pool,
        ));
        SimRing::new(Rc::clone(&self.world), shard, options.slots)
    }

    /// A generator of its own for the driver, so that its draws follow from the seed too.
    #[must_use]
    pub fn fork_rng(&self) -> fastrand::Rng {
        self.world.borrow_mut().chance.rng.fork()
    }

    /// Connects a client to a listener of a shard. It is established at once and waits to be accepted.
    ///
    /// # Errors
    /// [`ConnectionRefused`] when the listener is closed or its backlog is full.
    pub fn connect(&self, shard: u16, listener: u32) -> Result<SimClient, ConnectionRefused> {
        let mut world = self.world.borrow_mut();
        let World {
            chance,
            sockets,
            kernels,
        } = &mut *world;
        let listener = &mut kernels[usize::from(shard)].listeners[listener as usize];
        if !listener.is_open || listener.backlog.len() >= listener.backlog_max {
            return Err(ConnectionRefused);
        }
        let socket = SocketId::try_from(sockets.len()).expect("a run makes few connections");
        sockets.push(Socket::new(&mut chance.rng));
        listener.backlog.push_back(socket);
        chance.note(Event::Client {
            socket,
            call: "connect",
            result: i64::from(shard),
            digest: 0,
        });
        Ok(SimClient::new(Rc::clone(&self.world), socket))
    }

    /// Closes a listener; who waited there to be accepted is reset.
    pub fn close_listener(&self, shard: u16, listener: u32) {
        let mut world = self.world.borrow_mut();
        let World {
            sockets, kernels, ..
        } = &mut *world;
        kernels[usize::from(shard)].listeners[listener as usize].close(sockets);
    }

    /// Time since the world began.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.world.borrow().chance.now
    }

    /// Lets time pass.
    pub fn advance(&self, by: Duration) {
        let mut world = self.world.borrow_mut();
        let now = world.chance.now + by;
        world.advance_to(now);
    }

    /// Lets time pass until this moment, unless it has passed already.
    pub fn advance_to(&self, now: Duration) {
        self.world.borrow_mut().advance_to(now);
    }

    /// When something will happen that nobody has to cause: a late completion, a reset on its way, or the end
    /// of a shard's sleep. It may have passed: then a shard is due to run.
    #[must_use]
    pub fn next_event(&self) -> Option<Duration> {
        self.world.borrow().next_event()
    }

    /// Whether a turn of this shard's ring would return now: it was woken, has a completion to see, or has
    /// slept as long as it asked for.
    #[must_use]
    pub fn is_runnable(&self, shard: u16) -> bool {
        self.world.borrow_mut().is_runnable(shard)
    }

    /// Whether nothing of this shard's ring is late: every completion was seen, every cancellation has taken effect.
    #[must_use]
    pub fn is_still(&self, shard: u16) -> bool {
        self.world.borrow().kernels[usize::from(shard)].is_still()
    }

    /// Wakes a shard from outside the rings.
    pub fn wake(&self, shard: u16) {
        self.world.borrow_mut().wake(shard);
    }

    /// Changes what may go wrong from now on.
    pub fn set_faults(&self, faults: Faults) {
        self.world.borrow_mut().chance.faults = faults;
    }

    /// How often the fault has happened.
    #[must_use]
    pub fn fault_count(&self, fault: Fault) -> u64 {
        self.world.borrow().chance.counts.of(fault)
    }

    /// Receive buffers of the shard that nobody leases.
    #[must_use]
    pub fn pool_free(&self, shard: u16) -> u32 {
        self.world.borrow().kernels[usize::from(shard)]
            .pool
            .borrow()
            .free()
    }

    /// Slots of the shard that hold a connection.
    #[must_use]
    pub fn slots_used(&self, shard: u16) -> Vec<u32> {
        self.world.borrow().kernels[usize::from(shard)].slots_used()
    }

    /// Checks that the shard holds nothing: every slot free, every buffer back, no operation of a connection
    /// in flight, no completion unseen.
    ///
    /// # Panics
    /// Names what is still held.
    pub fn assert_idle(&self, shard: u16) {
        let world = self.world.borrow();
        let kernel = &world.kernels[usize::from(shard)];
        let slots = kernel.slots_used();
        assert!(
            slots.is_empty(),
            "ring contract: shard {shard} leaks the slots {slots:?}"
        );
        let flights = kernel.connection_flights();
        assert!(
            flights.is_empty(),
            "ring contract: shard {shard} still waits for {flights:?}"
        );
        let unseen = kernel.completions_unseen();
        assert!(
            unseen == 0,
            "ring contract: shard {shard} has not seen {unseen} completions"
        );
        let (free, total) = (kernel.pool.borrow().free(), kernel.pool.borrow().total());
        assert!(
            free == total,
            "ring contract: shard {shard} leaks {} of {total} buffers",
            total - free
        );
    }

    /// Adds the driver's own remark to the events.
    pub fn note(&self, remark: impl FnOnce() -> String) {
        let mut world = self.world.borrow_mut();
        if world.chance.trace.is_verbose() {
            world.chance.note(Event::Note(remark()));
        }
    }

    /// A digest of all events so far: equal for equal runs. Remarks count only while events are recorded or
    /// printed, so compare runs that do the same of these.
    #[must_use]
    pub fn digest(&self) -> u64 {
        self.world.borrow().chance.trace.digest()
    }

    /// Keeps the events from now on, for [`events`](Self::events).
    pub fn record_events(&self) {
        self.world.borrow_mut().chance.trace.record();
    }

    /// Prints the events from now on to standard error.
    pub fn print_events(&self) {
        self.world.borrow_mut().chance.trace.print();
    }

    /// The events kept so far: time, and what happened.
    #[must_use]
    pub fn events(&self) -> Vec<String> {
        self.world.borrow().chance.trace.recorded().to_vec()
    }
}
