//! What a run says: a table for people, JSON for machines, and on failure the command that repeats it.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use clap::ValueEnum as _;
use serde::Serialize;

use crate::cli::Quick;
use crate::invariant::{Record, Verdict};
use crate::load::Outcome;

/// One fault in the report.
#[derive(Debug, Serialize)]
struct Line {
    fault: &'static str,
    /// From the start of the run.
    at_ms: u128,
    lasted_ms: u128,
    /// Calls that began while it lasted.
    calls: usize,
    failed: usize,
    /// From healing to the first call that succeeded.
    recovered_after_ms: Option<u128>,
}

/// Result of one run.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    seed: u64,
    holds: bool,
    calls: usize,
    faults: Vec<Line>,
    invariants: Vec<Verdict>,
}

impl Report {
    pub(crate) fn new(options: &Quick, record: &Record, invariants: Vec<Verdict>) -> Self {
        Self {
            seed: options.seed,
            holds: invariants.iter().all(|verdict| verdict.holds),
            calls: record.history.calls.len(),
            faults: lines(record),
            invariants,
        }
    }

    pub(crate) fn holds(&self) -> bool {
        self.holds
    }

    pub(crate) fn print(&self, json: bool) -> anyhow::Result<()> {
        if json {
            print(&(serde_json::to_string_pretty(self)? + "\n"));
        } else {
            print(&self.table()?);
        }
        Ok(())
    }

    fn table(&self) -> Result<String, std::fmt::Error> {
        let mut out = String::new();
        writeln!(out, "seed {}, {} calls\n", self.seed, self.calls)?;
        writeln!(
            out,
            "{:<22}{:>9}{:>10}{:>7}{:>8}{:>14}",
            "fault", "at ms", "lasts ms", "calls", "failed", "recovers ms"
        )?;
        for line in &self.faults {
            let recovered = line
                .recovered_after_ms
                .map_or_else(|| "never".to_owned(), |ms| ms.to_string());
            let Line {
                fault,
                at_ms,
                lasted_ms,
                calls,
                failed,
                ..
            } = line;
            writeln!(
                out,
                "{fault:<22}{at_ms:>9}{lasted_ms:>10}{calls:>7}{failed:>8}{recovered:>14}"
            )?;
        }
        writeln!(out)?;
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
        Ok(out)
    }
}

fn lines(record: &Record) -> Vec<Line> {
    let line = |injected: &crate::invariant::Injected| {
        let began =
            |call: &&crate::load::Call| (injected.from..injected.healed).contains(&call.began);
        let during: Vec<_> = record.history.calls.iter().filter(began).collect();
        let mut after = record.history.within(injected.healed, Duration::MAX);
        let first = after.find(|call| call.outcome == Outcome::Done);
        Line {
            fault: injected.fault.name(),
            at_ms: injected.from.as_millis(),
            lasted_ms: (injected.healed - injected.from).as_millis(),
            calls: during.len(),
            failed: during
                .iter()
                .filter(|call| call.outcome != Outcome::Done)
                .count(),
            recovered_after_ms: first.map(|call| (call.ended - injected.healed).as_millis()),
        }
    };
    record.faults.iter().map(line).collect()
}

/// Says how to repeat a failed run, and where its traces are.
pub(crate) fn print_failure(options: &Quick, dir: &Path) {
    let bug = options.plant.and_then(|plant| plant.to_possible_value());
    let bug = bug
        .map(|value| format!(" --plant {}", value.get_name()))
        .unwrap_or_default();
    let (bin, seed) = (options.bin.display(), options.seed);
    let kept = dir.display();
    let text =
        format!("\nrepeat: lockgate-chaos quick --bin {bin} --seed {seed}{bug}\nkept:   {kept}\n");
    let _closed = std::io::stderr().write_all(text.as_bytes());
}

/// Prints and flushes: a pipe buffers what has no flush.
pub(crate) fn print(text: &str) {
    let mut out = std::io::stdout();
    let _closed = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
