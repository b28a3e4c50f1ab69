//! How often, and how soon, a crashed actor starts again. Pure.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// Restarts within [`WINDOW`] before the cool-down.
const RESTARTS_MAX: usize = 5;
/// What counts as one spell of crashes.
const WINDOW: Duration = Duration::from_secs(60);
/// Wait after the first crash; doubles with each further one in the window.
const BACKOFF_MIN: Duration = Duration::from_millis(100);
/// Wait once the budget is used up. A crash that repeats this often needs a person, but a node must not need one
/// to use a server again.
pub const COOL_DOWN: Duration = Duration::from_secs(60);

/// When to start again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    /// Wait before the start.
    pub(super) after: Duration,
    /// Whether the budget is used up.
    pub(super) exhausted: bool,
}

/// Crashes of one actor.
#[derive(Debug, Default)]
pub(super) struct RestartBudget {
    crashes: VecDeque<Instant>,
}

impl RestartBudget {
    /// Records a crash.
    pub(super) fn on_crash(&mut self, now: Instant) -> Verdict {
        while self
            .crashes
            .front()
            .is_some_and(|crash| now.saturating_duration_since(*crash) >= WINDOW)
        {
            self.crashes.pop_front();
        }
        let earlier = self.crashes.len();
        if earlier >= RESTARTS_MAX {
            // The cool-down is a spell's end: the next crash begins a new one.
            self.crashes.clear();
            return Verdict {
                after: COOL_DOWN,
                exhausted: true,
            };
        }
        self.crashes.push_back(now);
        Verdict {
            after: BACKOFF_MIN * (1 << earlier),
            exhausted: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_until_the_budget_is_used_up() {
        let mut budget = RestartBudget::default();
        let now = Instant::now();
        let waits: Vec<u128> = (0..7)
            .map(|_| budget.on_crash(now).after.as_millis())
            .collect();
        assert_eq!(waits, [100, 200, 400, 800, 1_600, 60_000, 100]);
    }

    #[test]
    fn old_crashes_are_forgotten() {
        let mut budget = RestartBudget::default();
        let mut now = Instant::now();
        for _ in 0..20 {
            assert_eq!(budget.on_crash(now).after, BACKOFF_MIN);
            now += WINDOW;
        }
    }
}
