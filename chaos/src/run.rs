//! One run: plan, world, load, faults, judgement, report.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::cli::{Plant, Quick};
use crate::fault;
use crate::invariant::{Injected, RECOVERY_MAX, Record, judge};
use crate::load::{Call, Load, Outcome};
use crate::plan::{Step, plan};
use crate::report::Report;
use crate::world::World;

/// Calm at the end that is judged.
const AFTERWARDS: Duration = Duration::from_secs(2);

/// Carries out the plan of a seed. `false` when an invariant does not hold.
pub(crate) async fn quick(options: &Quick) -> anyhow::Result<bool> {
    let steps = plan(options.seed);
    let mut world = World::start(&options.bin).await?;
    let mut record = carry_out(&mut world, &steps).await?;
    world.check_gateway()?;
    if let Some(bug) = options.plant {
        plant(bug, &mut record);
    }
    let report = Report::new(options, &record, judge(&record));
    report.print(options.json)?;
    if !report.holds() {
        let dir = world.keep();
        std::fs::write(
            dir.join("history.json"),
            serde_json::to_vec(&record.history)?,
        )?;
        crate::report::print_failure(options, &dir);
    }
    Ok(report.holds())
}

async fn carry_out(world: &mut World, steps: &[Step]) -> anyhow::Result<Record> {
    let start = Instant::now();
    let load = Load::start(world.address, start).await?;
    let mut faults = Vec::new();
    for step in steps {
        let calm_from = start.elapsed();
        sleep(step.calm).await;
        let from = start.elapsed();
        fault::inject(world, step.fault, step.lasts).await?;
        let healed = start.elapsed();
        faults.push(Injected {
            fault: step.fault,
            calm_from,
            from,
            healed,
        });
        // The calm phase that is judged begins when the time to recover is over.
        sleep(RECOVERY_MAX).await;
    }
    sleep(AFTERWARDS).await;
    let ended = start.elapsed();
    let history = load.stop().await?;
    let executed = world.executed()?;
    Ok(Record {
        history,
        executed,
        faults,
        ended,
    })
}

/// Breaks the record, so that the invariant that it breaks must be noticed.
fn plant(bug: Plant, record: &mut Record) {
    let healed = record
        .faults
        .last()
        .map(|injected| injected.healed)
        .unwrap_or_default();
    let calls = &mut record.history.calls;
    let fail = |call: &mut Call| call.outcome = Outcome::Unknown;
    match bug {
        Plant::Double => record.executed.extend(record.executed.first().cloned()),
        Plant::Lost => {
            record.executed.pop();
        }
        Plant::DeadBreaker => {
            let open = Outcome::NotSent { breaker: true };
            for call in calls.iter_mut().filter(|call| call.outcome == open) {
                call.outcome = Outcome::NotSent { breaker: false };
            }
        }
        Plant::Failing => calls.iter_mut().step_by(2).for_each(fail),
        Plant::NoRecovery => {
            let after = calls.iter_mut().filter(|call| call.began > healed);
            after.for_each(fail);
        }
    }
}
