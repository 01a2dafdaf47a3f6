//! The bounded queue between the publisher and the task that writes to one connection.
//!
//! Each server is one thread, so the queue has no locks: it is cheaper than the channels that the runtimes bring, of
//! which tokio's can be shared between threads, and glommio's allocates all its room at once.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;

/// Most bytes put together into one write, unless a single frame is longer. At this size the system call is a small part
/// of what its bytes cost.
const BATCH_BYTES_MAX: usize = 64 * 1024;

/// Frames for which an empty queue keeps its memory: 1 KiB. More was needed in a burst, and is given back after it.
const KEPT_FRAMES: usize = 32;

/// Frames that wait to be written to one connection. One task writes them, and one at a time waits for space.
#[derive(Debug)]
pub(crate) struct Outbox {
    frames_max: usize,
    state: RefCell<State>,
}

#[derive(Debug, Default)]
struct State {
    frames: VecDeque<Bytes>,
    is_finished: bool,
    writer: Option<Waker>,
    publisher: Option<Waker>,
}

/// Why a frame was not taken.
#[derive(Debug, PartialEq)]
pub(crate) enum Refused {
    /// Wait for [`Outbox::space`].
    Full,
    /// Nothing is written to this connection any more.
    Finished,
}

impl Outbox {
    pub(crate) fn new(frames_max: usize) -> Self {
        Self {
            frames_max,
            state: RefCell::default(),
        }
    }

    /// Queues a frame and wakes the writer.
    pub(crate) fn push(&self, frame: Bytes) -> Result<(), Refused> {
        let mut state = self.state.borrow_mut();
        if state.is_finished {
            return Err(Refused::Finished);
        }
        if state.frames.len() >= self.frames_max {
            return Err(Refused::Full);
        }
        state.frames.push_back(frame);
        wake(&mut state.writer);
        Ok(())
    }

    /// Waits until [`push`](Self::push) would not answer [`Refused::Full`].
    pub(crate) async fn space(&self) {
        poll_fn(|context| {
            let mut state = self.state.borrow_mut();
            if state.is_finished || state.frames.len() < self.frames_max {
                return Poll::Ready(());
            }
            state.publisher = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// Waits for frames and takes all of them, up to [`BATCH_BYTES_MAX`], as the bytes of one write: a single frame as it
    /// is, several put together. `None` after [`finish`](Self::finish), once all are taken.
    pub(crate) async fn next_batch(&self) -> Option<Bytes> {
        poll_fn(|context| self.poll_batch(context)).await
    }

    /// Takes no more frames; what is queued is still written.
    pub(crate) fn finish(&self) {
        let mut state = self.state.borrow_mut();
        state.is_finished = true;
        wake(&mut state.writer);
        wake(&mut state.publisher);
    }

    /// As [`finish`](Self::finish), and forgets what is queued: the connection is gone.
    pub(crate) fn abandon(&self) {
        self.finish();
        self.state.borrow_mut().frames = VecDeque::new();
    }

    fn poll_batch(&self, context: &Context<'_>) -> Poll<Option<Bytes>> {
        let mut state = self.state.borrow_mut();
        if state.frames.is_empty() && !state.is_finished {
            state.writer = Some(context.waker().clone());
            return Poll::Pending;
        }
        let batch = state.take_batch();
        wake(&mut state.publisher);
        Poll::Ready(batch)
    }
}

impl State {
    fn take_batch(&mut self) -> Option<Bytes> {
        if self.frames.len() == 1 {
            return self.frames.pop_front();
        }
        let (mut count, mut bytes) = (0, 0);
        for frame in &self.frames {
            if count > 0 && bytes + frame.len() > BATCH_BYTES_MAX {
                break;
            }
            count += 1;
            bytes += frame.len();
        }
        if count <= 1 {
            return self.frames.pop_front();
        }
        let mut batch = Vec::with_capacity(bytes);
        for frame in self.frames.drain(..count) {
            batch.extend_from_slice(&frame);
        }
        if self.frames.is_empty() && self.frames.capacity() > KEPT_FRAMES {
            self.frames = VecDeque::new();
        }
        Some(batch.into())
    }
}

fn wake(waiting: &mut Option<Waker>) {
    if let Some(waker) = waiting.take() {
        waker.wake();
    }
}
