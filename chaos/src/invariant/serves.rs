//! V: when the last fault is healed, every call is served again.

use super::{RECOVERY_MAX, Record, Verdict};
use crate::load::Outcome;

pub(super) fn judge(record: &Record) -> Verdict {
    let healed = record.faults.last().map(|injected| injected.healed);
    let from = healed.unwrap_or_default() + RECOVERY_MAX;
    let (mut n_calls, mut n_failed) = (0, 0);
    for call in record.history.within(from, record.ended) {
        n_calls += 1;
        n_failed += usize::from(call.outcome != Outcome::Done);
    }
    Verdict {
        letter: "V",
        invariant: "afterwards every call is served",
        holds: n_calls > 0 && n_failed == 0,
        seen: format!("{n_failed} of {n_calls} calls failed"),
    }
}
