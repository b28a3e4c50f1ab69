//! For whom a command of the mode `quorum` waits.
//!
//! A command costs the cluster about as much for one record as for a hundred: messages, a sync on each node, answers. A
//! call waits for each of its two records, so calls whose records went into the log together go on together, and come
//! with their next ones at about the same time. While they do, others have come already. A command that went out with
//! those alone would have both groups take turns for ever, in twice as many commands.

use std::time::Duration;

/// No command waits longer. Calls of an upstream that takes longer than this don't come again together.
const GATHER_MAX: Duration = Duration::from_millis(2);

/// What the next command waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Gathering {
    /// The record of this number,
    pub(super) through: u64,
    /// for so long.
    pub(super) limit: Duration,
}

impl Gathering {
    /// Behind a command with `count` records, which the log has had after `took`. `last`: number of its last record, and
    /// of the last one of all. As many are awaited as went and came meanwhile, not longer than it took: `None` when
    /// nobody would be kept waiting for somebody else.
    pub(super) fn behind(count: usize, last: (u64, u64), took: Duration) -> Option<Self> {
        let (committed, recorded) = last;
        // Each of them comes again by itself, or not at all.
        if recorded == committed && count == 1 {
            return None;
        }
        Some(Self {
            through: recorded + count as u64,
            limit: took.min(GATHER_MAX),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(count: usize, last: (u64, u64), took_us: u64, expected: Option<(u64, u64)>) {
        let gathering = Gathering::behind(count, last, Duration::from_micros(took_us));
        let expected = expected.map(|(through, limit_us)| Gathering {
            through,
            limit: Duration::from_micros(limit_us),
        });
        assert_eq!(gathering, expected);
    }

    #[test]
    fn those_who_went_and_those_who_came_go_together() {
        check(10, (50, 50), 900, Some((60, 900)));
        check(10, (50, 61), 900, Some((71, 900)));
        check(1, (50, 51), 900, Some((52, 900)));
    }

    #[test]
    fn who_is_alone_waits_for_nobody() {
        check(1, (50, 50), 900, None);
    }

    #[test]
    fn a_slow_command_is_not_doubled() {
        check(10, (50, 50), 40_000, Some((60, 2_000)));
    }
}
