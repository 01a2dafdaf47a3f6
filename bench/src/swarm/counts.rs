//! Counts of a crew, written by its thread once per turn and read by others.

use std::iter::Sum;
use std::sync::atomic::{AtomicU64, Ordering};

/// How things stand with some members. A snapshot; the fields may be a turn apart.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Connections that were made.
    pub connected: u64,
    /// Members that reached their room.
    pub joined: u64,
    /// Members that were in their room and have stopped to read.
    pub asleep: u64,
    /// Publications heard.
    pub publications: u64,
    /// Publications that the server said it skipped.
    pub skipped: u64,
    /// Publications passed over without a word so far; one that was merely late is taken back.
    pub lost: u64,
    /// Members that have the last publication of their group, or will never have it.
    pub settled: u64,
    /// Pings answered, or heartbeats that the server answered.
    pub pongs: u64,
    /// Bytes received.
    pub bytes: u64,
    /// Connections that have ended.
    pub ended: u64,
    /// Times that a receive ended for want of buffers.
    pub starved: u64,
}

macro_rules! gauges {
    ($($field:ident),+ $(,)?) => {
        /// [`Counts`] as atomics.
        #[derive(Debug, Default)]
        pub(super) struct Gauges {
            $($field: AtomicU64,)+
        }

        impl Gauges {
            pub(super) fn write(&self, counts: &Counts) {
                $(self.$field.store(counts.$field, Ordering::Relaxed);)+
            }

            pub(super) fn read(&self) -> Counts {
                Counts { $($field: self.$field.load(Ordering::Relaxed),)+ }
            }
        }

        impl Sum for Counts {
            fn sum<I: Iterator<Item = Self>>(counts: I) -> Self {
                counts.fold(Self::default(), |sum, one| Self {
                    $($field: sum.$field + one.$field,)+
                })
            }
        }
    };
}

gauges! { connected, joined, asleep, publications, skipped, lost, settled, pongs, bytes, ended, starved }
