//! What must hold, judged from what the clients were told and how the nodes stand afterwards.

use std::time::Duration;

use super::Injected;
use super::load::Told;
use super::standing::Standing;
use crate::invariant::Verdict;
use crate::linear::{self, check};

/// Longest search for an order of the calls of one register.
const SEARCH_MAX: Duration = Duration::from_secs(30);
/// Answers that every calm phase must have.
const ANSWERS_MIN: usize = 10;

/// L: every register by itself.
pub(super) fn linearizable(told: &Told) -> Verdict {
    let operations = told.history.operations();
    let n_calls: usize = operations.values().map(Vec::len).sum();
    let mut bad = Vec::new();
    for (key, operations) in &operations {
        match check(operations, SEARCH_MAX) {
            linear::Verdict::Linearizable => {}
            linear::Verdict::Broken => bad.push(format!("r{key} is not")),
            linear::Verdict::Unknown => bad.push(format!("r{key} is not known")),
        }
    }
    let seen = match bad.is_empty() {
        true => format!("{} registers, {n_calls} calls", operations.len()),
        false => bad.join(", "),
    };
    Verdict {
        letter: "L",
        invariant: "the registers are linearizable, and no acknowledged write is lost",
        // No calls at all prove nothing.
        holds: bad.is_empty() && n_calls > 0,
        seen,
    }
}

/// R: a dead system would keep every other promise.
pub(super) fn answers(told: &Told, faults: &[Injected]) -> Verdict {
    let calm = faults.iter().map(|injected| {
        let phase = injected.calm_from..injected.from;
        let answered = told.answered.iter();
        answered.filter(|at| phase.contains(*at)).count()
    });
    let worst = calm.min().unwrap_or(0);
    Verdict {
        letter: "R",
        invariant: "calls are answered before every fault",
        holds: worst >= ANSWERS_MIN,
        seen: format!("worst calm phase: {worst} (at least {ANSWERS_MIN})"),
    }
}

/// R: while members come and go, a call at one that stays must not fail.
pub(super) fn no_failure(told: &Told) -> Verdict {
    let (n_calls, n_answered) = (told.n_calls, told.answered.len());
    Verdict {
        letter: "R",
        invariant: "no call fails",
        holds: n_answered == n_calls && n_calls > ANSWERS_MIN,
        seen: format!("{} of {n_calls} calls failed", n_calls - n_answered),
    }
}

/// F: a fault that did not happen proves nothing.
pub(super) fn happened(faults: &[Injected]) -> Verdict {
    let missing = faults.iter().filter(|injected| injected.shown.is_none());
    let missing: Vec<_> = missing.map(|injected| injected.fault).collect();
    Verdict {
        letter: "F",
        invariant: "every fault happened",
        holds: missing.is_empty() && !faults.is_empty(),
        seen: match missing.is_empty() {
            true => format!("{} faults", faults.len()),
            false => format!("not seen: {}", missing.join(", ")),
        },
    }
}

/// V: afterwards all nodes agree. `standing` is how each says that it stands.
pub(super) fn agree(standing: &[Option<Standing>]) -> Verdict {
    let known = || standing.iter().flatten();
    let silent = standing.len() - known().filter(|status| status.healthy).count();
    let leaders = known().filter(|status| status.leads()).count();
    // A state hash comes with every thousandth entry.
    let hashes: Vec<_> = known().map(|status| &status.state_hash).collect();
    let are_equal = hashes.windows(2).all(|pair| pair[0] == pair[1]);
    let at = hashes.iter().find_map(|hash| hash.as_ref());
    let (index, word) = (
        at.map_or(0, |at| at.index),
        if are_equal { "equal" } else { "not" },
    );
    Verdict {
        letter: "V",
        invariant: "afterwards there is one leader, all serve, and state hashes are equal",
        holds: silent == 0 && leaders == 1 && are_equal,
        seen: format!("{leaders} leads, {silent} do not serve, hashes at {index} are {word}"),
    }
}

/// Longest time without an answer to anybody.
pub(super) fn gap(told: &Told) -> Duration {
    let pairs = told.answered.windows(2);
    pairs
        .map(|pair| pair[1] - pair[0])
        .max()
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linear::{Answer, Event, Input};

    fn told(seen: Option<u64>) -> Told {
        let mut told = Told::default();
        let events = [
            Event::Invoked(Input::Write(1)),
            Event::Completed(Answer::Written),
            Event::Invoked(Input::Read),
            Event::Completed(Answer::Value(seen)),
        ];
        for (at, event) in events.into_iter().enumerate() {
            let at = Duration::from_millis(at as u64);
            told.history.record(0, 1, at, event);
        }
        told.answered = (0..100).map(Duration::from_millis).collect();
        told
    }

    fn injected(shown: Option<&str>, from_ms: u64) -> Injected {
        Injected {
            fault: "kill -9 leader",
            calm_from: Duration::ZERO,
            from: Duration::from_millis(from_ms),
            healed: Duration::from_millis(200),
            recovered: Duration::from_millis(210),
            shown: shown.map(str::to_owned),
        }
    }

    #[test]
    fn a_lost_write_is_seen() {
        assert!(linearizable(&told(Some(1))).holds);
        assert!(!linearizable(&told(None)).holds);
        assert!(!linearizable(&Told::default()).holds);
    }

    #[test]
    fn silence_in_a_calm_phase_is_seen() {
        assert!(answers(&told(None), &[injected(None, 100)]).holds);
        assert!(!answers(&told(None), &[injected(None, 5)]).holds);
        assert!(!answers(&told(None), &[]).holds);
    }

    #[test]
    fn a_fault_that_did_not_happen_is_seen() {
        assert!(happened(&[injected(Some("gone"), 1)]).holds);
        assert!(!happened(&[injected(Some("gone"), 1), injected(None, 1)]).holds);
        assert!(!happened(&[]).holds);
    }

    #[test]
    fn nodes_that_disagree_are_seen() {
        let node = |role, hash| Some(Standing::of(role, hash));
        let (leader, follower) = (node("leader", "a"), node("follower", "a"));
        let check = |nodes: [&Option<Standing>; 2]| agree(&nodes.map(Clone::clone)).holds;
        assert!(check([&leader, &follower]));
        assert!(!check([&leader, &node("follower", "b")]));
        assert!(!check([&leader, &leader]));
        assert!(!check([&follower, &follower]));
        assert!(!check([&leader, &None]));
    }

    #[test]
    fn the_longest_gap_counts() {
        let mut told = told(None);
        told.answered.push(Duration::from_millis(349));
        assert_eq!(gap(&told), Duration::from_millis(250));
    }
}
