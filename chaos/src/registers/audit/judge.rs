//! What must hold of the log, judged from what the clients were told and what the server executed. Pure.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;
use serde_json::Value;

use super::Record;
use crate::invariant::Verdict;

/// Ending of a call whose result was lost with its node.
const UNKNOWN: &str = "unknown";
const OK: &str = "ok";

/// Result of one run.
#[derive(Debug, Serialize)]
pub(super) struct Shown {
    seed: u64,
    holds: bool,
    /// Calls that were answered with their result.
    answered: usize,
    executed: usize,
    /// Records of calls that were about to be sent.
    intents: usize,
    /// Records of calls that ended, by how.
    endings: BTreeMap<String, usize>,
    invariants: Vec<Verdict>,
}

pub(super) fn judge(record: &Record, n_calls: usize) -> Vec<Verdict> {
    vec![
        one_chain(&record.log.verified),
        closed(record),
        recorded(record),
        enough(record, n_calls),
    ]
}

/// A: every node can prove its log, and all logs are one.
fn one_chain(verified: &[Value]) -> Verdict {
    let is_good = |report: &&Value| report["verdict"] == "good";
    let n_good = verified.iter().filter(is_good).count();
    let head = |report: &Value| {
        (
            report["end"].clone(),
            report["chain"].clone(),
            report["root"].clone(),
        )
    };
    let is_one = verified
        .windows(2)
        .all(|pair| head(&pair[0]) == head(&pair[1]));
    let reasons = verified.iter().map(|report| &report["reasons"]);
    let reasons = reasons.filter(|reasons| reasons.as_array().is_some_and(|all| !all.is_empty()));
    let reasons: Vec<_> = reasons.map(Value::to_string).collect();
    let end = verified
        .first()
        .map_or(&Value::Null, |report| &report["end"]);
    Verdict {
        letter: "A",
        invariant: "the log verifies on every node, and all have the same head",
        holds: !verified.is_empty() && n_good == verified.len() && is_one,
        seen: match reasons.is_empty() {
            true => format!(
                "{n_good} good, {end} records, heads are {}",
                if is_one { "equal" } else { "NOT equal" }
            ),
            false => reasons.join(", "),
        },
    }
}

/// A: each call that was about to be sent has one ending.
fn closed(record: &Record) -> Verdict {
    let endings = |name| record.log.endings.get(name).map_or(0, Vec::len);
    let intents = || record.log.intents.iter();
    let open = intents().filter(|name| endings(name) == 0).count();
    let double = intents().filter(|name| endings(name) > 1).count();
    Verdict {
        letter: "A",
        invariant: "every call has a record before it and one behind it",
        holds: open == 0 && double == 0,
        seen: format!(
            "{} calls, {open} open, {double} ended twice",
            intents().count()
        ),
    }
}

/// A: what was executed was recorded before; what was answered ended well, or is said to be unknown.
fn recorded(record: &Record) -> Verdict {
    let statuses = statuses(record);
    let count = |status| statuses.get(status).copied().unwrap_or(0);
    let (n_ok, n_unknown) = (count(OK), count(UNKNOWN));
    let (n_executed, n_done) = (record.executed.len(), record.told.done.len());
    let holds = n_executed <= record.log.intents.len()
        && n_ok <= n_executed
        && n_executed <= n_ok + n_unknown
        && n_done <= n_ok + n_unknown;
    Verdict {
        letter: "A",
        invariant: "executions are recorded as results or as unknown",
        holds,
        seen: format!(
            "{n_executed} executed, {n_done} answered; {n_ok} results, {n_unknown} unknown"
        ),
    }
}

/// R: a log of nothing verifies.
fn enough(record: &Record, n_calls: usize) -> Verdict {
    let n_done = record.told.done.len();
    Verdict {
        letter: "R",
        invariant: "as many calls were answered as the run is about, and the kill was felt",
        holds: n_done >= n_calls && record.told.n_unknown > 0,
        seen: format!(
            "{n_done} answered, {} without an answer",
            record.told.n_unknown
        ),
    }
}

/// Endings of the server's calls, by how.
fn statuses(record: &Record) -> BTreeMap<&str, usize> {
    let mut statuses = BTreeMap::new();
    let endings = record.log.intents.iter();
    for status in endings
        .filter_map(|name| record.log.endings.get(name))
        .flatten()
    {
        *statuses.entry(status.as_str()).or_default() += 1;
    }
    statuses
}

impl Shown {
    pub(super) fn new(seed: u64, record: &Record, invariants: Vec<Verdict>) -> Self {
        let endings = statuses(record).into_iter();
        Self {
            seed,
            holds: invariants.iter().all(|verdict| verdict.holds),
            answered: record.told.done.len(),
            executed: record.executed.len(),
            intents: record.log.intents.len(),
            endings: endings.map(|(status, n)| (status.to_owned(), n)).collect(),
            invariants,
        }
    }

    pub(super) fn table(&self) -> Result<String, std::fmt::Error> {
        let mut out = format!("seed {}, {} calls answered\n\n", self.seed, self.answered);
        for Verdict {
            letter,
            invariant,
            holds,
            seen,
        } in &self.invariants
        {
            let word = if *holds { "holds" } else { "BROKEN" };
            writeln!(out, "{letter}  {word:<8}{invariant}: {seen}")?;
        }
        Ok(out + "\n")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::load::Told;
    use super::super::log::Log;
    use super::*;

    /// Calls by their endings; `open` of them have none, and all were executed.
    fn record(endings: &[&[&str]]) -> Record {
        let name = |at: usize| ("n1".to_owned(), 1, at as u64);
        let done = endings.iter().filter(|of| of.contains(&OK)).count();
        let verified =
            json!({"verdict": "good", "end": 9, "chain": "c", "root": "r", "reasons": []});
        let texts = |of: &&[&str]| {
            of.iter()
                .map(|&status| status.to_owned())
                .collect::<Vec<_>>()
        };
        Record {
            told: Told {
                done: (0..done).map(|at| at.to_string()).collect(),
                n_unknown: 1,
            },
            executed: (0..endings.len()).map(|at| at.to_string()).collect(),
            log: Log {
                verified: vec![verified.clone(), verified],
                intents: (0..endings.len()).map(name).collect(),
                endings: endings
                    .iter()
                    .enumerate()
                    .filter(|(_, of)| !of.is_empty())
                    .map(|(at, of)| (name(at), texts(of)))
                    .collect(),
            },
        }
    }

    #[track_caller]
    fn check(record: &Record, expected: [bool; 4]) {
        let verdicts = judge(record, 2);
        let held: Vec<_> = verdicts.iter().map(|verdict| verdict.holds).collect();
        assert_eq!(held, expected, "{verdicts:?}");
    }

    #[test]
    fn a_whole_log_is_good() {
        check(&record(&[&[OK], &[OK], &[UNKNOWN]]), [true; 4]);
    }

    #[test]
    fn a_call_without_an_ending_or_with_two_is_found() {
        check(&record(&[&[OK], &[OK], &[]]), [true, false, false, true]);
        check(
            &record(&[&[OK], &[OK], &[OK, OK]]),
            [true, false, false, true],
        );
    }

    #[test]
    fn an_execution_that_nobody_recorded_is_found() {
        let mut record = record(&[&[OK], &[OK], &[UNKNOWN]]);
        record.log.intents.pop();
        check(&record, [true, true, false, true]);
    }

    #[test]
    fn logs_that_differ_are_found() {
        let mut whole = record(&[&[OK], &[OK]]);
        whole.log.verified[1]["chain"] = json!("d");
        check(&whole, [false, true, true, true]);
        let mut whole = record(&[&[OK], &[OK]]);
        whole.log.verified[0]["verdict"] = json!("unchecked");
        check(&whole, [false, true, true, true]);
    }

    #[test]
    fn too_few_calls_prove_nothing() {
        check(&record(&[&[OK]]), [true, true, true, false]);
    }
}
