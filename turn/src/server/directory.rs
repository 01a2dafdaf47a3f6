//! Users whom somebody else knows: they are asked about, and what they have asked for waits meanwhile.

use std::fmt::Debug;
use std::sync::mpsc::Sender;

use fanfare_engine::ring::Waker;
use foldhash::fast::RandomState;
use hashbrown::HashMap;

use super::command::Command;
use crate::relay::{Client, Told};

/// Requests that may wait for a directory, for each thread. Each has at most the 2 KB of a request.
const WAITING_MAX: usize = 1_000;

/// Somebody who knows users that the configuration does not.
pub trait Directory: Send + Sync + Debug {
    /// Whether there is such a user, and with which password. Must not block: the answer may be given later, by any thread.
    /// The name is that of whoever sent it, so it is anything.
    fn ask(&self, user: &[u8], answerer: Answerer);
}

/// Somebody who wants to know when allocations begin and end.
pub trait Observer: Send + Sync + Debug {
    /// One has. Must not block.
    fn happened(&self, told: Told);
}

/// What a directory says of a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// This is the password, until then (Unix seconds).
    Password(Vec<u8>, u32),
    /// There is no such user, until then.
    Nobody(u32),
    /// It could not be found out: who asked is told to ask again (500).
    Nothing,
}

/// Takes the answer to one question. Dropped without one, it says [`Said::Nothing`].
#[derive(Debug)]
pub struct Answerer {
    user: Box<[u8]>,
    commands: Sender<Command>,
    waker: Waker,
    is_open: bool,
}

impl Answerer {
    /// Answers.
    pub fn answer(mut self, said: Said) {
        self.send(said);
    }

    fn send(&mut self, said: Said) {
        if std::mem::take(&mut self.is_open) {
            let user = std::mem::take(&mut self.user);
            // A thread that has ended needs no answer.
            if self.commands.send(Command::Learn(user, said)).is_ok() {
                self.waker.wake();
            }
        }
    }
}

impl Drop for Answerer {
    fn drop(&mut self) {
        self.send(Said::Nothing);
    }
}

/// Makes answerers for one thread.
#[derive(Debug)]
pub(super) struct Answers {
    pub(super) commands: Sender<Command>,
    pub(super) waker: Waker,
}

impl Answers {
    pub(super) fn of(&self, user: &[u8]) -> Answerer {
        Answerer {
            user: user.into(),
            commands: self.commands.clone(),
            waker: self.waker.clone(),
            is_open: true,
        }
    }
}

/// Requests, and who has sent them.
type Requests = Vec<(Client, Box<[u8]>)>;

/// Requests whose users are being asked about.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    users: HashMap<Box<[u8]>, Requests, RandomState>,
    count: usize,
}

/// What is to be done about a request that waits now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wait {
    /// Its user is to be asked about.
    Ask,
    /// That is under way.
    Asked,
    /// It does not wait: there are as many as may.
    Full,
}

impl Waiting {
    /// Keeps a request. The next of a client takes the place of the last one, for it is most often the same.
    pub(super) fn add(&mut self, user: &[u8], client: Client, request: &[u8]) -> Wait {
        let is_full = self.count >= WAITING_MAX;
        let Some(requests) = self.users.get_mut(user) else {
            if is_full {
                return Wait::Full;
            }
            self.users
                .insert(user.into(), vec![(client, request.into())]);
            self.count += 1;
            return Wait::Ask;
        };
        if let Some((_, last)) = requests.iter_mut().find(|(of, _)| *of == client) {
            *last = request.into();
        } else if is_full {
            return Wait::Full;
        } else {
            requests.push((client, request.into()));
            self.count += 1;
        }
        Wait::Asked
    }

    /// Those that have waited for this user.
    pub(super) fn take(&mut self, user: &[u8]) -> Requests {
        let requests = self.users.remove(user).unwrap_or_default();
        self.count -= requests.len();
        requests
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relay::Transport;

    #[test]
    fn so_many_requests_wait() {
        let client = |port: usize| Client {
            transport: Transport::Udp,
            local: ([127, 0, 0, 1], 3_478).into(),
            remote: ([127, 0, 0, 1], u16::try_from(port).expect("a port")).into(),
        };
        let mut waiting = Waiting::default();
        assert_eq!(waiting.add(b"ann", client(1), b"one"), Wait::Ask);
        assert_eq!(waiting.add(b"ann", client(2), b"two"), Wait::Asked);
        assert_eq!(waiting.add(b"ann", client(1), b"one again"), Wait::Asked);
        for number in 2..WAITING_MAX {
            let user = format!("user {number}");
            assert_eq!(waiting.add(user.as_bytes(), client(3), b"it"), Wait::Ask);
        }
        assert_eq!(waiting.add(b"eve", client(4), b"it"), Wait::Full);
        assert_eq!(waiting.add(b"ann", client(4), b"it"), Wait::Full);
        let of_ann = waiting.take(b"ann");
        let requests: Vec<&[u8]> = of_ann.iter().map(|(_, it)| &**it).collect();
        assert_eq!(requests, [&b"one again"[..], b"two"]);
        assert_eq!(waiting.add(b"eve", client(4), b"it"), Wait::Ask);
        assert!(waiting.take(b"nobody").is_empty());
    }
}
