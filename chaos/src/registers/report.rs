//! What the runs say: a table for people, JSON for machines, and on failure the command that repeats it.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

use serde::Serialize;

use super::load::Told;
use super::{Injected, judge};
use crate::invariant::Verdict;
use crate::report::print;

/// One fault.
#[derive(Debug, Serialize)]
struct Line {
    fault: &'static str,
    /// From the start of the run.
    at_ms: u128,
    lasted_ms: u128,
    /// From healing until every node answered.
    recovered_after_ms: u128,
    /// What showed that it happened.
    shown: Option<String>,
}

/// Result of one run.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    seed: u64,
    holds: bool,
    /// Whether the nodes had a network of their own, whose ways could be cut.
    cuts: bool,
    calls: usize,
    answered: usize,
    events: usize,
    /// Longest time without an answer to anybody.
    worst_gap_ms: u128,
    faults: Vec<Line>,
    invariants: Vec<Verdict>,
}

impl Report {
    pub(super) fn new(
        seed: u64,
        cuts: bool,
        told: &Told,
        faults: &[Injected],
        invariants: Vec<Verdict>,
    ) -> Self {
        let line = |injected: &Injected| Line {
            fault: injected.fault,
            at_ms: injected.from.as_millis(),
            lasted_ms: (injected.healed - injected.from).as_millis(),
            recovered_after_ms: (injected.recovered - injected.healed).as_millis(),
            shown: injected.shown.clone(),
        };
        Self {
            seed,
            holds: invariants.iter().all(|verdict| verdict.holds),
            cuts,
            calls: told.n_calls,
            answered: told.answered.len(),
            events: told.history.len(),
            worst_gap_ms: judge::gap(told).as_millis(),
            faults: faults.iter().map(line).collect(),
            invariants,
        }
    }

    pub(super) fn holds(&self) -> bool {
        self.holds
    }

    fn table(&self, out: &mut String) -> std::fmt::Result {
        let Self {
            seed,
            calls,
            answered,
            worst_gap_ms,
            ..
        } = self;
        writeln!(
            out,
            "seed {seed}, {calls} calls, {answered} answered, longest gap {worst_gap_ms} ms"
        )?;
        if !self.cuts {
            writeln!(
                out,
                "left out for want of root, ip or nft: every cut between nodes"
            )?;
        }
        writeln!(
            out,
            "\n{:<18}{:>9}{:>10}{:>13}  shown by",
            "fault", "at ms", "lasts ms", "recovers ms"
        )?;
        for Line {
            fault,
            at_ms,
            lasted_ms,
            recovered_after_ms,
            shown,
        } in &self.faults
        {
            let shown = shown.as_deref().unwrap_or("NOTHING");
            writeln!(
                out,
                "{fault:<18}{at_ms:>9}{lasted_ms:>10}{recovered_after_ms:>13}  {shown}"
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
        writeln!(out)
    }
}

/// Prints the results of all runs.
pub(super) fn print_all(reports: &[Report], json: bool) -> anyhow::Result<()> {
    if json {
        print(&(serde_json::to_string_pretty(reports)? + "\n"));
        return Ok(());
    }
    let mut out = String::new();
    for report in reports {
        report.table(&mut out)?;
    }
    print(&out);
    Ok(())
}

/// Says how to repeat a failed run, and where its traces are.
pub(super) fn print_failure(verb: &str, dir: &Path) {
    let kept = dir.display();
    let text = format!("\nrepeat: lockgate-chaos {verb}\nkept:   {kept}\n");
    let _closed = std::io::stderr().write_all(text.as_bytes());
}
