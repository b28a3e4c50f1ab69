//! Committed writes as text and as a table of the page.

use std::fmt::Write as _;

use super::{html, table};
use crate::raft::{RaftLane, RaftOutcome};

/// Columns, with their widths in the text.
const HEAD: [(&str, usize); 7] = [
    ("writes/s", 18),
    ("p50 us", 17),
    ("p99 us", 17),
    ("fsyncs/write", 14),
    ("CPU us/write", 14),
    ("x engine on sled", 18),
    ("x in memory", 13),
];

/// As text; nothing when nothing was measured.
pub(super) fn text(outcomes: &[RaftOutcome]) -> String {
    let mut text = String::new();
    for outcome in outcomes {
        let _written = write!(
            text,
            "\n{} ({} rounds)\n  {:<17}",
            label(outcome),
            outcome.rounds,
            ""
        );
        for (name, width) in HEAD {
            let _written = write!(text, "{name:>width$}");
        }
        text.push('\n');
        for lane in &outcome.lanes {
            let _written = write!(text, "  {:<17}", lane.name);
            for ((_name, width), cell) in HEAD.iter().zip(cells(lane)) {
                let _written = write!(text, "{cell:>width$}");
            }
            text.push('\n');
        }
    }
    text
}

/// As tables; nothing when nothing was measured.
pub(super) fn page(html: &mut String, outcomes: &[RaftOutcome]) {
    for outcome in outcomes {
        let (label, rounds) = (label(outcome), outcome.rounds);
        let _written = write!(html, "<h2>{label}</h2><p>{rounds} rounds</p>");
        let head: Vec<&str> = ["lane"]
            .into_iter()
            .chain(HEAD.iter().map(|(name, _width)| *name))
            .collect();
        let row = |lane: &RaftLane| [vec![lane.name.clone()], cells(lane)].concat();
        html::table(html, &head, outcome.lanes.iter().map(row));
    }
}

fn label(outcome: &RaftOutcome) -> String {
    let clients = outcome.clients;
    format!("replicated writes, {clients} clients, three nodes")
}

fn cells(lane: &RaftLane) -> Vec<String> {
    vec![
        table::spread(Some(&lane.writes_per_second), 0),
        table::spread(Some(&lane.p50_us), 0),
        table::spread(Some(&lane.p99_us), 0),
        table::median(Some(&lane.syncs_per_write), 3),
        table::median(lane.cpu_us.as_ref(), 1),
        table::median(lane.against_engine.as_ref(), 2),
        table::median(lane.against_memory.as_ref(), 2),
    ]
}
