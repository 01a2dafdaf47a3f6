//! The kernel's ring.

use std::cell::UnsafeCell;
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::process;
use std::rc::Rc;
use std::time::{Duration, Instant};

use io_uring::types::{SubmitArgs, Timespec};
use io_uring::{EnterFlags, IoUring, cqueue, squeue};

use super::buffers::{BUFFERS_MAX, BufferLease, BufferPool};
use super::datagrams::{Datagram, SendSpace, datagrams_header, errors_header, set_whole};
use super::diagnosis::{Host, RingSetupError, SetupStep, explain};
use super::operations::{
    self, BUFFER_GROUP, KIND_INSTALL, KIND_OPTION, KIND_SEND, KIND_WAKE_FAILED, KIND_WAKER,
};
use super::receives::{Next, Receives};
use super::setup::{self, RingConfig};
use super::wake::{Peer, Waker};
use super::{Completion, Ring, RingStats, Short, Slot, Token};

/// How long the kernel may refuse submissions before the process gives up. Only a host out of memory gets here.
const REFUSED_MAX: Duration = Duration::from_secs(5);

/// Longest wait of one turn; longer ones are cut, and `turn` returns with nothing.
const WAIT_MAX: Duration = Duration::from_secs(3600);

/// Since 6.13 the kernel runs at most 20 pieces of task work in an entry that waits for nothing, and does not say that some
/// are left. Each arriving segment is one. So an entry that has completed about as many is followed by another: a shard
/// that sweeps enters a few times a second, and heard 100 of the 740 answers to pings that came in that time.
const TASKS_SUSPECT: usize = 10;

/// Entries of a turn, so that who never stops sending does not keep it from its end.
const TASK_ROUNDS_MAX: usize = 64;

/// With fewer buffers left a turn ends, and who takes its completions gives the buffers back: an entry handles 20 pieces of
/// task work, and a receive that finds no buffer has to be armed again, which costs as much as receiving.
const BUFFERS_PER_ENTRY: u32 = 20;

/// How long dropping a ring waits for the operations in flight before it leaks their buffers.
const DROP_DEADLINE: Duration = Duration::from_secs(2);

/// [`Ring`] on io_uring: one per thread, made on the thread that uses it, and tied to it.
///
/// Dropping it cancels what is in flight, waits for it to complete (at most two seconds), and closes every socket
/// in its table. Leases outlive it.
pub struct KernelRing {
    // Before `pool` in the order of drops. Where peers hold the ring open longer, `Drop` has taken the buffers from it.
    uring: IoUring,
    pool: Rc<BufferPool>,
    /// `None`: closed before the ring.
    listeners: Vec<Option<OwnedFd>>,
    slots: u32,
    this: Peer,
    peers: Vec<Peer>,
    /// Seen by `send_all` or `install`, for the next `turn`.
    backlog: Vec<Completion<BufferLease>>,
    receives: Receives,
    /// Headers of receives of datagrams and of errors, which the kernel reads.
    headers: Box<[libc::msghdr; 2]>,
    /// What sends of datagrams take until they have been submitted; none before the first.
    send_space: Option<Box<SendSpace>>,
    /// Polls and cancellations of receives, to be submitted before anything else that concerns them.
    follow_ups: Vec<squeue::Entry>,
    /// From whom there is something to receive.
    ready: VecDeque<(Slot, Token)>,
    /// The last turn ended for want of buffers, and there may be more to hear.
    was_cut_short: bool,
    /// Operations that have a final completion to come.
    in_flight: u64,
    waker_armed: bool,
    installed: Option<i32>,
    /// Options of sockets that could not be set.
    options_failed: u64,
    enters: u64,
    overflows: u64,
    wakes_sent: u64,
    wakes_rerouted: u64,
}

impl KernelRing {
    /// Makes a ring on the calling thread. `listeners` are what [`accept`](Ring::accept) counts; they are
    /// closed with the ring.
    ///
    /// # Errors
    /// What the kernel refused, why, and what to do about it.
    pub fn new(config: RingConfig, listeners: Vec<OwnedFd>) -> Result<Self, RingSetupError> {
        let RingConfig {
            buffers,
            buffer_bytes,
            ..
        } = config;
        if !buffers.is_power_of_two() || buffers > BUFFERS_MAX || buffer_bytes == 0 {
            return Err(RingSetupError::Buffers {
                count: buffers,
                bytes: buffer_bytes,
            });
        }
        let slots = config.slots_allowed();
        let failed = |step| move |source| explain(step, source, slots, &Host::read());

        let uring = setup::build(config.submission_entries, config.completion_entries)
            .map_err(failed(SetupStep::Ring))?;
        setup::check(&uring)?;
        uring
            .submitter()
            .register_files_sparse(slots)
            .map_err(failed(SetupStep::Slots))?;
        // SHUTDOWN always runs on a worker; one of each kind is enough, and bounds the threads of the process.
        uring
            .submitter()
            .register_iowq_max_workers(&mut [1, 1])
            .map_err(failed(SetupStep::Workers))?;
        // SAFETY: the descriptor is open as long as `uring`, which outlives this borrow.
        let ring_fd = unsafe { BorrowedFd::borrow_raw(uring.as_raw_fd()) };
        let this = Waker::new()
            .and_then(|waker| Peer::new(ring_fd, waker))
            .map_err(failed(SetupStep::Waker))?;
        let pool = BufferPool::new(buffers, buffer_bytes).map_err(failed(SetupStep::Buffers))?;
        // SAFETY: the pool's mapping starts with a ring of `count` entries, page-aligned. `Drop` unregisters it
        // before it lets go of the pool, or leaks the pool.
        let registered = unsafe {
            uring.submitter().register_buf_ring_with_flags(
                pool.ring_addr(),
                pool.count(),
                BUFFER_GROUP,
                0,
            )
        };
        registered.map_err(failed(SetupStep::Buffers))?;

        Ok(Self {
            uring,
            pool,
            listeners: listeners.into_iter().map(Some).collect(),
            slots,
            this,
            peers: Vec::new(),
            backlog: Vec::new(),
            receives: Receives::new(slots),
            headers: Box::new([datagrams_header(), errors_header()]),
            send_space: None,
            follow_ups: Vec::new(),
            ready: VecDeque::new(),
            was_cut_short: false,
            in_flight: 0,
            waker_armed: false,
            installed: None,
            options_failed: 0,
            enters: 0,
            overflows: 0,
            wakes_sent: 0,
            wakes_rerouted: 0,
        })
    }

    /// Wakes this ring from threads that have none.
    #[must_use]
    pub fn waker(&self) -> Waker {
        self.this.waker().clone()
    }

    /// This ring, for the [`set_peers`](Self::set_peers) of others.
    #[must_use]
    pub fn peer(&self) -> Peer {
        self.this.clone()
    }

    /// Says which ring [`wake`](Ring::wake) reaches under which shard number: the index.
    pub fn set_peers(&mut self, peers: Vec<Peer>) {
        self.peers = peers;
    }

    /// Wake-ups that went through the peer's eventfd, because its ring did not take them.
    #[must_use]
    pub fn wakes_rerouted(&self) -> u64 {
        self.wakes_rerouted
    }

    /// Moves a socket into a free slot of the table that accepted connections come from.
    ///
    /// # Errors
    /// `ENFILE` when no slot is free; the socket is closed then.
    pub fn install(&mut self, socket: OwnedFd) -> io::Result<Slot> {
        let descriptor = UnsafeCell::new(socket.as_raw_fd());
        self.push(&operations::install(descriptor.get()));
        self.installed = None;
        let mut patience = Patience::default();
        let result = loop {
            self.submit_queued(&mut Vec::new());
            self.collect(&mut Vec::new());
            if let Some(result) = self.installed.take() {
                break result;
            }
            self.pause(&mut patience, "the slot table's update did not complete");
        };
        if result < 0 {
            return Err(io::Error::from_raw_os_error(-result));
        }
        let slot = descriptor.into_inner();
        u32::try_from(slot).map(Slot).map_err(io::Error::other)
    }

    /// Receives bytes once, when there are some, from a socket that blocks: the completion has a buffer, or none at the end of
    /// the stream (`result == 0`) and after errors, `-ENOBUFS` among them.
    pub fn receive_once(&mut self, slot: Slot, token: Token) {
        // Others are known to have something.
        self.queue_ready();
        self.start(operations::receive_once(slot), token);
    }

    /// Receives datagrams into provided buffers until it ends (`more == false`): an error, or all buffers are leased
    /// (`-ENOBUFS`). Each completion with a buffer is for [`Received::read`](super::Received::read).
    pub fn receive_datagrams(&mut self, slot: Slot, token: Token) {
        // Connections that are known to have something come first: datagrams take all buffers that there are.
        self.queue_ready();
        self.start(
            operations::receive_datagrams(slot, &raw const self.headers[0]),
            token,
        );
    }

    /// Receives the errors that wait at a socket, and ends. Each completion with a buffer is for
    /// [`read_error`](super::read_error).
    pub fn receive_errors(&mut self, slot: Slot, token: Token) {
        self.start(
            operations::receive_errors(slot, &raw const self.headers[1]),
            token,
        );
    }

    /// Completes once when the socket has something to be received or accepted, or has failed.
    pub fn poll_readable(&mut self, slot: Slot, token: Token) {
        self.start(operations::poll_readable_once(slot), token);
    }

    /// Whether [`Datagram::is_whole`] has an effect: from Linux 6.7 on. The slot is one of datagrams.
    pub fn can_send_whole(&mut self, slot: Slot, of: std::net::SocketAddr) -> bool {
        self.options_failed = 0;
        for is_whole in [true, false] {
            self.push(&set_whole(slot, of, is_whole));
        }
        self.submit_queued(&mut Vec::new());
        self.collect(&mut Vec::new());
        self.options_failed == 0
    }

    /// Sends datagrams and trains of them, in order, without blocking, and returns when the kernel holds no pointer into any
    /// of them. What was not sent is appended to `failed`: taken are 0 bytes if the socket was full, and an errno otherwise.
    pub fn send_datagrams<'d, I, P>(&mut self, sends: I, failed: &mut Vec<Short>)
    where
        I: Iterator<Item = Datagram<P>>,
        P: Iterator<Item = &'d [u8]>,
    {
        // As in `send_all`.
        let bomb = AbortOnUnwind;
        let entries = self.uring.params().sq_entries() as usize;
        let mut space = self
            .send_space
            .take()
            .unwrap_or_else(|| Box::new(SendSpace::new(entries)));
        let mut sends = sends.zip(0_u32..);
        let mut exhausted = false;
        while !exhausted {
            let mut queue = self.uring.submission();
            // Room for what is said of a datagram before and after it.
            while queue.capacity() - queue.len() >= 3 && space.has_room() {
                let Some((datagram, index)) = sends.next() else {
                    exhausted = true;
                    break;
                };
                let (slot, to, is_whole) = (datagram.slot, datagram.to, datagram.is_whole);
                let entry = space.entry(datagram, index);
                // Entries are carried out in the order in which they are queued: none of these ever waits.
                let before = is_whole.then(|| set_whole(slot, to, true));
                let after = is_whole.then(|| set_whole(slot, to, false));
                for entry in before.into_iter().chain([entry]).chain(after) {
                    // SAFETY: the pieces live for `'d`, which outlasts this call, and `space` is cleared and dropped no sooner
                    // than `submit_queued` has seen every entry consumed. A send with MSG_DONTWAIT runs to its end while it is
                    // submitted, so nothing points to either after that. Options point to statics.
                    let pushed = unsafe { queue.push(&entry) };
                    debug_assert!(pushed.is_ok(), "the queue was not full");
                }
            }
            drop(queue);
            self.submit_queued(failed);
            self.collect(failed);
            space.clear();
        }
        self.send_space = Some(space);
        mem::forget(bomb);
    }

    /// A listener that does not exist fails as the kernel would have it: -EBADF.
    fn listener_fd(&self, listener: u32) -> RawFd {
        self.listeners
            .get(listener as usize)
            .and_then(Option::as_ref)
            .map_or(-1, AsRawFd::as_raw_fd)
    }

    /// Queues an operation that has one final completion.
    fn start(&mut self, entry: squeue::Entry, token: Token) {
        debug_assert!(
            token.kind() < Token::KIND_RESERVED,
            "token kinds from {:#x} up are the ring's",
            Token::KIND_RESERVED
        );
        self.in_flight += 1;
        self.push(&entry.user_data(token.0));
    }

    /// Queues an entry, making room for it first when there is none.
    fn push(&mut self, entry: &squeue::Entry) {
        loop {
            // SAFETY: the entries that come here carry numbers only, but for `install`'s, which keeps what its
            // entry points to until that has completed, and for receives of datagrams, whose headers are boxed and
            // live as long as the ring. Receives name the buffer group, whose memory outlives the ring's use of it
            // (see `Drop`).
            if unsafe { self.uring.submission().push(entry) }.is_ok() {
                return;
            }
            self.submit_queued(&mut Vec::new());
        }
    }

    /// Hands everything queued to the kernel, and returns when it has consumed every entry. Collects what has
    /// completed on the way.
    ///
    /// Sends point into their caller's memory, so this cannot return early: it retries, and when the kernel
    /// takes nothing for seconds it ends the process.
    fn submit_queued(&mut self, short: &mut Vec<Short>) {
        let mut patience = Patience::default();
        while !self.uring.submission().is_empty() {
            match self.enter(EnterFlags::empty()) {
                Ok(consumed) if consumed > 0 => patience = Patience::default(),
                Err(error) if !is_passing(&error) => give_up("io_uring_enter failed", &error),
                Ok(_) | Err(_) => {
                    self.collect(short);
                    self.pause(&mut patience, "the kernel takes no submissions");
                }
            }
        }
    }

    /// Waits up to a millisecond for completions to make room; ends the process when that has not helped for
    /// [`REFUSED_MAX`].
    fn pause(&mut self, patience: &mut Patience, what: &str) {
        if patience.is_over() {
            give_up(what, &io::ErrorKind::TimedOut.into());
        }
        // Its outcome does not matter: the caller looks again.
        let _ = self.enter_and_wait(1, Duration::from_millis(1));
    }

    /// Copies what has completed into the backlog and `short`, including what the kernel kept back because the
    /// queue was full.
    fn collect(&mut self, short: &mut Vec<Short>) {
        let mut backlog = mem::take(&mut self.backlog);
        self.collect_into(&mut backlog, short);
        self.backlog = backlog;
    }

    fn collect_into(
        &mut self,
        completions: &mut Vec<Completion<BufferLease>>,
        short: &mut Vec<Short>,
    ) {
        self.copy_out(completions, short);
        while self.uring.submission().cq_overflow() {
            self.overflows += 1;
            if let Err(error) = self.enter(EnterFlags::GETEVENTS)
                && !is_passing(&error)
            {
                give_up("flushing the completion queue failed", &error);
            }
            self.copy_out(completions, short);
        }
    }

    /// Empties the completion queue once. Leases are made here, so that a buffer is never out of sight.
    fn copy_out(&mut self, completions: &mut Vec<Completion<BufferLease>>, short: &mut Vec<Short>) {
        for entry in self.uring.completion() {
            let token = Token(entry.user_data());
            let more = cqueue::more(entry.flags());
            if token.is_poll() || token.is_receive() {
                let of_poll = token.is_poll();
                let token = token.whole();
                let next = if of_poll {
                    self.receives.polled(token, entry.result(), more)
                } else {
                    let mut received = operations::completion(&self.pool, token, &entry);
                    let (result, holds_more) =
                        (received.result, cqueue::sock_nonempty(entry.flags()));
                    if received.buffer.is_some() {
                        received.more = true;
                        completions.push(received);
                    }
                    self.receives.received(token, result, holds_more)
                };
                match next {
                    Next::Nothing => {}
                    Next::Submit(entry) => self.follow_ups.push(entry),
                    Next::Receive(slot) => self.ready.push_back((slot, token)),
                    Next::End(result) => {
                        self.in_flight -= 1;
                        completions.push(Completion {
                            token,
                            result,
                            more: false,
                            buffer: None,
                        });
                    }
                }
                continue;
            }
            if token.kind() < Token::KIND_RESERVED {
                self.in_flight -= u64::from(!more);
                completions.push(operations::completion(&self.pool, token, &entry));
                continue;
            }
            match token.kind() {
                KIND_SEND => short.push(Short {
                    index: token.index(),
                    taken: operations::taken(entry.result()),
                }),
                KIND_WAKER => self.waker_armed = more,
                KIND_OPTION => self.options_failed += 1,
                KIND_INSTALL => self.installed = Some(entry.result()),
                KIND_WAKE_FAILED => {
                    self.wakes_rerouted += 1;
                    if let Some(peer) = self.peers.get(token.index() as usize) {
                        peer.waker().wake();
                    }
                }
                // KIND_WOKEN has done its work by ending the wait; a KIND_CANCEL that found nothing left to
                // cancel is as good as one that did.
                _ => {}
            }
        }
    }

    /// Queues polls and cancellations of receives. Before their owner can ask for more: in another order a cancellation would
    /// miss the poll that it is for, or hit that poll's successor.
    fn queue_follow_ups(&mut self) {
        let mut follow_ups = mem::take(&mut self.follow_ups);
        for entry in follow_ups.drain(..) {
            self.push(&entry);
        }
        // Making room in a full queue may have brought more of them.
        follow_ups.append(&mut self.follow_ups);
        self.follow_ups = follow_ups;
    }

    /// Queues receives, as many as there are buffers for. The others wait for their turn.
    fn queue_ready(&mut self) {
        for _ in 0..self.pool.free() {
            let Some((slot, token)) = self.ready.pop_front() else {
                return;
            };
            self.push(&operations::receive_now(slot, token));
        }
    }

    /// Polls the own eventfd, so that a [`Waker`] ends a wait.
    fn arm_waker(&mut self) {
        if self.waker_armed {
            return;
        }
        self.waker_armed = true;
        self.push(&operations::poll_waker(self.this.waker().raw_fd()));
    }

    /// Submits what is queued without waiting. Returns how many entries were consumed.
    fn enter(&mut self, flags: EnterFlags) -> io::Result<usize> {
        self.enters += 1;
        let queued = u32::try_from(self.uring.submission().len()).unwrap_or(u32::MAX);
        // SAFETY: no argument is passed, and what the queued entries point to is alive: see `push` and
        // `send_all`.
        unsafe {
            self.uring
                .submitter()
                .enter::<libc::sigset_t>(queued, 0, flags.bits(), None)
        }
    }

    /// Submits what is queued and waits for so many completions.
    fn enter_and_wait(&mut self, count: u32, wait: Duration) -> io::Result<usize> {
        self.enters += 1;
        let timeout = Timespec::from(wait.min(WAIT_MAX));
        self.uring
            .submitter()
            .submit_with_args(count as usize, &SubmitArgs::new().timespec(&timeout))
    }

    /// As [`turn`](Ring::turn), with a wait that ends when so many have completed, not with the first one. For who has
    /// threads enough to keep a core busy with waking them up, and time enough.
    ///
    /// # Errors
    /// As there.
    pub fn turn_for(
        &mut self,
        count: u32,
        wait: Duration,
        completions: &mut Vec<Completion<BufferLease>>,
    ) -> io::Result<()> {
        self.arm_waker();
        self.queue_follow_ups();
        // Who is ready while the owner keeps all buffers is no reason not to wait: buffers come back between turns.
        let is_idle = self.backlog.is_empty()
            && (self.ready.is_empty() || self.pool.free() == 0)
            && self.uring.completion().is_empty();
        completions.append(&mut self.backlog);
        self.queue_ready();

        let entered = if is_idle && !wait.is_zero() {
            self.enter_and_wait(count, wait)
        } else {
            self.enter(EnterFlags::GETEVENTS)
        };
        let mut entered = entered.map(drop);
        let mut short = Vec::new();
        let mut is_cut_short = false;
        let buffers_low = BUFFERS_PER_ENTRY
            .min(u32::from(self.pool.count()) / 4)
            .max(1);
        for _ in 0..TASK_ROUNDS_MAX {
            if let Err(error) = entered
                && !is_passing(&error)
            {
                return Err(error);
            }
            let before = completions.len();
            self.collect_into(completions, &mut short);
            let has_follow_ups = !self.follow_ups.is_empty();
            self.queue_follow_ups();
            if self.pool.free() < buffers_low && !has_follow_ups {
                is_cut_short = true;
                break;
            }
            let is_quiet = completions.len() - before < TASKS_SUSPECT;
            if is_quiet && self.ready.is_empty() && !has_follow_ups {
                break;
            }
            self.queue_ready();
            entered = self.enter(EnterFlags::GETEVENTS).map(drop);
        }
        self.was_cut_short = is_cut_short || !self.ready.is_empty();
        debug_assert!(short.is_empty(), "every send completes inside `send_all`");
        Ok(())
    }
}

impl Ring for KernelRing {
    type Buffer = BufferLease;

    fn slots(&self) -> u32 {
        self.slots
    }

    fn accept(&mut self, listener: u32, token: Token) {
        self.start(operations::accept(self.listener_fd(listener)), token);
    }

    fn accept_one(&mut self, listener: u32, token: Token) {
        self.start(operations::accept_one(self.listener_fd(listener)), token);
    }

    fn stop_listening(&mut self, listener: u32) {
        if let Some(listener) = self.listeners.get_mut(listener as usize) {
            *listener = None;
        }
    }

    fn receive(&mut self, slot: Slot, token: Token) {
        debug_assert!(token.kind() < Token::KIND_RESERVED, "{token:?}");
        self.queue_follow_ups();
        self.in_flight += 1;
        let entry = self.receives.begin(slot, token);
        self.push(&entry);
    }

    fn poll_writable(&mut self, slot: Slot, token: Token) {
        self.start(operations::poll_writable(slot), token);
    }

    fn shutdown(&mut self, slot: Slot, token: Token) {
        self.start(operations::shutdown(slot), token);
    }

    fn cancel(&mut self, token: Token) {
        self.queue_follow_ups();
        if !self.receives.has(token) {
            self.push(&operations::cancel_one(token));
        } else if let Next::Submit(entry) = self.receives.cancel(token) {
            self.push(&entry);
        }
    }

    fn close(&mut self, slot: Slot, token: Token) {
        self.start(operations::close(slot), token);
    }

    fn send_all<'d, I>(&mut self, sends: I, short: &mut Vec<Short>)
    where
        I: Iterator<Item = (Slot, &'d [u8])>,
    {
        // `sends` is the caller's code: should it unwind with entries queued, they would outlive their bytes.
        let bomb = AbortOnUnwind;
        let mut sends = sends.zip(0_u32..);
        let mut exhausted = false;
        while !exhausted {
            let mut queue = self.uring.submission();
            while !queue.is_full() {
                let Some(((slot, bytes), index)) = sends.next() else {
                    exhausted = true;
                    break;
                };
                // SAFETY: `bytes` lives for `'d`, which outlasts this call, and this call returns only when
                // `submit_queued` has seen every entry consumed. A send with MSG_DONTWAIT runs to its end while
                // it is submitted (it is never polled for or punted to a worker), so nothing points to the bytes
                // after that.
                let pushed = unsafe { queue.push(&operations::send(slot, bytes, index)) };
                debug_assert!(pushed.is_ok(), "the queue was not full");
            }
            drop(queue);
            self.submit_queued(short);
            self.collect(short);
        }
        mem::forget(bomb);
    }

    fn wake(&mut self, shard: u16) {
        let Some(peer) = self.peers.get(usize::from(shard)) else {
            debug_assert!(false, "shard {shard} is not among the peers");
            return;
        };
        let entry = operations::wake(peer.ring_fd(), shard);
        self.wakes_sent += 1;
        self.push(&entry);
    }

    fn turn(
        &mut self,
        wait: Duration,
        completions: &mut Vec<Completion<BufferLease>>,
    ) -> io::Result<()> {
        self.turn_for(1, wait, completions)
    }

    fn stats(&self) -> RingStats {
        RingStats {
            enters: self.enters,
            completion_overflows: self.overflows,
            wakes_sent: self.wakes_sent,
            buffers_free: self.pool.free(),
            was_cut_short: self.was_cut_short,
        }
    }
}

impl Drop for KernelRing {
    fn drop(&mut self) {
        let deadline = Instant::now() + DROP_DEADLINE;
        self.receives.all_cancelled();
        self.queue_follow_ups();
        // What is ready is received into buffers that nobody looks at: until it is, its receive has not ended.
        let ready: Vec<_> = self.ready.drain(..).collect();
        for (slot, token) in ready {
            self.push(&operations::receive_now(slot, token));
        }
        self.push(&operations::cancel_everything());
        let mut completions = Vec::new();
        while self.in_flight > 0 || self.waker_armed {
            let entered = self.enter_and_wait(1, Duration::from_millis(50));
            self.collect_into(&mut completions, &mut Vec::new());
            completions.clear();
            let is_fatal = entered.is_err_and(|error| !is_passing(&error));
            if is_fatal || Instant::now() > deadline {
                // The kernel may still write into the buffers: nobody may ever use that memory again. Nor what it may
                // still read.
                mem::forget(Rc::clone(&self.pool));
                mem::forget(mem::replace(
                    &mut self.headers,
                    Box::new([datagrams_header(), errors_header()]),
                ));
                return;
            }
        }
        // Peers may hold the ring open past this: close the sockets, and take the buffers from it. An empty table
        // is no failure worth telling.
        let _ = self.uring.submitter().unregister_files();
        if self
            .uring
            .submitter()
            .unregister_buf_ring(BUFFER_GROUP)
            .is_err()
        {
            mem::forget(Rc::clone(&self.pool));
        }
    }
}

impl fmt::Debug for KernelRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KernelRing")
            .field("slots", &self.slots)
            .field("in_flight", &self.in_flight)
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

/// Counts down from the first failure in a row.
#[derive(Default)]
struct Patience(Option<Instant>);

impl Patience {
    fn is_over(&mut self) -> bool {
        let now = Instant::now();
        now.duration_since(*self.0.get_or_insert(now)) > REFUSED_MAX
    }
}

/// Ends the process when it is dropped, which only unwinding does.
struct AbortOnUnwind;

impl Drop for AbortOnUnwind {
    fn drop(&mut self) {
        give_up(
            "sends were interrupted by a panic",
            &io::ErrorKind::Other.into(),
        );
    }
}

/// Shortages and interruptions that the next turn finds gone.
fn is_passing(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EINTR | libc::ETIME | libc::EAGAIN | libc::EBUSY | libc::ENOMEM)
    )
}

/// Ends the process, because going on could let the kernel write to or read from memory that is no longer its.
fn give_up(what: &str, error: &io::Error) -> ! {
    eprintln!(
        "fanfare: {what} ({error}); the ring cannot be trusted any more, so the process ends here"
    );
    process::abort();
}
