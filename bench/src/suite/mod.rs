//! The performance budget of a gateway, row by row: starts what it needs, measures, judges.

mod bed;
mod gateway;
mod plan;
mod rows;
mod writes;

use std::{env, process::ExitCode};

pub(crate) use self::gateway::{KEY, Ready, new_key};
use self::{bed::Bed, plan::Plan, rows::Rows};
use crate::{
    affinity,
    cli::SuiteArgs,
    error::{Error, Result},
    report::Budgets,
};

/// The verb `suite`. The measuring is done by a second process of this program, which can have a
/// session, and with it a priority, without touching the caller's.
pub(crate) fn run(args: &SuiteArgs) -> Result<ExitCode> {
    if affinity::leads_session() {
        return measure(args);
    }
    let status = affinity::pinned(Some(args.load_cpu), &affinity::own_program()?)?
        .args(env::args_os().skip(1))
        .status()
        .map_err(Error::io("start the measuring process"))?;
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn measure(args: &SuiteArgs) -> Result<ExitCode> {
    let budgets = match &args.check {
        Some(path) => Budgets::read(path)?,
        None => Budgets::committed()?,
    };
    let directory = tempfile::Builder::new()
        .prefix("lockgate-bench-")
        .tempdir()
        .map_err(Error::io("create a temporary directory"))?;
    affinity::pin(args.load_cpu)?;
    let bed = Bed::start(args, directory.path())?;
    let plan = Plan::new(args.quick);
    let mut report = Rows::new(plan, &bed).measure()?;
    // Nodes need all cores for themselves.
    drop(bed);
    writes::measure(&mut report, args, plan, directory.path())?;
    report.verdicts = budgets.judge(&report.figures, args.quick);
    report.print()?;
    report.write(&args.out)?;
    let is_met = report.verdicts.iter().all(|verdict| verdict.is_met);
    // A directory that stays behind is reported, but takes nothing from the figures.
    directory
        .close()
        .map_err(Error::io("remove the temporary directory"))?;
    Ok(if args.check.is_some() && !is_met {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}
