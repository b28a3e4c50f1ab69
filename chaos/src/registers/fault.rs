//! Carries out one fault and heals it, and shows that it happened.

use std::time::Duration;

use anyhow::Context as _;
use rustix::process::Signal;
use tokio::time::{Instant, sleep};

use super::api::Api;
use super::lie;
use super::plan::{Fault, Step};
use crate::world::{Members, Network};

/// Nodes of a cluster under test.
pub(super) const NODES: usize = 3;
/// A cluster without a fault has a leader, and every node of it serves, within this.
pub(super) const RECOVERY_MAX: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(20);

/// Lets the fault of `step` last, then heals it. Says what showed that it happened; `None` when nothing did.
pub(super) async fn inject(
    members: &mut Members,
    api: &mut Api,
    step: Step,
) -> anyhow::Result<Option<String>> {
    let leader = leader(api, NODES).await?;
    let follower = (leader + 1 + step.choice % (NODES - 1)) % NODES;
    match step.fault {
        Fault::KillLeader => kill(members, &[leader], step.lasts).await,
        Fault::KillFollower => kill(members, &[follower], step.lasts).await,
        Fault::KillAll => kill(members, &[0, 1, 2], step.lasts).await,
        Fault::PowerLeader => lose_power(members, &[leader], step.lasts).await,
        Fault::PowerFollower => lose_power(members, &[follower], step.lasts).await,
        Fault::PowerAll => lose_power(members, &[0, 1, 2], step.lasts).await,
        Fault::LyingLeader => lie::lie(members, api, leader, step.lasts).await,
        Fault::LyingFollower => lie::lie(members, api, follower, step.lasts).await,
        Fault::FullFollower => fill_disk(members, follower, step.lasts).await,
        Fault::PauseLeader => {
            members.process(leader)?.signal(Signal::STOP)?;
            sleep(step.lasts).await;
            // An answer before it goes on would show that it was never stopped.
            let answer = api.status(leader).await;
            members.process(leader)?.signal(Signal::CONT)?;
            Ok(answer
                .is_none()
                .then(|| format!("n{} was silent", leader + 1)))
        }
        Fault::IsolateLeader => cut(members, step.lasts, |network| network.isolate(leader)).await,
        Fault::IsolateFollower => {
            cut(members, step.lasts, |network| network.isolate(follower)).await
        }
        Fault::CutFromLeader => {
            cut(members, step.lasts, |network| network.cut(leader, follower)).await
        }
        Fault::CutToLeader => {
            cut(members, step.lasts, |network| network.cut(follower, leader)).await
        }
    }
}

async fn kill(
    members: &mut Members,
    which: &[usize],
    lasts: Duration,
) -> anyhow::Result<Option<String>> {
    for &at in which {
        members.kill(at).await?;
    }
    sleep(lasts).await;
    // All of them first: alone, one of several that were killed finds no leader.
    for &at in which {
        members.begin(at)?;
    }
    for &at in which {
        members.ready(at).await?;
    }
    Ok(Some(format!("{} was gone", names(which))))
}

fn names(which: &[usize]) -> String {
    let names: Vec<_> = which.iter().map(|at| format!("n{}", at + 1)).collect();
    names.join(", ")
}

async fn lose_power(
    members: &mut Members,
    which: &[usize],
    lasts: Duration,
) -> anyhow::Result<Option<String>> {
    for &at in which {
        members.cut_power(at).await?;
    }
    sleep(lasts).await;
    for &at in which {
        members.restore_power(at)?;
        members.begin(at)?;
    }
    for &at in which {
        members.ready(at).await?;
    }
    Ok(Some(format!("{} was dark", names(which))))
}

/// A node that can write no more has to end, so that whatever keeps it running knows and begins it again.
async fn fill_disk(
    members: &mut Members,
    at: usize,
    lasts: Duration,
) -> anyhow::Result<Option<String>> {
    members.fill_disk(at)?;
    let status = members.ended(at).await;
    let status = status.with_context(|| format!("n{} with a full disk", at + 1))?;
    sleep(lasts).await;
    members.make_room(at)?;
    members.begin(at)?;
    members.ready(at).await?;
    let is_told = status.code() == Some(1);
    Ok(is_told.then(|| format!("n{} ended", at + 1)))
}

async fn cut(
    members: &Members,
    lasts: Duration,
    apply: impl Fn(&Network) -> anyhow::Result<()>,
) -> anyhow::Result<Option<String>> {
    let network = members.network().context("no network of our own")?;
    apply(network)?;
    sleep(lasts).await;
    let dropped: u64 = (0..NODES)
        .map(|node| network.dropped(node))
        .sum::<anyhow::Result<u64>>()?;
    network.heal()?;
    Ok((dropped > 0).then(|| format!("{dropped} packets dropped")))
}

/// Has a node lead. A hand-over that takes too long is begun again.
pub(super) async fn hand_over(api: &mut Api, n_nodes: usize, to: usize) -> anyhow::Result<()> {
    let begin = Instant::now();
    let name = format!("n{}", to + 1);
    loop {
        let now = leader(api, n_nodes).await?;
        if now == to {
            return Ok(());
        }
        if let Err(error) = api.transfer_leader(now, &name).await {
            anyhow::ensure!(
                begin.elapsed() < RECOVERY_MAX,
                "{name} does not lead: {error:#}"
            );
        }
    }
}

/// Number of the leader; of two that believe to lead, the one with the later term.
pub(super) async fn leader(api: &mut Api, n_nodes: usize) -> anyhow::Result<usize> {
    let begin = Instant::now();
    loop {
        let mut latest = None;
        for node in 0..n_nodes {
            if let Some(status) = api.status(node).await
                && status.leads()
            {
                latest = latest.max(Some((status.term, node)));
            }
        }
        if let Some((_term, node)) = latest {
            return Ok(node);
        }
        anyhow::ensure!(begin.elapsed() < RECOVERY_MAX, "there is no leader");
        sleep(POLL).await;
    }
}
