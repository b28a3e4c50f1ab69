//! What the clients recorded, in the manner of Jepsen: a call begins, and ends well, ends certainly without effect, or
//! is never heard of again.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use super::{Answer, Input};

/// One thing that happened to one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Event {
    /// It was about to be sent.
    Invoked(Input),
    /// It was answered.
    Completed(Answer),
    /// It certainly had no effect: refused, or never sent.
    Failed,
    /// It may have an effect, now or later.
    Unknown,
}

/// One line of the history.
#[derive(Clone, Debug, Serialize)]
struct Line {
    /// Client.
    process: usize,
    /// Register.
    key: u32,
    /// Microseconds since the run began.
    at_us: u64,
    #[serde(flatten)]
    event: EventLine,
}

#[derive(Clone, Debug, Serialize)]
struct EventLine {
    event: Event,
}

/// Everything that all clients recorded, in the order in which they did.
#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    lines: Vec<Line>,
}

/// One call of one register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Operation {
    /// What was asked for.
    pub(crate) input: Input,
    /// What was answered, if anything was.
    pub(crate) answer: Option<Answer>,
    /// When it was about to be sent.
    pub(crate) invoked_us: u64,
    /// When it was answered. A call without an answer may take effect at any later time.
    pub(crate) completed_us: Option<u64>,
}

impl History {
    /// Records an event of the call that `process` has under way, or begins one.
    pub(crate) fn record(&mut self, process: usize, key: u32, at: Duration, event: Event) {
        self.lines.push(Line {
            process,
            key,
            at_us: u64::try_from(at.as_micros()).unwrap_or(u64::MAX),
            event: EventLine { event },
        });
    }

    /// Adds what other processes recorded, and puts all of it in the order in which it happened.
    pub(crate) fn merge(&mut self, other: Self) {
        self.lines.extend(other.lines);
        // Stable: what a process recorded at one moment keeps its order.
        self.lines.sort_by_key(|line| line.at_us);
    }

    /// Events recorded.
    pub(crate) fn len(&self) -> usize {
        self.lines.len()
    }

    /// Calls that count, by register. Those that certainly had no effect don't, nor do reads without an answer.
    pub(crate) fn operations(&self) -> BTreeMap<u32, Vec<Operation>> {
        let mut by_key: BTreeMap<u32, Vec<Operation>> = BTreeMap::new();
        let mut open: BTreeMap<usize, (u32, Operation)> = BTreeMap::new();
        let mut keep = |key: u32, operation: Operation| {
            if operation.answer.is_some() || operation.input != Input::Read {
                by_key.entry(key).or_default().push(operation);
            }
        };
        for line in &self.lines {
            if let Event::Invoked(input) = line.event.event {
                let operation = Operation {
                    input,
                    answer: None,
                    invoked_us: line.at_us,
                    completed_us: None,
                };
                if let Some((key, lost)) = open.insert(line.process, (line.key, operation)) {
                    keep(key, lost);
                }
                continue;
            }
            let Some((key, mut operation)) = open.remove(&line.process) else {
                continue;
            };
            match line.event.event {
                Event::Completed(answer) => {
                    operation.answer = Some(answer);
                    operation.completed_us = Some(line.at_us);
                    keep(key, operation);
                }
                Event::Unknown => keep(key, operation),
                Event::Failed | Event::Invoked(_) => {}
            }
        }
        for (key, operation) in open.into_values() {
            keep(key, operation);
        }
        by_key
    }

    /// Writes one JSON object a line.
    pub(crate) fn write(&self, path: &Path) -> io::Result<()> {
        let mut out = BufWriter::new(File::create(path)?);
        for line in &self.lines {
            serde_json::to_writer(&mut out, line)?;
            out.write_all(b"\n")?;
        }
        out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const READ: Event = Event::Invoked(Input::Read);
    const WRITE: Event = Event::Invoked(Input::Write(7));

    fn history(events: &[(usize, u64, Event)]) -> Vec<Operation> {
        let mut history = History::default();
        for &(process, at, event) in events {
            history.record(process, 1, Duration::from_micros(at), event);
        }
        history.operations().remove(&1).unwrap_or_default()
    }

    #[test]
    fn an_answer_belongs_to_the_call_of_its_process() {
        let read = Event::Completed(Answer::Value(None));
        let operations = history(&[
            (1, 10, WRITE),
            (2, 11, READ),
            (2, 12, read),
            (1, 13, Event::Completed(Answer::Written)),
        ]);
        let seen: Vec<_> = operations
            .iter()
            .map(|operation| (operation.invoked_us, operation.completed_us))
            .collect();
        assert_eq!(seen, [(11, Some(12)), (10, Some(13))]);
    }

    #[test]
    fn a_write_without_an_answer_stays_open() {
        let operations = history(&[(1, 10, WRITE), (1, 12, Event::Unknown), (2, 13, WRITE)]);
        assert_eq!(operations.len(), 2);
        assert!(
            operations
                .iter()
                .all(|operation| operation.completed_us.is_none())
        );
    }

    #[test]
    fn what_had_no_effect_does_not_count() {
        assert_eq!(
            history(&[(1, 10, WRITE), (1, 12, Event::Failed), (2, 13, READ)]),
            []
        );
    }
}
