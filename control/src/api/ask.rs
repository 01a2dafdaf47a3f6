//! From a shard's callback to a future, with a bound on how long it may take.

use fanfare_engine::api::{ApiError, Reply};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use super::errors::Refusal;

/// An answer that is under way.
#[derive(Debug)]
pub(crate) struct Pending<T>(oneshot::Receiver<Result<T, ApiError>>);

impl<T: Send + 'static> Pending<T> {
    /// Sends the request, whose answer is picked up later.
    pub(crate) fn start(send: impl FnOnce(Reply<T>)) -> Self {
        let (sender, receiver) = oneshot::channel();
        // The receiver is gone when the answer came too late, or the client hung up.
        send(Box::new(move |answer| drop(sender.send(answer))));
        Self(receiver)
    }

    /// Waits for the answer, at most until then. An answer that is there is taken even later.
    pub(crate) async fn answer(self, deadline: Instant) -> Result<T, Refusal> {
        match timeout_at(deadline, self.0).await {
            Ok(Ok(answer)) => answer.map_err(Refusal::from),
            Ok(Err(_)) | Err(_) => Err(Refusal::NO_ANSWER),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn in_time(milliseconds: u64) -> Instant {
        Instant::now() + Duration::from_millis(milliseconds)
    }

    fn run<T>(future: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build();
        runtime.expect("a runtime").block_on(future)
    }

    #[test]
    fn an_answer_from_another_thread_arrives() {
        let pending = Pending::start(|reply| {
            std::thread::spawn(move || reply(Ok(5)));
        });
        assert_eq!(run(pending.answer(in_time(5_000))), Ok(5));
    }

    #[test]
    fn an_answer_that_never_comes_is_an_error() {
        let mut kept = None;
        let pending: Pending<u32> = Pending::start(|reply| kept = Some(reply));
        assert_eq!(run(pending.answer(in_time(10))), Err(Refusal::NO_ANSWER));
        // The shard answers all the same, and nothing breaks.
        kept.expect("the reply")(Ok(1));
    }

    #[test]
    fn a_request_that_was_lost_is_an_error() {
        let pending: Pending<u32> = Pending::start(drop);
        assert_eq!(run(pending.answer(in_time(5_000))), Err(Refusal::NO_ANSWER));
    }
}
