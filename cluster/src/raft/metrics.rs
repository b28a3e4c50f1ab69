//! What the engine measures about itself.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of the buckets, in microseconds; what is beyond the last one is counted without a bound.
pub const LATENCY_BOUNDS_US: [u64; 14] = [
    50, 100, 200, 400, 800, 1_600, 3_200, 6_400, 12_800, 25_600, 51_200, 102_400, 409_600,
    1_638_400,
];

/// Counts durations in buckets.
#[derive(Debug, Default)]
pub(crate) struct Histogram {
    buckets: [AtomicU64; LATENCY_BOUNDS_US.len() + 1],
    sum_us: AtomicU64,
}

/// A histogram at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Latency {
    /// How many fell into each bucket of [`LATENCY_BOUNDS_US`], and behind it those beyond the last bound.
    pub counts: [u64; LATENCY_BOUNDS_US.len() + 1],
    /// All of them together, in microseconds.
    pub sum_us: u64,
}

impl Histogram {
    pub(crate) fn record(&self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = LATENCY_BOUNDS_US.partition_point(|bound| *bound < us);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum_us.fetch_add(us, Ordering::Relaxed);
    }

    pub(crate) fn read(&self) -> Latency {
        Latency {
            counts: self.buckets.each_ref().map(|n| n.load(Ordering::Relaxed)),
            sum_us: self.sum_us.load(Ordering::Relaxed),
        }
    }
}

/// What the log counts.
#[derive(Debug, Default)]
pub(crate) struct LogMetrics {
    /// From handing entries over until they are durable.
    pub(crate) append: Histogram,
    /// One write with its sync. As many as there were syncs.
    pub(crate) sync: Histogram,
    n_entries: AtomicU64,
}

impl LogMetrics {
    pub(crate) fn n_entries(&self) -> u64 {
        self.n_entries.load(Ordering::Relaxed)
    }

    pub(crate) fn appended(&self, took: Duration) {
        self.append.record(took);
    }

    pub(crate) fn wrote(&self, n_entries: usize, took: Duration) {
        self.sync.record(took);
        self.n_entries
            .fetch_add(n_entries as u64, Ordering::Relaxed);
    }
}

/// What the state machine counts.
#[derive(Debug, Default)]
pub(crate) struct MachineMetrics {
    snapshot_bytes: AtomicU64,
}

impl MachineMetrics {
    pub(crate) fn snapshot_bytes(&self) -> u64 {
        self.snapshot_bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn snapshot_is(&self, bytes: u64) {
        self.snapshot_bytes.store(bytes, Ordering::Relaxed);
    }
}
