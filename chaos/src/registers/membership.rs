//! A cluster whose members come and go while clients call the two that stay.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use http::Method;
use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::api::Api;
use super::fault::{NODES, RECOVERY_MAX, leader};
use super::load::{Load, Told};
use super::report::{self, Report};
use super::{AFTERWARDS, Injected, judge};
use crate::cli::Membership;
use crate::linear::Input;
use crate::member::{LEADER, MEMBERS, SNAPSHOT};
use crate::random::Random;
use crate::world::Members;

/// Nodes at most.
const PLACES: usize = 5;
/// Those that stay, and that the clients call.
const STAYING: usize = 2;
/// The one that loses its disk.
const WIPED: usize = 2;
/// Calm before each step.
const CALM: Duration = Duration::from_secs(1);
const POLL: Duration = Duration::from_millis(20);
/// The engine keeps 5,000 entries behind a snapshot, and cuts off 512 at once. A log of that length can be cut.
const CUTTABLE: u64 = 6_000;
/// Writers that bring the log to that length.
const FILLERS: u32 = 32;

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
    let mut members = Members::start(NODES, PLACES).await?;
    let repeat = format!("membership --seed {}", options.seed);
    let (told, steps, standing) = match carry_out(&mut members, options.seed).await {
        Ok(known) => known,
        Err(error) => {
            report::print_failure(&repeat, &members.keep());
            return Err(error);
        }
    };
    let verdicts = vec![
        judge::linearizable(&told),
        judge::no_failure(&told),
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

type Known = (Told, Vec<Injected>, Vec<Option<Value>>);

async fn carry_out(members: &mut Members, seed: u64) -> anyhow::Result<Known> {
    let nodes = members.apis();
    let mut api = Api::new(nodes.clone());
    // The clients' nodes stay; the leader among them, so that the one that loses its disk is a follower.
    let number = number(&mut api, 0).await?;
    let now = leader(&mut api, NODES).await?;
    if now != 0 {
        hand_over(&mut api, now, number).await?;
    }
    let start = Instant::now();
    let load = Load::start(&nodes[..STAYING], &mut Random::new(seed), start, false);
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
    let mut standing = Vec::new();
    for node in 0..NODES {
        standing.push(api.status(node).await);
    }
    members.check()?;
    Ok((told, steps, standing))
}

/// Takes one step, and says what shows that it is done.
async fn take(members: &mut Members, api: &mut Api, step: Step) -> anyhow::Result<String> {
    match step {
        Step::Compact => {
            let mut purged = 0;
            fill(members).await?;
            for node in 0..NODES {
                until(api, node, |status| {
                    status["applied"].as_u64() >= Some(CUTTABLE)
                })
                .await?;
                api.operate(node, Method::POST, SNAPSHOT).await?;
                let status = until(api, node, |status| status["purged"].as_u64() > Some(0)).await?;
                purged = status["purged"].as_u64().unwrap_or_default();
            }
            Ok(format!("log cut up to {purged}"))
        }
        Step::Replace => {
            let old = number(api, WIPED).await?;
            members.kill(WIPED).await?;
            members.wipe(WIPED)?;
            remove(api, old).await?;
            until(api, 0, |status| status["voters"] == NODES - 1).await?;
            join(members, api, WIPED, NODES).await?;
            let new = number(api, WIPED).await?;
            ensure!(new > old, "number {new} after {old}");
            let status = until(api, WIPED, |status| status["snapshot"].as_u64() > Some(0)).await?;
            Ok(format!(
                "number {old}, then {new} by snapshot {}",
                status["snapshot"]
            ))
        }
        Step::Grow => {
            for node in NODES..PLACES {
                join(members, api, node, node + 1).await?;
            }
            Ok(format!("{PLACES} vote"))
        }
        Step::HandOver => {
            let mut from = leader(api, PLACES).await?;
            for to in [NODES, WIPED, 0] {
                let number = number(api, to).await?;
                hand_over(api, from, number).await?;
                until(api, to, |status| status["leads"] == true).await?;
                from = to;
            }
            Ok("n4, n3, n1 led".to_owned())
        }
        Step::Shrink => {
            for node in (NODES..PLACES).rev() {
                let number = number(api, node).await?;
                remove(api, number).await?;
                until(api, 0, |status| status["voters"] == node).await?;
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
        let mut api = Api::new(members.apis());
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
    until(api, 0, |status| status["voters"] == n_voters).await?;
    until(api, node, |status| status["voters"] == n_voters).await?;
    Ok(())
}

async fn remove(api: &mut Api, number: u64) -> anyhow::Result<()> {
    let path = format!("{MEMBERS}{number}");
    api.operate(0, Method::DELETE, &path).await
}

async fn hand_over(api: &mut Api, from: usize, to: u64) -> anyhow::Result<()> {
    let path = format!("{LEADER}{to}");
    api.operate(from, Method::POST, &path).await
}

/// Number of a node as a member.
async fn number(api: &mut Api, node: usize) -> anyhow::Result<u64> {
    let status = until(api, node, |status| status["id"].is_u64()).await?;
    status["id"].as_u64().context("no number")
}

/// Waits until a node stands as it should.
async fn until(
    api: &mut Api,
    node: usize,
    expected: impl Fn(&Value) -> bool,
) -> anyhow::Result<Value> {
    let begin = Instant::now();
    loop {
        let status = api.status(node).await.unwrap_or_default();
        if expected(&status) {
            return Ok(status);
        }
        let n = node + 1;
        ensure!(begin.elapsed() < RECOVERY_MAX, "n{n} stands at {status}");
        sleep(POLL).await;
    }
}
