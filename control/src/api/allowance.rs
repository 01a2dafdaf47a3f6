//! What one HTTP request may use, whatever number of operations it holds: time, and bytes of answers.

use std::sync::atomic::{AtomicUsize, Ordering};

use serde::Serialize;
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::Instant;

use super::ApiLimits;
use super::answer::Answer;
use super::errors::Refusal;

/// Shared by the operations of one request.
#[derive(Debug)]
pub(super) struct Allowance {
    deadline: Instant,
    bytes_max: usize,
    bytes_left: AtomicUsize,
    listing: Mutex<()>,
}

impl Allowance {
    /// Begins now: when the request is there and understood.
    pub(super) fn new(limits: &ApiLimits) -> Self {
        Self {
            deadline: Instant::now() + limits.answer_timeout,
            bytes_max: limits.answer_bytes_max,
            bytes_left: AtomicUsize::new(limits.answer_bytes_max),
            listing: Mutex::new(()),
        }
    }

    /// Until when shards may answer.
    pub(super) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Whether one more operation may begin.
    pub(super) fn check(&self) -> Result<(), Refusal> {
        if Instant::now() >= self.deadline {
            return Err(Refusal::NOT_BEGUN);
        }
        if self.bytes_left() == 0 {
            let max = self.bytes_max;
            return Err(Refusal::limit(format!(
                "the replies before this one have reached api.answer_bytes_max ({max}): nothing was done"
            )));
        }
        Ok(())
    }

    /// Held while a listing is collected: those of a parallel batch would otherwise be in memory at once.
    pub(super) async fn listing(&self) -> Result<MutexGuard<'_, ()>, Refusal> {
        let turn = self.listing.lock().await;
        self.check()?;
        Ok(turn)
    }

    pub(super) fn bytes_left(&self) -> usize {
        self.bytes_left.load(Ordering::Relaxed)
    }

    /// Writes the result of what was done. It is short, and the number of operations bounds how many there are,
    /// so it is never refused: who asked must know that it was done.
    pub(super) fn answer(&self, result: &impl Serialize) -> Result<Answer, Refusal> {
        let answer = Answer::within(result, usize::MAX)?;
        self.spend(answer.ok_or(Refusal::INTERNAL)?)
    }

    /// As [`answer`](Self::answer), to the end of what there is.
    pub(super) fn write(&self, out: &mut Vec<u8>, result: &impl Serialize) -> Result<(), Refusal> {
        let start = out.len();
        serde_json::to_writer(&mut *out, result).map_err(|_| Refusal::INTERNAL)?;
        self.spend_bytes(out.len() - start);
        Ok(())
    }

    /// Writes a listing, if there is room for it.
    pub(super) fn answer_listing(&self, result: &impl Serialize) -> Result<Answer, Refusal> {
        let answer = Answer::within(result, self.bytes_left())?;
        self.spend(answer.ok_or_else(|| self.too_long())?)
    }

    /// The listing does not fit.
    pub(super) fn too_long(&self) -> Refusal {
        let max = self.bytes_max;
        Refusal::limit(format!(
            "with this listing the answer would be longer than api.answer_bytes_max ({max}): ask for less at once"
        ))
    }

    fn spend(&self, answer: Answer) -> Result<Answer, Refusal> {
        self.spend_bytes(answer.result().len());
        Ok(answer)
    }

    fn spend_bytes(&self, bytes: usize) {
        let left = self.bytes_left().saturating_sub(bytes);
        self.bytes_left.store(left, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Settings;
    use std::time::Duration;

    fn allowance(answer_timeout: Duration, answer_bytes_max: usize) -> Allowance {
        Allowance::new(&ApiLimits {
            answer_timeout,
            answer_bytes_max,
            ..ApiLimits::new(&Settings::default())
        })
    }

    #[test]
    fn nothing_begins_after_the_deadline() {
        assert_eq!(allowance(Duration::from_secs(60), 1).check(), Ok(()));
        assert_eq!(
            allowance(Duration::ZERO, 1).check(),
            Err(Refusal::NOT_BEGUN)
        );
    }

    #[test]
    fn nothing_begins_once_the_replies_are_long_enough() {
        let allowance = allowance(Duration::from_secs(60), 8);
        let code = |result: Result<Answer, Refusal>| result.map(drop).map_err(|it| it.code);
        assert_eq!(code(allowance.answer_listing(&"1234567")), Err(106));
        assert_eq!(code(allowance.answer_listing(&"1234")), Ok(()));
        assert_eq!(allowance.bytes_left(), 2);
        assert_eq!(allowance.check(), Ok(()));
        // It was done, so it is told.
        assert_eq!(code(allowance.answer(&"1234")), Ok(()));
        assert_eq!(allowance.check().map_err(|it| it.code), Err(106));
    }
}
