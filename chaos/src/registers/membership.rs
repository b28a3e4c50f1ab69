//! A cluster whose members come and go while clients call the two that stay.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::api::Api;
use super::fault::{NODES, RECOVERY_MAX, hand_over};
use super::load::{Load, Told};
use super::report::{self, Report};
use super::spread;
use super::standing::Standing;
use super::{AFTERWARDS, CALM, Injected, judge, serve, settle, setup};
use crate::cli::Membership;
use crate::linear::Input;
use crate::random::Random;
use crate::world::Members;

/// Nodes at most.
const PLACES: usize = 5;
/// Those that stay, and that the clients call.
const STAYING: usize = 2;
/// The one that loses its disk.
const WIPED: usize = 2;
const POLL: Duration = Duration::from_millis(20);
/// A node writes a snapshot every 10,000 entries, and cuts its log up to 5,000 before that.
const CUTTABLE: u64 = 10_500;
/// Writers that bring the log to that length.
const FILLERS: u32 = 64;

/// What happens to the members, in order.
#[derive(Clone, Copy, Debug)]
enum Step {
    Compact,
    Replace,
    Grow,
    HandOver,
    Shrink,
}

impl Step {
    const ALL: [Self; 5] = [
        Self::Compact,
        Self::Replace,
        Self::Grow,
        Self::HandOver,
        Self::Shrink,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Compact => "snapshot, purge",
            Self::Replace => "disk of n3 lost",
            Self::Grow => "grow to five",
            Self::HandOver => "hand over thrice",
            Self::Shrink => "shrink to three",
        }
    }
}

/// Carries the steps out. `false` when an invariant does not hold.
pub(crate) async fn run(options: &Membership) -> anyhow::Result<bool> {
    let mut members = Members::start(setup(&options.bin, PLACES)).await?;
    let bin = options.bin.display();
    let repeat = format!("membership --bin {bin} --seed {}", options.seed);
    let (told, steps, standing, spread) = match carry_out(&mut members, options.seed).await {
        Ok(known) => known,
        Err(error) => {
            report::print_failure(&repeat, &members.keep());
            return Err(error);
        }
    };
    let verdicts = vec![
        judge::linearizable(&told),
        judge::no_failure(&told),
        spread::judge(&spread),
        judge::happened(&steps),
        judge::agree(&standing),
    ];
    let report = Report::new(options.seed, true, &told, &steps, verdicts);
    let holds = report.holds();
    report::print_all(&[report], options.json)?;
    if !holds {
        told.history
            .write(&members.dir().join("membership.jsonl"))?;
        report::print_failure(&repeat, &members.keep());
    }
    Ok(holds)
}

type Known = (Told, Vec<Injected>, Vec<Option<Standing>>, Vec<Duration>);

async fn carry_out(members: &mut Members, seed: u64) -> anyhow::Result<Known> {
    let nodes = members.admins();
    let mut api = Api::new(nodes.clone());
    serve(&mut api, NODES).await?;
    until(&mut api, 0, |status| status.voters == NODES).await?;
    // The clients' nodes stay; the leader among them, so that the one that loses its disk is a follower.
    hand_over(&mut api, NODES, 0).await?;
    let start = Instant::now();
    let load = Load::start(&nodes[..STAYING], &mut Random::new(seed), start, false);
    let spread = spread::measure(&mut api, &members.calls()[..NODES]).await?;
    let mut steps = Vec::new();
    for step in Step::ALL {
        let calm_from = start.elapsed();
        sleep(CALM).await;
        let from = start.elapsed();
        let shown = take(members, &mut api, step)
            .await
            .with_context(|| format!("step `{}`", step.name()))?;
        let done = start.elapsed();
        steps.push(Injected {
            fault: step.name(),
            calm_from,
            from,
            healed: done,
            recovered: done,
            shown: Some(shown),
        });
    }
    sleep(AFTERWARDS).await;
    let told = load.stop(&nodes[..NODES], start).await?;
    let standing = settle(&mut api, NODES).await;
    members.check()?;
    members.check_logs()?;
    Ok((told, steps, standing, spread))
}

/// Takes one step, and says what shows that it is done.
async fn take(members: &mut Members, api: &mut Api, step: Step) -> anyhow::Result<String> {
    match step {
        Step::Compact => {
            let mut snapshot = 0;
            fill(members).await?;
            for node in 0..NODES {
                let status = until(api, node, |status| status.snapshot > 0).await?;
                snapshot = status.snapshot;
            }
            Ok(format!("snapshot at {snapshot}"))
        }
        Step::Replace => {
            let old = number(api, WIPED).await?;
            members.kill(WIPED).await?;
            members.wipe(WIPED)?;
            api.remove(0, &name(WIPED), true).await?;
            until(api, 0, |status| status.voters == NODES - 1).await?;
            join(members, api, WIPED, NODES).await?;
            let new = number(api, WIPED).await?;
            ensure!(new > old, "number {new} after {old}");
            // The log begins behind what it lacks.
            let status = until(api, WIPED, |status| status.snapshot > 0).await?;
            let by = status.snapshot;
            Ok(format!("number {old}, then {new} by snapshot {by}"))
        }
        Step::Grow => {
            for node in NODES..PLACES {
                join(members, api, node, node + 1).await?;
            }
            Ok(format!("{PLACES} vote"))
        }
        Step::HandOver => {
            for to in [NODES, WIPED, 0] {
                hand_over(api, PLACES, to).await?;
                until(api, to, Standing::leads).await?;
            }
            Ok("n4, n3, n1 led".to_owned())
        }
        Step::Shrink => {
            for node in (NODES..PLACES).rev() {
                api.remove(0, &name(node), false).await?;
                until(api, 0, |status| status.voters == node).await?;
                members.kill(node).await?;
            }
            Ok(format!("{NODES} vote"))
        }
    }
}

/// Writes until the log can be cut.
async fn fill(members: &Members) -> anyhow::Result<()> {
    let mut writers = JoinSet::new();
    for writer in 0..FILLERS {
        let mut api = Api::new(members.admins());
        writers.spawn(async move {
            for value in 0..CUTTABLE / u64::from(FILLERS) {
                // Registers from the far end, which no client uses.
                let input = Input::Write(value);
                api.call(0, u32::MAX - 1 - writer, input, false).await;
            }
        });
    }
    while let Some(writer) = writers.join_next().await {
        writer?;
    }
    Ok(())
}

/// Starts a node without a past, and waits until it votes with all others.
async fn join(
    members: &mut Members,
    api: &mut Api,
    node: usize,
    n_voters: usize,
) -> anyhow::Result<()> {
    members.begin(node)?;
    members.ready(node).await?;
    until(api, 0, |status| status.voters == n_voters).await?;
    until(api, node, |status| status.voters == n_voters).await?;
    Ok(())
}

/// Name of a node.
fn name(node: usize) -> String {
    format!("n{}", node + 1)
}

/// Number of a node as a member.
async fn number(api: &mut Api, node: usize) -> anyhow::Result<u64> {
    let status = until(api, node, |_any| true).await?;
    Ok(status.number)
}

/// Waits until a node stands as it should.
async fn until(
    api: &mut Api,
    node: usize,
    expected: impl Fn(&Standing) -> bool,
) -> anyhow::Result<Standing> {
    let begin = Instant::now();
    loop {
        let status = api.status(node).await;
        let is_late = begin.elapsed() > RECOVERY_MAX;
        match status {
            Some(status) if expected(&status) => return Ok(status),
            status => ensure!(!is_late, "{} stands at {status:?}", name(node)),
        }
        sleep(POLL).await;
    }
}
