//! Numbers that one thread counts and others read: plain stores, no locked instruction.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Whether a number only grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricKind {
    /// It only grows.
    Counter,
    /// It goes up and down.
    Gauge,
}

/// One number of one shard. Only its shard writes, so an increment is a load and a store, not a locked one.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// Counts so many.
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    /// Counts one.
    pub fn inc(&self) {
        self.add(1);
    }

    /// Takes so many away.
    pub fn sub(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_sub(n), Relaxed);
    }

    /// Says how many there are.
    pub fn set(&self, n: u64) {
        self.0.store(n, Relaxed);
    }

    /// How many there are.
    #[must_use]
    pub fn value(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Declares the numbers of a thread, and what they were at one moment: names, kinds and helps of metrics.
#[macro_export]
macro_rules! counters {
    (
        $(#[$counters_doc:meta])* $counters_vis:vis struct $Counters:ident;
        $(#[$snapshot_doc:meta])* $snapshot_vis:vis struct $Snapshot:ident;
        $($name:ident: $kind:ident, $help:literal;)*
    ) => {
        $(#[$counters_doc])*
        #[derive(Debug, Default)]
        $counters_vis struct $Counters {
            $($counters_vis $name: $crate::counting::Count,)*
        }

        $(#[$snapshot_doc])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        $snapshot_vis struct $Snapshot {
            $(#[doc = $help] pub $name: u64,)*
        }

        impl $Counters {
            $counters_vis fn snapshot(&self) -> $Snapshot {
                $Snapshot { $($name: self.$name.value(),)* }
            }
        }

        impl $Snapshot {
            /// Name, kind and help of each number, in the order of [`values`](Self::values).
            #[must_use]
            pub const fn fields() -> &'static [(&'static str, $crate::counting::MetricKind, &'static str)] {
                &[$((stringify!($name), $crate::counting::MetricKind::$kind, $help),)*]
            }

            /// The numbers, in the order of [`fields`](Self::fields).
            pub fn values(&self) -> impl Iterator<Item = u64> {
                [$(self.$name,)*].into_iter()
            }
        }
    };
}
