//! Runs on a cluster of three: clients read and write registers at random nodes while those are killed, stopped and cut
//! off from each other. `plan` says what happens when, `fault` does it, `load` are the clients, `judge` has the last
//! word.

mod api;
pub(crate) mod audit;
mod fault;
mod judge;
mod lie;
mod load;
pub(crate) mod membership;
mod plan;
pub(crate) mod quota;
mod report;
mod spread;
mod standing;
pub(crate) mod upgrade;

use std::path::Path;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use self::api::Api;
use self::fault::{NODES, RECOVERY_MAX, inject};
use self::load::{Load, Told};
use self::plan::{Kinds, plan};
use self::report::Report;
use self::standing::Standing;
use crate::cli::Registers;
use crate::linear::{Event, Input};
use crate::random::Random;
use crate::world::{Members, Setup};

/// Calm before each step of a run that is not left to chance.
const CALM: Duration = Duration::from_secs(1);
/// Calm at the end.
const AFTERWARDS: Duration = Duration::from_secs(1);
/// How often a node is asked whether it serves again.
const POLL: Duration = Duration::from_millis(20);
/// Register that is read to see whether a node serves; no client writes it.
const PROBE: u32 = u32::MAX;
/// Keeps the clients' choices apart from those of the plan, which come from the same seed.
const LOAD: u64 = 0x10ad;

/// One fault as it was carried out; moments count from the start of the run.
#[derive(Clone, Debug)]
struct Injected {
    /// Its name.
    fault: &'static str,
    /// Beginning of the calm phase before it.
    calm_from: Duration,
    from: Duration,
    healed: Duration,
    /// Every node answered.
    recovered: Duration,
    /// What showed that it happened.
    shown: Option<String>,
}

/// Carries out the plans of all seeds. `false` when an invariant does not hold in one of them.
pub(crate) async fn run(options: &Registers) -> anyhow::Result<bool> {
    let mut reports = Vec::new();
    for seed in options.seed..options.seed.saturating_add(options.runs) {
        reports.push(run_seed(options, seed).await?);
    }
    report::print_all(&reports, options.json)?;
    Ok(reports.iter().all(Report::holds))
}

async fn run_seed(options: &Registers, seed: u64) -> anyhow::Result<Report> {
    if options.disks {
        Members::check_disks()?;
    }
    let setup = Setup {
        disks: options.disks,
        ..setup(&options.bin, NODES)
    };
    let mut members = Members::start(setup).await?;
    let is_cut = members.network().is_some();
    let outcome = carry_out(&mut members, options, seed).await;
    let (told, faults, standing) = match outcome {
        Ok(known) => known,
        Err(error) => {
            report::print_failure(&options.repeat(seed), &members.keep());
            return Err(error);
        }
    };
    let verdicts = vec![
        judge::linearizable(&told),
        judge::answers(&told, &faults),
        judge::happened(&faults),
        judge::agree(&standing),
    ];
    let report = Report::new(seed, is_cut, &told, &faults, verdicts);
    if let Some(out) = &options.out {
        std::fs::create_dir_all(out)?;
        told.history.write(&history(out, seed))?;
    }
    // Stale reads are meant to be condemned.
    if !report.holds() && !options.stale_reads {
        told.history.write(&history(members.dir(), seed))?;
        report::print_failure(&options.repeat(seed), &members.keep());
    }
    Ok(report)
}

impl Registers {
    /// The command that repeats one run.
    fn repeat(&self, seed: u64) -> String {
        let stale = if self.stale_reads {
            " --stale-reads"
        } else {
            ""
        };
        let disks = if self.disks { " --disks" } else { "" };
        let (bin, seconds) = (self.bin.display(), self.seconds);
        format!("registers --bin {bin} --seed {seed} --seconds {seconds}{stale}{disks}")
    }
}

fn history(dir: &Path, seed: u64) -> std::path::PathBuf {
    dir.join(format!("registers-{seed}.jsonl"))
}

type Known = (Told, Vec<Injected>, Vec<Option<Standing>>);

async fn carry_out(members: &mut Members, options: &Registers, seed: u64) -> anyhow::Result<Known> {
    let nodes = members.admins();
    let mut api = Api::new(nodes.clone());
    serve(&mut api, NODES).await?;
    let start = Instant::now();
    let mut random = Random::new(seed ^ LOAD);
    let load = Load::start(&nodes, &mut random, start, options.stale_reads);
    let mut faults = Vec::new();
    let kinds = match (options.disks, members.network()) {
        (true, _) => Kinds::Disks,
        (false, Some(_)) => Kinds::Ways,
        (false, None) => Kinds::Processes,
    };
    for step in plan(seed, kinds) {
        let calm_from = start.elapsed();
        if calm_from >= Duration::from_secs(options.seconds) {
            break;
        }
        sleep(step.calm).await;
        let from = start.elapsed();
        let shown = inject(members, &mut api, step).await?;
        let healed = start.elapsed();
        serve(&mut api, NODES).await?;
        faults.push(Injected {
            fault: step.fault.name(),
            calm_from,
            from,
            healed,
            recovered: start.elapsed(),
            shown,
        });
    }
    sleep(AFTERWARDS).await;
    let told = load.stop(&nodes, start).await?;
    let standing = settle(&mut api, NODES).await;
    members.check()?;
    members.check_logs()?;
    Ok((told, faults, standing))
}

/// A cluster without servers of its own.
fn setup(program: &Path, places: usize) -> Setup<'_> {
    Setup {
        program,
        nodes: NODES,
        places,
        registry: "",
        disks: false,
    }
}

/// Waits until every node gives a linearizable answer.
async fn serve(api: &mut Api, n_nodes: usize) -> anyhow::Result<()> {
    let begin = Instant::now();
    for node in 0..n_nodes {
        while !matches!(
            api.call(node, PROBE, Input::Read, false).await,
            Event::Completed(_)
        ) {
            anyhow::ensure!(
                begin.elapsed() < RECOVERY_MAX,
                "n{} does not serve within {RECOVERY_MAX:?}",
                node + 1
            );
            sleep(POLL).await;
        }
    }
    Ok(())
}

/// How the nodes stand when all have applied the same, or after a while.
async fn settle(api: &mut Api, n_nodes: usize) -> Vec<Option<Standing>> {
    let begin = Instant::now();
    loop {
        let mut standing = Vec::new();
        for node in 0..n_nodes {
            standing.push(api.status(node).await);
        }
        if judge::agree(&standing).holds || begin.elapsed() > RECOVERY_MAX {
            return standing;
        }
        sleep(POLL).await;
    }
}
