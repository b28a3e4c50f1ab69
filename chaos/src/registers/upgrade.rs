//! A cluster whose nodes change from one program to another and back, one after the other, while clients call it.

use std::path::Path;

use anyhow::{Context as _, ensure};
use tokio::time::{Instant, sleep};

use super::api::Api;
use super::fault::{NODES, hand_over};
use super::load::{Load, Told};
use super::report::{self, Report};
use super::standing::Standing;
use super::{AFTERWARDS, CALM, Injected, judge, serve, settle, setup};
use crate::cli::Upgrade;
use crate::random::Random;
use crate::world::Members;

/// One step, by the numbers of nodes.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// The node ends and goes on with the new program and the files that it has.
    New(usize),
    /// The same with the old one.
    Old(usize),
    /// The node leads.
    Lead(usize),
}

impl Step {
    /// Both programs lead nodes of the other, and files go from the old to the new and back.
    const ALL: [Self; 7] = [
        Self::New(0),
        Self::Lead(0),
        Self::New(1),
        Self::Lead(2),
        Self::Old(0),
        Self::New(0),
        Self::New(2),
    ];

    fn name(self) -> &'static str {
        match self {
            Self::New(_) => "new program",
            Self::Old(_) => "old program again",
            Self::Lead(_) => "leadership",
        }
    }
}

/// Carries the steps out. `false` when an invariant does not hold.
pub(crate) async fn run(options: &Upgrade) -> anyhow::Result<bool> {
    let mut members = Members::start(setup(&options.old, NODES)).await?;
    let (bin, old) = (options.bin.display(), options.old.display());
    let repeat = format!("upgrade --bin {bin} --old {old} --seed {}", options.seed);
    let (told, steps, standing) = match carry_out(&mut members, options).await {
        Ok(known) => known,
        Err(error) => {
            report::print_failure(&repeat, &members.keep());
            return Err(error);
        }
    };
    let verdicts = vec![
        judge::linearizable(&told),
        judge::answers(&told, &steps),
        judge::happened(&steps),
        judge::agree(&standing),
    ];
    let report = Report::new(options.seed, true, &told, &steps, verdicts);
    let holds = report.holds();
    report::print_all(&[report], options.json)?;
    if !holds {
        told.history.write(&members.dir().join("upgrade.jsonl"))?;
        report::print_failure(&repeat, &members.keep());
    }
    Ok(holds)
}

type Known = (Told, Vec<Injected>, Vec<Option<Standing>>);

async fn carry_out(members: &mut Members, options: &Upgrade) -> anyhow::Result<Known> {
    let nodes = members.admins();
    let mut api = Api::new(nodes.clone());
    serve(&mut api, NODES).await?;
    let start = Instant::now();
    let load = Load::start(&nodes, &mut Random::new(options.seed), start, false);
    let mut steps = Vec::new();
    for step in Step::ALL {
        let calm_from = start.elapsed();
        sleep(CALM).await;
        let from = start.elapsed();
        let shown = take(members, &mut api, options, step)
            .await
            .with_context(|| format!("step {step:?}"))?;
        let healed = start.elapsed();
        serve(&mut api, NODES).await?;
        steps.push(Injected {
            fault: step.name(),
            calm_from,
            from,
            healed,
            recovered: start.elapsed(),
            shown: Some(shown),
        });
    }
    sleep(AFTERWARDS).await;
    let told = load.stop(&nodes, start).await?;
    let standing = settle(&mut api, NODES).await;
    members.check()?;
    Ok((told, steps, standing))
}

/// Takes one step, and says what shows that it is done.
async fn take(
    members: &mut Members,
    api: &mut Api,
    options: &Upgrade,
    step: Step,
) -> anyhow::Result<String> {
    match step {
        Step::New(node) => exchange(members, node, &options.bin).await,
        Step::Old(node) => exchange(members, node, &options.old).await,
        Step::Lead(node) => {
            hand_over(api, NODES, node).await?;
            Ok(format!("n{} leads", node + 1))
        }
    }
}

async fn exchange(members: &mut Members, node: usize, program: &Path) -> anyhow::Result<String> {
    members.stop(node).await?;
    members.set_program(node, program);
    members.begin(node)?;
    members.ready(node).await?;
    let runs = members.process(node)?.program()?;
    let wanted = program.canonicalize()?;
    ensure!(runs == wanted, "it runs {}", runs.display());
    Ok(format!("n{} runs it", node + 1))
}
