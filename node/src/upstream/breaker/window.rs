//! Sliding window over the last calls.

use std::collections::VecDeque;

/// The last `size` outcomes, of which it knows how many failed.
#[derive(Debug)]
pub(super) struct Window {
    size: usize,
    failed: VecDeque<bool>,
    n_failed: usize,
}

impl Window {
    /// Empty window of at least one call.
    pub(super) fn new(size: u32) -> Self {
        Self {
            size: (size as usize).max(1),
            failed: VecDeque::new(),
            n_failed: 0,
        }
    }

    /// Adds `n` successes.
    pub(super) fn push_successes(&mut self, n: u64) {
        // More successes than the window holds push everything else out of it.
        let n = usize::try_from(n).unwrap_or(usize::MAX).min(self.size);
        for _ in 0..n {
            self.push(false);
        }
    }

    /// Adds one outcome and forgets the oldest when full.
    pub(super) fn push(&mut self, failed: bool) {
        if self.failed.len() == self.size && self.failed.pop_front() == Some(true) {
            self.n_failed -= 1;
        }
        self.failed.push_back(failed);
        self.n_failed += usize::from(failed);
    }

    /// Share of failures, 0 to 1, once the window holds at least `calls_min`.
    pub(super) fn failure_rate(&self, calls_min: u32) -> Option<f64> {
        let calls = self.failed.len();
        (calls > 0 && calls >= calls_min as usize).then(|| self.n_failed as f64 / calls as f64)
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.failed.clear();
        self.n_failed = 0;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Window;

    proptest! {
        #[test]
        fn rate_is_that_of_the_last_calls(size in 1_u32..20, calls in prop::collection::vec(any::<bool>(), 0..60)) {
            let mut window = Window::new(size);
            for &failed in &calls {
                window.push(failed);
            }
            let last = &calls[calls.len().saturating_sub(size as usize)..];
            let want = last.iter().filter(|failed| **failed).count() as f64 / last.len() as f64;
            match window.failure_rate(0) {
                Some(rate) => prop_assert!((rate - want).abs() < 1e-9),
                None => prop_assert!(calls.is_empty()),
            }
        }

        #[test]
        fn a_run_of_successes_equals_single_ones(size in 1_u32..20, before in prop::collection::vec(any::<bool>(), 0..30), n in 0_u64..50) {
            let mut at_once = Window::new(size);
            let mut one_by_one = Window::new(size);
            for &failed in &before {
                at_once.push(failed);
                one_by_one.push(failed);
            }
            at_once.push_successes(n);
            for _ in 0..n {
                one_by_one.push(false);
            }
            prop_assert_eq!(at_once.failure_rate(0), one_by_one.failure_rate(0));
        }
    }

    #[test]
    fn too_few_calls_have_no_rate() {
        let mut window = Window::new(10);
        window.push(true);
        assert_eq!(window.failure_rate(2), None);
        window.push(false);
        assert_eq!(window.failure_rate(2), Some(0.5));
        window.clear();
        assert_eq!(window.failure_rate(0), None);
    }
}
