//! A B C A B C: each mode has one window in each round.

use std::{path::Path, process::ExitCode, time::Duration};

use super::nodes::Nodes;
use crate::{
    affinity,
    cli::AuditArgs,
    error::{Error, Result},
    load::{Lane, Pace, Window},
    process::Process,
    raft::fdatasync_us,
    report::{Outcome, Report},
    scenario::{Era, Kind, Scenario, measure_lanes},
};

/// Modes of the audit log: values of `audit.mode`, and names of the lanes.
pub(crate) const MEMORY: &str = "memory";
/// In the spool of the node before a call goes out.
pub(crate) const LOCAL: &str = "local";
/// In the log of the cluster before a call goes out, and again before its answer.
pub(crate) const QUORUM: &str = "quorum";

/// Clients.
const CONNECTIONS: usize = 64;
/// Tools of the echo.
const TOOLS: usize = 100;
/// How long the disk alone is measured.
const DISK: Duration = Duration::from_millis(500);
/// Records that a mode keeps in memory reach the log after the window; so long is waited for that.
const REST: Duration = Duration::from_secs(10);

/// The verb `audit`.
pub(crate) fn run(args: &AuditArgs) -> Result<ExitCode> {
    let directory = tempfile::Builder::new()
        .prefix("lockgate-bench-")
        .tempdir()
        .map_err(Error::io("create a temporary directory"))?;
    let window = Window {
        warmup: args.warmup,
        measure: args.measure,
    };
    affinity::pin(args.load_cpu)?;
    let mut report = Report::new();
    let (bin, cpu) = (&args.gateway_bin, args.load_cpu);
    let outcome = measure(bin, cpu, (args.rounds, window), directory.path())?;
    report.outcomes.push(outcome);
    report.print()?;
    if let Some(out) = &args.out {
        report.write(out)?;
    }
    directory
        .close()
        .map_err(Error::io("remove the temporary directory"))?;
    Ok(ExitCode::SUCCESS)
}

/// Measures calls a second in each mode, of clients that take turns among three nodes. Load and echo share the core
/// `cpu`; the nodes use all.
pub(crate) fn measure(
    bin: &Path,
    cpu: usize,
    (rounds, window): (usize, Window),
    directory: &Path,
) -> Result<Outcome> {
    let tools = TOOLS.to_string();
    let verb = ["echo", "--print-addr", "--tools", &tools];
    let echo = Process::start_verb("audit-echo", Some(cpu), &verb, directory, false)?;
    let url = format!("http://{}", echo.first_line);
    let start = |mode| Nodes::start(bin, mode, directory, &url, TOOLS);
    let clusters = [start(MEMORY)?, start(LOCAL)?, start(QUORUM)?];
    let lanes: Vec<Lane> = clusters.iter().map(|nodes| nodes.lane.clone()).collect();
    let scenario = Scenario {
        kind: Kind::Small,
        era: Era::Stateless,
        connections: CONNECTIONS,
        pace: Pace::Closed,
        window,
        rounds,
        n_tools: None,
    };
    let disk = fdatasync_us(directory, DISK)?;
    let mut outcome = measure_lanes(&scenario, &lanes, REST)?;
    let label = &outcome.label;
    outcome.label =
        format!("{label}, three nodes, by mode of the audit log; fdatasync alone {disk:.0} us");
    Ok(outcome)
}
