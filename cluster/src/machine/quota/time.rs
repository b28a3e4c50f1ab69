//! Time as the machine knows it: what the entries say, and nothing else.

/// When an entry was proposed, by the clocks of the leader that proposed it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamp {
    /// Term in which it was stamped. 0 when the entry stands in the log under another term: its leader lost and won an
    /// election in between, and somebody else may have counted the time between.
    pub term: u64,
    /// The leader's monotonic clock, in microseconds.
    pub leader_us: u64,
    /// The leader's wall clock, in milliseconds since 1970.
    pub at_ms: u64,
}

/// Time that has passed for quotas. Runs slower than true time across elections, never faster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Time {
    /// Term of the last entry; 0 when nothing can be compared with its stamp.
    pub(super) term: u64,
    /// Latest stamp within that term.
    pub(super) leader_us: u64,
    /// Sum of what has passed between stamps of the same term.
    pub(super) elapsed_us: u64,
    /// Latest wall clock.
    pub(super) wall_ms: u64,
}

impl Time {
    /// Takes over the stamp of the next entry. Two proposals may have been stamped in another order than they were
    /// written: the earlier one then adds nothing. Behind an entry that can't be compared time begins anew: what that
    /// entry reported was spent in a time which must not be counted after it.
    pub(super) fn advance(&mut self, stamp: Stamp) {
        if stamp.term != self.term || stamp.term == 0 {
            self.term = stamp.term;
            self.leader_us = stamp.leader_us;
        } else {
            self.elapsed_us += stamp.leader_us.saturating_sub(self.leader_us);
            self.leader_us = self.leader_us.max(stamp.leader_us);
        }
        self.wall_ms = self.wall_ms.max(stamp.at_ms);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn elapsed(stamps: &[(u64, u64)]) -> u64 {
        let mut time = Time::default();
        for &(term, leader_us) in stamps {
            time.advance(Stamp {
                term,
                leader_us,
                at_ms: 0,
            });
        }
        time.elapsed_us
    }

    #[test]
    fn time_passes_between_stamps_of_one_term() {
        assert_eq!(elapsed(&[(1, 100), (1, 150), (1, 400)]), 300);
    }

    #[test]
    fn no_time_passes_across_terms() {
        assert_eq!(elapsed(&[(1, 100), (2, 9_000), (2, 9_001)]), 1);
    }

    #[test]
    fn a_stamp_out_of_order_adds_nothing() {
        assert_eq!(elapsed(&[(1, 100), (1, 300), (1, 200), (1, 310)]), 210);
    }

    #[test]
    fn no_time_passes_around_a_stamp_that_cannot_be_compared() {
        assert_eq!(elapsed(&[(3, 100), (0, 950), (3, 1_000), (3, 1_007)]), 7);
        assert_eq!(elapsed(&[(0, 100), (0, 900)]), 0);
    }
}
