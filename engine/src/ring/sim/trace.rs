//! What happened in a run, as a digest to compare runs by and, on demand, as a list to read.

use std::hash::{Hash, Hasher};
use std::time::Duration;

/// Something that happened in a run. Bytes are named by length and digest.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Event {
    /// A shard queued an operation.
    Queued {
        shard: u16,
        operation: &'static str,
        slot: Option<u32>,
        token: u64,
    },
    /// A shard sent; `taken` is the byte count or `-errno`.
    Sent {
        shard: u16,
        slot: u32,
        offered: usize,
        taken: i64,
        digest: u64,
    },
    /// A shard saw a completion.
    Completed {
        shard: u16,
        operation: &'static str,
        token: u64,
        result: i32,
        more: bool,
        digest: u64,
    },
    /// A shard was woken by another or by the driver.
    Woken { shard: u16 },
    /// A client called its endpoint.
    Client {
        socket: u32,
        call: &'static str,
        result: i64,
        digest: u64,
    },
    /// The network reset the server's end of a connection.
    ResetArrived { socket: u32 },
    /// What the driver of the run wants to see among the events.
    Note(String),
}

/// Collects the events of a run.
#[derive(Debug, Default)]
pub(super) struct Trace {
    digest: Digest,
    recorded: Option<Vec<String>>,
    prints: bool,
}

impl Trace {
    pub(super) fn add(&mut self, now: Duration, event: Event) {
        now.hash(&mut self.digest);
        event.hash(&mut self.digest);
        if !self.is_verbose() {
            return;
        }
        let line = format!("{now:>12?} {event:?}");
        if self.prints {
            eprintln!("{line}");
        }
        if let Some(recorded) = &mut self.recorded {
            recorded.push(line);
        }
    }

    pub(super) fn digest(&self) -> u64 {
        self.digest.finish()
    }

    pub(super) const fn is_verbose(&self) -> bool {
        self.prints || self.recorded.is_some()
    }

    pub(super) const fn print(&mut self) {
        self.prints = true;
    }

    pub(super) fn record(&mut self) {
        self.recorded.get_or_insert_default();
    }

    pub(super) fn recorded(&self) -> &[String] {
        self.recorded.as_deref().unwrap_or_default()
    }
}

/// The digest of some bytes of a stream.
pub(super) fn digest_of(bytes: &[u8]) -> u64 {
    let mut digest = Digest::default();
    digest.write(bytes);
    digest.finish()
}

/// FNV-1a, eight bytes a step: std's hashers promise no value across builds, and this one needs no strength.
#[derive(Debug)]
struct Digest(u64);

impl Default for Digest {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Hasher for Digest {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = (self.0 ^ word)
            .wrapping_mul(0x0000_0100_0000_01b3)
            .rotate_left(23);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
