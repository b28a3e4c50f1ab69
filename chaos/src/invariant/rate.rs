//! R: between the faults calls succeed; a dead system would keep every other promise.

use std::time::Duration;

use super::{RECOVERY_MAX, Record, Verdict};
use crate::load::Outcome;

/// Share of calls that must succeed in each calm phase, in percent.
const PERCENT_MIN: usize = 99;

pub(super) fn judge(record: &Record) -> Verdict {
    let mut phases: Vec<(Duration, Duration)> = record
        .faults
        .iter()
        .map(|injected| (injected.calm_from, injected.from))
        .collect();
    let last = record.faults.last().map(|injected| injected.healed);
    phases.push((last.unwrap_or_default() + RECOVERY_MAX, record.ended));
    let rates = phases.iter().map(|(from, to)| {
        let (mut n_calls, mut n_done) = (0, 0);
        for call in record.history.within(*from, *to) {
            n_calls += 1;
            n_done += usize::from(call.outcome == Outcome::Done);
        }
        // No calls at all are no success.
        (n_done * 100).checked_div(n_calls).unwrap_or(0)
    });
    let worst = rates.min().unwrap_or(0);
    Verdict {
        letter: "R",
        invariant: "calls succeed before and after every fault",
        holds: worst >= PERCENT_MIN,
        seen: format!("worst calm phase: {worst} % (at least {PERCENT_MIN} %)"),
    }
}
