//! The tables on standard output. Writing to a string cannot fail, so its results are let go.

use std::fmt::Write as _;

use super::{
    budget::Verdict,
    outcome::{Comparison, Lane, Outcome, REFERENCE},
};
use crate::{measure::Summary, scenario::IdleOutcome};

/// One scenario as text: a line for each target, medians of the rounds, spread in brackets.
pub(super) fn outcome(outcome: &Outcome) -> String {
    let mut text = format!("\n{} ({} rounds)\n", outcome.label, outcome.rounds);
    let mut line = |cells: [&str; 10]| {
        let _written = write!(text, "  {:<10}", cells[0]);
        for (cell, width) in cells[1..].iter().zip([18, 17, 6, 9, 9, 10, 8, 8, 16]) {
            let _written = write!(text, "{cell:>width$}");
        }
        text.push('\n');
    };
    let mut head = [
        "target",
        "calls/s",
        "CPU us/call",
        "busy",
        "p50 us",
        "p99 us",
        "p99.9 us",
        "x CPU",
        "x calls",
        "",
    ];
    if outcome.rate.is_some() {
        head[8] = "late p99";
        head[9] = "added p50/p99";
    }
    line(head);
    for lane in &outcome.lanes {
        let reference = reference(lane);
        let last = if outcome.rate.is_some() {
            let late = lane.lateness_us.as_ref().map(|lateness| lateness.p99);
            [median(late.as_ref(), 0), reference.map_or_else(dash, added)]
        } else {
            let calls = reference.and_then(|reference| reference.calls_per_second);
            [median(calls.as_ref(), 2), String::new()]
        };
        line([
            &lane.target,
            &spread(Some(&lane.calls_per_second), 0),
            &spread(lane.cpu_us.as_ref(), 2),
            &median(lane.busy.as_ref(), 2),
            &median(Some(&lane.latency_us.p50), 1),
            &median(Some(&lane.latency_us.p99), 1),
            &median(Some(&lane.latency_us.p999), 1),
            &median(reference.and_then(|reference| reference.cpu.as_ref()), 2),
            &last[0],
            &last[1],
        ]);
    }
    text
}

/// Idle sessions as text; nothing when none were weighed.
pub(super) fn idle(outcomes: &[IdleOutcome]) -> String {
    let mut text = String::new();
    for outcome in outcomes {
        let kib = |bytes: f64| format!("{:.2} KiB", bytes / 1024.0);
        let known = |bytes: Option<f64>| bytes.map_or_else(dash, kib);
        let _written = writeln!(
            text,
            "\nidle sessions of {}: {} weighed, process {:.1} MiB (RSS {:.1}), active {}, stream {}, passivated {}",
            outcome.target,
            outcome.sessions,
            mib(outcome.idle.pss),
            mib(outcome.idle.rss),
            kib(outcome.active),
            known(outcome.stream),
            known(outcome.passivated.map(|weight| weight.median)),
        );
    }
    text
}

/// The budget as text; nothing when there is none.
pub(super) fn verdicts(verdicts: &[Verdict]) -> String {
    if verdicts.is_empty() {
        return String::new();
    }
    let mut text = String::from("\nbudget\n");
    for verdict in verdicts {
        let value = verdict.value.map_or_else(
            || "not measured".to_owned(),
            |value| {
                let Summary { median, min, max } = value;
                format!("{median:.2} ({min:.2} to {max:.2})")
            },
        );
        let _written = writeln!(
            text,
            "  {:<7}{:<21}{:<48}{:>28}  {} {}",
            if verdict.is_met { "met" } else { "MISSED" },
            verdict.figure,
            verdict.what,
            value,
            verdict.bound,
            verdict.unit,
        );
    }
    text
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / 1_048_576.0
}

pub(super) fn median(summary: Option<&Summary>, digits: usize) -> String {
    summary.map_or_else(dash, |summary| format!("{:.digits$}", summary.median))
}

/// Median and half the distance from least to greatest.
pub(super) fn spread(summary: Option<&Summary>, digits: usize) -> String {
    summary.map_or_else(dash, |summary| {
        let half = (summary.max - summary.min) / 2.0;
        format!("{:.digits$} (±{half:.digits$})", summary.median)
    })
}

/// What the columns `x` and `added` refer to: the floor, or else the first target.
pub(super) fn reference(lane: &Lane) -> Option<&Comparison> {
    lane.against
        .get(REFERENCE)
        .or_else(|| lane.against.values().next())
        .filter(|_other| lane.target != REFERENCE)
}

fn added(reference: &Comparison) -> String {
    let p50 = median(reference.added_p50_us.as_ref(), 0);
    let p99 = median(reference.added_p99_us.as_ref(), 0);
    format!("{p50} / {p99}")
}

fn dash() -> String {
    "-".to_owned()
}
