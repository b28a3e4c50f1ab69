//! The clock of a state that is data.

use std::time::Duration;

use tokio::time::Instant;

/// Counts milliseconds from its beginning. States that have no clock are told the time by the one of their owner.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock(Instant);

impl Clock {
    /// Begins now.
    pub(super) fn new() -> Self {
        Self(Instant::now())
    }

    /// Now.
    pub(super) fn now_ms(self) -> u64 {
        as_ms(self.0.elapsed())
    }

    /// When a time comes; `None` for one that never does.
    pub(super) fn at(self, ms: u64) -> Option<Instant> {
        self.0.checked_add(Duration::from_millis(ms))
    }
}

/// Whole milliseconds.
pub(super) fn as_ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
