//! A slip: tokens that this node was granted, with a deadline.

use std::sync::atomic::{AtomicU64, Ordering};

/// Set in `used` when no more is to be spent.
const CLOSED: u64 = 1 << 63;

/// Tokens that this node was granted. Spending is one compare-and-swap.
#[derive(Debug)]
pub(super) struct Slip {
    lease: u64,
    tokens: u64,
    deadline_us: u64,
    /// Tokens spent, and [`CLOSED`].
    used: AtomicU64,
}

impl Slip {
    pub(super) fn new(lease: u64, tokens: u64, deadline_us: u64) -> Self {
        Self {
            lease,
            tokens,
            deadline_us,
            used: AtomicU64::new(0),
        }
    }

    pub(super) fn lease(&self) -> u64 {
        self.lease
    }

    pub(super) fn tokens(&self) -> u64 {
        self.tokens
    }

    pub(super) fn deadline_us(&self) -> u64 {
        self.deadline_us
    }

    /// Tokens spent so far.
    pub(super) fn used(&self) -> u64 {
        self.used.load(Ordering::Acquire) & !CLOSED
    }

    /// Tokens that can be spent at `now_us`.
    pub(super) fn left(&self, now_us: u64) -> u64 {
        let used = self.used.load(Ordering::Acquire);
        if used & CLOSED != 0 || now_us >= self.deadline_us {
            return 0;
        }
        self.tokens - used
    }

    /// Spends `n` tokens, or as many as there are when `partly`. Returns how many: with too few and not `partly`, none.
    pub(super) fn spend(&self, n: u64, partly: bool, now_us: u64) -> u64 {
        if now_us >= self.deadline_us {
            return 0;
        }
        let mut used = self.used.load(Ordering::Acquire);
        loop {
            if used & CLOSED != 0 {
                return 0;
            }
            let left = self.tokens - used;
            let taken = if partly { n.min(left) } else { n };
            if taken == 0 || taken > left {
                return 0;
            }
            match self.used.compare_exchange_weak(
                used,
                used + taken,
                Ordering::AcqRel,
                Ordering::Acquire,
            ) {
                Ok(_) => return taken,
                Err(now) => used = now,
            }
        }
    }

    /// Ends it: what is used now is used for good. Returns how much that is.
    pub(super) fn close(&self) -> u64 {
        self.used.fetch_or(CLOSED, Ordering::AcqRel) & !CLOSED
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_spent_than_was_granted() {
        let slip = Slip::new(1, 3, 100);
        assert_eq!(slip.spend(2, false, 0), 2);
        assert_eq!(slip.spend(2, false, 0), 0);
        assert_eq!(slip.spend(2, true, 0), 1);
        assert_eq!((slip.used(), slip.left(0)), (3, 0));
    }

    #[test]
    fn nothing_is_spent_at_the_deadline() {
        let slip = Slip::new(1, 3, 100);
        assert_eq!(slip.spend(1, false, 99), 1);
        assert_eq!(slip.spend(1, false, 100), 0);
        assert_eq!(slip.left(100), 0);
    }

    #[test]
    fn a_closed_slip_keeps_its_count() {
        let slip = Slip::new(1, 3, 100);
        assert_eq!(slip.spend(1, false, 0), 1);
        assert_eq!(slip.close(), 1);
        assert_eq!(slip.spend(1, true, 0), 0);
        assert_eq!((slip.used(), slip.left(0)), (1, 0));
    }

    #[test]
    fn threads_share_a_slip_without_losing_a_token() {
        let slip = Slip::new(1, 1000, 100);
        let spent = std::thread::scope(|scope| {
            let spend = || (0..600).map(|_| slip.spend(1, false, 0)).sum::<u64>();
            let threads = [scope.spawn(spend), scope.spawn(spend), scope.spawn(spend)];
            threads
                .map(|thread| thread.join().unwrap())
                .iter()
                .sum::<u64>()
        });
        assert_eq!(spent, 1000);
    }
}
