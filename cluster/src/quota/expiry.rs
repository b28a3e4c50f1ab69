//! Tells when grants are so old that no node can spend them any more. Pure; counts on the clock of the node that asks,
//! from when that node saw the grants, which is after their holders began to count.

use std::collections::VecDeque;

use crate::machine::quota::{LEASE_US, RHO_PER_MILLE};

/// Age at which a grant has ended at its holder whatever the clocks do within their bound.
const EXPIRE_AFTER_US: u64 = LEASE_US * (1000 + RHO_PER_MILLE) / 1000;
/// Least distance between two marks, and so how much later than it could a grant may expire.
const MARK_EVERY_US: u64 = 250_000;

/// Which grants were there when.
#[derive(Debug, Default)]
pub(super) struct Expiry {
    /// Number below which all grants had been made, and when that was seen. Ordered.
    marks: VecDeque<(u64, u64)>,
    /// Number below which all grants are old enough.
    old_below: u64,
}

impl Expiry {
    /// Notes that grants up to `last_lease` have been applied here.
    pub(super) fn on_seen(&mut self, last_lease: u64, now_us: u64) {
        let below = last_lease + 1;
        match self.marks.back() {
            Some((seen, _)) if *seen >= below => {}
            Some((_, at_us)) if now_us < at_us + MARK_EVERY_US => {}
            None if self.old_below >= below => {}
            Some(_) | None => self.marks.push_back((below, now_us)),
        }
    }

    /// Number below which all grants are old enough now. It never sinks, so that a leader which came later, or an
    /// expiry which was not committed, leaves nothing behind.
    pub(super) fn old_below(&mut self, now_us: u64) -> u64 {
        while let Some(&(below, at_us)) = self.marks.front() {
            if now_us.saturating_sub(at_us) < EXPIRE_AFTER_US {
                break;
            }
            self.old_below = below;
            self.marks.pop_front();
        }
        self.old_below
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grant_is_due_when_it_was_seen_long_enough_ago() {
        let mut expiry = Expiry::default();
        expiry.on_seen(3, 1_000);
        assert_eq!(expiry.old_below(EXPIRE_AFTER_US + 999), 0);
        assert_eq!(expiry.old_below(EXPIRE_AFTER_US + 1_000), 4);
        assert_eq!(expiry.old_below(EXPIRE_AFTER_US + 9_000), 4);
    }

    #[test]
    fn a_later_grant_waits_its_own_time() {
        let mut expiry = Expiry::default();
        expiry.on_seen(3, 0);
        expiry.on_seen(9, MARK_EVERY_US);
        assert_eq!(expiry.old_below(EXPIRE_AFTER_US), 4);
        assert_eq!(expiry.old_below(EXPIRE_AFTER_US + MARK_EVERY_US), 10);
    }

    #[test]
    fn marks_are_bounded() {
        let mut expiry = Expiry::default();
        for now_us in 0..100_000 {
            expiry.on_seen(now_us, now_us * 100);
            let _due = expiry.old_below(now_us * 100);
        }
        assert!(expiry.marks.len() < 25);
    }
}
