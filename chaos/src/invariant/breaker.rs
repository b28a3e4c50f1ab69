//! B: the breaker trips during a fault and lets calls pass after it.

use super::{Injected, RECOVERY_MAX, Record, Verdict};
use crate::load::Outcome;

pub(super) fn judge(record: &Record) -> Verdict {
    let mut seen = Vec::new();
    for (n, injected) in record.faults.iter().enumerate() {
        if !tripped(record, injected) {
            seen.push(format!(
                "fault {} ({}): never tripped",
                n + 1,
                injected.fault.name()
            ));
        }
        if !recovered(record, injected) {
            seen.push(format!(
                "fault {} ({}): never recovered",
                n + 1,
                injected.fault.name()
            ));
        }
    }
    let holds = seen.is_empty();
    Verdict {
        letter: "B",
        invariant: "the breaker trips and recovers",
        holds,
        seen: if holds {
            format!(
                "in {} of {} faults",
                record.faults.len(),
                record.faults.len()
            )
        } else {
            seen.join("; ")
        },
    }
}

fn tripped(record: &Record, injected: &Injected) -> bool {
    let open = Outcome::NotSent { breaker: true };
    let mut during = record.history.within(injected.from, injected.healed);
    during.any(|call| call.outcome == open)
}

fn recovered(record: &Record, injected: &Injected) -> bool {
    let mut after = record
        .history
        .within(injected.healed, injected.healed + RECOVERY_MAX);
    after.any(|call| call.outcome == Outcome::Done)
}
