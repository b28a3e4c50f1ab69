//! `Backoff`: how long to leave a node alone that could not be reached. Pure.

use std::time::Duration;

use tokio::time::Instant;

/// Pause after the first failure.
const FIRST: Duration = Duration::from_millis(50);
/// Longest pause. Short, for a node that comes back should be heard before the next election.
const LONGEST: Duration = Duration::from_millis(400);

/// Doubles the pause with every failure in a row.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    pause: Option<Duration>,
    not_before: Option<Instant>,
}

impl Backoff {
    /// Whether it is time for another attempt.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        self.not_before.is_none_or(|at| now >= at)
    }

    /// Returns how long to wait.
    pub(super) fn on_failure(&mut self, now: Instant) -> Duration {
        let pause = self.pause.map_or(FIRST, |pause| (pause * 2).min(LONGEST));
        self.pause = Some(pause);
        self.not_before = Some(now + pause);
        pause
    }

    /// Whether the last attempt failed.
    pub(super) fn has_failed(&self) -> bool {
        self.pause.is_some()
    }

    pub(super) fn on_success(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn pauses_double_up_to_the_longest_and_end_with_a_success() {
        let start = Instant::now();
        let mut backoff = Backoff::default();
        assert!(backoff.is_over(start));
        for pause_ms in [50, 100, 200, 400, 400] {
            backoff.on_failure(start);
            assert!(!backoff.is_over(start + Duration::from_millis(pause_ms - 1)));
            assert!(backoff.is_over(start + Duration::from_millis(pause_ms)));
        }
        backoff.on_success();
        assert!(backoff.is_over(start));
    }
}
