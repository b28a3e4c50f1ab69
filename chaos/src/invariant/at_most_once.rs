//! X: a non-idempotent call runs at most once, and the client is told what is true.

use std::collections::HashMap;

use super::{Record, Verdict};
use crate::load::Outcome;

pub(super) fn judge(record: &Record) -> Verdict {
    let mut executed: HashMap<&str, usize> = HashMap::new();
    for key in &record.executed {
        *executed.entry(key).or_default() += 1;
    }
    let mut seen = Vec::new();
    for (key, times) in &executed {
        if *times > 1 {
            seen.push(format!("{key} ran {times} times"));
        }
    }
    for call in &record.history.calls {
        let times = executed.get(&*call.key).copied().unwrap_or(0);
        match &call.outcome {
            Outcome::Done if times == 0 => {
                seen.push(format!("{} was answered and never ran", call.key))
            }
            Outcome::NotSent { .. } if times > 0 => {
                seen.push(format!(
                    "{} ran, and its client was told that it had not",
                    call.key
                ));
            }
            Outcome::Wrong(what) => seen.push(format!("{}: no definite answer: {what}", call.key)),
            Outcome::Done | Outcome::NotSent { .. } | Outcome::Unknown => {}
        }
    }
    let holds = seen.is_empty();
    let figures = format!(
        "{} calls, {} executions",
        record.history.calls.len(),
        record.executed.len()
    );
    seen.truncate(5);
    Verdict {
        letter: "X",
        invariant: "a call runs at most once, and its client is told the truth",
        holds,
        seen: if holds { figures } else { seen.join("; ") },
    }
}
