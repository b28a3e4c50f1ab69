//! How long to wait before a stream is attached again. Pure.

use std::time::Duration;

/// First wait when the server names none. The official SDKs take 1 s; a call is waiting here, so we ask sooner.
const FIRST: Duration = Duration::from_millis(200);
/// No server makes us spin.
const MIN: Duration = Duration::from_millis(10);
/// Longest wait of our own; a server may ask for more.
const MAX: Duration = Duration::from_secs(30);

/// Waits between attempts to attach a stream: the server's `retry`, doubled with every attempt that brought nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct RetryWait {
    n_fruitless: u32,
}

impl RetryWait {
    /// The wait before the next attempt. `asked` is the server's `retry`, `jitter` a number from 0 to 1 that spreads
    /// what would otherwise come at the same moment.
    pub(super) fn next(&mut self, asked: Option<Duration>, jitter: f64) -> Duration {
        let base = asked.unwrap_or(FIRST).max(MIN);
        let grown = base
            .saturating_mul(1 << self.n_fruitless.min(10))
            .min(MAX.max(base));
        self.n_fruitless = self.n_fruitless.saturating_add(1);
        // Never earlier than the server asked for: the spread is added.
        grown + grown.mul_f64(jitter.clamp(0.0, 1.0) / 4.0)
    }

    /// Something arrived.
    pub(super) fn on_event(&mut self) {
        self.n_fruitless = 0;
    }

    /// Attempts since something arrived.
    pub(super) fn n_fruitless(&self) -> u32 {
        self.n_fruitless
    }
}

/// A number from 0 to 1, different in every call. The standard library's hash keys are random enough to spread waits.
pub(super) fn jitter() -> f64 {
    use std::hash::{BuildHasher, RandomState};
    let random = u32::try_from(RandomState::new().hash_one(()) >> 32).unwrap_or_default();
    f64::from(random) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(asked_ms: Option<u64>, expected_ms: &[u64]) {
        let mut wait = RetryWait::default();
        for expected in expected_ms {
            let found = wait.next(asked_ms.map(Duration::from_millis), 0.0);
            assert_eq!(found, Duration::from_millis(*expected));
        }
    }

    #[test]
    fn fruitless_attempts_double_the_wait() {
        check(
            None,
            &[200, 400, 800, 1600, 3200, 6400, 12800, 25600, 30000, 30000],
        );
    }

    #[test]
    fn the_server_sets_the_first_wait() {
        check(Some(1000), &[1000, 2000, 4000]);
    }

    #[test]
    fn the_server_may_ask_for_more_than_our_longest_wait() {
        check(Some(120_000), &[120_000, 120_000]);
    }

    #[test]
    fn a_retry_of_zero_does_not_spin() {
        check(Some(0), &[10, 20, 40]);
    }

    #[test]
    fn an_event_starts_over() {
        let mut wait = RetryWait::default();
        let first = wait.next(None, 0.0);
        wait.next(None, 0.0);
        wait.on_event();
        assert_eq!(wait.next(None, 0.0), first);
    }

    #[test]
    fn the_spread_only_adds() {
        let wait = RetryWait::default().next(Some(Duration::from_secs(1)), jitter());
        assert!((Duration::from_secs(1)..=Duration::from_millis(1250)).contains(&wait));
    }
}
