//! What a writing process is asked for, and what it says: one line of JSON each.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// One window of writes.
///
/// `{"clients":64,"warmup_ms":200,"measure_ms":1000}`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Order {
    /// Clients, each of which writes again when it has its answer.
    pub(super) clients: usize,
    /// Time before counting begins.
    pub(super) warmup_ms: u64,
    /// Time that counts.
    pub(super) measure_ms: u64,
}

impl Order {
    pub(super) fn warmup(self) -> Duration {
        Duration::from_millis(self.warmup_ms)
    }

    pub(super) fn measure(self) -> Duration {
        Duration::from_millis(self.measure_ms)
    }
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Answer {
    /// It was carried out.
    Counted(Counted),
    /// This process does not lead, or not all the time; nothing of the window counts.
    NotLeading,
}

/// Counts of one window.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Counted {
    /// Writes answered within the window.
    pub(super) writes: u64,
    /// All writes, those before and after it too.
    pub(super) writes_in_all: u64,
    /// Its length.
    pub(super) elapsed_us: u64,
    /// Latency of a write, in microseconds.
    pub(super) p50_us: f64,
    /// The same, 99 %.
    pub(super) p99_us: f64,
    /// Syncs of the log of the node that was written to.
    pub(super) syncs: u64,
}
