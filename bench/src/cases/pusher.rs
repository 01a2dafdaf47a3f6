//! Publishes on time, whatever the server does meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use fanfare_bench::servers::{PublishError, Publisher};
use fanfare_bench::swarm::Schedule;

use super::Failure;
use super::crowd::room_name;

/// Longest sleep towards the next publication: how soon the end is noticed.
const SLEEP_MAX: Duration = Duration::from_millis(20);

/// A thread that publishes by a [`Schedule`].
pub(crate) struct Pusher {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<Result<(), PublishError>>>,
}

#[derive(Default)]
struct Shared {
    pushed: AtomicU64,
    is_over: AtomicBool,
}

impl Pusher {
    /// The schedule begins now. Payloads are made for the number of each publication in its room, from 1.
    pub(crate) fn begin(
        schedule: Arc<Schedule>,
        rooms: u32,
        mut publisher: Box<dyn Publisher>,
        payload: impl Fn(u64) -> Vec<u8> + Send + 'static,
    ) -> Result<Self, Failure> {
        let shared = Arc::new(Shared::default());
        let (rooms, state) = (u64::from(rooms), Arc::clone(&shared));
        let names: Vec<String> = (0..rooms).map(room_name).collect();
        let work = move || {
            schedule.begin();
            let mut pushed = 0;
            while !state.is_over.load(Ordering::Acquire) {
                let due = schedule.due_by_now();
                if pushed == due {
                    thread::sleep(schedule.until(pushed).min(SLEEP_MAX));
                    continue;
                }
                while pushed < due {
                    // Those of one room that are due together go together.
                    let room = usize::try_from(pushed % rooms).unwrap_or(0);
                    let number = pushed / rooms + 1;
                    if rooms == 1 {
                        let payloads: Vec<Vec<u8>> = (number..=due).map(&payload).collect();
                        publisher.offer(&names[room], &payloads)?;
                        pushed = due;
                    } else {
                        publisher.offer(&names[room], &[payload(number)])?;
                        pushed += 1;
                    }
                }
                state.pushed.store(pushed, Ordering::Release);
            }
            // Everything offered has been taken, or it was for nothing.
            publisher.settle()
        };
        let thread = thread::Builder::new()
            .name("pusher".to_owned())
            .spawn(work)
            .map_err(|error| Failure::Pusher(error.to_string()))?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// Publications so far.
    pub(crate) fn pushed(&self) -> u64 {
        self.shared.pushed.load(Ordering::Acquire)
    }

    /// Whether it goes on.
    pub(crate) fn check(&mut self) -> Result<(), Failure> {
        if self.thread.as_ref().is_some_and(JoinHandle::is_finished) {
            self.join()?;
            return Err(Failure::Pusher("it was told to".to_owned()));
        }
        Ok(())
    }

    /// Stops, and says how many there were.
    pub(crate) fn end(mut self) -> Result<u64, Failure> {
        self.shared.is_over.store(true, Ordering::Release);
        self.join()?;
        Ok(self.pushed())
    }

    fn join(&mut self) -> Result<(), Failure> {
        match self.thread.take().map(JoinHandle::join) {
            None | Some(Ok(Ok(()))) => Ok(()),
            Some(Ok(Err(error))) => Err(error.into()),
            Some(Err(_)) => Err(Failure::Pusher("it has panicked".to_owned())),
        }
    }
}
