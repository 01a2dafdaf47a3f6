//! The mesh: how shards reach each other, and how services reach shards.
//!
//! One inbox per shard with two bounded queues (see [`message`](crate::message) for why two). A sender whose
//! message finds no room keeps it, in order, and tries again each turn; meanwhile it reads no more from its own
//! clients, and if it is a delivery that waits it takes no more requests, so a jam travels back to whoever causes
//! it and nothing is lost.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};

use crossbeam::queue::ArrayQueue;

use crate::api::ApiError;
use crate::ids::ShardId;
use crate::message::{Delivery, Request};

/// Wakes a sleeping shard from a thread without a ring.
pub(crate) type Wake = Box<dyn Fn() + Send + Sync>;

/// A shard's mailbox.
pub(crate) struct Inbox {
    pub(crate) requests: ArrayQueue<Request>,
    pub(crate) deliveries: ArrayQueue<Delivery>,
    /// Set by the shard before it sleeps, taken by whoever wakes it: one wake-up per sleep.
    is_asleep: AtomicBool,
    wake: OnceLock<Wake>,
    /// Milliseconds over which to disconnect everyone; `NO_DRAIN` until then.
    drain_window_ms: AtomicU64,
    /// The shard has stopped.
    is_closed: AtomicBool,
}

const NO_DRAIN: u64 = u64::MAX;

impl std::fmt::Debug for Inbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Inbox({} requests, {} deliveries)",
            self.requests.len(),
            self.deliveries.len()
        )
    }
}

impl Inbox {
    pub(crate) fn new(entries: usize) -> Self {
        Self {
            requests: ArrayQueue::new(entries),
            deliveries: ArrayQueue::new(entries),
            is_asleep: AtomicBool::new(false),
            wake: OnceLock::new(),
            drain_window_ms: AtomicU64::new(NO_DRAIN),
            is_closed: AtomicBool::new(false),
        }
    }

    /// Asks the shard to disconnect everyone and stop. Needs no room in a queue.
    pub(crate) fn begin_drain(&self, window_ms: u64) {
        self.drain_window_ms
            .store(window_ms.min(NO_DRAIN - 1), Ordering::SeqCst);
        if let Some(wake) = self.wake.get() {
            wake();
        }
    }

    pub(crate) fn drain_window_ms(&self) -> Option<u64> {
        Some(self.drain_window_ms.load(Ordering::Relaxed)).filter(|&window| window != NO_DRAIN)
    }

    pub(crate) fn close(&self) {
        self.is_closed.store(true, Ordering::SeqCst);
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::SeqCst)
    }

    /// How other threads wake this shard; set once, by the shard, before it first sleeps.
    pub(crate) fn set_wake(&self, wake: Wake) {
        if self.wake.set(wake).is_err() {
            debug_assert!(false, "a shard sets its wake-up once");
        }
    }

    /// From a thread without a ring. Gives the request back when the queue is full.
    pub(crate) fn submit(&self, request: Request) -> Result<(), Request> {
        self.requests.push(request)?;
        if self.take_asleep()
            && let Some(wake) = self.wake.get()
        {
            wake();
        }
        // It may have stopped in between, and then nobody else looks here any more.
        if self.is_closed() {
            self.refuse_the_rest();
        }
        Ok(())
    }

    /// Answers what came too late: the shard has stopped.
    pub(crate) fn refuse_the_rest(&self) {
        while let Some(request) = self.requests.pop() {
            request.refuse(ApiError::Stopping);
        }
    }

    /// Announces sleep. Returns `false` if there is something to do after all.
    pub(crate) fn prepare_to_sleep(&self) -> bool {
        self.is_asleep.store(true, Ordering::SeqCst);
        // Pairs with the fence of `take_asleep`: either the sender sees the flag, or we see its message.
        fence(Ordering::SeqCst);
        if self.is_empty() {
            return true;
        }
        self.is_asleep.store(false, Ordering::SeqCst);
        false
    }

    pub(crate) fn awake(&self) {
        self.is_asleep.store(false, Ordering::SeqCst);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.requests.is_empty() && self.deliveries.is_empty()
    }

    /// After a push: whether the shard sleeps and it falls to us to wake it.
    fn take_asleep(&self) -> bool {
        fence(Ordering::SeqCst);
        self.is_asleep.load(Ordering::Relaxed) && self.is_asleep.swap(false, Ordering::SeqCst)
    }
}

#[derive(Debug, Default)]
struct Outbox {
    requests: VecDeque<Request>,
    deliveries: VecDeque<Delivery>,
}

impl std::fmt::Debug for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Request")
    }
}

impl std::fmt::Debug for Delivery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Delivery")
    }
}

/// A shard's view of the others.
#[derive(Debug)]
pub(crate) struct Mesh {
    me: ShardId,
    inboxes: Arc<[Inbox]>,
    outboxes: Vec<Outbox>,
    /// Messages in all outboxes.
    waiting: usize,
    /// Those of them that are deliveries.
    deliveries_waiting: usize,
    /// Shards to wake with the next submission.
    wakes: Vec<ShardId>,
    /// Messages that found an inbox full, since the shard started.
    pub(crate) inbox_full: u64,
}

impl Mesh {
    pub(crate) fn new(me: ShardId, inboxes: Arc<[Inbox]>) -> Self {
        let outboxes = inboxes.iter().map(|_| Outbox::default()).collect();
        Self {
            me,
            inboxes,
            outboxes,
            waiting: 0,
            deliveries_waiting: 0,
            wakes: Vec::new(),
            inbox_full: 0,
        }
    }

    pub(crate) fn shards(&self) -> u16 {
        u16::try_from(self.inboxes.len()).unwrap_or(u16::MAX)
    }

    pub(crate) fn inbox(&self) -> &Inbox {
        &self.inboxes[self.me.ix()]
    }

    /// Sends a request to another shard, now or when it has room.
    pub(crate) fn request(&mut self, to: ShardId, request: Request) {
        debug_assert_ne!(to, self.me);
        let outbox = &mut self.outboxes[to.ix()];
        if outbox.requests.is_empty() {
            match self.inboxes[to.ix()].requests.push(request) {
                Ok(()) => self.note_wake(to),
                Err(request) => {
                    self.inbox_full += 1;
                    self.waiting += 1;
                    outbox.requests.push_back(request);
                }
            }
        } else {
            self.waiting += 1;
            outbox.requests.push_back(request);
        }
    }

    /// Sends a delivery to another shard, now or when it has room.
    pub(crate) fn deliver(&mut self, to: ShardId, delivery: Delivery) {
        debug_assert_ne!(to, self.me);
        let outbox = &mut self.outboxes[to.ix()];
        if outbox.deliveries.is_empty() {
            match self.inboxes[to.ix()].deliveries.push(delivery) {
                Ok(()) => self.note_wake(to),
                Err(delivery) => {
                    self.inbox_full += 1;
                    self.waiting += 1;
                    self.deliveries_waiting += 1;
                    outbox.deliveries.push_back(delivery);
                }
            }
        } else {
            self.waiting += 1;
            self.deliveries_waiting += 1;
            outbox.deliveries.push_back(delivery);
        }
    }

    /// Something waits for room in another inbox: read no more input.
    pub(crate) const fn is_jammed(&self) -> bool {
        self.waiting > 0
    }

    /// A delivery waits for room in another inbox: take no more requests. Requests that wait are no reason to,
    /// or shards that wait for each other would wait for ever.
    pub(crate) const fn has_undelivered(&self) -> bool {
        self.deliveries_waiting > 0
    }

    #[cfg(feature = "sim")]
    pub(crate) const fn waiting(&self) -> usize {
        self.waiting
    }

    /// Tries again what found no room.
    pub(crate) fn retry(&mut self) {
        if self.waiting == 0 {
            return;
        }
        for to in 0..self.shards() {
            let to = ShardId(to);
            let (outbox, inbox) = (&mut self.outboxes[to.ix()], &self.inboxes[to.ix()]);
            let deliveries = push_all(&mut outbox.deliveries, &inbox.deliveries);
            let sent = deliveries + push_all(&mut outbox.requests, &inbox.requests);
            self.deliveries_waiting -= deliveries;
            self.waiting -= sent;
            if sent > 0 {
                self.note_wake(to);
            }
        }
    }

    /// Answers what this shard would have passed on: it stops.
    pub(crate) fn refuse_waiting(&mut self) {
        for outbox in &mut self.outboxes {
            for request in outbox.requests.drain(..) {
                request.refuse(ApiError::Stopping);
            }
        }
    }

    /// The shards that sleep and have been sent something.
    pub(crate) fn wakes(&mut self) -> std::vec::Drain<'_, ShardId> {
        self.wakes.drain(..)
    }

    fn note_wake(&mut self, to: ShardId) {
        if self.inboxes[to.ix()].take_asleep() {
            self.wakes.push(to);
        }
    }
}

/// Returns how many found room.
fn push_all<T>(from: &mut VecDeque<T>, to: &ArrayQueue<T>) -> usize {
    let mut pushed = 0;
    while let Some(message) = from.pop_front() {
        if let Err(message) = to.push(message) {
            from.push_front(message);
            break;
        }
        pushed += 1;
    }
    pushed
}
