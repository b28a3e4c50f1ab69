//! The page: one file, no network, no script.

use std::fmt::Write as _;

use super::{
    Report,
    budget::Verdict,
    outcome::{Lane, Outcome, REFERENCE},
    plot, raft, table,
};
use crate::{measure::Summary, scenario::IdleOutcome};

const STYLE: &str = include_str!("page.css");

/// The whole page.
pub(super) fn page(report: &Report) -> String {
    let machine = &report.machine;
    let mut html = format!(
        r#"<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>lockgate-bench</title><style>{STYLE}</style></head><body><h1>lockgate-bench {}</h1><p>{}, {} cores, Linux {}, load before the run {}{}</p><p><code>{}</code></p><p>Figures are medians of interleaved rounds, least and greatest in brackets. Latency counts from the moment a call was sent, or at a fixed rate should have been sent. CPU time is that of the process under test.</p>"#,
        plot::escape(report.version),
        plot::escape(&machine.processor),
        machine.cores,
        plot::escape(&machine.kernel),
        plot::escape(&machine.load_before),
        if machine.is_preferred {
            ", run with raised priority"
        } else {
            ""
        },
        plot::escape(&report.command),
    );
    budget(&mut html, &report.verdicts);
    idle(&mut html, &report.idle);
    raft::page(&mut html, &report.raft);
    for outcome in &report.outcomes {
        scenario(&mut html, outcome);
    }
    html.push_str("</body></html>\n");
    html
}

fn budget(html: &mut String, verdicts: &[Verdict]) {
    if verdicts.is_empty() {
        return;
    }
    html.push_str("<h2>Budget</h2>");
    let rows = verdicts.iter().map(|verdict| {
        let state = if verdict.is_met { "met" } else { "missed" };
        let value = verdict
            .value
            .map_or_else(|| "not measured".to_owned(), |value| figure(&value, 2));
        let aim = verdict.aim.map_or_else(String::new, |aim| aim.to_string());
        vec![
            verdict.figure.clone(),
            verdict.what.clone(),
            value,
            format!("{} {}", verdict.bound, verdict.unit),
            aim,
            state.to_owned(),
        ]
    });
    let head = ["figure", "what", "measured", "budget", "aim", ""];
    table(html, &head, rows);
}

fn idle(html: &mut String, outcomes: &[IdleOutcome]) {
    if outcomes.is_empty() {
        return;
    }
    html.push_str("<h2>Idle sessions, KiB each</h2>");
    let kib = |bytes: f64| format!("{:.2}", bytes / 1024.0);
    let known = |bytes: Option<f64>| bytes.map_or_else(String::new, kib);
    let rows = outcomes.iter().map(|outcome| {
        vec![
            outcome.target.clone(),
            outcome.sessions.to_string(),
            kib(outcome.idle.pss as f64),
            kib(outcome.active),
            known(outcome.stream),
            known(outcome.passivated.map(|weight| weight.median)),
        ]
    });
    let head = [
        "target",
        "sessions",
        "process before",
        "active",
        "open stream",
        "passivated",
    ];
    table(html, &head, rows);
}

fn scenario(html: &mut String, outcome: &Outcome) {
    let label = plot::escape(&outcome.label);
    let rounds = outcome.rounds;
    let _written = write!(html, "<h2>{label}</h2><p>{rounds} rounds</p>");
    let head = [
        "target",
        "calls/s",
        "CPU us a call",
        "cores busy",
        "p50 us",
        "p99 us",
        "p99.9 us",
        "CPU against the floor",
        "calls/s against",
        "added p50 / p99 us",
        "generator late p50 / p99 us",
    ];
    table(html, &head, outcome.lanes.iter().map(row));
    html.push_str(r#"<div class="plots"><figure>"#);
    html.push_str(&plot::latency(outcome));
    html.push_str("<figcaption>latency by quantile</figcaption></figure><figure>");
    html.push_str(&plot::throughput(outcome));
    html.push_str("<figcaption>throughput</figcaption></figure></div>");
}

fn row(lane: &Lane) -> Vec<String> {
    let known = |summary: Option<&Summary>, digits| {
        summary.map_or_else(String::new, |summary| figure(summary, digits))
    };
    let median = |summary: Option<Summary>| {
        summary.map_or_else(
            || "-".to_owned(),
            |summary| format!("{:.0}", summary.median),
        )
    };
    let floor = lane.against.get(REFERENCE);
    let added = floor.map_or_else(String::new, |floor| {
        format!(
            "{} / {}",
            median(floor.added_p50_us),
            median(floor.added_p99_us)
        )
    });
    let late = lane.lateness_us.as_ref().map_or_else(String::new, |late| {
        format!("{:.0} / {:.0}", late.p50.median, late.p99.median)
    });
    let calls = table::reference(lane).and_then(|other| other.calls_per_second);
    vec![
        lane.target.clone(),
        figure(&lane.calls_per_second, 0),
        known(lane.cpu_us.as_ref(), 2),
        known(lane.busy.as_ref(), 2),
        figure(&lane.latency_us.p50, 1),
        figure(&lane.latency_us.p99, 1),
        figure(&lane.latency_us.p999, 1),
        known(floor.and_then(|floor| floor.cpu.as_ref()), 2),
        known(calls.as_ref(), 2),
        added,
        late,
    ]
}

fn figure(summary: &Summary, digits: usize) -> String {
    let Summary { median, min, max } = summary;
    format!("{median:.digits$} ({min:.digits$} to {max:.digits$})")
}

/// A table; a row whose last cell is `missed` stands out.
pub(super) fn table(html: &mut String, head: &[&str], rows: impl Iterator<Item = Vec<String>>) {
    html.push_str("<table><thead><tr>");
    for cell in head {
        let _written = write!(html, "<th>{cell}</th>");
    }
    html.push_str("</tr></thead><tbody>");
    for row in rows {
        let is_missed = row.last().is_some_and(|cell| cell == "missed");
        html.push_str(if is_missed {
            r#"<tr class="missed">"#
        } else {
            "<tr>"
        });
        for cell in row {
            let _written = write!(html, "<td>{}</td>", plot::escape(&cell));
        }
        html.push_str("</tr>");
    }
    html.push_str("</tbody></table>");
}
