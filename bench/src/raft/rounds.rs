//! A B C A B C: in each round everything has one window for each number of clients.

use std::{path::Path, process::ExitCode, time::Duration};

use super::{
    bare::Log,
    disk,
    driver::Driver,
    orders::Order,
    outcome::{CLUSTER, DISK, ENGINE, ENGINE_MEMORY, RaftOutcome, Sample},
};
use crate::{
    cli::RaftArgs,
    error::{Error, Result},
    report::Report,
};

/// Longest window of the disk alone, whose latency needs few samples.
const DISK_MS_MAX: u64 = 500;

/// What to measure.
#[derive(Clone, Debug)]
pub(crate) struct RaftPlan {
    /// Numbers of clients.
    pub(crate) clients: Vec<usize>,
    /// Rounds.
    pub(crate) rounds: usize,
    /// Writes that are not counted come first, for so long.
    pub(crate) warmup: Duration,
    /// And then those that are.
    pub(crate) measure: Duration,
}

/// The verb `raft`.
pub(crate) fn run(args: &RaftArgs) -> Result<ExitCode> {
    let directory = tempfile::Builder::new()
        .prefix("lockgate-bench-")
        .tempdir()
        .map_err(Error::io("create a temporary directory"))?;
    let plan = RaftPlan {
        clients: args.clients.clone(),
        rounds: args.rounds,
        warmup: args.warmup,
        measure: args.measure,
    };
    let mut report = Report::new();
    report.raft = measure(&plan, directory.path())?;
    report.print()?;
    if let Some(out) = &args.out {
        report.write(out)?;
    }
    directory
        .close()
        .map_err(Error::io("remove the temporary directory"))?;
    Ok(ExitCode::SUCCESS)
}

/// Measures all of it, with files below `directory`.
pub(crate) fn measure(plan: &RaftPlan, directory: &Path) -> Result<Vec<RaftOutcome>> {
    let mut drivers = [
        Driver::bare(ENGINE_MEMORY, Log::Memory, directory)?,
        Driver::bare(ENGINE, Log::Sled, directory)?,
        Driver::cluster(CLUSTER, directory)?,
    ];
    let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let mut outcomes = Vec::new();
    for &clients in &plan.clients {
        let order = Order {
            clients,
            warmup_ms: millis(plan.warmup),
            measure_ms: millis(plan.measure),
        };
        let disk_order = Order {
            measure_ms: order.measure_ms.min(DISK_MS_MAX),
            ..order
        };
        let mut lanes: Vec<(String, Vec<Sample>)> = [DISK]
            .into_iter()
            .chain(drivers.iter().map(Driver::name))
            .map(|name| (name.to_owned(), Vec::new()))
            .collect();
        for _round in 0..plan.rounds {
            let alone = Sample {
                counted: disk::measure(directory, disk_order)?,
                cpu: None,
            };
            lanes[0].1.push(alone);
            for (driver, (_name, samples)) in drivers.iter_mut().zip(&mut lanes[1..]) {
                let (counted, cpu) = driver.window(order)?;
                samples.push(Sample {
                    counted,
                    cpu: Some(cpu),
                });
            }
        }
        outcomes.push(RaftOutcome::of(clients, plan.rounds, &lanes));
    }
    Ok(outcomes)
}
