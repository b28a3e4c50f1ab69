//! Rows h and i: audit records and replicated writes.

use std::path::Path;

use super::plan::{Plan, WRITERS};
use crate::{
    audit,
    cli::SuiteArgs,
    error::Result,
    measure::Summary,
    raft,
    report::{Figure, Report},
};

/// Measures both, with files below `directory`.
pub(super) fn measure(
    report: &mut Report,
    args: &SuiteArgs,
    plan: Plan,
    directory: &Path,
) -> Result<()> {
    if let Some(bin) = &args.gateway_bin {
        let outcome = audit::measure(bin, args.load_cpu, plan.audit, directory)?;
        for mode in [audit::LOCAL, audit::QUORUM] {
            let against = outcome
                .lane(mode)
                .and_then(|lane| lane.against.get(audit::MEMORY));
            let calls = against.and_then(|against| against.calls_per_second);
            figure(report, &format!("h.{mode}"), calls);
        }
        report.outcomes.push(outcome);
    }
    report.raft = raft::measure(&plan.raft(), directory)?;
    let outcome = report.raft.iter().find(|it| it.clients == WRITERS);
    let Some(cluster) = outcome
        .and_then(|outcome| outcome.lane(raft::CLUSTER))
        .cloned()
    else {
        return Ok(());
    };
    figure(report, "i.writes", Some(cluster.writes_per_second));
    figure(report, "i.against_engine", cluster.against_engine);
    Ok(())
}

fn figure(report: &mut Report, id: &str, value: Option<Summary>) {
    report.figures.extend(value.map(|value| Figure {
        id: id.to_owned(),
        value,
    }));
}
