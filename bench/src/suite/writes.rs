//! Row i: replicated writes.

use std::path::Path;

use super::plan::{Plan, WRITERS};
use crate::{
    error::Result,
    raft,
    report::{Figure, Report},
};

/// Measures them, with files below `directory`.
pub(super) fn measure(report: &mut Report, plan: Plan, directory: &Path) -> Result<()> {
    report.raft = raft::measure(&plan.raft(), directory)?;
    let outcome = report.raft.iter().find(|it| it.clients == WRITERS);
    let Some(cluster) = outcome.and_then(|outcome| outcome.lane(raft::CLUSTER)) else {
        return Ok(());
    };
    let figures = [
        ("i.writes", Some(cluster.writes_per_second)),
        ("i.against_engine", cluster.against_engine),
    ];
    for (id, value) in figures {
        report.figures.extend(value.map(|value| Figure {
            id: id.to_owned(),
            value,
        }));
    }
    Ok(())
}
