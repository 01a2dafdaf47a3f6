//! One answer out of the answers of all shards.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crossbeam::queue::ArrayQueue;

use crate::api::{ApiError, Reply};

/// Collects parts, without a lock, and answers when the last one has come.
struct Gather<T, U> {
    parts: ArrayQueue<Result<T, ApiError>>,
    missing: AtomicUsize,
    reply: ArrayQueue<Reply<U>>,
    merge: fn(Vec<T>) -> U,
}

/// Splits a reply into as many as there are shards; it is called when all of these have been, with the error of one
/// that has none: what is missing a part is no answer.
pub(crate) fn gather<T: Send + 'static, U: 'static>(
    shards: usize,
    reply: Reply<U>,
    merge: fn(Vec<T>) -> U,
) -> Vec<Reply<T>> {
    let gather = Gather {
        parts: ArrayQueue::new(shards),
        missing: AtomicUsize::new(shards),
        reply: ArrayQueue::new(1),
        merge,
    };
    if gather.reply.push(reply).is_err() {
        unreachable!("it was empty");
    }
    let gather = Arc::new(gather);
    let part = |_| {
        let gather = Arc::clone(&gather);
        let reply: Reply<T> = Box::new(move |part| gather.add(part));
        reply
    };
    (0..shards).map(part).collect()
}

impl<T, U> Gather<T, U> {
    fn add(&self, part: Result<T, ApiError>) {
        if self.parts.push(part).is_err() {
            unreachable!("each shard answers once");
        }
        if self.missing.fetch_sub(1, Ordering::AcqRel) > 1 {
            return;
        }
        if let Some(reply) = self.reply.pop() {
            let parts: Result<Vec<T>, ApiError> = std::iter::from_fn(|| self.parts.pop()).collect();
            reply(parts.map(self.merge));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    #[test]
    fn answers_once_when_all_have() {
        let (sender, receiver) = channel();
        let reply: Reply<u32> = Box::new(move |sum| sender.send(sum).expect("a receiver"));
        let mut parts = gather(3, reply, |parts: Vec<u32>| parts.into_iter().sum());
        parts.pop().expect("three")(Ok(1));
        parts.pop().expect("three")(Ok(2));
        assert!(receiver.try_recv().is_err());
        parts.pop().expect("three")(Ok(4));
        assert_eq!(receiver.try_recv(), Ok(Ok(7)));
    }

    #[test]
    fn an_answer_without_a_part_is_none() {
        let (sender, receiver) = channel();
        let reply: Reply<u32> = Box::new(move |sum| sender.send(sum).expect("a receiver"));
        let mut parts = gather(2, reply, |parts: Vec<u32>| parts.into_iter().sum());
        parts.pop().expect("two")(Err(ApiError::Stopping));
        parts.pop().expect("two")(Ok(1));
        assert_eq!(receiver.try_recv(), Ok(Err(ApiError::Stopping)));
    }
}
