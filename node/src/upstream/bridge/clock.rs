//! The clock of a state that is data.

use std::time::Duration;

use tokio::time::Instant;

/// Milliseconds since 1970, which mean the same on every node: a state that moves takes its times with it. Set once and
/// counted on from there, so that it never goes back. States that have no clock are told the time by the one of their
/// owner.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    began: Instant,
    began_ms: u64,
}

impl Clock {
    /// Shows this now.
    pub(super) fn set_to(now_ms: u64) -> Self {
        Self {
            began: Instant::now(),
            began_ms: now_ms,
        }
    }

    /// Now.
    pub(super) fn now_ms(self) -> u64 {
        self.began_ms.saturating_add(as_ms(self.began.elapsed()))
    }

    /// When a time comes, or came; `None` for one that never does.
    pub(super) fn at(self, ms: u64) -> Option<Instant> {
        let after_ms = ms.saturating_sub(self.began_ms);
        self.began.checked_add(Duration::from_millis(after_ms))
    }
}

/// Whole milliseconds.
pub(super) fn as_ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn times_of_one_clock_are_times_of_another_that_shows_the_same() {
        let here = Clock::set_to(1_000);
        tokio::time::sleep(Duration::from_millis(250)).await;
        let there = Clock::set_to(here.now_ms());
        assert_eq!((here.now_ms(), there.now_ms()), (1_250, 1_250));
        let now = Instant::now();
        for clock in [here, there] {
            assert_eq!(clock.at(1_300), Some(now + Duration::from_millis(50)));
            assert!(clock.at(1_000).is_some_and(|past| past <= now));
        }
        assert!(there.at(0).is_some_and(|past| past <= now));
    }
}
