//! Decides when a round begins. Pure: it is told what happens and when.
//!
//! ```text
//! nothing under way, everybody who is expected waits   begin
//! nothing under way, somebody is expected              begin when they have come, or two rounds later
//! a round under way                                    begin when it ends, or one round after the first came
//! ```
//!
//! A round takes what the last one took, within bounds: on a slow disk or a busy machine all of it is slower, and more
//! rounds would make it slower still.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::Instant;

use crate::raft::types::RaftId;

/// Bounds of the time for which a proposal waits for those who took part in the last round: they have heard of its end
/// and are about to come again, when their calls have done what they waited for. Without that the records of one node
/// would take turns with those of the others, in twice as many rounds, and each would wait for one more.
const AWAITED_MIN: Duration = Duration::from_micros(600);
const AWAITED_MAX: Duration = Duration::from_millis(4);
/// Bounds of the time for which a proposal waits for the round that is under way. Among nodes that are near to one
/// another a round takes less; where they are not, rounds overlap.
const WAITING_MIN: Duration = Duration::from_millis(2);
const WAITING_MAX: Duration = Duration::from_millis(5);

/// Who waits, and for whom.
#[derive(Debug, Default)]
pub(super) struct Core {
    n_under_way: usize,
    /// When the youngest of them began.
    begun: Option<Instant>,
    /// What the last round took.
    took: Duration,
    /// Who takes part in the rounds under way.
    present: BTreeSet<RaftId>,
    /// When the last round ended, and who took part in it.
    last: Option<(Instant, BTreeSet<RaftId>)>,
    waiting: BTreeSet<RaftId>,
    /// When the first of them came.
    since: Option<Instant>,
}

impl Core {
    /// A proposal of `node` has come.
    pub(super) fn arrived(&mut self, node: RaftId, now: Instant) {
        self.waiting.insert(node);
        self.since.get_or_insert(now);
    }

    /// All proposals of `n` rounds are answered, or nobody waits for their answers.
    pub(super) fn ended(&mut self, n: usize, now: Instant) {
        self.n_under_way = self.n_under_way.saturating_sub(n);
        if n > 0 && self.n_under_way == 0 {
            let took = self.begun.map(|begun| now.saturating_duration_since(begun));
            self.took = took.unwrap_or_default();
            self.last = Some((now, std::mem::take(&mut self.present)));
        }
    }

    /// When the next round is to begin by what is known; `None` while nobody waits.
    pub(super) fn due(&self) -> Option<Instant> {
        let since = self.since?;
        let latest = since + self.took.clamp(WAITING_MIN, WAITING_MAX);
        if self.n_under_way > 0 {
            return Some(latest);
        }
        match &self.last {
            Some((ended, expected)) if self.awaits(*ended, expected, since) => {
                let awaited = (2 * self.took).clamp(AWAITED_MIN, AWAITED_MAX);
                Some(since.max(*ended) + awaited)
            }
            _ => Some(since),
        }
    }

    /// Whether a round waits for those of the last one: if somebody is missing; if there were several, since those of
    /// one node may come from a caller that has gone to another; and if it has just ended.
    fn awaits(&self, ended: Instant, expected: &BTreeSet<RaftId>, since: Instant) -> bool {
        let is_busy = expected.len() > 1 && since < ended + AWAITED_MAX;
        is_busy && !expected.is_subset(&self.waiting)
    }

    /// All that wait form a round.
    pub(super) fn begin(&mut self, now: Instant) {
        self.n_under_way += 1;
        self.begun = Some(now);
        self.present.append(&mut self.waiting);
        self.since = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds `1` to `9`: a proposal of that node; `e`: a round ends; `b`: one begins; `.`: 100 us pass. Says in how many
    /// microseconds the next round is due; -1 for never.
    fn due_us(script: &str) -> i64 {
        let mut core = Core::default();
        let begun = Instant::now();
        let mut now = begun;
        for step in script.chars() {
            match step {
                '1'..='9' => core.arrived(u64::from(step) - u64::from('0'), now),
                'e' => core.ended(1, now),
                'b' => core.begin(now),
                '.' => now += Duration::from_micros(100),
                _ => unreachable!(),
            }
        }
        core.due().map_or(-1, |due| {
            i64::try_from(due.saturating_duration_since(now).as_micros()).unwrap()
        })
    }

    #[track_caller]
    fn check(script: &str, expected_us: i64) {
        assert_eq!(due_us(script), expected_us, "{script}");
    }

    #[test]
    fn nobody_waits_for_nothing() {
        check("", -1);
        check("1", 0);
        check("1b", -1);
        check("1be.1", 0);
        check("1be.12", 0);
    }

    #[test]
    fn who_comes_during_a_round_waits_for_its_end() {
        check("1b2", 2000);
        check("1b2...3", 1700);
        check("1b12e", 0);
        check("1b2b3e", 2000);
        check("1b2b123ee", 0);
    }

    #[test]
    fn a_round_waits_for_those_of_the_last_one() {
        check("12be1", 600);
        check("12be..1", 600);
        check("12be12", 0);
        check("123be..12", 600);
        check("123be..12.3", 0);
    }

    #[test]
    fn who_comes_much_later_goes_at_once() {
        let later = "12be........................................1";
        check(later, 0);
        check(&later.replacen('.', "", 1), 600);
    }

    #[test]
    fn one_node_is_not_awaited() {
        check("1be2", 0);
        check("1b2e", 0);
    }

    #[test]
    fn who_stayed_away_is_not_awaited_again() {
        check("12be1be1", 0);
    }

    #[test]
    fn rounds_that_take_longer_are_awaited_longer() {
        check("12b........e1", 1600);
        check("12b..............................e1", 4000);
        check("12b..............................e12b1", 3000);
        check(
            "12b............................................................e12b1",
            5000,
        );
    }

    #[test]
    fn who_came_during_a_round_awaits_the_others_from_its_end() {
        check("12b...3.....e", 1600);
        check("12b...3.....e......12", 0);
        // Not when there is another one.
        check("12b...3.....b1e", 2000);
    }
}
