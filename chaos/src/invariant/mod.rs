//! What must hold, judged from the record of a run. Pure: one file an invariant.

mod at_most_once;
mod breaker;
mod rate;
mod serves;

use std::time::Duration;

use serde::Serialize;

use crate::load::History;
use crate::plan::Fault;

/// One fault as it was carried out; moments count from the start of the run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Injected {
    pub(crate) fault: Fault,
    /// Beginning of the calm phase before it.
    pub(crate) calm_from: Duration,
    pub(crate) from: Duration,
    /// The server listened again.
    pub(crate) healed: Duration,
}

/// Everything that is known of a run.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) history: History,
    /// Keys that the server executed.
    pub(crate) executed: Vec<String>,
    pub(crate) faults: Vec<Injected>,
    /// End of the run.
    pub(crate) ended: Duration,
}

/// What is said of one invariant.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Verdict {
    /// Letter of the table of faults and invariants.
    pub(crate) letter: &'static str,
    pub(crate) invariant: &'static str,
    pub(crate) holds: bool,
    /// Figures, or what was seen instead.
    pub(crate) seen: String,
}

/// Longest time from healing to service.
pub(crate) const RECOVERY_MAX: Duration = Duration::from_secs(3);

/// Judges a run by every invariant.
pub(crate) fn judge(record: &Record) -> Vec<Verdict> {
    vec![
        at_most_once::judge(record),
        breaker::judge(record),
        serves::judge(record),
        rate::judge(record),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::{Call, Outcome};

    const FAULT: Injected = Injected {
        fault: Fault::Kill,
        calm_from: Duration::ZERO,
        from: Duration::from_millis(1_000),
        healed: Duration::from_millis(2_000),
    };

    /// One call every 10 ms: `phases` is what happens before the fault, in it, and after it.
    fn record(phases: &[Outcome; 3]) -> Record {
        let calls = (0..600_u64).map(|n| {
            let began = Duration::from_millis(n * 10);
            let phase = match n {
                0..100 => 0,
                100..200 => 1,
                _ => 2,
            };
            Call {
                key: format!("k{n}"),
                began,
                ended: began + Duration::from_millis(5),
                outcome: phases[phase].clone(),
            }
        });
        let history = History {
            calls: calls.collect(),
        };
        let done = history
            .calls
            .iter()
            .filter(|call| call.outcome == Outcome::Done);
        Record {
            executed: done.map(|call| call.key.clone()).collect(),
            history,
            faults: vec![FAULT],
            ended: Duration::from_secs(6),
        }
    }

    fn sound() -> Record {
        record(&[
            Outcome::Done,
            Outcome::NotSent { breaker: true },
            Outcome::Done,
        ])
    }

    #[track_caller]
    fn broken_by(record: &Record) -> String {
        let verdicts = judge(record);
        let broken = verdicts.iter().filter(|verdict| !verdict.holds);
        broken.map(|verdict| verdict.letter).collect()
    }

    #[test]
    fn a_sound_run_holds() {
        assert_eq!(broken_by(&sound()), "");
    }

    #[test]
    fn a_second_execution_is_seen() {
        let mut record = sound();
        record.executed.push("k7".to_owned());
        assert_eq!(broken_by(&record), "X");
    }

    #[test]
    fn an_answer_without_an_execution_is_seen() {
        let mut record = sound();
        record.executed.remove(0);
        assert_eq!(broken_by(&record), "X");
    }

    #[test]
    fn an_execution_of_what_was_not_sent_is_seen() {
        let mut record = sound();
        record.executed.push("k150".to_owned());
        assert_eq!(broken_by(&record), "X");
    }

    #[test]
    fn an_unknown_outcome_may_have_run_or_not() {
        let mut record = sound();
        record.history.calls[150].outcome = Outcome::Unknown;
        assert_eq!(broken_by(&record), "");
        record.executed.push("k150".to_owned());
        assert_eq!(broken_by(&record), "");
    }

    #[test]
    fn an_answer_that_is_not_definite_is_seen() {
        let mut record = sound();
        record.history.calls[150].outcome = Outcome::Wrong("status 500".to_owned());
        assert_eq!(broken_by(&record), "X");
    }

    #[test]
    fn a_breaker_that_never_trips_is_seen() {
        let never = Outcome::NotSent { breaker: false };
        assert_eq!(
            broken_by(&record(&[Outcome::Done, never, Outcome::Done])),
            "B"
        );
    }

    #[test]
    fn a_breaker_that_never_closes_is_seen_and_so_is_the_end_of_service() {
        let open = Outcome::NotSent { breaker: true };
        assert_eq!(
            broken_by(&record(&[Outcome::Done, open.clone(), open])),
            "BVR"
        );
    }

    #[test]
    fn a_system_that_never_worked_proves_nothing() {
        let open = Outcome::NotSent { breaker: true };
        assert_eq!(
            broken_by(&record(&[open.clone(), open, Outcome::Done])),
            "R"
        );
    }

    #[test]
    fn a_run_without_calls_proves_nothing() {
        let mut record = sound();
        record.history.calls.clear();
        record.executed.clear();
        assert_eq!(broken_by(&record), "BVR");
    }
}
