//! How long to wait before a program that ended is started again.

use std::time::Duration;

use tokio::time::Instant;

/// Wait after the first end; each further one doubles it.
const FIRST: Duration = Duration::from_millis(100);

/// Longest wait.
const MAX: Duration = Duration::from_secs(30);

/// A program that ran this long was sound: its end is a first one again.
const SOUND: Duration = Duration::from_secs(30);

/// Wait between starts: 0.1 s, doubling up to 30 s.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    ends: u32,
    not_before: Option<Instant>,
}

impl Backoff {
    /// A program that was started at `started` has ended, or did not come up.
    pub(crate) fn on_ended(&mut self, started: Instant, now: Instant) {
        if now.duration_since(started) >= SOUND {
            self.ends = 0;
        }
        let wait = FIRST.saturating_mul(1 << self.ends.min(16)).min(MAX);
        self.ends = self.ends.saturating_add(1);
        self.not_before = Some(now + wait);
    }

    /// Time until the next start.
    pub(crate) fn wait(&self, now: Instant) -> Duration {
        let until = self.not_before.map(|at| at.saturating_duration_since(now));
        until.unwrap_or_default()
    }

    /// Ends in a row.
    pub(crate) fn ends(&self) -> u32 {
        self.ends
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lives in seconds -> wait after the last, in milliseconds.
    fn check(lives: &[u64], wait_ms: u128) {
        let mut now = Instant::now();
        let mut backoff = Backoff::default();
        for life in lives {
            let started = now;
            now += Duration::from_secs(*life);
            backoff.on_ended(started, now);
        }
        assert_eq!(backoff.wait(now).as_millis(), wait_ms, "{lives:?}");
    }

    #[test]
    fn a_first_start_waits_for_nothing() {
        check(&[], 0);
    }

    #[test]
    fn each_end_doubles_the_wait_up_to_thirty_seconds() {
        check(&[0], 100);
        check(&[0, 0], 200);
        check(&[0, 0, 0], 400);
        check(&[0; 9], 25_600);
        check(&[0; 10], 30_000);
        check(&[0; 100], 30_000);
    }

    #[test]
    fn a_sound_life_starts_the_count_again() {
        check(&[0, 0, 0, 30], 100);
        check(&[0, 0, 0, 29], 800);
    }

    #[test]
    fn the_wait_passes_with_time() {
        let now = Instant::now();
        let mut backoff = Backoff::default();
        backoff.on_ended(now, now);
        assert_eq!(backoff.wait(now + Duration::from_secs(1)), Duration::ZERO);
    }
}
